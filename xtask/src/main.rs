//! Tasks of this workspace: `cargo xtask <command>`.
//!
//! Each command is a file, and `check` runs those that say yes or no, in order. Commands print what
//! they found and end with exit code 0 if all is well, 1 if something is wrong and 2 if they were
//! called in a way they do not understand; the simulator and `soak` add 3 and 4 for safety and liveness.
#![forbid(unsafe_code)]

mod api;
mod bench;
mod build;
mod check;
mod claims;
mod edges;
mod fuzz;
mod hygiene;
mod msrv;
mod mutants;
mod no_std;
mod package;
mod release;
mod sim;
mod slow;
mod spec;
mod tools;
mod vectors;
mod words;
mod workspace;

use std::env;
use std::process::ExitCode;
use workspace::{Failure, cargo};

struct Command {
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "build",
        arguments: "",
        help: "release binary, and the protocol crates without std",
        run: |arguments| {
            expect_no_more(arguments)?;
            build::run()
        },
    },
    Command {
        name: "check",
        arguments: check::ARGUMENTS,
        help: "everything that has to hold before a merge, with --slow before a release",
        run: check::run,
    },
    Command {
        name: "test",
        arguments: "[ARGUMENTS..]",
        help: "cargo test --workspace, with further arguments",
        run: |arguments| cargo("test").arg("--workspace").args(arguments).show(),
    },
    Command {
        name: "no-std",
        arguments: "",
        help: "proves that no protocol crate links std",
        run: |arguments| answer(arguments, no_std::check),
    },
    Command {
        name: "edges",
        arguments: "",
        help: "compares the dependencies among the crates with docs/ARCHITECTURE.md",
        run: |arguments| answer(arguments, edges::check),
    },
    Command {
        name: "spec",
        arguments: "",
        help: "lists requirements that neither code nor test cites",
        run: |arguments| answer(arguments, spec::check),
    },
    Command {
        name: "vectors",
        arguments: "[--write FILE]",
        help: "answers every case under vectors/ again, or writes one file anew",
        run: vectors::run,
    },
    Command {
        name: "package",
        arguments: "",
        help: "checks that every published crate could be published",
        run: |arguments| answer(arguments, package::check),
    },
    Command {
        name: "release",
        arguments: "[--dry-run]",
        help: "what to do for a release, or a rehearsal in a local registry",
        run: release::run,
    },
    Command {
        name: "hygiene",
        arguments: "",
        help: "looks for paths of a machine and for other registries in the files",
        run: |arguments| answer(arguments, hygiene::check),
    },
    Command {
        name: "bench",
        arguments: "[CRATE..] [-- ARGUMENTS..]",
        help: "benchmarks of all crates or of the named ones",
        run: bench::run,
    },
    Command {
        name: "fuzz",
        arguments: fuzz::ARGUMENTS,
        help: "fuzz targets for a minute each, with nightly; figures as a table",
        run: fuzz::run,
    },
    Command {
        name: "sim",
        arguments: sim::ARGUMENTS,
        help: "campaigns of the simulator, mutants, or else: polity sim",
        run: sim::run,
    },
    Command {
        name: "soak",
        arguments: "[--minutes M] [--seed S] [--nodes N] [--keep DIR] [ARGUMENTS..]",
        help: "real processes under faults, in release mode: polity soak",
        run: |arguments| polity("soak", arguments),
    },
];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.is_empty() {
        eprint!("{}", usage());
        return ExitCode::from(2);
    }
    let name = arguments.remove(0);
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("there is no command `{name}`\n\n{}", usage());
        return ExitCode::from(2);
    };
    if asks_for_help(&arguments) {
        println!(
            "cargo xtask {} {}\n\n{}",
            command.name, command.arguments, command.help
        );
        return ExitCode::SUCCESS;
    }
    match (command.run)(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Wrong(problem)) => {
            eprintln!("{}", problem.trim_end());
            ExitCode::FAILURE
        }
        Err(Failure::Code(code)) => ExitCode::from(code),
        Err(Failure::Usage(problem)) => {
            eprintln!(
                "{problem}\nusage: cargo xtask {} {}",
                command.name, command.arguments
            );
            ExitCode::from(2)
        }
    }
}

/// Whether help is wanted, wherever that is said. What stands behind `--` is for another program.
fn asks_for_help(arguments: &[String]) -> bool {
    let mut own = arguments.iter().take_while(|argument| *argument != "--");
    own.any(|argument| matches!(argument.as_str(), "--help" | "-h"))
}

/// A command of the release binary. Its exit code is that of the task.
fn polity(command: &str, arguments: &[String]) -> Result<(), Failure> {
    let arguments = arguments
        .strip_prefix(&["--".to_owned()])
        .unwrap_or(arguments);
    cargo("run")
        .args(["--release", "--bin", "polity", "--", command])
        .args(arguments)
        .show_and_pass_on()
}

/// Runs a check that takes no arguments and prints what it found.
fn answer(arguments: &[String], check: fn() -> Result<String, Failure>) -> Result<(), Failure> {
    expect_no_more(arguments)?;
    println!("{}", check()?);
    Ok(())
}

fn expect_no_more(arguments: &[String]) -> Result<(), Failure> {
    match arguments.first() {
        None => Ok(()),
        Some(argument) => Err(Failure::Usage(format!("unexpected argument `{argument}`"))),
    }
}

fn usage() -> String {
    use std::fmt::Write as _;
    let mut text = "usage: cargo xtask <command>\n\n".to_owned();
    for command in COMMANDS {
        let call = format!("{} {}", command.name, command.arguments);
        if call.len() < 34 {
            let _ = writeln!(text, "  {call:<34}{}", command.help);
        } else {
            let _ = writeln!(text, "  {call}\n  {:<34}{}", "", command.help);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::asks_for_help;

    #[test]
    fn help_is_given_wherever_it_is_asked_for() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for yes in ["--help", "--slow --help", "mutants -h", "--help -- x"] {
            assert!(asks_for_help(&words(yes)), "{yes}");
        }
        for no in ["--slow", "-- --help", "ledger -- -h"] {
            assert!(!asks_for_help(&words(no)), "{no}");
        }
    }
}
