//! The properties over what is committed: seeds, and inputs that broke one once.

use polity_fuzzed::{TARGETS, canonical, target, verify};
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of a target in a folder of the fuzz workspace, in order; none if there is no such folder.
fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let Ok(entries) = fs::read_dir(folder.join(kind).join(target)) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs the property of one target on a folder, and says how many inputs there were.
fn replay(kind: &str, name: &str) -> usize {
    let property = target(name).expect("a target with that name").run;
    let paths = inputs(kind, name);
    for path in &paths {
        let input = fs::read(path).unwrap();
        let outcome = std::panic::catch_unwind(|| property(&input));
        assert!(
            outcome.is_ok(),
            "{name} does not hold for {}",
            path.display()
        );
    }
    paths.len()
}

#[test]
fn every_target_holds_for_its_seeds() {
    for target in TARGETS {
        let count = replay("seeds", target.name);
        assert!(count > 0, "{} has no seeds", target.name);
    }
}

#[test]
fn inputs_that_broke_something_once_do_so_no_more() {
    for target in TARGETS {
        replay("crashers", target.name);
    }
}

#[test]
fn no_other_text_of_an_honest_value_is_accepted() {
    let tally = canonical::every_change();
    println!(
        "{} values, {} other texts, 0 accepted",
        tally.values, tally.texts
    );
    assert!(tally.values > 100 && tally.texts > 30_000, "{tally:?}");
}

/// A verifier that refuses everything would hold, too.
#[test]
fn honest_values_are_accepted() {
    for (name, texts, accepted) in verify::honest_texts() {
        assert!(texts > 0, "{name} has no honest texts");
        // Honest members give nobody a reason to accuse them.
        let expected = if name == "evidence" { 0 } else { texts };
        assert_eq!(accepted, expected, "{name}");
    }
}

#[test]
fn each_target_has_a_shim() {
    for target in TARGETS {
        let shim = format!("../../fuzz/fuzz_targets/{}.rs", target.name);
        let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join(shim);
        assert!(shim.exists(), "{} is missing", shim.display());
    }
}
