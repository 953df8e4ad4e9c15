//! Giving up a journal that is lost, older or foreign (FB-15).
//!
//! A node that forgot what it signed could sign the contrary. So it never signs with that key again:
//!
//! ```text
//! key, journal, index   ──▶ set-aside-20261124T131201Z/    nothing is deleted
//! the old public key    ──▶ retired-keys                   with it this node never starts again
//! a new key, an empty journal, `replica = N` in node.toml
//! ```
//!
//! The node then follows, and votes from the epoch on whose committee has the new key beside its
//! number; the authority sees to that. A node that joins a federation begins in the same way, with
//! nothing to set aside.
//!
//! That is refused for a node that could go on as it is, or repairs its journal by itself. Whoever knows better, because the directory is an
//! old copy whose index is as old, forces it.
//!
//! The journal comes last: whenever this is interrupted, the node does not start, and doing it again
//! goes on.

use crate::config::{self, ConfigError, NodeConfig};
use crate::federation::{FederationError, GENESIS_FILE, KEY_FILE, create_private, load_genesis};
use crate::host::RecoverError;
use crate::host::repair::{RepairError, examine};
use crate::journal::{self, Journal, JournalError, Reader};
use crate::keys::records::RecordsError;
use crate::keys::ring::Ring;
use crate::keys::{KeyFileError, SecretKey};
use crate::lock::{DirectoryLock, LockError};
use crate::node::{Home, basis, open_store, recover_from_disk};
use crate::signing::suite_of;
use crate::store;
use polity_crypto::PublicKey;
use polity_replica::{Genesis, GenesisError};
use polity_types::{Height, ReplicaId, Time};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Keys with which this node never signs again, one a line, each with the directory it was set aside
/// in.
pub const RETIRED_FILE: &str = "retired-keys";

/// Largest such file that is read, in bytes.
const RETIRED_BYTES_MAX: u64 = 1 << 20;

/// Why a journal cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum RejoinError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The genesis.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The node runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The new key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The records of the key.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The key is in a token.
    #[error(
        "the key of this node is in a token, and this command makes keys in files; make a new key in the token and name it with `keys.token.key`, or remove [keys.token] from node.toml, and do this again"
    )]
    Token,
    /// The new journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The node could go on as it is.
    #[error(
        "this node needs no rejoin: its journal is written with its key and not older than its index, up to height {0}; start it with `polity run`. If you know that this directory is an old copy, add --force: key and journal are given up all the same"
    )]
    Healthy(Height),
    /// The node repairs its journal.
    #[error(
        "this node needs no rejoin: its journal is damaged, but no vote is lost; start it with `polity run`, and it repairs its journal with blocks up to height {0} from the other members. If none of them holds these blocks, add --force: key and journal are given up all the same"
    )]
    Repairable(Height),
    /// Something else is wrong than that the node forgot.
    #[error(
        "{0}. A rejoin does not put that right; add --force to give up key and journal all the same"
    )]
    NoCure(RecoverError),
    /// The number is another member's.
    #[error(
        "number {number} is that of member {name:?} in genesis.json; check the number and `name` in node.toml, or add --force if the authority gives this number to this node"
    )]
    OtherMember {
        /// The number.
        number: ReplicaId,
        /// Whose it is.
        name: String,
    },
    /// The system refuses.
    #[error("cannot use {}: {source}; nothing is lost, do it again", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A node with a new key and an empty journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejoined {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: ReplicaId,
    /// Its new key.
    pub key: PublicKey,
    /// With which it proves its links: the new key, or another one if that is not Ed25519.
    pub link_key: PublicKey,
    /// Where the old files are, if there were any.
    pub set_aside: Option<PathBuf>,
    /// Whether the genesis knows the member.
    pub is_founder: bool,
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> RejoinError {
    move |source| RejoinError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Gives up the journal in a data directory, and with it its key. `number` is that of a member that
/// neither the genesis nor `node.toml` knows. `now` names the directory in which the old files are kept.
/// A node that could go on, or that claims the number of another founder, has to be forced.
pub fn rejoin(
    directory: &Path,
    number: Option<ReplicaId>,
    is_forced: bool,
    now: Time,
) -> Result<Rejoined, RejoinError> {
    let config_path = directory.join(config::FILE_NAME);
    NodeConfig::load(&config_path)?;
    // From here on nobody starts the node with what is about to be given up.
    let lock = DirectoryLock::acquire(directory)?;
    let mut config = NodeConfig::load(&config_path)?;
    let genesis = load_genesis(&directory.join(GENESIS_FILE))?;
    config.replica = number.or(config.replica);
    if config.keys.token.is_some() {
        return Err(RejoinError::Token);
    }
    let number = config.own(&genesis)?;
    config.replica = Some(number);
    config.check(&genesis)?;
    if !is_forced {
        check_name(&config, &genesis, number)?;
        check_forgotten(directory, &config, &genesis, number)?;
    }
    let chain = genesis
        .chain()
        .map_err(|error| ConfigError::Genesis(GenesisError::from(error)))?;

    let set_aside = set_aside(directory, now)?;
    let suite = suite_of(genesis.tiers.of_members().1).map_err(FederationError::from)?;
    let key = SecretKey::generate_of(suite)?;
    key.store(&directory.join(KEY_FILE), &format!("node {}", config.name))?;
    let text = config::read_text(&config_path, config::FILE_BYTES_MAX)?;
    replace(&config_path, &with_number(&text, &config, number))?;
    sync_directory(directory).map_err(io_error(directory))?;
    Journal::open_in(
        &lock,
        chain.id(),
        &key.public_key().fingerprint(),
        |_, _| {},
    )?;
    sync_directory(directory).map_err(io_error(directory))?;
    let is_founder = genesis.members.iter().any(|member| member.id == number);
    Ok(Rejoined {
        name: config.name,
        number,
        key: key.public_key().clone(),
        link_key: key.link_key(),
        set_aside,
        is_founder,
    })
}

/// The number of a founder is not another one's.
fn check_name(
    config: &NodeConfig,
    genesis: &Genesis,
    number: ReplicaId,
) -> Result<(), RejoinError> {
    let founder = genesis.members.iter().find(|member| member.id == number);
    match founder {
        Some(founder) if founder.name != config.name => Err(RejoinError::OtherMember {
            number,
            name: founder.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// The node does not know what it signed; otherwise nothing has to be given up.
fn check_forgotten(
    directory: &Path,
    config: &NodeConfig,
    genesis: &Genesis,
    number: ReplicaId,
) -> Result<(), RejoinError> {
    let source = config.keys.passphrase();
    let key = match SecretKey::load_with(&directory.join(KEY_FILE), &source) {
        Ok(key) => key,
        Err(error) if error.is_unusable() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let retired = retired_with(directory, key.public_key());
    if retired
        .map_err(io_error(&directory.join(RETIRED_FILE)))?
        .is_some()
    {
        return Ok(());
    }
    let ring = Ring::of(directory, key)?;
    let home = Home {
        directory,
        config,
        genesis,
        own: number,
        ring: &ring,
    };
    let error = match recover_from_disk(home) {
        Ok((_, recovered)) => {
            let height = recovered.replica.tip().parent.height;
            return Err(RejoinError::Healthy(height));
        }
        Err(RecoverError::Journal(JournalError::Damaged { .. })) => match repairable(home) {
            Ok(until) => return Err(RejoinError::Repairable(until)),
            Err(RepairError::Recover(error)) => error,
            Err(_) => return Ok(()),
        },
        Err(error) => error,
    };
    if error.is_forgotten() {
        Ok(())
    } else {
        Err(RejoinError::NoCure(error))
    }
}

/// The height up to which a node fetches blocks to repair its damaged journal.
fn repairable(home: Home<'_>) -> Result<Height, RepairError> {
    let basis = basis(home)?;
    let mut journal = Reader::open_in(home.directory, basis.chain()?.id())?;
    let (_, until) = examine(&mut journal, &open_store(home)?, &basis)?;
    Ok(until)
}

/// Moves what is there of key, journal and index into a directory of its own, and notes the key.
fn set_aside(directory: &Path, now: Time) -> Result<Option<PathBuf>, RejoinError> {
    // The journal goes first: without it no node starts.
    let files = [journal::FILE_NAME, store::FILE_NAME, KEY_FILE];
    if !files.iter().any(|name| directory.join(name).exists()) {
        return Ok(None);
    }
    let name = format!("set-aside-{}", stamp(now));
    let mut place = directory.join(&name);
    let mut number = 1;
    while place.exists() {
        number += 1;
        place = directory.join(format!("{name}-{number}"));
    }
    create_private(&place)?;
    let key_path = directory.join(KEY_FILE);
    close_to_others(&key_path);
    // A file that is missing or holds no key is none to start with either, and a journal takes no other
    // key than its own. What cannot be read for another reason may be one.
    match SecretKey::peek(&key_path) {
        Ok(key) => retire(directory, &key, &place)?,
        Err(error) if error.is_unusable() => {}
        Err(error) => return Err(error.into()),
    }
    for name in files {
        let path = directory.join(name);
        if path.exists() {
            fs::rename(&path, place.join(name)).map_err(io_error(&path))?;
        }
    }
    sync_directory(&place).map_err(io_error(&place))?;
    sync_directory(directory).map_err(io_error(directory))?;
    Ok(Some(place))
}

/// A key that others could read is refused, also here, where it is only noted.
fn close_to_others(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // If it is not there, there is nothing to note.
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Notes, durably, that a key never signs again.
fn retire(directory: &Path, key: &PublicKey, place: &Path) -> Result<(), RejoinError> {
    let path = directory.join(RETIRED_FILE);
    let error = io_error(&path);
    let is_new = !path.exists();
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(&error)?;
    let mut line = String::new();
    if is_new {
        line += "# Keys whose journal was given up: this node never signs with them again.\n";
    }
    let place = place.file_name().unwrap_or_default().to_string_lossy();
    line += &format!("{key} {place}\n");
    file.write_all(line.as_bytes()).map_err(&error)?;
    file.sync_all().map_err(&error)
}

/// Where a key was set aside, if it was.
pub fn retired_with(directory: &Path, key: &PublicKey) -> io::Result<Option<PathBuf>> {
    let path = directory.join(RETIRED_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text = config::read_text(&path, RETIRED_BYTES_MAX).map_err(io::Error::other)?;
    let key = key.to_string();
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    Ok(lines
        .find(|(retired, _)| *retired == key)
        .map(|(_, place)| directory.join(place.trim())))
}

/// The configuration with the number in it. Comments of the operator stay, unless the file is written
/// in a way that this does not understand.
fn with_number(text: &str, wanted: &NodeConfig, number: ReplicaId) -> String {
    let is_wanted = |text: &str| NodeConfig::parse(text).as_ref() == Ok(wanted);
    if is_wanted(text) {
        return text.to_owned();
    }
    let is_of = |line: &str, field: &str| {
        let rest = line.trim_start().strip_prefix(field);
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let mut changed = String::new();
    for line in text.lines().filter(|line| !is_of(line, "replica")) {
        changed += line;
        changed.push('\n');
        if is_of(line, "name") {
            changed += &format!("replica = {number}\n");
        }
    }
    if is_wanted(&changed) {
        changed
    } else {
        wanted.to_text()
    }
}

/// Writes a file in place of another one: afterwards it is the old or the new one.
fn replace(path: &Path, text: &str) -> Result<(), RejoinError> {
    let fresh = path.with_extension("toml.new");
    let error = io_error(&fresh);
    let mut file = File::create(&fresh).map_err(&error)?;
    file.write_all(text.as_bytes()).map_err(&error)?;
    file.sync_all().map_err(&error)?;
    drop(file);
    fs::rename(&fresh, path).map_err(io_error(path))
}

/// Makes names in a directory durable, where the system can do that.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(directory).and_then(|directory| directory.sync_all())?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

/// A moment as a part of a file name: `20261124T131201Z`.
pub(crate) fn stamp(now: Time) -> String {
    let seconds = now.as_millis() / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end; 719,468 days lie between the first of
    // March of the year 0 and the Unix epoch.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests;
