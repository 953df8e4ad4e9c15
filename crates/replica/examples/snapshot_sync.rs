//! How fast a replica far behind takes a snapshot, beside the plain restoring of the same chunks.
//!
//! `cargo run --release -p polity-replica --example snapshot_sync -- 200000`
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "it measures and reports"
)]

use polity_consensus::fbpbft::Keyring;
use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::{Checker, Signer as _};
use polity_ledger::{
    Authority, Command, GenesisAccount, GenesisPlatform, Parameters, Restore, Transaction,
};
use polity_replica::sync::{Shelf, SyncMessage, answer};
use polity_replica::{
    Config, ConsensusRules, Effect, Frame, Genesis, GenesisMember, Input, Purpose, Replica,
    TierFloors, admit,
};
use polity_types::{Amount, Height, ReplicaId, Seed, StateMachine as _, Time, Weight, wire};
use std::error::Error;
use std::time::Instant;

/// Heights of an epoch, and how far behind a snapshot is worth it.
const EPOCH: u64 = 16;

/// Largest frame.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let accounts: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 200_000,
    };
    let [member, owner, stranger] = [1, 2, 3].map(|n| Ed25519Signer::from_seed(&[n; 32]));
    let genesis = genesis(accounts, &member, &owner)?;
    let predicate = Ed25519Verifier::default();
    let config = Config {
        snapshot_after: EPOCH,
        ..Config::default()
    };

    // A federation of one decides two epochs.
    let mut solo = Replica::new(
        &genesis,
        Purpose::Production,
        config.clone(),
        member,
        predicate.clone(),
        Seed::new([9; 32]),
    )?;
    let mut shelf = Shelf::default();
    let mut now = genesis.start;
    let mut checker = Checker::new(predicate.clone(), 0);
    for nonce in 0.. {
        if solo.tip().parent.height.get() > 2 * EPOCH {
            break;
        }
        now = Time::from_millis(now.as_millis() + 10);
        let transfer = Transaction {
            chain: solo.chain().id(),
            signer: "a0@thor".parse()?,
            keys: vec![owner.public_key().clone()],
            commands: vec![Command::Transfer {
                from: "a0@thor".parse()?,
                to: "a1@thor".parse()?,
                amount: Amount::from_units(1),
            }],
            valid_until: Height::new(100),
            nonce,
        };
        let bytes = transfer.sign(&[&owner])?.encode();
        let chain = solo.chain().id();
        let admitted = admit(&bytes, chain, genesis.tiers.transactions, &mut checker)?;
        let mut effects: Vec<Effect> = solo
            .handle(now, Input::Submitted(vec![admitted]))
            .into_vec();
        effects.extend(solo.tick(now));
        for effect in effects {
            if let Effect::Committed(committed) = effect {
                shelf.committed(&committed);
                let height = committed.block.header().height;
                // Two blocks may come at once; an epoch whose end is passed over has no snapshot.
                if solo.chain().is_epoch_end(height) && solo.tip().parent.height == height {
                    shelf.keep(solo.snapshot());
                }
            }
        }
    }

    // Somebody follows from the genesis.
    let keys = Keyring::new(ReplicaId::new(7), vec![stranger]);
    let mut follower = Replica::with_keys(
        &genesis,
        Purpose::Production,
        config,
        keys,
        predicate,
        Seed::new([8; 32]),
    )?;
    let from = ReplicaId::new(0);
    let (mut meta, mut bytes_sent, mut chunks) = (None, 0, Vec::new());
    now = Time::from_millis(now.as_millis() + 1_100);
    let mut queue: Vec<Effect> = follower.tick(now).into_vec();
    for effect in solo.tick(now) {
        if let Effect::Broadcast(Frame::Consensus(message)) = effect {
            let input = Input::Received { from, message };
            queue.extend(follower.handle(now, input));
        }
    }
    let mut journal = 0;
    let start = Instant::now();
    while meta.is_none() {
        let mut next = Vec::new();
        for effect in queue {
            match effect {
                Effect::Persist(record) => journal += wire::encode(&record).len(),
                Effect::Send {
                    frame: Frame::Sync(SyncMessage::Request(request)),
                    ..
                } => {
                    let said = Frame::Sync(SyncMessage::Answer(answer(request, &shelf))).encode();
                    bytes_sent += said.len();
                    let Frame::Sync(message) = Frame::decode(&said, FRAME_BYTES_MAX)? else {
                        return Err("another frame".into());
                    };
                    if let SyncMessage::Answer(polity_replica::sync::SyncAnswer::Chunk {
                        bytes,
                        ..
                    }) = &message
                    {
                        chunks.push(bytes.as_slice().to_vec());
                    }
                    next.extend(follower.handle(now, Input::Sync { from, message }));
                }
                Effect::Installed(installed) => meta = Some(installed.meta),
                _ => {}
            }
        }
        if next.is_empty() && meta.is_none() {
            return Err("the follower asks for nothing".into());
        }
        queue = next;
    }
    let synced = start.elapsed().as_micros().max(1);
    let meta = meta.ok_or("a snapshot")?;

    let start = Instant::now();
    let chain = solo.chain().id();
    let seed = Seed::new([7; 32]);
    let mut restore = Restore::new(&genesis.ledger, chain, meta.height, meta.ledger_root, seed)?;
    for chunk in &chunks {
        restore.push(chunk)?;
    }
    let mut ledger = restore.finish()?;
    let plain = start.elapsed().as_micros().max(1);
    assert_eq!(ledger.root(), follower.ledger_mut().root());

    let bytes: usize = chunks.iter().map(Vec::len).sum();
    println!(
        "{accounts} accounts, {} chunks, {bytes} bytes, {bytes_sent} bytes sent, {journal} bytes of \
         journal, up to height {}",
        chunks.len(),
        meta.height
    );
    for (what, micros) in [("sync", synced), ("plain restore", plain)] {
        println!(
            "{what}: {} ms, {} MB/s, {} accounts/s",
            micros / 1_000,
            bytes as u128 / micros,
            accounts as u128 * 1_000_000 / micros
        );
    }
    println!("sync takes {} % of plain restore", synced * 100 / plain);
    Ok(())
}

fn genesis(
    accounts: usize,
    member: &Ed25519Signer,
    owner: &Ed25519Signer,
) -> Result<Genesis, Box<dyn Error>> {
    let accounts = (0..accounts.max(2))
        .map(|number| {
            Ok(GenesisAccount {
                address: format!("a{number}@thor").parse()?,
                owner: owner.public_key().clone(),
                balance: Amount::from_atp(1),
            })
        })
        .collect::<Result<_, Box<dyn Error>>>()?;
    Ok(Genesis {
        name: "one".into(),
        start: Time::from_millis(1_000),
        tiers: TierFloors::default(),
        consensus: ConsensusRules {
            epoch_length: EPOCH,
            ..ConsensusRules::default()
        },
        members: vec![GenesisMember {
            id: ReplicaId::new(0),
            name: "thor".into(),
            key: member.public_key().clone(),
            weight: Weight::new(1),
            fee_account: "a0@thor".parse()?,
        }],
        ledger: polity_ledger::Genesis {
            parameters: Parameters::default(),
            authority: Authority {
                keys: vec![member.public_key().clone()],
                threshold: 1,
            },
            platforms: vec![GenesisPlatform {
                name: "thor".parse()?,
                key: member.public_key().clone(),
                quota: 10,
            }],
            accounts,
        },
    })
}
