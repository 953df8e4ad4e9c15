//! The federation of a soak: its files, its addresses, and everything around it.

use super::load::{self, Load};
use super::monitor::Monitor;
use super::namespaces::Namespaces;
use super::plan::Plan;
use super::proxy::Proxy;
use super::report::Verdict;
use super::run::{Log, Runner};
use super::{LOG_FILE, PLAN_FILE, Soak};
use crate::cluster::{Cluster, ClusterError, Interrupt};
use crate::config::{self, NodeConfig};
use crate::demo::MEMBERS;
use crate::driver::now;
use crate::federation::{self, FederationError};
use crate::progress;
use crate::transport;
use crate::view::Status;
use polity_ledger::Parameters;
use polity_types::Seed;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

/// Timeouts of the nodes: short, so that much happens.
const TIMEOUTS: config::Consensus = config::Consensus {
    timeout_base_ms: 500,
    timeout_max_ms: 4_000,
};

/// Snapshots are taken often, so that restarts begin with one.
const SNAPSHOT_EVERY: u64 = 200;

/// Ports of nodes are below those that systems give to clients: nobody takes one while its node is down.
const PORT_MIN: u16 = 10_000;
const PORT_MAX: u16 = 30_000;

/// What has to happen within this time, however unlucky.
///
/// A link that broke is noticed after the idle timeout, dialled after the longest pause, and up after a
/// handshake. The view before may have the longest timeout, then up to `F` leaders in a row may be
/// away, and one more leads. All of it twice, for a machine that has other work and weather that breaks a
/// link again.
pub(crate) fn bound(plan: &Plan) -> Duration {
    let limits = transport::Limits::default();
    let link = limits.idle_timeout + limits.redial_max + limits.handshake_timeout;
    let leaders = u32::try_from(plan.away_max).unwrap_or(u32::MAX) + 2;
    let views = Duration::from_millis(TIMEOUTS.timeout_max_ms) * leaders;
    (link + views) * 2
}

impl<'a> Soak<'a> {
    /// Starts everything and waits until the nodes can decide.
    pub(super) fn start(&self, interrupt: &Interrupt) -> Result<Runner<'a>, Verdict> {
        let plan = self.plan;
        let problem = |error: std::io::Error| Verdict::Inconclusive(error.to_string());
        let namespaces = if self.options.namespaces {
            match Namespaces::make(plan.nodes) {
                Ok(namespaces) => Some(namespaces),
                Err(reason) => {
                    self.output.note(&format!(
                        "no network namespaces ({reason}): the proxy alone is used"
                    ));
                    None
                }
            }
        } else {
            None
        };
        let (addresses, bind) = match &namespaces {
            None => {
                let free = free_addresses(plan.nodes, plan.seed).map_err(problem)?;
                (free, IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
            Some(namespaces) => (
                (0..plan.nodes)
                    .map(|node| namespaces.addresses(node))
                    .collect(),
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ),
        };
        let listens: Vec<SocketAddr> = addresses.iter().map(|(listen, _)| *listen).collect();
        let federation = federation_plan(plan.nodes, addresses).map_err(ClusterError::from)?;
        let program = std::env::current_exe().map_err(problem)?;
        let mut cluster = Cluster::prepare(
            &program,
            self.directory,
            &federation,
            Interrupt::clone(interrupt),
        )?;
        let text = serde_json::to_string_pretty(plan)
            .map_err(|error| Verdict::Inconclusive(error.to_string()))?;
        std::fs::write(self.directory.join(PLAN_FILE), text).map_err(problem)?;
        let log = Log::new(File::create_new(self.directory.join(LOG_FILE)).map_err(problem)?);
        let proxy = Proxy::start(&listens, bind, Seed::from_number(plan.seed).fork("packets"))
            .map_err(problem)?;
        direct(&cluster, &proxy, namespaces.as_ref())?;
        if let Some(namespaces) = &namespaces {
            for (index, node) in cluster.nodes.iter_mut().enumerate() {
                node.prefix = namespaces.prefix(index);
            }
        }
        self.output.note(&format!(
            "starting {} nodes; seed {}, {} faults, {} windows beyond the budget",
            plan.nodes,
            plan.seed,
            plan.faults.len(),
            plan.beyond.len()
        ));
        for index in 0..plan.nodes {
            cluster.spawn(index)?;
        }
        cluster.wait_ready()?;
        let status: Status = cluster
            .client(0)
            .get("/v1/status")
            .map_err(ClusterError::from)?;
        let clients: Vec<SocketAddr> = cluster.nodes.iter().map(|node| node.api).collect();
        let monitor = Monitor::start(&clients);
        let load = Load::start(
            &cluster,
            status.chain,
            self.options.rate,
            plan.seed,
            &monitor.best(),
        );
        let bar = progress::bar("soak", plan.length_ms / 1_000, self.output.is_json);
        Ok(Runner::new(
            plan,
            cluster,
            proxy,
            namespaces,
            monitor,
            load,
            bound(plan),
            log,
            bar,
        ))
    }
}

fn federation_plan(
    nodes: usize,
    addresses: Vec<(SocketAddr, SocketAddr)>,
) -> Result<federation::Plan, FederationError> {
    let members: Vec<String> = (0..nodes)
        .map(|index| match MEMBERS.get(index) {
            Some(name) => (*name).to_owned(),
            None => format!("platform{}", index + 1),
        })
        .collect();
    let mut plan = federation::Plan::local(members, 1, now())?;
    "soak".clone_into(&mut plan.name);
    plan.accounts = load::accounts(&plan.members);
    plan.addresses = addresses;
    plan.consensus = TIMEOUTS;
    plan.storage.snapshot_every_blocks = SNAPSHOT_EVERY;
    // What was promised stays valid until the end, so that nothing is lost by its age.
    plan.parameters = Parameters {
        validity_horizon: load::HORIZON,
        transactions_per_block_max: 1_024,
        recent_ids_max: load::HORIZON * 1_024,
        ..Parameters::default()
    };
    Ok(plan)
}

/// Tells every node that its peers are where the proxy listens.
fn direct(
    cluster: &Cluster,
    proxy: &Proxy,
    namespaces: Option<&Namespaces>,
) -> Result<(), Verdict> {
    let problem = |error: &dyn std::fmt::Display| Verdict::Inconclusive(error.to_string());
    for (index, node) in cluster.nodes.iter().enumerate() {
        let host = namespaces.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |all| all.runner(index));
        let path = node.directory.join(config::FILE_NAME);
        let mut config = NodeConfig::load(&path).map_err(|error| problem(&error))?;
        for (other, peer) in cluster.nodes.iter().enumerate() {
            let address = config.network.peers.get_mut(&peer.name);
            if let (Some(address), Some(port)) = (address, proxy.port(index, other)) {
                *address = SocketAddr::new(host, port);
            }
        }
        std::fs::write(&path, config.to_text()).map_err(|error| problem(&error))?;
    }
    Ok(())
}

/// Free addresses on this machine: for members (UDP) and for clients (TCP).
fn free_addresses(count: usize, seed: u64) -> std::io::Result<Vec<(SocketAddr, SocketAddr)>> {
    // Runs beside each other begin at different ports.
    let range = u64::from(PORT_MAX - PORT_MIN);
    let process = u64::from(std::process::id());
    let first = Seed::from_number(seed ^ process).stream().below(range);
    let mut ports = (0..range)
        .filter_map(|number| u16::try_from((first + number) % range).ok())
        .map(|offset| PORT_MIN + offset)
        .filter(|port| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        });
    (0..count)
        .map(|_| {
            let port = ports
                .next()
                .ok_or_else(|| std::io::Error::other("there is no free port"))?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            Ok((address, address))
        })
        .collect()
}
