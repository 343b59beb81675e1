//! Opening a session for a subject that the caller has authenticated.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::issue::{Opened, parties};
use super::repeat::{Derivation, RepeatKey};
use super::{Engine, Result};
use crate::domain::access::{Authentication, Claims};
use crate::domain::caller::{Caller, Granted, UseSessions};
use crate::domain::client::{Client, Grant};
use crate::domain::event::EventKind;
use crate::domain::id::{ClientId, Salt, SessionId, Subject, TokenId};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::scope::ScopeSet;
use crate::domain::session::{Cap, Data, Device, NewSession, NotOpened, Session};
use crate::domain::time::Timestamp;
use crate::store::{Opening, Store};
use crate::token::opaque::{Link, Opaque, OpaqueKind, Secret, SecretText};

/// A session, as it is requested (contract, section 5).
#[derive(Debug, Default)]
pub struct OpenSession {
    pub subject: String,
    /// The client that it is for; the caller itself if absent.
    pub client_id: Option<String>,
    /// The scope; all of the client's if absent.
    pub scope: Option<String>,
    /// The audience; the client's only one if absent.
    pub audience: Option<String>,
    /// The authentication context class.
    pub acr: Option<String>,
    /// The authentication methods.
    pub amr: Vec<String>,
    /// When the subject authenticated; now if absent.
    pub auth_time: Option<Timestamp>,
    pub device: Device,
    /// The claims for tokens and introspection.
    pub claims: Option<Map<String, Value>>,
    pub data: Option<Map<String, Value>>,
    /// Whether the longer timeouts apply.
    pub remember: bool,
    /// By what a repetition of the request is recognised.
    pub repeat: Option<RepeatKey>,
}

impl<S: Store> Engine<S> {
    /// Opens a session.
    ///
    /// # Errors
    /// `Forbidden` for a client for which the caller is not authorized to open sessions; `Invalid`;
    /// `InvalidScope`, `InvalidTarget`; `SessionsFull` under a policy that refuses.
    pub async fn open(&self, caller: &Granted<UseSessions>, request: OpenSession) -> Result<Opened> {
        let client = self.client_opened_for(caller, request.client_id.as_deref())?;
        let policy = self.policy(&client);
        let moment = self.clock.now();
        let now = moment.wall;
        let authentication =
            Authentication::new(request.acr.as_deref(), &request.amr, request.auth_time, now)?;
        let lifetimes = policy.lifetimes(request.remember);
        authentication.expiry(lifetimes, now)?;
        let asked = request.scope.as_deref().map(ScopeSet::requested).transpose()?;
        let scope = client.grant_scope(asked.as_ref())?;
        let audience = client.grant_audience(request.audience.as_deref(), &self.rules.issuer)?;
        let data = request.data.map(|data| Data::from_object(&data)).transpose()?;
        let subject = Subject::new(&request.subject);
        let id = SessionId::new(now, &self.clock.random());
        let salt = Salt(self.clock.random());
        let derivation =
            request.repeat.as_ref().map(|repeat| Derivation { key: &repeat.key, salt: salt.clone() });
        let draw = |kind, family| self.opening_secret(derivation.as_ref(), kind, Link::first(id, family));
        let secret = draw(OpaqueKind::Session, None);
        let has_family = client.has_grant(Grant::RefreshToken);
        let refresh_secret = has_family.then(|| draw(OpaqueKind::Refresh, Some(1)));
        let new = NewSession {
            id,
            subject: subject.map_err(|_| Refused::invalid("subject", Subject::EXPECTED))?,
            client_id: client.id.clone(),
            opened_by: caller.name().into(),
            authentication,
            lifetimes,
            remember: request.remember,
            scope,
            audience,
            token: secret.hash(OpaqueKind::Session),
            refresh_token: refresh_secret.as_ref().map(|secret| secret.hash(OpaqueKind::Refresh)),
            device: request.device.checked()?,
            claims: request.claims.map(|claims| Claims::from_object(&claims)).transpose()?,
        };
        let session = Session::open(new, now)?;
        let stamp = self.stamp(&session, &client, now)?;
        let repeatable = request
            .repeat
            .as_ref()
            .map(|repeat| self.repeatable(caller, repeat, salt, &session, stamp.clone(), moment));
        let (repeat, token_id) = match repeatable {
            Some((repeatable, id)) => (Some(repeatable), id),
            None => (None, TokenId(self.clock.random())),
        };
        let access = self.issue_first(&session, &session, token_id, &stamp, now)?;
        let cap = (policy.max_sessions_per_subject > 0)
            .then_some(Cap { sessions_max: policy.max_sessions_per_subject, when_full: policy.when_full });
        let event = session.event(EventKind::SessionOpened, now, caller.name());
        let uses = if cap.is_some() { self.unwritten_uses(&session).await? } else { vec![] };
        let requires = parties(caller, &client);
        let opening = Opening { session, data: data.clone(), requires, cap, uses, event, repeat };
        let session = match (self.store.open(opening).await?, &request.repeat) {
            (Ok(session), _) => session,
            (Err(NotOpened::Repeated(repeated)), Some(repeat)) => {
                return self.repeat_opening(&client, repeat, *repeated, moment).await;
            }
            (Err(NotOpened::NotCurrent(refused)), _) => return Err(refused.into()),
            (Err(NotOpened::SessionsFull | NotOpened::Repeated(_)), _) => {
                let full = "the subject has as many sessions as the policy of the client allows";
                return Err(Refusal::SessionsFull.because(full).into());
            }
        };
        self.counts.tokens.one(client.access_token_format);
        let refresh_token = refresh_secret
            .map(|secret| self.text(OpaqueKind::Refresh, Link::first(session.id, Some(1)), secret));
        let session_token = self.text(OpaqueKind::Session, Link::first(session.id, None), secret);
        Ok(Opened { session, data: Some(data), session_token, access, refresh_token })
    }

    /// The uses of the subject's other sessions at the client that are not written yet, so that a cap evicts
    /// the session that was really used least recently.
    pub(super) async fn unwritten_uses(&self, new: &Session) -> Result<Vec<(SessionId, Timestamp)>> {
        let (subject, client) = (new.subject.clone(), Some(new.client_id.clone()));
        let written = self.store.active_sessions(subject, client, None, usize::MAX).await?;
        let uses = written.into_iter().filter_map(|mut session| {
            let written = session.last_used_at;
            self.activity.apply(&mut session, new.created_at);
            (session.last_used_at > written).then_some((session.id, session.last_used_at))
        });
        Ok(uses.collect())
    }

    /// The client that a session or family is opened for. The refusal does not reveal which clients exist,
    /// except to an administrator, who can list them.
    pub(super) fn client_opened_for(
        &self,
        caller: &Caller,
        named: Option<&str>,
    ) -> std::result::Result<Arc<Client>, Refused> {
        let Some(named) = named else {
            return match caller {
                Caller::Client(client) => Ok(client.clone()),
                Caller::AdminSocket | Caller::Operator(_) => {
                    let problem = "is required here: through the admin socket an opening names its client";
                    Err(Refused::invalid("client_id", problem))
                }
            };
        };
        let id = named.parse::<ClientId>().ok().filter(|id| caller.may_open_for(id));
        let client = id.and_then(|id| self.store.registry().cuts.registered.get(&id).cloned());
        let client = client.ok_or_else(|| {
            Refusal::Forbidden.because(if caller.is_admin() {
                "client_id: there is no such client"
            } else {
                "client_id: the caller is not authorized to open sessions for this client"
            })
        })?;
        client.check_issue(Refusal::Forbidden, "client_id: the client")?;
        Ok(client)
    }

    pub(super) fn text(&self, kind: OpaqueKind, link: Link, secret: Secret) -> SecretText {
        Opaque { kind, link, secret }.encode(&self.opaque)
    }
}
