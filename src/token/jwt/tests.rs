//! Access tokens as JWTs: what is written, what is accepted, and what is rejected.

use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;
use crate::domain::access::{AccessToken, TokenFormat};
use crate::domain::key::KeyStatus;
use crate::token::access::tests::{keyring, of_client, of_session, record, signed};
use crate::token::access::{sign as sign_access_token, verify};
use crate::token::{paserk, paseto};

mod es256;

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

fn decoded(part: &str) -> String {
    String::from_utf8(Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap()
}

fn token(of: &AccessToken) -> String {
    signed(of, TokenFormat::Jwt, &keyring())
}

fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

fn payload(of: &AccessToken) -> String {
    decoded(parts(&token(of))[1])
}

fn is_accepted(token: &str) -> bool {
    verify(token, &keyring()).is_some()
}

/// Reads a payload that is signed by one of our keys.
fn read_signed(payload: impl Into<Vec<u8>>) -> Option<AccessToken> {
    let ring = keyring();
    verify(&ring.active().sign(payload.into(), TokenFormat::Jwt).unwrap(), &ring)
}

/// Whether a valid payload with this header, signed by our own key, is accepted.
fn is_accepted_under(header: &str) -> bool {
    is_accepted(&sign_with(
        &SigningKey::from_bytes(&[2; 32]),
        &base64url(header),
        payload(&of_client()).as_bytes(),
    ))
}

fn sign_with(key: &SigningKey, encoded_header: &str, message: &[u8]) -> String {
    sign(encoded_header, message, |signed| key.sign(signed).to_bytes())
}

/// JWP-01: the header of RFC 9068 §2.1, the names and types of RFC 7519 and RFC 9068 §2.2, in the order of
/// the contract.
#[test]
fn a_jwt_is_written_as_rfc_9068_says() {
    let text = token(&of_session());
    let [header, claims, signature] = parts(&text);
    assert_eq!(
        decoded(header),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{}"}}"#, keyring().active().id)
    );
    assert_eq!(
        decoded(claims),
        concat!(
            r#"{"iss":"https://id.example","sub":"ali\"ce\\ żółw","aud":"https://api.example","exp":1700000300,"#,
            r#""iat":1700000000,"jti":"CQkJCQkJCQkJCQkJCQkJCQ","#,
            r#""sid":"018bcfe5-6800-7505-8505-050505050505","fam":1,"client_id":"app","scope":"read write","auth_time":1699999999,"#,
            r#""acr":"aal2","amr":["pwd","otp"],"claims":{"a":[1,{"b":null}],"name":"Ż"}}"#
        )
    );
    assert_eq!(
        payload(&of_client()),
        concat!(
            r#"{"iss":"https://id.example","sub":"ali\"ce\\ żółw","aud":"https://api.example","exp":1700000300,"#,
            r#""iat":1700000000,"jti":"CQkJCQkJCQkJCQkJCQkJCQ","client_id":"app","rh":"42"}"#
        )
    );
    assert_eq!(Base64UrlUnpadded::decode_vec(signature).unwrap().len(), 64);
}

#[test]
fn a_header_and_a_payload_are_shown_unless_keyfob_cannot_have_written_the_header() {
    let text = token(&of_client());
    let (header, shown) = UnverifiedJwt::parse(&text).unwrap().expose_unverified().unwrap();
    let written =
        serde_json::json!({"typ": "at+jwt", "alg": "EdDSA", "kid": keyring().active().id.to_string()});
    assert_eq!((header, String::from_utf8(shown).unwrap()), (written, payload(&of_client())));
    let of = |header: &[u8]| {
        let text = format!("{}.{}.", base64url(header), base64url("{}"));
        UnverifiedJwt::parse(&text).unwrap().expose_unverified().err()
    };
    assert_eq!(of(br#"{"alg":"ES256"}"#), None);
    for unreadable in [&b"\xff"[..], b"{", b"[]", b"1", br#"{"alg":"EdDSA","alg":"EdDSA"}"#] {
        assert_eq!(of(unreadable), Some(ForeignHeader::Unreadable), "{unreadable:?}");
    }
    for algorithm in [&br#"{"alg":"HS256"}"#[..], br#"{"alg":"none"}"#, br#"{"alg":1}"#, b"{}"] {
        assert_eq!(of(algorithm), Some(ForeignHeader::Algorithm), "{algorithm:?}");
    }
    assert_eq!(of(br#"{"alg":"EdDSA","crit":["b64"]}"#), Some(ForeignHeader::Critical));
}

/// RFC 8037, appendix A.4.
#[test]
fn the_example_of_rfc_8037_is_signed_and_verified() {
    let seed = Base64UrlUnpadded::decode_vec("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let key = SigningKey::from_bytes(&seed.try_into().unwrap());
    let signed = sign_with(&key, "eyJhbGciOiJFZERTQSJ9", b"Example of Ed25519 signing");
    let example = concat!(
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
    assert_eq!(signed, example);
    let public = PublicKey::from_bytes(Algorithm::EdDsa, key.verifying_key().as_bytes()).unwrap();
    assert_eq!(
        UnverifiedJwt::parse(example).unwrap().verify_signature(&public).as_deref(),
        Some(&b"Example of Ed25519 signing"[..])
    );
}

/// ASV-01.
#[test]
fn a_jwt_with_any_bit_flipped_or_truncated_is_rejected() {
    let valid = token(&of_client());
    assert!(is_accepted(&valid));
    for bit in 0..valid.len() * 8 {
        let mut changed = valid.clone().into_bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(
            String::from_utf8(changed).map_or(true, |changed| !is_accepted(&changed)),
            "bit {bit} of the text"
        );
    }
    for length in 0..valid.len() {
        assert!(!is_accepted(&valid[..length]), "{length} bytes");
    }
    for part in parts(&valid) {
        let bytes = Base64UrlUnpadded::decode_vec(part).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_accepted(&valid.replace(part, &base64url(&changed))), "bit {bit} of a part");
        }
    }
}

/// ASV-02, ASV-03, JWP-02: every signature here is valid; only the header decides.
#[test]
fn only_our_own_header_is_accepted() {
    let kid = keyring().active().id;
    let (retired, unknown) = (record(3, KeyStatus::Retired).id, record(4, KeyStatus::Active).id);
    let public = base64url(keyring().active().public.to_bytes());
    assert!(is_accepted_under(&format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}"}}"#)));
    for header in [
        String::new(),
        "{}".into(),
        // Another algorithm.
        format!(r#"{{"typ":"at+jwt","alg":"none","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"None","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"HS256","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"Ed25519","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","kid":"{kid}"}}"#),
        // Another type.
        format!(r#"{{"typ":"JWT","alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"secevent+jwt","alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"token-introspection+jwt","alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"application/at+jwt","alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"AT+JWT","alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
        // Another key, no key, or a key in the header.
        r#"{"typ":"at+jwt","alg":"EdDSA"}"#.into(),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{unknown}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{retired}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":["{kid}"]}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}","kid":"{kid}"}}"#),
        format!(
            r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{public}"}}}}"#
        ),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}","jku":"https://evil.example"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}","x5u":"https://evil.example"}}"#),
        // Another meaning.
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}","crit":["b64"],"b64":false}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}","crit":["exp"]}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}","cty":"JWT"}}"#),
        // The same header, spelt differently.
        format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt", "alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at\u002bjwt","alg":"EdDSA","kid":"{kid}"}}"#),
    ] {
        assert!(!is_accepted_under(&header), "{header}");
    }
    let encoded = encoded_header(&kid);
    for spelling in [
        encoded.to_ascii_uppercase(),
        encoded.to_ascii_lowercase(),
        format!("{encoded}="),
        encoded[..encoded.len() - 1].into(),
    ] {
        let token = sign_with(&SigningKey::from_bytes(&[2; 32]), &spelling, payload(&of_client()).as_bytes());
        assert!(!is_accepted(&token), "{spelling}");
    }
}

fn paserk_text(key: &PublicKey) -> String {
    paserk::public_text(key.to_bytes().as_ref().try_into().unwrap())
}

/// ASV-02: RFC 8725 §3.1. The public key is public, so a MAC under it proves nothing.
#[test]
fn alg_none_and_a_mac_under_the_public_key_are_rejected() {
    let ring = keyring();
    let key = ring.active();
    let claims = base64url(payload(&of_client()));
    for algorithm in ["none", "NONE", "HS256", "EdDSA"] {
        let header = base64url(format!(r#"{{"typ":"at+jwt","alg":"{algorithm}","kid":"{}"}}"#, key.id));
        let signed = format!("{header}.{claims}");
        for secret in [key.public.to_bytes().to_vec(), paserk_text(&key.public).into_bytes(), vec![]] {
            let mac = Hmac::<Sha256>::new_from_slice(&secret)
                .unwrap()
                .chain_update(&signed)
                .finalize()
                .into_bytes();
            assert!(!is_accepted(&format!("{signed}.{}", base64url(mac))), "{algorithm}");
        }
        for signature in [String::new(), base64url([0; 64])] {
            assert!(!is_accepted(&format!("{signed}.{signature}")), "{algorithm}");
        }
        assert!(!is_accepted(&signed), "{algorithm}");
    }
}

#[test]
fn a_jwt_of_a_key_that_is_not_in_the_ring_is_rejected() {
    let (ring, foreign) = (keyring(), SigningKey::from_bytes(&[4; 32]));
    let unknown = record(4, KeyStatus::Active).id;
    for id in [ring.active().id, unknown] {
        assert!(
            !is_accepted(&sign_with(&foreign, &encoded_header(&id), payload(&of_client()).as_bytes())),
            "{id}"
        );
    }
    let retired = ring.find(&record(3, KeyStatus::Retired).id).unwrap();
    assert!(is_accepted(&sign_access_token(&of_client(), TokenFormat::Jwt, retired).unwrap()));
}

/// PAS-06, PAS-07, PAS-08 for the other form, PAS-52: one token, one spelling.
#[test]
fn only_the_compact_form_in_canonical_base64url_is_accepted() {
    let valid = token(&of_client());
    let [header, claims, signature] = parts(&valid);
    let last =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".find(&signature[85..]).unwrap();
    assert_eq!((signature.len(), last % 16), (86, 0), "four spare bits, all zero");
    let spelling = |at: usize| &"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[at..=at];
    for other in last + 1..last + 16 {
        assert!(
            !is_accepted(&format!("{header}.{claims}.{}{}", &signature[..85], spelling(other))),
            "spelling {other}"
        );
    }
    for wrong in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{valid}."),
        format!(".{valid}"),
        format!("{valid}.{signature}"),
        format!("{header}.{claims}.{claims}.{signature}"),
        format!("{header}.{claims}.{signature}.{claims}.{signature}"),
        format!("{valid}="),
        format!("{valid}=="),
        format!("{header}.{claims}=.{signature}"),
        format!("{valid}\n"),
        format!(" {valid}"),
        format!("{header}.\n{claims}.{signature}"),
        format!("{header}.{claims}.{}", base64url([0; 65])),
        format!("{header}.{claims}.{}", base64url([0; 63])),
        format!("v4.public.{valid}"),
        format!(r#"{{"protected":"{header}","payload":"{claims}","signature":"{signature}"}}"#),
    ] {
        assert!(!is_accepted(&wrong), "{wrong}");
    }
    let key = SigningKey::from_bytes(&[2; 32]);
    for payload in [format!("{claims}="), claims.replace('e', "+"), format!("{claims} ")] {
        let signed = format!("{header}.{payload}");
        let token = format!("{signed}.{}", base64url(key.sign(signed.as_bytes()).to_bytes()));
        assert!(!is_accepted(&token), "signed, and not base64url: {payload}");
    }
}

/// VEC-05: the same signature with S + L.
#[test]
fn a_malleated_signature_is_rejected() {
    // L, the order of the group, little-endian (RFC 8032 §5.1).
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, //
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let valid = token(&of_client());
    let [header, claims, signature] = parts(&valid);
    let mut bytes = Base64UrlUnpadded::decode_vec(signature).unwrap();
    let mut carry = 0;
    for (byte, order) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert!(!is_accepted(&format!("{header}.{claims}.{}", base64url(&bytes))));
}

/// PAS-20, PAS-21, PAS-31, PAS-32 for JWTs: each payload is signed by one of our keys.
#[test]
fn a_payload_that_differs_from_ours_is_rejected_even_if_a_key_of_ours_signed_it() {
    let valid = payload(&of_session());
    assert!(read_signed(valid.as_str()) == Some(of_session()), "the unchanged payload is accepted");
    for (what, old, new) in [
        ("duplicate key", r#""iss":"#, r#""iss":"https://id.example","iss":"#),
        ("escaped duplicate key", r#""iss":"#, r#""\u0069ss":"https://id.example","iss":"#),
        ("duplicate exp", r#""exp":"#, r#""exp":1700000300,"exp":"#),
        ("duplicate key in the claims", r#"{"a":[1"#, r#"{"name":1,"a":[1"#),
        ("unknown claim", r#""iss":"#, r#""role":"admin","iss":"#),
        ("events of another kind of token (SET-01)", r#""iss":"#, r#""events":{},"iss":"#),
        ("missing iss", r#""iss":"https://id.example","#, ""),
        ("missing sub", r#""sub":"ali\"ce\\ żółw","#, ""),
        ("missing exp", r#""exp":1700000300,"#, ""),
        ("null nbf", r#""iat":"#, r#""nbf":null,"iat":"#),
        ("missing iat", r#""iat":1700000000,"#, ""),
        ("missing aud", r#""aud":"https://api.example","#, ""),
        ("missing jti", r#""jti":"CQkJCQkJCQkJCQkJCQkJCQ","#, ""),
        ("missing client", r#""client_id":"app","#, ""),
        ("missing auth_time", r#""auth_time":1699999999,"#, ""),
        ("text exp", "1700000300", r#""1700000300""#),
        ("exp as a PASETO has it", "1700000300", r#""2023-11-14T22:18:20Z""#),
        ("fractional exp", "1700000300", "1700000300.5"),
        ("exp with a point", "1700000300", "1700000300.0"),
        ("exp with an exponent", "1700000300", "17000003e2"),
        ("negative exp", "1700000300", "-1"),
        ("exp beyond any clock", "1700000300", "9223372036854775808"),
        ("null exp", "1700000300", "null"),
        ("bool exp", "1700000300", "true"),
        ("text nbf", r#""iat":"#, r#""nbf":"1700000000","iat":"#),
        ("text iat", r#""iat":1700000000"#, r#""iat":"1700000000""#),
        ("array aud", r#""https://api.example""#, r#"["https://api.example"]"#),
        ("null aud", r#""https://api.example""#, "null"),
        ("numeric iss", r#""https://id.example""#, "1"),
        ("numeric sub", r#""ali\"ce\\ żółw""#, "1"),
        ("numeric jti", r#""CQkJCQkJCQkJCQkJCQkJCQ""#, "1"),
        ("array scope", r#""read write""#, r#"["read","write"]"#),
        ("text auth_time", "1699999999", r#""1699999999""#),
        ("rh and sid", r#""iss":"#, r#""rh":"42","iss":"#),
        ("something behind", r#""name":"Ż"}}"#, r#""name":"Ż"}} {}"#),
        ("cut short", r#""name":"Ż"}}"#, r#""name":"Ż"}"#),
    ] {
        let changed = valid.replacen(old, new, 1);
        assert_ne!(changed, valid, "{what}");
        assert!(read_signed(changed).is_none(), "{what}");
    }
    for wrong in [
        "",
        "null",
        "1",
        "\"a\"",
        "[]",
        "{}",
        &format!(" {valid}"),
        &format!("\u{feff}{valid}"),
        &format!("[{valid}]"),
    ] {
        assert!(read_signed(wrong).is_none(), "{wrong}");
    }
    let mut not_text = valid.into_bytes();
    let at = not_text.iter().position(|byte| *byte >= 0x80).unwrap();
    not_text[at] = 0xff;
    assert!(read_signed(not_text).is_none(), "invalid UTF-8");
}

/// PAS-13: the length is checked before anything is decoded.
#[test]
fn a_jwt_over_the_limit_is_rejected_before_it_is_split() {
    let of_length = |length: usize| format!("{}.a.b", "A".repeat(length - 4));
    assert!(UnverifiedJwt::parse(&of_length(TOKEN_BYTES_MAX)).is_some());
    assert!(UnverifiedJwt::parse(&of_length(TOKEN_BYTES_MAX + 1)).is_none());
}

/// JWP-02, PAS-30, PAS-51, ASV-05: one key signs both formats.
#[test]
fn the_payload_of_one_format_is_rejected_in_the_other_even_if_signed() {
    let ring = keyring();
    let key = ring.active();
    for token in [of_session(), of_client()] {
        let paseto = sign_access_token(&token, TokenFormat::Paseto, key).unwrap();
        let (message, _) = paseto::UnverifiedPaseto::parse(&paseto).unwrap().expose_unverified().unwrap();
        let jwt = sign_access_token(&token, TokenFormat::Jwt, key).unwrap();
        assert!(verify(&paseto, &ring) == Some(token.clone()) && verify(&jwt, &ring) == Some(token.clone()));
        assert!(
            verify(&key.sign(message, TokenFormat::Jwt).unwrap(), &ring).is_none(),
            "a PASETO's payload in a JWT"
        );
        assert!(
            verify(&key.sign(payload(&token).into(), TokenFormat::Paseto).unwrap(), &ring).is_none(),
            "a JWT's payload in a PASETO"
        );
    }
}

/// The same for signatures, independent of the payload.
#[test]
fn the_signature_of_one_format_does_not_verify_in_the_other() {
    let ring = keyring();
    let key = ring.active();
    for message in [payload(&of_client()), "{}".into(), String::new(), "\u{4}\0\0\0\0\0\0\0".into()] {
        let jwt = key.sign(message.clone().into(), TokenFormat::Jwt).unwrap();
        let paseto = key.sign(message.clone().into(), TokenFormat::Paseto).unwrap();
        assert!(
            jwt.starts_with("eyJ"),
            "what a JWT signs begins with a letter; what a PASETO signs begins with the number 4"
        );
        let [header, claims, signature] = parts(&jwt);
        let (body, footer) = paseto["v4.public.".len()..].split_once('.').unwrap();
        let body = Base64UrlUnpadded::decode_vec(body).unwrap();
        let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
        let (own, lifted) = (&body[message.len()..], &signature[..]);
        let as_jwt = |signature: &[u8]| format!("{header}.{claims}.{}", base64url(signature));
        let as_paseto = |signature: &[u8]| {
            format!("v4.public.{}.{footer}", base64url([message.as_bytes(), signature].concat()))
        };
        let jwt_verifies =
            |token: &str| UnverifiedJwt::parse(token).unwrap().verify_signature(&key.public).is_some();
        let PublicKey::Ed25519(public) = &key.public else { panic!("the active key is one of Ed25519") };
        let paseto_verifies =
            |token: &str| paseto::UnverifiedPaseto::parse(token).unwrap().verify(public, b"").is_some();
        assert!(
            jwt_verifies(&as_jwt(lifted)) && paseto_verifies(&as_paseto(own)),
            "reassembled, each verifies"
        );
        assert!(!jwt_verifies(&as_jwt(own)), "a PASETO's signature in a JWT");
        assert!(!paseto_verifies(&as_paseto(lifted)), "a JWT's signature in a PASETO");
    }
}
