//! The page of metrics: Prometheus text (0.0.4), or OpenMetrics (1.0.0) if the request accepts it.

use std::fmt::{Display, Write};

use crate::meter::Distribution;

/// The format of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpositionFormat {
    /// The default.
    Text,
    /// Preferred by newer collectors.
    OpenMetrics,
}

impl ExpositionFormat {
    /// The format that an `Accept` header asks for.
    pub fn accepted(accept: &str) -> Self {
        let asked = accept.split(',').any(|range| range.trim().starts_with("application/openmetrics-text"));
        if asked { Self::OpenMetrics } else { Self::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page that is being written.
pub struct Page {
    form: ExpositionFormat,
    text: String,
}

/// The samples of one metric.
pub struct Samples<'p> {
    text: &'p mut String,
    name: String,
}

impl Page {
    pub fn new(form: ExpositionFormat) -> Self {
        Self { form, text: String::with_capacity(32 * 1024) }
    }

    /// Starts a counter. `name` ends with `_total`.
    pub fn counter(&mut self, name: &str, help: &str) -> Samples<'_> {
        // OpenMetrics names the family without the suffix, the older form with it.
        let family =
            if self.form == ExpositionFormat::OpenMetrics { name.trim_end_matches("_total") } else { name };
        self.family(family, name, "counter", help)
    }

    pub fn gauge(&mut self, name: &str, help: &str) -> Samples<'_> {
        self.family(name, name, "gauge", help)
    }

    /// A gauge with one sample.
    pub fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.gauge(name, help).sample(&[], value);
    }

    pub fn histogram(&mut self, name: &str, help: &str) -> Samples<'_> {
        self.family(name, name, "histogram", help)
    }

    fn family(&mut self, family: &str, name: &str, kind: &str, help: &str) -> Samples<'_> {
        let _ = writeln!(self.text, "# HELP {family} {help}");
        let _ = writeln!(self.text, "# TYPE {family} {kind}");
        if self.form == ExpositionFormat::OpenMetrics
            && let Some(unit) =
                ["seconds", "bytes"].into_iter().find(|unit| family.ends_with(&format!("_{unit}")))
        {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
        Samples { text: &mut self.text, name: name.to_owned() }
    }

    pub fn finish(mut self) -> String {
        if self.form == ExpositionFormat::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Samples<'_> {
    pub fn sample(&mut self, labels: Labels, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// The samples of one histogram; what it measured is divided by `unit`.
    pub fn distribution(&mut self, labels: Labels, seen: &Distribution, unit: f64) {
        for (bound, count) in &seen.buckets {
            self.line("_bucket", labels, Some(&format!("{:?}", in_units(*bound, unit))), count);
        }
        self.line("_bucket", labels, Some("+Inf"), seen.count);
        self.line("_sum", labels, None, in_units(seen.sum, unit));
        self.line("_count", labels, None, seen.count);
    }

    /// A sample for each value of a label.
    pub fn by<L: AsRef<str>>(mut self, label: &str, samples: impl IntoIterator<Item = (L, u64)>) {
        for (value, number) in samples {
            self.sample(&[(label, value.as_ref())], number);
        }
    }

    fn line(&mut self, suffix: &str, labels: Labels, bound: Option<&str>, value: impl Display) {
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{before}{name}=\"{value}\"");
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "samples are floating-point numbers in both formats")]
fn in_units(number: u64, unit: f64) -> f64 {
    number as f64 / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(form: ExpositionFormat) -> String {
        let mut page = Page::new(form);
        page.counter("a_total", "Things.").sample(&[("name", "a\"b\\c\nd"), ("kind", "x")], 3);
        page.one("b_bytes", "Size.", 1.5);
        let seen =
            Distribution { buckets: vec![(100_000, 1), (1_000_000_000, 2)], count: 3, sum: 3_500_000_000 };
        page.histogram("c_seconds", "Time.").distribution(&[("of", "it")], &seen, 1e9);
        page.finish()
    }

    #[test]
    fn a_page_is_prometheus_text() {
        let expected = r#"# HELP a_total Things.
# TYPE a_total counter
a_total{name="a\"b\\c\nd",kind="x"} 3
# HELP b_bytes Size.
# TYPE b_bytes gauge
b_bytes 1.5
# HELP c_seconds Time.
# TYPE c_seconds histogram
c_seconds_bucket{of="it",le="0.0001"} 1
c_seconds_bucket{of="it",le="1.0"} 2
c_seconds_bucket{of="it",le="+Inf"} 3
c_seconds_sum{of="it"} 3.5
c_seconds_count{of="it"} 3
"#;
        assert_eq!(page(ExpositionFormat::Text), expected);
    }

    #[test]
    fn openmetrics_has_units_and_families_without_the_suffix() {
        let page = page(ExpositionFormat::OpenMetrics);
        assert!(page.starts_with("# HELP a Things.\n# TYPE a counter\na_total{"), "{page}");
        assert!(
            page.contains("# UNIT b_bytes bytes\nb_bytes")
                && page.contains("# UNIT c_seconds seconds\nc_seconds_bucket"),
            "{page}"
        );
        assert!(page.ends_with("\n# EOF\n"), "{page}");
        assert_eq!(
            ExpositionFormat::accepted(
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
            ),
            ExpositionFormat::OpenMetrics
        );
        assert_eq!(ExpositionFormat::accepted("*/*"), ExpositionFormat::Text);
    }
}
