//! Known answers of E4 itself, from outside the repository: every family, every case, every step.
//!
//! Compatible mode has to give E4's answers, the odd ones too. An operation that nobody here knows is
//! a failure, and so is a family that is there without a case.

// The files hold floating-point numbers, and comparing their bits is the point.
#![allow(
    clippy::float_arithmetic,
    clippy::float_cmp,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod bridges;
mod clock;
mod delta;
mod evidence;
mod fields;
mod handshake;
mod lattice;
mod merkle;
mod pco;
mod resilience;
mod strategy;
mod trust;

use fields::Case;
use polity_testkit::vectors::{self, File, Test};
use std::process::ExitCode;

/// Runs the cases of a family in a file, if the file is of it.
fn run(file: &File, name: &str, check: fn(&Case<'_>)) -> usize {
    let stem = file.path.file_stem().and_then(|stem| stem.to_str());
    let family = file.content["family"].as_str();
    let version = name.strip_prefix("lattice-");
    let is_mine = match version {
        None => family == Some(name),
        Some(version) => family == Some("lattice") && has_version(file, version),
    };
    if !is_mine {
        assert!(
            family.is_some_and(|family| FAMILIES.iter().any(|(known, _)| {
                *known == family || (family == "lattice" && known.starts_with("lattice-"))
            })),
            "{stem:?} is of a family that nobody checks: {family:?}"
        );
        return 0;
    }
    let cases = file.cases("cases");
    for value in cases {
        check(&Case { value, version });
    }
    println!("  {name}: {} cases of {}", cases.len(), stem.unwrap_or("?"));
    cases.len()
}

/// Whether a file of lattices was made by a version that behaves as this one.
fn has_version(file: &File, version: &str) -> bool {
    let behaviour = |version: &str| match version {
        "0.9.7" => "0.9.7",
        "0.10.0" | "0.11.0" => "0.11.0",
        other => panic!("a lattice of a version that nobody checks: {other}"),
    };
    let mut versions = file.cases("versions").iter();
    versions.any(|one| behaviour(fields::text(one)) == version)
}

type Check = fn(&File) -> usize;

macro_rules! families {
    ($($name:literal => $check:path),+ $(,)?) => {
        const FAMILIES: &[(&str, Check)] = &[$(($name, |file| run(file, $name, $check))),+];
    };
}

families! {
    "trust" => trust::check,
    "merkle" => merkle::check,
    "clock" => clock::check,
    "pco" => pco::check,
    "evidence" => evidence::check,
    "breaker" => clock::check_breaker,
    "handshake" => handshake::check,
    "delta" => delta::check,
    "adaptive" => pco::check_adaptive,
    "bridges" => bridges::check,
    "strategy" => strategy::check,
    "resilience" => resilience::check,
    "config" => handshake::check_config,
    "lattice-0.9.7" => lattice::check,
    "lattice-0.11.0" => lattice::check,
}

fn main() -> ExitCode {
    let tests: Vec<Test> = FAMILIES
        .iter()
        .map(|&(name, check)| Test { name, check })
        .collect();
    vectors::run("e4", &tests)
}
