//! The fields of a session's record in clear, as versions 1 and 2 wrote them and version 3 packs them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::end::EndReason;
use crate::domain::id::Hash;
use crate::domain::session::RevokedToken;

/// Milliseconds relative to the session's creation: about three bytes instead of seven.
pub(super) type Offset = i64;

/// The part in clear. `None` in a family means the session's own value.
#[derive(Deserialize)]
pub(super) struct ClearFields<'a> {
    pub created_at: i64,
    pub slot: Offset,
    pub flags: u8,
    pub issued: u64,
    pub client_id: &'a str,
    /// `None` if its own client opened it.
    pub opened_by: Option<&'a str>,
    #[serde(borrow)]
    pub authentication: AuthenticationFields<'a>,
    pub last_used_at: Offset,
    pub idle_timeout: Duration,
    pub expires_at: Offset,
    pub scope: &'a str,
    pub audience: &'a str,
    pub renewals: u32,
    pub token: Hash,
    pub version: u32,
    pub claims_version: u32,
    pub next_family: u16,
    pub own_family: Option<u16>,
    pub revoked_tokens: Vec<RevokedToken>,
    pub end: Option<EndFields<'a>>,
    pub families: Vec<FamilyFields<'a>>,
}

/// What version 2 added, after the clear part.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct AddedFields {
    /// The families of the revoked tokens, in the same order; those of a record of version 1 are not known.
    pub revoked_in: Vec<Option<u16>>,
    /// In seconds.
    pub revoked_until: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AuthenticationFields<'a> {
    pub at: Offset,
    pub acr: Option<&'a str>,
    #[serde(borrow)]
    pub amr: Vec<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EndFields<'a> {
    pub at: Offset,
    pub reason: EndReason,
    pub by: &'a str,
}

#[derive(Deserialize)]
pub(super) struct FamilyFields<'a> {
    pub number: u16,
    pub client_id: Option<&'a str>,
    pub scope: Option<&'a str>,
    pub audience: Option<&'a str>,
    #[serde(borrow)]
    pub authentication: Option<AuthenticationFields<'a>>,
    /// Relative to the session's own position.
    pub issued: u64,
    pub end: Option<EndFields<'a>>,
    pub generation: u32,
    pub current: Hash,
    pub previous: Option<Hash>,
    pub refreshed_at: Offset,
    pub window_closes_at: Option<Offset>,
}
