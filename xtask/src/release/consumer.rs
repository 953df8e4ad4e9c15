//! A crate outside the workspace that knows the local registry alone. Its programs are the examples of
//! the READMEs, one each.

use crate::workspace::{Call, Failure, Package, cargo};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Writes, builds and runs it; says how many examples there were.
pub(super) fn run(
    folder: &Path,
    registry: &Path,
    libraries: &[&Package],
) -> Result<usize, Failure> {
    let consumer = folder.join("consumer");
    // Programs of the last time may not come from this registry.
    let _ = fs::remove_dir_all(&consumer);
    write(&consumer.join("Cargo.toml"), &manifest(libraries))?;
    write(&consumer.join(".cargo/config.toml"), &config(registry))?;
    let mut programs = Vec::new();
    for library in libraries {
        let name = format!("{}-{}", library.name(), library.field("version"));
        let readme = registry.join(name).join(library.field("readme"));
        let text = fs::read_to_string(&readme)
            .map_err(|error| format!("cannot read {}: {error}", readme.display()))?;
        for (number, example) in examples(&text).into_iter().enumerate() {
            let program = format!("{}-{}", library.name(), number + 1);
            write(&consumer.join(format!("src/bin/{program}.rs")), &example)?;
            programs.push(program);
        }
    }
    let build = folder.join("build");
    cargo("build")
        .args(["--quiet", "--offline", "--bins", "--target-dir"])
        .arg(&build.display().to_string())
        .folder(&consumer)
        .capture()?;
    for program in &programs {
        let suffix = std::env::consts::EXE_SUFFIX;
        let path = build.join(format!("debug/{program}{suffix}"));
        Call::new(OsStr::new(&path), program).capture()?;
    }
    if programs.is_empty() {
        return Err(Failure::Wrong(
            "no README has an example in ```rust, so nothing was tried".to_owned(),
        ));
    }
    Ok(programs.len())
}

fn manifest(libraries: &[&Package]) -> String {
    let mut text = "[package]\nname = \"consumer\"\nedition = \"2024\"\npublish = false\n\n\
                    [workspace]\n\n[profile.dev]\nopt-level = 1\ndebug = false\n\n[dependencies]\n"
        .to_owned();
    for library in libraries {
        let (name, version) = (library.name(), library.field("version"));
        let _ = writeln!(text, "{name} = \"={version}\"");
    }
    text
}

fn config(registry: &Path) -> String {
    // A literal string: a path may hold backslashes.
    format!(
        "[source.crates-io]\nreplace-with = \"rehearsal\"\n\n\
         [source.rehearsal]\ndirectory = '{}'\n",
        registry.display()
    )
}

/// The examples of a README as programs, by the rules of rustdoc: a hidden line begins with `# `, and a
/// hidden `Ok` says that the example may return an error.
fn examples(readme: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut example: Option<String> = None;
    for line in readme.lines() {
        match &mut example {
            None if line == "```rust" => example = Some(String::new()),
            None => {}
            Some(text) if line == "```" => {
                examples.push(program(text));
                example = None;
            }
            Some(text) => {
                text.push_str(line.strip_prefix("# ").unwrap_or(line));
                text.push('\n');
            }
        }
    }
    examples
}

fn program(example: &str) -> String {
    let result = match example.lines().last() {
        Some(last) if last.starts_with("Ok::<") => " -> Result<(), Box<dyn std::error::Error>>",
        _ => "",
    };
    format!("#![allow(unused)]\nfn main(){result} {{\n{example}}}\n")
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::Wrong(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn examples_become_programs() {
        let main = |result: &str, body: &str| {
            format!("#![allow(unused)]\nfn main(){result} {{\n{body}}}\n")
        };
        let fallible = " -> Result<(), Box<dyn std::error::Error>>";
        for (readme, expected) in [
            ("no code", vec![]),
            ("```console\nls\n```\n", vec![]),
            ("```rust,ignore\na();\n```\n", vec![]),
            ("x\n```rust\na();\n```\ny\n", vec![main("", "a();\n")]),
            (
                "```rust\n# hidden();\na()?;\n# Ok::<(), E>(())\n```",
                vec![main(fallible, "hidden();\na()?;\nOk::<(), E>(())\n")],
            ),
            (
                "```rust\na();\n```\n```rust\nb();\n```",
                vec![main("", "a();\n"), main("", "b();\n")],
            ),
        ] {
            assert_eq!(examples(readme), expected, "{readme}");
        }
    }

    #[test]
    fn the_consumer_wants_exactly_what_was_published() {
        let types = Package::new(json!({ "name": "polity-types", "version": "0.1.0" }));
        let text = manifest(&[&types]);
        assert!(
            text.ends_with("[dependencies]\npolity-types = \"=0.1.0\"\n"),
            "{text}"
        );
    }
}
