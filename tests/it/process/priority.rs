//! The priority of the thread that writes (docs/decisions/0040).

use std::fs;

use tempfile::tempdir;

use crate::harness::process::Process;

/// Names and niceness of the threads of a process.
fn threads(id: u32) -> Vec<(String, i32)> {
    let of = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        // `tid (name) state …`: the niceness is the 19th field, and the name can contain spaces.
        let (name, fields) = stat.rsplit_once(") ")?;
        let niceness = fields.split(' ').nth(16)?.parse().ok()?;
        Some((name.split_once('(')?.1.to_owned(), niceness))
    };
    fs::read_dir(format!("/proc/{id}/task")).unwrap().filter_map(|task| of(task.unwrap())).collect()
}

#[test]
fn the_writer_gives_way_to_the_threads_that_answer() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let (writers, others): (Vec<_>, Vec<_>) =
        threads(server.id()).into_iter().partition(|(name, _)| name == "writer");
    let own = others.iter().map(|(_, niceness)| *niceness).max().unwrap();
    assert_eq!(writers, [("writer".to_owned(), (own + 5).min(19))], "the others: {others:?}");
}
