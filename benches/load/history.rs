//! What the history of one subject costs: sign-ins of a script account under a cap, and the refreshes of
//! another person beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use keyfob::domain::caller::Caller;
use keyfob::engine::Engine;
use keyfob::engine::authenticate::Source;
use keyfob::engine::clock::Clock;
use keyfob::store::redb::Redb;
use keyfob::token::keys::SecretKey;

use crate::machine::median;
use crate::report::{Against, Report, Unit};
use crate::store::{client, database, directory, engine_with_cap, open, runtime, sign_in};

const CAP: u32 = 3;
/// How many sign-ins are one measurement.
const SLICE: usize = 500;
/// Sign-ins in flight.
const AT_ONCE: usize = 4;

/// Measures, and adds the rows.
pub fn measure(sign_ins: usize, table: &mut Report) {
    let place = directory();
    std::fs::create_dir(place.path().join("data")).expect("the directory is new");
    let file = database(place.path());
    let (first, last) = runtime().block_on(async {
        let (store, engine) = engine_with_cap(&file, &SecretKey::new([7; 32]), Clock::system(), CAP).await;
        let (client, _) = client(&engine).await;
        let token = open(&engine, &client, 0..1, 1).await.remove(0).refresh;
        let (first, token) = slice(&engine, &client, token).await;
        for _ in 4..sign_ins / SLICE {
            sign_in_slice(&engine, &client).await;
        }
        let (last, _) = slice(&engine, &client, token).await;
        store.close();
        (first, last)
    });
    let mut row = |what: &str, last, first, goals| {
        table.row("-", what, Unit::Millis, vec![last], Against::Rounds(vec![first]), goals);
    };
    let what = format!(
        "a sign-in of one subject under a cap of {CAP}: the last {SLICE} of {sign_ins} against the first \
         {SLICE}, {AT_ONCE} at once"
    );
    row(&what, last.sign_in, first.sign_in, "≤ 1.2");
    let what =
        format!("a refresh of another person beside the last {SLICE}, against beside the first {SLICE}");
    row(&what, last.refresh, first.refresh, "≤ 2");
}

/// Milliseconds.
struct Slice {
    /// For a sign-in, alone.
    sign_in: f64,
    /// The median of a refresh beside as many sign-ins.
    refresh: f64,
}

/// A slice of sign-ins alone, and one with the refreshes of another person beside it; and that person's next
/// token.
async fn slice(engine: &Arc<Engine<Redb>>, client: &Caller, token: String) -> (Slice, String) {
    let sign_in = sign_in_slice(engine, client).await;
    let done = Arc::new(AtomicBool::new(false));
    let beside = tokio::spawn({
        let (engine, client, done) = (engine.clone(), client.clone(), done.clone());
        async move { refreshes(&engine, &client, token, &done).await }
    });
    sign_in_slice(engine, client).await;
    done.store(true, Ordering::Relaxed);
    let (refresh, token) = beside.await.expect("no refresh fails");
    (Slice { sign_in, refresh }, token)
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

/// The median time of a refresh in milliseconds until `done`, and the token to use next.
async fn refreshes(
    engine: &Engine<Redb>,
    client: &Caller,
    mut token: String,
    done: &AtomicBool,
) -> (f64, String) {
    let Caller::Client(client) = client else { unreachable!("the client is one") };
    let mut times = vec![];
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let refreshed =
            engine.refresh(client, &token, None, None, Source::default()).await.expect("it is current");
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        token = refreshed.refresh_token.expose().to_owned();
    }
    (median(times), token)
}
