//! One running node: everything put together.

use crate::admission::{Admission, Door};
use crate::api::{self, Gate, Service};
use crate::archive::{Archive, Blocks};
use crate::config::{self, ConfigError, NodeConfig};
use crate::driver::{COMMANDS_MAX, Clock, Command, Driver, DriverError, Submissions, now};
use crate::federation::{FederationError, GENESIS_FILE, KEY_FILE, load_genesis};
use crate::host::repair::RepairError;
use crate::host::{Basis, Host, RecoverError, Recovered, recover};
use crate::hub::Hub;
use crate::intake::Intake;
use crate::journal::{self, DiskFile, JournalError};
use crate::keys::link_secret::{LinkSecret, LinkSecretError};
use crate::keys::records::RecordsError;
use crate::keys::ring::Ring;
use crate::keys::token::TokenError;
use crate::links::Links;
use crate::lock::{DirectoryLock, LockError};
use crate::meters::Meters;
use crate::rejoin;
use crate::repair::{Linked, repair};
use crate::roster::{self, InStep, Roster};
use crate::signing::{NodeVerifier, Provider};
use crate::store::{self, Store, StoreError};
use crate::transport::{self, Transport, TransportError};
use polity_consensus::fbpbft::Chain;
use polity_crypto::Tier;
use polity_replica::{Genesis, GenesisError, MessageKind, RestoreError};
use polity_types::{Height, ReplicaId, Seed};
use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Why a node does not start, or stopped by itself. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The directory is in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The configuration or genesis makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The files of the federation.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The keys and their records.
    #[error(transparent)]
    Key(#[from] RecordsError),
    /// The secret of the links.
    #[error(transparent)]
    LinkSecret(#[from] LinkSecretError),
    /// The key is another one than the genesis says.
    #[error(
        "`{KEY_FILE}` is not the key of member {name:?} in {GENESIS_FILE}; check that this is the right data directory. If the key was replaced since, say so with `replica = {number}` in node.toml"
    )]
    OtherKey {
        /// The member.
        name: String,
        /// Its number.
        number: ReplicaId,
    },
    /// The key is that of another member.
    #[error(
        "`{KEY_FILE}` is the key of member {name:?}, whose number is {number}, and this node is number {own}; check that this is the right data directory, and `replica` in node.toml"
    )]
    OtherMembersKey {
        /// This node's number.
        own: ReplicaId,
        /// The member.
        name: String,
        /// Its number.
        number: ReplicaId,
    },
    /// The key was given up.
    #[error(
        "`{KEY_FILE}` is the key that was set aside in {}: nobody knows any more what was signed with it, so it must never sign again; put back the key, journal and index that took its place, or run `polity rejoin` on the data directory",
        .0.display()
    )]
    RetiredKey(PathBuf),
    /// What was set aside cannot be looked at.
    #[error("cannot look at what was set aside in the data directory: {0}")]
    SetAside(std::io::Error),
    /// The address of the HTTP interface is taken.
    #[error(
        "`api.listen`: cannot listen on {address}: {source}; choose another address or stop the process that uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The links.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The replica cannot continue.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The journal is damaged, and is not repaired.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// Nobody has the heights that the journal lost.
    #[error(
        "the journal is damaged, and there is no other member to fetch the heights up to {0} from; restore the data directory from a copy of this node made after it last voted"
    )]
    NobodyToAsk(Height),
    /// A file of a repair.
    #[error(
        "cannot use {} to repair the journal: {source}; free some space or check the disk, and start the node again: the damaged journal is as it was",
        path.display()
    )]
    RepairFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The driver stopped.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A thread cannot be started.
    #[error("the system starts no more threads: {0}")]
    Thread(std::io::Error),
    /// The token that holds the key of the node failed. Nothing was said in its place.
    #[error(transparent)]
    Token(Box<TokenError>),
    /// The driver panicked: it contradicts itself.
    #[error(
        "the node contradicted itself and stopped; its log says where. Start it again, and report it if it stops again"
    )]
    Contradiction,
}

/// A data directory that makes sense, with its lock.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) lock: DirectoryLock,
    pub(crate) config: NodeConfig,
    pub(crate) genesis: Genesis,
    pub(crate) chain: Chain,
    pub(crate) own: ReplicaId,
    pub(crate) ring: Ring,
    /// Under tier 1.
    pub(crate) link_secret: Option<LinkSecret>,
}

impl Prepared {
    /// Locks a data directory and checks configuration, genesis and key.
    pub fn open(directory: &Path) -> Result<Self, NodeError> {
        let config = NodeConfig::load(&directory.join(config::FILE_NAME))?;
        let genesis = load_genesis(&directory.join(GENESIS_FILE))?;
        // Before the key is read: it may be given up just now.
        let lock = DirectoryLock::acquire(directory)?;
        let own = config.check(&genesis)?;
        let has_tags = genesis.tiers.floor(MessageKind::Links) == Tier::Hmac;
        let link_secret = LinkSecret::open(directory, has_tags)?;
        let ring = Ring::open(directory, &config.keys, now())?;
        let key = ring.key.public_key();
        // Who says its number may have a key that only the chain knows, or nobody yet.
        let founder = genesis.members.iter().find(|member| member.id == own);
        let is_other =
            founder.is_none_or(|member| member.key != *key && !ring.follows(&member.key));
        if config.replica.is_none() && is_other {
            let (name, number) = (config.name, own);
            return Err(NodeError::OtherKey { name, number });
        }
        // FB-15: what was given up never signs again.
        let retired = rejoin::retired_with(directory, key);
        if let Some(place) = retired.map_err(NodeError::SetAside)? {
            return Err(NodeError::RetiredKey(place));
        }
        let chain = genesis
            .chain()
            .map_err(|error| ConfigError::Genesis(error.into()))?;
        Ok(Self {
            lock,
            config,
            genesis,
            chain,
            own,
            ring,
            link_secret,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }
}

/// Runs a node until `stop` is done or it cannot go on. When this returns without an error,
/// everything is on disk.
pub async fn run(prepared: Prepared, stop: impl Future<Output = ()>) -> Result<(), NodeError> {
    let runtime = Handle::current();
    let meters = Arc::new(Meters::default());
    let hub = Arc::new(Hub::default());
    let api_config = prepared.config.api.clone();
    let listen_error = |source| NodeError::Listen {
        address: api_config.listen,
        source,
    };
    let listener = tokio::net::TcpListener::bind(api_config.listen)
        .await
        .map_err(listen_error)?;
    let api_address = listener.local_addr().map_err(listen_error)?;
    if !api_address.ip().is_loopback() {
        tracing::warn!(address = %api_address, "the HTTP interface is reachable from other machines and has no passwords");
    }
    let gate = Gate::new(&api_config, Arc::clone(&meters));
    let (end_api, api_ended) = oneshot::channel::<()>();
    let server = api::serve(listener, Arc::clone(&gate), api_config, async {
        // Either end of the channel means the same.
        let _ = api_ended.await;
    });
    let server = tokio::spawn(server);
    tracing::info!(address = %api_address, name = prepared.config.name, "HTTP interface");

    tokio::pin!(stop);
    let started = start(prepared, &runtime, &gate, &hub, &meters, stop.as_mut()).await;
    let result = match started {
        Ok(Some(running)) => running.until(stop).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    hub.close();
    let _ = end_api.send(());
    // Clients that keep a connection open must not keep the process from ending.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), server).await;
    result
}

/// A node with all its threads.
struct Running {
    commands: mpsc::Sender<Command>,
    driver: JoinHandle<Result<(), DriverError>>,
    driver_ended: oneshot::Receiver<()>,
    admission: Arc<Admission>,
    transport: Arc<Transport>,
    _lock: DirectoryLock,
}

/// Starts every thread. Nothing is started if `stop` was done while the journal was being repaired.
async fn start(
    prepared: Prepared,
    runtime: &Handle,
    gate: &Arc<Gate>,
    hub: &Arc<Hub>,
    meters: &Arc<Meters>,
    stop: impl Future<Output = ()>,
) -> Result<Option<Running>, NodeError> {
    let limits = prepared.config.transport_limits(&prepared.genesis);
    let (mut prepared, mut recovery) = recover_beside(prepared).await?;
    let mut linked = None;
    if let Err(RecoverError::Journal(JournalError::Damaged { .. })) = recovery {
        let Some(repaired) = Box::pin(repair(prepared, runtime, meters, stop)).await? else {
            return Ok(None);
        };
        linked = repaired.1;
        (prepared, recovery) = recover_beside(repaired.0).await?;
    }
    let (store, recovered) = recovery?;
    let Prepared {
        lock,
        config,
        genesis,
        chain,
        own,
        ring,
        link_secret,
    } = prepared;
    let key = ring.key.public_key().clone();
    let replica = &recovered.replica;
    if let Some(member) = roster::owner_of(own, &key, replica) {
        return Err(NodeError::OtherMembersKey {
            own,
            name: member.name,
            number: member.id,
        });
    }
    let members = roster::members(own, &key, replica, &config.network);
    let others: Vec<ReplicaId> = members.iter().map(|member| member.id).collect();
    let Linked {
        transport,
        events,
        up,
    } = if let Some(linked) = linked {
        linked.transport.set_members(members)?;
        linked
    } else {
        let (transport, events) = Transport::start(transport::Config {
            own,
            seed: ring.link(|key| roster::is_known(key, replica)).link_seed(),
            link_secret: link_secret.map(|secret| secret.bytes()),
            chain: chain.id(),
            members,
            listen: config.network.listen,
            limits,
        })?;
        Linked::new(transport, events)
    };
    let reader = journal::Reader::open_in(lock.path(), chain.id())?;
    let blocks = Arc::new(Blocks::new(Arc::clone(&store), reader));
    let archive = Archive::start(
        &store,
        Arc::clone(hub),
        Arc::clone(&blocks),
        Arc::clone(&transport),
    )
    .map_err(NodeError::Thread)?;
    let (commands, received) = mpsc::channel(COMMANDS_MAX);
    let door = Door {
        chain: chain.id(),
        floor: genesis.tiers.transactions,
        verifier: NodeVerifier::new(config.crypto.provider),
    };
    let threads = config.verification_threads();
    let admission =
        Admission::start(threads, &door, &others, &commands, meters).map_err(NodeError::Thread)?;
    let links = Arc::new(Links::new(own, replica));
    for peer in up {
        links.set(peer, true);
    }
    let roster = Roster::new(
        own,
        key,
        lock.path().join(config::FILE_NAME),
        config.network.clone(),
        InStep {
            transport: Arc::clone(&transport),
            links: Arc::clone(&links),
            admission: Arc::clone(&admission),
        },
        replica,
    );
    let intake = Intake {
        events,
        limits,
        commands: commands.clone(),
        admission: Arc::clone(&admission),
        links: Arc::clone(&links),
        meters: Arc::clone(meters),
    };
    let intake_runtime = runtime.clone();
    std::thread::Builder::new()
        .name("polity-intake".to_owned())
        .spawn(move || intake.run(&intake_runtime))
        .map_err(NodeError::Thread)?;
    let driver = Driver {
        host: Host::new(recovered.replica, recovered.journal, recovered.places),
        transport: Arc::clone(&transport),
        roster,
        archive,
        meters: Arc::clone(meters),
        last: recovered.last,
        syncing: None,
        snapshot_every: config.storage.snapshot_every_blocks,
        watch: ring.watch(),
        submissions: Submissions::default(),
        clock: Clock::default(),
    };
    let (ended, driver_ended) = oneshot::channel();
    let driver_runtime = runtime.clone();
    let driver = std::thread::Builder::new()
        .name("polity-driver".to_owned())
        .spawn(move || {
            // Dropped at the end, however it ends.
            let _ended = ended;
            driver.run(&driver_runtime, received)
        })
        .map_err(NodeError::Thread)?;
    gate.open(Arc::new(Service {
        genesis,
        chain,
        own,
        name: config.name,
        commands: commands.clone(),
        admission: Arc::clone(&admission),
        hub: Arc::clone(hub),
        blocks,
        transport: Arc::clone(&transport),
        links,
    }));
    Ok(Some(Running {
        commands,
        driver,
        driver_ended,
        admission,
        transport,
        _lock: lock,
    }))
}

impl Running {
    async fn until(mut self, stop: impl Future<Output = ()>) -> Result<(), NodeError> {
        tokio::select! {
            () = stop => {
                tracing::info!("stopping");
                // The driver finishes what it was told before.
                let _ = self.commands.send(Command::Stop).await;
                let _ = (&mut self.driver_ended).await;
            }
            _ = &mut self.driver_ended => {}
        }
        self.admission.close();
        let driver = self.driver;
        let result = tokio::task::spawn_blocking(move || driver.join()).await;
        self.transport.shutdown().await;
        match result {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(panic)) => Err(NodeError::of_panic(panic)),
            Err(_) => Err(NodeError::Contradiction),
        }
    }
}

impl NodeError {
    /// What a panic of the driver means: a signer whose token fails has no other way to say nothing.
    fn of_panic(panic: Box<dyn Any + Send>) -> Self {
        match panic.downcast() {
            Ok(error) => Self::Token(error),
            Err(_) => Self::Contradiction,
        }
    }
}

/// The index, and a replica that goes on where it stopped.
pub(crate) type Restored = (Arc<Store>, Recovered<DiskFile>);

/// A data directory of which somebody holds the lock, and what it is read with.
#[derive(Clone, Copy)]
pub(crate) struct Home<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) config: &'a NodeConfig,
    pub(crate) genesis: &'a Genesis,
    pub(crate) own: ReplicaId,
    pub(crate) ring: &'a Ring,
}

impl Prepared {
    /// Its directory.
    pub(crate) fn home(&self) -> Home<'_> {
        Home {
            directory: self.lock.path(),
            config: &self.config,
            genesis: &self.genesis,
            own: self.own,
            ring: &self.ring,
        }
    }
}

/// The same as [`recover_from_disk`], beside the runtime.
async fn recover_beside(
    prepared: Prepared,
) -> Result<(Prepared, Result<Restored, RecoverError>), NodeError> {
    let work = tokio::task::spawn_blocking(move || {
        let result = recover_from_disk(prepared.home());
        (prepared, result)
    });
    work.await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => NodeError::of_panic(panic),
        Err(_) => NodeError::Contradiction,
    })
}

/// What recovering needs to know beside the files.
pub(crate) fn basis(home: Home<'_>) -> Result<Basis<'_>, RecoverError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| JournalError::Read(error.into()))?;
    Ok(Basis {
        genesis: home.genesis,
        config: home.config.replica_config(),
        own: home.own,
        signers: home.ring.signers(home.config.crypto.provider),
        former: home.ring.fingerprints(),
        verifier: verifier(home.genesis, home.config.crypto.provider),
        index_seed: Seed::new(seed),
    })
}

/// Opens index and journal and builds the replica.
pub(crate) fn recover_from_disk(home: Home<'_>) -> Result<Restored, RecoverError> {
    let path = home.directory.join(journal::FILE_NAME);
    if !path.is_file() {
        return Err(RecoverError::JournalLost);
    }
    let store = open_store(home)?;
    let file = DiskFile::open_or_create(&path).map_err(JournalError::Read)?;
    let recovered = recover(file, &store, basis(home)?)?;
    if recovered.torn_tail_bytes > 0 {
        tracing::warn!(
            bytes = recovered.torn_tail_bytes,
            "an interrupted write was cut off the journal; nothing in it was spoken"
        );
    }
    let height = recovered.replica.tip().parent.height;
    tracing::info!(
        %height,
        records = recovered.records,
        replayed = recovered.replayed,
        "recovered"
    );
    Ok((Arc::new(store), recovered))
}

/// A verifier that has parsed the keys of the members, which sign the most.
pub fn verifier(genesis: &Genesis, provider: Provider) -> NodeVerifier {
    NodeVerifier::with_keys(provider, genesis.members.iter().map(|member| &member.key))
}

/// Opens the index, or begins a new one if it does not hold.
pub(crate) fn open_store(home: Home<'_>) -> Result<Store, RecoverError> {
    let path = home.directory.join(store::FILE_NAME);
    let chain = home.genesis.chain();
    let chain = chain.map_err(|error| RestoreError::from(GenesisError::from(error)))?;
    let chain = chain.id();
    match Store::open(&path, chain) {
        Err(error) if error.is_rebuildable() => {
            tracing::warn!(%error, "rebuilding the index; evidence that was only there is lost");
            Ok(Store::recreate(&path, chain)?)
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_fails_ends_the_node_with_what_to_do() {
        let error = TokenError::NoToken("polity".to_owned());
        // What `join` gives after `panic_any`.
        let error = NodeError::of_panic(Box::new(error));
        assert!(matches!(error, NodeError::Token(_)), "{error}");
        assert!(error.to_string().contains("put it in"), "{error}");
        let other = NodeError::of_panic(Box::new("both values"));
        assert!(matches!(other, NodeError::Contradiction));
    }
}
