//! `cargo xtask hygiene`: what does not belong into files that everybody reads.
//!
//! Paths of one machine, work that was promised and not done, and packages from elsewhere than
//! crates.io. The list is short and exact on purpose: a check that cries at ordinary words would be
//! switched off.

use crate::workspace::{Failure, files, read, root};
use std::fmt::Write as _;
use std::fs;

/// A text that must not occur, and why. The texts are put together from pieces, so that this file
/// does not contain them itself.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("/ho", "me/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/Us", "ers/"), "a path of one machine"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/fa", "rm/"), "a path of one machine"),
    (concat!("C:\\Us", "ers"), "a path of one machine"),
    (
        concat!("TO", "DO"),
        "work that is promised: do it or name it in the changelog",
    ),
    (
        concat!("FIX", "ME"),
        "work that is promised: do it or name it in the changelog",
    ),
    (
        concat!("todo", "!("),
        "work that is promised: do it or name it in the changelog",
    ),
    (
        concat!("this ", "session"),
        "speaks of how the text came about",
    ),
    (
        concat!("issue", " #"),
        "speaks of a tracker that the reader does not have",
    ),
];

/// The only source of packages.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(crate) fn check() -> Result<String, Failure> {
    let listed = files()?;
    let mut problems = String::new();
    let mut count = 0;
    for file in listed.lines() {
        // Removed but not yet committed, or not text.
        let Some(text) = fs::read(root().join(file))
            .ok()
            .and_then(|b| String::from_utf8(b).ok())
        else {
            continue;
        };
        count += 1;
        for (number, line) in text.lines().enumerate() {
            for reason in complaints(line) {
                let _ = writeln!(problems, "{file}:{}: {reason}: {}", number + 1, line.trim());
            }
        }
    }
    for line in read("Cargo.lock")?.lines() {
        if let Some(source) = line.strip_prefix("source = ")
            && source.trim_matches('"') != REGISTRY
        {
            let _ = writeln!(problems, "Cargo.lock: a package from elsewhere: {source}");
        }
    }
    let config = read(".cargo/config.toml")?;
    if config
        .lines()
        .any(|line| line.starts_with("[source") || line.starts_with("[registr"))
    {
        problems
            .push_str(".cargo/config.toml: names a registry, which is each user's own matter\n");
    }
    if problems.is_empty() {
        Ok(format!("{count} files"))
    } else {
        Err(Failure::Wrong(problems))
    }
}

fn complaints(line: &str) -> impl Iterator<Item = &'static str> {
    // What follows a word is part of a longer path or name, as in `ledger/root/v1`.
    let is_start =
        |at: usize| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
    let occurs = move |text: &str| line.match_indices(text).any(|(at, _)| is_start(at));
    let found = FORBIDDEN.iter().filter(move |(text, _)| occurs(text));
    found.map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complains_about_each_forbidden_text_and_about_nothing_else() {
        for (text, reason) in FORBIDDEN {
            let line = format!("see {text}x");
            assert!(complaints(&line).any(|found| found == *reason), "{text}");
        }
        for line in [
            "target/homely",
            "https://docs.rs/polity",
            "a TLS session",
            "polity/ledger/root/v1",
            "workroom",
        ] {
            assert_eq!(complaints(line).next(), None, "{line}");
        }
    }
}
