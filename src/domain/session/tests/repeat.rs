//! Whether a repeated opening and a retried refresh get the same tokens again.

use super::*;
use crate::domain::family::RetryWindow;
use crate::domain::session::repeat::{OpeningKey, Repeated};

/// Something that happens to a session, and what the session is then.
type SessionUse = (&'static str, fn(&mut Session));

/// What may happen to a session, each alone.
fn uses() -> [SessionUse; 9] {
    [
        ("used", |session| session.touch(at(1))),
        ("changed", |session| session.version = 2),
        ("renewed", |session| session.renewals = 1),
        ("refreshed", |session| session.families[0].generation = 1),
        ("left by its family", |session| session.families[0].finish(end(1, EndReason::Logout))),
        ("joined by a family", |session| {
            session.add_family(family("mobile"), Position(6), at(1), &uncut()).unwrap();
        }),
        ("without a token", |session| {
            let token = RevokedToken { id: TokenId([1; 16]), expires_at: at(300).seconds() };
            session.revoke_token(token, Some(1), "app", at(0), &uncut());
        }),
        ("ended", |session| {
            session.close(end(1, EndReason::Logout), at(1), &uncut());
        }),
        ("expired", |session| session.expiry_reported = true),
    ]
}

#[test]
fn a_session_is_as_opened_until_something_happens_to_it() {
    assert!(session().is_as_opened());
    for (name, happen) in uses() {
        let mut session = session();
        happen(&mut session);
        assert!(!session.is_as_opened(), "{name}");
    }
    let bare = Session { own_family: None, families: vec![], next_family: 1, ..session() };
    assert!(bare.is_as_opened(), "opened without a family");
    assert!(!Session { next_family: 2, ..bare }.is_as_opened(), "one was added and forgotten");
}

/// Decision 0031: the same request gets the same answer while its window is open and nothing has happened.
#[test]
fn an_opening_is_repeated_for_the_same_request_within_its_window_and_as_long_as_it_is_unused() {
    let window = with_window().families[0].window.clone();
    let asked = |session: Session, window: Option<RetryWindow>, request, seconds, cuts: &CutOffs| {
        let repeated = Repeated { session, request: Hash([1; 32]), window };
        repeated.window_for(&Hash([request; 32]), moment(seconds), cuts).is_some()
    };
    assert!(asked(session(), window.clone(), 1, WINDOW - 1, &uncut()));
    assert!(!asked(session(), window.clone(), 1, WINDOW, &uncut()), "closed");
    assert!(!asked(session(), window.clone(), 2, 1, &uncut()), "another request");
    assert!(!asked(session(), None, 1, 1, &uncut()), "erased");
    let cuts = CutOffs { everything: Some(cut_off(6, 1)), ..uncut() };
    assert!(!asked(session(), window.clone(), 1, 1, &cuts), "cut off");
    for (name, happen) in uses() {
        let mut session = session();
        happen(&mut session);
        assert!(!asked(session, window.clone(), 1, 1, &uncut()), "{name}");
    }
}

#[test]
fn a_key_of_an_opening_is_1_to_64_visible_ascii_characters() {
    for valid in ["!", "~", "1f0e-4c", &"k".repeat(64)] {
        assert_eq!(valid.parse::<OpeningKey>().unwrap().expose(), valid);
    }
    for invalid in ["", " ", "a b", "\u{7f}", "é", &"k".repeat(65)] {
        assert!(invalid.parse::<OpeningKey>().is_err(), "{invalid:?}");
    }
}

/// ROT-02: a retry gets the same access token, unless that one could not be issued now.
#[test]
fn an_access_token_is_issued_again_only_as_it_could_be_issued_now() {
    let id = TokenId([1; 16]);
    let session = session();
    let stamp = session.stamp(Duration::from_secs(300), key(), TokenFormat::Paseto, at(0));
    assert!(session.may_issue_again(&id, &stamp, TokenFormat::Paseto, true, at(299)));
    assert!(!session.may_issue_again(&id, &stamp, TokenFormat::Paseto, true, at(300)), "it has expired");
    assert!(!session.may_issue_again(&id, &stamp, TokenFormat::Paseto, false, at(1)), "its key is gone");
    assert!(!session.may_issue_again(&id, &stamp, TokenFormat::Jwt, true, at(1)), "the format was changed");
    let changed = Session { claims_version: 2, ..session.clone() };
    assert!(!changed.may_issue_again(&id, &stamp, TokenFormat::Paseto, true, at(1)), "other claims");
    let mut revoked = session;
    revoked.revoke_token(RevokedToken { id, expires_at: stamp.expires_at }, None, "app", at(1), &uncut());
    assert!(!revoked.may_issue_again(&id, &stamp, TokenFormat::Paseto, true, at(1)), "it was revoked");
}
