//! The declared clients, and the server's configuration.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use super::plant::Plant;
use super::times::Times;

pub const BACKEND: &str = "backend";
pub const OPERATOR: &str = "operator";
/// By name and permissions.
const CLIENTS: [(&str, &str); 2] = [(BACKEND, r#""sessions", "introspect""#), (OPERATOR, r#""admin""#)];

pub fn config(times: &Times, plant: Option<Plant>) -> String {
    let retention = match plant {
        Some(Plant::Retention) => "30d".to_owned(),
        _ => format!("{}s", times.retention.as_secs()),
    };
    let mut text = format!(
        "[server]\nmetrics_public = true\n[log]\nlevel = \"error\"\n[events]\nretention = \"{retention}\"\n\
         [policy.default]\naccess_token_ttl = \"{}s\"\nidle_timeout = \"{}s\"\nabsolute_lifetime = \"{}s\"\n\
         refresh_retry_window = \"{}s\"\n",
        times.access_token_ttl.as_secs(),
        times.idle_timeout.as_secs(),
        times.absolute_lifetime.as_secs(),
        times.retry_window.as_secs()
    );
    for (name, permissions) in CLIENTS {
        let hash: String = Sha256::digest(secret(name)).iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!(
            "[[client]]\nclient_id = \"{name}\"\nsecret_sha256 = \"{hash}\"\npermissions = [{permissions}]\n\
             grants = [\"refresh_token\"]\nscopes = [\"read\", \"write\"]\n"
        );
    }
    text
}

/// The secret of a declared client, the same in each run.
fn secret(name: &str) -> String {
    format!("kfc_{}", Base64UrlUnpadded::encode_string(&Sha256::digest(name)))
}

/// The `Authorization` header of a declared client.
pub fn declared(name: &str) -> String {
    basic(name, &secret(name))
}

pub fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", Base64::encode_string(format!("{name}:{secret}").as_bytes()))
}
