//! The demonstration: a gateway, some hundred recorded people, and a live view of both in the terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nearcast::metrics::Hop;

use crate::audit::tally::{BANDS_M, quantile_ms};
use crate::scenario::Scenario;
use crate::scrape::Reading;
use crate::sheet::Report;
use crate::swarm::Window;
use crate::swarm::hands::Account;
use crate::trial::{Mark, Setup, TOO_BUSY, Trial, VOID_MAX, late_ms};

/// Where the output is no terminal, a line is written this often, seconds.
const LINE_EVERY_S: u64 = 5;
/// An endless demonstration shows figures of the last so many seconds.
const WINDOW_S: u64 = 30;
/// What was acknowledged is seen after this long, at the latest: answers and states are a few ticks under way.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// Of a demonstration of given length, this much goes into joining and settling, seconds; at most half of it.
const WARM_UP_S: u64 = 6;

/// Runs it: for ever, or for a number of seconds and then with a verdict.
///
/// # Errors
/// When something cannot be started or ends on its own; when five windows were void.
pub async fn run(scenario: &Scenario, setup: &Setup<'_>, seconds: Option<u64>) -> Result<Option<Report>> {
    let trial = Trial::start(scenario, setup).await?;
    println!("{} recorded people; {}", scenario.bots, setup.placing.text());
    for gateway in trial.gateways() {
        println!("see for yourself: http://{}/   metrics: http://{}/metrics", gateway.listen, gateway.admin);
    }
    let mut screen = Screen::new();
    let warm_up_s = seconds.map_or(WARM_UP_S, |all| WARM_UP_S.min(all / 2));
    let window_s = seconds.map_or(WINDOW_S, |all| all - warm_up_s);
    show(&trial, None, warm_up_s, &mut screen).await?;
    if seconds.is_some() && trial.swarm.joined() < scenario.bots {
        trial.swarm.all_joined(Duration::from_secs(10)).await?;
    }
    let mut void = 0;
    loop {
        let mark = trial.begin().await?;
        show(&trial, Some(&mark), window_s, &mut screen).await?;
        let (sheet, is_void) = trial.end(&mark).await?;
        if seconds.is_none() {
            continue;
        }
        if !is_void {
            let report = Report::of(scenario.name, scenario.server.name, &[sheet], &scenario.wanted, void);
            let is_kept = keep_word(&trial).await?;
            trial.stop().await;
            print!("{}", report.table());
            ensure!(is_kept, "what was acknowledged is not so");
            return Ok(Some(report));
        }
        void += 1;
        println!("void: the swarm itself was late ({:.1} ms at p99); once more", late_ms(&sheet));
        if void == VOID_MAX {
            bail!("{VOID_MAX} windows were void, so there is no verdict. {TOO_BUSY}");
        }
    }
}

/// Says whether all that was acknowledged about things is in effect, each once. Nothing is wished meanwhile.
async fn keep_word(trial: &Trial) -> Result<bool> {
    trial.swarm.rest_hands();
    tokio::time::sleep(SEEN_WITHIN).await;
    let reading = trial.reading().await?;
    let errands = |kind| reading.sum(&format!("nearcast_object_errands_total{{kind=\"{kind}\"}}")) as u64;
    let (account, open) = trial.swarm.account();
    let Account { objects, acked, lost, doubled, wrong, others } = account;
    let by_gateways = errands("carry") + errands("put_down");
    let is_kept = lost + doubled + wrong == 0 && others <= by_gateways + open as u64;
    println!(
        "{acked} commands about {objects} things were acknowledged: {lost} are not in effect, {doubled} took effect twice, {wrong} \
         otherwise than wished; of the versions seen {others} were made by gateways, which know of {by_gateways}, and {open} \
         commands have no answer: {}",
        if is_kept { "as it must be" } else { "WRONG" }
    );
    Ok(is_kept)
}

async fn show(trial: &Trial, mark: Option<&Mark>, seconds: u64, screen: &mut Screen) -> Result<()> {
    let mut before: Option<Reading> = None;
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let reading = trial.reading().await?;
        let window = trial.swarm.window();
        if let Some(reason) = window.counters.lost.first() {
            bail!("{} of the bots lost their sessions; {reason}", window.counters.lost_count);
        }
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
