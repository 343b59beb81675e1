//! The running program: start, stop, crash, sockets, TLS, files.

mod crash;
mod dev;
mod edge;
mod memory;
mod presets;
mod priority;
mod secrets;
mod service_manager;
mod start;
mod stop;
pub(crate) mod tls;
