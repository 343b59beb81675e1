//! Authenticates a request by its head, before a body that has not arrived yet is read.
//!
//! The endpoint authenticates again. Here only a caller that it would reject anyway is rejected earlier, so
//! that its body is never held.

use std::pin::Pin;
use std::sync::Arc;

use poem::{IntoResponse, Request, Response};

use crate::engine::{self, Engine};
use crate::http::access::Access;
use crate::http::request::console_cookie::ConsoleToken;
use crate::http::request::credentials::{AuthorizationHeader, ClientFormFields, merge, source_of};
use crate::http::response::error::{OAuthError, Problem};
use crate::http::surface::Surface;
use crate::store::Store;

/// Answers with the rejection, if a route of this access rejects the credentials in the head of a request.
pub type HeadCheck = Box<dyn for<'r> Fn(&'r Request, Access) -> Checking<'r> + Send + Sync>;
type Checking<'r> = Pin<Box<dyn Future<Output = Option<Response>> + Send + 'r>>;

/// The check by `engine`.
pub fn head_check<S: Store>(engine: Arc<Engine<S>>) -> HeadCheck {
    Box::new(move |request, access| {
        let engine = engine.clone();
        Box::pin(async move { rejection(&engine, request, access).await })
    })
}

async fn rejection<S: Store>(engine: &Engine<S>, request: &Request, access: Access) -> Option<Response> {
    let (header, source) = (AuthorizationHeader::read(request.headers()), source_of(request));
    let surface = Surface::of(request.uri().path());
    // No client is authenticated, or its credentials may be in the form.
    let is_client = matches!(access, Access::Client | Access::Permission(_));
    if !is_client
        || matches!(header, AuthorizationHeader::Absent) && (source.admin_socket || surface == Surface::OAuth)
    {
        return None;
    }
    let rejected = |error: engine::Error| match surface {
        Surface::OAuth => OAuthError::from(error).into_response(),
        Surface::V1 | Surface::Other => Problem::from(error).into_response(),
    };
    let form = ClientFormFields::default();
    let is_absent = matches!(header, AuthorizationHeader::Absent);
    let console = ConsoleToken::of(request).filter(|_| is_absent && surface == Surface::V1);
    let credentials = match console.as_ref().map_or_else(|| merge(&header, &form), |c| Ok(c.credentials())) {
        Ok(credentials) => credentials,
        Err(refused) => return Some(rejected(refused.into())),
    };
    // A public client gives only its name.
    if access == Access::Client {
        return engine.identify(credentials, source).await.err().map(rejected);
    }
    let error = engine.authenticate(credentials, source).await.err()?;
    Some(match surface {
        Surface::OAuth => OAuthError::from(error).at_introspection(credentials).into_response(),
        Surface::V1 | Surface::Other => rejected(error),
    })
}
