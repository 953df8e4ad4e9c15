//! Reading the fields of an input. A file that lacks one is a defect of the file, so these panic.

use serde_json::Value;

pub(crate) fn text<'a>(input: &'a Value, name: &str) -> &'a str {
    input[name]
        .as_str()
        .unwrap_or_else(|| panic!("`{name}` is no text in {input}"))
}

pub(crate) fn number(input: &Value, name: &str) -> u64 {
    input[name]
        .as_u64()
        .unwrap_or_else(|| panic!("`{name}` is no number in {input}"))
}

pub(crate) fn list<'a>(input: &'a Value, name: &str) -> &'a [Value] {
    input[name]
        .as_array()
        .unwrap_or_else(|| panic!("`{name}` is no list in {input}"))
}

pub(crate) fn bytes(input: &Value, name: &str) -> Vec<u8> {
    unhex(text(input, name))
}

pub(crate) fn array<const N: usize>(input: &Value, name: &str) -> [u8; N] {
    polity_types::decode_hex(text(input, name))
        .unwrap_or_else(|error| panic!("`{name}` in {input}: {error}"))
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(
        text.len().is_multiple_of(2),
        "{text} has an odd number of digits"
    );
    (0..text.len())
        .step_by(2)
        .map(|at| {
            let [byte] = polity_types::decode_hex(&text[at..at + 2])
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            byte
        })
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    polity_types::write_hex(bytes, &mut text).expect("writing to a text does not fail");
    text
}
