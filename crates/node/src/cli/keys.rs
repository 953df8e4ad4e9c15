//! `polity keys`: secret keys and the records that say how long they are good (CR-5, CR-7).

use super::committee::{Authority, replace_key};
use super::{Failure, Output, Target, code, print};
use crate::config::{self, NodeConfig};
use crate::driver::now;
use crate::federation::{GENESIS_FILE, KEY_FILE, load_genesis};
use crate::keys::records::{Entry, Records, Standing, relative, standing_of};
use crate::keys::{Cost, PassphraseSource, SUITES, SecretKey, former_path, take_place};
use crate::table::Table;
use clap::{Args, Subcommand};
use polity_crypto::{KeyEntry, KeyId, PublicKey, Suite};
use polity_ledger::{Address, Command};
use polity_types::{Height, ReplicaId, Time};
use serde::Serialize;
use std::path::{Path, PathBuf};

pub(super) const EXAMPLES: &str = "Examples:
  polity keys new fed/keys/carol@thor.key --passphrase-file words
  polity keys show fed/thor
  polity keys rotate fed/thor --dir fed                            a member: the committee gets the new key
  polity keys rotate fed/keys/alice@thor.key --account alice@thor --dir fed
  polity keys revoke fed/thor --key 0123456789abcdef               a former key, with the one that followed
  polity keys export fed/thor --out thor.records

PATH is a key file, or the data directory of a node. Records stand in the file `key-records` beside
the keys. A passphrase is typed, or is the first line of a file that --passphrase-file or the
environment variable POLITY_PASSPHRASE_FILE names.";

/// `polity keys`
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and its first record
    New(New),
    /// Show what a key is, and when it ends
    Show(Show),
    /// Make the key that follows, with a record that both sign
    Rotate(Rotate),
    /// Say that a key speaks for nobody any more
    Revoke(Revoke),
    /// Write the public records of a key and of those before and after it
    Export(Export),
}

/// How a key file is sealed or opened.
#[derive(Debug, Args)]
struct Sealing {
    /// The passphrase is the first line of this file, which only its owner can read
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Sealing {
    /// Where the passphrase of a key is: where the command line says, or the configuration of the node.
    fn source(&self, path: &Path) -> Result<PassphraseSource, Failure> {
        if let Some(file) = &self.passphrase_file {
            return Ok(PassphraseSource::File(file.clone()));
        }
        let config = path.join(config::FILE_NAME);
        if !config.is_file() {
            return Ok(PassphraseSource::Standard);
        }
        let config = NodeConfig::load(&config).map_err(Failure::usage)?;
        if config.keys.token.is_some() {
            return Err(Failure::usage(
                "the key of this node is in a token: make the next one there, name it with `keys.token.key` in node.toml, and have the authority run `polity committee set`",
            ));
        }
        Ok(config.keys.passphrase())
    }
}

#[derive(Debug, Args)]
struct New {
    /// The key file to write
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// ed25519, ml-dsa-65, ml-dsa-87 or hybrid
    #[arg(long, default_value = "ed25519", value_parser = suite)]
    suite: Suite,
    /// Seal it with a passphrase
    #[arg(long)]
    seal: bool,
    /// Whose key it is, for a comment in the file; without it the name of the file
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    #[command(flatten)]
    sealing: Sealing,
}

#[derive(Debug, Args)]
struct Show {
    /// A key file, or the data directory of a node
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

#[derive(Debug, Args)]
struct Rotate {
    /// A key file, or the data directory of a node
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Suite of the new key; that of the old one if it is not said
    #[arg(long, value_parser = suite)]
    suite: Option<Suite>,
    /// The account that the key owns: the ledger gets the new key
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Address>,
    #[command(flatten)]
    sealing: Sealing,
    #[command(flatten)]
    authority: Authority,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The key that signs: a key file, or the data directory of a node
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Id of the key to revoke, an earlier one of the same owner; without it the key itself
    #[arg(long, value_name = "ID")]
    key: Option<KeyId>,
    /// Even if nothing follows the key
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    sealing: Sealing,
}

#[derive(Debug, Args)]
struct Export {
    /// A key file, or the data directory of a node
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The file to write; without it the records are shown
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn suite(text: &str) -> Result<Suite, String> {
    SUITES
        .into_iter()
        .find(|suite| suite.name() == text)
        .ok_or_else(|| "a suite is ed25519, ml-dsa-65, ml-dsa-87 or hybrid".to_owned())
}

pub(super) fn main(options: &Options, output: Output) -> Result<(), Failure> {
    match &options.action {
        Action::New(new) => self::new(new, output),
        Action::Show(show) => self::show(show, output),
        Action::Rotate(rotate) => self::rotate(rotate, output),
        Action::Revoke(revoke) => self::revoke(revoke, output),
        Action::Export(export) => self::export(export, output),
    }
}

/// Reads a key to sign with, which may still do so.
pub(super) fn signing_key(path: &Path) -> Result<SecretKey, Failure> {
    let key = SecretKey::load(path).map_err(Failure::usage)?;
    let records = Records::beside(path).map_err(Failure::usage)?;
    may_sign(path, &records, key.public_key(), now())?;
    Ok(key)
}

/// Refuses a key whose records say that it ended.
fn may_sign(path: &Path, records: &Records, key: &PublicKey, now: Time) -> Result<(), Failure> {
    let standing = records.standing(key, now);
    if standing.may_sign() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the key {} in {} signs nothing: it is {}; use the key that followed it, or make a new one with `polity keys new` and have it registered",
        key.key_id(),
        path.display(),
        words(standing, now),
    )))
}

/// The key file of a path.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(KEY_FILE)
    } else {
        path.to_owned()
    }
}

/// The name of a key file, which says best whose key it is.
fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A standing in words.
fn words(standing: Standing, now: Time) -> String {
    match standing {
        Standing::Unrecorded => {
            "without a record, so it never ends; `polity keys rotate` gives it one".to_owned()
        }
        Standing::NotYet { begins } => {
            format!("not valid yet, it begins {}", relative(begins, now))
        }
        Standing::Valid { ends } => format!("valid, it ends {}", relative(ends, now)),
        Standing::EndsSoon { ends } => format!(
            "valid and ends soon, {}; run `polity keys rotate`",
            relative(ends, now)
        ),
        Standing::Expired { since } => format!("expired {}", relative(since, now)),
        Standing::Revoked { since } => format!("revoked {}", relative(since, now)),
    }
}

/// One key, without its secret.
#[derive(Serialize)]
struct Shown {
    id: String,
    suite: &'static str,
    standing: &'static str,
    not_before_ms: Option<u64>,
    not_after_ms: Option<u64>,
    revoked_at_ms: Option<u64>,
    public_key: String,
    #[serde(skip)]
    words: String,
}

impl Shown {
    fn new(key: &PublicKey, entry: Option<&KeyEntry>, now: Time) -> Self {
        let standing = entry.map_or(Standing::Unrecorded, |entry| standing_of(entry, now));
        Self {
            id: key.key_id().to_string(),
            suite: key.suite().name(),
            standing: standing.name(),
            not_before_ms: entry.map(|entry| entry.not_before.as_millis()),
            not_after_ms: entry.map(|entry| entry.not_after.as_millis()),
            revoked_at_ms: entry
                .and_then(|entry| entry.revoked)
                .map(|revoked| revoked.at.as_millis()),
            public_key: key.to_string(),
            words: words(standing, now),
        }
    }

    fn text(&self) -> String {
        format!("{} {}: {}", self.suite, self.id, self.words)
    }
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    is_sealed: bool,
    key: Shown,
}

fn new(options: &New, output: Output) -> Result<(), Failure> {
    let now = now();
    let path = &options.path;
    let _lock = Records::lock(path).map_err(Failure::failed)?;
    let mut records = Records::beside(path).map_err(Failure::usage)?;
    let key = SecretKey::generate_of(options.suite).map_err(Failure::failed)?;
    let is_sealed = options.seal || options.sealing.passphrase_file.is_some();
    let purpose = options.purpose.clone().unwrap_or_else(|| name_of(path));
    let source = options.sealing.source(path)?;
    store(&key, path, &purpose, is_sealed, &source)?;
    records.begin(&key, now).map_err(Failure::failed)?;
    let made = Made {
        file: path.clone(),
        is_sealed,
        key: Shown::new(key.public_key(), records.entry(key.public_key()), now),
    };
    output.show(&made, |made| {
        format!(
            "{}: {}\n{}",
            made.file.display(),
            made.key.text(),
            made.key.public_key
        )
    });
    Ok(())
}

fn store(
    key: &SecretKey,
    path: &Path,
    purpose: &str,
    is_sealed: bool,
    source: &PassphraseSource,
) -> Result<(), Failure> {
    let stored = if is_sealed {
        source
            .choose(&path.display().to_string())
            .and_then(|words| key.store_sealed(path, purpose, &words, Cost::default()))
    } else {
        key.store(path, purpose)
    };
    stored.map_err(Failure::usage)
}

#[derive(Serialize)]
struct Overview {
    file: PathBuf,
    is_sealed: bool,
    key: Shown,
    /// The name of the owner in records, if there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    /// Every key of the owner, in the order of their windows.
    history: Vec<Shown>,
}

fn show(options: &Show, output: Output) -> Result<(), Failure> {
    let now = now();
    let file = file_of(&options.path);
    let key = SecretKey::peek(&file).map_err(Failure::usage)?;
    let records = Records::beside(&file).map_err(Failure::usage)?;
    let overview = Overview {
        is_sealed: SecretKey::is_sealed(&file).map_err(Failure::usage)?,
        file,
        key: Shown::new(&key, records.entry(&key), now),
        peer: records.peer(&key).map(|peer| peer.to_string()),
        history: records
            .history(&key)
            .iter()
            .map(|entry| Shown::new(&entry.key, Some(entry), now))
            .collect(),
    };
    output.show(&overview, |overview| {
        let sealed = if overview.is_sealed { "sealed" } else { "open" };
        let mut text = format!(
            "{} ({sealed})\n{}\n{}\n",
            overview.file.display(),
            overview.key.text(),
            overview.key.public_key
        );
        if overview.history.len() > 1 {
            let mut table = Table::new(&["key", "suite", "standing"]);
            for key in &overview.history {
                table.row(&[key.id.as_str(), key.suite, &key.words]);
            }
            text += &format!("\n{table}");
        }
        text
    });
    Ok(())
}

#[derive(Serialize)]
struct Rotated {
    file: PathBuf,
    /// Where the old key is until it ends.
    former: PathBuf,
    key: Shown,
    /// The first height at which a committee counts that has the new key.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts_from: Option<Height>,
    /// What is left to do.
    next: String,
}

/// Whose key is rotated.
enum Role {
    Member { name: String, number: ReplicaId },
    Account(Address),
    Nobody,
}

fn role(options: &Rotate) -> Result<Role, Failure> {
    if let Some(account) = &options.account {
        return Ok(Role::Account(account.clone()));
    }
    if !options.path.is_dir() {
        return Ok(Role::Nobody);
    }
    let config = NodeConfig::load(&options.path.join(config::FILE_NAME)).map_err(Failure::usage)?;
    let genesis = load_genesis(&options.path.join(GENESIS_FILE)).map_err(Failure::usage)?;
    let number = config.own(&genesis).map_err(Failure::usage)?;
    Ok(Role::Member {
        name: config.name,
        number,
    })
}

/// Steps that can be done again wherever they were interrupted: a new key file under its own name, the
/// record, the change of the committee or the ledger, and at last the name of the key file.
fn rotate(options: &Rotate, output: Output) -> Result<(), Failure> {
    let now = now();
    let file = file_of(&options.path);
    let role = role(options)?;
    let has_target = options.target.dir.is_some() || options.target.api.is_some();
    if options.account.is_some() && !has_target {
        return Err(Failure::usage(
            "to tell the ledger, name the federation with --dir DIR or a node with --api HOST:PORT",
        ));
    }
    let source = options.sealing.source(&options.path)?;
    let _lock = Records::lock(&file).map_err(Failure::failed)?;
    let old = SecretKey::load_with(&file, &source).map_err(Failure::usage)?;
    let mut records = Records::beside(&file).map_err(Failure::usage)?;
    may_sign(&file, &records, old.public_key(), now)?;
    let newest = records.history(old.public_key()).last();
    let begun = newest.filter(|newest| newest.key != *old.public_key());
    let (new, new_path) = if let Some(entry) = begun {
        // It was interrupted after the record.
        let path = former_path(&file, entry.key.key_id());
        let key = SecretKey::load_with(&path, &source).map_err(Failure::usage)?;
        (key, path)
    } else {
        let suite = options.suite.unwrap_or(old.public_key().suite());
        let key = SecretKey::generate_of(suite).map_err(Failure::failed)?;
        let path = former_path(&file, key.public_key().key_id());
        let is_sealed = SecretKey::is_sealed(&file).map_err(Failure::usage)?;
        store(&key, &path, &name_of(&file), is_sealed, &source)?;
        records.rotate(&old, &key, now).map_err(Failure::failed)?;
        (key, path)
    };
    let mut counts_from = None;
    let next = match &role {
        Role::Nobody => "have the new key registered where the old one is".to_owned(),
        Role::Account(account) => {
            let command = Command::RotateKey {
                account: account.clone(),
                key: new.public_key().clone(),
            };
            let receipt = options.target.carry_out(&old, account, command)?;
            if let Some(reason) = receipt.reason {
                let text = format!("refused in block {}: {reason}", receipt.height);
                return Err(Failure::new(code::REFUSED, text));
            }
            format!(
                "nothing: {account} belongs to the new key from block {} on",
                receipt.height
            )
        }
        Role::Member { number, .. } if has_target => {
            let key = new.public_key().clone();
            let changed = replace_key(&options.target, &options.authority, *number, key)?;
            counts_from = Some(changed.counts_from);
            format!(
                "restart the node before height {}, when the committee has the new key; until then it votes with the old one",
                changed.counts_from
            )
        }
        Role::Member { name, number } => format!(
            "have the authority run `polity committee set {name} --replica {number} --key {} --dir FEDERATION` within a day, then restart the node; until the next epoch it votes with the old key",
            new.public_key()
        ),
    };
    let next = match &role {
        Role::Member { name, .. } if new.suite() != Suite::Ed25519 => format!(
            "{next}. The other members put {name} = \"{}\" under [network.link_keys] of their node.toml when it restarts",
            new.link_key()
        ),
        _ => next,
    };
    let former = former_path(&file, old.public_key().key_id());
    take_place(&file, &new_path, &former).map_err(Failure::failed)?;
    let rotated = Rotated {
        key: Shown::new(new.public_key(), records.entry(new.public_key()), now),
        file,
        former,
        counts_from,
        next,
    };
    output.show(&rotated, |rotated| {
        format!(
            "{}: {}\n{}\nThe old key is in {} and signs for a day more; a member votes with it until the new one counts, so keep it until then.\nTo do: {}",
            rotated.file.display(),
            rotated.key.text(),
            rotated.key.public_key,
            rotated.former.display(),
            rotated.next
        )
    });
    Ok(())
}

#[derive(Serialize)]
struct Ended {
    key: String,
    at_ms: u64,
    /// Whether another key speaks for the owner.
    has_successor: bool,
}

fn revoke(options: &Revoke, output: Output) -> Result<(), Failure> {
    let now = now();
    let file = file_of(&options.path);
    let _lock = Records::lock(&file).map_err(Failure::failed)?;
    let mut records = Records::beside(&file).map_err(Failure::usage)?;
    let key = SecretKey::load_with(&file, &options.sealing.source(&options.path)?)
        .map_err(Failure::usage)?;
    let id = options.key.unwrap_or(key.public_key().key_id());
    let newest = records.history(key.public_key()).last();
    let is_newest = newest.is_none_or(|newest| newest.id == id);
    if is_newest && !options.force {
        return Err(Failure::usage(format!(
            "no key follows {id}, and a revoked key cannot introduce one: run `polity keys rotate` first, then `polity keys revoke --key {id}` with the new key; or add --force to end it without a successor"
        )));
    }
    if records
        .history(key.public_key())
        .iter()
        .any(|entry| entry.id == id && entry.revoked.is_some_and(|revoked| revoked.at <= now))
    {
        return Err(Failure::usage(format!("the key {id} is revoked already")));
    }
    records.revoke(id, &key, now).map_err(Failure::usage)?;
    let revoked = Ended {
        key: id.to_string(),
        at_ms: now.as_millis(),
        has_successor: !is_newest,
    };
    output.show(&revoked, |revoked| {
        let mut text = format!(
            "the key {} is revoked from now on; export the records to those who know it with `polity keys export`",
            revoked.key
        );
        if !revoked.has_successor {
            text += "\nNothing follows it: a node with this key follows without a vote. Make a new key with `polity rejoin` or `polity keys new`, and have it registered.";
        }
        text
    });
    Ok(())
}

#[derive(Serialize)]
struct Exported<'a> {
    peer: String,
    entries: Vec<&'a Entry>,
}

fn export(options: &Export, output: Output) -> Result<(), Failure> {
    let file = file_of(&options.path);
    let key = SecretKey::peek(&file).map_err(Failure::usage)?;
    let records = Records::beside(&file).map_err(Failure::usage)?;
    let peer = records.peer(&key).ok_or_else(|| {
        Failure::usage(format!(
            "no record names the key {}; `polity keys rotate` gives it its first one",
            key.key_id()
        ))
    })?;
    let exported = Exported {
        peer: peer.to_string(),
        entries: records.of_peer(&peer),
    };
    if let Some(out) = &options.out {
        records.export(&peer, out).map_err(Failure::failed)?;
    }
    match &options.out {
        None if !output.is_json => {
            let text = serde_json::to_string_pretty(&exported).map_err(Failure::failed)?;
            print(&text);
        }
        _ => output.show(&exported, |exported| {
            let count = exported.entries.len();
            let out = options.out.as_deref().unwrap_or(Path::new("-"));
            format!(
                "{count} records of peer {} are in {}",
                exported.peer,
                out.display()
            )
        }),
    }
    Ok(())
}
