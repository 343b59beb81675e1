//! `keyfob config …`: check, show and describe the configuration.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Failure, Output, print_result, table_lines};
use crate::config::{Config, PresetChange, reference};
use crate::serve;

/// Commands for the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Checks whether the configuration is valid.
    Check,
    /// Prints the effective configuration with the origin of each value. Secrets are redacted.
    Show,
    /// Prints all settings: meaning, default, valid values and environment variable, as in
    /// docs/configuration.md.
    Reference,
}

impl ConfigCommand {
    /// Runs the command. A configuration that loads is valid.
    pub fn run(self, load: impl FnOnce() -> Result<Config, Failure>, output: Output) -> Result<(), Failure> {
        match self {
            Self::Check => {
                let config = load()?;
                serve::check_address(&config).map_err(Failure::refused)?;
                check(&config, output)
            }
            Self::Show => show(&load()?, output),
            Self::Reference => print_reference(output),
        }
    }
}

fn check(config: &Config, output: Output) -> Result<(), Failure> {
    let changes = &config.preset_changes;
    let change = |change: &PresetChange| {
        json!({
            "key": change.key, "value": change.value, "preset": change.preset, "otherwise": change.otherwise,
        })
    };
    let objects: Vec<Value> = changes.iter().map(change).collect();
    let object = json!({ "valid": true, "warnings": config.warnings, "preset_changes": objects });
    print_result(output, &object, || {
        let warnings = config.warnings.iter().map(|warning| format!("warning: {warning}"));
        let changes = changes.iter().map(|PresetChange { preset, key, value, otherwise }| {
            format!("preset {preset} sets {key} to {value:?}; without it the value is {otherwise:?}")
        });
        warnings.chain(changes).chain(["the configuration is valid".to_owned()]).collect()
    })
}

fn show(config: &Config, output: Output) -> Result<(), Failure> {
    let settings = config.effective();
    print_result(output, &settings, || {
        let rows =
            settings.iter().map(|setting| [&setting.key, &setting.value, &setting.origin].map(String::clone));
        table_lines(["KEY", "VALUE", "ORIGIN"], rows)
    })
}

fn print_reference(output: Output) -> Result<(), Failure> {
    print_result(output, &reference::entries(), || vec![reference::page().trim_end().to_owned()])
}
