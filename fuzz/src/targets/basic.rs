//! The `Authorization` header, and the credentials of a form beside it.

use base64ct::{Base64, Encoding};
use keyfob::engine::authenticate::PresentedCredentials;
use keyfob::fuzzing::{AuthorizationHeader, ClientFormFields, LastCredentials, merge};
use keyfob::token::client_secret::hash_client_secret;
use keyfob::token::text_names::TextNames;
use poem::http::{HeaderMap, HeaderValue, header};

use crate::text::percent_encoded;

/// Each line is an `Authorization` header. The first two are also a client's identifier and secret.
pub fn run(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let headers: HeaderMap = lines
        .iter()
        .filter_map(|line| Some((header::AUTHORIZATION, HeaderValue::from_bytes(line).ok()?)))
        .collect();
    let read = AuthorizationHeader::read(&headers);
    let last = LastCredentials::new(TextNames::new(&[7; 16]));
    for _ in 0..2 {
        assert!(same(&last.read(&headers), &read));
    }
    let text = |at: usize| lines.get(at).and_then(|line| std::str::from_utf8(line).ok());
    for id in [None, text(0)] {
        for assertion in [false, true] {
            let form = ClientFormFields { id: id.map(str::to_owned), secret: None, assertion };
            let is_used = !matches!(read, AuthorizationHeader::Absent);
            let merged = merge(&read, &form);
            assert!(!(is_used && assertion) || merged.is_err(), "two methods");
            if let (Ok(PresentedCredentials::Secret { id: merged, .. }), Some(id)) = (merged, id) {
                assert_eq!(merged, id);
            }
        }
    }
    if let (Some(id), Some(secret)) = (text(0), text(1)) {
        survives(id, secret);
    }
}

/// An identifier and a secret reach the server as they are, whatever they contain, and the debug text does
/// not depend on the secret.
fn survives(id: &str, secret: &str) {
    let header = sent(id, secret);
    let AuthorizationHeader::Basic { id: read_id, secret: read_secret } = &header else {
        panic!("it is Basic");
    };
    assert_eq!(&**read_id, id);
    match read_secret {
        None => assert!(secret.is_empty()),
        Some(read) => {
            assert!(!secret.is_empty() && read.0 == hash_client_secret(secret));
            assert_eq!(format!("{header:?}"), format!("{:?}", sent(id, "another")));
        }
    }
}

fn sent(id: &str, secret: &str) -> AuthorizationHeader {
    let joined = format!("{}:{}", percent_encoded(id), percent_encoded(secret));
    let value = format!("Basic {}", Base64::encode_string(joined.as_bytes()));
    let headers = [(header::AUTHORIZATION, value.parse().expect("it is ASCII"))].into_iter().collect();
    AuthorizationHeader::read(&headers)
}

fn same(a: &AuthorizationHeader, b: &AuthorizationHeader) -> bool {
    use AuthorizationHeader as Header;
    match (a, b) {
        (Header::Basic { id, secret }, Header::Basic { id: other_id, secret: other }) => {
            id == other_id && secret.map(|secret| secret.0) == other.map(|other| other.0)
        }
        (Header::Bearer(token), Header::Bearer(other)) => token.expose() == other.expose(),
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}
