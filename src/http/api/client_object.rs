//! The client object, as it is sent and as it is shown (contract, section 4).

use poem_openapi::Object;

use crate::domain::access::TokenFormat;
use crate::domain::client::{Client, ClientKind, Grant, Permission};
use crate::engine::clients::ClientFields;
use crate::http::request::types::{Time, Word};

/// A registered client. Its secret is never shown again.
#[derive(Debug, Object)]
#[oai(rename = "Client")]
pub struct ClientObject {
    /// Its name.
    client_id: String,
    /// Whether it can keep a secret.
    kind: Word<ClientKind>,
    /// What it may do.
    permissions: Vec<Word<Permission>>,
    /// The grants it may use.
    grants: Vec<Word<Grant>>,
    /// The scopes it may ask for.
    scopes: Vec<String>,
    /// The audiences it may ask for.
    audiences: Vec<String>,
    /// The resources that it is.
    serves: Vec<String>,
    /// The clients that it may open sessions for.
    opens_for: Vec<String>,
    /// The name of its policy.
    policy: String,
    /// The form of its access tokens.
    access_token_format: Word<TokenFormat>,
    /// Whether it is shut out.
    disabled: bool,
    /// Whether the configuration file declares it; then only the file changes it.
    declared: bool,
    /// When it was registered.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
    /// The new secret; shown this once.
    #[oai(skip_serializing_if_is_none)]
    client_secret: Option<String>,
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
    kind: Option<Word<ClientKind>>,
    /// What it may do. Default none.
    permissions: Option<Vec<Word<Permission>>>,
    /// The grants it may use. Default none.
    grants: Option<Vec<Word<Grant>>>,
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
    access_token_format: Option<Word<TokenFormat>>,
    /// Whether it is shut out.
    disabled: Option<bool>,
}

impl ClientObject {
    /// The client, with its secret if that was just made.
    pub fn new(client: &Client, client_secret: Option<String>) -> Self {
        let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        Self {
            client_id: client.id.to_string(),
            kind: Word(client.kind),
            permissions: client.permissions.iter().copied().map(Word).collect(),
            grants: client.grants.iter().copied().map(Word).collect(),
            scopes: client.scopes.names().map(Into::into).collect(),
            audiences: texts(&client.audiences),
            serves: texts(&client.serves),
            opens_for: client.opens_for.iter().map(ToString::to_string).collect(),
            policy: client.policy.to_string(),
            access_token_format: Word(client.access_token_format),
            disabled: client.disabled,
            declared: client.declared,
            created_at: Time(client.created_at),
            updated_at: Time(client.updated_at),
            client_secret,
        }
    }
}

impl From<ClientSettings> for ClientFields {
    fn from(settings: ClientSettings) -> Self {
        fn words<T>(list: Option<Vec<Word<T>>>) -> Option<Vec<T>> {
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
