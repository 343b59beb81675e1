//! A disk without space: a small tmpfs in a mount namespace of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use keyfob::domain::event::EventKind;
use keyfob::store::{Store, StoreError, Sweep};
use serde_json::{Value, json};

use super::installation::{FILES, Installation, Served};
use crate::harness::fixture;
use crate::harness::process::data;
use crate::harness::server::{Answer, Client, text};

/// Set in the process that may mount.
const INSIDE: &str = "KEYFOB_TEST_MOUNTS";
const KIB: usize = 1024;

/// Runs this test again where it may mount, and returns whether this is that run. As root a mount namespace
/// is enough; other users need the permission to create user namespaces.
fn may_mount(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("failing_disk::full::{test}"), "--nocapture"]).env(INSIDE, "1");
    let output = command.output().expect("this test needs unshare, of util-linux");
    let [out, error] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{out}{error}\nThis test mounts a tmpfs: it needs root, or unprivileged user namespaces \
         (kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
    );
    false
}

/// A mounted tmpfs. Unmounted when dropped, so that its directory can be removed.
struct Mount(PathBuf);

impl Mount {
    fn at(directory: &Path, size: &str) -> Self {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "keyfob"]).arg(directory);
        assert!(command.status().unwrap().success(), "mount");
        Self(directory.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn free_bytes(directory: &Path) -> usize {
    let found = rustix::fs::statvfs(directory).unwrap();
    usize::try_from(found.f_bavail * found.f_frsize).unwrap()
}

/// A file that takes the space of others.
struct Ballast {
    path: PathBuf,
    file: File,
}

impl Ballast {
    fn new(directory: &Path) -> Self {
        let path = directory.join("ballast");
        Self { file: File::create(&path).unwrap(), path }
    }

    /// Leaves so many bytes free, or a few less.
    fn leave(&mut self, bytes: usize) {
        let free = free_bytes(self.path.parent().unwrap());
        // At the end the disk is full.
        let _ = self.file.write_all(&vec![1; free.saturating_sub(bytes)]);
    }

    fn remove(self) {
        fs::remove_file(self.path).unwrap();
    }
}

/// A server on a small disk.
struct SmallDisk {
    server: Served,
    _mount: Mount,
    place: Installation,
    admin: Client,
    app: Client,
}

impl SmallDisk {
    fn start(settings: &[(&str, &str)]) -> Self {
        let place = Installation::new();
        let mount = Mount::at(&place.path().join("data"), "16m");
        let server = place.serve_with(settings).unwrap();
        let admin = place.admin();
        let app = server.register(&admin);
        Self { server, _mount: mount, place, admin, app }
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn opening(&self, subject: &str) -> Option<Answer> {
        self.server.json("POST", "/v1/sessions", &self.app, &json!({ "subject": subject }))
    }

    fn refresh(&self, token: &str) -> Option<Answer> {
        let body = format!("grant_type=refresh_token&refresh_token={token}");
        self.server.form("/oauth2/token", &self.app, &body)
    }

    fn is_active(&self, token: &str) -> bool {
        let answer = self.server.form("/oauth2/introspect", &self.app, &format!("token={token}")).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["active"] == json!(true)
    }

    /// The value of a metric.
    fn metric(&self, name: &str) -> f64 {
        let page = self.server.get("/metrics", &self.admin).unwrap().text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().parse().unwrap()
    }
}

/// Openings are refused first, while everything else is done; they are possible again when there is space.
#[test]
fn a_nearly_full_disk_refuses_openings_and_nothing_else() {
    if !may_mount("a_nearly_full_disk_refuses_openings_and_nothing_else") {
        return;
    }
    let disk = SmallDisk::start(&[("KEYFOB_STORE__RESERVE_BYTES", "4MiB")]);
    let opened: Value = disk.server.open(&disk.app, "alice");
    let revoked = disk.server.open(&disk.app, "bob");
    disk.server.open(&disk.app, "carol");
    let mut ballast = Ballast::new(&disk.directory());
    ballast.leave(5 * KIB * KIB);
    assert_eq!(disk.opening("dave").unwrap().status, 201, "more is free than the reserve");

    ballast.leave(KIB * KIB);
    let refused = disk.opening("erin").unwrap();
    refused.assert_problem(503, None);
    assert_eq!(refused.header("retry-after"), "2");
    let session = format!("/v1/sessions/{}", text(&opened["session"]["id"]));
    let send =
        |method, path: &str, client, body: Value| disk.server.json(method, path, client, &body).unwrap();
    let family = send("POST", &format!("{session}/families"), &disk.app, json!({}));
    family.assert_problem(503, None);
    let mut token = text(&opened["refresh_token"]);
    for _ in 0..200 {
        let refreshed = disk.refresh(&token).unwrap();
        assert_eq!(refreshed.status, 200, "{}", refreshed.text());
        token = text(&refreshed.json()["refresh_token"]);
    }
    let body = format!("token={}", text(&revoked["refresh_token"]));
    assert_eq!(disk.server.form("/oauth2/revoke", &disk.app, &body).unwrap().status, 200);
    assert!(!disk.is_active(&text(&revoked["access_token"])));
    for (status, answer) in [
        (200, send("PATCH", &session, &disk.app, json!({ "claims": { "tier": "gold" } }))),
        (200, send("DELETE", "/v1/subjects/carol/sessions", &disk.app, Value::Null)),
        (200, send("POST", "/v1/keys/rotate?force=true", &disk.admin, Value::Null)),
        (201, send("POST", "/v1/clients", &disk.admin, json!({ "client_id": "second" }))),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert_eq!(disk.server.readiness(&disk.admin), Some(200));
    assert!(disk.metric("keyfob_store_busy_total{lane=\"opening\"}") >= 2.0);
    assert!(disk.metric("keyfob_store_free_bytes") < 4.0 * 1024.0 * 1024.0);
    let log = disk.place.log();
    assert!(log.contains("WARN requests were rejected") && log.contains("store.reserve_bytes"), "{log}");

    ballast.remove();
    assert_eq!(disk.opening("erin").unwrap().status, 201, "without a restart");
    disk.server.stop();
    disk.place.check();
}

/// Without a reserve the first commit that has no space ends the process. Nothing acknowledged is lost, and
/// the next start with space is a clean one.
#[test]
fn a_full_disk_loses_nothing() {
    if !may_mount("a_full_disk_loses_nothing") {
        return;
    }
    let settings = [("KEYFOB_STORE__RESERVE_BYTES", "0")];
    let mut disk = SmallDisk::start(&settings);
    let mut ballast = Ballast::new(&disk.directory());
    ballast.leave(64 * KIB);
    let mut tokens = vec![];
    let refused = loop {
        let opening = disk.opening(&format!("subject-{}", tokens.len())).unwrap();
        if opening.status != 201 {
            break opening;
        }
        tokens.push(text(&opening.json()["access_token"]));
    };
    refused.assert_problem(503, None);
    if let Some(introspection) =
        disk.server.form("/oauth2/introspect", &disk.app, &format!("token={}", tokens[0]))
    {
        introspection.assert_error(503, "temporarily_unavailable");
    }
    assert_eq!(disk.server.wait().code(), Some(1));
    let log = disk.place.log();
    let last = log.trim_end().lines().last().unwrap();
    assert!(last.contains("No space left on device") && last.contains("start again"), "{last}");

    // With no space at all a start succeeds or is refused with the cause.
    ballast.leave(0);
    if let Err(failed) = disk.place.serve(None) {
        assert_eq!(failed.status.code(), Some(1));
        assert!(failed.log.contains("No space left on device"), "{}", failed.log);
    }
    ballast.remove();
    let before = disk.place.log().len();
    disk.server = disk.place.serve_with(&settings).unwrap();
    for token in &tokens {
        assert!(disk.is_active(token));
    }
    assert_eq!(disk.opening("last").unwrap().status, 201);
    let log = disk.place.log().split_off(before);
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    disk.server.stop();
    disk.place.check();
    assert_eq!(disk.place.names(), FILES);
    eprintln!("{} openings acknowledged, 0 lost", tokens.len());
}

/// A first start, a backup and a restore need more than there is: each is refused and leaves nothing behind.
#[test]
fn commands_on_a_full_disk_leave_nothing_behind() {
    if !may_mount("commands_on_a_full_disk_leave_nothing_behind") {
        return;
    }
    let place = Installation::new();
    let directory = place.path().join("data");
    let _mount = Mount::at(&directory, "4m");
    let mut ballast = Ballast::new(&directory);
    ballast.leave(16 * KIB);
    let refused = |arguments: &[&str]| {
        let output = super::installation::command(place.path(), None, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains("No space left on device") && said.contains("; "), "{said}");
        said
    };
    refused(&["init"]);
    assert_eq!(place.names(), ["ballast", "keyfob.pid", "master.key"]);
    ballast.remove();
    let server = place.serve_with(&[("KEYFOB_STORE__RESERVE_BYTES", "0")]).unwrap();
    let app = server.register(&place.admin());
    (0..20).for_each(|n| _ = server.open(&app, &n.to_string()));
    server.stop();

    let backup = place.path().join("b.backup");
    let written = super::installation::command(place.path(), None, &["db", "backup", "b.backup"]);
    assert!(written.status.success() && backup.exists());
    let mut ballast = Ballast::new(&directory);
    ballast.leave(4 * KIB);
    let before = fs::read(data(place.path(), "keyfob.redb")).unwrap();
    let said = refused(&["db", "backup", "data/b.backup"]);
    assert!(said.contains("data/b.backup.partial") && said.contains("no partial backup"), "{said}");
    let said = refused(&["db", "restore", "b.backup"]);
    assert!(said.contains("nothing was changed"), "{said}");
    ballast.remove();
    assert_eq!(place.names(), FILES);
    assert!(before.len() == fs::read(data(place.path(), "keyfob.redb")).unwrap().len());
    place.check();
}

/// Space that ended sessions have left in the file counts: openings need not wait for space on the disk.
#[test]
fn unused_space_in_the_file_is_used_for_openings() {
    const RESERVE: usize = 8 * KIB * KIB;
    if !may_mount("unused_space_in_the_file_is_used_for_openings") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let place = fixture::Place::new();
        let directory = place.file().parent().unwrap().to_owned();
        let _mount = Mount::at(&directory, "64m");
        let store = place.open();
        store.reserve(RESERVE as u64);
        let opening = |n| {
            let mut opening = fixture::opening(fixture::session(n, "alice", "app"));
            opening.data = Some(fixture::data(&format!("{{\"padding\":\"{}\"}}", "x".repeat(8 * KIB))));
            opening
        };
        for n in 0..3000 {
            store.open(opening(n)).await.unwrap().unwrap();
        }
        Ballast::new(&directory).leave(RESERVE / 8);
        store.measure().unwrap();
        assert!(matches!(store.open(opening(3000)).await, Err(StoreError::Full)));
        store.end_everything(None, fixture::event(EventKind::AllRevoked, 1)).await.unwrap().unwrap();
        let now = fixture::moment(400 * 24 * 3_600_000);
        while store.sweep(Sweep { now, retention: Duration::ZERO, entries_max: 100 }).await.unwrap().more {}
        assert!(matches!(store.open(opening(3001)).await, Err(StoreError::Full)), "not measured yet");
        store.measure().unwrap();
        assert!(free_bytes(&directory) < RESERVE, "the disk is as full as before");
        store.open(opening(3002)).await.unwrap().unwrap();
    });
}
