//! `cargo xtask vectors`: the files under `vectors/`.
//!
//! The topics stand in `crates/testkit/tests/vectors`, so `cargo test` checks them too. Writing
//! goes through the same test, told by an environment variable which file is meant.

use crate::workspace::{Call, Failure, cargo};

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => test().show(),
        ["--write", file] => {
            let file = file.strip_prefix("vectors/").unwrap_or(file);
            test().env("POLITY_VECTORS_WRITE", file).show()
        }
        _ => Err(Failure::Usage(
            "expected nothing or `--write FILE`".to_owned(),
        )),
    }
}

/// Checks every file; says how many cases there are.
pub(crate) fn check() -> Result<String, Failure> {
    Ok(count(&test().capture()?))
}

/// The test that answers all topics. It is selected from the whole workspace, not from its package:
/// features are then those of `cargo test --workspace`, and nothing is built twice.
fn test() -> Call {
    cargo("test")
        .args(["--quiet", "--workspace", "--test", "vectors"])
        .args(["--", "--nocapture"])
}

/// Adds up lines such as `types/wire.v1.json: 6 valid, 19 invalid`.
fn count(output: &str) -> String {
    let reports = output.lines().filter_map(|line| line.split_once(".json: "));
    let counts: Vec<u64> = reports
        .map(|(_, counts)| {
            let numbers = counts
                .split_whitespace()
                .filter_map(|word| word.parse::<u64>().ok());
            numbers.sum()
        })
        .collect();
    format!(
        "{} files, {} cases",
        counts.len(),
        counts.iter().sum::<u64>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_files_and_cases() {
        let output = "running 1 test\na/b.v1.json: 6 valid, 19 invalid\n\
                      a/c.v2.json: 1 valid, 2 invalid\n.\ntest result: ok. 1 passed\n";
        assert_eq!(count(output), "2 files, 28 cases");
    }
}
