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

names! {
    /// Why something was ended (contract, section 5).
    #[derive(Serialize, Deserialize)]
    pub enum EndReason {
        /// A logout by the subject, or by an owner of the session.
        Logout = "logout",
        /// An administrator ended it.
        Admin = "admin",
        /// Every session of the subject was ended.
        SubjectRevoked = "subject_revoked",
        AllRevoked = "all_revoked",
        /// A spent refresh token was presented.
        RefreshReuse = "refresh_reuse",
        /// It made room for another of the same subject.
        Evicted = "evicted",
        ClientDeleted = "client_deleted",
        /// A genuine token was newer than the store, or the store was restored.
        StoreRollback = "store_rollback",
        /// A token of its last family was revoked.
        TokenRevoked = "token_revoked",
    }
}
