//! A federation of real processes on this machine, for the demo, the benchmark and tests.
//!
//! Each node is this program, started again with `run`. A node ends when its standard input is
//! closed, so none outlives the process that started it, however that one ends.

use crate::client::{Client, ClientError};
use crate::config::{self, ConfigError, NodeConfig};
use crate::federation::{FederationError, Founded, Plan, check_empty, found};
use crate::view::Status;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a node may take to start or to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Ports are chosen anew so many times, if somebody else takes them in between.
const PORT_TRIES: usize = 5;

/// Why a local federation does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The files.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// A configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A node does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A node ended that should run.
    #[error("node {name} ended ({status}): {last_words}")]
    Ended {
        /// The node.
        name: String,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        last_words: String,
    },
    /// Something did not happen in time.
    #[error("{0} did not happen in time")]
    Late(String),
    /// Somebody wants this to end.
    #[error("interrupted")]
    Interrupted,
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> ClusterError {
    move |source| ClusterError::Io { what, source }
}

/// Set when the user wants everything to end.
pub type Interrupt = Arc<AtomicBool>;

/// One node and its process.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub directory: PathBuf,
    /// Its HTTP interface.
    pub api: SocketAddr,
    /// Words before the program and its arguments, such as those that enter a namespace.
    pub prefix: Vec<String>,
    process: Option<Child>,
}

impl Node {
    /// Process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Where its log is.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may be gone already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A federation of processes. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    /// What the members agreed on, and every secret.
    pub founded: Founded,
    /// The nodes, in the order of their numbers.
    pub nodes: Vec<Node>,
    program: PathBuf,
    interrupt: Interrupt,
}

/// What a process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop in order (SIGTERM).
    Terminate,
    /// Stand still (SIGSTOP).
    Pause,
    /// Go on (SIGCONT).
    Resume,
}

impl Cluster {
    /// Makes a federation in `directory`, at the addresses of the plan, and starts nothing.
    pub fn prepare(
        program: &Path,
        directory: &Path,
        plan: &Plan,
        interrupt: Interrupt,
    ) -> Result<Self, ClusterError> {
        let founded = found(directory, plan)?;
        let nodes = plan
            .members
            .iter()
            .zip(&founded.nodes)
            .zip(&plan.addresses)
            .map(|((name, directory), (_, api))| Node {
                name: name.clone(),
                directory: directory.clone(),
                api: *api,
                prefix: Vec::new(),
                process: None,
            })
            .collect();
        Ok(Self {
            founded,
            nodes,
            program: program.to_owned(),
            interrupt,
        })
    }

    /// Makes a federation in `directory` and starts a process for each member. The addresses of the
    /// plan are replaced by free ones.
    pub fn start(
        program: &Path,
        directory: &Path,
        mut plan: Plan,
        interrupt: Interrupt,
    ) -> Result<Self, ClusterError> {
        plan.addresses = free_addresses(plan.members.len())?;
        let mut cluster = Self::prepare(program, directory, &plan, interrupt)?;
        for attempt in 1.. {
            for index in 0..cluster.nodes.len() {
                cluster.spawn(index)?;
            }
            match cluster.wait_ready() {
                // Somebody took a port between choosing it and listening on it.
                Err(ClusterError::Ended { last_words, .. })
                    if last_words.contains("cannot listen") && attempt < PORT_TRIES =>
                {
                    for index in 0..cluster.nodes.len() {
                        cluster.kill(index);
                    }
                    cluster.move_ports()?;
                }
                result => {
                    result?;
                    break;
                }
            }
        }
        Ok(cluster)
    }

    /// Takes in a node whose data directory exists, without starting it. Returns its place.
    pub fn adopt(&mut self, directory: &Path) -> Result<usize, ClusterError> {
        let config = NodeConfig::load(&directory.join(config::FILE_NAME))?;
        self.nodes.push(Node {
            name: config.name,
            directory: directory.to_owned(),
            api: config.api.listen,
            prefix: Vec::new(),
            process: None,
        });
        Ok(self.nodes.len() - 1)
    }

    /// Starts the process of a node.
    pub fn spawn(&mut self, index: usize) -> Result<(), ClusterError> {
        let node = &mut self.nodes[index];
        let log = File::options()
            .create(true)
            .append(true)
            .open(node.log_path())
            .map_err(io_error("cannot open a node's log"))?;
        let mut command = match node.prefix.split_first() {
            None => Command::new(&self.program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        let process = command
            .arg("run")
            .arg(&node.directory)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(io_error("cannot start a node's process"))?;
        node.process = Some(process);
        Ok(())
    }

    /// Kills a node without warning (SIGKILL).
    pub fn kill(&mut self, index: usize) {
        if let Some(mut process) = self.nodes[index].process.take() {
            // It may be gone already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Asks every node to stop and waits until they have.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                drop(process.stdin.take());
            }
        }
        for index in 0..self.nodes.len() {
            self.wait_stopped(index)?;
        }
        Ok(())
    }

    /// Waits until a node that was told to stop has done so in order.
    pub fn wait_stopped(&mut self, index: usize) -> Result<(), ClusterError> {
        let until = Instant::now() + PATIENCE;
        while let Some(process) = self.nodes[index].process.as_mut() {
            let ended = process
                .try_wait()
                .map_err(io_error("cannot wait for a node's process"))?;
            if let Some(status) = ended {
                self.nodes[index].process = None;
                if status.success() {
                    break;
                }
                return Err(self.ended(index, status));
            }
            if Instant::now() > until {
                return Err(ClusterError::Late(format!(
                    "the end of node {}",
                    self.nodes[index].name
                )));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Sends a signal to a node that runs.
    pub fn signal(&self, index: usize, signal: Signal) -> Result<(), ClusterError> {
        let Some(process) = self.nodes[index].process_id() else {
            return Ok(());
        };
        let name = match signal {
            Signal::Terminate => "-TERM",
            Signal::Pause => "-STOP",
            Signal::Resume => "-CONT",
        };
        let error = io_error("cannot send a signal with `kill`");
        let status = Command::new("kill")
            .arg(name)
            .arg(process.to_string())
            .stdin(Stdio::null())
            .status()
            .map_err(&error)?;
        if status.success() {
            return Ok(());
        }
        Err(error(io::Error::other(format!("it ended with {status}"))))
    }

    /// A client of a node.
    pub fn client(&self, index: usize) -> Client {
        Client::new(self.nodes[index].api, Duration::from_secs(30))
    }

    /// Whether the process of a node was started and not killed.
    pub fn is_running(&self, index: usize) -> bool {
        self.nodes[index].process.is_some()
    }

    /// Fails if somebody wants everything to end.
    pub fn check_interrupt(&self) -> Result<(), ClusterError> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(ClusterError::Interrupted);
        }
        Ok(())
    }

    /// Fails if a node ended that should run.
    pub fn check_alive(&mut self) -> Result<(), ClusterError> {
        self.check_interrupt()?;
        for index in 0..self.nodes.len() {
            let ended = match &mut self.nodes[index].process {
                None => None,
                Some(process) => process
                    .try_wait()
                    .map_err(io_error("cannot look at a node's process"))?,
            };
            if let Some(status) = ended {
                return Err(self.ended(index, status));
            }
        }
        Ok(())
    }

    fn ended(&self, index: usize, status: ExitStatus) -> ClusterError {
        ClusterError::Ended {
            name: self.nodes[index].name.clone(),
            status,
            last_words: self.nodes[index].last_words(),
        }
    }

    /// Waits until `look` finds something. Transient errors of nodes count as nothing.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, ClientError>,
    ) -> Result<T, ClusterError> {
        let until = Instant::now() + patience;
        loop {
            self.check_alive()?;
            match look(self) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() > until {
                return Err(ClusterError::Late(what.to_owned()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until every running node can decide.
    pub fn wait_ready(&mut self) -> Result<(), ClusterError> {
        for index in 0..self.nodes.len() {
            if !self.is_running(index) {
                continue;
            }
            let mut client = self.client(index);
            let what = format!("readiness of node {}", self.nodes[index].name);
            self.wait_for(&what, PATIENCE, |_| {
                client.get::<serde_json::Value>("/v1/ready").map(Some)
            })?;
        }
        Ok(())
    }

    /// Waits until all running nodes stand at the same height with the same roots, nothing waits,
    /// and the height is at least `height_min`. Returns their statuses.
    pub fn wait_settled(&mut self, height_min: u64) -> Result<Vec<Status>, ClusterError> {
        self.wait_settled_for(height_min, PATIENCE)
    }

    /// The same, with another patience.
    pub fn wait_settled_for(
        &mut self,
        height_min: u64,
        patience: Duration,
    ) -> Result<Vec<Status>, ClusterError> {
        let running: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.is_running(*index))
            .collect();
        let mut clients: Vec<Client> = running.iter().map(|index| self.client(*index)).collect();
        self.wait_for("agreement of all nodes on one state", patience, |_| {
            let statuses = clients
                .iter_mut()
                .map(|client| client.get::<Status>("/v1/status"))
                .collect::<Result<Vec<_>, _>>()?;
            let Some(first) = statuses.first() else {
                return Ok(None);
            };
            let is_settled = statuses.iter().all(|status| {
                status.block == first.block
                    && status.state_root == first.state_root
                    && status.pool_transactions == 0
                    && status.height.get() >= height_min
            });
            Ok(is_settled.then_some(statuses))
        })
    }

    /// Gives every node new addresses.
    fn move_ports(&mut self) -> Result<(), ClusterError> {
        let addresses = free_addresses(self.nodes.len())?;
        for index in 0..self.nodes.len() {
            let path = self.nodes[index].directory.join(config::FILE_NAME);
            let mut config = NodeConfig::load(&path)?;
            (config.network.listen, config.api.listen) = addresses[index];
            for (node, (quic, _)) in self.nodes.iter().zip(&addresses) {
                if let Some(peer) = config.network.peers.get_mut(&node.name) {
                    *peer = *quic;
                }
            }
            std::fs::write(&path, config.to_text())
                .map_err(io_error("cannot write a node's configuration"))?;
            self.nodes[index].api = addresses[index].1;
        }
        Ok(())
    }
}

/// Free addresses on this machine: for members (UDP) and for clients (TCP).
fn free_addresses(count: usize) -> Result<Vec<(SocketAddr, SocketAddr)>, ClusterError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let error = io_error("cannot find a free port");
    // All are held until all are known, so none is given twice.
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push((
            UdpSocket::bind(any).map_err(&error)?,
            TcpListener::bind(any).map_err(&error)?,
        ));
    }
    sockets
        .iter()
        .map(|(udp, tcp)| {
            Ok((
                udp.local_addr().map_err(&error)?,
                tcp.local_addr().map_err(&error)?,
            ))
        })
        .collect()
}

/// Set when SIGINT or SIGTERM comes.
pub fn interrupt_on_signals() -> Result<Interrupt, ClusterError> {
    let interrupt = Interrupt::default();
    let set = Arc::clone(&interrupt);
    let error = io_error("cannot wait for signals");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(&error)?;
    std::thread::Builder::new()
        .name("polity-signals".to_owned())
        .spawn(move || {
            runtime.block_on(crate::cli::stop_signal());
            set.store(true, Ordering::Relaxed);
        })
        .map_err(&error)?;
    Ok(interrupt)
}

/// A directory under the system's temporary one, removed when it is dropped unless it is kept.
#[derive(Debug)]
pub struct WorkDirectory {
    path: PathBuf,
    is_kept: bool,
}

impl WorkDirectory {
    /// The directory `keep`, which stays and has to be missing or empty, or a fresh one, which does not.
    pub fn new(keep: Option<&Path>) -> Result<Self, ClusterError> {
        if let Some(path) = keep {
            check_empty(path)?;
            return Ok(Self {
                path: path.to_owned(),
                is_kept: true,
            });
        }
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| ClusterError::Io {
            what: "cannot name a directory",
            source: io::Error::other(error),
        })?;
        let name = format!("polity-{:016x}", u64::from_le_bytes(name));
        Ok(Self {
            path: std::env::temp_dir().join(name),
            is_kept: false,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Lets it stay.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        if !self.is_kept {
            // Leaving files behind is no reason to fail.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
