//! The client object, as it is sent and as it is shown (contract, section 4).

use poem_openapi::Object;
use serde::{Deserialize, Serialize};

use crate::domain::access::TokenFormat;
use crate::domain::client::{Client, ClientKind, Grant, Permission};
use crate::engine::clients::ClientFields;
use crate::http::request::types::{Time, Wire};

/// A registered client. Its secret is never shown again.
#[derive(Debug, Serialize, Deserialize, Object)]
#[oai(rename = "Client")]
pub struct ClientObject {
    /// Its name.
    pub client_id: String,
    /// Whether it can keep a secret.
    pub kind: Wire<ClientKind>,
    /// What it may do.
    pub permissions: Vec<Wire<Permission>>,
    /// The grants it may use.
    pub grants: Vec<Wire<Grant>>,
    /// The scopes it may ask for.
    pub scopes: Vec<String>,
    /// The audiences it may ask for.
    pub audiences: Vec<String>,
    /// The resources that it is.
    pub serves: Vec<String>,
    /// The clients that it may open sessions for.
    pub opens_for: Vec<String>,
    /// The name of its policy.
    pub policy: String,
    /// The form of its access tokens.
    pub access_token_format: Wire<TokenFormat>,
    /// Whether it is shut out.
    pub disabled: bool,
    /// Whether the configuration file declares it; then only the file changes it.
    pub declared: bool,
    /// When it was registered.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
    /// The new secret; shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

/// What can be said of a client. What is left out takes its default at a creation, and stays as it is in a
/// change.
#[derive(Debug, Default, Object)]
#[oai(deny_unknown_fields)]
pub struct ClientSettings {
    /// Its name: 1 to 64 characters of `[A-Za-z0-9._~-]`; a random one if left out. Fixed at creation.
    pub client_id: Option<String>,
    /// Whether it can keep a secret: a `public` client only refreshes and revokes its own tokens. Default
    /// `confidential`; fixed at creation.
    kind: Option<Wire<ClientKind>>,
    /// What it may do. Default none.
    permissions: Option<Vec<Wire<Permission>>>,
    /// The grants it may use. Default none.
    grants: Option<Vec<Wire<Grant>>>,
    /// The scopes it may ask for.
    scopes: Option<Vec<String>>,
    /// The audiences it may ask for; with none, its tokens are for the issuer.
    audiences: Option<Vec<String>>,
    /// The resources (audiences) that it is: it may introspect tokens meant for them.
    serves: Option<Vec<String>>,
    /// The clients that it may open sessions for.
    opens_for: Option<Vec<String>>,
    /// The name of a policy of the configuration. Default `default`.
    policy: Option<String>,
    /// The form of its access tokens. Default `paseto`.
    access_token_format: Option<Wire<TokenFormat>>,
    /// Whether it is shut out.
    disabled: Option<bool>,
}

impl ClientObject {
    /// The client, with its secret if that was just made.
    pub fn new(client: &Client, client_secret: Option<String>) -> Self {
        let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        Self {
            client_id: client.id.to_string(),
            kind: Wire(client.kind),
            permissions: client.permissions.iter().copied().map(Wire).collect(),
            grants: client.grants.iter().copied().map(Wire).collect(),
            scopes: client.scopes.names().map(Into::into).collect(),
            audiences: texts(&client.audiences),
            serves: texts(&client.serves),
            opens_for: client.opens_for.iter().map(ToString::to_string).collect(),
            policy: client.policy.to_string(),
            access_token_format: Wire(client.access_token_format),
            disabled: client.disabled,
            declared: client.declared,
            created_at: Wire(client.created_at),
            updated_at: Wire(client.updated_at),
            client_secret,
        }
    }
}

impl From<ClientSettings> for ClientFields {
    fn from(settings: ClientSettings) -> Self {
        fn words<T>(list: Option<Vec<Wire<T>>>) -> Option<Vec<T>> {
            list.map(|list| list.into_iter().map(|word| word.0).collect())
        }
        Self {
            kind: settings.kind.map(|kind| kind.0),
            permissions: words(settings.permissions),
            grants: words(settings.grants),
            scopes: settings.scopes,
            audiences: settings.audiences,
            serves: settings.serves,
            opens_for: settings.opens_for,
            policy: settings.policy,
            access_token_format: settings.access_token_format.map(|format| format.0),
            disabled: settings.disabled,
        }
    }
}
