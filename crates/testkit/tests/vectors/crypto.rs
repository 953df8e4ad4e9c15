//! `polity-crypto`: preimages, keys, chains and Ed25519 signatures.
//!
//! A hash has no wrong input. So inputs state what they claim the hash to be, and the broken cases
//! claim what a plausible mistake would give.

use crate::fields::{array, bytes, hex, list, number, text, unhex};
use polity_crypto::ed25519::{Ed25519Signer, Ed25519Verifier};
use polity_crypto::{
    Blake3Digest, Domain, KeyError, Preimage, PublicKey, Signature, Signer, Suite, Verifier,
    domain, fork_id, root_chain_id, root_fork_id,
};
use polity_testkit::topic::{Case, Topic};
use serde_json::{Value, json};

pub(crate) const PREIMAGE: Topic = Topic {
    file: "crypto/preimage.v1.json",
    spec: "docs/spec/crypto.md, CR-2",
    cases: preimages,
    answer: preimage,
};

pub(crate) const KEY: Topic = Topic {
    file: "crypto/key.v1.json",
    spec: "docs/spec/crypto.md, CR-1 and CR-7",
    cases: keys,
    answer: key,
};

pub(crate) const CHAIN: Topic = Topic {
    file: "crypto/chain.v1.json",
    spec: "docs/spec/crypto.md, chain ids",
    cases: chains,
    answer: chain,
};

pub(crate) const ED25519: Topic = Topic {
    file: "crypto/ed25519.v1.json",
    spec: "docs/spec/crypto.md, CR-1, CR-2",
    cases: signatures,
    answer: signature,
};

/// Order of the base point, little-endian: added to `s` it gives the same point again.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn find(name: &str) -> Option<Domain> {
    domain::ALL
        .iter()
        .copied()
        .find(|domain| domain.as_str() == name)
}

/// The preimage that an input describes, or nothing if there is no such domain.
fn build(input: &Value) -> Option<Preimage> {
    let mut preimage = Preimage::new(find(text(input, "domain"))?);
    for field in list(input, "fields") {
        let digits = |kind: &str| -> u128 {
            let digits = text(field, kind);
            digits
                .parse()
                .unwrap_or_else(|_| panic!("{digits} is no number"))
        };
        let narrow = |kind: &str| u64::try_from(digits(kind)).expect("fits 64 bits");
        preimage = match field
            .as_object()
            .and_then(|object| object.keys().next())
            .map(String::as_str)
        {
            Some("u8") => preimage.u8(u8::try_from(digits("u8")).expect("fits 8 bits")),
            Some("u32") => preimage.u32(u32::try_from(digits("u32")).expect("fits 32 bits")),
            Some("u64") => preimage.u64(narrow("u64")),
            Some("u128") => preimage.u128(digits("u128")),
            Some("array") => unhex(text(field, "array"))
                .into_iter()
                .fold(preimage, Preimage::u8),
            Some("bytes") => preimage.bytes(&unhex(text(field, "bytes"))),
            _ => panic!("{field} is no field of a preimage"),
        };
    }
    Some(preimage)
}

fn preimage(input: &Value) -> Result<Value, Value> {
    let Some(preimage) = build(input) else {
        return Err(json!({ "error": "unknown domain" }));
    };
    if preimage.as_slice() != bytes(input, "preimage") {
        return Err(json!({ "error": "another preimage", "preimage": hex(preimage.as_slice()) }));
    }
    Ok(json!({
        "sha256": preimage.sha256().to_string(),
        "blake3": preimage.blake3().to_string(),
    }))
}

fn preimages() -> Vec<Case> {
    let test = hex(b"polity/test/v1\0");
    let input = |domain: &str, fields: Value, claim: String| json!({ "domain": domain, "fields": fields, "preimage": claim });
    let on_test =
        |fields: Value, claim: &str| input("polity/test/v1", fields, format!("{test}{claim}"));
    let mut cases = vec![
        Case::valid(
            "no_fields",
            "Domain and a zero byte.",
            &[],
            on_test(json!([]), ""),
        ),
        Case::valid(
            "numbers",
            "Numbers are little-endian and have their width.",
            &[],
            on_test(
                json!([{ "u8": "1" }, { "u32": "2" }, { "u64": "3" }, { "u128": "4" }]),
                "0102000000030000000000000004000000000000000000000000000000",
            ),
        ),
        Case::valid(
            "strings",
            "Arrays stand bare, byte strings carry their length in four bytes.",
            &[],
            on_test(
                json!([{ "array": "aabb" }, { "bytes": "cc" }, { "bytes": "" }]),
                "aabb01000000cc00000000",
            ),
        ),
        Case::invalid(
            "big_endian",
            "Numbers are not big-endian.",
            &["order"],
            on_test(json!([{ "u32": "1" }]), "00000001"),
        ),
        Case::invalid(
            "narrow",
            "A number keeps its width.",
            &["width"],
            on_test(json!([{ "u64": "1" }]), "01000000"),
        ),
        Case::invalid(
            "varint_length",
            "Lengths are no varints.",
            &["length"],
            on_test(json!([{ "bytes": "cc" }]), "01cc"),
        ),
        Case::invalid(
            "no_length",
            "A byte string without its length.",
            &["length"],
            on_test(json!([{ "bytes": "cc" }]), "cc"),
        ),
        Case::invalid(
            "array_with_length",
            "An array has no length.",
            &["length"],
            on_test(json!([{ "array": "cc" }]), "01000000cc"),
        ),
        Case::invalid(
            "moved_boundary",
            "The same bytes cut elsewhere are another preimage.",
            &["length"],
            on_test(
                json!([{ "bytes": "aabb" }, { "bytes": "cc" }]),
                "01000000aa02000000bbcc",
            ),
        ),
        Case::invalid(
            "no_zero",
            "The zero byte after the domain is missing.",
            &["domain"],
            input("polity/test/v1", json!([]), hex(b"polity/test/v1")),
        ),
        Case::invalid(
            "no_domain",
            "Fields alone.",
            &["domain"],
            input("polity/test/v1", json!([{ "u8": "1" }]), "01".to_owned()),
        ),
        Case::invalid(
            "other_domain",
            "The preimage of another domain.",
            &["domain"],
            input("polity/key/v1", json!([]), test.clone()),
        ),
        Case::invalid(
            "unknown_domain",
            "Nobody speaks about this.",
            &["domain"],
            input("polity/test/v2", json!([]), hex(b"polity/test/v2\0")),
        ),
        Case::invalid(
            "trailing",
            "A byte after the last field.",
            &["trailing"],
            on_test(json!([{ "u8": "1" }]), "0100"),
        ),
    ];
    // One good case that nobody can misread for a domain that is in use.
    cases.insert(
        3,
        Case::valid(
            "key_domain",
            "The preimage of a key id: suite, then the key.",
            &[],
            input(
                "polity/key/v1",
                json!([{ "u8": "2" }, { "array": "0909" }]),
                format!("{}020909", hex(b"polity/key/v1\0")),
            ),
        ),
    );
    cases
}

fn refusal(error: KeyError) -> Value {
    json!({ "error": match error {
        KeyError::UnknownSuite => "unknown suite",
        KeyError::Length { .. } => "length",
        KeyError::Text => "text",
        KeyError::Weak => "weak",
    }})
}

fn key(input: &Value) -> Result<Value, Value> {
    let key: PublicKey = text(input, "public_key").parse().map_err(refusal)?;
    if key.suite() == Suite::Ed25519 {
        Ed25519Verifier::default()
            .check_key(&key)
            .map_err(refusal)?;
    }
    Ok(json!({
        "key_id": key.key_id().to_string(),
        "fingerprint": key.fingerprint().to_string(),
        "wire": hex(&polity_types::wire::encode(&key)),
    }))
}

fn keys() -> Vec<Case> {
    let good =
        |name, comment, key: String| Case::valid(name, comment, &[], json!({ "public_key": key }));
    let bad = |name, comment, flag, key: &str| {
        Case::invalid(name, comment, &[flag], json!({ "public_key": key }))
    };
    let signer = Ed25519Signer::from_seed(&[7; 32]);
    let own = signer.public_key().to_string();
    let digits = own.trim_start_matches("ed25519:");
    let weak = |digits: &str| format!("ed25519:{digits}");
    vec![
        good("ed25519", "The key of the seed 07…07.", own.clone()),
        good(
            "hmac",
            "The label of a link.",
            format!("hmac:{}", "11".repeat(32)),
        ),
        good(
            "stub",
            "A key for simulations; the node refuses it.",
            format!("stub:{}", "01".repeat(32)),
        ),
        bad("no_suite", "The suite is part of the text.", "text", digits),
        bad(
            "unknown_suite",
            "No such suite.",
            "suite",
            &format!("rsa:{digits}"),
        ),
        bad(
            "upper_case_suite",
            "One value has one text.",
            "suite",
            &format!("ED25519:{digits}"),
        ),
        bad(
            "upper_case",
            "One value has one text.",
            "text",
            &own.to_uppercase().replace("ED25519", "ed25519"),
        ),
        bad("short", "31 bytes.", "length", &own[..own.len() - 2]),
        bad("long", "33 bytes.", "length", &format!("{own}00")),
        bad(
            "identity",
            "The neutral element signs everything.",
            "weak",
            &weak("0100000000000000000000000000000000000000000000000000000000000000"),
        ),
        bad(
            "order_2",
            "A point of order 2.",
            "weak",
            &weak("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ),
        bad(
            "order_4",
            "A point of order 4.",
            "weak",
            &weak("0000000000000000000000000000000000000000000000000000000000000000"),
        ),
        bad(
            "order_8",
            "A point of order 8.",
            "weak",
            &weak("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        ),
        bad(
            "identity_not_canonical",
            "The neutral element with y above the prime.",
            "weak",
            &weak("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ),
        bad(
            "no_point",
            "y = 2 is on no point of the curve.",
            "weak",
            &weak("0200000000000000000000000000000000000000000000000000000000000000"),
        ),
    ]
}

fn chain(input: &Value) -> Result<Value, Value> {
    let digest = |name: &str| Blake3Digest::new(array(input, name));
    let genesis = digest("genesis_id");
    let reason = u8::try_from(number(input, "reason")).expect("a reason has 8 bits");
    let fork = fork_id(
        &genesis,
        &digest("parent"),
        &array(input, "divergence_event"),
        &array(input, "rule_version"),
        reason,
    );
    let is_root = fork == root_fork_id(&genesis);
    let mut expected = json!({ "fork_id": fork.to_string(), "is_root": is_root });
    if is_root {
        expected["chain_id"] = root_chain_id(&genesis).to_string().into();
    }
    if text(input, "claimed_fork_id") == fork.to_string() {
        Ok(expected)
    } else {
        Err(expected)
    }
}

fn chains() -> Vec<Case> {
    let genesis = Blake3Digest::new([0x47; 32]);
    let root = root_fork_id(&genesis);
    let child = fork_id(&genesis, &root, &[0x11; 32], &[0x22; 32], 1);
    let input = |genesis: &Blake3Digest,
                 parent: &Blake3Digest,
                 event: u8,
                 rule: u8,
                 reason: u8,
                 claim: &Blake3Digest| {
        json!({
            "genesis_id": genesis.to_string(),
            "parent": parent.to_string(),
            "divergence_event": hex(&[event; 32]),
            "rule_version": hex(&[rule; 32]),
            "reason": reason,
            "claimed_fork_id": claim.to_string(),
        })
    };
    let none = Blake3Digest::ZERO;
    let other = Blake3Digest::new([0x48; 32]);
    // The mistake of hashing with SHA-256 what is hashed with BLAKE3.
    let sha256 = Preimage::new(domain::FORK_ID)
        .array(genesis.as_bytes())
        .array(none.as_bytes())
        .array(&[0; 32])
        .array(&[0; 32])
        .u8(0)
        .sha256();
    vec![
        Case::valid(
            "root",
            "The branch that a genesis starts.",
            &[],
            input(&genesis, &none, 0, 0, 0, &root),
        ),
        Case::valid(
            "child",
            "A branch of it.",
            &[],
            input(&genesis, &root, 0x11, 0x22, 1, &child),
        ),
        Case::invalid(
            "other_genesis",
            "The root of another genesis.",
            &["field"],
            input(&other, &none, 0, 0, 0, &root),
        ),
        Case::invalid(
            "other_parent",
            "A branch of nothing.",
            &["field"],
            input(&genesis, &none, 0x11, 0x22, 1, &child),
        ),
        Case::invalid(
            "other_event",
            "Divergence elsewhere.",
            &["field"],
            input(&genesis, &root, 0x12, 0x22, 1, &child),
        ),
        Case::invalid(
            "other_rule",
            "Another rule version.",
            &["field"],
            input(&genesis, &root, 0x11, 0x23, 1, &child),
        ),
        Case::invalid(
            "other_reason",
            "Another reason.",
            &["field"],
            input(&genesis, &root, 0x11, 0x22, 2, &child),
        ),
        Case::invalid(
            "swapped",
            "Event and rule exchanged.",
            &["order"],
            input(&genesis, &root, 0x22, 0x11, 1, &child),
        ),
        Case::invalid(
            "sha256",
            "These ids are BLAKE3.",
            &["hash"],
            input(
                &genesis,
                &none,
                0,
                0,
                0,
                &Blake3Digest::new(*sha256.as_bytes()),
            ),
        ),
    ]
}

fn signature(input: &Value) -> Result<Value, Value> {
    let refused = |error: &str| json!({ "error": error });
    let key: PublicKey = text(input, "public_key").parse().map_err(refusal)?;
    let preimage = build(input).ok_or_else(|| refused("unknown domain"))?;
    let signature = Signature::new(&bytes(input, "signature"));
    Ed25519Verifier::default()
        .verify(&key, &preimage, &signature)
        .map_err(|_| refused("the signature does not hold"))?;
    // Signing is deterministic, so whoever holds the seed makes the same bytes.
    let signer = Ed25519Signer::from_seed(&array(input, "seed"));
    Ok(json!({
        "public_key": signer.public_key().to_string(),
        "signature": hex(signer.sign(&preimage).as_slice()),
    }))
}

fn signatures() -> Vec<Case> {
    let seed = [0x42; 32];
    let signer = Ed25519Signer::from_seed(&seed);
    let stranger = Ed25519Signer::from_seed(&[0x43; 32]);
    let fields = json!([{ "u64": "7" }, { "bytes": "616263" }]);
    let input = |domain: &Domain, fields: &Value, key: &str, signature: &[u8]| {
        json!({
            "seed": hex(&seed),
            "domain": domain.as_str(),
            "fields": fields,
            "public_key": key,
            "signature": hex(signature),
        })
    };
    let own = signer.public_key().to_string();
    let sign = |domain: Domain, fields: &Value| {
        let described = json!({ "domain": domain.as_str(), "fields": fields });
        signer
            .sign(&build(&described).expect("the domain is known"))
            .as_slice()
            .to_vec()
    };
    let good = sign(domain::TEST, &fields);
    let at = |signature: &[u8]| input(&domain::TEST, &fields, &own, signature);
    let flip = |position: usize| {
        let mut signature = good.clone();
        signature[position] ^= 1;
        at(&signature)
    };
    let raw = Preimage::new(domain::TEST);
    let halves = |first: &[u8], second: &[u8]| at(&[first, second].concat());
    let identity = {
        let mut point = [0; 32];
        point[0] = 1;
        point
    };
    let weak = format!("ed25519:{}", hex(&identity));
    vec![
        Case::valid(
            "test_domain",
            "A signature over the domain for tests.",
            &[],
            at(&good),
        ),
        Case::valid(
            "no_fields",
            "The domain alone.",
            &[],
            input(
                &domain::TEST,
                &json!([]),
                &own,
                signer.sign(&raw).as_slice(),
            ),
        ),
        Case::valid(
            "commit_domain",
            "The same fields in another domain have another signature.",
            &[],
            input(
                &domain::COMMIT,
                &fields,
                &own,
                &sign(domain::COMMIT, &fields),
            ),
        ),
        Case::invalid(
            "other_domain",
            "Signed as a test, shown as a COMMIT.",
            &["domain"],
            input(&domain::COMMIT, &fields, &own, &good),
        ),
        Case::invalid(
            "neighbour_domain",
            "Signed as a PREPARE, shown as a COMMIT.",
            &["domain"],
            input(
                &domain::COMMIT,
                &fields,
                &own,
                &sign(domain::PREPARE, &fields),
            ),
        ),
        Case::invalid(
            "other_fields",
            "Another number.",
            &["message"],
            input(
                &domain::TEST,
                &json!([{ "u64": "8" }, { "bytes": "616263" }]),
                &own,
                &good,
            ),
        ),
        Case::invalid(
            "missing_field",
            "A field less.",
            &["message"],
            input(&domain::TEST, &json!([{ "u64": "7" }]), &own, &good),
        ),
        Case::invalid(
            "other_key",
            "Somebody else's key.",
            &["key"],
            input(
                &domain::TEST,
                &fields,
                &stranger.public_key().to_string(),
                &good,
            ),
        ),
        Case::invalid(
            "other_suite",
            "The same bytes as a key of another suite.",
            &["key"],
            input(
                &domain::TEST,
                &fields,
                &own.replace("ed25519", "stub"),
                &good,
            ),
        ),
        Case::invalid("flipped_r", "One bit of R.", &["bit"], flip(0)),
        Case::invalid(
            "flipped_r_sign",
            "The lowest bit of the last byte of R.",
            &["bit"],
            flip(31),
        ),
        Case::invalid("flipped_s", "One bit of s.", &["bit"], flip(32)),
        Case::invalid("flipped_s_top", "A high bit of s.", &["bit"], flip(63)),
        Case::invalid(
            "s_plus_order",
            "s + L verifies where s is not checked to be reduced.",
            &["malleability"],
            halves(&good[..32], &add(&good[32..], &unhex(ORDER))),
        ),
        Case::invalid(
            "s_is_order",
            "s = L with R the neutral element.",
            &["malleability"],
            halves(&identity, &unhex(ORDER)),
        ),
        Case::invalid("zero", "64 zero bytes.", &["degenerate"], at(&[0; 64])),
        Case::invalid(
            "identity_r_zero_s",
            "R the neutral element, s = 0, an ordinary key.",
            &["degenerate"],
            halves(&identity, &[0; 32]),
        ),
        Case::invalid(
            "weak_key",
            "R and the key the neutral element, s = 0: holds for every message where weak keys are taken.",
            &["degenerate", "weak"],
            input(&domain::TEST, &fields, &weak, &[identity, [0; 32]].concat()),
        ),
        Case::invalid(
            "swapped_halves",
            "s before R.",
            &["layout"],
            halves(&good[32..], &good[..32]),
        ),
        Case::invalid("short", "63 bytes.", &["length"], at(&good[..63])),
        Case::invalid("long", "65 bytes.", &["length"], halves(&good, &[0])),
        Case::invalid("empty", "No signature.", &["length"], at(&[])),
    ]
}

/// Sum of two little-endian numbers of 32 bytes.
fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    a.iter()
        .zip(b)
        .map(|(a, b)| {
            let sum = u16::from(*a) + u16::from(*b) + carry;
            carry = sum >> 8;
            (sum & 0xff) as u8
        })
        .collect()
}
