//! One trial: gateways, links and a swarm for a scenario; windows of measurement, void ones repeated.

mod figures;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use self::figures::{FROM_INSIDE, late_ms};
use self::figures::{put_cpu, put_gateway, put_swarm};
use crate::gateway::{Gateway, Placing, Start};
use crate::kept::Kept;
use crate::relay;
use crate::scenario::{Place, Scenario};
use crate::scene::Scene;
use crate::scrape::Reading;
use crate::sheet::{Sheet, median};
use crate::swarm::hands::Manner;
use crate::swarm::{BotPlan, Swarm, SwarmPlan};

/// A swarm later than this at p99 measures itself: the window is void, ms.
const LATE_MS: f64 = 5.0;
/// Void windows in a row; then the machine is not fit to measure on.
pub const VOID_MAX: usize = 5;
/// What to do about that.
pub const TOO_BUSY: &str = "This machine has other work: end it, or allow `chrt -r` and two cores";
/// All bots are to be in so long after the last one's turn.
const JOIN_WITHIN: Duration = Duration::from_secs(30);

/// What all trials of one call have in common.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The gateway's program.
    pub program: &'a Path,
    /// A gateway that runs already; then none is started, and nothing is known of its cost.
    pub url: Option<SocketAddr>,
    /// host:port of Apache Kafka.
    pub kafka: Option<&'a str>,
    /// Where gateways keep what was done, of scenarios that keep it; a folder of their own that goes with them, if there is
    /// none.
    pub data: Option<&'a Path>,
    /// Who knows this is a game server to the gateways.
    pub server_token: Option<&'a str>,
    /// Scenes to play.
    pub scenes: &'a [Scene],
    /// Where processes run.
    pub placing: Placing,
}

/// A running trial. Its gateways end with it.
#[derive(Debug)]
pub struct Trial {
    /// The bots.
    pub swarm: Rc<Swarm>,
    gateways: Vec<Gateway>,
    bots: usize,
    turns: Duration,
    /// Where the gateway keeps what was done. Goes after the gateways.
    kept: Option<Kept>,
    /// How much was in there at the start.
    ends: BTreeMap<u16, u64>,
}

/// Where a window began.
#[derive(Debug)]
pub struct Mark {
    reading: Reading,
    /// CPU time, µs, and memory, bytes; `None` of processes that were not started here.
    cost: Option<(f64, f64)>,
}

impl Trial {
    /// Starts gateways and links, and sends the bots in. Must run in a `LocalSet`.
    ///
    /// # Errors
    /// When something cannot be started; what was is ended.
    pub async fn start(scenario: &Scenario, setup: &Setup<'_>) -> Result<Trial> {
        if scenario.gateways > 1 && setup.kafka.is_none() {
            bail!("scenario `{}` needs Apache Kafka: name it with --kafka HOST:PORT", scenario.name);
        }
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let prefix = format!("loadtest-{}-{}", since_1970.as_millis(), std::process::id());
        let kept = match setup.data {
            _ if !scenario.data || setup.url.is_some() => None,
            Some(folder) => Some(Kept::at(folder)),
            None => Some(Kept::temporary(&prefix)?),
        };
        let ends = kept.as_ref().map(|kept| kept.ends(scenario.world)).transpose()?.unwrap_or_default();
        let mut gateways = Vec::new();
        let to_start = if setup.url.is_some() { 0 } else { scenario.gateways };
        for number in 0..to_start {
            let Setup { placing, server_token, .. } = *setup;
            let words = &scenario.server.words(setup.program)?;
            let kafka = setup.kafka.filter(|_| scenario.gateways > 1);
            let data = kept.as_ref().map(Kept::folder);
            let start =
                Start { words, number, world: scenario.world, kafka, prefix: &prefix, data, server_token, placing };
            let started = Gateway::start(start).await;
            gateways.push(started.with_context(|| format!("server `{}`", scenario.server.name))?);
        }
        let good: Vec<SocketAddr> = setup.url.into_iter().chain(gateways.iter().map(|g| g.listen)).collect();
        let mut bad = Vec::new();
        for gateway in &good {
            bad.push(relay::start(*gateway, scenario.link).await?);
        }
        let bots = scenario.crowd(setup.scenes)?.agents.into_iter().enumerate().map(|(number, agent)| {
            let (gateway, is_bad) = (number % good.len(), scenario.is_bad(number));
            let audited = scenario.is_audited(number);
            // Between three quarters and five quarters of the mean.
            let life = |mean: Duration| mean.as_micros() as u64 * (75 + (number as u64 * 31) % 50) / 100;
            BotPlan {
                agent,
                gateway,
                addr: if is_bad { bad[gateway] } else { good[gateway] },
                one_way_us: if is_bad { scenario.link.delay.as_micros() as u64 } else { 0 },
                audited,
                keeps: audited || scenario.all_keep(),
                idle: scenario.place == Place::Alone || number >= scenario.bots - scenario.storm,
                group: usize::from(is_bad),
                uses_us: scenario.uses_us(number),
                manner: scenario.users.map_or(Manner::Uses, |users| users.manner),
                life_us: scenario.life.filter(|_| !audited).map(life),
            }
        });
        let plan = SwarmPlan {
            bots: bots.collect(),
            gateways: good.len(),
            dialect: scenario.server.dialect,
            world: scenario.world.to_owned(),
            radius_m: scenario.radius_m,
            budget: scenario.budget(),
            joins_per_s: scenario.joins_per_s,
            storm: scenario.storm,
            holds: scenario.holds(),
        };
        let swarm = Swarm::start(plan);
        swarm.found_log(&ends);
        Ok(Trial { swarm, gateways, bots: scenario.bots, turns: scenario.turns(), kept, ends })
    }

    /// The gateways.
    #[must_use]
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// Where the gateway keeps what was done, if it does.
    #[must_use]
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// By partition of `events`: the offset at which the trial began.
    #[must_use]
    pub fn ends(&self) -> &BTreeMap<u16, u64> {
        &self.ends
    }

    /// Ends all gateways with SIGKILL and starts them again, each where it was.
    ///
    /// # Errors
    /// When one had ended, or does not start.
    pub async fn kill_and_start(&mut self) -> Result<()> {
        for gateway in &mut self.gateways {
            gateway.kill()?;
        }
        for gateway in &mut self.gateways {
            gateway.start_again().await?;
        }
        Ok(())
    }

    /// Waits until everybody is in.
    ///
    /// # Errors
    /// When somebody cannot join, or it takes too long.
    pub async fn joined(&self, churning: bool) -> Result<()> {
        if churning {
            // Never all at once.
            tokio::time::sleep(self.turns).await;
            return Ok(());
        }
        self.swarm.all_joined(self.turns + JOIN_WITHIN).await
    }

    /// All gateways' metrics as one.
    pub async fn reading(&self) -> Result<Reading> {
        let mut all = Vec::new();
        for gateway in &self.gateways {
            all.push(Reading::fetch(gateway.admin).await?);
        }
        Ok(Reading::merged(all))
    }

    fn cpu_us(&self) -> Result<f64> {
        self.gateways.iter().map(Gateway::cpu_us).sum()
    }

    fn rss(&self) -> Result<f64> {
        self.gateways.iter().map(|gateway| Ok(gateway.memory()?.rss as f64)).sum()
    }

    fn cost(&self) -> Result<(f64, f64)> {
        Ok((self.cpu_us()?, self.rss()?))
    }

    /// Metrics and cost. Where a gateway was ended and another one answers at its place, the cost is not known.
    async fn reading_and_cost(&self) -> Result<(Reading, Option<(f64, f64)>)> {
        match (self.reading().await, self.cost()) {
            (Ok(reading), cost) => Ok((reading, cost.ok())),
            (Err(_), Err(gone)) => Err(gone),
            (Err(error), Ok(_)) => Err(error),
        }
    }

    /// Begins a window.
    pub async fn begin(&self) -> Result<Mark> {
        let (reading, cost) = self.reading_and_cost().await?;
        self.swarm.begin();
        Ok(Mark { reading, cost })
    }

    /// Ends it: its figures, and whether it is void.
    pub async fn end(&self, mark: &Mark) -> Result<(Sheet, bool)> {
        let window = self.swarm.window();
        let (reading, cost) = self.reading_and_cost().await?;
        let gained = reading.since(&mark.reading);
        let mut sheet = Sheet::default();
        put_swarm(&mut sheet, &window);
        let is_void = late_ms(&sheet) > LATE_MS;
        if self.gateways.is_empty() {
            return Ok((sheet, is_void));
        }
        put_gateway(&mut sheet, &gained);
        let rows_max = reading.sum("nearcast_state_rows_max") / self.gateways.len() as f64;
        sheet.put("state_rows_max", rows_max, "rows");
        if let (Some((cpu_before_us, rss_before)), Some((cpu_us, rss))) = (mark.cost, cost) {
            put_cpu(&mut sheet, &window, self.bots, cpu_us - cpu_before_us);
            let idle: f64 = self.gateways.iter().map(|gateway| gateway.idle_rss() as f64).sum();
            let peaks: Result<f64> = self.gateways.iter().map(|gateway| Ok(gateway.memory()?.peak as f64)).sum();
            sheet.put("rss_per_client_kib", (rss - idle) / 1024.0 / self.bots as f64, "KiB");
            sheet.put("rss_growth_mib", (rss - rss_before) / 1_048_576.0, "MiB");
            sheet.put("rss_peak_mib", peaks? / 1_048_576.0, "MiB");
        }
        Ok((sheet, is_void))
    }

    /// One window after the other until one is not void. Also how many were.
    ///
    /// # Errors
    /// When five were void: the machine is too busy to measure on.
    pub async fn measure(&self, seconds: u64, mut each_second: impl FnMut(u64)) -> Result<(Sheet, usize)> {
        for void in 0..VOID_MAX {
            let (sheet, is_void) = self.window(seconds, &mut each_second).await?;
            if !is_void {
                return Ok((sheet, void));
            }
        }
        bail!("{VOID_MAX} windows were void: the swarm was late by more than {LATE_MS} ms at p99. {TOO_BUSY}")
    }

    /// One window, and whether it is void.
    async fn window(&self, seconds: u64, mut each_second: impl FnMut(u64)) -> Result<(Sheet, bool)> {
        let mark = self.begin().await?;
        for second in 1..=seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            each_second(second);
        }
        let (sheet, is_void) = self.end(&mark).await?;
        if is_void {
            let [send, read] =
                ["swarm_send_late_p99_ms", "swarm_read_late_p99_ms"].map(|f| sheet.get(f).unwrap_or(0.0));
            eprintln!("void: the swarm itself was late (at p99 {send:.1} ms to send, {read:.1} ms to read)");
        }
        Ok((sheet, is_void))
    }

    /// A scenario's windows: the last, with what has changed since the first. Also how many were void; those of a scenario
    /// that lasts count all the same, as what else the machine does falls on its first third as on its last.
    ///
    /// # Errors
    /// As [`Trial::measure`]; and when the window of a storm was void, as there is only one storm, or not all could join in it.
    pub async fn windows(&self, scenario: &Scenario, mut each_second: impl FnMut(u64)) -> Result<(Sheet, usize)> {
        let (mut sheets, mut void) = (Vec::new(), 0);
        if let Some(lasts) = scenario.lasts {
            let began = Instant::now();
            while began.elapsed() < lasts {
                let (sheet, is_void) = self.window(scenario.seconds, &mut each_second).await?;
                println!("{}", course(sheets.len() + 1, &sheet));
                sheets.push(sheet);
                void += usize::from(is_void);
            }
        } else {
            let (sheet, before) = self.measure(scenario.seconds, &mut each_second).await?;
            sheets.push(sheet);
            void = before;
        }
        if scenario.storm > 0 {
            self.swarm.storm();
            let (sheet, is_void) = self.window(scenario.seconds, &mut each_second).await?;
            ensure!(!is_void, "the swarm itself was late when the storm came: run it again. {TOO_BUSY}");
            let (joined, bots) = (self.swarm.joined(), self.bots);
            ensure!(
                joined == bots,
                "{joined} of {bots} bots were in at the end: not all could join, or some were lost"
            );
            sheets.push(sheet);
        }
        Ok((changed(sheets), void))
    }

    /// Everybody says bye; the gateways end.
    pub async fn stop(self) {
        self.swarm.stop().await;
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // Before the gateways end, so that they have nobody to wait for.
        self.swarm.close();
    }
}

/// One of many windows in a line: what the allocator holds, and how old what clients see is.
fn course(window: usize, sheet: &Sheet) -> String {
    let of = |name: &str| sheet.get(name).unwrap_or(f64::NAN);
    let [rss, p50, p99] = ["rss_per_client_kib", "age_p50_ms", "age_p99_ms"].map(of);
    format!("  window {window:>3}: {rss:.3} KiB a client, ages {p50:.1} ms (p50) and {p99:.1} ms (p99)")
}

/// Several windows as one sheet: the last, what went wrong in any of them, and how the last third of them stands to the first,
/// by their medians. A steady load is to have stayed as it began; of a storm, which comes with the second and last window,
/// the first shows what those who were in had before. How far memory has spread is of use to the former only.
fn changed(mut sheets: Vec<Sheet>) -> Sheet {
    let mut last = sheets.pop().unwrap_or_default();
    if sheets.is_empty() {
        return last;
    }
    let ends = last.clone();
    let values = |name: &str| sheets.iter().chain([&ends]).filter_map(|sheet| sheet.get(name)).collect::<Vec<f64>>();
    let mut gained = vec![("windows", (sheets.len() + 1) as f64, "")];
    for (name, ratio) in [("age_p50_ms", "age_p50_of_first"), ("age_p99_ms", "age_p99_of_first")] {
        let values = values(name);
        let third = values.len().div_ceil(3);
        let [before, after] = [&values[..third], &values[values.len() - third..]].map(middle);
        if before > 0.0 {
            gained.push((ratio, after / before, "x"));
        }
    }
    // What is bad in any window is bad.
    for figure in &mut last.0 {
        let before = sheets.iter().filter_map(|sheet| sheet.get(figure.name));
        match figure.name {
            "lost_sessions" | "refusals_heard" | "missed_states" | "skipped_ticks" | "missed_ticks" | "late_ticks" => {
                figure.value += before.sum::<f64>()
            }
            "served_per_s_min" => figure.value = before.fold(figure.value, f64::min),
            _ => {}
        }
    }
    let mut rss = values("rss_per_client_kib");
    if let Some(of) = rss.first().copied() {
        rss.sort_by(f64::total_cmp);
        gained.push(("rss_spread_percent", 100.0 * (rss[rss.len() - 1] - rss[0]) / of, "%"));
    }
    gained.into_iter().for_each(|(name, value, unit)| last.put(name, value, unit));
    last
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median(&sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_third_of_windows_is_held_against_the_first() {
        let sheet = |age: f64, rss: f64| {
            let mut sheet = Sheet::default();
            sheet.put("age_p50_ms", age, "ms");
            sheet.put("rss_per_client_kib", rss, "KiB");
            sheet.put("lost_sessions", 1.0, "");
            sheet
        };
        // Each of the thirds has one window that is far off.
        let ages = [30.0, 90.0, 30.0, 45.0, 45.0, 45.0, 33.0, 33.0, 99.0];
        let steady =
            changed(ages.into_iter().zip([20.0, 19.0, 21.0].into_iter().cycle()).map(|(a, r)| sheet(a, r)).collect());
        assert_eq!(steady.get("age_p50_ms"), Some(99.0), "the last");
        assert_eq!(steady.get("age_p50_of_first"), Some(1.1), "what is usual in the last third");
        assert_eq!(steady.get("rss_spread_percent"), Some(10.0));
        assert_eq!(steady.get("lost_sessions"), Some(9.0), "of all windows");
        let storm = changed(vec![sheet(30.0, 20.0), sheet(45.0, 20.0)]);
        assert_eq!(storm.get("age_p50_of_first"), Some(1.5));
        assert_eq!(super::changed(vec![sheet(30.0, 20.0)]).0.len(), 3, "one window has nothing to be held against");
    }
}
