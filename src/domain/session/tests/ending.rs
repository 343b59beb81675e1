//! How sessions, families and tokens are ended one by one, and who makes room for whom.

use super::*;

/// One access token, revocable until `seconds`.
fn revocation(number: u16, seconds: i64) -> RevokedToken {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    RevokedToken { id: TokenId(id), expires_at: at(seconds).seconds() }
}

#[test]
fn a_session_is_closed_once_and_everything_that_could_make_a_token_is_gone() {
    let mut session = with_window();
    session.revoke_token(revocation(1, 300), Some(1), "app", at(1), &uncut());
    let events = session.close(end(2, EndReason::Logout), at(2), &uncut());
    assert_eq!(names(&events), [("session.ended", Some("logout"))]);
    assert_eq!((&*events[0].by, events[0].at, &events[0].session), ("app", at(2), &Some(session.id)));
    assert!(session.revoked_tokens.is_empty() && session.families[0].window.is_none());
    let closed = session.clone();
    assert!(session.close(end(3, EndReason::Admin), at(3), &uncut()).is_empty());
    assert_eq!(session, closed, "the first reason stays");
}

/// The clock was ahead: a logout was acknowledged for a session that seemed expired and so was not ended, and
/// its tokens were active again when the clock was set back.
#[test]
fn an_end_of_an_expired_session_is_final_even_if_the_clock_is_set_back() {
    let ends: [fn(&mut Session) -> Vec<Event>; 4] = [
        |session| session.close(end(IDLE, EndReason::Logout), at(IDLE), &uncut()),
        |session| session.close_family(1, end(IDLE, EndReason::Admin), at(IDLE), &uncut()),
        |session| session.revoke_family(1, "app", at(IDLE), &uncut()),
        |session| session.revoke_token(revocation(1, IDLE + 9), Some(1), "app", at(IDLE), &uncut()),
    ];
    for ends in ends {
        let mut session = with_window();
        session.last_used_at = at(0);
        assert!(session.is_active(at(IDLE - 1), &uncut()));
        assert_eq!(names(&ends(&mut session)), [("session.expired", None)], "what has expired stays expired");
        assert!(!session.is_active(at(1), &uncut()) && session.families[0].window.is_none());
        assert!(ends(&mut session).is_empty());
    }
}

#[test]
fn a_family_is_closed_once_and_its_session_stays_active() {
    let mut session = with_window();
    let events = session.close_family(1, end(2, EndReason::Logout), at(2), &uncut());
    assert_eq!(names(&events), [("family.ended", Some("logout"))]);
    assert_eq!((events[0].family, &events[0].client), (Some(1), &Some(client("app"))));
    assert!(session.is_active(at(2), &uncut()) && !session.family_is_active(1, &uncut()));
    assert_eq!(session.families[0].window, None);
    let closed = session.clone();
    for number in [1, 2] {
        assert!(session.close_family(number, end(3, EndReason::Admin), at(3), &uncut()).is_empty());
    }
    assert_eq!(session, closed);
}

/// A revoked refresh token ends its family, and the session with the last one (contract, section 5).
#[test]
fn a_session_ends_with_its_last_family() {
    let mut session = session();
    session.add_family(family("mobile"), Position(6), at(0), &uncut()).unwrap();
    assert_eq!(
        names(&session.revoke_family(1, "app", at(1), &uncut())),
        [("family.ended", Some("token_revoked"))]
    );
    assert!(session.is_active(at(1), &uncut()));
    assert!(session.revoke_family(1, "app", at(2), &uncut()).is_empty(), "it has ended already");
    let both = [("family.ended", Some("token_revoked")), ("session.ended", Some("token_revoked"))];
    assert_eq!(names(&session.revoke_family(2, "app", at(2), &uncut())), both);
    assert_eq!(
        session.end.as_ref().map(|end| (end.reason, &*end.by)),
        Some((EndReason::TokenRevoked, "app"))
    );
}

#[test]
fn a_family_that_a_cut_off_ended_keeps_no_session_alive() {
    let mut session = session();
    session.add_family(family("mobile"), Position(6), at(0), &uncut()).unwrap();
    let cuts = CutOffs { clients: [(client("mobile"), cut_off(7, 1))].into(), ..uncut() };
    assert_eq!(session.revoke_family(1, "app", at(2), &cuts).len(), 2);
}

#[test]
fn one_access_token_is_revoked_until_it_would_have_expired() {
    let mut session = session();
    let events = session.revoke_token(revocation(1, 300), Some(1), "app", at(1), &uncut());
    assert_eq!(names(&events), [("token.revoked", None)]);
    assert_eq!(
        (events[0].token, events[0].family, &*events[0].by),
        (Some(revocation(1, 300).id), Some(1), "app")
    );
    assert!(revokes(&session, revocation(1, 300)) && !revokes(&session, revocation(2, 300)));
    let revoked = session.clone();
    assert!(session.revoke_token(revocation(1, 300), Some(1), "app", at(2), &uncut()).is_empty(), "again");
    assert_eq!(session, revoked);
}

/// The clock was ahead: an expired token was revoked, nothing was recorded, and the token was valid again
/// when the clock was set back.
#[test]
fn a_revocation_of_an_expired_token_is_recorded_and_ends_nothing_else() {
    let mut session = session();
    let events = session.revoke_token(revocation(1, 300), Some(1), "app", at(300), &uncut());
    assert_eq!(names(&events), [("token.revoked", None)]);
    assert!(revokes(&session, revocation(1, 300)) && !revokes(&session, revocation(2, 300)));
    for number in 2..=u16::try_from(REVOKED_TOKENS_MAX).unwrap() + 1 {
        session.revoke_token(revocation(number, 900), Some(1), "app", at(300), &uncut());
    }
    assert!(revokes(&session, revocation(1, 300)), "it made room");
    session.revoke_token(revocation(999, 301), Some(1), "app", at(302), &uncut());
    assert!(revokes(&session, revocation(999, 301)) && !revokes(&session, revocation(998, 302)));
    assert!(session.family_is_active(1, &uncut()), "without room it counts by its expiry");
}

/// The clock was ahead for a moment: what it let seem expired is unexpired again, and as revoked as it was.
#[test]
fn a_revocation_outlives_its_token_where_there_is_room() {
    let mut session = session();
    session.expires_at = at(365 * 86_400);
    session.idle_timeout = Duration::from_secs(365 * 86_400);
    session.revoke_token(revocation(1, 300), Some(1), "app", at(1), &uncut());
    session.revoke_token(revocation(2, 30_000), Some(1), "app", at(20_000), &uncut());
    assert!(revokes(&session, revocation(1, 300)));
    for number in 2..u16::try_from(REVOKED_TOKENS_MAX).unwrap() {
        session.revoke_token(revocation(number + 1, 30_000), Some(1), "app", at(20_000), &uncut());
    }
    assert_eq!((session.revoked_tokens.len(), revokes(&session, revocation(1, 300))), (256, true));
    session.revoke_token(revocation(999, 30_000), Some(1), "app", at(20_000), &uncut());
    assert_eq!(
        (session.revoked_tokens.len(), revokes(&session, revocation(1, 300))),
        (256, true),
        "it makes room, and counts as revoked by its expiry"
    );
    assert!(session.family_is_active(1, &uncut()), "and nothing active has to end for it");
    session.revoke_token(revocation(7, 100 * 86_400), Some(1), "app", at(60 * 86_400), &uncut());
    let kept: Vec<_> = session.revoked_tokens.iter().map(|revoked| revoked.token).collect();
    assert_eq!(kept, [revocation(7, 100 * 86_400)], "after a month they are removed");
    assert!(revokes(&session, revocation(2, 30_000)), "and still count, for a clock that goes back");
    assert!(!revokes(&session, revocation(8, 30_001)), "a token that expires later does not");
}

#[test]
fn a_revocation_is_stored_for_thirty_days_after_its_token_expired() {
    let stored = |days: i64| {
        let mut session = session();
        session.revoke_token(revocation(1, 300), Some(1), "app", at(1), &uncut());
        session.forget_old_revocations(at(300 + days * 86_400));
        (session.revoked_tokens.len(), session.revoked_until)
    };
    assert_eq!((stored(29), stored(30)), ((1, 0), (0, at(300).seconds())));
}

/// A client with a family in another client's session spent all 256 revocations: then one revocation by the
/// other client ended its session.
#[test]
fn revocations_are_counted_for_each_family() {
    let mut session = session();
    let mobile = session.add_family(family("mobile"), Position(6), at(0), &uncut()).unwrap();
    for number in 0..u16::try_from(REVOKED_TOKENS_MAX).unwrap() {
        session.revoke_token(revocation(number, 300), Some(mobile), "mobile", at(1), &uncut());
    }
    for own in [Some(1), None] {
        let events =
            session.revoke_token(revocation(1_000 + own.unwrap_or(0), 300), own, "app", at(2), &uncut());
        assert_eq!(names(&events), [("token.revoked", None)]);
    }
    let events = session.revoke_token(revocation(999, 300), Some(mobile), "mobile", at(3), &uncut());
    assert_eq!(names(&events), [("family.ended", Some("token_revoked"))], "what it loses is its own");
    assert!(session.is_active(at(3), &uncut()) && session.family_is_active(1, &uncut()));
    assert_eq!(session.revoked_tokens.len(), 2, "those of an ended family are not needed");
}

/// Not even if no other family is active.
#[test]
fn one_token_too_many_ends_no_session_whose_only_family_it_is_of() {
    let mut session = session();
    for number in 0..=u16::try_from(REVOKED_TOKENS_MAX).unwrap() {
        session.revoke_token(revocation(number, 300), Some(1), "app", at(1), &uncut());
    }
    assert!(session.is_active(at(1), &uncut()) && !session.family_is_active(1, &uncut()));
}

fn revokes(session: &Session, token: RevokedToken) -> bool {
    session.has_revoked(&token.id, token.expires_at)
}

#[test]
fn one_token_too_many_ends_the_family_or_without_one_the_session() {
    let mut full = session();
    full.add_family(family("mobile"), Position(6), at(0), &uncut()).unwrap();
    for number in 0..u16::try_from(REVOKED_TOKENS_MAX).unwrap() {
        assert_eq!(full.revoke_token(revocation(number, 300), Some(1), "app", at(1), &uncut()).len(), 1);
    }
    assert_eq!((full.revoked_tokens.len(), full.family_is_active(1, &uncut())), (256, true));
    let mut by_family = full.clone();
    assert_eq!(
        names(&by_family.revoke_token(revocation(999, 300), Some(1), "app", at(1), &uncut())),
        [("family.ended", Some("token_revoked"))]
    );
    assert!(by_family.is_active(at(1), &uncut()) && !by_family.family_is_active(1, &uncut()));
    let mut without = full.clone();
    for number in 0..u16::try_from(REVOKED_TOKENS_MAX).unwrap() {
        without.revoke_token(revocation(2_000 + number, 300), None, "app", at(1), &uncut());
    }
    assert_eq!(
        names(&without.revoke_token(revocation(999, 300), None, "app", at(1), &uncut())),
        [("session.ended", Some("token_revoked"))]
    );
    assert_eq!(
        full.revoke_token(revocation(999, 900), Some(1), "app", at(300), &uncut()).len(),
        1,
        "the old ones made room by expiring"
    );
    assert!(full.family_is_active(1, &uncut()));
}

#[test]
fn a_session_has_at_most_64_live_families_and_remembers_8_that_ended() {
    let mut session = session();
    for number in 2..=64 {
        assert_eq!(session.add_family(family("app"), Position(6), at(0), &uncut()), Some(number));
    }
    assert_eq!(session.add_family(family("app"), Position(6), at(0), &uncut()), None);
    for number in 1..=20 {
        session.close_family(number, end(1, EndReason::Logout), at(1), &uncut());
    }
    let remembered: Vec<u16> =
        session.families.iter().map(|family| family.number).filter(|number| *number <= 20).collect();
    assert_eq!(remembered, (13..=20).collect::<Vec<_>>(), "those that were opened last");
    assert_eq!(
        session.add_family(family("app"), Position(6), at(1), &uncut()),
        Some(65),
        "an ended one makes room"
    );
}

#[test]
fn a_number_is_never_given_twice() {
    let mut session = session();
    session.next_family = u16::MAX;
    assert_eq!(session.add_family(family("app"), Position(6), at(0), &uncut()), Some(u16::MAX));
    session.close_family(u16::MAX, end(1, EndReason::Logout), at(1), &uncut());
    assert_eq!(session.add_family(family("app"), Position(6), at(1), &uncut()), None);
}

/// `count` sessions; those later in the list were used earlier.
fn peers(count: u8) -> Vec<Session> {
    let peer = |number: u8| Session {
        id: SessionId([number; 16]),
        last_used_at: at(100 - i64::from(number)),
        ..session()
    };
    (0..count).map(peer).collect()
}

fn cap(sessions_max: u32, when_full: WhenFull) -> Cap {
    Cap { sessions_max, when_full }
}

/// SES-13. The sessions used least recently make room, and no more of them than needed.
#[test]
fn the_sessions_used_least_recently_make_room() {
    for (count, sessions_max, evicted) in
        [(2, 3, vec![]), (3, 3, vec![2]), (5, 3, vec![4, 3, 2]), (1, 1, vec![0])]
    {
        let mut peers = peers(count);
        let events = make_room(
            cap(sessions_max, WhenFull::EvictOldest),
            &client("app"),
            &mut peers,
            &[],
            at(200),
            &uncut(),
        )
        .unwrap();
        assert_eq!(names(&events), vec![("session.ended", Some("evicted")); evicted.len()]);
        assert_eq!(events.iter().map(|event| event.session.unwrap().0[0]).collect::<Vec<_>>(), evicted);
        let ended: Vec<u8> =
            peers.iter().rev().filter(|s| !s.is_active(at(200), &uncut())).map(|s| s.id.0[0]).collect();
        assert_eq!(ended, evicted);
    }
    let mut even = peers(3);
    even.iter_mut().for_each(|peer| peer.last_used_at = at(9));
    let events =
        make_room(cap(3, WhenFull::EvictOldest), &client("app"), &mut even, &[], at(200), &uncut()).unwrap();
    assert_eq!(events[0].session, Some(SessionId([0; 16])), "among equals the one opened first");
}

/// A use that is not written yet keeps a session active, and makes another one the least recently used.
#[test]
fn room_is_made_by_the_last_use_whether_it_is_written_or_not() {
    let mut peers = peers(3);
    let (oldest, next) = (peers[2].id, peers[1].id);
    let cap = cap(3, WhenFull::EvictOldest);
    let events = make_room(cap, &client("app"), &mut peers, &[(oldest, at(150))], at(200), &uncut()).unwrap();
    assert_eq!(events.iter().map(|event| event.session.unwrap()).collect::<Vec<_>>(), [next]);
    assert_eq!(peers[2].last_used_at, at(98), "nothing is written of it");
}

#[test]
fn a_policy_that_refuses_ends_no_session_and_ended_or_foreign_ones_take_no_room() {
    let mut full = peers(3);
    let before = full.clone();
    assert!(make_room(cap(3, WhenFull::Refuse), &client("app"), &mut full, &[], at(200), &uncut()).is_none());
    assert_eq!(full, before);
    assert_eq!(
        make_room(cap(4, WhenFull::Refuse), &client("app"), &mut full, &[], at(200), &uncut()),
        Some(vec![])
    );
    full[0].close(end(150, EndReason::Logout), at(150), &uncut());
    full[1].client_id = client("mobile");
    full[2].expires_at = at(200);
    let before = full.clone();
    assert_eq!(
        make_room(cap(1, WhenFull::EvictOldest), &client("app"), &mut full, &[], at(200), &uncut()),
        Some(vec![])
    );
    assert_eq!(full, before);
}

#[test]
fn only_the_current_session_token_logs_out() {
    let current = Hash([0xee; 32]);
    for (renewals, hash, seconds, ended, events) in [
        (0, current, 1, true, vec![("session.ended", Some("logout"))]),
        (1, current, 1, false, vec![]),
        (0, Hash([1; 32]), 1, false, vec![]),
        (0, current, IDLE, false, vec![("session.expired", None)]),
    ] {
        let mut session = session();
        let decision = session.log_out(renewals, &hash, at(seconds), &uncut());
        assert_eq!((decision.answer, names(&decision.events)), (ended, events));
        assert_eq!(session.end, ended.then(|| end(1, EndReason::Logout)));
    }
}

/// A session whose families have ended is active until its own token is revoked: revoking one again ends
/// nothing.
#[test]
fn a_family_that_has_ended_ends_no_session() {
    let mut session = session();
    session.close_family(1, end(1, EndReason::Logout), at(1), &uncut());
    assert!(session.revoke_family(1, "app", at(2), &uncut()).is_empty());
    assert!(session.is_active(at(2), &uncut()));
}
