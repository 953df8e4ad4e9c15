//! `cargo xtask check`: everything that has to hold before a merge.
//!
//! A line per step with its time; the first failure ends the run and shows all that the step
//! printed. A step that cannot run where it is says so and does not count as passed. `--slow` goes on
//! with the steps of `slow.rs`, and `--only` names those that are wanted.

use crate::tools::{self, DENY};
use crate::workspace::{Call, Failure, cargo};
use crate::{edges, hygiene, no_std, package, sim, slow, spec, vectors};
use std::io::Write as _;
use std::time::Instant;

pub(crate) const ARGUMENTS: &str = "[--slow] [--only STEP].. [--verbose]";

/// What a step found.
pub(crate) enum Finding {
    Passed(String),
    Skipped(String),
}

pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Mode) -> Result<Finding, Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
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
    let wanted = parse(arguments)?;
    let mode = wanted.mode;
    let steps = plan(&wanted)?;
    let start = Instant::now();
    let mut skipped = 0;
    for (number, step) in steps.iter().enumerate() {
        let name = step.name;
        print!("[{:>2}/{}] {name:<14}", number + 1, steps.len());
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
        steps.len() - skipped,
        steps.len()
    );
    Ok(())
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    is_slow: bool,
    mode: Mode,
    /// Names of steps; all of them if there is none.
    only: Vec<String>,
}

fn parse(arguments: &[String]) -> Result<Wanted, Failure> {
    let mut wanted = Wanted {
        is_slow: false,
        mode: Mode::Quiet,
        only: Vec::new(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--slow" => wanted.is_slow = true,
            "--verbose" | "-v" => wanted.mode = Mode::Verbose,
            "--only" => {
                let name = arguments.next().ok_or_else(|| {
                    Failure::Usage("`--only` needs the name of a step".to_owned())
                })?;
                wanted.only.push(name.clone());
            }
            _ => return Err(Failure::Usage(format!("unexpected argument `{argument}`"))),
        }
    }
    Ok(wanted)
}

/// The steps that are asked for, in their order.
fn plan(wanted: &Wanted) -> Result<Vec<&'static Step>, Failure> {
    let slow = if wanted.is_slow { slow::STEPS } else { &[] };
    let is_replaced = |step: &&Step| slow.iter().any(|other| other.name == step.name);
    let quick = STEPS.iter().filter(|step| !is_replaced(step));
    let steps: Vec<&Step> = quick.chain(slow).collect();
    let is_unknown = |name: &&String| steps.iter().all(|step| step.name != **name);
    if let Some(name) = wanted.only.iter().find(is_unknown) {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        let mut problem = format!("there is no step `{name}`; there are: {}", names.join(", "));
        if !wanted.is_slow {
            problem.push_str("; more with `--slow`");
        }
        return Err(Failure::Usage(problem));
    }
    let is_wanted =
        |step: &&Step| wanted.only.is_empty() || wanted.only.iter().any(|name| name == step.name);
    Ok(steps.into_iter().filter(is_wanted).collect())
}

impl Mode {
    /// Runs a call whose output matters only if it fails.
    pub(crate) fn run(self, call: Call) -> Result<Finding, Failure> {
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

/// Licences, bans and sources, with the pinned tool if it is there, or else with the user's own.
pub(crate) fn dependencies(mode: Mode) -> Result<Finding, Failure> {
    let call = match tools::call(&DENY)? {
        Some(call) => call,
        None if cargo("deny").arg("--version").capture().is_ok() => cargo("deny"),
        None => {
            let reason = "cargo-deny is not installed: cargo xtask check --slow --only tools";
            return Ok(Finding::Skipped(reason.to_owned()));
        }
    };
    mode.run(call.args(["--locked", "check", "bans", "licenses", "sources"]))
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

    #[test]
    fn reads_what_is_asked_for() {
        let wanted = |is_slow, mode, only: &[&str]| Wanted {
            is_slow,
            mode,
            only: only.iter().map(|&name| name.to_owned()).collect(),
        };
        for (arguments, expected) in [
            ("", Some(wanted(false, Mode::Quiet, &[]))),
            ("--slow -v", Some(wanted(true, Mode::Verbose, &[]))),
            (
                "--only edges --only tests",
                Some(wanted(false, Mode::Quiet, &["edges", "tests"])),
            ),
            ("--only", None),
            ("edges", None),
        ] {
            let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
            assert_eq!(parse(&words).ok(), expected, "{arguments}");
        }
    }

    #[test]
    fn a_slow_step_replaces_its_namesake_and_unknown_steps_are_refused() {
        let names = |is_slow, only: &[&str]| {
            let wanted = Wanted {
                is_slow,
                mode: Mode::Quiet,
                only: only.iter().map(|&name| name.to_owned()).collect(),
            };
            let steps = plan(&wanted).ok()?;
            Some(steps.into_iter().map(|step| step.name).collect::<Vec<_>>())
        };
        let all = names(true, &[]).unwrap();
        let position = |name| all.iter().position(|&step| step == name);
        assert!(position("tools") < position("dependencies"));
        assert_eq!(
            all.iter().filter(|&&name| name == "dependencies").count(),
            1
        );
        assert_eq!(names(false, &[]).unwrap().len(), STEPS.len());
        assert_eq!(
            names(true, &["tools", "edges"]),
            Some(vec!["edges", "tools"])
        );
        assert_eq!(names(false, &["tools"]), None);
    }
}
