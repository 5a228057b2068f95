//! A room without sockets: gateways on one log in memory, sessions, and what they say to what they hear, without delay
//! between them, on a clock that the test turns. All that sessions hand on is checked, and all that they send is read.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for")]
#![allow(dead_code, reason = "each test file uses a part of it")]

mod bounds;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use nearcast::admit::Close;
use nearcast::client::{Mirror, Stock};
use nearcast::codec::message::{Act, Event, Id, In, Move, Out, Report, Scope, Seen};
use nearcast::codec::state::Known;
use nearcast::codec::token::Key;
use nearcast::codec::{Encoding, Heard, Payload};
use nearcast::limits::{FLUSH_US, ROWS_MAX, SECOND_US, TICK_US};
use nearcast::log::memory::{Memory, MemoryLog};
use nearcast::region::{Submit, World};
use nearcast::session::{Effect, Input, Note, Session, ping_payload};
use nearcast::settings::WorldSettings;

/// When all begins.
pub const START_US: u64 = 1_700_000_000 * SECOND_US;

/// A world on a gateway of this number.
pub fn world(settings: &WorldSettings, gateway: u32) -> World {
    World::new(settings.grid, gateway).named("plaza", &Key::new([7; Key::BYTES]))
}

/// Gateways, and who is connected to them.
pub struct Room {
    /// Everybody's clock.
    pub now_us: u64,
    log_ms: Arc<AtomicI64>,
    /// What the gateways share.
    pub memory: Memory,
    /// Each with its handle on the log.
    pub gateways: Vec<(World, MemoryLog)>,
    /// Who has connected, in order.
    pub people: Vec<Person>,
    /// Of the world.
    pub settings: Arc<WorldSettings>,
}

/// A connection.
pub struct Person {
    /// What the gateway has of it.
    pub session: Session,
    /// Where it is connected: the first, if it does not say otherwise before `hello`.
    pub gateway: usize,
    /// How it speaks.
    pub encoding: Encoding,
    known: Known,
    /// What it holds.
    pub mirror: Mirror,
    /// What it was told of objects.
    pub stock: Stock,
    /// What it heard but states.
    pub heard: Vec<Out>,
    /// What was counted of it.
    pub notes: Vec<Note>,
    /// What it handed on.
    pub submits: Vec<Submit>,
    /// (time, bytes) of all that was sent.
    pub sent: Vec<(u64, usize)>,
    /// Why it was closed.
    pub closed: Option<Close>,
    /// Ticks that it was fed.
    pub fed: usize,
    /// It says nothing by itself.
    pub is_mute: bool,
    /// It says `seen` only when it is told to.
    pub sees_late: bool,
    /// It answers pings at once, as a browser does; that counts as a message.
    pub pongs: bool,
    /// It reports another digest than that of what it holds.
    pub lies: bool,
}

impl Room {
    /// One gateway in an empty plaza.
    pub fn new() -> Room {
        Room::of(WorldSettings::plaza())
    }

    /// One gateway in an empty world.
    pub fn of(settings: WorldSettings) -> Room {
        let log_ms = Arc::new(AtomicI64::new((START_US / 1_000) as i64));
        let now_ms = log_ms.clone();
        let memory = Memory::new(0, move || now_ms.load(Ordering::Relaxed));
        let (gateways, people, settings) = (Vec::new(), Vec::new(), Arc::new(settings));
        let mut room = Room { now_us: START_US, log_ms, memory, gateways, people, settings };
        room.start();
        room
    }

    /// Another gateway starts.
    pub fn start(&mut self) {
        let world = world(&self.settings, self.gateways.len() as u32 + 1);
        self.gateways.push((world, self.memory.open()));
    }

    /// Somebody connects, without a word.
    pub fn connect(&mut self, encoding: Encoding) -> usize {
        let who = self.people.len();
        let id = who as Id * 2 + 1;
        self.people.push(Person {
            session: Session::new(id, id + 1, encoding, self.settings.clone(), self.now_us),
            gateway: 0,
            encoding,
            known: Known::default(),
            mirror: Mirror::default(),
            stock: Stock::default(),
            heard: Vec::new(),
            notes: Vec::new(),
            submits: Vec::new(),
            sent: Vec::new(),
            closed: None,
            fed: 0,
            is_mute: false,
            sees_late: false,
            pongs: false,
            lies: false,
        });
        who
    }

    /// Says something right.
    pub fn say(&mut self, who: usize, message: &In) {
        let payload = self.people[who].encoding.encode_in(message);
        self.input(who, Input::Message(payload.bytes()));
    }

    /// Says where it is, and that it looks east.
    pub fn walk(&mut self, who: usize, x: f64, z: f64) {
        let (time, state) = (self.clock_ms(), Default::default());
        self.say(who, &In::Move(Move { time, pos: [x, 0.0, z], yaw: 90.0, state, seen: None, held_ms: None }));
    }

    /// Does something, named by its number, at (x, 0, 0): told to who is near, or to a user.
    pub fn act(&mut self, who: usize, n: u64, to: Option<Id>, x: f64) {
        let (scope, verb) = if to.is_some() { (Scope::User, "tell") } else { (Scope::Nearby, "act") };
        let (time, name, data) = (self.clock_ms(), format!("{verb} {n}"), String::new());
        self.say(who, &In::Act(Act { n, to, scope, name, data, time, pos: [x, 0.0, 0.0] }));
    }

    /// The clock of everybody who says when something is.
    pub fn clock_ms(&self) -> f64 {
        (self.now_us - START_US) as f64 / 1e3
    }

    /// Feeds a session, and does what comes of it.
    pub fn input(&mut self, who: usize, input: Input<'_>) {
        let (mut effects, mut replies, mut pong) = (Vec::new(), Vec::new(), None);
        self.people[who].session.on(input, self.now_us, &mut effects);
        for effect in effects {
            let person = &mut self.people[who];
            match effect {
                Effect::Submit(submit) => {
                    bounds::check(&submit, &self.settings, self.now_us);
                    person.submits.push(submit.clone());
                    let (world, log) = &mut self.gateways[person.gateway];
                    world.submit(submit, log, self.now_us);
                }
                Effect::Note(note) => person.notes.push(note),
                Effect::Close(close) => assert_eq!(person.closed.replace(close), None, "closed once"),
                Effect::Ping(number) => pong = person.pongs.then(|| ping_payload(number)),
                Effect::Pong(_) => {}
                Effect::Send(payload) => {
                    person.sent.push((self.now_us, payload.framed_len()));
                    person.hear(&payload, &mut replies);
                }
            }
        }
        if !self.people[who].is_mute {
            replies.iter().for_each(|reply| self.say(who, reply));
            pong.iter().for_each(|pong| self.input(who, Input::Pong(pong)));
        }
    }

    /// The worlds step, and sessions get what these have for them.
    pub fn step(&mut self) {
        self.log_ms.store((self.now_us / 1_000) as i64, Ordering::Relaxed);
        let who = |id: Id| ((id - 1) / 2) as usize;
        for gateway in 0..self.gateways.len() {
            let (world, log) = &mut self.gateways[gateway];
            let mut answers = Vec::new();
            world.step(log, self.now_us, &mut answers);
            let letters = world.letters();
            for answered in answers {
                self.input(who(answered.to), Input::Answered(answered.n, answered.answer));
            }
            for (to, letter) in letters {
                self.input(who(to), Input::Letter(&letter));
            }
        }
    }

    /// Steps, while no time passes, until nobody waits to be welcomed.
    pub fn settle(&mut self) {
        (0..4).for_each(|_| self.step());
    }

    /// Turns the clock to the next tick.
    pub fn tick(&mut self) {
        let number = self.now_us / TICK_US + 1;
        while self.now_us < number * TICK_US {
            self.now_us += FLUSH_US;
            self.step();
        }
        for gateway in 0..self.gateways.len() {
            let tick = self.gateways[gateway].0.freeze(number, self.now_us);
            for who in 0..self.people.len() {
                let person = &mut self.people[who];
                if person.gateway == gateway && !person.session.rest().is_some_and(|rest| rest.lasts(&tick)) {
                    person.fed += 1;
                    self.input(who, Input::Tick(&tick, ROWS_MAX));
                }
            }
        }
    }

    /// Turns the clock by so many ticks.
    pub fn ticks(&mut self, n: usize) {
        (0..n).for_each(|_| self.tick());
    }

    /// Those of what somebody heard that are wanted.
    pub fn heard<'a, T>(&'a self, who: usize, wanted: impl FnMut(&'a Out) -> Option<T>) -> impl Iterator<Item = T> {
        self.people[who].heard.iter().filter_map(wanted)
    }

    /// The events among them.
    pub fn events(&self, who: usize) -> impl Iterator<Item = &Event> {
        self.heard(who, |out| if let Out::Event(event) = out { Some(event) } else { None })
    }

    /// The codes of refusals among them.
    pub fn refusals(&self, who: usize) -> Vec<&str> {
        self.heard(who, |out| if let Out::Refuse(refuse) = out { Some(&*refuse.code) } else { None }).collect()
    }
}

impl Person {
    /// Takes in what was sent; has something to say to a state.
    fn hear(&mut self, payload: &Payload, replies: &mut Vec<In>) {
        match self.encoding.decode_out(&mut self.known, payload.bytes()).expect("ours") {
            Heard::Other(out) => {
                if let Out::Object(objects) = &out {
                    self.stock.apply(objects).expect("no contradiction");
                }
                self.heard.push(out);
            }
            Heard::State(delta) => {
                let digest = self.mirror.apply(&delta).expect("no contradiction");
                let lie = u32::from(self.lies);
                replies.extend(digest.map(|(number, d)| In::Report(Report { number, digest: d ^ lie, age_ms: None })));
                if !self.sees_late {
                    replies.push(In::Seen(Seen { seen: self.mirror.number(), held_ms: 0.0 }));
                }
            }
        }
    }
}
