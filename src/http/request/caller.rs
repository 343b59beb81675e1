//! The source of a request, and the authenticated caller of a management route.

use poem::{FromRequest, Request, RequestBody};

use crate::domain::caller::{Granted, Needs};
use crate::engine::Engine;
use crate::engine::authenticate::Source;
use crate::http::net::channel::Channel;
use crate::http::net::peer::Peer;
use crate::http::request::credentials::{Authorization, BasicOrBearer, ClientFormFields, merge};
use crate::http::response::error::Problem;
use crate::store::Store;

/// The source of a request: address and channel.
pub struct RequestSource(pub Source);

impl RequestSource {
    /// The source of `request`.
    pub fn of(request: &Request) -> Self {
        let admin_socket = request.extensions().get::<Channel>() == Some(&Channel::AdminSocket);
        Self(Source { address: Peer::of(request).0, admin_socket })
    }
}

impl<'a> FromRequest<'a> for RequestSource {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self::of(request))
    }
}

/// The caller of a route at `/v1`, with the permission that the use case needs: a client by Basic or by its own
/// bearer token, or the admin socket. Both are checked before the rest of the request.
pub async fn caller<S: Store, P: Needs>(
    engine: &Engine<S>,
    authorization: Authorization<BasicOrBearer>,
    source: &RequestSource,
) -> Result<Granted<P>, Problem> {
    let credentials = merge(authorization.header, ClientFormFields::default())?;
    Ok(engine.authenticate(credentials.as_engine(), source.0).await?.require()?)
}
