//! Authenticates a request by its head, before a body that has not arrived yet is read.
//!
//! The endpoint authenticates again. Here only a caller that it would reject anyway is rejected earlier, so that
//! its body is never held.

use std::pin::Pin;
use std::sync::Arc;

use poem::http::Method;
use poem::{IntoResponse, Request, Response};

use crate::engine::Engine;
use crate::http::net::channel::Channel;
use crate::http::request::caller::RequestSource;
use crate::http::request::credentials::{AuthorizationHeader, ClientFormFields, merge};
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

/// The check by `engine`. `authentication` is that of a method and a route, if a client is authenticated there.
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
    let is_admin_socket = request.extensions().get() == Some(&Channel::AdminSocket);
    let header = AuthorizationHeader::read(request.headers());
    let surface = Surface::of(request.uri().path());
    // Other credentials of a client may be in the form.
    if header == AuthorizationHeader::Absent && (is_admin_socket || surface == Surface::OAuth) {
        return None;
    }
    let source = RequestSource::of(request).0;
    let credentials = merge(header, ClientFormFields::default());
    if surface != Surface::OAuth {
        let failed = |error: Problem| Some(error.into_response());
        let credentials = match credentials {
            Ok(credentials) => credentials,
            Err(refused) => return failed(refused.into()),
        };
        let authenticated = engine.authenticate(credentials.as_engine(), source).await;
        return authenticated.err().and_then(|error| failed(error.into()));
    }
    let credentials = match credentials {
        Ok(credentials) => credentials,
        Err(refused) => return Some(OAuthError::from(refused).into_response()),
    };
    if authentication == ClientCheck::Identity {
        let identified = engine.identify(credentials.as_engine(), source);
        return identified.err().map(|error| OAuthError::from(error).into_response());
    }
    let authenticated = engine.authenticate(credentials.as_engine(), source).await;
    let failed = |error| OAuthError::from(error).at_introspection(credentials.is_bearer()).into_response();
    authenticated.err().map(failed)
}
