//! What is read of a request.

pub mod admission;
pub mod cookie;
pub(crate) mod credentials;
pub(crate) mod form;
pub(crate) mod formats;
pub(crate) mod head_check;
pub(crate) mod if_match;
pub(crate) mod json;
pub mod limits;
pub mod origin;
pub(crate) mod parameters;
pub(crate) mod query;
pub(crate) mod request_id;
pub(crate) mod session_credential;
pub(crate) mod types;
pub(crate) mod urlencoded;
