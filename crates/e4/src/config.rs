//! E4's configuration. Most of its fields reach no code (B5).

use crate::handshake::CompatibilityMode;
use crate::{Mode, Refusal};

/// All fields of E4's configuration.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, clippy::struct_excessive_bools)] // The names are E4's and say what E4 says.
pub struct Config {
    pub probation_trust: f64,
    pub quarantine_threshold: f64,
    pub low_trust_threshold: f64,
    pub partial_trust_threshold: f64,
    pub cb_window_size: u64,
    pub cb_sigma_threshold: f64,
    pub cb_cooldown_seconds: f64,
    pub cb_min_samples: u64,
    pub merkle_branching_factor: u64,
    pub compatibility_mode: String,
    pub verification_level_override: Option<u8>,
    pub async_queue_limit: u64,
    pub homeostasis_enabled: bool,
    pub homeostasis_target_budget: Option<f64>,
    pub delta_max_history: u64,
    pub gossip_include_trust_deltas: bool,
    pub stream_per_chunk_validation: bool,
    pub stream_min_trust: f64,
    pub agent_trust_weight_context: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            probation_trust: crate::score::PROBATION,
            quarantine_threshold: crate::score::QUARANTINE,
            low_trust_threshold: crate::score::LOW,
            partial_trust_threshold: crate::score::PARTIAL,
            cb_window_size: 100,
            cb_sigma_threshold: 2.0,
            cb_cooldown_seconds: 30.0,
            cb_min_samples: 10,
            merkle_branching_factor: 256,
            compatibility_mode: "e4_only".to_owned(),
            verification_level_override: None,
            async_queue_limit: 1_024,
            homeostasis_enabled: true,
            homeostasis_target_budget: None,
            delta_max_history: 64,
            gossip_include_trust_deltas: true,
            stream_per_chunk_validation: true,
            stream_min_trust: 0.1,
            agent_trust_weight_context: true,
        }
    }
}

impl Config {
    /// The four thresholds under the names of E4's accessor: probation, quarantine, low, partial.
    pub fn trust_thresholds(&self) -> [(&'static str, f64); 4] {
        [
            ("probation", self.probation_trust),
            ("quarantine", self.quarantine_threshold),
            ("low", self.low_trust_threshold),
            ("partial", self.partial_trust_threshold),
        ]
    }

    /// The mode that E4 takes: what it does not know is `e4_only`.
    pub fn compatibility(&self) -> CompatibilityMode {
        CompatibilityMode::from_label(&self.compatibility_mode).unwrap_or(CompatibilityMode::E4Only)
    }

    /// Judges a configuration. E4 takes every one, and so does compatible mode.
    ///
    /// # Errors
    ///
    /// In strict mode: a field that E4 reads nowhere and that differs from its default, and a value
    /// out of range (B5).
    pub fn check(&self, mode: Mode) -> Result<(), Refusal> {
        if mode == Mode::Compatible {
            return Ok(());
        }
        let defaults = Self::default();
        let dead = [
            (
                "probation_trust",
                self.probation_trust == defaults.probation_trust,
            ),
            (
                "quarantine_threshold",
                self.quarantine_threshold == defaults.quarantine_threshold,
            ),
            (
                "low_trust_threshold",
                self.low_trust_threshold == defaults.low_trust_threshold,
            ),
            (
                "partial_trust_threshold",
                self.partial_trust_threshold == defaults.partial_trust_threshold,
            ),
            (
                "merkle_branching_factor",
                self.merkle_branching_factor == defaults.merkle_branching_factor,
            ),
            (
                "verification_level_override",
                self.verification_level_override.is_none(),
            ),
            ("homeostasis_enabled", self.homeostasis_enabled),
            (
                "homeostasis_target_budget",
                self.homeostasis_target_budget.is_none(),
            ),
            (
                "delta_max_history",
                self.delta_max_history == defaults.delta_max_history,
            ),
            (
                "gossip_include_trust_deltas",
                self.gossip_include_trust_deltas,
            ),
            (
                "stream_per_chunk_validation",
                self.stream_per_chunk_validation,
            ),
        ];
        if let Some((name, _)) = dead.iter().find(|(_, is_default)| !is_default) {
            return Err(Refusal::DeadField(name));
        }
        let ranges = [
            (
                "cb_window_size",
                (1..=65_536).contains(&self.cb_window_size),
            ),
            (
                "cb_min_samples",
                (1..=self.cb_window_size).contains(&self.cb_min_samples),
            ),
            (
                "cb_sigma_threshold",
                self.cb_sigma_threshold > 0.0 && self.cb_sigma_threshold.is_finite(),
            ),
            (
                "cb_cooldown_seconds",
                self.cb_cooldown_seconds >= 0.0 && self.cb_cooldown_seconds.is_finite(),
            ),
            (
                "async_queue_limit",
                (1..=65_536).contains(&self.async_queue_limit),
            ),
            (
                "stream_min_trust",
                (0.0..=1.0).contains(&self.stream_min_trust),
            ),
            (
                "compatibility_mode",
                CompatibilityMode::from_label(&self.compatibility_mode).is_some(),
            ),
        ];
        match ranges.iter().find(|(_, is_in_range)| !is_in_range) {
            Some((name, _)) => Err(Refusal::OutOfRange(name)),
            None => Ok(()),
        }
    }
}
