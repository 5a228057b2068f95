//! The page of a few figures: all of them are on it, as tables print them, and nothing of it is elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use nearcast_loadtest::book::{self, Call};
use nearcast_loadtest::curve::tally::Point;
use nearcast_loadtest::page::{self, page};
use nearcast_loadtest::sheet::{Report, Sheet};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page.json")
}

fn figures() -> Call {
    Call::read(&fixture()).expect("the fixture can be read")
}

fn check(page: &str, has: &[&str], lacks: &[&str]) {
    has.iter().for_each(|text| assert!(page.contains(text), "no {text:?} in {page}"));
    lacks.iter().for_each(|text| assert!(!page.contains(text), "{text:?} in {page}"));
}

#[test]
fn figures_are_told_as_in_the_table() {
    let call = figures();
    let page = page(std::slice::from_ref(&call));
    let (call_is, machine) =
        ("version 0.1.0; Sat, 21 Nov 2026", "2 cores, Fast(R) CPU @ 3 GHz, 7.75 GiB, kernel 6.1.0");
    check(&page, &[call_is, machine, "2 runs, medians", "juelich", "peers50", "NOT MET"], &["NaN", "inf"]);
    for report in &call.reports {
        for line in report.lines.iter().filter(|line| line.met.is_some()) {
            let table = report.table();
            let row = table.lines().find(|row| row.contains(&line.name)).expect("the table has it");
            let median = row.split_whitespace().nth(1).expect("name, median");
            check(&page, &[&line.name, &format!("<td>{median} "), line.wanted.as_deref().expect("judged")], &[]);
        }
    }
    // Payload, envelope and the rest are the whole: 1.2899 + 0.1331 + 38.9765 / (52.8654 × 20) = 1.4598.
    check(&page, &["<td>1.29</td><td>0.13</td><td>0.04</td>"], &[]);
    // What Colyseus takes over what nearcast takes.
    let of_floor = |server| {
        let report = call.reports.iter().find(|report| report.scenario == "peers50" && report.server == server);
        report.and_then(|report| report.median("cpu_of_floor")).expect("measured")
    };
    check(&page, &[&format!("<strong>{:.2}<small> ×", of_floor("colyseus") / of_floor("nearcast"))], &[]);
}

#[test]
fn what_was_not_run_is_left_out_and_named() {
    let whole = page(&[figures()]);
    check(&whole, &["id=\"servers\"", "id=\"growth\"", "In one spot"], &["id=\"curve\"", "peers100</h3>"]);
    check(&whole, &["Not run, and not on this page: plaza500, floor500, peers100, football"], &[]);
    check(&whole, &["No figures, or not of all runs, of: peers50/ws-json."], &[]);
    check(&whole, &["taken again: grow100 (2), grow500 (1)."], &[]);
    let mut call = figures();
    call.reports.retain(|report| report.scenario == "juelich");
    check(&page(&[call]), &["id=\"bytes\"", "id=\"latency\""], &["id=\"servers\"", "id=\"growth\""]);
    // Who sees nobody move has no ages.
    let mut sheet = Sheet::default();
    for figure in ["age_p50_ms", "age_p99_ms", "stale_p50_ms", "stale_p99_ms"] {
        sheet.put(figure, 0.0, "ms");
    }
    let idle = Report::of("idle2000", "nearcast", &[sheet], &[], 0);
    check(&page(&[Call { reports: vec![idle], ..Call::default() }]), &["id=\"growth\""], &["id=\"latency\""]);
}

#[test]
fn nothing_is_elsewhere_and_what_a_file_says_stays_text() {
    let page = page(&[figures()]);
    check(&page, &["&lt;script&gt;alert(&quot;1 &amp; 2&quot;)", "--scenes 'my &lt;own&gt;'"], &[]);
    check(&page, &[], &["<script", "<link", "<img", "<iframe", "src=", "url(", "@import", "://", "<own>"]);
    let links = page.split("href=").skip(1).filter(|rest| !rest.starts_with("\"#"));
    assert_eq!(links.count(), 0);
    check(&page, &["prefers-color-scheme: dark", "@media print", "width=device-width"], &[]);
    let count = |text: &str| page.matches(text).count();
    assert!(count("role=\"img\"") >= 7, "{} plots", count("role=\"img\""));
    assert_eq!((count("<desc>"), count("<svg role=\"img\"")), (count("role=\"img\""), count("role=\"img\"")));
    assert_eq!(count("<table>"), count("<caption>"));
}

#[test]
fn a_curve_is_drawn_where_a_file_has_one() {
    let point = |series: &str, label: &str, bytes_per_s, error_cm| {
        let (crowd, series, label) = ("some people".to_owned(), series.to_owned(), label.to_owned());
        Point { crowd, series, label, bytes_per_s, error_p95_cm: Some(error_cm), ..Point::default() }
    };
    let curve =
        vec![point("ours", "fine", 1_400.0, 0.4), point("ours", "coarse", 700.0, 8.0), point("peer", "", 9_900.0, 0.5)];
    let mut calls = [figures(), Call { curve, ..Call::default() }];
    book::merge(&mut calls);
    let page = page(&calls);
    check(
        &page,
        &["id=\"curve\"", "<td>coarse</td><td>700.0</td><td>8.00</td>", "Call 2", "<h3>some people</h3>"],
        &["NaN"],
    );
    assert_eq!(
        page.matches("<polyline").count(),
        2 + 3 + 1,
        "two of growth, three of the spot, and the two joined points"
    );
}

#[test]
fn a_curve_alone_is_whole_and_has_all_points_with_an_error() {
    let point = |crowd: &str, bytes_per_s, error_p95_cm| {
        let (crowd, series) = (crowd.to_owned(), "what if & more".to_owned());
        Point { crowd, series, bytes_per_s, error_p95_cm, ..Point::default() }
    };
    let all = [point("b < c", 100.0, Some(0.0)), point("b < c", 900.0, Some(70.0)), point("a", 0.0, Some(1.0))];
    let drawn = page::curve(&[&all[..], &[point("a", 50.0, None)]].concat());
    check(
        &drawn,
        &["<svg xmlns=", "b &lt; c", "what if &amp; more", "class=\"dashed\""],
        &["NaN", "inf", "<p ", "<p>", "<h3"],
    );
    let points = all.len() + 1;
    assert_eq!(drawn.matches("d=\"M").count(), points, "three points and the mark of the legend");
    assert!(drawn.find("b &lt; c") < drawn.find(">a<"), "in the order in which they were played");
}

#[test]
fn the_command_makes_a_page_of_files() {
    let folder = std::env::temp_dir().join(format!("nearcast-page-{}", std::process::id()));
    let run = |from: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast-loadtest"));
        let output = command.arg("page").arg(from).arg(folder.join("new/page.html")).output().expect("it starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).expect("text"))
    };
    let (done, said) = run(&fixture());
    assert!(done && said.contains("new/page.html"), "{said}");
    let written = std::fs::read_to_string(folder.join("new/page.html")).expect("it is written");
    let mut calls = [figures()];
    book::merge(&mut calls);
    assert_eq!(written, page(&calls));
    let (done, said) = run(&folder.join("none.json"));
    assert!(!done && said.contains("cannot read") && said.contains("none.json"), "{said}");
    std::fs::remove_dir_all(folder).expect("it was written");
}
