//! The work that is counted: a recorded crowd lives through some ticks, from the bytes of its moves to the states that
//! its clients hold. All steps are done, in the order of a gateway; the instructions of one of them are counted.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, ensure};
use nearcast::client::Mirror;
use nearcast::codec::state::{Context, Delta, Known};
use nearcast::codec::{Heard, Payload};
use nearcast::edge::framing::{self, Bounds, Framing, Opcode};
use nearcast::limits::{
    BUDGET_BYTES_PER_S, FOLD_AHEAD_US, FRAGMENTS_MAX, MESSAGE_BYTES_MAX, RADIUS_M, READ_AHEAD_US, READ_EVERY_US,
    ROWS_MAX, STATE_BYTES_MAX, TICK_US,
};
use nearcast::log::memory::Memory;
use nearcast::region::{Tick, World};
use nearcast::session::{Effect, Input, Note, Session};
use nearcast::settings::WorldSettings;
use nearcast::space::Pos;
use nearcast::view::budget::Budget;
use nearcast::view::{Turn, View};
use nearcast_loadtest::crowd::Crowd;
use nearcast_loadtest::scene::Scene;

use crate::pure::{ENCODING, START_US, entity, open, say, submit};

/// What is counted, in the order of the flow, and what it is.
pub const STEPS: [(&str, &str); 13] = [
    ("unframe", "a client's frame is unmasked and found to be whole"),
    ("decode", "a move is decoded"),
    ("hear", "a session hears a move: decode, rates, clock, admission, what was seen"),
    ("fold", "the world takes a move, writes it to the log ahead of the tick, reads it back at the tick"),
    ("freeze", "the world freezes an avatar into a frame, with its shared bits"),
    ("interest", "who is near, and who has which stride"),
    ("view", "interest, and the difference to what the client holds"),
    ("encode", "the difference as bytes"),
    ("tell", "a session meets a tick: deadlines, link, events, view, encode"),
    ("enter", "the same where it is the first of a crowd, for each who enters"),
    ("frame", "a state becomes a frame"),
    ("read", "the client decodes a state"),
    ("apply", "the client applies it to what it holds"),
];
/// Those of a gateway that contain no other: their sum is a client-tick but for sockets, channels and metrics.
pub const WHOLE: [&str; 6] = ["unframe", "hear", "fold", "freeze", "tell", "frame"];

/// A crowd, and what its clients ask for.
pub struct Size {
    /// Others that each of them sees.
    pub near: usize,
    /// Bytes per second of a client.
    pub budget: u32,
    /// Ticks after the first ones until all are in and prices, which are means of 64 ticks, have settled.
    settle_ticks: u64,
}

/// With the usual budget all are told at every tick; 500 at a third of it are told in strides.
pub const SIZES: [Size; 3] = [
    Size { near: 50, budget: BUDGET_BYTES_PER_S, settle_ticks: 0 },
    Size { near: 100, budget: BUDGET_BYTES_PER_S, settle_ticks: 0 },
    Size { near: 500, budget: 8_192, settle_ticks: 64 },
];

impl Size {
    fn binds(&self) -> bool {
        self.budget < BUDGET_BYTES_PER_S
    }
}

/// Ticks until all have spoken and the link's first second and a half is over, and ticks that are counted.
const WARM_TICKS: u64 = 32;
const TICKS: u64 = 16;
/// What does not depend on who holds whom, and needs no settling.
const EARLY: [&str; 5] = ["unframe", "decode", "hear", "fold", "enter"];
/// What is counted of a view without its session.
const APART: [&str; 3] = ["interest", "view", "encode"];
/// The crowd stands this near to the origin, metres: all see all.
const SPOT_M: f64 = 20.0;
/// So many of the crowd have a view: enough for a mean, few enough to be quick.
const VIEWERS: usize = 8;
/// Sockets are read so many times a tick, each time those of as many clients.
const TURNS: u64 = TICK_US / READ_EVERY_US;
const BOUNDS: Bounds = Bounds { bytes: MESSAGE_BYTES_MAX, fragments: FRAGMENTS_MAX };
const MASK: [u8; 4] = [0x3a, 0xc5, 0x71, 0x0e];

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
        // Who enters does so before all is warm.
        if step != self.step || !self.warm && step != "enter" {
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

impl Client {
    fn of(session: Session) -> Client {
        let (framing, known, mirror) = (Framing::default(), Known::default(), Mirror::default());
        Client { framing, session, known, mirror, seen: None }
    }
}

/// How a state begins in MessagePack: a map of one entry, `s`.
const STATE: &[u8] = b"\x81\xa1s";

/// A view without its session, whose parts can be counted apart.
struct Viewer {
    view: View,
    budget: Budget,
    context: Context,
}

/// What a crowd says in which each has so many `others` near: by tick and client, x, y, z in metres and facing in degrees.
/// Made before the counting, which slows everything down.
pub type Said = Vec<Vec<[f64; 4]>>;

/// What the viewers were told in the ticks that are counted.
#[derive(Default)]
struct Told {
    /// In bits shared by those of a stride above 1,
    strided: usize,
    /// and alone.
    singles: usize,
}

/// Recorded people, who stand close together, as bytes: text would take long to read under valgrind.
pub fn said(size: &Size) -> Result<Vec<u8>> {
    let crowd = Crowd::one_spot(&Scene::plaza(), size.near + 1, SPOT_M)?;
    let step_ms = READ_EVERY_US as f64 / 1e3;
    let tick = |tick: u64| -> Vec<[f64; 4]> {
        let at_ms = |i: usize| (tick * TURNS + turn_of(i)) as f64 * step_ms;
        let said = crowd.agents.iter().enumerate().map(|(i, agent)| agent.at(at_ms(i)));
        said.map(|sample| [sample.pos[0], sample.pos[1], sample.pos[2], sample.yaw_deg]).collect()
    };
    let numbers = (0..WARM_TICKS + size.settle_ticks + TICKS).flat_map(tick).flatten();
    Ok(numbers.flat_map(f64::to_le_bytes).collect())
}

/// The same from its bytes.
pub fn said_from(size: &Size, bytes: &[u8]) -> Said {
    let numbers: Vec<f64> = bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    numbers.as_chunks().0.chunks(size.near + 1).map(<[_]>::to_vec).collect()
}

/// In which of a tick's turns a client speaks.
fn turn_of(i: usize) -> u64 {
    i as u64 % TURNS
}

/// Runs the flow, counting one step. Returns how many client-ticks it was counted for.
pub fn run(step: &str, size: &Size, said: &Said) -> Result<u64> {
    let crowd = size.near + 1;
    let settings = Arc::new(WorldSettings::plaza());
    let mut log = Memory::new(1, || 0).open();
    let mut world = World::new(settings.grid, 1);
    let open = |i| Client::of(open(i, size.budget, &settings, &mut world, &mut log));
    let mut clients: Vec<Client> = (0..crowd).map(open).collect();
    let mut viewers: Vec<Viewer> = std::iter::repeat_with(|| viewer(size)).take(VIEWERS).collect();
    let is_early = EARLY.contains(&step);
    let is_apart = APART.contains(&step);
    let warm_ticks = WARM_TICKS + if is_early { 0 } else { size.settle_ticks };
    let mut count = Count { step, warm: false, units: 0 };
    let (mut told, mut effects, mut shown) = (Told::default(), Vec::with_capacity(4 * crowd), None);
    for (number, said) in (START_US / TICK_US + 1..).zip(&said[..(warm_ticks + TICKS) as usize]) {
        count.warm = number > START_US / TICK_US + warm_ticks;
        let tick_us = number * TICK_US;
        for turn in 0..TURNS {
            let now_us = tick_us - TICK_US + (turn + 1) * READ_EVERY_US - READ_AHEAD_US;
            let speakers = (0..crowd).filter(|i| turn_of(*i) == turn);
            let frames = speakers.map(|i| (i, frame_of_client(&say(said[i], clients[i].seen, now_us)))).collect();
            hear(frames, &mut clients, now_us, &mut effects, &mut count);
        }
        count.of("fold", crowd, || {
            submit(&mut effects, &mut world, &mut log, tick_us - FOLD_AHEAD_US);
            for now_us in [tick_us - FOLD_AHEAD_US, tick_us] {
                world.step(&mut log, now_us, &mut Vec::new());
            }
        });
        let tick = count.of("freeze", crowd, || world.freeze(number, tick_us));
        if is_apart {
            watch(&tick, &mut viewers, said, tick_us, &mut told, &mut count);
        } else {
            tell(&tick, &mut clients[..VIEWERS], tick_us, &mut count)?;
        }
        let facts = &mut world.facts;
        let times = [&mut facts.batch_wait_us, &mut facts.log_round_trip_us, &mut facts.fold_to_tick_us];
        times.into_iter().for_each(Vec::clear);
        // The last one is shown until the next is there, as on a gateway.
        shown = Some(tick);
    }
    let in_tick = shown.map_or(0, |tick| tick.spots.len());
    ensure!(in_tick == crowd, "{in_tick} of {crowd} are in the tick");
    if is_apart {
        let Told { strided, singles } = told;
        ensure!((strided > 0) == size.binds(), "{strided} strided rows at {} bytes/s", size.budget);
        ensure!(singles > 0 || !size.binds(), "nothing is told to one client alone");
    } else if !is_early {
        for client in &clients[..VIEWERS] {
            ensure!(client.mirror.len() == crowd - 1, "a client holds {} of {crowd} less one", client.mirror.len());
        }
    }
    Ok(count.units)
}

fn viewer(size: &Size) -> Viewer {
    let mut view = View::new(ENCODING);
    view.set_radius(RADIUS_M);
    let mut budget = Budget::new(START_US);
    budget.ask(size.budget);
    Viewer { view, budget, context: Context::default() }
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

/// What some clients said goes through their sessions, on its way into the world.
fn hear(
    mut frames: Vec<(usize, Vec<u8>)>,
    clients: &mut [Client],
    now_us: u64,
    effects: &mut Vec<Effect>,
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
    count.of("hear", frames.len(), || {
        messages().for_each(|(i, bytes)| clients[i].session.on(Input::Message(bytes), now_us, effects));
    });
}

/// Sessions meet a tick, and their clients hear of it.
fn tell(tick: &Tick, clients: &mut [Client], now_us: u64, count: &mut Count<'_>) -> Result<()> {
    let n = clients.len();
    let mut effects: Vec<Vec<Effect>> = clients.iter().map(|_| Vec::with_capacity(8)).collect();
    let is_first = clients.iter().all(|client| client.mirror.number() == 0);
    let (step, units) = if is_first { ("enter", 0) } else { ("tell", n) };
    count.of(step, units, || {
        for (client, effects) in clients.iter_mut().zip(&mut effects) {
            client.session.on(Input::Tick(tick, ROWS_MAX), now_us, effects);
        }
    });
    if is_first {
        let entered = |effect| if let &Effect::Note(Note::State(note)) = effect { note.enters } else { 0 };
        count.of("enter", effects.iter().flatten().map(entered).sum(), || ());
    }
    let state = |effects: &Vec<Effect>| {
        // A cursor may come before it.
        let is_state = |payload: &Payload| payload.bytes().starts_with(STATE);
        let sent = |effect: &Effect| if let Effect::Send(payload) = effect { Some(payload.clone()) } else { None };
        effects.iter().filter_map(sent).find(is_state)
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

/// The same views, part by part.
fn watch(tick: &Tick, viewers: &mut [Viewer], said: &[[f64; 4]], now_us: u64, told: &mut Told, count: &mut Count<'_>) {
    let mut candidates = Vec::with_capacity(1_024);
    for (i, Viewer { view, budget, context }) in viewers.iter_mut().enumerate() {
        let [x, y, z, _] = said[i];
        let at = Pos::from_metres([x, y, z]).unwrap_or_default();
        let (room, per_tick) = (budget.room(now_us).min(STATE_BYTES_MAX), budget.per_tick());
        let turn = Turn { tick, me: entity(i), at, complete: true, room, per_tick, rows_max: ROWS_MAX };
        let plan = count.of("interest", 1, || view.plan(turn, &mut candidates));
        let mut delta = Delta::default();
        count.of("view", 1, || view.step(turn, &mut delta));
        let payload = count.of("encode", 1, || ENCODING.encode_state(context, &delta));
        budget.spend(payload.framed_len());
        if count.warm {
            let strided = candidates.iter().filter(|candidate| plan.stride(candidate) > Some(1));
            let is_shared = |slot| delta.rows.shared.binary_search_by_key(&slot, |(slot, _)| *slot).is_ok();
            told.strided += strided.filter(|candidate| is_shared(candidate.slot)).count();
            told.singles += delta.rows.singles.len();
        }
    }
}
