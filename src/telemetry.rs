//! The log: what happened, for a person or for a machine.
//!
//! Never logged, at any level: tokens, client secrets, cookies, `Authorization` headers, the master key and what is derived from it,
//! request and response bodies, query strings, and personal data (subjects, claims, `data`, device labels, addresses).
//! What is logged instead are names that mean nothing outside: session ids, client ids, key ids, event positions, and the cause of a failure.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// Starts the log of this process, on standard error. Text is coloured only on a terminal, and not where `NO_COLOR` is set.
///
/// # Errors
/// When the process has a log already.
pub fn init(log: &Log) -> Result<(), tracing::subscriber::SetGlobalDefaultError> {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing::subscriber::set_global_default(subscriber(log, coloured, std::io::stderr))
}

/// A lone level is that of keyfob; the libraries below it speak from `warn` on. Directives are taken as they are.
fn filter(level: &str) -> EnvFilter {
    let directives = match level.parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::WARN => format!("warn,keyfob={level}"),
        _ => level.to_owned(),
    };
    EnvFilter::builder().parse_lossy(directives)
}

fn subscriber<W>(log: &Log, coloured: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt().with_env_filter(filter(&log.level)).with_writer(writer);
    match log.format {
        LogFormat::Text => Box::new(lines.with_ansi(coloured).with_target(false).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(&Log { format, level: level.into() }, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    fn say() {
        tracing::info!(target: "keyfob::serve", port = 8080, "listening");
        tracing::info!(target: "hyper", "chatter");
    }

    #[test]
    fn text_is_a_plain_line_and_json_an_object() {
        let text = logged(LogFormat::Text, "info", say);
        assert!(text.contains(" INFO listening port=8080\n") && !text.contains('\u{1b}'), "{text}");
        let json = logged(LogFormat::Json, "info", say);
        let line: serde_json::Value = serde_json::from_str(json.trim_end()).expect("one object a line");
        assert_eq!((&line["level"], &line["message"], &line["port"]), (&"INFO".into(), &"listening".into(), &8080.into()));
    }

    #[test]
    fn a_level_is_that_of_keyfob_and_directives_are_taken_as_they_are() {
        assert!(!logged(LogFormat::Text, "trace", say).contains("chatter"), "the libraries stay quiet");
        assert_eq!(logged(LogFormat::Text, "warn", say), "");
        assert_eq!(logged(LogFormat::Text, "off", say), "");
        assert!(logged(LogFormat::Text, "hyper=info", say).contains("chatter"));
    }
}
