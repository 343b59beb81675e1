//! The plot of what changes with the number of sessions.

use std::path::Path;

use plotters::prelude::*;

/// The medians of one size with one cache.
pub struct Point {
    pub sessions: usize,
    /// In MiB.
    pub cache: usize,
    pub rotations_per_second: f64,
    pub openings_per_second: f64,
    pub p99_ms: f64,
    pub latency_ms: f64,
}

/// One figure of a point.
type Figure = fn(&Point) -> f64;

const COLOURS: [RGBColor; 2] = [RGBColor(0, 90, 160), RGBColor(200, 80, 0)];

/// Draws four panels with a line for each cache.
pub fn draw(points: &[Point], file: &Path) {
    let root = SVGBackend::new(file, (960, 640)).into_drawing_area();
    root.fill(&WHITE).expect("the file can be written");
    let panels: [(&str, Figure); 4] = [
        ("durable rotations per second, 64 connections", |point| point.rotations_per_second),
        ("durable openings per second, 64 connections", |point| point.openings_per_second),
        ("p99 of introspections at 10,000/s, ms", |point| point.p99_ms),
        ("median latency of a lone durable rotation, ms", |point| point.latency_ms),
    ];
    for (area, (title, figure)) in root.split_evenly((2, 2)).iter().zip(panels) {
        panel(area, title, figure, points).expect("the file can be written");
    }
    root.present().expect("the file can be written");
}

fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    title: &str,
    figure: Figure,
    points: &[Point],
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let sessions = points.iter().map(|point| point.sessions as f64);
    let (least, most) = sessions.fold((f64::INFINITY, 0.0_f64), |(a, b), at| (a.min(at), b.max(at)));
    let top = points.iter().map(figure).fold(0.0, f64::max) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d((least * 0.8..most * 1.25).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("sessions")
        .x_label_formatter(&|sessions| thousands(*sessions))
        .y_label_formatter(&|figure| figure.to_string())
        .light_line_style(TRANSPARENT)
        .draw()?;
    let mut caches: Vec<_> = points.iter().map(|point| point.cache).collect();
    caches.sort_unstable_by(|one, other| other.cmp(one));
    caches.dedup();
    for (cache, colour) in caches.into_iter().zip(COLOURS) {
        let of_cache = points.iter().filter(|point| point.cache == cache);
        let line: Vec<_> = of_cache.map(|point| (point.sessions as f64, figure(point))).collect();
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))?
            .label(format!("cache of {cache} MiB"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::LowerLeft).draw()
}

fn thousands(sessions: f64) -> String {
    if sessions >= 1e6 { format!("{} M", sessions / 1e6) } else { format!("{} k", sessions / 1e3) }
}
