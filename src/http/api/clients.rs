//! `/v1/clients`: administration of the registered clients.

use std::sync::Arc;
use std::time::Duration;

use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::domain::id::ClientId;
use crate::domain::refusal::{Refusal, Refused};
use crate::engine::Engine;
use crate::engine::clients::WithSecret;
use crate::http::api::client_object::{ClientObject, ClientSettings};
use crate::http::document::Tag;
use crate::http::request::caller::{RequestSource, caller};
use crate::http::request::credentials::{Authorization, BasicOrBearer};
use crate::http::request::json::JsonBody;
use crate::http::request::parameters::{page_default, page_size, parsed};
use crate::http::response::answer::Json;
use crate::http::response::error::Problem;
use crate::store::Store;

/// Clients.
pub struct ClientsApi<S>(pub Arc<Engine<S>>);

/// How to rotate a secret.
#[derive(Default, Object)]
#[oai(deny_unknown_fields)]
struct SecretRotation {
    /// How long the old secret stays valid, such as `1h`. Default `0s`: it dies at once.
    keep_old_for: Option<String>,
}

#[derive(ApiResponse)]
enum CreateResponse {
    /// Registered. The secret is shown this once.
    #[oai(status = 201)]
    Created(
        Json<ClientObject>,
        /// Where the client can be read.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum DeleteResponse {
    /// Deleted, and all that it was issued is dead.
    #[oai(status = 204)]
    Deleted,
}

/// A page of clients, by name.
#[derive(Serialize, Deserialize, Object)]
pub struct ClientPage {
    /// The clients.
    pub items: Vec<ClientObject>,
    /// Ask for what follows with this; null at the end.
    pub next_cursor: Option<String>,
}

#[OpenApi]
impl<S: Store> ClientsApi<S> {
    /// Register a client.
    ///
    /// For administrators. A confidential client gets a secret, which is in this answer and in no other; a
    /// public one has none.
    #[oai(path = "/v1/clients", method = "post", tag = "Tag::Clients", operation_id = "createClient")]
    async fn create(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        body: JsonBody<ClientSettings>,
    ) -> Result<CreateResponse, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        let settings = body.read()?;
        let malformed = |_| Problem::from(Refused::invalid("client_id", ClientId::EXPECTED));
        let id = settings.client_id.as_deref().map(|id| ClientId::new(id).map_err(malformed)).transpose()?;
        let created = self.0.create_client(&caller, id, settings.into()).await?;
        let location = format!("/v1/clients/{}", created.client.id);
        Ok(CreateResponse::Created(Json(with_secret(created)), location))
    }

    /// List clients.
    ///
    /// For administrators. In the order of their names; secrets are never shown again.
    #[oai(path = "/v1/clients", method = "get", tag = "Tag::Clients", operation_id = "listClients")]
    async fn list(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// How many: 1 to 200.
        #[oai(default = "page_default")]
        limit: Query<usize>,
        /// Where to go on: the `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<ClientPage>, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        let after: Option<ClientId> = parsed("cursor", cursor.0.as_deref())?;
        let (clients, next) = self.0.clients(&caller, after.as_ref(), page_size(limit.0)?)?;
        let items = clients.iter().map(|client| ClientObject::new(client, None)).collect();
        Ok(Json(ClientPage { items, next_cursor: next.map(|id| id.to_string()) }))
    }

    /// Read a client.
    ///
    /// For administrators.
    #[oai(path = "/v1/clients/:id", method = "get", tag = "Tag::Clients", operation_id = "readClient")]
    async fn read(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Its name.
        id: Path<String>,
    ) -> Result<Json<ClientObject>, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        Ok(Json(ClientObject::new(&*self.0.client(&caller, &client_id(&id.0)?)?, None)))
    }

    /// Change a client.
    ///
    /// For administrators. What is left out stays as it is. A client that the configuration file declares is
    /// changed there (409).
    #[oai(path = "/v1/clients/:id", method = "patch", tag = "Tag::Clients", operation_id = "changeClient")]
    async fn change(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Its name.
        id: Path<String>,
        body: JsonBody<ClientSettings>,
    ) -> Result<Json<ClientObject>, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        let settings = body.read()?;
        if settings.client_id.as_ref().is_some_and(|other| *other != id.0) {
            return Err(Problem::invalid(
                "client_id",
                "client_id cannot be changed: delete the client and register another",
            ));
        }
        let changed = self.0.change_client(&caller, client_id(&id.0)?, settings.into()).await?;
        Ok(Json(ClientObject::new(&changed, None)))
    }

    /// Delete a client.
    ///
    /// For administrators. All that it was issued ends for good, whoever takes its name later.
    #[oai(path = "/v1/clients/:id", method = "delete", tag = "Tag::Clients", operation_id = "deleteClient")]
    async fn delete(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Its name.
        id: Path<String>,
    ) -> Result<DeleteResponse, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        self.0.delete_client(&caller, client_id(&id.0)?).await?;
        Ok(DeleteResponse::Deleted)
    }

    /// Give a client a new secret.
    ///
    /// For administrators. The new secret is in this answer and in no other; the old one can stay valid for a
    /// while.
    #[oai(
        path = "/v1/clients/:id/secret",
        method = "post",
        tag = "Tag::Clients",
        operation_id = "rotateSecret"
    )]
    async fn rotate_secret(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Its name.
        id: Path<String>,
        body: JsonBody<SecretRotation>,
    ) -> Result<Json<ClientObject>, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        let malformed = || {
            Problem::invalid(
                "keep_old_for",
                "keep_old_for must be a duration such as \"0s\", \"30m\" or \"24h\"",
            )
        };
        let keep = body.read()?.keep_old_for;
        let keep = keep
            .map_or(Some(Duration::ZERO), |text| crate::domain::time::parse_duration(&text))
            .ok_or_else(malformed)?;
        Ok(Json(with_secret(self.0.rotate_secret(&caller, client_id(&id.0)?, keep).await?)))
    }
}

fn with_secret(with_secret: WithSecret) -> ClientObject {
    ClientObject::new(&with_secret.client, with_secret.secret.map(|secret| secret.expose().into()))
}

/// What is not a name names nothing: 404, like any unknown one.
fn client_id(text: &str) -> Result<ClientId, Problem> {
    text.parse().map_err(|_| Refusal::NotFound.because("there is no such client").into())
}
