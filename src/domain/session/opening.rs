//! Opening a session.

use super::{Device, NewFamily, Repeated, Session};
use crate::domain::access::{Authentication, Claims};
use crate::domain::cutoff::CutOffs;
use crate::domain::id::{ClientId, Hash, Position, SessionId, Subject};
use crate::domain::policy::Lifetimes;
use crate::domain::refusal::Refused;
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;

/// What a new session is made from.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub id: SessionId,
    pub subject: Subject,
    /// The client that it is for.
    pub client_id: ClientId,
    /// The caller that opens it.
    pub opened_by: Box<str>,
    /// How and when the subject authenticated.
    pub authentication: Authentication,
    /// The timeouts of the policy.
    pub lifetimes: Lifetimes,
    /// Whether those are the timeouts of `remember`.
    pub remember: bool,
    pub scope: ScopeSet,
    /// The audience of its access tokens.
    pub audience: Box<str>,
    /// The hash of the session token's secret.
    pub token: Hash,
    /// The hash of the first refresh token's secret, if the client has that grant.
    pub refresh_token: Option<Hash>,
    pub device: Device,
    /// The claims for tokens and introspection.
    pub claims: Option<Claims>,
}

/// Why a session was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// The caller or the client that the session is for is not as it was when it was authenticated or found.
    NotCurrent(Refused),
    /// The subject has as many sessions as the cap allows.
    SessionsFull,
    /// The request repeats an earlier one.
    Repeated(Box<Repeated>),
}

impl Session {
    /// A session as it is opened, with its first family. The store sets the positions of issue.
    ///
    /// # Errors
    /// `Invalid`, naming `auth_time`, if it would have expired already.
    pub fn open(new: NewSession, now: Timestamp) -> Result<Self, Refused> {
        let mut session = Self {
            id: new.id,
            subject: new.subject,
            client_id: new.client_id,
            opened_by: new.opened_by,
            issued: Position::default(),
            created_at: now,
            expires_at: new.authentication.expiry(new.lifetimes, now)?,
            authentication: new.authentication,
            last_used_at: now,
            idle_timeout: new.lifetimes.idle_timeout,
            remember: new.remember,
            scope: new.scope,
            audience: new.audience,
            renewals: 0,
            token: new.token,
            device: new.device,
            claims: new.claims,
            version: 1,
            claims_version: 1,
            families: vec![],
            next_family: 1,
            own_family: None,
            revoked_tokens: vec![],
            revoked_until: 0,
            end: None,
            expiry_reported: false,
        };
        session.own_family = new.refresh_token.and_then(|secret| {
            let family = session.own_family_of(secret);
            session.add_family(family, Position::default(), now, &CutOffs::default())
        });
        Ok(session)
    }

    /// The family that an opening or a renewal issues: for the session's own client, with all it was granted.
    pub fn own_family_of(&self, secret: Hash) -> NewFamily {
        NewFamily {
            client_id: self.client_id.clone(),
            scope: self.scope.clone(),
            audience: self.audience.clone(),
            secret,
        }
    }
}
