//! Whom the events of a session concern.

use super::*;
use crate::domain::event::Reach;

fn reach(parties: &[(&str, u64)], audiences: &[&str]) -> Option<Reach> {
    let parties = parties.iter().map(|(name, issued)| ((*name).into(), Position(*issued))).collect();
    Some(Reach { parties, audiences: audiences.iter().map(|&audience| audience.into()).collect() })
}

/// A session that `bff` opened for `app`, with a family of `mobile` for another audience.
fn shared() -> Session {
    let mut session = Session { opened_by: "bff".into(), ..session() };
    session.add_family(family("mobile"), Position(6), at(0), &uncut()).unwrap();
    session.families[1].audience = "mail".into();
    session
}

#[test]
fn an_event_of_a_session_concerns_all_that_tokens_were_issued_to_or_for() {
    let mut session = shared();
    let event = session.event(EventKind::SessionEnded, at(1), "root");
    assert_eq!((event.at, &*event.by, event.session), (at(1), "root", Some(session.id)));
    assert_eq!((event.subject, event.client), (Some(session.subject.clone()), Some(client("app"))));
    assert_eq!(event.reach, reach(&[("bff", 5), ("app", 5), ("mobile", 6)], &["api", "mail"]));
    session.close_family(2, end(1, EndReason::Logout), at(1), &uncut());
    let event = session.event(EventKind::SessionEnded, at(2), "root");
    assert_eq!(event.reach, reach(&[("bff", 5), ("app", 5)], &["api"]), "not those of ended families");
    assert_eq!(
        session.event(EventKind::SessionOpened, at(0), "bff").reach,
        None,
        "the feed does not show it"
    );
}

#[test]
fn an_event_of_a_family_concerns_its_client_its_audience_and_the_owners_of_the_session() {
    let session = shared();
    let event = session.family_event(EventKind::FamilyEnded, &session.families[1], at(1), "root");
    assert_eq!(
        (event.session, event.client, event.family),
        (Some(session.id), Some(client("mobile")), Some(2))
    );
    assert_eq!(event.reach, reach(&[("bff", 5), ("app", 5), ("mobile", 6)], &["mail"]));
}

/// A client of a name, and a later one of the same name, are two parties.
#[test]
fn a_party_and_an_audience_are_named_once() {
    let mut reached = Reach::default();
    for (name, issued) in [("app", 5), ("app", 5), ("app", 6), ("bff", 5)] {
        reached.add_party(name, Position(issued));
    }
    for audience in ["api", "mail", "api"] {
        reached.add_audience(audience);
    }
    assert_eq!(Some(reached), reach(&[("app", 5), ("app", 6), ("bff", 5)], &["api", "mail"]));
}
