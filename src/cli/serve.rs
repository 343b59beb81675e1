//! `keyfob serve`.

use clap::Args;

use super::Failure;
use crate::config::{Config, LogFormat};
use crate::http::request::request_id;
use crate::{serve, telemetry};

/// Settings that can be given on the command line.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Where to listen: host:port, or unix:/path. Overrides [server] listen.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The public base URL. Overrides [server] issuer.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
}

impl ServeArgs {
    /// The settings that were given.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let given = [("server.listen", &self.listen), ("server.issuer", &self.issuer)];
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect()
    }
}

/// Runs the server until it is told to stop.
pub fn run(config: &Config) -> Result<(), Failure> {
    telemetry::init(&config.log, request_id::current).map_err(Failure::refused)?;
    serve::run(config).map_err(|error| {
        // A person reads it as the last line; whoever collects objects needs one.
        if config.log.format == LogFormat::Json {
            tracing::error!(%error, "the server ends");
        }
        Failure::refused(error)
    })
}
