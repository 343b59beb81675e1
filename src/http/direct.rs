//! Endpoints that are called without poem's extractors and boxes: the busiest ones. Their methods and their
//! parsers are those of every endpoint.

use std::pin::Pin;

use poem::{IntoResponse, Request, Response};

use crate::http::request::{Authorization, FromForm, LastCredentials, OAuthForm};
use crate::http::response::OAuthError;

/// The answer of an endpoint.
pub type Answering<'r> = Pin<Box<dyn Future<Output = Response> + Send + 'r>>;

/// An endpoint that reads a request itself.
pub trait Direct: Send + Sync + 'static {
    /// Answers a request with this body; `last` are the credentials of the request before.
    fn answer<'r>(&'r self, request: &'r Request, body: &'r [u8], last: &'r LastCredentials)
    -> Answering<'r>;
}

/// What an endpoint at `/oauth2/*` reads.
pub fn read<T, F: FromForm>(
    request: &Request,
    body: &[u8],
    last: &LastCredentials,
) -> Result<(Authorization<T>, OAuthForm<F>), OAuthError> {
    Ok((Authorization::of(request, last), OAuthForm::of(request, body)?))
}

/// The response of an endpoint.
pub fn response(answer: Result<impl IntoResponse, OAuthError>) -> Response {
    answer.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
}
