//! Changing what a living session carries.

use super::Session;
use crate::domain::access::Claims;
use crate::domain::cutoff::CutOffs;
use crate::domain::event::{Event, EventKind};
use crate::domain::time::Timestamp;

/// What changes; what is absent stays, and what is `None` inside is taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What goes into tokens and introspection.
    pub claims: Option<Option<Claims>>,
    /// What a person calls the device.
    pub label: Option<Option<Box<str>>>,
    /// Whether the private data, which lies beside the session, changes with it.
    pub data: bool,
}

impl Session {
    /// Makes the changes, which count as one version, and tells of them; tells nothing if nothing differs.
    /// `None` for a session that lives no longer. Tokens that were issued keep the claims that they have, but
    /// a retry of a refresh no longer gets the same access token.
    pub fn change(
        &mut self,
        changes: &Changes,
        by: &str,
        now: Timestamp,
        cuts: &CutOffs,
    ) -> Option<Vec<Event>> {
        if !self.is_active(now, cuts) {
            return None;
        }
        let mut changed = changes.data;
        if let Some(claims) = changes.claims.as_ref().filter(|claims| **claims != self.claims) {
            self.claims = claims.clone();
            self.claims_version = self.claims_version.saturating_add(1);
            changed = true;
        }
        if let Some(label) = changes.label.as_ref().filter(|label| **label != self.device.label) {
            self.device.label = label.clone();
            changed = true;
        }
        if !changed {
            return Some(vec![]);
        }
        self.version = self.version.saturating_add(1);
        Some(vec![self.event(EventKind::SessionUpdated, now, by)])
    }
}
