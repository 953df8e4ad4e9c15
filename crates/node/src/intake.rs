//! The thread between the links and the driver: decodes frames and hands them on.

use crate::admission::Admission;
use crate::driver::Command;
use crate::links::Links;
use crate::meters::Meters;
use crate::transport::{Event, Events, Limits};
use polity_replica::{Frame, Input};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

/// Bytes of messages that wait for the driver, at most.
const WAITING_MAX: u32 = 64 << 20;

/// What a message costs beside its bytes, so that small ones are not free.
const OVERHEAD: usize = 256;

/// Everything the thread works with.
#[derive(Debug)]
pub struct Intake {
    /// The receiving end of the transport.
    pub events: Events,
    /// Bounds of frames.
    pub limits: Limits,
    /// The driver.
    pub commands: mpsc::Sender<Command>,
    /// The verifying threads.
    pub admission: Arc<Admission>,
    /// Which members can be reached.
    pub links: Arc<Links>,
    /// What is counted.
    pub meters: Arc<Meters>,
}

impl Intake {
    /// Runs until the transport or the driver is gone. When the driver is slow this waits, the
    /// budgets of the links fill, and members wait in turn.
    pub fn run(mut self, runtime: &Handle) {
        let budget = Arc::new(Semaphore::new(WAITING_MAX as usize));
        while let Some(event) = runtime.block_on(self.events.recv()) {
            match event {
                Event::Frame { from, lane, bytes } => {
                    let limit = self.limits.lanes[lane as usize].frame_bytes_max;
                    let input = match Frame::decode(&bytes, limit) {
                        Ok(Frame::Consensus(message)) => Input::Received { from, message },
                        Ok(Frame::Sync(message)) => Input::Sync { from, message },
                        Ok(Frame::Transactions(transactions)) => {
                            self.admission.from_member(from, transactions);
                            continue;
                        }
                        Err(error) => {
                            self.meters.malformed_frames.add(1);
                            tracing::debug!(peer = %from, lane = lane.name(), %error, "frame dropped");
                            continue;
                        }
                    };
                    let cost = u32::try_from(bytes.len() + OVERHEAD).unwrap_or(u32::MAX);
                    let permit = Arc::clone(&budget).acquire_many_owned(cost.min(WAITING_MAX));
                    let fact = Command::Fact {
                        input,
                        // The semaphore is never closed.
                        budget: runtime.block_on(permit).ok(),
                    };
                    if self.commands.blocking_send(fact).is_err() {
                        return;
                    }
                }
                Event::Connected { peer } => {
                    tracing::info!(%peer, "linked");
                    self.links.set(peer, true);
                }
                Event::Disconnected { peer, reason } => {
                    tracing::info!(%peer, reason, "link lost");
                    self.links.set(peer, false);
                }
            }
        }
    }
}
