//! The HTTP interface of a real process: what it answers, and what it refuses.

mod common;

use common::{Scratch, address, now, plan, signed, start, transfer};
use polity::api::{BINARY_LIST, BINARY_ONE};
use polity::client::{Client, ClientError};
use polity::cluster::Cluster;
use polity::federation::found as make;
use polity::keys::SecretKey;
use polity::view;
use polity::wallet::{Terms, sign, submit, submit_all, wait_final};
use polity_consensus::fbpbft::TransactionBytes;
use polity_crypto::Signature;
use polity_ledger::{Command, Rejection, SignedTransaction, Transaction};
use polity_replica::proof::AccountProof;
use polity_types::{Amount, ChainId, Height, wire};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(2);

fn solo(scratch: &Scratch) -> Cluster {
    start(&scratch.path().join("fed"), plan(&["solo"]))
}

/// A federation of one that takes 4 requests and 40 connections at the same time.
fn narrow(scratch: &Scratch) -> Cluster {
    let mut cluster = solo(scratch);
    cluster.kill(0);
    let path = cluster.nodes[0].directory.join("node.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text
        .replace("\nrequests_max = 256\n", "\nrequests_max = 4\n")
        .replace("\nconnections_max = 512\n", "\nconnections_max = 40\n");
    std::fs::write(&path, text).unwrap();
    cluster.spawn(0).unwrap();
    cluster.wait_ready().unwrap();
    cluster
}

/// Sends some bytes on a connection of its own.
fn send(cluster: &Cluster, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(cluster.nodes[0].api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

/// A request whose body does not come.
const HALF: &str = "POST /v1/transactions HTTP/1.1\r\nhost: node\r\ncontent-length: 1000\r\n\r\n{";

/// How the node is, which it says at any time.
fn assert_well(cluster: &Cluster) {
    let mut client = cluster.client(0);
    let health: Value = client.get("/v1/health").unwrap();
    assert_eq!(health["status"], "ok");
    let ready: Value = client.get("/v1/ready").unwrap();
    assert_eq!(ready["status"], "ready");
    let metrics = client.get_text("/metrics").unwrap();
    assert!(metrics.contains("\npolity_ready 1\n"), "{metrics}");
}

/// Status and code of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (u16, String) {
    match result.unwrap_err() {
        ClientError::Refused { status, problem } => {
            assert!(!problem.message.is_empty());
            (status, problem.code)
        }
        other => panic!("{other}"),
    }
}

fn post(client: &mut Client, content_type: &str, body: &[u8]) -> (u16, String) {
    refusal(client.post::<Value>("/v1/transactions", content_type, body))
}

#[test]
fn questions_that_make_no_sense_have_codes() {
    let scratch = Scratch::new();
    let cluster = solo(&scratch);
    let mut client = cluster.client(0);
    let id = "00".repeat(32);
    let table = [
        ("/v1/accounts/alice", 400, "malformed_address"),
        ("/v1/accounts/alice@Thor", 400, "malformed_address"),
        ("/v1/accounts/al%20ice@solo", 400, "malformed_address"),
        ("/v1/accounts/carol@solo", 404, "unknown_account"),
        ("/v1/accounts/alice/locks", 400, "malformed_address"),
        ("/v1/accounts/carol@solo/locks", 404, "unknown_account"),
        ("/v1/accounts/alice@solo/locks?limit=0", 400, "bad_query"),
        ("/v1/accounts/alice@solo/locks?limit=1001", 400, "bad_query"),
        ("/v1/accounts/alice@solo/locks?after=7", 400, "bad_query"),
        ("/v1/accounts/carol@solo/proof", 404, "unknown_account"),
        ("/v1/locks/xyz", 400, "malformed_id"),
        ("/v1/blocks/0", 404, "unknown_block"),
        ("/v1/blocks/99", 404, "unknown_block"),
        ("/v1/blocks/-1", 400, "malformed_height"),
        ("/v1/blocks/18446744073709551616", 400, "malformed_height"),
        ("/v1/transactions/abc", 400, "malformed_id"),
        ("/v1/transactions/zz", 400, "malformed_id"),
        ("/v1/events?receipts=perhaps", 400, "bad_query"),
        ("/v1/epochs?limit=0", 400, "bad_query"),
        ("/v1/epochs?limit=101", 400, "bad_query"),
        ("/v1/epochs?from=-1", 400, "bad_query"),
        ("/v1/nothing", 404, "no_such_path"),
        ("/", 404, "no_such_path"),
    ];
    for (path, status, code) in table {
        let found = refusal(client.get::<Value>(path));
        assert_eq!(found, (status, code.to_owned()), "{path}");
    }
    for (path, code) in [
        (format!("/v1/locks/{id}"), "unknown_lock"),
        (format!("/v1/locks/{id}/proof"), "unknown_lock"),
        (format!("/v1/transactions/{id}"), "unknown_transaction"),
    ] {
        assert_eq!(
            refusal(client.get::<Value>(&path)),
            (404, code.to_owned()),
            "{path}"
        );
    }
    let wrong_method = client.post::<Value>("/v1/status", "application/json", b"{}");
    assert_eq!(
        refusal(wrong_method),
        (405, "method_not_allowed".to_owned())
    );
}

#[test]
fn bodies_that_make_no_sense_have_codes() {
    let scratch = Scratch::new();
    let cluster = solo(&scratch);
    let mut client = cluster.client(0);
    let good = signed(
        &cluster,
        "alice@solo",
        transfer("alice@solo", "bob@solo", 1),
    );
    let json = serde_json::to_value(&good).unwrap();
    let changed = |path: &str, value: Value| {
        let mut changed = json.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed.to_string().into_bytes()
    };
    let amount = "/transaction/commands/0/transfer/amount";
    let from = "/transaction/commands/0/transfer/from";
    let table: [(&str, &str, Vec<u8>, u16, &str); 14] = [
        (
            "no body",
            "application/json",
            Vec::new(),
            400,
            "malformed_json",
        ),
        (
            "no JSON",
            "application/json",
            b"{".to_vec(),
            400,
            "malformed_json",
        ),
        (
            "other JSON",
            "application/json",
            b"{}".to_vec(),
            400,
            "malformed_transaction",
        ),
        (
            "a number",
            "application/json",
            b"1".to_vec(),
            400,
            "malformed_transaction",
        ),
        (
            "amount",
            "application/json",
            changed(amount, json!("1e3")),
            400,
            "malformed_transaction",
        ),
        (
            "number as amount",
            "application/json",
            changed(amount, json!(1)),
            400,
            "malformed_transaction",
        ),
        (
            "address",
            "application/json",
            changed(from, json!("alice")),
            400,
            "malformed_transaction",
        ),
        (
            "no signature",
            "application/json",
            changed("/signatures", json!([])),
            422,
            "unsigned",
        ),
        (
            "unknown field",
            "application/json",
            {
                let mut changed = json.clone();
                changed["memo"] = json!("hello");
                changed.to_string().into_bytes()
            },
            400,
            "malformed_transaction",
        ),
        (
            "no binary",
            BINARY_ONE,
            vec![1, 2, 3],
            400,
            "malformed_transaction",
        ),
        (
            "empty binary",
            BINARY_ONE,
            Vec::new(),
            400,
            "malformed_transaction",
        ),
        (
            "no binary list",
            BINARY_LIST,
            vec![255; 9],
            400,
            "malformed_list",
        ),
        (
            "too large",
            BINARY_ONE,
            vec![0; 65_537],
            413,
            "transaction_too_large",
        ),
        (
            "other type",
            "text/plain",
            b"hello".to_vec(),
            415,
            "unsupported_content_type",
        ),
    ];
    for (name, content_type, body, status, code) in table {
        let found = post(&mut client, content_type, &body);
        assert_eq!(found, (status, code.to_owned()), "{name}");
    }
    let many = vec![TransactionBytes::new(Vec::new()); 4_097];
    let found = post(&mut client, BINARY_LIST, &wire::encode(&many));
    assert_eq!(found, (400, "too_many_transactions".to_owned()));
    let long = vec![b' '; (4 << 20) + 1];
    // The node may close the connection before everything was sent.
    match client.post::<Value>("/v1/transactions", "application/json", &long) {
        Err(ClientError::Refused { status, problem }) => {
            assert_eq!((status, problem.code.as_str()), (413, "body_too_large"));
        }
        Err(ClientError::Io { .. }) => {}
        other => panic!("{other:?}"),
    }
    // And the node still works.
    assert!(submit(&mut client, &good).unwrap().error.is_none());
}

#[test]
fn transactions_that_cannot_count_have_codes() {
    let scratch = Scratch::new();
    let cluster = solo(&scratch);
    let mut client = cluster.client(0);
    let status: view::Status = client.get("/v1/status").unwrap();
    let alice = address("alice@solo");
    let key = cluster.founded.owner(&alice).unwrap();
    let command = || transfer("alice@solo", "bob@solo", 1);
    let with = |terms: Terms| sign(terms, &alice, key, command()).unwrap();
    let terms = Terms::of(&status);
    let stranger = SecretKey::generate().unwrap();
    let broken = {
        let good = with(terms);
        SignedTransaction::new(good.transaction().clone(), vec![Signature::new(&[7; 64])]).unwrap()
    };
    let swapped = {
        // Signed by one key, in the name of another.
        let transaction = Transaction {
            keys: vec![stranger.public_key().clone()],
            ..with(terms).transaction().clone()
        };
        transaction.sign(&[key.signer()]).unwrap()
    };
    let table = [
        (
            "wrong chain",
            with(Terms {
                chain: ChainId::new([9; 32]),
                ..terms
            }),
            422,
            "wrong_chain",
        ),
        (
            "valid for too long",
            with(Terms {
                valid_until: Height::new(1_000_000),
                ..terms
            }),
            422,
            "valid_too_long",
        ),
        (
            "expired",
            with(Terms {
                valid_until: Height::ZERO,
                ..terms
            }),
            422,
            "expired",
        ),
        (
            "unknown key",
            sign(terms, &alice, &stranger, command()).unwrap(),
            403,
            "unknown_key",
        ),
        (
            "unknown account",
            sign(terms, &address("carol@solo"), key, command()).unwrap(),
            403,
            "unknown_key",
        ),
        ("broken signature", broken, 422, "bad_signature"),
        ("signature of another key", swapped, 422, "bad_signature"),
    ];
    for (name, transaction, status, code) in &table {
        let found = refusal(submit(&mut client, transaction));
        assert_eq!(found, (*status, (*code).to_owned()), "{name}");
        // The same as JSON.
        let json = serde_json::to_vec(transaction).unwrap();
        let found = post(&mut client, "application/json", &json);
        assert_eq!(found, (*status, (*code).to_owned()), "{name} as JSON");
    }
    // In a list each has its own result, and the good one among them counts.
    let good = with(terms);
    let list: Vec<&SignedTransaction> = table
        .iter()
        .map(|(_, transaction, ..)| transaction)
        .chain([&good])
        .collect();
    let results = submit_all(&mut client, list).unwrap();
    assert_eq!(results.len(), table.len() + 1);
    for ((name, _, _, code), result) in table.iter().zip(&results) {
        assert_eq!(result.error.as_ref().unwrap().code, *code, "{name}");
    }
    assert_eq!(results.last().unwrap().id, Some(good.id()));
    assert_eq!(results.last().unwrap().error, None);
}

#[test]
fn lg_4_a_repeated_transaction_returns_its_receipt() {
    let scratch = Scratch::new();
    let cluster = solo(&scratch);
    let mut client = cluster.client(0);
    let paid = signed(
        &cluster,
        "alice@solo",
        transfer("alice@solo", "bob@solo", 1),
    );
    assert_eq!(
        submit(&mut client, &paid).unwrap().state,
        Some(view::State::Pending)
    );
    let found = wait_final(&mut client, paid.id(), PATIENCE)
        .unwrap()
        .unwrap();
    let again = submit(&mut client, &paid).unwrap();
    assert_eq!(again.state, Some(view::State::Decided));
    assert_eq!(again.receipt, found.receipt);
    // One that is refused for good says why in its receipt.
    let itself = signed(
        &cluster,
        "alice@solo",
        transfer("alice@solo", "alice@solo", 1),
    );
    submit(&mut client, &itself).unwrap();
    let found = wait_final(&mut client, itself.id(), PATIENCE)
        .unwrap()
        .unwrap();
    assert_eq!(
        found.receipt.unwrap().rejection,
        Some(Rejection::SameAccount)
    );
    let account: view::Account = client.get("/v1/accounts/bob@solo").unwrap();
    assert_eq!(account.total, Amount::from_atp(501));
}

#[test]
fn lg_4_a_transaction_that_replaced_its_own_key_returns_its_receipt() {
    let scratch = Scratch::new();
    let cluster = solo(&scratch);
    let mut client = cluster.client(0);
    let next = SecretKey::generate().unwrap();
    let rotation = signed(
        &cluster,
        "alice@solo",
        Command::RotateKey {
            account: address("alice@solo"),
            key: next.public_key().clone(),
        },
    );
    submit(&mut client, &rotation).unwrap();
    let found = wait_final(&mut client, rotation.id(), PATIENCE)
        .unwrap()
        .unwrap();
    assert_eq!(found.receipt.as_ref().unwrap().rejection, None);
    // The old key owns nothing now, and the same bytes still have their receipt.
    let again = submit(&mut client, &rotation).unwrap();
    assert_eq!(again.state, Some(view::State::Decided));
    assert_eq!(again.receipt, found.receipt);
    let other = signed(
        &cluster,
        "alice@solo",
        transfer("alice@solo", "bob@solo", 1),
    );
    let refused = refusal(submit(&mut client, &other));
    assert_eq!(refused, (403, "unknown_key".to_owned()));
    let [again, refused] = &submit_all(&mut client, [&rotation, &other]).unwrap()[..] else {
        panic!("two results");
    };
    assert_eq!(again.receipt, found.receipt);
    assert_eq!(refused.error.as_ref().unwrap().code, "unknown_key");
}

#[test]
fn answers_fit_each_other() {
    let scratch = Scratch::new();
    let mut cluster = solo(&scratch);
    let mut client = cluster.client(0);
    let mut events = client.events("/v1/events?receipts=true").unwrap();
    assert_eq!(events.receive().unwrap().unwrap().name, "begin");

    let lock = signed(
        &cluster,
        "alice@solo",
        Command::Lock {
            from: address("alice@solo"),
            to: address("bob@solo"),
            amount: Amount::from_atp(200),
            expires: now().saturating_add(Duration::from_mins(10)),
        },
    );
    submit(&mut client, &lock).unwrap();
    let event = events.receive().unwrap().unwrap();
    assert_eq!(event.name, "commit");
    let commit: view::Commit = serde_json::from_str(&event.data).unwrap();
    let receipts = commit.receipts.clone().unwrap();
    let found = wait_final(&mut client, lock.id(), PATIENCE)
        .unwrap()
        .unwrap();
    assert_eq!(found.receipt.as_ref(), receipts.first());
    let lock_id = receipts[0].lock.unwrap();

    let shown: view::Lock = client.get(&format!("/v1/locks/{lock_id}")).unwrap();
    assert_eq!(shown.amount, Amount::from_atp(200));
    let open: view::Locks = client.get("/v1/accounts/alice@solo/locks").unwrap();
    assert_eq!((open.locks, open.next), (vec![shown.clone()], None));
    // A page may be full before the walk is over; the next one begins behind it.
    let command = Command::Lock {
        from: address("alice@solo"),
        to: address("bob@solo"),
        amount: Amount::from_atp(1),
        expires: shown.expires.saturating_add(Duration::from_secs(1)),
    };
    let later = signed(&cluster, "alice@solo", command);
    submit(&mut client, &later).unwrap();
    wait_final(&mut client, later.id(), PATIENCE).unwrap();
    let page = |client: &mut Client, query: &str| -> view::Locks {
        let path = format!("/v1/accounts/bob@solo/locks?limit=1{query}");
        client.get(&path).unwrap()
    };
    let first = page(&mut client, "");
    assert_eq!(first.locks, std::slice::from_ref(&shown));
    let second = page(&mut client, &format!("&after={}", first.next.unwrap()));
    assert_eq!(second.locks.len(), 1);
    assert_eq!(second.locks[0].amount, Amount::from_atp(1));
    let rest = second
        .next
        .map(|next| page(&mut client, &format!("&after={next}")));
    assert!(rest.is_none_or(|rest| rest.locks.is_empty()));
    let account: view::Account = client.get("/v1/accounts/alice@solo").unwrap();
    assert_eq!(account.available, Amount::from_atp(799));
    assert_eq!(account.locked, Amount::from_atp(201));

    let block: view::Block = client
        .get(&format!("/v1/blocks/{}", commit.height))
        .unwrap();
    assert_eq!(block.digest, commit.digest);
    assert_eq!(block.transactions, [lock.id()]);
    let latest: view::Block = client.get("/v1/blocks/latest").unwrap();
    assert!(latest.height > block.height);

    let genesis = &cluster.founded.genesis;
    let chain = genesis.chain().unwrap();
    let verifier = polity::node::verifier(genesis, polity::signing::Provider::Rust);
    block.finality.verify(&chain, &verifier).unwrap();
    let proof: AccountProof = client.get("/v1/accounts/alice@solo/proof").unwrap();
    let (proven, _) = proof.verify(&chain, &verifier).unwrap();
    assert_eq!(proven.locked, Amount::from_atp(201));
    let proof: polity_replica::proof::LockProof =
        client.get(&format!("/v1/locks/{lock_id}/proof")).unwrap();
    assert_eq!(proof.verify(&chain, &verifier).unwrap().0.id, lock_id);
    // A proof of another federation proves nothing here.
    let stranger = make(&scratch.path().join("other"), &plan(&["solo"])).unwrap();
    let other = stranger.genesis.chain().unwrap();
    assert!(proof.verify(&other, &verifier).is_err());

    let health: Value = client.get("/v1/health").unwrap();
    assert_eq!(health["status"], "ok");
    let ready: Value = client.get("/v1/ready").unwrap();
    assert_eq!(ready["status"], "ready");
    let evidence: Vec<view::EvidenceView> = client.get("/v1/evidence").unwrap();
    assert!(evidence.is_empty());
    let metrics = client.get_text("/metrics").unwrap();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("polity_"), "{line}");
        value.parse::<u128>().unwrap_or_else(|_| panic!("{line}"));
    }
    assert!(
        metrics.contains("polity_transactions_applied_total 2"),
        "{metrics}"
    );
    cluster.stop().unwrap();
    // The end of the node ends the stream.
    while let Ok(Some(_)) = events.receive() {}
}

#[test]
fn a_node_without_a_quorum_says_so() {
    let scratch = Scratch::new();
    let mut cluster = start(&scratch.path().join("fed"), plan(&["a", "b", "c", "d"]));
    let paid = signed(&cluster, "alice@a", transfer("alice@a", "bob@b", 1));
    for index in 1..4 {
        cluster.kill(index);
    }
    let mut client = cluster.client(0);
    cluster
        .wait_for("loss of the quorum", PATIENCE, |_| {
            match client.get::<Value>("/v1/ready") {
                Ok(_) => Ok(None),
                Err(error) if error.code() == Some("no_quorum") => Ok(Some(())),
                Err(error) => Err(error),
            }
        })
        .unwrap();
    let refused = refusal(submit(&mut cluster.client(0), &paid));
    assert_eq!(refused, (503, "no_quorum".to_owned()));
    // Reading still works.
    let _: view::Account = cluster.client(0).get("/v1/accounts/alice@a").unwrap();
}

#[test]
fn bytes_that_are_no_http_do_no_harm() {
    let scratch = Scratch::new();
    let mut cluster = solo(&scratch);
    let garbage: [&[u8]; 4] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/transactions HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(cluster.nodes[0].api).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Whatever it answers, it ends.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    cluster.wait_ready().unwrap();
    cluster.stop().unwrap();
}

#[test]
fn clients_that_stall_take_no_place_of_those_who_ask() {
    let scratch = Scratch::new();
    let cluster = narrow(&scratch);
    let _stalled: Vec<TcpStream> = (0..30).map(|_| send(&cluster, HALF)).collect();
    assert_well(&cluster);
    let mut client = cluster.client(0);
    let paid = signed(
        &cluster,
        "alice@solo",
        transfer("alice@solo", "bob@solo", 1),
    );
    submit(&mut client, &paid).unwrap();
    let found = wait_final(&mut client, paid.id(), PATIENCE).unwrap();
    assert!(found.unwrap().proof.is_some());
    assert_well(&cluster);
}

#[test]
fn clients_that_wait_take_no_place_of_those_who_ask() {
    let scratch = Scratch::new();
    let mut cluster = narrow(&scratch);
    let id = "00".repeat(32);
    let wait = format!("GET /v1/transactions/{id}?wait_ms=60000 HTTP/1.1\r\nhost: node\r\n\r\n");
    let waiting: Vec<TcpStream> = (0..10).map(|_| send(&cluster, &wait)).collect();
    let mut client = cluster.client(0);
    // Four have a place, the others were sent away.
    cluster
        .wait_for("refusals", PATIENCE, |_| {
            let metrics = client.get_text("/metrics")?;
            let is_full = metrics.contains("\npolity_http_requests_shed_total 6\n");
            Ok(is_full.then_some(()))
        })
        .unwrap();
    let found = refusal(client.get::<Value>(&format!("/v1/transactions/{id}?wait_ms=1")));
    assert_eq!(found, (503, "busy".to_owned()));
    assert_well(&cluster);
    let paid = signed(
        &cluster,
        "alice@solo",
        transfer("alice@solo", "bob@solo", 1),
    );
    submit(&mut client, &paid).unwrap();
    let _: view::Account = client.get("/v1/accounts/alice@solo").unwrap();
    let found = refusal(client.get::<Value>(&format!("/v1/transactions/{id}")));
    assert_eq!(found, (404, "unknown_transaction".to_owned()));
    // Those who leave make room.
    drop(waiting);
    cluster
        .wait_for("the payment", PATIENCE, |_| {
            match wait_final(&mut client, paid.id(), PATIENCE) {
                Ok(found) => Ok(found),
                Err(error) if error.code() == Some("busy") => Ok(None),
                Err(error) => Err(error),
            }
        })
        .unwrap();
}

#[test]
fn clients_that_drip_are_cut_and_watchers_are_answered_meanwhile() {
    let scratch = Scratch::new();
    let cluster = narrow(&scratch);
    let heads: Vec<TcpStream> = (0..20)
        .map(|_| send(&cluster, "GET /v1/status HTTP/1.1\r\na: b\r\n"))
        .collect();
    let bodies: Vec<TcpStream> = (0..20).map(|_| send(&cluster, HALF)).collect();
    // No place is left, and everybody shows that they are alive.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for mut stream in heads.iter().chain(&bodies) {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) && stream.write_all(b"a").is_ok() {
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
        }
        assert_well(&cluster);
        let answer = cluster.client(0).get::<Value>("/v1/status");
        // On a machine that is busy with other things the first are cut by now.
        if answer.is_err() {
            assert_eq!(refusal(answer), (503, "busy".to_owned()));
        }
        for mut stream in &bodies {
            // Who goes on sending may lose the answer to a reset.
            let mut answer = [0; 12];
            if stream.read_exact(&mut answer).is_ok() {
                // The last ones may have come beyond the places there are.
                let is_cut = matches!(&answer, b"HTTP/1.1 408" | b"HTTP/1.1 503");
                assert!(is_cut, "{}", String::from_utf8_lossy(&answer));
            }
        }
        // Their places are free again, a moment later.
        let mut has_place = false;
        while !has_place {
            let answer = cluster.client(0).get::<Value>("/v1/status");
            has_place = answer.is_ok();
            if !has_place {
                assert_eq!(refusal(answer), (503, "busy".to_owned()));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        for mut stream in &heads {
            // Closed or reset, without an answer.
            assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_well(&cluster);
}
