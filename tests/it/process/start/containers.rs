//! Containers: the variables of the image and the manifest, on volumes and secrets as the kubelet mounts
//! them.

use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;

use super::*;

const USER: u32 = 65_532;
const CONTAINERFILE: &str = include_str!("../../../../packaging/Containerfile");
const MANIFEST: &str = include_str!("../../../../packaging/kubernetes/keyfob.yaml");

/// The `KEYFOB_` variables of the image, then those of the manifest.
fn variables() -> Vec<(&'static str, &'static str)> {
    let image = CONTAINERFILE.split_whitespace().filter_map(|word| word.split_once('='));
    let image = image.filter(|(name, _)| name.starts_with("KEYFOB_"));
    let pairs = MANIFEST.lines().zip(MANIFEST.lines().skip(1));
    let manifest = pairs.filter_map(|(name, value)| {
        let name = name.trim().strip_prefix("- name: ").filter(|name| name.starts_with("KEYFOB_"))?;
        Some((name, value.trim().strip_prefix("value: ")?))
    });
    let variables: Vec<_> = image.chain(manifest).collect();
    assert_eq!(variables.len(), 6, "{variables:?}");
    variables
}

/// The value of a line such as `replicas: 1`, in seconds where it has the unit.
fn number(text: &str, after: &str) -> u32 {
    let line = text.split(after).nth(1).unwrap().lines().next().unwrap();
    line.trim().trim_end_matches('s').parse().unwrap()
}

#[test]
fn the_manifest_has_valid_settings_and_leaves_time_for_the_stop() {
    let directory = tempdir().unwrap();
    let checked = keyfob(directory.path(), &["config", "check"]).envs(variables()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(checked.stderr, b"", "no warning");
    let drain_delay = number(MANIFEST, "KEYFOB_SERVER__DRAIN_DELAY\n              value:");
    // 10 seconds for requests in progress.
    assert!(number(MANIFEST, "terminationGracePeriodSeconds:") > drain_delay + 10 + 5);
    assert_eq!(number(MANIFEST, "replicas:"), 1);
}

/// A root with the program, a volume of this mode, and a secret as the kubelet mounts it: links to a file of
/// root that the group may read.
fn mounted(volume_mode: u32) -> TempDir {
    let root = tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    program_in(root.path());
    fs::create_dir_all(at("run/secrets/keyfob/..2026_11_28")).unwrap();
    fs::create_dir(at("data")).unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let key = at("run/secrets/keyfob/..2026_11_28/master.key");
    fs::write(&key, "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY\n").unwrap();
    symlink("..2026_11_28", at("run/secrets/keyfob/..data")).unwrap();
    symlink("..data/master.key", at("run/secrets/keyfob/master.key")).unwrap();
    for (path, mode) in [(key, 0o440), (at("data"), volume_mode), (at("run/secrets/keyfob"), 0o3777)] {
        chown(&path, Some(0), Some(USER)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    root
}

/// A command in a container with this root.
fn in_container(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(root.join("keyfob"));
    command.args(arguments).env_clear().current_dir(root.join("data")).uid(USER).gid(USER);
    for (name, value) in variables() {
        match value.strip_prefix('/') {
            Some(path) => command.env(name, root.join(path)),
            None => command.env(name, value),
        };
    }
    command
}

/// What the kubelet does with everything in a volume at a mount.
fn give_to_the_group(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let more = if path.is_dir() { 0o2770 } else { 0o660 };
        chown(&path, None, Some(USER)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode(&path) | more)).unwrap();
        if path.is_dir() {
            give_to_the_group(&path);
        }
    }
}

/// A claim and an `emptyDir` with `fsGroup`, each mounted twice: the store directory is restricted again at
/// each start. One of another name, which used to be refused at the second start, and a store in the volume
/// itself, as earlier images had it, are accepted with a warning.
#[test]
fn the_manifest_runs_on_volumes_that_belong_to_root_and_the_group() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for (volume_mode, store, warnings) in [
        (0o2775, "data/data/keyfob.redb", [false, false]),
        (0o2777, "data/data/keyfob.redb", [false, false]),
        (0o2775, "data/store/keyfob.redb", [false, true]),
        (0o2775, "data/keyfob.redb", [true, true]),
    ] {
        let root = mounted(volume_mode);
        let place = root.path().join(store);
        for (mount, has_warning) in ["client_secret", "already initialised"].iter().zip(warnings) {
            let command = |arguments: &[&str]| {
                let mut command = in_container(root.path(), arguments);
                command.env("KEYFOB_STORE__PATH", &place);
                command
            };
            let init = command(&["init"]).output().unwrap();
            let printed = String::from_utf8(init.stdout).unwrap();
            assert!(printed.contains(mount), "{printed}{}", String::from_utf8_lossy(&init.stderr));
            let address = format!("127.0.0.1:{}", free_port());
            let server =
                Process::by(root.path(), &mut command(&["serve", "--listen", &address]), address.clone());
            assert!(command(&["ready"]).output().unwrap().status.success());
            let log = fs::read_to_string(root.path().join("log.txt")).unwrap();
            assert_eq!(log.contains("WARN"), has_warning, "{log}");
            assert_eq!(log.contains("the group"), has_warning, "{log}");
            if !has_warning {
                assert_eq!(mode(place.parent().unwrap()) & 0o777, 0o700);
            }
            server.kill();
            give_to_the_group(&root.path().join("data"));
        }
    }
}
