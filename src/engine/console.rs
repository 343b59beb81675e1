//! The operator's console: its one-time links, and the sessions that they open.

use std::sync::atomic::Ordering;

use super::authenticate::Source;
use super::{Engine, Error, Result, validity};
use crate::domain::access::Authentication;
use crate::domain::client::AuthFailure;
use crate::domain::console::{
    CONSOLE_LIFETIMES, CONSOLE_SESSIONS_MAX, ConsoleRole, LINK_VALID_FOR, OPERATOR, Operator, console_id,
    is_link_valid,
};
use crate::domain::end::{End, EndReason};
use crate::domain::event::EventKind;
use crate::domain::id::{Hash, SessionId};
use crate::domain::names::{ADMIN_SOCKET, CONSOLE};
use crate::domain::policy::WhenFull;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Cap, Decision, Device, NewSession, NotOpened, Repeatable, Session};
use crate::domain::time::{Moment, Timestamp};
use crate::store::{Lane, Opening, Registry, Store};
use crate::token::console_link::ConsoleLink;
use crate::token::opaque::{Link, OpaqueKind, Secret, SecretText};

/// A new link.
pub struct MadeLink {
    /// Its secret, shown once.
    pub secret: SecretText,
    pub expires_at: Timestamp,
}

/// A console session just opened.
pub struct OpenedConsole {
    pub session: Session,
    pub operator: Operator,
    /// The value of the cookie.
    pub token: SecretText,
}

impl<S: Store> Engine<S> {
    /// Serves the console from now on.
    pub fn allow_console(&self) {
        self.has_console.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_console(&self) -> bool {
        self.has_console.load(Ordering::Relaxed)
    }

    /// Makes a link that opens one session with this role.
    ///
    /// # Errors
    /// `Conflict` if a client has the name of the console.
    pub async fn make_console_link(&self, role: ConsoleRole) -> Result<MadeLink> {
        let (registry, head) = self.store.current().await?;
        let id = console_id();
        if registry.cuts.registered.contains_key(&id) {
            return Err(Refusal::Conflict
                .because(
                    "a client named console is registered, and the name is reserved now: register the client \
                     under another name and delete this one",
                )
                .into());
        }
        let now = self.clock.now();
        let link = ConsoleLink { role, made: now.wall, issued: head, random: self.clock.random() };
        let secret = link.encode(&self.opaque, self.link_run(now));
        tracing::info!(role = role.as_str(), "a link to the console was made");
        Ok(MadeLink { secret, expires_at: now.wall.plus(LINK_VALID_FOR) })
    }

    /// The run in which a link counts: links are lost when the server restarts, but each replica accepts
    /// those of the others.
    fn link_run(&self, now: Moment) -> u64 {
        if self.store.is_shared() { 0 } else { now.boot }
    }

    /// Opens a console session by a link, and ends the console session `before` of the same browser. That the
    /// link was used is stored with the session: it cannot open another one.
    ///
    /// # Errors
    /// `InvalidToken` for a link that is unknown, used, too old, or from before a cut-off; `TooMany` after
    /// too many of those from one address.
    pub async fn open_console(
        &self,
        link: &str,
        device: Device,
        before: Option<&str>,
        source: Source,
    ) -> Result<OpenedConsole> {
        let (registry, _) = self.store.current().await?;
        let moment = self.clock.now();
        let now = moment.wall;
        let link = ConsoleLink::decode(link, &self.opaque, self.link_run(moment));
        let is_valid = |link: &ConsoleLink| is_link_valid(link.made, link.issued, now, &registry.cuts);
        let Some(link) = link.filter(is_valid) else {
            return Err(self.wrong_link(&registry, source));
        };
        let (id, secret) = (SessionId::new(now, &self.clock.random()), Secret::new(self.clock.random()));
        let new = NewSession {
            id,
            subject: OPERATOR.parse().expect("it is a valid subject"),
            client_id: console_id(),
            opened_by: ADMIN_SOCKET.into(),
            authentication: Authentication { at: link.made.min(now), acr: None, amr: vec![] },
            lifetimes: CONSOLE_LIFETIMES,
            remember: false,
            scope: link.role.as_str().parse().expect("it is a valid scope"),
            audience: self.rules.issuer.clone(),
            token: secret.hash(OpaqueKind::Session),
            refresh_token: None,
            device: device.checked()?,
            claims: None,
        };
        let session = Session::open(new, now)?;
        let event = session.event(EventKind::SessionOpened, now, ADMIN_SOCKET);
        let uses = self.unwritten_uses(&session).await?;
        let cap = Some(Cap { sessions_max: CONSOLE_SESSIONS_MAX, when_full: WhenFull::EvictOldest });
        let repeat = Some(Repeatable { name: link.name(), request: Hash([0; 32]), window: None });
        let opening = Opening { session, data: None, requires: vec![], cap, uses, event, repeat };
        let session = match self.store.open(opening).await? {
            Ok(session) => session,
            Err(NotOpened::NotCurrent(refused)) => return Err(refused.into()),
            Err(NotOpened::Repeated(_)) => return Err(self.wrong_link(&registry, source)),
            Err(NotOpened::SessionsFull) => {
                return Err(Refusal::SessionsFull.because("there are too many console sessions").into());
            }
        };
        if let Some(before) = before
            && let Some(operator) = self.operator(before, false).await?
        {
            self.close_console(&operator).await?;
        }
        let token = self.text(OpaqueKind::Session, Link::first(id, None), secret);
        let operator = self.operator(token.expose(), false).await?.ok_or_else(Refused::session_not_active)?;
        tracing::info!(session = %id, role = link.role.as_str(), "an operator opened the console");
        Ok(OpenedConsole { session, operator, token })
    }

    fn wrong_link(&self, registry: &Registry, source: Source) -> Error {
        let refused = self.failed(registry, AuthFailure::ConsoleLink, "", source);
        if matches!(refused.refusal, Refusal::TooMany { .. }) {
            return refused.into();
        }
        Refusal::InvalidToken
            .because(
                "the link is invalid, was used before, is older than a minute, or all sessions were ended \
                 since: run `keyfob console` for a new one",
            )
            .into()
    }

    /// The operator of a session token in the console's cookie; `None` if it is not valid there. Counts as
    /// activity if `is_use`. The caller has awaited the current registry.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn operator(&self, token: &str, is_use: bool) -> Result<Option<Operator>> {
        if !self.has_console() {
            return Ok(None);
        }
        let genuine = self.verifier.opaque(token, &self.opaque);
        let Some(token) = genuine.filter(|token| token.kind == OpaqueKind::Session) else { return Ok(None) };
        let now = self.clock.now().wall;
        let registry = self.store.registry();
        let found = self.read_session_and_written_use(token.link.session, now).await?;
        let Some((session, written)) = found else { return Ok(None) };
        let validity = validity(&registry, &session.client_id, now);
        let operator = Operator::of(&session, token.link.generation, &token.hash, &validity);
        if is_use && operator.is_some() {
            self.note_use(&session, written, now);
        }
        Ok(operator)
    }

    /// The session of an operator.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn console_session(&self, operator: &Operator) -> Result<Session> {
        let session = self.read_session(operator.session, self.clock.now().wall).await?;
        Ok((*session.ok_or_else(Refused::session_not_active)?).clone())
    }

    /// Signs an operator out: ends the session.
    ///
    /// # Errors
    /// A store that cannot write.
    pub async fn close_console(&self, operator: &Operator) -> Result<()> {
        let now = self.clock.now().wall;
        let ended = self.update_session(operator.session, Lane::Revocation, now, move |session, cuts| {
            let end = End { at: now, reason: EndReason::Logout, by: CONSOLE.into() };
            Decision::with_events((), session.close(end, now, cuts))
        });
        ended.await.map(|_| ())
    }
}
