//! Many transactions at once: submitting to all nodes, and hearing from one what became of them.

use crate::client::{Client, ClientError};
use crate::view::{Commit, ReceiptView, SubmitResult};
use crate::wallet::submit_all;
use polity_ledger::SignedTransaction;
use polity_types::Height;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Blocks that may wait to be looked at.
const BLOCKS_MAX: usize = 1_024;

/// How long a node may be silent.
const PATIENCE: Duration = Duration::from_mins(1);

/// A committed block, and when it was heard of.
#[derive(Debug)]
pub struct Heard {
    /// Its height.
    pub height: Height,
    /// What became of its transactions.
    pub receipts: Vec<ReceiptView>,
    /// When.
    pub at: Instant,
}

/// Connections to every node, and the events of the first.
#[derive(Debug)]
pub struct Load {
    clients: Vec<Client>,
    next: usize,
    heard: Receiver<Result<Heard, ClientError>>,
}

impl Load {
    /// Connects, and listens to the first node from now on.
    pub fn start(nodes: &[SocketAddr]) -> Result<Self, ClientError> {
        let clients: Vec<Client> = nodes
            .iter()
            .map(|address| Client::new(*address, PATIENCE))
            .collect();
        let first = clients
            .first()
            .ok_or_else(|| ClientError::Address(String::new()))?;
        let mut events = first.events("/v1/events?receipts=true")?;
        // The stream says when it begins; what is submitted afterwards is in it.
        events.receive()?;
        let (sender, heard) = sync_channel(BLOCKS_MAX);
        std::thread::spawn(move || {
            loop {
                let event = match events.receive() {
                    Ok(Some(event)) if event.name == "commit" => event,
                    Ok(Some(_)) => continue,
                    Ok(None) => break,
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        break;
                    }
                };
                let at = Instant::now();
                let Ok(commit) = serde_json::from_str::<Commit>(&event.data) else {
                    continue;
                };
                let heard = Heard {
                    height: commit.height,
                    receipts: commit.receipts.unwrap_or_default(),
                    at,
                };
                if sender.send(Ok(heard)).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            clients,
            next: 0,
            heard,
        })
    }

    /// Submits a batch to the next node in turn.
    pub fn submit(
        &mut self,
        transactions: &[&SignedTransaction],
    ) -> Result<Vec<SubmitResult>, ClientError> {
        let index = self.next % self.clients.len();
        self.next += 1;
        submit_all(&mut self.clients[index], transactions.iter().copied())
    }

    /// The next block, if one comes within `patience`.
    pub fn hear(&self, patience: Duration) -> Result<Option<Heard>, ClientError> {
        match self.heard.recv_timeout(patience) {
            Ok(heard) => heard.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(ClientError::Io {
                address: self.clients[0].address(),
                source: std::io::ErrorKind::UnexpectedEof.into(),
            }),
        }
    }
}
