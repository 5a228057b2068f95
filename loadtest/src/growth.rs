//! How the cost of a client grows with the crowd: what only several scenarios of one call together can tell.

use crate::compare::CPU;
use crate::sheet::{Report, Sheet, Wanted};

/// Name of the ratio, scenario, the scenario it is held against.
const RATIOS: [(&str, &str, &str); 7] = [
    ("cpu_of_grow100_at_500", "grow500", "grow100"),
    ("cpu_of_grow100_at_1000", "grow1000", "grow100"),
    ("cpu_of_grow100_at_2000", "grow2000", "grow100"),
    ("cpu_of_grow100_at_5000", "grow5000", "grow100"),
    ("cpu_of_spot100_at_300", "spot300", "spot100"),
    ("cpu_of_spot100_at_1000", "spot1000", "spot100"),
    ("cpu_of_spot100_at_3000", "spot3000", "spot100"),
];

/// Name of the report.
pub const NAME: &str = "growth";

/// Ratios of CPU per client-tick, of the medians; `None` if no two scenarios that belong together ran.
#[must_use]
pub fn report(reports: &[Report]) -> Option<Report> {
    let cpu = |scenario: &str| {
        let report = reports.iter().find(|report| report.scenario == scenario)?;
        report.median(CPU)
    };
    let mut sheet = Sheet::default();
    for (name, of, against) in RATIOS {
        if let (Some(of), Some(against)) = (cpu(of), cpu(against)) {
            sheet.put(name, of / against, "times");
        }
    }
    let mut wanted =
        vec![Wanted::at_most("cpu_of_grow100_at_5000", 1.15), Wanted::at_most("cpu_of_spot100_at_1000", 3.0)];
    wanted.retain(|rule| sheet.get(rule.figure).is_some());
    let mut report = (!sheet.0.is_empty()).then(|| Report::of(NAME, "nearcast", &[sheet], &wanted, 0))?;
    report.notes.push("CPU of a client-tick as the crowd grows, at constant density and in one spot".to_owned());
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(scenario: &'static str, cpu_us: f64) -> Report {
        let mut sheet = Sheet::default();
        sheet.put(CPU, cpu_us, "µs");
        Report::of(scenario, "nearcast", &[sheet], &[], 0)
    }

    #[test]
    fn growth_is_judged_where_both_ends_ran() {
        assert!(report(&[ran("grow100", 20.0), ran("spot1000", 20.0)]).is_none());
        let grown = report(&[ran("grow100", 20.0), ran("grow5000", 22.0)]).expect("both ran");
        assert!(grown.met && grown.lines.len() == 1, "{grown:?}");
        assert!(!report(&[ran("grow100", 20.0), ran("grow5000", 24.0)]).expect("both ran").met);
        assert!(!report(&[ran("spot100", 20.0), ran("spot1000", 61.0)]).expect("both ran").met);
        assert!(report(&[ran("spot100", 20.0), ran("spot3000", 99.0)]).expect("both ran").met, "it is only shown");
    }
}
