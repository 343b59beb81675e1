//! What is measured: one client's session with one family, as a web application opens it, and its tokens.

use std::time::Duration;

use keyfob::domain::access::{AccessToken, Authentication, Claims, IssuedFor, TokenFormat};
use keyfob::domain::algorithm::Algorithm;
use keyfob::domain::client::{Client, ClientKind, ClientSecret, Grant, Permission};
use keyfob::domain::family::Family;
use keyfob::domain::id::{Hash, Position, Salt, SessionId, TokenId};
use keyfob::domain::key::KeyStatus;
use keyfob::domain::session::{Device, Session};
use keyfob::domain::time::{Moment, Timestamp};
use keyfob::token::keyring::{Keyring, generate};
use keyfob::token::keys::{Keys, SecretKey};
use keyfob::token::opaque::{Link, Opaque, OpaqueKeys, OpaqueKind, Secret};

pub const ISSUER: &str = "https://id.example.com";
pub const AUDIENCE: &str = "https://api.example.com";
pub const SALT: Salt = Salt([5; 32]);

pub fn now() -> Moment {
    Moment { wall: Timestamp::from_seconds(1_800_000_060), boot: 1, elapsed_ms: 60_000 }
}

pub fn keys() -> Keys {
    Keys::derive(&SecretKey::new([7; 32]))
}

pub fn keyring() -> Keyring {
    let key = |algorithm: &Algorithm| generate(*algorithm, [1; 32], &keys(), KeyStatus::Active, opened_at());
    Keyring::open(&Algorithm::ALL.iter().map(key).collect::<Vec<_>>(), &keys()).expect("the keys are valid")
}

fn opened_at() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

pub fn opaque(kind: OpaqueKind) -> Opaque {
    let family = u16::from(kind == OpaqueKind::Refresh);
    let link = Link { session: session().id, family, generation: 0 };
    Opaque { kind, link, secret: Secret::new([3; 32]) }
}

/// The hash of the refresh token that follows that of [`opaque`].
pub fn successor(keys: &OpaqueKeys) -> Hash {
    let link = Link { session: session().id, family: 1, generation: 1 };
    keys.successor(link, &Secret::new([3; 32]), &SALT).hash(OpaqueKind::Refresh)
}

pub fn client() -> Client {
    Client {
        id: "backend".parse().expect("a name"),
        kind: ClientKind::Confidential,
        permissions: vec![Permission::Sessions, Permission::Introspect],
        grants: vec![Grant::RefreshToken],
        scopes: "read write".parse().expect("a scope"),
        audiences: vec![AUDIENCE.into()],
        serves: vec![],
        opens_for: vec![],
        policy: "default".into(),
        access_token_format: TokenFormat::Paseto,
        disabled: false,
        declared: false,
        secrets: vec![ClientSecret { hash: Hash([9; 32]), until: None }],
        created_at: opened_at(),
        updated_at: opened_at(),
        incarnation: Position(0),
        tokens_from: Position(0),
    }
}

fn authentication() -> Authentication {
    Authentication { at: opened_at(), acr: Some("aal1".into()), amr: vec!["pwd".into()] }
}

fn claims() -> Claims {
    Claims(r#"{"tenant":"north","roles":["editor","reviewer"]}"#.into())
}

pub fn session() -> Session {
    let client = client();
    let family = Family {
        number: 1,
        client_id: client.id.clone(),
        scope: client.scopes.clone(),
        audience: AUDIENCE.into(),
        authentication: authentication(),
        issued: Position(1),
        end: None,
        generation: 0,
        current: Secret::new([3; 32]).hash(OpaqueKind::Refresh),
        previous: None,
        refreshed_at: opened_at(),
        window: None,
    };
    Session {
        id: SessionId::new(opened_at(), &[1; 10]),
        subject: "user-00000001".parse().expect("a subject"),
        client_id: client.id.clone(),
        opened_by: client.id.as_str().into(),
        issued: Position(1),
        created_at: opened_at(),
        authentication: authentication(),
        last_used_at: opened_at(),
        idle_timeout: Duration::from_secs(1800),
        expires_at: opened_at().plus(Duration::from_secs(86_400)),
        remember: false,
        scope: client.scopes,
        audience: AUDIENCE.into(),
        renewals: 0,
        token: Secret::new([3; 32]).hash(OpaqueKind::Session),
        device: Device {
            user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".into()),
            ip: Some("192.0.2.77".into()),
            label: None,
        },
        claims: Some(claims()),
        version: 1,
        claims_version: 1,
        families: vec![family],
        next_family: 2,
        own_family: Some(1),
        revoked_tokens: vec![],
        revoked_until: 0,
        end: None,
        expiry_reported: false,
    }
}

pub fn access_token() -> AccessToken {
    let session = session();
    AccessToken {
        issuer: ISSUER.into(),
        subject: session.subject,
        audience: AUDIENCE.into(),
        not_before: None,
        issued_at: opened_at().seconds(),
        expires_at: opened_at().seconds() + 300,
        id: TokenId([8; 16]),
        client_id: session.client_id,
        scope: session.scope,
        issued_for: IssuedFor::Session {
            id: session.id,
            family: Some(1),
            authentication: authentication(),
            claims: Some(claims()),
        },
    }
}
