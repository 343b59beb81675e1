//! `keyfob ready`: whether the running server is ready, for health checks without curl.

use std::time::Duration;

use tokio::time::timeout;

use super::admin_client::timed_out;
use super::{AdminClient, Failure, Output, print_done};
use crate::config::Config;
use crate::http::api::health::Health;

/// A server that takes longer counts as not ready.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs the command: `GET /readyz` at the admin socket.
pub async fn run(config: &Config, output: Output) -> Result<(), Failure> {
    let request = async { AdminClient::of_server(config).await?.get("/readyz").await };
    let health: Health = timeout(ANSWER_TIMEOUT, request).await.map_err(|_| timed_out(ANSWER_TIMEOUT))??;
    print_done(output, &health, "the server is ready")
}
