//! `/v1/sessions`: open, list, read, end.

use std::sync::Arc;

use poem_openapi::param::{Header, Path, Query};
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{ApiResponse, Object, OpenApi, Union};
use serde::{Deserialize, Serialize};

use crate::domain::session::State;
use crate::engine::Engine;
use crate::engine::change::ChangeSession;
use crate::engine::open::{OpenSession, Opened};
use crate::engine::read::SessionFilter;
use crate::engine::renew::RenewSession;
use crate::http::api::session_object::{DeviceObject, SessionObject};
use crate::http::api::subjects::{EndedCount, subject_named};
use crate::http::document::Tag;
use crate::http::request::caller::{RequestSource, caller};
use crate::http::request::credentials::{Authorization, BasicOrBearer};
use crate::http::request::if_match::versions;
use crate::http::request::json::{JsonBody, OptionalJsonBody};
use crate::http::request::parameters::{page_default, page_size, parsed, session_id};
use crate::http::request::types::{FreeObject, Time, Wire};
use crate::http::response::answer::Json;
use crate::http::response::error::Problem;
use crate::store::{Store, StoreError};

/// Sessions.
pub struct SessionsApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// How the session cookie is written.
    pub cookie: crate::http::request::cookie::Cookie,
}

/// A sign-in that the caller has checked.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct OpenSessionBody {
    /// Who signed in: 1 to 256 bytes, opaque to us.
    subject: String,
    /// The client to open it for; the caller itself if left out. The caller must administer, or name it in
    /// its `opens_for`.
    client_id: Option<String>,
    /// Less than what the client may ask for; everything if left out.
    scope: Option<String>,
    /// For whom the access tokens are; the client's only audience if left out.
    audience: Option<String>,
    /// To which level the subject authenticated.
    acr: Option<String>,
    /// By which methods (RFC 8176).
    amr: Option<Vec<String>>,
    /// When the subject authenticated; now if left out.
    auth_time: Option<Time>,
    /// Where from.
    device: Option<DeviceObject>,
    /// Goes into tokens and introspection: at most 4 KiB.
    claims: Option<FreeObject>,
    /// Private to the session: at most 16 KiB.
    data: Option<FreeObject>,
    /// Asks for the longer timeouts of the policy.
    remember: Option<bool>,
}

/// What to change in a session. What is left out stays; null takes away.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct ChangeSessionBody {
    /// Goes into tokens and introspection: at most 4 KiB.
    claims: MaybeUndefined<FreeObject>,
    /// Private to the session: at most 16 KiB.
    data: MaybeUndefined<FreeObject>,
    /// The device.
    device: Option<DeviceLabelBody>,
}

/// What can be changed of a device.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct DeviceLabelBody {
    /// What a person calls it, at most 256 bytes.
    label: MaybeUndefined<String>,
}

/// How the subject authenticated this time.
#[derive(Default, Object)]
#[oai(deny_unknown_fields)]
struct RenewSessionBody {
    /// To which level; none if left out, whatever it was before.
    acr: Option<String>,
    /// By which methods (RFC 8176).
    amr: Option<Vec<String>>,
    /// When; now if left out. Not before the previous time.
    auth_time: Option<Time>,
}

/// A session just opened, with everything that is told once.
#[derive(Serialize, Deserialize, Object)]
pub struct OpenedBody {
    /// The session.
    pub session: SessionObject,
    /// For the cookie, or for a client that keeps it itself.
    pub session_token: String,
    /// The `Set-Cookie` header to send to the browser as it is.
    pub set_cookie: String,
    /// For the APIs: a PASETO.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: i64,
    /// Only if the client has the grant `refresh_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// What was granted.
    pub scope: String,
}

#[derive(ApiResponse)]
enum OpenResponse {
    /// Open, and on the disk.
    #[oai(status = 201)]
    Opened(
        Json<OpenedBody>,
        /// Where the session can be read.
        #[oai(header = "Location")]
        String,
    ),
}

/// A page of sessions, in the order of their opening.
#[derive(Serialize, Deserialize, Object)]
pub struct SessionPage {
    /// The sessions.
    pub items: Vec<SessionObject>,
    /// Ask for what follows with this; null at the end.
    pub next_cursor: Option<String>,
}

/// What was ended.
#[derive(Serialize, Deserialize, Object)]
pub struct EndedAll {
    /// Always `all`.
    pub ended: String,
}

/// The sessions that ended: all there were, or how many of a subject.
#[derive(Serialize, Deserialize, Union)]
#[serde(untagged)]
#[oai(one_of)]
pub enum EndedSessions {
    All(EndedAll),
    Count(EndedCount),
}

#[derive(ApiResponse)]
enum EndResponse {
    /// It is ended, now or before.
    #[oai(status = 204)]
    Ended,
}

#[OpenApi]
impl<S: Store> SessionsApi<S> {
    /// Open a session.
    ///
    /// For a subject that the caller has authenticated. Needs the permission `sessions`. The answer comes
    /// when the session is on the disk.
    #[oai(path = "/v1/sessions", method = "post", tag = "Tag::Sessions", operation_id = "openSession")]
    async fn open(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        body: JsonBody<OpenSessionBody>,
    ) -> Result<OpenResponse, Problem> {
        let caller = caller(&self.engine, authorization, &source).await?;
        let opened = self.engine.open(&caller, body.read()?.into()).await?;
        let location = format!("/v1/sessions/{}", opened.session.id);
        Ok(OpenResponse::Opened(Json(self.opened_body(opened)?), location))
    }

    /// List sessions.
    ///
    /// Those that the caller opened or that were opened for it; all for an administrator. In the order of
    /// their opening; a page may be shorter than asked and still have a `next_cursor`.
    #[oai(path = "/v1/sessions", method = "get", tag = "Tag::Sessions", operation_id = "listSessions")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the route")]
    async fn list(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Only this subject's.
        subject: Query<Option<String>>,
        /// Only this client's.
        client_id: Query<Option<String>>,
        /// Only those in this state.
        state: Query<Option<Wire<State>>>,
        /// How many: 1 to 200.
        #[oai(default = "page_default")]
        limit: Query<usize>,
        /// Where to go on: the `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<SessionPage>, Problem> {
        let caller = caller(&self.engine, authorization, &source).await?;
        let filter = SessionFilter {
            subject: parsed("subject", subject.0.as_deref())?,
            client_id: parsed("client_id", client_id.0.as_deref())?,
            state: state.0.map(|state| state.0),
        };
        let (cursor, limit) = (cursor.0.as_deref(), page_size(limit.0)?);
        let (views, next) = self.engine.sessions(&caller, filter, cursor, limit).await?;
        Ok(Json(SessionPage {
            items: views.into_iter().map(SessionObject::new).collect::<Result<_, _>>()?,
            next_cursor: next,
        }))
    }

    /// End all sessions, or all of a subject.
    ///
    /// Exactly one of `all=true` and `subject`. `all=true` is for administrators: every session there is ends,
    /// and the access tokens of clients themselves, by one entry whatever the number. `subject` is the same as
    /// `DELETE /v1/subjects/{subject}/sessions`, for subjects that a path would change (`..`, slashes).
    #[oai(path = "/v1/sessions", method = "delete", tag = "Tag::Sessions", operation_id = "endSessions")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the route")]
    async fn end_many(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// `true`: every session there is.
        all: Query<Option<bool>>,
        /// All sessions of this subject.
        subject: Query<Option<String>>,
        /// The session of the subject that stays.
        except: Query<Option<String>>,
        /// Why, in the caller's own words, at most 256 bytes; kept in the event log.
        reason: Query<Option<String>>,
    ) -> Result<Json<EndedSessions>, Problem> {
        let caller = caller(&self.engine, authorization, &source).await?;
        match (all.0, subject.0, except.0) {
            (Some(true), None, None) => {
                self.engine.end_everything(&caller.require()?, reason.0).await?;
                Ok(Json(EndedSessions::All(EndedAll { ended: "all".into() })))
            }
            (None, Some(subject), except) => {
                let (subject, except) = (subject_named(&subject)?, parsed("except", except.as_deref())?);
                let ended = self.engine.end_subject(&caller, subject, except, reason.0).await?;
                Ok(Json(EndedSessions::Count(EndedCount { ended })))
            }
            (Some(true), None, Some(_)) => Err(Problem::invalid("except", "except needs a subject, not all")),
            (Some(false), ..) => Err(Problem::invalid("all", "all must be true")),
            _ => Err(Problem::invalid("subject", "expected exactly one of all=true and subject")),
        }
    }

    /// Read a session.
    ///
    /// For its opener, the client it was opened for, and administrators. One that has ended or expired still
    /// explains itself for as long as events are kept.
    #[oai(path = "/v1/sessions/:id", method = "get", tag = "Tag::Sessions", operation_id = "readSession")]
    async fn read(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Its identifier.
        id: Path<String>,
    ) -> Result<Json<SessionObject>, Problem> {
        let caller = caller(&self.engine, authorization, &source).await?;
        Ok(Json(SessionObject::new(self.engine.session(&caller, session_id(&id.0)?).await?)?))
    }

    /// Change a session.
    ///
    /// Its claims, its private data, the label of its device: what is left out stays, what is null is taken
    /// away. Tokens that were issued keep the claims that they have. For the session's opener and
    /// administrators.
    #[oai(path = "/v1/sessions/:id", method = "patch", tag = "Tag::Sessions", operation_id = "changeSession")]
    async fn change(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Its identifier.
        id: Path<String>,
        /// The `version` that must still be the current one, such as `"3"`, or several of which one must be;
        /// else 412.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: JsonBody<ChangeSessionBody>,
    ) -> Result<Json<SessionObject>, Problem> {
        let caller = caller(&self.engine, authorization, &source).await?;
        let change = ChangeSession {
            if_version: if_match.0.as_deref().map_or(Ok(None), versions)?,
            ..body.read()?.into()
        };
        let changed = self.engine.change_session(&caller, session_id(&id.0)?, change).await?;
        Ok(Json(SessionObject::new(changed)?))
    }

    /// Renew a session.
    ///
    /// The subject authenticated again (step-up). The old session token is dead, both timeouts start again,
    /// and the family that came with the old token is replaced by a new one; other families live on as they
    /// were granted. For the session's opener and administrators.
    #[oai(
        path = "/v1/sessions/:id/renew",
        method = "post",
        tag = "Tag::Sessions",
        operation_id = "renewSession"
    )]
    async fn renew(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Its identifier.
        id: Path<String>,
        body: OptionalJsonBody<RenewSessionBody>,
    ) -> Result<Json<OpenedBody>, Problem> {
        let caller = caller(&self.engine, authorization, &source).await?;
        let RenewSessionBody { acr, amr, auth_time } = body.read()?;
        let request =
            RenewSession { acr, amr: amr.unwrap_or_default(), auth_time: auth_time.map(|time| time.0) };
        let renewed = self.engine.renew(&caller, session_id(&id.0)?, request).await?;
        Ok(Json(self.opened_body(renewed)?))
    }

    /// End a session.
    ///
    /// Its session token, its refresh tokens and its access tokens are dead when the answer comes.
    #[oai(path = "/v1/sessions/:id", method = "delete", tag = "Tag::Sessions", operation_id = "endSession")]
    async fn end(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Its identifier.
        id: Path<String>,
    ) -> Result<EndResponse, Problem> {
        let caller = caller(&self.engine, authorization, &source).await?;
        self.engine.end_session(&caller, session_id(&id.0)?).await?;
        Ok(EndResponse::Ended)
    }
}

impl<S: Store> SessionsApi<S> {
    fn opened_body(&self, opened: Opened) -> Result<OpenedBody, StoreError> {
        let set_cookie = self.cookie.set(&opened.session_token, &opened.session);
        Ok(OpenedBody {
            session_token: opened.session_token.expose().into(),
            set_cookie,
            token_type: "Bearer".into(),
            expires_in: opened.access.expires_in,
            scope: opened.access.scope.to_string(),
            access_token: opened.access.access_token,
            refresh_token: opened.refresh_token.map(|token| token.expose().into()),
            session: SessionObject::new(self.engine.view_of_opened(opened.session, opened.data))?,
        })
    }
}

impl From<OpenSessionBody> for OpenSession {
    fn from(body: OpenSessionBody) -> Self {
        Self {
            subject: body.subject,
            client_id: body.client_id,
            scope: body.scope,
            audience: body.audience,
            acr: body.acr,
            amr: body.amr.unwrap_or_default(),
            auth_time: body.auth_time.map(|time| time.0),
            device: body.device.unwrap_or_default().into(),
            claims: body.claims.map(|claims| claims.0),
            data: body.data.map(|data| data.0),
            remember: body.remember.unwrap_or(false),
        }
    }
}

impl From<ChangeSessionBody> for ChangeSession {
    fn from(body: ChangeSessionBody) -> Self {
        fn said<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
            match value {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(value) => Some(Some(value)),
            }
        }
        let object = |value| said(value).map(|value: Option<FreeObject>| value.map(|object| object.0));
        Self {
            claims: object(body.claims),
            data: object(body.data),
            label: body.device.and_then(|device| said(device.label)),
            if_version: None,
        }
    }
}
