//! Whether what a decoder takes from the allocator is bounded by what it is given.
//!
//! Counting needs an allocator of one's own, and that needs unsafe code, which this workspace does not
//! have. The fuzz workspace has such an allocator and installs its counter here; without it nothing is
//! measured.

use std::sync::OnceLock;

/// Bytes that a decoder may take for each byte of its input: the largest element of any list, which
/// takes no more than a few bytes on the wire, and room to grow.
pub const BYTES_PER_BYTE_MAX: usize = 2_048;

/// Bytes that any decoder may take.
pub const BYTES_MIN: usize = 16 * 1024;

/// Largest sum of all lists together for which room is made before their elements come, beyond what
/// [`BYTES_PER_BYTE_MAX`] allows: nothing.
static METER: OnceLock<fn() -> usize> = OnceLock::new();

/// Installs a counter of all bytes that this thread ever allocated. Once is enough.
pub fn install(counter: fn() -> usize) {
    let _ = METER.set(counter);
}

/// Runs a decoder on an input.
///
/// # Panics
///
/// If it takes more memory than [`BYTES_PER_BYTE_MAX`] times its input, [`BYTES_MIN`] apart.
pub(crate) fn bounded<T>(length: usize, decode: impl FnOnce() -> T) -> T {
    let Some(counter) = METER.get() else {
        return decode();
    };
    let before = counter();
    let value = decode();
    let taken = counter() - before;
    let bound = BYTES_MIN + length * BYTES_PER_BYTE_MAX;
    assert!(
        taken <= bound,
        "{taken} bytes were allocated for {length} bytes of input; at most {bound} are allowed"
    );
    value
}
