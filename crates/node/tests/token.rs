//! A key in a real PKCS#11 token, where `SoftHSM2` is installed (Debian: `apt-get install softhsm2`).
//!
//! Elsewhere the test is ignored and says so, which the standard harness cannot do at run time.

mod common;

use common::{Scratch, private};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use polity::config::Token;
use polity::keys::token::{TokenError, TokenSigner};
use polity_crypto::ed25519::Ed25519Verifier;
use polity_crypto::{Preimage, Signer as _, Verifier as _, domain};
use polity_testkit::harness::{self, Outcome};
use std::path::Path;
use std::process::{Command, ExitCode};

/// Where distributions put the module.
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

const PIN: &str = "very-secret-pin";

/// Set in the process that has the token: the directory of it.
const INNER: &str = "POLITY_TEST_SOFTHSM_DIRECTORY";

fn main() -> ExitCode {
    let module = MODULES.into_iter().find(|path| Path::new(path).exists());
    if let (Some(module), Some(directory)) = (module, std::env::var_os(INNER)) {
        with_softhsm(module, Path::new(&directory));
        println!("{DONE}");
        return ExitCode::SUCCESS;
    }
    let test = "a_key_in_softhsm_signs_what_everybody_verifies";
    harness::run(&[(test, ())], |()| match module {
        Some(_) => in_a_process(),
        None => Outcome::Ignored("no SoftHSM2 module is installed"),
    })
}

/// What the inner process says last.
const DONE: &str = "the token did it all";

/// The configuration of `SoftHSM2` is an environment variable, so the test runs in a process of its own.
fn in_a_process() -> Outcome {
    let directory = Scratch::new();
    let tokens = directory.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = directory.path().join("softhsm2.conf");
    std::fs::write(
        &conf,
        format!("directories.tokendir = {}\n", tokens.display()),
    )
    .unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .env("SOFTHSM2_CONF", &conf)
        .env(INNER, directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !text.contains(DONE) {
        return Outcome::Failed(text);
    }
    if text.contains(PIN) {
        return Outcome::Failed("the PIN is shown".to_owned());
    }
    Outcome::Passed
}

/// Makes a token with a key in it; tokens of other processes are not touched.
fn with_softhsm(module: &str, directory: &Path) {
    let pin_file = directory.join("pin");
    private(&pin_file, &format!("{PIN}\n"));
    let token = Token {
        module: module.into(),
        token: "polity".to_owned(),
        key: "vote".to_owned(),
        pin_file,
    };
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
    private(&wrong, "wrong-pin\n");
    let error = TokenSigner::open(&token).unwrap_err();
    assert!(
        error.to_string().contains("does not let this node in"),
        "{error}"
    );
}
