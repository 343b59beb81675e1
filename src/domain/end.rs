//! How a session, a family or a token ended: when, why and by whom.

use serde::{Deserialize, Serialize};

use super::names::names;
use super::time::Timestamp;

/// When, why and by whom something was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: EndReason,
    /// By whom.
    pub by: Box<str>,
}

/// Why something was ended (contract, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// The subject, or a client for it, logged out.
    Logout,
    /// An administrator ended it.
    Admin,
    /// Every session of the subject was ended.
    SubjectRevoked,
    /// Everything was ended.
    AllRevoked,
    /// A spent refresh token came back.
    RefreshReuse,
    /// It made room for another of the same subject.
    Evicted,
    /// Its client was deleted.
    ClientDeleted,
    /// A genuine token was newer than the store.
    StoreRollback,
    /// Its last family was revoked.
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
