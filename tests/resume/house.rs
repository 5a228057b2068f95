//! Gateways without sockets on one log in memory, and who is connected to them, on a clock that the test turns.

use std::sync::Arc;

use nearcast::client::Mirror;
use nearcast::codec::command::{Command, Deed};
use nearcast::codec::message::{Act, Hello, Id, In, Move, Out, Resume, Scope, Seen, Welcome};
use nearcast::codec::record::{self, Record, Stamp};
use nearcast::codec::state::Known;
use nearcast::codec::token::Key;
use nearcast::codec::{Encoding, Heard};
use nearcast::limits::{FLUSH_US, ROWS_MAX, SECOND_US, TICK_US};
use nearcast::log::memory::{Memory, MemoryLog};
use nearcast::log::{Log, Source, Topic};
use nearcast::region::World;
use nearcast::session::{Effect, Input, Session};
use nearcast::settings::WorldSettings;
use nearcast::space::{Pos, Region};

pub const START_US: u64 = 1_700_000_000 * SECOND_US;
pub const ENCODING: Encoding = Encoding::Json;

pub fn key() -> Key {
    Key::new([7; Key::BYTES])
}

/// Gateways that share a log, and who is connected to them.
pub struct House {
    pub now_us: u64,
    clock: Arc<std::sync::atomic::AtomicU64>,
    pub memory: Memory,
    pub gateways: Vec<(World, MemoryLog)>,
    pub guests: Vec<Guest>,
    pub settings: Arc<WorldSettings>,
}

/// One connection.
pub struct Guest {
    pub session: Session,
    pub gateway: usize,
    known: Known,
    pub mirror: Mirror,
    pub heard: Vec<Out>,
    /// It answers pings, which says that it has the welcome.
    pub pongs: bool,
}

impl House {
    pub fn new(gateways: usize) -> House {
        let clock = Arc::new(std::sync::atomic::AtomicU64::new(START_US));
        let now = clock.clone();
        let memory = Memory::new(0, move || (now.load(std::sync::atomic::Ordering::Relaxed) / 1_000) as i64);
        let settings = Arc::new(WorldSettings::plaza());
        let mut house = House { now_us: START_US, clock, memory, gateways: Vec::new(), guests: Vec::new(), settings };
        (0..gateways).for_each(|_| house.start());
        house.ticks(2);
        house
    }

    /// Another gateway starts.
    pub fn start(&mut self) {
        let world = World::new(self.settings.grid, self.gateways.len() as u32 + 1).named("plaza", &key());
        self.gateways.push((world, self.memory.open()));
    }

    /// Somebody connects and says hello.
    pub fn hello(&mut self, gateway: usize, resume: Option<Resume>) -> usize {
        let who = self.guests.len();
        let id = 1_000 + who as Id * 2;
        let session = Session::new(id, id + 1, ENCODING, self.settings.clone(), self.now_us);
        let (known, mirror) = (Known::default(), Mirror::default());
        self.guests.push(Guest { session, gateway, known, mirror, heard: Vec::new(), pongs: true });
        let profile = Some(format!("guest {who}"));
        self.say(who, &In::Hello(Hello { world: "plaza".into(), resume, profile, ..Hello::default() }));
        who
    }

    /// The same, and is welcomed.
    pub fn join(&mut self, gateway: usize, resume: Option<Resume>) -> (usize, Welcome) {
        let who = self.hello(gateway, resume);
        self.ticks(2);
        (who, self.welcome(who).expect("welcomed"))
    }

    pub fn welcome(&self, who: usize) -> Option<Welcome> {
        self.guests[who]
            .heard
            .iter()
            .find_map(|out| if let Out::Welcome(welcome) = out { Some(welcome.clone()) } else { None })
    }

    pub fn say(&mut self, who: usize, message: &In) {
        self.input(who, Input::Message(ENCODING.encode_in(message).bytes()));
    }

    pub fn walk(&mut self, who: usize, x: f64) {
        let time = (self.now_us - START_US) as f64 / 1e3;
        let step = Move { time, pos: [x, 0.0, 0.0], yaw: 90.0, state: Default::default(), seen: None, held_ms: None };
        self.say(who, &In::Move(step));
    }

    pub fn act(&mut self, who: usize, n: u64, x: f64) {
        let time = (self.now_us - START_US) as f64 / 1e3;
        let name = format!("act {n}");
        let act = Act { n, to: None, scope: Scope::Nearby, name, data: String::new(), time, pos: [x, 0.0, 0.0] };
        self.say(who, &In::Act(act));
    }

    /// Others do so much at once, so many metres off: on no gateway of these.
    pub fn crowd(&mut self, acts: u64, x: f64) {
        let pos = Pos::from_metres([x, 0.0, 0.0]).expect("a place");
        let source = Source { topic: Topic::Events, partition: self.settings.grid.partition(Region::of(pos)) };
        let mut log = self.memory.open();
        for n in 0..acts {
            let deed = Deed::Act { scope: Scope::Nearby, user: 7, name: "crowd".into(), data: "".into() };
            let command = Command { session: 7, n, entity: 7, trusted: true, pos, from: pos, deed };
            let stamp = Stamp { gateway: 99, published_us: self.now_us };
            log.publish(source, record::encode(stamp, &Record::Command(command)));
        }
    }

    /// Tells one user.
    pub fn tell(&mut self, (who, x): (usize, f64), n: u64, to: Id) {
        let time = (self.now_us - START_US) as f64 / 1e3;
        let (name, data) = (format!("tell {n}"), String::new());
        self.say(who, &In::Act(Act { n, to: Some(to), scope: Scope::User, name, data, time, pos: [x, 0.0, 0.0] }));
    }

    pub fn acks(&self, who: usize) -> Vec<u64> {
        let heard = self.guests[who].heard.iter();
        heard.filter_map(|out| if let Out::Ack(ack) = out { Some(ack.n) } else { None }).collect()
    }

    pub fn input(&mut self, who: usize, input: Input<'_>) {
        let mut effects = Vec::new();
        self.guests[who].session.on(input, self.now_us, &mut effects);
        let mut replies = Vec::new();
        for effect in effects {
            let guest = &mut self.guests[who];
            let (world, log) = &mut self.gateways[guest.gateway];
            match effect {
                Effect::Submit(submit) => world.submit(submit, log, self.now_us),
                Effect::Ping(number) if guest.pongs => replies.push(number),
                Effect::Ping(_) | Effect::Pong(_) | Effect::Close(_) | Effect::Note(_) => {}
                Effect::Send(payload) => match ENCODING.decode_out(&mut guest.known, payload.bytes()).expect("ours") {
                    Heard::Other(out) => guest.heard.push(out),
                    Heard::State(delta) => drop(guest.mirror.apply(&delta).expect("no contradiction")),
                },
            }
        }
        for number in replies {
            self.input(who, Input::Pong(&nearcast::session::ping_payload(number)));
        }
    }

    pub fn ticks(&mut self, n: usize) {
        for _ in 0..n {
            let number = self.now_us / TICK_US + 1;
            while self.now_us < number * TICK_US {
                self.now_us += FLUSH_US;
                self.clock.store(self.now_us, std::sync::atomic::Ordering::Relaxed);
                (0..self.gateways.len()).for_each(|gateway| self.step(gateway));
            }
            for gateway in 0..self.gateways.len() {
                let tick = self.gateways[gateway].0.freeze(number, self.now_us);
                for who in 0..self.guests.len() {
                    if self.guests[who].gateway == gateway {
                        self.input(who, Input::Tick(&tick, ROWS_MAX));
                        let seen = self.guests[who].mirror.number();
                        if self.guests[who].pongs && seen > 0 && number.is_multiple_of(2) {
                            self.say(who, &In::Seen(Seen { seen, held_ms: 0.0 }));
                        }
                    }
                }
            }
        }
    }

    pub fn seconds(&mut self, n: u64) {
        self.ticks((n * SECOND_US / TICK_US) as usize);
    }

    pub fn step(&mut self, gateway: usize) {
        let (world, log) = &mut self.gateways[gateway];
        let mut answers = Vec::new();
        world.step(log, self.now_us, &mut answers);
        let letters = world.letters();
        for answered in answers {
            self.input(((answered.to - 1_000) / 2) as usize, Input::Answered(answered.n, answered.answer));
        }
        for (to, letter) in letters {
            self.input(((to - 1_000) / 2) as usize, Input::Letter(&letter));
        }
    }

    pub fn bye(&self, who: usize) -> Option<(u16, bool)> {
        self.guests[who]
            .heard
            .iter()
            .find_map(|out| if let Out::Bye(bye) = out { Some((bye.code, bye.again)) } else { None })
    }

    pub fn events(&self, who: usize) -> Vec<&str> {
        let events = self.guests[who].heard.iter();
        events.filter_map(|out| if let Out::Event(event) = out { Some(event.name.as_str()) } else { None }).collect()
    }

    pub fn refusals(&self, who: usize) -> Vec<&str> {
        let heard = self.guests[who].heard.iter();
        heard.filter_map(|out| if let Out::Refuse(refuse) = out { Some(&*refuse.code) } else { None }).collect()
    }

    pub fn shows(&self, who: usize, entity: Id) -> bool {
        self.guests[who].mirror.find(entity).is_some()
    }
}
