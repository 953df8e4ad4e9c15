//! Watching all nodes from outside, whatever happens to them.

use crate::client::Client;
use crate::view::Status;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often each node is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a node may take to answer. One that stands still does not.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a node said last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Its height.
    pub(crate) height: u64,
    /// When it was asked.
    pub(crate) at: Instant,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Vec<Option<Seen>>>,
    /// The largest height of all.
    best: AtomicU64,
    is_over: AtomicBool,
}

/// A thread for each node that asks how high it is.
#[derive(Debug)]
pub(crate) struct Monitor {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The largest height that anybody has seen.
#[derive(Clone, Debug)]
pub(crate) struct Best(Arc<Shared>);

impl Best {
    pub(crate) fn get(&self) -> u64 {
        self.0.best.load(Ordering::Relaxed)
    }
}

impl Monitor {
    pub(crate) fn start(nodes: &[SocketAddr]) -> Self {
        let shared = Arc::new(Shared {
            seen: Mutex::new(vec![None; nodes.len()]),
            best: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let threads = nodes
            .iter()
            .enumerate()
            .map(|(index, address)| {
                let shared = Arc::clone(&shared);
                let client = Client::new(*address, PATIENCE);
                std::thread::spawn(move || watch(&shared, index, client))
            })
            .collect();
        Self { shared, threads }
    }

    /// What a node said last.
    pub(crate) fn seen(&self, node: usize) -> Option<Seen> {
        let seen = self.shared.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner)[node]
    }

    /// The largest height of all nodes.
    pub(crate) fn best(&self) -> Best {
        Best(Arc::clone(&self.shared))
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn watch(shared: &Shared, index: usize, mut client: Client) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let at = Instant::now();
        if let Ok(status) = client.get::<Status>("/v1/status") {
            let height = status.height.get();
            shared.best.fetch_max(height, Ordering::Relaxed);
            let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen[index] = Some(Seen { height, at });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
