//! The operator's console: signing in, what its pages read, and what its sessions may do.

mod figures;
mod files;
mod roles;
mod session;
mod simulation;
mod token;
