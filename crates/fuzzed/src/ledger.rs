//! The ledger and the naive model of its tests agree on any list of commands.

use crate::bytes::Bytes;

// The model and the player belong to the tests of `polity-ledger`, which nobody can import.
#[path = "../../ledger/tests/common/mod.rs"]
#[allow(missing_docs, reason = "a part of the tests of another crate")]
mod common;

use common::play::{Step, Wish, compare};

/// Blocks of one input, at most: the comparison of all state is what costs.
const STEPS_MAX: usize = 24;
/// Transactions of a block, at most.
const WISHES_MAX: u8 = 12;
/// Kinds of commands that the player knows.
const KINDS: u8 = 30;

/// The property.
pub(crate) fn ledger(input: &[u8]) {
    let mut input = Bytes::new(input);
    let fees = input.u8() % 12;
    let mut steps = Vec::new();
    while !input.is_empty() && steps.len() < STEPS_MAX {
        steps.push(step(&mut input));
    }
    compare(fees, &steps);
}

fn step(input: &mut Bytes<'_>) -> Step {
    Step {
        elapsed: input.u8() % 16,
        receiver: input.u8() % 6,
        wishes: (0..input.u8() % WISHES_MAX).map(|_| wish(input)).collect(),
    }
}

fn wish(input: &mut Bytes<'_>) -> Wish {
    let shape = input.u8();
    let commands = if shape.is_multiple_of(8) {
        2 + shape / 8 % 3
    } else {
        1
    };
    let command = |input: &mut Bytes<'_>| {
        let [a, b, c, d] = [(); 4].map(|()| input.u8());
        (input.u8() % KINDS, a, b, c, d)
    };
    Wish {
        kinds: (0..commands).map(|_| command(input)).collect(),
        keys: input.u8() % 12,
        signer: input.u8(),
        until: (input.u8() % 7).cast_signed() - 1,
        replay: (shape >= 240).then(|| input.u8()),
    }
}
