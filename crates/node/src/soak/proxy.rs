//! A network that can be told to misbehave: every packet between two nodes comes through here.
//!
//! For each node and each of its peers there is one UDP socket, and the node is told that the peer
//! listens there. A packet from the node goes on to the peer, a packet from the peer back to the node,
//! each from this socket, so either end sees one address and keeps it. A **direction** is a pair of
//! sender and receiver, whoever of them dialled; its rates and its cuts decide about every packet.
//!
//! The fate of the n-th packet of a direction follows from the seed alone. Which packet is the n-th
//! does not: that is up to the nodes and the machine.

use super::plan::Rates;
use polity_types::{Seed, Stream};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

/// Longest datagram.
const PACKET_BYTES_MAX: usize = 65_535;

/// Packets that wait for their time, at most; further ones are lost.
const WAITING_MAX: usize = 16_384;

/// How much later a packet comes that others overtake.
const OVERTAKEN_US: u64 = 20_000;

/// What happened to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    /// Packets that came.
    pub(crate) received: u64,
    /// Packets that were lost by chance.
    pub(crate) lost: u64,
    /// Packets that were lost because their direction was cut.
    pub(crate) cut: u64,
    /// Second copies.
    pub(crate) duplicated: u64,
    /// Packets that others could overtake.
    pub(crate) reordered: u64,
}

/// What happens to one packet: when its copies arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Dropped,
    Sent {
        first: Duration,
        second: Option<Duration>,
    },
}

/// One sender and one receiver.
#[derive(Debug)]
pub(crate) struct Direction {
    /// What it does to packets.
    pub(crate) rates: Rates,
    cuts: u32,
    stream: Stream,
    /// What happened so far.
    pub(crate) counts: Counts,
}

impl Direction {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            rates: Rates::default(),
            cuts: 0,
            stream,
            counts: Counts::default(),
        }
    }

    /// Decides about the next packet.
    pub(crate) fn next(&mut self) -> Fate {
        self.counts.received += 1;
        if self.cuts > 0 {
            self.counts.cut += 1;
            return Fate::Dropped;
        }
        if self.stream.chance(self.rates.loss) {
            self.counts.lost += 1;
            return Fate::Dropped;
        }
        let mut first = self.delay();
        if self.stream.chance(self.rates.reorder) {
            self.counts.reordered += 1;
            first += Duration::from_micros(1 + self.stream.below(OVERTAKEN_US));
        }
        let second = if self.stream.chance(self.rates.duplicate) {
            self.counts.duplicated += 1;
            Some(self.delay())
        } else {
            None
        };
        Fate::Sent { first, second }
    }

    fn delay(&mut self) -> Duration {
        let jitter = self.stream.below(u64::from(self.rates.jitter_us) + 1);
        Duration::from_micros(u64::from(self.rates.delay_us) + jitter)
    }
}

/// What all directions do; shared with whoever changes it.
#[derive(Debug)]
pub(crate) struct Switch {
    nodes: usize,
    directions: Mutex<Vec<Direction>>,
}

impl Switch {
    fn new(nodes: usize, seed: Seed) -> Self {
        let direction = |number: usize| {
            let name = format!("direction {} to {}", number / nodes, number % nodes);
            Direction::new(seed.fork(&name).stream())
        };
        Self {
            nodes,
            directions: Mutex::new((0..nodes * nodes).map(direction).collect()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Direction>> {
        self.directions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, from: usize, to: usize) -> Fate {
        self.lock()[from * self.nodes + to].next()
    }

    /// Sets the rates of one direction.
    pub(crate) fn set(&self, from: usize, to: usize, rates: Rates) {
        self.lock()[from * self.nodes + to].rates = rates;
    }

    /// Sets the rates of all directions.
    pub(crate) fn set_all(&self, rates: Rates) {
        for direction in self.lock().iter_mut() {
            direction.rates = rates;
        }
    }

    /// Cuts a direction. Cuts count: it is whole again when each was mended.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.lock()[from * self.nodes + to].cuts += 1;
    }

    /// Mends one cut of a direction.
    pub(crate) fn mend(&self, from: usize, to: usize) {
        let cuts = &mut self.lock()[from * self.nodes + to].cuts;
        *cuts = cuts.saturating_sub(1);
    }

    /// Mends everything and lets every packet through at once.
    pub(crate) fn heal(&self) {
        for direction in self.lock().iter_mut() {
            direction.cuts = 0;
            direction.rates = Rates::default();
        }
    }

    /// What happened in all directions together.
    pub(crate) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for direction in self.lock().iter() {
            let counts = &direction.counts;
            sum.received += counts.received;
            sum.lost += counts.lost;
            sum.cut += counts.cut;
            sum.duplicated += counts.duplicated;
            sum.reordered += counts.reordered;
        }
        sum
    }
}

/// The running network. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// What it does to packets.
    pub(crate) switch: Arc<Switch>,
    ports: BTreeMap<(usize, usize), u16>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts between these nodes, which listen there. The sockets are bound to `bind`.
    pub(crate) fn start(nodes: &[SocketAddr], bind: IpAddr, seed: Seed) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let switch = Arc::new(Switch::new(nodes.len(), seed));
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut ports = BTreeMap::new();
        let mut relays = Vec::new();
        for dialler in 0..nodes.len() {
            for peer in (0..nodes.len()).filter(|peer| *peer != dialler) {
                let socket = std::net::UdpSocket::bind(SocketAddr::new(bind, 0))?;
                socket.set_nonblocking(true)?;
                ports.insert((dialler, peer), socket.local_addr()?.port());
                relays.push((
                    socket,
                    Ends {
                        numbers: [dialler, peer],
                        addresses: [nodes[dialler], nodes[peer]],
                    },
                ));
            }
        }
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&switch);
        let thread = std::thread::Builder::new()
            .name("polity-proxy".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    for (socket, ends) in relays {
                        let Ok(socket) = UdpSocket::from_std(socket) else {
                            continue;
                        };
                        let switch = Arc::clone(&shared);
                        let waiting = Arc::clone(&waiting);
                        tokio::spawn(relay(Arc::new(socket), ends, switch, waiting));
                    }
                    // The other end says nothing, it is dropped.
                    let _ = stopped.await;
                });
            })?;
        Ok(Self {
            switch,
            ports,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The port at which a node finds its peer.
    pub(crate) fn port(&self, node: usize, peer: usize) -> Option<u16> {
        self.ports.get(&(node, peer)).copied()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// The two nodes at the ends of a socket.
#[derive(Clone, Copy, Debug)]
struct Ends {
    numbers: [usize; 2],
    addresses: [SocketAddr; 2],
}

async fn relay(socket: Arc<UdpSocket>, ends: Ends, switch: Arc<Switch>, waiting: Arc<AtomicUsize>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        // An error here is about an earlier packet that found nobody.
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let Some(sender) = ends.addresses.iter().position(|one| *one == source) else {
            continue;
        };
        let receiver = 1 - sender;
        let target = ends.addresses[receiver];
        match switch.next(ends.numbers[sender], ends.numbers[receiver]) {
            Fate::Dropped => {}
            Fate::Sent { first, second } => {
                for delay in [Some(first), second].into_iter().flatten() {
                    send(&socket, &buffer[..length], target, delay, &waiting).await;
                }
            }
        }
    }
}

async fn send(
    socket: &Arc<UdpSocket>,
    packet: &[u8],
    target: SocketAddr,
    delay: Duration,
    waiting: &Arc<AtomicUsize>,
) {
    // A packet that finds nobody is a lost packet.
    if delay.is_zero() {
        let _ = socket.send_to(packet, target).await;
        return;
    }
    if waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
        waiting.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let (socket, packet, waiting) = (Arc::clone(socket), packet.to_vec(), Arc::clone(waiting));
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        let _ = socket.send_to(&packet, target).await;
        waiting.fetch_sub(1, Ordering::Relaxed);
    });
}
