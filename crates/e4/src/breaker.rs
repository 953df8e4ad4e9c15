//! The circuit breaker: a jump of trust beyond mean + sigma · deviation of a rolling window trips it.
//!
//! The window contains the value that is judged, so steady attacks never trip it (L9), and a tripped
//! breaker refuses honest evidence too (L8). Time is seconds of a monotonic clock that the host hands in.

use crate::hash::max;
use std::collections::VecDeque;

/// Parameters of a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Values that are kept; the oldest falls out.
    pub window: usize,
    /// Population deviations above the mean.
    pub sigma: f64,
    /// Seconds until a tripped breaker clears itself.
    pub cooldown_seconds: f64,
    /// Values before it judges at all.
    pub samples_min: usize,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            window: 100,
            sigma: 2.0,
            cooldown_seconds: 30.0,
            samples_min: 10,
        }
    }
}

/// A breaker.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    parameters: Parameters,
    window: VecDeque<f64>,
    tripped_at: Option<f64>,
}

impl Breaker {
    /// A breaker that has seen nothing.
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            ..Self::default()
        }
    }

    /// Takes the change of a mean score.
    pub fn record(&mut self, now: f64, old: f64, new: f64) {
        let velocity = (new - old).abs();
        self.window.push_back(velocity);
        while self.window.len() > self.parameters.window {
            self.window.pop_front();
        }
        if self.window.len() < self.parameters.samples_min || self.window.is_empty() {
            return;
        }
        let count = self.window.len() as f64;
        let mean = self.window.iter().sum::<f64>() / count;
        let variance = self.window.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        if velocity > mean + self.parameters.sigma * max(0.0, variance).sqrt() {
            self.tripped_at = Some(now);
        }
    }

    /// Whether it is tripped; clears itself once the cooldown is over, and keeps the window.
    pub fn is_tripped(&mut self, now: f64) -> bool {
        if let Some(at) = self.tripped_at
            && now - at > self.parameters.cooldown_seconds
        {
            self.tripped_at = None;
        }
        self.tripped_at.is_some()
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.tripped_at = None;
        self.window.clear();
    }
}
