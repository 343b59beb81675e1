//! What the tests of the store begin with: clients, sessions, tokens and clocks, all fixed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyfob::domain::access::{Authentication, Claims, TokenFormat};
use keyfob::domain::client::{Client, ClientKind, ClientSecret, Grant};
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::end::{End, EndReason};
use keyfob::domain::event::{Event, EventKind};
use keyfob::domain::family::{Family, PresentedToken, Reading, RetryWindow, Stamp};
use keyfob::domain::id::{ClientId, Hash, KeyId, Position, Salt, SessionId, Subject};
use keyfob::domain::policy::Policy;
use keyfob::domain::session::{
    Cap, Data, Decision, Device, NotRefreshed, REPEAT_WINDOW, Refresh, Refreshed as Granted, Repeatable,
    Session,
};
use keyfob::domain::time::{Moment, Timestamp};
use keyfob::store::redb::{OpenError, Options, Redb};
use keyfob::store::{Lane, Opening, Result, Store, Sweep};
use keyfob::token::keys::{Keys, SecretKey};
use sha2::{Digest, Sha256};

/// When the tests happen.
pub const NOW: i64 = 1_800_000_000_000;

pub const OPTIONS: Options = Options { cache_bytes: 4 << 20, write_queue_max: 4096 };

pub fn keys() -> Keys {
    Keys::derive(&SecretKey::new([7; 32]))
}

/// `ms` after the tests began.
pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(NOW + ms)
}

pub fn moment(ms: i64) -> Moment {
    Moment { wall: at(ms), boot: 1, elapsed_ms: u64::try_from(ms).unwrap() }
}

pub fn client_id(name: &str) -> ClientId {
    name.parse().unwrap()
}

pub fn subject(name: &str) -> Subject {
    name.parse().unwrap()
}

pub fn session_id(n: u64) -> SessionId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    SessionId::new(at(0), &random)
}

/// The first refresh secret of session `n`.
pub fn first_secret(n: u64) -> [u8; 32] {
    digest(&[b"secret", &n.to_be_bytes()])
}

pub fn hash(secret: &[u8; 32]) -> Hash {
    Hash(digest(&[b"hash", secret]))
}

pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

pub fn client(name: &str) -> Client {
    Client {
        id: client_id(name),
        kind: ClientKind::Confidential,
        permissions: vec![],
        grants: vec![Grant::RefreshToken],
        scopes: "read write".parse().unwrap(),
        audiences: vec!["https://api.example".into()],
        serves: vec![],
        opens_for: vec![],
        policy: "default".into(),
        access_token_format: TokenFormat::Paseto,
        disabled: false,
        declared: false,
        secrets: vec![ClientSecret { hash: Hash([9; 32]), until: None }],
        created_at: at(0),
        updated_at: at(0),
        incarnation: Position(0),
        tokens_from: Position(0),
    }
}

/// Session `n`, with one family, opened at `at(0)`: half an hour idle, a day at most.
pub fn session(n: u64, who: &str, client: &str) -> Session {
    let authentication = Authentication { at: at(0), acr: Some("aal1".into()), amr: vec!["pwd".into()] };
    let family = Family {
        number: 1,
        client_id: client_id(client),
        scope: "read".parse().unwrap(),
        audience: "https://api.example".into(),
        authentication: authentication.clone(),
        issued: Position(0),
        end: None,
        generation: 0,
        current: hash(&first_secret(n)),
        previous: None,
        refreshed_at: at(0),
        window: None,
    };
    Session {
        id: session_id(n),
        subject: subject(who),
        client_id: client_id(client),
        opened_by: client.into(),
        issued: Position(0),
        created_at: at(0),
        authentication,
        last_used_at: at(0),
        idle_timeout: Duration::from_secs(1800),
        expires_at: at(86_400_000),
        remember: false,
        scope: "read".parse().unwrap(),
        audience: "https://api.example".into(),
        renewals: 0,
        token: hash(&digest(&[b"session token", &n.to_be_bytes()])),
        device: Device {
            user_agent: Some("Lynx of Finsterwalde".into()),
            ip: Some("192.0.2.77".into()),
            label: Some("the den".into()),
        },
        claims: Some(Claims(r#"{"tier":"obsidian"}"#.into())),
        version: 1,
        claims_version: 0,
        families: vec![family],
        next_family: 2,
        own_family: Some(1),
        revoked_tokens: vec![],
        revoked_until: 0,
        end: None,
        expiry_reported: false,
    }
}

pub fn opening(session: Session) -> Opening {
    let event = session.event(EventKind::SessionOpened, session.created_at, &session.opened_by);
    Opening { session, data: None, requires: vec![], cap: None, uses: vec![], event, repeat: None }
}

/// An opening that can be repeated under the name and request of these numbers.
pub fn repeatable(session: Session, name: u8, request: u8) -> Opening {
    let stamp = Stamp {
        issued_at: 0,
        expires_at: 300,
        key: KeyId::Ed25519([3; 33]),
        format: TokenFormat::Paseto,
        claims_version: 1,
    };
    let opened = Reading { wall: session.created_at, boot: 1, elapsed_ms: 0 };
    let window = RetryWindow {
        salt: Salt([name; 32]),
        opened,
        length: REPEAT_WINDOW,
        retries: 0,
        stamp,
        kept: false,
        late: false,
        after_late: false,
    };
    let repeat =
        Some(Repeatable { name: Hash([name; 32]), request: Hash([request; 32]), window: Some(window) });
    Opening { repeat, ..opening(session) }
}

pub fn capped(session: Session, cap: Cap) -> Opening {
    Opening { cap: Some(cap), ..opening(session) }
}

pub fn data(text: &str) -> Data {
    Data(text.into())
}

pub fn end(reason: EndReason, ms: i64) -> End {
    End { at: at(ms), reason, by: "root".into() }
}

pub fn event(kind: EventKind, ms: i64) -> Event {
    Event::new(kind, at(ms), "root")
}

/// Opens session `n` and answers it as it was kept.
pub async fn open(store: &impl Store, n: u64, who: &str, client: &str) -> Session {
    store.open(opening(session(n, who, client))).await.unwrap().expect("no cap")
}

/// Ends session `n` if it lives.
pub async fn close(store: &impl Store, n: u64, ms: i64) -> Option<bool> {
    let decide = move |session: &mut Session, cuts: &CutOffs| {
        let events = session.close(end(EndReason::Logout, ms), at(ms), cuts);
        Decision::with_events(!events.is_empty(), events)
    };
    store.update(session_id(n), Lane::Revocation, decide).await.unwrap()
}

/// A refresh token as its holder knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub session: SessionId,
    pub family: u16,
    pub generation: u32,
    pub secret: [u8; 32],
}

impl Token {
    /// The first token of session `n`.
    pub fn first(n: u64) -> Self {
        Self { session: session_id(n), family: 1, generation: 0, secret: first_secret(n) }
    }

    pub fn successor(&self, salt: &[u8; 32]) -> Self {
        Self {
            generation: self.generation + 1,
            secret: digest(&[b"next", &self.secret, salt]),
            ..self.clone()
        }
    }

    pub fn presented(&self, salt: [u8; 32]) -> PresentedToken {
        let successor = hash(&self.successor(&salt).secret);
        PresentedToken { generation: self.generation, hash: hash(&self.secret), salt: Salt(salt), successor }
    }
}

/// The decision to refresh `token`, as an engine would pass it.
pub fn refresh(
    token: &Token,
    client: &str,
    policy: &Policy,
    salt: [u8; 32],
    now: Moment,
) -> impl Fn(&mut Session, &CutOffs) -> Decision<std::result::Result<Granted, NotRefreshed>>
+ Send
+ Clone
+ 'static
+ use<> {
    let (token, client, policy) = (token.clone(), Arc::new(self::client(client)), policy.clone());
    let presented = token.presented(salt);
    let refresh = Refresh {
        client,
        issuer: "https://id.example".into(),
        family: token.family,
        presented,
        scope: None,
        resource: None,
        policy,
        key: KeyId::Ed25519([3; 33]),
        address: Some([4; 16]),
    };
    move |session, cuts| session.refresh(&refresh, &refresh.client, now, cuts)
}

/// Refreshes under the default policy; the new token, or why there is none.
pub async fn rotate(
    store: &impl Store,
    token: &Token,
    salt: [u8; 32],
    now: Moment,
) -> std::result::Result<Token, NotRefreshed> {
    let session = store.session(token.session).await.unwrap().expect("it is open");
    let decide = refresh(token, session.client_id.as_str(), &Policy::default(), salt, now);
    let answer = store.update(token.session, Lane::Ordinary, decide).await.unwrap().expect("it is open");
    answer.map(|granted| token.successor(&granted.salt.0))
}

pub fn sweep(ms: i64) -> Sweep {
    Sweep { now: moment(ms), retention: Duration::from_secs(7 * 86_400), entries_max: 100 }
}

/// Every event there is.
pub async fn log(store: &impl Store) -> Vec<(Position, Event)> {
    store.events(Position(0), usize::MAX).await.unwrap()
}

pub async fn kinds(store: &impl Store) -> Vec<EventKind> {
    log(store).await.into_iter().map(|(_, event)| event.kind).collect()
}

/// Nothing at all: what a bogus token does to a session.
pub fn nothing(_: &mut Session, _: &CutOffs) -> Decision<()> {
    Decision::answer(())
}

/// A change, to be seen and counted.
pub fn bump(session: &mut Session, _: &CutOffs) -> Decision<u32> {
    session.version += 1;
    Decision::answer(session.version)
}

/// A directory of its own, with a database in it.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn file(&self) -> PathBuf {
        self.0.path().join("keyfob.redb")
    }

    pub fn try_open(&self) -> std::result::Result<Redb, OpenError> {
        Redb::open(&self.file(), &keys(), OPTIONS)
    }

    pub fn open(&self) -> Redb {
        self.try_open().unwrap()
    }
}

pub fn is_corrupt<T>(result: &Result<T>, table: &str, key: &str) -> bool {
    let Err(keyfob::store::StoreError::Corrupt { table: t, key: k, .. }) = result else { return false };
    *t == table && **k == *key
}
