//! `keyfob db backup FILE`: writes the stream of the route to a file, whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use http_body_util::BodyExt;
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use serde_json::json;

use super::interrupt::interrupted;
use crate::cli::{
    AdminClient, Failure, Output, Progress, bytes_text, now, percent, print_result, runtime, when,
};
use crate::config::{Config, MasterKeySource, size_within};
use crate::files::sync_directory_of;
use crate::serve::places;
use crate::store::backup::{Damage, Decoder, Head, Piece};

const OWNER_ONLY: u32 = 0o600;

/// Where to write the backup, and how fast.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write; - is standard output. Its name ends with .partial until it is complete.
    file: PathBuf,
    /// Replaces an existing file.
    #[arg(long)]
    overwrite: bool,
    /// The most bytes to read per second, such as 16MiB; by default 64MiB.
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    rate: Option<usize>,
}

fn rate(text: &str) -> Result<usize, String> {
    size_within(1 << 20, 1 << 40).parse(text)
}

struct Written {
    head: Head,
    bytes: u64,
    took: f64,
}

impl Backup {
    /// Runs the command.
    pub fn run(self, config: &Config, output: Output) -> Result<(), Failure> {
        let mut target = Target::open(config, &self.file, self.overwrite)?;
        let written = runtime()?.block_on(async {
            let mut admin = AdminClient::open(config).await?;
            let written = tokio::select! {
                written = copy(&mut admin, self.rate, &mut target) => written,
                () = interrupted() => Err(Failure::refused("interrupted; no partial backup was left behind")),
            };
            admin.close().await;
            written
        })?;
        target.finish()?;
        self.print(&written, config, output)
    }

    fn print(
        &self,
        Written { head, bytes, took }: &Written,
        config: &Config,
        output: Output,
    ) -> Result<(), Failure> {
        let key = places(config).key_name();
        let json = json!({
            "file": self.file.display().to_string(), "bytes": bytes, "seconds": took,
            "made_at": head.made_at.to_string(),
            "sessions": head.entries_of("sessions"), "events": head.entries_of("events"),
            "clients": head.entries_of("clients"),
            "master_key_included": false, "master_key": key,
        });
        let lines = [
            format!(
                "backed up {} sessions, {} events and {} clients as of {}: {} in {took:.1} s",
                head.entries_of("sessions"),
                head.entries_of("events"),
                head.entries_of("clients"),
                when(head.made_at, now()),
                bytes_text(*bytes)
            ),
            format!(
                "The master key is not in it ({key}). Keep a copy of the key elsewhere: without it the \
                 backup cannot be restored."
            ),
        ];
        if self.file == Path::new("-") {
            let report = if output == Output::Json { format!("{json:#}") } else { lines.join("\n") };
            // The backup is complete even if standard error is closed.
            let _ = writeln!(io::stderr(), "{report}");
            return Ok(());
        }
        print_result(output, &json, || lines.into())
    }
}

/// Copies the stream to the target, and verifies that it is complete.
async fn copy(admin: &mut AdminClient, rate: Option<usize>, target: &mut Target) -> Result<Written, Failure> {
    let started = now();
    let rate = rate.map(|rate| format!("?rate={rate}")).unwrap_or_default();
    let mut body = admin.stream(&format!("/v1/db/backup{rate}")).await?;
    let (mut decoder, mut progress) = (Decoder::default(), Progress::new());
    let (mut all, mut done) = (0, 0);
    while let Some(frame) = body.frame().await {
        let interrupted = |cause| {
            Failure::refused(format!(
                "the backup was interrupted: {cause}; if a server is running, see its log"
            ))
        };
        let Ok(bytes) = frame.map_err(interrupted)?.into_data() else { continue };
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
    let head = decoder
        .finish()
        .map_err(|damage| Failure::refused(format!("the backup was interrupted: {damage}")))?;
    Ok(Written { head, bytes, took: now().since(started).as_secs_f64() })
}

/// The destination of the backup.
enum Target {
    Out,
    File { file: File, partial: PathBuf, path: PathBuf, overwrite: bool, finished: bool },
}

impl Target {
    fn open(config: &Config, path: &Path, overwrite: bool) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Out);
        }
        if let Ok(existing) = path.symlink_metadata() {
            reject_own_file(config, path)?;
            if !existing.is_file() || !overwrite {
                let fix = if existing.is_file() {
                    "name another file, or replace it with --overwrite"
                } else {
                    "name a file"
                };
                return Err(Failure::refused(format!("{} already exists: {fix}", path.display())));
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
            // The lock tells a file that is being written from one that a killed backup left behind.
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(Failure::refused(format!(
                    "another backup is being written to {}",
                    partial.display()
                )));
            }
            // A backup that finished in between has renamed this file: open the name again.
            if is_at(&file, &partial).map_err(failed)? {
                break file;
            }
        };
        file.set_permissions(Permissions::from_mode(OWNER_ONLY))
            .and_then(|()| file.set_len(0))
            .inspect_err(|_| _ = fs::remove_file(&partial))
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

    /// Gives the complete file its final name, durably.
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
                named.map_err(|cause| unwritable(path, &cause))?;
                sync_directory_of(path).map_err(|cause| {
                    let fix = "a power failure may remove it; fix the cause and make another one";
                    Failure::refused(format!("{} is complete, but {cause}; {fix}", path.display()))
                })
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

/// Whether the path still names this file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Renames without replacing an existing file. Not every file system can do that in one step.
fn name_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(from, to).and_then(|()| fs::remove_file(from)),
        renamed => Ok(renamed?),
    }
}

fn unwritable(path: &Path, cause: &io::Error) -> Failure {
    let fix = match cause.kind() {
        io::ErrorKind::StorageFull => {
            "; free disk space, or write it to another disk: no partial backup was left behind"
        }
        io::ErrorKind::AlreadyExists => "; name another file, or replace it with --overwrite",
        io::ErrorKind::NotFound => "; create its directory first",
        _ => "; fix the cause, or name another file",
    };
    Failure::refused(format!("{} cannot be written: {cause}{fix}", path.display()))
}

/// Rejects a path that names a file of the installation, which the backup would overwrite.
fn reject_own_file(config: &Config, path: &Path) -> Result<(), Failure> {
    let places = places(config);
    let key = match &places.master_key {
        MasterKeySource::File(path) | MasterKeySource::Credential(path) => Some(path.clone()),
        MasterKeySource::Environment(_) => None,
    };
    let inode = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let same = |ours: &PathBuf| inode(ours).is_some() && inode(ours) == inode(path);
    if [Some(places.database), Some(places.admin_json), key].iter().flatten().any(same) {
        return Err(Failure::refused(format!(
            "{} is a file of this installation: name another file",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_not_replaced() {
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
