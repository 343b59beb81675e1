//! The feed: the events that make kept answers and locally verified tokens invalid, for the callers that can
//! have such answers or tokens.

use super::caller::{Caller, Granted, IntrospectTokens};
use super::event::{Event, EventKind};

/// Which callers an event concerns.
enum Concerns {
    /// It invalidates nothing, or another event reports the same.
    None,
    All,
    /// Those of its reach.
    Reach,
}

impl EventKind {
    /// Whether the feed needs the reach of such an event.
    pub(super) fn has_reach(self) -> bool {
        matches!(self.concerns(), Concerns::Reach)
    }

    fn concerns(&self) -> Concerns {
        match self {
            // The sessions that a revoked subject or a reused token ended have events of their own.
            EventKind::SessionOpened
            | EventKind::SubjectRevoked
            | EventKind::RefreshReused
            | EventKind::ClientCreated
            | EventKind::KeyRotated => Concerns::None,
            EventKind::AllRevoked | EventKind::KeyRevoked | EventKind::StoreRestored => Concerns::All,
            EventKind::SessionUpdated
            | EventKind::SessionRenewed
            | EventKind::SessionExpired
            | EventKind::SessionEnded
            | EventKind::FamilyOpened
            | EventKind::FamilyEnded
            | EventKind::TokenRevoked
            | EventKind::ClientUpdated
            | EventKind::ClientDeleted
            | EventKind::ClientTokensRevoked => Concerns::Reach,
        }
    }
}

impl Granted<IntrospectTokens> {
    /// Whether the feed shows the caller this event. One of an earlier keyfob has no reach: to miss it could
    /// keep an invalid answer in use, so all callers see it.
    pub fn is_shown(&self, event: &Event, issuer: &str) -> bool {
        match (event.kind.concerns(), &event.reach) {
            (Concerns::None, _) => false,
            (Concerns::All, _) | (Concerns::Reach, None) => true,
            (Concerns::Reach, Some(reach)) => {
                self.is_reached_by(reach) || event.session.is_none() && self.is_concerned(event, issuer)
            }
        }
    }

    /// Whether an event about a client can concern sessions that the caller opens, or tokens for the issuer,
    /// which every client may ask for.
    fn is_concerned(&self, event: &Event, issuer: &str) -> bool {
        let Caller::Client(caller) = &**self else { return true };
        let opens_for = event.client.as_ref().is_some_and(|client| caller.opens_for.contains(client));
        event.token.is_none() && (opens_for || caller.serves.iter().any(|served| **served == *issuer))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::client::Permission;
    use crate::domain::client::tests::client;
    use crate::domain::event::Reach;
    use crate::domain::id::Position;
    use crate::domain::session::tests::session;
    use crate::domain::time::Timestamp;

    const ISSUER: &str = "https://id.example";

    fn caller(name: &str, serves: &[&str], incarnation: u64) -> Granted<IntrospectTokens> {
        let mut client = client(name);
        client.permissions = vec![Permission::Introspect];
        client.serves = serves.iter().map(|&served| served.into()).collect();
        client.incarnation = Position(incarnation);
        Caller::Client(Arc::new(client)).require().unwrap()
    }

    fn event(kind: EventKind) -> Event {
        Event::new(kind, Timestamp::from_seconds(1), "root")
    }

    #[test]
    fn what_concerns_a_session_is_shown_to_its_parties_and_to_those_who_serve_its_audiences() {
        let mut event = event(EventKind::SessionEnded);
        event.session = Some(session().id);
        let mut reach = Reach::default();
        reach.add_party("bff", Position(10));
        reach.add_party("app", Position(10));
        reach.add_party("mobile", Position(20));
        reach.add_audience("https://api");
        event.reach = Some(reach);
        for (name, serves, incarnation, shown) in [
            ("bff", &[][..], 10, true),
            ("app", &[], 0, true),
            ("mobile", &[], 15, true),
            ("api", &["https://other", "https://api"], 99, true),
            ("api", &["https://other", ISSUER], 0, false),
            ("stranger", &[], 0, false),
            // A later client of the same name.
            ("bff", &[], 11, false),
            ("mobile", &[], 21, false),
        ] {
            assert_eq!(caller(name, serves, incarnation).is_shown(&event, ISSUER), shown, "{name}");
        }
        assert!(Caller::AdminSocket.require::<IntrospectTokens>().unwrap().is_shown(&event, ISSUER));
    }

    #[test]
    fn what_ends_everything_is_shown_to_all_and_what_invalidates_nothing_to_none() {
        let (stranger, all) = (caller("stranger", &[], 0), Caller::AdminSocket.require().unwrap());
        for kind in [EventKind::AllRevoked, EventKind::KeyRevoked, EventKind::StoreRestored] {
            assert!(stranger.is_shown(&event(kind), ISSUER), "{kind:?}");
        }
        let nothing = [EventKind::SessionOpened, EventKind::SubjectRevoked, EventKind::RefreshReused];
        for kind in nothing.into_iter().chain([EventKind::ClientCreated, EventKind::KeyRotated]) {
            assert!(!all.is_shown(&event(kind), ISSUER), "{kind:?}");
        }
        let of_an_earlier_keyfob = event(EventKind::SessionEnded);
        assert!(stranger.is_shown(&of_an_earlier_keyfob, ISSUER), "to miss it is worse than to see it");
    }

    #[test]
    fn what_concerns_a_client_is_shown_to_it_its_openers_and_those_who_serve_its_audiences() {
        let mut event = event(EventKind::ClientUpdated);
        event.client = Some("app".parse().unwrap());
        let parties = vec![("app".into(), Position(5))];
        event.reach = Some(Reach { parties, audiences: vec!["https://api".into()] });
        let shown = |caller: &Granted<IntrospectTokens>| caller.is_shown(&event, ISSUER);
        assert!(shown(&caller("app", &[], 5)) && shown(&caller("api", &["https://api"], 9)));
        assert!(shown(&caller("issuer", &[ISSUER], 9)), "every client may ask for tokens for the issuer");
        assert!(!shown(&caller("stranger", &["https://other"], 0)));
        let mut bff = client("bff");
        (bff.permissions, bff.opens_for) = (vec![Permission::Introspect], vec!["app".parse().unwrap()]);
        assert!(shown(&Caller::Client(Arc::new(bff)).require().unwrap()));
    }
}
