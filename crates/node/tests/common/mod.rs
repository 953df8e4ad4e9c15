//! Real processes for tests.
#![allow(dead_code, reason = "each test file uses a part")]

use polity::cluster::{Cluster, Interrupt};
use polity::federation::{Funded, Plan};
use polity::view::Status;
use polity::wallet::{Terms, sign};
use polity_ledger::{Address, Command, SignedTransaction};
use polity_types::{Amount, Time};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_polity"))
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
