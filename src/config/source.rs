//! The sources of settings: the file, the environment, the command line. Values stay text until they are
//! read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::util::nest;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::fault::{ConfigError, Fault};
use crate::files::{self, FileRule};

/// A longer configuration file is rejected.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The default file, read if it exists.
const FILE: &str = "config.toml";
/// The default file of a program below [`INSTALLED`].
const INSTALLED_FILE: &str = "/etc/keyfob/config.toml";
const INSTALLED: &str = "/usr";
/// The prefix of variables that are settings.
const PREFIX: &str = "KEYFOB_";
/// Stands for the dot of a key in a variable's name. A variable without it is no setting.
const SEPARATOR: &str = "__";

/// All sources of the configuration, as a value that tests can make.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file named by `--config`; it must exist. `None`: `config.toml` in `directory`, if there is one.
    pub file: Option<PathBuf>,
    /// The directory of the default `config.toml`; empty is the working directory.
    pub directory: PathBuf,
    pub environment: Vec<(OsString, OsString)>,
    /// Settings given by flags, as key and value.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// The sources of this process.
    pub fn of_process(file: Option<PathBuf>, overrides: Vec<(String, String)>) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        let file = file.or_else(|| installed_file(&program).filter(|file| file.exists()));
        Self { file, environment: std::env::vars_os().collect(), overrides, ..Self::default() }
    }

    pub(super) fn variable(&self, name: &str) -> Option<&OsString> {
        self.environment.iter().find(|(variable, _)| variable == name).map(|(_, value)| value)
    }

    /// The merged sources, and a fault for each variable or flag that is no setting.
    pub(super) fn merge(&self) -> Result<(Figment, Vec<Fault>), ConfigError> {
        let mut figment = self.file_layer()?.map_or_else(Figment::new, Figment::from);
        let (mut layers, mut faults) = self.environment_layers();
        let by_flag =
            |(key, value): &(String, String)| (key.clone(), value.clone(), "the command line".to_owned());
        layers.extend(self.overrides.iter().map(by_flag));
        for (key, value, origin) in layers {
            if key.split('.').any(str::is_empty) {
                let problem = "is not the name of a setting".to_owned();
                faults.push(Fault { key, value: None, origin, problem });
                continue;
            }
            let Value::Dict(_, data) = nest(&key, Value::from(value)) else { continue };
            figment = figment.merge(Layer { origin, data });
        }
        Ok((figment, faults))
    }

    fn file_layer(&self) -> Result<Option<Layer>, ConfigError> {
        let path = self.file.clone().unwrap_or_else(|| self.directory.join(FILE));
        let text = match read_file(&path) {
            Err(None) if self.file.is_none() => return Ok(None),
            text => required(&path, text)?,
        };
        let data = parse_toml(&path, &text)?;
        Ok(Some(Layer { origin: path.display().to_string(), data }))
    }

    /// The settings among the environment variables, as key, value and origin, in the order of their names.
    fn environment_layers(&self) -> (Vec<(String, String, String)>, Vec<Fault>) {
        let (mut layers, mut faults) = (vec![], vec![]);
        for (name, value) in &self.environment {
            let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let Some(rest) = rest.filter(|rest| rest.contains(SEPARATOR)) else { continue };
            let key = rest.to_lowercase().replace(SEPARATOR, ".");
            let origin = format!("environment variable {PREFIX}{rest}");
            match value.to_str() {
                Some(value) => layers.push((key, value.to_owned(), origin)),
                None => {
                    let problem = "the value is not UTF-8".to_owned();
                    faults.push(Fault { key, value: None, origin, problem });
                }
            }
        }
        layers.sort_by(|a, b| a.2.cmp(&b.2));
        (layers, faults)
    }
}

/// The settings of this TOML text alone.
pub(super) fn of_text(text: &str) -> Result<Figment, ConfigError> {
    let data = parse_toml(Path::new(FILE), text)?;
    Ok(Figment::from(Layer { origin: FILE.to_owned(), data }))
}

/// The default file of an installed program: `sudo keyfob` must not read a file in the working directory,
/// which any user may own.
fn installed_file(program: &Path) -> Option<PathBuf> {
    program.starts_with(INSTALLED).then(|| INSTALLED_FILE.into())
}

/// Parses the file. The parser's message quotes the line, which may hold a secret: only cause and position
/// are kept.
pub(super) fn parse_toml(path: &Path, text: &str) -> Result<Dict, ConfigError> {
    Toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let position = before.map(|before| {
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
        });
        ConfigError::File {
            path: path.to_owned(),
            position,
            problem: format!("not valid TOML: {}", error.message().replace('\n', "; ")),
        }
    })
}

/// One source, as a figment provider.
pub(super) struct Layer {
    pub origin: String,
    pub data: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.data.clone())]))
    }
}

/// The text of a file that must exist.
pub(super) fn required_file(path: &Path) -> Result<String, ConfigError> {
    required(path, read_file(path))
}

fn required(path: &Path, text: Result<String, Option<String>>) -> Result<String, ConfigError> {
    let none = "there is no such configuration file; name an existing one, or omit the option";
    text.map_err(|problem| ConfigError::File {
        path: path.to_owned(),
        position: None,
        problem: problem.unwrap_or_else(|| none.to_owned()),
    })
}

/// The text of a configuration file; `Err(None)` if there is no such file.
fn read_file(path: &Path) -> Result<String, Option<String>> {
    let cannot = |why: &str| Some(format!("the configuration file cannot be used: {why}"));
    match files::read(path, FileRule::Public, FILE_BYTES_MAX) {
        Ok((bytes, _)) => {
            let bytes = bytes.ok_or_else(|| cannot("it is longer than 4 MiB"))?;
            std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| cannot("it is not UTF-8"))
        }
        Err(error) if error.is_not_found() => Err(None),
        Err(error) => Err(cannot(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_installed_program_reads_the_file_below_etc() {
        for (program, file) in [
            ("/usr/bin/keyfob", Some(INSTALLED_FILE)),
            ("/usr/local/bin/keyfob", Some(INSTALLED_FILE)),
            ("/home/usr/keyfob", None),
            ("target/release/keyfob", None),
            ("", None),
        ] {
            assert_eq!(installed_file(Path::new(program)).as_deref(), file.map(Path::new), "{program}");
        }
    }
}
