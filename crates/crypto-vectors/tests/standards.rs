//! RFC 8032, RFC 4231 and FIPS 180-4.

use polity_crypto::ed25519::Ed25519Signer;
use polity_crypto::{Refusal, Signer as _, bare};
use polity_crypto_vectors::{Tally, unhex};
use sha2::{Digest as _, Sha256, Sha512};

/// Section 7.1: seed, message, signature.
const RFC_8032: [[&str; 3]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ],
];

#[test]
fn rfc_8032() {
    let mut tally = Tally::new("RFC 8032 Ed25519");
    for [seed, message, signature] in RFC_8032 {
        let seed = unhex(seed).try_into().unwrap();
        let signer = Ed25519Signer::from_seed(&seed);
        let (mut message, signature) = (unhex(message), unhex(signature));
        let verify = |message: &[u8]| bare::verify(signer.public_key(), message, b"", &signature);
        assert_eq!(verify(&message), Ok(()));
        tally.count(true);
        message.push(0);
        assert_eq!(verify(&message), Err(Refusal::Equation));
        tally.count(false);
    }
    tally.finish(4, 4);
}

#[test]
fn rfc_4231() {
    let long_key = [0xaa; 131];
    let counting: Vec<u8> = (1..=25).collect();
    let cases: [(&[u8], &[u8], &str); 6] = [
        (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (&counting, &[0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (&long_key, b"Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        (&long_key, b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.", "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    ];
    let mut tally = Tally::new("RFC 4231 HMAC-SHA256");
    for (key, message, expected) in cases {
        assert_eq!(bare::hmac_sha256(key, message).to_vec(), unhex(expected));
        tally.count(true);
        let longer = [message, &[0]].concat();
        assert_ne!(bare::hmac_sha256(key, &longer).to_vec(), unhex(expected));
        tally.count(false);
    }
    tally.finish(6, 6);
}

#[test]
fn fips_180_4() {
    let million = vec![b'a'; 1_000_000];
    let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    let two_long_blocks = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    let mut tally = Tally::new("FIPS 180-4 SHA-256 and SHA-512");
    let sha256: [(&[u8], &str); 3] = [
        (
            b"abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            two_blocks,
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (
            &million,
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
        ),
    ];
    for (message, expected) in sha256 {
        assert_eq!(Sha256::digest(message).to_vec(), unhex(expected));
        tally.count(true);
    }
    let sha512: [(&[u8], &str); 2] = [
        (
            b"abc",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        (
            two_long_blocks,
            "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909",
        ),
    ];
    for (message, expected) in sha512 {
        assert_eq!(Sha512::digest(message).to_vec(), unhex(expected));
        tally.count(true);
    }
    tally.finish(5, 0);
}
