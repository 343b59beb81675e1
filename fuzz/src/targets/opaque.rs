//! Refresh tokens, session tokens and client secrets: what decodes is what was encoded, to the byte.

use std::sync::LazyLock;

use keyfob::domain::id::SessionId;
use keyfob::token::client_secret::hash_client_secret;
use keyfob::token::keys::{Keys, SecretKey};
use keyfob::token::opaque::{Link, Opaque, OpaqueKeys, OpaqueKind, Secret};
use keyfob::token::verifier::TokenVerifier;

use crate::server::keys;

static OURS: LazyLock<OpaqueKeys> = LazyLock::new(|| OpaqueKeys::new(keys()));
static FOREIGN: LazyLock<OpaqueKeys> =
    LazyLock::new(|| OpaqueKeys::new(&Keys::derive(&SecretKey::new([8; 32]))));

pub fn run(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        read(text);
        assert!(hash_client_secret(text).is_none() || (text.len() == 47 && text.starts_with("kfc_")));
    }
    if let Some((made, changed)) = input.split_first_chunk::<56>() {
        write(made, changed.first().copied());
    }
}

fn read(text: &str) {
    let decoded = Opaque::decode(text, &OURS);
    let verified = TokenVerifier::new([7; 16]).opaque(text, &OURS);
    assert_eq!(decoded.is_some(), verified.is_some());
    let unverified = Opaque::expose_unverified(text);
    let Some(token) = decoded else { return };
    assert!(Opaque::has_form(text) && unverified == Some((token.kind, token.link)));
    assert_eq!(token.encode(&OURS).expose(), text);
    assert!(Opaque::decode(text, &FOREIGN).is_none());
}

/// A token of these bytes, and the same with one other character.
fn write(bytes: &[u8; 56], changed: Option<u8>) {
    let kind = if bytes[0] & 1 == 0 { OpaqueKind::Refresh } else { OpaqueKind::Session };
    let family = u16::from_be_bytes([bytes[18], bytes[19]]);
    let link = Link {
        session: SessionId(*bytes[2..].first_chunk().expect("54 bytes follow")),
        family: if kind == OpaqueKind::Refresh { family } else { 0 },
        generation: u32::from_be_bytes(*bytes[20..].first_chunk().expect("36 bytes follow")),
    };
    let secret = Secret::new(*bytes[24..].first_chunk().expect("32 bytes follow"));
    let token = Opaque { kind, link, secret };
    let text = token.encode(&OURS).expose().to_owned();
    let read = Opaque::decode(&text, &OURS).expect("it was encoded with these keys");
    assert!((read.kind, read.link) == (kind, link) && read.hash() == token.hash());
    if let Some(changed) = changed {
        let mut altered = text.clone().into_bytes();
        let at = usize::from(changed) % altered.len();
        altered[at] = altered[at].wrapping_add(1 + bytes[1] % 255);
        let is_accepted = String::from_utf8(altered).is_ok_and(|text| Opaque::decode(&text, &OURS).is_some());
        assert!(!is_accepted);
    }
}
