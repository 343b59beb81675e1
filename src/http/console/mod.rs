//! The operator's console at `/console`: its files, its sessions, and what only its pages read. All else that
//! they do is a request to the routes of `/v1`.

mod asset;
mod assets;
mod figures;
mod files;
pub(crate) mod links;
mod session;
mod token;

use std::pin::Pin;
use std::sync::Arc;

use poem::http::Method;
use poem::{Endpoint, IntoResponse, Request, Response};
use serde::Serialize;
use serde_json::json;

use crate::domain::caller::{Caller, Granted, Inspect, Needs};
use crate::domain::console::Operator;
use crate::engine::Engine;
use crate::http::request::{ConsoleToken, not_at_the_console, source_of};
use crate::http::response::{Json, Problem};
use crate::http::routes::Routes;
use crate::store::Store;

/// What the endpoints of the console need.
pub struct Console<S> {
    pub engine: Arc<Engine<S>>,
    /// The effective configuration, without secrets.
    pub settings: Vec<ShownSetting>,
}

/// A setting as the page *Configuration* shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ShownSetting {
    pub key: String,
    pub value: String,
    pub origin: String,
}

/// The answer of one endpoint of the console.
type Handling<'r> = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send + 'r>>;
type Handle<S> = for<'r> fn(&'r Console<S>, Request) -> Handling<'r>;

/// One endpoint of the console.
struct ConsoleEndpoint<S> {
    console: Arc<Console<S>>,
    handle: Handle<S>,
}

impl<S: Store> Endpoint for ConsoleEndpoint<S> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        Ok((self.handle)(&self.console, request).await.unwrap_or_else(IntoResponse::into_response))
    }
}

impl<S: Store> Console<S> {
    /// Adds the routes of the console.
    pub fn add_to(self, routes: &mut Routes) {
        let console = Arc::new(self);
        let mut add = |method: Method, path: &str, handle: Handle<S>| {
            routes.add(path, method, ConsoleEndpoint { console: console.clone(), handle });
        };
        add(Method::GET, "/console", Self::page);
        add(Method::GET, "/console/", Self::page);
        add(Method::GET, "/console/{file}", Self::file);
        add(Method::POST, "/console/links", Self::make_link);
        add(Method::POST, "/console/session", Self::sign_in);
        add(Method::GET, "/console/session", Self::read_session);
        add(Method::DELETE, "/console/session", Self::sign_out);
        add(Method::GET, "/console/figures", Self::figures);
        add(Method::GET, "/console/configuration", Self::configuration);
        add(Method::POST, "/console/introspect", Self::introspect);
    }

    fn page(&self, request: Request) -> Handling<'_> {
        Box::pin(async move { assets::respond("index.html", request.headers()) })
    }

    fn file(&self, request: Request) -> Handling<'_> {
        Box::pin(async move {
            let name = request.uri().path().trim_start_matches("/console/");
            assets::respond(name, request.headers())
        })
    }

    fn configuration(&self, request: Request) -> Handling<'_> {
        Box::pin(async move {
            self.granted::<Inspect>(&request).await?;
            Ok(Json(json!({ "items": self.settings })).into_response())
        })
    }

    /// The operator who sends a request, by the cookie alone.
    async fn operator(&self, request: &Request) -> Result<Operator, Problem> {
        let token = ConsoleToken::of(request).ok_or_else(not_at_the_console)?;
        match self.engine.authenticate(token.credentials(), source_of(request)).await?.caller {
            Caller::Operator(operator) => Ok(operator),
            Caller::Client(_) | Caller::AdminSocket => Err(not_at_the_console()),
        }
    }

    /// The same, with the permission that the use case needs.
    async fn granted<P: Needs>(&self, request: &Request) -> Result<Granted<P>, Problem> {
        Ok(Caller::Operator(self.operator(request).await?).require()?)
    }
}
