//! `cargo xtask sim`: campaigns of the simulator, and whether they have teeth.
//!
//! The driver is an example of `polity-sim`, so tasks need not be built with the protocol. Its exit
//! codes are passed on: 1 for a crash, 3 for a violation of safety, 4 for a failure of liveness.

use crate::mutants;
use crate::workspace::{Failure, cargo};

pub(crate) const ARGUMENTS: &str = "--campaign smoke|full [--seed S] [--minutes M] | --run RUN [--trace] | --mutants [NAME..] | ARGUMENTS..";

/// How long a campaign lasts, in seconds.
const SMOKE_SECONDS: u64 = 60;
const FULL_SECONDS: u64 = 60 * 60;

/// Runs of the campaign in the check.
const CHECK_RUNS: &str = "160";

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--campaign", rest @ ..] => campaign(rest),
        ["--run", run] => driver(&["--run", run]),
        ["--run", run, "--trace"] => driver(&["--run", run, "--trace"]),
        ["--run", ..] => Err(usage("`--run` needs a run, as a campaign prints it")),
        ["--mutants", names @ ..] => mutants::run(names),
        rest => {
            let rest = rest.strip_prefix(&["--"]).unwrap_or(rest);
            cargo("run")
                .args(["--release", "--bin", "polity", "--", "sim"])
                .args(rest)
                .show()
        }
    }
}

/// A short campaign as a step of the check: a fixed number of runs, so that it says the same
/// everywhere, with the assertions of the development profile.
pub(crate) fn check() -> Result<String, Failure> {
    let printed = cargo("run")
        .args([
            "--quiet",
            "--package",
            "polity-sim",
            "--example",
            "campaign",
        ])
        .args(["--", "--runs", CHECK_RUNS])
        .capture()?;
    let line = |name: &str| {
        let found = printed.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_default().trim().to_owned()
    };
    Ok(format!("{} runs, {} blocks", line("runs"), line("blocks")))
}

fn campaign(words: &[&str]) -> Result<(), Failure> {
    let [kind, options @ ..] = words else {
        return Err(usage("`--campaign` needs `smoke` or `full`"));
    };
    let mut seconds = match *kind {
        "smoke" => SMOKE_SECONDS,
        "full" => FULL_SECONDS,
        other => {
            return Err(usage(&format!(
                "there is no campaign `{other}`: choose `smoke` or `full`"
            )));
        }
    };
    let mut seed = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let value = options
            .next()
            .ok_or_else(|| usage(&format!("`{option}` needs a number behind it")))?;
        let number: u64 = value
            .parse()
            .map_err(|_| usage(&format!("`{option}` needs a number, not `{value}`")))?;
        match *option {
            "--seed" => seed = Some(*value),
            "--minutes" => seconds = number.saturating_mul(60),
            other => return Err(usage(&format!("unexpected option `{other}`"))),
        }
    }
    let seconds = seconds.to_string();
    let mut words = vec!["--seconds", seconds.as_str()];
    if let Some(seed) = seed {
        words.extend(["--seed", seed]);
    }
    driver(&words)
}

fn driver(words: &[&str]) -> Result<(), Failure> {
    cargo("run")
        .args(["--quiet", "--release", "--package", "polity-sim"])
        .args(["--example", "campaign", "--"])
        .args(words)
        .show_and_pass_on()
}

fn usage(problem: &str) -> Failure {
    Failure::Usage(problem.to_owned())
}
