//! The figures of a run: named numbers, medians over runs, what is wanted of them, and how they are printed.

use std::fmt::Write;

use serde::{Deserialize, Deserializer, Serialize};

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its name, the same in the table, in JSON and in [`Wanted`].
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

/// The figures of one run, in the order in which they are printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sheet(pub Vec<Figure>);

impl Sheet {
    /// Notes a number.
    pub fn put(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.0.push(Figure { name, value, unit });
    }

    /// A number, if it was noted.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }
}

/// Before the value, in words, of what is to be no more.
const AT_MOST: &str = "≤ ";

/// A bound that a figure is to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Name of the figure.
    pub figure: &'static str,
    /// Smallest and largest value.
    pub bounds: (f64, f64),
}

impl Wanted {
    /// No more than this.
    #[must_use]
    pub fn at_most(figure: &'static str, value: f64) -> Wanted {
        Wanted { figure, bounds: (f64::NEG_INFINITY, value) }
    }

    /// No less than this.
    #[must_use]
    pub fn at_least(figure: &'static str, value: f64) -> Wanted {
        Wanted { figure, bounds: (value, f64::INFINITY) }
    }

    fn text(&self) -> String {
        match self.bounds {
            (low, f64::INFINITY) => format!("≥ {}", short(low)),
            (f64::NEG_INFINITY, high) => format!("{AT_MOST}{}", short(high)),
            (low, high) => format!("{} to {}", short(low), short(high)),
        }
    }
}

/// The figures of several runs of one scenario, and the verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the server.
    pub server: String,
    /// Runs that count.
    pub runs: usize,
    /// Runs that did not, because the swarm itself was late.
    pub void_runs: usize,
    /// Figures.
    pub lines: Vec<Line>,
    /// Whether all that was wanted is met.
    pub met: bool,
    /// What the figures do not say.
    pub notes: Vec<String>,
}

/// One figure over all runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Name.
    pub name: String,
    /// Median of the runs; NaN, in JSON null, if none has it.
    #[serde(deserialize_with = "null_is_nan")]
    pub median: f64,
    /// Smallest.
    #[serde(deserialize_with = "null_is_nan")]
    pub low: f64,
    /// Largest.
    #[serde(deserialize_with = "null_is_nan")]
    pub high: f64,
    /// Of what.
    pub unit: String,
    /// What was wanted, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// Whether the median is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

fn null_is_nan<'de, D: Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f64::NAN))
}

impl Line {
    /// The largest value wanted, if only that was.
    #[must_use]
    pub fn at_most(&self) -> Option<f64> {
        self.wanted.as_deref()?.strip_prefix(AT_MOST)?.parse().ok()
    }

    /// Smallest to largest, in words.
    #[must_use]
    pub fn range(&self) -> String {
        format!("{} to {}", short(self.low), short(self.high))
    }
}

impl Report {
    /// Takes the medians of some runs, and judges them. A wanted figure that no run has is not met.
    #[must_use]
    pub fn of(scenario: &str, server: &str, sheets: &[Sheet], wanted: &[Wanted], void_runs: usize) -> Report {
        let mut lines: Vec<Line> = Vec::new();
        for Figure { name, unit, .. } in sheets.iter().flat_map(|sheet| &sheet.0) {
            if lines.iter().any(|line| line.name == *name) {
                continue;
            }
            let mut values: Vec<f64> = sheets.iter().filter_map(|sheet| sheet.get(name)).collect();
            values.sort_by(f64::total_cmp);
            let (median, low, high) = (median(&values), values[0], values[values.len() - 1]);
            let rule = wanted.iter().find(|wanted| wanted.figure == *name);
            let met = rule.map(|rule| median >= rule.bounds.0 && median <= rule.bounds.1);
            let (name, unit) = ((*name).to_owned(), (*unit).to_owned());
            lines.push(Line { name, median, low, high, unit, wanted: rule.map(Wanted::text), met });
        }
        for rule in wanted {
            if lines.iter().any(|line| line.name == rule.figure) {
                continue;
            }
            let (name, unit, nan) = (rule.figure.to_owned(), "not measured".to_owned(), f64::NAN);
            let wanted = Some(rule.text());
            lines.push(Line { name, median: nan, low: nan, high: nan, unit, wanted, met: Some(false) });
        }
        let met = lines.iter().all(|line| line.met != Some(false));
        let (scenario, server) = (scenario.to_owned(), server.to_owned());
        Report { scenario, server, runs: sheets.len(), void_runs, lines, met, notes: Vec::new() }
    }

    /// A figure by its name.
    #[must_use]
    pub fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }

    /// The median of a figure, if it was measured.
    #[must_use]
    pub fn median(&self, name: &str) -> Option<f64> {
        self.line(name).map(|line| line.median).filter(|median| !median.is_nan())
    }

    /// As a plain-text table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let Report { scenario, runs, void_runs, lines, notes, .. } = self;
        let plural = if *runs == 1 { "run" } else { "runs, medians" };
        let _ = writeln!(text, "{scenario}: {runs} {plural}; {void_runs} void");
        for line in lines {
            let Line { name, median, unit, wanted, met, .. } = line;
            let range = if *runs > 1 { line.range() } else { String::new() };
            let verdict = match (wanted, met) {
                (Some(wanted), Some(true)) => format!("wanted {wanted}: met"),
                (Some(wanted), _) => format!("wanted {wanted}: NOT MET"),
                (None, _) => String::new(),
            };
            let row = format!("  {name:<34} {:>10} {unit:<12} {range:<20} {verdict}", short(*median));
            let _ = writeln!(text, "{}", row.trim_end());
        }
        for note in notes {
            let _ = writeln!(text, "  {note}");
        }
        let judged = lines.iter().filter(|line| line.met.is_some()).count();
        let failed: Vec<&str> =
            lines.iter().filter(|line| line.met == Some(false)).map(|line| &line.name[..]).collect();
        let _ = match (judged, failed.is_empty()) {
            (0, _) => writeln!(text, "  printed, not judged"),
            (_, true) => writeln!(text, "  verdict: all {judged} objectives met"),
            (_, false) => writeln!(text, "  verdict: NOT MET: {}", failed.join(", ")),
        };
        text
    }
}

/// The middle of sorted values, the mean of the two middle ones of an even number; 0 of none.
#[must_use]
pub fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        n => sorted[n / 2],
    }
}

/// A number with as many digits as one reads.
#[must_use]
pub fn short(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        0.0 => "0".to_owned(),
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(age: f64, rate: f64) -> Sheet {
        let mut sheet = Sheet::default();
        sheet.put("age", age, "ms");
        sheet.put("rate", rate, "1/s");
        sheet
    }

    #[test]
    fn medians_are_judged() {
        let sheets = [sheet(10.0, 20.0), sheet(90.0, 19.0), sheet(30.0, 20.0)];
        let report = |wanted: &[Wanted]| Report::of("x", "y", &sheets, wanted, 1);
        assert!(report(&[Wanted::at_most("age", 30.0), Wanted::at_least("rate", 19.8)]).met);
        assert!(!report(&[Wanted::at_most("age", 29.0)]).met);
        assert!(!report(&[Wanted::at_most("error", 1.0)]).met, "what was not measured is not met");
        let table = report(&[Wanted::at_most("age", 29.0)]).table();
        assert!(table.contains("NOT MET: age") && table.contains("1 void"), "{table}");
        assert!(report(&[]).table().contains("not judged"));
    }

    #[test]
    fn a_report_is_the_same_from_json() {
        let wanted = [Wanted::at_most("age", 29.0), Wanted::at_least("rate", 19.8), Wanted::at_most("error", 1.0)];
        let report = Report::of("x", "y", &[sheet(10.0, 20.0)], &wanted, 1);
        let json = serde_json::to_string(&report).expect("it can be written");
        let read: Report = serde_json::from_str(&json).expect("it can be read");
        assert_eq!(read.table(), report.table());
        let at_most = |name: &str| read.line(name).expect("it is there").at_most();
        assert_eq!((at_most("age"), at_most("rate"), at_most("error")), (Some(29.0), None, Some(1.0)));
        assert_eq!((read.median("age"), read.median("error")), (Some(10.0), None), "not measured is no number");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }
}
