//! The client object, as it is sent and as it is shown (contract, section 4).

use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::access::TokenFormat;
use crate::domain::client::{Client, ClientKind, Grant, Permission};
use crate::domain::id::ClientId;
use crate::engine::clients::ClientFields;
use crate::http::request::{Audience, DateTime, Parsed, ScopeName, Text};

/// A registered client. Only the answer that made a secret contains it.
#[skip_serializing_none]
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct RegisteredClient {
    /// The identifier of the client.
    pub client_id: String,
    /// `confidential` has a secret; `public` has none.
    pub kind: Parsed<ClientKind>,
    /// The permissions of the client.
    pub permissions: Vec<Parsed<Permission>>,
    /// The grants that the client may use at the token endpoint.
    pub grants: Vec<Parsed<Grant>>,
    /// The scopes that the client may ask for.
    pub scopes: Vec<String>,
    /// The audiences that the client may ask for.
    pub audiences: Vec<String>,
    /// The audiences that the client serves as a resource server.
    pub serves: Vec<String>,
    /// The clients that it may open sessions and families for.
    pub opens_for: Vec<String>,
    /// The name of the policy of its sessions.
    pub policy: String,
    /// The format of its access tokens.
    pub access_token_format: Parsed<TokenFormat>,
    /// Whether it is disabled: its requests are rejected and its tokens inactive.
    pub disabled: bool,
    /// Whether the configuration file declares it; then only the file can change it.
    pub declared: bool,
    /// When it was registered.
    pub created_at: DateTime,
    /// When it was last changed.
    pub updated_at: DateTime,
    /// The new secret; no later answer contains it.
    pub client_secret: Option<String>,
}

/// The settings of a client. An absent member takes its default when the client is created, and stays as it
/// is in a change.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
pub struct ClientSettings {
    /// The identifier: 1 to 64 characters of `[A-Za-z0-9._~-]`. Default: random. Cannot be changed.
    pub client_id: Option<Parsed<ClientId>>,
    /// `confidential` has a secret; `public` has none and only refreshes and revokes its own tokens. Default:
    /// `confidential`. Cannot be changed.
    kind: Option<Parsed<ClientKind>>,
    /// The permissions of the client. Default: none.
    permissions: Option<Vec<Parsed<Permission>>>,
    /// The grants that the client may use at the token endpoint. Default: none.
    grants: Option<Vec<Parsed<Grant>>>,
    /// The scopes that the client may ask for.
    scopes: Option<Vec<Text<ScopeName>>>,
    /// The audiences that the client may ask for; without any, its tokens are for the issuer.
    #[oai(validator(max_items = 64))]
    audiences: Option<Vec<Text<Audience>>>,
    /// The audiences that the client serves as a resource server: it may introspect their tokens.
    #[oai(validator(max_items = 64))]
    serves: Option<Vec<Text<Audience>>>,
    /// The clients that it may open sessions and families for.
    #[oai(validator(max_items = 64))]
    opens_for: Option<Vec<Text<ClientId>>>,
    /// The name of a policy of the configuration. Default: `default`.
    policy: Option<String>,
    /// The format of its access tokens. Default: `paseto`.
    access_token_format: Option<Parsed<TokenFormat>>,
    /// Whether it is disabled: its requests are rejected and its tokens inactive.
    disabled: Option<bool>,
}

impl RegisteredClient {
    /// The client, with its secret if the request made one.
    pub fn new(client: &Client, client_secret: Option<String>) -> Self {
        let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        Self {
            client_id: client.id.to_string(),
            kind: Parsed(client.kind),
            permissions: client.permissions.iter().copied().map(Parsed).collect(),
            grants: client.grants.iter().copied().map(Parsed).collect(),
            scopes: client.scopes.names().map(Into::into).collect(),
            audiences: texts(&client.audiences),
            serves: texts(&client.serves),
            opens_for: client.opens_for.iter().map(ToString::to_string).collect(),
            policy: client.policy.to_string(),
            access_token_format: Parsed(client.access_token_format),
            disabled: client.disabled,
            declared: client.declared,
            created_at: Parsed(client.created_at),
            updated_at: Parsed(client.updated_at),
            client_secret,
        }
    }
}

impl From<ClientSettings> for ClientFields {
    fn from(settings: ClientSettings) -> Self {
        fn words<T>(list: Option<Vec<Parsed<T>>>) -> Option<Vec<T>> {
            list.map(|list| list.into_iter().map(|parsed| parsed.0).collect())
        }
        fn texts<T>(list: Option<Vec<Text<T>>>) -> Option<Vec<String>> {
            list.map(|list| list.into_iter().map(|text| text.0).collect())
        }
        Self {
            kind: settings.kind.map(|kind| kind.0),
            permissions: words(settings.permissions),
            grants: words(settings.grants),
            scopes: texts(settings.scopes),
            audiences: texts(settings.audiences),
            serves: texts(settings.serves),
            opens_for: texts(settings.opens_for),
            policy: settings.policy,
            access_token_format: settings.access_token_format.map(|format| format.0),
            disabled: settings.disabled,
        }
    }
}
