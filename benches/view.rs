//! What one viewer's state costs in crowds of different size: interest, delta and encoding, without sockets.
//! `cargo bench --bench view`. Viewers take turns as on a gateway, so that their tables compete for the caches.

use std::sync::Arc;
use std::time::Instant;

use nearcast::codec::Encoding;
use nearcast::codec::message::AppState;
use nearcast::codec::state::{Context, Delta};
use nearcast::limits::{ROWS_MAX, TICK_US};
use nearcast::log::memory::{Memory, MemoryLog};
use nearcast::region::frame::Tick;
use nearcast::region::owned::Place;
use nearcast::region::{Submit, World};
use nearcast::space::{Grid, Pos};
use nearcast::view::budget::Budget;
use nearcast::view::{Turn, View};

/// Everybody stands in a square of this side, cm; all see all.
const SIDE_CM: i32 = 2_500;
const RADIUS_M: f64 = 50.0;
const BUDGET: u32 = 24 * 1024;
/// Ticks until everybody has been entered, and ticks that are measured.
const WARM_TICKS: u64 = 200;
const TICKS: u64 = 60;
/// Most viewers of one run: enough to leave no table in a core's own cache.
const VIEWERS_MAX: u64 = 1_000;

struct Viewer {
    view: View,
    budget: Budget,
    context: Context,
}

/// A walk to and fro, each at a pace of their own; one in four stands.
fn pos(i: u64, tick: u64) -> Pos {
    let along = |seed: u64| {
        let pace = if i.is_multiple_of(4) { 0 } else { 3 + (i * seed) % 6 };
        let side = SIDE_CM as u64;
        let at = (i * seed * 7_919 + tick * pace) % (2 * side);
        at.min(2 * side - at) as i32
    };
    Pos { x: 1_000 + along(3), y: 0, z: 1_000 + along(11) }
}

/// A gateway's world with so many avatars, which makes the ticks.
struct Crowd {
    world: World,
    log: MemoryLog,
    n: u64,
}

impl Crowd {
    fn new(n: u64) -> Crowd {
        let mut log = Memory::new(1, || 0).open();
        let mut world = World::new(Grid { w: 1, h: 1 }, 1);
        for entity in 1..=n {
            let profile = "sixteen letters.".into();
            world.submit(Submit::Open { session: n + entity, entity, profile, radius_m: RADIUS_M }, &mut log, 0);
        }
        Crowd { world, log, n }
    }

    fn tick(&mut self, number: u64) -> Arc<Tick> {
        let now_us = number * TICK_US;
        for i in 0..self.n {
            let (time_us, state) = (now_us - i * 7_919 % TICK_US, AppState::default());
            let place = Place { time_us, pos: pos(i, number), yaw: i as u8, state, jumped: false };
            self.world.submit(Submit::Move { entity: i + 1, place }, &mut self.log, now_us);
        }
        self.world.step(&mut self.log, now_us, &mut Vec::new());
        self.world.freeze(number, now_us)
    }
}

fn main() {
    println!("{:>6} {:>8} {:>10} {:>11} {:>11}", "crowd", "viewers", "µs/state", "ns/entity", "bytes/state");
    for n in [2, 50, 100, 300, 1_000, 3_000] {
        let viewers_n = n.min(VIEWERS_MAX);
        let viewer = |_| {
            let mut view = View::new(Encoding::MessagePack);
            view.set_radius(RADIUS_M);
            let mut budget = Budget::new(TICK_US);
            budget.ask(BUDGET);
            Viewer { view, budget, context: Context::default() }
        };
        let mut crowd = Crowd::new(n);
        let mut viewers: Vec<Viewer> = (0..viewers_n).map(viewer).collect();
        let (mut delta, mut bytes, mut took_ns) = (Delta::default(), 0, Vec::new());
        for number in 2..2 + WARM_TICKS + TICKS {
            let tick = crowd.tick(number);
            let started = Instant::now();
            let mut sent = 0;
            for (i, viewer) in viewers.iter_mut().enumerate() {
                let (i, room) = (i as u64, viewer.budget.room(number * TICK_US));
                let (tick, at, per_tick) = (&tick, pos(i, number), viewer.budget.per_tick());
                viewer
                    .view
                    .step(Turn { tick, me: i + 1, at, complete: true, room, per_tick, rows_max: ROWS_MAX }, &mut delta);
                let payload = Encoding::MessagePack.encode_state(&mut viewer.context, &delta);
                viewer.budget.spend(payload.framed_len());
                sent += payload.framed_len();
            }
            if number >= 2 + WARM_TICKS {
                took_ns.push(started.elapsed().as_nanos() as f64 / viewers_n as f64);
                bytes += sent;
            }
        }
        took_ns.sort_unstable_by(f64::total_cmp);
        let median = took_ns[took_ns.len() / 2];
        let per_state = bytes as f64 / (viewers_n * TICKS) as f64;
        println!("{n:>6} {viewers_n:>8} {:>10.2} {:>11.1} {per_state:>11.0}", median / 1e3, median / n as f64);
    }
}
