//! `cargo xtask sim --mutants`: whether the campaign notices when a guard is missing.
//!
//! Each file under `xtask/mutants/` lists mutants: a name, the requirement whose guard is removed,
//! and parts of source text with what stands there instead. Nothing of that is in the workspace. A
//! copy of it under `target/mutants` gets all of them at once, each behind a switch:
//!
//! ```text
//! old text   ->   if polity_types::mutant(7) { new text } else { old text }
//! ```
//!
//! So the old text is an expression or whole statements that bind nothing. The copy is built once,
//! and the campaign is played with one switch on at a time until a run fails. A mutant that
//! survives, and a text that is not found exactly once, fail the task.

use crate::workspace::{Failure, files, root};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs of the campaign that a mutant may survive. Most are caught by the first few; what only one kind of
/// lie in one scenario shows takes hundreds.
const RUNS_MAX: u64 = 2_500;

/// Runs without a mutant, which have to be clean.
const RUNS_CLEAN: u64 = 300;

/// Where the lists are.
const LISTS: &str = "xtask/mutants";

/// The driver of campaigns, and its first line.
const DRIVER: &str = "crates/sim/examples/campaign.rs";
const DRIVER_START: &str = "fn main() -> ExitCode {\n";

/// Gets the switch.
const SWITCH: &str = "crates/types/src/lib.rs";

/// Names the switch that is on.
const VARIABLE: &str = "POLITY_MUTANT";

/// A guard that is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mutant {
    name: String,
    requirement: String,
    parts: Vec<Part>,
}

/// A text that is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    file: String,
    /// A longer text in which the old one stands, where it alone occurs more than once.
    within: Option<String>,
    old: String,
    new: String,
}

/// What became of a mutant.
struct Fate {
    verdict: String,
    /// Runs until the campaign failed; nothing if it did not.
    runs: Option<u64>,
    seconds: f32,
}

/// Plays the named mutants, or all of them if none is named.
pub(crate) fn run(only: &[&str]) -> Result<(), Failure> {
    let mutants = load()?;
    let is_unknown = |name: &&&str| mutants.iter().all(|mutant| mutant.name != **name);
    if let Some(name) = only.iter().find(is_unknown) {
        return Err(Failure::Usage(format!("there is no mutant `{name}`")));
    }
    let copy = root().join("target/mutants/workspace");
    println!("{} mutants into target/mutants", mutants.len());
    copy_workspace(&copy, &mutated(&mutants)?)?;
    let start = Instant::now();
    let driver = build(&copy)?;
    println!("built in {:.0} s", start.elapsed().as_secs_f32());
    // The copy itself has to be sound, or every mutant would be caught.
    let none = play(&driver, 0, RUNS_CLEAN)?;
    if let Some(runs) = none.runs {
        return Err(Failure::Wrong(format!(
            "without a mutant the campaign fails after {runs} runs: {}",
            none.verdict
        )));
    }
    println!("no mutant: {RUNS_CLEAN} runs, {:.0} s", none.seconds);
    let mut table =
        String::from("| mutant | requirement | caught by | runs |\n|---|---|---|---|\n");
    let mut survivors = Vec::new();
    for (place, mutant) in mutants.iter().enumerate() {
        if !only.is_empty() && !only.contains(&mutant.name.as_str()) {
            continue;
        }
        let fate = play(&driver, place + 1, RUNS_MAX)?;
        let runs = if let Some(runs) = fate.runs {
            runs.to_string()
        } else {
            survivors.push(mutant.name.as_str());
            format!("survived {RUNS_MAX}")
        };
        let row = format!(
            "| `{}` | {} | {} | {runs} |",
            mutant.name, mutant.requirement, fate.verdict
        );
        println!("{row} {:.1} s", fate.seconds);
        let _ = writeln!(table, "{row}");
    }
    println!("\n{table}");
    if survivors.is_empty() {
        println!("every mutant was caught");
        Ok(())
    } else {
        Err(Failure::Wrong(format!(
            "the campaign does not notice: {}",
            survivors.join(", ")
        )))
    }
}

/// Reads every list, in the order of the names.
fn load() -> Result<Vec<Mutant>, Failure> {
    let folder = root().join(LISTS);
    let unreadable = |error| Failure::Wrong(format!("cannot read {LISTS}: {error}"));
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(unreadable)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    let mut mutants: Vec<Mutant> = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let found = parse(&text).map_err(|problem| format!("{LISTS}/{name}: {problem}"))?;
        mutants.extend(found);
    }
    let mut names: Vec<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Failure::Wrong(format!(
            "two mutants are called {}",
            pair[0]
        ))),
        None => Ok(mutants),
    }
}

/// Reads one list. A mutant starts with `=== name requirement`; each of its parts is `--- file`
/// with a path, then `--- within` if need be, `--- old` and `--- new`, each followed by text.
fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut section = "";
    for (number, line) in text.lines().enumerate() {
        let problem = |what: &str| format!("line {}: {what}", number + 1);
        if let Some(title) = line.strip_prefix("=== ") {
            let (name, requirement) = title
                .split_once(' ')
                .ok_or_else(|| problem("a mutant needs a name and a requirement"))?;
            mutants.push(Mutant {
                name: name.to_owned(),
                requirement: requirement.to_owned(),
                parts: Vec::new(),
            });
            section = "";
            continue;
        }
        if let Some(title) = line.strip_prefix("--- ") {
            let mutant = mutants
                .last_mut()
                .ok_or_else(|| problem("a part in front of the first mutant"))?;
            if let Some(file) = title.strip_prefix("file ") {
                mutant.parts.push(Part {
                    file: file.to_owned(),
                    ..Part::default()
                });
                section = "";
                continue;
            }
            let part = mutant
                .parts
                .last_mut()
                .ok_or_else(|| problem("a part needs `--- file` first"))?;
            section = match title {
                "within" => {
                    part.within = Some(String::new());
                    "within"
                }
                "old" => "old",
                "new" => "new",
                _ => return Err(problem("expected `file`, `within`, `old` or `new`")),
            };
            continue;
        }
        let part = mutants
            .last_mut()
            .and_then(|mutant| mutant.parts.last_mut());
        let target = match (section, part) {
            ("within", Some(part)) => part.within.get_or_insert_default(),
            ("old", Some(part)) => &mut part.old,
            ("new", Some(part)) => &mut part.new,
            _ if line.trim().is_empty() || line.starts_with('#') => continue,
            _ => return Err(problem("text outside of a section")),
        };
        if !target.is_empty() {
            target.push('\n');
        }
        target.push_str(line);
    }
    for mutant in &mut mutants {
        for part in &mut mutant.parts {
            part.old = part.old.trim().to_owned();
            part.new = part.new.trim().to_owned();
            part.within = part.within.take().map(|text| text.trim().to_owned());
            if part.old.is_empty() {
                return Err(format!("a part of {} has no old text", mutant.name));
            }
        }
        if mutant.parts.is_empty() {
            return Err(format!("{} has no part", mutant.name));
        }
    }
    Ok(mutants)
}

/// Where a part's old text stands, if that is one place. Leading space of lines does not matter,
/// since the formatter moves it.
fn place_of(text: &str, part: &Part) -> Result<Range<usize>, String> {
    let one = |text: &str, wanted: &str| -> Result<Range<usize>, String> {
        let found = occurrences(text, wanted);
        match found.as_slice() {
            [place] => Ok(place.clone()),
            places => Err(format!(
                "this text occurs {} times instead of once:\n{wanted}",
                places.len()
            )),
        }
    };
    match &part.within {
        None => one(text, &part.old),
        Some(within) => {
            let outer = one(text, within)?;
            let inner = one(&text[outer.clone()], &part.old)?;
            Ok(outer.start + inner.start..outer.start + inner.end)
        }
    }
}

/// Every place where `wanted` stands, white space apart.
fn occurrences(text: &str, wanted: &str) -> Vec<Range<usize>> {
    let wanted: Vec<char> = wanted.chars().filter(|c| !c.is_whitespace()).collect();
    let dense: Vec<(usize, char)> = text
        .char_indices()
        .filter(|(_, c)| !c.is_whitespace())
        .collect();
    dense
        .windows(wanted.len().max(1))
        .filter(|window| window.iter().map(|(_, c)| c).eq(&wanted))
        .filter_map(|window| {
            let (start, _) = window.first()?;
            let (last, c) = window.last()?;
            Some(*start..last + c.len_utf8())
        })
        .collect()
}

/// Copies every file that git knows or would add, mutated ones in their other form. What has not
/// changed keeps its time, so that the build of the copy is incremental.
fn copy_workspace(copy: &Path, mutated: &BTreeMap<String, String>) -> Result<(), Failure> {
    let listed = files()?;
    for (file, text) in mutated {
        write(copy, file, text.as_bytes())?;
    }
    for file in listed.lines().filter(|file| !mutated.contains_key(*file)) {
        let Ok(bytes) = fs::read(root().join(file)) else {
            continue;
        };
        write(copy, file, &bytes)?;
    }
    Ok(())
}

fn write(copy: &Path, file: &str, bytes: &[u8]) -> Result<(), Failure> {
    let target = copy.join(file);
    if fs::read(&target).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let failed = |error| Failure::Wrong(format!("cannot write {}: {error}", target.display()));
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(&target, bytes).map_err(failed)
}

/// The files that change, with every mutant behind its switch.
fn mutated(mutants: &[Mutant]) -> Result<BTreeMap<String, String>, Failure> {
    let mut changed = BTreeMap::new();
    let mut edits: Vec<(&str, Range<usize>, String)> = Vec::new();
    let mut problems = String::new();
    for (number, mutant) in (1..).zip(mutants) {
        for part in &mutant.parts {
            let text = crate::workspace::read(&part.file)?;
            match place_of(&text, part) {
                Ok(place) => {
                    let old = &text[place.clone()];
                    let new = &part.new;
                    let switched =
                        format!("if polity_types::mutant({number}) {{ {new} }} else {{ {old} }}");
                    // An expression may go on behind its place; statements may not.
                    let switched = if old.ends_with([';', '}']) {
                        switched
                    } else {
                        format!("({switched})")
                    };
                    edits.push((part.file.as_str(), place, switched));
                }
                Err(problem) => {
                    let _ = writeln!(problems, "{}: {}: {problem}", mutant.name, part.file);
                }
            }
        }
    }
    edits.sort_by_key(|(file, place, _)| (*file, place.start));
    for pair in edits.windows(2) {
        if pair[0].0 == pair[1].0 && pair[0].1.end > pair[1].1.start {
            let _ = writeln!(
                problems,
                "two mutants overlap in {}: {}",
                pair[0].0, pair[1].2
            );
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Wrong(problems));
    }
    let mut files: Vec<&str> = edits.iter().map(|(file, ..)| *file).collect();
    files.dedup();
    for file in files {
        let mut text = crate::workspace::read(file)?;
        for (_, place, switched) in edits.iter().rev().filter(|(of, ..)| *of == file) {
            text.replace_range(place.clone(), switched);
        }
        changed.insert(file.to_owned(), text);
    }
    let mut switch = crate::workspace::read(SWITCH)?;
    switch.push_str(
        "\n/// The mutant that is on.\n\
         pub static MUTANT: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);\n\
         \n/// Whether a mutant is on.\n\
         pub fn mutant(number: usize) -> bool {\n    \
         MUTANT.load(core::sync::atomic::Ordering::Relaxed) == number\n}\n",
    );
    changed.insert(SWITCH.to_owned(), switch);
    let driver = crate::workspace::read(DRIVER)?;
    let start = format!(
        "{DRIVER_START}    let mutant = std::env::var(\"{VARIABLE}\").unwrap_or_default();\n    \
         polity_types::MUTANT.store(mutant.parse().unwrap_or(0), std::sync::atomic::Ordering::Relaxed);\n"
    );
    if driver.matches(DRIVER_START).count() != 1 {
        return Err(Failure::Wrong(format!("{DRIVER} has no `{DRIVER_START}`")));
    }
    changed.insert(DRIVER.to_owned(), driver.replace(DRIVER_START, &start));
    Ok(changed)
}

/// Builds the driver of the copy, with assertions.
fn build(copy: &Path) -> Result<PathBuf, Failure> {
    let target = root().join("target/mutants/target");
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .current_dir(copy)
        .args(["build", "--quiet", "--package", "polity-sim"])
        .args(["--example", "campaign"])
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("RUSTFLAGS", "--cap-lints allow")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::Wrong(format!("cannot start cargo: {error}")))?;
    if !output.status.success() {
        return Err(Failure::Wrong(format!(
            "the mutated copy does not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    Ok(target.join("debug/examples/campaign"))
}

/// Plays the campaign with one mutant on until a run fails.
fn play(driver: &Path, number: usize, runs: u64) -> Result<Fate, Failure> {
    let start = Instant::now();
    let output = Command::new(driver)
        .args(["--runs", &runs.to_string(), "--until-failure"])
        .env(VARIABLE, number.to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::Wrong(format!("cannot start the driver: {error}")))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let seconds = start.elapsed().as_secs_f32();
    if output.status.success() {
        return Ok(Fate {
            verdict: String::from("nothing"),
            runs: None,
            seconds,
        });
    }
    // `run 12: safety violation: agreement: ...`, and in the next line how to play it again.
    let mut lines = printed.lines().skip_while(|line| !line.starts_with("run "));
    let first = lines.next().unwrap_or_default();
    let again = lines.next().unwrap_or_default();
    let (index, verdict) = first
        .strip_prefix("run ")
        .and_then(|rest| rest.split_once(": "))
        .and_then(|(index, verdict)| Some((index.parse::<u64>().ok()?, verdict)))
        .unwrap_or((0, "the driver died"));
    let by = again.rsplit(' ').next().unwrap_or_default();
    let by = by.split(':').next().unwrap_or_default();
    Ok(Fate {
        verdict: format!("{}, in `{by}`", kind_of(verdict)),
        runs: Some(index + 1),
        seconds,
    })
}

/// The verdict without its details.
fn kind_of(verdict: &str) -> String {
    let mut parts = verdict.splitn(3, ": ");
    let (kind, detail) = (parts.next().unwrap_or_default(), parts.next());
    match (kind, detail) {
        // The oracle that saw it.
        ("safety violation", Some(oracle)) => format!("{kind} ({oracle})"),
        (kind, _) => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# Guards.\n=== first FB-1\n--- file a.rs\n--- old\nx > 1\n--- new\ntrue\n\
                        === second FB-2\n--- file b.rs\n--- within\nfn f() {\n    g();\n}\n--- old\n\
                        g();\n--- new\n--- file a.rs\n--- old\ny\n--- new\nz\n";

    #[test]
    fn reads_names_parts_and_texts() {
        let mutants = parse(LIST).unwrap();
        assert_eq!(mutants.len(), 2);
        assert_eq!(mutants[0].requirement, "FB-1");
        assert_eq!(mutants[0].parts[0].new, "true");
        assert_eq!(mutants[1].parts.len(), 2);
        assert_eq!(mutants[1].parts[0].new, "");
    }

    /// Guards are rewritten now and then; the lists have to follow at once.
    #[test]
    fn every_listed_text_stands_in_one_place_of_the_source() {
        let mutants = load().unwrap_or_else(|_| panic!("the lists cannot be read"));
        assert!(mutants.len() >= 30);
        let problems = match mutated(&mutants) {
            Ok(files) => {
                assert!(!files.is_empty());
                return;
            }
            Err(Failure::Wrong(problem)) => problem,
            Err(_) => "another failure".to_owned(),
        };
        panic!("{problems}");
    }

    #[test]
    fn refuses_lists_in_a_sentence() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert_eq!(
            refused("=== lonely"),
            "line 1: a mutant needs a name and a requirement"
        );
        assert_eq!(refused("text"), "line 1: text outside of a section");
        assert_eq!(refused("=== a FB-1"), "a has no part");
        assert_eq!(
            refused("=== a FB-1\n--- file a.rs\n--- new\nx"),
            "a part of a has no old text"
        );
    }

    #[test]
    fn an_old_text_stands_in_one_place_whatever_its_layout() {
        let part = |within: Option<&str>, old: &str| Part {
            file: String::new(),
            within: within.map(str::to_owned),
            old: old.to_owned(),
            new: String::new(),
        };
        let text = "fn a() {\n    if x\n        .y() {}\n}\nfn b() { if x.y() {} z() }";
        let place = place_of(text, &part(None, "z()")).unwrap();
        assert_eq!(&text[place], "z()");
        let problem = place_of(text, &part(None, "x.y()")).unwrap_err();
        assert!(problem.starts_with("this text occurs 2 times instead of once"));
        let place = place_of(text, &part(Some("fn b() { if x.y()"), "x.y()")).unwrap();
        assert!(place.start > 30 && &text[place] == "x.y()");
        assert!(
            place_of(text, &part(None, "w()"))
                .unwrap_err()
                .contains("0 times")
        );
    }
}
