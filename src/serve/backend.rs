//! The database of an installation, as configured: the file, or a PostgreSQL database.

use super::AppError;
use super::installation::{UnfinishedRestore, open_when_free};
#[cfg(feature = "postgres")]
use crate::config::SharedStore;
use crate::config::{Config, Limits, Store};
use crate::engine::clock::Clock;
#[cfg(feature = "postgres")]
use crate::engine::clock::since_boot;
use crate::first_start::Places;
use crate::store::any::AnyStore;
#[cfg(feature = "postgres")]
use crate::store::postgres::{PasswordSource, Postgres, PostgresError, PostgresOptions};
use crate::store::redb::{Options, Redb};
use crate::token::keys::Keys;

pub(super) struct Backend<'a> {
    places: &'a Places,
    store: &'a Store,
    limits: &'a Limits,
    #[cfg(feature = "postgres")]
    shared: Option<PostgresOptions>,
}

impl<'a> Backend<'a> {
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "a file needs no random bytes"))]
    pub fn new(config: &'a Config, places: &'a Places, clock: &Clock) -> Self {
        Self {
            places,
            store: &config.store,
            limits: &config.limits,
            #[cfg(feature = "postgres")]
            shared: shared_options(config, clock),
        }
    }

    /// Whether the shared database exists; `None` for a file, which the first start looks for itself.
    pub async fn is_created(&self) -> Result<Option<bool>, AppError> {
        #[cfg(feature = "postgres")]
        if let Some(shared) = &self.shared {
            return Ok(Some(Postgres::has_schema(shared).await.map_err(|cause| self.error(cause))?));
        }
        Ok(None)
    }

    /// Creates the database.
    pub async fn create(&self, keys: &Keys) -> Result<(), AppError> {
        #[cfg(feature = "postgres")]
        if let Some(shared) = &self.shared {
            return Postgres::create(shared, keys).await.map_err(|cause| self.error(cause));
        }
        Redb::create(&self.places.database, keys)
            .map_err(|cause| AppError::store(&self.places.database, cause))
    }

    /// Opens the database.
    pub async fn open(&self, keys: &Keys) -> Result<AnyStore, AppError> {
        #[cfg(feature = "postgres")]
        if let Some(shared) = &self.shared {
            let opened = Postgres::open(shared, keys).await.map_err(|cause| self.error(cause))?;
            return Ok(AnyStore::Postgres(opened));
        }
        drop(UnfinishedRestore::at(self.places));
        let options = options(self.store, self.limits);
        let store = open_when_free(|| Redb::open(&self.places.database, keys, options));
        let store = store.map_err(|cause| AppError::store(&self.places.database, cause))?;
        store.reserve(self.store.reserve_bytes as u64);
        Ok(AnyStore::Redb(store))
    }

    #[cfg(feature = "postgres")]
    fn error(&self, cause: PostgresError) -> AppError {
        AppError::database(self.places.database.display().to_string(), cause)
    }
}

/// Checks the address of a shared store, as a start does, without connecting to it.
///
/// # Errors
/// `store.url` is malformed, or has an option that is not supported.
#[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "there is no shared store"))]
pub fn check_address(config: &Config) -> Result<(), AppError> {
    #[cfg(feature = "postgres")]
    if let Some(shared) = &config.store.shared {
        let failed = |cause| AppError::database(shared.url.shown(), cause);
        crate::store::postgres::check_address(&shared.url.0).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn options(store: &Store, limits: &Limits) -> Options {
    Options { cache_bytes: store.cache_bytes, write_queue_max: limits.write_queue_max }
}

#[cfg(feature = "postgres")]
pub(super) fn shared_options(config: &Config, clock: &Clock) -> Option<PostgresOptions> {
    Some(postgres_options(config, config.store.shared.as_ref()?, clock))
}

/// The options of a shared store, which need not be the configured one.
#[cfg(feature = "postgres")]
pub(super) fn postgres_options(config: &Config, shared: &SharedStore, clock: &Clock) -> PostgresOptions {
    let boot: [u8; 16] = clock.random();
    let replica = if shared.replica.is_empty() {
        format!("replica-{:08x}", u32::from_be_bytes([boot[0], boot[1], boot[2], boot[3]])).into()
    } else {
        shared.replica.clone()
    };
    let password = PasswordSource { file: shared.password_file.clone(), passfile: shared.passfile.clone() };
    PostgresOptions {
        url: shared.url.0.clone(),
        password,
        max_staleness: shared.max_staleness,
        require_synchronous: shared.require_synchronous,
        replica,
        boot,
        write_queue_max: config.limits.write_queue_max,
        elapsed: since_boot,
    }
}
