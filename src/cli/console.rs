//! `keyfob console`: a one-time link to the operator's page.

use clap::Args;
use http::Method;
use serde_json::json;

use super::{AdminClient, Failure, Output, now, print_result, when};
use crate::config::Config;
use crate::domain::console::ConsoleRole;
use crate::http::console::links::LinkAnswer;

/// The link.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// The session that the link opens may only read.
    #[arg(long)]
    read: bool,
}

impl ConsoleArgs {
    /// Runs the command. The running server makes the link.
    pub async fn run(self, config: &Config, output: Output) -> Result<(), Failure> {
        if !config.server.console {
            return Err(Failure::refused("the console is switched off: set [server] console = true"));
        }
        let mut admin = AdminClient::of_server(config).await?;
        if !admin.is_through_socket() {
            return Err(Failure::refused(
                "a link to the console needs the admin socket, which this server does not have: set [server] \
                 admin_socket",
            ));
        }
        let role = if self.read { ConsoleRole::Read } else { ConsoleRole::Admin };
        let body = json!({ "role": role.as_str() });
        let link: LinkAnswer = admin.call(Method::POST, "/console/links", Some(&body)).await?;
        print_result(output, &link, || {
            let may =
                if self.read { "read, and change nothing" } else { "read and, for five minutes, change" };
            vec![
                link.url.clone(),
                format!("Open it in a browser: it works once, until {}.", when(link.expires_at.0, now())),
                format!("The session that it opens may {may}."),
            ]
        })
    }
}
