//! The points as a picture: a panel for each crowd, bytes against the 95th percentile of the error, both logarithmic but
//! for an error of nothing, which has a line of its own. Readable on a light and on a dark page.

use std::fmt::Write as _;

use super::tally::Point;

/// Size of a panel, and what lies around it, pixels.
const PANEL: [f64; 2] = [400.0, 330.0];
const LEFT: f64 = 58.0;
const TOP: f64 = 34.0;
const GAP: f64 = 24.0;
/// Room below the panels: the axis, then the legend.
const AXIS: f64 = 48.0;
const LEGEND_ROW: f64 = 20.0;
const LEGEND_COLUMNS: usize = 3;
/// An error of less than this is drawn as nothing, cm; the logarithm begins here.
const LEAST_CM: f64 = 0.5;
const MOST_CM: f64 = 200.0;
/// Height between nothing and the least, pixels.
const NOTHING: f64 = 26.0;
const ERRORS_CM: [f64; 9] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];
/// Colours that are seen on white and on black, one for each series in turn.
const COLOURS: [&str; 9] =
    ["#2f81f7", "#d2691e", "#1f9d55", "#c0399f", "#0fa3b1", "#d4a017", "#8a63d2", "#8a8f98", "#e5484d"];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.page{fill:#fff}.line{stroke:#d0d7de}\
    .title{font-weight:600}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.line{stroke:#30363d}}";

/// Draws the points that have an error.
#[must_use]
pub fn svg(points: &[Point]) -> String {
    let mut crowds: Vec<&str> = Vec::new();
    let mut series: Vec<&str> = Vec::new();
    for point in points {
        if !crowds.contains(&point.crowd.as_str()) {
            crowds.push(&point.crowd);
        }
        if !series.contains(&point.series) {
            series.push(point.series);
        }
    }
    let width = LEFT + crowds.len() as f64 * (PANEL[0] + GAP);
    let rows = series.len().div_ceil(LEGEND_COLUMNS) as f64;
    let height = TOP + PANEL[1] + AXIS + rows * LEGEND_ROW + 10.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\"><title>Bytes per second of a client against the error of where it shows others</title>\
         <style>{STYLE}</style><rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    for (at, crowd) in crowds.iter().enumerate() {
        let x = LEFT + at as f64 * (PANEL[0] + GAP);
        let of_crowd: Vec<&Point> = points.iter().filter(|point| point.crowd == *crowd).collect();
        panel(&mut out, x, crowd, &of_crowd, &series, at == 0);
    }
    let middle = TOP + PANEL[1] / 2.0;
    text(&mut out, "", [14.0, middle], "middle", &format!("transform=\"rotate(-90 14 {middle})\""), "p95 error, cm");
    for (at, name) in series.iter().enumerate() {
        let x = LEFT + (at % LEGEND_COLUMNS) as f64 * (width - LEFT) / LEGEND_COLUMNS as f64;
        let y = TOP + PANEL[1] + AXIS + 8.0 + (at / LEGEND_COLUMNS) as f64 * LEGEND_ROW;
        line(&mut out, at, name, &[[x, y - 4.0], [x + 26.0, y - 4.0]]);
        mark(&mut out, at, [x + 13.0, y - 4.0], name);
        text(&mut out, "", [x + 34.0, y], "start", "", name);
    }
    out + "</svg>\n"
}

fn panel(out: &mut String, left: f64, crowd: &str, points: &[&Point], series: &[&str], is_first: bool) {
    let drawn = |point: &&Point| point.error_p95_cm.is_some() && point.bytes_per_s > 0.0;
    let points: Vec<&Point> = points.iter().copied().filter(drawn).collect();
    let rates = || points.iter().map(|point| point.bytes_per_s);
    let least = rates().fold(f64::INFINITY, f64::min) / 1.2;
    let most = rates().fold(1.0, f64::max) * 1.2;
    let x = |rate: f64| left + PANEL[0] * (rate / least).ln() / (most / least).ln();
    let y = |cm: f64| {
        let share = (cm.clamp(LEAST_CM, MOST_CM) / LEAST_CM).ln() / (MOST_CM / LEAST_CM).ln();
        if cm < LEAST_CM { TOP + PANEL[1] } else { TOP + (PANEL[1] - NOTHING) * (1.0 - share) }
    };
    text(out, "title", [left + PANEL[0] / 2.0, TOP - 14.0], "middle", "", crowd);
    for cm in [0.0].into_iter().chain(ERRORS_CM) {
        let at = y(cm);
        let _ = writeln!(out, "<path class=\"line\" d=\"M{left:.1} {at:.1}h{:.1}\"/>", PANEL[0]);
        if is_first {
            text(out, "", [left - 8.0, at + 4.0], "end", "", &cm.to_string());
        }
    }
    for rate in (0..7).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power))) {
        if (least..=most).contains(&rate) {
            let (at, bottom) = (x(rate), TOP + PANEL[1]);
            let _ = writeln!(out, "<path class=\"line\" d=\"M{at:.1} {TOP:.1}V{bottom:.1}\"/>");
            let label = if rate < 1e3 { format!("{rate}") } else { format!("{}k", rate / 1e3) };
            text(out, "", [at, bottom + 17.0], "middle", "", &label);
        }
    }
    text(out, "", [left + PANEL[0] / 2.0, TOP + PANEL[1] + 35.0], "middle", "", "bytes per second of a client");
    for (at, name) in series.iter().enumerate() {
        let of_series = points.iter().filter(|point| point.series == *name);
        let place = |point: &Point| [x(point.bytes_per_s), y(point.error_p95_cm.unwrap_or_default())];
        let places: Vec<([f64; 2], &&Point)> = of_series.map(|point| (place(point), point)).collect();
        line(out, at, name, &places.iter().map(|(place, _)| *place).collect::<Vec<_>>());
        for (place, Point { label, bytes_per_s, error_p95_cm, .. }) in places {
            let error = error_p95_cm.unwrap_or_default();
            mark(out, at, place, &format!("{name}, {label}: {bytes_per_s:.0} bytes/s, {error:.1} cm"));
        }
    }
}

fn line(out: &mut String, at: usize, name: &str, places: &[[f64; 2]]) {
    let places: Vec<String> = places.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
    let dashes = if name.starts_with("what if") { " stroke-dasharray=\"5 3\"" } else { "" };
    let _ = writeln!(
        out,
        "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"{}\"{dashes} points=\"{}\"/>",
        COLOURS[at % COLOURS.len()],
        places.join(" ")
    );
}

fn mark(out: &mut String, at: usize, [x, y]: [f64; 2], title: &str) {
    let colour = COLOURS[at % COLOURS.len()];
    let _ =
        writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{title}</title></circle>");
}

fn text(out: &mut String, class: &str, [x, y]: [f64; 2], anchor: &str, more: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_with_an_error_is_drawn_within_its_panel() {
        let point = |bytes_per_s, error_p95_cm| Point {
            crowd: "a & b".to_owned(),
            series: "s",
            label: "l".to_owned(),
            bytes_per_s,
            bytes_per_update: 1.0,
            error_p50_cm: None,
            error_p95_cm,
            error_p99_cm: None,
            held_p95_cm: None,
            drawn_p95_cm: None,
        };
        let drawn = svg(&[point(100.0, Some(0.0)), point(900.0, Some(1e6)), point(0.0, Some(1.0)), point(50.0, None)]);
        let places: Vec<f64> =
            drawn.split("cy=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect();
        assert_eq!(places[..2], [TOP + PANEL[1], TOP]);
        assert_eq!(places.len(), 3, "two points and the legend's mark");
        assert!(drawn.contains("a &amp; b") && !drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
}
