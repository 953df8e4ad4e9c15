//! What `cargo xtask check --slow` does beyond `check`: the questions of a release, which cost minutes
//! and tools.

use crate::check::{Finding, Mode, Step, dependencies};
use crate::tools::{self, DENY, FUZZ, HACK, SEMVER_CHECKS};
use crate::workspace::{Failure, Package, cargo_of, git, has_toolchain, packages, root, target};
use crate::{api, fuzz, msrv, release, words};
use std::fs;
use std::path::Path;

/// In order; a step replaces that of the same name in the quick check.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "words",
        run: |_| words::check().map(Finding::Passed),
    },
    Step {
        name: "tools",
        run: |_| {
            let built = tools::install(&[&DENY, &FUZZ, &HACK])?;
            Ok(Finding::Passed(format!("{built} built")))
        },
    },
    Step {
        name: "dependencies",
        run: dependencies,
    },
    Step {
        name: "advisories",
        run: |_| advisories(),
    },
    Step {
        name: "features",
        run: features,
    },
    Step {
        name: "lowest",
        run: lowest,
    },
    Step {
        name: "rust version",
        run: |_| msrv::check().map(Finding::Passed),
    },
    Step {
        name: "public types",
        run: |_| {
            if has_toolchain(api::TOOLCHAIN) {
                return api::check().map(Finding::Passed);
            }
            Ok(no_toolchain(api::TOOLCHAIN))
        },
    },
    Step {
        name: "semver",
        run: semver,
    },
    Step {
        name: "fuzz",
        run: |_| fuzz::smoke().map(Finding::Passed),
    },
    Step {
        name: "release",
        run: |_| release::rehearse().map(Finding::Passed),
    },
];

fn no_toolchain(toolchain: &str) -> Finding {
    Finding::Skipped(format!("rustup toolchain install {toolchain}"))
}

/// Known weaknesses of what is linked. The database is fetched, so it needs a network.
fn advisories() -> Result<Finding, Failure> {
    let call = tools::ready(&DENY)?.args(["--locked", "check", "advisories"]);
    match call.capture() {
        Ok(_) => Ok(Finding::Passed(String::new())),
        Err(Failure::Wrong(problem)) if is_unreachable(&problem) => {
            let reason = "the advisory database cannot be fetched from here";
            Ok(Finding::Skipped(reason.to_owned()))
        }
        Err(failure) => Err(failure),
    }
}

/// What cargo-deny says if it has no database; anything else is about a dependency.
fn is_unreachable(problem: &str) -> bool {
    problem.contains("failed to fetch advisory database")
}

/// Each crate alone, with every set of its features: cargo unifies features across a build, so a crate
/// can live on what its neighbours switch on.
fn features(mode: Mode) -> Result<Finding, Failure> {
    let call = tools::ready(&HACK)?.args(["check", "--locked", "--workspace"]);
    mode.run(call.arg("--feature-powerset"))?;
    let packages = packages()?;
    let features: usize = packages.iter().map(Package::features).sum();
    let count = packages.len();
    Ok(Finding::Passed(format!(
        "{count} crates alone, {features} features"
    )))
}

/// The lowest versions that the manifests allow. The lock file of the workspace stays as it is.
fn lowest(mode: Mode) -> Result<Finding, Failure> {
    const TOOLCHAIN: &str = "nightly";
    if !has_toolchain(TOOLCHAIN) {
        return Ok(no_toolchain(TOOLCHAIN));
    }
    let folder = target()?.join("slow/lowest");
    let lock = folder.join("Cargo.lock");
    // A file from the last time would be kept.
    let _ = fs::remove_file(&lock);
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make a folder: {error}"))?;
    let path = |path: &Path| path.display().to_string();
    let before = fs::read(root().join("Cargo.lock")).ok();
    let call = cargo_of(TOOLCHAIN, "check")
        .args([
            "-Zdirect-minimal-versions",
            "--workspace",
            "--lib",
            "--bins",
        ])
        .env("CARGO_RESOLVER_LOCKFILE_PATH", &path(&lock))
        .env("CARGO_TARGET_DIR", &path(&folder.join("build")));
    let finding = mode.run(call);
    // Older nightlies do not know the variable and write the file of the workspace.
    if let Some(before) = before
        && !lock.is_file()
    {
        fs::write(root().join("Cargo.lock"), before)
            .map_err(|error| format!("cannot restore Cargo.lock: {error}"))?;
    }
    finding.map_err(|failure| match failure {
        Failure::Wrong(problem) => Failure::Wrong(format!(
            "{problem}\nraise the lowest version of the dependency in the root Cargo.toml"
        )),
        other => other,
    })
}

/// Public interfaces against the last release.
fn semver(mode: Mode) -> Result<Finding, Failure> {
    let tags = git("tag").args(["--list", "v*"]).capture()?;
    let Some(tag) = last_release(&tags) else {
        return Ok(Finding::Skipped("no release yet".to_owned()));
    };
    let packages = packages()?;
    let libraries = packages
        .iter()
        .filter(|package| package.is_published() && !package.targets("lib").is_empty());
    let names = libraries.flat_map(|library| ["--package", library.name()]);
    let call = tools::ready(&SEMVER_CHECKS)?.args(["check-release", "--baseline-rev", tag]);
    mode.run(call.args(names))?;
    Ok(Finding::Passed(format!("against {tag}")))
}

/// The highest of the tags that are a release: `v1.2.3`, without anything behind.
fn last_release(tags: &str) -> Option<&str> {
    let numbers = |tag: &str| -> Option<Vec<u64>> {
        let parts = tag.strip_prefix('v')?.split('.');
        let numbers: Option<Vec<u64>> = parts.map(|part| part.parse().ok()).collect();
        numbers.filter(|numbers| numbers.len() == 3)
    };
    let releases = tags.lines().filter_map(|tag| Some((numbers(tag)?, tag)));
    releases.max().map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_release_is_the_highest_and_no_candidate() {
        for (tags, last) in [
            ("", None),
            ("v0.2.0\nv0.10.0\nv0.9.9\n", Some("v0.10.0")),
            ("v0.1.0\nv0.2.0-rc.1\nvectors\nv1\n", Some("v0.1.0")),
        ] {
            assert_eq!(last_release(tags), last, "{tags:?}");
        }
    }

    #[test]
    fn only_a_database_that_is_not_there_is_no_finding() {
        for (problem, is_skipped) in [
            (
                "[ERROR] failed to fetch advisory database https://example.org: failed to clone",
                true,
            ),
            ("error[vulnerability]: a potential vulnerability", false),
        ] {
            assert_eq!(is_unreachable(problem), is_skipped, "{problem}");
        }
    }
}
