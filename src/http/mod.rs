//! The wire: parse, call, print. No rule lives here.
//!
//! A request comes in at [`connection`], passes [`wire`] (limits, routing, the shapes of failure, headers, in
//! that order) and reaches an endpoint, which reads it with [`credentials`], [`form`] or [`json`], calls the
//! engine, and prints. What refuses goes through [`error`].

use std::sync::Arc;

use poem::{EndpointExt, IntoEndpoint, Route};
use poem_openapi::OpenApiService;

use crate::engine::Engine;
use crate::store::Store;

pub mod api;
pub mod document;
pub mod fallback;
pub mod metrics;
pub mod net;
pub mod query;
pub mod request;
pub mod response;
pub mod surface;
pub mod wire;

/// Every route, one file each. The paths are at the endpoints; the document lists them all.
pub fn wire<S: Store>(
    engine: &Arc<Engine<S>>,
    cookie: request::cookie::Cookie,
    origins: request::origin::Origins,
    limits: request::limits::Limits,
    metrics: &Arc<metrics::Metrics>,
) -> wire::Wire {
    routed(engine, cookie, origins, limits, metrics)
        .without_router("/oauth2/introspect", api::introspect::IntrospectApi(engine.clone()).boxed())
        .without_router("/oauth2/token", api::token::TokenApi(engine.clone()).boxed())
}

fn routed<S: Store>(
    engine: &Arc<Engine<S>>,
    cookie: request::cookie::Cookie,
    origins: request::origin::Origins,
    limits: request::limits::Limits,
    metrics: &Arc<metrics::Metrics>,
) -> wire::Wire {
    let cookie_name = cookie.name.clone();
    let routes = (
        api::token::TokenApi(engine.clone()),
        api::introspect::IntrospectApi(engine.clone()),
        api::revoke::RevokeApi(engine.clone()),
        api::well_known::WellKnownApi(engine.clone()),
        api::sessions::SessionsApi { engine: engine.clone(), cookie: cookie.clone() },
        api::families::FamiliesApi(engine.clone()),
        api::session::SessionApi { engine: engine.clone(), cookie: cookie.clone(), origins: origins.clone() },
        api::forward_auth::ForwardAuthApi { engine: engine.clone(), cookie },
        api::subjects::SubjectsApi(engine.clone()),
        api::clients::ClientsApi(engine.clone()),
        api::keys::KeysApi(engine.clone()),
        api::events::EventsApi { engine: engine.clone(), request_timeout: limits.request_timeout },
        api::health::HealthApi(engine.clone()),
        metrics::MetricsApi { engine: engine.clone(), metrics: metrics.clone() },
        api::db::DbApi(engine.clone()),
    );
    let service = OpenApiService::new(routes, "keyfob", env!("CARGO_PKG_VERSION")).description(DESCRIPTION);
    let document = document::Document::new(&service, &engine.rules().issuer, &cookie_name);
    let ids = request::request_id::RequestIds::new(u32::from_le_bytes(engine.clock().random()));
    let endpoints = Route::new().nest("/", service).map_to_response().boxed().into_endpoint();
    let wire = wire::Wire::new(endpoints, document, origins, limits).naming(ids);
    metrics.watch(wire.requests().clone());
    wire
}

const DESCRIPTION: &str = "A session engine: sessions and refresh-token families that are durable and final, PASETO access tokens, \
introspection (RFC 7662) and revocation (RFC 7009).

To try a request here: **Authorize** under *basic* with a client's name and secret (the administrator's are in `admin.json` beside the store), open \
a session, and introspect its tokens. Errors at `/oauth2/*` are those of RFC 6749 §5.2, all others are problems of RFC 9457. A wrong method is 405 \
with `Allow`.";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use base64ct::{Base64, Encoding};
    use poem::Request;
    use poem::http::{HeaderMap, Method, Uri};

    use super::*;
    use crate::domain::caller::Caller;
    use crate::domain::client::Permission;
    use crate::domain::policy::Policy;
    use crate::domain::time::Timestamp;
    use crate::engine::Rules;
    use crate::engine::clients::ClientFields;
    use crate::engine::clock::Clock;
    use crate::store::memory::Memory;
    use crate::token::keys::{Keys, SecretKey};

    async fn answer(
        wire: &wire::Wire,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, HeaderMap, String) {
        let mut request = Request::builder().method(Method::POST).uri(path.parse::<Uri>().unwrap());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = wire.respond(request.body(body.to_owned())).await;
        let body = response.take_body().into_string().await.unwrap();
        let named = response.headers_mut().remove(request::request_id::X_REQUEST_ID);
        assert!(named.is_some(), "each has a name of its own");
        (response.status().as_u16(), response.headers().clone(), body)
    }

    #[tokio::test]
    async fn what_goes_past_the_router_is_answered_as_through_it() {
        let policies = BTreeMap::from([("default".to_owned(), Policy::default())]);
        let issuer = "https://id.example".into();
        let rules = Rules {
            issuer,
            policies,
            retention: Duration::from_secs(86_400),
            rotate_every: Duration::from_secs(86_400),
            failed_auth_per_minute: 1000,
        };
        let (clock, _) = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let keys = Keys::derive(&SecretKey::new([7; 32]));
        let engine = Arc::new(Engine::start(Arc::new(Memory::new()), keys, rules, clock).await.unwrap());
        let cookie = || request::cookie::Cookie { name: "__Host-keyfob".to_owned(), same_site: "Lax" };
        let origins = || request::origin::Origins::new("https://id.example", &[]);
        let limits = request::limits::Limits::default;
        let metrics = || Arc::new(metrics::Metrics::new(false));
        let short = wire(&engine, cookie(), origins(), limits(), &metrics());
        let long = routed(&engine, cookie(), origins(), limits(), &metrics());
        let form = ("content-type", "application/x-www-form-urlencoded");
        let basic = ("authorization", "Basic YTpi");
        let permissions = Some(vec![Permission::Introspect]);
        let fields = ClientFields { permissions, ..ClientFields::default() };
        let client =
            engine.create_client(&Caller::AdminSocket, Some("app".parse().unwrap()), fields).await.unwrap();
        let good = format!(
            "Basic {}",
            Base64::encode_string(format!("app:{}", client.secret.unwrap().expose()).as_bytes())
        );
        let good = ("authorization", good.as_str());
        let mut statuses = std::collections::BTreeSet::new();
        for path in [
            "/oauth2/introspect",
            "/oauth2/token",
            "/oauth2/introspect?token=a",
            "/oauth2/token/",
            "/oauth2/toke%6e",
        ] {
            for headers in [
                &[form][..],
                &[form, good],
                &[form, basic],
                &[form, basic, basic],
                &[form, ("authorization", "Bearer x")],
                &[basic],
                &[],
            ] {
                for body in [
                    "",
                    "token=a",
                    "token=a&token=b",
                    "grant_type=refresh_token&client_id=a",
                    "grant_type=%",
                    "client_secret=a",
                ] {
                    let (ours, its) =
                        (answer(&short, path, headers, body).await, answer(&long, path, headers, body).await);
                    assert_eq!(ours, its, "{path} {headers:?} {body}");
                    statuses.insert(ours.0);
                }
            }
        }
        assert_eq!(Vec::from_iter(statuses), [200, 400, 401, 404]);
    }
}
