//! What an answer is made of.

pub(crate) mod answer;
pub(crate) mod error;
pub(crate) mod headers;
pub(crate) mod stream;
