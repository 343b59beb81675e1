//! `keyfob db backup FILE`: takes the stream of the route, and leaves a whole file or none.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use http_body_util::BodyExt;
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use serde_json::json;

use super::super::door::Door;
use super::super::print::{print_json, print_lines};
use super::super::progress::{Progress, bytes_text, percent};
use super::super::times::when_at;
use super::super::{Failure, Output, runtime};
use super::interrupt::interrupted;
use crate::config::{Config, MasterKeySource, size_within};
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;
use crate::files::sync_directory_of;
use crate::serve::places;
use crate::store::backup::{Damage, Decoder, Head, Piece};

const OWNER_ONLY: u32 = 0o600;

/// Where to, and how.
#[derive(Debug, Args)]
pub struct Backup {
    /// Where to write it; - is standard output. While it is written it has another name, which ends with
    /// .partial.
    file: PathBuf,
    /// Replaces the file if there is one.
    #[arg(long)]
    overwrite: bool,
    /// How much to read a second at most, such as 16MiB; 64MiB if left out.
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    rate: Option<usize>,
}

fn rate(text: &str) -> Result<usize, String> {
    size_within(1 << 20, 1 << 40).parse(text)
}

/// What was written.
struct Written {
    head: Head,
    bytes: u64,
    took: f64,
}

impl Backup {
    /// Carries the command out.
    pub fn run(self, config: &Config, output: Output) -> Result<(), Failure> {
        let mut target = Target::open(config, &self.file, self.overwrite)?;
        let written = runtime()?.block_on(async {
            let mut door = Door::open(config).await?;
            let written = tokio::select! {
                written = copy(&mut door, self.rate, &mut target) => written,
                () = interrupted() => Err(Failure::refused("interrupted; nothing of the backup was left behind")),
            };
            door.close().await;
            written
        })?;
        target.finish()?;
        self.tell(&written, config, output)
    }

    fn tell(
        &self,
        Written { head, bytes, took }: &Written,
        config: &Config,
        output: Output,
    ) -> Result<(), Failure> {
        let entries = |name: &str| {
            head.tables.iter().find(|(table, _)| **table == *name).map_or(0, |(_, entries)| *entries)
        };
        let key = places(config).key_name();
        let json = json!({
            "file": self.file.display().to_string(), "bytes": bytes, "seconds": took, "made_at": head.made_at.to_string(),
            "sessions": entries("sessions"), "events": entries("events"), "clients": entries("clients"),
            "master_key_included": false, "master_key": key,
        });
        let lines = [
            format!(
                "backed up {} sessions, {} events and {} clients as of {}: {} in {took:.1} s",
                entries("sessions"),
                entries("events"),
                entries("clients"),
                when_at(head.made_at, Clock::system().now().wall),
                bytes_text(*bytes)
            ),
            format!(
                "The master key is not in it ({key}). Keep a copy of that elsewhere: without it the backup cannot be restored."
            ),
        ];
        if self.file == Path::new("-") {
            let told = if output == Output::Json { format!("{json:#}") } else { lines.join("\n") };
            // The backup is whole, whether or not somebody hears of it.
            let _ = writeln!(io::stderr(), "{told}");
            return Ok(());
        }
        match output {
            Output::Human => print_lines(&lines),
            Output::Json => print_json(&json),
        }
    }
}

/// Takes the stream, and holds it to what it says of itself.
async fn copy(door: &mut Door, rate: Option<usize>, target: &mut Target) -> Result<Written, Failure> {
    let clock = Clock::system();
    let begun = clock.now();
    let rate = rate.map(|rate| format!("?rate={rate}")).unwrap_or_default();
    let mut body = door.stream(&format!("/v1/db/backup{rate}")).await?;
    let (mut decoder, mut progress) = (Decoder::default(), Progress::new());
    let (mut all, mut done) = (0, 0);
    while let Some(frame) = body.frame().await {
        let broken = |cause| {
            Failure::refused(format!("the backup broke off: {cause}; its log says more if a server runs"))
        };
        let Ok(bytes) = frame.map_err(broken)?.into_data() else { continue };
        let count = |piece: Piece| {
            match piece {
                Piece::Head(head) => all = head.entries(),
                Piece::Entry(..) => done += 1,
                Piece::Table(_) => {}
            }
            Ok::<(), Damage>(())
        };
        decoder.push(&bytes, count).map_err(Failure::refused)?;
        target.write(&bytes)?;
        progress.show(|| format!("backing up: {}  {}", percent(done, all), bytes_text(decoder.bytes())));
    }
    let bytes = decoder.bytes();
    let head =
        decoder.finish().map_err(|damage| Failure::refused(format!("the backup broke off: {damage}")))?;
    let took = Timestamp::since(clock.now().wall, begun.wall).as_secs_f64();
    Ok(Written { head, bytes, took })
}

/// Where the backup goes.
enum Target {
    Out,
    File { file: File, partial: PathBuf, path: PathBuf, overwrite: bool, finished: bool },
}

impl Target {
    fn open(config: &Config, path: &Path, overwrite: bool) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Out);
        }
        if let Ok(there) = path.symlink_metadata() {
            refuse_our_own(config, path)?;
            if !there.is_file() || !overwrite {
                let mend = if there.is_file() {
                    "name another, or replace it with --overwrite"
                } else {
                    "name a file"
                };
                return Err(Failure::refused(format!("{} is there already: {mend}", path.display())));
            }
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let failed = |cause: io::Error| unwritable(&partial, &cause);
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(OWNER_ONLY)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = loop {
            let file = options.open(&partial).map_err(failed)?;
            // One that is left from a backup that was killed is taken over; one that is being written is not.
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(Failure::refused(format!(
                    "another backup is being written to {}",
                    partial.display()
                )));
            }
            // One that was finished in between has its own name now, and is nobody's to write to.
            if is_at(&file, &partial).map_err(failed)? {
                break file;
            }
        };
        file.set_permissions(Permissions::from_mode(OWNER_ONLY))
            .and_then(|()| file.set_len(0))
            .map_err(failed)?;
        Ok(Self::File { file, partial, path: path.into(), overwrite, finished: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Out => io::stdout()
                .lock()
                .write_all(bytes)
                .map_err(|cause| Failure::refused(format!("standard output: {cause}"))),
            Self::File { file, partial, .. } => {
                file.write_all(bytes).map_err(|cause| unwritable(partial, &cause))
            }
        }
    }

    /// It is whole: gives the file its name, durably.
    fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::Out => io::stdout()
                .lock()
                .flush()
                .map_err(|cause| Failure::refused(format!("standard output: {cause}"))),
            Self::File { file, partial, path, overwrite, finished } => {
                let named = file.sync_all().and_then(|()| {
                    if *overwrite { fs::rename(&*partial, &*path) } else { name_new(partial, path) }
                });
                *finished = named.is_ok();
                named.and_then(|()| sync_directory_of(path)).map_err(|cause| unwritable(path, &cause))
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { partial, finished: false, .. } = self {
            let _ = fs::remove_file(partial);
        }
    }
}

/// Whether the file still has this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Renames to a name that must be free, and takes it from nobody who came first. Not every file system can do
/// that in one step.
fn name_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(from, to).and_then(|()| fs::remove_file(from)),
        renamed => Ok(renamed?),
    }
}

fn unwritable(path: &Path, cause: &io::Error) -> Failure {
    let mend = match cause.kind() {
        io::ErrorKind::StorageFull => {
            "; make room, or write it to another disk: nothing of it was left behind"
        }
        io::ErrorKind::AlreadyExists => "; name another, or replace it with --overwrite",
        io::ErrorKind::NotFound => "; make its directory first",
        _ => "",
    };
    Failure::refused(format!("{} cannot be written: {cause}{mend}", path.display()))
}

/// A backup over the files of the installation would destroy what it is a copy of.
fn refuse_our_own(config: &Config, path: &Path) -> Result<(), Failure> {
    let places = places(config);
    let key = match &places.master_key {
        MasterKeySource::File(path) | MasterKeySource::Credential(path) => Some(path.clone()),
        MasterKeySource::Environment(_) => None,
    };
    let inode = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let same = |ours: &PathBuf| inode(ours).is_some() && inode(ours) == inode(path);
    if [Some(places.database), Some(places.admin_json), key].iter().flatten().any(same) {
        return Err(Failure::refused(format!(
            "{} is a file of this installation itself: name another",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_from_nobody_who_came_first() {
        let directory = tempfile::tempdir().unwrap();
        let [partial, path] = ["b.partial", "b"].map(|name| directory.path().join(name));
        fs::write(&partial, "new").unwrap();
        let file = File::open(&partial).unwrap();
        assert!(is_at(&file, &partial).unwrap());
        name_new(&partial, &path).unwrap();
        assert!(!is_at(&file, &partial).unwrap() && is_at(&file, &path).unwrap());
        fs::write(&partial, "another").unwrap();
        assert!(!is_at(&file, &partial).unwrap(), "a file of the same name is another");
        assert_eq!(name_new(&partial, &path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
