//! Real processes for tests.
#![allow(dead_code, reason = "each test file uses a part")]

use polity::cluster::{Cluster, Interrupt};
use polity::federation::{Funded, Plan};
use polity::view::{Block, Status};
use polity::wallet::{Terms, sign, submit, wait_final};
use polity_ledger::{Address, Command, SignedTransaction};
use polity_types::{Amount, ReplicaId, Time};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{self, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Generous: a loaded machine may take its time, a correct one does not.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Names of a federation of four.
pub(crate) const MEMBERS: [&str; 4] = ["thor", "sprout", "legion", "platform2"];

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_polity"))
}

/// Writes a file that only its owner can read.
pub(crate) fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A directory that is removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let mut name = [0; 8];
        getrandom::fill(&mut name).unwrap();
        let name = format!("polity-test-{:016x}", u64::from_le_bytes(name));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Leaving a directory behind is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// A plan with Alice@first 1000 and Bob@second 500 (or both on the only platform).
pub(crate) fn plan(members: &[&str]) -> Plan {
    let names: Vec<String> = members.iter().map(|name| (*name).to_owned()).collect();
    let mut plan = Plan::local(names, 1, now()).unwrap();
    let last = members[members.len().min(2) - 1];
    for (agent, platform, atp) in [("alice", members[0], 1_000), ("bob", last, 500)] {
        plan.accounts.push(Funded {
            address: address(&format!("{agent}@{platform}")),
            balance: Amount::from_atp(atp),
        });
    }
    plan
}

pub(crate) fn start(directory: &Path, plan: Plan) -> Cluster {
    Cluster::start(program(), directory, plan, Interrupt::default()).unwrap()
}

/// A signed command in the name of an account, with terms for now.
pub(crate) fn signed(cluster: &Cluster, signer: &str, command: Command) -> SignedTransaction {
    let status: Status = cluster.client(0).get("/v1/status").unwrap();
    let signer = address(signer);
    let key = cluster.founded.owner(&signer).unwrap();
    sign(Terms::of(&status), &signer, key, command).unwrap()
}

pub(crate) fn transfer(from: &str, to: &str, atp: u64) -> Command {
    Command::Transfer {
        from: address(from),
        to: address(to),
        amount: Amount::from_atp(atp),
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn polity(arguments: &[&str]) -> Output {
    process::Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The one object that a command printed, which has to have worked.
pub(crate) fn done(arguments: &[&str]) -> Value {
    let output = polity(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn status(cluster: &Cluster, index: usize) -> Status {
    cluster.client(index).get("/v1/status").unwrap()
}

/// Decides small payments until a node has reached a height.
pub(crate) fn advance_to(cluster: &mut Cluster, index: usize, height: u64) {
    let until = Instant::now() + PATIENCE;
    while status(cluster, index).height.get() < height {
        assert!(Instant::now() < until, "height {height}");
        cluster.check_alive().unwrap();
        pay(cluster, index);
    }
}

/// Decides a small payment over this node.
pub(crate) fn pay(cluster: &Cluster, index: usize) {
    let payment = transfer("alice@thor", "bob@sprout", 1);
    let paid = signed(cluster, "alice@thor", payment);
    submit(&mut cluster.client(index), &paid).unwrap();
    let found = wait_final(&mut cluster.client(index), paid.id(), PATIENCE).unwrap();
    assert!(found.unwrap().receipt.unwrap().applied);
}

/// Waits until a node has the height of another one.
pub(crate) fn wait_caught_up(cluster: &mut Cluster, index: usize, with: usize) {
    let height = status(cluster, with).height;
    let mut client = cluster.client(index);
    cluster
        .wait_for("a node that catches up", PATIENCE, |_| {
            let status: Status = client.get("/v1/status")?;
            Ok((status.height >= height).then_some(()))
        })
        .unwrap();
}

/// Decides blocks until a COMMIT of this member is in a certificate.
pub(crate) fn wait_signs(cluster: &mut Cluster, index: usize, member: u32) {
    let until = Instant::now() + PATIENCE;
    loop {
        let height = status(cluster, index).height.get();
        advance_to(cluster, index, height + 1);
        let block: Block = cluster.client(index).get("/v1/blocks/latest").unwrap();
        if block.signers.contains(&ReplicaId::new(member)) {
            return;
        }
        assert!(Instant::now() < until, "{member} signs nothing: {block:?}");
    }
}
