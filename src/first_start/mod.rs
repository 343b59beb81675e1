//! The files of an installation: what exists beside the database, and whether a start may continue.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{AdminSocketPath, MasterKeySource, Store};
use crate::files::{FileError, if_present, is_in};

mod admin;
mod directory;
mod file;
mod lock;
mod master_key;

pub use admin::AdminCredentials;
pub use directory::{check_socket_directory, prepare_directory};
pub use lock::{InstanceLock, LockError, is_held_without_socket};
pub use master_key::{create_master_key, master_key_text, read_master_key};

/// How the extension of a file begins whose contents were moved to a shared store.
pub const MOVED: &str = "moved-";

/// Paths of an installation. `admin.json`, `admin.sock` and the lock are beside the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub directory: PathBuf,
    /// The file; for a shared store its address, without a password.
    pub database: PathBuf,
    /// Credentials of the administrator client.
    pub admin_json: PathBuf,
    /// Socket for the administration commands; `None` without one.
    pub admin_socket: Option<PathBuf>,
    /// Source of the master key.
    pub master_key: MasterKeySource,
}

/// What a start has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartState {
    /// Nothing exists: create the master key, the database and the administrator.
    Fresh,
    /// Only the master key exists: use it, and create the rest.
    Unfinished,
    /// Database and master key exist: open them.
    Existing,
}

/// Which command starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// The server, or a command in its own process: it must not mistake a moved or lost installation for a
    /// new one.
    Serve,
    /// `keyfob init`: the operator says that this is a new installation.
    Init,
}

/// Why a start is refused, and how to fix that.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Other users can write to the directory, and keyfob does not change its mode.
    #[error(
        "other users can write to {} (mode {mode:04o}) and so replace the database: \
         run `chmod 700 {}`, or set store.path to a directory of its own",
        directory.display(), directory.display()
    )]
    OpenDirectory { directory: PathBuf, mode: u32 },
    /// The path of the directory is another kind of file.
    #[error(
        "{} is not a directory: set store.path to a file in a directory that keyfob may use",
        .0.display()
    )]
    NotADirectory(PathBuf),
    /// The directory is not writable.
    #[error("{} cannot be written to ({cause}): make it writable for the user that runs keyfob, or set \
             store.path to a directory that is", directory.display())]
    ReadOnly {
        directory: PathBuf,
        /// Error of the operating system.
        cause: io::Error,
    },
    /// A file or the directory has an owner, a mode or a type that is not safe.
    #[error(transparent)]
    Unsafe(FileError),
    /// Reading or writing a file failed.
    #[error("{action} {} failed: {cause}; fix the cause and try again", path.display())]
    File {
        /// The failed operation, as a gerund.
        action: &'static str,
        path: PathBuf,
        /// Error of the operating system.
        cause: io::Error,
    },
    /// The text of the key is malformed.
    #[error(
        "the master key in {0} is malformed: it must be 43 characters of base64url (32 bytes); restore the \
         correct key from your copy"
    )]
    MalformedKey(String),
    /// The environment variable is not set.
    #[error(
        "the master key is missing: keys.master_key_env names the environment variable {0}, which is not set"
    )]
    MissingVariable(String),
    /// The key file does not exist.
    #[error(
        "the master key {} is missing: restore it from your copy, or set keys.master_key_file",
        .0.display()
    )]
    MissingKey(PathBuf),
    /// The database exists, but its key does not.
    #[error(
        "the database {} exists, but its master key {key} does not, and without the key the database cannot \
         be read: restore the key from your copy; or, to start with an empty database, move this one away \
         and run `keyfob init`", database.display()
    )]
    DatabaseWithoutKey {
        database: PathBuf,
        /// Where the key is expected.
        key: String,
    },
    /// A shared database exists, but this replica has no key.
    #[error(
        "the database {database} exists, but the master key {key} does not, and without the key the database \
         cannot be read: copy the master key of another replica, or of the installation that created the \
         database, to there"
    )]
    SharedWithoutKey {
        /// The address of the database.
        database: String,
        /// Where the key is expected.
        key: String,
    },
    /// Root would create files beside the database that its owner, the server's user, cannot write to.
    #[error(
        "{} belongs to user {owner}, but this command runs as root, and the server of that user could not \
         write to root's files: run the command as that user (`sudo -u '#{owner}' keyfob …`) or while the \
         server runs", path.display()
    )]
    OwnedByAnother {
        /// The database, or its directory.
        path: PathBuf,
        /// User id of the owner.
        owner: u32,
    },
    /// `admin.json` exists, so there was a database.
    #[error(
        "{} exists, so keyfob was initialised here, but the database {} is missing: put it back, or run \
         `keyfob db restore FILE` with a backup; or, to start with an empty database, remove {} and run \
         `keyfob init`", admin_json.display(), database.display(), admin_json.display()
    )]
    DatabaseLost { database: PathBuf, admin_json: PathBuf },
    /// The file was moved to PostgreSQL, and the configuration still names it.
    #[error(
        "the database {} was moved to PostgreSQL, and {} is what it contained then: set store.url to the \
         address of the PostgreSQL database; or, if it was moved back since, put the file back",
        database.display(), kept.display()
    )]
    Moved {
        database: PathBuf,
        /// The file under its new name.
        kept: PathBuf,
    },
    /// A replica that was started before has no database, or another one.
    #[error(
        "the database {database} has no tables of keyfob, but the master key {key} exists: if this is \
         a replica, correct store.url, put the database back, or run `keyfob db restore FILE` with a backup; \
         if this is a new installation, run `keyfob init`"
    )]
    SharedLost {
        /// The address of the database.
        database: String,
        /// Where the key is.
        key: String,
    },
    /// The key is not beside the database, so a first start cannot be distinguished from a lost database.
    #[error(
        "there is no database at {}, and the master key comes from elsewhere ({key}): if this is a new \
         installation, run `keyfob init`; if it is not, put the database back, or run `keyfob db restore \
         FILE` with a backup", database.display()
    )]
    InitFirst {
        database: PathBuf,
        /// Source of the key.
        key: String,
    },
}

/// Which files exist.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    database: bool,
    key: bool,
    admin_json: bool,
    key_is_beside: bool,
    is_shared: bool,
    /// What the file was renamed to when its contents were moved to a shared store.
    moved: Option<PathBuf>,
}

impl Places {
    /// The paths that the configuration gives.
    pub fn new(store: &Store, master_key: &MasterKeySource, admin_socket: &AdminSocketPath) -> Self {
        let directory = store.directory().to_owned();
        let beside = |name: &str| directory.join(name);
        Self {
            database: match &store.shared {
                None => store.path.clone(),
                Some(shared) => shared.url.shown().into(),
            },
            admin_json: beside("admin.json"),
            admin_socket: match admin_socket {
                AdminSocketPath::Auto => Some(beside("admin.sock")),
                AdminSocketPath::Path(path) => Some(path.clone()),
                AdminSocketPath::None => None,
            },
            master_key: master_key.clone(),
            directory,
        }
    }

    /// Decides by the files how to start. Call it under the [`InstanceLock`], so that no other process
    /// changes them meanwhile. `is_created` is whether a shared store exists; `None` for a file. `variable`
    /// reads the environment.
    ///
    /// # Errors
    /// `DatabaseWithoutKey`, `SharedWithoutKey`, `DatabaseLost`, `InitFirst`, `OwnedByAnother`; `File` when
    /// the metadata of a file cannot be read.
    pub fn state(
        &self,
        starter: Starter,
        is_created: Option<bool>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<StartState, StartError> {
        let key = match &self.master_key {
            MasterKeySource::File(path) | MasterKeySource::Credential(path) => is_there(path)?,
            MasterKeySource::Environment(name) => variable(name).is_some(),
        };
        let found = Found {
            // A crash during creation leaves an empty file, which is not yet a database.
            database: match is_created {
                Some(is_created) => is_created,
                None => length_of(&self.database)?.is_some_and(|length| length > 0),
            },
            key,
            admin_json: is_there(&self.admin_json)?,
            key_is_beside: self.key_is_beside(),
            is_shared: is_created.is_some(),
            moved: if is_created.is_some() { None } else { self.moved() },
        };
        let state = self.judge(found, starter)?;
        match starter {
            // The first start may be root's in a container, in a mounted directory of another user.
            Starter::Serve if self.owned_file().is_none() => {}
            Starter::Serve | Starter::Init => self.refuse_root_for_another_owner()?,
        }
        Ok(state)
    }

    /// Refuses root if the installation belongs to another user, whose server cannot write to files that root
    /// creates.
    ///
    /// # Errors
    /// `OwnedByAnother`.
    pub fn refuse_root_for_another_owner(&self) -> Result<(), StartError> {
        let path = self.owned_file().unwrap_or(&self.directory);
        match path.metadata() {
            Ok(metadata) if is_foreign(metadata.uid(), rustix::process::geteuid().as_raw()) => {
                Err(StartError::OwnedByAnother { path: path.to_owned(), owner: metadata.uid() })
            }
            _ => Ok(()),
        }
    }

    /// The file whose owner is the owner of the installation.
    fn owned_file(&self) -> Option<&Path> {
        let key = match &self.master_key {
            MasterKeySource::File(path) => Some(path.as_path()),
            MasterKeySource::Credential(_) | MasterKeySource::Environment(_) => None,
        };
        [Some(self.database.as_path()), key].into_iter().flatten().find(|path| path.exists())
    }

    fn judge(&self, found: Found, starter: Starter) -> Result<StartState, StartError> {
        let database = self.database.clone();
        match (found.database, found.key) {
            (true, true) => Ok(StartState::Existing),
            (true, false) if found.is_shared => {
                let database = database.display().to_string();
                Err(StartError::SharedWithoutKey { database, key: self.key_name() })
            }
            (true, false) => Err(StartError::DatabaseWithoutKey { database, key: self.key_name() }),
            (false, _) if found.moved.is_some() && (found.admin_json || starter == Starter::Serve) => {
                Err(StartError::Moved { database, kept: found.moved.unwrap_or_default() })
            }
            (false, _) if found.admin_json => {
                Err(StartError::DatabaseLost { database, admin_json: self.admin_json.clone() })
            }
            (false, _) if !found.key_is_beside && starter == Starter::Serve => {
                Err(StartError::InitFirst { database, key: self.key_name() })
            }
            (false, true) if found.is_shared && starter == Starter::Serve => {
                let database = database.display().to_string();
                Err(StartError::SharedLost { database, key: self.key_name() })
            }
            (false, true) => Ok(StartState::Unfinished),
            (false, false) => Ok(StartState::Fresh),
        }
    }

    /// The last file that a move to a shared store has left beside the database.
    fn moved(&self) -> Option<PathBuf> {
        let left = format!("{}.{MOVED}", self.database.file_stem()?.to_str()?);
        let names =
            self.directory.read_dir().ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Some(self.directory.join(names.filter(|name| name.starts_with(&left)).max()?))
    }

    fn key_is_beside(&self) -> bool {
        matches!(&self.master_key, MasterKeySource::File(path) if is_in(path, &self.directory))
    }

    /// The source of the key, for messages.
    pub fn key_name(&self) -> String {
        match &self.master_key {
            MasterKeySource::File(path) => path.display().to_string(),
            MasterKeySource::Environment(name) => format!("environment variable {name}"),
            MasterKeySource::Credential(path) => format!("systemd credential {}", path.display()),
        }
    }
}

/// Only root needs this check: the operating system stops other users.
fn is_foreign(owner: u32, user: u32) -> bool {
    user == 0 && owner != 0
}

fn length_of(path: &Path) -> Result<Option<u64>, StartError> {
    let failed = |cause| StartError::File { action: "reading the metadata of", path: path.to_owned(), cause };
    Ok(if_present(path.metadata()).map_err(failed)?.map(|metadata| metadata.len()))
}

fn is_there(path: &Path) -> Result<bool, StartError> {
    Ok(length_of(path)?.is_some())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn places(directory: &Path, master_key: MasterKeySource) -> Places {
        let store =
            Store { path: directory.join("keyfob.redb"), cache_bytes: 1, reserve_bytes: 0, shared: None };
        Places::new(&store, &master_key, &AdminSocketPath::Auto)
    }

    fn found(database: bool, key: bool, admin_json: bool) -> Found {
        Found { database, key, admin_json, key_is_beside: true, is_shared: false, moved: None }
    }

    #[test]
    fn only_root_is_refused_for_another_owner() {
        assert!(is_foreign(998, 0));
        assert!(!is_foreign(0, 0) && !is_foreign(998, 998) && !is_foreign(998, 1000));
    }

    /// The whole table for a key beside the database: database, key, admin.json.
    #[test]
    fn a_start_continues_only_where_no_file_was_lost() {
        let places = places(Path::new("data"), MasterKeySource::File("data/master.key".into()));
        for starter in [Starter::Serve, Starter::Init] {
            let judge = |database, key, admin_json| places.judge(found(database, key, admin_json), starter);
            assert!(matches!(judge(false, false, false), Ok(StartState::Fresh)));
            assert!(matches!(judge(false, true, false), Ok(StartState::Unfinished)));
            assert!(matches!(judge(true, true, true), Ok(StartState::Existing)));
            assert!(
                matches!(judge(true, true, false), Ok(StartState::Existing)),
                "the credentials may have been moved to a safe place"
            );
            assert!(matches!(judge(true, false, true), Err(StartError::DatabaseWithoutKey { .. })));
            assert!(matches!(judge(true, false, false), Err(StartError::DatabaseWithoutKey { .. })));
            assert!(matches!(judge(false, true, true), Err(StartError::DatabaseLost { .. })));
            assert!(matches!(judge(false, false, true), Err(StartError::DatabaseLost { .. })));
        }
    }

    #[test]
    fn with_a_key_from_elsewhere_only_init_makes_a_new_installation() {
        let places = places(Path::new("data"), MasterKeySource::Environment("KEY".into()));
        let judge = |key, admin_json, starter| {
            places.judge(Found { key_is_beside: false, ..found(false, key, admin_json) }, starter)
        };
        assert!(matches!(judge(true, false, Starter::Serve), Err(StartError::InitFirst { .. })));
        assert!(matches!(judge(false, false, Starter::Serve), Err(StartError::InitFirst { .. })));
        assert!(matches!(judge(true, false, Starter::Init), Ok(StartState::Unfinished)));
        assert!(matches!(judge(true, true, Starter::Init), Err(StartError::DatabaseLost { .. })));
    }

    /// Another replica may have created it since, or another address is configured.
    #[test]
    fn a_replica_creates_no_shared_database_unless_init_is_run() {
        let places = places(Path::new("data"), MasterKeySource::File("data/master.key".into()));
        let judge = |key, starter| {
            places
                .judge(Found { is_shared: true, ..found(false, key, false) }, starter)
                .map_err(|e| e.to_string())
        };
        assert_eq!(judge(false, Starter::Serve), Ok(StartState::Fresh));
        assert_eq!(judge(true, Starter::Init), Ok(StartState::Unfinished));
        let refused = judge(true, Starter::Serve).unwrap_err();
        assert!(refused.contains("correct store.url") && refused.contains("`keyfob init`"), "{refused}");
    }

    #[test]
    fn a_file_that_was_moved_is_not_missed_but_looked_for_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("master.key");
        let beside = places(directory.path(), MasterKeySource::File(key.clone()));
        fs::write(&key, "").unwrap();
        for name in ["keyfob.moved-20260101T000000Z", "keyfob.moved-20270101T000000Z", "other.moved-3"] {
            fs::write(directory.path().join(name), "redb").unwrap();
        }
        let state = |starter| beside.state(starter, None, |_| None).map_err(|error| error.to_string());
        let refused = state(Starter::Serve).unwrap_err();
        assert!(
            refused.contains("keyfob.moved-20270101T000000Z") && refused.contains("store.url"),
            "{refused}"
        );
        assert_eq!(state(Starter::Init), Ok(StartState::Unfinished), "the operator says that it is new");
        fs::write(&beside.admin_json, "{}").unwrap();
        assert_eq!(state(Starter::Init).unwrap_err(), refused);
    }

    #[test]
    fn every_refusal_names_the_fix() {
        let places = places(Path::new("data"), MasterKeySource::Environment("KEY".into()));
        let say = |found, starter| places.judge(found, starter).unwrap_err().to_string();
        let lost = say(found(false, true, true), Starter::Serve);
        assert!(
            lost.contains("keyfob db restore FILE")
                && lost.contains("remove data/admin.json and run `keyfob init`"),
            "{lost}"
        );
        let keyless = say(found(true, false, true), Starter::Serve);
        assert!(keyless.contains("environment variable KEY") && keyless.contains("keyfob init"), "{keyless}");
        let elsewhere = say(Found { key_is_beside: false, ..found(false, true, false) }, Starter::Serve);
        assert!(
            elsewhere.contains("keyfob init") && elsewhere.contains("keyfob db restore FILE"),
            "{elsewhere}"
        );
    }

    #[test]
    fn the_state_depends_on_the_files_that_exist() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("master.key");
        let beside = places(directory.path(), MasterKeySource::File(key.clone()));
        let state =
            |places: &Places| places.state(Starter::Serve, None, |name| (name == "KEY").then(String::new));
        assert!(matches!(state(&beside), Ok(StartState::Fresh)));
        fs::write(&key, "").unwrap();
        fs::write(&beside.database, "").unwrap();
        assert!(
            matches!(state(&beside), Ok(StartState::Unfinished)),
            "a crash leaves an empty database file"
        );
        let by_variable = places(directory.path(), MasterKeySource::Environment("KEY".into()));
        assert!(matches!(state(&by_variable), Err(StartError::InitFirst { .. })));
        let roundabout =
            places(directory.path(), MasterKeySource::File(directory.path().join("./master.key")));
        assert!(
            matches!(state(&roundabout), Ok(StartState::Unfinished)),
            "another spelling of the same directory"
        );
        fs::write(&beside.database, "redb").unwrap();
        assert!(matches!(state(&beside), Ok(StartState::Existing)));
        assert!(matches!(state(&by_variable), Ok(StartState::Existing)));
        let unset = places(directory.path(), MasterKeySource::Environment("OTHER".into()));
        assert!(matches!(state(&unset), Err(StartError::DatabaseWithoutKey { .. })));
        fs::remove_file(&beside.database).unwrap();
        fs::write(&beside.admin_json, "{}").unwrap();
        assert!(matches!(state(&beside), Err(StartError::DatabaseLost { .. })));
    }
}
