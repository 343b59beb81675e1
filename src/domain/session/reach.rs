//! The clients that an event of a session concerns: its opener, the clients that its tokens were issued to,
//! and those that serve the audience of its tokens.

use super::Session;
use crate::domain::event::{Event, EventKind, Reach};
use crate::domain::family::Family;
use crate::domain::time::Timestamp;

impl Session {
    /// An event about this session. It concerns all that was issued in it, if the feed shows it.
    pub fn event(&self, kind: EventKind, at: Timestamp, by: &str) -> Event {
        let active = self.families.iter().filter(|family| family.end.is_none());
        Event {
            session: Some(self.id),
            subject: Some(self.subject.clone()),
            client: Some(self.client_id.clone()),
            reach: kind.has_reach().then(|| self.reach(Some(&self.audience), active)),
            ..Event::new(kind, at, by)
        }
    }

    /// An event about one family.
    pub(super) fn family_event(&self, kind: EventKind, family: &Family, at: Timestamp, by: &str) -> Event {
        Event {
            client: Some(family.client_id.clone()),
            family: Some(family.number),
            reach: Some(self.reach(None, [family])),
            ..self.event(kind, at, by)
        }
    }

    /// The reach of an event about access tokens: with this audience and no family, and of these families.
    pub(super) fn reach<'a>(
        &self,
        audience: Option<&str>,
        families: impl IntoIterator<Item = &'a Family>,
    ) -> Reach {
        let mut reach = Reach::default();
        reach.add_party(&self.opened_by, self.issued);
        reach.add_party(self.client_id.as_str(), self.issued);
        audience.into_iter().for_each(|audience| reach.add_audience(audience));
        for family in families {
            reach.add_party(family.client_id.as_str(), family.issued);
            reach.add_audience(&family.audience);
        }
        reach
    }
}
