//! The server of `keyfob dev`: on a free port, without TLS and service manager.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::app::DevTime;
use super::installation::{places, wait_for_previous};
use super::listen::{self, Listeners};
use super::running::RunningServer;
use super::{App, AppError, RunError};
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::first_start::{Starter, prepare_directory};

/// Where a development server has its store.
pub enum Storage {
    /// In the directory of the configuration, which gets a `.gitignore` of `*`.
    Disk,
    /// In memory; the time may be moved.
    Memory(Option<DevTime>),
}

/// Starts the server; returns it with its URL.
///
/// # Errors
/// Whatever prevents the start.
pub async fn start_dev(config: &Config, storage: Storage) -> Result<(RunningServer, String), RunError> {
    let (config, sockets) = listen::choose_port(config, vec![]).await?;
    let places = places(&config);
    let app = match storage {
        Storage::Memory(time) => App::in_memory(&config, time).await?,
        Storage::Disk => {
            wait_for_previous(&places).await;
            prepare_directory(&places.directory).map_err(AppError::from)?;
            ignore_in_git(&places.directory)?;
            App::start(&config, Starter::Serve, Clock::system()).await?.0
        }
    };
    let listeners = Listeners::bind(&config.server.listen, sockets, places.admin_socket.as_deref()).await?;
    if listeners.admin.is_none() {
        app.note_no_socket()?;
    }
    Ok((RunningServer::start(app, listeners, None, &config.limits), config.server.issuer))
}

fn ignore_in_git(directory: &Path) -> io::Result<()> {
    match File::create_new(directory.join(".gitignore")) {
        Ok(mut file) => file.write_all(b"*\n"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
