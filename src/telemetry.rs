//! The log on standard error, as text or as JSON lines.
//!
//! Never logged, at any level: tokens, client secrets, cookies, `Authorization` headers, the master key and
//! keys derived from it, request and response bodies, query strings, and personal data (subjects, claims,
//! `data`, device labels, addresses). Logged instead: session, client and key ids, event positions, causes.

use std::fmt::Result;
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::config::{Log, LogFormat};

/// Returns the id of the current request, if there is one: visible ASCII without quotes and backslashes.
type RequestIdSource = fn() -> Option<String>;

/// Starts the log. Text is coloured only on a terminal without `NO_COLOR`. A line that a request caused ends
/// with its request id.
///
/// # Errors
/// If the process already has a log.
pub fn init(
    log: &Log,
    request: RequestIdSource,
) -> std::result::Result<(), tracing::subscriber::SetGlobalDefaultError> {
    let coloured =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing::subscriber::set_global_default(subscriber(log, coloured, request, std::io::stderr))
}

/// A single level applies to keyfob; libraries log from `warn` on. Directives are used unchanged.
fn filter(level: &str) -> Targets {
    let directives = match level.parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::WARN => format!("warn,keyfob={level}"),
        _ => level.to_owned(),
    };
    directives.parse().expect("the configuration accepts only directives")
}

fn subscriber<W>(
    log: &Log,
    coloured: bool,
    request: RequestIdSource,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A line that cannot be written is lost. Reporting that on standard error, which is the log, would panic.
    let filter = filter(&log.level);
    let lines = tracing_subscriber::fmt()
        .with_max_level(Layer::<Registry>::max_level_hint(&filter).unwrap_or(LevelFilter::TRACE))
        .with_writer(writer)
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => {
            let lines = lines.with_ansi(coloured).with_target(false).fmt_fields(TextFields(request));
            Box::new(lines.finish().with(filter))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            Box::new(lines.map_event_format(|format| JsonLine { format, request }).finish().with(filter))
        }
    }
}

/// The fields of a text line, then the request id.
struct TextFields(RequestIdSource);

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> Result {
        DefaultFields::new().format_fields(writer.by_ref(), fields)?;
        match (self.0)() {
            Some(id) => write!(writer, " request_id={id}"),
            None => Ok(()),
        }
    }
}

/// A JSON line with the request id as its last member.
struct JsonLine<F> {
    format: F,
    request: RequestIdSource,
}

impl<S, N, F> FormatEvent<S, N> for JsonLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> Result {
        let Some(id) = (self.request)() else { return self.format.format_event(context, writer, event) };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let object = line.trim_end().strip_suffix('}').unwrap_or(&line);
        writeln!(writer, r#"{object},"request_id":"{id}"}}"#)
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
        logged_by(|| None, format, level, log)
    }

    fn logged_by(request: RequestIdSource, format: LogFormat, level: &str, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            subscriber(&Log { format, level: level.into() }, false, request, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    fn log_lines() {
        tracing::info!(target: "keyfob::serve", port = 8080, "listening");
        tracing::info!(target: "hyper", "noise");
    }

    #[test]
    fn text_is_a_plain_line_and_json_an_object() {
        let text = logged(LogFormat::Text, "info", log_lines);
        assert!(text.contains(" INFO listening port=8080\n") && !text.contains('\u{1b}'), "{text}");
        let json = logged(LogFormat::Json, "info", log_lines);
        let line: serde_json::Value = serde_json::from_str(json.trim_end()).expect("one object a line");
        assert_eq!(
            (&line["level"], &line["message"], &line["port"]),
            (&"INFO".into(), &"listening".into(), &8080.into())
        );
    }

    #[test]
    fn a_line_that_a_request_caused_has_its_request_id() {
        let request = || Some("a1b2c3d4-0000000001".to_owned());
        let text = logged_by(request, LogFormat::Text, "info", log_lines);
        assert!(text.ends_with(" INFO listening port=8080 request_id=a1b2c3d4-0000000001\n"), "{text}");
        let json = logged_by(request, LogFormat::Json, "info", log_lines);
        let line: serde_json::Value =
            serde_json::from_str(json.strip_suffix('\n').unwrap()).expect("one object a line");
        assert_eq!(
            (&line["message"], &line["port"], &line["request_id"]),
            (&"listening".into(), &8080.into(), &request().into())
        );
    }

    #[test]
    fn a_level_applies_to_keyfob_and_directives_are_used_unchanged() {
        assert!(!logged(LogFormat::Text, "trace", log_lines).contains("noise"), "libraries log from warn on");
        assert_eq!(logged(LogFormat::Text, "warn", log_lines), "");
        assert_eq!(logged(LogFormat::Text, "off", log_lines), "");
        assert!(logged(LogFormat::Text, "hyper=info", log_lines).contains("noise"));
    }
}
