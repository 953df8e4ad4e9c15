//! What all shims share: the property by its name, and an allocator that counts for
//! [`polity_fuzzed::meter`].

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub use libfuzzer_sys;

/// A fuzz target of the property with this name.
#[macro_export]
macro_rules! shim {
    ($name:literal) => {
        #[global_allocator]
        static COUNTING: $crate::Counting = $crate::Counting;

        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            static RUN: std::sync::OnceLock<fn(&[u8])> = std::sync::OnceLock::new();
            RUN.get_or_init(|| $crate::property($name))(input);
        });
    };
}

/// The property, once the counter is in place.
pub fn property(name: &str) -> fn(&[u8]) {
    polity_fuzzed::meter::install(taken);
    let target = polity_fuzzed::target(name);
    target.expect("a shim is named like its property").run
}

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that this thread ever took from the allocator.
fn taken() -> usize {
    TAKEN.with(Cell::get)
}

/// The allocator of the system, with a counter.
pub struct Counting;

// SAFETY: every call goes to the system's allocator as it came; the counter needs no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends may free and take after its counter is gone.
        let _ = TAKEN.try_with(|taken| taken.set(taken.get() + layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}
