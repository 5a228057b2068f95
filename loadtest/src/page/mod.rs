//! The figures of one or more calls as a page: one file with its style and its plots in it, which needs no network and no
//! script. What was not run is left out, and named.

mod plot;
mod sections;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::book::{Call, Machine, Made};
use crate::compare::OF_FLOOR;
use crate::curve::tally::Point;
use crate::growth;
use crate::scenario::Scenario;
use crate::server::Server;
use crate::sheet::{Line, Report, short};

const STYLE: &str = include_str!("page.css");

/// The page of calls that [`crate::book::merge`] has brought together.
#[must_use]
pub fn page(calls: &[Call]) -> String {
    let figures = Figures::of(calls);
    let curve: Vec<&Point> = calls.iter().flat_map(|call| &call.curve).collect();
    let sections = [
        ("servers", "Servers compared", sections::servers(&figures)),
        ("bytes", "Bytes per update", sections::bytes(&figures)),
        ("growth", "Growth", sections::growing(&figures)),
        ("latency", "Latency", sections::latency(&figures)),
        ("curve", "Bytes against error", (!curve.is_empty()).then(|| sections::against_error(&curve))),
        ("verdicts", "Verdicts", sections::verdicts(&figures)),
    ];
    let told = || sections.iter().filter_map(|(id, title, body)| Some((id, title, body.as_ref()?)));
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "nearcast: figures" }
                style { (PreEscaped(plot::STYLE)) (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "nearcast" span { "figures" } }
                    (tiles(&figures))
                    (origin(calls))
                    (missing(&figures))
                    nav { @for (id, title, _) in told() { a href={ "#" (id) } { (title) } } }
                }
                main {
                    @for (id, title, body) in told() { section id=(id) { h2 { (title) } (body) } }
                }
            }
        }
    };
    document.into_string()
}

/// The curve alone, as an SVG: a plot for each crowd, side by side.
#[must_use]
pub fn curve(points: &[Point]) -> String {
    sections::curve(&points.iter().collect::<Vec<_>>()).into_string()
}

/// The reports of all calls, in the order of the scenarios.
struct Figures<'a> {
    calls: &'a [Call],
    /// Number of the call, from 1.
    reports: Vec<(usize, &'a Report)>,
}

impl<'a> Figures<'a> {
    fn of(calls: &'a [Call]) -> Figures<'a> {
        let numbered = calls.iter().enumerate();
        let mut reports: Vec<_> =
            numbered.flat_map(|(at, call)| call.reports.iter().map(move |report| (at + 1, report))).collect();
        let all = Scenario::all();
        let rank = |name: &str| all.iter().position(|of| of.name == name).unwrap_or(usize::MAX);
        reports.sort_by_key(|(_, report)| rank(&report.scenario));
        Figures { calls, reports }
    }

    fn all<'b>(&'b self, scenario: &'b str) -> impl Iterator<Item = &'a Report> + 'b {
        self.reports.iter().map(|(_, report)| *report).filter(move |report| report.scenario == scenario)
    }

    fn report(&self, scenario: &str, server: &str) -> Option<&'a Report> {
        self.all(scenario).find(|report| report.server == server)
    }

    fn median(&self, scenario: &str, server: &str, figure: &str) -> Option<f64> {
        self.report(scenario, server)?.median(figure)
    }

    /// Those of these scenarios that were run on nearcast, by the number of their clients.
    fn series(&self, scenarios: &[&str]) -> Vec<(f64, &'a Report)> {
        let report = |name: &&str| {
            let bots = Scenario::named(name).expect("listed").bots as f64;
            Some((bots, self.report(name, Server::NEARCAST.name)?))
        };
        scenarios.iter().filter_map(report).collect()
    }

    fn judged(&self) -> impl Iterator<Item = (usize, &'a Report, &'a Line)> {
        let lines =
            self.reports.iter().flat_map(|(call, report)| report.lines.iter().map(move |line| (*call, *report, line)));
        lines.filter(|(_, _, line)| line.met.is_some())
    }
}

/// The few figures that one asks for first.
fn tiles(figures: &Figures<'_>) -> Markup {
    let nearcast = |scenario, figure| figures.median(scenario, Server::NEARCAST.name, figure);
    let peer =
        |server: Server| Some(figures.median("peers50", server.name, OF_FLOOR)? / nearcast("peers50", OF_FLOOR)?);
    let (judged, met) =
        (figures.judged().count(), figures.judged().filter(|(.., line)| line.met == Some(true)).count());
    let of_judged = format!("of {judged}");
    let tiles = [
        nearcast("peers50", OF_FLOOR).map(|of| (short(of), "×", "the best floor's CPU, 50 others near")),
        peer(Server::COLYSEUS).map(|of| (short(of), "×", "nearcast's CPU is what Colyseus takes")),
        nearcast("juelich", "bytes_per_update")
            .map(|size| (short(size), "bytes", "per update of a recorded crowd, all told")),
        nearcast(growth::NAME, "cpu_of_grow100_at_5000")
            .map(|of| (short(of), "×", "the CPU per client at 50 times the clients")),
        nearcast("plaza500", "age_p99_ms").map(|age| (short(age), "ms", "send to receipt at p99, 500 clients")),
        (judged > 0).then(|| (met.to_string(), &of_judged[..], "figures are as wanted")),
    ];
    html! {
        @if !figures.reports.is_empty() {
            ul.tiles {
                @for (value, unit, what) in tiles.into_iter().flatten() {
                    li {
                        strong { (value) small { " " (unit) } }
                        (what)
                    }
                }
            }
        }
    }
}

/// What is not on this page, or only in part.
fn missing(figures: &Figures<'_>) -> Markup {
    let names = Scenario::all().into_iter().map(|scenario| scenario.name);
    let not_run: Vec<&str> = names.filter(|name| figures.all(name).next().is_none()).collect();
    let without: Vec<&str> = figures.calls.iter().flat_map(|call| &call.without).map(String::as_str).collect();
    let void: Vec<String> = figures
        .reports
        .iter()
        .filter(|(_, report)| report.void_runs > 0)
        .map(|(_, report)| format!("{} ({})", name_of(report), report.void_runs))
        .collect();
    html! {
        div.missing {
            @if !without.is_empty() { p.unmet { "No figures, or not of all runs, of: " (without.join(", ")) "." } }
            @if !void.is_empty() {
                p { "Windows that were void, because the swarm itself was late, and taken again: " (void.join(", ")) "." }
            }
            @if !not_run.is_empty() { p { "Not run, and not on this page: " (not_run.join(", ")) "." } }
        }
    }
}

/// When, where and how the figures came to be, and how to get them again.
fn origin(calls: &[Call]) -> Markup {
    let machine = |Machine { cores, cpu, kernel, memory_mib }: &Machine| {
        let cpu = if cpu.is_empty() { "CPU that does not tell its model" } else { cpu };
        format!("{cores} cores, {cpu}, {} GiB, kernel {kernel}", short(*memory_mib as f64 / 1024.0))
    };
    let call = |(number, call): (usize, &Call)| {
        html! {
            p.call {
                @if calls.len() > 1 { b { "Call " (number) ": " } }
                @match &call.made {
                    Some(Made { version, date, runs, placing, .. }) => {
                        "version " (version) "; " (date) "; " (runs)
                        @if *runs == 1 { " run" } @else { " runs, medians" }
                        "; " (placing)
                    }
                    None => "the file does not say when and how it was made"
                }
                @if let Some(of) = &call.machine { "; " (machine(of)) }
                "."
            }
            @if let Some(made) = &call.made { pre { code { (made.command) } } }
        }
    };
    html! { @for (at, of) in calls.iter().enumerate() { (call((at + 1, of))) } }
}

fn is_compared(report: &Report) -> bool {
    Scenario::named(&report.scenario).is_ok_and(|scenario| !scenario.compared.is_empty())
}

fn name_of(report: &Report) -> String {
    if is_compared(report) { format!("{}/{}", report.scenario, report.server) } else { report.scenario.clone() }
}
