//! The demonstration: a gateway, some hundred recorded people, and a live view of both in the terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nearcast::metrics::Hop;

use crate::audit::tally::{BANDS_M, quantile_ms};
use crate::keeper::Keeper;
use crate::scenario::Scenario;
use crate::scrape::Reading;
use crate::sheet::{Report, Sheet};
use crate::swarm::hands::Account;
use crate::swarm::tales::Told;
use crate::swarm::{Returns, Window};
use crate::trial::{Mark, Setup, TOO_BUSY, Trial, VOID_MAX, late_ms};

/// Where the output is no terminal, a line is written this often, seconds.
const LINE_EVERY_S: u64 = 5;
/// An endless demonstration shows figures of the last so many seconds.
const WINDOW_S: u64 = 30;
/// What was acknowledged is seen after this long, at the latest: answers and states are a few ticks under way.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// Of a demonstration of given length, this much goes into joining and settling, seconds; at most half of it.
const WARM_UP_S: u64 = 6;
/// When a gateway is up again, all bots are to be back within this: each waits at most 10 s between attempts.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// After they are back, views fill for so long, seconds.
const SETTLE_S: u64 = 3;
/// Of a demonstration in which the gateway is killed, at least so much is measured afterwards, seconds.
const AFTER_MIN_S: u64 = 5;

/// How long a demonstration is, and what happens in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Course {
    /// It ends after so many seconds, with a verdict.
    pub seconds: Option<u64>,
    /// The gateway is killed with SIGKILL after so many, and started again.
    pub kill_after: Option<u64>,
}

/// Runs it: for ever, or for a number of seconds and then with a verdict.
///
/// # Errors
/// When something cannot be started or ends on its own; when five windows were void.
pub async fn run(scenario: &Scenario, setup: &Setup<'_>, course: Course) -> Result<Option<Report>> {
    let mut trial = Trial::start(scenario, setup).await?;
    let keeper = setup.server_token.zip(trial.gateways().first());
    let keeper = keeper.map(|(token, gateway)| Keeper::start(gateway.listen, scenario.world, token));
    println!("{} recorded people; {}", scenario.bots, setup.placing.text());
    for gateway in trial.gateways() {
        let (listen, admin) = (gateway.listen, gateway.admin);
        println!("see for yourself: http://{listen}/   clients: ws://{listen}/v1");
        println!("operators: http://{admin}/inspect   metrics: http://{admin}/metrics");
        if course.kill_after.is_none() && trial.kept().is_some() {
            println!("kill -9 {}, and start it again: {}", gateway.pid(), gateway.words());
        }
    }
    let mut screen = Screen::new();
    let mut warm_up_s = course.seconds.map_or(WARM_UP_S, |all| WARM_UP_S.min(all / 2));
    let mut window_s = course.seconds.map_or(WINDOW_S, |all| all - warm_up_s);
    if let Some(after_s) = course.kill_after {
        show(&trial, None, after_s, &mut screen).await?;
        kill(&mut trial, scenario.bots).await?;
        warm_up_s = SETTLE_S;
        window_s = course.seconds.map_or(WINDOW_S, |all| all.saturating_sub(after_s + SETTLE_S).max(AFTER_MIN_S));
    }
    show(&trial, None, warm_up_s, &mut screen).await?;
    if course.seconds.is_some() {
        trial.swarm.until(BACK_WITHIN, || trial.swarm.joined() >= scenario.bots).await;
    }
    let mut void = 0;
    loop {
        let measured = window(&trial, window_s, &mut screen).await;
        let is_whole = trial.swarm.window().counters.returns.lost == 0;
        if !is_whole {
            println!("connections were lost: nothing is judged until all are back");
            let are_back = trial.swarm.until(BACK_WITHIN, || trial.swarm.joined() >= scenario.bots).await;
            if !are_back && course.seconds.is_some() {
                word_is_kept(&trial, scenario).await?;
                let reasons = trial.swarm.window().counters.lost.join("; ");
                bail!("{} of {} bots are there: {reasons}", trial.swarm.joined(), scenario.bots);
            }
            show(&trial, None, SETTLE_S, &mut screen).await?;
        }
        if course.seconds.is_none() {
            if is_whole {
                measured?;
            }
            continue;
        }
        if is_whole {
            let (sheet, is_void) = measured?;
            if !is_void {
                let report = Report::of(scenario.name, scenario.server.name, &[sheet], &scenario.wanted, void);
                let is_kept = word_is_kept(&trial, scenario).await?;
                keeper.map_or(Ok(()), |keeper| keeper.verdict().map(|text| println!("{text}")))?;
                trial.stop().await;
                print!("{}", report.table());
                ensure!(is_kept, "what was acknowledged is not so");
                return Ok(Some(report));
            }
            println!("void: the swarm itself was late ({:.1} ms at p99); once more", late_ms(&sheet));
        }
        void += 1;
        if void == VOID_MAX {
            bail!("{VOID_MAX} windows were void, so there is no verdict. {TOO_BUSY}");
        }
    }
}

async fn window(trial: &Trial, seconds: u64, screen: &mut Screen) -> Result<(Sheet, bool)> {
    let mark = trial.begin().await?;
    show(trial, Some(&mark), seconds, screen).await?;
    trial.end(&mark).await
}

/// Kills the gateway in the middle of all that goes on, starts it again, and waits until everybody is back.
async fn kill(trial: &mut Trial, bots: usize) -> Result<()> {
    // Who has never been in has no session to come back to.
    trial.swarm.all_joined(Duration::from_secs(10)).await?;
    let killed = Instant::now();
    trial.kill_and_start().await?;
    let up_s = killed.elapsed().as_secs_f64();
    // Those who have not noticed are no more back than the others.
    let is_over = || trial.swarm.returns().lost >= bots as u64 && trial.swarm.joined() >= bots;
    let are_back = trial.swarm.until(BACK_WITHIN, is_over).await;
    println!(
        "killed with SIGKILL; up again after {up_s:.1} s; {}",
        if are_back {
            format!("all {bots} bots were back after {:.1} s", killed.elapsed().as_secs_f64())
        } else {
            format!(
                "only {} of {bots} bots are back after {:.0} s",
                trial.swarm.joined(),
                killed.elapsed().as_secs_f64()
            )
        }
    );
    Ok(())
}

/// Says whether everybody is there as who they were, and all that was acknowledged is in effect and was heard, each once.
/// Nothing is wished meanwhile.
async fn word_is_kept(trial: &Trial, scenario: &Scenario) -> Result<bool> {
    trial.swarm.rest_hands();
    tokio::time::sleep(SEEN_WITHIN).await;
    let verdict = |is_so: bool| if is_so { "as it must be" } else { "WRONG" };

    let swarm = &trial.swarm;
    let Returns { lost, resumed, not_resumed, resent, resets, away_max_us } = swarm.returns();
    let joined = swarm.joined();
    let are_back = joined == scenario.bots && not_resumed == 0 && resumed == lost && resets == 0;
    println!(
        "{joined} of {} bots are there; of {lost} connections lost {resumed} go on as the same session and avatar, after {:.1} s at \
         most, {not_resumed} as another; {resets} were told that events were missed: {}",
        scenario.bots,
        away_max_us as f64 / 1e6,
        verdict(are_back)
    );
    if let Some(before) = swarm.acked_before() {
        println!(
            "{before} commands were acknowledged before all connections were lost, {} since; {resent} had no answer and were sent again",
            swarm.acked() - before
        );
    }

    let by_gateways = match trial.kept() {
        Some(kept) => kept.by_gateways(scenario.world, trial.ends(), &swarm.objects())?,
        None => {
            let reading = trial.reading().await?;
            let errands = |kind| reading.sum(&format!("nearcast_object_errands_total{{kind=\"{kind}\"}}")) as u64;
            errands("carry") + errands("put_down")
        }
    };
    let (account, open) = swarm.account();
    let Account { objects, acked, lost, doubled, wrong, others } = account;
    let is_kept = lost + doubled + wrong == 0 && others <= by_gateways + open as u64;
    println!(
        "{acked} commands about {objects} things were acknowledged: {lost} are not in effect, {doubled} took effect twice, {wrong} \
         otherwise than wished; of the versions seen {others} were made by gateways, which know of {by_gateways}, and {open} \
         commands have no answer: {}",
        verdict(is_kept)
    );

    let Told { acked, heard, missed, doubled, repeated, unfollowed } = swarm.told();
    let are_heard = missed + doubled + repeated + unfollowed == 0;
    println!(
        "{acked} words were acknowledged: {heard} times one was heard by somebody who stood near, {missed} times it was not, \
         {doubled} took effect twice, {repeated} were told again or out of order: {}",
        verdict(are_heard)
    );
    Ok(are_back && is_kept && are_heard)
}

async fn show(trial: &Trial, mark: Option<&Mark>, seconds: u64, screen: &mut Screen) -> Result<()> {
    let mut before: Option<Reading> = None;
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let window = trial.swarm.window();
        if let Some(reason) = window.counters.lost.first()
            && window.counters.returns.lost == 0
        {
            bail!("{} of the bots lost their sessions; {reason}", window.counters.lost_count);
        }
        // It may be down: whoever ended it may start it again.
        let reading = trial.reading().await.unwrap_or_default();
        let gained = before.as_ref().map_or_else(|| reading.clone(), |before| reading.since(before));
        before = Some(reading);
        screen.show(&View {
            joined: trial.swarm.joined(),
            window: &window,
            gained: &gained,
            measuring: mark.is_some(),
        });
    }
    Ok(())
}

/// What is on the screen.
struct View<'a> {
    joined: usize,
    window: &'a Window,
    /// Metrics of the last second.
    gained: &'a Reading,
    measuring: bool,
}

impl View<'_> {
    fn states_per_s(&self) -> f64 {
        self.gained.sum("nearcast_state_bytes_count")
    }

    fn bytes_per_client(&self) -> f64 {
        self.gained.sum("nearcast_state_bytes_sum") / self.joined.max(1) as f64
    }

    fn line(&self) -> String {
        let tally = &self.window.tallies[0];
        let per_client = self.states_per_s() / self.joined.max(1) as f64;
        let mut text = format!(
            "{} clients, {per_client:.1} states/s each, {:.0} bytes/s each",
            self.joined,
            self.bytes_per_client()
        );
        if self.measuring {
            let _ = write!(
                text,
                ", age p50 {:.1} p99 {:.1} ms, codec error p99 {} cm, missing + ghost {:.0} per million",
                quantile_ms(&tally.age_us, 0.5),
                quantile_ms(&tally.age_us, 0.99),
                tally.codec_cm.value_at_quantile(0.99),
                tally.presence.per_million(),
            );
            let acks = &self.window.counters.ack_us;
            let _ = write!(
                text,
                ", {:.1} commands/s, ack p50 {:.1} p99 {:.1} ms",
                acks.len() as f64 / self.window.seconds.max(1.0),
                quantile_ms(acks, 0.5),
                quantile_ms(acks, 0.99),
            );
            if !tally.age_other_us.is_empty() {
                let other = &tally.age_other_us;
                let (p50, p99) = (quantile_ms(other, 0.5), quantile_ms(other, 0.99));
                let _ = write!(text, ", other gateway's age p50 {p50:.1} p99 {p99:.1} ms");
            }
        }
        text
    }

    fn page(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}", self.line());
        let _ = writeln!(text, "{:<20} {:>9} {:>9}", "hop (last second)", "p50 ms", "p99 ms");
        for hop in Hop::ALL.map(Hop::label) {
            let ms = |share| self.gained.hop_ms(hop, share).map_or("-".to_owned(), |ms| format!("{ms:.3}"));
            let _ = writeln!(text, "{hop:<20} {:>9} {:>9}", ms(0.5), ms(0.99));
        }
        if self.measuring {
            let tally = &self.window.tallies[0];
            let _ = writeln!(text, "{:<20} {:>9} {:>9}", "position now", "drawn cm", "held cm");
            let mut from = 0.0;
            for (band, end) in BANDS_M.iter().enumerate() {
                let p99 = |h: &hdrhistogram::Histogram<u64>| match h.len() {
                    0 => "-".to_owned(),
                    _ => h.value_at_quantile(0.99).to_string(),
                };
                let name = format!("p99, {from} to {end} m");
                let _ = writeln!(text, "{name:<20} {:>9} {:>9}", p99(&tally.drawn_cm[band]), p99(&tally.held_cm[band]));
                from = *end;
            }
            let late = &self.window.counters;
            let _ = writeln!(
                text,
                "the swarm itself: sends {:.1} ms late at p99, reads {:.1} ms",
                quantile_ms(&late.send_late_us, 0.99),
                quantile_ms(&late.read_late_us, 0.99)
            );
        }
        text
    }
}

/// Prints in place on a terminal, else a line now and then.
struct Screen {
    terminal: bool,
    lines: usize,
    seconds: u64,
}

impl Screen {
    fn new() -> Screen {
        Screen { terminal: std::io::stdout().is_terminal(), lines: 0, seconds: 0 }
    }

    fn show(&mut self, view: &View<'_>) {
        self.seconds += 1;
        let mut out = std::io::stdout().lock();
        // Nobody reads it any more: the demonstration goes on.
        let _written = if self.terminal {
            let page = view.page();
            let up = if self.lines > 0 { format!("\x1b[{}F\x1b[J", self.lines) } else { String::new() };
            self.lines = page.lines().count();
            write!(out, "{up}{page}").and_then(|()| out.flush())
        } else if self.seconds.is_multiple_of(LINE_EVERY_S) {
            writeln!(out, "{:>4} s: {}", self.seconds, view.line())
        } else {
            Ok(())
        };
    }
}
