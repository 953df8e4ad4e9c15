//! Federations of real processes: agreement, crashes, strangers, shutdown.

mod common;

use common::{MEMBERS, PATIENCE, Scratch, address, plan, program, signed, start, transfer};
use polity::audit::audit;
use polity::client::{Client, ClientError};
use polity::config::{FILE_NAME, NodeConfig};
use polity::federation::found;
use polity::view::{Account, Status};
use polity::wallet::{submit, wait_final};
use polity_types::Amount;
use std::process::{Command, Stdio};
use std::time::Instant;

fn total(client: &mut Client, account: &str) -> Amount {
    let account: Account = client.get(&format!("/v1/accounts/{account}")).unwrap();
    account.total
}

#[test]
fn a_killed_node_recovers_and_every_journal_holds() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let mut plan = plan(&MEMBERS);
    // A snapshot falls into the test, so the restart begins with one.
    plan.storage.snapshot_every_blocks = 3;
    let mut cluster = start(&directory, plan);

    for amount in [10, 20] {
        let paid = signed(
            &cluster,
            "alice@thor",
            transfer("alice@thor", "bob@sprout", amount),
        );
        submit(&mut cluster.client(1), &paid).unwrap();
        let found = wait_final(&mut cluster.client(0), paid.id(), PATIENCE).unwrap();
        assert!(found.unwrap().receipt.unwrap().applied);
    }
    cluster.kill(2);
    let paid = signed(
        &cluster,
        "alice@thor",
        transfer("alice@thor", "bob@sprout", 30),
    );
    submit(&mut cluster.client(0), &paid).unwrap();
    let found = wait_final(&mut cluster.client(3), paid.id(), PATIENCE).unwrap();
    assert!(found.unwrap().receipt.unwrap().applied);

    cluster.spawn(2).unwrap();
    cluster.wait_ready().unwrap();
    let statuses = cluster.wait_settled(0).unwrap();
    assert_eq!(statuses.len(), 4);
    for index in 0..4 {
        let mut client = cluster.client(index);
        assert_eq!(total(&mut client, "alice@thor"), Amount::from_atp(940));
        assert_eq!(total(&mut client, "bob@sprout"), Amount::from_atp(560));
    }
    // The restarted node answers about what was decided while it was down, too.
    let found = wait_final(&mut cluster.client(2), paid.id(), PATIENCE).unwrap();
    assert!(found.unwrap().proof.is_some());

    // And it can be killed while everything is at work, all nodes at once.
    let last = signed(
        &cluster,
        "alice@thor",
        transfer("alice@thor", "bob@sprout", 40),
    );
    let taken = submit(&mut cluster.client(0), &last).unwrap();
    assert!(taken.error.is_none());
    for index in 0..4 {
        cluster.kill(index);
    }
    for index in 0..4 {
        cluster.spawn(index).unwrap();
    }
    cluster.wait_ready().unwrap();
    // The node that took it promised to keep it.
    let found = wait_final(&mut cluster.client(0), last.id(), PATIENCE).unwrap();
    assert!(found.unwrap().receipt.unwrap().applied);
    cluster.wait_settled(0).unwrap();
    cluster.stop().unwrap();

    let audited = audit(&directory, None, |_, _| {}).unwrap();
    assert_eq!(audited.len(), 4);
    for chain in audited {
        assert_eq!(chain.transactions, 4);
        let bob = chain.ledger.account(&address("bob@sprout")).unwrap();
        assert_eq!(bob.total, Amount::from_atp(600));
    }
}

#[test]
fn a_second_process_on_a_directory_is_refused() {
    let scratch = Scratch::new();
    let mut cluster = start(&scratch.path().join("fed"), plan(&["solo"]));
    let second = Command::new(program())
        .arg("run")
        .arg(&cluster.nodes[0].directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(words.contains("another process"), "{words}");
    // The first is not disturbed.
    cluster.wait_ready().unwrap();
    cluster.stop().unwrap();
}

#[test]
fn a_lost_journal_and_another_key_are_refused() {
    let scratch = Scratch::new();
    let founded = found(&scratch.path().join("fed"), &plan(&MEMBERS)).unwrap();
    let words_of = |directory: &std::path::Path| {
        let output = Command::new(program())
            .arg("run")
            .arg(directory)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let code = output.status.code();
        (code, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    std::fs::remove_file(founded.nodes[0].join("journal")).unwrap();
    let (code, words) = words_of(&founded.nodes[0]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("the journal is missing"), "{words}");

    std::fs::remove_file(founded.nodes[1].join("key")).unwrap();
    std::fs::copy(founded.nodes[2].join("key"), founded.nodes[1].join("key")).unwrap();
    let (code, words) = words_of(&founded.nodes[1]);
    assert_eq!(code, Some(2), "{words}");
    assert!(
        words.contains("not the key of member \"sprout\""),
        "{words}"
    );
}

#[test]
fn a_stranger_is_not_let_in() {
    let scratch = Scratch::new();
    let mut cluster = start(&scratch.path().join("fed"), plan(&MEMBERS));

    // Another federation with the same names, whose first node dials the members of this one.
    let mut other = start(&scratch.path().join("other"), plan(&MEMBERS));
    other.kill(0);
    let path = other.nodes[0].directory.join(FILE_NAME);
    let mut config = NodeConfig::load(&path).unwrap();
    for node in &cluster.nodes {
        let theirs = NodeConfig::load(&node.directory.join(FILE_NAME)).unwrap();
        if let Some(peer) = config.network.peers.get_mut(&node.name) {
            *peer = theirs.network.listen;
        }
    }
    std::fs::write(&path, config.to_text()).unwrap();
    for index in 1..4 {
        other.kill(index);
    }
    other.spawn(0).unwrap();

    let refused = |client: &mut Client| -> Result<u64, ClientError> {
        let text = client.get_text("/metrics")?;
        Ok(text
            .lines()
            .filter(|line| line.starts_with("polity_handshakes_refused_total"))
            .filter(|line| line.contains("stranger") || line.contains("other_chain"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum())
    };
    let mut client = cluster.client(1);
    cluster
        .wait_for("a refused stranger", PATIENCE, |_| {
            Ok((refused(&mut client)? > 0).then_some(()))
        })
        .unwrap();
    // It is linked to nobody, so it can decide nothing and says so.
    let error = other
        .client(0)
        .get::<serde_json::Value>("/v1/ready")
        .unwrap_err();
    assert_eq!(error.code(), Some("no_quorum"));
    let status: Status = other.client(0).get("/v1/status").unwrap();
    assert!(status.peers.iter().all(|peer| !peer.connected));
    // The members are not disturbed.
    let paid = signed(
        &cluster,
        "alice@thor",
        transfer("alice@thor", "bob@sprout", 1),
    );
    submit(&mut cluster.client(0), &paid).unwrap();
    let found = wait_final(&mut cluster.client(0), paid.id(), PATIENCE).unwrap();
    assert!(found.unwrap().receipt.unwrap().applied);
    cluster.check_alive().unwrap();
}

#[cfg(unix)]
#[test]
fn a_node_that_is_told_to_stop_stops_in_order() {
    let scratch = Scratch::new();
    let mut cluster = start(&scratch.path().join("fed"), plan(&["solo"]));
    let paid = signed(
        &cluster,
        "alice@solo",
        transfer("alice@solo", "bob@solo", 1),
    );
    submit(&mut cluster.client(0), &paid).unwrap();
    let process = cluster.nodes[0].process_id().unwrap();
    let is_sent = Command::new("kill")
        .arg("-TERM")
        .arg(process.to_string())
        .status()
        .unwrap();
    assert!(is_sent.success());
    // This waits for the end and fails if the exit code is not 0.
    let start = Instant::now();
    cluster.stop().unwrap();
    assert!(start.elapsed() < PATIENCE);
    let audited = audit(&cluster.nodes[0].directory, None, |_, _| {}).unwrap();
    assert_eq!(audited.len(), 1);
}
