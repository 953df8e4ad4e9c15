//! Known answers that other implementations wrote.
//!
//! They lie in a folder beside the repository, one sub-folder per family, and are not part of it.
//! The environment variable `POLITY_SHARED_VECTORS` names the folder, as seen from the workspace;
//! without it, it is `../shared/vectors`.
//!
//! A test that cannot find its answers must not look as if it had passed, which the standard test
//! harness has no way to say at run time. Test targets that need them are therefore declared with
//! `harness = false` and call [`run`]:
//!
//! ```no_run
//! use polity_testkit::vectors::{self, File, Test};
//!
//! fn sums(file: &File) -> usize {
//!     let cases = file.cases("sums");
//!     for case in cases {
//!         assert_eq!(case["a"].as_u64(), case["b"].as_u64(), "{case}");
//!     }
//!     cases.len()
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     vectors::run("polity", &[Test { name: "sums", check: sums }])
//! }
//! ```

use crate::harness::{self, Outcome};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

/// Names the folder of the families.
const FOLDER_VARIABLE: &str = "POLITY_SHARED_VECTORS";

/// A file of known answers.
#[derive(Debug)]
pub struct File {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its content.
    pub content: Value,
}

impl File {
    /// The cases of a list; none if the file has no such list.
    pub fn cases(&self, list: &str) -> &[Value] {
        self.content[list].as_array().map_or(&[], Vec::as_slice)
    }
}

/// A check over each file of a family.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// Name in the output.
    pub name: &'static str,
    /// Panics at the first wrong answer, else says how many cases of this file it checked. A file
    /// with other matters has none; a family without any case is a failure.
    pub check: fn(&File) -> usize,
}

/// Reads every JSON file of a family, in the order of their paths, or nothing if there is no such
/// family.
///
/// # Errors
///
/// If a file cannot be read or is no JSON.
pub fn family(name: &str) -> io::Result<Option<Vec<File>>> {
    let folder = folder().join(name);
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut paths = Vec::new();
    collect(&folder, &mut paths)?;
    paths.sort();
    let files = paths.into_iter().map(|path| {
        let text = fs::read_to_string(&path)?;
        let content = serde_json::from_str(&text)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        Ok(File { path, content })
    });
    files.collect::<io::Result<_>>().map(Some)
}

/// Runs tests over a family with [`harness::run`]. An absent family shows each of them as ignored.
pub fn run(name: &str, tests: &[Test]) -> ExitCode {
    let files = family(name);
    let tests: Vec<_> = tests.iter().map(|test| (test.name, *test)).collect();
    harness::run(&tests, |test| match &files {
        Ok(Some(files)) => outcome(*test, files),
        Ok(None) => Outcome::Ignored("shared vectors not found"),
        Err(error) => Outcome::Failed(error.to_string()),
    })
}

fn folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Tests run in the folder of their crate; a relative path is meant as seen from the workspace.
    workspace.join(env::var_os(FOLDER_VARIABLE).unwrap_or_else(|| "../shared/vectors".into()))
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            paths.push(path);
        }
    }
    Ok(())
}

fn outcome(test: Test, files: &[File]) -> Outcome {
    let mut count = 0;
    for file in files {
        match catch_unwind(AssertUnwindSafe(|| (test.check)(file))) {
            Ok(cases) => count += cases,
            // The panic hook has printed the reason.
            Err(_) => return Outcome::Failed(format!("in {}", file.path.display())),
        }
    }
    if count == 0 {
        return Outcome::Failed("the family is there, but has no case for this test".to_owned());
    }
    Outcome::Passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File {
            path: PathBuf::from("test.json"),
            content: serde_json::from_str(text).unwrap(),
        }
    }

    fn check(file: &File) -> usize {
        let cases = file.cases("cases");
        for case in cases {
            assert!(case.as_bool().unwrap(), "{case}");
        }
        cases.len()
    }

    const TEST: Test = Test {
        name: "truth",
        check,
    };

    #[test]
    fn a_test_passes_if_some_case_ran_and_none_failed() {
        let (good, bad) = (
            file(r#"{"cases": [true]}"#),
            file(r#"{"cases": [true, false]}"#),
        );
        let other = file(r#"{"other": 1}"#);
        assert_eq!(
            outcome(TEST, &[]),
            Outcome::Failed("the family is there, but has no case for this test".to_owned(),)
        );
        assert!(matches!(outcome(TEST, &[file("{}")]), Outcome::Failed(_)));
        assert_eq!(outcome(TEST, &[other, good]), Outcome::Passed);
        assert_eq!(
            outcome(TEST, &[bad]),
            Outcome::Failed("in test.json".to_owned())
        );
    }

    #[test]
    fn a_family_that_is_not_there_is_none() {
        assert!(family("no-such-family").unwrap().is_none());
    }
}
