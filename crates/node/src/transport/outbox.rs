//! Frames that wait to be sent to one peer on one lane.

use super::seal::Seal;
use super::{LaneLimits, frame};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A batch is written in one piece once it has this many bytes, so that small frames share packets.
const BATCH_BYTES: usize = 64 * 1024;

/// A bounded queue. When it is full the oldest frames fall out: a newer vote or block makes an
/// older one worth less, and a peer that was away asks for history anyway.
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    frames_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

/// Frames as they go into a stream.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Lengths and frames, with their tags under tier 1.
    pub(super) bytes: Vec<u8>,
    pub(super) frames: u64,
    pub(super) payload_bytes: u64,
}

impl Outbox {
    pub(super) fn new(limits: &LaneLimits) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            frames_max: limits.queue_frames_max,
            bytes_max: limits.queue_bytes_max,
        }
    }

    /// Adds a frame, which fits the queue alone. Returns how many fell out for it.
    pub(super) fn push(&self, frame: Arc<[u8]>) -> u64 {
        let mut dropped = 0;
        let mut queue = self.lock();
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        while queue.frames.len() > self.frames_max || queue.bytes > self.bytes_max {
            queue.pop();
            dropped += 1;
        }
        drop(queue);
        self.filled.notify_one();
        dropped
    }

    /// Frames and bytes that wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.frames.len(), queue.bytes)
    }

    /// Waits for frames, and replaces `batch` by the oldest ones.
    pub(super) async fn take(&self, batch: &mut Batch, seal: &mut Option<Seal>) {
        batch.bytes.clear();
        batch.frames = 0;
        batch.payload_bytes = 0;
        loop {
            // A frame that is pushed after the look leaves a permit, so nothing is missed.
            self.fill(batch, seal);
            if batch.frames > 0 {
                return;
            }
            self.filled.notified().await;
        }
    }

    fn fill(&self, batch: &mut Batch, seal: &mut Option<Seal>) {
        while batch.bytes.len() < BATCH_BYTES {
            // Nobody who queues a frame waits for the tag of another one.
            let Some(frame) = self.lock().pop() else {
                break;
            };
            frame::append(&mut batch.bytes, &frame, seal.as_mut());
            batch.frames += 1;
            batch.payload_bytes += frame.len() as u64;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Arc<[u8]>> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (frames, bytes) = self.waiting();
        write!(f, "Outbox({frames} frames, {bytes} bytes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(frames_max: usize, bytes_max: usize) -> Outbox {
        Outbox::new(&LaneLimits {
            frame_bytes_max: bytes_max,
            queue_frames_max: frames_max,
            queue_bytes_max: bytes_max,
            inbox_bytes_max: bytes_max,
        })
    }

    #[tokio::test]
    async fn the_oldest_fall_out_by_count_and_by_bytes() {
        let by_count = outbox(2, 100);
        let dropped: Vec<u64> = (1..=4).map(|byte| by_count.push([byte].into())).collect();
        assert_eq!(dropped, [0, 0, 1, 1]);
        let mut batch = Batch::default();
        by_count.take(&mut batch, &mut None).await;
        assert_eq!(batch.bytes, [1, 0, 0, 0, 3, 1, 0, 0, 0, 4]);
        assert_eq!((batch.frames, batch.payload_bytes), (2, 2));

        let by_bytes = outbox(100, 10);
        assert_eq!(by_bytes.push([1; 4].into()), 0);
        assert_eq!(by_bytes.push([2; 4].into()), 0);
        assert_eq!(by_bytes.push([3; 10].into()), 2);
        assert_eq!(by_bytes.waiting(), (1, 10));
    }

    #[tokio::test]
    async fn a_batch_stays_near_its_size_and_keeps_the_order() {
        let outbox = outbox(100, 10 << 20);
        for byte in 0..4 {
            outbox.push(vec![byte; BATCH_BYTES / 2].into());
        }
        let mut batch = Batch::default();
        for first in [0, 2] {
            outbox.take(&mut batch, &mut None).await;
            assert_eq!(batch.frames, 2);
            assert_eq!(batch.bytes[4], first);
        }
        assert_eq!(outbox.waiting(), (0, 0));
    }
}
