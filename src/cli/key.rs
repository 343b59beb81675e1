//! `keyfob key …`: the signing keys.

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use http::Method;
use serde_json::{Value, json};

use super::door::{Door, encoded};
use super::listing::Listing;
use super::print::{print_json, print_lines};
use super::times::when;
use super::{Failure, Output};
use crate::engine::clock::Clock;

/// What can be done with signing keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Lists the keys: the one that signs, the one that will, and those that did.
    List,
    /// Lets the next key sign now. Nobody is logged out.
    Rotate,
    /// Revokes a compromised key: every access token that it signed is dead at once.
    Revoke {
        /// Its identifier, k4.pid.…, as `key list` prints it.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        kid: String,
    },
}

impl KeyCommand {
    /// Carries the command out.
    pub async fn run(self, door: &mut Door, output: Output) -> Result<(), Failure> {
        match self {
            Self::List => {
                let now = Clock::system().now().wall;
                let keys = door.call(Method::GET, "/v1/keys", None).await?;
                let mut listing = Listing::new(output, &["KEY", "STATUS", "SINCE"]);
                for key in keys["items"].as_array().into_iter().flatten() {
                    let text = |name: &str| key[name].as_str().unwrap_or_default();
                    let since = ["retired_at", "active_since", "created_at"]
                        .into_iter()
                        .find_map(|name| key[name].as_str())
                        .unwrap_or_default();
                    listing.add(
                        key.clone(),
                        [text("kid").to_owned(), text("status").to_owned(), when(since, now)],
                    );
                }
                listing.finish()
            }
            Self::Rotate => {
                let rotated = door.call(Method::POST, "/v1/keys/rotate", None).await?;
                tell(output, &rotated, &format!("{} signs now", rotated["kid"].as_str().unwrap_or_default()))
            }
            Self::Revoke { kid } => {
                door.call(Method::DELETE, &format!("/v1/keys/{}", encoded(&kid)), None).await?;
                tell(
                    output,
                    &json!({ "revoked": kid }),
                    &format!("revoked {kid}: every access token that it signed is dead"),
                )
            }
        }
    }
}

fn tell(output: Output, json: &Value, sentence: &str) -> Result<(), Failure> {
    match output {
        Output::Human => print_lines(&[sentence.to_owned()]),
        Output::Json => print_json(json),
    }
}
