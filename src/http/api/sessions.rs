//! `/v1/sessions`: open, list, read, end.

use std::sync::Arc;

use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Object, OpenApi, Union};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::id::{ClientId, Hash, SessionId, Subject};
use crate::domain::scope::ScopeSet;
use crate::domain::session::{OpeningKey, State};
use crate::engine::Engine;
use crate::engine::change::ChangeSession;
use crate::engine::issue::Opened;
use crate::engine::open::OpenSession;
use crate::engine::read::SessionFilter;
use crate::engine::renew::RenewSession;
use crate::engine::repeat::RepeatKey;
use crate::http::api::session_object::{DeviceObject, SessionObject};
use crate::http::api::subjects::EndedCount;
use crate::http::document::Tag;
use crate::http::request::{
    Audience, Authorization, BasicOrBearer, Cookie, DateTime, FreeObject, Header, JsonBody, Management,
    NoteText, OptionalJsonBody, PageSize, Parsed, Path, Query, SealedCursor, ShortText, Text, True, Versions,
    page_default,
};
use crate::http::response::{Created, Json, NoContent, Problem, ProblemOr};
use crate::store::{Store, StoreError};

/// Sessions.
pub struct SessionsApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// Writes the session cookie.
    pub cookie: Cookie,
}

/// A sign-in of a subject whom the caller has authenticated.
#[derive(Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct OpenSessionBody {
    /// The subject: 1 to 256 bytes that keyfob does not interpret.
    subject: Text<Subject>,
    /// The client that the session is for. Default: the caller. For another client the caller must be an
    /// administrator or name it in its `opens_for`.
    client_id: Option<Text<ClientId>>,
    /// Scope names joined by spaces. Default: all scopes of the client.
    scope: Option<Text<ScopeSet>>,
    /// The audience of the access tokens. Default: the only audience of the client.
    audience: Option<Text<Audience>>,
    /// The authentication context class that the subject reached (RFC 9470).
    acr: Option<Text<ShortText>>,
    /// The methods that the subject authenticated with (RFC 8176).
    #[oai(validator(max_items = 16))]
    amr: Option<Vec<Text<ShortText>>>,
    /// When the subject authenticated. Default: now. Up to 60 s in the future it counts as now.
    auth_time: Option<DateTime>,
    /// The device that the subject signed in on.
    device: Option<DeviceObject>,
    /// Included in tokens and introspection: at most 4 KiB of JSON, with numbers of 64 bits.
    claims: Option<FreeObject>,
    /// Private to the session, never in tokens: at most 16 KiB of JSON, with numbers of 64 bits.
    data: Option<FreeObject>,
    /// Whether the `remember` timeouts of the policy apply. Default: false.
    remember: Option<bool>,
}

/// The changes of a session. An absent member stays as it is; null removes the value.
#[derive(Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct ChangeSessionBody {
    /// Included in tokens and introspection: at most 4 KiB of JSON, with numbers of 64 bits.
    #[serde(default)]
    claims: MaybeUndefined<FreeObject>,
    /// Private to the session, never in tokens: at most 16 KiB of JSON, with numbers of 64 bits.
    #[serde(default)]
    data: MaybeUndefined<FreeObject>,
    /// Changes of the device.
    device: Option<DeviceLabelBody>,
}

/// The changes of a device.
#[derive(Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct DeviceLabelBody {
    /// The name that the user gave the device: 1 to 256 bytes.
    #[serde(default)]
    label: MaybeUndefined<Text<ShortText>>,
}

/// How the subject authenticated this time.
#[derive(Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct RenewSessionBody {
    /// The authentication context class that the subject reached (RFC 9470). Default: none, whatever it was
    /// before.
    acr: Option<Text<ShortText>>,
    /// The methods that the subject authenticated with (RFC 8176).
    #[oai(validator(max_items = 16))]
    amr: Option<Vec<Text<ShortText>>>,
    /// When the subject authenticated: not in a second before the previous time. Default: now, or the previous
    /// time if that is later. Up to 60 s in the future it counts as now.
    auth_time: Option<DateTime>,
}

/// An opened or renewed session with its tokens, which no later answer contains.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
pub struct OpenedBody {
    /// The session.
    pub session: SessionObject,
    /// The session token: the value of the cookie, or for a client that stores it itself.
    pub session_token: String,
    /// The complete `Set-Cookie` header to send to the browser.
    pub set_cookie: String,
    /// The access token, in the format of the client.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: i64,
    /// The refresh token, if the client has the grant `refresh_token`.
    pub refresh_token: Option<String>,
    /// The granted scope: names joined by spaces.
    pub scope: String,
}

/// A page of sessions, oldest first.
#[derive(Serialize, Deserialize, Object)]
pub struct SessionPage {
    /// The sessions.
    pub items: Vec<SessionObject>,
    /// The `cursor` of the next page; null on the last page.
    #[oai(nullable)]
    pub next_cursor: Option<String>,
}

/// The sessions that ended.
#[derive(Serialize, Deserialize, Object)]
pub struct EndedAll {
    /// Always `all`.
    pub ended: String,
}

/// The sessions that ended: all, or a number of sessions of a subject.
#[derive(Serialize, Deserialize, Union)]
#[serde(untagged)]
#[oai(one_of)]
pub enum EndedSessions {
    All(EndedAll),
    Count(EndedCount),
}

#[OpenApi]
impl<S: Store> SessionsApi<S> {
    /// Open a session.
    ///
    /// For a subject whom the caller has authenticated. Needs the permission `sessions`. The session is
    /// durable when the answer arrives. With an `Idempotency-Key`, a request whose answer was lost can be repeated:
    /// within 10 minutes, while the session has not been used, changed or ended, the same body gets the same
    /// session, session token and refresh token, and the same access token while it could still be issued,
    /// else a fresh one. After that, or with another body, the answer is 409 and nothing is opened.
    #[oai(path = "/v1/sessions", method = "post", tag = "Tag::Sessions", operation_id = "openSession")]
    async fn open(
        &self,
        authorization: Authorization<BasicOrBearer>,
        /// A new random text for each opening, 1 to 64 visible ASCII characters; the same for its repetitions.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<Parsed<OpeningKey>>>,
        body: JsonBody<OpenSessionBody>,
    ) -> Result<Created<OpenedBody>, ProblemOr<409>> {
        let caller = authorization.caller(&self.engine).await?;
        let request = Hash(body.digest());
        let repeat = key.read_as("Idempotency-Key")?.map(|key| RepeatKey { key: key.0, request });
        let opening = OpenSession { repeat, ..body.read()?.into() };
        let opened = self.engine.open(&caller, opening).await?;
        let location = format!("/v1/sessions/{}", opened.session.id);
        Ok(Created::At(Json(self.opened_body(opened)?), location))
    }

    /// List sessions.
    ///
    /// The sessions that the caller opened or that were opened for it; for administrators all sessions.
    /// Oldest first. A page may have fewer than `limit` items and still have a `next_cursor`.
    #[oai(path = "/v1/sessions", method = "get", tag = "Tag::Sessions", operation_id = "listSessions")]
    async fn list(
        &self,
        authorization: Authorization<Management>,
        /// Only sessions of this subject.
        subject: Query<Option<Parsed<Subject>>>,
        /// Only sessions of this client.
        client_id: Query<Option<Parsed<ClientId>>>,
        /// Only sessions in this state.
        state: Query<Option<Parsed<State>>>,
        /// The largest number of items: 1 to 200.
        #[oai(default = "page_default")]
        limit: Query<PageSize>,
        /// The `next_cursor` of the previous page.
        cursor: Query<Option<Text<SealedCursor>>>,
    ) -> Result<Json<SessionPage>, Problem> {
        let caller = authorization.caller(&self.engine).await?;
        let filter = SessionFilter {
            subject: subject.read()?.map(|parsed| parsed.0),
            client_id: client_id.read()?.map(|parsed| parsed.0),
            state: state.read()?.map(|parsed| parsed.0),
        };
        let (cursor, limit) = (cursor.read()?, limit.read()?.size());
        let (views, next) = self.engine.sessions(&caller, filter, cursor.as_deref(), limit).await?;
        Ok(Json(SessionPage {
            items: views.into_iter().map(SessionObject::new).collect::<Result<_, _>>()?,
            next_cursor: next,
        }))
    }

    /// End all sessions, or all sessions of a subject.
    ///
    /// Exactly one of `all=true` and `subject`. `all=true` is for administrators: every session ends, and the
    /// clients' own access tokens, in the same time for any number. `subject` is the same as
    /// `DELETE /v1/subjects/{subject}/sessions`, for subjects that a path would change (`..`, slashes).
    #[oai(path = "/v1/sessions", method = "delete", tag = "Tag::Sessions", operation_id = "endSessions")]
    async fn end_many(
        &self,
        authorization: Authorization<Management>,
        /// `true`: every session ends.
        all: Query<Option<True>>,
        /// The subject whose sessions end.
        subject: Query<Option<Parsed<Subject>>>,
        /// A session of the subject that does not end.
        except: Query<Option<Parsed<SessionId>>>,
        /// The caller's reason, at most 256 bytes; recorded in the event log.
        reason: Query<Option<Text<NoteText>>>,
    ) -> Result<Json<EndedSessions>, Problem> {
        let authenticated = authorization.authenticate(&self.engine).await?;
        let caller = authenticated.require()?;
        let (subject, except) =
            (subject.read()?.map(|parsed| parsed.0), except.read()?.map(|parsed| parsed.0));
        let reason = reason.read()?.map(|text| text.0);
        match (all.read()?, subject, except) {
            (Some(_), None, None) => {
                self.engine.end_everything(&authenticated.require()?, reason).await?;
                Ok(Json(EndedSessions::All(EndedAll { ended: "all".into() })))
            }
            (None, Some(subject), except) => {
                let ended = self.engine.end_subject(&caller, subject, except, reason).await?;
                Ok(Json(EndedSessions::Count(EndedCount { ended })))
            }
            (Some(_), None, Some(_)) => Err(Problem::invalid("except", "except needs a subject, not all")),
            _ => Err(Problem::invalid("subject", "expected exactly one of all=true and subject")),
        }
    }

    /// Read a session.
    ///
    /// For the client that opened it, the client it was opened for, and administrators. A session that has
    /// ended or expired can be read while its events are retained.
    #[oai(path = "/v1/sessions/:id", method = "get", tag = "Tag::Sessions", operation_id = "readSession")]
    async fn read(
        &self,
        authorization: Authorization<Management>,
        /// The identifier of the session.
        id: Path<Parsed<SessionId>>,
    ) -> Result<Json<SessionObject>, Problem> {
        let caller = authorization.caller(&self.engine).await?;
        Ok(Json(SessionObject::new(self.engine.session(&caller, id.named("session")?.0).await?)?))
    }

    /// Change a session.
    ///
    /// Changes the claims, the private data and the label of the device: an absent member stays as it is;
    /// null removes the value. Issued tokens keep their claims. For the client that opened the session and
    /// administrators.
    #[oai(path = "/v1/sessions/:id", method = "patch", tag = "Tag::Sessions", operation_id = "changeSession")]
    async fn change(
        &self,
        authorization: Authorization<BasicOrBearer>,
        /// The identifier of the session.
        id: Path<Parsed<SessionId>>,
        /// The `version` that must be current, such as `"3"`, or several of which one must be; else 412.
        #[oai(name = "If-Match")]
        if_match: Header<Option<Parsed<Versions>>>,
        body: JsonBody<ChangeSessionBody>,
    ) -> Result<Json<SessionObject>, ProblemOr<409>> {
        let caller = authorization.caller(&self.engine).await?;
        let change = ChangeSession {
            if_version: if_match.read()?.and_then(|versions| versions.0.0),
            ..body.read()?.into()
        };
        let changed = self.engine.change_session(&caller, id.named("session")?.0, change).await?;
        Ok(Json(SessionObject::new(changed)?))
    }

    /// Renew a session.
    ///
    /// The subject authenticated again (step-up). The old session token becomes invalid, both timeouts
    /// restart, and the family that was issued with it is replaced by a new one; other families stay as they
    /// were granted. The tokens have what the session's client may still request of its scope (400 if that is
    /// nothing, or if it lost the audience). For the client that opened the session, as long as it may open for
    /// the session's client, and administrators.
    #[oai(
        path = "/v1/sessions/:id/renew",
        method = "post",
        tag = "Tag::Sessions",
        operation_id = "renewSession"
    )]
    async fn renew(
        &self,
        authorization: Authorization<BasicOrBearer>,
        /// The identifier of the session.
        id: Path<Parsed<SessionId>>,
        body: OptionalJsonBody<RenewSessionBody>,
    ) -> Result<Json<OpenedBody>, ProblemOr<409>> {
        let caller = authorization.caller(&self.engine).await?;
        let RenewSessionBody { acr, amr, auth_time } = body.read()?;
        let request = RenewSession {
            acr: acr.map(|text| text.0),
            amr: texts(amr),
            auth_time: auth_time.map(|parsed| parsed.0),
        };
        let renewed = self.engine.renew(&caller, id.named("session")?.0, request).await?;
        Ok(Json(self.opened_body(renewed)?))
    }

    /// End a session.
    ///
    /// Its session token, refresh tokens and access tokens are invalid when the answer arrives. A repetition gets
    /// the same answer.
    #[oai(path = "/v1/sessions/:id", method = "delete", tag = "Tag::Sessions", operation_id = "endSession")]
    async fn end(
        &self,
        authorization: Authorization<Management>,
        /// The identifier of the session.
        id: Path<Parsed<SessionId>>,
    ) -> Result<NoContent, Problem> {
        let caller = authorization.caller(&self.engine).await?;
        self.engine.end_session(&caller, id.named("session")?.0).await?;
        Ok(NoContent::Done)
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
            session: SessionObject::new(self.engine.view_opened(opened.session, opened.data))?,
        })
    }
}

fn texts<T>(list: Option<Vec<Text<T>>>) -> Vec<String> {
    list.unwrap_or_default().into_iter().map(|text| text.0).collect()
}

impl From<OpenSessionBody> for OpenSession {
    fn from(body: OpenSessionBody) -> Self {
        Self {
            subject: body.subject.0,
            client_id: body.client_id.map(|text| text.0),
            scope: body.scope.map(|text| text.0),
            audience: body.audience.map(|text| text.0),
            acr: body.acr.map(|text| text.0),
            amr: texts(body.amr),
            auth_time: body.auth_time.map(|parsed| parsed.0),
            device: body.device.unwrap_or_default().into(),
            claims: body.claims.map(|claims| claims.0),
            data: body.data.map(|data| data.0),
            remember: body.remember.unwrap_or(false),
            repeat: None,
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
            label: body.device.and_then(|device| said(device.label)).map(|label| label.map(|text| text.0)),
            if_version: None,
        }
    }
}
