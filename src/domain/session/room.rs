//! The cap on the sessions of a subject, and which of them an opening evicts.

use super::Session;
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
use crate::domain::event::Event;
use crate::domain::id::{ClientId, SessionId};
use crate::domain::names::ENGINE;
use crate::domain::policy::WhenFull;
use crate::domain::time::Timestamp;

/// A cap on the active sessions of one subject and client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// The number; at least 1.
    pub sessions_max: u32,
    /// What happens when it is reached.
    pub when_full: WhenFull,
}

/// Makes room for one more session of a subject and client; `None` if the policy refuses. `peers` are the
/// subject's sessions, of any client; `uses` are the uses of them that are not written yet. Evicted sessions
/// are ended in place; nothing else changes.
pub fn make_room(
    cap: Cap,
    client: &ClientId,
    peers: &mut [Session],
    uses: &[(SessionId, Timestamp)],
    now: Timestamp,
    cuts: &CutOffs,
) -> Option<Vec<Event>> {
    let mut active = vec![];
    for session in peers.iter_mut().filter(|session| session.client_id == *client) {
        let written = session.last_used_at;
        if let Some((_, used)) = uses.iter().find(|(id, _)| *id == session.id) {
            session.touch(*used);
        }
        let used = session.last_used_at;
        let is_active = session.is_active(now, cuts);
        session.last_used_at = written;
        if is_active {
            active.push((used, session));
        }
    }
    let surplus = (active.len() + 1).saturating_sub(cap.sessions_max as usize);
    if surplus > 0 && cap.when_full == WhenFull::Refuse {
        return None;
    }
    active.sort_by_key(|(used, session)| (*used, session.id));
    let evicted = End { at: now, reason: EndReason::Evicted, by: ENGINE.into() };
    Some(active.into_iter().take(surplus).map(|(_, session)| session.finish(evicted.clone())).collect())
}
