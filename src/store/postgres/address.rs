//! The address of the database: `store.url` with the password from its file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use zeroize::Zeroizing;

use super::error::PostgresError;
use super::tls::DatabaseTls;
use crate::files::{self, FileRule};

/// How long one attempt to connect to one host may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A host that does not confirm what was sent for so long is gone.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(5);
const PASSWORD_BYTES_MAX: u64 = 1 << 20;

/// Where the password of the database comes from, if it is not in the address.
#[derive(Clone, Debug, Default)]
pub struct PasswordSource {
    /// A file that contains the password.
    pub file: Option<PathBuf>,
    /// A password file of PostgreSQL: lines of `host:port:database:user:password`.
    pub passfile: Option<PathBuf>,
}

/// An address that can be connected to.
pub(super) struct DatabaseAddress {
    pub config: Config,
    pub tls: DatabaseTls,
}

impl DatabaseAddress {
    /// Reads `store.url` and the password.
    pub fn read(url: &str, password: &PasswordSource) -> Result<Self, PostgresError> {
        let (mut config, options) = parsed(url)?;
        let connect_timeout = *config.get_connect_timeout().unwrap_or(&CONNECT_TIMEOUT);
        let unconfirmed_max = *config.get_tcp_user_timeout().unwrap_or(&UNCONFIRMED_MAX);
        config
            .application_name("keyfob")
            .connect_timeout(connect_timeout)
            .tcp_user_timeout(unconfirmed_max)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let tls = match options.is_disabled.unwrap_or_else(|| config.get_hosts().iter().all(is_local)) {
            true => {
                config.ssl_mode(SslMode::Disable);
                DatabaseTls::none()
            }
            false => {
                config.ssl_mode(SslMode::Require);
                DatabaseTls::new(options.roots.as_deref())?
            }
        };
        if config.get_password().is_none()
            && let Some(password) = password.read(&config)?
        {
            config.password(password.as_bytes());
        }
        Ok(Self { config, tls })
    }
}

/// Checks `store.url` without reading the files that it names.
///
/// # Errors
/// An address that is malformed, or has an option that is not supported.
pub fn check_address(url: &str) -> Result<(), PostgresError> {
    parsed(url).map(drop)
}

fn parsed(url: &str) -> Result<(Config, TlsOptions), PostgresError> {
    let (url, options) = without_tls_options(url)?;
    let config: Config =
        url.parse().map_err(|error: tokio_postgres::Error| PostgresError::Address(reason(&error)))?;
    if config.get_hosts().is_empty() {
        return Err(PostgresError::Address("names no host".into()));
    }
    Ok((config, options))
}

/// The address of each host alone.
pub(super) fn each_host(all: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
    let one = |(at, host): (usize, &Host)| {
        let mut config = Config::new();
        match host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(path) => config.host_path(path),
        };
        addresses.get(at).map(|address| config.hostaddr(*address));
        ports.get(at).or(ports.first()).map(|port| config.port(*port));
        all.get_user().map(|user| config.user(user));
        all.get_password().map(|password| config.password(password));
        all.get_dbname().map(|name| config.dbname(name));
        all.get_options().map(|options| config.options(options));
        all.get_application_name().map(|name| config.application_name(name));
        all.get_connect_timeout().map(|timeout| config.connect_timeout(*timeout));
        all.get_tcp_user_timeout().map(|timeout| config.tcp_user_timeout(*timeout));
        all.get_keepalives_interval().map(|interval| config.keepalives_interval(interval));
        all.get_keepalives_retries().map(|retries| config.keepalives_retries(retries));
        config
            .keepalives(all.get_keepalives())
            .keepalives_idle(all.get_keepalives_idle())
            .ssl_mode(all.get_ssl_mode())
            .ssl_negotiation(all.get_ssl_negotiation())
            .channel_binding(all.get_channel_binding())
            .target_session_attrs(all.get_target_session_attrs());
        config
    };
    hosts.iter().enumerate().map(one).collect()
}

#[derive(Default)]
struct TlsOptions {
    is_disabled: Option<bool>,
    roots: Option<PathBuf>,
}

/// Takes the options that tokio-postgres does not know, or knows otherwise, out of an address.
fn without_tls_options(url: &str) -> Result<(String, TlsOptions), PostgresError> {
    let mut options = TlsOptions::default();
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), options)) };
    let mut kept = vec![];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "disable")) => options.is_disabled = Some(true),
            Some(("sslmode", "verify-full")) => options.is_disabled = Some(false),
            Some(("sslmode", _)) => {
                let why = "sslmode must be verify-full, or disable; other modes do not verify the server";
                return Err(PostgresError::Address(why.into()));
            }
            Some(("sslrootcert", path)) => {
                options.roots = Some(PathBuf::from(&*percent_decode_str(path).decode_utf8_lossy()));
            }
            _ => kept.push(pair),
        }
    }
    let query = kept.join("&");
    Ok((if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }, options))
}

/// The parser names the option, not its value.
fn reason(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("is not an address of a PostgreSQL database{cause}")
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    }
}

impl PasswordSource {
    fn read(&self, config: &Config) -> Result<Option<Zeroizing<String>>, PostgresError> {
        if let Some(path) = &self.file {
            let text = secret_text(path)?;
            return Ok(Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())));
        }
        let Some(path) = &self.passfile else { return Ok(None) };
        let text = secret_text(path)?;
        Ok(text.lines().find_map(|line| password_in(line, config)))
    }
}

fn secret_text(path: &Path) -> Result<Zeroizing<String>, PostgresError> {
    let unusable = |cause: String| PostgresError::File { path: path.to_owned(), cause };
    let (bytes, _) = files::read(path, FileRule::Secret, PASSWORD_BYTES_MAX)
        .map_err(|error| unusable(format!("the password cannot be read: {error}")))?;
    let bytes = bytes.ok_or_else(|| unusable("is longer than 1 MiB".into()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("is not UTF-8".into()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The password in a line of a password file, if the line is for this address. One line is for all hosts of
/// an address, or for none.
fn password_in(line: &str, config: &Config) -> Option<Zeroizing<String>> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => fields.last_mut()?.extend(chars.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            char => fields.last_mut()?.push(char),
        }
    }
    let [host, port, database, user, password] = <[String; 5]>::try_from(fields).ok()?;
    let is = |pattern: &str, value: &str| pattern == "*" || pattern == value;
    let name = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(_) => "localhost".to_owned(),
    };
    let user_name = config.get_user().unwrap_or_default();
    let hosts = config.get_hosts().iter().all(|known| is(&host, &name(known)));
    let ports = match config.get_ports() {
        [] => is(&port, "5432"),
        ports => ports.iter().all(|known| is(&port, &known.to_string())),
    };
    let fits =
        hosts && ports && is(&database, config.get_dbname().unwrap_or(user_name)) && is(&user, user_name);
    fits.then(|| Zeroizing::new(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Config, String> {
        let address = DatabaseAddress::read(url, &PasswordSource::default());
        address.map(|address| address.config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_remote_server_is_verified_and_a_weaker_mode_refused() {
        let mode = |url| read(url).unwrap().get_ssl_mode();
        assert_eq!(mode("postgres://keyfob@localhost/keyfob"), SslMode::Disable);
        assert_eq!(mode("postgres://keyfob@%2Frun%2Fpostgresql/keyfob"), SslMode::Disable);
        assert_eq!(mode("postgres://keyfob@db1/keyfob?sslmode=disable"), SslMode::Disable);
        let refused = read("postgres://keyfob@db1,db2/keyfob?connect_timeout=1&sslmode=require").unwrap_err();
        assert!(refused.contains("sslmode must be verify-full"), "{refused}");
        let unknown = read("postgres://keyfob:secret@localhost/keyfob?colour=red").unwrap_err();
        assert!(unknown.contains("colour") && !unknown.contains("secret"), "{unknown}");
        let missing = read("postgres://db1/keyfob?sslrootcert=%2Fnowhere%2Froot.crt").unwrap_err();
        assert!(missing.starts_with("/nowhere/root.crt: "), "{missing}");
        assert!(check_address("postgres://db1/keyfob?sslrootcert=%2Fnowhere%2Froot.crt").is_ok());
        assert!(check_address("postgres://db1/keyfob?sslmode=prefer").is_err());
    }

    #[test]
    fn each_host_alone_has_everything_but_the_other_hosts() {
        let ports = "postgres://keyfob:secret@db1:5433,db2:5434/sessions?sslmode=disable&connect_timeout=7";
        let all = read(ports).unwrap();
        let alone = each_host(&all);
        let expected = [("db1", 5433), ("db2", 5434)];
        for (one, (host, port)) in alone.iter().zip(expected) {
            let url =
                format!("postgres://keyfob:secret@{host}:{port}/sessions?sslmode=disable&connect_timeout=7");
            assert_eq!(*one, read(&url).unwrap());
        }
        assert_eq!(alone.len(), 2);
        let one_port = each_host(&read("postgres://keyfob@%2Frun,db2:5434/sessions").unwrap());
        assert_eq!(one_port[0].get_hosts(), [Host::Unix("/run".into())]);
    }

    #[test]
    fn a_password_file_is_read_as_postgresql_reads_it() {
        let config = read("postgres://keyfob@localhost:5433/sessions").unwrap();
        let found = |line: &str| password_in(line, &config).map(|password| password.to_string());
        assert_eq!(found("localhost:5433:sessions:keyfob:a\\:b\\\\c:d").as_deref(), Some("a:b\\c:d"));
        assert_eq!(found("*:*:*:*:all").as_deref(), Some("all"));
        for other in
            ["db1:5433:sessions:keyfob:x", "*:5432:*:*:x", "*:*:*:root:x", "# *:*:*:*:x", "*:*:*", ""]
        {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
