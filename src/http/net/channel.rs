//! The way a request came in: by the public listeners or by the admin socket.

/// The way a request came in. A request without this extension is public.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// The configured address, open to any client that can reach it.
    #[default]
    Public,
    /// The admin socket, or the command's own process: an administrator by file permission.
    AdminSocket,
}
