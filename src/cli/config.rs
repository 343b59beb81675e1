//! `keyfob config …`: check, show and describe the configuration.

use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{Table, print_json, print_lines, print_result};
use super::{Failure, Output};
use crate::config::{Config, PresetChange, reference};

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
            Self::Check => check(&load()?, output),
            Self::Show => show(&load()?, output),
            Self::Reference => print_reference(output),
        }
    }
}

fn check(config: &Config, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => {
            let change = |change: &PresetChange| json!({ "key": change.key, "value": change.value, "preset": change.preset, "otherwise": change.otherwise });
            let changes: Vec<Value> = config.preset_changes.iter().map(change).collect();
            print_json(&json!({ "valid": true, "warnings": config.warnings, "preset_changes": changes }))
        }
        Output::Human => {
            let warnings = config.warnings.iter().map(|warning| format!("warning: {warning}"));
            let changes =
                config.preset_changes.iter().map(|PresetChange { preset, key, value, otherwise }| {
                    format!("preset {preset} sets {key} to {value:?}; without it the value is {otherwise:?}")
                });
            print_lines(
                &warnings.chain(changes).chain(["the configuration is valid".to_owned()]).collect::<Vec<_>>(),
            )
        }
    }
}

fn show(config: &Config, output: Output) -> Result<(), Failure> {
    print_result(output, &config.effective(), || {
        let mut table = Table::new(&["KEY", "VALUE", "ORIGIN"]);
        for setting in config.effective() {
            table.row([setting.key.clone(), setting.value.clone(), setting.origin.clone()]);
        }
        table.take_lines()
    })
}

fn print_reference(output: Output) -> Result<(), Failure> {
    match output {
        Output::Human => print_lines(&[reference::page().trim_end().to_owned()]),
        Output::Json => print_json(&reference::entries()),
    }
}
