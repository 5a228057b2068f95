//! One run: gateways, bots and the log in one loop over virtual time. No socket, clock or thread. The log is a broker that
//! several gateways share, or one machine's disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use nearcast::admit::Close;
use nearcast::codec::command::{Command, Deed};
use nearcast::codec::message::{Id, Resume, Scope};
use nearcast::codec::record::{Record, Stamp, encode};
use nearcast::codec::token::Key;
use nearcast::limits::{MILLI_US, ROWS_MAX, SECOND_US, TICK_US};
use nearcast::log::{Log, Outcome, Polled, Source, Topic, Trim};
use nearcast::region::commands::streams;
use nearcast::region::{Answered, Facts, Letter, Submit, Tick, World};
use nearcast::session::{Effect, Input, Note, Session, ping_payload};
use nearcast::settings::{Secret, WorldSettings};
use nearcast::space::{Pos, Region};

use crate::bots::{Bot, Forgotten, HOMES, SERVER_TOKEN, Wish};
use crate::checker::Checker;
use crate::link::{Down, Up};
use crate::rng::{Rng, Trace};
use crate::script::{Fault, Script};
use crate::sight::Who;
use crate::sim_disk::{Handle, Machine};
use crate::sim_log::{Broker, SimLog};

/// Virtual time starts here.
pub const START_US: u64 = 1_790_000_000 * SECOND_US;
/// Gateways that run at the same time.
const GATEWAYS: usize = 2;
/// A snapshot is written after so many commands of a partition.
const SNAPSHOT_AFTER: u64 = 24;
/// What a gateway has come to is compared every so many ticks.
const COMPARE_TICKS: u64 = 10;
/// How long it goes wild, and how long it is quiet then: whoever is gone has expired.
const WILD_US: u64 = 34 * SECOND_US;
const QUIET_US: u64 = 26 * SECOND_US;

/// Where the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// On a broker.
    Broker,
    /// On the disk of one gateway's machine.
    Disk,
}

/// How a run ended.
pub struct Ended {
    /// Of all payloads and records.
    pub trace: Trace,
    /// What was violated.
    pub violation: Option<String>,
    /// What happened.
    pub story: Vec<String>,
    /// For the report.
    pub counts: String,
    /// Refusals that clients have heard, by code.
    pub refusals: BTreeMap<String, u64>,
}

/// A gateway, from its start to its death.
struct Gateway {
    /// Counts the gateways of the run; its name in the checker.
    incarnation: usize,
    number: Option<u32>,
    clock_us: i64,
    log: Handle,
    world: Option<World>,
    sessions: BTreeMap<Id, Seat>,
    step_us: u64,
    tick: u64,
}

struct Seat {
    session: Session,
    bot: usize,
    conn: u64,
}

/// A run.
pub struct Cluster {
    now_us: u64,
    rng: Rng,
    settings: Arc<WorldSettings>,
    broker: Rc<RefCell<Broker>>,
    /// Where the log is on disk: then nobody asks the broker.
    machine: Option<Machine>,
    gateways: [Option<Gateway>; GATEWAYS],
    restart_us: [u64; GATEWAYS],
    incarnations: usize,
    connections: u64,
    bots: Vec<Bot>,
    checker: Checker,
    script: Script,
    /// What the crowd elsewhere has done.
    crowd_acts: u64,
    trace: Trace,
    effects: Vec<Effect>,
    answers: Vec<Answered>,
    /// The connection whose states the story tells: `CONN=n`.
    watched: Option<u64>,
}

impl Cluster {
    /// The run of a seed.
    pub fn new(seed: u64, log: Where) -> Cluster {
        let mut rng = Rng::new(seed);
        let broker = Rc::new(RefCell::new(Broker::new(rng.fork(), START_US)));
        let bots = 14 + rng.below(12) as usize;
        let bots = (0..bots).map(|number| Bot::new(number, rng.fork(), START_US)).collect();
        let server_token = Some(Secret::new(SERVER_TOKEN.to_owned()));
        let settings = Arc::new(WorldSettings { server_token, ..WorldSettings::plaza() });
        let delay_us = broker.borrow().delay_max_us;
        let second_us = START_US + rng.below(SECOND_US);
        let script = Script::new(rng.fork(), log, START_US, WILD_US);
        let machine = (log == Where::Disk).then(|| Machine::new(rng.fork()));
        Cluster {
            now_us: START_US,
            settings: settings.clone(),
            broker,
            gateways: [None, None],
            // A disk is one gateway's.
            restart_us: [START_US, if machine.is_none() { second_us } else { u64::MAX }],
            machine,
            incarnations: 0,
            connections: 0,
            bots,
            checker: Checker::new(settings, delay_us),
            script,
            crowd_acts: 0,
            trace: Trace::new(),
            effects: Vec::new(),
            answers: Vec::new(),
            watched: crate::number("CONN"),
            rng,
        }
    }

    /// Runs it to its end, or to the first violation.
    pub fn run(mut self) -> Ended {
        let quiet_us = START_US + WILD_US;
        while self.now_us < quiet_us + QUIET_US && self.checker.violation.is_none() {
            self.now_us += MILLI_US;
            if self.now_us == quiet_us {
                self.bots.iter_mut().for_each(|bot| bot.calm(quiet_us));
                self.checker.note("quiet".into());
                self.broker.borrow_mut().honest = true;
            }
            self.step();
        }
        if self.checker.violation.is_none() {
            self.at_the_end();
        }
        if let Some(entity) = crate::number("ENTITY") {
            for gateway in self.gateways.iter().flatten() {
                for partition in 0..self.settings.grid.partitions() {
                    let folded = gateway.world.iter().flat_map(|world| world.folded(partition));
                    for (_, held) in folded.filter(|(id, _)| *id == entity) {
                        self.checker.story.push(format!("gateway {}: {partition} {held:?}", gateway.incarnation));
                    }
                }
            }
        }
        let counts = format!("{} bots, {} connections, {}", self.bots.len(), self.connections, self.checker.counts());
        self.trace.add(self.broker.borrow().trace().0, &[]);
        self.trace.add(self.machine.map_or(0, |machine| machine.trace().0), &[]);
        let Checker { violation, story, history, .. } = self.checker;
        Ended { trace: self.trace, violation, story, counts, refusals: history.refusals }
    }

    fn step(&mut self) {
        let now_us = self.now_us;
        let (mut entered, bad_us) = {
            let mut broker = self.broker.borrow_mut();
            broker.advance(now_us);
            if self.gateways.iter().all(Option::is_none) {
                // Nobody writes: partition time stands still, as in a stall.
                broker.bad_us = now_us;
            }
            (std::mem::take(&mut broker.entered), broker.bad_us)
        };
        self.checker.time(now_us, bad_us);
        if let Some(machine) = &mut self.machine {
            match machine.advance(now_us) {
                Ok(safe) => entered = safe,
                Err(what) => self.checker.fail(what),
            }
            if machine.is_dead() {
                let after_us = self.rng.between(100, 3_000) * MILLI_US;
                self.kill(0, now_us + after_us);
            }
        }
        entered.iter().for_each(|(source, offset, bytes)| self.checker.entered(*source, *offset, bytes));
        while let Some(fault) = self.script.next(now_us) {
            self.inflict(fault);
        }
        for place in 0..GATEWAYS {
            self.start_if_due(place);
            self.deliver_up(place);
            self.drive(place);
        }
        for bot in 0..self.bots.len() {
            match self.bots[bot].step(&mut self.checker, now_us) {
                Some(Wish::Connect) => self.connect(bot),
                Some(Wish::Forget) => self.lose_socket(bot),
                None => {}
            }
            self.step_forgotten(bot);
        }
    }

    // --- gateways -------------------------------------------------------------------------------------------------

    fn start_if_due(&mut self, place: usize) {
        if self.gateways[place].is_some() || self.now_us < self.restart_us[place] {
            return;
        }
        let mut log = match self.machine.as_mut().map(|machine| machine.start(self.now_us)) {
            None => Handle::Cluster(SimLog::open(&self.broker, self.incarnations)),
            Some(Ok(Some(log))) => Handle::Disk(Box::new(log)),
            Some(Ok(None)) => {
                self.checker.note("the gateway dies at its start".into());
                self.restart_us[place] = self.now_us + 300 * MILLI_US;
                return;
            }
            Some(Err(what)) => return self.checker.fail(what),
        };
        claim(&mut log, place, self.now_us);
        let clock_us = self.rng.between(0, 4_000_000) as i64 - 2_000_000;
        self.checker.gateway_started(self.incarnations, place, clock_us);
        self.gateways[place] = Some(Gateway {
            incarnation: self.incarnations,
            number: None,
            clock_us,
            log,
            world: None,
            sessions: BTreeMap::new(),
            step_us: self.now_us,
            tick: 0,
        });
        self.incarnations += 1;
    }

    /// A gateway says goodbye to its clients, and ends.
    fn drain(&mut self, place: usize, restart_us: u64) {
        for session in self.sessions(place) {
            let after_ms = self.rng.below(3_000) as u32;
            self.input(place, session, Input::Drain(after_ms));
        }
        let Some(gateway) = self.gateways[place].as_mut() else { return };
        let clock_us = self.now_us.saturating_add_signed(gateway.clock_us);
        if let Some(world) = &mut gateway.world {
            world.close(&mut gateway.log, clock_us);
        }
        self.gone(place, restart_us);
    }

    /// In a partition much is done by others, far from everybody here: no ring has any more what was done before.
    fn crowd(&mut self, partition: u16, acts: u64) {
        let Some(pos) = nowhere_near(partition, &self.settings) else { return };
        let stamp = Stamp { gateway: u32::MAX, published_us: self.now_us };
        let first = self.crowd_acts + 1;
        self.crowd_acts += acts;
        let records = (first..first + acts).map(|n| {
            let deed = Deed::Act { scope: Scope::Nearby, user: CROWD, name: "x".into(), data: "".into() };
            let command = Command { session: CROWD, n, entity: CROWD, trusted: true, pos, from: pos, deed };
            encode(stamp, &Record::Command(command))
        });
        let source = Source { topic: Topic::Events, partition };
        match &mut self.machine {
            Some(machine) => machine.others_write(source, records),
            None => records.for_each(|record| self.broker.borrow_mut().append(source, record)),
        }
    }

    fn kill(&mut self, place: usize, restart_us: u64) {
        if let Some(gateway) = &self.gateways[place] {
            self.broker.borrow_mut().producer_died(gateway.incarnation);
        }
        self.gone(place, restart_us);
    }

    /// A gateway is no more.
    fn gone(&mut self, place: usize, restart_us: u64) {
        let Some(gateway) = self.gateways[place].take() else { return };
        self.checker.gateway_died(gateway.incarnation);
        if let Some(machine) = &mut self.machine {
            machine.stop();
        }
        self.restart_us[place] = restart_us;
        for bot in &mut self.bots {
            bot.others.retain(|other| other.conn.gateway != place);
            if let Some(conn) = bot.conn.take_if(|conn| conn.gateway == place) {
                self.checker.closed(conn.number);
                // A dead peer is noticed by a reset, or by silence.
                bot.connect_us = self.now_us + bot.pause_us();
            }
        }
    }

    /// Steps every 5 ms and a bit, now and then late, as a busy process does.
    fn drive(&mut self, place: usize) {
        let Some(gateway) = self.gateways[place].as_mut().filter(|g| self.now_us >= g.step_us) else { return };
        let late_us = if self.rng.one_in(50) { self.rng.below(40) } else { self.rng.below(3) } * MILLI_US;
        gateway.step_us = self.now_us + 5 * MILLI_US + late_us;
        let clock_us = self.now_us.saturating_add_signed(gateway.clock_us);
        let Some(world) = &mut gateway.world else {
            let mut polled = Vec::new();
            gateway.log.poll(&mut polled);
            for item in polled {
                match item {
                    Polled::Outcome(_, Outcome::At(Some(offset))) => {
                        gateway.number = Some(offset as u32);
                        let key = Key::new([7; Key::BYTES]);
                        let mut world = World::new(self.settings.grid, offset as u32).named("plaza", &key);
                        // So that those who start read snapshots, and not all that there ever was.
                        world.keeper.snapshot_after = SNAPSHOT_AFTER;
                        gateway.world = Some(world);
                    }
                    Polled::Outcome(..) => claim(&mut gateway.log, place, self.now_us),
                    Polled::Record { .. }
                    | Polled::Bounds(..)
                    | Polled::OffsetAt(..)
                    | Polled::Fetched(_)
                    | Polled::Fault(_) => {}
                }
            }
            return;
        };
        world.step(&mut gateway.log, clock_us, &mut self.answers);
        let tick = (clock_us / TICK_US > gateway.tick).then(|| {
            gateway.tick = clock_us / TICK_US;
            world.freeze(gateway.tick, clock_us)
        });
        let Facts { echo_mismatch, foreign, diverged, gaps, .. } = world.facts;
        if echo_mismatch > 0 || foreign > 0 || diverged > 0 || gaps > 0 {
            self.checker.fail(format!("gateway {} counted {:?}", gateway.incarnation, world.facts));
        }
        for (source, start) in &world.facts.trims {
            match &mut gateway.log {
                Handle::Cluster(_) => self.broker.borrow_mut().trim(*source, *start),
                Handle::Disk(log) => log.trim(*source, *start),
            }
        }
        world.facts = Default::default();
        self.checker.bounded(gateway.incarnation, world, gateway.sessions.values().map(|seat| seat.session.unseen()));
        let letters = world.letters();
        for Answered { to, n, answer } in std::mem::take(&mut self.answers) {
            self.input(place, to, Input::Answered(n, answer));
        }
        for (to, letter) in letters {
            let seat = self.gateways[place].as_ref().and_then(|gateway| gateway.sessions.get(&to));
            if let (Letter::Opened(opened), Some(seat)) = (&letter, seat) {
                let who = Who { gateway: place_name(&self.gateways, place), bot: seat.bot, conn: seat.conn };
                self.checker.welcomed(to, who, opened);
            }
            self.input(place, to, Input::Letter(&letter));
        }
        if let Some(tick) = tick {
            if tick.number.is_multiple_of(COMPARE_TICKS) {
                let world = self.gateways[place].as_ref().and_then(|gateway| gateway.world.as_ref());
                world.into_iter().for_each(|world| self.checker.compare(world));
            }
            self.checker.ticked(place_name(&self.gateways, place), tick.number);
            for session in self.sessions(place) {
                if !self.rests(place, session, &tick) {
                    self.input(place, session, Input::Tick(&tick, ROWS_MAX));
                }
            }
        }
    }

    fn sessions(&self, place: usize) -> Vec<Id> {
        self.gateways[place].as_ref().map_or_else(Vec::new, |gateway| gateway.sessions.keys().copied().collect())
    }

    fn rests(&self, place: usize, id: Id, tick: &Tick) -> bool {
        let seat = self.gateways[place].as_ref().and_then(|gateway| gateway.sessions.get(&id));
        seat.and_then(|seat| seat.session.rest()).is_some_and(|rest| rest.lasts(tick))
    }

    fn input(&mut self, place: usize, id: Id, input: Input<'_>) {
        let Some(gateway) = self.gateways[place].as_mut() else { return };
        let Some(seat) = gateway.sessions.get_mut(&id) else { return };
        let clock_us = self.now_us.saturating_add_signed(gateway.clock_us);
        let mut effects = std::mem::take(&mut self.effects);
        seat.session.on(input, clock_us, &mut effects);
        for effect in effects.drain(..) {
            self.perform(place, id, effect, clock_us);
        }
        self.effects = effects;
    }

    fn perform(&mut self, place: usize, id: Id, effect: Effect, clock_us: u64) {
        let gateway = self.gateways[place].as_mut().expect("its session just spoke");
        let Some(seat) = gateway.sessions.get(&id) else { return };
        let (bot, conn) = (seat.bot, seat.conn);
        let mut send = |down: Down| {
            if let Some(conn) = self.bots[bot].conn_mut(conn) {
                conn.link.send_down(down, self.now_us);
            }
        };
        match effect {
            Effect::Send(payload) => {
                self.trace.add(conn, payload.bytes());
                self.checker.sent(conn, &payload);
                send(Down::Message(payload));
            }
            Effect::Ping(number) => send(Down::Ping(ping_payload(number))),
            Effect::Pong(_) => {}
            Effect::Close(close) => {
                send(Down::Closed);
                self.checker.released(conn, close == Close::Superseded);
                self.bots[bot].others.retain(|other| other.conn.number != conn);
                // Who was cut off starts afresh when the gateway has noticed.
                if self.bots[bot].conn.take_if(|c| c.number == conn && c.mute).is_some() {
                    self.bots[bot].connect_us = self.now_us + SECOND_US;
                }
            }
            Effect::Submit(Submit::Command(action)) if self.rng.one_in(40) => {
                self.input(place, id, Input::Busy(action.n));
            }
            Effect::Submit(submit) => {
                let who = Who { gateway: gateway.incarnation, bot, conn };
                self.checker.submitted(who, &submit);
                let ends = matches!(submit, Submit::Gone { .. } | Submit::Leave { .. } | Submit::Abandon { .. });
                if let Some(world) = &mut gateway.world {
                    world.submit(submit, &mut gateway.log, clock_us);
                }
                if ends {
                    self.checker.closed(conn);
                    self.checker.released(conn, false);
                }
            }
            Effect::Note(Note::Digest { same }) => self.checker.digest(conn, same),
            Effect::Note(Note::State(note)) => {
                if self.watched == Some(conn) {
                    self.checker.note(format!("{note:?}"));
                }
                self.checker.sent_state(conn);
            }
            Effect::Note(Note::Skipped) => self.checker.skipped(conn),
            Effect::Note(_) => {}
        }
    }

    // --- bots -----------------------------------------------------------------------------------------------------

    fn connect(&mut self, bot: usize) {
        let ready: Vec<usize> =
            (0..GATEWAYS).filter(|p| self.gateways[*p].as_ref().is_some_and(|g| g.world.is_some())).collect();
        if ready.is_empty() {
            return;
        }
        let resume = self.bots[bot].wishes();
        if resume.is_some() && self.bots[bot].races() {
            let place = ready[self.rng.below(ready.len() as u64) as usize];
            let conn = self.connect_at(bot, place, resume.clone());
            self.checker.forgotten(conn);
            let until_us = self.now_us + self.rng.between(100, 3_000) * MILLI_US;
            let pongs = self.rng.one_in(2);
            self.bots[bot].forget(pongs, until_us);
        }
        let place = ready[self.rng.below(ready.len() as u64) as usize];
        self.connect_at(bot, place, resume);
    }

    /// Connects a bot to a gateway. The connection's number.
    fn connect_at(&mut self, bot: usize, place: usize, resume: Option<Resume>) -> u64 {
        self.connections += 1;
        let gateway = self.gateways[place].as_mut().expect("it is ready");
        let number = u64::from(gateway.number.expect("it is ready"));
        let session = (number + 1) << 24 | self.connections;
        let entity = (number + 1) << 32 | self.connections;
        let clock_us = self.now_us.saturating_add_signed(gateway.clock_us);
        let conn = self.connections;
        let state = Session::new(session, entity, self.bots[bot].encoding, self.settings.clone(), clock_us);
        gateway.sessions.insert(session, Seat { session: state, bot, conn });
        let who = Who { gateway: gateway.incarnation, bot, conn };
        let grid = self.settings.grid;
        let named = resume
            .as_ref()
            .map(|resume| resume.cursors.iter().filter_map(|(stream, _)| streams::named(stream, grid)).collect());
        self.checker.opened(who, session, entity, &self.bots[bot], named);
        self.bots[bot].connect(conn, (place, session), resume, self.now_us);
        conn
    }

    /// Connections that a bot has forgotten go on for a while.
    fn step_forgotten(&mut self, bot: usize) {
        let now_us = self.now_us;
        let mut lost = Vec::new();
        for Forgotten { conn, pongs, until_us } in &mut self.bots[bot].others {
            while let Some(down) = conn.link.next_down(now_us) {
                if let (Down::Ping(payload), true) = (down, *pongs) {
                    conn.link.send_up(Up::Pong(payload), now_us);
                }
            }
            if now_us >= *until_us {
                lost.push((conn.gateway, conn.seat, conn.number));
            }
        }
        for (place, seat, number) in lost {
            self.bots[bot].others.retain(|other| other.conn.number != number);
            self.input(place, seat, Input::Gone);
            if let Some(gateway) = self.gateways[place].as_mut() {
                gateway.sessions.remove(&seat);
            }
        }
    }

    /// The bot's socket is gone, and its gateway notices.
    fn lose_socket(&mut self, bot: usize) {
        let Some(conn) = self.bots[bot].conn.take() else { return };
        self.checker.closed(conn.number);
        self.input(conn.gateway, conn.seat, Input::Gone);
        if let Some(gateway) = self.gateways[conn.gateway].as_mut() {
            gateway.sessions.remove(&conn.seat);
        }
    }

    fn deliver_up(&mut self, place: usize) {
        for bot in 0..self.bots.len() {
            let (bot_, mut all) = (&self.bots[bot], Vec::new());
            let others = bot_.others.iter().map(|other| &other.conn);
            all.extend(bot_.conn.iter().chain(others).filter(|c| c.gateway == place).map(|c| (c.number, c.seat)));
            for (number, seat) in all {
                while let Some(up) = self.bots[bot].conn_mut(number).and_then(|conn| conn.link.next_up(self.now_us)) {
                    match up {
                        Up::Message(bytes) => self.input(place, seat, Input::Message(&bytes)),
                        Up::Pong(payload) => self.input(place, seat, Input::Pong(&payload)),
                    }
                }
            }
        }
    }

    fn inflict(&mut self, fault: Fault) {
        let now_us = self.now_us;
        self.checker.note(format!("{fault:?}"));
        match fault {
            Fault::Stall { partition, for_us } => self.broker.borrow_mut().stall(partition, now_us + for_us),
            Fault::Lossy { for_us } => self.broker.borrow_mut().lossy_until_us = now_us + for_us,
            Fault::Step { ms } => {
                self.broker.borrow_mut().skew_ms += ms;
                self.checker.clock_stepped();
            }
            Fault::Cut { partition } => self.broker.borrow_mut().cut(partition),
            Fault::Kill { place, for_us } => self.kill(place, now_us + for_us),
            Fault::Drain { place, for_us } => self.drain(place, now_us + for_us),
            Fault::Crowd { partition, acts } => self.crowd(partition, acts),
            Fault::Dies { changes, loses_power } => self.on_disk(|machine| machine.dies_in(changes, loses_power)),
            Fault::Full { for_us } => self.on_disk(|machine| machine.fills_up(now_us + for_us)),
            Fault::BadSync => self.on_disk(Machine::breaks_a_sync),
            Fault::Bye { bot } => {
                let bot = bot % self.bots.len();
                self.bots[bot].bye(now_us);
            }
            Fault::Lose { bot } => {
                let bot = bot % self.bots.len();
                self.bots[bot].connect_us = now_us + self.bots[bot].pause_us();
                self.lose_socket(bot);
            }
            Fault::Mute { bot } => {
                let bot = bot % self.bots.len();
                if let Some(conn) = &mut self.bots[bot].conn {
                    conn.mute = true;
                    self.checker.closed(conn.number);
                    // Now and then it never notices, until its gateway does.
                    let after_us = if self.rng.one_in(3) { u64::MAX } else { self.rng.between(1, 10) * SECOND_US };
                    self.bots[bot].gives_up_us = now_us.saturating_add(after_us);
                }
            }
        }
    }

    fn on_disk(&mut self, fault: impl FnOnce(&mut Machine)) {
        fault(self.machine.as_mut().expect("such faults are drawn where there is a disk"));
    }

    // --- the end --------------------------------------------------------------------------------------------------

    fn at_the_end(&mut self) {
        for bot in &self.bots {
            if !bot.open_acts().is_empty() {
                self.checker.fail(format!("bot {} still waits for an answer to {:?}", bot.number, bot.open_acts()));
            }
            let Some(conn) = bot.conn.as_ref().filter(|conn| !conn.mute) else { continue };
            let gateway = self.gateways[conn.gateway].as_ref().expect("else the connection is gone");
            let Some(seat) = gateway.sessions.get(&conn.seat) else { continue };
            self.checker.converged(bot, conn, &seat.session);
        }
        let worlds: Vec<&World> = self.gateways.iter().flatten().filter_map(|g| g.world.as_ref()).collect();
        self.checker.agree(&worlds);
        // What was safe is so after the power has gone once more.
        self.on_disk_at_the_end();
    }

    fn on_disk_at_the_end(&mut self) {
        let Some(machine) = &mut self.machine else { return };
        machine.dies_in(0, true);
        machine.stop();
        loop {
            match machine.start(self.now_us) {
                Ok(Some(_)) => return,
                Ok(None) => {}
                Err(what) => return self.checker.fail(what),
            }
        }
    }
}

/// Who does much elsewhere.
pub const CROWD: Id = 1 << 52;

/// A place in a partition that no bot ever comes near; `None` if there is none.
fn nowhere_near(partition: u16, settings: &WorldSettings) -> Option<Pos> {
    let along = |axis: usize| (settings.min[axis] as i32..settings.max[axis] as i32).step_by(64);
    let places = along(0).flat_map(|x| along(2).map(move |z| [f64::from(x) + 32.0, 0.0, f64::from(z) + 32.0]));
    let is_far = |at: &[f64; 3]| HOMES.iter().all(|[x, z]| (at[0] - x).hypot(at[2] - z) > 400.0);
    let is_there = |pos: &Pos| settings.grid.partition(Region::of(*pos)) == partition;
    places.filter(is_far).filter_map(Pos::from_metres).find(is_there)
}

/// Asks the log for a gateway's number.
fn claim(log: &mut Handle, place: usize, now_us: u64) {
    let record = encode(Stamp { gateway: 0, published_us: now_us }, &Record::Gateway(format!("place-{place}")));
    log.publish(Source { topic: Topic::Control, partition: 0 }, record);
}

fn place_name(gateways: &[Option<Gateway>], place: usize) -> usize {
    gateways[place].as_ref().map_or(usize::MAX, |gateway| gateway.incarnation)
}
