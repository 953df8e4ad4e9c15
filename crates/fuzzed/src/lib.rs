//! What has to hold for any bytes.
//!
//! Each property is a plain function of an input: it returns, or it panics with what is wrong. The fuzz
//! workspace has a shim for each, and `tests/replay.rs` runs them over the committed seeds and crashers,
//! so a property that breaks is noticed without a fuzzer. [`TARGETS`] lists them.
//!
//! # What it is not
//!
//! It draws nothing: a fuzzer does, and the seeds are honest values. It knows no format of its own except
//! in `trace.rs`, where the encoding is written a second time on purpose.
#![forbid(unsafe_code)]

mod bytes;
pub mod canonical;
mod decode;
mod honest;
pub mod journal;
mod ledger;
mod machine;
pub mod meter;
mod mutate;
mod seeds;
mod text;
mod trace;
pub mod verify;

pub use seeds::seeds;

/// A property with its name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the fuzz target, and of the folders of its seeds and crashers.
    pub name: &'static str,
    /// What holds.
    pub what: &'static str,
    /// Panics if it does not.
    pub run: fn(&[u8]),
}

/// Every property.
pub const TARGETS: &[Target] = &[
    Target {
        name: "decode",
        what: "no decoder panics or takes memory out of proportion; what it accepts encodes to the same bytes",
        run: decode::decode,
    },
    Target {
        name: "canonical",
        what: "no other text of an honest value is accepted",
        run: canonical::canonical,
    },
    Target {
        name: "verify",
        what: "nothing is believed that honest members did not sign",
        run: verify::verify,
    },
    Target {
        name: "http",
        what: "bodies and paths of the HTTP interface are read or refused",
        run: text::http,
    },
    Target {
        name: "files",
        what: "genesis, proof and configuration are read or refused",
        run: text::files,
    },
    Target {
        name: "ledger",
        what: "the ledger agrees with its naive model on any list of commands",
        run: ledger::ledger,
    },
    Target {
        name: "machine",
        what: "FB-PBFT agrees, votes once and restores under any schedule with one faulty member of four",
        run: machine::machine,
    },
    Target {
        name: "journal",
        what: "a changed journal gives what was written, or an error",
        run: journal::journal,
    },
];

/// The property with this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
