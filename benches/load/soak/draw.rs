//! One plot for each kind of figure, with the restarts.

use std::path::Path;

use plotters::prelude::*;

use super::history::{History, Sample, Window};

const BLUE: RGBColor = RGBColor(0, 90, 160);
const ORANGE: RGBColor = RGBColor(200, 80, 0);
const GREY: RGBColor = RGBColor(150, 150, 150);
const GREEN: RGBColor = RGBColor(0, 130, 90);

/// A figure over time.
struct Curve {
    label: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Draws all to files of `place`.
pub fn all(history: &History, place: &Path) {
    let of = |label, colour, figure: fn(&Sample) -> Option<f64>| {
        let point = |sample: &Sample| Some((sample.at_s / 60.0, figure(sample)?));
        Curve { label, colour, points: history.samples.iter().filter_map(point).collect() }
    };
    let p99 = |label, colour, figure: fn(&Window) -> f64| {
        let point = |window: &Window| (window.at_s / 60.0, figure(window));
        Curve { label, colour, points: history.windows.iter().map(point).collect() }
    };
    let plots: [(&str, &str, Vec<Curve>); 6] = [
        ("memory", "resident memory, MiB", vec![of("resident", BLUE, |sample| Some(sample.resident_mib))]),
        (
            "file",
            "database, MiB",
            vec![
                of("file", BLUE, |sample| Some(sample.file_mib)),
                of("tables", ORANGE, |sample| sample.used_mib),
            ],
        ),
        ("positions", "position of the last event", vec![of("position", BLUE, |sample| Some(sample.head))]),
        (
            "stored",
            "entries in the database",
            vec![
                of("events", BLUE, |sample| Some(sample.log_entries)),
                of("sessions, ended ones too", ORANGE, |sample| Some(sample.sessions_stored)),
                of("active sessions", GREEN, |sample| Some(sample.sessions_active)),
            ],
        ),
        (
            "latency",
            "p99 of half a minute, ms",
            vec![
                p99("refresh", BLUE, |window| window.refresh_ms),
                p99("fdatasync of 300 bytes", ORANGE, |window| window.fdatasync_ms),
                p99("introspection", GREEN, |window| window.introspection_ms),
                p99("healthz", GREY, |window| window.healthz_ms),
            ],
        ),
        (
            "process",
            "open files and threads",
            vec![
                of("open files", BLUE, |sample| Some(sample.open_files)),
                of("threads", ORANGE, |sample| Some(sample.threads)),
            ],
        ),
    ];
    for (name, title, lines) in plots {
        let file = place.join(format!("{name}.svg"));
        draw(history, &file, title, lines).expect("the file can be written");
    }
}

fn draw(
    history: &History,
    file: &Path,
    title: &str,
    lines: Vec<Curve>,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(file, (860, 300)).into_drawing_area();
    root.fill(&WHITE)?;
    let figures = lines.iter().flat_map(|line| line.points.iter().map(|(_, figure)| *figure));
    let top = figures.fold(0.0, f64::max) * 1.4;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..history.minutes as f64, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("minutes; a grey line is a restart, by SIGKILL if it is dark")
        .x_label_formatter(&|minutes| format!("{minutes:.0}"))
        .y_label_formatter(&|figure| figure.to_string())
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .draw()?;
    for restart in &history.restarts {
        let at = restart.at_s / 60.0;
        let colour = GREY.mix(if restart.kill { 0.8 } else { 0.35 });
        chart.draw_series([PathElement::new([(at, 0.0), (at, top)], colour)])?;
    }
    for Curve { label, colour, points } in lines {
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    root.present()?;
    Ok(())
}
