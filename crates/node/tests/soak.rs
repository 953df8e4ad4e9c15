//! A short soak: one node at a time is killed, paused and cut off, and nothing is lost.
#![cfg(unix)]

mod common;

use common::{Scratch, program};
use serde_json::Value;
use std::process::Command;

#[test]
fn a_short_soak_is_safe_and_live_and_loses_nothing() {
    let scratch = Scratch::new();
    let kept = scratch.path().join("kept");
    let output = Command::new(program())
        .args(["soak", "--seconds", "20", "--seed", "1", "--rate", "20"])
        .args(["--json", "--keep"])
        .arg(&kept)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        let words = String::from_utf8_lossy(&output.stderr);
        panic!("{error}: {text}{words}")
    });
    assert_eq!(report["verdict"], "safe_and_live", "{report:#}");
    assert_eq!(output.status.code(), Some(0));
    let findings = &report["findings"];
    assert_eq!(findings["lost"], 0);
    assert!(findings["blocks"].as_u64() > Some(0), "{report:#}");
    assert!(report["faults"]["kill"].as_u64() > Some(0), "{report:#}");
    assert!(report["packets"]["received"].as_u64() > Some(0));
    // Every member talked through the proxy alone.
    assert_eq!(report["nodes"], 4);

    let output = Command::new(program())
        .arg("verify")
        .arg(&kept)
        .arg("--json")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
}
