//! Opening a session for a subject that the caller has authenticated.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::issue::{ForSession, Issued};
use super::{Engine, Result};
use crate::domain::access::{Authentication, Claims};
use crate::domain::caller::Caller;
use crate::domain::client::{Client, Grant, Permission};
use crate::domain::event::EventKind;
use crate::domain::family::Family;
use crate::domain::id::{ClientId, Position, SessionId, Subject, TokenId};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::scope::ScopeSet;
use crate::domain::session::{Cap, Data, Device, Session};
use crate::domain::time::Timestamp;
use crate::store::{Opening, Store};
use crate::token::opaque::{Opaque, OpaqueKind, Secret, SecretText};
use crate::token::paseto::TOKEN_BYTES_MAX;

/// The largest `claims`, in bytes of JSON: they are in every token.
pub const CLAIMS_BYTES_MAX: usize = 4 * 1024;
/// The largest `data`, in bytes of JSON.
pub const DATA_BYTES_MAX: usize = 16 * 1024;
/// The longest of the short texts: `acr`, each of `amr`, `device.label`, `device.ip`.
pub const TEXT_BYTES_MAX: usize = 256;
/// The longest `device.user_agent`.
pub const USER_AGENT_BYTES_MAX: usize = 1024;
/// How many methods `amr` may name.
pub const AMR_MAX: usize = 16;

/// What is said of a client for which nothing is opened or renewed for now.
pub(super) const DISABLED: &str = "is disabled: nothing is issued to it until it is enabled again";

/// What an opening takes (contract, section 5).
#[derive(Debug, Default)]
pub struct OpenSession {
    /// Who signed in.
    pub subject: String,
    /// The client to open it for; the caller itself if absent.
    pub client_id: Option<String>,
    /// The scope; all of the client's if absent.
    pub scope: Option<String>,
    /// The audience; the client's only one if absent.
    pub audience: Option<String>,
    /// How the subject authenticated.
    pub acr: Option<String>,
    /// By which methods.
    pub amr: Vec<String>,
    /// When; now if absent.
    pub auth_time: Option<Timestamp>,
    /// Where from.
    pub device: Device,
    /// What goes into tokens and introspection.
    pub claims: Option<Map<String, Value>>,
    /// What stays with the session.
    pub data: Option<Map<String, Value>>,
    /// Whether the longer timeouts apply.
    pub remember: bool,
}

/// A session just opened, and everything that is told once.
pub struct Opened {
    /// The session.
    pub session: Session,
    /// Its private data.
    pub data: Option<Data>,
    /// The session token, for the cookie.
    pub session_token: SecretText,
    /// The access token.
    pub access: Issued,
    /// The refresh token, if the client has that grant.
    pub refresh_token: Option<SecretText>,
}

impl<S: Store> Engine<S> {
    /// Opens a session; it is on the disk when this returns.
    ///
    /// # Errors
    /// `Forbidden` without the permission `sessions` or for a client that the caller may not open for;
    /// `Invalid` naming a field; `InvalidScope`, `InvalidTarget`; `SessionsFull` under a policy that refuses.
    pub async fn open(&self, caller: &Caller, request: OpenSession) -> Result<Opened> {
        caller.require(Permission::Sessions)?;
        let client = self.client_opened_for(caller, request.client_id.as_deref())?;
        let policy = self.policy(&client);
        let now = self.clock.now();
        let authentication = authentication(request.acr, request.amr, request.auth_time, now.wall)?;
        let lifetimes = policy.lifetimes(request.remember);
        let expires_at = authentication.at.plus(lifetimes.absolute_lifetime);
        if expires_at <= now.wall {
            return Err(
                invalid("auth_time", "is so long ago that the session would have expired already").into()
            );
        }
        let asked = request.scope.as_deref().map(parse_scope).transpose()?;
        let scope = client.grant_scope(asked.as_ref())?;
        let audience = client.grant_audience(request.audience.as_deref(), &self.rules.issuer)?;
        let data = request.data.map(|data| json_text("data", &data, DATA_BYTES_MAX).map(Data)).transpose()?;
        let secret = Secret::new(self.clock.random());
        let refresh_secret = client.has_grant(Grant::RefreshToken).then(|| Secret::new(self.clock.random()));
        let mut session = Session {
            id: SessionId::new(now.wall, &self.clock.random()),
            subject: subject(&request.subject)?,
            client_id: client.id.clone(),
            opened_by: caller.name().into(),
            issued: Position::default(),
            created_at: now.wall,
            authentication,
            last_used_at: now.wall,
            idle_timeout: lifetimes.idle_timeout,
            expires_at,
            remember: request.remember,
            scope,
            audience,
            renewals: 0,
            token: secret.hash(OpaqueKind::Session),
            device: device(request.device)?,
            claims: request
                .claims
                .map(|claims| json_text("claims", &claims, CLAIMS_BYTES_MAX).map(Claims))
                .transpose()?,
            version: 1,
            claims_version: 1,
            families: vec![],
            next_family: 1,
            own_family: None,
            revoked_tokens: vec![],
            end: None,
            expiry_reported: false,
        };
        if let Some(secret) = &refresh_secret {
            session.families.push(first_family(&session, secret));
            session.next_family = 2;
            session.own_family = Some(1);
        }
        let access = self.issue_at_sign_in(&session, &client, now.wall)?;
        let cap = (policy.max_sessions_per_subject > 0)
            .then_some(Cap { sessions_max: policy.max_sessions_per_subject, when_full: policy.when_full });
        let event = session.event(EventKind::SessionOpened, now.wall, caller.name());
        let uses = if cap.is_some() { self.unwritten_uses(&session.subject).await? } else { vec![] };
        let opened = self.store.open(Opening { session, data: data.clone(), cap, uses, event }).await?;
        let session = opened.ok_or_else(|| {
            Refusal::SessionsFull.because("the subject has all the sessions that it may have")
        })?;
        self.counts.tokens.one(client.access_token_format);
        let refresh_token =
            refresh_secret.map(|secret| self.text(OpaqueKind::Refresh, session.id, 1, 0, secret));
        let session_token = self.text(OpaqueKind::Session, session.id, 0, 0, secret);
        Ok(Opened { session, data, session_token, access, refresh_token })
    }

    /// What is known of the use of a subject's sessions besides what is written, so that a cap goes by who
    /// was really there last.
    async fn unwritten_uses(&self, subject: &Subject) -> Result<Vec<(SessionId, Timestamp)>> {
        let written = self.store.sessions(Some(subject.clone()), None, usize::MAX).await?;
        let uses = written.into_iter().filter_map(|mut session| {
            let written = session.last_used_at;
            self.activity.apply(&mut session);
            (session.last_used_at > written).then_some((session.id, session.last_used_at))
        });
        Ok(uses.collect())
    }

    /// The client that a session or family is opened for. One that does not exist and one that was not named
    /// to the caller look the same; that one is disabled is told to whoever may open for it.
    pub(super) fn client_opened_for(
        &self,
        caller: &Caller,
        named: Option<&str>,
    ) -> std::result::Result<Arc<Client>, Refused> {
        match (caller, named) {
            (Caller::Client(client), None) => Ok(client.clone()),
            (Caller::AdminSocket, None) => Err(invalid(
                "client_id",
                "is needed here: through the admin socket an opening names its client",
            )),
            (_, Some(id)) => {
                let id = id.parse::<ClientId>().ok();
                let permitted = |id: &ClientId| match caller {
                    Caller::AdminSocket => true,
                    Caller::Client(client) => {
                        client.id == *id || caller.is_admin() || client.opens_for.contains(id)
                    }
                };
                let client =
                    id.filter(permitted).and_then(|id| self.store.registry().clients.get(&id).cloned());
                let client = client.ok_or_else(|| {
                    // An administrator may ask for all of them; nobody else learns which there are.
                    let knows = caller.is_admin();
                    let why = if knows {
                        "there is no such client"
                    } else {
                        "the caller may not open for this client"
                    };
                    Refusal::Forbidden.because(format!("client_id: {why}"))
                })?;
                if client.disabled {
                    return Err(Refusal::Forbidden.because(format!("client_id: the client {DISABLED}")));
                }
                Ok(client)
            }
        }
    }

    /// The access token that comes with a sign-in. Refused if it would be longer than any token that we
    /// accept.
    pub(super) fn issue_at_sign_in(
        &self,
        session: &Session,
        client: &Client,
        now: Timestamp,
    ) -> Result<Issued> {
        let key = self.keyring.load().active().id;
        let stamp = session.stamp(self.policy(client).access_token_ttl, key, client.access_token_format, now);
        let grant = ForSession {
            family: session.own_family,
            client_id: &session.client_id,
            audience: &session.audience,
            scope: session.scope.clone(),
            authentication: &session.authentication,
            id: TokenId(self.clock.random()),
            stamp: &stamp,
        };
        not_too_long(self.issue_for_session(session, grant, now)?)
    }

    pub(super) fn text(
        &self,
        kind: OpaqueKind,
        session: SessionId,
        family: u16,
        generation: u32,
        secret: Secret,
    ) -> SecretText {
        Opaque { kind, session, family, generation, secret }.encode(&self.opaque)
    }
}

/// A token longer than any that we accept is of no use; so it is refused before anything is written.
pub(super) fn not_too_long(issued: Issued) -> Result<Issued> {
    if issued.access_token.len() > TOKEN_BYTES_MAX {
        let why = "together with subject, scope and amr make an access token of more than 8 KiB; use data for what APIs do not need";
        return Err(invalid("claims", why).into());
    }
    Ok(issued)
}

fn first_family(session: &Session, secret: &Secret) -> Family {
    Family {
        number: 1,
        client_id: session.client_id.clone(),
        scope: session.scope.clone(),
        audience: session.audience.clone(),
        authentication: session.authentication.clone(),
        issued: session.issued,
        end: None,
        generation: 0,
        current: secret.hash(OpaqueKind::Refresh),
        previous: None,
        refreshed_at: session.created_at,
        window: None,
    }
}

pub(super) fn authentication(
    acr: Option<String>,
    amr: Vec<String>,
    at: Option<Timestamp>,
    now: Timestamp,
) -> std::result::Result<Authentication, Refused> {
    let at = at.unwrap_or(now);
    if at > now {
        return Err(invalid("auth_time", "must not be in the future"));
    }
    if amr.len() > AMR_MAX {
        return Err(invalid("amr", "must name at most 16 methods"));
    }
    let amr = amr
        .into_iter()
        .map(|method| short_text("amr", method, TEXT_BYTES_MAX))
        .collect::<std::result::Result<_, _>>()?;
    let acr = acr.map(|acr| short_text("acr", acr, TEXT_BYTES_MAX)).transpose()?;
    Ok(Authentication { at, acr, amr })
}

fn device(device: Device) -> std::result::Result<Device, Refused> {
    let check =
        |field, text: Option<Box<str>>, max| text.map(|text| short_text(field, text.into(), max)).transpose();
    Ok(Device {
        user_agent: check("device.user_agent", device.user_agent, USER_AGENT_BYTES_MAX)?,
        ip: check("device.ip", device.ip, TEXT_BYTES_MAX)?,
        label: check("device.label", device.label, TEXT_BYTES_MAX)?,
    })
}

fn subject(text: &str) -> std::result::Result<Subject, Refused> {
    text.parse().map_err(|_| invalid("subject", "must have 1 to 256 bytes and no control characters"))
}

/// A scope as it was asked for.
pub(super) fn parse_scope(text: &str) -> std::result::Result<ScopeSet, Refused> {
    text.parse().map_err(|_| {
        Refusal::InvalidScope.because("scope must be names joined by single spaces, at most 2048 bytes")
    })
}

pub(super) fn short_text(
    field: &'static str,
    text: String,
    bytes_max: usize,
) -> std::result::Result<Box<str>, Refused> {
    if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
        return Err(invalid(field, format!("must have 1 to {bytes_max} bytes and no control characters")));
    }
    Ok(text.into())
}

pub(super) fn json_text(
    field: &'static str,
    object: &Map<String, Value>,
    bytes_max: usize,
) -> std::result::Result<Box<str>, Refused> {
    let text = serde_json::to_string(object).map_err(|_| invalid(field, "cannot be written as JSON"))?;
    if text.len() > bytes_max {
        return Err(invalid(
            field,
            format!("has {} bytes of JSON; at most {bytes_max} are kept", text.len()),
        ));
    }
    Ok(text.into())
}

/// A field that is not what it should be: `problem` continues the sentence that the field's name begins.
pub(super) fn invalid(field: &'static str, problem: impl std::fmt::Display) -> Refused {
    Refusal::Invalid { field }.because(format!("{field} {problem}"))
}
