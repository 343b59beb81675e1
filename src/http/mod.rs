//! The wire: parse, call, print. No rule lives here.
//!
//! A request comes in at [`connection`], passes [`wire`] (limits, routing, the shapes of failure, headers, in that order) and reaches an
//! endpoint, which reads it with [`credentials`], [`form`] or [`json`], calls the engine, and prints. What refuses goes through [`error`].

use std::sync::Arc;

use poem::{EndpointExt, IntoEndpoint, Route};
use poem_openapi::OpenApiService;

use crate::engine::Engine;
use crate::store::Store;

pub mod answer;
pub mod caller;
mod client_object;
mod clients;
pub mod connection;
pub mod cookie;
pub mod credentials;
pub mod document;
pub mod error;
mod events;
pub mod fallback;
pub mod form;
pub mod headers;
mod health;
mod introspect;
pub mod json;
mod keys;
pub mod limits;
mod revoke;
mod session_object;
mod sessions;
mod subjects;
mod token;
mod types;
mod well_known;
pub mod wire;

/// Every route, one file each. The paths are at the endpoints; the document lists them all.
pub fn wire<S: Store>(engine: &Arc<Engine<S>>, cookie: cookie::Cookie, limits: limits::Limits) -> wire::Wire {
    let cookie_name = cookie.name.clone();
    let routes = (
        token::TokenApi(engine.clone()),
        introspect::IntrospectApi(engine.clone()),
        revoke::RevokeApi(engine.clone()),
        well_known::WellKnownApi(engine.clone()),
        sessions::SessionsApi { engine: engine.clone(), cookie },
        subjects::SubjectsApi(engine.clone()),
        clients::ClientsApi(engine.clone()),
        keys::KeysApi(engine.clone()),
        events::EventsApi { engine: engine.clone(), request_timeout: limits.request_timeout },
        health::HealthApi(engine.clone()),
    );
    let service = OpenApiService::new(routes, "keyfob", env!("CARGO_PKG_VERSION")).description(DESCRIPTION);
    let document = document::Document::new(&service, &engine.rules().issuer, &cookie_name);
    wire::Wire::new(Route::new().nest("/", service).map_to_response().boxed().into_endpoint(), document, limits)
}

const DESCRIPTION: &str = "A session engine: sessions and refresh-token families that are durable and final, PASETO access tokens, \
introspection (RFC 7662) and revocation (RFC 7009).

To try a request here: **Authorize** under *basic* with a client's name and secret (the administrator's are in `admin.json` beside the store), open \
a session, and introspect its tokens. Errors at `/oauth2/*` are those of RFC 6749 §5.2, all others are problems of RFC 9457. A wrong method is 405 \
with `Allow`.";
