//! Authenticates a request by its head, before a body that has not arrived yet is read.
//!
//! The endpoint authenticates again. Here only a caller that it would reject anyway is rejected earlier, so
//! that its body is never held.

use std::pin::Pin;
use std::sync::Arc;

use poem::http::Method;
use poem::{IntoResponse, Request, Response};

use crate::engine::{self, Engine};
use crate::http::request::credentials::{AuthorizationHeader, ClientFormFields, merge, source_of};
use crate::http::response::error::{OAuthError, Problem};
use crate::http::surface::Surface;
use crate::store::Store;

/// How the endpoint of a route authenticates its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCheck {
    /// As a client that must prove itself.
    Proof,
    /// As a client; a public one gives its name only.
    Identity,
}

/// Answers with the rejection, if the credentials in the head of a request to this route are rejected.
pub type HeadCheck = Box<dyn for<'r> Fn(&'r Request, &'r str) -> Checking<'r> + Send + Sync>;
type Checking<'r> = Pin<Box<dyn Future<Output = Option<Response>> + Send + 'r>>;

/// The check by `engine`. `authentication` is that of a method and a route, if a client is authenticated
/// there.
pub fn head_check<S: Store>(
    engine: Arc<Engine<S>>,
    authentication: fn(&Method, &str) -> Option<ClientCheck>,
) -> HeadCheck {
    Box::new(move |request, route| {
        let (engine, authentication) = (engine.clone(), authentication(request.method(), route));
        Box::pin(async move { rejection(&engine, request, authentication?).await })
    })
}

async fn rejection<S: Store>(
    engine: &Engine<S>,
    request: &Request,
    authentication: ClientCheck,
) -> Option<Response> {
    let (header, source) = (AuthorizationHeader::read(request.headers()), source_of(request));
    let surface = Surface::of(request.uri().path());
    // Other credentials of a client may be in the form.
    if matches!(header, AuthorizationHeader::Absent) && (source.admin_socket || surface == Surface::OAuth) {
        return None;
    }
    let rejected = |error: engine::Error| match surface {
        Surface::OAuth => OAuthError::from(error).into_response(),
        Surface::V1 | Surface::Other => Problem::from(error).into_response(),
    };
    let form = ClientFormFields::default();
    let credentials = match merge(&header, &form) {
        Ok(credentials) => credentials,
        Err(refused) => return Some(rejected(refused.into())),
    };
    if authentication == ClientCheck::Identity {
        return engine.identify(credentials, source).err().map(rejected);
    }
    let error = engine.authenticate(credentials, source).await.err()?;
    Some(match surface {
        Surface::OAuth => OAuthError::from(error).at_introspection(credentials).into_response(),
        Surface::V1 | Surface::Other => rejected(error),
    })
}
