//! One suite of checks for both providers (CR-8).

use super::*;
use polity_crypto::{bare, domain};

#[test]
fn the_names_of_providers_are_those_of_the_configuration() {
    for provider in [Provider::Rust, Provider::AwsLc] {
        let json = serde_json::to_string(&provider).unwrap();
        assert_eq!(json, format!("\"{}\"", provider.name()));
    }
}
