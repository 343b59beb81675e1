//! How a session, a family or a token ended: when, why and by whom.

use serde::{Deserialize, Serialize};

use super::names::names;
use super::time::Timestamp;

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub at: Timestamp,
    pub reason: EndReason,
    /// A client's name, `admin.sock`, or `keyfob` itself.
    pub by: Box<str>,
}

/// Why something was ended (contract, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// A logout by the subject, or by an owner of the session.
    Logout,
    /// An administrator ended it.
    Admin,
    /// Every session of the subject was ended.
    SubjectRevoked,
    /// Every session was ended.
    AllRevoked,
    /// A spent refresh token was presented.
    RefreshReuse,
    /// It made room for another of the same subject.
    Evicted,
    /// Its client was deleted.
    ClientDeleted,
    /// A genuine token was newer than the store, or the store was restored.
    StoreRollback,
    /// A token of its last family was revoked.
    TokenRevoked,
}

names!(EndReason {
    Logout = "logout",
    Admin = "admin",
    SubjectRevoked = "subject_revoked",
    AllRevoked = "all_revoked",
    RefreshReuse = "refresh_reuse",
    Evicted = "evicted",
    ClientDeleted = "client_deleted",
    StoreRollback = "store_rollback",
    TokenRevoked = "token_revoked",
});
