//! What the tests stand on: servers, stores, disks, clocks and the people who sign in.

#[path = "../../simulator/dice.rs"]
#[expect(dead_code, reason = "the simulator uses the rest")]
pub mod dice;
#[path = "../../simulator/disk.rs"]
#[expect(dead_code, reason = "the simulator uses the rest")]
pub mod disk;
pub mod fixture;
pub mod operator;
pub mod people;
pub mod process;
pub mod server;
pub mod wired;
