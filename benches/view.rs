//! What one viewer's state costs in crowds of different size: interest, delta and encoding, without sockets.
//! `cargo bench --bench view`. Viewers take turns as on a gateway, so that their tables compete for the caches.

use std::sync::Arc;
use std::time::Instant;

use nearcast::codec::Encoding;
use nearcast::codec::message::AppState;
use nearcast::codec::state::{Context, Delta};
use nearcast::limits::TICK_US;
use nearcast::region::frame::{Entity, Frame, PartitionStatus, Spot, Tick};
use nearcast::space::{Grid, Pos, Region};
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

fn tick(number: u64, n: u64) -> Tick {
    let touched = |i: u64| if pos(i, number) == pos(i, number - 1) { 1 } else { number };
    let entity = |i: u64| Entity {
        time_us: number * TICK_US - i % TICK_US,
        yaw: i as u8,
        teleported: 0,
        moved: touched(i),
        changed: 1,
        renamed: 1,
        state: AppState::default(),
        profile: "sixteen letters.".into(),
    };
    let spot = |i: u64| Spot { id: i + 1, touched: touched(i), pos: pos(i, number), handle: i as u32, epoch: 1 };
    let (spots, entities) = ((0..n).map(spot).collect(), (0..n).map(entity).collect());
    Tick {
        number,
        grid: Grid { w: 1, h: 1 },
        frames: vec![Arc::new(Frame { region: Region { x: 0, z: 0 }, spots, entities })],
        partitions: vec![PartitionStatus { complete: true, stale: false }],
        events: vec![None],
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
        let mut viewers: Vec<Viewer> = (0..viewers_n).map(viewer).collect();
        let (mut delta, mut bytes, mut took_ns) = (Delta::default(), 0, Vec::new());
        for number in 2..2 + WARM_TICKS + TICKS {
            let tick = tick(number, n);
            let started = Instant::now();
            let mut sent = 0;
            for (i, viewer) in viewers.iter_mut().enumerate() {
                let (i, room) = (i as u64, viewer.budget.room(number * TICK_US));
                let (tick, at, per_tick) = (&tick, pos(i, number), viewer.budget.per_tick());
                viewer.view.step(Turn { tick, me: i + 1, at, complete: true, room, per_tick }, &mut delta);
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
