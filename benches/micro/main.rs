//! Micro-benchmarks of what every request is made of: tokens, records and decisions. `cargo bench --bench
//! micro`.

mod domain;
mod fixture;
mod record;
mod token;

fn main() {
    divan::main();
}
