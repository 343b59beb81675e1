//! The configuration of `keyfob dev`: the settings of a file, except those of an installation, and the
//! clients of a second file.

use std::path::Path;

use figment::value::{Dict, Value};
use figment::{Figment, Provider};

use super::fault::ConfigError;
use super::sheet::Sheet;
use super::source::{Layer, Sources, parse_toml, required_file};
use super::{Config, load};
use crate::domain::client::Client;
use crate::domain::id::Hash;

/// The store of a development server.
const STORE: &str = ".keyfob/keyfob.redb";
/// What is not read from a file: tables, and keys of `[server]`.
const TABLES_OF_AN_INSTALLATION: [&str; 3] = ["store", "keys", "client"];
const KEYS_OF_AN_INSTALLATION: [&str; 5] = ["listen", "tls", "issuer", "admin_socket", "drain_delay"];
/// The client without a file of clients.
const CLIENT: &str = r#"
[[client]]
client_id = "dev"
permissions = ["sessions", "introspect"]
grants = ["refresh_token", "client_credentials"]
scopes = ["read", "write"]
"#;

/// What `keyfob dev` is called with.
pub struct DevelopmentSources<'a> {
    /// The configuration file, if one is given.
    pub file: Option<&'a Path>,
    /// The file with the clients.
    pub clients: Option<&'a Path>,
    /// The client whose credentials the command gets; `None` for the first.
    pub client: Option<&'a str>,
    /// The hash of its secret. Clients without a secret in the file get the same one.
    pub secret: Hash,
    pub in_memory: bool,
}

impl DevelopmentSources<'_> {
    /// The configuration, and the client whose credentials the command gets.
    ///
    /// # Errors
    /// As for [`Config::load`]; a file without clients, or without the named one.
    pub fn load(&self) -> Result<(Config, Client), ConfigError> {
        let (origin, clients) = self.clients()?;
        let fault = |problem: String| ConfigError::File { path: origin.into(), position: None, problem };
        let ids: Vec<&str> = clients.iter().filter_map(|client| text(client, "client_id")).collect();
        let chosen = match self.client {
            Some(id) if !ids.contains(&id) => {
                return Err(fault(format!(
                    "there is no client {id:?}; --client names one of: {}",
                    ids.join(", ")
                )));
            }
            Some(id) => id.to_owned(),
            None => ids.first().copied().unwrap_or_default().to_owned(),
        };
        let clients = clients.into_iter().map(|client| self.with_secret(client, &chosen)).collect::<Vec<_>>();
        let clients =
            Layer { origin: origin.display().to_string(), data: dict([("client", clients.into())]) };
        let mut sheet = Sheet::new(&self.settings()?.merge(clients), vec![]);
        let config = load::read(&mut sheet, &Sources::default());
        let config = Config { settings: sheet.finish()?, ..config };
        let client = config.clients.iter().find(|client| client.id.as_str() == chosen).cloned();
        Ok((config, client.ok_or_else(|| fault("its first client needs a client_id".to_owned()))?))
    }

    /// The settings besides clients: our defaults, the file, and what the file cannot change.
    fn settings(&self) -> Result<Figment, ConfigError> {
        let admin_socket = if self.in_memory { "none" } else { "auto" };
        let server = dict([("listen", "127.0.0.1:0".into()), ("admin_socket", admin_socket.into())]);
        let log = dict([("level", "warn".into())]);
        let mut settings = Figment::from(ours([("log", log.into())]));
        if let Some(path) = self.file {
            let mut data = parse_toml(path, &required_file(path)?)?;
            TABLES_OF_AN_INSTALLATION.iter().for_each(|table| drop(data.remove(*table)));
            if let Some(Value::Dict(_, server)) = data.get_mut("server") {
                KEYS_OF_AN_INSTALLATION.iter().for_each(|key| drop(server.remove(*key)));
            }
            settings = settings.merge(Layer { origin: path.display().to_string(), data });
        }
        let store = dict([("path", STORE.into())]);
        Ok(settings.merge(ours([("server", server.into()), ("store", store.into())])))
    }

    /// The tables of the clients, and the file that they are from.
    fn clients(&self) -> Result<(&Path, Vec<Value>), ConfigError> {
        let origin = self.clients.unwrap_or(Path::new("keyfob dev"));
        let mut data = match self.clients {
            Some(path) => parse_toml(path, &required_file(path)?)?,
            None => parse_toml(origin, CLIENT)?,
        };
        let tool = data.get("tool").and_then(|tool| tool.find_ref("keyfob.client").cloned());
        match data.remove("client").or(tool) {
            Some(Value::Array(_, clients)) if !clients.is_empty() => Ok((origin, clients)),
            _ => Err(ConfigError::File {
                path: origin.into(),
                position: None,
                problem: "it has no table [[client]] or [[tool.keyfob.client]]".to_owned(),
            }),
        }
    }

    fn with_secret(&self, mut client: Value, chosen: &str) -> Value {
        let is_public = text(&client, "kind") == Some("public");
        let is_chosen = text(&client, "client_id") == Some(chosen);
        if let Value::Dict(_, members) = &mut client
            && !is_public
            && (is_chosen || !(members.contains_key("secret_sha256") || members.contains_key("secret_file")))
        {
            members.remove("secret_file");
            let hex: String = self.secret.0.iter().map(|byte| format!("{byte:02x}")).collect();
            members.insert("secret_sha256".to_owned(), hex.into());
        }
        client
    }
}

fn text<'v>(table: &'v Value, key: &str) -> Option<&'v str> {
    table.find_ref(key).and_then(Value::as_str)
}

fn ours<const N: usize>(members: [(&str, Value); N]) -> impl Provider {
    Layer { origin: "keyfob dev".to_owned(), data: dict(members) }
}

fn dict<const N: usize>(members: [(&str, Value); N]) -> Dict {
    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
