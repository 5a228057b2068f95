//! Servers side by side: what each costs against the best floor of the same run, and the table of it. Only such ratios
//! mean something: the figures of one program move by a third with the machine's other load.

use std::fmt::Write;

use crate::scenario::Scenario;
use crate::server::{Program, Server};
use crate::sheet::{Report, Sheet, Wanted, short};

/// CPU of the whole process per client and tick, µs.
pub const CPU: &str = "cpu_us_per_client_tick";
/// The same over that of the best floor of the run.
pub const OF_FLOOR: &str = "cpu_of_floor";

/// What others cost over what the gateway costs, by the server's name.
pub const OF_GATEWAY: [(&str, &str, f64); 2] =
    [("colyseus", "colyseus_cpu_of_ours", 3.0), ("ws-packed", "ws_packed_cpu_of_ours", 2.0)];

/// What is wanted of the gateway beside these servers: half as much again as the floor, and a part of the others' cost.
#[must_use]
pub fn wanted(beside: &[Server]) -> Vec<Wanted> {
    let has = |name: &str| beside.iter().any(|server| server.name == name);
    let floor = has(Server::FLOOR.name).then(|| Wanted::at_most(OF_FLOOR, 1.5));
    let others = OF_GATEWAY.iter().filter(|(name, ..)| has(name));
    floor.into_iter().chain(others.map(|(_, figure, least)| Wanted::at_least(figure, *least))).collect()
}

/// Puts into the sheets of one run what each server costs against the best floor of that run, if one was measured; and
/// into the gateway's what others cost against it.
pub fn put_ratios(rows: &[Scenario], run: &mut [Option<Sheet>]) {
    let cpu = |sheet: &Option<Sheet>| sheet.as_ref().and_then(|sheet| sheet.get(CPU));
    for (name, figure, _) in OF_GATEWAY {
        let cost = |name: &str| cpu(&run[rows.iter().position(|row| row.server.name == name)?]);
        let ratio = cost(name).zip(cost(Server::NEARCAST.name)).map(|(other, ours)| other / ours);
        let ours = rows.iter().position(|row| row.server == Server::NEARCAST);
        if let (Some(ratio), Some(sheet)) = (ratio, ours.and_then(|at| run[at].as_mut())) {
            sheet.put(figure, ratio, "x");
        }
    }
    let floors = rows.iter().zip(run.iter()).filter(|(row, _)| matches!(row.server.program, Program::Floor(_)));
    let Some(best) = floors.filter_map(|(_, sheet)| cpu(sheet)).min_by(f64::total_cmp) else { return };
    for sheet in run.iter_mut() {
        if let (Some(cost), Some(sheet)) = (cpu(sheet), sheet) {
            sheet.put(OF_FLOOR, cost / best, "x");
        }
    }
}

/// The columns: title, figure, and how wide.
pub const COLUMNS: [(&str, &str, usize); 7] = [
    ("CPU µs/client-tick", CPU, 18),
    ("of best floor", OF_FLOOR, 14),
    ("bytes/update", "bytes_per_update", 12),
    ("states/s", "states_per_s_median", 9),
    ("updates/s", "updates_per_client_s", 10),
    ("RSS KiB/client", "rss_per_client_kib", 14),
    ("shown of others", "held_of_others", 15),
];

/// One table of all rows: medians, and the range of the first two columns.
#[must_use]
pub fn table(scenario: &Scenario, reports: &[Report]) -> String {
    let mut text = format!("{}: {}\n", scenario.name, scenario.about);
    let ranged = |at: usize| if at < 2 { 16 } else { 0 };
    let mut head = format!("  {:<18}", "server");
    for (at, (title, _, width)) in COLUMNS.iter().enumerate() {
        let _ = write!(head, " {title:>width$}{:<range$}", "", range = ranged(at));
    }
    let _ = writeln!(text, "{head} runs  void");
    for report in reports {
        let mut row = format!("  {:<18}", report.server);
        for (at, (_, figure, width)) in COLUMNS.iter().enumerate() {
            let line = report.line(figure);
            let median = line.map_or_else(|| "-".to_owned(), |line| short(line.median));
            let range = line.filter(|_| ranged(at) > 0 && report.runs > 1);
            let range = range.map_or_else(String::new, |line| format!(" ({})", line.range()));
            let _ = write!(row, " {median:>width$}{range:<wide$}", wide = ranged(at));
        }
        let _ = write!(row, " {:>4} {:>5}", report.runs, report.void_runs);
        let failed = report.lines.iter().filter(|line| line.met == Some(false));
        for line in failed {
            let (wanted, median) = (line.wanted.as_deref().unwrap_or_default(), short(line.median));
            let _ = write!(row, "  NOT MET: {} is {median}, wanted {wanted}", line.name);
        }
        let _ = writeln!(text, "{}", row.trim_end());
    }
    for report in reports {
        report.notes.iter().for_each(|note| _ = writeln!(text, "  {}: {note}", report.server));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(cpu: f64) -> Option<Sheet> {
        let mut sheet = Sheet::default();
        sheet.put(CPU, cpu, "µs");
        Some(sheet)
    }

    #[test]
    fn ratios_are_to_the_best_floor_of_the_run_and_a_void_row_has_none() {
        let scenario = Scenario::named("peers50").expect("listed");
        let rows = [Server::FLOOR, Server::FLOOR_PER_MESSAGE, Server::COLYSEUS, Server::WS_JSON]
            .map(|server| Scenario { server, ..scenario.clone() });
        let mut run = [sheet(6.0), sheet(5.0), sheet(40.0), None];
        put_ratios(&rows, &mut run);
        let ratios: Vec<Option<f64>> = run.iter().map(|s| s.as_ref().and_then(|s| s.get(OF_FLOOR))).collect();
        assert_eq!(ratios, [Some(1.2), Some(1.0), Some(8.0), None]);
        let mut without = [None, None, sheet(40.0), None];
        put_ratios(&rows, &mut without);
        assert_eq!(without[2].as_ref().and_then(|sheet| sheet.get(OF_FLOOR)), None);

        let with_ours = [Server::NEARCAST, Server::COLYSEUS].map(|server| Scenario { server, ..scenario.clone() });
        let mut pair = [sheet(10.0), sheet(40.0)];
        put_ratios(&with_ours, &mut pair);
        assert_eq!(pair[0].as_ref().and_then(|sheet| sheet.get("colyseus_cpu_of_ours")), Some(4.0));
        assert_eq!(wanted(&[Server::NEARCAST, Server::COLYSEUS]).len(), 1, "what does not run is not wanted");

        let report = |at: usize| {
            let sheets: Vec<Sheet> = run[at].iter().cloned().collect();
            Report::of(scenario.name, rows[at].server.name, &sheets, &scenario.wanted, 0)
        };
        let table = table(&scenario, &[report(2), report(3)]);
        assert!(table.contains("colyseus") && table.contains(" 8.00 "), "{table}");
        assert!(table.contains("NOT MET: held_of_others is -"), "what was not measured is said: {table}");
    }
}
