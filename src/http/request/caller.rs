//! Who calls and from where, as the management routes ask it.

use poem::{FromRequest, Request, RequestBody};

use crate::domain::caller::{Granted, Needs};
use crate::engine::Engine;
use crate::engine::authenticate::Source;
use crate::http::net::channel::Channel;
use crate::http::net::peer::Peer;
use crate::http::request::credentials::{Authorization, BasicOrBearer, ClientFormFields, merge};
use crate::http::response::error::Problem;
use crate::store::Store;

/// Where a request came from.
pub struct Origin(pub Source);

impl Origin {
    /// Where `request` came from.
    pub fn of(request: &Request) -> Self {
        let admin_socket = request.extensions().get::<Channel>() == Some(&Channel::AdminSocket);
        Self(Source { address: Peer::of(request).0, admin_socket })
    }
}

impl<'a> FromRequest<'a> for Origin {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self::of(request))
    }
}

/// The caller of a route at `/v1`, with the permission that the use case needs: a client by Basic or by its own
/// bearer token, or the admin socket. Both are checked before the rest of the request.
pub async fn caller<S: Store, P: Needs>(
    engine: &Engine<S>,
    authorization: Authorization<BasicOrBearer>,
    origin: &Origin,
) -> Result<Granted<P>, Problem> {
    let credentials = merge(authorization.header, ClientFormFields::default())?;
    Ok(engine.authenticate(credentials.as_engine(), origin.0).await?.require()?)
}
