//! `cargo xtask check`: everything that has to hold before a merge.
//!
//! A line per step with its time; the first failure ends the run and shows all that the step
//! printed. A step that cannot run where it is says so and does not count as passed.

use crate::workspace::{Call, Failure, cargo};
use crate::{edges, hygiene, no_std, package, sim, spec, vectors};
use std::io::Write as _;
use std::time::Instant;

/// What a step found.
enum Finding {
    Passed(String),
    Skipped(String),
}

struct Step {
    name: &'static str,
    run: fn(Mode) -> Result<Finding, Failure>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quiet,
    Verbose,
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: |mode| mode.run(cargo("fmt").args(["--all", "--check"])),
    },
    Step {
        name: "lints",
        run: |mode| {
            let call = cargo("clippy").args(["--workspace", "--all-targets"]);
            mode.run(call.args(["--", "--deny", "warnings"]))
        },
    },
    Step {
        name: "tests",
        run: tests,
    },
    Step {
        name: "campaign",
        run: |_| sim::check().map(Finding::Passed),
    },
    Step {
        name: "documentation",
        run: |mode| {
            let call = cargo("doc").args(["--workspace", "--no-deps"]);
            mode.run(call.env("RUSTDOCFLAGS", "--deny warnings"))
        },
    },
    Step {
        name: "no std",
        run: |_| no_std::check().map(Finding::Passed),
    },
    Step {
        name: "edges",
        run: |_| edges::check().map(Finding::Passed),
    },
    Step {
        name: "requirements",
        run: |_| spec::check().map(Finding::Passed),
    },
    Step {
        name: "vectors",
        run: |_| vectors::check().map(Finding::Passed),
    },
    Step {
        name: "packages",
        run: |_| package::check().map(Finding::Passed),
    },
    Step {
        name: "hygiene",
        run: |_| hygiene::check().map(Finding::Passed),
    },
    Step {
        name: "dependencies",
        run: dependencies,
    },
];

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mode = match arguments.as_slice() {
        [] => Mode::Quiet,
        ["--verbose" | "-v"] => Mode::Verbose,
        _ => return Err(Failure::Usage("expected nothing or `--verbose`".to_owned())),
    };
    let start = Instant::now();
    let mut skipped = 0;
    for (number, step) in STEPS.iter().enumerate() {
        let name = step.name;
        print!("[{:>2}/{}] {name:<14}", number + 1, STEPS.len());
        if mode == Mode::Verbose {
            println!();
        }
        // A broken pipe is no reason to stop checking.
        let _ = std::io::stdout().flush();
        let begin = Instant::now();
        let finding = (step.run)(mode);
        let seconds = begin.elapsed().as_secs_f32();
        match finding {
            Ok(Finding::Passed(found)) => {
                let line = format!(" ok      {seconds:>6.1} s  {found}");
                println!("{}", line.trim_end());
            }
            Ok(Finding::Skipped(reason)) => {
                skipped += 1;
                println!(" skipped {seconds:>6.1} s  {reason}");
            }
            Err(failure) => {
                println!(" FAILED  {seconds:>6.1} s");
                return Err(failure);
            }
        }
    }
    let total = start.elapsed().as_secs_f32();
    println!(
        "{} of {} steps passed in {total:.1} s",
        STEPS.len() - skipped,
        STEPS.len()
    );
    Ok(())
}

impl Mode {
    /// Runs a call whose output matters only if it fails.
    fn run(self, call: Call) -> Result<Finding, Failure> {
        match self {
            Self::Quiet => call.capture().map(|_| ()),
            Self::Verbose => call.show(),
        }
        .map(|()| Finding::Passed(String::new()))
    }
}

/// Unit, integration and documentation tests; counts them, ignored ones apart.
fn tests(mode: Mode) -> Result<Finding, Failure> {
    let call = cargo("test").args(["--workspace", "--no-fail-fast"]);
    if mode == Mode::Verbose {
        return mode.run(call);
    }
    Ok(Finding::Passed(count(&call.capture()?)))
}

/// Adds up the summary lines of all test programs.
fn count(output: &str) -> String {
    let (mut passed, mut ignored) = (0_u64, 0_u64);
    let summaries = output
        .lines()
        .filter(|line| line.starts_with("test result: "));
    for part in summaries.flat_map(|line| line.split([';', '.'])) {
        let mut words = part.split_whitespace();
        match (
            words.next().and_then(|number| number.parse::<u64>().ok()),
            words.next(),
        ) {
            (Some(number), Some("passed")) => passed += number,
            (Some(number), Some("ignored")) => ignored += number,
            _ => {}
        }
    }
    format!("{passed} passed, {ignored} ignored")
}

/// Licences, bans and sources. Advisories need a database that is fetched, so they are asked for
/// where there is a network: `cargo deny check advisories`.
fn dependencies(mode: Mode) -> Result<Finding, Failure> {
    if cargo("deny").arg("--version").capture().is_err() {
        let reason = "cargo-deny is not installed: cargo install --locked cargo-deny";
        return Ok(Finding::Skipped(reason.to_owned()));
    }
    mode.run(cargo("deny").args(["--locked", "check", "bans", "licenses", "sources"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_tests_of_all_programs() {
        let output = "running 2 tests\ntest a ... ok\n\
                      test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                      test result: ok. 40 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        assert_eq!(count(output), "42 passed, 3 ignored");
        assert_eq!(count(""), "0 passed, 0 ignored");
    }
}
