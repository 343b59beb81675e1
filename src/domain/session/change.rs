//! Changing the claims, the private data and the device label of an active session.

use super::Session;
use crate::domain::access::Claims;
use crate::domain::cutoff::CutOffs;
use crate::domain::event::{Event, EventKind};
use crate::domain::refusal::Refused;
use crate::domain::time::Timestamp;

/// What to change. Absent members stay as they are; `Some(None)` removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The claims for tokens and introspection.
    pub claims: Option<Option<Claims>>,
    /// The label of the device.
    pub label: Option<Option<Box<str>>>,
    /// Whether the private data changes too. It is stored beside the session.
    pub data: bool,
}

impl Session {
    /// Makes the changes, which count as one version, and returns their event; none if nothing differs.
    /// Issued tokens keep their claims, but a retried refresh gets another access token.
    ///
    /// # Errors
    /// `Conflict` for a session that is not active.
    pub fn change(
        &mut self,
        changes: &Changes,
        by: &str,
        now: Timestamp,
        cuts: &CutOffs,
    ) -> Result<Vec<Event>, Refused> {
        if !self.is_active(now, cuts) {
            return Err(Refused::session_not_active());
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
            return Ok(vec![]);
        }
        self.version = self.version.saturating_add(1);
        Ok(vec![self.event(EventKind::SessionUpdated, now, by)])
    }
}
