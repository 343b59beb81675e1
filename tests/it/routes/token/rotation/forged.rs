//! Tokens that we never wrote, and the last one of a chain.

use base64ct::{Base64UrlUnpadded, Encoding};
use keyfob::domain::session::Decision;
use keyfob::store::Lane;
use keyfob::token::opaque::{Link, Opaque, OpaqueKeys, OpaqueKind, Secret};
use sha2::{Digest, Sha256};

use super::*;

/// The bytes of a token with another MAC, for each number another.
fn forged(bytes: &[u8; 72], number: u64) -> String {
    let mut forged = *bytes;
    let mac = Sha256::digest(number.to_be_bytes());
    forged[56..].copy_from_slice(&mac[..16]);
    format!("kfr_{}", Base64UrlUnpadded::encode_string(&forged))
}

fn bytes_of(token: &str) -> [u8; 72] {
    Base64UrlUnpadded::decode_vec(&token[4..]).unwrap().try_into().unwrap()
}

/// ROT-19: a million forgeries of a live token, and not one is taken for genuine.
#[test]
fn a_million_forged_tokens_are_not_genuine() {
    let keys = OpaqueKeys::new(&Keys::derive(&SecretKey::new([7; 32])));
    let link = Link { session: SessionId([1; 16]), family: 1, generation: 0 };
    let genuine = Opaque { kind: OpaqueKind::Refresh, link, secret: Secret::new([5; 32]) };
    let text = genuine.encode(&keys);
    assert!(Opaque::decode(text.expose(), &keys).is_some());
    let bytes = bytes_of(text.expose());
    assert!((0..1_000_000).all(|number| Opaque::decode(&forged(&bytes, number), &keys).is_none()));
}

/// ROT-19: a forged token with a live session's id is refused before the store is asked to write, and ends
/// nothing.
#[tokio::test]
async fn forged_tokens_write_nothing_and_end_nothing() {
    let case = opened().await;
    let second = case.next(&case.first()).await;
    let counters = || case.server.app().store().embedded().unwrap().counters();
    let before = (case.stored().await, case.reported().await, counters());
    for (number, token) in [case.first(), second.clone()].iter().cycle().take(200).enumerate() {
        let forged = forged(&bytes_of(token), number as u64);
        case.is_refused(&forged).await;
        assert_eq!(case.server.revoke(&case.app, &forged).await.status, 200);
    }
    assert_eq!((case.stored().await, case.reported().await, counters()), before);
    case.refresh(&second).await;
}

/// ROT-32: the last generation has no next; it is refused, and nothing wraps.
#[tokio::test]
async fn the_last_generation_is_refused() {
    let case = opened().await;
    let secret = Secret::new([5; 32]);
    let hash = secret.hash(OpaqueKind::Refresh);
    let link = Link { session: case.id(), family: 1, generation: u32::MAX };
    let last = Opaque { kind: OpaqueKind::Refresh, link, secret };
    let worn = case.server.app().store().update(case.id(), Lane::Ordinary, move |session, _| {
        (session.families[0].generation, session.families[0].current) = (u32::MAX, hash);
        Decision::answer(())
    });
    worn.await.unwrap().unwrap();
    let token = last.encode(&OpaqueKeys::new(&case.keys()));
    assert!(case.server.is_active(&case.app, token.expose()).await);
    case.is_refused(token.expose()).await;
    let shown = case.shown().await;
    assert_eq!((&shown["state"], &shown["families"][0]["generation"]), (&json!("active"), &json!(u32::MAX)));
}
