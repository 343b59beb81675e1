//! Fuzz targets for libFuzzer in one program: it runs the target by whose name it is called, and lists them
//! if it is called otherwise. `.ci/prove fuzz` builds and runs it.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

mod files;
mod memory;
mod server;
mod targets;
mod text;

type Target = fn(&[u8]);

/// The targets by name; `docs/reliability.md` says what each shows.
const TARGETS: &[(&str, Target)] = &[
    ("access", targets::access::run),
    ("backup", targets::backup::run),
    ("basic", targets::basic::run),
    ("body", targets::body::run),
    ("config", targets::config::run),
    ("cookie", targets::cookie::run),
    ("cursor", targets::cursor::run),
    ("form", targets::form::run),
    ("forwarded", targets::forwarded::run),
    ("opaque", targets::opaque::run),
    ("record", targets::record::run),
    ("request", targets::request::run),
    ("restore", targets::restore::run),
    ("value", targets::value::run),
];

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: choose(), |input: &[u8]| {
    TARGET.get().expect("libFuzzer initialises first")(input);
});

fn choose() {
    let called = std::env::args().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default();
    let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        println!("{}", names.join(" "));
        std::process::exit(0);
    };
    TARGET.get_or_init(|| *target);
}
