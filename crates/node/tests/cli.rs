//! The program as its users start it: output, exit codes, files.

mod common;

use common::{Scratch, plan, program, start};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn polity(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        text.trim().lines().count(),
        1,
        "one object was expected: {text}"
    );
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_demo_holds_and_leaves_what_it_is_told_to_keep() {
    let scratch = Scratch::new();
    let kept = scratch.path().join("kept");
    let output = polity(&["demo", "--json", "--keep", text(&kept)]);
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["ok"], true);
    assert_eq!(report["accepted"], 5);
    assert_eq!(report["refused"], 1);
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["ok"] == true));
    for name in [
        "LOCK 200",
        "COMMIT 200",
        "double spend",
        "finality proof",
        "conservation",
    ] {
        assert!(steps.iter().any(|step| step["name"] == name), "{name}");
    }
    for member in ["thor", "sprout", "legion", "platform2"] {
        let output = polity(&["verify", text(&kept.join(member)), "--json"]);
        assert_eq!(output.status.code(), Some(0));
        let chain = &json(&output)["chains"][0];
        assert_eq!(chain["state_root"], report["state_root"]);
        assert_eq!(chain["supply"], "1500");
    }
    let all = polity(&["verify", text(&kept), "--json"]);
    assert_eq!(json(&all)["chains"].as_array().unwrap().len(), 4);

    // An exported chain is checked with its genesis, and with no other.
    let chain = scratch.path().join("chain.polity");
    let export = polity(&["export", text(&kept.join("thor")), "--out", text(&chain)]);
    assert_eq!(export.status.code(), Some(0));
    let genesis = kept.join("genesis.json");
    let verify = |genesis: &Path| {
        polity(&["verify", text(&chain), "--genesis", text(genesis)])
            .status
            .code()
    };
    assert_eq!(verify(&genesis), Some(0));
    assert_eq!(polity(&["verify", text(&chain)]).status.code(), Some(2));
    let other = scratch.path().join("other");
    polity(&["init", text(&other), "--platforms", "thor"]);
    assert_eq!(verify(&other.join("genesis.json")), Some(1));

    // A byte that changed is found, whichever it is.
    let bytes = std::fs::read(&chain).unwrap();
    for place in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        let mut broken = bytes.clone();
        broken[place] ^= 1;
        std::fs::write(&chain, broken).unwrap();
        assert_ne!(verify(&genesis), Some(0), "byte {place}");
    }
    std::fs::write(&chain, &bytes[..bytes.len() - 1]).unwrap();
    assert_ne!(verify(&genesis), Some(0), "cut short");

    // A journal that lost its end holds as far as it goes, and its index knows that there was more.
    let journal = kept.join("sprout").join("journal");
    let length = std::fs::metadata(&journal).unwrap().len();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&journal)
        .unwrap();
    file.set_len(length * 2 / 3).unwrap();
    let sprout = kept.join("sprout");
    for path in [&kept, &sprout] {
        let output = polity(&["verify", text(path)]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(text(&sprout)), "{words}");
        assert!(
            words.contains("but this node has decided height"),
            "{words}"
        );
        assert!(words.contains("polity rejoin"), "{words}");
    }
    // Without its index nobody knows, and the others show that it is shorter.
    std::fs::remove_file(sprout.join("index.redb")).unwrap();
    let output = polity(&["verify", text(&kept)]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("sprout ends at height"), "{shown}");
    assert!(shown.contains("it has no index"), "{shown}");
    // A genesis that makes no sense, and a journal that is another federation's, are named as well.
    let thor = kept.join("thor");
    std::fs::copy(other.join("thor").join("journal"), thor.join("journal")).unwrap();
    let output = polity(&["verify", text(&kept)]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(text(&thor)), "{words}");
    std::fs::remove_file(kept.join("genesis.json")).unwrap();
    std::fs::write(kept.join("legion").join("genesis.json"), "{").unwrap();
    let output = polity(&["verify", text(&kept)]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains(text(&kept.join("legion"))), "{words}");
}

#[test]
fn a_file_of_orders_is_carried_out_and_its_bad_rows_are_named() {
    let scratch = Scratch::new();
    let file = scratch.path().join("orders.csv");
    let rows = "order_id,from_account,to_bank,to_account,amount\n\
                1,10,AB,20,100.50\n\
                2,10,CD,30,.50\n\
                not a row\n\
                3,11,AB,20,1.25\n\
                3,11,AB,20,1.25\n\
                4,11,AB,20,-5\n\
                5,12,HOME,12,5\n\
                6,12,home,13,7\n";
    std::fs::write(&file, rows).unwrap();
    let output = polity(&["demo", "--orders", text(&file), "--json"]);
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["accepted"], 4);
    assert_eq!(report["refused"], 4);
    assert_eq!(report["banks"]["ab"], "101.75");
    assert_eq!(report["banks"]["cd"], "0.5");
    // 7 were paid there, and 5 did not leave.
    assert_eq!(report["banks"]["home"], "12");
    let refusals = report["refusals"].as_array().unwrap();
    let lines: Vec<u64> = refusals
        .iter()
        .map(|r| r["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [4, 6, 7, 8]);
    assert!(
        refusals[3]["reason"]
            .as_str()
            .unwrap()
            .contains("same account")
    );

    let limited = polity(&["demo", "--orders", text(&file), "--limit", "1", "--json"]);
    let report = json(&limited);
    assert_eq!(
        (&report["accepted"], &report["refused"]),
        (&1.into(), &0.into())
    );
}

#[test]
fn a_file_that_holds_no_orders_is_a_usage_error() {
    let scratch = Scratch::new();
    let file = scratch.path().join("orders.csv");
    std::fs::write(&file, "a,b\n1,2\n").unwrap();
    let output = polity(&["demo", "--orders", text(&file)]);
    assert_eq!(output.status.code(), Some(2));
    let missing = polity(&["demo", "--orders", text(&scratch.path().join("missing"))]);
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(polity(&["demo", "--limit", "5"]).status.code(), Some(2));
}

#[test]
fn the_commands_of_a_client_work_on_a_federation() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    let mut cluster = start(&directory, plan(&["thor", "sprout", "legion", "platform2"]));
    let fed = text(&directory);
    let run = |arguments: &[&str]| {
        let output = polity(&[arguments, &["--dir", fed, "--json"]].concat());
        (output.status.code(), output)
    };
    let account = |address: &str| json(&run(&["account", address]).1);

    let (code, output) = run(&["transfer", "alice@thor", "bob@sprout", "12.5"]);
    assert_eq!(code, Some(0));
    let transfer = json(&output)["id"].as_str().unwrap().to_owned();
    let (code, output) = run(&["lock", "alice@thor", "bob@sprout", "200"]);
    assert_eq!(code, Some(0));
    let lock = json(&output)["lock"].as_str().unwrap().to_owned();
    assert_eq!(account("alice@thor")["locked"], "200");
    assert_eq!(account("alice@thor")["locks"][0]["id"], lock.as_str());
    assert_eq!(run(&["commit", &lock, "--amount", "150"]).0, Some(0));
    assert_eq!(account("alice@thor")["total"], "837.5");
    assert_eq!(account("bob@sprout")["total"], "662.5");
    // A lock is settled once.
    assert_eq!(run(&["commit", &lock]).0, Some(6));
    let (_, output) = run(&["lock", "alice@thor", "bob@sprout", "10"]);
    let lock = json(&output)["lock"].as_str().unwrap().to_owned();
    assert_eq!(
        run(&["rollback", &lock, "--reason", "cancelled"]).0,
        Some(0)
    );
    assert_eq!(account("alice@thor")["available"], "837.5");
    // More than there is: the federation refuses, and the receipt says why.
    let (code, output) = run(&["transfer", "alice@thor", "bob@sprout", "9999"]);
    assert_eq!(code, Some(6));
    assert_eq!(json(&output)["rejection"], "insufficient_funds");

    // While nodes run, their index is theirs.
    let output = polity(&["verify", text(&directory.join("thor"))]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("the node runs"), "{shown}");

    let (code, output) = run(&["status"]);
    assert_eq!(code, Some(0));
    assert_eq!(json(&output).as_array().unwrap().len(), 4);

    let genesis = directory.join("genesis.json");
    for (kind, what) in [
        ("account", "alice@thor"),
        ("transaction", transfer.as_str()),
        ("lock", lock.as_str()),
    ] {
        let file = scratch.path().join(format!("{kind}.json"));
        assert_eq!(
            run(&["proof", kind, what, "--out", text(&file)]).0,
            Some(0),
            "{kind}"
        );
        // It is replaced only by who says so.
        let again = run(&["proof", kind, what, "--out", text(&file)]);
        assert_eq!(again.0, Some(2), "{kind}");
        let forced = run(&["proof", kind, what, "--out", text(&file), "--force"]);
        assert_eq!(forced.0, Some(0), "{kind}");
        let check = |genesis: &Path| {
            polity(&["proof", "check", text(&file), "--genesis", text(genesis)])
                .status
                .code()
        };
        assert_eq!(check(&genesis), Some(0), "{kind}");
        // Another federation's genesis, and a proof that was changed.
        let other = scratch.path().join(format!("other-{kind}"));
        polity(&["init", text(&other), "--platforms", "a,b,c,d"]);
        assert_eq!(check(&other.join("genesis.json")), Some(1), "{kind}");
        let proof = std::fs::read_to_string(&file).unwrap();
        let changed = proof.replacen("\"height\": ", "\"height\": 1", 1);
        std::fs::write(&file, changed).unwrap();
        assert_eq!(check(&genesis), Some(1), "{kind} changed");
    }

    cluster.stop().unwrap();
    assert_eq!(run(&["account", "alice@thor"]).0, Some(5));
    let (code, output) = run(&["status"]);
    assert_eq!(code, Some(5));
    assert_eq!(json(&output).as_array().unwrap().len(), 4);
}

/// The same kind of mistake has the same exit code and a sentence, whichever command it is made with.
#[test]
fn what_is_missing_or_in_the_way_is_a_usage_error() {
    let scratch = Scratch::new();
    let missing = scratch.path().join("missing");
    let missing = text(&missing);
    let fed = scratch.path().join("fed");
    let made = polity(&["init", text(&fed), "--platforms", "a,b,c"]);
    assert_eq!(made.status.code(), Some(0));
    let shown = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(shown.contains("No fault is tolerated"), "{shown}");
    let made = polity(&[
        "init",
        text(&scratch.path().join("g")),
        "--platforms",
        "a,b,c,d",
    ]);
    let shown = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(!shown.contains("No fault is tolerated"), "{shown}");
    let genesis = fed.join("genesis.json");
    let (fed, genesis) = (text(&fed), text(&genesis));
    let node = scratch.path().join("fed").join("a");
    let node = text(&node);
    let is_there = "exists";
    let is_not = "missing";
    // What is called, the exit code, and a part of the sentence.
    let table: [(&[&str], i32, &str); 19] = [
        (&["run", missing], 2, is_not),
        (&["verify", missing], 2, "does not exist"),
        (&["export", missing, "--out", "x"], 2, is_not),
        (&["rejoin", missing], 2, is_not),
        (&["status", "--dir", missing], 2, "does not exist"),
        (&["account", "x@a", "--dir", missing], 2, "does not exist"),
        (&["watch", "--dir", missing], 2, "does not exist"),
        (
            &["committee", "show", "--dir", missing],
            2,
            "does not exist",
        ),
        (
            &["proof", "check", missing, "--genesis", genesis],
            2,
            is_not,
        ),
        (&["verify", genesis, "--genesis", missing], 2, is_not),
        (&["verify", genesis], 2, "--genesis"),
        (&["init", fed, "--platforms", "a"], 2, is_there),
        (&["demo", "--keep", fed], 2, is_there),
        (&["soak", "--seconds", "10", "--keep", fed], 2, is_there),
        (&["bench", "--seconds", "2", "--keep", fed], 2, is_there),
        (&["export", node, "--out", genesis], 2, is_there),
        (&["proof", "account", "x@a", "--out", genesis], 2, is_there),
        (&["run", node, "--log", "verbose"], 2, "error, warn, info"),
        // It is named rightly, and does not hold.
        (
            &["verify", genesis, "--genesis", genesis],
            1,
            "no exported chain",
        ),
    ];
    for (arguments, code, part) in table {
        let output = polity(arguments);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
        assert!(words.contains(part), "{arguments:?}: {words}");
        assert!(output.stdout.is_empty(), "{arguments:?} began: {output:?}");
        let output = polity(&[arguments, &["--json"]].concat());
        if arguments[0] != "run" {
            let error = &json(&output)["error"];
            assert_eq!(error["exit"], code, "{arguments:?}");
        }
    }
}

#[test]
fn usage_errors_have_their_exit_code() {
    let scratch = Scratch::new();
    let missing = scratch.path().join("missing");
    let table: [&[&str]; 12] = [
        &[],
        &["fly"],
        &["run"],
        &["run", text(&missing)],
        &["init", "x"],
        &["transfer", "alice", "bob@b", "1"],
        &["transfer", "alice@a", "bob@b", "1e3"],
        &["lock", "alice@a", "bob@b", "-1"],
        &["commit", "xyz"],
        &["account", "alice@a", "--api", "nowhere"],
        &["sim", "--scenario", "no-such-scenario"],
        &["bench", "--seconds", "0"],
    ];
    for arguments in table {
        let output = polity(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    let exists = scratch.path().join("exists");
    std::fs::create_dir(&exists).unwrap();
    std::fs::write(exists.join("file"), "x").unwrap();
    for arguments in [
        ["init", text(&exists), "--platforms", "a,b"],
        ["init", text(&missing), "--platforms", "a,a"],
        ["init", text(&missing), "--platforms", "Thor"],
    ] {
        let output = polity(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    assert_eq!(polity(&["--help"]).status.code(), Some(0));
    assert_eq!(polity(&["--version"]).status.code(), Some(0));
}

/// However the demo ends, its nodes end with it.
#[cfg(unix)]
#[test]
fn a_demo_that_is_killed_leaves_no_node_behind() {
    use polity::lock::DirectoryLock;
    use std::time::{Duration, Instant};
    let scratch = Scratch::new();
    for signal in ["-KILL", "-INT"] {
        let kept = scratch.path().join(signal);
        let mut demo = Command::new(program())
            .args(["demo", "--keep", text(&kept)])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_mins(2);
        let wait_until = |what: &str, is_so: &mut dyn FnMut() -> bool| {
            while !is_so() {
                assert!(Instant::now() < until, "{signal}: {what}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let nodes = ["thor", "sprout", "legion", "platform2"].map(|name| kept.join(name));
        wait_until("four nodes write logs", &mut || {
            nodes.iter().all(|node| node.join("log").is_file())
        });
        let is_sent = Command::new("kill")
            .args([signal, &demo.id().to_string()])
            .status()
            .unwrap();
        assert!(is_sent.success());
        demo.wait().unwrap();
        wait_until("every data directory is free", &mut || {
            nodes
                .iter()
                .all(|node| DirectoryLock::acquire(node).is_ok())
        });
    }
}

#[test]
fn log_lines_are_json_where_that_is_asked_for() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("fed");
    polity(&[
        "init",
        text(&directory),
        "--platforms",
        "solo",
        "--base-port",
        "1",
    ]);
    std::fs::remove_file(directory.join("solo").join("journal")).unwrap();
    let config = directory.join("solo").join("node.toml");
    let words = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, words.replace("127.0.0.1:101", "127.0.0.1:0")).unwrap();
    let solo = directory.join("solo");
    let output = polity(&["run", text(&solo), "--log-format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert_eq!(log.matches("the journal is missing").count(), 1, "{log}");
    let message = last["fields"]["message"].as_str().unwrap();
    assert!(message.contains("the journal is missing"), "{message}");
}

#[test]
fn a_simulated_federation_says_how_it_went() {
    let list = polity(&["sim", "--list", "--json"]);
    assert_eq!(list.status.code(), Some(0));
    let names = json(&list);
    let name = names[0]["name"].as_str().unwrap();
    let one = polity(&["sim", "--scenario", name, "--seed", "7", "--json"]);
    assert_eq!(one.status.code(), Some(0));
    let again = polity(&["sim", "--scenario", name, "--seed", "7", "--json"]);
    assert_eq!(json(&one)["audit_hash"], json(&again)["audit_hash"]);
    let several = polity(&["sim", "--scenario", name, "--seeds", "3", "--json"]);
    assert_eq!(json(&several)["ok"], true);
}

/// Nobody has to write a configuration by hand.
#[test]
fn a_node_that_joins_gets_its_files() {
    let scratch = Scratch::new();
    let fed = scratch.path().join("fed");
    polity(&[
        "init",
        text(&fed),
        "--platforms",
        "thor,sprout,legion,platform2",
    ]);
    let genesis = fed.join("genesis.json");
    let frey = scratch.path().join("frey");
    let join = |more: &[&str]| polity(&[&["join", text(&frey), "--replica", "4"], more].concat());
    // What is missing is said, and nothing is made.
    let genesis = ["--genesis", text(&genesis)];
    let listen = ["--listen", "127.0.0.1:7104"];
    for (more, part) in [
        (vec![], "genesis.json"),
        (genesis.to_vec(), "--listen"),
        (
            [genesis, listen].concat(),
            "thor, sprout, legion, platform2",
        ),
        (vec!["--peer", "thor"], "NAME=HOST:PORT"),
    ] {
        let refused = join(&more);
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{more:?}: {words}");
        assert!(words.contains(part), "{more:?}: {words}");
        assert!(!frey.exists());
    }
    let peers = [
        "--peer",
        "thor=127.0.0.1:7100",
        "--peer",
        "sprout=127.0.0.1:7101",
        "--json",
    ];
    let joined = join(&[&genesis[..], &listen, &peers].concat());
    assert_eq!(joined.status.code(), Some(0), "{joined:?}");
    let shown = json(&joined);
    let key = shown["key"].as_str().unwrap();
    let command = format!(
        "polity committee set frey --replica 4 --key {key} --weight 1 --fee-account clearing@legion --dir FEDERATION"
    );
    assert_eq!(shown["command"], command.as_str());
    assert_eq!(shown["listen"], "127.0.0.1:7104");
    let config = polity::config::NodeConfig::load(&frey.join("node.toml")).unwrap();
    assert_eq!(
        (config.name.as_str(), config.network.peers.len()),
        ("frey", 2)
    );
    let copy = std::fs::read(frey.join("genesis.json")).unwrap();
    assert_eq!(copy, std::fs::read(fed.join("genesis.json")).unwrap());
    polity::node::Prepared::open(&frey).unwrap();
    // What is there is not written again.
    let again = join(&listen);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
}

/// The `node.toml` that the README shows is one.
#[test]
fn the_configuration_of_the_readme_can_be_copied() {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let scratch = Scratch::new();
    let fed = scratch.path().join("fed");
    polity(&[
        "init",
        text(&fed),
        "--platforms",
        "thor,sprout,legion,platform2",
    ]);
    let frey = scratch.path().join("frey");
    std::fs::create_dir(&frey).unwrap();
    std::fs::copy(fed.join("genesis.json"), frey.join("genesis.json")).unwrap();
    std::fs::write(frey.join("node.toml"), shown).unwrap();
    let joined = polity(&["join", text(&frey), "--json"]);
    assert_eq!(joined.status.code(), Some(0), "{joined:?}");
    assert_eq!(json(&joined)["replica"], 4);
}
