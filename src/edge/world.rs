//! One world's thread: it takes what the sessions submitted, lets the world fold and write, and on the tick publishes
//! the frames to all sessions. It steps just before the tick, so that little is left to fold at it; and every 5 ms, if the
//! log is outside or an action waits for its answer. The only place where a world's state is touched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::clock::Clock;
use super::ids::Ids;
use super::line::{Command, Line, Mailbox};
use crate::codec::message::Id;
use crate::codec::token::Key;
use crate::limits::{FLUSH_US, FOLD_AHEAD_US, INBOX_MAX, MILLI_US, SECOND_US, TICK_US};
use crate::log::disk::DiskLog;
use crate::log::memory::MemoryLog;
use crate::log::{Fault, Follow, Health, Log, Outcome, Polled, Source, Ticket, Trim, Trimmed};
use crate::metrics;
use crate::region::world::{CONTROL, claim_record};
use crate::region::{Answer, Answered, Facts, Letter, Submit, Tick, World};
use crate::settings::WorldSettings;

/// What a session is told from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Mail {
    /// An action has its answer.
    Answered(u64, Answer),
    /// What the world tells the session of itself.
    Letter(Letter),
    /// The gateway is going; come back after so many ms.
    Drain(u32),
}

/// A world as the sockets see it.
pub struct Hall {
    /// How it is declared.
    pub settings: Arc<WorldSettings>,
    /// Numbers for sessions and avatars, the same for all worlds.
    pub ids: Arc<Ids>,
    /// Where sessions submit.
    pub inbox: mpsc::Sender<Submit>,
    /// The newest tick.
    pub ticks: watch::Receiver<Arc<Tick>>,
    /// The log has numbered this gateway.
    pub open: AtomicBool,
    /// Whether the log takes what is written.
    health: Mutex<Health>,
    /// Who is here, by the number with which they asked to be a session.
    pub directory: DashMap<Id, Mailbox>,
    drivers: Vec<Line>,
    /// Its thread, and whether something in the inbox does not wait for the tick.
    thread: OnceLock<Thread>,
    hurries: AtomicBool,
}

impl Hall {
    /// Whether the log takes what is written.
    pub fn health(&self) -> Health {
        *self.health.lock().expect("no holder of this lock panics")
    }

    pub(super) fn log_is(&self, health: Health) {
        *self.health.lock().expect("no holder of this lock panics") = health;
        let world = &self.settings.name;
        match health {
            Health::Well => info!(world, "the log takes what is written"),
            Health::Full => warn!(world, "the log is full: nothing is written until there is room"),
            Health::Down => error!(world, "the log cannot be written to"),
        }
    }

    /// What was just put into the inbox is wanted at the next step, not only at the tick.
    pub fn hurry(&self) {
        if !self.hurries.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// The log backends, chosen at start.
pub enum AnyLog {
    /// In this process.
    Memory(MemoryLog),
    /// In this process and on its disk.
    Disk(DiskLog),
    /// Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<crate::log::kafka::KafkaLog>),
}

macro_rules! each_log {
    ($self:ident, $log:ident => $call:expr) => {
        match $self {
            AnyLog::Memory($log) => $call,
            AnyLog::Disk($log) => $call,
            #[cfg(feature = "kafka")]
            AnyLog::Kafka($log) => $call,
        }
    };
}

impl AnyLog {
    /// Whether something may come from it that no session here has caused.
    fn is_outside(&self) -> bool {
        match self {
            AnyLog::Memory(_) | AnyLog::Disk(_) => false,
            #[cfg(feature = "kafka")]
            AnyLog::Kafka(_) => true,
        }
    }
}

impl Log for AnyLog {
    fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket {
        each_log!(self, log => log.publish(source, bytes))
    }
    fn follow(&mut self, change: Follow) {
        each_log!(self, log => log.follow(change));
    }
    fn poll(&mut self, out: &mut Vec<Polled>) {
        each_log!(self, log => log.poll(out));
    }
    fn bounds(&mut self, source: Source) {
        each_log!(self, log => log.bounds(source));
    }
    fn offset_at(&mut self, source: Source, append_ms: i64) {
        each_log!(self, log => log.offset_at(source, append_ms));
    }
    fn fetch(&mut self, source: Source, from: u64) {
        each_log!(self, log => log.fetch(source, from));
    }
}

impl Trim for AnyLog {
    fn trim(&mut self, source: Source, start: u64) {
        each_log!(self, log => log.trim(source, start));
    }
    fn trimmed(&mut self) -> Option<Trimmed> {
        each_log!(self, log => log.trimmed())
    }
}

/// Makes a world's hall, and what runs it on a thread of its own.
pub fn open(
    settings: WorldSettings,
    (ids, key): (Arc<Ids>, Key),
    log: AnyLog,
    drivers: Vec<Line>,
    clock: Clock,
    end: End,
) -> (Arc<Hall>, impl FnOnce() + Send) {
    let (inbox, submissions) = mpsc::channel(INBOX_MAX);
    let empty = World::new(settings.grid, 0).freeze(clock.now_us() / TICK_US, clock.now_us());
    let (ticks, newest) = watch::channel(empty);
    let hall = Arc::new(Hall {
        settings: Arc::new(settings),
        ids,
        open: AtomicBool::new(false),
        health: Mutex::new(Health::Well),
        inbox,
        ticks: newest,
        directory: DashMap::new(),
        drivers,
        thread: OnceLock::new(),
        hurries: AtomicBool::new(false),
    });
    let own = hall.clone();
    (hall, move || run(&own, &key, log, submissions, &ticks, clock, &end))
}

/// When a world is to end.
#[derive(Clone)]
pub struct End {
    /// Gracefully: its avatars leave.
    pub stop: CancellationToken,
    /// At once, when nobody holds this any more.
    pub alive: Weak<()>,
}

impl End {
    fn is_near(&self) -> bool {
        self.stop.is_cancelled() || self.is_now()
    }

    fn is_now(&self) -> bool {
        self.alive.strong_count() == 0
    }
}

#[expect(clippy::disallowed_methods, reason = "a world has a thread of its own, and its steps are at times")]
fn wait_until(clock: Clock, at_us: u64) {
    thread::sleep(Duration::from_micros(at_us.saturating_sub(clock.now_us())));
}

/// Waits for the tick, or for the last moment in which what was read for it can be folded ahead of it; when something is
/// due or hurries, for no later than the next multiple of 5 ms: before every second one the drivers read.
fn wait_for_step(hall: &Hall, due: bool, clock: Clock, tick_us: u64) {
    let mut now_us = clock.now_us();
    let ahead_us = tick_us - FOLD_AHEAD_US;
    let step_us = if now_us < ahead_us { ahead_us } else { tick_us };
    while now_us < step_us {
        if due || hall.hurries.load(Ordering::Acquire) {
            return wait_until(clock, step_us.min((now_us / FLUSH_US + 1) * FLUSH_US));
        }
        thread::park_timeout(Duration::from_micros(step_us - now_us));
        now_us = clock.now_us();
    }
}

fn run(
    hall: &Hall,
    key: &Key,
    mut log: AnyLog,
    mut submissions: mpsc::Receiver<Submit>,
    ticks: &watch::Sender<Arc<Tick>>,
    clock: Clock,
    end: &End,
) {
    let Some(number) = claim(hall, &mut log, clock, end) else { return };
    hall.ids.offer(number);
    hall.open.store(true, Ordering::Release);
    let name = hall.settings.name.clone();
    info!(world = name, gateway = number, "world is open");
    let mut world = World::new(hall.settings.grid, number).named(&name, key);
    world.keeper.rules = hall.settings.rules;
    let (mut answers, mut letters) = (Vec::new(), Vec::new());
    let mut next_tick = clock.now_us() / TICK_US + 1;
    let mut unreachable_us = 0;
    let _ = hall.thread.set(thread::current());
    loop {
        let due = log.is_outside() || world.waiting().1 > 0;
        wait_for_step(hall, due, clock, next_tick * TICK_US);
        if end.is_now() {
            return;
        }
        let stopping = end.stop.is_cancelled();
        let now_us = clock.now_us();
        metrics::queued(&name, "inbox", submissions.len());
        // A swap, not a store: what hurries after it is either in the inbox already or wakes this thread again.
        hall.hurries.swap(false, Ordering::AcqRel);
        for _ in 0..INBOX_MAX {
            let Ok(submit) = submissions.try_recv() else { break };
            world.submit(submit, &mut log, now_us);
        }
        world.step(&mut log, now_us, &mut answers);
        answers.drain(..).for_each(|answered| deliver(hall, answered));
        letters.append(&mut world.letters());
        letters.retain(|(to, letter)| !post(hall, *to, letter));
        if now_us >= next_tick * TICK_US {
            let number = now_us / TICK_US;
            let started = Instant::now();
            let tick = world.freeze(number, now_us);
            metrics::ticked(clock.now_us() - number * TICK_US, started.elapsed(), number - next_tick);
            next_tick = number + 1;
            metrics::world_sizes(&name, world.owned(), tick.cells.len(), world.followed());
            let (samples, actions) = world.waiting();
            metrics::queued(&name, "samples", samples);
            metrics::queued(&name, "actions", actions);
            let (offset_us, error_us) = world.peer_clock_us();
            metrics::peer_clock(&name, offset_us, error_us);
            ticks.send_replace(tick);
            for driver in &hall.drivers {
                // One that has so much to do that this does not fit looks by itself.
                let _ = driver.tell(Command::Tick);
            }
            if hall.ids.is_low() {
                world.claim(&mut log, now_us);
            }
        }
        let facts = std::mem::take(&mut world.facts);
        if let Some(why) = &facts.unreachable
            && now_us.saturating_sub(unreachable_us) > 10 * SECOND_US
        {
            unreachable_us = now_us;
            warn!(world = name, why, "the log has trouble; going on without it");
        }
        facts.health.into_iter().for_each(|health| hall.log_is(health));
        trim(&mut log, &facts.trims, &name);
        facts.number.into_iter().for_each(|number| hall.ids.offer(number));
        metrics::world_facts(&facts);
        if let Some(rules) = facts.outruled {
            let why =
                "[world.rules] of this gateway are not in force: the log has those. Give them a revision above it";
            warn!(world = name, ?rules, "{why}");
        }
        metrics::settle();
        world.facts = cleared(facts);
        if stopping {
            world.close(&mut log, now_us);
            break;
        }
    }
    debug!(world = name, "world is closed");
}

/// Carries out what the world no longer wants of the log, and counts what became of it. What failed is asked for again with
/// the next snapshot.
fn trim(log: &mut AnyLog, wishes: &[(Source, u64)], world: &str) {
    wishes.iter().for_each(|(source, start)| log.trim(*source, *start));
    while let Some(Trimmed { source, result }) = log.trimmed() {
        metrics::trimmed(result.is_ok());
        if let Err(why) = result {
            warn!(
                world,
                topic = source.topic.label(),
                partition = source.partition,
                why,
                "the log's start has not moved"
            );
        }
    }
}

/// Empties the facts, keeping their memory.
fn cleared(mut facts: Facts) -> Facts {
    let Facts { batch_wait_us, log_round_trip_us, fold_to_tick_us, remote_age_us, .. } = &mut facts;
    [batch_wait_us, log_round_trip_us, fold_to_tick_us, remote_age_us].into_iter().for_each(Vec::clear);
    Facts {
        batch_wait_us: facts.batch_wait_us,
        log_round_trip_us: facts.log_round_trip_us,
        fold_to_tick_us: facts.fold_to_tick_us,
        remote_age_us: facts.remote_age_us,
        ..Facts::default()
    }
}

fn deliver(hall: &Hall, answered: Answered) {
    let Answered { to, n, answer } = answered;
    if let Some(mailbox) = hall.directory.get(&to)
        && !mailbox.send(to, Mail::Answered(n, answer))
    {
        // The client will ask again: an action without an answer is `unknown` to it.
        warn!(session = to, "mailbox is full, an answer is lost");
    }
}

/// Whether a letter is on its way, or nobody is there to read it: who is gone has said so. One whose driver has no room
/// is sent again.
fn post(hall: &Hall, to: Id, letter: &Letter) -> bool {
    hall.directory.get(&to).is_none_or(|mailbox| mailbox.send(to, Mail::Letter(letter.clone())))
}

/// Announces this gateway in `control`; the record's offset is its number. Asks until it is answered.
fn claim(hall: &Hall, log: &mut AnyLog, clock: Clock, end: &End) -> Option<u32> {
    let mut polled = Vec::new();
    loop {
        let ticket = log.publish(CONTROL, claim_record(clock.now_us()));
        let outcome = loop {
            polled.clear();
            log.poll(&mut polled);
            let health = |p: &Polled| if let Polled::Fault(Fault::Health(health)) = p { Some(*health) } else { None };
            polled.iter().filter_map(health).for_each(|health| hall.log_is(health));
            let ended = polled.iter().find_map(|p| match p {
                Polled::Outcome(t, outcome) if *t == ticket => Some(*outcome),
                Polled::Outcome(..)
                | Polled::Record { .. }
                | Polled::Bounds(..)
                | Polled::OffsetAt(..)
                | Polled::Fetched(_)
                | Polled::Fault(_) => None,
            });
            if let Some(outcome) = ended {
                break outcome;
            }
            if end.is_near() {
                return None;
            }
            wait_until(clock, clock.now_us() + MILLI_US);
        };
        if let Some(number) = outcome.number() {
            return Some(number);
        }
        match outcome {
            Outcome::At(Some(offset)) => {
                error!(offset, "the control topic is too long to number a gateway; create it anew");
            }
            Outcome::At(None) | Outcome::NeverEntered | Outcome::Unknown => {
                warn!(?outcome, "the log did not number this gateway; asking again");
            }
        }
        wait_until(clock, clock.now_us() + SECOND_US);
    }
}
