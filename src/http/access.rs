//! Who may use a route, as `ROUTES` in `http/mod.rs` declares it.

use crate::domain::client::Permission;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Any client, without credentials.
    Public,
    /// A registered client; it authenticates with its secret, or by its name if it is public.
    Client,
    /// A person, by session cookie or token.
    Person,
    /// A client with this permission, or with `admin`.
    Permission(Permission),
    /// A page of this origin, without credentials.
    OwnPage,
    /// An operator with a session of the console.
    Console,
    /// A command at the admin socket.
    AdminSocket,
}
