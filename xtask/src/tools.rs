//! Programs that `cargo xtask check --slow` and `fuzz` need and Rust does not bring along.
//!
//! They are built from crates.io into `tools` under the target folder, each in the version that this
//! table pins. So a fresh clone gets what it needs, everybody gets the same, and nothing outside the
//! target folder changes.

use crate::workspace::{Call, Failure, cargo, target};
use std::fs;
use std::path::PathBuf;

/// A subcommand of cargo.
pub(crate) struct Tool {
    /// The package, and the program that it installs.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    why: &'static str,
}

pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    why: "licences, sources, duplicates and advisories of what is linked",
};

pub(crate) const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    why: "builds targets for libFuzzer and runs them",
};

pub(crate) const HACK: Tool = Tool {
    name: "cargo-hack",
    version: "0.6.46",
    why: "builds each crate alone, with every set of its features",
};

pub(crate) const SEMVER_CHECKS: Tool = Tool {
    name: "cargo-semver-checks",
    version: "0.51.0",
    why: "compares public interfaces with those of the last release",
};

/// Builds what is absent; says how many were built.
pub(crate) fn install(tools: &[&Tool]) -> Result<usize, Failure> {
    let mut built = 0;
    for tool in tools {
        if !is_installed(tool)? {
            build(tool)?;
            built += 1;
        }
    }
    Ok(built)
}

/// A call of a tool in the pinned version, if it is installed.
pub(crate) fn call(tool: &Tool) -> Result<Option<Call>, Failure> {
    if !is_installed(tool)? {
        return Ok(None);
    }
    let program = program(tool)?;
    // Cargo names the subcommand first when it calls one, and so do we.
    let subcommand = tool.name.trim_start_matches("cargo-");
    Ok(Some(
        Call::new(program.as_os_str(), tool.name).arg(subcommand),
    ))
}

/// A call of a tool, which is built first where it is absent.
pub(crate) fn ready(tool: &Tool) -> Result<Call, Failure> {
    install(&[tool])?;
    call(tool)?.ok_or_else(|| {
        let name = tool.name;
        Failure::Wrong(format!(
            "{name} was built and is not found; remove target/tools and try again"
        ))
    })
}

/// Where a tool stands once it is installed.
pub(crate) fn program(tool: &Tool) -> Result<PathBuf, Failure> {
    Ok(folder()?.join("bin").join(tool.name))
}

fn build(tool: &Tool) -> Result<(), Failure> {
    let folder = folder()?;
    let shared = folder.join("build").display().to_string();
    let root = folder.display().to_string();
    cargo("install")
        .args(["--quiet", "--locked", "--force", "--root", &root])
        .args([tool.name, "--version", tool.version])
        .env("CARGO_TARGET_DIR", &shared)
        .capture()
        .map(|_| ())
        .map_err(|failure| match failure {
            Failure::Wrong(problem) => Failure::Wrong(format!(
                "{problem}\n{} {} could not be built; it is needed for this: {}. \
                 It comes from crates.io, so look at the network first",
                tool.name, tool.version, tool.why
            )),
            other => other,
        })
}

fn folder() -> Result<PathBuf, Failure> {
    Ok(target()?.join("tools"))
}

fn is_installed(tool: &Tool) -> Result<bool, Failure> {
    let record = fs::read_to_string(folder()?.join(".crates.toml")).unwrap_or_default();
    let program = program(tool)?;
    let is_there = program.is_file() || program.with_extension("exe").is_file();
    Ok(is_recorded(&record, tool) && is_there)
}

/// Whether the file in which cargo notes what it installed names the tool in its version.
fn is_recorded(record: &str, tool: &Tool) -> bool {
    let entry = format!("\"{} {} (", tool.name, tool.version);
    record.lines().any(|line| line.starts_with(&entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_of_a_tool_is_another_tool() {
        let tool = Tool {
            name: "cargo-deny",
            version: "0.20.2",
            why: "",
        };
        let entry = |name: &str| {
            format!(
                "[v1]\n\"{name} (registry+https://github.com/rust-lang/crates.io-index)\" = [\"x\"]\n"
            )
        };
        for (record, is_there) in [
            (entry("cargo-deny 0.20.2"), true),
            (entry("cargo-deny 0.20.20"), false),
            (entry("cargo-deny 0.20.1"), false),
            (entry("cargo-deny-extra 0.20.2"), false),
            (String::new(), false),
        ] {
            assert_eq!(is_recorded(&record, &tool), is_there, "{record}");
        }
    }
}
