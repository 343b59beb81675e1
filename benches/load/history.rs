//! What the history of one subject costs: sign-ins of a script account under a cap, and the refreshes of another
//! person beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use keyfob::domain::caller::Caller;
use keyfob::engine::Engine;
use keyfob::engine::authenticate::Source;
use keyfob::engine::clock::Clock;
use keyfob::store::redb::Redb;
use keyfob::token::keys::SecretKey;

use crate::machine::{Table, median};
use crate::store::{client, database, directory, engine_with_cap, open, runtime, sign_in};

const CAP: u32 = 3;
/// How many sign-ins are one measurement.
const SLICE: usize = 500;
/// Sign-ins in flight.
const AT_ONCE: usize = 4;

/// Measures, and adds the rows.
pub fn measure(sign_ins: usize, table: &mut Table) {
    let place = directory();
    std::fs::create_dir(place.path().join("data")).expect("the directory is new");
    let file = database(place.path());
    let (first, last, alone, beside) = runtime().block_on(async {
        let (store, engine) = engine_with_cap(&file, &SecretKey::new([7; 32]), Clock::system(), CAP).await;
        let (client, _) = client(&engine).await;
        let other = open(&engine, &client, 1, 1).await.remove(0).refresh;
        let (alone, other) = refreshes(&engine, &client, other, &AtomicBool::new(true)).await;
        let first = sign_in_slice(&engine, &client).await;
        for _ in 1..sign_ins / SLICE - 1 {
            sign_in_slice(&engine, &client).await;
        }
        let running = Arc::new(AtomicBool::new(false));
        let beside = tokio::spawn({
            let (engine, client, done) = (engine.clone(), client.clone(), running.clone());
            async move { refreshes(&engine, &client, other, &done).await.0 }
        });
        let last = sign_in_slice(&engine, &client).await;
        running.store(true, Ordering::Relaxed);
        let beside = beside.await.expect("no refresh fails");
        store.close();
        (first, last, alone, beside)
    });
    let ratio = |ours: f64, theirs: f64| format!("{:.2}", ours / theirs);
    let what = format!(
        "a sign-in of one subject under a cap of {CAP}: the last {SLICE} of {sign_ins} against the first {SLICE}, {AT_ONCE} at once"
    );
    table.row("-", &what, format!("{last:.2} ms"), format!("{first:.2} ms"), ratio(last, first), "≤ 1.2");
    let what = format!("a refresh of another person beside the last {SLICE}, against alone, median");
    table.row("-", &what, format!("{beside:.2} ms"), format!("{alone:.2} ms"), ratio(beside, alone), "≤ 2");
}

/// Milliseconds for each of a slice of sign-ins.
async fn sign_in_slice(engine: &Arc<Engine<Redb>>, client: &Caller) -> f64 {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let caller = client.require().expect("the client has the permission");
        let engine = engine.clone();
        tasks.spawn(async move {
            for _ in 0..SLICE / AT_ONCE {
                engine.open(&caller, sign_in(usize::MAX)).await.expect("the oldest makes room");
            }
        });
    }
    tasks.join_all().await;
    begun.elapsed().as_secs_f64() * 1_000.0 / SLICE as f64
}

/// The median time of a refresh in milliseconds, and the token to use next: 200 refreshes, or more until `done`.
async fn refreshes(
    engine: &Engine<Redb>,
    client: &Caller,
    mut token: String,
    done: &AtomicBool,
) -> (f64, String) {
    let Caller::Client(client) = client else { unreachable!("the client is one") };
    let mut times = vec![];
    while times.len() < 200 || !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let refreshed =
            engine.refresh(client, &token, None, None, Source::default()).await.expect("it is current");
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        token = refreshed.refresh_token.expose().to_owned();
    }
    (median(times), token)
}
