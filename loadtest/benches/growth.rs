//! What a client costs as the crowd grows, at constant density and in one spot, but for sockets: the crowds of `grow100` to
//! `grow5000` and of `spot100` to `spot3000` live through ticks, from the bytes of their moves to the frames of their states.
//! `cargo bench --bench growth --workspace` takes two minutes. Sizes take turns, so that the machine's other load falls on
//! all. With the name of a scenario and a number of ticks it plays that alone, for `make counts-growth`.

mod pure;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nearcast::codec::Payload;
use nearcast::edge::framing::{self, Opcode};
use nearcast::limits::{BUDGET_BYTES_PER_S, FOLD_AHEAD_US, READ_AHEAD_US, READ_EVERY_US, ROWS_MAX, ROWS_MIN, TICK_US};
use nearcast::log::memory::{Memory, MemoryLog};
use nearcast::region::World;
use nearcast::session::{Effect, Input, Note, Session};
use nearcast::settings::WorldSettings;
use nearcast_loadtest::crowd::Crowd;
use nearcast_loadtest::scenario::Scenario;
use nearcast_loadtest::scene::Scene;
use nearcast_loadtest::sheet::median;
use pure::{START_US, open, say, submit};

/// Rows of a state at most: all that bytes allow, or what is left where time is short, see decisions, 23.
const RUNS: [(&[&str], usize); 3] = [
    (&["grow100", "grow500", "grow1000", "grow2000", "grow5000"], ROWS_MAX),
    (&["spot100", "spot300", "spot1000", "spot3000"], ROWS_MAX),
    (&["spot100", "spot300", "spot1000", "spot3000"], ROWS_MIN),
];
/// Until all are in view and links are known.
const WARM_TICKS: u64 = 60;
/// Client-ticks in a row of one size, in whole ticks: its tables are in the caches as far as they fit there.
const TURN: usize = 10_000;
const TURNS: usize = 8;
/// Sockets are read so many times a tick, each time those of as many clients.
const READINGS: u64 = TICK_US / READ_EVERY_US;

/// One gateway without sockets.
struct Gateway {
    crowd: Crowd,
    world: World,
    log: MemoryLog,
    /// With how many states each was sent, which is what its client has seen.
    sessions: Vec<(Session, u64)>,
    rows_max: usize,
    number: u64,
    effects: Vec<Effect>,
}

/// Of one turn, µs per client-tick.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Moves are decoded, admitted, submitted;
    hear: f64,
    /// written to the log, read back, folded, and the tick made;
    world: f64,
    /// told to who sees them.
    tell: f64,
    /// Bytes per client-tick.
    bytes: f64,
}

impl Cost {
    fn whole(&self) -> f64 {
        self.hear + self.world + self.tell
    }
}

impl Gateway {
    fn open(scenario: &Scenario, rows_max: usize) -> Result<Gateway> {
        let settings = Arc::new(WorldSettings::plaza());
        let crowd = scenario.crowd(&Scene::plaza())?;
        let mut log = Memory::new(1, || 0).open();
        let mut world = World::new(settings.grid, 1);
        let open = |i| (open(i, BUDGET_BYTES_PER_S, &settings, &mut world, &mut log), 0);
        let sessions = (0..crowd.agents.len()).map(open).collect();
        Ok(Gateway { crowd, world, log, sessions, rows_max, number: START_US / TICK_US, effects: Vec::new() })
    }

    /// What everybody says before the next tick, with when it is read, in that order.
    fn said(&self) -> Vec<(usize, u64, Payload)> {
        let reading = |reading: u64| {
            let before_us = (READINGS - 1 - reading) * READ_EVERY_US + READ_AHEAD_US;
            let now_us = (self.number + 1) * TICK_US - before_us;
            let speakers = (reading as usize..self.sessions.len()).step_by(READINGS as usize);
            speakers.map(move |i| {
                let sample = self.crowd.agents[i].at((now_us - START_US) as f64 / 1e3);
                let [x, y, z] = sample.pos;
                let seen = Some(self.sessions[i].1).filter(|seen| *seen > 0);
                (i, now_us, say([x, y, z, sample.yaw_deg], seen, now_us))
            })
        };
        (0..READINGS).flat_map(reading).collect()
    }

    /// One tick; how long its parts took, and the bytes that were framed.
    fn tick(&mut self) -> Result<([Duration; 3], usize)> {
        let said = self.said();
        self.number += 1;
        let tick_us = self.number * TICK_US;
        let began = Instant::now();
        for (i, now_us, payload) in &said {
            self.sessions[*i].0.on(Input::Message(payload.bytes()), *now_us, &mut self.effects);
            submit(&mut self.effects, &mut self.world, &mut self.log, *now_us);
        }
        let heard = began.elapsed();
        for now_us in [tick_us - FOLD_AHEAD_US, tick_us] {
            self.world.step(&mut self.log, now_us, &mut Vec::new());
        }
        let tick = self.world.freeze(self.number, tick_us);
        let made = began.elapsed();
        let (mut out, mut bytes) = (Vec::with_capacity(4_096), 0);
        for (session, states) in &mut self.sessions {
            session.on(Input::Tick(&tick, self.rows_max), tick_us, &mut self.effects);
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Send(payload) => {
                        out.clear();
                        framing::write(&mut out, Opcode::Binary, payload.bytes());
                        bytes += black_box(&out).len();
                    }
                    Effect::Note(Note::State(_)) => *states += 1,
                    Effect::Note(_) | Effect::Ping(_) | Effect::Pong(_) | Effect::Submit(_) | Effect::Close(_) => {}
                }
            }
        }
        let told = began.elapsed();
        let facts = &mut self.world.facts;
        let times = [&mut facts.batch_wait_us, &mut facts.log_round_trip_us, &mut facts.fold_to_tick_us];
        times.into_iter().for_each(Vec::clear);
        ensure!(tick.spots.len() == self.sessions.len(), "{} avatars are in the tick", tick.spots.len());
        Ok(([heard, made - heard, told - made], bytes))
    }

    fn turn(&mut self) -> Result<Cost> {
        let mut cost = Cost::default();
        let ticks = TURN.div_ceil(self.sessions.len());
        let client_ticks = (self.sessions.len() * ticks) as f64;
        for _ in 0..ticks {
            let (took, bytes) = self.tick()?;
            let [hear, world, tell] = took.map(|took| took.as_secs_f64() * 1e6 / client_ticks);
            cost.hear += hear;
            cost.world += world;
            cost.tell += tell;
            cost.bytes += bytes as f64 / client_ticks;
        }
        Ok(cost)
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [scenario, ticks] = &words[..] {
        return alone(scenario, ticks.parse().with_context(|| format!("{ticks:?} is no number of ticks"))?);
    }
    println!(
        "µs per client-tick, medians of {TURNS} turns; ratios are of the same turn. ticks/s: of one core that did nothing else"
    );
    for (scenarios, rows_max) in RUNS {
        println!("at most {rows_max} rows a state");
        compare(scenarios, rows_max)?;
    }
    Ok(())
}

/// One crowd through so many ticks after it has settled, and nothing else: to be counted, see `deploy/growth-counts.sh`.
fn alone(scenario: &str, ticks: u64) -> Result<()> {
    let mut gateway = Gateway::open(&Scenario::named(scenario)?, ROWS_MAX)?;
    for _ in 0..WARM_TICKS + ticks {
        gateway.tick()?;
    }
    println!("{}", gateway.sessions.len());
    Ok(())
}

fn compare(scenarios: &[&str], rows_max: usize) -> Result<()> {
    let mut gateways = Vec::new();
    for name in scenarios {
        let mut gateway = Gateway::open(&Scenario::named(name)?, rows_max).with_context(|| (*name).to_owned())?;
        for _ in 0..WARM_TICKS {
            gateway.tick()?;
        }
        gateways.push((name, gateway, Vec::new()));
    }
    for _ in 0..TURNS {
        for (_, gateway, costs) in &mut gateways {
            costs.push(gateway.turn()?);
        }
    }
    println!("            hear  world   tell  whole  of first  ticks/s  bytes");
    let (_, _, first) = &gateways[0];
    for (name, gateway, costs) in &gateways {
        let of = |figure: fn(&Cost) -> f64| middle(costs.iter().map(figure));
        let of_first = middle(costs.iter().zip(first).map(|(cost, first)| cost.whole() / first.whole()));
        let [hear, world, tell] = [of(|cost| cost.hear), of(|cost| cost.world), of(|cost| cost.tell)];
        let (whole, bytes) = (of(Cost::whole), of(|cost| cost.bytes));
        let ticks = 1e6 / whole / gateway.sessions.len() as f64;
        println!(
            "{name:<9} {hear:>6.2} {world:>6.2} {tell:>6.1} {whole:>6.1} {of_first:>9.2} {ticks:>8.1} {bytes:>6.0}"
        );
    }
    Ok(())
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    median(&values)
}
