//! What the targets in `fuzz/` read besides the public modules; only they enable the feature.

pub use crate::domain::gate::is_gate_name;
pub use crate::domain::network::Network;
pub use crate::domain::scope::ScopeSet;
pub use crate::http::net::connection::{Answers, ConnectionLimits, Stage, serve};
pub use crate::http::net::listener::Listener;
pub use crate::http::net::peer::{Peer, TrustedProxies};
pub use crate::http::request::credentials::{AuthorizationHeader, ClientFormFields, LastCredentials, merge};
pub use crate::http::request::form::Form;
pub use crate::http::request::if_match::Versions;
pub use crate::http::request::json::value as json_value;
pub use crate::http::request::urlencoded::decode;
pub use crate::token::json::has_unique_keys;
pub use crate::token::jwt::UnverifiedJwt;
pub use crate::token::paseto::{TOKEN_BYTES_MAX, UnverifiedPaseto};

use crate::http::wire::Service;

/// Trusts what these proxies report.
pub fn trust(service: &mut Service, proxies: TrustedProxies) {
    service.proxies = proxies;
}
