//! What can happen in a history, and how likely it is.

use std::time::Duration;

use keyfob::domain::policy::{LateRetry, Policy, WhenFull};
use keyfob::domain::session::Cap;
use proptest::prelude::*;

/// One thing that happens. Numbers choose among what there is at that moment.
#[derive(Clone, Debug)]
pub enum Step {
    Open {
        who: usize,
        client: usize,
        /// Which incarnation of the client the opener knows: 0 is the latest; none for one that is not
        /// registered.
        known: Option<usize>,
        cap: Option<Cap>,
        remember: bool,
        /// A use of another session that is known and not written, and how long ago it was.
        used: Option<(usize, u64)>,
        /// The name and the request of an opening that can be repeated.
        repeat: Option<(u8, u8)>,
    },
    Refresh {
        session: usize,
        family: usize,
        which: Which,
        client: Option<usize>,
        policy: Policy,
    },
    Renew {
        session: usize,
        with_family: bool,
    },
    AddFamily {
        session: usize,
        client: usize,
    },
    ChangeData {
        session: usize,
    },
    /// Claims and label: unsaid, taken away (0), or set. `first`: only if nothing was changed before.
    Change {
        session: usize,
        claims: Option<u8>,
        label: Option<u8>,
        first: bool,
    },
    /// A use that is written only now.
    Touch {
        session: usize,
        ago: u64,
    },
    CloseSession {
        session: usize,
    },
    CloseFamily {
        session: usize,
        family: usize,
    },
    /// By one of its refresh tokens: the session goes with its last family.
    RevokeFamily {
        session: usize,
        family: usize,
    },
    RevokeAccessToken {
        session: usize,
        lives: u8,
    },
    RevokeOwnToken {
        token: u8,
    },
    /// By an administrator, or by a client: then its own sessions, and its families in the others.
    EndSubject {
        who: usize,
        except: Option<usize>,
        by: Option<usize>,
    },
    EndEverything,
    PutClient {
        client: usize,
    },
    /// Its own tokens, which it got by client credentials.
    EndOwnTokens {
        client: usize,
    },
    DeleteClient {
        client: usize,
    },
    Sweep {
        entries_max: usize,
    },
    /// Both clocks go on.
    Wait(u64),
    /// The wall clock is set.
    Jump(i64),
    Reopen,
    PowerCut {
        seed: u64,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// So many generations behind the newest.
    Behind(usize),
    /// The newest number with another secret: what a store that lost a rotation sees.
    Forked,
    /// A number that was never given out.
    Future,
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let late_retry = prop_oneof![
        1 => Just(LateRetry::Refuse),
        1 => Just(LateRetry::EndSession),
        4 => Just(LateRetry::Answer),
    ];
    (late_retry, any::<bool>()).prop_map(|(late_retry, strict)| Policy {
        late_retry,
        refresh_retry_window: Duration::from_secs(if strict { 0 } else { 10 }),
        ..Policy::default()
    })
}

pub fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        20 => Just(Which::Behind(0)),
        12 => Just(Which::Behind(1)),
        2 => (2_usize..4).prop_map(Which::Behind),
        1 => Just(Which::Forked),
        1 => Just(Which::Future),
    ]
}

pub fn cap() -> impl Strategy<Value = Cap> {
    (1_u32..3, any::<bool>()).prop_map(|(sessions_max, evict)| Cap {
        sessions_max,
        when_full: if evict { WhenFull::EvictOldest } else { WhenFull::Refuse },
    })
}

pub fn step() -> impl Strategy<Value = Step> {
    let (session, family) = (prop_oneof![3 => 0_usize..2, 1 => 2_usize..8], 0_usize..3);
    let used = proptest::option::weighted(0.3, (session.clone(), prop_oneof![Just(0_u64), Just(30_000)]));
    let repeat = proptest::option::weighted(0.5, (0..3_u8, 0..2_u8));
    let known = proptest::option::weighted(0.5, 0..2_usize);
    let cap = proptest::option::weighted(0.3, cap());
    let other = proptest::option::weighted(0.05, 0..2_usize);
    prop_oneof![
        8 => (0..2_usize, 0..2_usize, known, cap, any::<bool>(), used, repeat)
            .prop_map(|(who, client, known, cap, remember, used, repeat)| {
                Step::Open { who, client, known, cap, remember, used, repeat }
            }),
        30 => (session.clone(), family.clone(), which(), other, policy())
            .prop_map(|(session, family, which, client, policy)| {
                Step::Refresh { session, family, which, client, policy }
            }),
        3 => (session.clone(), any::<bool>())
            .prop_map(|(session, with_family)| Step::Renew { session, with_family }),
        3 => (session.clone(), 0..2_usize).prop_map(|(session, client)| Step::AddFamily { session, client }),
        2 => session.clone().prop_map(|session| Step::ChangeData { session }),
        3 => (session.clone(), proptest::option::of(0..3_u8), proptest::option::of(0..3_u8), any::<bool>())
            .prop_map(|(session, claims, label, first)| Step::Change { session, claims, label, first }),
        4 => (session.clone(), prop_oneof![Just(0_u64), Just(45_000), Just(1_700_000)])
            .prop_map(|(session, ago)| Step::Touch { session, ago }),
        2 => session.clone().prop_map(|session| Step::CloseSession { session }),
        2 => (session.clone(), family.clone())
            .prop_map(|(session, family)| Step::CloseFamily { session, family }),
        2 => (session.clone(), family).prop_map(|(session, family)| Step::RevokeFamily { session, family }),
        2 => (session.clone(), any::<u8>())
            .prop_map(|(session, lives)| Step::RevokeAccessToken { session, lives }),
        2 => (0..4_u8).prop_map(|token| Step::RevokeOwnToken { token }),
        2 => (0..2_usize, proptest::option::of(session), proptest::option::of(0..2_usize))
            .prop_map(|(who, except, by)| Step::EndSubject { who, except, by }),
        1 => Just(Step::EndEverything),
        2 => (0..2_usize).prop_map(|client| Step::PutClient { client }),
        2 => (0..2_usize).prop_map(|client| Step::EndOwnTokens { client }),
        1 => (0..2_usize).prop_map(|client| Step::DeleteClient { client }),
        6 => prop_oneof![Just(1_usize), Just(100)].prop_map(|entries_max| Step::Sweep { entries_max }),
        10 => prop_oneof![Just(1_u64), Just(4_000), Just(11_000), Just(1_200_000), Just(4_000_000)]
            .prop_map(Step::Wait),
        3 => proptest::sample::select(&[-7_500_000_i64, -600_000, -3_000, 5_000, 7_200_000, 100_000_000][..])
            .prop_map(Step::Jump),
        2 => Just(Step::Reopen),
        2 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
    ]
}
