use super::*;
use crate::keys::place::replace_private;
use crate::scratch::Scratch;
use std::path::Path;

const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

const PIN: &str = "very-secret-pin";

/// The PIN in its file, for a token that may not be there.
fn config(directory: &Path, module: &str) -> Token {
    let pin_file = directory.join("pin");
    replace_private(&pin_file, format!("{PIN}\n").as_bytes()).unwrap();
    Token {
        module: module.into(),
        token: "polity".to_owned(),
        key: "vote".to_owned(),
        pin_file,
    }
}

#[test]
fn a_point_is_read_with_and_without_its_octet_string() {
    let raw = [7; 32];
    let wrapped = [&[0x04, 32][..], &raw].concat();
    let expected = PublicKey::new(Suite::Ed25519, &raw).unwrap();
    assert_eq!(public_key(&raw), Some(expected.clone()));
    assert_eq!(public_key(&wrapped), Some(expected));
    for bytes in [&raw[..31], &wrapped[..33], &[0x04, 31], &[]] {
        assert_eq!(public_key(bytes), None);
    }
}

#[test]
fn a_missing_module_is_an_error_and_no_pin_is_shown() {
    let directory = Scratch::new();
    let config = config(directory.path(), "/nowhere/no-module.so");
    let error = TokenSigner::open(&config).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("keys.token.module"), "{text}");
    assert!(!text.contains(PIN), "{text}");
}

#[cfg(unix)]
#[test]
fn a_pin_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Scratch::new();
    let config = config(directory.path(), "/nowhere/no-module.so");
    std::fs::set_permissions(&config.pin_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        TokenSigner::open(&config),
        Err(KeyFileError::Permissions(_))
    ));
}

/// With `SoftHSM2`, whose configuration is an environment variable: so the test runs itself again in a
/// process of its own.
#[test]
#[ignore = "needs SoftHSM2 (Debian: apt-get install softhsm2); run with --ignored"]
fn a_key_in_softhsm_signs_what_everybody_verifies() {
    const INNER: &str = "POLITY_TEST_SOFTHSM_DIRECTORY";
    if let Some(directory) = std::env::var_os(INNER) {
        return with_softhsm(Path::new(&directory));
    }
    let directory = Scratch::new();
    let tokens = directory.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = directory.path().join("softhsm2.conf");
    std::fs::write(
        &conf,
        format!("directories.tokendir = {}\n", tokens.display()),
    )
    .unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("keys::token::tests::a_key_in_softhsm_signs_what_everybody_verifies")
        .env("SOFTHSM2_CONF", &conf)
        .env(INNER, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains(PIN), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

/// Makes a token with a key in it; tokens of other processes are not touched.
fn with_softhsm(directory: &Path) {
    let module = MODULES
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("no SoftHSM2 module is installed");
    let token = config(directory, module);
    // Nothing there yet.
    let error = TokenSigner::open(&token).unwrap_err();
    assert!(error.to_string().contains("no token is called"), "{error}");

    // Nobody holds the module any more, so it was unloaded.
    let context = Pkcs11::new(module).unwrap();
    context
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    let slot = context.get_slots_with_token().unwrap()[0];
    let so_pin = AuthPin::new("officer-pin".into());
    context.init_token(slot, &so_pin, "polity").unwrap();
    let session = context.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&so_pin)).unwrap();
    session.init_pin(&AuthPin::new(PIN.into())).unwrap();
    session.logout().unwrap();
    session
        .login(UserType::User, Some(&AuthPin::new(PIN.into())))
        .unwrap();
    let error = TokenSigner::open(&token).unwrap_err();
    assert!(error.to_string().contains("has 0 Ed25519 keys"), "{error}");
    // edwards25519, as a printable string of ASN.1.
    let curve = [&[0x13, 0x0c][..], b"edwards25519"].concat();
    let label = || Attribute::Label(b"vote".to_vec());
    session
        .generate_key_pair(
            &Mechanism::EccEdwardsKeyPairGen,
            &[
                Attribute::Token(true),
                Attribute::Private(false),
                Attribute::Verify(true),
                Attribute::EcParams(curve),
                label(),
            ],
            &[
                Attribute::Token(true),
                Attribute::Sign(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                label(),
            ],
        )
        .unwrap();

    let signer = TokenSigner::open(&token).unwrap();
    assert!(!format!("{signer:?}").contains(PIN));
    let verifier = Ed25519Verifier::default();
    for number in 0..4 {
        let preimage = Preimage::new(domain::TEST).u64(number);
        let signature = signer.sign(&preimage);
        verifier
            .judge(signer.public_key(), &preimage, &signature)
            .unwrap();
        assert_eq!(signer.clone().sign(&preimage), signature, "the same again");
    }
    let other = Token {
        key: "another".to_owned(),
        ..token.clone()
    };
    assert!(TokenSigner::open(&other).is_err());
    // The token is pulled out: the signer says so, and nobody signs in its place.
    session.logout().unwrap();
    let preimage = Preimage::new(domain::TEST).u64(9);
    let error = signer.try_sign(&preimage).unwrap_err();
    assert!(error.to_string().contains("fails"), "{error}");
    assert!(!error.to_string().contains(PIN), "{error}");
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| signer.sign(&preimage)));
    let panic = result.unwrap_err();
    assert!(panic.downcast_ref::<TokenError>().is_some());
    let wrong = directory.join("pin");
    replace_private(&wrong, b"wrong-pin\n").unwrap();
    let error = TokenSigner::open(&token).unwrap_err();
    assert!(
        error.to_string().contains("does not let this node in"),
        "{error}"
    );
}
