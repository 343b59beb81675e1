//! Every row of the table in standards section 6.4: state and input give the answer, the next state and the
//! events.

use std::sync::Arc;

use super::*;
use crate::domain::client::Client;
use crate::domain::client::tests::client as registered;
use crate::domain::family::RetryWindow;

/// A request by `app` for all that was granted, under the default policy.
struct Asked {
    client: ClientId,
    family: u16,
    token: PresentedToken,
    scope: Option<Result<ScopeSet, Malformed>>,
    resource: Option<&'static str>,
    policy: Policy,
}

fn asked(token: PresentedToken) -> Asked {
    Asked { client: client("app"), family: 1, token, scope: None, resource: None, policy: Policy::default() }
}

impl Asked {
    fn request(self) -> Refresh {
        Refresh {
            client: Arc::new(Client { audiences: vec!["api".into()], ..registered(self.client.as_str()) }),
            issuer: "https://id.example".into(),
            family: self.family,
            presented: self.token,
            scope: self.scope,
            resource: self.resource.map(Into::into),
            policy: self.policy,
            key: key(),
            address: Some([4; 16]),
        }
    }

    fn of(
        self,
        session: &mut Session,
        now: Moment,
        cuts: &CutOffs,
    ) -> Decision<Result<Refreshed, NotRefreshed>> {
        let refresh = self.request();
        session.refresh(&refresh, &refresh.client, now, cuts)
    }

    /// Refreshes at `seconds`, and expects a refusal without a change or an event.
    fn changes_nothing_for(self, session: &Session, seconds: i64, cuts: &CutOffs, why: NotRefreshed) {
        let mut after = session.clone();
        let decision = self.of(&mut after, moment(seconds), cuts);
        assert_eq!((decision.answer.unwrap_err(), decision.events), (why, vec![]));
        assert_eq!(after, *session);
    }

    /// Asks at `seconds`, and holds the session to have ended for `reason`.
    fn ends(self, session: &Session, seconds: i64, why: NotRefreshed, reason: EndReason) -> Vec<Event> {
        let mut after = session.clone();
        let decision = self.of(&mut after, moment(seconds), &uncut());
        assert_eq!(decision.answer.unwrap_err(), why);
        assert_eq!(after.end, Some(End { at: at(seconds), reason, by: ENGINE.into() }));
        assert!(
            after.families.iter().all(|family| family.window.is_none()),
            "nothing is left that could make a token"
        );
        decision.events
    }
}

fn refreshed(session: &mut Session, generation: u32, seconds: i64) -> Refreshed {
    asked(token(generation)).of(session, moment(seconds), &uncut()).answer.unwrap()
}

/// State A, no window was ever open.
fn fresh() -> Session {
    session()
}

/// State W: rotated `generations` times, the last time at `seconds`; the window is open.
fn rotated(generations: u32, seconds: i64) -> Session {
    let mut session = session();
    for generation in 0..generations {
        refreshed(&mut session, generation, seconds);
    }
    session
}

/// ROT-01. A and W, current: a new generation, a new window, and it counts as activity.
#[test]
fn the_current_token_rotates_and_opens_a_window() {
    let mut session = fresh();
    for generation in 0..3 {
        let seconds = 100 + i64::from(generation);
        let grant = refreshed(&mut session, generation, seconds);
        let family = &session.families[0];
        assert_eq!(
            (family.generation, family.current, family.previous),
            (generation + 1, link(generation + 1), Some(link(generation)))
        );
        assert_eq!((family.refreshed_at, session.last_used_at), (at(seconds), at(seconds)));
        let window = family.window.as_ref().unwrap();
        assert_eq!(
            (&window.salt, window.retries, window.opened),
            (&token(generation).salt, 0, moment(seconds).into())
        );
        assert_eq!(window.length, Duration::from_secs(10));
        assert_eq!(
            (&grant.salt, &grant.stamp, grant.retried, grant.family),
            (&window.salt, &window.stamp, false, 1)
        );
        assert_eq!(
            (grant.stamp.issued_at, grant.stamp.expires_at),
            (at(seconds).seconds(), at(seconds + 300).seconds())
        );
    }
    assert_eq!(session.version, 1, "refreshes are not changes");
}

/// Under a window of 0 the next state is A: no salt is kept, and the previous token is reuse at once
/// (ROT-04).
#[test]
fn a_strict_policy_keeps_no_salt() {
    let mut session = fresh();
    let mut strict = asked(token(0));
    strict.policy.refresh_retry_window = Duration::ZERO;
    strict.of(&mut session, moment(0), &uncut()).answer.unwrap();
    assert_eq!(session.families[0].window, None);
    asked(token(0)).ends(&session, 0, NotRefreshed::Reused, EndReason::RefreshReuse);
}

/// ROT-02, ROT-08, ROT-09. W, previous: the same grant; only the count of retries moves.
#[test]
fn the_previous_token_answers_the_same_again_within_its_window() {
    let mut session = fresh();
    let first = refreshed(&mut session, 0, 100);
    let before = session.clone();
    for retry in 1..=3_u8 {
        let decision = asked(token(0)).of(&mut session, moment(100 + WINDOW - 1), &uncut());
        let again = decision.answer.unwrap();
        assert_eq!(
            (&again.salt, &again.stamp, again.retried, decision.events),
            (&first.salt, &first.stamp, true, vec![])
        );
        let mut expected = before.clone();
        expected.families[0].window.as_mut().unwrap().retries = retry;
        assert_eq!(session, expected);
    }
}

#[test]
fn the_sixty_fifth_retry_is_too_many_and_changes_nothing() {
    let mut session = rotated(1, 100);
    for _ in 0..RETRIES_MAX {
        assert!(refreshed(&mut session, 0, 100).retried);
    }
    asked(token(0)).changes_nothing_for(&session, 100, &uncut(), NotRefreshed::TooManyRetries);
    assert!(!refreshed(&mut session, 1, 100).retried, "the current token is not held back");
}

/// A, previous after its window, at its very end too: reuse, or only a refusal where the policy says so.
#[test]
fn the_previous_token_after_its_window_is_reuse_unless_the_policy_only_refuses() {
    let session = rotated(1, 100);
    let events = asked(token(0)).ends(&session, 100 + WINDOW, NotRefreshed::Reused, EndReason::RefreshReuse);
    assert_eq!(events[0].generations_behind, Some(1));
    let mut lenient = asked(token(0));
    lenient.policy.late_retry = LateRetry::Refuse;
    lenient.changes_nothing_for(&session, 100 + WINDOW, &uncut(), NotRefreshed::Late);
}

fn answering(token: PresentedToken) -> Asked {
    let mut asked = asked(token);
    asked.policy.late_retry = LateRetry::Answer;
    asked
}

/// A, previous after its window, under `late_retry = "answer"`: the same salt until the successor is used. It
/// counts as activity, and at most 64 times.
#[test]
fn a_late_retry_is_answered_as_long_as_the_successor_is_unused() {
    let mut session = fresh();
    let first = answering(token(0)).of(&mut session, moment(100), &uncut()).answer.unwrap();
    assert!(!first.retried && session.families[0].window.as_ref().unwrap().kept);
    let before = session.clone();
    for retry in 1..=RETRIES_MAX {
        let seconds = 100 + WINDOW + 60 * i64::from(retry);
        let decision = answering(token(0)).of(&mut session, moment(seconds), &uncut());
        let again = decision.answer.unwrap();
        assert_eq!(
            (&again.salt, again.retried, again.late, decision.events),
            (&first.salt, true, true, vec![])
        );
        let mut expected = before.clone();
        expected.last_used_at = at(seconds);
        let window = expected.families[0].window.as_mut().unwrap();
        (window.retries, window.late) = (retry, true);
        assert_eq!(session, expected);
    }
    answering(token(0)).changes_nothing_for(&session, 4_000, &uncut(), NotRefreshed::TooManyRetries);
    let bad = Asked { scope: Some("admin".parse()), ..answering(token(0)) };
    bad.changes_nothing_for(&session, 4_000, &uncut(), NotRefreshed::Scope);
    refreshed(&mut session, 1, 4_000);
    answering(token(0)).ends(&session, 4_001, NotRefreshed::Reused, EndReason::RefreshReuse);
}

/// The same, where the token before was answered late too; not where a generation lies between.
#[test]
fn late_answers_in_two_successive_generations_are_reuse() {
    let mut session = fresh();
    let mut ask = |generation, seconds| {
        let answer = answering(token(generation)).of(&mut session, moment(seconds), &uncut()).answer;
        (answer.unwrap().late, session.clone())
    };
    assert!(!ask(0, 0).0 && ask(0, 60).0 && !ask(1, 120).0);
    let (late, spent) = ask(1, 121);
    assert!(!late, "within the window it is a retry like any other");
    let events =
        answering(token(1)).ends(&spent, 120 + WINDOW, NotRefreshed::Reused, EndReason::RefreshReuse);
    assert_eq!(events[0].generations_behind, Some(1));
    assert!(!ask(2, 180).0 && ask(2, 240).0, "the one between was not answered late");
}

/// Without a salt that was kept for it a late retry is reuse; one that was kept is not answered under another
/// policy.
#[test]
fn a_late_retry_is_answered_only_under_the_policy_of_both_moments() {
    answering(token(0)).ends(&rotated(1, 100), 200, NotRefreshed::Reused, EndReason::RefreshReuse);
    let mut erased = rotated(1, 100);
    erased.families[0].window = None;
    answering(token(0)).ends(&erased, 200, NotRefreshed::Reused, EndReason::RefreshReuse);
    let mut kept = fresh();
    answering(token(0)).of(&mut kept, moment(100), &uncut()).answer.unwrap();
    asked(token(0)).ends(&kept, 200, NotRefreshed::Reused, EndReason::RefreshReuse);
    let mut refusing = asked(token(0));
    refusing.policy.late_retry = LateRetry::Refuse;
    refusing.changes_nothing_for(&kept, 200, &uncut(), NotRefreshed::Late);
}

/// ROT-05, ROT-06, ROT-35. A and W, old: the session ends with all it issued, and the log says by what.
#[test]
fn an_old_token_ends_the_session_inside_the_window_and_after_it() {
    let mut session = rotated(3, 100);
    session.add_family(family("mobile"), Position(6), at(100), &uncut()).unwrap();
    for seconds in [101, 100 + WINDOW + 1] {
        for old in [0, 1] {
            let events =
                asked(token(old)).ends(&session, seconds, NotRefreshed::Reused, EndReason::RefreshReuse);
            assert_eq!(names(&events), [("refresh.reused", None), ("session.ended", Some("refresh_reuse"))]);
            let reused = &events[0];
            assert_eq!((reused.family, reused.generations_behind), (Some(1), Some(3 - old)));
            assert_eq!((&reused.client, reused.address), (&Some(client("app")), Some([4; 16])));
            assert_eq!(
                (&reused.session, &reused.subject),
                (&Some(session.id), &Some(session.subject.clone()))
            );
        }
    }
    // `late_retry` is about the immediate predecessor only.
    let mut lenient = asked(token(1));
    lenient.policy.late_retry = LateRetry::Refuse;
    lenient.ends(&session, 101, NotRefreshed::Reused, EndReason::RefreshReuse);
}

/// A and W, future or forked: the store has lost a rotation.
#[test]
fn a_genuine_token_that_this_store_never_issued_ends_the_session_as_a_rollback() {
    let fork = |generation| PresentedToken { hash: link(77), ..token(generation) };
    for (session, presented) in [
        (fresh(), token(1)),
        (fresh(), fork(0)),
        (rotated(2, 100), token(3)),
        (rotated(2, 100), token(u32::MAX)),
        (rotated(2, 100), fork(2)),
        (rotated(2, 100), fork(1)),
    ] {
        for seconds in [100, 200] {
            let events = asked(presented.clone()).ends(
                &session,
                seconds,
                NotRefreshed::StoreRollback,
                EndReason::StoreRollback,
            );
            assert_eq!(names(&events), [("session.ended", Some("store_rollback"))]);
        }
    }
    let mut later = asked(token(0));
    later.family = 2;
    later.ends(&fresh(), 1, NotRefreshed::StoreRollback, EndReason::StoreRollback);
}

/// ROT-18. E by a restore: nothing is left to end, and nothing is written; but a token newer than the backup
/// gets another refusal than an older one.
#[test]
fn after_a_restore_a_token_newer_than_the_backup_is_distinguished_from_an_older_one() {
    let cuts = CutOffs { restored: Some(cut_off(1_000, 150)), ..uncut() };
    let session = rotated(2, 100);
    for (generation, why) in [
        (0, NotRefreshed::Inactive),
        (1, NotRefreshed::Inactive),
        (2, NotRefreshed::Inactive),
        (3, NotRefreshed::StoreRollback),
    ] {
        asked(token(generation)).changes_nothing_for(&session, 200, &cuts, why);
    }
    let mut of_later_family = asked(token(0));
    of_later_family.family = 2;
    of_later_family.changes_nothing_for(&session, 200, &cuts, NotRefreshed::StoreRollback);
    let mut ended = session.clone();
    ended.close(End { at: at(120), reason: EndReason::Logout, by: "app".into() }, at(120), &uncut());
    asked(token(3)).changes_nothing_for(&ended, 200, &cuts, NotRefreshed::Inactive);
    let of_later_family = Asked { family: 2, ..asked(token(0)) };
    of_later_family.changes_nothing_for(&ended, 200, &cuts, NotRefreshed::Inactive);
    let forgotten = Session { families: vec![], ..session };
    asked(token(2)).changes_nothing_for(&forgotten, 200, &cuts, NotRefreshed::Inactive);
}

/// RFR-07. A and W, any token of another client's: refused, and nothing is touched.
#[test]
fn another_clients_token_is_refused_and_nothing_is_touched() {
    let session = rotated(2, 100);
    for generation in [0, 1, 2, 3] {
        let mut foreign = asked(token(generation));
        foreign.client = client("attacker");
        foreign.changes_nothing_for(&session, 101, &uncut(), NotRefreshed::BindingMismatch);
    }
}

/// ROT-23, ROT-24. Scope and resource are judged for tokens that could be answered, and consume nothing; for
/// the others reuse comes first.
#[test]
fn a_bad_scope_or_resource_consumes_nothing_and_hides_no_reuse() {
    let session = rotated(2, 100);
    let scopes = [Err(Malformed), "admin".parse(), "read admin".parse()];
    for generation in [1, 2] {
        for scope in &scopes {
            let bad = Asked { scope: Some(scope.clone()), ..asked(token(generation)) };
            bad.changes_nothing_for(&session, 101, &uncut(), NotRefreshed::Scope);
        }
        let bad = Asked { resource: Some("elsewhere"), ..asked(token(generation)) };
        bad.changes_nothing_for(&session, 101, &uncut(), NotRefreshed::Target);
    }
    for scope in scopes {
        let spent = Asked { scope: Some(scope), resource: Some("elsewhere"), ..asked(token(0)) };
        spent.ends(&session, 101, NotRefreshed::Reused, EndReason::RefreshReuse);
    }
    let future = Asked { resource: Some("elsewhere"), ..asked(token(9)) };
    future.ends(&session, 101, NotRefreshed::StoreRollback, EndReason::StoreRollback);
}

/// What was taken from the client since the grant is not issued, and nothing is consumed.
#[test]
fn a_client_gets_no_scope_and_no_audience_that_it_may_not_request_any_more() {
    let refresh = asked(token(0)).request();
    for (why, now) in [
        (NotRefreshed::Target, Client { audiences: vec!["other".into()], ..(*refresh.client).clone() }),
        (NotRefreshed::Scope, Client { scopes: "more".parse().unwrap(), ..(*refresh.client).clone() }),
    ] {
        let mut session = fresh();
        let decision = session.refresh(&refresh, &now, moment(1), &uncut());
        assert_eq!((decision.answer.unwrap_err(), session), (why, fresh()));
    }
}

/// ROT-22, RFR-04. A narrower scope is the access token's alone.
#[test]
fn a_narrower_scope_is_granted_and_the_familys_stays() {
    let mut session = fresh();
    for generation in [0, 0, 1] {
        let narrow = Asked { scope: Some("read".parse()), resource: Some("api"), ..asked(token(generation)) };
        assert_eq!(narrow.of(&mut session, moment(1), &uncut()).answer.unwrap().scope.as_str(), "read");
        assert_eq!(session.families[0].scope.as_str(), "read write");
    }
    assert_eq!(refreshed(&mut session, 2, 1).scope.as_str(), "read write");
}

/// E: whatever ended it, every token is refused and nothing is detected, for there is nothing left to
/// protect.
#[test]
fn nothing_happens_to_what_has_ended() {
    let alive = rotated(2, 100);
    let ended = |change: &dyn Fn(&mut Session)| {
        let mut session = alive.clone();
        change(&mut session);
        session
    };
    let everything = CutOffs { everything: Some(cut_off(6, 101)), ..uncut() };
    let deleted = CutOffs { clients: [(client("app"), cut_off(6, 101))].into(), ..uncut() };
    let states = [
        (ended(&|s| drop(s.close(end(101, EndReason::Logout), at(101), &uncut()))), uncut()),
        (ended(&|s| drop(s.close_family(1, end(101, EndReason::Logout), at(101), &uncut()))), uncut()),
        (alive.clone(), everything),
        (alive.clone(), deleted),
    ];
    for (session, cuts) in states {
        for generation in [0, 1, 2, 3] {
            asked(token(generation)).changes_nothing_for(&session, 102, &cuts, NotRefreshed::Inactive);
        }
    }
}

/// ROT-27. X: expired is not reuse, even for old generations, and even in an open window.
#[test]
fn an_expired_session_refuses_every_token_without_detecting_anything() {
    let mut late = rotated(2, 100);
    let idle = 100 + IDLE;
    late.expires_at = at(105);
    for (session, seconds) in [(rotated(2, 100), idle), (rotated(2, 100), idle + 1), (late, 105)] {
        for generation in [0, 1, 2, 3] {
            asked(token(generation)).changes_nothing_for(&session, seconds, &uncut(), NotRefreshed::Inactive);
        }
    }
    let mut session = rotated(2, 100);
    assert!(!refreshed(&mut session, 2, idle - 1).retried, "one second earlier it is active");
}

/// G: a family forgotten long ago is only refused; its number is below the next.
#[test]
fn a_forgotten_family_is_refused_without_ado() {
    let mut session = fresh();
    session.families.clear();
    session.add_family(family("app"), Position(6), at(0), &uncut()).unwrap();
    asked(token(0)).changes_nothing_for(&session, 1, &uncut(), NotRefreshed::Inactive);
    session.next_family = 0;
    let used_up = Asked { family: 9, ..asked(token(0)) };
    used_up.changes_nothing_for(&session, 1, &uncut(), NotRefreshed::Inactive);
}

/// ROT-32. The last generation has no next.
#[test]
fn the_last_generation_is_refused_and_does_not_wrap() {
    let mut session = fresh();
    session.families[0].generation = u32::MAX - 1;
    session.families[0].current = link(u32::MAX - 1);
    refreshed(&mut session, u32::MAX - 1, 1);
    assert_eq!(session.families[0].generation, u32::MAX);
    asked(token(u32::MAX)).changes_nothing_for(&session, 2, &uncut(), NotRefreshed::Exhausted);
    assert!(
        refreshed(&mut session, u32::MAX - 1, 2).retried,
        "a retry of the last rotation is answered all the same"
    );
}

/// The rules of the clock: one run of the process believes its monotonic clock, the next believes the wall,
/// and a clock that went back closes the window (ROT-28).
#[test]
fn a_window_is_open_as_long_as_a_clock_proves_it() {
    let session = rotated(1, 100);
    let window: &RetryWindow = session.families[0].window.as_ref().unwrap();
    let open = |boot, wall, elapsed: i64| {
        window.is_open(Moment { wall: at(wall), boot, elapsed_ms: u64::try_from(elapsed).unwrap() })
    };
    assert!(
        open(1, 100, 109_999) && !open(1, 100, 110_000),
        "the monotonic clock decides, to the millisecond"
    );
    assert!(open(1, 90, 100_500) && open(1, 10_000, 100_500), "whatever the wall says");
    assert!(open(2, 100, 0) && open(2, 109, 999_999) && !open(2, 110, 0), "in another run the wall decides");
    assert!(!open(2, 97, 0), "a clock that went back proves nothing");
    assert!(open(2, 98, 0), "the clock of another replica can be ahead");
}

/// Replicas that got the same token at once read their clocks before they wait for the session. To the last
/// one the window of the first seemed to open in the future: its answer was late, and one generation later
/// reuse.
#[test]
fn a_window_that_another_replica_has_just_opened_is_open() {
    let mut session = rotated(1, 100);
    let earlier = Moment { wall: at(99), boot: 2, elapsed_ms: 0 };
    let retry = asked(token(0)).of(&mut session, earlier, &uncut()).answer.unwrap();
    assert!(retry.retried && !retry.late);
}

/// A clock that went back moves no deadline: what was seen stays seen.
#[test]
fn a_refresh_under_a_clock_that_went_back_takes_nothing_away() {
    let mut session = rotated(1, 100);
    let back = Moment { wall: at(40), boot: 1, elapsed_ms: 101_000 };
    asked(token(1)).of(&mut session, back, &uncut()).answer.unwrap();
    assert_eq!((session.last_used_at, session.families[0].generation), (at(100), 2));
}

/// RFR-15, RFR-20. No access token outlives its session.
#[test]
fn an_access_token_ends_with_its_session_at_the_latest() {
    let mut session = fresh();
    session.expires_at = at(50);
    assert_eq!(refreshed(&mut session, 0, 10).stamp.expires_at, at(50).seconds());
}
