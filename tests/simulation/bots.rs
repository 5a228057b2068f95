//! The clients: they walk, stand, act, get lost and come back, and hold what the gateway tells them in a `Mirror`.
//! Everything goes through real encoded messages. Most come back as the session that they were: they show their token,
//! say how far they were told, and send again what has no answer. Some show an older token, some two at once.

use std::collections::BTreeMap;

use nearcast::client::{Mirror, Stock};
use nearcast::codec::command::Object;
use nearcast::codec::message::{
    Act, AppState, ByeIn, Hello, Id, Move, Out, Profile, Report, Resume, Scope, Seen, Set, View, Welcome, Wish as Of,
};
use nearcast::codec::state::Known;
use nearcast::codec::{Encoding, Heard, In};
use nearcast::limits::{MILLI_US, REACH_M, RESUME_CURSORS_MAX, SECOND_US};
use nearcast::space::Pos;

use crate::checker::Checker;
use crate::link::{Down, Link, Quality, Up};
use crate::rng::Rng;

/// Actions of one bot that wait for an answer, at most.
pub const ACTS_OPEN: usize = 8;

/// Around which places bots are, metres east and south: the first on a corner of four partitions.
pub const HOMES: [[f64; 2]; 3] = [[512.0, 512.0], [-512.0, 500.0], [10.0, 20.0]];

/// What those show that are game servers.
pub const SERVER_TOKEN: &str = "of the servers of this world, and of nobody else";

/// How a bot says what it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seeing {
    /// With the next move, or on its own when none comes.
    Prompt,
    /// On its own, so many µs after the first that it has not said.
    Late(u64),
    /// Never; its pongs count.
    Pongs,
}

/// One client.
pub struct Bot {
    /// Its number.
    pub number: usize,
    /// Its connection.
    pub conn: Option<Conn>,
    /// When it connects next.
    pub connect_us: u64,
    /// It stands still and does nothing any more.
    pub quiet: bool,
    /// How it writes and reads.
    pub encoding: Encoding,
    /// It is a game server: it says what places are like, too.
    is_server: bool,
    rng: Rng,
    quality: Quality,
    seeing: Seeing,
    budget: Option<u32>,
    radius: Option<f64>,
    home: [f64; 2],
    range_m: f64,
    speed: f64,
    /// Lies once about its digest.
    liar: bool,
    /// Kept over sessions: samples of one avatar rise.
    counter: u64,
    profiles: u32,
    pos: [f64; 3],
    yaw: f64,
    target: [f64; 2],
    still_until_us: u64,
    walked_us: u64,
    /// Connections that it has forgotten, and whose gateway does not know.
    pub others: Vec<Forgotten>,
    /// When it takes a connection that is mute for lost.
    pub gives_up_us: u64,
    /// What opens its session again.
    token: Option<String>,
    /// What did before.
    older: Option<String>,
    /// How far it was told, by stream.
    cursors: BTreeMap<String, u64>,
    next_n: u64,
    acts: BTreeMap<u64, Open>,
}

/// A connection whose client does not care for it any more.
pub struct Forgotten {
    /// The connection.
    pub conn: Conn,
    /// It answers pings.
    pub pongs: bool,
    /// Then its socket is gone too.
    pub until_us: u64,
}

/// One connection of a bot.
pub struct Conn {
    /// Counts all connections of the run.
    pub number: u64,
    /// The gateway's place.
    pub gateway: usize,
    /// The number by which the gateway knows it.
    pub seat: Id,
    /// Its session, once it is welcomed.
    pub session: Id,
    /// The way to it.
    pub link: Link,
    /// What the bot holds.
    pub mirror: Mirror,
    /// Objects that it was told of.
    pub stock: Stock,
    /// Neither reads nor writes any more, and nobody knows.
    pub mute: bool,
    known: Known,
    welcomed: bool,
    seen: u64,
    seen_us: u64,
    said: u64,
    /// When the first state came of which it has not said `seen`.
    unsaid_us: u64,
    move_us: u64,
    act_us: u64,
    /// When its move was refused, unless it has said since where it is.
    thrown_us: u64,
    /// It ends when the `welcome` is on its way.
    deaf: bool,
}

/// A command without an answer.
struct Open {
    said: In,
    send_us: Option<u64>,
    sent_us: u64,
}

/// What a bot wants of the world around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To connect.
    Connect,
    /// Its connection is over.
    Forget,
}

impl Bot {
    /// A bot of a kind drawn from `rng`.
    pub fn new(number: usize, mut rng: Rng, now_us: u64) -> Bot {
        let slow = rng.one_in(8);
        let quality = Quality {
            delay_us: rng.between(2, 120) * MILLI_US,
            bytes_per_s: if slow { rng.between(5_000, 12_000) } else { 2_000_000 },
        };
        let home = HOMES[rng.below(5).saturating_sub(2) as usize];
        let range_m = [15.0, 40.0, 90.0][rng.below(3) as usize];
        let at = [home[0] + rng.real(-range_m, range_m), home[1] + rng.real(-range_m, range_m)];
        Bot {
            number,
            conn: None,
            connect_us: now_us + rng.below(4 * SECOND_US),
            quiet: false,
            encoding: if rng.one_in(4) { Encoding::Json } else { Encoding::MessagePack },
            is_server: number % 7 == 3,
            quality,
            seeing: match rng.below(8) {
                0 => Seeing::Pongs,
                1 => Seeing::Late(rng.between(300, 1_500) * MILLI_US),
                _ => Seeing::Prompt,
            },
            budget: match rng.below(6) {
                0 => Some(2_048),
                1 => Some(6_000),
                _ => None,
            },
            radius: rng.one_in(4).then(|| rng.real(8.0, 128.0)),
            home,
            range_m,
            speed: if rng.one_in(6) { rng.real(5.0, 9.5) } else { rng.real(0.8, 2.2) },
            liar: rng.one_in(8),
            counter: 0,
            profiles: 0,
            pos: [at[0], rng.real(0.0, 2.0), at[1]],
            yaw: 0.0,
            target: at,
            still_until_us: 0,
            walked_us: now_us,
            others: Vec::new(),
            gives_up_us: u64::MAX,
            token: None,
            older: None,
            cursors: BTreeMap::new(),
            next_n: rng.below(100),
            acts: BTreeMap::new(),
            rng,
        }
    }

    /// Whether it gets all it could see at once.
    pub fn is_well_served(&self) -> bool {
        self.budget.is_none() && !self.is_slow() && self.lag_us().is_none()
    }

    /// If it says `seen` late: how long after a state was sent its gateway knows at the latest that the bot has it.
    pub fn lag_us(&self) -> Option<u64> {
        match self.seeing {
            Seeing::Late(lag_us) => Some(lag_us + 2 * self.quality.delay_us),
            Seeing::Prompt | Seeing::Pongs => None,
        }
    }

    /// Whether states have to be skipped on its link.
    pub fn is_slow(&self) -> bool {
        self.quality.is_slow()
    }

    /// Bytes per second that it asked for.
    pub fn budget(&self) -> u32 {
        self.budget.unwrap_or(nearcast::limits::BUDGET_BYTES_PER_S)
    }

    /// What it shows to go on as the session that it was, if it wants to.
    pub fn wishes(&mut self) -> Option<Resume> {
        let token = if self.rng.one_in(10) { self.older.clone() } else { self.token.clone() };
        let token = token.filter(|_| !self.rng.one_in(8))?;
        let open = self.acts.first_key_value().map_or(self.next_n, |(n, _)| *n);
        let cursors = self.cursors.iter().take(RESUME_CURSORS_MAX).map(|(stream, next)| (stream.clone(), *next));
        Some(Resume { token, open: Some(open), cursors: cursors.collect() })
    }

    /// Whether it shows its token twice at once.
    pub fn races(&mut self) -> bool {
        !self.quiet && self.rng.one_in(6)
    }

    /// It forgets its connection, and the gateway does not know.
    pub fn forget(&mut self, pongs: bool, until_us: u64) -> Option<u64> {
        let conn = self.conn.take()?;
        let number = conn.number;
        self.others.push(Forgotten { conn, pongs, until_us });
        Some(number)
    }

    /// How long after it has lost a connection it comes back: now and then, when its avatar has gone.
    pub fn pause_us(&mut self) -> u64 {
        let long = self.rng.one_in(6);
        if long { self.rng.between(12, 22) * SECOND_US } else { self.rng.between(50, 5_000) * MILLI_US }
    }

    /// A connection by its number.
    pub fn conn_mut(&mut self, number: u64) -> Option<&mut Conn> {
        let others = self.others.iter_mut().map(|other| &mut other.conn);
        self.conn.iter_mut().chain(others).find(|conn| conn.number == number)
    }

    /// A new connection: says hello. `resume` is what it shows.
    pub fn connect(&mut self, number: u64, (gateway, seat): (usize, Id), resume: Option<Resume>, now_us: u64) {
        self.profiles += 1;
        let deaf = !self.quiet && resume.is_some() && self.rng.one_in(6);
        let hello = Hello {
            world: "plaza".into(),
            token: self.is_server.then(|| SERVER_TOKEN.to_owned()),
            resume,
            profile: Some(self.profile()),
            view: Some(View { radius: self.radius, budget: self.budget }),
        };
        let mut conn = Conn {
            number,
            gateway,
            seat,
            session: 0,
            link: Link::new(self.quality),
            mirror: Mirror::default(),
            stock: Stock::default(),
            mute: false,
            known: Known::default(),
            welcomed: false,
            seen: 0,
            seen_us: 0,
            said: 0,
            unsaid_us: 0,
            move_us: 0,
            act_us: now_us + self.rng.between(1, 4) * SECOND_US,
            thrown_us: 0,
            deaf,
        };
        conn.say(self.encoding, In::Hello(hello), now_us);
        self.conn = Some(conn);
    }

    fn profile(&self) -> String {
        let long = if self.number.is_multiple_of(5) { "ü\"looks\"".repeat(6) } else { String::new() };
        format!("b{}#{}{long}", self.number, self.profiles)
    }

    /// The last word before the end of the run: nothing is lost or slow any more.
    pub fn calm(&mut self, now_us: u64) {
        self.quiet = true;
        self.connect_us = self.connect_us.min(now_us + 3 * SECOND_US);
        self.others.iter_mut().for_each(|other| other.until_us = other.until_us.min(now_us + SECOND_US));
        self.quality = Quality { delay_us: 10 * MILLI_US, bytes_per_s: 10_000_000 };
        if let Some(conn) = &mut self.conn {
            conn.link.quality = self.quality;
        }
    }

    /// Goes on by one step. Answers what it wants.
    pub fn step(&mut self, checker: &mut Checker, now_us: u64) -> Option<Wish> {
        let Some(mut conn) = self.conn.take() else {
            return (now_us >= self.connect_us).then_some(Wish::Connect);
        };
        if conn.mute && now_us >= self.gives_up_us {
            self.gives_up_us = u64::MAX;
            self.others.push(Forgotten { conn, pongs: false, until_us: now_us + 40 * SECOND_US });
            self.connect_us = now_us;
            return None;
        }
        let mut over = false;
        while !conn.mute
            && !over
            && let Some(down) = conn.link.next_down(now_us)
        {
            match down {
                Down::Message(payload) => over |= self.hear(&mut conn, payload.bytes(), checker, now_us),
                Down::Ping(payload) => conn.link.send_up(Up::Pong(payload), now_us),
                Down::Closed => over = true,
            }
        }
        if over {
            self.connect_us = now_us + self.pause_us();
            checker.closed(conn.number);
            self.conn = Some(conn);
            return Some(Wish::Forget);
        }
        if !conn.mute && conn.welcomed {
            self.walk(&mut conn, now_us);
            self.chatter(&mut conn, checker, now_us);
        }
        self.conn = Some(conn);
        None
    }

    fn hear(&mut self, conn: &mut Conn, bytes: &[u8], checker: &mut Checker, now_us: u64) -> bool {
        let heard = match self.encoding.decode_out(&mut conn.known, bytes) {
            Ok(heard) => heard,
            Err(error) => {
                checker.fail(format!("bot {} cannot read a message: {error}", self.number));
                return true;
            }
        };
        match heard {
            Heard::State(delta) => {
                let before: Vec<Id> = conn.mirror.shown().map(|avatar| avatar.entity).collect();
                let report = match conn.mirror.apply(&delta) {
                    Ok(report) => report,
                    Err(contradiction) => {
                        checker.fail(format!("bot {}: the state contradicts itself: {contradiction}", self.number));
                        return true;
                    }
                };
                if conn.seen == conn.said {
                    conn.unsaid_us = now_us;
                }
                (conn.seen, conn.seen_us) = (conn.mirror.number(), now_us);
                checker.state(conn.number, &before, &conn.mirror, &delta);
                if let Some((number, mut digest)) = report {
                    // Not in the end: the repair would still be under way.
                    if self.liar && !self.quiet {
                        self.liar = false;
                        digest ^= 1;
                        checker.lied(conn.number);
                    }
                    conn.say(self.encoding, In::Report(Report { number, digest, age_ms: None }), now_us);
                }
            }
            Heard::Other(Out::Welcome(_)) if conn.deaf => return true,
            Heard::Other(out) => {
                checker.told(conn.number, &out);
                return self.on_message(conn, &out, checker, now_us);
            }
        }
        false
    }

    fn on_message(&mut self, conn: &mut Conn, out: &Out, checker: &mut Checker, now_us: u64) -> bool {
        match out {
            Out::Welcome(welcome) => self.welcomed(conn, welcome, now_us),
            Out::Ack(ack) => {
                self.acts.remove(&ack.n);
            }
            Out::Refuse(refuse) => match refuse.n {
                Some(n) => {
                    self.acts.remove(&n);
                }
                // Time stepped back: as the log knows it, the way was made in none.
                None if refuse.code == "speed" && checker.has_stepped() => conn.thrown_us = now_us,
                None => checker.fail(format!("bot {}: refused {} as {}", self.number, refuse.of, refuse.code)),
            },
            Out::Unknown(unknown) => {
                if let Some(open) = self.acts.get_mut(&unknown.n) {
                    open.send_us = Some(now_us + self.rng.between(100, 2_000) * MILLI_US);
                    open.sent_us = now_us;
                }
            }
            Out::Object(objects) => {
                if let Err(why) = conn.stock.apply(objects) {
                    checker.fail(format!("bot {}: {why}: {objects:?}", self.number));
                }
            }
            Out::Bye(_) => return true,
            Out::Event(event) => {
                self.cursors.insert(event.stream.clone(), event.offset + 1);
            }
            Out::Cursor(cursor) => {
                self.cursors.insert(cursor.stream.clone(), cursor.offset);
            }
            Out::Reset(reset) => {
                self.cursors.insert(format!("partition/{}", reset.partition), reset.offset);
            }
            Out::State(_) | Out::Notice(_) | Out::Correct(_) | Out::Stale(_) | Out::Pong(_) | Out::Moved(_) => {}
        }
        false
    }

    fn welcomed(&mut self, conn: &mut Conn, welcome: &Welcome, now_us: u64) {
        (conn.welcomed, conn.session) = (true, welcome.session);
        self.older = std::mem::replace(&mut self.token, welcome.token.clone());
        if welcome.resumed {
            for open in self.acts.values_mut() {
                (open.send_us, open.sent_us) = (Some(now_us + self.rng.below(500) * MILLI_US), now_us);
            }
        } else {
            // Of what had no answer nothing is known.
            (self.older, self.next_n) = (None, self.rng.below(100));
            self.acts.clear();
            self.cursors.clear();
        }
    }

    fn walk(&mut self, conn: &mut Conn, now_us: u64) {
        if now_us < conn.move_us {
            return;
        }
        let again = conn.thrown_us > 0 && now_us > conn.thrown_us + SECOND_US;
        let first = conn.move_us == 0 || again;
        if again {
            conn.thrown_us = 0;
        }
        conn.move_us = now_us + 50 * MILLI_US + self.rng.below(4 * MILLI_US);
        let passed_s = ((now_us - self.walked_us) as f64 / 1e6).min(0.1);
        self.walked_us = now_us;
        if !first && (self.quiet || now_us < self.still_until_us) {
            return;
        }
        let way = [self.target[0] - self.pos[0], self.target[1] - self.pos[2]];
        let left_m = way[0].hypot(way[1]);
        let step_m = (self.speed * passed_s).min(left_m);
        if left_m > 0.0 && !first {
            self.pos[0] += way[0] / left_m * step_m;
            self.pos[2] += way[1] / left_m * step_m;
            self.yaw = (-way[1]).atan2(way[0]).to_degrees();
        }
        if left_m < 0.5 {
            let range = self.range_m;
            self.target = [self.home[0] + self.rng.real(-range, range), self.home[1] + self.rng.real(-range, range)];
            if self.rng.one_in(3) {
                self.still_until_us = now_us + self.rng.between(1, 12) * SECOND_US;
            }
        }
        self.counter += 1;
        let seen = (self.seeing == Seeing::Prompt && conn.seen > conn.said).then_some(conn.seen);
        conn.said = conn.said.max(seen.unwrap_or(0));
        let step = Move {
            time: now_us as f64 / 1e3 + self.number as f64 * 1e6,
            pos: self.pos,
            yaw: self.yaw,
            state: AppState::new(&self.counter.to_le_bytes()).expect("eight bytes fit"),
            seen,
            held_ms: seen.map(|_| (now_us - conn.seen_us) as f64 / 1e3),
        };
        conn.say(self.encoding, In::Move(step), now_us);
    }

    fn chatter(&mut self, conn: &mut Conn, checker: &mut Checker, now_us: u64) {
        let lag_us = match self.seeing {
            Seeing::Prompt => Some(80 * MILLI_US),
            Seeing::Late(lag_us) => Some(lag_us),
            Seeing::Pongs => None,
        };
        if conn.seen > conn.said && lag_us.is_some_and(|lag_us| now_us >= conn.unsaid_us + lag_us) {
            conn.said = conn.seen;
            let held_ms = (now_us - conn.seen_us) as f64 / 1e3;
            conn.say(self.encoding, In::Seen(Seen { seen: conn.seen, held_ms }), now_us);
        }
        for open in self.acts.values_mut() {
            if open.send_us.is_some_and(|at| now_us >= at) {
                (open.send_us, open.sent_us) = (None, now_us);
                conn.link.send_up(Up::Message(self.encoding.encode_in(&open.said).bytes().to_vec()), now_us);
            } else if open.send_us.is_none() && now_us > open.sent_us + 14 * SECOND_US {
                return checker.fail(format!("bot {}: {:?} has no answer after 14 s", self.number, open.said));
            }
        }
        if self.quiet || now_us < conn.act_us {
            return;
        }
        conn.act_us = now_us + self.rng.between(300, 4_000) * MILLI_US;
        match self.rng.below(12) {
            0 => {
                self.profiles += 1;
                conn.say(self.encoding, In::Profile(Profile { profile: self.profile() }), now_us);
            }
            1 => {
                self.radius = Some(self.rng.real(10.0, 128.0));
                conn.say(self.encoding, In::View(View { radius: self.radius, budget: None }), now_us);
            }
            _ if self.acts.len() < ACTS_OPEN
                && self.acts.first_key_value().is_none_or(|(n, _)| self.next_n < n + 30) =>
            {
                self.act(conn, checker, now_us);
            }
            _ => {}
        }
    }

    fn act(&mut self, conn: &mut Conn, checker: &Checker, now_us: u64) {
        let n = self.next_n;
        self.next_n += 1;
        let said = if self.rng.one_in(2) {
            In::Set(self.set(n, conn.session, checker))
        } else {
            self.wave(n, checker, now_us)
        };
        conn.say(self.encoding, said.clone(), now_us);
        self.acts.insert(n, Open { said, send_us: None, sent_us: now_us });
    }

    fn wave(&mut self, n: u64, checker: &Checker, now_us: u64) -> In {
        let to = checker.some_user(self.rng.next()).filter(|_| self.rng.one_in(4));
        let scopes = [Scope::Nearby, Scope::Nearby, Scope::Region, Scope::World];
        let data = if self.rng.one_in(16) { "\"long\"".repeat(300) } else { format!("{n}") };
        In::Act(Act {
            n,
            to,
            scope: if to.is_some() { Scope::User } else { scopes[self.rng.below(4) as usize] },
            name: "wave".into(),
            data,
            time: now_us as f64 / 1e3 + self.number as f64 * 1e6,
            pos: self.pos,
        })
    }

    /// A wish about something near, as it is now: others may be faster.
    fn set(&mut self, n: u64, session: Id, checker: &Checker) -> Set {
        let at = Pos::from_metres(self.pos).expect("finite");
        let near = checker.history.ledger.near(at, REACH_M + 1.0);
        let set = Set {
            n,
            wish: Of::Create,
            object: None,
            expect: None,
            kind: Some("cup".into()),
            fields: [("n".to_owned(), Some(n.to_string()))].into(),
            to: None,
            yaw: 0.0,
            pos: self.pos,
            scope: None,
        };
        let of = |object: &Object, wish| Set {
            wish,
            object: Some(object.id),
            kind: None,
            pos: object.pos.metres(),
            ..set.clone()
        };
        if self.is_server && self.rng.one_in(2) {
            let of_world = self.rng.one_in(3);
            let version = checker.history.ledger.environment(at, of_world).map_or(0, |environment| environment.version);
            let expect = self.rng.one_in(3).then_some(version);
            let scope = of_world.then_some(Scope::World);
            return Set { wish: Of::Environment, kind: None, expect, scope, ..set };
        }
        let held = checker.history.ledger.near(at, f64::MAX);
        let held = held.into_iter().find(|object| object.holder.is_some_and(|holder| holder.session == session));
        if let Some(object) = held {
            let to = Some(self.pos);
            return if self.rng.one_in(3) { Set { to, ..of(&object, Of::Release) } } else { of(&object, Of::Change) };
        }
        let Some(object) = near.get(self.rng.below(near.len().max(1) as u64) as usize) else { return set };
        let expect = self.rng.one_in(3).then_some(object.version);
        match self.rng.below(8) {
            0 if near.len() < 4 => set,
            1 => Set { expect, ..of(object, Of::Remove) },
            2 => Set { expect, to: Some(self.pos), ..of(object, Of::Change) },
            3 => of(object, Of::Change),
            _ => Set { expect, ..of(object, Of::Grab) },
        }
    }

    /// Says bye.
    pub fn bye(&mut self, now_us: u64) {
        let encoding = self.encoding;
        if let Some(conn) = self.conn.as_mut().filter(|conn| conn.welcomed) {
            conn.say(encoding, In::Bye(ByeIn {}), now_us);
        }
    }

    /// Commands without an answer.
    pub fn open_acts(&self) -> Vec<&In> {
        self.acts.values().map(|open| &open.said).collect()
    }

    /// Where it is.
    pub fn pos(&self) -> [f64; 3] {
        self.pos
    }
}

impl Conn {
    fn say(&mut self, encoding: Encoding, message: In, now_us: u64) {
        self.link.send_up(Up::Message(encoding.encode_in(&message).bytes().to_vec()), now_us);
    }
}
