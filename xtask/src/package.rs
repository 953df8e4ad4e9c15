//! `cargo xtask package`: whether the published crates could be published.
//!
//! Looks at the manifests as a registry does, and lets cargo assemble each package.

use crate::workspace::{Failure, Package, cargo, packages};
use std::fmt::Write as _;

/// What a registry takes at most.
const KEYWORDS_MAX: usize = 5;
const KEYWORD_LENGTH_MAX: usize = 20;
const CATEGORIES_MAX: usize = 5;

/// Those of the categories of crates.io that fit a crate of this workspace.
const CATEGORIES: &[&str] = &[
    "algorithms",
    "authentication",
    "command-line-utilities",
    "concurrency",
    "cryptography",
    "cryptography::cryptocurrencies",
    "data-structures",
    "database-implementations",
    "development-tools::testing",
    "encoding",
    "finance",
    "network-programming",
    "no-std",
    "simulation",
];

pub(crate) fn check() -> Result<String, Failure> {
    let packages = packages()?;
    let unpublished: Vec<&str> = packages
        .iter()
        .filter(|package| !package.is_published())
        .map(Package::name)
        .collect();
    let published: Vec<&Package> = packages
        .iter()
        .filter(|package| package.is_published())
        .collect();
    let mut problems = String::new();
    for package in &published {
        for problem in examine(package, &unpublished) {
            let _ = writeln!(problems, "{}: {problem}", package.name());
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Wrong(problems));
    }
    // Without building: the crates were built and tested in place.
    let names = published
        .iter()
        .flat_map(|package| ["--package", package.name()]);
    cargo("package")
        .args(["--quiet", "--no-verify", "--allow-dirty"])
        .args(names)
        .capture()?;
    Ok(format!("{} crates could be published", published.len()))
}

fn examine(package: &Package, unpublished: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for field in [
        "description",
        "license",
        "readme",
        "documentation",
        "rust_version",
    ] {
        if package.field(field).is_empty() {
            problems.push(format!("`{field}` is missing"));
        }
    }
    if !package.has_docs_rs() {
        problems.push("`[package.metadata.docs.rs]` is missing".to_owned());
    }
    let readme = package.folder().join(package.field("readme"));
    if !readme.is_file() {
        problems.push(format!("{} does not exist", readme.display()));
    }
    let keywords = package.list("keywords");
    if keywords.is_empty() || keywords.len() > KEYWORDS_MAX {
        problems.push(format!(
            "{} keywords; 1 to {KEYWORDS_MAX} are taken",
            keywords.len()
        ));
    }
    let is_plain = |keyword: &str| {
        keyword.len() <= KEYWORD_LENGTH_MAX
            && keyword.starts_with(|c: char| c.is_ascii_alphabetic())
            && keyword
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_+".contains(c))
    };
    for keyword in keywords.into_iter().filter(|keyword| !is_plain(keyword)) {
        problems.push(format!("`{keyword}` is too long or no plain keyword"));
    }
    let categories = package.list("categories");
    if categories.is_empty() || categories.len() > CATEGORIES_MAX {
        problems.push(format!(
            "{} categories; 1 to {CATEGORIES_MAX} are taken",
            categories.len()
        ));
    }
    for category in categories
        .into_iter()
        .filter(|category| !CATEGORIES.contains(category))
    {
        problems.push(format!("`{category}` is no category that this check knows"));
    }
    for import in package.imports() {
        if unpublished.contains(&import) {
            problems.push(format!("it needs {import}, which is not published"));
        }
    }
    problems
}
