//! A reader of the event log: positions have no gap, and what was read once is read again unchanged.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use super::Shared;
use super::credentials::{OPERATOR, declared};
use super::line::{Answer, Ask, Line};

/// Events that are read a second time.
const AGAIN: usize = 200;
const AGAIN_EVERY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// Starts it; it runs until the run ends.
pub fn spawn(mut line: Line, shared: Rc<Shared>) {
    tokio::task::spawn_local(async move {
        let mut read = VecDeque::new();
        let mut last = None;
        let mut checked = Instant::now();
        loop {
            sleep(PAUSE).await;
            let (ask, answer) = page(&mut line, last).await;
            let items = items(&answer);
            let fits = items.as_ref().is_some_and(|items| follows(last, items));
            if !shared.ledger.borrow_mut().expect("read events", &ask, &answer, fits) {
                break;
            }
            let items = items.unwrap_or_default();
            last = items.last().and_then(position).or(last);
            read.extend(items);
            read.drain(..read.len().saturating_sub(AGAIN));
            if checked.elapsed() < AGAIN_EVERY {
                continue;
            }
            checked = Instant::now();
            let Some(first) = read.front().and_then(position) else { continue };
            let (ask, answer) = page(&mut line, Some(first)).await;
            let again = self::items(&answer).unwrap_or_default();
            let known = read.iter().skip(1);
            let same = again.len() >= known.len() && known.zip(&again).all(|(known, again)| known == again);
            shared.ledger.borrow_mut().expect("read events again", &ask, &answer, same);
        }
    });
}

async fn page(line: &mut Line, after: Option<u64>) -> (Ask, Answer) {
    let after = after.map_or(String::new(), |after| format!("after={after}&"));
    let ask = Ask::get(&format!("/v1/events?{after}limit=200&wait=1"), &declared(OPERATOR));
    let answer = line.send(&ask).await;
    (ask, answer)
}

fn items(answer: &Answer) -> Option<Vec<Value>> {
    answer.json()["items"].as_array().filter(|_| answer.status == 200).cloned()
}

fn position(item: &Value) -> Option<u64> {
    item["cursor"].as_str()?.parse().ok()
}

/// Whether each is one after the one before.
fn follows(mut last: Option<u64>, items: &[Value]) -> bool {
    items.iter().all(|item| {
        let at = position(item);
        let fits = at.is_some() && last.is_none_or(|last| at == Some(last + 1));
        last = at;
        fits
    })
}
