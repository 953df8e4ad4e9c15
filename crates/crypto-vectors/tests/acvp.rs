//! NIST ACVP: ML-DSA keyGen, sigGen and sigVer.
//!
//! The sigGen and sigVer files are of the internal interface of FIPS 204, below contexts, so they run
//! against the library that our suites stand on; keyGen runs against our signers.

use ml_dsa::{B32, MlDsa65, MlDsa87, MlDsaParams};
use polity_crypto::Signer as _;
use polity_crypto::ml_dsa::MlDsaSigner;
use polity_crypto_vectors::{Tally, sources, unhex};
use serde_json::Value;

/// The cases of a parameter set, with their group.
fn cases(mode: &str, set: &str) -> Vec<(Value, Value)> {
    let folder = sources("fips204", "0.4.6");
    let path = folder.join(format!(
        "tests/nist_vectors/ML-DSA-{mode}-FIPS204/internalProjection.json"
    ));
    let text = std::fs::read_to_string(&path).expect("the package ships the file");
    let file: Value = serde_json::from_str(&text).expect("the file is JSON");
    let groups = file["testGroups"].as_array().expect("groups");
    groups
        .iter()
        .filter(|group| group["parameterSet"] == set)
        .flat_map(|group| {
            let tests = group["tests"].as_array().expect("tests");
            tests.iter().map(|test| (group.clone(), test.clone()))
        })
        .collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(value.as_str().expect("a text"))
}

#[test]
fn key_gen() {
    let mut tally = Tally::new("ACVP ML-DSA-65 and 87 keyGen");
    let mut check = |set, from_seed: fn(&[u8; 32]) -> MlDsaSigner| {
        for (_, test) in cases("keyGen", set) {
            let signer = from_seed(&bytes(&test["seed"]).try_into().unwrap());
            let key = signer.public_key().key_bytes();
            assert_eq!(key, bytes(&test["pk"]), "{}", test["tcId"]);
            tally.count(true);
        }
    };
    check("ML-DSA-65", MlDsaSigner::from_seed_65);
    check("ML-DSA-87", MlDsaSigner::from_seed_87);
    tally.finish(50, 0);
}

fn sig_gen_of<P: MlDsaParams>(set: &str, tally: &mut Tally) {
    for (_, test) in cases("sigGen", set) {
        let encoded = bytes(&test["sk"]);
        // The file has expanded keys and no seeds.
        #[expect(deprecated)]
        let key = ml_dsa::ExpandedSigningKey::<P>::from_expanded(encoded[..].try_into().unwrap());
        let randomness = test["rnd"]
            .as_str()
            .map_or([0; 32], |rnd| unhex(rnd).try_into().unwrap());
        let signature = key.sign_internal(&[&bytes(&test["message"])], &B32::from(randomness));
        assert_eq!(
            signature.encode()[..],
            bytes(&test["signature"]),
            "{}",
            test["tcId"]
        );
        tally.count(true);
    }
}

#[test]
fn sig_gen() {
    let mut tally = Tally::new("ACVP ML-DSA-65 and 87 sigGen");
    sig_gen_of::<MlDsa65>("ML-DSA-65", &mut tally);
    sig_gen_of::<MlDsa87>("ML-DSA-87", &mut tally);
    tally.finish(40, 0);
}

fn sig_ver_of<P: MlDsaParams>(set: &str, tally: &mut Tally) {
    for (group, test) in cases("sigVer", set) {
        let key = bytes(&group["pk"]);
        let key = ml_dsa::VerifyingKey::<P>::decode(key[..].try_into().unwrap());
        let holds = ml_dsa::Signature::<P>::try_from(&bytes(&test["signature"])[..])
            .is_ok_and(|signature| key.verify_internal(&bytes(&test["message"]), &signature));
        assert_eq!(
            test["testPassed"], holds,
            "{} {}",
            test["tcId"], test["reason"]
        );
        tally.count(holds);
    }
}

#[test]
fn sig_ver() {
    let mut tally = Tally::new("ACVP ML-DSA-65 and 87 sigVer");
    sig_ver_of::<MlDsa65>("ML-DSA-65", &mut tally);
    sig_ver_of::<MlDsa87>("ML-DSA-87", &mut tally);
    tally.finish(6, 24);
}
