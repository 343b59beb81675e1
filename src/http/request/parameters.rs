//! Parameters of paths and queries that several routes have.

use std::str::FromStr;

use crate::domain::id::SessionId;
use crate::domain::refusal::Refused;
use crate::http::response::error::Problem;

/// The number of items of a page if the request does not say one.
const PAGE_SIZE_DEFAULT: usize = 50;
const PAGE_SIZE_MAX: usize = 200;

/// The default of `limit`.
pub(crate) fn page_default() -> usize {
    PAGE_SIZE_DEFAULT
}

/// The number of items of a page, from `limit`.
pub(crate) fn page_size(limit: usize) -> Result<usize, Problem> {
    if (1..=PAGE_SIZE_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::invalid("limit", format!("limit must be from 1 to {PAGE_SIZE_MAX}")))
    }
}

/// A query parameter whose value has a type of the domain.
pub(crate) fn parsed<T: FromStr>(field: &'static str, text: Option<&str>) -> Result<Option<T>, Problem> {
    text.map(|text| text.parse().map_err(|_| Problem::invalid(field, format!("{field} is malformed"))))
        .transpose()
}

/// The session that a path names. A malformed identifier is answered 404, like an unknown one.
pub(crate) fn session_id(text: &str) -> Result<SessionId, Problem> {
    text.parse().map_err(|_| Refused::no_such_session().into())
}
