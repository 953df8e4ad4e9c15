//! Tells whoever listens which blocks were committed.

use polity_replica::Committed;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Blocks that a listener may fall behind before it is dropped.
const BEHIND_MAX: usize = 1_024;

/// Committed blocks, for everybody who listens. A listener that falls too far behind is dropped and
/// sees its stream end, so a slow one cannot fill the memory.
#[derive(Debug, Default)]
pub struct Hub {
    listeners: Mutex<Vec<mpsc::Sender<Arc<Committed>>>>,
}

impl Hub {
    /// Every block that is committed from now on.
    pub fn listen(&self) -> mpsc::Receiver<Arc<Committed>> {
        let (sender, receiver) = mpsc::channel(BEHIND_MAX);
        let mut listeners = self.lock();
        // Those who left are forgotten here, too: an idle federation publishes nothing.
        listeners.retain(|listener| !listener.is_closed());
        listeners.push(sender);
        drop(listeners);
        receiver
    }

    /// Tells everybody.
    pub fn publish(&self, committed: &Arc<Committed>) {
        self.lock()
            .retain(|listener| listener.try_send(Arc::clone(committed)).is_ok());
    }

    /// Ends every stream, as at the end of the node.
    pub fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::Sender<Arc<Committed>>>> {
        // The list is whole between any two statements.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_that_left_are_forgotten_without_a_block() {
        let hub = Hub::default();
        let stays = hub.listen();
        for _ in 0..1_000 {
            drop(hub.listen());
        }
        assert!(hub.lock().len() <= 2);
        drop(stays);
    }
}
