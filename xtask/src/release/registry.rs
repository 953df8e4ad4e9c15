//! A local registry: a folder with unpacked crates and their checksums, which cargo calls a directory
//! source. It replaces crates.io as a whole, so what others published is put into it as well.

use crate::workspace::{Call, Failure, Package, cargo};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Cargo reads the checksums of a crate from this file.
const CHECKSUMS: &str = ".cargo-checksum.json";

/// Puts in what the workspace needs from others, in the versions of its lock file. Everything else is
/// removed.
pub(super) fn fill(registry: &Path) -> Result<(), Failure> {
    cargo("vendor")
        .args(["--quiet", "--locked", "--versioned-dirs"])
        .args(["--respect-source-config", &registry.display().to_string()])
        .capture()
        .map(|_| ())
}

/// Puts in one crate, as `cargo package` left it.
pub(super) fn publish(registry: &Path, packed: &Path, package: &Package) -> Result<(), Failure> {
    let full_name = full_name(package.name(), package.field("version"));
    for import in package.imports() {
        // All crates of the workspace have one version.
        let needed = registry.join(self::full_name(import, package.field("version")));
        if !needed.is_dir() {
            return Err(Failure::Wrong(format!(
                "{full_name} needs {import}, which is not published before it"
            )));
        }
    }
    let archive = packed.join(format!("{full_name}.crate"));
    let bytes = read(&archive)?;
    Call::new(OsStr::new("tar"), "tar")
        .args(["-xzf", &archive.display().to_string()])
        .args(["-C", &registry.display().to_string()])
        .capture()?;
    let folder = registry.join(full_name);
    let checksums = json!({ "package": checksum(&bytes), "files": files(&folder)? });
    let file = folder.join(CHECKSUMS);
    fs::write(&file, checksums.to_string()).map_err(|error| wrong("write", &file, &error))
}

fn full_name(name: &str, version: &str) -> String {
    format!("{name}-{version}")
}

/// Every file of a folder with its checksum.
fn files(folder: &Path) -> Result<Map<String, Value>, Failure> {
    let mut files = Map::new();
    let mut ahead: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(path) = ahead.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).map_err(|error| wrong("list", &path, &error))?;
            for entry in entries {
                ahead.push(entry.map_err(|error| wrong("list", &path, &error))?.path());
            }
        } else {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            let parts: Vec<_> = name.iter().map(OsStr::to_string_lossy).collect();
            if parts != [CHECKSUMS] {
                files.insert(parts.join("/"), checksum(&read(&path)?).into());
            }
        }
    }
    Ok(files)
}

fn checksum(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| wrong("read", path, &error))
}

fn wrong(deed: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Wrong(format!("cannot {deed} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(checksum(b""), empty);
    }

    #[test]
    fn names_are_those_of_cargo() {
        assert_eq!(full_name("polity-types", "0.1.0"), "polity-types-0.1.0");
    }
}
