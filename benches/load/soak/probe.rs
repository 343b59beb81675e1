//! The counterparts of the latencies, measured at the same time: the machine slows them down just as well.

use std::cell::RefCell;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use super::line::{Ask, Door, Line};

const HEALTHZ_EVERY: Duration = Duration::from_millis(25);
const FDATASYNC_EVERY: Duration = Duration::from_millis(50);
const FILE_MAX: u64 = 1 << 20;

#[derive(Default)]
pub struct Probes {
    /// Answers of `/healthz`, which need no store.
    pub healthz: RefCell<Vec<Duration>>,
    /// Writes of 300 bytes to a file beside the store, with an fdatasync each.
    pub fdatasync: Arc<Mutex<Vec<Duration>>>,
}

/// Starts both; they run until the run ends.
pub fn spawn(door: &watch::Receiver<Option<Door>>, place: &Path) -> Rc<Probes> {
    let probes = Rc::new(Probes::default());
    let (mut line, healthz) = (Line::new(door.clone()), probes.clone());
    tokio::task::spawn_local(async move {
        loop {
            let answer = line.send(&Ask::get("/healthz", "")).await;
            healthz.healthz.borrow_mut().extend(answer.took);
            sleep(HEALTHZ_EVERY).await;
        }
    });
    let mut file = std::fs::File::create(place.join("probe")).expect("the directory is ours");
    let fdatasync = Arc::downgrade(&probes.fdatasync);
    std::thread::spawn(move || {
        while let Some(delays) = fdatasync.upgrade() {
            let begun = Instant::now();
            if file.stream_position().expect("it is a file") > FILE_MAX {
                file.seek(SeekFrom::Start(0)).expect("it is a file");
            }
            file.write_all(&[7; 300]).and_then(|()| file.sync_data()).expect("there is space");
            delays.lock().expect("no panic").push(begun.elapsed());
            drop(delays);
            std::thread::sleep(FDATASYNC_EVERY);
        }
    });
    probes
}
