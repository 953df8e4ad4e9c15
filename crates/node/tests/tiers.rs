//! Federations of real processes under each tier (CR-6) and with each provider (CR-8).

mod common;

use common::{MEMBERS, PATIENCE, Scratch, address, done, pay, plan, polity, start, text, transfer};
use polity::api::BINARY_ONE;
use polity::audit::audit;
use polity::client::ClientError;
use polity::config::{FILE_NAME, NodeConfig};
use polity::federation::{FederationError, KEY_FILE, found, load_genesis};
use polity::keys::SecretKey;
use polity::keys::link_secret::{LINK_SECRET_FILE, LinkSecret};
use polity::signing::Provider;
use polity::view::{Status, SubmitResult};
use polity::wallet::{Terms, sign, submit, wait_final};
use polity_crypto::{Suite, Tier};
use polity_ledger::{Command, SignedTransaction};
use polity_replica::MessageKind;
use polity_types::Amount;
use std::os::unix::fs::PermissionsExt as _;

/// A federation whose members, platforms and accounts all have hybrid keys: it pays, a node that was
/// killed comes back, and every journal holds.
#[test]
fn cr_6_a_federation_with_hybrid_keys_pays_recovers_and_refuses_weaker_keys() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let mut plan = plan(&MEMBERS);
    plan.tier = Tier::Hybrid;
    plan.storage.snapshot_every_blocks = 3;
    let mut cluster = start(&directory, plan);
    let key = SecretKey::load(&cluster.nodes[0].directory.join(KEY_FILE)).unwrap();
    assert_eq!(key.suite(), Suite::Hybrid);

    pay(&cluster, 0);
    cluster.kill(2);
    pay(&cluster, 1);
    cluster.spawn(2).unwrap();
    cluster.wait_ready().unwrap();
    pay(&cluster, 2);

    // An Ed25519 key is below the floor, whoever's it is.
    let mut client = cluster.client(3);
    let status: Status = client.get("/v1/status").unwrap();
    let alice = address("alice@thor");
    let weak = SecretKey::generate().unwrap();
    let command = transfer("alice@thor", "bob@sprout", 1);
    let below = sign(Terms::of(&status), &alice, &weak, command).unwrap();
    let refused = client.post::<SubmitResult>("/v1/transactions", BINARY_ONE, &below.encode());
    let Err(ClientError::Refused { status, problem }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((status, problem.code.as_str()), (422, "weak_key"));
    assert!(problem.message.contains("tier"), "{}", problem.message);
    // An account may be opened with such a key, but not spent from: nothing pretends otherwise.
    let open = Command::OpenAccount {
        account: address("carol@thor"),
        owner: weak.public_key().clone(),
    };
    let thor = address("clearing@thor");
    let platform = cluster.founded.owner(&thor).unwrap();
    let status: Status = client.get("/v1/status").unwrap();
    let opened = sign(Terms::of(&status), &thor, platform, open).unwrap();
    submit(&mut client, &opened).unwrap();
    let found = wait_final(&mut client, opened.id(), PATIENCE).unwrap();
    assert!(found.unwrap().receipt.unwrap().applied);

    let statuses = cluster.wait_settled(0).unwrap();
    assert_eq!(statuses.len(), 4);
    cluster.stop().unwrap();
    let audited = audit(&directory, None, |_, _| {}).unwrap();
    assert_eq!(audited.len(), 4);
    for chain in audited {
        assert_eq!(chain.transactions, 4);
        let bob = chain.ledger.account(&address("bob@sprout")).unwrap();
        assert_eq!(bob.total, Amount::from_atp(503));
    }
    // A member whose key is below the floor cannot run.
    let node = &cluster.nodes[1].directory;
    let file = node.join("genesis.json");
    let hybrid = cluster.founded.genesis.members[1].key.to_string();
    let text_of = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text_of.replace(&hybrid, &weak.public_key().to_string()),
    )
    .unwrap();
    let output = polity(&["run", text(node)]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        message.contains("members.key") && message.contains("hybrid"),
        "{message}"
    );
}

/// A transaction of a hybrid key is long, and still fits everything that it passes.
#[test]
fn a_transaction_with_the_most_hybrid_keys_is_shorter_than_the_longest() {
    let keys: Vec<SecretKey> = (0..12)
        .map(|_| SecretKey::generate_of(Suite::Hybrid).unwrap())
        .collect();
    let keys: Vec<&SecretKey> = keys.iter().collect();
    let terms = Terms {
        chain: polity_types::ChainId::new([1; 32]),
        valid_until: polity_types::Height::new(9),
    };
    let command = transfer("alice@thor", "bob@sprout", 1);
    let sign = |keys: &[&SecretKey]| {
        polity::wallet::sign_with(terms, &address("alice@thor"), keys, command.clone())
    };
    let signed = sign(&keys).unwrap().encode();
    assert!(signed.len() <= SignedTransaction::LENGTH_MAX);
    assert!(SignedTransaction::decode(&signed).is_ok());
    // ML-DSA-87 has the longest signatures of all.
    let longest = SecretKey::generate_of(Suite::MlDsa87).unwrap();
    let signed = sign(&[&longest]).unwrap().encode();
    assert!(SignedTransaction::decode(&signed).is_ok());
}

/// Nodes with different providers agree on every block.
#[test]
fn cr_8_nodes_with_different_providers_agree() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let mut cluster = start(&directory, plan(&MEMBERS));
    for index in [1, 3] {
        cluster.kill(index);
        let path = cluster.nodes[index].directory.join(FILE_NAME);
        let mut config = NodeConfig::load(&path).unwrap();
        config.crypto.provider = Provider::AwsLc;
        std::fs::write(&path, config.to_text()).unwrap();
        cluster.spawn(index).unwrap();
        cluster.wait_ready().unwrap();
    }
    for index in 0..4 {
        pay(&cluster, index);
    }
    let statuses = cluster.wait_settled(0).unwrap();
    assert_eq!(statuses.len(), 4);
    cluster.stop().unwrap();
    assert_eq!(audit(&directory, None, |_, _| {}).unwrap().len(), 4);
}

/// Authenticators on links, beside signed votes: the demo pays, kills a node, and its chains hold.
#[test]
fn cr_6_the_demo_runs_with_authenticators_on_links() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let report = done(&["demo", "--tier", "hmac", "--keep", text(&directory)]);
    assert_eq!(report["ok"], true, "{report}");
    let chains = done(&["verify", text(&directory)]);
    assert_eq!(chains["ok"], true, "{chains}");
    let genesis = load_genesis(&directory.join("genesis.json")).unwrap();
    assert_eq!(genesis.tiers.floor(MessageKind::Links), Tier::Hmac);
    for kind in MessageKind::ALL {
        // What others have to believe is signed (CR-6).
        let is_signed = genesis.tiers.floor(kind) == Tier::Ed25519;
        assert_eq!(is_signed, kind != MessageKind::Links, "{}", kind.name());
    }
    for member in &genesis.members {
        assert_eq!(member.key.suite(), Suite::Ed25519);
    }
}

/// A node that has another secret, none, or one that nobody asked for is no part of the federation, and its
/// log says which setting to look at.
#[test]
fn cr_6_a_node_with_another_secret_of_links_is_told_what_to_compare() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let mut plan = plan(&MEMBERS);
    plan.tier = Tier::Hmac;
    let mut cluster = start(&directory, plan);
    pay(&cluster, 0);
    cluster.kill(3);
    let node = cluster.nodes[3].directory.clone();
    let secret = node.join(LINK_SECRET_FILE);
    let kept = std::fs::read_to_string(&secret).unwrap();
    std::fs::remove_file(&secret).unwrap();
    LinkSecret::generate().unwrap().store(&node).unwrap();
    let log = cluster.nodes[3].log_path();
    cluster.spawn(3).unwrap();
    cluster
        .wait_for("the refusals", PATIENCE, |cluster| {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let metrics = cluster.client(0).get_text("/metrics").unwrap_or_default();
            let is_counted = metrics
                .lines()
                .filter(|line| line.contains("handshakes_refused_total{reason=\"link_secret\"}"))
                .any(|line| !line.ends_with(" 0"));
            Ok((text.contains("compare `link-secret`") && is_counted).then_some(()))
        })
        .unwrap();
    cluster.kill(3);

    std::fs::remove_file(&secret).unwrap();
    let refused = polity(&["run", text(&node)]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(
        message.contains("`tiers.links`") && message.contains("link-secret is missing"),
        "{message}"
    );
    // With the right one it is back.
    std::fs::write(&secret, &kept).unwrap();
    let refused = polity(&["run", text(&node)]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("chmod 600"), "{message}");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    cluster.spawn(3).unwrap();
    cluster.wait_ready().unwrap();
    pay(&cluster, 3);
    let logs = std::fs::read_to_string(&log).unwrap();
    let digits = kept.trim_end().rsplit(':').next().unwrap();
    assert!(digits.len() == 64 && !logs.contains(digits));
    cluster.stop().unwrap();

    // A genesis without authenticators has no use for the secret.
    let file = node.join("genesis.json");
    let genesis = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, genesis.replace("\"hmac\"", "\"ed25519\"")).unwrap();
    let refused = polity(&["run", text(&node)]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(
        message.contains("`tiers.links` of the genesis is not hmac"),
        "{message}"
    );
}

#[test]
fn cr_6_tiers_that_convince_nobody_found_no_federation() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let mut stub = plan(&MEMBERS);
    stub.tier = Tier::Stub;
    let refused = found(&directory, &stub).unwrap_err();
    assert!(matches!(refused, FederationError::Suite(_)), "{refused}");
    for (tier, reason) in [
        ("stub", "anybody can make"),
        ("quantum", "hmac, ed25519 and hybrid"),
    ] {
        for command in [
            &["demo", "--tier", tier][..],
            &[
                "init",
                text(&directory),
                "--platforms",
                "a,b",
                "--tier",
                tier,
            ],
        ] {
            let output = polity(command);
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.contains(reason), "{message}");
        }
    }
    assert!(!directory.exists());
}
