//! `keyfob init`: initialises the store without starting the server.

use serde_json::json;

use super::{Failure, Output, print_json, print_lines, runtime};
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::first_start::{AdminCredentials, Starter};
use crate::serve::{App, places};

/// Runs the command. If the store is already initialised it only prints where the credentials are.
pub fn run(config: &Config, output: Output) -> Result<(), Failure> {
    let places = places(config);
    let first = runtime()?.block_on(async {
        let (app, first) =
            App::start(config, Starter::Init, Clock::system()).await.map_err(Failure::refused)?;
        app.close().await;
        Ok::<_, Failure>(first)
    })?;
    let place = places.admin_json.display().to_string();
    if !first {
        return match output {
            Output::Human if places.admin_json.exists() => {
                print_lines(&[format!("already initialised; the administrator's credentials are in {place}")])
            }
            Output::Human => print_lines(&[format!(
                "already initialised; the administrator's credentials were written to {place}, which is not \
                 here any more, or to that of another replica"
            )]),
            Output::Json => print_json(&json!({ "initialised": false, "credentials_file": place })),
        };
    }
    let unreadable = || Failure::refused(format!("{place} cannot be read again"));
    let admin =
        AdminCredentials::read(&places.admin_json).map_err(Failure::refused)?.ok_or_else(unreadable)?;
    let printed = match output {
        Output::Human => print_lines(&[
            format!("client_id      {}", admin.client_id),
            format!("client_secret  {}", admin.client_secret),
            format!("issuer         {}", admin.issuer),
            format!("These are also in {place}. Start the server with `keyfob serve`."),
        ]),
        Output::Json => print_json(&json!({
            "initialised": true,
            "client_id": admin.client_id,
            "client_secret": admin.client_secret,
            "issuer": admin.issuer,
            "credentials_file": place,
        })),
    };
    printed.map_err(|failure| failure.of_secret(&format!("the credentials are in {place}")))
}
