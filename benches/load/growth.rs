//! P11: what a session takes of the file, and whether refreshing makes it grow.

use std::sync::Arc;
use std::time::Duration;

use keyfob::domain::caller::Caller;
use keyfob::domain::time::Timestamp;
use keyfob::engine::Engine;
use keyfob::engine::authenticate::Source;
use keyfob::engine::clock::Clock;
use keyfob::store::redb::Redb;
use keyfob::token::keys::SecretKey;

use crate::report::{Against, Report, Unit};
use crate::store::{AT_ONCE, client, database, directory, engine, open, runtime};

/// How often each session is refreshed before the file is measured, twice.
const REFRESHES: usize = 20;
const REFRESHES_MANY: usize = 200;

/// Measures, and adds the rows.
pub fn measure(sessions: usize, table: &mut Report) {
    let place = directory();
    std::fs::create_dir(place.path().join("data")).expect("the directory is new");
    let file = database(place.path());
    let (clock, hand) = Clock::manual(Timestamp::from_seconds(1_800_000_000));
    let master = SecretKey::new([7; 32]);
    let (client, tokens, before) = runtime().block_on(async {
        let (store, engine) = engine(&file, &master, clock.clone()).await;
        let (client, _) = client(&engine).await;
        let tokens: Vec<_> = open(&engine, &client, 0..sessions, sessions)
            .await
            .into_iter()
            .map(|tokens| tokens.refresh)
            .collect();
        let before = stored(&store) / sessions as f64;
        store.close();
        (client, tokens, before)
    });
    let grown = |tokens: Vec<String>, refreshes: usize| {
        runtime().block_on(async {
            let mut tokens = tokens;
            let (store, engine) = engine(&file, &master, clock.clone()).await;
            for _ in 0..refreshes {
                tokens = refresh(&engine, &client, &tokens).await;
                hand.advance(Duration::from_secs(60));
                while engine.sweep().await.expect("the store is sound").more {}
            }
            assert_eq!(tokens.len(), sessions);
            let bytes = stored(&store) / sessions as f64;
            store.close();
            (tokens, bytes)
        })
    };
    let (tokens, after) = grown(tokens, REFRESHES);
    let (_, long_after) = grown(tokens, REFRESHES_MANY - REFRESHES);
    let mut row = |what: &str, after, before, goals| {
        let what = format!(
            "bytes a session in use in the file, all indexes and the event of its opening, {sessions} \
             sessions, after {what}"
        );
        table.row("P11", &what, Unit::Bytes, vec![after], Against::Rounds(vec![before]), goals);
    };
    let what = format!("{REFRESHES} refreshes of each against before any");
    row(&what, after, before, "≤ 600 B, growth ≤ 5 %; then ≤ 400 B");
    let what = format!("{REFRESHES_MANY} refreshes of each against after {REFRESHES}");
    row(&what, long_after, after, "no growth");
}

async fn refresh(engine: &Arc<Engine<Redb>>, client: &Caller, tokens: &[String]) -> Vec<String> {
    let Caller::Client(client) = client else { unreachable!("the client is one") };
    let mut tasks = tokio::task::JoinSet::new();
    for some in tokens.chunks(tokens.len().div_ceil(AT_ONCE)) {
        let (engine, client, some) = (engine.clone(), client.clone(), some.to_vec());
        tasks.spawn(async move {
            let mut next = vec![];
            for token in some {
                let refreshed = engine
                    .refresh(&client, &token, None, None, Source::default())
                    .await
                    .expect("it is current");
                next.push(refreshed.refresh_token.expose().to_owned());
            }
            next
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// What the tables take: without the room that the file was given ahead, and without what was freed.
fn stored(store: &Redb) -> f64 {
    let tables = store.stored_bytes().expect("the store is sound");
    println!("{tables:?}");
    tables.iter().map(|(_, bytes)| bytes).sum::<u64>() as f64
}
