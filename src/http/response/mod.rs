//! What an answer is made of.

pub(crate) mod answer;
pub(crate) mod error;
pub(crate) mod headers;
pub(crate) mod stream;

pub(crate) use self::answer::{Created, Json, NoContent};
pub(crate) use self::error::{OAuthError, PROBLEM_JSON, Problem, ProblemOr, json_response};
