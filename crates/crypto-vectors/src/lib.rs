//! What the tests of this package share: counting cases, and files of other packages.

use serde_json::Value;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// Counts the cases of one set of answers.
#[derive(Debug)]
pub struct Tally {
    name: &'static str,
    valid: usize,
    invalid: usize,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            valid: 0,
            invalid: 0,
        }
    }

    /// Counts a case that ran, and whether its input is valid.
    pub fn count(&mut self, is_valid: bool) {
        if is_valid {
            self.valid += 1;
        } else {
            self.invalid += 1;
        }
    }

    /// Prints the numbers, past the capture of the test harness.
    ///
    /// # Panics
    ///
    /// If other numbers of cases ran than expected.
    pub fn finish(self, valid: usize, invalid: usize) {
        let line = format!(
            "{}: {} cases, {} valid, {} invalid\n",
            self.name,
            self.valid + self.invalid,
            self.valid,
            self.invalid
        );
        let _ = std::io::stdout().write_all(line.as_bytes());
        assert_eq!(
            (self.valid, self.invalid),
            (valid, invalid),
            "{}",
            self.name
        );
    }
}

/// Bytes of a hexadecimal text in either case.
///
/// # Panics
///
/// If it is none.
pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "{text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits"))
        .collect()
}

/// The folder in which cargo keeps the sources of a dependency of this package.
///
/// # Panics
///
/// If cargo does not know it.
pub fn sources(package: &str, version: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let found = packages
        .iter()
        .find(|found| found["name"] == package && found["version"] == version)
        .unwrap_or_else(|| panic!("cargo does not know {package} {version}"));
    let mut folder = PathBuf::from(found["manifest_path"].as_str().expect("a path"));
    folder.pop();
    folder
}
