//! What is read of a request.

pub mod caller;
pub mod cookie;
pub mod credentials;
pub mod form;
pub mod if_match;
pub mod json;
pub mod limits;
pub mod origin;
pub mod parameters;
pub mod query;
pub mod request_id;
pub mod ticket;
pub mod types;
pub mod urlencoded;
