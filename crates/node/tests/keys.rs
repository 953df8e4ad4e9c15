//! `polity keys` as its users start it.

mod common;

use common::{
    MEMBERS, PATIENCE, Scratch, advance_to, done, plan, polity, private, start, status, text,
    wait_caught_up, wait_signs,
};
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

/// What a command that fails says.
fn refusal(arguments: &[&str]) -> String {
    let output = polity(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every secret in the key files of a directory, in digits.
fn secrets(directory: &Path) -> Vec<String> {
    let mut secrets = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let found = text.lines().filter_map(|line| line.split_once("-secret:"));
        secrets.extend(found.map(|(_, digits)| digits.to_owned()));
    }
    secrets
}

#[test]
fn cr_7_a_key_lives_from_its_making_to_its_revocation() {
    let scratch = Scratch::new();
    let path = scratch.path().join("carol.key");
    let file = text(&path);
    let made = done(&["keys", "new", file]);
    assert_eq!(made["key"]["standing"], "valid");
    let first = made["key"]["id"].as_str().unwrap().to_owned();
    // Never overwritten.
    let error = refusal(&["keys", "new", file]);
    assert!(error.contains("is not overwritten"), "{error}");

    let rotated = done(&["keys", "rotate", file, "--suite", "hybrid"]);
    assert_eq!(rotated["key"]["suite"], "hybrid");
    let second = rotated["key"]["id"].as_str().unwrap().to_owned();
    let former = scratch.path().join(format!("carol.key.{first}"));
    assert!(former.exists());
    let shown = done(&["keys", "show", file]);
    assert_eq!(shown["key"]["id"], second.as_str());
    assert_eq!(shown["history"].as_array().unwrap().len(), 2);
    // The old key is good for a day more, which is soon.
    assert_eq!(shown["history"][0]["standing"], "ends soon");
    let days = |key: &Value| {
        (key["not_after_ms"].as_u64().unwrap() - key["not_before_ms"].as_u64().unwrap())
            / 86_400_000
    };
    assert_eq!(days(&shown["history"][1]), 91);

    // The newest key is not revoked by mistake; a former one is.
    let error = refusal(&["keys", "revoke", file]);
    assert!(error.contains("keys rotate"), "{error}");
    done(&["keys", "revoke", file, "--key", &first]);
    let shown = done(&["keys", "show", text(&former)]);
    assert_eq!(shown["key"]["standing"], "revoked");
    let error = refusal(&["keys", "rotate", text(&former)]);
    assert!(error.contains("revoked"), "{error}");

    let out = scratch.path().join("carol.records");
    let exported = done(&["keys", "export", file, "--out", text(&out)]);
    assert_eq!(exported["entries"].as_array().unwrap().len(), 3);
    assert_eq!(
        std::fs::read(&out).unwrap(),
        std::fs::read(scratch.path().join("key-records")).unwrap()
    );
    done(&["keys", "revoke", file, "--force"]);
    // Clients sign nothing with it.
    let error = refusal(&[
        "transfer",
        "carol@thor",
        "bob@thor",
        "1",
        "--api",
        "127.0.0.1:9",
        "--key",
        file,
    ]);
    assert!(error.contains("signs nothing"), "{error}");
    // Records that were changed are refused.
    let records = scratch.path().join("key-records");
    let mut bytes = std::fs::read(&records).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&records, bytes).unwrap();
    let error = refusal(&["keys", "show", file]);
    assert!(error.contains("put back a copy"), "{error}");
}

#[cfg(unix)]
#[test]
fn cr_5_a_sealed_key_needs_its_passphrase_and_nothing_shows_a_secret() {
    let scratch = Scratch::new();
    let words = scratch.path().join("words");
    private(&words, "correct horse\n");
    let other = scratch.path().join("other");
    private(&other, "wrong horse\n");
    let (open, sealed) = (
        scratch.path().join("open.key"),
        scratch.path().join("sealed.key"),
    );
    let commands: Vec<Vec<&str>> = vec![
        vec!["keys", "new", text(&open)],
        vec![
            "keys",
            "new",
            text(&sealed),
            "--passphrase-file",
            text(&words),
        ],
        vec!["keys", "show", text(&open)],
        vec!["keys", "show", text(&sealed)],
        vec!["keys", "rotate", text(&sealed)],
        vec![
            "keys",
            "rotate",
            text(&sealed),
            "--passphrase-file",
            text(&other),
        ],
        vec![
            "keys",
            "rotate",
            text(&sealed),
            "--passphrase-file",
            text(&words),
        ],
        vec!["keys", "rotate", text(&open), "--suite", "ml-dsa-65"],
        vec!["keys", "revoke", text(&open), "--force"],
        vec!["keys", "export", text(&open)],
        vec!["keys", "export", text(&sealed), "--json"],
    ];
    let mut outputs = Vec::new();
    for command in &commands {
        let output = polity(command);
        outputs.push((
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        ));
    }
    let codes: Vec<_> = outputs.iter().map(|(code, _)| code.unwrap()).collect();
    assert_eq!(codes, [0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0], "{outputs:?}");
    assert!(
        outputs[4].1.contains("POLITY_PASSPHRASE_FILE"),
        "{}",
        outputs[4].1
    );
    assert!(outputs[5].1.contains("does not open"), "{}", outputs[5].1);
    // The key that followed a sealed one is sealed.
    let shown = done(&["keys", "show", text(&sealed)]);
    assert_eq!(shown["is_sealed"], true);
    let secrets = secrets(scratch.path());
    assert_eq!(secrets.len(), 2, "the open key and the one before it");
    for (_, text) in &outputs {
        for secret in secrets
            .iter()
            .map(String::as_str)
            .chain(["correct horse", "wrong horse"])
        {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[cfg(unix)]
#[test]
fn cr_5_files_that_others_can_read_are_refused_with_a_sentence() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    let path = scratch.path().join("key");
    done(&["keys", "new", text(&path)]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    for command in ["show", "rotate", "revoke", "export"] {
        let error = refusal(&["keys", command, text(&path)]);
        assert!(error.contains("chmod 600"), "{error}");
    }
}

#[test]
fn cr_7_a_member_votes_on_while_its_key_is_rotated_and_follows_when_it_is_revoked() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let mut plan = plan(&MEMBERS);
    plan.epoch_length = 12;
    let mut cluster = start(&directory, plan);
    advance_to(&mut cluster, 0, 3);
    let sprout = cluster.nodes[1].directory.clone();
    let rotated = done(&["keys", "rotate", text(&sprout), "--dir", text(&directory)]);
    let from = rotated["counts_from"].as_u64().unwrap();
    // With both keys: the old one votes up to the end of the epoch.
    cluster.kill(1);
    cluster.spawn(1).unwrap();
    cluster.wait_ready().unwrap();
    wait_caught_up(&mut cluster, 1, 0);
    assert!(status(&cluster, 1).votes);
    advance_to(&mut cluster, 0, from + 1);
    wait_caught_up(&mut cluster, 1, 0);
    assert!(status(&cluster, 1).votes);
    wait_signs(&mut cluster, 0, 1);

    // Without a restart.
    done(&["keys", "revoke", text(&sprout), "--force"]);
    let until = Instant::now() + PATIENCE;
    while status(&cluster, 1).votes {
        assert!(Instant::now() < until, "it votes with a revoked key");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let height = status(&cluster, 0).height.get();
    advance_to(&mut cluster, 1, height + 3);
    // And after a restart it follows, too.
    cluster.kill(1);
    cluster.spawn(1).unwrap();
    cluster.wait_ready().unwrap();
    wait_caught_up(&mut cluster, 1, 0);
    assert!(!status(&cluster, 1).votes);
    cluster.stop().unwrap();
}
