//! `cargo xtask bench`: the benchmarks of all crates or of some.

use crate::workspace::{Failure, cargo, packages};

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let split = arguments.iter().position(|argument| argument == "--");
    let (names, further) = arguments.split_at(split.unwrap_or(arguments.len()));
    let packages = packages()?;
    let with_benches: Vec<_> = packages
        .iter()
        .filter(|package| !package.targets("bench").is_empty())
        .collect();
    let is_named = |package: &str, name: &String| {
        package == name || package.strip_prefix("polity-") == Some(name)
    };
    for name in names {
        if !with_benches
            .iter()
            .any(|package| is_named(package.name(), name))
        {
            let known: Vec<&str> = with_benches.iter().map(|package| package.name()).collect();
            return Err(Failure::Usage(format!(
                "`{name}` has no benchmarks; there are: {}",
                known.join(", ")
            )));
        }
    }
    for package in with_benches {
        if !names.is_empty() && !names.iter().any(|name| is_named(package.name(), name)) {
            continue;
        }
        // Each target by name: without it, cargo would also run the unit tests of the library,
        // which do not understand the arguments of criterion.
        let targets = package
            .targets("bench")
            .into_iter()
            .flat_map(|name| ["--bench", name]);
        cargo("bench")
            .args(["--package", package.name()])
            .args(targets)
            .args(further)
            .show()?;
    }
    Ok(())
}
