//! Whose types stand in the public interfaces of the published crates.
//!
//! A type of another library in a signature makes that library's versions part of ours: its next
//! major release is then a breaking change here. So each crate lists in its manifest what it shows,
//! under the key that `cargo check-external-types` knows too:
//!
//! ```toml
//! [package.metadata.cargo_check_external_types]
//! allowed_external_types = ["serde_core::*"]
//! ```
//!
//! What it really shows is read from the JSON that rustdoc of the nightly toolchain writes. The
//! standard library and the crates of this workspace are free; who may know whom among these is the
//! matter of `cargo xtask edges`. An entry that nothing matches is a mistake as well.

use crate::workspace::{Failure, Package, cargo_of, packages, target};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Rustdoc writes JSON only there.
pub(crate) const TOOLCHAIN: &str = "nightly";

const KEY: &str = "cargo_check_external_types";
const LIST: &str = "allowed_external_types";
const STANDARD: &[&str] = &["core", "alloc", "std", "proc_macro"];

/// A foreign type or trait by the path of its definition, and one place where it shows.
type Shown = BTreeMap<String, String>;

pub(crate) fn check() -> Result<String, Failure> {
    let packages = packages()?;
    let ours: BTreeSet<String> = packages
        .iter()
        .map(|package| crate_name(package.name()))
        .collect();
    let folder = target()?.join("slow/api");
    let mut problems = String::new();
    let (mut crates, mut types) = (0, BTreeSet::new());
    for package in packages.iter().filter(|package| is_library(package)) {
        let shown = foreign(&documented(package, &folder)?, &ours);
        let allowed = allowed(package);
        for problem in compare(&shown, &allowed) {
            let _ = writeln!(problems, "{}: {problem}", package.name());
        }
        crates += 1;
        types.extend(shown.into_keys());
    }
    if problems.is_empty() {
        let count = types.len();
        return Ok(format!("{crates} crates show {count} types of others"));
    }
    let _ = writeln!(
        problems,
        "hide the type behind one of ours, or allow it in the crate's Cargo.toml:\n\
         [package.metadata.{KEY}]\n{LIST} = [..]"
    );
    Err(Failure::Wrong(problems))
}

fn is_library(package: &Package) -> bool {
    package.is_published() && !package.targets("lib").is_empty()
}

fn allowed(package: &Package) -> Vec<&str> {
    let list = package.metadata(KEY)[LIST].as_array().map(Vec::as_slice);
    list.unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

fn documented(package: &Package, folder: &Path) -> Result<Value, Failure> {
    let target = folder.display().to_string();
    cargo_of(TOOLCHAIN, "rustdoc")
        .args(["--quiet", "--locked", "--lib", "--target-dir", &target])
        .args(["--package", package.name()])
        .args(["--", "-Zunstable-options", "--output-format", "json"])
        .capture()?;
    let name = package.targets("lib").concat();
    let file = folder.join(format!("doc/{}.json", crate_name(&name)));
    let bytes = fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()));
    let json = serde_json::from_slice(&bytes?);
    Ok(json.map_err(|error| format!("{} is not what rustdoc wrote: {error}", file.display()))?)
}

fn crate_name(package: &str) -> String {
    package.replace('-', "_")
}

/// Every path in a public item that leads to a crate which is neither ours nor the standard library.
fn foreign(documented: &Value, ours: &BTreeSet<String>) -> Shown {
    let mut shown = Shown::new();
    let items = documented["index"].as_object().into_iter().flatten();
    for (_, item) in items.filter(|(_, item)| is_ours(item)) {
        let mut ids = Vec::new();
        paths(&item["inner"], &mut ids);
        for id in ids {
            let summary = &documented["paths"][id.to_string()];
            let owner = summary["crate_id"].to_string();
            let owner = documented["external_crates"][owner]["name"].as_str();
            // Nothing is said about what is private, and about items of the crate itself.
            let Some(owner) = owner else { continue };
            if STANDARD.contains(&owner) || ours.contains(owner) {
                continue;
            }
            let parts = summary["path"].as_array().map(Vec::as_slice);
            let parts: Vec<&str> = parts
                .unwrap_or_default()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            shown.entry(parts.join("::")).or_insert_with(|| place(item));
        }
    }
    shown
}

/// Written in the crate itself: not an implementation that follows from others.
fn is_ours(item: &Value) -> bool {
    let implementation = &item["inner"]["impl"];
    item["crate_id"] == 0
        && implementation["is_synthetic"] != true
        && implementation["blanket_impl"].is_null()
}

/// The ids of all types and traits that an item names, and of what it exports again.
fn paths(value: &Value, ids: &mut Vec<u64>) {
    match value {
        Value::Object(fields) => {
            let is_path = fields.get("path").is_some_and(Value::is_string);
            let is_export = fields.get("source").is_some_and(Value::is_string);
            if is_path || is_export {
                ids.extend(fields.get("id").and_then(Value::as_u64));
            }
            fields.values().for_each(|field| paths(field, ids));
        }
        Value::Array(values) => values.iter().for_each(|value| paths(value, ids)),
        _ => {}
    }
}

fn place(item: &Value) -> String {
    let span = &item["span"];
    let file = span["filename"].as_str().unwrap_or("a macro");
    format!("{file}:{}", span["begin"][0].as_u64().unwrap_or(1))
}

/// What is shown and not allowed, and what is allowed and not shown.
fn compare(shown: &Shown, allowed: &[&str]) -> Vec<String> {
    let is_allowed = |name: &str| allowed.iter().any(|pattern| matches(pattern, name));
    let excess = shown.iter().filter(|(name, _)| !is_allowed(name));
    let excess = excess.map(|(name, place)| format!("{place} shows {name}, which is not allowed"));
    let is_idle = |pattern: &&&str| !shown.keys().any(|name| matches(pattern, name));
    let idle = allowed.iter().filter(is_idle);
    let idle = idle.map(|pattern| format!("`{pattern}` is allowed, but nothing shows it"));
    excess.chain(idle).collect()
}

/// `a::b::*` stands for everything below `a::b`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_foreign_types_in_signatures_and_exports_and_nowhere_else() {
        let named = |id: u64| json!({ "resolved_path": { "path": "x", "id": id } });
        let documented = json!({
            "index": {
                "1": { "crate_id": 0, "span": { "filename": "a.rs", "begin": [7, 1] }, "inner":
                    { "function": { "sig": { "inputs": [["it", named(11)]], "output": named(12) } } } },
                "2": { "crate_id": 0, "span": null, "inner": { "use": { "source": "x", "id": 13 } } },
                "3": { "crate_id": 0, "inner": { "impl":
                    { "is_synthetic": true, "blanket_impl": null, "trait": named(14) } } },
                "4": { "crate_id": 0, "inner": { "impl":
                    { "is_synthetic": false, "blanket_impl": { "generic": "T" }, "trait": named(14) } } },
                "5": { "crate_id": 3, "inner": { "function": named(14) } },
                "6": { "crate_id": 0, "inner": { "struct": named(15) } },
            },
            "paths": {
                "11": { "crate_id": 3, "path": ["other", "sub", "Type"] },
                "12": { "crate_id": 1, "path": ["core", "Type"] },
                "13": { "crate_id": 3, "path": ["other", "Again"] },
                "14": { "crate_id": 3, "path": ["other", "Never"] },
                "15": { "crate_id": 2, "path": ["polity_types", "Height"] },
            },
            "external_crates": {
                "1": { "name": "core" }, "2": { "name": "polity_types" }, "3": { "name": "other" },
            },
        });
        let ours = BTreeSet::from(["polity_types".to_owned()]);
        let shown = foreign(&documented, &ours);
        let expected = [
            ("other::Again", "a macro:1"),
            ("other::sub::Type", "a.rs:7"),
        ];
        let expected = expected.map(|(name, place)| (name.to_owned(), place.to_owned()));
        assert_eq!(shown, Shown::from(expected));
    }

    #[test]
    fn compares_in_both_directions() {
        let shown: Shown = ["a::B", "c::d::E"]
            .map(|name| (name.to_owned(), "x.rs:1".to_owned()))
            .into();
        for (allowed, problems) in [
            (vec!["a::B", "c::d::E"], vec![]),
            (vec!["a::*", "c::d::*"], vec![]),
            (
                vec!["a::*"],
                vec!["x.rs:1 shows c::d::E, which is not allowed"],
            ),
            (
                vec!["a::*", "c::*", "d::*"],
                vec!["`d::*` is allowed, but nothing shows it"],
            ),
            (
                vec!["a::BC", "c::*"],
                vec![
                    "x.rs:1 shows a::B, which is not allowed",
                    "`a::BC` is allowed, but nothing shows it",
                ],
            ),
        ] {
            assert_eq!(compare(&shown, &allowed), problems, "{allowed:?}");
        }
    }
}
