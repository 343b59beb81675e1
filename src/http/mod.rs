//! HTTP: reads requests, calls the engine, writes answers. It contains no rule of the domain.
//!
//! A request is accepted in [`net`], passes [`wire`] (limits, [`routes`], [`fallback`], headers) and reaches
//! an endpoint in `api/`, which reads it with [`request`] and answers with [`response`].

use std::sync::Arc;

use poem::http::Method;
use poem_openapi::OpenApiService;

use crate::domain::client::Permission;
use crate::domain::gate::NamedGate;
use crate::engine::Engine;
use crate::http::access::Access;
use crate::http::request::head_check::head_check;
use crate::store::Store;
use crate::token::text_names::TextNames;

pub mod access;
pub(crate) mod api;
pub(crate) mod console;
pub(crate) mod direct;
pub(crate) mod document;
pub(crate) mod fallback;
pub(crate) mod metrics;
pub mod net;
pub mod request;
pub(crate) mod response;
pub mod routes;
pub(crate) mod surface;
pub mod wire;

/// Every route: method, path, and who may use it. The endpoints are in `api/`; tests send requests to each.
#[rustfmt::skip]
pub const ROUTES: &[(&str, &str, Access)] = {
    use Access::{AdminSocket, Client, Console, OwnPage, Permission as Needs, Person, Public};
    use Permission::{Admin, Events, Introspect, Metrics, Sessions};
    &[
        ("POST",   "/oauth2/token",                           Client),
        ("POST",   "/oauth2/introspect",                      Needs(Introspect)),
        ("POST",   "/oauth2/revoke",                          Client),

        ("POST",   "/v1/sessions",                            Needs(Sessions)),
        ("GET",    "/v1/sessions",                            Needs(Sessions)),
        ("DELETE", "/v1/sessions",                            Needs(Sessions)),
        ("POST",   "/v1/sessions/check",                      Needs(Introspect)),
        ("GET",    "/v1/sessions/{id}",                       Needs(Sessions)),
        ("PATCH",  "/v1/sessions/{id}",                       Needs(Sessions)),
        ("DELETE", "/v1/sessions/{id}",                       Needs(Sessions)),
        ("POST",   "/v1/sessions/{id}/renew",                 Needs(Sessions)),
        ("POST",   "/v1/sessions/{id}/families",              Needs(Sessions)),
        ("DELETE", "/v1/sessions/{id}/families/{family}",     Needs(Sessions)),
        ("DELETE", "/v1/subjects/{subject}/sessions",         Needs(Sessions)),

        ("GET",    "/v1/session",                             Person),
        ("DELETE", "/v1/session",                             Person),
        ("GET",    "/v1/forward-auth",                        Person),
        ("GET",    "/v1/gates/{name}",                        Person),

        ("POST",   "/v1/clients",                             Needs(Admin)),
        ("GET",    "/v1/clients",                             Needs(Admin)),
        ("GET",    "/v1/clients/{id}",                        Needs(Admin)),
        ("PATCH",  "/v1/clients/{id}",                        Needs(Admin)),
        ("DELETE", "/v1/clients/{id}",                        Needs(Admin)),
        ("POST",   "/v1/clients/{id}/secret",                 Needs(Admin)),
        ("POST",   "/v1/clients/{id}/tokens/revoke",          Needs(Admin)),
        ("GET",    "/v1/keys",                                Needs(Admin)),
        ("POST",   "/v1/keys/rotate",                         Needs(Admin)),
        ("DELETE", "/v1/keys/{kid}",                          Needs(Admin)),

        ("GET",    "/v1/policies/simulate",                   Needs(Admin)),
        ("GET",    "/v1/feed",                                Needs(Introspect)),
        ("GET",    "/v1/events",                              Needs(Events)),
        ("GET",    "/v1/db/backup",                           Needs(Admin)),
        ("GET",    "/v1/db/check",                            Needs(Admin)),
        ("GET",    "/v1/db/stats",                            Needs(Admin)),
        ("GET",    "/metrics",                                Needs(Metrics)),

        ("GET",    "/.well-known/oauth-authorization-server", Public),
        ("GET",    "/.well-known/openid-configuration",       Public),
        ("GET",    "/.well-known/jwks.json",                  Public),
        ("GET",    "/.well-known/paserk.json",                Public),
        ("GET",    "/healthz",                                Public),
        ("GET",    "/readyz",                                 Public),
        ("GET",    "/",                                       Public),
        ("OPTIONS", "/",                                      Public),
        ("OPTIONS", "*",                                      Public),
        ("GET",    "/openapi.json",                           Public),
        ("GET",    "/console",                                Public),
        ("GET",    "/console/",                               Public),
        ("GET",    "/console/{file}",                         Public),
        ("POST",   "/console/links",                          AdminSocket),
        ("POST",   "/console/session",                        OwnPage),
        ("GET",    "/console/session",                        Console),
        ("DELETE", "/console/session",                        Console),
        ("GET",    "/console/figures",                        Console),
        ("GET",    "/console/configuration",                  Console),
        ("POST",   "/console/introspect",                     Console),
        ("GET",    "/docs",                                   Public),
        ("GET",    "/docs/",                                  Public),
    ]
};

/// The routes of `engine`, with everything that stands in front of them.
pub fn wire<S: Store>(
    engine: &Arc<Engine<S>>,
    cookie: request::cookie::Cookie,
    origins: request::origin::Origins,
    gates: &Arc<[NamedGate]>,
    authorization_endpoint: Option<Arc<str>>,
    limits: request::limits::Limits,
    metrics: &Arc<metrics::Metrics>,
) -> wire::Service {
    // poem-openapi takes the endpoints once for the document and once for the table.
    let api = || {
        (
            api::token::TokenApi(engine.clone()),
            api::introspect::IntrospectApi(engine.clone()),
            api::revoke::RevokeApi(engine.clone()),
            api::well_known::WellKnownApi {
                engine: engine.clone(),
                authorization_endpoint: authorization_endpoint.clone(),
            },
            // The framework takes at most sixteen: some are within a tuple.
            (
                api::sessions::SessionsApi { engine: engine.clone(), cookie: cookie.clone() },
                api::check::CheckApi(engine.clone()),
            ),
            api::families::FamiliesApi(engine.clone()),
            api::session::SessionApi {
                engine: engine.clone(),
                cookie: cookie.clone(),
                origins: origins.clone(),
            },
            api::forward_auth::ForwardAuthApi { engine: engine.clone(), cookie: cookie.clone() },
            api::gates::GatesApi { engine: engine.clone(), cookie: cookie.clone(), gates: gates.clone() },
            api::subjects::SubjectsApi(engine.clone()),
            api::clients::ClientsApi(engine.clone()),
            (api::keys::KeysApi(engine.clone()), api::policies::PoliciesApi(engine.clone())),
            (
                api::events::EventsApi { engine: engine.clone(), request_timeout: limits.request_timeout },
                api::feed::FeedApi { engine: engine.clone(), request_timeout: limits.request_timeout },
            ),
            api::health::HealthApi(engine.clone()),
            api::metrics::MetricsApi { engine: engine.clone(), metrics: metrics.clone() },
            api::db::DbApi(engine.clone()),
        )
    };
    let service = OpenApiService::new(api(), "keyfob", env!("CARGO_PKG_VERSION")).description(DESCRIPTION);
    let (issuer, name) = (engine.rules.issuer.clone(), cookie.name.clone());
    let document = Box::new(move || document::Document::new(&service, &issuer, &name));
    let document = document::LazyDocument::new(document);
    let ids = request::request_id::RequestIds::new(u32::from_le_bytes(engine.clock.random()));
    let mut routes = routes::Routes::of(api(), |method, path| {
        let route = ROUTES.iter().find(|route| (route.0, route.1) == (method.as_str(), path));
        route.expect("a test compares the endpoints with the list").2
    });
    routes.call_directly("/oauth2/introspect", &Method::POST, api::introspect::IntrospectApi(engine.clone()));
    routes.call_directly("/oauth2/token", &Method::POST, api::token::TokenApi(engine.clone()));
    let mut wire = wire::Service::new(routes, document, origins.clone(), limits);
    wire.request_ids = ids;
    wire.names = TextNames::new(&engine.clock.random());
    wire.head_check = Some(head_check(engine.clone()));
    metrics.watch(wire.routes().counters());
    wire
}

const DESCRIPTION: &str = "\
A session server: durable sessions and refresh-token families, access tokens as PASETO or JWT, introspection \
(RFC 7662) and revocation (RFC 7009).

To try a request here: **Authorize** under *basic* with a client's id and secret (the administrator's are in \
`admin.json` beside the store), open a session, and introspect its tokens. Errors at `/oauth2/*` are those \
of RFC 6749 §5.2, all others are problems of RFC 9457. A wrong method is 405 with `Allow`.";
