//! All that can be read of a store, so that two can be compared.

use std::collections::BTreeMap;

use keyfob::domain::client::Client;
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::event::{Event, EventKind};
use keyfob::domain::id::{ClientId, Position, SessionId, TokenId};
use keyfob::domain::session::{Data, RevokedToken, Session};
use keyfob::store::{Registry, Store};

use super::SUBJECTS;
use crate::harness::fixture::{at, log, subject};

/// All that can be read of a store.
#[derive(Debug, PartialEq)]
pub struct Everything {
    pub sessions: Vec<(Session, Option<Data>)>,
    pub by_subject: Vec<Vec<SessionId>>,
    /// The same without those that were ended or reported as expired.
    pub active_by_subject: Vec<Vec<SessionId>>,
    pub events: Vec<(Position, Event)>,
    pub clients: BTreeMap<ClientId, Client>,
    pub cuts: CutOffs,
    pub head: Position,
    pub live: BTreeMap<ClientId, u64>,
    pub revoked: Vec<bool>,
}

pub async fn read(store: &impl Store) -> Everything {
    let mut sessions = vec![];
    for session in store.sessions(None, None, usize::MAX).await.unwrap() {
        let data = store.data(session.id).await.unwrap();
        assert_eq!(store.session(session.id).await.unwrap().as_deref(), Some(&session));
        sessions.push((session, data));
    }
    let (mut by_subject, mut active_by_subject) = (vec![], vec![]);
    for who in SUBJECTS {
        let listed = store.sessions(Some(subject(who)), None, usize::MAX).await.unwrap();
        by_subject.push(listed.iter().map(|session| session.id).collect());
        let active = store.active_sessions(subject(who), None, None, usize::MAX).await.unwrap();
        active_by_subject.push(active.iter().map(|session| session.id).collect());
    }
    let registry: Registry = (*store.registry()).clone();
    let clients =
        registry.cuts.registered.iter().map(|(id, client)| (id.clone(), (**client).clone())).collect();
    let mut revoked = vec![];
    for n in 0..4_u8 {
        let expires_at = at(0).seconds() + i64::from(n) * 600;
        revoked.push(store.is_revoked(RevokedToken { id: TokenId([n; 16]), expires_at }).await.unwrap());
    }
    // The registry's head may lag behind the store's: nothing but the registry's own changes makes a new one.
    let cuts = CutOffs { head: store.head(), ..registry.cuts };
    let figures = store.figures().await.unwrap();
    let live = figures.active_by_client;
    assert_eq!(figures.active, live.values().sum::<u64>(), "the published sum is that of the stored counts");
    Everything {
        sessions,
        by_subject,
        active_by_subject,
        events: normalised(log(store).await),
        clients,
        cuts,
        head: store.head(),
        live,
        revoked,
    }
}

/// In which order one sweep reports expiries is a backend's own business.
fn normalised(mut events: Vec<(Position, Event)>) -> Vec<(Position, Event)> {
    let same = |a: &(Position, Event), b: &(Position, Event)| {
        a.1.kind == EventKind::SessionExpired && b.1.kind == EventKind::SessionExpired && a.1.at == b.1.at
    };
    for run in events.chunk_by_mut(same) {
        let positions: Vec<Position> = run.iter().map(|(position, _)| *position).collect();
        run.sort_by_key(|(_, event)| event.session);
        run.iter_mut().zip(positions).for_each(|(entry, position)| entry.0 = position);
    }
    events
}
