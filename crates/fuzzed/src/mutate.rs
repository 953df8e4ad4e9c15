//! Changes an honest text as a list of choices says.

use crate::bytes::Bytes;

/// Changes of one text, at most.
const CHANGES_MAX: usize = 8;

/// A changed copy of `text`; `others` lend parts. No choices, no change.
pub(crate) fn mutated(text: &[u8], others: &[&[u8]], choices: &mut Bytes<'_>) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..CHANGES_MAX {
        if choices.is_empty() {
            break;
        }
        change(&mut text, others, choices);
    }
    text
}

fn change(text: &mut Vec<u8>, others: &[&[u8]], choices: &mut Bytes<'_>) {
    let kind = choices.u8();
    let at = choices.below(text.len());
    let length = usize::from(choices.u8()) + 1;
    let end = (at + length).min(text.len());
    match kind % 9 {
        0 => {
            if let Some(byte) = text.get_mut(at) {
                *byte ^= 1 << (choices.u8() % 8);
            }
        }
        1 => {
            if let Some(byte) = text.get_mut(at) {
                *byte = choices.u8();
            }
        }
        2 => {
            let new = choices.take(length);
            text.splice(at..at, new.iter().copied());
        }
        3 => {
            text.drain(at..end);
        }
        4 => {
            let copy = text[at..end].to_vec();
            let to = choices.below(text.len() + 1);
            text.splice(to..to, copy);
        }
        5 => text.truncate(at),
        6 => text.extend_from_slice(choices.take(length)),
        7 => {
            // The same place of another honest text: fields that fit.
            let other = choices.pick(others).copied().unwrap_or_default();
            if let Some(part) = other.get(at..(at + length).min(other.len())) {
                text.splice(at..end, part.iter().copied());
            }
        }
        _ => {
            // Another text from there on.
            let other = choices.pick(others).copied().unwrap_or_default();
            let from = choices.below(other.len());
            text.truncate(at);
            text.extend_from_slice(&other[from..]);
        }
    }
}
