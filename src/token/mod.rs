//! What travels and what rests: token codecs, the keyring, and encryption at rest. Knows the domain's words
//! and none of its decisions.

pub mod access;
pub mod client_secret;
pub mod json;
pub mod jwt;
pub mod keyring;
pub mod keys;
pub mod opaque;
pub mod paserk;
pub mod paseto;
pub mod seal;
pub mod verifier;

#[cfg(test)]
mod vectors;
