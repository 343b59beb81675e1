//! Decisions: a refresh, and what introspection says.

use std::sync::Arc;

use divan::Bencher;
use keyfob::domain::caller::Caller;
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::family::PresentedToken;
use keyfob::domain::id::KeyId;
use keyfob::domain::introspection::Judgement;
use keyfob::domain::policy::Policy;
use keyfob::domain::session::Refresh;
use keyfob::domain::validity::Validity;
use keyfob::token::opaque::{OpaqueKeys, OpaqueKind};

use crate::fixture::{ISSUER, SALT, access_token, client, keys, now, opaque, session, successor};

#[divan::bench]
fn refresh(bencher: Bencher) {
    let (session, client, policy, cuts) = (session(), client(), Policy::default(), CutOffs::default());
    let hash = opaque(OpaqueKind::Refresh).hash();
    let presented =
        PresentedToken { generation: 0, hash, salt: SALT, successor: successor(&OpaqueKeys::new(&keys())) };
    let refresh = Refresh {
        client: Arc::new(client),
        issuer: ISSUER.into(),
        family: 1,
        presented,
        scope: None,
        resource: None,
        policy,
        key: KeyId::Ed25519([1; 33]),
        address: None,
    };
    bencher.with_inputs(|| session.clone()).bench_refs(|session| {
        session.refresh(&refresh, &refresh.client, now(), &cuts).answer.expect("it is current")
    });
}

#[divan::bench]
fn judge_session_token(bencher: Bencher) {
    let (session, cuts, client) = (session(), CutOffs::default(), Arc::new(client()));
    let (caller, hash) = (Caller::Client(client.clone()), opaque(OpaqueKind::Session).hash());
    let judgement = Judgement {
        caller: &caller,
        validity: Validity { now: now().wall, cuts: &cuts, client: Some(&client) },
    };
    bencher.bench(|| judgement.session_token(divan::black_box(&session), 0, &hash).expect("it is good"));
}

#[divan::bench]
fn judge_access_token(bencher: Bencher) {
    let (session, cuts, client, token) = (session(), CutOffs::default(), Arc::new(client()), access_token());
    let caller = Caller::Client(client.clone());
    let judgement = Judgement {
        caller: &caller,
        validity: Validity { now: now().wall, cuts: &cuts, client: Some(&client) },
    };
    bencher.bench(|| {
        judgement.access_token(divan::black_box(&token), ISSUER, Some(&session), false).expect("it is good")
    });
}
