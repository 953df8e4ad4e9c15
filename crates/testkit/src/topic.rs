//! Vector files of this repository: known answers, kept where other implementations can read them.
//!
//! A file `vectors/<crate>/<topic>.v<n>.json`, or `vectors/<topic>.v<n>.json` for all crates, names its generator, the part of the specification
//! it belongs to, its version and the number of its cases. A case has a name, a comment, flags, the
//! result `valid` or `invalid`, the input and what is expected. At least half of the cases are
//! broken on purpose: a decoder or verifier is known by what it refuses.
//!
//! A [`Topic`] holds the inputs and the function that answers them. Checking goes both ways: each
//! case in the file is answered again from its input alone, and the file as a whole has to be what
//! the topic would write. Writing is for one file at a time and prints the difference, because it
//! is a change of format.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Names the file that [`settle`] writes before it checks.
const WRITE_VARIABLE: &str = "POLITY_VECTORS_WRITE";

/// What a case expects, in the words of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The input is accepted.
    Valid,
    /// The input is refused.
    Invalid,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Unique in its file.
    pub name: String,
    /// What it shows, in a sentence.
    pub comment: String,
    /// Words by which a reader selects cases.
    pub flags: Vec<String>,
    /// Whether the input is accepted.
    pub result: Verdict,
    /// What goes in.
    pub input: Value,
    /// What comes out. Filled in by [`Topic::render`].
    #[serde(default)]
    pub expected: Value,
}

impl Case {
    /// A case that is accepted.
    pub fn valid(name: &str, comment: &str, flags: &[&str], input: Value) -> Self {
        Self::new(Verdict::Valid, name, comment, flags, input)
    }

    /// A case that is refused.
    pub fn invalid(name: &str, comment: &str, flags: &[&str], input: Value) -> Self {
        Self::new(Verdict::Invalid, name, comment, flags, input)
    }

    fn new(result: Verdict, name: &str, comment: &str, flags: &[&str], input: Value) -> Self {
        Self {
            name: name.to_owned(),
            comment: comment.to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            result,
            input,
            expected: Value::Null,
        }
    }
}

/// A file as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct File {
    generator: String,
    spec: String,
    version: u32,
    count: usize,
    cases: Vec<Case>,
}

/// One file of vectors, and how its cases are answered.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Path below `vectors/`: `<crate>/<topic>.v<n>.json`, or without the crate.
    pub file: &'static str,
    /// The part of the specification that the vectors pin down.
    pub spec: &'static str,
    /// The cases without their answers.
    pub cases: fn() -> Vec<Case>,
    /// The answer to an input: `Ok` if it is valid, `Err` if not, with the expected fields.
    pub answer: fn(&Value) -> Result<Value, Value>,
}

impl Topic {
    /// The text of the file.
    ///
    /// # Errors
    ///
    /// What is wrong with the cases: an answer other than the stated result, two cases of one
    /// name, or fewer broken cases than good ones.
    pub fn render(&self) -> Result<String, String> {
        let mut cases = (self.cases)();
        for case in &mut cases {
            let (result, expected) = self.ask(&case.input);
            if result != case.result {
                return Err(format!(
                    "{}: case `{}` is stated as {:?} and answered as {result:?}: {expected}",
                    self.file, case.name, case.result
                ));
            }
            case.expected = expected;
        }
        let file = File {
            generator: format!("cargo xtask vectors --write {}", self.file),
            spec: self.spec.to_owned(),
            version: self.version()?,
            count: cases.len(),
            cases,
        };
        self.examine(&file)?;
        let mut text = serde_json::to_string_pretty(&file).map_err(|error| error.to_string())?;
        text.push('\n');
        Ok(text)
    }

    /// Compares the text of a file with the topic; says how many cases are valid and invalid.
    ///
    /// # Errors
    ///
    /// Every case that is answered otherwise than the file says, or the difference to what the
    /// topic would write.
    pub fn compare(&self, text: &str) -> Result<String, String> {
        let file: File = serde_json::from_str(text)
            .map_err(|error| format!("{} is no vector file: {error}", self.file))?;
        self.examine(&file)?;
        let mut problems = String::new();
        for case in &file.cases {
            let (result, expected) = self.ask(&case.input);
            if (result, &expected) != (case.result, &case.expected) {
                let _ = writeln!(
                    problems,
                    "{}: case `{}`\n  file:     {:?} {}\n  computed: {result:?} {expected}",
                    self.file, case.name, case.result, case.expected
                );
            }
        }
        if !problems.is_empty() {
            let _ = write!(
                problems,
                "if the change of format is meant, run `cargo xtask vectors --write {}` and review it",
                self.file
            );
            return Err(problems);
        }
        let rendered = self.render()?;
        if rendered != text {
            return Err(format!(
                "{} is not what its topic writes; if the change of format is \
                 meant, run `cargo xtask vectors --write {}` and review it:\n{}",
                self.file,
                self.file,
                difference(text, &rendered)
            ));
        }
        let valid = count(&file, Verdict::Valid);
        let invalid = count(&file, Verdict::Invalid);
        Ok(format!("{}: {valid} valid, {invalid} invalid", self.file))
    }

    fn ask(&self, input: &Value) -> (Verdict, Value) {
        match (self.answer)(input) {
            Ok(expected) => (Verdict::Valid, expected),
            Err(expected) => (Verdict::Invalid, expected),
        }
    }

    fn version(&self) -> Result<u32, String> {
        let stem = self.file.strip_suffix(".json");
        stem.and_then(|stem| stem.rsplit_once(".v"))
            .and_then(|(_, version)| version.parse().ok())
            .ok_or_else(|| format!("{} does not end in .v<n>.json", self.file))
    }

    fn examine(&self, file: &File) -> Result<(), String> {
        let names: BTreeSet<&str> = file.cases.iter().map(|case| case.name.as_str()).collect();
        let valid = count(file, Verdict::Valid);
        let invalid = count(file, Verdict::Invalid);
        if file.count != file.cases.len() {
            let found = file.cases.len();
            return Err(format!(
                "{}: count is {}, found {found}",
                self.file, file.count
            ));
        }
        if file.version != self.version()? {
            return Err(format!("{}: the version is {}", self.file, file.version));
        }
        if names.len() != file.cases.len() {
            return Err(format!("{}: two cases have the same name", self.file));
        }
        if valid == 0 || invalid < valid {
            return Err(format!(
                "{}: {invalid} broken cases are fewer than {valid} good ones, or none is good",
                self.file
            ));
        }
        Ok(())
    }
}

/// Checks every topic against its file in the `vectors` folder of the workspace, and that every
/// file there has a topic. Gives a line per topic.
///
/// Where the environment variable `POLITY_VECTORS_WRITE` names the file of a topic, that file is
/// written first and its difference printed.
///
/// # Errors
///
/// All that is wrong, one paragraph per file.
pub fn settle(topics: &[Topic]) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    let mut reports = Vec::new();
    if let Ok(file) = env::var(WRITE_VARIABLE) {
        match topics.iter().find(|topic| topic.file == file) {
            Some(topic) => println!("{}", write(topic, &path(topic.file))?),
            None => problems.push(format!(
                "no topic writes `{file}`; there are: {}",
                topics
                    .iter()
                    .map(|topic| topic.file)
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        }
    }
    for topic in topics {
        match fs::read_to_string(path(topic.file)) {
            Ok(text) => match topic.compare(&text) {
                Ok(report) => reports.push(report),
                Err(problem) => problems.push(problem),
            },
            Err(error) => problems.push(format!("cannot read vectors/{}: {error}", topic.file)),
        }
    }
    for file in files()? {
        if !topics.iter().any(|topic| topic.file == file) {
            problems.push(format!("no topic checks vectors/{file}"));
        }
    }
    if problems.is_empty() {
        Ok(reports)
    } else {
        Err(problems.join("\n"))
    }
}

/// Writes the file of a topic to a path, and says what changed.
fn write(topic: &Topic, path: &Path) -> Result<String, String> {
    let old = fs::read_to_string(path).unwrap_or_default();
    let new = topic.render()?;
    if old != new {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        fs::write(path, &new)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(format!("{}\n{}", topic.file, difference(&old, &new)))
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../vectors")
        .join(file)
}

/// Every vector file, as a path below `vectors/`.
fn files() -> Result<Vec<String>, String> {
    let is_vectors = |file: &Path| file.extension().is_some_and(|found| found == "json");
    let mut files = Vec::new();
    for entry in list(&path(""))? {
        let Some(folder) = name(&entry) else { continue };
        if !entry.is_dir() {
            files.extend(is_vectors(&entry).then_some(folder));
            continue;
        }
        for file in list(&entry)?.iter().filter(|file| is_vectors(file)) {
            files.extend(name(file).map(|file| format!("{folder}/{file}")));
        }
    }
    Ok(files)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder)
        .map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

fn count(file: &File, verdict: Verdict) -> usize {
    file.cases
        .iter()
        .filter(|case| case.result == verdict)
        .count()
}

/// What a change of a file is, in cases: `+` added, `-` removed, `~` changed, the last with the first
/// position at which a field differs. An empty old text is a file that is not there yet.
fn difference(old: &str, new: &str) -> String {
    if old == new {
        return "no difference\n".to_owned();
    }
    let read = |text: &str| serde_json::from_str::<File>(text).ok();
    let (before, after) = (read(old), read(new));
    let mut out = String::new();
    if before.is_none() && !old.is_empty() {
        out.push_str("! what was there is no vector file\n");
    }
    let cases = |file: &Option<File>| file.as_ref().map_or(Vec::new(), |file| file.cases.clone());
    let (old_cases, new_cases) = (cases(&before), cases(&after));
    let find = |cases: &[Case], name: &str| cases.iter().find(|case| case.name == name).cloned();
    for case in &old_cases {
        match find(&new_cases, &case.name) {
            Some(now) => changes(case, &now, &mut out),
            None => {
                let _ = writeln!(
                    out,
                    "- `{}` ({:?}): {}",
                    case.name, case.result, case.comment
                );
            }
        }
    }
    for case in &new_cases {
        if find(&old_cases, &case.name).is_none() {
            let _ = writeln!(
                out,
                "+ `{}` ({:?}): {}",
                case.name, case.result, case.comment
            );
        }
    }
    if let (Some(before), Some(after)) = (&before, &after) {
        let head = |file: &File| {
            let File {
                generator,
                spec,
                version,
                ..
            } = file;
            json!({ "generator": generator, "spec": spec, "version": version })
        };
        let mut places = Vec::new();
        differing(&head(before), &head(after), "", &mut places);
        for place in places {
            let _ = writeln!(out, "~ head {place}");
        }
    }
    if out.is_empty() {
        out.push_str("~ the order of cases or the layout of the text alone\n");
    }
    out
}

/// The fields of a case that changed.
fn changes(old: &Case, new: &Case, out: &mut String) {
    let plain = |case: &Case| serde_json::to_value(case).unwrap_or_default();
    let mut places = Vec::new();
    differing(&plain(old), &plain(new), "", &mut places);
    for place in places {
        let _ = writeln!(out, "~ `{}` {place}", old.name);
    }
}

/// Where two values differ, each place with both sides.
fn differing(old: &Value, new: &Value, at: &str, out: &mut Vec<String>) {
    let below = |name: &str| {
        if at.is_empty() {
            name.to_owned()
        } else {
            format!("{at}.{name}")
        }
    };
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => differing(a, b, &below(name), out),
                    (Some(_), None) => out.push(format!("{}: is gone", below(name))),
                    _ => out.push(format!("{}: is new", below(name))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differing(a, b, &below(&index.to_string()), out);
            }
        }
        (old, new) if old == new => {}
        (old, new) => {
            let text = |value: &Value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let (old, new) = (text(old), text(new));
            let place = old.chars().zip(new.chars()).take_while(|(a, b)| a == b);
            let place = place.count();
            // Some characters before the place, to find it again.
            let from = place.saturating_sub(8);
            let window = |text: &str| -> String { text.chars().skip(from).take(32).collect() };
            out.push(format!(
                "{at}: from character {place} on (lengths {} and {})\n    before: {}\n    now:    {}",
                old.chars().count(),
                new.chars().count(),
                window(&old),
                window(&new),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cases() -> Vec<Case> {
        vec![
            Case::valid("even", "Two halves.", &[], json!(4)),
            Case::invalid("odd", "No halves.", &["parity"], json!(5)),
        ]
    }

    fn answer(input: &Value) -> Result<Value, Value> {
        match input.as_u64() {
            Some(number) if number.is_multiple_of(2) => Ok(json!({ "half": number / 2 })),
            _ => Err(json!({ "error": "odd" })),
        }
    }

    const TOPIC: Topic = Topic {
        file: "test/half.v1.json",
        spec: "none",
        cases,
        answer,
    };

    #[test]
    fn a_rendered_file_agrees_with_its_topic() {
        let text = TOPIC.render().unwrap();
        let report = TOPIC.compare(&text).unwrap();
        assert_eq!(report, "test/half.v1.json: 1 valid, 1 invalid");
    }

    #[test]
    fn every_change_of_a_file_is_noticed() {
        let text = TOPIC.render().unwrap();
        for (from, to) in [
            ("\"half\": 2", "\"half\": 3"),
            ("\"count\": 2", "\"count\": 3"),
            ("\"version\": 1", "\"version\": 2"),
            ("\"input\": 5", "\"input\": 6"),
            ("\"result\": \"invalid\"", "\"result\": \"valid\""),
            ("\"name\": \"odd\"", "\"name\": \"even\""),
            ("No halves.", "Some halves."),
            ("parity", "other"),
            ("\"generator\": \"cargo", "\"generator\": \"make"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            assert!(TOPIC.compare(&changed).is_err(), "{from}");
        }
    }

    #[test]
    fn a_case_that_is_answered_otherwise_cannot_be_written() {
        let topic = Topic {
            cases: || vec![Case::valid("odd", "", &[], json!(5))],
            ..TOPIC
        };
        assert!(topic.render().unwrap_err().contains("stated as Valid"));
    }

    #[test]
    fn good_cases_need_as_many_broken_ones() {
        let topic = Topic {
            cases: || vec![Case::valid("even", "", &[], json!(4))],
            ..TOPIC
        };
        assert!(topic.render().unwrap_err().contains("fewer"));
    }

    #[test]
    fn the_difference_names_cases_and_first_positions() {
        let text = TOPIC.render().unwrap();
        assert_eq!(difference(&text, &text), "no difference\n");
        let all = difference("", &text);
        assert_eq!(
            all,
            "+ `even` (Valid): Two halves.\n+ `odd` (Invalid): No halves.\n"
        );
        let none = difference(&text, "");
        assert_eq!(
            none,
            "- `even` (Valid): Two halves.\n- `odd` (Invalid): No halves.\n"
        );
        let changed = text.replacen("No halves.", "No thirds.", 1);
        assert_eq!(
            difference(&text, &changed),
            "~ `odd` comment: from character 3 on (lengths 10 and 10)\n    \
             before: No halves.\n    now:    No thirds.\n"
        );
        let other_head = text.replacen("\"spec\": \"none\"", "\"spec\": \"some\"", 1);
        assert!(difference(&text, &other_head).starts_with("~ head spec: from character 0 on"));
        let other_layout = text.replace('\n', " ");
        assert!(difference(&text, &other_layout).contains("layout"));
        assert!(
            difference("junk", &text).starts_with("! what was there is no vector file\n+ `even`")
        );
    }

    /// The whole way of `--write`: a new file, nothing to do, and a case that another program wrote.
    #[test]
    fn a_file_is_written_with_its_difference() {
        let folder = env::temp_dir().join(format!("polity-topic-{}", std::process::id()));
        let file = folder.join(TOPIC.file);
        let first = write(&TOPIC, &file).unwrap();
        assert!(
            first.contains("+ `even`") && first.contains("+ `odd`"),
            "{first}"
        );
        let again = write(&TOPIC, &file).unwrap();
        assert_eq!(again, "test/half.v1.json\nno difference\n");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen("\"half\": 2", "\"half\": 3", 1)).unwrap();
        let mended = write(&TOPIC, &file).unwrap();
        assert!(
            mended.contains("~ `even` expected.half: from character 0 on"),
            "{mended}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        fs::remove_dir_all(&folder).unwrap();
    }
}
