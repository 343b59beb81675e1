//! Token codecs, the keyring, derived keys and encryption at rest. Knows the types of the domain, but makes
//! none of its decisions.

pub mod access;
pub mod client_secret;
pub mod console_link;
pub mod cursor;
pub(crate) mod es256;
pub mod form;
pub(crate) mod json;
pub(crate) mod jwt;
pub mod keyring;
pub mod keys;
pub mod opaque;
pub mod paserk;
pub(crate) mod paseto;
pub(crate) mod public_key;
pub mod seal;
pub mod text_names;
pub mod verifier;

#[cfg(test)]
mod vectors;
