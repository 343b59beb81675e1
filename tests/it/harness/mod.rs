//! What the tests stand on: servers, stores, disks, clocks and the people who sign in.

pub mod disk;
pub mod fixture;
pub mod people;
pub mod process;
pub mod server;
pub mod wired;
