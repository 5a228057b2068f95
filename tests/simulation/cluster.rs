//! One run: gateways, bots and the log in one loop over virtual time. No socket, clock or thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use nearcast::codec::message::Id;
use nearcast::codec::record::{Record, Stamp, encode};
use nearcast::codec::token::Key;
use nearcast::limits::{MILLI_US, ROWS_MAX, SECOND_US, TICK_US};
use nearcast::log::{Log, Outcome, Polled, Source, Topic};
use nearcast::region::{Answered, Facts, Submit, Tick, World};
use nearcast::session::{Effect, Input, Note, Session, ping_payload};
use nearcast::settings::WorldSettings;

use crate::bots::{Bot, Wish};
use crate::checker::Checker;
use crate::link::{Down, Up};
use crate::rng::{Rng, Trace};
use crate::script::{Fault, Script};
use crate::sight::Who;
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
}

/// A gateway, from its start to its death.
struct Gateway {
    /// Counts the gateways of the run; its name in the checker.
    incarnation: usize,
    number: Option<u32>,
    clock_us: i64,
    log: SimLog,
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
    gateways: [Option<Gateway>; GATEWAYS],
    restart_us: [u64; GATEWAYS],
    incarnations: usize,
    connections: u64,
    bots: Vec<Bot>,
    checker: Checker,
    script: Script,
    trace: Trace,
    effects: Vec<Effect>,
    answers: Vec<Answered>,
    /// The connection whose states the story tells: `CONN=n`.
    watched: Option<u64>,
}

impl Cluster {
    /// The run of a seed.
    pub fn new(seed: u64) -> Cluster {
        let mut rng = Rng::new(seed);
        let broker = Rc::new(RefCell::new(Broker::new(rng.fork(), START_US)));
        let bots = 14 + rng.below(12) as usize;
        let bots = (0..bots).map(|number| Bot::new(number, rng.fork(), START_US)).collect();
        let settings = Arc::new(WorldSettings::plaza());
        let delay_us = broker.borrow().delay_max_us;
        Cluster {
            now_us: START_US,
            settings: settings.clone(),
            broker,
            gateways: [None, None],
            restart_us: [START_US, START_US + rng.below(SECOND_US)],
            incarnations: 0,
            connections: 0,
            bots,
            checker: Checker::new(settings, delay_us),
            script: Script::new(rng.fork(), START_US, WILD_US),
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
                self.bots.iter_mut().for_each(Bot::calm);
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
        Ended { trace: self.trace, violation: self.checker.violation, story: self.checker.story, counts }
    }

    fn step(&mut self) {
        let now_us = self.now_us;
        let (entered, bad_us) = {
            let mut broker = self.broker.borrow_mut();
            broker.advance(now_us);
            if self.gateways.iter().all(Option::is_none) {
                // Nobody writes: partition time stands still, as in a stall.
                broker.bad_us = now_us;
            }
            (std::mem::take(&mut broker.entered), broker.bad_us)
        };
        self.checker.time(now_us, bad_us);
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
        }
    }

    // --- gateways -------------------------------------------------------------------------------------------------

    fn start_if_due(&mut self, place: usize) {
        if self.gateways[place].is_some() || self.now_us < self.restart_us[place] {
            return;
        }
        let mut log = SimLog::open(&self.broker, self.incarnations);
        let stamp = Stamp { gateway: 0, published_us: self.now_us };
        log.publish(
            Source { topic: Topic::Control, partition: 0 },
            encode(stamp, &Record::Gateway(format!("place-{place}"))),
        );
        let clock_us = self.rng.between(0, 4_000_000) as i64 - 2_000_000;
        self.checker.note(format!("gateway {} starts at place {place}, clock {clock_us} us", self.incarnations));
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

    fn kill(&mut self, place: usize, restart_us: u64) {
        let Some(gateway) = self.gateways[place].take() else { return };
        self.checker.gateway_died(gateway.incarnation);
        self.broker.borrow_mut().producer_died(gateway.incarnation);
        self.restart_us[place] = restart_us;
        for bot in &mut self.bots {
            if let Some(conn) = bot.conn.take_if(|conn| conn.gateway == place) {
                self.checker.closed(conn.number);
                // A dead peer is noticed by a reset, or by silence.
                bot.connect_us = self.now_us + self.rng.between(50, 4_000) * MILLI_US;
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
                if let Polled::Outcome(_, Outcome::At(Some(offset))) = item {
                    gateway.number = Some(offset as u32);
                    let key = Key::new([7; Key::BYTES]);
                    let mut world = World::new(self.settings.grid, offset as u32).named("plaza", &key);
                    // So that those who start read snapshots, and not all that there ever was.
                    world.keeper.snapshot_after = SNAPSHOT_AFTER;
                    gateway.world = Some(world);
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
        let mut broker = self.broker.borrow_mut();
        world.facts.trims.iter().for_each(|(source, start)| broker.trim(*source, *start));
        drop(broker);
        world.facts = Default::default();
        self.checker.bounded(gateway.incarnation, world, gateway.sessions.values().map(|seat| seat.session.unseen()));
        let letters = world.letters();
        for Answered { to, n, answer } in std::mem::take(&mut self.answers) {
            self.input(place, to, Input::Answered(n, answer));
        }
        for (to, letter) in letters {
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
            if let Some(conn) = self.bots[bot].conn.as_mut().filter(|c| c.number == conn) {
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
            Effect::Close(_) => {
                send(Down::Closed);
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
        let place = ready[self.rng.below(ready.len() as u64) as usize];
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
        self.checker.opened(who, session, entity, &self.bots[bot]);
        self.bots[bot].connect(conn, place, session, self.now_us);
    }

    /// The bot's socket is gone, and its gateway notices.
    fn lose_socket(&mut self, bot: usize) {
        let Some(conn) = self.bots[bot].conn.take() else { return };
        self.checker.closed(conn.number);
        self.input(conn.gateway, conn.session, Input::Gone);
        if let Some(gateway) = self.gateways[conn.gateway].as_mut() {
            gateway.sessions.remove(&conn.session);
        }
    }

    fn deliver_up(&mut self, place: usize) {
        for bot in 0..self.bots.len() {
            while let Some(conn) = self.bots[bot].conn.as_mut().filter(|c| c.gateway == place) {
                let session = conn.session;
                match conn.link.next_up(self.now_us) {
                    Some(Up::Message(bytes)) => self.input(place, session, Input::Message(&bytes)),
                    Some(Up::Pong(payload)) => self.input(place, session, Input::Pong(&payload)),
                    None => break,
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
            Fault::Bye { bot } => {
                let bot = bot % self.bots.len();
                self.bots[bot].bye(now_us);
            }
            Fault::Lose { bot } => {
                let bot = bot % self.bots.len();
                self.bots[bot].connect_us = now_us + self.rng.between(100, 5_000) * MILLI_US;
                self.lose_socket(bot);
            }
            Fault::Mute { bot } => {
                let bot = bot % self.bots.len();
                if let Some(conn) = &mut self.bots[bot].conn {
                    conn.mute = true;
                    self.checker.closed(conn.number);
                }
            }
        }
    }

    // --- the end --------------------------------------------------------------------------------------------------

    fn at_the_end(&mut self) {
        for bot in &self.bots {
            if !bot.open_acts().is_empty() {
                self.checker.fail(format!("bot {} still waits for an answer to {:?}", bot.number, bot.open_acts()));
            }
            let Some(conn) = bot.conn.as_ref().filter(|conn| !conn.mute) else { continue };
            let gateway = self.gateways[conn.gateway].as_ref().expect("else the connection is gone");
            let Some(seat) = gateway.sessions.get(&conn.session) else { continue };
            self.checker.converged(bot, conn, &seat.session);
        }
        let worlds: Vec<&World> = self.gateways.iter().flatten().filter_map(|g| g.world.as_ref()).collect();
        self.checker.agree(&worlds);
    }
}

fn place_name(gateways: &[Option<Gateway>], place: usize) -> usize {
    gateways[place].as_ref().map_or(usize::MAX, |gateway| gateway.incarnation)
}
