//! The database that several replicas share: `[store] url` and what belongs to it.

use std::path::PathBuf;
use std::time::Duration;

use super::SharedStore;
use super::fault::without_password;
use super::format::{Format, any_text, boolean, duration_within, file_path};
use super::sheet::Sheet;
use super::source::Sources;
use crate::domain::hidden::hidden;

/// The address of a PostgreSQL database. It can contain a password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(pub String);

hidden!(DatabaseUrl);

impl DatabaseUrl {
    /// An address from the command line.
    ///
    /// # Errors
    /// What would be valid.
    pub fn read(text: &str) -> Result<Self, String> {
        database_url().parse(text)
    }

    /// The address without a password.
    pub fn shown(&self) -> String {
        without_password(&self.0)
    }
}

/// A URL whose password, if it has one, stands before the host.
fn database_url() -> Format<DatabaseUrl> {
    let valid = "the URL of a PostgreSQL database, such as \"postgres://keyfob@db1,db2/keyfob\"";
    Format::text(valid, |text| {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))?;
        let parameters = rest.split_once('?').map_or("", |(_, query)| query);
        let hides_password = !parameters.split('&').any(|pair| pair.starts_with("password="));
        let is_text = !text.contains(|char: char| char.is_whitespace() || char.is_control());
        (is_text && hides_password && !rest.is_empty()).then(|| DatabaseUrl(text.to_owned()))
    })
}

const MAX_STALENESS: &str = "2s";
const REQUIRE_SYNCHRONOUS: &str = "true";

fn max_staleness() -> Format<Duration> {
    duration_within("1s", "60s")
}

impl SharedStore {
    /// A database of this address, with the defaults of all other settings.
    pub fn with_defaults(url: DatabaseUrl, passfile: Option<PathBuf>) -> Self {
        let valid = "the default is valid";
        Self {
            url,
            password_file: None,
            passfile,
            max_staleness: max_staleness().parse(MAX_STALENESS).expect(valid),
            require_synchronous: boolean().parse(REQUIRE_SYNCHRONOUS).expect(valid),
            replica: Box::default(),
        }
    }
}

/// Reads the settings of a shared store; `None` without `store.url`.
pub(super) fn read(sheet: &mut Sheet, sources: &Sources) -> Option<SharedStore> {
    let url = sheet.optional("store.url", &database_url());
    let password_file = sheet.optional("store.password_file", &file_path());
    let max_staleness = sheet.read("store.max_staleness", MAX_STALENESS, &max_staleness());
    let require_synchronous = sheet.read("store.require_synchronous", REQUIRE_SYNCHRONOUS, &boolean());
    let replica = sheet.read("store.replica", "", &any_text());
    let passfile = sources.variable("PGPASSFILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let url = url?;
    if cfg!(not(feature = "postgres")) {
        sheet.refuse("store.url", "this keyfob was built without PostgreSQL (the feature postgres of cargo)");
    }
    Some(SharedStore { url, password_file, passfile, max_staleness, require_synchronous, replica })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        for (url, shown) in [
            ("postgres://keyfob@db/keyfob", "postgres://keyfob@db/keyfob"),
            ("postgres://keyfob:s3cret@db/keyfob?x=a:b@c", "postgres://keyfob:…@db/keyfob?x=a:b@c"),
            ("postgres://keyfob:a@b:c@db:5432", "postgres://keyfob:…@db:5432"),
            ("postgres:///keyfob?host=/run", "postgres:///keyfob?host=/run"),
        ] {
            assert_eq!(DatabaseUrl(url.to_owned()).shown(), shown);
        }
        assert!(!format!("{:?}", DatabaseUrl("postgres://a:s3cret@b".into())).contains("s3cret"));
        for wrong in ["mysql://db/keyfob", "postgres://", "postgres://db/k?password=x", "postgres://d b/k"] {
            assert!(database_url().parse(wrong).is_err(), "{wrong}");
        }
    }
}
