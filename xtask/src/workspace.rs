//! What the tasks know about the workspace, and how they call cargo.

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Crates that are `no_std` and deterministic, in the order of their edges.
pub(crate) const PROTOCOL_CRATES: &[&str] = &[
    "polity-types",
    "polity-crypto",
    "polity-clock",
    "polity-merkle",
    "polity-trust",
    "polity-consensus",
    "polity-ledger",
    "polity-replica",
];

/// Why a task ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something in the workspace is not as it has to be.
    Wrong(String),
    /// The task was called in a way it does not understand.
    Usage(String),
    /// A program that was run has said everything, and ended with this code.
    Code(u8),
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self::Wrong(problem)
    }
}

/// The folder with the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package lies in the workspace")
}

/// Reads a file of the workspace.
pub(crate) fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(root().join(path))
        .map_err(|error| Failure::Wrong(format!("cannot read {path}: {error}")))
}

/// A command that runs in the root of the workspace.
#[derive(Debug)]
pub(crate) struct Call {
    command: Command,
    words: Vec<String>,
}

/// A call of the cargo that runs this task.
pub(crate) fn cargo(subcommand: &str) -> Call {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Call::new(&program, "cargo").arg(subcommand)
}

/// A call of the cargo of another toolchain.
pub(crate) fn cargo_of(toolchain: &str, subcommand: &str) -> Call {
    Call::new(OsStr::new("rustup"), "rustup").args(["run", toolchain, "cargo", subcommand])
}

/// Whether a toolchain is installed; nothing is downloaded to find out.
pub(crate) fn has_toolchain(toolchain: &str) -> bool {
    let list = Call::new(OsStr::new("rustup"), "rustup").args(["toolchain", "list"]);
    list.capture().is_ok_and(|list| is_listed(&list, toolchain))
}

/// Whether `rustup toolchain list` names a toolchain: `1.88` is there if `1.88.0-x86_64-..` is.
fn is_listed(list: &str, toolchain: &str) -> bool {
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter_map(|name| name.strip_prefix(toolchain))
        .any(|rest| rest.is_empty() || rest.starts_with('-') || rest.starts_with('.'))
}

/// Every file that git knows or would add, one a line.
pub(crate) fn files() -> Result<String, Failure> {
    git("ls-files")
        .args([
            "--cached",
            "--others",
            "--exclude-standard",
            "--deduplicate",
        ])
        .capture()
}

/// A call of git.
pub(crate) fn git(subcommand: &str) -> Call {
    Call::new(OsStr::new("git"), "git").arg(subcommand)
}

impl Call {
    pub(crate) fn new(program: &OsStr, name: &str) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root());
        let words = vec![name.to_owned()];
        Self { command, words }
    }

    pub(crate) fn arg(self, argument: &str) -> Self {
        self.args([argument])
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        for argument in arguments {
            self.command.arg(argument.as_ref());
            self.words.push(argument.as_ref().to_owned());
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in another folder than the root of the workspace.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it and shows what it prints.
    pub(crate) fn show(mut self) -> Result<(), Failure> {
        let status = self
            .command
            .status()
            .map_err(|error| self.not_started(&error))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::Wrong(format!(
                "`{}` failed: {status}",
                self.words.join(" ")
            )))
        }
    }

    /// Runs it, shows what it prints, and passes its exit code on.
    pub(crate) fn show_and_pass_on(mut self) -> Result<(), Failure> {
        let status = self
            .command
            .status()
            .map_err(|error| self.not_started(&error))?;
        match status.code().map(u8::try_from) {
            Some(Ok(0)) => Ok(()),
            Some(Ok(code)) => Err(Failure::Code(code)),
            _ => Err(Failure::Code(1)),
        }
    }

    /// Runs it and keeps what it prints; a failure holds all of it.
    pub(crate) fn capture(mut self) -> Result<String, Failure> {
        let output = self
            .command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| self.not_started(&error))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(Failure::Wrong(format!(
            "{text}{}\n`{}` failed: {}",
            String::from_utf8_lossy(&output.stderr),
            self.words.join(" "),
            output.status
        )))
    }

    fn not_started(&self, error: &std::io::Error) -> Failure {
        Failure::Wrong(format!("cannot start `{}`: {error}", self.words.join(" ")))
    }
}

/// One package of the workspace, as `cargo metadata` describes it.
#[derive(Debug)]
pub(crate) struct Package(Value);

/// Every package of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>, Failure> {
    let text = cargo("metadata")
        .args(["--format-version", "1", "--no-deps"])
        .capture()?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    Ok(packages.into_iter().map(Package).collect())
}

/// The folder that cargo builds into.
pub(crate) fn target() -> Result<PathBuf, Failure> {
    let text = cargo("metadata")
        .args(["--format-version", "1", "--no-deps"])
        .capture()?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let folder = metadata["target_directory"].as_str();
    Ok(folder
        .ok_or_else(|| "cargo names no target folder".to_owned())?
        .into())
}

impl Package {
    /// A package that a test makes up.
    #[cfg(test)]
    pub(crate) fn new(description: Value) -> Self {
        Self(description)
    }

    pub(crate) fn name(&self) -> &str {
        self.field("name")
    }

    /// A text of the manifest; empty if it is absent.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// A list of texts of the manifest.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let items = self.0[name]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        items.iter().filter_map(Value::as_str).collect()
    }

    pub(crate) fn folder(&self) -> &Path {
        let manifest = Path::new(self.field("manifest_path"));
        manifest.parent().unwrap_or(manifest)
    }

    /// Whether it may go to a registry.
    pub(crate) fn is_published(&self) -> bool {
        self.0["publish"]
            .as_array()
            .is_none_or(|registries| !registries.is_empty())
    }

    /// Whether its manifest says how docs.rs shall build its pages.
    pub(crate) fn has_docs_rs(&self) -> bool {
        self.0["metadata"]["docs"]["rs"].is_object()
    }

    /// A table below `[package.metadata]`; null if it is absent.
    pub(crate) fn metadata(&self, name: &str) -> &Value {
        &self.0["metadata"][name]
    }

    /// How many features it has.
    pub(crate) fn features(&self) -> usize {
        self.0["features"]
            .as_object()
            .map_or(0, serde_json::Map::len)
    }

    /// Packages of this workspace that it needs outside tests and build scripts.
    pub(crate) fn imports(&self) -> Vec<&str> {
        let dependencies = self.0["dependencies"].as_array().map(Vec::as_slice);
        dependencies
            .unwrap_or_default()
            .iter()
            .filter(|dependency| dependency["kind"].is_null() && dependency["path"].is_string())
            .filter_map(|dependency| dependency["name"].as_str())
            .collect()
    }

    /// Names of its targets of a kind: `lib`, `bench`, `test`.
    pub(crate) fn targets(&self, kind: &str) -> Vec<&str> {
        let is_kind = |target: &&Value| {
            let kinds = target["kind"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            kinds.iter().any(|found| found == kind)
        };
        let targets = self.0["targets"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        targets
            .iter()
            .filter(is_kind)
            .filter_map(|target| target["name"].as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_is_listed_under_its_version_or_a_longer_one() {
        let list = "stable-x86_64-unknown-linux-gnu (default)\n1.88.0-x86_64-unknown-linux-gnu\n";
        for (toolchain, is_there) in [
            ("1.88", true),
            ("1.88.0", true),
            ("1.8", false),
            ("1.91", false),
            ("stable", true),
            ("nightly", false),
        ] {
            assert_eq!(is_listed(list, toolchain), is_there, "{toolchain}");
        }
    }
}
