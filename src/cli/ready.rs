//! `keyfob ready`: whether the server beside the store can do its work. For health checks where there is no
//! curl.

use std::time::Duration;

use http::Method;
use tokio::time::timeout;

use super::door::{Door, too_late};
use super::print::{print_json, print_lines};
use super::{Failure, Output};
use crate::config::Config;

/// A server that takes longer is not ready.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks `/readyz` through the admin socket.
pub async fn run(config: &Config, output: Output) -> Result<(), Failure> {
    let asked = async { Door::of_server(config).await?.call(Method::GET, "/readyz", None).await };
    let answer = timeout(ANSWER_TIMEOUT, asked).await.map_err(|_| too_late(ANSWER_TIMEOUT))??;
    match output {
        Output::Human => print_lines(&["the server is ready".to_owned()]),
        Output::Json => print_json(&answer),
    }
}
