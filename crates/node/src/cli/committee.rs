//! `polity committee`: who votes.

use super::keys::signing_key;
use super::{Failure, Output, Target, code};
use crate::federation::{AUTHORITY_KEY_FILE, CLEARING, GENESIS_FILE, KEYS_DIRECTORY, load_genesis};
use crate::keys::SecretKey;
use crate::table::Table;
use crate::view;
use crate::wallet::{Terms, sign_with, submit, wait_final};
use clap::{Args, Subcommand};
use polity_consensus::committee::{CommitteeTable, Member};
use polity_crypto::PublicKey;
use polity_ledger::{Address, Command};
use polity_replica::{GenesisMember, MemberChange};
use polity_types::{Height, ReplicaId, Weight};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const EXAMPLES: &str = "Examples:
  polity committee show --dir fed
  polity committee set frey --replica 4 --key ed25519:5f..c1 --weight 1 --fee-account clearing@thor --dir fed
  polity committee set sprout --key fed/sprout/key --dir fed      a new key, the rest stays as it is
  polity committee remove legion --dir fed

A change counts from the next epoch on. What is decided in the last block of an epoch waits for the
one after.";

/// How long a change may take to be final.
const PATIENCE: Duration = Duration::from_secs(30);

/// `polity committee`
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who votes now, and from the next epoch on
    Show(Show),
    /// Add a member, or change its key, weight, name or account from the next epoch on
    Set(Set),
    /// Take the vote of a member away from the next epoch on
    Remove(Remove),
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Set {
    /// Name of the member
    name: String,
    /// The number is another member's, whose place it takes
    #[arg(long)]
    replace: bool,
    /// Its key: ed25519:HEX, 64 hexadecimal digits, or a key file; a member that is there keeps its own
    #[arg(long, value_name = "FILE|HEX")]
    key: Option<String>,
    /// Its share of the vote; a member that is there keeps its own
    #[arg(long)]
    weight: Option<u64>,
    /// Its number; found by its name for a member that is there
    #[arg(long, value_name = "NUMBER")]
    replica: Option<u32>,
    /// Where the fees of its blocks go; a member that is there keeps its own
    #[arg(long, value_name = "ADDRESS")]
    fee_account: Option<Address>,
    #[command(flatten)]
    authority: Authority,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Remove {
    /// Name of the member
    name: String,
    #[command(flatten)]
    authority: Authority,
    #[command(flatten)]
    target: Target,
}

/// Who signs a change.
#[derive(Debug, Args)]
pub(super) struct Authority {
    /// Key of the authority; once for each key that has to sign. Without it those in DIR/keys
    #[arg(long = "authority-key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Account in whose name the authority signs, and which pays the fee if there is one
    #[arg(long = "as", value_name = "ADDRESS")]
    signer: Option<Address>,
}

pub(super) fn main(options: &Options, output: Output) -> Result<(), Failure> {
    match &options.action {
        Action::Show(show) => self::show(show, output),
        Action::Set(set) => self::set(set, output),
        Action::Remove(remove) => self::remove(remove, output),
    }
}

fn show(options: &Show, output: Output) -> Result<(), Failure> {
    let (mut client, _) = options.target.connect()?;
    let committee: view::Committee = client.get("/v1/committee")?;
    output.show(&committee, |committee| {
        let mut text = format!(
            "epoch {} at height {}, quorum {}\n\n{}",
            committee.epoch,
            committee.height,
            committee.quorum,
            table(&committee.present)
        );
        if committee.next == committee.present {
            text += &format!(
                "\nNo change waits for the next epoch, which begins at height {}.",
                committee.next_from
            );
        } else {
            text += &format!(
                "\nfrom height {} on\n\n{}",
                committee.next_from,
                table(&committee.next)
            );
        }
        text
    });
    Ok(())
}

fn table(members: &[GenesisMember]) -> String {
    let mut table = Table::new(&["member", "number", "weight", "key", "fees to"]);
    for member in members {
        table.row(&[
            member.name.as_str(),
            &member.id.to_string(),
            &member.weight.to_string(),
            &member.key.to_string(),
            member.fee_account.as_str(),
        ]);
    }
    table.to_string()
}

fn set(options: &Set, output: Output) -> Result<(), Failure> {
    let (mut client, status) = options.target.connect()?;
    let committee: view::Committee = client.get("/v1/committee")?;
    let key = options.key.as_deref().map(key).transpose()?;
    let number = options.replica.map(ReplicaId::new);
    let known = committee.next.iter().find(|member| match number {
        Some(number) => member.id == number,
        None => member.name == options.name,
    });
    let present = committee
        .next
        .iter()
        .find(|member| Some(member.id) == number);
    if let Some(other) = present.filter(|other| other.name != options.name && !options.replace) {
        return Err(Failure::usage(format!(
            "number {} is that of {}, which would lose its vote: choose another number, or say --replace if {} takes its place",
            other.id, other.name, options.name
        )));
    }
    let missing = |field: &str| {
        let highest = committee.next.iter().map(|member| member.id.get()).max();
        Failure::usage(format!(
            "{} is no member so far; say its `{field}` as well (numbers from {} on are free)",
            options.name,
            highest.map_or(0, |highest| highest.saturating_add(1))
        ))
    };
    let member = GenesisMember {
        id: number
            .or_else(|| known.map(|member| member.id))
            .ok_or_else(|| missing("--replica"))?,
        name: options.name.clone(),
        key: key
            .or_else(|| known.map(|member| member.key.clone()))
            .ok_or_else(|| missing("--key"))?,
        weight: options
            .weight
            .map(Weight::new)
            .or_else(|| known.map(|member| member.weight))
            .ok_or_else(|| missing("--weight"))?,
        fee_account: options
            .fee_account
            .clone()
            .or_else(|| known.map(|member| member.fee_account.clone()))
            .ok_or_else(|| missing("--fee-account"))?,
    };
    let change = MemberChange::Set(member);
    let changed = change_committee(
        &options.target,
        &options.authority,
        &mut client,
        &status,
        &committee,
        &change,
    )?;
    changed.show(output);
    Ok(())
}

fn remove(options: &Remove, output: Output) -> Result<(), Failure> {
    let (mut client, status) = options.target.connect()?;
    let committee: view::Committee = client.get("/v1/committee")?;
    let known = committee
        .next
        .iter()
        .find(|member| member.name == options.name)
        .ok_or_else(|| {
            Failure::usage(format!(
                "{} is no member of the next epoch; see `polity committee show`",
                options.name
            ))
        })?;
    let change = MemberChange::Remove(known.id);
    let changed = change_committee(
        &options.target,
        &options.authority,
        &mut client,
        &status,
        &committee,
        &change,
    )?;
    changed.show(output);
    Ok(())
}

/// A key in words, in digits or in a file.
fn key(text: &str) -> Result<PublicKey, Failure> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    if text.len() == 64
        && let Ok(key) = format!("ed25519:{text}").parse()
    {
        return Ok(key);
    }
    SecretKey::peek(Path::new(text)).map_err(|error| {
        Failure::usage(format!(
            "`--key` is neither ed25519: with 64 hexadecimal digits nor a key file: {error}"
        ))
    })
}

/// A change of the committee that is final.
#[derive(Serialize)]
pub(super) struct Changed {
    transaction: String,
    /// Height of the block that holds the change.
    height: Height,
    /// The first height at which it counts.
    pub(super) counts_from: Height,
}

impl Changed {
    fn show(self, output: Output) {
        output.show(&self, |changed| {
            format!(
                "final in block {}: it counts from height {} on, the first of an epoch\ntransaction {}",
                changed.height, changed.counts_from, changed.transaction
            )
        });
    }
}

/// Gives a member, who stays who it is, another key from the next epoch on.
pub(super) fn replace_key(
    target: &Target,
    authority: &Authority,
    number: ReplicaId,
    key: PublicKey,
) -> Result<Changed, Failure> {
    let (mut client, status) = target.connect()?;
    let committee: view::Committee = client.get("/v1/committee")?;
    let known = committee.next.iter().find(|member| member.id == number);
    let member = known.ok_or_else(|| {
        Failure::new(
            code::REFUSED,
            format!("number {number} is no member of the next epoch; see `polity committee show`"),
        )
    })?;
    let change = MemberChange::Set(GenesisMember {
        key,
        ..member.clone()
    });
    change_committee(target, authority, &mut client, &status, &committee, &change)
}

fn change_committee(
    target: &Target,
    authority: &Authority,
    client: &mut crate::client::Client,
    status: &view::Status,
    before: &view::Committee,
    change: &MemberChange,
) -> Result<Changed, Failure> {
    check(&before.next, change)?;
    let (signer, keys) = authority.signers(target)?;
    let keys: Vec<&SecretKey> = keys.iter().collect();
    let command = Command::ChangeCommittee {
        change: change.encode().map_err(Failure::usage)?,
    };
    let transaction =
        sign_with(Terms::of(status), &signer, &keys, command).map_err(Failure::failed)?;
    let taken = submit(client, &transaction)?;
    if let Some(problem) = taken.error {
        return Err(Failure::new(code::REFUSED, problem.message));
    }
    let id = transaction.id();
    let found = wait_final(client, id, PATIENCE)?;
    let receipt = found.and_then(|found| found.receipt).or(taken.receipt);
    let Some(receipt) = receipt else {
        return Err(Failure::failed(format!(
            "the change waits for a block: transaction {id}; look again with `polity committee show`"
        )));
    };
    if let Some(reason) = receipt.reason {
        return Err(Failure::new(
            code::REFUSED,
            format!("refused in block {}: {reason}", receipt.height),
        ));
    }
    let after: view::Committee = client.get("/v1/committee")?;
    let changed = Changed {
        transaction: id.to_string(),
        height: receipt.height,
        counts_from: counts_from(receipt.height, after.epoch_length),
    };
    let members = if changed.counts_from < after.next_from {
        &after.present
    } else {
        &after.next
    };
    if !has(members, change) {
        return Err(Failure::new(
            code::REFUSED,
            format!(
                "the change is final in block {} and changes nothing: another change came in between with which it makes no committee; see `polity committee show`",
                changed.height
            ),
        ));
    }
    Ok(changed)
}

impl Authority {
    /// The account in whose name the authority signs, and its keys.
    fn signers(&self, target: &Target) -> Result<(Address, Vec<SecretKey>), Failure> {
        let mut files = self.keys.clone();
        if files.is_empty() {
            let directory = target.dir.as_ref().ok_or_else(|| {
                Failure::usage(
                    "the authority has to sign: name its key with --authority-key FILE, or the federation with --dir DIR",
                )
            })?;
            files = authority_files(&directory.join(KEYS_DIRECTORY)).map_err(Failure::usage)?;
        }
        let keys = files
            .iter()
            .map(|file| signing_key(file))
            .collect::<Result<_, _>>()?;
        let signer = match (&self.signer, &target.dir) {
            (Some(signer), _) => signer.clone(),
            (None, Some(directory)) => {
                let genesis =
                    load_genesis(&directory.join(GENESIS_FILE)).map_err(Failure::usage)?;
                let platform = genesis.ledger.platforms.first().ok_or_else(|| {
                    Failure::usage("the federation has no platform; name an account with --as")
                })?;
                Address::new(CLEARING, platform.name.as_str()).map_err(Failure::usage)?
            }
            (None, None) => {
                return Err(Failure::usage(
                    "name the account in whose name the authority signs with --as ADDRESS",
                ));
            }
        };
        Ok((signer, keys))
    }
}

/// `authority.key`, `authority-2.key` and so on.
fn authority_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let stem = AUTHORITY_KEY_FILE.trim_end_matches(".key");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(stem) && name.ends_with(".key") && !name.contains('@') {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Refuses a change that would make no committee (FB-1), before it is sent.
fn check(members: &[GenesisMember], change: &MemberChange) -> Result<(), Failure> {
    let mut changed: Vec<&GenesisMember> = members.iter().collect();
    match change {
        MemberChange::Set(member) => {
            changed.retain(|other| other.id != member.id);
            if changed.iter().any(|other| other.name == member.name) {
                let text = format!("another member is called {}", member.name);
                return Err(Failure::new(code::REFUSED, text));
            }
            changed.push(member);
        }
        MemberChange::Remove(id) => changed.retain(|other| other.id != *id),
    }
    let rows = changed.into_iter().map(|member| Member {
        id: member.id,
        key: member.key.clone(),
        weight: member.weight,
    });
    match CommitteeTable::new(rows) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(
            code::REFUSED,
            format!("this makes no committee: {error}"),
        )),
    }
}

fn has(members: &[GenesisMember], change: &MemberChange) -> bool {
    match change {
        MemberChange::Set(member) => members.contains(member),
        MemberChange::Remove(id) => members.iter().all(|member| member.id != *id),
    }
}

/// The first height at which a change counts that is decided at `height` (FB-17).
fn counts_from(height: Height, epoch_length: u64) -> Height {
    let length = epoch_length.max(1);
    let epoch = height.get().saturating_sub(1) / length;
    let is_last = height.get().is_multiple_of(length);
    let ends = epoch.saturating_add(1 + u64::from(is_last));
    Height::new(ends.saturating_mul(length)).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(1, 9)]
    #[case(7, 9)]
    #[case::last_block(8, 17)]
    #[case(9, 17)]
    #[case(16, 25)]
    fn fb_17_a_change_counts_from_an_epoch_on(#[case] height: u64, #[case] from: u64) {
        assert_eq!(counts_from(Height::new(height), 8), Height::new(from));
    }

    #[test]
    fn a_key_is_given_in_three_ways() {
        let scratch = crate::scratch::Scratch::new();
        let path = scratch.path().join("key");
        let secret = SecretKey::generate().unwrap();
        secret.store(&path, "a test").unwrap();
        let text = secret.public_key().to_string();
        let digits = text.strip_prefix("ed25519:").unwrap();
        for given in [&text, digits, path.to_str().unwrap()] {
            assert_eq!(key(given).unwrap(), *secret.public_key());
        }
        assert!(key("nothing").is_err());
    }
}
