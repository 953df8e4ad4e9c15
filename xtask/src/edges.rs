//! `cargo xtask edges`: who may know whom.
//!
//! `docs/ARCHITECTURE.md` holds a table between two marker lines: a crate, and the crates of this
//! workspace that it may import. It is compared with the manifests in both directions, because an
//! edge that is absent is a decision as well.

use crate::workspace::{Failure, packages, read};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const PAGE: &str = "docs/ARCHITECTURE.md";
const BEGIN: &str = "<!-- edges: begin -->";
const END: &str = "<!-- edges: end -->";

type Edges = BTreeSet<(String, String)>;

pub(crate) fn check() -> Result<String, Failure> {
    let (documented_crates, documented) = parse(&read(PAGE)?)?;
    let mut real_crates = BTreeSet::new();
    let mut real = Edges::new();
    for package in packages()?
        .iter()
        .filter(|package| package.name() != "xtask")
    {
        real_crates.insert(package.name().to_owned());
        let imports = package.imports().into_iter();
        real.extend(imports.map(|import| (package.name().to_owned(), import.to_owned())));
    }
    let mut problems = String::new();
    for name in real_crates.difference(&documented_crates) {
        let _ = writeln!(
            problems,
            "{name} is a crate, but the table in {PAGE} lacks it"
        );
    }
    for name in documented_crates.difference(&real_crates) {
        let _ = writeln!(problems, "{name} is in the table in {PAGE}, but no crate");
    }
    for (from, to) in real.difference(&documented) {
        let _ = writeln!(
            problems,
            "{from} imports {to}, but the table in {PAGE} does not say so"
        );
    }
    for (from, to) in documented.difference(&real) {
        let _ = writeln!(
            problems,
            "{from} does not import {to}, but the table in {PAGE} says so"
        );
    }
    if problems.is_empty() {
        Ok(format!(
            "{} edges among {} crates, as documented",
            real.len(),
            real_crates.len()
        ))
    } else {
        Err(Failure::Wrong(problems))
    }
}

/// Reads the table: crates, and edges among them.
fn parse(page: &str) -> Result<(BTreeSet<String>, Edges), String> {
    let table = page
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .map(|(table, _)| table)
        .ok_or_else(|| format!("{PAGE} has no table between `{BEGIN}` and `{END}`"))?;
    let mut crates = BTreeSet::new();
    let mut edges = Edges::new();
    for row in table.lines() {
        let mut cells = row.trim().trim_matches('|').split('|').map(names);
        let (Some(from), Some(to)) = (cells.next(), cells.next()) else {
            continue;
        };
        // Heading and ruler name no crate.
        let [from] = from.as_slice() else { continue };
        if !crates.insert(from.clone()) {
            return Err(format!("{PAGE} has two rows for {from}"));
        }
        edges.extend(to.into_iter().map(|to| (from.clone(), to)));
    }
    Ok((crates, edges))
}

/// Every word between backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_table_between_the_markers() {
        let page = format!(
            "| `x` | `y` |\n{BEGIN}\n| crate | imports |\n|---|---|\n| `a` | |\n| `b` | `a` |\n\
             | `c` | `a`, `b` |\n{END}\n| `z` | `a` |"
        );
        let (crates, edges) = parse(&page).unwrap();
        assert_eq!(crates.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let expected = [pair("b", "a"), pair("c", "a"), pair("c", "b")];
        assert_eq!(edges.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn refuses_a_page_without_table_and_a_crate_with_two_rows() {
        assert!(parse("nothing").is_err());
        assert!(parse(&format!("{BEGIN}\n| `a` | |\n| `a` | |\n{END}")).is_err());
    }
}
