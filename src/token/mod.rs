//! What travels and what rests: token codecs, the keyring, and encryption at rest. Knows the domain's words and none of its decisions.

pub mod keys;
pub mod seal;
