//! `polity-types`: amounts and the canonical encoding.

use crate::fields::{bytes, hex, number, text};
use polity_testkit::topic::{Case, Topic};
use polity_types::wire::{self, DecodeError};
use polity_types::{Amount, AmountError};
use serde_json::{Value, json};

pub(crate) const AMOUNT: Topic = Topic {
    file: "types/amount.v1.json",
    spec: "docs/spec/ledger.md, LG-2",
    cases: amounts,
    answer: amount,
};

pub(crate) const WIRE: Topic = Topic {
    file: "types/wire.v1.json",
    spec: "docs/spec/wire.md",
    cases: encodings,
    answer: decoded,
};

fn amount(input: &Value) -> Result<Value, Value> {
    match text(input, "text").parse::<Amount>() {
        Ok(amount) => Ok(json!({
            "units": amount.units().to_string(),
            "text": amount.to_string(),
            "wire": hex(&wire::encode(&amount)),
        })),
        Err(error) => Err(json!({ "error": match error {
            AmountError::NoDigits => "no digits",
            AmountError::Character => "character",
            AmountError::Places => "places",
            AmountError::Overflow => "overflow",
        }})),
    }
}

fn amounts() -> Vec<Case> {
    let good = |name, comment, text| Case::valid(name, comment, &[], json!({ "text": text }));
    let bad = |name, comment, text| Case::invalid(name, comment, &[], json!({ "text": text }));
    vec![
        good("zero", "Nothing has a text; commands refuse it later.", "0"),
        good("whole", "No decimal point is needed.", "200"),
        good("smallest", "One millionth is the unit.", "0.000001"),
        good(
            "leading_zero",
            "Leading zeros are read and not written.",
            "007.50",
        ),
        good(
            "supply_max",
            "2^100 units.",
            "1267650600228229401496703.205376",
        ),
        bad(
            "above_supply_max",
            "2^100 units and one.",
            "1267650600228229401496703.205377",
        ),
        bad(
            "far_above",
            "Does not fit 128 bits.",
            "999999999999999999999999999999999999999999",
        ),
        bad("empty", "No digits at all.", ""),
        bad("no_whole", "Digits are needed before the point.", ".5"),
        bad("no_part", "Digits are needed after the point.", "5."),
        bad("sign", "No sign, not even a plus.", "+5"),
        bad("exponent", "No exponents.", "1e3"),
        bad("comma", "The decimal point is a point.", "1,5"),
        bad("two_points", "One point at most.", "1.2.3"),
        bad("blank", "No blanks around it.", " 1"),
        bad("other_digits", "ASCII digits only.", "١"),
        bad("seven_places", "Six places at most.", "0.0000001"),
    ]
}

/// Number, texts and an option: every construction whose encoding has more than one spelling in
/// postcard alone.
type Sample = (u64, Vec<String>, Option<bool>);

fn decoded(input: &Value) -> Result<Value, Value> {
    let limit = usize::try_from(number(input, "limit")).expect("limits are small");
    match wire::decode::<Sample>(&bytes(input, "bytes"), limit) {
        Ok((number, texts, option)) => {
            Ok(json!({ "number": number.to_string(), "texts": texts, "option": option }))
        }
        Err(error) => Err(json!({ "error": match error {
            DecodeError::TooLong { .. } => "too long",
            DecodeError::Malformed => "malformed",
            DecodeError::Trailing => "trailing",
            DecodeError::NotCanonical => "not canonical",
        }})),
    }
}

fn encodings() -> Vec<Case> {
    let good = |name, comment, value: Sample| {
        let bytes = hex(&wire::encode(&value));
        Case::valid(name, comment, &[], json!({ "bytes": bytes, "limit": 64 }))
    };
    let bad = |name, comment, flag, bytes: &str| {
        Case::invalid(
            name,
            comment,
            &[flag],
            json!({ "bytes": bytes, "limit": 64 }),
        )
    };
    let at_limit = json!({ "bytes": "05000100", "limit": 4 });
    let above_limit = json!({ "bytes": "05000100", "limit": 3 });
    vec![
        good("least", "Zero, no texts, nothing.", (0, vec![], None)),
        good(
            "one_byte_number",
            "127 is the largest number of one byte.",
            (127, vec![], None),
        ),
        good(
            "two_byte_number",
            "128 needs two bytes.",
            (128, vec![], Some(true)),
        ),
        good(
            "largest_number",
            "Ten bytes.",
            (u64::MAX, vec![], Some(false)),
        ),
        good(
            "texts",
            "Texts are UTF-8.",
            (1, vec![String::new(), "ä".into()], None),
        ),
        Case::valid(
            "at_the_limit",
            "The limit is inclusive.",
            &["limit"],
            at_limit,
        ),
        Case::invalid(
            "above_the_limit",
            "One byte too many.",
            &["limit"],
            above_limit,
        ),
        bad("empty", "No value.", "truncated", ""),
        bad(
            "cut_in_number",
            "A number that goes on after the end.",
            "truncated",
            "85",
        ),
        bad(
            "cut_in_text",
            "A text of three bytes with one.",
            "truncated",
            "05010361",
        ),
        bad(
            "no_option",
            "The last field is missing.",
            "truncated",
            "0500",
        ),
        bad(
            "trailing_zero",
            "One byte follows the value.",
            "trailing",
            "05000000",
        ),
        bad(
            "trailing_value",
            "A second value follows.",
            "trailing",
            "050000050000",
        ),
        bad("long_number", "5 in two bytes.", "over-long", "85000000"),
        bad(
            "longest_number",
            "0 in ten bytes.",
            "over-long",
            "808080808080808080000000",
        ),
        bad(
            "long_length",
            "Length 0 in two bytes.",
            "over-long",
            "05800000",
        ),
        bad(
            "long_text_length",
            "Length 1 in two bytes.",
            "over-long",
            "050181006100",
        ),
        bad(
            "number_overflow",
            "65 bits.",
            "overflow",
            "ffffffffffffffffff020000",
        ),
        bad(
            "eleven_byte_number",
            "No number has eleven bytes.",
            "overflow",
            "8080808080808080808001000000",
        ),
        bad(
            "huge_length",
            "More texts than bytes; must not allocate.",
            "length",
            "05ffffffff0f",
        ),
        bad(
            "huge_text_length",
            "A text of 4 GiB in seven bytes.",
            "length",
            "0501ffffffff0f",
        ),
        bad(
            "not_utf8",
            "A text that is not UTF-8.",
            "text",
            "050101ff00",
        ),
        bad(
            "surrogate",
            "Half a surrogate pair is not UTF-8.",
            "text",
            "050103eda08000",
        ),
        bad("option_tag", "An option is 0 or 1.", "tag", "050002"),
        bad("bool_tag", "A truth value is 0 or 1.", "tag", "05000102"),
    ]
}
