//! The signature algorithms of signing keys.

use super::names::names;

names! {
    /// A JWS algorithm (RFC 7518, RFC 8037). Each signing key has exactly one.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum Algorithm {
        /// Ed25519: PASETO v4.public and JWTs.
        EdDsa = "EdDSA",
        /// ECDSA on P-256 with SHA-256: JWTs only.
        Es256 = "ES256",
    }
}
