//! When a session is active: idle and absolute timeouts, cut-offs, renewal; and how long it is stored.

use super::*;

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
    let retention = Duration::from_secs(100);
    let mut session = session();
    let kept = |session: &Session, seconds, cuts: &CutOffs| session.kept_until(retention, at(seconds), cuts);
    assert_eq!(kept(&session, IDLE - 1, &uncut()), None);
    assert_eq!(kept(&session, IDLE, &uncut()), Some(at(IDLE + 100)));
    assert_eq!(kept(&session, IDLE + 9, &uncut()), Some(at(IDLE + 100)), "however late it is noticed");
    let cuts = CutOffs { everything: Some(cut_off(6, 10)), ..uncut() };
    assert_eq!(kept(&session, 11, &cuts), Some(at(110)));
    session.close(end(5, EndReason::Logout), at(5), &uncut());
    assert_eq!(kept(&session, 6, &uncut()), Some(at(105)));
}
