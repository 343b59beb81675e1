//! The rules over every combination of owner, mode and mount, and the checks on real files.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, FileType, Mode as Bits, mknodat};

use super::*;

fn inspected(owner: u32, mode: u32) -> Inspected<'static> {
    Inspected {
        path: Path::new("data/x"),
        regular: true,
        owner,
        mode,
        user: 998,
        read_only_mount: false,
        group_enters: false,
        given_to_our_group: false,
    }
}

/// The outcome in a word: `ok`, `warning`, or what is refused.
fn outcome(inspected: &Inspected, rule: FileRule) -> String {
    match inspected.check(rule) {
        Ok(None) => "ok".into(),
        Ok(Some(_)) => "warning".into(),
        Err(FileError::Access { who, access, .. }) => format!("{who} {access}"),
        Err(FileError::Owner { .. }) => "owner".into(),
        Err(FileError::NotRegular(_)) => "type".into(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_file_of_the_store_is_ours_or_roots_and_closed_to_other_users() {
    for (owner, mode, expected) in [
        (998, 0o600, "ok"),
        (0, 0o600, "ok"),
        (1000, 0o600, "owner"),
        (998, 0o666, "other users access"),
        (998, 0o604, "other users access"),
        (998, 0o601, "other users access"),
        (998, 0o660, "ok"),
    ] {
        assert_eq!(outcome(&inspected(owner, mode), FileRule::Store), expected, "{owner} {mode:o}");
    }
    assert_eq!(outcome(&Inspected { regular: false, ..inspected(998, 0o600) }, FileRule::Store), "type");
}

/// Group bits matter only where the group can enter the directory, and there only our own group may have
/// them: what Kubernetes makes of a volume with `fsGroup`.
#[test]
fn group_access_to_the_store_is_a_warning_only_in_a_directory_that_was_given_to_our_group() {
    let entered =
        |given_to_our_group| Inspected { group_enters: true, given_to_our_group, ..inspected(998, 0o660) };
    assert_eq!(outcome(&entered(true), FileRule::Store), "warning");
    assert_eq!(outcome(&entered(false), FileRule::Store), "the group access");
    assert_eq!(outcome(&Inspected { mode: 0o600, ..entered(false) }, FileRule::Store), "ok");
}

/// The kubelet makes a directory of ours `g+rwxs` at each mount; one that is only writable for the group is
/// a mistake.
#[test]
fn a_directory_of_ours_is_given_to_our_group_by_the_bit_that_the_kubelet_sets() {
    let directory = tempfile::tempdir().unwrap();
    for (mode, accepted) in [(0o770, false), (0o2770, true), (0o2772, false), (0o2755, true)] {
        fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
        let metadata = directory.path().metadata().unwrap();
        assert_eq!(check_directory(directory.path(), &metadata).is_ok(), accepted, "{mode:o}");
    }
}

#[test]
fn a_mounted_secret_may_be_read_by_its_group_and_by_others_only_on_a_read_only_mount() {
    for (owner, mode, expected, on_read_only) in [
        (998, 0o600, "ok", "ok"),
        (0, 0o440, "ok", "ok"),
        (0, 0o444, "other users access", "warning"),
        (998, 0o644, "other users access", "warning"),
        (998, 0o602, "other users access", "ok"),
        (998, 0o660, "the group change", "ok"),
        (1000, 0o600, "owner", "ok"),
        (1000, 0o444, "owner", "warning"),
    ] {
        let secret = inspected(owner, mode);
        assert_eq!(outcome(&secret, FileRule::Secret), expected, "{owner} {mode:o}");
        let mounted = Inspected { read_only_mount: true, ..secret };
        assert_eq!(outcome(&mounted, FileRule::Secret), on_read_only, "{owner} {mode:o} read-only");
    }
}

#[test]
fn a_configuration_file_may_be_read_by_everyone_and_changed_by_no_other_user() {
    for (owner, mode, expected) in [
        (998, 0o644, "ok"),
        (1000, 0o664, "ok"),
        (0, 0o444, "ok"),
        (998, 0o646, "other users change"),
        (998, 0o666, "other users change"),
    ] {
        assert_eq!(outcome(&inspected(owner, mode), FileRule::Public), expected, "{owner} {mode:o}");
    }
}

#[test]
fn every_error_names_the_file_and_the_fix() {
    let say = |inspected: Inspected, rule| inspected.check(rule).unwrap_err().to_string();
    assert_eq!(
        say(inspected(998, 0o666), FileRule::Store),
        "other users can access data/x (mode 0666): run `chmod 600 data/x`"
    );
    assert_eq!(
        say(inspected(1000, 0o600), FileRule::Store),
        "data/x belongs to user 1000, who is neither root nor the user that runs keyfob (998): \
         run `chown 998 data/x`, or run keyfob as user 1000"
    );
}

/// A file with this mode in a directory of its own.
fn file(mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "content").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

#[test]
fn a_file_is_created_for_its_owner_and_never_truncated() {
    let (directory, path) = file(0o600);
    open(&path, FileRule::Store, OpenMode::Create).unwrap().file.write_all(b"C").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"Content");
    assert!(open(&path, FileRule::Store, OpenMode::CreateNew).is_err());
    let new = directory.path().join("new");
    assert!(open(&new, FileRule::Store, OpenMode::Write).unwrap_err().is_not_found());
    open(&new, FileRule::Store, OpenMode::Create).unwrap();
    assert_eq!(new.metadata().unwrap().mode() & 0o777, 0o600);
}

/// A link to another file of ours would pass every other check.
#[test]
fn a_symbolic_link_is_refused_in_the_store_and_followed_elsewhere() {
    let (directory, path) = file(0o600);
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    for mode in [OpenMode::Read, OpenMode::Write, OpenMode::Create] {
        assert!(matches!(open(&link, FileRule::Store, mode), Err(FileError::Symlink(_))), "{mode:?}");
    }
    for rule in [FileRule::Secret, FileRule::Public] {
        assert!(open(&link, rule, OpenMode::Read).is_ok(), "{rule:?}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    for rule in [FileRule::Secret, FileRule::Public] {
        assert!(matches!(open(&link, rule, OpenMode::Read), Err(FileError::Access { .. })), "{rule:?}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"content");
}

/// Opening a pipe must not wait for its other end.
#[test]
fn a_pipe_or_a_directory_is_refused_at_once() {
    let (directory, _) = file(0o600);
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Bits::from_raw_mode(0o600), 0).unwrap();
    for rule in [FileRule::Store, FileRule::Secret] {
        assert!(matches!(open(&pipe, rule, OpenMode::Read), Err(FileError::NotRegular(_))), "{rule:?}");
        assert!(matches!(open(directory.path(), rule, OpenMode::Read), Err(FileError::NotRegular(_))));
    }
}

#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let (_directory, path) = file(0o600);
    let content = |bytes_max| read(&path, FileRule::Secret, bytes_max).unwrap().0.map(|bytes| bytes.to_vec());
    assert_eq!(content(7), Some(b"content".to_vec()));
    assert_eq!(content(6), None);
}
