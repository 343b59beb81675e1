//! `keyfob key …`: the signing keys.

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use http::Method;
use serde_json::json;

use super::{AdminClient, Failure, Listing, Output, encoded, now, print_done, print_result, when};
use crate::http::api::keys::{KeyList, Rotated};

/// Commands for signing keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Lists the signing keys: active, next and retired.
    List,
    /// Makes the next key of each algorithm the active one. Sessions and tokens stay valid.
    Rotate {
        /// Rotates even if resource servers may not know the next key yet: it was published less than the
        /// max-age of the JWKS ago.
        #[arg(long)]
        force: bool,
    },
    /// Revokes a compromised key: all access tokens signed with it become invalid at once.
    Revoke {
        /// The key id, k4.pid.…, as `key list` prints it.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        kid: String,
    },
}

impl KeyCommand {
    /// Runs the command.
    pub async fn run(self, admin: &mut AdminClient, output: Output) -> Result<(), Failure> {
        match self {
            Self::List => {
                let now = now();
                let keys: KeyList = admin.get("/v1/keys").await?;
                let mut listing = Listing::new(output, &["KEY", "STATUS", "SINCE"]);
                for key in &keys.items {
                    let since = key.retired_at.or(key.active_since).unwrap_or(key.created_at);
                    let status = key.status.0.as_str().to_owned();
                    listing.add(key, || [key.kid.clone(), status, when(since.0, now)])?;
                }
                listing.finish()
            }
            Self::Rotate { force } => {
                let path = if force { "/v1/keys/rotate?force=true" } else { "/v1/keys/rotate" };
                let rotated: Rotated = admin.call(Method::POST, path, None).await?;
                print_result(output, &rotated, || {
                    let kids = std::iter::once(&rotated.kid).chain(&rotated.es256_kid);
                    kids.map(|kid| format!("{kid} is active now")).collect()
                })
            }
            Self::Revoke { kid } => {
                admin.call::<()>(Method::DELETE, &format!("/v1/keys/{}", encoded(&kid)), None).await?;
                print_done(
                    output,
                    &json!({ "revoked": kid }),
                    &format!("revoked {kid}: access tokens signed with it are invalid now"),
                )
            }
        }
    }
}
