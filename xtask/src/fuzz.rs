//! `cargo xtask fuzz`: runs the fuzz targets and shows what they did.
//!
//! The targets are a workspace of their own with the nightly toolchain. What a fuzzer finds goes to
//! `fuzz/corpus`, which stays on the machine; it starts from `fuzz/seeds` and `fuzz/crashers`, which are
//! committed. An input that breaks a property is in `fuzz/artifacts`.

use crate::tools::{self, FUZZ};
use crate::workspace::{Failure, read, root};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const ARGUMENTS: &str = "[--seconds N] [TARGET..] | --list";

/// How long each target runs, in seconds, unless the call says otherwise.
const SECONDS: u32 = 60;

/// Memory of a target in MiB; libFuzzer stops what takes more.
const MEMORY_MIB: u32 = 2_048;

/// One input that takes so many seconds is a failure.
const INPUT_SECONDS: u32 = 20;

/// Longest input in bytes.
const LENGTH_MAX: u32 = 8_192;

/// What a target did.
struct Run {
    executions: u64,
    seconds: u64,
    coverage: u64,
    corpus: u64,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let known = targets()?;
    let mut seconds = SECONDS;
    let mut names = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => {
                println!("{}", known.join("\n"));
                return Ok(());
            }
            "--seconds" => {
                let number = words.next().and_then(|word| word.parse().ok());
                seconds = number
                    .filter(|seconds| *seconds > 0)
                    .ok_or_else(|| usage("`--seconds` needs a number above 0"))?;
            }
            name if known.iter().any(|known| known == name) => names.push(name.to_owned()),
            other => {
                let known = known.join(", ");
                return Err(usage(&format!(
                    "`{other}` is no target; there are: {known}"
                )));
            }
        }
    }
    if names.is_empty() {
        names = known;
    }
    fuzz(&names, seconds)
}

/// Every target for a minute, for a check that may take that long.
pub(crate) fn smoke() -> Result<String, Failure> {
    let names = targets()?;
    fuzz(&names, SECONDS)?;
    Ok(format!("{} targets, {SECONDS} s each", names.len()))
}

fn fuzz(names: &[String], seconds: u32) -> Result<(), Failure> {
    tools::install(&[&FUZZ])?;
    let program = tools::program(&FUZZ)?;
    println!(
        "{:<10} {:>12} {:>9} {:>9} {:>7}",
        "target", "executions", "per s", "coverage", "corpus"
    );
    for name in names {
        let run = fuzz_one(&program, name, seconds)?;
        println!(
            "{name:<10} {:>12} {:>9} {:>9} {:>7}",
            run.executions,
            run.executions / run.seconds.max(1),
            run.coverage,
            run.corpus
        );
    }
    Ok(())
}

/// The targets that the manifest of the fuzz workspace names.
fn targets() -> Result<Vec<String>, Failure> {
    let manifest = read("fuzz/Cargo.toml")?;
    let bins = manifest.split("[[bin]]").skip(1);
    let names: Vec<String> = bins
        .filter_map(|bin| {
            let line = bin.lines().find_map(|line| line.strip_prefix("name = "))?;
            Some(line.trim_matches('"').to_owned())
        })
        .collect();
    if names.is_empty() {
        return Err("fuzz/Cargo.toml names no targets".to_owned().into());
    }
    Ok(names)
}

/// The fuzzer in the fuzz workspace, with the toolchain that is named there: the variables of the cargo
/// that runs this task would choose another one.
fn fuzzer(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("fuzz").current_dir(root().join("fuzz"));
    for variable in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC", "RUSTDOC"] {
        command.env_remove(variable);
    }
    command
}

fn fuzz_one(program: &Path, name: &str, seconds: u32) -> Result<Run, Failure> {
    let wrong = |error: std::io::Error| Failure::Wrong(format!("{name}: {error}"));
    let folder = root().join("fuzz");
    let corpus = folder.join("corpus").join(name);
    fs::create_dir_all(&corpus).map_err(wrong)?;
    let before = artifacts(&folder, name);
    let mut command = fuzzer(program);
    command.args(["run", name]);
    command.arg(&corpus);
    for committed in ["seeds", "crashers"] {
        let committed = folder.join(committed).join(name);
        if committed.is_dir() {
            command.arg(committed);
        }
    }
    command.args([
        "--".to_owned(),
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-timeout={INPUT_SECONDS}"),
        format!("-max_len={LENGTH_MAX}"),
        "-print_final_stats=1".to_owned(),
    ]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(wrong)?;
    let mut text = Vec::new();
    if let Some(printed) = child.stderr.take() {
        // Panics print whatever an input holds.
        for line in BufReader::new(printed).split(b'\n') {
            text.push(String::from_utf8_lossy(&line.map_err(wrong)?).into_owned());
        }
    }
    let status = child.wait().map_err(wrong)?;
    if status.success() {
        return parse(&text).ok_or_else(|| Failure::Wrong(format!("{name} printed no figures")));
    }
    let last = text[text.len().saturating_sub(40)..].join("\n");
    let after = artifacts(&folder, name);
    let found = after.into_iter().find(|path| !before.contains(path));
    Err(Failure::Wrong(match found {
        Some(path) => format!(
            "{last}\n{name} broke its property: {}\nreplay it: cd fuzz && {} fuzz run {name} {0}\n\
             then mend it, and keep the input under fuzz/crashers/{name}",
            path.display(),
            program.display()
        ),
        None => format!("{last}\n{name} failed: {status}"),
    }))
}

/// Inputs that broke a property.
fn artifacts(folder: &Path, name: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder.join("artifacts").join(name)) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// Reads the last status line and the final figures of libFuzzer.
fn parse(lines: &[String]) -> Option<Run> {
    let figure = |name: &str| {
        let line = lines
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    let status = lines.iter().rev().find(|line| line.contains(" cov: "))?;
    let words: Vec<&str> = status.split_whitespace().collect();
    let behind = |name: &str| {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1)?.split('/').next()?.parse().ok()
    };
    let done = lines.iter().rev().find(|line| line.starts_with("Done "))?;
    let seconds = done.split_whitespace().nth(4)?.parse().ok()?;
    Some(Run {
        executions: figure("stat::number_of_executed_units:")?,
        seconds,
        coverage: behind("cov:")?,
        corpus: behind("corp:")?,
    })
}

fn usage(problem: &str) -> Failure {
    Failure::Usage(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_libfuzzer_prints() {
        let text = "#2\tINITED cov: 2 ft: 3 corp: 1/1b exec/s: 0 rss: 80Mb\n\
                    #90\tDONE   cov: 1234 ft: 56 corp: 17/4096b lim: 8 exec/s: 3 rss: 90Mb\n\
                    Done 90 runs in 31 second(s)\n\
                    stat::number_of_executed_units: 90\n\
                    stat::average_exec_per_sec:     2";
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let run = parse(&lines).unwrap();
        assert_eq!((run.executions, run.seconds), (90, 31));
        assert_eq!((run.coverage, run.corpus), (1234, 17));
        assert!(parse(&lines[..2]).is_none());
    }

    #[test]
    fn the_manifest_names_targets() {
        let names = targets().unwrap();
        assert!(names.iter().any(|name| name == "decode"), "{names:?}");
    }
}
