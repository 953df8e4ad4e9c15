use super::*;
use crate::keys::place::replace_private;
use crate::scratch::Scratch;
use std::path::Path;

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
