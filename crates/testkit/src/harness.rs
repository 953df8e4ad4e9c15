//! A test harness that can say at run time that a test is ignored.
//!
//! The standard one cannot, and a test that cannot run must not look as if it had passed. A target with
//! `harness = false` calls [`run`] from its `main`.

use std::env;
use std::process::ExitCode;

/// Exit code of the standard harness after a failure.
const EXIT_FAILED: u8 = 101;

/// What became of a test.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran, and all was as expected.
    Passed,
    /// It could not run, and why.
    Ignored(&'static str),
    /// It ran, and something was wrong.
    Failed(String),
}

/// Runs named tests in the manner of the standard harness: same lines, same filters, same exit code.
pub fn run<T>(tests: &[(&str, T)], outcome: impl Fn(&T) -> Outcome) -> ExitCode {
    let selection = Selection::from_arguments(env::args().skip(1));
    let selected: Vec<_> = tests
        .iter()
        .filter(|(name, _)| selection.contains(name))
        .collect();
    if selection.is_listing {
        for (name, _) in &selected {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", selected.len());
    let mut summary = Summary::default();
    for (name, test) in &selected {
        summary.add(name, &outcome(test));
    }
    summary.print(tests.len() - selected.len());
    if summary.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    }
}

#[derive(Default)]
struct Summary {
    passed: usize,
    ignored: usize,
    failed: Vec<String>,
}

impl Summary {
    fn add(&mut self, name: &str, outcome: &Outcome) {
        let word = match outcome {
            Outcome::Passed => {
                self.passed += 1;
                "ok"
            }
            Outcome::Ignored(reason) => {
                self.ignored += 1;
                println!("test {name} ... ignored, {reason}");
                return;
            }
            Outcome::Failed(reason) => {
                self.failed.push(format!("{name}: {reason}"));
                "FAILED"
            }
        };
        println!("test {name} ... {word}");
    }

    fn print(&self, filtered_out: usize) {
        if !self.failed.is_empty() {
            println!("\nfailures:");
            for failure in &self.failed {
                println!("    {failure}");
            }
        }
        let word = if self.failed.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        println!(
            "\ntest result: {word}. {} passed; {} failed; {} ignored; 0 measured; {filtered_out} filtered out\n",
            self.passed,
            self.failed.len(),
            self.ignored,
        );
    }
}

/// Which tests the command line asks for, in the words of the standard harness.
#[derive(Default)]
struct Selection {
    filters: Vec<String>,
    skipped: Vec<String>,
    is_exact: bool,
    is_listing: bool,
    /// Only tests that are marked as ignored in the source, of which there are none here.
    is_ignored_only: bool,
}

impl Selection {
    fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut selection = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => selection.is_exact = true,
                "--list" => selection.is_listing = true,
                "--ignored" => selection.is_ignored_only = true,
                "--skip" => selection.skipped.extend(arguments.next()),
                // Options of the standard harness with a value that means nothing here.
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => {
                    arguments.next();
                }
                option if option.starts_with('-') => {}
                _ => selection.filters.push(argument),
            }
        }
        selection
    }

    fn contains(&self, name: &str) -> bool {
        let matches = |pattern: &String| {
            if self.is_exact {
                name == pattern
            } else {
                name.contains(pattern.as_str())
            }
        };
        !self.is_ignored_only
            && (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skipped.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_selects_as_in_the_standard_harness() {
        let contains = |line: &str, name: &str| {
            Selection::from_arguments(line.split_whitespace().map(str::to_owned)).contains(name)
        };
        assert!(contains("", "merkle_roots"));
        assert!(contains(
            "--nocapture --test-threads 1 roots",
            "merkle_roots"
        ));
        assert!(!contains("--exact roots", "merkle_roots"));
        assert!(!contains("--skip roots", "merkle_roots"));
        assert!(!contains("other", "merkle_roots"));
        assert!(!contains("--ignored", "merkle_roots"));
    }
}
