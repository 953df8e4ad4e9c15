//! Whether the crates keep what their `rust-version` promises.
//!
//! Three witnesses. The manifests: no crate links a dependency that asks for a newer compiler than
//! it does itself. Clippy: nothing of the standard library is used that came later. And the old
//! compiler, where rustup has it; it is not downloaded for this.

use crate::workspace::{Failure, Package, cargo, cargo_of, has_toolchain, packages, target};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

type Version = (u64, u64, u64);

/// A package of the resolved graph.
struct Linked<'a> {
    name: &'a str,
    rust_version: Option<Version>,
    /// What is linked into it, or runs when it is built.
    needs: Vec<&'a str>,
}

pub(crate) fn check() -> Result<String, Failure> {
    let packages = packages()?;
    let published: Vec<&Package> = packages
        .iter()
        .filter(|package| package.is_published())
        .collect();
    let text = cargo("metadata")
        .args(["--format-version", "1", "--locked"])
        .capture()?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let graph = graph(&metadata);
    let mut problems = String::new();
    for package in &published {
        for problem in newer(&graph, package.field("id")) {
            let _ = writeln!(problems, "{}: {problem}", package.name());
        }
    }
    if !problems.is_empty() {
        problems.push_str("take an older version of the dependency, or raise `rust-version`");
        return Err(Failure::Wrong(problems));
    }
    cargo("clippy")
        .args(["--quiet", "--locked", "--workspace", "--lib", "--bins"])
        .args(["--", "--deny", "clippy::incompatible_msrv"])
        .capture()?;
    let note = build(&published)?;
    Ok(format!(
        "{} crates and what they link; {note}",
        published.len()
    ))
}

/// Builds with each compiler that is promised and at hand; says which are not.
fn build(published: &[&Package]) -> Result<String, Failure> {
    let mut promises: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in published {
        let version = package.field("rust_version");
        promises.entry(version).or_default().push(package.name());
    }
    let (mut built, mut absent) = (Vec::new(), Vec::new());
    for (version, names) in promises {
        if !has_toolchain(version) {
            absent.push(version);
            continue;
        }
        let folder = target()?.join(format!("slow/rust-{version}"));
        cargo_of(version, "check")
            .args(["--quiet", "--locked", "--lib", "--bins"])
            .args(names.iter().flat_map(|name| ["--package", *name]))
            .env("CARGO_TARGET_DIR", &folder.display().to_string())
            .capture()?;
        built.push(version);
    }
    let mut note = format!("built with {}", listed(&built));
    if !absent.is_empty() {
        let _ = write!(
            note,
            "; not tried: rustup toolchain install {}",
            absent.join(" ")
        );
    }
    Ok(note)
}

fn listed(versions: &[&str]) -> String {
    if versions.is_empty() {
        "none of them".to_owned()
    } else {
        versions.join(", ")
    }
}

/// The graph that `cargo metadata` resolves, without edges of tests.
fn graph(metadata: &Value) -> BTreeMap<&str, Linked<'_>> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let Some(id) = node["id"].as_str() else {
            continue;
        };
        let dependencies = node["deps"].as_array().into_iter().flatten();
        let is_linked = |dependency: &&Value| {
            let kinds = list(&dependency["dep_kinds"]);
            kinds.iter().any(|kind| kind["kind"] != "dev")
        };
        let linked = dependencies.filter(is_linked);
        needs.insert(
            id,
            linked.filter_map(|linked| linked["pkg"].as_str()).collect(),
        );
    }
    let mut graph = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(id) = package["id"].as_str() else {
            continue;
        };
        let linked = Linked {
            name: package["name"].as_str().unwrap_or_default(),
            rust_version: package["rust_version"].as_str().and_then(version),
            needs: needs.remove(id).unwrap_or_default(),
        };
        graph.insert(id, linked);
    }
    graph
}

/// What a package links, near or far, that asks for a newer compiler than it does.
fn newer(graph: &BTreeMap<&str, Linked<'_>>, id: &str) -> Vec<String> {
    let Some(own) = graph.get(id).and_then(|package| package.rust_version) else {
        return vec!["`rust-version` is missing".to_owned()];
    };
    let mut seen = BTreeSet::new();
    let mut ahead = vec![id];
    while let Some(id) = ahead.pop() {
        if seen.insert(id) {
            ahead.extend(graph.get(id).into_iter().flat_map(|package| &package.needs));
        }
    }
    let linked = seen.into_iter().filter_map(|id| graph.get(id));
    linked
        .filter_map(|linked| {
            let (major, minor, patch) = linked.rust_version.filter(|wanted| *wanted > own)?;
            let name = linked.name;
            Some(format!("{name} needs Rust {major}.{minor}.{patch}"))
        })
        .collect()
}

/// `1.88` and `1.88.1`.
fn version(text: &str) -> Option<Version> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let mut next = || parts.next().unwrap_or(Some(0));
    Some((next()?, next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_versions() {
        for (text, expected) in [
            ("1.88", Some((1, 88, 0))),
            ("1.88.1", Some((1, 88, 1))),
            ("2", Some((2, 0, 0))),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_linked_may_not_be_newer_and_what_tests_use_may() {
        let dependency =
            |pkg: &str, kind: Value| json!({ "pkg": pkg, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [
                { "id": "a", "name": "a", "rust_version": "1.88" },
                { "id": "b", "name": "b", "rust_version": "1.80" },
                { "id": "c", "name": "c", "rust_version": "1.88.1" },
                { "id": "d", "name": "d", "rust_version": "1.95" },
                { "id": "e", "name": "e", "rust_version": null },
                { "id": "f", "name": "f", "rust_version": "1.90" },
            ],
            "resolve": { "nodes": [
                { "id": "a", "deps": [dependency("b", Value::Null), dependency("d", json!("dev"))] },
                { "id": "b", "deps": [dependency("c", json!("build")), dependency("e", Value::Null)] },
                { "id": "f", "deps": [dependency("b", Value::Null)] },
            ] },
        });
        let graph = graph(&metadata);
        for (id, problems) in [
            ("a", vec!["c needs Rust 1.88.1"]),
            ("e", vec!["`rust-version` is missing"]),
            ("f", vec![]),
        ] {
            assert_eq!(newer(&graph, id), problems, "{id}");
        }
    }
}
