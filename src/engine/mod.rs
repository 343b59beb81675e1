//! The use cases. What each answers when it does not do what was asked.

use crate::domain::refusal::Refused;
use crate::store::StoreError;

/// Why a use case did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Our answer is no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something is broken; whether the caller may have what it asked for is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}
