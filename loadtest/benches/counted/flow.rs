//! The work that is counted: a recorded crowd lives through some ticks, from the bytes of its moves to the states that
//! its clients hold. All steps are done, in the order of a gateway; the instructions of one of them are counted.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, ensure};
use nearcast::client::Mirror;
use nearcast::codec::message::{AppState, Hello, Id, In, Move};
use nearcast::codec::state::{Context, Delta, Known};
use nearcast::codec::{Encoding, Heard, Payload};
use nearcast::edge::framing::{self, Bounds, Framing, Opcode};
use nearcast::limits::{FLUSH_US, FRAGMENTS_MAX, MESSAGE_BYTES_MAX, RADIUS_M, ROWS_MAX, SECOND_US, TICK_US};
use nearcast::log::memory::{Memory, MemoryLog};
use nearcast::region::{Tick, World};
use nearcast::session::{Effect, Input, Session};
use nearcast::settings::WorldSettings;
use nearcast::space::Pos;
use nearcast::view::budget::Budget;
use nearcast::view::interest::{self, Plan, Supply};
use nearcast::view::table::Table;
use nearcast::view::{Turn, View};
use nearcast_loadtest::crowd::Crowd;
use nearcast_loadtest::scene::Scene;

/// What is counted, in the order of the flow, and what it is.
pub const STEPS: [(&str, &str); 12] = [
    ("unframe", "a client's frame is unmasked and found to be whole"),
    ("decode", "a move is decoded"),
    ("hear", "a session hears a move: decode, rates, clock, admission, what was seen"),
    ("fold", "the world takes a move, writes it to the log, reads it back"),
    ("freeze", "the world freezes an avatar into a frame, with its shared bits"),
    ("interest", "who is near, and who has which stride"),
    ("view", "interest, and the difference to what the client holds"),
    ("encode", "the difference as bytes"),
    ("tell", "a session meets a tick: deadlines, link, events, view, encode"),
    ("frame", "a state becomes a frame"),
    ("read", "the client decodes a state"),
    ("apply", "the client applies it to what it holds"),
];
/// Those of a gateway that contain no other: their sum is a client-tick but for sockets, channels and metrics.
pub const WHOLE: [&str; 6] = ["unframe", "hear", "fold", "freeze", "tell", "frame"];

/// Ticks until all are in and the link's first second and a half is over, and ticks that are counted.
const WARM_TICKS: u64 = 32;
const TICKS: u64 = 16;
/// The crowd stands this near to the origin, metres: all see all.
const SPOT_M: f64 = 20.0;
/// So many of the crowd have a view: enough for a mean, few enough to be quick.
const VIEWERS: usize = 8;
/// World steps of a tick; each brings the moves of as many clients.
const TURNS: u64 = TICK_US / FLUSH_US;
const START_US: u64 = 1_700_000_000 * SECOND_US;
const BOUNDS: Bounds = Bounds { bytes: MESSAGE_BYTES_MAX, fragments: FRAGMENTS_MAX };
const MASK: [u8; 4] = [0x3a, 0xc5, 0x71, 0x0e];
const ENCODING: Encoding = Encoding::MessagePack;

/// What callgrind collects is what happens in here: see `TOGGLE` in `main.rs`. Nothing else may be called so.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Which step is counted, and whether by now.
struct Count<'a> {
    step: &'a str,
    warm: bool,
    units: u64,
}

impl Count<'_> {
    /// Does a step for so many clients.
    fn of<T>(&mut self, step: &str, clients: usize, work: impl FnOnce() -> T) -> T {
        if !self.warm || step != self.step {
            return work();
        }
        self.units += clients as u64;
        measured(work)
    }
}

/// Both ends of a connection.
struct Client {
    framing: Framing,
    session: Session,
    known: Known,
    mirror: Mirror,
    /// What the next move says that it has seen: the number of a state.
    seen: Option<u64>,
}

/// A view without its session, whose parts can be counted apart.
struct Viewer {
    table: Table,
    view: View,
    budget: Budget,
    context: Context,
}

/// What a crowd says in which each has so many `others` near: by tick and client, x, y, z in metres and facing in degrees.
/// Made before the counting, which slows everything down.
pub type Said = Vec<Vec<[f64; 4]>>;

/// Recorded people, who stand close together.
pub fn said(others: usize) -> Result<Said> {
    let crowd = Crowd::one_spot(&Scene::plaza(), others + 1, SPOT_M)?;
    let step_ms = FLUSH_US as f64 / 1e3;
    let tick = |tick: u64| {
        let at_ms = |i: usize| (tick * TURNS + turn_of(i)) as f64 * step_ms;
        let said = crowd.agents.iter().enumerate().map(|(i, agent)| agent.at(at_ms(i)));
        said.map(|sample| [sample.pos[0], sample.pos[1], sample.pos[2], sample.yaw_deg]).collect()
    };
    Ok((0..WARM_TICKS + TICKS).map(tick).collect())
}

/// In which of a tick's turns a client speaks.
fn turn_of(i: usize) -> u64 {
    i as u64 % TURNS
}

/// Runs the flow, counting one step. Returns how many client-ticks it was counted for.
pub fn run(step: &str, said: &Said) -> Result<u64> {
    let crowd = said.first().map_or(0, Vec::len);
    let settings = Arc::new(WorldSettings::plaza());
    let mut log = Memory::new(1, || 0).open();
    let mut world = World::new(settings.grid, 1);
    let mut clients: Vec<Client> = (0..crowd).map(|i| open(i, &settings, &mut world, &mut log)).collect();
    let mut viewers: Vec<Viewer> = std::iter::repeat_with(viewer).take(VIEWERS).collect();
    let mut count = Count { step, warm: false, units: 0 };
    let mut shown = None;
    for (number, said) in (START_US / TICK_US + 1..).zip(said) {
        count.warm = number > START_US / TICK_US + WARM_TICKS;
        let tick_us = number * TICK_US;
        for turn in 0..TURNS {
            let now_us = tick_us - TICK_US + (turn + 1) * FLUSH_US;
            let speakers = (0..crowd).filter(|i| turn_of(*i) == turn);
            let frames = speakers.map(|i| (i, frame_of_client(&clients[i].say(said[i], now_us)))).collect();
            hear(frames, &mut clients, &mut world, &mut log, now_us, &mut count);
        }
        let tick = count.of("freeze", crowd, || world.freeze(number, tick_us));
        tell(&tick, &mut clients[..VIEWERS], tick_us, &mut count)?;
        watch(&tick, &mut viewers, said, tick_us, &mut count);
        // The last one is shown until the next is there, as on a gateway.
        shown = Some(tick);
    }
    let in_tick = shown.map_or(0, |tick| tick.spots.len());
    ensure!(in_tick == crowd, "{in_tick} of {crowd} are in the tick");
    for client in &clients[..VIEWERS] {
        ensure!(client.mirror.len() == crowd - 1, "a client holds {} of {crowd} less one", client.mirror.len());
    }
    Ok(count.units)
}

/// The avatar of a client.
fn entity(i: usize) -> Id {
    1 + i as Id
}

fn open(i: usize, settings: &Arc<WorldSettings>, world: &mut World, log: &mut MemoryLog) -> Client {
    let mut session = Session::new(1_000_000 + entity(i), entity(i), ENCODING, settings.clone(), START_US);
    let hello = Hello { world: settings.name.clone(), profile: Some(format!("bot {i:012}")), ..Hello::default() };
    let mut effects = Vec::new();
    session.on(Input::Message(ENCODING.encode_in(&In::Hello(hello)).bytes()), START_US, &mut effects);
    submit(&mut effects, world, log, START_US);
    Client { framing: Framing::default(), session, known: Known::default(), mirror: Mirror::default(), seen: None }
}

fn viewer() -> Viewer {
    let mut view = View::new(ENCODING);
    view.set_radius(RADIUS_M);
    let mut budget = Budget::new(START_US);
    budget.ask(WorldSettings::plaza().budget);
    Viewer { table: Table::default(), view, budget, context: Context::default() }
}

impl Client {
    fn say(&self, [x, y, z, yaw]: [f64; 4], now_us: u64) -> Payload {
        let (time, state, held_ms) = (now_us as f64 / 1e3, AppState::default(), self.seen.map(|_| 12.5));
        ENCODING.encode_in(&In::Move(Move { time, pos: [x, y, z], yaw, state, seen: self.seen, held_ms }))
    }
}

fn frame_of_client(payload: &Payload) -> Vec<u8> {
    let payload = payload.bytes();
    let mut frame = Vec::new();
    framing::write(&mut frame, Opcode::Binary, payload);
    let head = frame.len() - payload.len();
    frame[1] |= 0x80;
    frame.splice(head..head, MASK);
    frame[head + 4..].iter_mut().zip(MASK.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    frame
}

fn submit(effects: &mut Vec<Effect>, world: &mut World, log: &mut MemoryLog, now_us: u64) {
    for effect in effects.drain(..) {
        if let Effect::Submit(submit) = effect {
            world.submit(submit, log, now_us);
        }
    }
}

/// What some clients said goes through their sessions into the world.
fn hear(
    mut frames: Vec<(usize, Vec<u8>)>,
    clients: &mut [Client],
    world: &mut World,
    log: &mut MemoryLog,
    now_us: u64,
    count: &mut Count<'_>,
) {
    let mut lens = Vec::with_capacity(frames.len());
    count.of("unframe", frames.len(), || {
        for (i, frame) in &mut frames {
            let each = &mut |heard: framing::Heard<'_>| {
                lens.extend(if let framing::Heard::Binary(bytes) = heard { Some(bytes.len()) } else { None });
                true
            };
            clients[*i].framing.read(frame, BOUNDS, each).expect("a whole frame");
        }
    });
    // They were unmasked where they lie.
    let messages = || frames.iter().zip(&lens).map(|((i, frame), len)| (*i, &frame[frame.len() - len..]));
    count.of("decode", frames.len(), || {
        messages().for_each(|(_, bytes)| drop(black_box(ENCODING.decode(bytes))));
    });
    let mut effects = Vec::with_capacity(4 * frames.len());
    count.of("hear", frames.len(), || {
        messages().for_each(|(i, bytes)| clients[i].session.on(Input::Message(bytes), now_us, &mut effects));
    });
    count.of("fold", frames.len(), || {
        submit(&mut effects, world, log, now_us);
        world.step(log, now_us, &mut Vec::new());
    });
    let facts = &mut world.facts;
    let times = [&mut facts.batch_wait_us, &mut facts.log_round_trip_us, &mut facts.fold_to_tick_us];
    times.into_iter().for_each(Vec::clear);
}

/// Sessions meet a tick, and their clients hear of it.
fn tell(tick: &Tick, clients: &mut [Client], now_us: u64, count: &mut Count<'_>) -> Result<()> {
    let n = clients.len();
    let mut effects: Vec<Vec<Effect>> = clients.iter().map(|_| Vec::with_capacity(8)).collect();
    count.of("tell", n, || {
        for (client, effects) in clients.iter_mut().zip(&mut effects) {
            client.session.on(Input::Tick(tick, ROWS_MAX), now_us, effects);
        }
    });
    let state = |effects: &Vec<Effect>| {
        effects.iter().find_map(|effect| if let Effect::Send(payload) = effect { Some(payload.clone()) } else { None })
    };
    let states: Vec<Option<Payload>> = effects.iter().map(state).collect();
    let states = || states.iter().flatten();
    ensure!(!count.warm || states().count() == n, "a client was told nothing in tick {}", tick.number);
    let mut out = Vec::with_capacity(4_096);
    count.of("frame", n, || {
        for state in states() {
            out.clear();
            framing::write(&mut out, Opcode::Binary, state.bytes());
        }
    });
    let deltas = count.of("read", n, || {
        let read = |(client, state): (&mut Client, &Payload)| ENCODING.decode_out(&mut client.known, state.bytes());
        clients.iter_mut().zip(states()).map(read).collect::<Result<Vec<Heard>, _>>()
    })?;
    count.of("apply", n, || {
        for (client, heard) in clients.iter_mut().zip(&deltas) {
            let Heard::State(delta) = heard else { continue };
            client.mirror.apply(delta)?;
        }
        anyhow::Ok(())
    })?;
    clients.iter_mut().filter(|client| client.mirror.number() > 0).for_each(|client| {
        client.seen = Some(client.mirror.number());
    });
    Ok(())
}

/// The same views, part by part: interest is counted with a table that holds everybody, as a client's.
fn watch(tick: &Tick, viewers: &mut [Viewer], said: &[[f64; 4]], now_us: u64, count: &mut Count<'_>) {
    let mut candidates = Vec::with_capacity(1_024);
    for (i, Viewer { table, view, budget, context }) in viewers.iter_mut().enumerate() {
        let [x, y, z, _] = said[i];
        let (me, at) = (entity(i), Pos::from_metres([x, y, z]).unwrap_or_default());
        if table.is_empty() {
            let shown = tick.spots.iter().zip(&tick.entities);
            shown.filter(|(spot, _)| spot.id != me).for_each(|(spot, entity)| {
                table.enter(*spot, entity, tick.number);
            });
        }
        budget.fill(now_us);
        let (room, per_tick) = (budget.room(now_us), budget.per_tick());
        let supply = Supply { bits: per_tick, near_row: 1, far_row: 1, kept: per_tick };
        count.of("interest", 1, || {
            candidates.clear();
            interest::gather(me, at, RADIUS_M, tick, table, &mut candidates);
            black_box(Plan::new(&candidates, supply, ROWS_MAX));
        });
        let mut delta = Delta::default();
        count.of("view", 1, || {
            view.step(Turn { tick, me, at, complete: true, room, per_tick, rows_max: ROWS_MAX }, &mut delta)
        });
        let payload = count.of("encode", 1, || ENCODING.encode_state(context, &delta));
        budget.spend(payload.framed_len());
    }
}
