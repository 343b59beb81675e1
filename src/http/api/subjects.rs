//! `/v1/subjects/{subject}/sessions`: log out everywhere.

use std::sync::Arc;

use poem_openapi::param::{Path, Query};
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::domain::id::Subject;
use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::request::caller::{RequestSource, caller};
use crate::http::request::credentials::{Authorization, BasicOrBearer};
use crate::http::request::parameters::parsed;
use crate::http::response::answer::Json;
use crate::http::response::error::Problem;
use crate::store::Store;

/// Subjects.
pub struct SubjectsApi<S>(pub Arc<Engine<S>>);

/// What was ended.
#[derive(Serialize, Deserialize, Object)]
pub struct EndedCount {
    /// How many sessions ended.
    pub ended: usize,
}

#[OpenApi]
impl<S: Store> SubjectsApi<S> {
    /// Log a subject out everywhere.
    ///
    /// All in one transaction, and the same as `DELETE /v1/sessions?subject=`, where no library changes the
    /// subject on the way: who signs in after the answer stays signed in. An administrator ends all of
    /// the subject's sessions; another client its own, and its families in others, which are not counted.
    #[oai(
        path = "/v1/subjects/:subject/sessions",
        method = "delete",
        tag = "Tag::Sessions",
        operation_id = "endSubject"
    )]
    async fn end(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// Who is logged out; percent-encoded where it has to be.
        subject: Path<String>,
        /// The session that stays: "sign out everywhere else".
        except: Query<Option<String>>,
        /// The caller's own words for why, at most 256 bytes; kept in the event log.
        reason: Query<Option<String>>,
    ) -> Result<Json<EndedCount>, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        let (subject, except) = (subject_named(&subject.0)?, parsed("except", except.0.as_deref())?);
        Ok(Json(EndedCount { ended: self.0.end_subject(&caller, subject, except, reason.0).await? }))
    }
}

/// The subject that a request names; it may be one that could not be opened now.
pub(super) fn subject_named(text: &str) -> Result<Subject, Problem> {
    let malformed =
        |_| Problem::invalid("subject", "subject must have 1 to 256 bytes and no control characters");
    text.parse().map_err(malformed)
}
