//! Committees of real processes that change: who joins, who leaves, who lost its journal (FB-15, FB-17).

mod common;

use common::{
    MEMBERS, PATIENCE, Scratch, advance_to, done, plan, polity, start, status, text,
    wait_caught_up, wait_signs,
};
use polity::audit::audit;
use polity::cluster::Cluster;
use polity::config::{FILE_NAME, NodeConfig};
use polity::view::{Block, Committee, Epochs, Status};
use polity_types::{Epoch, ReplicaId};
use serde_json::Value;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

/// Heights of one epoch.
const EPOCH: u64 = 12;

fn federation(directory: &Path) -> Cluster {
    let mut plan = plan(&MEMBERS);
    plan.epoch_length = EPOCH;
    start(directory, plan)
}

fn committee(cluster: &Cluster, index: usize) -> Committee {
    cluster.client(index).get("/v1/committee").unwrap()
}

/// A node votes on the next height if that is `from` or above, and not below.
fn assert_votes_from(cluster: &Cluster, index: usize, from: u64) {
    let status = status(cluster, index);
    assert_eq!(
        status.votes,
        status.height.next().get() >= from,
        "{status:?}"
    );
}

/// Adds the line of a member's address to every other node's configuration.
fn announce(cluster: &Cluster, directory: &Path) {
    let new = NodeConfig::load(&directory.join(FILE_NAME)).unwrap();
    for node in &cluster.nodes {
        let path = node.directory.join(FILE_NAME);
        let mut config = NodeConfig::load(&path).unwrap();
        config
            .network
            .peers
            .insert(new.name.clone(), new.network.listen);
        std::fs::write(&path, config.to_text()).unwrap();
    }
}

/// The directory of a node that joins, as its operator makes it.
fn prepare(cluster: &Cluster, directory: &Path, name: &str) {
    std::fs::create_dir(directory).unwrap();
    let thor = &cluster.nodes[0].directory;
    std::fs::copy(thor.join("genesis.json"), directory.join("genesis.json")).unwrap();
    let mut config = NodeConfig::load(&thor.join(FILE_NAME)).unwrap();
    config
        .network
        .peers
        .insert("thor".to_owned(), config.network.listen);
    name.clone_into(&mut config.name);
    let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    config.network.listen = udp.local_addr().unwrap();
    config.api.listen = tcp.local_addr().unwrap();
    std::fs::write(directory.join(FILE_NAME), config.to_text()).unwrap();
}

/// FB-18: what was proven after the committee changed holds with the ends of epochs in the file, and
/// with nothing less.
fn assert_proof_of_a_later_epoch(cluster: &Cluster, scratch: &Path, fed: &str) {
    let file = scratch.join("proof.json");
    let genesis = Path::new(fed).join("genesis.json");
    let check = || polity(&["proof", "check", text(&file), "--genesis", text(&genesis)]);
    done(&[
        "proof",
        "account",
        "alice@thor",
        "--out",
        text(&file),
        "--dir",
        fed,
    ]);
    let output = check();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let whole = std::fs::read_to_string(&file).unwrap();
    let mut proof: Value = serde_json::from_str(&whole).unwrap();
    // The founders up to the first, one more up to the second, and one fewer from there on.
    let ends = proof["ends"].as_array_mut().unwrap();
    assert!((2..=3).contains(&ends.len()), "{}", ends.len());
    ends.pop();
    std::fs::write(&file, proof.to_string()).unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("an end is missing"), "{words}");

    // In pages, complete and in order, from every node.
    let height = status(cluster, 0).height.get();
    for index in [0, 1, 3, 4] {
        let mut client = cluster.client(index);
        let mut seen = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let path = format!("/v1/epochs?from={from}&limit=2");
            let page: Epochs = client.get(&path).unwrap();
            assert!(page.ends.len() <= 2);
            seen.extend(page.ends.iter().map(|end| end.last.header.height.get()));
            next = page.next.map(Epoch::get);
        }
        let expected: Vec<u64> = (1..=height / EPOCH).map(|epoch| epoch * EPOCH).collect();
        assert_eq!(seen, expected, "{index}");
    }
    // A block of long ago still names who signed it.
    let block: Block = cluster.client(0).get("/v1/blocks/1").unwrap();
    assert!(block.signers.len() >= 3, "{block:?}");
}

#[test]
fn fb_17_one_joins_and_votes_and_another_leaves() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let fed = text(&directory);
    let mut cluster = federation(&directory);
    advance_to(&mut cluster, 0, 3);

    // A node that says no number is refused with what to do; with it, it gets key and journal.
    let frey = directory.join("frey");
    prepare(&cluster, &frey, "frey");
    let refused = polity(&["join", text(&frey)]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("replica = N"));
    let joined = done(&["join", text(&frey), "--replica", "4"]);
    let key = joined["key"].as_str().unwrap().to_owned();
    assert_eq!(joined["replica"], 4);
    assert!(joined.get("set_aside").is_none());

    // A member that it is not yet: nobody lets it in, and it says so.
    announce(&cluster, &frey);
    let joining = cluster.adopt(&frey).unwrap();
    cluster.spawn(joining).unwrap();
    let mut client = cluster.client(joining);
    let outside: Status = cluster
        .wait_for("an answer of the node that joins", PATIENCE, |_| {
            client.get("/v1/status").map(Some)
        })
        .unwrap();
    assert!(!outside.votes && !outside.ready);
    assert_eq!((outside.name.as_str(), outside.height.get()), ("frey", 0));

    // What makes no committee is refused before it is sent.
    let set = |weight: &str| {
        let weight = ["--weight", weight, "--fee-account", "clearing@thor"];
        let member = ["committee", "set", "frey", "--replica", "4", "--key", &key];
        let at = ["--dir", fed, "--json"];
        polity(&[&member[..], &weight, &at].concat())
    };
    assert_eq!(set("9").status.code(), Some(6));
    let unsaid = polity(&["committee", "set", "frey", "--key", &key, "--dir", fed]);
    assert_eq!(unsaid.status.code(), Some(2), "{unsaid:?}");
    let output = set("1");
    assert!(output.status.success(), "{output:?}");
    let changed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let from = changed["counts_from"].as_u64().unwrap();
    assert_eq!(from % EPOCH, 1, "{changed}");
    let before = committee(&cluster, 0);
    assert_eq!((before.present.len(), before.next.len()), (4, 5));
    assert_eq!(before.next_from.get(), from);

    // It catches up before its epoch, and follows.
    wait_caught_up(&mut cluster, joining, 0);
    cluster.wait_ready().unwrap();
    assert_votes_from(&cluster, joining, from);
    advance_to(&mut cluster, 0, from);
    wait_caught_up(&mut cluster, joining, 0);
    assert!(status(&cluster, joining).votes);
    assert_eq!(committee(&cluster, joining).present.len(), 5);
    // Its COMMITs count. Without one of the others they are needed: the quorum is 4 of 5.
    wait_signs(&mut cluster, 0, 4);
    cluster.kill(2);
    let height = status(&cluster, 0).height.get();
    advance_to(&mut cluster, 0, height + 2);
    let block: Block = cluster.client(0).get("/v1/blocks/latest").unwrap();
    assert!(block.signers.contains(&ReplicaId::new(4)), "{block:?}");
    cluster.spawn(2).unwrap();
    cluster.wait_ready().unwrap();

    // The third one leaves for good.
    let removed = done(&["committee", "remove", "legion", "--dir", fed]);
    let from = removed["counts_from"].as_u64().unwrap();
    advance_to(&mut cluster, 0, from);
    let shown = done(&["committee", "show", "--dir", fed]);
    let names: Vec<&str> = shown["present"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["thor", "sprout", "platform2", "frey"]);
    // It learns of that, and follows for an epoch. Then it is not even let in any more, and everybody
    // else goes on.
    wait_caught_up(&mut cluster, 2, 0);
    assert!(!status(&cluster, 2).votes);
    advance_to(&mut cluster, 0, from + EPOCH);
    let mut client = cluster.client(2);
    cluster
        .wait_for("the one that left is not linked", PATIENCE, |_| {
            let status: Status = client.get("/v1/status")?;
            Ok((!status.ready).then_some(()))
        })
        .unwrap();
    let known: Vec<u32> = status(&cluster, 0)
        .peers
        .iter()
        .map(|peer| peer.replica.get())
        .collect();
    assert_eq!(known, [1, 3, 4]);
    cluster.kill(2);
    wait_signs(&mut cluster, 0, 4);
    cluster.wait_settled(0).unwrap();
    assert_proof_of_a_later_epoch(&cluster, scratch.path(), fed);
    // The whole committee, restarted, finds itself where it was.
    for index in [0, 1, 3, 4] {
        cluster.kill(index);
    }
    for index in [0, 1, 3, 4] {
        cluster.spawn(index).unwrap();
    }
    cluster.wait_ready().unwrap();
    assert!(status(&cluster, joining).votes);
    let height = status(&cluster, 0).height.get();
    advance_to(&mut cluster, joining, height + 2);
    cluster.wait_settled(0).unwrap();
    cluster.stop().unwrap();
    assert_eq!(audit(&directory, None, |_, _| {}).unwrap().len(), 5);
    assert_eq!(polity(&["verify", fed]).status.code(), Some(0));
}

#[test]
fn fb_15_a_node_that_lost_its_journal_comes_back_with_a_new_key() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let fed = text(&directory);
    let mut cluster = federation(&directory);
    advance_to(&mut cluster, 0, 3);
    let sprout = cluster.nodes[1].directory.clone();
    let running = polity(&["rejoin", text(&sprout)]);
    assert_eq!(running.status.code(), Some(1), "{running:?}");
    cluster.kill(1);
    std::fs::remove_file(sprout.join("journal")).unwrap();
    let refused = polity(&["run", text(&sprout)]);
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("the journal is missing"), "{words}");
    assert!(words.contains("polity rejoin"), "{words}");
    let height = status(&cluster, 0).height.get();
    advance_to(&mut cluster, 0, height + 2);

    let old = std::fs::read(sprout.join("key")).unwrap();
    let rejoined = done(&["rejoin", text(&sprout)]);
    let place = Path::new(rejoined["set_aside"].as_str().unwrap());
    assert_eq!(std::fs::read(place.join("key")).unwrap(), old);
    assert!(place.join("index.redb").is_file());
    // Nobody knows the new key yet. It follows nobody, votes nowhere, and says so.
    cluster.spawn(1).unwrap();
    let mut client = cluster.client(1);
    let outside: Status = cluster
        .wait_for("an answer of the node that rejoins", PATIENCE, |_| {
            client.get("/v1/status").map(Some)
        })
        .unwrap();
    assert!(!outside.votes);
    assert_eq!(outside.replica, ReplicaId::new(1));

    // The command that it printed, with the directory of the federation.
    let command = rejoined["command"].as_str().unwrap();
    let command = command.replace("FEDERATION", fed);
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("polity"));
    let changed = done(&words.collect::<Vec<_>>());
    let from = changed["counts_from"].as_u64().unwrap();
    wait_caught_up(&mut cluster, 1, 0);
    assert_votes_from(&cluster, 1, from);
    cluster.wait_ready().unwrap();
    advance_to(&mut cluster, 0, from);
    wait_signs(&mut cluster, 0, 1);
    assert!(status(&cluster, 1).votes);
    // It signed nothing in between.
    for height in height + 1..from {
        let block: Block = cluster
            .client(0)
            .get(&format!("/v1/blocks/{height}"))
            .unwrap();
        assert!(!block.signers.contains(&ReplicaId::new(1)), "{height}");
    }
    // After a restart it is still the member with the new key; the old one never starts again.
    cluster.kill(1);
    cluster.spawn(1).unwrap();
    cluster.wait_ready().unwrap();
    wait_signs(&mut cluster, 0, 1);
    cluster.wait_settled(0).unwrap();
    cluster.stop().unwrap();
    assert_eq!(audit(&directory, None, |_, _| {}).unwrap().len(), 4);
    assert_eq!(polity(&["verify", fed]).status.code(), Some(0));

    let fresh = std::fs::read(sprout.join("key")).unwrap();
    std::fs::copy(place.join("key"), sprout.join("key")).unwrap();
    let refused = polity(&["run", text(&sprout)]);
    assert_eq!(refused.status.code(), Some(2));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("must never sign again"), "{words}");
    std::fs::write(sprout.join("key"), fresh).unwrap();
    // A node that could go on gives nothing up.
    let refused = polity(&["rejoin", text(&sprout)]);
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("this node needs no rejoin"), "{words}");

    // And with the files of another member it does not start under its own number.
    let thor = &cluster.nodes[0].directory;
    for file in ["key", "journal", "index.redb"] {
        std::fs::copy(thor.join(file), sprout.join(file)).unwrap();
    }
    let refused = polity(&["run", text(&sprout)]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("the key of member \"thor\""), "{words}");
}
