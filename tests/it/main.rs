//! Every integration test, in one binary.

mod activity;
mod caps;
mod changes;
mod conformance;
mod cookies;
mod crash;
mod disk;
mod durability;
mod families;
mod fixture;
mod forward_auth;
mod introspect;
mod introspect_callers;
mod layers;
mod model;
mod openapi;
mod people;
mod power;
mod process;
mod renew;
mod rotation;
mod server;
mod tour;
mod whoami;
