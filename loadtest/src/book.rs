//! What a call leaves as JSON, and what is read of it again: the figures, and what one must know to judge them and to
//! get them again.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::curve::tally::Point;
use crate::growth;
use crate::sheet::Report;

/// One call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Call {
    /// When and how; a file that holds a curve alone may lack it.
    pub made: Option<Made>,
    /// Where.
    pub machine: Option<Machine>,
    /// The figures.
    pub reports: Vec<Report>,
    /// Scenarios, or `scenario/server`, that lack the figures of some run.
    pub without: Vec<String>,
    /// What other bounds of error would cost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<Point>,
}

/// When and how figures were made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Made {
    /// Version of the load test, which is that of the gateway beside it.
    pub version: String,
    /// When it ended, as in HTTP.
    pub date: String,
    /// The command, as a shell takes it.
    pub command: String,
    /// Runs of each scenario that were asked for.
    pub runs: u32,
    /// On which cores, in words.
    pub placing: String,
}

/// A machine, as it tells of itself; texts are empty where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Logical cores.
    pub cores: usize,
    /// Model of the CPU.
    pub cpu: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Memory, MiB.
    pub memory_mib: u64,
}

impl Call {
    /// The call of this process, which ends now.
    #[must_use]
    pub fn of_now(runs: u32, placing: String, reports: Vec<Report>, without: Vec<String>) -> Call {
        let made = Made {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            date: httpdate::fmt_http_date(SystemTime::now()),
            command: std::env::args().map(|word| quoted(&word)).collect::<Vec<_>>().join(" "),
            runs,
            placing,
        };
        Call { made: Some(made), machine: Some(Machine::this()), reports, without, curve: Vec::new() }
    }

    /// What an earlier call has written.
    ///
    /// # Errors
    /// When the file cannot be read, or is not of this kind.
    pub fn read(file: &Path) -> Result<Call> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let call: Call = serde_json::from_str(&text)
            .with_context(|| format!("{} is not what `bench --json` writes", file.display()))?;
        ensure!(!call.reports.is_empty() || !call.curve.is_empty(), "{} holds no figures", file.display());
        Ok(call)
    }

    /// As JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write figures as JSON")?;
        write(file, &text)
    }
}

/// Writes a file, and the folder that it lies in.
///
/// # Errors
/// When that cannot be done.
pub fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(file, text)).with_context(|| format!("cannot write {}", file.display()))
}

/// Brings calls together: a scenario's figures are those of the last call that has it, all servers of it, and growth is
/// told anew, by the last.
pub fn merge(calls: &mut [Call]) {
    calls.iter_mut().for_each(|call| call.reports.retain(|report| report.scenario != growth::NAME));
    for at in 1..calls.len() {
        let (earlier, later) = calls.split_at_mut(at);
        let told = |scenario: &str| later[0].reports.iter().any(|report| report.scenario == scenario);
        let drawn =
            |of: &Point| later[0].curve.iter().any(|point| (&point.crowd, &point.series) == (&of.crowd, &of.series));
        for call in earlier {
            call.reports.retain(|report| !told(&report.scenario));
            call.without.retain(|name| !told(name.split('/').next().unwrap_or_default()));
            call.curve.retain(|point| !drawn(point));
        }
    }
    let reports: Vec<Report> = calls.iter().flat_map(|call| call.reports.iter().cloned()).collect();
    if let (Some(last), Some(growth)) = (calls.last_mut(), growth::report(&reports)) {
        last.reports.push(growth);
    }
}

impl Machine {
    /// The one that this runs on.
    fn this() -> Machine {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Machine::of(&read("/proc/cpuinfo"), &read("/proc/meminfo"), &read("/proc/sys/kernel/osrelease"))
    }

    fn of(cpuinfo: &str, meminfo: &str, osrelease: &str) -> Machine {
        let cores = fields(cpuinfo, "processor").count();
        let cpu = fields(cpuinfo, "model name").next().unwrap_or_default().to_owned();
        let memory_kib =
            fields(meminfo, "MemTotal").next().and_then(|size| size.split(' ').next()?.parse::<u64>().ok());
        Machine { cores, cpu, kernel: osrelease.trim().to_owned(), memory_mib: memory_kib.unwrap_or(0) / 1024 }
    }
}

/// The values of all lines `name : value`.
fn fields<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(move |(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::CPU;
    use crate::sheet::Sheet;

    fn ran(scenarios: &[(&str, f64)]) -> Call {
        let report = |(scenario, cpu_us): &(&str, f64)| {
            let mut sheet = Sheet::default();
            sheet.put(CPU, *cpu_us, "µs");
            Report::of(scenario, "nearcast", &[sheet], &[], 0)
        };
        Call { reports: scenarios.iter().map(report).collect(), ..Call::default() }
    }

    #[test]
    fn the_last_figures_of_a_scenario_count_and_growth_is_told_of_all() {
        let mut calls = [
            ran(&[("grow100", 20.0), ("plaza500", 30.0), ("growth", 0.0)]),
            ran(&[("plaza500", 31.0), ("grow5000", 22.0)]),
        ];
        calls[0].without = vec!["plaza500".to_owned(), "peers50/colyseus".to_owned()];
        merge(&mut calls);
        let names = |at: usize| calls[at].reports.iter().map(|report| &report.scenario[..]).collect::<Vec<_>>();
        assert_eq!((names(0), names(1)), (vec!["grow100"], vec!["plaza500", "grow5000", "growth"]));
        assert_eq!(calls[0].without, ["peers50/colyseus"]);
        let growth = calls[1].reports[2].median("cpu_of_grow100_at_5000").expect("both ends ran");
        assert!((growth - 1.1).abs() < 1e-9, "{growth}");
    }

    #[test]
    fn a_machine_tells_of_itself_what_it_has() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast: 3 GHz\n\nprocessor\t: 1\nmodel name\t: Fast: 3 GHz\n";
        let expected = Machine { cores: 2, cpu: "Fast: 3 GHz".to_owned(), kernel: "6.1".to_owned(), memory_mib: 2 };
        assert_eq!(Machine::of(cpuinfo, "MemTotal:        2048 kB\n", "6.1\n"), expected);
        assert_eq!(Machine::of("", "", ""), Machine::default());
        assert!(Machine::this().cores > 0 && !Machine::this().kernel.is_empty(), "Linux tells");
    }

    #[test]
    fn a_command_can_be_said_again() {
        assert_eq!(quoted("--only"), "--only");
        assert_eq!(quoted("it's a b"), r"'it'\''s a b'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn what_is_no_figure_is_refused_with_its_name() {
        let folder = std::env::temp_dir().join(format!("nearcast-book-{}", std::process::id()));
        let read = |text: &str| {
            let file = folder.join("x.json");
            write(&file, text).expect("it can be written");
            Call::read(&file).map_err(|error| format!("{error:#}"))
        };
        assert!(read("[1]").expect_err("no call").contains("x.json is not what `bench --json` writes"));
        assert!(read(r#"{"report": []}"#).expect_err("misspelt").contains("unknown field `report`"));
        assert!(read("{}").expect_err("empty").contains("holds no figures"));
        let point = r#"{"series": "a", "label": "b", "bytes_per_s": 1.0, "error_p95_cm": 2.0}"#;
        assert_eq!(read(&format!(r#"{{"curve": [{point}]}}"#)).expect("a curve alone").curve.len(), 1);
        fs::remove_dir_all(folder).expect("it is there");
    }
}
