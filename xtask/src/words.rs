//! One word for one thing: the words that `docs/GLOSSARY.md` gave up do not come back.
//!
//! The page holds a table between two marker lines: words that are not used, and what is said
//! instead. They are looked for in the pages that people read, and in the names of public items. A
//! page that speaks of the literature may set a word in backticks.

use crate::workspace::{Failure, files, read};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

const PAGE: &str = "docs/GLOSSARY.md";
const BEGIN: &str = "<!-- unused: begin -->";
const END: &str = "<!-- unused: end -->";

/// A word in small letters, its parts separated by spaces, and what is said instead.
#[derive(Debug, PartialEq, Eq)]
struct Unused {
    words: String,
    instead: String,
}

pub(crate) fn check() -> Result<String, Failure> {
    let unused = parse(&read(PAGE)?)?;
    let mut problems = String::new();
    let (mut pages, mut names) = (0, 0);
    for file in files()?.lines() {
        let extension = Path::new(file).extension().and_then(OsStr::to_str);
        let is_page = extension == Some("md") && file != PAGE;
        let is_code = extension == Some("rs") && file.starts_with("crates/");
        if !is_page && !is_code {
            continue;
        }
        let Ok(text) = read(file) else { continue };
        pages += usize::from(is_page);
        for (number, line) in text.lines().enumerate() {
            let said = if is_page {
                prose(line)
            } else if let Some(name) = public_name(line) {
                names += 1;
                spelled(name)
            } else {
                continue;
            };
            for Unused { words, instead } in unused.iter().filter(|unused| says(&said, unused)) {
                let place = format!("{file}:{}", number + 1);
                let _ = writeln!(problems, "{place}: \"{words}\" is \"{instead}\" in {PAGE}");
            }
        }
    }
    if problems.is_empty() {
        let count = unused.len();
        Ok(format!(
            "{count} words absent from {pages} pages and {names} names"
        ))
    } else {
        Err(Failure::Wrong(problems))
    }
}

/// Reads the table between the markers.
fn parse(page: &str) -> Result<Vec<Unused>, String> {
    let table = page
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .map(|(table, _)| table)
        .ok_or_else(|| format!("{PAGE} has no table between `{BEGIN}` and `{END}`"))?;
    let mut unused = Vec::new();
    // Heading and ruler are the first two lines.
    for row in table.trim().lines().skip(2) {
        let mut cells = row.trim().trim_matches('|').split('|').map(str::trim);
        let (Some(words), Some(instead)) = (cells.next(), cells.next()) else {
            return Err(format!("{PAGE}: no row of two cells: {row}"));
        };
        unused.extend(words.split(',').map(|words| Unused {
            words: words.trim().to_lowercase(),
            instead: instead.to_owned(),
        }));
    }
    Ok(unused)
}

/// A line of a page in small letters, without what stands between backticks, words separated by
/// one space and with one at each end.
fn prose(line: &str) -> String {
    let text: Vec<&str> = line.split('`').step_by(2).collect();
    let text = text.join(" x ").to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    spaced(words.into_iter())
}

/// The name that a line makes public.
fn public_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start().strip_prefix("pub ")?.split_whitespace();
    let kinds = [
        "fn", "struct", "enum", "trait", "type", "const", "static", "mod", "union",
    ];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = loop {
        match words.next()? {
            // `const` is a kind and a qualifier of functions.
            "const" if words.clone().next() == Some("fn") => {}
            "unsafe" | "async" | "extern" => {}
            kind if kinds.contains(&kind) => break words.next()?,
            // A field.
            field => break field.strip_suffix(':')?,
        }
    };
    let end = name.find(|c| !is_plain(c)).unwrap_or(name.len());
    Some(&name[..end])
}

/// The words of a name: `MaxBlock`, `max_block` and `MAX_BLOCK` alike.
fn spelled(name: &str) -> String {
    let mut text = String::new();
    let mut was_small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && was_small {
            text.push(' ');
        }
        was_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        text.push(if c == '_' {
            ' '
        } else {
            c.to_ascii_lowercase()
        });
    }
    spaced(text.split(' '))
}

fn spaced<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!(" {} ", words.join(" "))
}

/// Whether a text has the word, alone or in the plural.
fn says(text: &str, unused: &Unused) -> bool {
    let words = &unused.words;
    text.contains(&format!(" {words} ")) || text.contains(&format!(" {words}s "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_table_between_the_markers() {
        let page = format!(
            "| x | y |\n{BEGIN}\n| not | but |\n|---|---|\n| validator, Full node | replica |\n{END}\n"
        );
        let unused = |words: &str| Unused {
            words: words.to_owned(),
            instead: "replica".to_owned(),
        };
        let expected = [unused("validator"), unused("full node")];
        assert_eq!(parse(&page).unwrap(), expected);
        assert!(parse("nothing").is_err());
        assert!(parse(&format!("{BEGIN}\n| a | b |\n|---|---|\n| c |\n{END}")).is_err());
    }

    #[test]
    fn finds_words_and_not_parts_of_them() {
        let unused = Unused {
            words: "full node".to_owned(),
            instead: String::new(),
        };
        for (line, is_found) in [
            ("A full node, say.", true),
            ("FULL-NODES", true),
            ("a full nodding", false),
            ("an artful node", false),
            ("full `x` node", false),
            ("called a `full node` there", false),
        ] {
            assert_eq!(says(&prose(line), &unused), is_found, "{line}");
        }
        for (name, is_found) in [
            ("FullNode", true),
            ("is_full_node", true),
            ("FULL_NODES_MAX", true),
            ("full_noder", false),
        ] {
            assert_eq!(says(&spelled(name), &unused), is_found, "{name}");
        }
    }

    #[test]
    fn knows_public_names() {
        for (line, name) in [
            ("    pub fn next(self) -> Self {", Some("next")),
            ("pub const fn new<T>(x: T)", Some("new")),
            ("pub const ROUNDS_MAX: u32 = 3;", Some("ROUNDS_MAX")),
            ("pub struct Height(u64);", Some("Height")),
            ("pub async fn serve() {", Some("serve")),
            ("    pub weight: Weight,", Some("weight")),
            ("pub use other::Thing;", None),
            ("pub(crate) fn hidden() {", None),
            ("// pub fn", None),
        ] {
            assert_eq!(public_name(line), name, "{line}");
        }
    }
}
