//! A real node whose journal is damaged repairs it from the others, and goes on voting (FB-15).

#![cfg(unix)]

mod common;

use common::{MEMBERS, PATIENCE, Scratch, pay, plan, program, signed, start, transfer};
use polity::audit::audit;
use polity::cluster::Signal;
use polity::view::Status;
use polity::wallet::{submit, wait_final};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The node whose journal is damaged.
const DAMAGED: usize = 2;

/// Flips a bit of a journal behind each of these quarters, and returns what it is then.
fn damage(directory: &Path, quarters: &[usize]) -> Vec<u8> {
    let path = directory.join("journal");
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    for quarter in quarters {
        bytes[quarter * length / 4] ^= 0x04;
    }
    fs::write(&path, &bytes).unwrap();
    bytes
}

fn damaged_copies(directory: &Path) -> Vec<Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("journal.damaged-")
        })
        .map(|path| fs::read(path).unwrap())
        .collect()
}

/// `polity verify`: whether it is content, and its words.
fn verify(directory: &Path) -> (bool, String) {
    let output = Command::new(program())
        .arg("verify")
        .arg(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).into_owned();
    (output.status.success(), words)
}

#[test]
fn fb_15_a_damaged_journal_is_repaired_from_the_other_members() {
    let scratch = Scratch::new();
    let federation = scratch.path().join("fed");
    let mut plan = plan(&MEMBERS);
    plan.storage.snapshot_every_blocks = 3;
    // The damage lies in two epochs.
    plan.epoch_length = 4;
    let mut cluster = start(&federation, plan);
    for height in 1..=8 {
        pay(&cluster, 0);
        // Every node flushes each height, so each has a witness in its journal.
        cluster.wait_settled(height).unwrap();
    }
    let directory = cluster.nodes[DAMAGED].directory.clone();
    cluster.signal(DAMAGED, Signal::Terminate).unwrap();
    cluster.wait_stopped(DAMAGED).unwrap();
    pay(&cluster, 0);
    let damaged = damage(&directory, &[1, 3]);
    let (is_clean, words) = verify(&directory);
    assert!(!is_clean, "{words}");
    assert!(
        words.contains("repairs its journal when it starts"),
        "{words}"
    );

    // Nobody is there to ask: it waits, and can be told to stop.
    for index in [0, 1, 3] {
        cluster.signal(index, Signal::Terminate).unwrap();
        cluster.wait_stopped(index).unwrap();
    }
    cluster.spawn(DAMAGED).unwrap();
    let log = cluster.nodes[DAMAGED].log_path();
    cluster
        .wait_for("a node that repairs its journal", PATIENCE, |_| {
            let log = fs::read_to_string(&log).unwrap();
            let said = log.split_once("the journal is damaged");
            Ok(said
                .filter(|(_, after)| after.contains("listening for members"))
                .map(|_| ()))
        })
        .unwrap();
    cluster.signal(DAMAGED, Signal::Terminate).unwrap();
    cluster.wait_stopped(DAMAGED).unwrap();
    assert_eq!(fs::read(directory.join("journal")).unwrap(), damaged);

    // With two others it is repaired, and the three of them decide: its vote is needed.
    for index in [0, 1, DAMAGED] {
        cluster.spawn(index).unwrap();
    }
    cluster.wait_ready().unwrap();
    for _ in 0..2 {
        pay(&cluster, 0);
    }
    assert_eq!(damaged_copies(&directory), [damaged]);
    let status: Status = cluster.client(DAMAGED).get("/v1/status").unwrap();
    assert!(status.votes, "{status:?}");
    let metrics = cluster.client(DAMAGED).get_text("/metrics").unwrap();
    let lost = "polity_journal_records_lost_total 2\n";
    assert!(metrics.contains(lost), "{metrics}");

    // It starts again like every other node, and all journals say the same.
    cluster.signal(DAMAGED, Signal::Terminate).unwrap();
    cluster.wait_stopped(DAMAGED).unwrap();
    for index in [DAMAGED, 3] {
        cluster.spawn(index).unwrap();
    }
    cluster.wait_ready().unwrap();
    pay(&cluster, 0);
    cluster.wait_settled(12).unwrap();
    cluster.stop().unwrap();
    assert_eq!(damaged_copies(&directory).len(), 1);
    let (is_clean, words) = verify(&federation);
    assert!(is_clean, "{words}");
    let audited = audit(&federation, None, |_, _| {}).unwrap();
    assert_eq!(audited.len(), 4);
    assert!(
        audited
            .iter()
            .all(|chain| chain.height == audited[0].height)
    );
    assert!(audited.iter().all(|chain| chain.transactions == 12));
}

/// Who is alone has nobody to ask, and says so; nothing is changed.
#[test]
fn a_federation_of_one_cannot_repair_its_journal() {
    let scratch = Scratch::new();
    let mut cluster = start(&scratch.path().join("fed"), plan(&["solo"]));
    for _ in 0..4 {
        let payment = transfer("alice@solo", "bob@solo", 1);
        let paid = signed(&cluster, "alice@solo", payment);
        submit(&mut cluster.client(0), &paid).unwrap();
        wait_final(&mut cluster.client(0), paid.id(), PATIENCE).unwrap();
    }
    cluster.stop().unwrap();
    let directory = cluster.nodes[0].directory.clone();
    let damaged = damage(&directory, &[1]);
    let output = Command::new(program())
        .arg("run")
        .arg(&directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("no other member"), "{words}");
    assert_eq!(fs::read(directory.join("journal")).unwrap(), damaged);
}
