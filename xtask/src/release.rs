//! `cargo xtask release`: what is left to do, and with `--dry-run` a rehearsal.
//!
//! The rehearsal assembles the packages and lets cargo build each from what is in it. Then it puts
//! them into a local registry, one after the other: a folder with checksums that takes the place of
//! crates.io. At the end a crate that has nothing but that registry does what a newcomer does: it
//! pastes the examples of the READMEs and runs them. Nothing is uploaded.

mod consumer;
mod registry;

use crate::package;
use crate::workspace::{Failure, Package, cargo, git, packages, read, target};
use std::collections::BTreeSet;

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => describe(),
        ["--dry-run"] => {
            println!("{}", rehearse()?);
            Ok(())
        }
        _ => Err(Failure::Usage("expected nothing or `--dry-run`".to_owned())),
    }
}

/// Publishes into a local registry, and runs the examples of the READMEs from there.
pub(crate) fn rehearse() -> Result<String, Failure> {
    package::check()?;
    let packages = packages()?;
    let order = order(&packages)?;
    let names = order
        .iter()
        .flat_map(|package| ["--package", package.name()]);
    cargo("package")
        .args(["--quiet", "--locked", "--allow-dirty"])
        .args(names)
        .capture()?;
    let target = target()?;
    let folder = target.join("slow/release");
    let registry = folder.join("registry");
    registry::fill(&registry)?;
    for package in &order {
        registry::publish(&registry, &target.join("package"), package)?;
    }
    let libraries: Vec<&Package> = order
        .iter()
        .copied()
        .filter(|package| package.targets("bin").is_empty())
        .collect();
    let examples = consumer::run(&folder, &registry, &libraries)?;
    Ok(format!(
        "{} crates published locally, {examples} examples run from there",
        order.len()
    ))
}

/// The published crates, each behind what it needs.
fn order(packages: &[Package]) -> Result<Vec<&Package>, Failure> {
    let mut left: Vec<&Package> = packages
        .iter()
        .filter(|package| package.is_published())
        .collect();
    let mut order: Vec<&Package> = Vec::new();
    let mut done = BTreeSet::new();
    while !left.is_empty() {
        let is_ready = |package: &&Package| {
            let imports = package.imports();
            imports.iter().all(|import| done.contains(import))
        };
        let (ready, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(is_ready);
        if ready.is_empty() {
            let names: Vec<&str> = rest.iter().map(|package| package.name()).collect();
            return Err(Failure::Wrong(format!(
                "these need each other or an unpublished crate: {}; see `cargo xtask edges`",
                names.join(", ")
            )));
        }
        done.extend(ready.iter().map(|package| package.name()));
        order.extend(ready);
        left = rest;
    }
    Ok(order)
}

/// How far the workspace is from a release.
struct State {
    version: String,
    is_clean: bool,
    is_in_changelog: bool,
    is_tagged: bool,
}

fn describe() -> Result<(), Failure> {
    let packages = packages()?;
    let order = order(&packages)?;
    let version = order.first().map(|package| package.field("version"));
    let version = version.unwrap_or_default().to_owned();
    let tags = git("tag")
        .args(["--list", &format!("v{version}")])
        .capture()?;
    let state = State {
        is_clean: git("status").arg("--porcelain").capture()?.is_empty(),
        is_in_changelog: has_section(&read("CHANGELOG.md")?, &version),
        is_tagged: !tags.trim().is_empty(),
        version,
    };
    let names: Vec<&str> = order.iter().map(|package| package.name()).collect();
    println!(
        "release {}, in this order: {}\n",
        state.version,
        names.join(", ")
    );
    for (number, (is_done, step)) in steps(&state).into_iter().enumerate() {
        let mark = if is_done { "done" } else { "" };
        println!("{}. {mark:<6}{step}", number + 1);
    }
    println!("\nThis command uploads nothing; docs/RELEASING.md gives the reasons.");
    Ok(())
}

/// What to do, in order, and whether it is done as far as the files tell.
fn steps(state: &State) -> Vec<(bool, String)> {
    let version = &state.version;
    vec![
        (
            !state.is_tagged,
            format!("Cargo.toml: a version that is not tagged yet; it says {version}"),
        ),
        (
            state.is_in_changelog,
            format!("CHANGELOG.md: a section `## [{version}] - YYYY-MM-DD` below Unreleased"),
        ),
        (
            state.is_clean,
            "git commit: nothing may be left over".to_owned(),
        ),
        (false, "cargo xtask check --slow".to_owned()),
        (false, "cargo publish --workspace --dry-run".to_owned()),
        (false, format!("git tag --annotate v{version}")),
        (false, "cargo publish --workspace".to_owned()),
        (false, format!("git push origin v{version}")),
    ]
}

/// Whether a changelog has a dated section for a version.
fn has_section(changelog: &str, version: &str) -> bool {
    let heading = format!("## [{version}] - ");
    changelog.lines().any(|line| line.starts_with(&heading))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, needs: &[&str], is_published: bool) -> Package {
        let dependency = |name: &&str| json!({ "name": name, "kind": null, "path": "there" });
        let dependencies: Vec<_> = needs.iter().map(dependency).collect();
        let publish = if is_published { json!(null) } else { json!([]) };
        Package::new(json!({ "name": name, "dependencies": dependencies, "publish": publish }))
    }

    #[test]
    fn a_crate_is_published_after_what_it_needs() {
        let packages = [
            package("node", &["replica", "types"], true),
            package("replica", &["types"], true),
            package("types", &[], true),
            package("model", &["types"], false),
        ];
        let order = order(&packages).unwrap();
        let names: Vec<&str> = order.iter().map(|package| package.name()).collect();
        assert_eq!(names, ["types", "replica", "node"]);
    }

    #[test]
    fn what_can_not_be_published_is_named() {
        let packages = [
            package("types", &[], true),
            package("replica", &["testkit"], true),
            package("testkit", &[], false),
        ];
        let Err(Failure::Wrong(problem)) = order(&packages) else {
            panic!("an order without testkit");
        };
        assert!(
            problem.contains("replica") && !problem.contains("types"),
            "{problem}"
        );
    }

    #[test]
    fn a_section_of_the_changelog_has_a_date() {
        for (changelog, is_there) in [
            ("## [Unreleased]\n\n## [0.1.0] - 2026-11-24\n", true),
            ("## [0.1.0]\n", false),
            ("## [0.1.0-rc.1] - 2026-11-24\n", false),
            ("See ## [0.1.0] - x", false),
        ] {
            assert_eq!(has_section(changelog, "0.1.0"), is_there, "{changelog}");
        }
    }

    #[test]
    fn steps_know_what_is_done() {
        let state = |is_clean, is_in_changelog, is_tagged| State {
            version: "0.1.0".to_owned(),
            is_clean,
            is_in_changelog,
            is_tagged,
        };
        for (state, done) in [
            (state(true, true, false), [true, true, true]),
            (state(false, false, true), [false, false, false]),
            (state(true, false, false), [true, false, true]),
        ] {
            let found: Vec<bool> = steps(&state).into_iter().map(|(done, _)| done).collect();
            assert_eq!(found[..3], done);
            assert!(found[3..].iter().all(|done| !done));
        }
    }
}
