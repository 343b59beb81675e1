//! The session by itself: what it decides, with time and randomness as arguments. The parts share one session
//! and its chain of tokens.

use super::*;
use crate::domain::cutoff::CutOff;
use crate::domain::family::{PresentedToken, RETRIES_MAX};
use crate::domain::id::Salt;
use crate::domain::malformed::Malformed;
use crate::domain::policy::{LateRetry, Lifetimes, Policy, WhenFull};
use crate::domain::time::Moment;

mod changing;
mod ending;
mod reach;
mod repeat;
mod rotation;
mod timeouts;

/// When the session of these tests was opened, in seconds.
const OPENED: i64 = 1_000_000;
/// The default policy's timeouts and window, in seconds.
const IDLE: i64 = 1_800;
const ABSOLUTE: i64 = 86_400;
const WINDOW: i64 = 10;

/// `seconds` after the opening.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(OPENED + seconds)
}

/// The same by all clocks, in the first run of the process.
fn moment(seconds: i64) -> Moment {
    Moment { wall: at(seconds), boot: 1, elapsed_ms: u64::try_from(seconds * 1_000).unwrap() }
}

fn client(name: &str) -> ClientId {
    name.parse().unwrap()
}

fn key() -> KeyId {
    KeyId::Ed25519([9; 33])
}

fn uncut() -> CutOffs {
    CutOffs { head: Position(7), ..CutOffs::default() }
}

fn cut_off(position: u64, seconds: i64) -> CutOff {
    CutOff { position: Position(position), at: at(seconds), by: "root".into() }
}

fn end(seconds: i64, reason: EndReason) -> End {
    End { at: at(seconds), reason, by: "app".into() }
}

/// The hash of the refresh token of this generation.
fn link(generation: u32) -> Hash {
    Hash([u8::try_from(generation & 0x7f).unwrap(); 32])
}

/// The refresh token of this generation, presented.
fn token(generation: u32) -> PresentedToken {
    let salt = Salt([u8::try_from(generation & 0x7f).unwrap() | 0x80; 32]);
    PresentedToken { generation, hash: link(generation), salt, successor: link(generation.wrapping_add(1)) }
}

fn family(name: &str) -> NewFamily {
    NewFamily {
        client_id: client(name),
        scope: "read write".parse().unwrap(),
        audience: "api".into(),
        secret: link(0),
    }
}

/// A session of the client `app` with the family 1, opened at 0.
pub(crate) fn session() -> Session {
    let mut session = Session {
        id: SessionId([1; 16]),
        subject: "alice".parse().unwrap(),
        client_id: client("app"),
        opened_by: "app".into(),
        issued: Position(5),
        created_at: at(0),
        authentication: Authentication { at: at(0), acr: None, amr: vec![] },
        last_used_at: at(0),
        idle_timeout: Duration::from_secs(1_800),
        expires_at: at(ABSOLUTE),
        remember: false,
        scope: "read write".parse().unwrap(),
        audience: "api".into(),
        renewals: 0,
        token: Hash([0xee; 32]),
        device: Device::default(),
        claims: None,
        version: 1,
        claims_version: 1,
        families: vec![],
        next_family: 1,
        own_family: Some(1),
        revoked_tokens: vec![],
        revoked_until: 0,
        end: None,
        expiry_reported: false,
    };
    assert_eq!(session.add_family(family("app"), Position(5), at(0), &uncut()), Some(1));
    session
}

/// The same after one rotation, its window still open.
fn with_window() -> Session {
    let mut session = session();
    let stamp = session.stamp(Duration::from_secs(300), key(), TokenFormat::Paseto, at(0));
    session.families[0].rotate(&token(0), stamp, &Policy::default(), moment(0));
    session
}

/// The events of a decision, by name and reason.
fn names(events: &[Event]) -> Vec<(&'static str, Option<&'static str>)> {
    events.iter().map(|event| (event.kind.as_str(), event.reason.map(EndReason::as_str))).collect()
}
