//! The one function that opens the files of an installation: it checks type, owner and mode of what it
//! opened.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, StatVfsMountFlags, fcntl_getfl, fcntl_setfl, fstatvfs};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};
use zeroize::Zeroizing;

use super::directory_of;

/// Permission bits of all users.
const OTHERS: u32 = 0o007;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;
const GROUP: u32 = 0o070;
const GROUP_WRITE: u32 = 0o020;
const SET_GROUP_ID: u32 = 0o2000;
/// Mode of new files.
const OWNER_ONLY: u32 = 0o600;

/// What is required of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRule {
    /// A file in the store directory: regular, no symbolic link, owned by our user or root, without access
    /// for other users. Group access matters only where the group can enter the directory.
    Store,
    /// A secret that may be mounted: symbolic links are followed; only its owner may write, and other users
    /// may read only on a read-only mount.
    Secret,
    /// Configuration or a certificate: symbolic links are followed; other users may not write.
    Public,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    Read,
    /// Read and write; nothing is truncated.
    Write,
    /// The same; a missing file is created with mode 0600.
    Create,
    /// The same; an existing file is an error.
    CreateNew,
}

/// An open file that obeys its rule.
#[derive(Debug)]
pub struct OpenedFile {
    pub file: File,
    /// What is unusual about it and permitted: to be logged.
    pub warning: Option<String>,
}

/// Why a file was not opened: what is wrong with it, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The last component is a symbolic link.
    #[error("{} is a symbolic link: replace it by the file itself", .0.display())]
    Symlink(PathBuf),
    /// A directory, device, pipe or socket.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// Another user could change it.
    #[error(
        "{} belongs to user {owner}, who is neither root nor the user that runs keyfob ({user}): \
         run `chown {user} {}`, or run keyfob as user {owner}", path.display(), path.display()
    )]
    Owner { path: PathBuf, owner: u32, user: u32 },
    /// Other users have access that the rule forbids.
    #[error("{who} can {access} {} (mode {mode:04o}): run `chmod {fix} {}`", path.display(), path.display())]
    Access {
        path: PathBuf,
        who: &'static str,
        access: &'static str,
        mode: u32,
        /// The argument of chmod.
        fix: &'static str,
    },
}

impl FileError {
    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Opens a file and checks what was opened.
///
/// # Errors
/// The file breaks `rule`, or cannot be opened.
pub fn open(path: &Path, rule: FileRule, mode: OpenMode) -> Result<OpenedFile, FileError> {
    // Without NONBLOCK the opening of a pipe waits for its other end.
    let mut flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    if rule == FileRule::Store {
        flags |= OFlags::NOFOLLOW;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(mode != OpenMode::Read)
        .create(mode == OpenMode::Create)
        .create_new(mode == OpenMode::CreateNew)
        .mode(OWNER_ONLY)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP) if rule == FileRule::Store => FileError::Symlink(path.to_owned()),
            _ => FileError::Io(error),
        })?;
    let warning = Inspected::of(path, &file, rule)?.check(rule)?;
    let flags = fcntl_getfl(&file).map_err(io::Error::from)?;
    fcntl_setfl(&file, flags - OFlags::NONBLOCK).map_err(io::Error::from)?;
    Ok(OpenedFile { file, warning })
}

/// Reads a whole file of at most `bytes_max` bytes, after the checks of [`open`]; `None` if it is longer.
///
/// # Errors
/// As for [`open`].
#[expect(clippy::type_complexity, reason = "the content may be secret, and the warning goes with it")]
pub fn read(
    path: &Path,
    rule: FileRule,
    bytes_max: u64,
) -> Result<(Option<Zeroizing<Vec<u8>>>, Option<String>), FileError> {
    let OpenedFile { file, warning } = open(path, rule, OpenMode::Read)?;
    // With the final capacity from the start, so that growing leaves no copy in memory.
    let capacity = file.metadata()?.len().min(bytes_max).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(capacity).unwrap_or(0)));
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    let whole = u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max);
    Ok((whole.then_some(bytes), warning))
}

/// Checks the owner of a store directory, and that no other user can write to it. Returns a warning about
/// access of our group.
///
/// # Errors
/// `Owner`, `Access`.
pub fn check_directory(path: &Path, metadata: &Metadata) -> Result<Option<String>, FileError> {
    let user = geteuid().as_raw();
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != user && owner != 0 {
        return Err(FileError::Owner { path: path.to_owned(), owner, user });
    }
    let access = |who, fix| FileError::Access { path: path.to_owned(), who, access: "write to", mode, fix };
    if mode & OTHERS_WRITE != 0 {
        return Err(access("other users", "700"));
    }
    if mode & GROUP_WRITE == 0 {
        return Ok(None);
    }
    if !is_given_to_our_group(metadata) {
        return Err(access("the group", "700"));
    }
    Ok(Some(format!(
        "the group {} can write to {} (mode {mode:04o}), and every process of that group can replace the \
         database",
        metadata.gid(),
        path.display()
    )))
}

/// What decides about an opened file.
struct Inspected<'a> {
    path: &'a Path,
    regular: bool,
    owner: u32,
    mode: u32,
    user: u32,
    read_only_mount: bool,
    /// Whether the group can enter the directory.
    group_enters: bool,
    given_to_our_group: bool,
}

impl<'a> Inspected<'a> {
    fn of(path: &'a Path, file: &File, rule: FileRule) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let user = geteuid().as_raw();
        let directory = match rule {
            FileRule::Store => Some(directory_of(path).metadata()?),
            FileRule::Secret | FileRule::Public => None,
        };
        Ok(Self {
            path,
            regular: metadata.is_file(),
            owner: metadata.uid(),
            mode: metadata.mode() & 0o7777,
            user,
            read_only_mount: fstatvfs(file)
                .is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY)),
            group_enters: directory.as_ref().is_some_and(|directory| directory.mode() & GROUP != 0),
            given_to_our_group: directory.as_ref().is_some_and(is_given_to_our_group),
        })
    }

    fn check(&self, rule: FileRule) -> Result<Option<String>, FileError> {
        match rule {
            FileRule::Store => self.check_store(),
            FileRule::Secret => self.check_secret(),
            FileRule::Public => self.forbid(OTHERS_WRITE, "other users", "change", "o-w").map(|()| None),
        }
    }

    fn check_store(&self) -> Result<Option<String>, FileError> {
        self.check_regular()?;
        self.check_owner()?;
        self.forbid(OTHERS, "other users", "access", "600")?;
        if self.mode & GROUP == 0 || !self.group_enters {
            return Ok(None);
        }
        if !self.given_to_our_group {
            self.forbid(GROUP, "the group", "access", "600")?;
        }
        Ok(Some(format!("the group can access {} (mode {:04o})", self.path.display(), self.mode)))
    }

    fn check_secret(&self) -> Result<Option<String>, FileError> {
        self.check_regular()?;
        if self.read_only_mount {
            let readable = self.mode & OTHERS_READ != 0;
            return Ok(readable.then(|| {
                format!(
                    "other users can read {} (mode {:04o}); it is accepted since its mount is read-only",
                    self.path.display(),
                    self.mode
                )
            }));
        }
        self.check_owner()?;
        self.forbid(OTHERS, "other users", "access", "o=")?;
        self.forbid(GROUP_WRITE, "the group", "change", "g-w").map(|()| None)
    }

    fn check_regular(&self) -> Result<(), FileError> {
        if self.regular { Ok(()) } else { Err(FileError::NotRegular(self.path.to_owned())) }
    }

    fn check_owner(&self) -> Result<(), FileError> {
        let Self { owner, user, .. } = *self;
        if owner == user || owner == 0 {
            return Ok(());
        }
        Err(FileError::Owner { path: self.path.to_owned(), owner, user })
    }

    /// Refuses a file with any of these permission bits.
    fn forbid(
        &self,
        bits: u32,
        who: &'static str,
        access: &'static str,
        fix: &'static str,
    ) -> Result<(), FileError> {
        if self.mode & bits == 0 {
            return Ok(());
        }
        Err(FileError::Access { path: self.path.to_owned(), who, access, mode: self.mode, fix })
    }
}

/// Whether access of the directory's group is accepted with a warning: the group is ours, and root owns the
/// directory or the kubelet gave it to the group (`fsGroup` sets the set-group-id bit at each mount).
fn is_given_to_our_group(directory: &Metadata) -> bool {
    let given = directory.uid() != geteuid().as_raw() || directory.mode() & SET_GROUP_ID != 0;
    given && in_group(directory.gid())
}

fn in_group(group: u32) -> bool {
    let is = |gid: rustix::fs::Gid| gid.as_raw() == group;
    is(getegid()) || getgroups().is_ok_and(|groups| groups.into_iter().any(is))
}

#[cfg(test)]
mod tests;
