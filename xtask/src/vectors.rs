//! `cargo xtask vectors`: the files under `vectors/`.
//!
//! The topics stand in `crates/testkit/tests/vectors`, so `cargo test` checks them too. Writing
//! goes through the same test, told by an environment variable which file is meant.

use crate::workspace::{Failure, cargo};

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let call = cargo("test").args([
        "--quiet",
        "--package",
        "polity-testkit",
        "--test",
        "vectors",
    ]);
    match arguments.as_slice() {
        [] => call.args(["--", "--nocapture"]).show(),
        ["--write", file] => {
            let file = file.strip_prefix("vectors/").unwrap_or(file);
            call.env("POLITY_VECTORS_WRITE", file)
                .args(["--", "--nocapture"])
                .show()
        }
        _ => Err(Failure::Usage(
            "expected nothing or `--write FILE`".to_owned(),
        )),
    }
}

/// Checks every file; says how many cases there are.
pub(crate) fn check() -> Result<String, Failure> {
    let text = cargo("test")
        .args([
            "--quiet",
            "--package",
            "polity-testkit",
            "--test",
            "vectors",
            "--",
            "--nocapture",
        ])
        .capture()?;
    let reports: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(".json: "))
        .collect();
    let cases: usize = reports
        .iter()
        .flat_map(|report| report.split(|c: char| !c.is_ascii_digit()).skip(2))
        .filter_map(|number| number.parse::<usize>().ok())
        .sum();
    Ok(format!("{} files, {cases} cases", reports.len()))
}
