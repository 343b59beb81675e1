//! SIGINT and SIGTERM during an operation that removes its unfinished files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals. While this exists they do not end the process.
struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    fn listen() -> io::Result<Self> {
        Ok(Self { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

/// Waits for one of the signals.
pub async fn interrupted() {
    match Interrupts::listen() {
        Ok(mut interrupts) => interrupts.next().await,
        Err(_) => std::future::pending().await,
    }
}

/// Becomes true at the first signal. The second one ends the process at once, which is safe but leaves
/// unfinished files behind. On return a signal no longer ends the process.
pub fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let (raised, (listening, listens)) = (flag.clone(), channel());
    std::thread::spawn(move || {
        let Ok(runtime) = super::super::runtime() else { return };
        runtime.block_on(async {
            let Ok(mut interrupts) = Interrupts::listen() else { return };
            let _ = listening.send(());
            interrupts.next().await;
            raised.store(true, Ordering::Relaxed);
            interrupts.next().await;
            std::process::exit(1);
        });
    });
    // An error means that the thread cannot listen and has ended.
    let _ = listens.recv();
    flag
}
