//! draft
#![forbid(unsafe_code)]

mod compare;
mod forge;
mod replica;
mod run;
mod scenario;
mod scene;
mod search;
mod table;
mod words;

pub use compare::{Comparison, compare, compare_walks};
pub use run::{Ending, Finding, Limits, Report, run};
pub use scenario::{Fault, Grain, MEMBERS, QUORUM, Scenario, Seat};
pub use search::{AGREEMENT, Action, ONE_VOTE, Search, State};
pub use words::{Parts, Word};
