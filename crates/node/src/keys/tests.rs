use super::*;
use crate::scratch::Scratch;
use rstest::rstest;
use std::fs;

/// The least that is accepted: tests seal often.
const CHEAP: Cost = Cost {
    memory_kib: 8_192,
    passes: 1,
    lanes: 1,
};

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn write(path: &Path, text: &str) {
    place::replace_private(path, text.as_bytes()).unwrap();
}

/// A file with a passphrase.
fn source(directory: &Scratch, text: &str) -> PassphraseSource {
    let path = directory.path().join("passphrase");
    write(&path, &format!("{text}\n"));
    PassphraseSource::File(path)
}

#[rstest]
fn cr_5_a_key_of_every_suite_survives_its_file_open_and_sealed(
    #[values(Suite::Ed25519, Suite::MlDsa65, Suite::MlDsa87, Suite::Hybrid)] suite: Suite,
) {
    let directory = Scratch::new();
    let source = source(&directory, "correct horse");
    let key = SecretKey::generate_of(suite).unwrap();
    let (open, sealed) = (
        directory.path().join("open"),
        directory.path().join("sealed"),
    );
    key.store(&open, "a test").unwrap();
    key.store_sealed(&sealed, "a test", &passphrase("correct horse"), CHEAP)
        .unwrap();
    for path in [&open, &sealed] {
        let loaded = SecretKey::load_with(path, &source).unwrap();
        assert_eq!(loaded.public_key(), key.public_key());
        assert_eq!(loaded.seed[..], key.seed[..]);
        assert_eq!(SecretKey::peek(path).unwrap(), *key.public_key());
        assert_eq!(loaded.suite(), suite);
        assert_eq!(loaded.link_key(), key.link_key());
        let is_own = loaded.link_key() == *loaded.public_key();
        assert_eq!(is_own, suite == Suite::Ed25519);
    }
    assert!(!SecretKey::is_sealed(&open).unwrap());
    assert!(SecretKey::is_sealed(&sealed).unwrap());
    // Nothing of the secret is in the sealed file, and the temporary files are gone.
    let text = fs::read_to_string(&sealed).unwrap();
    assert!(!text.contains(&hex(&key.seed[..])));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn cr_5_an_existing_file_is_never_overwritten() {
    let directory = Scratch::new();
    let path = directory.path().join("key");
    let first = SecretKey::generate().unwrap();
    first.store(&path, "a test").unwrap();
    let second = SecretKey::generate().unwrap();
    for result in [
        second.store(&path, "a test"),
        second.store_sealed(&path, "a test", &passphrase("x"), CHEAP),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, KeyFileError::Exists(_)));
        assert!(error.to_string().contains("is not overwritten"), "{error}");
    }
    assert_eq!(
        SecretKey::load(&path).unwrap().public_key(),
        first.public_key()
    );
}

#[cfg(unix)]
#[test]
fn cr_5_a_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Scratch::new();
    let path = directory.path().join("key");
    let key = SecretKey::generate().unwrap();
    key.store(&path, "a test").unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let PassphraseSource::File(words) = source(&directory, "x") else {
        unreachable!()
    };
    for mode in [0o640, 0o604, 0o620, 0o601] {
        for path in [&path, &words] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let error = SecretKey::load(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Permissions(_)), "{mode:o}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        // A passphrase that others can read is none, either.
        let error = PassphraseSource::File(words.clone()).get("a test");
        assert!(
            matches!(error, Err(KeyFileError::Permissions(_))),
            "{mode:o}"
        );
    }
}

#[rstest]
#[case::empty("")]
#[case::comment_only("# nothing\n")]
#[case::no_prefix("00")]
#[case::short("ed25519-secret:00\n")]
#[case::no_file_of_this_suite(
    "hmac-secret:0000000000000000000000000000000000000000000000000000000000000001\n"
)]
#[case::stub("stub-secret:0000000000000000000000000000000000000000000000000000000000000001\n")]
#[case::upper_case(
    "ed25519-secret:AA00000000000000000000000000000000000000000000000000000000000000\n"
)]
#[case::two_keys(
    "ed25519-secret:0000000000000000000000000000000000000000000000000000000000000001\ned25519-secret:0000000000000000000000000000000000000000000000000000000000000002\n"
)]
#[case::another_version("polity-sealed-key:2\npublic:\nargon2id:\nxchacha20poly1305:\n")]
fn refuses_other_content(#[case] text: &str) {
    let directory = Scratch::new();
    let path = directory.path().join("key");
    write(&path, text);
    let error = SecretKey::load(&path).unwrap_err();
    assert!(matches!(error, KeyFileError::Format(_)));
    assert!(error.is_unusable());
}

#[test]
fn a_file_too_long_or_no_text_is_refused() {
    let directory = Scratch::new();
    let path = directory.path().join("key");
    for bytes in [vec![b'#'; 1 << 20], vec![0xff; 64]] {
        place::replace_private(&path, &bytes).unwrap();
        assert!(matches!(
            SecretKey::load(&path),
            Err(KeyFileError::Format(_))
        ));
    }
}

#[test]
fn cr_5_another_passphrase_opens_nothing_and_an_empty_one_seals_nothing() {
    let directory = Scratch::new();
    let path = directory.path().join("key");
    let key = SecretKey::generate().unwrap();
    key.store_sealed(&path, "a test", &passphrase("correct horse"), CHEAP)
        .unwrap();
    for wrong in ["correct horsf", "correct horse ", "x"] {
        let error = SecretKey::load_with(&path, &source(&directory, wrong)).unwrap_err();
        assert!(matches!(error, KeyFileError::Sealed(_)), "{wrong:?}");
        assert!(
            !error.is_unusable(),
            "the key may be opened by who knows better"
        );
    }
    let error = SecretKey::load_with(&path, &source(&directory, "")).unwrap_err();
    assert!(matches!(error, KeyFileError::Passphrase));
    let long = Zeroizing::new("x".repeat(PASSPHRASE_BYTES_MAX + 1));
    assert!(matches!(
        Passphrase::new(long),
        Err(KeyFileError::Passphrase)
    ));
    let missing = PassphraseSource::Environment("POLITY_TEST_NO_SUCH_VARIABLE".to_owned());
    let error = SecretKey::load_with(&path, &missing).unwrap_err();
    assert!(matches!(error, KeyFileError::NoVariable(_)));
}

#[test]
fn cr_5_a_sealed_file_that_was_cut_or_changed_anywhere_does_not_open() {
    let directory = Scratch::new();
    let path = directory.path().join("key");
    let source = source(&directory, "x");
    let key = SecretKey::generate().unwrap();
    key.store_sealed(&path, "a test", &passphrase("x"), CHEAP)
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let start = text.find("polity-sealed-key").unwrap();
    // Every fifth place, so that each field is hit; a digit becomes another one.
    for place in (start..text.len() - 1).step_by(5) {
        let mut changed = text.clone().into_bytes();
        changed[place] = if changed[place] == b'1' { b'2' } else { b'1' };
        place::replace_private(&path, &changed).unwrap();
        let result = SecretKey::load_with(&path, &source);
        assert!(
            matches!(
                result,
                Err(KeyFileError::Format(_) | KeyFileError::Cost(_) | KeyFileError::Sealed(_))
            ),
            "byte {place}"
        );
        place::replace_private(&path, &text.as_bytes()[..place]).unwrap();
        assert!(
            SecretKey::load_with(&path, &source).is_err(),
            "cut at {place}"
        );
    }
    write(&path, &text);
    SecretKey::load_with(&path, &source).unwrap();
}

#[rstest]
#[case::memory("m=4294967295,t=1,p=1")]
#[case::a_little_more_memory("m=1048577,t=1,p=1")]
#[case::too_little_memory("m=8191,t=1,p=1")]
#[case::passes("m=8192,t=4294967295,p=1")]
#[case::no_pass("m=8192,t=0,p=1")]
#[case::lanes("m=8192,t=1,p=16777215")]
fn cr_5_absurd_costs_are_refused_before_anything_is_done(#[case] cost: &str) {
    let directory = Scratch::new();
    let path = directory.path().join("key");
    let key = SecretKey::generate().unwrap();
    key.store_sealed(&path, "a test", &passphrase("x"), CHEAP)
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    write(&path, &text.replace("m=8192,t=1,p=1", cost));
    // Without a passphrase: it is not even asked for.
    let nobody = PassphraseSource::Environment("POLITY_TEST_NO_SUCH_VARIABLE".to_owned());
    let error = SecretKey::load_with(&path, &nobody).unwrap_err();
    assert!(matches!(error, KeyFileError::Cost(_)), "{error}");
    let absurd = Cost {
        passes: 11,
        ..CHEAP
    };
    let other = directory.path().join("other");
    let error = key.store_sealed(&other, "a test", &passphrase("x"), absurd);
    assert!(matches!(error, Err(KeyFileError::Cost(_))));
}

#[test]
fn cr_5_two_sealings_of_one_key_share_nothing() {
    let directory = Scratch::new();
    let key = SecretKey::generate().unwrap();
    let sealed = |name: &str| {
        let path = directory.path().join(name);
        key.store_sealed(&path, "a test", &passphrase("x"), CHEAP)
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        text.lines().last().unwrap().to_owned()
    };
    assert_ne!(sealed("one"), sealed("two"));
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    polity_types::write_hex(bytes, &mut text).unwrap();
    text
}

#[rstest]
fn cr_5_nothing_that_is_shown_holds_a_secret(
    #[values(Suite::Ed25519, Suite::MlDsa65, Suite::MlDsa87, Suite::Hybrid)] suite: Suite,
) {
    let directory = Scratch::new();
    let path = directory.path().join("key");
    let words = "correct horse battery";
    let key = SecretKey::generate_of(suite).unwrap();
    key.store_sealed(&path, "a test", &passphrase(words), CHEAP)
        .unwrap();
    let sealed = parse(&path).unwrap();
    let open = directory.path().join("open");
    key.store(&open, "a test").unwrap();
    let mut shown = vec![
        format!("{key:?} {key:#?}"),
        format!("{:?}", key.signer()),
        format!("{:?}", passphrase(words)),
        format!("{sealed:?}"),
        format!("{:?}", parse(&open).unwrap()),
    ];
    let errors = [
        key.store(&path, words).unwrap_err(),
        SecretKey::load_with(&path, &source(&directory, "another passphrase")).unwrap_err(),
        SecretKey::load_with(
            &directory.path().join("missing"),
            &PassphraseSource::Standard,
        )
        .unwrap_err(),
    ];
    shown.extend(errors.iter().map(|error| format!("{error} {error:?}")));
    // A damaged file with the secret still in it.
    let text = fs::read_to_string(&open).unwrap();
    write(&open, &format!("{text}rest\n"));
    let error = SecretKey::load(&open).unwrap_err();
    shown.push(format!("{error} {error:?}"));
    let seed = key.seed.clone();
    let secrets = [
        hex(&seed[..]),
        format!("{:?}", &seed[..4])
            .trim_matches(['[', ']'])
            .to_owned(),
        words.to_owned(),
        "another passphrase".to_owned(),
    ];
    for text in &shown {
        for secret in &secrets {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
