//! The way a request came in: by the public listeners or by the admin socket.

use poem::{FromRequest, Request, RequestBody};

/// The way a request came in. A request without this extension is public.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// The configured address, open to any client that can reach it.
    #[default]
    Public,
    /// The admin socket, or the command's own process: an administrator by file permission.
    AdminSocket,
}

impl<'a> FromRequest<'a> for Channel {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.extensions().get::<Self>().copied().unwrap_or_default())
    }
}
