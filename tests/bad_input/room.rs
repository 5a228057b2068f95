//! A room without sockets: one world on the log in memory, sessions, and what they say to what they hear. Every effect is
//! looked at: nothing that is handed on may be out of bounds or not clean, and everything that is sent can be read.

use std::sync::Arc;

use nearcast::admit::Close;
use nearcast::admit::text::{Kind, clean};
use nearcast::client::Mirror;
use nearcast::codec::command::{Changes, Deed};
use nearcast::codec::message::{Hello, In, Move, Out, Ping, Seen};
use nearcast::codec::state::Known;
use nearcast::codec::{Encoding, Heard, Payload};
use nearcast::limits::{
    ACT_DATA_BYTES_MAX, ACT_NAME_BYTES_MAX, FIELD_BYTES_MAX, FIELD_NAME_BYTES_MAX, FLUSH_US, KIND_BYTES_MAX,
    PROFILE_BYTES_MAX, ROWS_MAX, SAMPLE_AGE_MAX_US, SECOND_US, TICK_US,
};
use nearcast::log::memory::{Memory, MemoryLog};
use nearcast::region::{Submit, World};
use nearcast::session::{Effect, Input, Note, Session};
use nearcast::settings::WorldSettings;
use nearcast::space::Pos;

/// When all begins.
pub const START_US: u64 = 1_700_000_000 * SECOND_US;

/// One gateway.
pub struct Room {
    /// Its clock.
    pub now_us: u64,
    /// Who has connected, in order.
    pub people: Vec<Person>,
    settings: Arc<WorldSettings>,
    world: World,
    log: MemoryLog,
    answers: Vec<nearcast::region::Answered>,
}

/// A connection.
pub struct Person {
    session: Session,
    /// How it speaks.
    pub encoding: Encoding,
    known: Known,
    /// What it holds.
    pub mirror: Mirror,
    /// What it heard but states, since this was emptied.
    pub heard: Vec<Out>,
    /// What was counted of it, since this was emptied.
    pub notes: Vec<Note>,
    /// What it handed on, since this was emptied.
    pub submits: Vec<Submit>,
    /// Why it was closed.
    pub closed: Option<Close>,
    /// It does not say `seen`.
    pub is_mute: bool,
}

impl Room {
    /// An empty world.
    pub fn new(settings: WorldSettings) -> Room {
        Room {
            now_us: START_US,
            people: Vec::new(),
            world: World::new(settings.grid, 1),
            settings: Arc::new(settings),
            log: Memory::new(0, || 0).open(),
            answers: Vec::new(),
        }
    }

    /// Connects.
    pub fn connect(&mut self, encoding: Encoding) -> usize {
        let who = self.people.len();
        let id = who as u64 * 2 + 1;
        self.people.push(Person {
            session: Session::new(id, id + 1, encoding, self.settings.clone(), self.now_us),
            encoding,
            known: Known::default(),
            mirror: Mirror::default(),
            heard: Vec::new(),
            notes: Vec::new(),
            submits: Vec::new(),
            closed: None,
            is_mute: false,
        });
        who
    }

    /// Connects and says hello.
    pub fn join(&mut self, encoding: Encoding) -> usize {
        let who = self.connect(encoding);
        self.say(who, &In::Hello(Hello { world: "plaza".into(), ..Hello::default() }));
        assert!(matches!(self.people[who].heard[..], [Out::Welcome(_)]), "{:?}", self.people[who].heard);
        self.people[who].heard.clear();
        who
    }

    /// Connects, says hello and stands somewhere.
    pub fn stand(&mut self, encoding: Encoding, x: f64, z: f64) -> usize {
        let who = self.join(encoding);
        self.walk(who, x, z);
        self.people[who].submits.clear();
        who
    }

    /// Says where it is.
    pub fn walk(&mut self, who: usize, x: f64, z: f64) {
        let (time, state) = (self.clock_ms(), Default::default());
        self.say(who, &In::Move(Move { time, pos: [x, 0.0, z], yaw: 0.0, state, seen: None, held_ms: None }));
    }

    /// Everybody's clock, ms.
    pub fn clock_ms(&self) -> f64 {
        (self.now_us - START_US) as f64 / 1e3
    }

    /// Says something right.
    pub fn say(&mut self, who: usize, message: &In) {
        let payload = self.people[who].encoding.encode_in(message);
        self.input(who, Input::Message(payload.bytes()));
    }

    /// Says whatever.
    pub fn raw(&mut self, who: usize, bytes: &[u8]) {
        self.input(who, Input::Message(bytes));
    }

    /// Feeds a session, and looks at what comes of it.
    pub fn input(&mut self, who: usize, input: Input<'_>) {
        let mut effects = Vec::new();
        self.people[who].session.on(input, self.now_us, &mut effects);
        let (mut seen, mut opens) = (None, false);
        for effect in effects {
            let person = &mut self.people[who];
            match effect {
                Effect::Submit(submit) => {
                    check(&submit, &self.settings, self.now_us);
                    opens |= matches!(submit, Submit::Open { .. });
                    person.submits.push(submit.clone());
                    self.world.submit(submit, &mut self.log, self.now_us);
                }
                Effect::Note(note) => person.notes.push(note),
                Effect::Close(close) => {
                    assert_eq!(person.closed.replace(close), None, "closed once");
                }
                Effect::Ping(_) | Effect::Pong(_) => {}
                Effect::Send(payload) => seen = person.hear(&payload).or(seen),
            }
        }
        if opens {
            self.step();
        }
        if let Some(seen) = seen
            && !self.people[who].is_mute
        {
            self.say(who, &In::Seen(Seen { seen, held_ms: 0.0 }));
        }
    }

    /// The world steps, without a tick, until nobody waits to be welcomed.
    pub fn step(&mut self) {
        for _ in 0..4 {
            self.world.step(&mut self.log, self.now_us, &mut self.answers);
            self.deliver();
        }
    }

    /// Sessions get what the world has for them.
    fn deliver(&mut self) {
        for answered in std::mem::take(&mut self.answers) {
            self.input(((answered.to - 1) / 2) as usize, Input::Answered(answered.n, answered.answer));
        }
        for (to, letter) in self.world.letters() {
            self.input(((to - 1) / 2) as usize, Input::Letter(&letter));
        }
    }

    /// Turns the clock by so many ticks.
    pub fn ticks(&mut self, n: u64) {
        let first = self.now_us / TICK_US + 1;
        for number in first..first + n {
            while self.now_us < number * TICK_US {
                self.now_us += FLUSH_US;
                self.world.step(&mut self.log, self.now_us, &mut self.answers);
                self.deliver();
            }
            let tick = self.world.freeze(number, self.now_us);
            (0..self.people.len()).for_each(|who| self.input(who, Input::Tick(&tick, ROWS_MAX)));
        }
    }

    /// Its session answers, if it has not been closed.
    pub fn lives(&mut self, who: usize, after: &str) {
        self.people[who].heard.clear();
        self.say(who, &In::Ping(Ping { time: 7.0 }));
        let answer = self.people[who].heard.drain(..).find(|out| matches!(out, Out::Pong(pong) if pong.time == 7.0));
        assert!(answer.is_some(), "{after}: no answer to a ping");
    }

    /// The codes of refusals, and of the `bye`, since this was asked.
    pub fn codes(&mut self, who: usize) -> Vec<String> {
        let heard = std::mem::take(&mut self.people[who].heard);
        heard.iter().filter_map(code).collect()
    }
}

/// What a refusal or an end is called.
pub fn code(out: &Out) -> Option<String> {
    match out {
        Out::Refuse(refuse) => {
            assert!(!refuse.text.is_empty(), "{refuse:?} says why");
            Some(refuse.code.to_string())
        }
        Out::Bye(bye) => Some(bye.code.to_string()),
        _ => None,
    }
}

impl Person {
    /// Takes in what was sent. The number of a state, which is to be seen.
    fn hear(&mut self, payload: &Payload) -> Option<u64> {
        match self.encoding.decode_out(&mut self.known, payload.bytes()).expect("it can be read") {
            Heard::Other(out) => self.heard.push(out),
            Heard::State(delta) => {
                self.mirror.apply(&delta).expect("no contradiction");
                return Some(self.mirror.number());
            }
        }
        None
    }
}

/// Only what is finite, in bounds, of this time and clean is handed on.
fn check(submit: &Submit, settings: &WorldSettings, now_us: u64) {
    let is_clean = |text: &str, kind, max| clean(text, kind, max).as_deref() == Ok(text);
    match submit {
        Submit::Move { place, .. } => {
            assert!(settings.contains(place.pos), "{place:?}");
            assert!((now_us - SAMPLE_AGE_MAX_US..=now_us).contains(&place.time_us), "{place:?}");
        }
        Submit::Command(command) => {
            let is_word = |text: &str, max| !text.is_empty() && is_clean(text, Kind::Line, max);
            let are_clean = |fields: &Changes| {
                let mut fields = fields.iter();
                fields.all(|(name, text)| {
                    let text = text.as_deref().unwrap_or_default();
                    is_word(name, FIELD_NAME_BYTES_MAX) && is_clean(text, Kind::Field, FIELD_BYTES_MAX)
                })
            };
            let inside = |pos: Pos| settings.contains(pos);
            let is_good = match &command.deed {
                Deed::Act { name, data, .. } | Deed::Tell { name, data, .. } => {
                    is_word(name, ACT_NAME_BYTES_MAX) && is_clean(data, Kind::Data, ACT_DATA_BYTES_MAX)
                }
                Deed::Create { kind, fields, .. } => is_word(kind, KIND_BYTES_MAX) && are_clean(fields),
                Deed::Change { to, fields, .. } => to.is_none_or(|(to, _)| inside(to)) && are_clean(fields),
                Deed::Release(_, (to, _)) => inside(*to),
                Deed::Environment { fields, .. } => are_clean(fields),
                Deed::Grab(_) | Deed::Remove(_) => true,
            };
            assert!(is_good && inside(command.pos) && inside(command.from), "{command:?}");
        }
        Submit::Open { profile, radius_m, .. } => {
            assert!(is_clean(profile, Kind::Line, PROFILE_BYTES_MAX) && radius_m.is_finite(), "{submit:?}");
        }
        Submit::Profile { profile, .. } => assert!(is_clean(profile, Kind::Line, PROFILE_BYTES_MAX), "{submit:?}"),
        Submit::Radius { radius_m, .. } => assert!(radius_m.is_finite(), "{submit:?}"),
        Submit::Recall { ask, .. } => assert!(settings.contains(ask.at) && ask.radius_m.is_finite(), "{ask:?}"),
        Submit::Gone { .. } | Submit::Leave { .. } | Submit::Abandon { .. } | Submit::Confirm { .. } => {}
    }
}
