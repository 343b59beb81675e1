//! The composition root: configuration, files, store, engine and HTTP service become one running server.

mod app;
mod backend;
mod check;
mod dev;
mod error;
mod installation;
mod listen;
mod open_files;
mod restore;
mod restored;
mod run;
mod running;
mod service_manager;
#[cfg(feature = "postgres")]
mod shared;
mod tls;

pub use app::{App, DevTime, openapi_document};
pub use backend::check_address;
pub use check::check;
pub use dev::{Storage, start_dev};
pub use error::{AppError, RunError};
pub use installation::places;
pub use restore::{NotRebuilt, rebuild, restore};
pub use restored::{Accept, Kept, RestoreProgress, Restored};
pub use run::run;
pub use running::RunningServer;
#[cfg(feature = "postgres")]
pub use shared::{Moved, move_from, move_to, recovered};
pub use tls::chain as certificate_chain;
