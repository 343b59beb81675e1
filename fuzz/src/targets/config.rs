//! The configuration: any TOML and environment. What is valid means the same when it is written out.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use keyfob::config::{Config, DEFAULT_POLICY, Sources};

use crate::files::Scratch;

thread_local! {
    static FILE: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// A TOML text; after a NUL byte, `NAME=value` lines.
pub fn run(input: &[u8]) {
    let nul = input.iter().position(|byte| *byte == 0);
    let (text, variables) = nul.map_or((input, &[][..]), |at| (&input[..at], &input[at + 1..]));
    let text_of = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let environment = variables.split(|byte| *byte == b'\n').filter_map(|line| {
        let end = line.iter().position(|byte| *byte == b'=')?;
        Some((text_of(&line[..end]), text_of(&line[end + 1..])))
    });
    let file: PathBuf = FILE.with_borrow(|scratch| scratch.path("config.toml"));
    fs::write(&file, text).expect("the directory is ours");
    let sources = Sources { file: Some(file), environment: environment.collect(), ..Sources::default() };
    match Config::load(&sources) {
        Ok(config) => written_out(&config),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The settings that `keyfob config show` prints, as flags. Repeated tables have no flags.
fn written_out(config: &Config) {
    let is_set = |origin: &str| {
        origin.ends_with(".toml")
            || origin.starts_with("environment variable")
            || origin == "the command line"
    };
    let shown: Vec<(String, String)> = config
        .effective()
        .iter()
        .filter(|setting| !setting.key.contains('[') && is_set(&setting.origin))
        .map(|setting| (setting.key.clone(), setting.value.clone()))
        .collect();
    // A policy without settings of its own cannot be declared by a flag.
    let is_declared = |name: &String| {
        name == DEFAULT_POLICY || shown.iter().any(|(key, _)| key.starts_with(&format!("policy.{name}.")))
    };
    if !config.policies.keys().all(is_declared) {
        return;
    }
    let sources =
        Sources { directory: "/nonexistent".into(), overrides: shown.clone(), ..Sources::default() };
    let again = Config::load(&sources).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
    let values = |config: &Config| -> Vec<(String, String)> {
        let settings = config.effective().iter().filter(|setting| !setting.key.contains('['));
        settings.map(|setting| (setting.key.clone(), setting.value.clone())).collect()
    };
    assert_eq!(values(&again), values(config));
    let parts = |config: Config| {
        let Config { server, store, keys, policies, cookie, limits, log, .. } = config;
        (server, store, keys, policies, cookie, limits, log)
    };
    assert_eq!(parts(again), parts(config.clone()));
}
