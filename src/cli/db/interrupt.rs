//! SIGINT and SIGTERM during an operation that removes its unfinished files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Waits for one of the signals.
pub async fn interrupted() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

/// Becomes true at the first signal. The second one ends the process at once, which is safe but leaves
/// unfinished files behind.
pub fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = super::super::runtime() else { return };
        runtime.block_on(async {
            interrupted().await;
            raised.store(true, Ordering::Relaxed);
            interrupted().await;
            std::process::exit(1);
        });
    });
    flag
}
