//! Access tokens, PASETO and JWT: any text, and any payload behind a valid signature.

use std::sync::LazyLock;

use keyfob::domain::access::TokenFormat;
use keyfob::fuzzing::{TOKEN_BYTES_MAX, UnverifiedJwt, UnverifiedPaseto, has_unique_keys};
use keyfob::store::Store;
use keyfob::token::access::{sign, sign_payload, verify};
use keyfob::token::form::has_form_of_ours;
use keyfob::token::keyring::Keyring;
use keyfob::token::verifier::TokenVerifier;

use crate::server::{ISSUER, Server, keys, runtime};
use crate::text::first_line;

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let records = runtime().block_on(async { Server::start().await.store.registry().keys.clone() });
    Keyring::open(&records, keys()).expect("the server has opened it")
});

pub fn run(input: &[u8]) {
    let (format, payload) = first_line(input);
    match std::str::from_utf8(format).ok().and_then(|name| name.parse().ok()) {
        Some(format) => read_payload(format, payload),
        None => {
            if let Ok(text) = std::str::from_utf8(input) {
                read_text(text);
            }
        }
    }
}

/// Only what the keys have signed is accepted, and it has one spelling.
fn read_text(text: &str) {
    let verified = verify(text, &KEYRING);
    let cached = TokenVerifier::new([7; 16]).access(text, &KEYRING);
    assert_eq!(verified.as_ref(), cached.as_deref());
    let shown = UnverifiedPaseto::parse(text).and_then(|token| token.expose_unverified());
    assert!(shown.is_none_or(|(message, footer)| message.len() + footer.len() < TOKEN_BYTES_MAX));
    let shown = UnverifiedJwt::parse(text).and_then(|token| token.expose_unverified().ok());
    assert!(shown.is_none_or(|(_, payload)| payload.len() < TOKEN_BYTES_MAX));
    let has_form = has_form_of_ours(text, ISSUER);
    let Some(token) = verified else { return };
    assert!(has_form);
    let signs_it = |format: &TokenFormat| {
        KEYRING.active_for(*format).and_then(|key| sign(&token, *format, key)).as_deref() == Some(text)
    };
    assert!(TokenFormat::ALL.iter().any(signs_it), "{text}");
}

/// An accepted payload reads as what is written for it.
fn read_payload(format: TokenFormat, payload: &[u8]) {
    let key = KEYRING.active_for(format).expect("the server has keys for each format");
    let text = sign_payload(payload, format, key).expect("the key is for the format");
    let Some(token) = verify(&text, &KEYRING) else { return };
    assert!(text.len() <= TOKEN_BYTES_MAX);
    assert!(std::str::from_utf8(payload).is_ok_and(has_unique_keys));
    let written = sign(&token, format, key).expect("the key is for the format");
    if written.len() <= TOKEN_BYTES_MAX {
        assert_eq!(verify(&written, &KEYRING).as_ref(), Some(&token));
    }
}
