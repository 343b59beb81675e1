//! Compares the whole store with what was acknowledged, while no request is in progress. What was in doubt is
//! known afterwards.

use std::collections::{BTreeMap, HashMap};

use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::end::EndReason;
use keyfob::domain::event::{Event, EventKind};
use keyfob::domain::id::{Position, SessionId};
use keyfob::domain::session::{Session as Stored, Standing};
use keyfob::domain::time::Timestamp;
use keyfob::store::Store;
use keyfob::store::check::Note;

use crate::client::Limit;
use crate::facts::{Fact, Facts, Incarnation, Session};
use crate::operation::Opening;
use crate::run::ADMINISTRATOR;
use crate::server::Server;

pub type Verdict<T = ()> = Result<T, String>;

/// What every state of the store has in common with the ones before it.
#[derive(Default)]
pub struct Audit {
    pub log: Vec<(Position, Event)>,
    /// Sessions whose opening had no answer.
    adopted: BTreeMap<SessionId, usize>,
}

impl Audit {
    /// A backup was restored that contains these events.
    pub fn restored(&mut self, log: Vec<(Position, Event)>) {
        *self = Self { log, ..Self::default() };
    }

    /// # Errors
    /// What differs.
    pub async fn run(
        &mut self,
        server: &mut Server,
        facts: &mut Facts,
        openings: &mut [Opening],
        limit: Option<Limit>,
    ) -> Verdict {
        let failed = |error: keyfob::store::StoreError| format!("the audit cannot read: {error}");
        let store = server.store.clone();
        let stored = store.sessions(None, None, usize::MAX).await.map_err(failed)?;
        let registry = store.registry();
        self.events(store.events(Position(0), usize::MAX).await.map_err(failed)?, &stored, facts)?;
        self.sessions(&stored, facts, openings, &registry.cuts)?;
        if let Some(limit) = limit {
            self.limit(limit, &stored, facts, &registry.cuts)?;
        }
        for incarnation in &mut facts.incarnations {
            let registered =
                registry.cuts.registered.values().find(|client| *client.id.as_str() == *incarnation.name);
            let same = registered
                .filter(|client| incarnation.position.is_none_or(|position| client.incarnation == position));
            match (incarnation.deleted, same) {
                (Fact::Yes, Some(_)) if incarnation.position.is_some() => {
                    return Err(format!("client {} is there after its deletion", incarnation.name));
                }
                (Fact::No, None) => return Err(format!("client {} is gone", incarnation.name)),
                (Fact::Maybe, None) => incarnation.deleted = Fact::Yes,
                (Fact::No | Fact::Maybe, Some(client)) => {
                    incarnation.deleted = Fact::No;
                    incarnation.position = Some(client.incarnation);
                }
                (Fact::Yes, _) => {}
            }
        }
        for broad in &mut facts.broad {
            broad.until.get_or_insert(facts.tick);
        }
        let live = stored.iter().filter(|session| session.counts_as_live(&registry.cuts)).count();
        let counted = store.figures().await.map_err(failed)?.active;
        if counted != live as u64 {
            return Err(format!("{live} sessions count as active, and the counter is {counted}"));
        }
        let mut notes = store.check(facts.now).map_err(failed)?;
        while let Some(note) = notes.recv().await {
            if let Some(Note::Find(find)) = note.map_err(failed)? {
                return Err(format!("db check: {} {}: {}", find.table, find.key, find.cause));
            }
        }
        Ok(())
    }

    fn sessions(
        &mut self,
        stored: &[Stored],
        facts: &mut Facts,
        openings: &mut [Opening],
        cuts: &CutOffs,
    ) -> Verdict {
        let now = facts.now;
        let mut by_id: BTreeMap<SessionId, &Stored> =
            stored.iter().map(|session| (session.id, session)).collect();
        for index in 0..facts.sessions.len() {
            let (id, before_restore) = (facts.sessions[index].id, facts.sessions[index].before_restore);
            let Some(found) = by_id.remove(&id) else {
                if before_restore {
                    continue;
                }
                return Err(format!("session {id} was acknowledged and is gone"));
            };
            self.adopted.remove(&id);
            if before_restore {
                check_restored(found, cuts)?;
                continue;
            }
            let Facts { sessions, incarnations, .. } = &mut *facts;
            compare(&mut sessions[index], incarnations, found, now, cuts)
                .map_err(|why| format!("session {id} {why}"))?;
            facts.end_replaced_tokens(index);
            facts.settle_session_tokens(index);
        }
        for opening in &mut *openings {
            opening.adopted = false;
        }
        let incarnations = &facts.incarnations;
        for found in by_id.into_values() {
            let number = found.device.label.as_ref().and_then(|label| label.parse::<usize>().ok());
            let number = number.ok_or_else(|| format!("session {} was never requested", found.id))?;
            let opening = &mut openings[number];
            if opening.before_restore {
                check_restored(found, cuts)?;
                continue;
            }
            opening.adopted = found.may_be_active();
            let known = self.adopted.insert(found.id, number);
            if opening.session.is_some() || (known.is_none() && opening.unanswered == 0) {
                return Err(format!("opening {number} was refused or is there twice: {}", found.id));
            }
            let of_client = opening.opener == Some(opening.incarnation);
            if of_client
                && incarnations[opening.incarnation].deleted == Fact::Yes
                && found.standing(now, cuts) == Standing::Active
            {
                return Err(format!("session {} is active though its client was deleted", found.id));
            }
        }
        for opening in openings {
            opening.unanswered = 0;
        }
        Ok(())
    }

    /// Sessions are evicted for an opening only, and when there are as many as the cap allows. No more are
    /// active, unless a clock that was set back has made some active again.
    fn limit(&self, limit: Limit, stored: &[Stored], facts: &Facts, cuts: &CutOffs) -> Verdict {
        let of = |session: &Stored| (session.subject.clone(), session.client_id.clone());
        let mut active = HashMap::<_, usize>::new();
        for session in stored.iter().filter(|session| session.is_active(facts.now, cuts)) {
            *active.entry(of(session)).or_default() += 1;
        }
        let surplus = active.iter().find(|(_, active)| **active > limit.sessions_max);
        if let Some(((subject, client), active)) = surplus.filter(|_| !facts.set_back) {
            let subject = subject.as_str();
            return Err(format!("{subject} has {active} sessions at {client:?}, and the cap is {limit:?}"));
        }
        let mut open = HashMap::<_, usize>::new();
        let mut evicted_for = None;
        for (position, event) in &self.log {
            let of = (event.subject.clone(), event.client.clone());
            let open = open.entry(of.clone()).or_default();
            match event.kind {
                EventKind::SessionEnded if event.reason == Some(EndReason::Evicted) => {
                    if limit.refuses || *open < limit.sessions_max {
                        return Err(format!("event {}: an eviction beside {open} sessions", position.0));
                    }
                    *open -= 1;
                    evicted_for = Some(of);
                    continue;
                }
                EventKind::SessionOpened => {
                    if evicted_for.take().is_some_and(|evicted| evicted != of) {
                        return Err(format!("event {}: evicted for another opening", position.0));
                    }
                    *open += 1;
                }
                EventKind::SessionEnded | EventKind::SessionExpired => *open -= 1,
                _ => {}
            }
            if evicted_for.is_some() {
                return Err(format!("event {}: an eviction without an opening", position.0));
            }
        }
        Ok(())
    }

    /// The log only grows, has no gap, and agrees with the sessions.
    fn events(&mut self, log: Vec<(Position, Event)>, stored: &[Stored], facts: &Facts) -> Verdict {
        if log.len() < self.log.len() || log[..self.log.len()] != self.log[..] {
            return Err("the event log is not a continuation of what it was".into());
        }
        let mut head = 0;
        for (position, _) in &log {
            if position.0 != facts.next_position(head) {
                return Err(format!("event {} follows event {head}", position.0));
            }
            head = position.0;
        }
        if head < facts.head_seen {
            return Err(format!("the event log ends at {head} after {} was seen", facts.head_seen));
        }
        let of = |id: SessionId, kind: EventKind| {
            let matches =
                move |(_, event): &&(Position, Event)| event.session == Some(id) && event.kind == kind;
            log.iter().filter(matches).collect::<Vec<_>>()
        };
        if let Some((position, event)) = log.iter().find(|(_, event)| was_rejected(event)) {
            return Err(format!(
                "event {}: {:?} by {}, which was rejected",
                position.0, event.kind, event.by
            ));
        }
        for session in stored {
            let [opened, ended, expired] =
                [EventKind::SessionOpened, EventKind::SessionEnded, EventKind::SessionExpired]
                    .map(|kind| of(session.id, kind));
            if opened.len() != 1 || opened[0].0 != session.issued {
                return Err(format!("session {} and the events of its opening differ", session.id));
            }
            let reasons: Vec<_> = ended.iter().filter_map(|(_, event)| event.reason).collect();
            if reasons != session.end.iter().map(|end| end.reason).collect::<Vec<_>>() {
                return Err(format!("session {} and the events of its end differ: {reasons:?}", session.id));
            }
            if expired.len() != usize::from(session.expiry_reported) {
                return Err(format!("session {} and the events of its expiry differ", session.id));
            }
            let families = of(session.id, EventKind::FamilyEnded);
            for family in session.families.iter().filter(|family| family.end.is_some()) {
                if families.iter().filter(|(_, event)| event.family == Some(family.number)).count() != 1 {
                    return Err(format!("family {} of {} ended without an event", family.number, session.id));
                }
            }
            if let Some((_, event)) = families.iter().find(|(_, event)| {
                session
                    .families
                    .iter()
                    .any(|family| Some(family.number) == event.family && family.end.is_none())
            }) {
                return Err(format!(
                    "family {:?} of {} has an end only in the log",
                    event.family, session.id
                ));
            }
        }
        let orphan = log.iter().find(|(_, event)| {
            event.kind == EventKind::SessionOpened
                && !stored.iter().any(|session| Some(session.id) == event.session)
        });
        if let Some((position, _)) = orphan {
            return Err(format!("event {} has no session", position.0));
        }
        self.log = log;
        Ok(())
    }
}

/// What only administrators may do, done by another caller; and changes of sessions, which every caller here
/// is refused.
fn was_rejected(event: &Event) -> bool {
    match event.kind {
        EventKind::SessionUpdated => true,
        EventKind::AllRevoked
        | EventKind::ClientCreated
        | EventKind::ClientUpdated
        | EventKind::ClientDeleted
        | EventKind::ClientTokensRevoked
        | EventKind::KeyRotated
        | EventKind::KeyRevoked => ![ADMINISTRATOR, "admin.sock", "keyfob"].contains(&&*event.by),
        _ => false,
    }
}

/// What was issued before a restore has ended, whatever the clock.
fn check_restored(found: &Stored, cuts: &CutOffs) -> Verdict {
    if found.is_active(found.created_at, cuts) {
        return Err(format!("session {} is active after a restore", found.id));
    }
    Ok(())
}

fn compare(
    session: &mut Session,
    incarnations: &[Incarnation],
    found: &Stored,
    now: Timestamp,
    cuts: &CutOffs,
) -> Verdict {
    let deleted = incarnations[session.incarnation].deleted;
    if found.renewals != session.renewals
        && !(found.renewals > session.renewals && session.renewal_unanswered)
    {
        return Err(format!("has renewal {}, and {} was acknowledged", found.renewals, session.renewals));
    }
    if found.expires_at != session.expires_at && !session.renewal_unanswered {
        return Err(format!("expires at {}, and {} was acknowledged", found.expires_at, session.expires_at));
    }
    (session.renewals, session.renewal_unanswered) = (found.renewals, false);
    session.expires_at = found.expires_at;
    let standing = found.standing(now, cuts);
    let must_end = session.ended == Fact::Yes || deleted == Fact::Yes;
    if must_end && standing == Standing::Active {
        return Err("is active after an acknowledged end".into());
    }
    if must_end && found.standing(found.created_at, cuts) == Standing::Active {
        return Err("would be active again if the clock was set back, after an acknowledged end".into());
    }
    let may_end = session.ended != Fact::No || deleted != Fact::No;
    match standing {
        Standing::Active if now < session.idle_until && session.ended == Fact::Maybe => {
            session.ended = Fact::No;
        }
        Standing::Active => {}
        Standing::Ended(end) if !may_end => return Err(format!("has ended without a cause: {end:?}")),
        Standing::Ended(_) => session.ended = Fact::Yes,
        // A use that is not written counts in favour of the session until it is due.
        Standing::Expired if now < session.idle_until.min(found.due()) && !found.expiry_reported => {}
        Standing::Expired if now < session.idle_until && !may_end => return Err("expired early".into()),
        Standing::Expired if found.expiry_reported => session.ended = Fact::Yes,
        Standing::Expired => session.ended.doubt(),
    }
    for (number, family) in &mut session.families {
        let kept = found.family(*number);
        let active = kept.is_some_and(|kept| kept.is_active(cuts));
        let replaced = session.own.range(..session.renewals).any(|(_, own)| own == number);
        if active && replaced {
            return Err(format!("has family {number} active, which a renewal replaced"));
        }
        match (family.ended, active) {
            (Fact::Yes, true) if found.standing(found.created_at, cuts) == Standing::Active => {
                return Err(format!("has family {number} active after its end"));
            }
            (Fact::No, false)
                if session.ended == Fact::No && incarnations[family.incarnation].deleted == Fact::No =>
            {
                return Err(format!("has lost family {number}"));
            }
            (Fact::Maybe, false) => family.ended = Fact::Yes,
            (Fact::Maybe, true) => family.ended = Fact::No,
            _ => {}
        }
        let Some(kept) = kept else { continue };
        if kept.generation < family.generation || kept.generation > family.generation && !family.unanswered {
            return Err(format!(
                "has family {number} at generation {}, and {} was acknowledged",
                kept.generation, family.generation
            ));
        }
        if kept.generation > family.generation {
            (family.generation, family.current) = (kept.generation, None);
        }
        family.unanswered = false;
    }
    let unknown = found.families.iter().filter(|kept| !session.families.contains_key(&kept.number)).count();
    if unknown > session.families_unanswered {
        return Err(format!("has {unknown} families that were not acknowledged"));
    }
    Ok(())
}
