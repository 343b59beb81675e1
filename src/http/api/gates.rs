//! `/v1/gates/{name}`: forward-auth with requirements of the configuration, for proxies that send the
//! visitor's method, path and query (Envoy `ext_authz`, Istio, Contour).

use std::sync::Arc;

use poem::Request;
use poem::http::StatusCode;
use poem_openapi::OpenApi;

use crate::domain::gate::NamedGate;
use crate::engine::Engine;
use crate::http::api::forward_auth::{Admission, admit};
use crate::http::document::Tag;
use crate::http::request::{Authorization, Cookie, CookieOrBearer, GateName, Path, SessionCredential, Text};
use crate::http::response::Problem;
use crate::store::Store;

/// The longest head of an answer. Proxies read heads into buffers, of 4 KiB in nginx, and fail beyond.
const HEAD_BYTES_MAX: usize = 3 * 1024;
/// An upper bound of what the head has besides the values of the identity headers.
const OTHER_HEAD_BYTES: usize = 800;

/// The gates of the configuration.
pub struct GatesApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// How the session cookie is read.
    pub cookie: Cookie,
    /// The gates.
    pub gates: Arc<[NamedGate]>,
}

#[OpenApi]
impl<S: Store> GatesApi<S> {
    /// Authorize a request at a gate.
    ///
    /// As `/v1/forward-auth`, with the requirements that `[[gate]]` of the configuration gives this name. Any method,
    /// any further path (`/v1/gates/{name}/…`) and any query are the visitor's, and are ignored. Headers that the
    /// gate does not choose are empty; so is the scope if the head of the answer would be longer than 3 KiB.
    #[oai(path = "/v1/gates/:name", method = "get", tag = "Tag::People", operation_id = "gate")]
    async fn pass(
        &self,
        _authorization: Authorization<CookieOrBearer>,
        request: &Request,
        /// The name of the gate.
        name: Path<Text<GateName>>,
    ) -> Result<Admission, Problem> {
        let credential = SessionCredential::read_passed_on(request, &self.cookie, &self.engine.rules.issuer)?;
        credential.token().ok_or_else(|| credential.refused())?;
        let name = name.named("gate")?;
        let gate = self.gates.iter().find(|gate| *gate.name == *name);
        let gate =
            gate.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no gate of this name"))?;
        let admitted = admit(&self.engine, &credential, &gate.gate, gate.audience.as_deref(), true).await?;
        Ok(shortened(Admission::of(&admitted, &gate.headers)))
    }
}

/// Without the scope if the head would be too long.
fn shortened(Admission::Admitted(subject, session, client, scope, acr): Admission) -> Admission {
    let values = [&subject, &session, &client, &scope, &acr];
    let bytes = OTHER_HEAD_BYTES + values.iter().map(|value| value.len()).sum::<usize>();
    let scope = if bytes > HEAD_BYTES_MAX { String::new() } else { scope };
    Admission::Admitted(subject, session, client, scope, acr)
}
