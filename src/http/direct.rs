//! Endpoints that are called without poem's extractors and boxes: the busiest ones. Their methods and their
//! parsers are those of every endpoint.

use std::pin::Pin;

use poem::{IntoResponse, Request, Response};

use crate::http::request::{Authorization, FromForm, LastCredentials, OAuthForm, Schemes};
use crate::http::response::OAuthError;

/// The answer of an endpoint.
pub type Answering<'r> = Pin<Box<dyn Future<Output = Response> + Send + 'r>>;

/// An endpoint that reads a request itself.
pub trait Direct: Send + Sync + 'static {
    /// Answers a request with this body; `last` are the credentials of the request before.
    fn answer<'r>(&'r self, request: &'r Request, body: &'r [u8], last: &'r LastCredentials)
    -> Answering<'r>;
}

/// An endpoint at `/oauth2/*` that can be called directly.
pub trait OAuthEndpoint: Send + Sync + 'static {
    type Schemes: Schemes;
    type Form: FromForm + Send + Sync;
    type Answer: IntoResponse + Send;

    /// Borrows what was read, so that its future is small: one beyond 1 kB is allocated slowly.
    fn answer_for(
        &self,
        authorization: &Authorization<Self::Schemes>,
        form: &OAuthForm<Self::Form>,
    ) -> impl Future<Output = Result<Self::Answer, OAuthError>> + Send;
}

impl<E: OAuthEndpoint> Direct for E {
    fn answer<'r>(
        &'r self,
        request: &'r Request,
        body: &'r [u8],
        last: &'r LastCredentials,
    ) -> Answering<'r> {
        Box::pin(async move {
            let authorization = Authorization::of(request, last);
            let form = match OAuthForm::of(request, body) {
                Ok(form) => form,
                Err(error) => return error.into_response(),
            };
            let answer = self.answer_for(&authorization, &form).await;
            answer.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
        })
    }
}
