//! Tasks that start again after a panic, which only a bug causes: other replicas and other requests go on.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;

/// The time between a panic and the next start.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Runs a task until it ends by itself. One that panics is started again.
pub(super) async fn lasting<F: Future<Output = ()>>(name: &'static str, mut start: impl FnMut() -> F) {
    while AssertUnwindSafe(start()).catch_unwind().await.is_err() {
        tracing::error!(task = name, "internal error: a task of the store panicked; it is started again");
        sleep(AGAIN_AFTER).await;
    }
}
