//! `/v1/clients`: administration of the registered clients.

use std::sync::Arc;
use std::time::Duration;

use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::domain::id::ClientId;
use crate::domain::refusal::Refused;
use crate::engine::Engine;
use crate::engine::clients::WithSecret;
use crate::http::api::client_object::{ClientSettings, RegisteredClient};
use crate::http::document::Tag;
use crate::http::request::{
    Authorization, JsonBody, Management, PageSize, Parsed, Path, Query, page_default,
};
use crate::http::response::{Created, Json, NoContent, Problem, ProblemOr};
use crate::store::Store;

/// Clients.
pub struct ClientsApi<S>(pub Arc<Engine<S>>);

/// Options of a secret rotation.
#[derive(Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct SecretRotation {
    /// How long the old secret stays valid, such as `1h`. Default: `0s`, it is invalid at once.
    keep_old_for: Option<Parsed<Duration>>,
}

/// A page of clients, sorted by identifier.
#[derive(Serialize, Deserialize, Object)]
pub struct ClientPage {
    /// The clients.
    pub items: Vec<RegisteredClient>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    pub next_cursor: Option<String>,
}

#[OpenApi]
impl<S: Store> ClientsApi<S> {
    /// Register a client.
    ///
    /// For administrators. A confidential client gets a secret, which only this answer contains; a public
    /// client has none.
    #[oai(path = "/v1/clients", method = "post", tag = "Tag::Clients", operation_id = "createClient")]
    async fn create(
        &self,
        authorization: Authorization<Management>,
        body: JsonBody<ClientSettings>,
    ) -> Result<Created<RegisteredClient>, ProblemOr<409>> {
        let caller = authorization.caller(&self.0).await?;
        let mut settings = body.read()?;
        let malformed = |_| Refused::invalid("client_id", ClientId::EXPECTED);
        let id = settings
            .client_id
            .take()
            .map(|id| ClientId::new(id.0.as_str()).map_err(malformed))
            .transpose()?;
        let created = self.0.create_client(&caller, id, settings.into()).await?;
        let location = format!("/v1/clients/{}", created.client.id);
        Ok(Created::At(Json(with_secret(created)), location))
    }

    /// List clients.
    ///
    /// For administrators. Sorted by identifier, without secrets.
    #[oai(path = "/v1/clients", method = "get", tag = "Tag::Clients", operation_id = "listClients")]
    async fn list(
        &self,
        authorization: Authorization<Management>,
        /// The largest number of items: 1 to 200.
        #[oai(default = "page_default")]
        limit: Query<PageSize>,
        /// The `next_cursor` of the previous page.
        cursor: Query<Option<Parsed<ClientId>>>,
    ) -> Result<Json<ClientPage>, Problem> {
        let caller = authorization.caller(&self.0).await?;
        let after = cursor.read()?.map(|parsed| parsed.0);
        let (clients, next) = self.0.clients(&caller, after.as_ref(), limit.read()?.size())?;
        let items = clients.iter().map(|client| RegisteredClient::new(client, None)).collect();
        Ok(Json(ClientPage { items, next_cursor: next.map(|id| id.to_string()) }))
    }

    /// Read a client.
    ///
    /// For administrators.
    #[oai(path = "/v1/clients/:id", method = "get", tag = "Tag::Clients", operation_id = "readClient")]
    async fn read(
        &self,
        authorization: Authorization<Management>,
        /// The identifier of the client.
        id: Path<Parsed<ClientId>>,
    ) -> Result<Json<RegisteredClient>, Problem> {
        let caller = authorization.caller(&self.0).await?;
        Ok(Json(RegisteredClient::new(&*self.0.client(&caller, &id.named("client")?.0)?, None)))
    }

    /// Change a client.
    ///
    /// For administrators. An absent member stays as it is. A client that the configuration file declares
    /// must be changed there (409).
    #[oai(path = "/v1/clients/:id", method = "patch", tag = "Tag::Clients", operation_id = "changeClient")]
    async fn change(
        &self,
        authorization: Authorization<Management>,
        /// The identifier of the client.
        id: Path<Parsed<ClientId>>,
        body: JsonBody<ClientSettings>,
    ) -> Result<Json<RegisteredClient>, ProblemOr<409>> {
        let caller = authorization.caller(&self.0).await?;
        let id = id.named("client")?.0;
        let settings = body.read()?;
        if settings.client_id.as_ref().is_some_and(|other| other.0 != id) {
            let why = "client_id cannot be changed: delete the client and register another";
            return Err(Problem::invalid("client_id", why).into());
        }
        let changed = self.0.change_client(&caller, id, settings.into()).await?;
        Ok(Json(RegisteredClient::new(&changed, None)))
    }

    /// Delete a client.
    ///
    /// For administrators. Everything that was issued to it ends permanently, also if another client gets the
    /// same identifier later.
    #[oai(path = "/v1/clients/:id", method = "delete", tag = "Tag::Clients", operation_id = "deleteClient")]
    async fn delete(
        &self,
        authorization: Authorization<Management>,
        /// The identifier of the client.
        id: Path<Parsed<ClientId>>,
    ) -> Result<NoContent, ProblemOr<409>> {
        let caller = authorization.caller(&self.0).await?;
        self.0.delete_client(&caller, id.named("client")?.0).await?;
        Ok(NoContent::Done)
    }

    /// Rotate the secret of a client.
    ///
    /// For administrators. Only this answer contains the new secret; the old one can stay valid for a while. If
    /// it does not, the client's own access tokens (`client_credentials`) are invalid at once too.
    #[oai(
        path = "/v1/clients/:id/secret",
        method = "post",
        tag = "Tag::Clients",
        operation_id = "rotateSecret"
    )]
    async fn rotate_secret(
        &self,
        authorization: Authorization<Management>,
        /// The identifier of the client.
        id: Path<Parsed<ClientId>>,
        body: JsonBody<SecretRotation>,
    ) -> Result<Json<RegisteredClient>, ProblemOr<409>> {
        let caller = authorization.caller(&self.0).await?;
        let keep = body.read()?.keep_old_for.map_or(Duration::ZERO, |parsed| parsed.0);
        Ok(Json(with_secret(self.0.rotate_secret(&caller, id.named("client")?.0, keep).await?)))
    }

    /// Revoke the own tokens of a client.
    ///
    /// For administrators. Every access token that the client got by `client_credentials` is invalid when the
    /// answer arrives. Its secret and its sessions are not changed, and it can get new tokens.
    #[oai(
        path = "/v1/clients/:id/tokens/revoke",
        method = "post",
        tag = "Tag::Clients",
        operation_id = "revokeClientTokens"
    )]
    async fn revoke_tokens(
        &self,
        authorization: Authorization<Management>,
        /// The identifier of the client.
        id: Path<Parsed<ClientId>>,
    ) -> Result<NoContent, Problem> {
        let caller = authorization.caller(&self.0).await?;
        self.0.revoke_client_tokens(&caller, id.named("client")?.0).await?;
        Ok(NoContent::Done)
    }
}

fn with_secret(with_secret: WithSecret) -> RegisteredClient {
    RegisteredClient::new(&with_secret.client, with_secret.secret.map(|secret| secret.expose().into()))
}
