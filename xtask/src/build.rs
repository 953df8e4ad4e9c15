//! `cargo xtask build`: what a release consists of.

use crate::no_std;
use crate::workspace::{Failure, cargo};

pub(crate) fn run() -> Result<(), Failure> {
    cargo("build")
        .args(["--release", "--bin", "polity"])
        .show()?;
    println!("{}", no_std::check()?);
    Ok(())
}
