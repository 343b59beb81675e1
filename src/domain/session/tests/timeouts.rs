//! When a session is active: idle and absolute timeouts, cut-offs, renewal; and how long it is stored.

use super::*;
use crate::domain::refusal::Refusal;

fn lifetimes() -> Lifetimes {
    Policy::default().lifetimes(false)
}

/// SES-14, SES-15, NST-04. Either timeout ends it, at its very second (C-14).
#[test]
fn a_session_expires_at_the_earlier_of_its_two_timeouts() {
    let mut session = session();
    assert!(session.is_active(at(IDLE - 1), &uncut()));
    assert_eq!(session.standing(at(IDLE), &uncut()), Standing::Expired);
    for used in (0..ABSOLUTE).step_by(usize::try_from(IDLE - 1).unwrap()) {
        assert!(session.is_active(at(used), &uncut()), "activity moves the idle timeout");
        session.touch(at(used));
    }
    assert!(session.is_active(at(ABSOLUTE - 1), &uncut()));
    assert_eq!(session.standing(at(ABSOLUTE), &uncut()), Standing::Expired, "and never the absolute one");
    assert_eq!(session.deadline(), at(ABSOLUTE));
}

#[test]
fn a_clock_that_goes_back_takes_no_activity_away() {
    let mut session = session();
    session.touch(at(100));
    session.touch(at(50));
    assert_eq!(session.last_used_at, at(100));
}

/// The sweep has recorded the expiry and deleted the revocations.
#[test]
fn what_was_reported_as_expired_stays_so_when_the_clock_goes_back() {
    let mut session = session();
    assert_eq!(session.report_expiry(at(IDLE + 60), &uncut()).len(), 1);
    assert_eq!(session.standing(at(10), &uncut()), Standing::Expired);
    let cuts = CutOffs { everything: Some(cut_off(6, 10)), ..uncut() };
    assert_eq!(
        session.standing(at(20), &cuts),
        Standing::Expired,
        "though a later cut-off has an earlier time"
    );
}

/// A cut-off ends what was issued before it; what had expired by then stays expired.
#[test]
fn a_cut_off_ends_what_was_issued_before_it_and_what_comes_first_counts() {
    let session = session();
    let cut = |position, seconds| CutOffs { everything: Some(cut_off(position, seconds)), ..uncut() };
    let ended = End { at: at(10), reason: EndReason::AllRevoked, by: "root".into() };
    assert_eq!(session.standing(at(20), &cut(6, 10)), Standing::Ended(ended));
    assert_eq!(
        session.standing(at(20), &cut(5, 10)),
        Standing::Active,
        "it was issued at that very position"
    );
    assert_eq!(session.standing(at(IDLE + 9), &cut(6, IDLE)), Standing::Expired);
    assert_eq!(
        session.standing(at(20), &cut(6, IDLE)),
        Standing::Expired,
        "a clock behind the cut-off does not bring it back to life"
    );
    let deleted = CutOffs { clients: [(client("app"), cut_off(6, 10))].into(), ..uncut() };
    assert!(matches!(
        session.standing(at(20), &deleted),
        Standing::Ended(End { reason: EndReason::ClientDeleted, .. })
    ));
    let other = CutOffs { clients: [(client("mobile"), cut_off(6, 10))].into(), ..uncut() };
    assert!(session.is_active(at(20), &other));
}

#[test]
fn a_cut_off_of_another_client_ends_only_its_families() {
    let mut session = session();
    session.add_family(family("mobile"), Position(6), at(0), &uncut()).unwrap();
    let cuts = CutOffs { clients: [(client("mobile"), cut_off(7, 10))].into(), ..uncut() };
    assert!(
        session.is_active(at(20), &cuts)
            && session.family_is_active(1, &cuts)
            && !session.family_is_active(2, &cuts)
    );
    assert!(!session.family_is_active(3, &cuts), "what is not there is not active");
}

fn renewal(family: Option<NewFamily>) -> Renewal {
    let authentication = Authentication { at: at(200), acr: Some("strong".into()), amr: vec!["otp".into()] };
    Renewal {
        token: Hash([0xdd; 32]),
        scope: ScopeSet::default(),
        audience: "api".into(),
        authentication,
        reports_time: true,
        lifetimes: lifetimes(),
        family,
        by: "app".into(),
    }
}

/// SES-02, SES-03, SES-15. Renewal: another session token, both timeouts from their start, the own family
/// replaced, others untouched.
#[test]
fn a_renewal_replaces_the_token_and_the_own_family_and_restarts_both_timeouts() {
    let mut session = session();
    session.add_family(family("mobile"), Position(6), at(0), &uncut()).unwrap();
    let decision = session.renew(renewal(Some(family("app"))), at(210), &uncut()).unwrap();
    assert_eq!(names(&decision.events), [("family.ended", Some("token_revoked")), ("session.renewed", None)]);
    assert_eq!(
        (decision.answer, decision.events[0].family, decision.events[1].family),
        (Some(3), Some(1), Some(3))
    );
    assert!(
        session.is_current_token(1, &Hash([0xdd; 32])) && !session.is_current_token(0, &Hash([0xee; 32]))
    );
    assert!(
        !session.is_current_token(0, &Hash([0xdd; 32])) && !session.is_current_token(1, &Hash([0xee; 32]))
    );
    assert_eq!((session.idle_expires_at(), session.expires_at), (at(210 + IDLE), at(200 + ABSOLUTE)));
    assert_eq!((session.version, session.own_family), (2, Some(3)));
    let live = |number| session.family_is_active(number, &uncut());
    assert_eq!((live(1), live(2), live(3)), (false, true, true));
    let acr = |number| session.family(number).unwrap().authentication.acr.as_deref();
    assert_eq!((acr(2), acr(3)), (None, Some("strong")), "the others keep what they were granted under");
    assert_eq!(session.family(3).unwrap().issued, uncut().head.next());
}

#[test]
fn a_renewal_without_the_grant_leaves_no_family_of_its_own() {
    let mut session = session();
    assert_eq!(session.renew(renewal(None), at(210), &uncut()).unwrap().answer, None);
    assert_eq!((session.own_family, session.family_is_active(1, &uncut())), (None, false));
    let again = session.renew(renewal(None), at(220), &uncut()).unwrap();
    assert_eq!(names(&again.events), [("session.renewed", None)], "there is none to replace");
}

/// A reported time is compared by its second, which is what tokens carry.
#[test]
fn a_renewal_never_sets_the_time_of_the_authentication_back() {
    let previous = Timestamp::from_millis(at(0).millis() + 500);
    let renewed = |reports_time, seconds| {
        let mut session = session();
        session.authentication.at = previous;
        let authentication = Authentication { at: at(seconds), acr: None, amr: vec![] };
        let renewal = Renewal { authentication, reports_time, ..renewal(None) };
        session.renew(renewal, at(10), &uncut()).map(|_| session.authentication.at).map_err(|r| r.refusal)
    };
    assert_eq!((renewed(false, -1), renewed(false, 5)), (Ok(previous), Ok(at(5))));
    assert_eq!((renewed(true, 0), renewed(true, 5)), (Ok(at(0)), Ok(at(5))));
    assert_eq!(renewed(true, -1), Err(Refusal::Invalid { field: "auth_time" }));
}

#[test]
fn a_session_that_is_not_active_is_not_renewed() {
    let mut ended = session();
    ended.close(end(1, EndReason::Logout), at(1), &uncut());
    let mut worn = session();
    worn.renewals = u32::MAX;
    for (session, seconds) in [(ended, 2), (session(), IDLE), (worn, 2)] {
        let mut after = session.clone();
        assert!(after.renew(renewal(None), at(seconds), &uncut()).is_err());
        assert_eq!(after, session);
    }
}

#[test]
fn an_expiry_is_reported_once_and_what_was_ended_never() {
    let mut session = with_window();
    // Until then a use that was not written could still say otherwise.
    let due = session.due();
    assert_eq!(due, at(IDLE).plus(session.activity_grace()));
    assert!(session.report_expiry(due.minus(Duration::from_millis(1)), &uncut()).is_empty());
    assert!(session.families[0].window.is_some());
    assert_eq!(names(&session.report_expiry(due, &uncut())), [("session.expired", None)]);
    assert!(session.families[0].window.is_none(), "no salt outlives its session");
    assert!(session.report_expiry(due, &uncut()).is_empty());
    let mut ended = super::session();
    ended.close(end(1, EndReason::Logout), at(1), &uncut());
    assert!(ended.report_expiry(due, &uncut()).is_empty());
}

#[test]
fn a_session_is_kept_for_the_retention_after_its_end() {
    let retention = Duration::from_secs(1_000);
    let mut session = session();
    let kept = |session: &Session, seconds, cuts: &CutOffs| session.kept_until(retention, at(seconds), cuts);
    assert_eq!(kept(&session, IDLE - 1, &uncut()), None);
    assert_eq!(kept(&session, IDLE, &uncut()), Some(at(IDLE + 1_000)));
    assert_eq!(kept(&session, IDLE + 9, &uncut()), Some(at(IDLE + 1_000)), "however late it is noticed");
    let cuts = CutOffs { everything: Some(cut_off(6, 10)), ..uncut() };
    assert_eq!(kept(&session, 11, &cuts), Some(at(1_010)));
    session.close(end(5, EndReason::Logout), at(5), &uncut());
    assert_eq!(kept(&session, 6, &uncut()), Some(at(1_005)));
    let soon = session.kept_until(Duration::from_secs(1), at(6), &uncut());
    assert_eq!(soon, Some(session.created_at.plus(REPEAT_WINDOW)), "its opening is not repeated meanwhile");
}

/// The counts of active sessions are kept without a clock: an expiry counts once the sweep has reported it.
#[test]
fn a_session_counts_as_live_until_it_is_ended_cut_off_or_reported_as_expired() {
    let counts = |session: &Session, cuts: &CutOffs| (session.may_be_active(), session.counts_as_live(cuts));
    let cuts = CutOffs { everything: Some(cut_off(6, 1)), ..uncut() };
    assert_eq!(counts(&session(), &uncut()), (true, true));
    assert_eq!(counts(&session(), &cuts), (true, false));
    let ended = Session { end: Some(end(1, EndReason::Logout)), ..session() };
    assert_eq!(counts(&ended, &uncut()), (false, false));
    let expired = Session { expiry_reported: true, ..session() };
    assert_eq!(counts(&expired, &uncut()), (false, false));
}

/// Uses are written at most every 45 seconds, and the sweep waits for one that may not be written yet.
#[test]
fn the_interval_of_written_uses_is_a_tenth_of_the_idle_timeout_and_the_grace_at_most_that_timeout() {
    for (idle_s, interval_ms, grace_ms) in [
        (1_800, 45_000, 60_000),
        (450, 45_000, 60_000),
        (100, 10_000, 25_000),
        (10, 1_000, 10_000),
        (1, 100, 2_000),
    ] {
        let session = Session { idle_timeout: Duration::from_secs(idle_s), ..session() };
        let expected = (Duration::from_millis(interval_ms), Duration::from_millis(grace_ms));
        assert_eq!((session.activity_interval(), session.activity_grace()), expected, "{idle_s}");
    }
}

/// A use may not be written: the session stays active for as long, and nothing is shown that is not recorded.
#[test]
fn a_use_is_supposed_only_where_the_session_would_have_expired_without_it() {
    let grace = i64::try_from(session().activity_grace().as_secs()).unwrap();
    let used = |session: &Session, now, until| session.last_use_at(at(now), at(until));
    for (now, expected) in
        [(0, 0), (IDLE - 1, 0), (IDLE, grace), (IDLE + grace - 1, grace), (IDLE + grace, 0), (ABSOLUTE, 0)]
    {
        assert_eq!(used(&session(), now, ABSOLUTE), at(expected), "{now}");
    }
    assert_eq!(used(&session(), IDLE, 7), at(7), "no use after the start of this run is missing");
    assert_eq!(used(&session(), IDLE + 7, 7), at(0));
    assert_eq!(used(&session(), IDLE, -7), at(0), "the written use is later");
    let ended = Session { end: Some(end(1, EndReason::Logout)), ..session() };
    assert_eq!(used(&ended, IDLE, ABSOLUTE), at(0));
    let short = Session { idle_timeout: Duration::from_secs(1), ..session() };
    assert_eq!(
        (short.activity_grace().as_secs(), used(&short, 1, ABSOLUTE)),
        (2, at(1)),
        "not in the future"
    );
}

/// Uses in between may not have been written: the idle timeout by the written use decides nothing.
#[test]
fn a_use_is_written_late_unless_the_session_had_ended_by_then() {
    let used = |mut session: Session, seconds, cuts: &CutOffs| {
        session.use_at(at(seconds), cuts);
        session.last_used_at
    };
    assert_eq!(used(session(), IDLE + 9, &uncut()), at(IDLE + 9));
    assert_eq!(used(session(), ABSOLUTE, &uncut()), at(0));
    let cuts = CutOffs { everything: Some(cut_off(6, 1)), ..uncut() };
    assert_eq!(used(session(), 9, &cuts), at(0));
}
