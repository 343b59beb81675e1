//! The caller of a use case: which client it is, and which sessions it may read, change and end.

use std::sync::Arc;

use super::client::{Client, Permission};
use super::id::ClientId;
use super::names::ADMIN_SOCKET;
use super::refusal::{Refusal, Refused};
use super::session::Session;

/// Who is asking: a registered client, or whoever the admin socket let in.
#[derive(Clone, Debug)]
pub enum Caller {
    /// An authenticated client.
    Client(Arc<Client>),
    /// The admin socket: an administrator by file permission.
    AdminSocket,
}

impl Caller {
    /// The name to record as `by` and `opened_by`.
    pub fn name(&self) -> &str {
        match self {
            Self::Client(client) => client.id.as_str(),
            Self::AdminSocket => ADMIN_SOCKET,
        }
    }

    /// Whether the caller has `permission`.
    pub fn may(&self, permission: Permission) -> bool {
        match self {
            Self::Client(client) => client.may(permission),
            Self::AdminSocket => true,
        }
    }

    /// Whether the caller may do everything.
    pub fn is_admin(&self) -> bool {
        self.may(Permission::Admin)
    }

    /// Whether the caller is the client of this name.
    pub fn is(&self, id: &ClientId) -> bool {
        matches!(self, Self::Client(client) if client.id == *id)
    }

    /// Whether the caller opened `session`.
    pub fn opened(&self, session: &Session) -> bool {
        self.name() == &*session.opened_by
    }

    /// Whether the caller may read and end `session`: its opener, the client it is for, or an administrator.
    pub fn may_see(&self, session: &Session) -> bool {
        self.is_admin()
            || (self.may(Permission::Sessions) && (self.opened(session) || self.is(&session.client_id)))
    }

    /// Whether the caller may change and renew `session`: its opener, or an administrator.
    pub fn may_change(&self, session: &Session) -> bool {
        self.is_admin() || (self.may(Permission::Sessions) && self.opened(session))
    }

    /// Refuses a caller without `permission`.
    pub fn require(&self, permission: Permission) -> Result<(), Refused> {
        if self.may(permission) {
            Ok(())
        } else {
            Err(Refusal::Forbidden.because(format!("this needs the permission {}", permission.as_str())))
        }
    }
}
