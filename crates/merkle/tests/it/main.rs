//! Behaviour of trees and proofs, against a model that follows the words of RFC 6962.

mod bound;
mod model;
mod proofs;
mod trees;
