//! A real member that is far behind comes back by a snapshot (FB-19).

mod common;

use common::{
    MEMBERS, PATIENCE, Scratch, advance_to, done, plan, polity, start, status, text,
    wait_caught_up, wait_signs,
};
use polity::audit::audit;
use polity::client::ClientError;
use polity::cluster::Cluster;
use polity::view::{Block, Epochs};
use polity_types::{Epoch, Height, ReplicaId};
use std::path::Path;

/// Heights of one epoch.
const EPOCH: u64 = 8;

/// Who is that many blocks behind fetches a snapshot.
const AFTER: u64 = 6;

/// Waits until the log of a node has these words `count` times.
fn wait_log(cluster: &mut Cluster, index: usize, words: &str, count: usize) {
    let log = cluster.nodes[index].log_path();
    cluster
        .wait_for(words, PATIENCE, |_| {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            Ok((text.matches(words).count() >= count).then_some(()))
        })
        .unwrap();
}

/// Loses a member's directory but for what its operator wrote, and comes back with a new key. Returns the
/// height from which it votes.
fn lose_and_rejoin(cluster: &mut Cluster, index: usize, fed: &str) -> u64 {
    let directory = cluster.nodes[index].directory.clone();
    cluster.kill(index);
    for file in ["journal", "index.redb", "key"] {
        std::fs::remove_file(directory.join(file)).unwrap();
    }
    let rejoined = done(&["rejoin", text(&directory)]);
    assert!(rejoined.get("set_aside").is_none(), "{rejoined}");
    let command = rejoined["command"].as_str().unwrap();
    let command = command.replace("FEDERATION", fed);
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    done(&words)["counts_from"].as_u64().unwrap()
}

/// The code of a refusal and its sentence.
fn refusal(result: Result<Block, ClientError>) -> (String, String) {
    match result.unwrap_err() {
        ClientError::Refused { problem, .. } => (problem.code, problem.message),
        other => panic!("{other}"),
    }
}

#[test]
fn fb_19_a_member_that_lost_everything_comes_back_by_a_snapshot() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let fed = text(&directory);
    let mut plan = plan(&MEMBERS);
    plan.epoch_length = EPOCH;
    plan.storage.snapshot_after_blocks = AFTER;
    let mut cluster = start(&directory, plan);
    advance_to(&mut cluster, 0, 3 * EPOCH + 2);

    let from = lose_and_rejoin(&mut cluster, 1, fed);
    cluster.spawn(1).unwrap();
    // Killed while it fetches, or just behind; it goes on where it was either way.
    wait_log(&mut cluster, 1, "this node is far behind", 1);
    cluster.kill(1);
    cluster.spawn(1).unwrap();
    wait_caught_up(&mut cluster, 1, 0);
    let snapshot = refusal(cluster.client(1).get("/v1/blocks/1"));
    assert_eq!(snapshot.0, "block_not_held");
    assert!(
        snapshot.1.contains("started from a snapshot at height"),
        "{}",
        snapshot.1
    );
    let ahead = refusal(cluster.client(1).get("/v1/blocks/1000000"));
    assert_eq!(ahead.0, "unknown_block");
    let late: Block = cluster.client(1).get("/v1/blocks/latest").unwrap();
    assert!(late.signers.len() >= 3, "{late:?}");

    // It votes in the epoch that has its key, and not before.
    cluster.wait_ready().unwrap();
    advance_to(&mut cluster, 0, from);
    wait_signs(&mut cluster, 0, 1);
    assert!(status(&cluster, 1).votes);
    for height in 3 * EPOCH + 3..from {
        let block: Block = cluster
            .client(0)
            .get(&format!("/v1/blocks/{height}"))
            .unwrap();
        assert!(!block.signers.contains(&ReplicaId::new(1)), "{height}");
    }
    // It knows how every epoch ended, and proves what it never saw.
    let epochs: Epochs = cluster.client(1).get("/v1/epochs").unwrap();
    let known: Vec<Epoch> = epochs
        .ends
        .iter()
        .map(|end| end.last.header.epoch)
        .collect();
    let count = status(&cluster, 1).height.get() / EPOCH;
    assert!(known.len() as u64 >= count, "{known:?}");
    assert_eq!(
        known,
        (0..known.len() as u64).map(Epoch::new).collect::<Vec<_>>()
    );
    let proof = scratch.path().join("proof.json");
    let api = cluster.nodes[1].api.to_string();
    done(&[
        "proof",
        "account",
        "alice@thor",
        "--out",
        text(&proof),
        "--api",
        &api,
    ]);
    let genesis = directory.join("genesis.json");
    let check = polity(&["proof", "check", text(&proof), "--genesis", text(&genesis)]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");

    // It serves what it fetched: the next one that loses everything may get it from there.
    let height = status(&cluster, 0).height.get();
    advance_to(&mut cluster, 0, height + 2 * EPOCH);
    let from = lose_and_rejoin(&mut cluster, 2, fed);
    cluster.spawn(2).unwrap();
    wait_log(&mut cluster, 2, "the snapshot is installed", 1);
    wait_caught_up(&mut cluster, 2, 0);
    cluster.wait_ready().unwrap();
    advance_to(&mut cluster, 0, from);
    wait_signs(&mut cluster, 0, 2);
    cluster.wait_settled(0).unwrap();

    // Without an index everything comes back from a journal that jumps.
    cluster.kill(1);
    std::fs::remove_file(cluster.nodes[1].directory.join("index.redb")).unwrap();
    cluster.spawn(1).unwrap();
    cluster.wait_ready().unwrap();
    assert_eq!(refusal(cluster.client(1).get("/v1/blocks/1")), snapshot);
    cluster.wait_settled(0).unwrap();
    cluster.stop().unwrap();
    assert_audited(&directory, fed);
}

/// Every journal holds and they agree, and it is said what is missing in two of them.
fn assert_audited(directory: &Path, fed: &str) {
    let audited = audit(directory, None, |_, _| {}).unwrap();
    assert_eq!(audited.len(), 4);
    let roots: Vec<_> = audited.iter().map(|chain| chain.state_root).collect();
    assert!(roots.iter().all(|root| *root == roots[0]));
    for chain in &audited {
        let name = chain.path.file_name().unwrap().to_str().unwrap();
        let is_jumping = ["sprout", "legion"].contains(&name);
        assert_eq!(!chain.gaps.is_empty(), is_jumping, "{name}");
        assert!(
            chain
                .gaps
                .iter()
                .all(|(first, last)| *first == Height::new(1) && first < last)
        );
        assert!(!chain.is_claim());
    }
    let verified = polity(&["verify", fed]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let words = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(
        words.matches("holds no blocks from 1 to").count(),
        2,
        "{words}"
    );
    let out = directory.join("chain.polity");
    let sprout = directory.join("sprout");
    let refused = polity(&["export", text(&sprout), "--out", text(&out)]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("does not hold blocks 1 to"), "{words}");
}
