//! The benchmark: several runs of each scenario, medians, and the table of what was wanted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::growth;
use crate::scenario::Scenario;
use crate::sheet::{Report, Sheet};
use crate::trial::{Setup, Trial};

/// Runs all scenarios, and prints each one's table when it is done, or why there is none.
///
/// # Errors
/// When there is none of some: a trial could not be started or ended on its own, or five of its windows were void.
pub async fn run(scenarios: &[Scenario], setup: &Setup<'_>, runs: u32) -> Result<Vec<Report>> {
    let seconds: u64 = scenarios.iter().map(|s| (s.settle.as_secs() + s.seconds) * u64::from(runs)).sum();
    let bar = ProgressBar::new(seconds);
    let style = ProgressStyle::with_template("{msg:<24} {wide_bar} {elapsed} of about {duration}");
    bar.set_style(style.context("the progress bar's template is wrong")?);
    let (mut reports, mut without) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        match all(scenario, setup, runs, &bar).await {
            Ok(report) => {
                bar.suspend(|| println!("{}", report.table()));
                reports.push(report);
            }
            Err(error) => {
                bar.suspend(|| eprintln!("{}: {error:#}", scenario.name));
                without.push(scenario.name);
            }
        }
    }
    bar.finish_and_clear();
    if let Some(growth) = growth::report(&reports) {
        println!("{}", growth.table());
        reports.push(growth);
    }
    ensure!(without.is_empty(), "no figures of {}; see above", without.join(", "));
    Ok(reports)
}

async fn all(scenario: &Scenario, setup: &Setup<'_>, runs: u32, bar: &ProgressBar) -> Result<Report> {
    let mut sheets = Vec::new();
    let mut void_runs = 0;
    for run in 1..=runs {
        bar.set_message(format!("{} {run}/{runs}", scenario.name));
        let (sheet, void) = one(scenario, setup, bar).await?;
        void_runs += void;
        sheets.push(sheet);
    }
    let mut report = Report::of(scenario.name, &sheets, &scenario.wanted, void_runs);
    report.notes.push(scenario.about.to_owned());
    Ok(report)
}

async fn one(scenario: &Scenario, setup: &Setup<'_>, bar: &ProgressBar) -> Result<(Sheet, usize)> {
    let trial = Trial::start(scenario, setup).await?;
    trial.joined(scenario.life.is_some()).await?;
    for _ in 0..scenario.settle.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
    let measured = trial.measure(scenario.seconds, |_| bar.inc(1)).await?;
    trial.stop().await;
    Ok(measured)
}
