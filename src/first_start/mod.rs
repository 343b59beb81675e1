//! The files of an installation: what a start finds beside the database, and whether it may go on.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{MasterKeySource, Store};

mod admin;
mod directory;
mod file;
mod lock;
mod master_key;

pub use admin::AdminCredentials;
pub use directory::prepare_directory;
pub use lock::{InstanceLock, LockError};
pub use master_key::{create_master_key, master_key_text, read_master_key};

/// Where everything is. `admin.json`, `admin.sock` and the lock are beside the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The directory of the database.
    pub directory: PathBuf,
    /// The database.
    pub database: PathBuf,
    /// The administrator's credentials.
    pub admin_json: PathBuf,
    /// The socket that the command line speaks to.
    pub admin_socket: PathBuf,
    /// Where the master key is.
    pub master_key: MasterKeySource,
}

/// What a start has before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartState {
    /// Nothing is there: make the master key, the database and the administrator.
    Fresh,
    /// The master key is there and nothing else: take it, and make the rest.
    Unfinished,
    /// Database and master key are there: open them.
    Existing,
}

/// Who is starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// The server, or a command in its own process: it must not take an installation that was moved or lost
    /// for a new one.
    Serve,
    /// `keyfob init`: somebody said that this is to be a new installation.
    Init,
}

/// Why a start cannot go on, and how it can.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory lets others in, and it is not ours to change.
    #[error(
        "other users can write to {} (mode {mode:04o}), and whoever writes there can replace the database: \
         run `chmod 700 {}`, or set store.path to a directory of its own", directory.display(), directory.display()
    )]
    OpenDirectory {
        /// The directory.
        directory: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What should be the directory is something else.
    #[error("{} is not a directory: set store.path to a file in a directory that keyfob may use", .0.display())]
    NotADirectory(PathBuf),
    /// Nothing can be written there.
    #[error("{} cannot be written to ({cause}): make it writable for the user that runs keyfob, or set store.path to a directory that is", directory.display())]
    ReadOnly {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Reading or writing a file failed.
    #[error("{action} {} failed: {cause}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Others can read the key.
    #[error("other users can read the master key {} (mode {mode:04o}): run `chmod 600 {}`", path.display(), path.display())]
    ReadableKey {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The key is not one.
    #[error(
        "the master key in {0} is malformed: it must be 43 characters of base64url (32 bytes); put the right one back from its copy"
    )]
    MalformedKey(String),
    /// The environment variable is not set.
    #[error(
        "the master key is missing: keys.master_key_env names the environment variable {0}, which is not set"
    )]
    MissingVariable(String),
    /// The file is gone.
    #[error("the master key {} is missing: put it back from its copy, or set keys.master_key_file", .0.display())]
    MissingKey(PathBuf),
    /// The database is there and its key is not.
    #[error(
        "the database {} is there, but its master key {key} is not, and without it nothing in the database can be read: put the key back from its copy; \
         or, to begin anew, move the database away and run `keyfob init`", database.display()
    )]
    DatabaseWithoutKey {
        /// The database.
        database: PathBuf,
        /// Where the key should be.
        key: String,
    },
    /// Root would leave files beside the database that its owner, the server, cannot write to.
    #[error(
        "{} belongs to user {owner}, and this runs as root, whose files that user's server could not write to: run it as that user, \
         `sudo -u '#{owner}' keyfob …`, or while the server runs", path.display()
    )]
    OwnedByAnother {
        /// The database, or its directory.
        path: PathBuf,
        /// The number of the user.
        owner: u32,
    },
    /// `admin.json` says that there was a database.
    #[error(
        "{} says that keyfob was set up here, but the database {} is missing: put it back, or run `keyfob db restore FILE` with a backup; \
         or, to begin anew, remove {} and run `keyfob init`", admin_json.display(), database.display(), admin_json.display()
    )]
    DatabaseLost {
        /// The database.
        database: PathBuf,
        /// The administrator's credentials.
        admin_json: PathBuf,
    },
    /// The key is not beside the database, so that nothing tells a first start from a lost database.
    #[error(
        "there is no database at {}, and the master key comes from elsewhere ({key}): if this is a new installation, run `keyfob init`; \
         if it is not, put the database back, or run `keyfob db restore FILE` with a backup", database.display()
    )]
    InitFirst {
        /// The database.
        database: PathBuf,
        /// Where the key is.
        key: String,
    },
}

/// What is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    database: bool,
    key: bool,
    admin_json: bool,
    key_is_beside: bool,
}

impl Places {
    /// Where everything is, as configured.
    pub fn new(store: &Store, master_key: &MasterKeySource) -> Self {
        let directory = store.directory().to_owned();
        let beside = |name: &str| directory.join(name);
        Self {
            database: store.path.clone(),
            admin_json: beside("admin.json"),
            admin_socket: beside("admin.sock"),
            master_key: master_key.clone(),
            directory,
        }
    }

    /// Looks at the files and says how to start. To be asked under the [`InstanceLock`], so that nobody
    /// changes them meanwhile. `variable` reads the environment.
    ///
    /// # Errors
    /// `DatabaseWithoutKey`, `DatabaseLost`, `InitFirst`, `OwnedByAnother`; `File` when the files cannot be
    /// looked at.
    pub fn state(
        &self,
        starter: Starter,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<StartState, StartError> {
        let key = match &self.master_key {
            MasterKeySource::File(path) | MasterKeySource::Credential(path) => is_there(path)?,
            MasterKeySource::Environment(name) => variable(name).is_some(),
        };
        let found = Found {
            // A crash in the moment of its creation leaves an empty file: that is no database yet.
            database: length_of(&self.database)?.is_some_and(|length| length > 0),
            key,
            admin_json: is_there(&self.admin_json)?,
            key_is_beside: self.key_is_beside(),
        };
        let state = self.judge(found, starter)?;
        match starter {
            // Whoever serves here the first time may be root in a container, and the directory a mounted one.
            Starter::Serve if self.telling().is_none() => {}
            Starter::Serve | Starter::Init => self.stay_out_of_the_way()?,
        }
        Ok(state)
    }

    /// Refuses root where this installation is another user's: what root makes here that user's server cannot
    /// write to.
    ///
    /// # Errors
    /// `OwnedByAnother`.
    pub fn stay_out_of_the_way(&self) -> Result<(), StartError> {
        let path = self.telling().unwrap_or(&self.directory);
        match path.metadata() {
            Ok(metadata) if is_foreign(metadata.uid(), rustix::process::geteuid().as_raw()) => {
                Err(StartError::OwnedByAnother { path: path.to_owned(), owner: metadata.uid() })
            }
            _ => Ok(()),
        }
    }

    /// The file that tells whose installation this is.
    fn telling(&self) -> Option<&Path> {
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
            (true, false) => Err(StartError::DatabaseWithoutKey { database, key: self.key_name() }),
            (false, _) if found.admin_json => {
                Err(StartError::DatabaseLost { database, admin_json: self.admin_json.clone() })
            }
            (false, _) if !found.key_is_beside && starter == Starter::Serve => {
                Err(StartError::InitFirst { database, key: self.key_name() })
            }
            (false, true) => Ok(StartState::Unfinished),
            (false, false) => Ok(StartState::Fresh),
        }
    }

    fn key_is_beside(&self) -> bool {
        let MasterKeySource::File(path) = &self.master_key else { return false };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        real(parent) == real(&self.directory)
    }

    /// Where the key is, for a person.
    pub fn key_name(&self) -> String {
        match &self.master_key {
            MasterKeySource::File(path) => path.display().to_string(),
            MasterKeySource::Environment(name) => format!("environment variable {name}"),
            MasterKeySource::Credential(path) => format!("systemd credential {}", path.display()),
        }
    }
}

/// Anybody but root is told by the operating system.
fn is_foreign(owner: u32, user: u32) -> bool {
    user == 0 && owner != 0
}

fn length_of(path: &Path) -> Result<Option<u64>, StartError> {
    match path.metadata() {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StartError::File { action: "looking at", path: path.to_owned(), cause }),
    }
}

fn is_there(path: &Path) -> Result<bool, StartError> {
    Ok(length_of(path)?.is_some())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn places(directory: &Path, master_key: MasterKeySource) -> Places {
        Places::new(&Store { path: directory.join("keyfob.redb"), cache_bytes: 1 }, &master_key)
    }

    fn found(database: bool, key: bool, admin_json: bool) -> Found {
        Found { database, key, admin_json, key_is_beside: true }
    }

    #[test]
    fn only_root_can_be_in_somebody_elses_way() {
        assert!(is_foreign(998, 0));
        assert!(!is_foreign(0, 0) && !is_foreign(998, 998) && !is_foreign(998, 1000));
    }

    /// The whole table for a key beside the database: database, key, admin.json.
    #[test]
    fn a_start_goes_on_only_where_nothing_was_lost() {
        let places = places(Path::new("data"), MasterKeySource::File("data/master.key".into()));
        for starter in [Starter::Serve, Starter::Init] {
            let judge = |database, key, admin_json| places.judge(found(database, key, admin_json), starter);
            assert!(matches!(judge(false, false, false), Ok(StartState::Fresh)));
            assert!(matches!(judge(false, true, false), Ok(StartState::Unfinished)));
            assert!(matches!(judge(true, true, true), Ok(StartState::Existing)));
            assert!(
                matches!(judge(true, true, false), Ok(StartState::Existing)),
                "the credentials may be moved to a safe place"
            );
            assert!(matches!(judge(true, false, true), Err(StartError::DatabaseWithoutKey { .. })));
            assert!(matches!(judge(true, false, false), Err(StartError::DatabaseWithoutKey { .. })));
            assert!(matches!(judge(false, true, true), Err(StartError::DatabaseLost { .. })));
            assert!(matches!(judge(false, false, true), Err(StartError::DatabaseLost { .. })));
        }
    }

    #[test]
    fn with_a_key_from_elsewhere_somebody_must_say_that_this_is_new() {
        let places = places(Path::new("data"), MasterKeySource::Environment("KEY".into()));
        let judge = |key, admin_json, starter| {
            places.judge(Found { key_is_beside: false, ..found(false, key, admin_json) }, starter)
        };
        assert!(matches!(judge(true, false, Starter::Serve), Err(StartError::InitFirst { .. })));
        assert!(matches!(judge(false, false, Starter::Serve), Err(StartError::InitFirst { .. })));
        assert!(matches!(judge(true, false, Starter::Init), Ok(StartState::Unfinished)));
        assert!(matches!(judge(true, true, Starter::Init), Err(StartError::DatabaseLost { .. })));
    }

    #[test]
    fn every_refusal_says_how_to_go_on() {
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
    fn what_is_found_is_what_is_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("master.key");
        let beside = places(directory.path(), MasterKeySource::File(key.clone()));
        let state = |places: &Places| places.state(Starter::Serve, |name| (name == "KEY").then(String::new));
        assert!(matches!(state(&beside), Ok(StartState::Fresh)));
        fs::write(&key, "").unwrap();
        fs::write(&beside.database, "").unwrap();
        assert!(
            matches!(state(&beside), Ok(StartState::Unfinished)),
            "an empty database file is what a crash leaves"
        );
        let by_variable = places(directory.path(), MasterKeySource::Environment("KEY".into()));
        assert!(matches!(state(&by_variable), Err(StartError::InitFirst { .. })));
        let roundabout =
            places(directory.path(), MasterKeySource::File(directory.path().join("./master.key")));
        assert!(
            matches!(state(&roundabout), Ok(StartState::Unfinished)),
            "beside is beside, however it is written"
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
