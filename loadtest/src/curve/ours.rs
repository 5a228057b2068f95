//! The gateway's own way: a real world, real views and budgets, real bytes, and the receiving end that reads them.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use nearcast::client::Mirror;
use nearcast::codec::message::{AppState, Id};
use nearcast::codec::state::{Context, Delta, Known};
use nearcast::codec::{Encoding, Heard};
use nearcast::limits::{BUDGET_MAX, FLUSH_US, ROWS_MAX, STATE_BYTES_MAX, TICK_US};
use nearcast::log::memory::{Memory, MemoryLog};
use nearcast::region::motion::owned::Place;
use nearcast::region::{Submit, Tick, World};
use nearcast::settings::WorldSettings;
use nearcast::space::yaw_from_degrees;
use nearcast::view::budget::Budget;
use nearcast::view::{Turn, View};

use super::film::Film;
use super::tally::{Shown, Teller};
use crate::audit::AHEAD_US;

/// Number of a film's first tick.
const FIRST: u64 = 1_000;

/// How it is set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Encoding of states.
    pub encoding: Encoding,
    /// Bytes per second of a client.
    pub budget: u32,
    /// Rows of a state at most: so many are told in a tick, the nearest at each of them.
    pub rows_max: usize,
    /// What a centimetre of the gateway stands for, cm: positions are rounded to it. The product has 1.
    pub unit_cm: f64,
    /// Everybody says where they are at every so many ticks, in turns.
    pub every: u64,
    /// Nobody says another facing before it is off by more than this, 1/256 turn. The product has
    /// [`nearcast::limits::FACING_SLACK`].
    pub facing: u8,
}

impl Default for Settings {
    fn default() -> Settings {
        let (encoding, budget, rows_max) = (Encoding::MessagePack, BUDGET_MAX, ROWS_MAX);
        Settings { encoding, budget, rows_max, unit_cm: 1.0, every: 1, facing: 0 }
    }
}

/// Both ends of a connection.
struct Client {
    view: View,
    budget: Budget,
    context: Context,
    known: Known,
    mirror: Mirror,
}

/// See the top.
pub struct Ours {
    settings: Settings,
    world: World,
    log: MemoryLog,
    tick: Option<Arc<Tick>>,
    /// By person, the facing that they said last.
    facing: Vec<u8>,
    clients: Vec<Client>,
    delta: Delta,
}

impl Ours {
    /// A world that everybody of a film has joined, and a client for each viewer.
    #[must_use]
    pub fn new(film: &Film, settings: Settings) -> Ours {
        let log = Memory::new(1, || 0).open();
        let mut world = World::new(WorldSettings::plaza().grid, 1);
        let radius_m = film.radius_m / settings.unit_cm;
        for person in 0..film.people() {
            let (entity, profile) = (entity(person), format!("bot {person:012}").into());
            let session = entity + film.people() as Id;
            world.adopt(session, entity, profile, radius_m);
        }
        let client = |_: &usize| {
            let mut view = View::new(settings.encoding);
            view.set_radius(radius_m);
            let mut budget = Budget::new(now_us(0));
            budget.ask(settings.budget);
            let (context, known, mirror) = (Context::default(), Known::default(), Mirror::default());
            Client { view, budget, context, known, mirror }
        };
        let clients = film.viewers.iter().map(client).collect();
        Ours { settings, world, log, tick: None, facing: vec![0; film.people()], clients, delta: Delta::default() }
    }
}

fn entity(person: usize) -> Id {
    1 + person as Id
}

fn now_us(tick: usize) -> u64 {
    (FIRST + tick as u64) * TICK_US
}

impl Teller for Ours {
    fn tick(&mut self, film: &Film, tick: usize) {
        let Settings { unit_cm, every, facing, .. } = self.settings;
        let time_us = now_us(tick);
        let speaks = |person: &usize| tick == 0 || ((tick + person) as u64).is_multiple_of(every);
        for person in (0..film.people()).filter(speaks) {
            let now = yaw_from_degrees(film.sample(tick, person).yaw_deg).unwrap_or_default();
            let yaw = &mut self.facing[person];
            if (now.wrapping_sub(*yaw) as i8).unsigned_abs() > facing {
                *yaw = now;
            }
            let (pos, state) = (film.pos(tick, person, unit_cm), AppState::default());
            let place = Place { time_us, pos, yaw: *yaw, state, jumped: false };
            self.world.submit(Submit::Move { entity: entity(person), place }, &mut self.log, time_us);
        }
        // What waits for company is in the log one flush later; nobody looks at the clock before the tick is frozen.
        self.world.step(&mut self.log, time_us + FLUSH_US, &mut Vec::new());
        self.tick = Some(self.world.freeze(FIRST + tick as u64, time_us));
        self.world.facts.batch_wait_us.clear();
        self.world.facts.log_round_trip_us.clear();
        self.world.facts.fold_to_tick_us.clear();
    }

    fn tell(&mut self, film: &Film, tick: usize, at: usize) -> Result<usize> {
        let Settings { encoding, unit_cm, rows_max, .. } = self.settings;
        let viewer = film.viewers[at];
        let Client { view, budget, context, known, mirror } = &mut self.clients[at];
        let (room, per_tick) = (budget.room(now_us(tick)).min(STATE_BYTES_MAX), budget.per_tick());
        let turn = Turn {
            tick: self.tick.as_ref().context("told before the first tick")?,
            me: entity(viewer),
            at: film.pos(tick, viewer, unit_cm),
            complete: true,
            room,
            per_tick,
            rows_max,
        };
        view.step(turn, &mut self.delta);
        if self.delta.is_empty() {
            return Ok(0);
        }
        let payload = encoding.encode_state(context, &self.delta);
        budget.spend(payload.framed_len());
        let Heard::State(delta) = encoding.decode_out(known, payload.bytes())? else { bail!("a state is none") };
        mirror.apply(&delta)?;
        Ok(payload.framed_len())
    }

    fn shown(&self, tick: usize, at: usize, person: usize) -> Option<Shown> {
        let avatar = self.clients[at].mirror.find(entity(person))?;
        let metres = |in_units: [f64; 3]| in_units.map(|axis| axis * self.settings.unit_cm);
        Some(Shown { held: metres(avatar.pos.metres()), drawn: metres(avatar.at(now_us(tick), AHEAD_US)) })
    }
}
