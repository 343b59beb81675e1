//! What an answer is made of.

pub mod answer;
pub mod error;
pub mod headers;
pub mod stream;
