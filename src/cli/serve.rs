//! `keyfob serve`: runs the server.

use clap::Args;

use super::{Failure, Output};
use crate::config::{Config, LogFormat};
use crate::http::request::request_id;
use crate::{serve, telemetry};

/// Settings that the command line can override.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// The address to listen on: host:port, or unix:/path. Overrides [server] listen.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The public base URL. Overrides [server] issuer.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
}

impl ServeArgs {
    /// The overridden settings, as key and value.
    pub fn overrides(&self) -> Vec<(String, String)> {
        let given = [("server.listen", &self.listen), ("server.issuer", &self.issuer)];
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect()
    }
}

/// Runs the server until a stop signal.
pub fn run(config: &Config, output: Output) -> Result<(), Failure> {
    telemetry::init(&config.log, request_id::current).map_err(Failure::refused)?;
    serve::run(config, output == Output::Json).map_err(|error| {
        // Standard error gets it as text; a collector of JSON lines needs an object, too.
        if config.log.format == LogFormat::Json {
            tracing::error!(%error, "the server failed");
        }
        Failure::refused(error)
    })
}
