//! Access tokens: the payload that is written, and the payloads that are rejected.

use ed25519_dalek::SigningKey;

use super::*;
use crate::domain::access::TokenFormat;
use crate::domain::algorithm::Algorithm;
use crate::domain::caller::Caller;
use crate::domain::client::Client;
use crate::domain::cutoff::CutOffs;
use crate::domain::id::{Position, SessionId, TokenId};
use crate::domain::introspection::Judgement;
use crate::domain::key::{KeyRecord, KeyStatus};
use crate::domain::validity::Validity;
use crate::token::keyring::generate;
use crate::token::keys::{Keys, SecretKey};
use crate::token::paserk;

pub fn keys() -> Keys {
    Keys::derive(&SecretKey::new([1; 32]))
}

pub fn record(seed: u8, status: KeyStatus) -> KeyRecord {
    generate(Algorithm::EdDsa, [seed; 32], &keys(), status, Timestamp::from_seconds(1))
}

pub fn record_es256(seed: u8, status: KeyStatus) -> KeyRecord {
    generate(Algorithm::Es256, [seed; 32], &keys(), status, Timestamp::from_seconds(1))
}

pub fn keyring() -> Keyring {
    let records = [
        record(2, KeyStatus::Active),
        record(3, KeyStatus::Retired),
        record_es256(2, KeyStatus::Active),
        record_es256(3, KeyStatus::Retired),
    ];
    Keyring::open(&records, &keys()).unwrap()
}

/// Signed by the active key for this format.
pub fn signed(token: &AccessToken, format: TokenFormat, ring: &Keyring) -> String {
    sign(token, format, ring.active_for(format).unwrap()).unwrap()
}

pub fn of_session() -> AccessToken {
    AccessToken {
        issuer: "https://id.example".into(),
        subject: "ali\"ce\\ żółw".parse().unwrap(),
        audience: "https://api.example".into(),
        not_before: None,
        issued_at: 1_700_000_000,
        expires_at: 1_700_000_300,
        id: TokenId([9; 16]),
        client_id: "app".parse().unwrap(),
        scope: "write read".parse().unwrap(),
        issued_for: IssuedFor::Session {
            id: SessionId::new(Timestamp::from_seconds(1_700_000_000), &[5; 10]),
            family: Some(1),
            authentication: Authentication {
                at: Timestamp::from_seconds(1_699_999_999),
                acr: Some("aal2".into()),
                amr: vec!["pwd".into(), "otp".into()],
            },
            claims: Some(Claims(r#"{"a":[1,{"b":null}],"name":"Ż"}"#.into())),
        },
    }
}

pub fn of_client() -> AccessToken {
    AccessToken {
        scope: ScopeSet::default(),
        issued_for: IssuedFor::Client { issued: Position(42) },
        ..of_session()
    }
}

/// Reads a payload that is signed by one of our keys.
fn read_signed(payload: impl Into<Vec<u8>>) -> Option<AccessToken> {
    let ring = keyring();
    verify(&ring.active().sign(payload.into(), TokenFormat::Paseto).unwrap(), &ring)
}

fn payload(token: &AccessToken) -> String {
    serde_json::to_string(&Payload::<Rfc3339>::of(token)).unwrap()
}

#[test]
fn verification_returns_the_content_that_was_signed() {
    let ring = keyring();
    let bare = IssuedFor::Session {
        id: SessionId([1; 16]),
        family: None,
        authentication: Authentication { at: Timestamp::from_seconds(0), acr: None, amr: vec![] },
        claims: None,
    };
    for token in [of_session(), of_client(), AccessToken { issued_for: bare, ..of_client() }] {
        for format in TokenFormat::ALL {
            assert!(
                verify(&signed(&token, *format, &ring), &ring).as_ref() == Some(&token),
                "{}",
                format.as_str()
            );
        }
    }
}

/// PAS-26, PAS-27, and the order of the claims.
#[test]
fn a_token_is_written_as_the_contract_says() {
    assert_eq!(
        payload(&of_session()),
        concat!(
            r#"{"iss":"https://id.example","sub":"ali\"ce\\ żółw","aud":"https://api.example","exp":"2023-11-14T22:18:20Z","#,
            r#""iat":"2023-11-14T22:13:20Z","jti":"CQkJCQkJCQkJCQkJCQkJCQ","#,
            r#""sid":"018bcfe5-6800-7505-8505-050505050505","fam":1,"client_id":"app","scope":"read write","auth_time":1699999999,"#,
            r#""acr":"aal2","amr":["pwd","otp"],"claims":{"a":[1,{"b":null}],"name":"Ż"}}"#
        )
    );
    assert_eq!(
        payload(&of_client()),
        concat!(
            r#"{"iss":"https://id.example","sub":"ali\"ce\\ żółw","aud":"https://api.example","exp":"2023-11-14T22:18:20Z","#,
            r#""iat":"2023-11-14T22:13:20Z","jti":"CQkJCQkJCQkJCQkJCQkJCQ","client_id":"app","rh":"42"}"#
        )
    );
    let ring = keyring();
    let text = signed(&of_client(), TokenFormat::Paseto, &ring);
    let (_, footer) = paseto::UnverifiedPaseto::parse(&text).unwrap().expose_unverified().unwrap();
    assert_eq!(String::from_utf8(footer).unwrap(), format!(r#"{{"kid":"{}"}}"#, ring.active().id));
}

/// The largest permitted claims fit into a token that can be read again, beside long names and 700 bytes of
/// scopes.
#[test]
fn the_largest_claims_fit() {
    let ring = keyring();
    let mut token = of_session();
    token.subject = "\"".repeat(256).parse().unwrap();
    token.audience = "a".repeat(256).into();
    token.scope = "s".repeat(700).parse().unwrap();
    if let IssuedFor::Session { claims, .. } = &mut token.issued_for {
        *claims = Some(Claims(format!(r#"{{"a":"{}"}}"#, "x".repeat(4096 - 8)).into()));
    }
    for format in TokenFormat::ALL {
        assert!(
            verify(&signed(&token, *format, &ring), &ring).as_ref() == Some(&token),
            "{}",
            format.as_str()
        );
    }
}

/// PAS-20, PAS-21, PAS-30, PAS-31, PAS-32: each payload is signed by one of our keys.
#[test]
fn a_payload_that_differs_from_ours_is_rejected_even_if_a_key_of_ours_signed_it() {
    let valid = payload(&of_session());
    assert!(read_signed(valid.as_str()) == Some(of_session()), "the unchanged payload is accepted");
    for (what, old, new) in [
        ("duplicate key", r#""iss":"#, r#""iss":"https://id.example","iss":"#),
        ("escaped duplicate key", r#""iss":"#, r#""\u0069ss":"https://id.example","iss":"#),
        ("duplicate key in the claims", r#"{"a":[1"#, r#"{"name":1,"a":[1"#),
        ("duplicate key deep in the claims", r#"{"b":null}"#, r#"{"b":null,"b":1}"#),
        ("unknown claim", r#""iss":"#, r#""role":"admin","iss":"#),
        ("a carried key (ASV-03)", r#""iss":"#, r#""wpk":"k4.public.AAAA","iss":"#),
        ("missing exp", r#""exp":"2023-11-14T22:18:20Z","#, ""),
        ("null nbf", r#""iat":"#, r#""nbf":null,"iat":"#),
        ("missing iat", r#""iat":"2023-11-14T22:13:20Z","#, ""),
        ("missing aud", r#""aud":"https://api.example","#, ""),
        ("missing jti", r#""jti":"CQkJCQkJCQkJCQkJCQkJCQ","#, ""),
        ("missing client", r#""client_id":"app","#, ""),
        ("missing auth_time", r#""auth_time":1699999999,"#, ""),
        ("missing sid", r#""sid":"018bcfe5-6800-7505-8505-050505050505","#, ""),
        ("numeric exp", r#""2023-11-14T22:18:20Z""#, "1700000300"),
        ("array aud", r#""https://api.example""#, r#"["https://api.example"]"#),
        ("numeric iss", r#""https://id.example""#, "1"),
        ("numeric sub", r#""ali\"ce\\ żółw""#, "1"),
        ("empty sub", r#""ali\"ce\\ żółw""#, r#""""#),
        ("null sub", r#""ali\"ce\\ żółw""#, "null"),
        ("jti not canonical", "CQkJCQkJCQkJCQkJCQkJCQ", "CQkJCQkJCQkJCQkJCQkJCR"),
        ("null sid", r#""018bcfe5-6800-7505-8505-050505050505""#, "null"),
        ("sid not canonical", "018bcfe5-", "018BCFE5-"),
        ("text fam", r#""fam":1"#, r#""fam":"1""#),
        ("fractional fam", r#""fam":1"#, r#""fam":1.0"#),
        ("fam too large", r#""fam":1"#, r#""fam":65536"#),
        ("null fam", r#""fam":1"#, r#""fam":null"#),
        ("text auth_time", "1699999999", r#""1699999999""#),
        ("negative auth_time", "1699999999", "-1"),
        ("null acr", r#""aal2""#, "null"),
        ("text amr", r#"["pwd","otp"]"#, r#""pwd""#),
        ("numbers in amr", r#"["pwd","otp"]"#, "[1]"),
        ("null claims", r#"{"a":[1,{"b":null}],"name":"Ż"}"#, "null"),
        ("array claims", r#"{"a":[1,{"b":null}],"name":"Ż"}"#, "[]"),
        ("malformed scope", "read write", "read  write"),
        ("malformed client", r#""app""#, r#""a b""#),
        ("rh and sid", r#""iss":"#, r#""rh":"42","iss":"#),
        ("something behind", r#""name":"Ż"}}"#, r#""name":"Ż"}} {}"#),
        ("cut short", r#""name":"Ż"}}"#, r#""name":"Ż"}"#),
    ] {
        let changed = valid.replacen(old, new, 1);
        assert_ne!(changed, valid, "{what}");
        assert!(read_signed(changed).is_none(), "{what}");
    }
    // The values of the members in order, which serde accepts in place of the object.
    let array = concat!(
        r#"["https://id.example","alice","https://api.example","2023-11-14T22:18:20Z","2023-11-14T22:13:20Z","2023-11-14T22:13:20Z","#,
        r#""CQkJCQkJCQkJCQkJCQkJCQ","018bcfe5-6800-7505-8505-050505050505",1,"app","read",1699999999,"aal2",["pwd"],{}]"#
    );
    assert!(serde_json::from_str::<Payload<Rfc3339>>(array).is_ok_and(|payload| payload.read().is_some()));
    for wrong in
        ["", "null", "1", "\"a\"", "[]", "{}", array, &format!(" {valid}"), &format!("\u{feff}{valid}")]
    {
        assert!(read_signed(wrong).is_none(), "{wrong}");
    }
    let mut not_text = valid.into_bytes();
    let at = not_text.iter().position(|byte| *byte >= 0x80).unwrap();
    not_text[at] = 0xff;
    assert!(read_signed(not_text).is_none(), "invalid UTF-8");
}

#[test]
fn a_client_token_has_a_cursor_and_nothing_of_a_session() {
    let valid = payload(&of_client());
    assert!(read_signed(valid.as_str()) == Some(of_client()));
    for wrong in [
        r#""rh":42"#,
        r#""rh":"042""#,
        r#""rh":"+42""#,
        r#""rh":"-42""#,
        r#""rh":"""#,
        r#""rh":"18446744073709551616""#,
        r#""rh":"42","fam":1"#,
        r#""rh":"42","acr":"aal1""#,
        r#""rh":"42","amr":["pwd"]"#,
        r#""rh":"42","claims":{}"#,
        r#""rh":"42","auth_time":1"#,
    ] {
        assert!(read_signed(valid.replace(r#""rh":"42""#, wrong)).is_none(), "{wrong}");
    }
}

/// PAS-28, PAS-29, PAS-33, INT-85: other spellings of a time are understood or rejected, and a fraction never
/// prolongs validity.
#[test]
fn times_are_rfc_3339_and_rounded_so_that_validity_is_shorter() {
    // Tokens of an earlier keyfob have `nbf`.
    let old = AccessToken { not_before: Some(1_700_000_000), ..of_client() };
    let valid = payload(&old);
    assert!(read_signed(valid.as_str()) == Some(old));
    let with = |member: &str, time: &str| {
        let start = valid.find(&format!(r#""{member}":""#)).unwrap() + member.len() + 4;
        let changed = format!("{}{time}{}", &valid[..start], &valid[start + 20..]);
        read_signed(changed).map(|token| (token.not_before.unwrap(), token.issued_at, token.expires_at))
    };
    let (start, end) = (1_700_000_000, 1_700_000_300);
    assert_eq!(with("exp", "2023-11-14T22:18:20.999Z"), Some((start, start, end)));
    assert_eq!(with("iat", "2023-11-14T22:13:20.999Z"), Some((start, start, end)));
    assert_eq!(with("nbf", "2023-11-14T22:13:20.001Z"), Some((start + 1, start, end)));
    assert_eq!(with("nbf", "2023-11-14T22:13:20.000000001Z"), Some((start + 1, start, end)));
    assert_eq!(with("nbf", "2023-11-14T22:13:20.000Z"), Some((start, start, end)));
    assert_eq!(with("nbf", "2023-11-14T23:13:20.5+01:00"), Some((start + 1, start, end)));
    assert_eq!(with("exp", "2023-11-14T23:18:20+01:00"), Some((start, start, end)));
    assert_eq!(with("exp", "9999-12-31T23:59:59Z"), None);
    for wrong in [
        "2023-11-14t22:18:20Z",
        "2023-11-14T22:18:20z",
        "2023-11-14 22:18:20Z",
        "2023-11-14T22:18:20",
        "1700000300",
        "",
        "2023-11-14T22:18:20.Z",
    ] {
        assert_eq!(with("exp", wrong), None, "{wrong}");
    }
}

/// The active Ed25519 key as text.
fn paserk_of(ring: &Keyring) -> String {
    paserk::public_text(ring.active().public.to_bytes().as_ref().try_into().unwrap())
}

/// PAS-22, PAS-23, PAS-24, PAS-25, ASV-03: a footer that is not that of a key in the ring is not decoded,
/// even if the signature is valid.
#[test]
fn only_our_own_footer_is_accepted() {
    let ring = keyring();
    let key = SigningKey::from_bytes(&[2; 32]);
    let kid = ring.active().id;
    let signed = |footer: &str| {
        verify(&paseto::sign(&key, payload(&of_client()).into(), footer.as_bytes(), b""), &ring)
    };
    assert!(signed(&format!(r#"{{"kid":"{kid}"}}"#)).is_some());
    let retired = record(3, KeyStatus::Retired).id;
    let unknown = record(4, KeyStatus::Active).id;
    for footer in [
        String::new(),
        "{}".into(),
        kid.to_string(),
        format!(r#"{{"kid":"{retired}"}}"#),
        format!(r#"{{"kid":"{unknown}"}}"#),
        format!(r#"{{"kid": "{kid}"}}"#),
        format!(r#"{{"kid":["{kid}"]}}"#),
        format!(r#"{{"kid":"{kid}","kid":"{kid}"}}"#),
        format!(r#"{{"kid":"{kid}","wpk":"k4.local-wrap.pie.AAAA"}}"#),
        format!(r#"{{"kid":"{kid}","jku":"https://evil.example"}}"#),
        format!(r#"{{"kid":"{}"}}"#, paserk_of(&ring)),
        format!(r#"{{"jwk":"{}"}}"#, paserk_of(&ring)),
        format!(r#"{{"kid":{}"{kid}"}}"#, "[".repeat(300)),
    ] {
        assert!(signed(&footer).is_none(), "{footer}");
    }
}

/// ASV-04, PAS-34: at `exp` a token is expired, although PASETO's own rule still accepts it. Without `nbf` a
/// clock that is a minute behind accepts it.
#[test]
fn a_verified_token_is_valid_until_just_before_exp() {
    let token = read_signed(payload(&of_client())).unwrap();
    let client = Client::new(token.client_id.clone(), None, Timestamp::from_seconds(0));
    let cuts = CutOffs::default();
    let valid_at = |millis| {
        let judgement = Judgement {
            caller: &Caller::AdminSocket,
            validity: Validity { now: Timestamp::from_millis(millis), cuts: &cuts, client: Some(&client) },
        };
        judgement.access_token(&token, "https://id.example", None, false).is_ok()
    };
    let verdicts = [1_699_999_939_999, 1_699_999_940_000, 1_700_000_299_999, 1_700_000_300_000].map(valid_at);
    assert_eq!(verdicts, [false, true, true, false]);
}

/// ASV-01.
#[test]
fn a_token_changed_anywhere_or_truncated_is_rejected() {
    let ring = keyring();
    let text = signed(&of_client(), TokenFormat::Paseto, &ring);
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        assert!(verify(&String::from_utf8(changed).unwrap(), &ring).is_none(), "byte {at}");
        assert!(verify(&text[..at], &ring).is_none(), "{at} bytes");
    }
}
