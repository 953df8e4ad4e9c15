//! `cargo xtask spec`: which requirements have code and a test.
//!
//! A page under `docs/spec` defines a requirement with a heading `### FB-7: …`. If the section has a
//! line `status: planned`, nothing is demanded yet. Every other id has to be cited by the source of
//! some crate and by some test: in a comment as it stands, or in a name, where `FB-7` reads `fb_7_`.
//! Ids that are cited and nowhere defined are reported as well, and so are tests, scenarios and mutants
//! that the security model names and nobody wrote.

use crate::claims;
use crate::workspace::{Failure, git, read};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

const PAGES: &str = "docs/spec/";
const PLANNED: &str = "status: planned";

/// A prefix in capitals and a number; ordered as people count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id(String, u32);

#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    page: String,
    is_planned: bool,
}

#[derive(Debug, Default)]
struct Citations {
    code: BTreeSet<Id>,
    /// With the first file that cites it.
    anywhere: BTreeMap<Id, String>,
    tests: BTreeSet<Id>,
}

pub(crate) fn check() -> Result<String, Failure> {
    let files = git("ls-files")
        .args([
            "--cached",
            "--others",
            "--exclude-standard",
            "--deduplicate",
        ])
        .args(["docs/spec", "crates", "xtask/mutants"])
        .capture()?;
    let mut requirements = BTreeMap::new();
    let mut problems = String::new();
    for page in files
        .lines()
        .filter(|file| file.starts_with(PAGES) && has_extension(file, "md"))
    {
        for (id, requirement) in define(page, &read(page)?) {
            if requirements.contains_key(&id) {
                let _ = writeln!(problems, "{}: defined twice, again in {page}", show(&id));
            }
            requirements.insert(id, requirement);
        }
    }
    let prefixes: BTreeSet<&str> = requirements
        .keys()
        .map(|Id(prefix, _)| prefix.as_str())
        .collect();
    let mut citations = Citations::default();
    let model = read(claims::PAGE)?;
    let mut claims = claims::names(&model);
    for file in files.lines().filter(|file| !file.starts_with(PAGES)) {
        // A file that was removed but not yet committed is still listed.
        let Ok(text) = read(file) else { continue };
        claims::strike(&mut claims, &text);
        if has_extension(file, "rs") {
            citations.add(file, &text, &prefixes);
        }
    }
    problems.push_str(&judge(&requirements, &citations));
    for name in claims {
        let page = claims::PAGE;
        let _ = writeln!(problems, "{page}: `{name}` is no test, scenario or mutant");
    }
    if !problems.is_empty() {
        return Err(Failure::Wrong(problems));
    }
    let planned = requirements
        .values()
        .filter(|requirement| requirement.is_planned)
        .count();
    let done = requirements.len() - planned;
    Ok(format!(
        "{done} requirements have code and a test, {planned} are planned"
    ))
}

fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|found| found == extension)
}

/// What is missing, one line each.
fn judge(requirements: &BTreeMap<Id, Requirement>, citations: &Citations) -> String {
    let mut problems = String::new();
    for (id, requirement) in requirements.iter().filter(|(_, found)| !found.is_planned) {
        let missing = match (citations.code.contains(id), citations.tests.contains(id)) {
            (true, true) => continue,
            (true, false) => "no test cites it",
            (false, true) => "no code cites it",
            (false, false) => "neither code nor test cites it",
        };
        let _ = writeln!(problems, "{} ({}): {missing}", show(id), requirement.page);
    }
    for (id, file) in &citations.anywhere {
        if !requirements.contains_key(id) {
            let _ = writeln!(
                problems,
                "{}: cited by {file}, defined by no page",
                show(id)
            );
        }
    }
    problems
}

/// The requirements of a page.
fn define(page: &str, text: &str) -> Vec<(Id, Requirement)> {
    let mut found: Vec<(Id, Requirement)> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            let id = title.split_once(':').and_then(|(id, _)| parse(id));
            is_inside = id.is_some();
            found.extend(id.map(|id| {
                let page = page.to_owned();
                (
                    id,
                    Requirement {
                        page,
                        is_planned: false,
                    },
                )
            }));
        } else if line.starts_with('#') {
            is_inside = false;
        } else if line.trim() == PLANNED
            && is_inside
            && let Some((_, requirement)) = found.last_mut()
        {
            requirement.is_planned = true;
        }
    }
    found
}

fn parse(text: &str) -> Option<Id> {
    let (prefix, number) = text.split_once('-')?;
    let is_prefix = prefix.len() >= 2 && prefix.bytes().all(|c| c.is_ascii_uppercase());
    let number = number.parse().ok()?;
    is_prefix.then(|| Id(prefix.to_owned(), number))
}

fn show(Id(prefix, number): &Id) -> String {
    format!("{prefix}-{number}")
}

impl Citations {
    fn add(&mut self, file: &str, text: &str, prefixes: &BTreeSet<&str>) {
        let (code, tests) = split(file, text);
        for (part, into) in [(code, &mut self.code), (tests, &mut self.tests)] {
            for id in cited(&part, prefixes) {
                self.anywhere
                    .entry(id.clone())
                    .or_insert_with(|| file.to_owned());
                into.insert(id);
            }
        }
    }
}

/// Source and tests of a file. Tests are files under `tests/` or named `tests.rs`, and modules behind
/// `#[cfg(test)]`, which end with the first closing brace in their column. Benchmarks and examples
/// are neither.
fn split(file: &str, text: &str) -> (String, String) {
    if file.contains("/benches/") || file.contains("/examples/") {
        return (String::new(), String::new());
    }
    if file.contains("/tests/") || file.ends_with("/tests.rs") {
        return (String::new(), text.to_owned());
    }
    let (mut code, mut tests) = (String::new(), String::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens = |next: &&str| next.trim_start().starts_with("mod ") && next.ends_with('{');
        if line.trim() != "#[cfg(test)]" || !lines.peek().is_some_and(opens) {
            let _ = writeln!(code, "{line}");
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        for line in lines.by_ref() {
            if line == end {
                break;
            }
            let _ = writeln!(tests, "{line}");
        }
    }
    (code, tests)
}

/// Every id with a known prefix in a text.
fn cited(text: &str, prefixes: &BTreeSet<&str>) -> BTreeSet<Id> {
    let mut found = BTreeSet::new();
    for prefix in prefixes {
        for (start, separator) in [((*prefix).to_owned(), '-'), (prefix.to_lowercase(), '_')] {
            let start = format!("{start}{separator}");
            for (at, _) in text.match_indices(&start) {
                let before = text[..at].chars().next_back();
                let rest = &text[at + start.len()..];
                let digits =
                    rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let is_word = !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-');
                let is_name = separator == '-' || rest[digits..].starts_with('_');
                if let Ok(number) = rest[..digits].parse()
                    && is_word
                    && is_name
                {
                    found.insert(Id((*prefix).to_owned(), number));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        parse(text).unwrap()
    }

    fn ids(texts: &[&str]) -> BTreeSet<Id> {
        texts.iter().map(|text| id(text)).collect()
    }

    #[test]
    fn a_page_defines_ids_in_headings() {
        let page = "# Page\n### XY-1: One\ntext XY-9\n### XY-12: Later\nstatus: planned\n## Next\n\
                    status: planned\n### Not an id: x\nstatus: planned\n";
        let found = define("page", page);
        let found: Vec<_> = found
            .iter()
            .map(|(id, found)| (show(id), found.is_planned))
            .collect();
        assert_eq!(
            found,
            [("XY-1".to_owned(), false), ("XY-12".to_owned(), true)]
        );
    }

    #[test]
    fn ids_are_found_in_comments_and_names() {
        let prefixes = BTreeSet::from(["XY"]);
        let text = "// XY-1: x\n/// (XY-2, XY-3)\nfn xy_4_works() {}\nfn w3_xy_5_too() {}";
        assert_eq!(
            cited(text, &prefixes),
            ids(&["XY-1", "XY-2", "XY-3", "XY-4", "XY-5"])
        );
        let text = "AXY-1 XY- xy_ xy_6 galaxy_7_ XY-x A-XY-8";
        assert_eq!(cited(text, &prefixes), BTreeSet::new());
    }

    #[test]
    fn test_modules_are_no_code() {
        let text = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\n    fn c() {\n    }\n}\nd\n";
        let (code, tests) = split("crates/x/src/y.rs", text);
        assert_eq!(code, "a\n#[cfg(test)]\nmod tests;\nb\nd\n");
        assert!(tests.contains("fn c()") && !tests.ends_with("d\n"));
        assert_eq!(
            split("crates/x/tests/it/y.rs", "a"),
            (String::new(), "a".to_owned())
        );
        assert_eq!(
            split("crates/x/src/y/tests.rs", "a"),
            (String::new(), "a".to_owned())
        );
        assert_eq!(
            split("crates/x/benches/y.rs", "a"),
            (String::new(), String::new())
        );
    }

    #[test]
    fn what_lacks_code_or_test_and_what_nobody_defines_is_reported() {
        let requirement = |is_planned| Requirement {
            page: "page".to_owned(),
            is_planned,
        };
        let requirements = BTreeMap::from([
            (id("XY-1"), requirement(false)),
            (id("XY-2"), requirement(false)),
            (id("XY-3"), requirement(false)),
            (id("XY-4"), requirement(true)),
        ]);
        let prefixes = BTreeSet::from(["XY"]);
        let mut citations = Citations::default();
        citations.add("crates/x/src/a.rs", "// XY-1 XY-2 XY-9", &prefixes);
        citations.add("crates/x/tests/a.rs", "// XY-1", &prefixes);
        let expected = "XY-2 (page): no test cites it\n\
                        XY-3 (page): neither code nor test cites it\n\
                        XY-9: cited by crates/x/src/a.rs, defined by no page\n";
        assert_eq!(judge(&requirements, &citations), expected);
    }
}
