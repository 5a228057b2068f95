//! The sections of the page: plots, and the table that has their figures. `None` is what was not run.

use maud::{Markup, html};
use nearcast::limits::{BUDGET_BYTES_PER_S, SECOND_US, TICK_US};

use super::plot::{self, Bar, Dot, Head, Of, Series, Spans};
use super::{Figures, is_compared, name_of};
use crate::compare::{self, CPU, OF_FLOOR};
use crate::curve::tally::Point;
use crate::growth;
use crate::scenario::Scenario;
use crate::server::Server;
use crate::sheet::{Line, Report, short};

const TICK_MS: f64 = TICK_US as f64 / 1_000.0;
const TICKS_PER_S: f64 = (SECOND_US / TICK_US) as f64;
const RECORDINGS: [&str; 4] = ["plaza500", "juelich", "football", "rocketleague"];
const GROWN: [&str; 5] = ["grow100", "grow500", "grow1000", "grow2000", "grow5000"];
const SPOTS: [&str; 4] = ["spot100", "spot300", "spot1000", "spot3000"];

/// What each server costs beside the others.
pub fn servers(figures: &Figures<'_>) -> Option<Markup> {
    let compared = ["peers50", "peers100"].map(|name| (name, figures.all(name).collect::<Vec<_>>()));
    let compared: Vec<_> = compared.into_iter().filter(|(_, reports)| !reports.is_empty()).collect();
    let bars = |reports: &[&Report], figure: &str| -> Vec<Bar> {
        let bar = |report: &&Report| {
            let parts = vec![(whose(&report.server), report.median(figure)?)];
            Some(Bar { name: report.server.clone(), parts, range: range(report, figure), goal: None })
        };
        reports.iter().filter_map(bar).collect()
    };
    let of = |(name, reports): &(&str, Vec<&Report>)| {
        let about = Scenario::named(name).map_or("", |scenario| scenario.about);
        let (cpu, size) = (bars(reports, OF_FLOOR), bars(reports, "bytes_per_update"));
        html! {
            h3.scenario { (name) span { (about) } }
            div.plots {
                @if !cpu.is_empty() {
                    div { (plot::bars(Head {
                        title: "CPU of a client-tick, as a multiple of the best floor's",
                        about: "Of the same run: 1 is the least that this machine needs to read one move and send one \
                                update of all near. Shorter is better; whiskers are the lowest and highest run.",
                    }, &cpu)) }
                }
                @if !size.is_empty() {
                    div { (plot::bars(Head {
                        title: "Bytes per update",
                        about: "Bytes on the socket, frames and all, for each other in radius and tick. Shorter is \
                                better; the scale is logarithmic where it does not begin at 0.",
                    }, &size)) }
                }
            }
            (compared_table(name, reports))
        }
    };
    (!compared.is_empty()).then(|| {
        html! {
            p {
                "The same swarm plays the same crowd to one server after the other, each alone on a core. Only ratios of "
                "one run mean something: all figures move together with the machine's other load."
            }
            @for scenario in &compared { (of(scenario)) }
        }
    })
}

fn compared_table(name: &str, reports: &[&Report]) -> Markup {
    let head: Vec<&str> =
        ["server"].into_iter().chain(compare::COLUMNS.map(|(title, ..)| title)).chain(["runs", "void"]).collect();
    let row = |report: &&Report| {
        let figures = compare::COLUMNS.map(|(_, figure, _)| ranged(report, figure, [CPU, OF_FLOOR].contains(&figure)));
        let server = html! { (report.server) };
        [server]
            .into_iter()
            .chain(figures)
            .chain([report.runs, report.void_runs].map(|count| html! { (count) }))
            .collect()
    };
    html! {
        (table(&format!("{name}, medians"), &head, reports.iter().map(row).collect()))
        ul.notes {
            @for report in reports {
                @for note in &report.notes { li { b { (report.server) } ": " (note) } }
                @for line in report.lines.iter().filter(|line| line.met == Some(false)) {
                    li.unmet {
                        b { (report.server) } " does another job: " (line.name) " is " (short(line.median)) ", wanted "
                        (line.wanted.as_deref().unwrap_or_default())
                    }
                }
            }
        }
    }
}

/// Bytes per update of a report: payload, envelope and the rest.
fn split(report: &Report) -> Option<[f64; 3]> {
    let [whole, payload] = [report.median("bytes_per_update")?, report.median("payload_bytes_per_update")?];
    let rest = report.median("answers_bytes_per_client_s")? / (report.median("others_in_radius")? * TICKS_PER_S);
    Some([payload, (whole - payload - rest).max(0.0), rest])
}

/// What recordings cost on the socket, and in what.
pub fn bytes(figures: &Figures<'_>) -> Option<Markup> {
    const PARTS: [(&str, &str); 3] =
        [("s0", "payload"), ("s2", "envelope: frame, header, tick"), ("s6", "other: answers, events")];
    let reports: Vec<&Report> =
        RECORDINGS.iter().filter_map(|name| figures.report(name, Server::NEARCAST.name)).collect();
    let reports: Vec<(&Report, [f64; 3])> =
        reports.into_iter().filter_map(|report| Some((report, split(report)?))).collect();
    let goal = |report: &Report| report.line("bytes_per_update").and_then(Line::at_most);
    let bar = |(report, parts): &(&Report, [f64; 3])| {
        let parts = PARTS.iter().zip(parts).map(|((class, _), size)| (*class, *size)).collect();
        Bar { name: report.scenario.clone(), parts, range: None, goal: goal(report) }
    };
    let row = |(report, [payload, envelope, rest]): &(&Report, [f64; 3])| {
        let figure = |name: &str| ranged(report, name, false);
        let wanted = report.line("bytes_per_update").and_then(|line| line.wanted.as_deref()).unwrap_or("-");
        let [payload, envelope, rest] = [payload, envelope, rest].map(|size| html! { (short(*size)) });
        let (whole, others) = (ranged(report, "bytes_per_update", true), figure("others_in_radius"));
        vec![
            html! { (report.scenario) },
            others,
            whole,
            html! { (wanted) },
            payload,
            envelope,
            rest,
            figure("envelope_bytes_per_state"),
            figure("tick_error_p99_cm"),
        ]
    };
    let head = [
        "recording",
        "others in radius",
        "bytes/update",
        "wanted",
        "payload",
        "envelope",
        "other",
        "envelope/state",
        "error p99, cm",
    ];
    (!reports.is_empty()).then(|| {
        html! {
            p {
                "Bytes on the socket over (others in radius × " (TICKS_PER_S) " a second), told or not. A recording's "
                "people are played once each (on the plaza, over and over); nobody comes or goes."
            }
            div.plots { div {
                (plot::bars(Head {
                    title: "Bytes per update, by recording",
                    about: "In what they are made of; the line across a bar is what is wanted at most.",
                }, &reports.iter().map(bar).collect::<Vec<_>>()))
                (plot::legend(PARTS.into_iter()))
            } }
            (table("Bytes per update, medians", &head, reports.iter().map(row).collect()))
        }
    })
}

/// How the cost of a client grows with the crowd.
pub fn growing(figures: &Figures<'_>) -> Option<Markup> {
    const MEMORY: &str = "rss_per_client_kib";
    const BYTES: &str = "bytes_per_client_s";
    const STATES: &str = "states_per_s_median";
    let [grown, spots, idle] = [&GROWN[..], &SPOTS, &["idle2000"]].map(|names| figures.series(names));
    let clients = Of { name: "clients", log: true, mark: None };
    let chart = |reports: &[(f64, &Report)], figure: &str, [title, about, unit]: [&str; 3], mark| {
        let dot = |(clients, report): &(f64, &Report)| {
            let (y, label) = (report.median(figure)?, String::new());
            Some(Dot { x: *clients, y, range: range(report, figure), label })
        };
        let points: Vec<Dot> = reports.iter().filter_map(dot).collect();
        let y = Of { name: unit, log: false, mark };
        let series = [Series { name: title.to_owned(), points, dashed: false }];
        html! { @if series[0].points.len() > 1 { div { (plot::lines(Head { title, about }, clients, y, &series)) } } }
    };
    let rows: Vec<(f64, &Report)> = grown.iter().chain(&spots).chain(&idle).copied().collect();
    let row = |(clients, report): &(f64, &Report)| {
        let name = html! { (report.scenario) };
        let [cpu, memory] = [CPU, MEMORY].map(|figure| ranged(report, figure, true));
        let rest = [BYTES, STATES, "served_per_s_min", "nearest_hz"].map(|figure| ranged(report, figure, false));
        [name, html! { (clients) }, cpu, memory].into_iter().chain(rest).collect()
    };
    let head = [
        "scenario",
        "clients",
        "CPU µs/client-tick",
        "RSS KiB/client",
        "bytes/s",
        "states/s",
        "served/s, least",
        "nearest, Hz",
    ];
    let budget = Some(("budget", f64::from(BUDGET_BYTES_PER_S)));
    let every_tick = Some(("every tick", TICKS_PER_S));
    (!rows.is_empty()).then(|| {
        html! {
            @if grown.len() > 1 {
                h3.scenario { "At constant density" span { "modelled walkers, 19 others in radius" } }
                div.plots {
                    (chart(&grown, CPU, ["CPU of a client-tick", "Level is best.", "µs"], None))
                    (chart(&grown, MEMORY, ["Memory per client", "Beyond the process without clients.", "KiB"], None))
                }
            }
            @if spots.len() > 1 {
                h3.scenario { "In one spot" span { "everybody within the radius of everybody" } }
                div.plots {
                    (chart(&spots, BYTES, ["Bytes per client", "The budget is the most that is allowed.", "bytes/s"], budget))
                    (chart(&spots, CPU, ["CPU of a client-tick", "The more are near, the more are told.", "µs"], None))
                    (chart(&spots, STATES, ["States per second", "To the median client.", "states/s"], every_tick))
                }
            }
            (table("Growth, medians", &head, rows.iter().map(row).collect()))
        }
    })
}

/// How old is what clients are told.
pub fn latency(figures: &Figures<'_>) -> Option<Markup> {
    // Of those on a bad link the figures are apart.
    let groups = [("", ""), ("bad_", ", bad links")];
    let of = |report: &Report, prefix: &str| {
        let at = |figure: &str| report.median(&format!("{prefix}{figure}"));
        let ages = [at("age_p50_ms")?, at("age_p99_ms")?, at("stale_p50_ms")?, at("stale_p99_ms")?];
        // Those who saw nobody move have none, which is noted as 0.
        (ages[1] > 0.0).then_some(ages)
    };
    let aged = figures.reports.iter().flat_map(|(_, report)| {
        groups.iter().filter_map(move |(prefix, suffix)| {
            Some((format!("{}{suffix}", report.scenario), *report, *prefix, of(report, prefix)?))
        })
    });
    let aged: Vec<_> = aged.filter(|(_, report, ..)| report.server.starts_with(Server::NEARCAST.name)).collect();
    let names = |(name, report): (&str, &Report)| {
        if is_compared(report) { format!("{name}, {}", report.server) } else { name.to_owned() }
    };
    let row = |(name, _, _, [age, age_far, stale, stale_far]): &(String, &Report, &str, [f64; 4])| Spans {
        name: name.replace(", bad links", ", bad"),
        spans: vec![("s0", *age, *age_far), ("s2", *stale, *stale_far)],
    };
    let cells = |(name, report, prefix, _): &(String, &Report, &str, [f64; 4])| {
        let figure = |name: &str| ranged(report, &format!("{prefix}{name}"), true);
        let plain = |name: &str| ranged(report, &format!("{prefix}{name}"), false);
        vec![
            html! { (names((name, report))) },
            figure("age_p50_ms"),
            figure("age_p99_ms"),
            plain("stale_p50_ms"),
            plain("stale_p99_ms"),
            plain("served_per_s_min"),
            plain("missed_states"),
        ]
    };
    let head = [
        "scenario",
        "age p50, ms",
        "age p99, ms",
        "stale p50, ms",
        "stale p99, ms",
        "served/s, least",
        "missed states",
    ];
    (!aged.is_empty()).then(|| {
        html! {
            p {
                "Age is from sending a place to another's receiving it; staleness is how old what a client shows of "
                "another is. The gateway tells once a tick, every " (TICK_MS) " ms: a place waits half of it on average."
            }
            div.plots { div {
                (plot::spans(Head {
                    title: "Age and staleness, p50 to p99, ms",
                    about: "The mark is the median, the end p99. Further left is better; the scale is logarithmic where it \
                            does not begin at 0.",
                }, &aged.iter().map(row).collect::<Vec<_>>(), ("one tick", TICK_MS)))
                (plot::legend([("s0", "age of an update"), ("s2", "staleness of a view")].into_iter()))
            } }
            (table("Latency, medians of the runs", &head, aged.iter().map(cells).collect()))
        }
    })
}

const AGAINST_ERROR: Head<'_> = Head {
    title: "Bytes per second and client against error at p95",
    about: "Each point is a setting; those of one series are joined. Nearer to the lower left is better. Both scales are \
            logarithmic; dashed is what could be done instead.",
};
const BYTES: Of<'_> = Of { name: "bytes/s", log: true, mark: None };
const ERROR: Of<'_> = Of { name: "error p95, cm", log: true, mark: None };

/// What an error costs in bytes, a plot for each crowd: nearer to the lower left is better.
pub fn against_error(points: &[&Point]) -> Markup {
    let row = |(name, dot): (&String, &Dot)| {
        vec![html! { (name) }, html! { (dot.label) }, html! { (short(dot.x)) }, html! { (short(dot.y)) }]
    };
    let rows = |of: &[Series]| of.iter().flat_map(|of| of.points.iter().map(|dot| row((&of.name, dot)))).collect();
    html! {
        @for (crowd, series) in curves(points) {
            @if !crowd.is_empty() { h3 { (crowd) } }
            div.plots { div { (plot::lines(AGAINST_ERROR, BYTES, ERROR, &series)) } }
            (table("Bytes against error", &["series", "setting", "bytes/s", "error p95, cm"], rows(&series)))
        }
    }
}

/// The same plots alone.
pub fn curve(points: &[&Point]) -> Markup {
    plot::alone(AGAINST_ERROR, BYTES, ERROR, &curves(points))
}

/// The lines of each crowd: all series each, so that they look alike.
fn curves<'a>(points: &[&'a Point]) -> Vec<(&'a str, Vec<Series>)> {
    let once = |of: fn(&'a Point) -> &'a str| {
        let mut found: Vec<&str> = Vec::new();
        points.iter().copied().map(of).for_each(|name| {
            if !found.contains(&name) {
                found.push(name);
            }
        });
        found
    };
    let names = once(|point| &point.series);
    let series = |crowd: &str, name: &str| {
        let dots = points.iter().filter(|point| point.crowd == crowd && point.series == name).filter_map(|point| {
            Some(Dot { x: point.bytes_per_s, y: point.error_p95_cm?, range: None, label: point.label.clone() })
        });
        let mut points: Vec<Dot> = dots.collect();
        points.sort_by(|one, other| one.x.total_cmp(&other.x));
        Series { name: name.to_owned(), points, dashed: name.starts_with("what if") }
    };
    let all = |crowd| (crowd, names.iter().map(|name| series(crowd, name)).collect());
    once(|point| &point.crowd).into_iter().map(all).collect()
}

/// Every figure that is judged.
pub fn verdicts(figures: &Figures<'_>) -> Option<Markup> {
    let judged: Vec<_> = figures.judged().collect();
    let unmet = judged.iter().filter(|(.., line)| line.met == Some(false));
    let unmet: Vec<String> = unmet.map(|(_, report, line)| format!("{} {}", name_of(report), line.name)).collect();
    let several = figures.calls.len() > 1;
    let row = |(call, report, line): &(usize, &Report, &Line)| {
        let met = line.met == Some(true);
        let (wanted, range) =
            (line.wanted.as_deref().unwrap_or_default(), if report.runs > 1 { line.range() } else { "-".to_owned() });
        let verdict = html! { b.met[met].unmet[!met] { @if met { "met" } @else { "NOT MET" } } };
        let unit = if line.median.is_nan() { "" } else { &line.unit[..] };
        let mut cells = vec![
            html! { (name_of(report)) },
            html! { (line.name) },
            html! { (short(line.median)) " " (unit) },
            html! { (range) },
            html! { (wanted) },
            verdict,
            html! { (report.runs) },
            html! { (report.void_runs) },
        ];
        if several {
            cells.push(if report.scenario == growth::NAME {
                html! { "all" }
            } else {
                html! { (call) }
            });
        }
        cells
    };
    let mut head = vec!["scenario", "figure", "median", "range", "wanted", "verdict", "runs", "void"];
    if several {
        head.push("call");
    }
    (!judged.is_empty()).then(|| {
        html! {
            p {
                "Everything that is wanted of a figure: " (judged.len() - unmet.len()) " met, " (unmet.len()) " not met. "
                "The median of the runs is judged; a figure that was not measured is not met."
            }
            @if !unmet.is_empty() { p.unmet { "Not met: " (unmet.join(", ")) "." } }
            (table("What is wanted", &head, judged.iter().map(row).collect()))
        }
    })
}

/// A table that scrolls by itself where it is too wide. The first cell names the row.
fn table(caption: &str, head: &[&str], rows: Vec<Vec<Markup>>) -> Markup {
    html! {
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { (caption) }
                thead { tr { @for title in head { th scope="col" { (title) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.into_iter().enumerate() {
                                @if at == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A median; with its range, if that is asked for and there is more than one run.
fn ranged(report: &Report, figure: &str, with_range: bool) -> Markup {
    let line = report.line(figure);
    let range = line.filter(|_| with_range && report.runs > 1).map(Line::range);
    html! {
        (line.map_or_else(|| "-".to_owned(), |line| short(line.median)))
        @if let Some(range) = range { small { (range) } }
    }
}

fn range(report: &Report, figure: &str) -> Option<(f64, f64)> {
    report.line(figure).filter(|_| report.runs > 1).map(|line| (line.low, line.high))
}

/// The class of a server's bars.
fn whose(server: &str) -> &'static str {
    match server {
        name if name.starts_with(Server::NEARCAST.name) => "s0",
        name if name.starts_with(Server::FLOOR.name) => "floor",
        _ => "peer",
    }
}
