//! `/v1/subjects/{subject}/sessions`: log out everywhere.

use std::sync::Arc;

use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::domain::id::{SessionId, Subject};
use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::request::{Authorization, Management, NoteText, Parsed, Path, Query, Text};
use crate::http::response::{Json, Problem};
use crate::store::Store;

/// Subjects.
pub struct SubjectsApi<S>(pub Arc<Engine<S>>);

/// The sessions that ended.
#[derive(Serialize, Deserialize, Object)]
pub struct EndedCount {
    /// The number of sessions that ended.
    pub ended: usize,
}

#[OpenApi]
impl<S: Store> SubjectsApi<S> {
    /// Log a subject out everywhere.
    ///
    /// In one transaction: a sign-in after the answer is not affected. An administrator ends all sessions of
    /// the subject; another client ends its own sessions, and its families in other sessions, which are not
    /// counted. `DELETE /v1/sessions?subject=` does the same for subjects that a path would change.
    #[oai(
        path = "/v1/subjects/:subject/sessions",
        method = "delete",
        tag = "Tag::Sessions",
        operation_id = "endSubject"
    )]
    async fn end(
        &self,
        authorization: Authorization<Management>,
        /// The subject, percent-encoded.
        subject: Path<Parsed<Subject>>,
        /// A session that does not end: "sign out everywhere else".
        except: Query<Option<Parsed<SessionId>>>,
        /// The caller's reason, at most 256 bytes; recorded in the event log.
        reason: Query<Option<Text<NoteText>>>,
    ) -> Result<Json<EndedCount>, Problem> {
        let caller = authorization.caller(&self.0).await?;
        let subject = subject.read_as("subject")?.0;
        let except = except.read()?.map(|parsed| parsed.0);
        let note = reason.read()?.map(|text| text.0);
        Ok(Json(EndedCount { ended: self.0.end_subject(&caller, subject, except, note).await? }))
    }
}
