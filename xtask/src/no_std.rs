//! `cargo xtask no-std`: proves that no protocol crate links the standard library.
//!
//! A probe crate is generated that is `no_std`, imports every protocol crate and defines the panic
//! handler. The standard library defines one too, so if any crate below the probe links it, the
//! compiler refuses the probe. This needs no other target than the one at hand. To be sure that the
//! refusal works, the same probe is compiled once more over a crate that does link std, and has to
//! be refused.

use crate::workspace::{Failure, PROTOCOL_CRATES, cargo, packages, read, target};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const PROBE: &str = "\
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
";

/// What the compiler says about two panic handlers.
const REFUSAL: &str = "panic_impl";

pub(crate) fn check() -> Result<String, Failure> {
    check_attributes()?;
    let folder = target()?.join("no-std");
    let mut dependencies = String::new();
    let mut imports = String::new();
    for package in packages()?
        .iter()
        .filter(|package| PROTOCOL_CRATES.contains(&package.name()))
    {
        let path = package.folder().display().to_string();
        let _ = writeln!(dependencies, "{} = {{ path = {path:?} }}", package.name());
        let _ = writeln!(
            imports,
            "extern crate {};",
            package.name().replace('-', "_")
        );
    }
    probe(&folder.join("probe"), &dependencies, &imports)?;
    let control = folder.join("control");
    let package = "[package]\nname = \"links-std\"\nedition = \"2024\"\n";
    write(&control.join("std/Cargo.toml"), package)?;
    write(&control.join("std/src/lib.rs"), "pub use std::env::args;\n")?;
    match probe(
        &control,
        "links-std = { path = \"std\" }\n",
        "extern crate links_std;\n",
    ) {
        Err(Failure::Wrong(output)) if output.contains(REFUSAL) => {}
        Err(failure) => return Err(failure),
        Ok(()) => {
            let problem = "the probe was accepted over a crate that links std: it proves nothing";
            return Err(Failure::Wrong(problem.to_owned()));
        }
    }
    Ok(format!("{} crates link no std", PROTOCOL_CRATES.len()))
}

/// Each crate says itself what it is.
fn check_attributes() -> Result<(), Failure> {
    for name in PROTOCOL_CRATES {
        let path = format!("crates/{}/src/lib.rs", name.trim_start_matches("polity-"));
        let text = read(&path)?;
        for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            if !text.lines().any(|line| line == attribute) {
                return Err(Failure::Wrong(format!("{path} lacks {attribute}")));
            }
        }
    }
    Ok(())
}

fn probe(folder: &Path, dependencies: &str, imports: &str) -> Result<(), Failure> {
    write(
        &folder.join("Cargo.toml"),
        &manifest("no-std-probe", dependencies),
    )?;
    write(&folder.join("src/lib.rs"), &format!("{PROBE}\n{imports}"))?;
    // The versions of the workspace, so that the probe sees what is released.
    write(&folder.join("Cargo.lock"), &read("Cargo.lock")?)?;
    let manifest = folder.join("Cargo.toml").display().to_string();
    let built = folder.with_file_name("build").display().to_string();
    cargo("check")
        .args([
            "--quiet",
            "--manifest-path",
            &manifest,
            "--target-dir",
            &built,
        ])
        .capture()
        .map(|_| ())
}

fn manifest(name: &str, dependencies: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [workspace]\n\n[dependencies]\n{dependencies}"
    )
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    // An unchanged file keeps its time, so nothing is built again.
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::Wrong(format!("cannot write {}: {error}", path.display())))
}
