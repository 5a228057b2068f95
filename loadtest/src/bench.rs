//! The benchmark: several runs of each scenario, medians, and the table of what was wanted, or of the servers compared.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::compare;
use crate::growth;
use crate::scenario::Scenario;
use crate::sheet::{Report, Sheet};
use crate::trial::{Setup, Trial};

/// Runs all scenarios, and prints each one's table when it is done, or why there is none. Also names those of which some
/// run lacks: a trial could not be started or ended on its own, or five of its windows were void.
///
/// # Errors
/// When something that a scenario needs is not there.
pub async fn run(scenarios: &[Scenario], setup: &Setup<'_>, runs: u32) -> Result<(Vec<Report>, Vec<String>)> {
    if setup.url.is_none() {
        // What lacks is said before the first run, not after an hour.
        for row in scenarios.iter().flat_map(Scenario::rows) {
            row.server.words(setup.program).with_context(|| format!("scenario `{}`", row.name))?;
        }
    }
    let per_run = |s: &Scenario| (s.turns() + s.settle + s.measured()).as_secs() * s.rows().len() as u64;
    let seconds: u64 = scenarios.iter().map(|scenario| per_run(scenario) * u64::from(runs)).sum();
    let bar = ProgressBar::new(seconds);
    let style = ProgressStyle::with_template("{msg:<32} {wide_bar} {elapsed} of about {duration}");
    bar.set_style(style.context("the progress bar's template is wrong")?);
    let (mut reports, mut without) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        let of_rows = all(scenario, setup, runs, &bar, &mut without).await;
        bar.suspend(|| match &of_rows[..] {
            [] => {}
            [report] if scenario.compared.is_empty() => println!("{}", report.table()),
            several => println!("{}", compare::table(scenario, several)),
        });
        reports.extend(of_rows);
    }
    bar.finish_and_clear();
    if let Some(growth) = growth::report(&reports) {
        println!("{}", growth.table());
        reports.push(growth);
    }
    Ok((reports, without))
}

/// All runs of a scenario: in each the servers that it compares, one after the other. The reports of those that were
/// measured; who was not in some run is added to `without`.
async fn all(
    scenario: &Scenario,
    setup: &Setup<'_>,
    runs: u32,
    bar: &ProgressBar,
    without: &mut Vec<String>,
) -> Vec<Report> {
    let rows = scenario.rows();
    let mut sheets = vec![Vec::new(); rows.len()];
    let mut void_windows = vec![0; rows.len()];
    for run in 1..=runs {
        let mut of_run = vec![None; rows.len()];
        for (at, row) in rows.iter().enumerate() {
            let name = row_name(row);
            bar.set_message(format!("{name} {run}/{runs}"));
            match one(row, setup, bar).await {
                Ok((sheet, void)) => {
                    of_run[at] = Some(sheet);
                    void_windows[at] += void;
                }
                Err(error) => {
                    bar.suspend(|| eprintln!("{name}: {error:#}"));
                    if !without.contains(&name) {
                        without.push(name);
                    }
                }
            }
        }
        compare::put_ratios(&rows, &mut of_run);
        of_run.into_iter().zip(&mut sheets).for_each(|(sheet, sheets)| sheets.extend(sheet));
        if rows.len() == 1 && sheets[0].is_empty() {
            break;
        }
    }
    let measured = (0..rows.len()).filter(|at| !sheets[*at].is_empty());
    let report = |at: usize| {
        let Scenario { name, server, wanted, about, .. } = &rows[at];
        let mut report = Report::of(name, server.name, &sheets[at], wanted, void_windows[at]);
        report.notes.push(if scenario.compared.is_empty() { (*about).to_owned() } else { server.about() });
        report
    };
    measured.map(report).collect()
}

fn row_name(row: &Scenario) -> String {
    if row.compared.is_empty() { row.name.to_owned() } else { format!("{}/{}", row.name, row.server.name) }
}

async fn one(scenario: &Scenario, setup: &Setup<'_>, bar: &ProgressBar) -> Result<(Sheet, usize)> {
    let trial = Trial::start(scenario, setup).await?;
    trial.joined(scenario.life.is_some()).await?;
    bar.inc(scenario.turns().as_secs());
    for _ in 0..scenario.settle.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
    if setup.url.is_some() {
        // Whoever watches that gateway from outside waits for this line.
        println!("measuring {}: {}", scenario.name, scenario.about);
    }
    let measured = trial.windows(scenario, |_| bar.inc(1)).await?;
    trial.stop().await;
    Ok(measured)
}
