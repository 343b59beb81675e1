//! `keyfob ready`: whether the server beside the store can do its work. For health checks where there is no curl.

use http::Method;

use super::door::Door;
use super::print::{print_json, print_lines};
use super::{Failure, Output};
use crate::config::Config;

/// Asks `/readyz` through the admin socket.
pub async fn run(config: &Config, output: Output) -> Result<(), Failure> {
    let answer = Door::of_server(config).await?.call(Method::GET, "/readyz", None).await?;
    match output {
        Output::Human => print_lines(&["the server is ready".to_owned()]),
        Output::Json => print_json(&answer),
    }
}
