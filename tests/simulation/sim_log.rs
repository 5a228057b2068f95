//! A log for all gateways of a run, with what real ones do: delays, stalls, lost motion, late and unknown outcomes,
//! append times that step, retention that cuts. The order within a partition is the order of entering.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use nearcast::limits::{FETCH_RECORDS_MAX, MILLI_US, POLL_RECORDS_MAX, SECOND_US};
use nearcast::log::{Bounds, Fault, Fetched, Follow, Log, Outcome, Polled, Source, Ticket, Topic};

use crate::rng::{Rng, Trace, mix};

/// Motion records that one gateway may have waiting; then the oldest is dropped.
const WAITING_MAX: usize = 300;

/// The log.
pub struct Broker {
    /// Virtual time.
    pub now_us: u64,
    /// What is added to append times.
    pub skew_ms: i64,
    /// Records that have entered since the checker looked: where, offset, bytes.
    pub entered: Vec<(Source, u64, Bytes)>,
    /// When something last went wrong that may delay or lose motion.
    pub bad_us: u64,
    /// Longest time from publishing to polling while nothing is wrong.
    pub delay_max_us: u64,
    /// Until when motion gets lost.
    pub lossy_until_us: u64,
    /// Whether outcomes of actions may be bad.
    pub honest: bool,
    /// How long motion is kept.
    pub motion_kept_us: u64,
    rng: Rng,
    salt: u64,
    parts: BTreeMap<Source, Part>,
    stalled_until_us: BTreeMap<Option<u16>, u64>,
    answers: BTreeMap<usize, BTreeMap<(u64, u64), Late>>,
    waiting: BTreeMap<usize, usize>,
    serial: u64,
    trace: Trace,
}

#[derive(Default)]
struct Part {
    start: u64,
    records: VecDeque<Kept>,
    last_append_ms: Option<i64>,
    /// On their way in, by time of arrival.
    sent: BTreeMap<(u64, u64), Sent>,
    last_arrival_us: BTreeMap<usize, u64>,
}

struct Kept {
    append_ms: i64,
    entered_us: u64,
    bytes: Bytes,
}

struct Sent {
    producer: usize,
    ticket: Ticket,
    bytes: Bytes,
    /// The outcome is told already.
    told: bool,
}

enum Late {
    Ready(Polled),
    Bounds(Source),
    OffsetAt(Source, i64),
    Fetch(Source, u64),
}

impl Part {
    fn end(&self) -> u64 {
        self.start + self.records.len() as u64
    }

    fn bounds(&self) -> Bounds {
        Bounds { start: self.start, end: self.end(), last_append_ms: self.last_append_ms }
    }

    fn offset_at(&self, append_ms: i64) -> u64 {
        let at = self.records.iter().position(|r| r.append_ms >= append_ms).unwrap_or(self.records.len());
        self.start + at as u64
    }

    fn fetch(&self, source: Source, from: u64) -> Fetched {
        let first = from.max(self.start);
        let skip = usize::try_from(first - self.start).expect("small");
        let some = self.records.iter().skip(skip).take(FETCH_RECORDS_MAX);
        let records: Vec<_> = (first..).zip(some.map(|kept| kept.bytes.clone())).collect();
        let next = records.last().map_or(from, |(offset, _)| offset + 1);
        Fetched { source, from, start: self.start, records, next }
    }
}

impl Broker {
    /// An empty log.
    pub fn new(mut rng: Rng, now_us: u64) -> Broker {
        let salt = rng.next();
        let delay_max_us = [10, 30, 80, 300][rng.below(4) as usize] * MILLI_US;
        let motion_kept_us = [600, 600, 20][rng.below(3) as usize] * SECOND_US;
        Broker {
            now_us,
            skew_ms: 0,
            entered: Vec::new(),
            bad_us: 0,
            delay_max_us,
            lossy_until_us: 0,
            honest: false,
            motion_kept_us,
            rng,
            salt,
            parts: BTreeMap::new(),
            stalled_until_us: BTreeMap::new(),
            answers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            serial: 0,
            trace: Trace::new(),
        }
    }

    /// Hash of all records.
    pub fn trace(&self) -> Trace {
        self.trace
    }

    /// Neither takes nor gives anything for a while: one partition, or all.
    pub fn stall(&mut self, partition: Option<u16>, until_us: u64) {
        self.stalled_until_us.insert(partition, until_us);
    }

    /// Retention passes everything in a partition of `motion`.
    pub fn cut(&mut self, partition: u16) {
        let part = self.parts.entry(Source { topic: Topic::Motion, partition }).or_default();
        part.start = part.end();
        part.records.clear();
        self.bad_us = self.now_us;
    }

    /// An operator's wish: what stands below an offset is no longer kept.
    pub fn trim(&mut self, source: Source, start: u64) {
        if let Some(part) = self.parts.get_mut(&source) {
            while part.start < start && part.records.pop_front().is_some() {
                part.start += 1;
            }
        }
    }

    /// A gateway died: what it had not handed over is lost; some of it was on its way.
    pub fn producer_died(&mut self, producer: usize) {
        let rng = &mut self.rng;
        for part in self.parts.values_mut() {
            part.sent.retain(|_, sent| sent.producer != producer || rng.one_in(2));
        }
        self.answers.remove(&producer);
        self.waiting.remove(&producer);
    }

    /// Whether a partition is stalled.
    pub fn is_stalled(&self, partition: u16) -> bool {
        [None, Some(partition)].iter().any(|p| self.stalled_until_us.get(p).is_some_and(|until| self.now_us < *until))
    }

    /// It is later: what has arrived enters.
    pub fn advance(&mut self, now_us: u64) {
        self.now_us = now_us;
        if self.stalled_until_us.values().any(|until| now_us < *until) || now_us < self.lossy_until_us {
            self.bad_us = now_us;
        }
        let sources: Vec<Source> = self.parts.keys().copied().collect();
        for source in sources {
            if self.is_stalled(source.partition) {
                continue;
            }
            loop {
                let part = self.parts.get_mut(&source).expect("listed above");
                let Some(first) = part.sent.first_entry().filter(|first| first.key().0 <= now_us) else { break };
                let sent = first.remove();
                self.enter(source, sent);
            }
        }
    }

    /// Somebody else's record enters at once.
    pub fn append(&mut self, source: Source, bytes: Bytes) {
        self.parts.entry(source).or_default();
        self.enter(source, Sent { producer: usize::MAX, ticket: Ticket(0), bytes, told: true });
    }

    fn enter(&mut self, source: Source, sent: Sent) {
        let append_ms = (self.now_us / MILLI_US) as i64 + self.skew_ms;
        let kept_us = if source.topic == Topic::Motion { self.motion_kept_us } else { 600 * SECOND_US };
        let part = self.parts.get_mut(&source).expect("it was sent there");
        let offset = part.end();
        part.records.push_back(Kept { append_ms, entered_us: self.now_us, bytes: sent.bytes.clone() });
        part.last_append_ms = Some(append_ms);
        while part.records.len() > 1 && part.records[0].entered_us + kept_us < self.now_us {
            part.records.pop_front();
            part.start += 1;
        }
        self.trace.add(offset, &sent.bytes);
        self.entered.push((source, offset, sent.bytes));
        let motion = source.topic == Topic::Motion;
        if motion {
            self.no_longer_waits(sent.producer);
        }
        if !sent.told {
            let outcome = Outcome::At((!motion).then_some(offset));
            self.tell(sent.producer, sent.ticket, outcome);
        }
    }

    fn no_longer_waits(&mut self, producer: usize) {
        if let Some(waiting) = self.waiting.get_mut(&producer) {
            *waiting = waiting.saturating_sub(1);
        }
    }

    fn tell(&mut self, producer: usize, ticket: Ticket, outcome: Outcome) {
        let after_us = self.rng.below(self.delay_max_us / 2);
        self.answer(producer, after_us, Late::Ready(Polled::Outcome(ticket, outcome)));
    }

    fn answer(&mut self, producer: usize, after_us: u64, late: Late) {
        self.serial += 1;
        let due = (self.now_us + after_us, self.serial);
        self.answers.entry(producer).or_default().insert(due, late);
    }

    fn publish(&mut self, producer: usize, ticket: Ticket, source: Source, bytes: Bytes) {
        let mut delay_us = 500 + self.rng.below(self.delay_max_us / 2);
        let mut told = false;
        match source.topic {
            Topic::Motion if self.now_us < self.lossy_until_us && self.rng.one_in(4) => {
                let outcome = if self.rng.one_in(2) { Outcome::NeverEntered } else { Outcome::Unknown };
                return self.tell(producer, ticket, outcome);
            }
            Topic::Events | Topic::Social | Topic::Objects if !self.honest && self.rng.one_in(12) => {
                return self.answer(
                    producer,
                    delay_us * 20,
                    Late::Ready(Polled::Outcome(ticket, Outcome::NeverEntered)),
                );
            }
            Topic::Events | Topic::Social | Topic::Objects if !self.honest && self.rng.one_in(12) => {
                self.tell(producer, ticket, Outcome::Unknown);
                if self.rng.one_in(2) {
                    return;
                }
                (told, delay_us) = (true, delay_us * self.rng.between(1, 40));
            }
            Topic::Motion | Topic::Events | Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {}
        }
        self.serial += 1;
        let serial = self.serial;
        let part = self.parts.entry(source).or_default();
        let last = part.last_arrival_us.entry(producer).or_default();
        let mut arrival_us = self.now_us + delay_us;
        if !told {
            arrival_us = arrival_us.max(*last);
            *last = arrival_us;
        }
        part.sent.insert((arrival_us, serial), Sent { producer, ticket, bytes, told });
        if source.topic == Topic::Motion {
            *self.waiting.entry(producer).or_default() += 1;
            self.drop_oldest(producer);
        }
    }

    fn drop_oldest(&mut self, producer: usize) {
        while self.waiting.get(&producer).is_some_and(|n| *n > WAITING_MAX) {
            let of_producer = |part: &Part| part.sent.iter().find(|(_, s)| s.producer == producer).map(|(key, _)| *key);
            let motion = self.parts.iter().filter(|(source, _)| source.topic == Topic::Motion);
            let oldest = motion.filter_map(|(source, part)| Some((of_producer(part)?, *source))).min();
            let Some((key, source)) = oldest else { return };
            let sent = self.parts.get_mut(&source).and_then(|part| part.sent.remove(&key)).expect("found above");
            self.no_longer_waits(producer);
            self.bad_us = self.now_us;
            self.tell(producer, sent.ticket, Outcome::NeverEntered);
        }
    }

    fn poll(&mut self, producer: usize, followed: &mut BTreeMap<Source, u64>, out: &mut Vec<Polled>) {
        self.poll_answers(producer, out);
        let mut room = POLL_RECORDS_MAX;
        let (now_us, salt, delay_us) = (self.now_us, self.salt, self.delay_max_us / 2);
        let mut faults = Vec::new();
        let mut sources: Vec<Source> = followed.keys().copied().collect();
        let turn = self.rng.below(sources.len().max(1) as u64) as usize;
        sources.rotate_left(turn);
        for source in sources {
            if self.is_stalled(source.partition) {
                continue;
            }
            let next = followed.get_mut(&source).expect("listed above");
            let part = self.parts.entry(source).or_default();
            if *next < part.start || *next > part.end() {
                faults.push(source);
                continue;
            }
            let slow = mix(salt ^ (producer as u64) << 32 ^ u64::from(source.partition) << 8) % 100;
            while room > 0 && *next < part.end() {
                let record = &part.records[(*next - part.start) as usize];
                let under_way_us = mix(salt ^ *next ^ slow << 40) % delay_us * (slow + 1) / 100;
                if record.entered_us + under_way_us > now_us {
                    break;
                }
                let (append_ms, bytes) = (record.append_ms, record.bytes.clone());
                out.push(Polled::Record { source, offset: *next, append_ms, bytes });
                *next += 1;
                room -= 1;
            }
        }
        for source in faults {
            followed.remove(&source);
            out.push(Polled::Fault(Fault::OutOfBounds(source)));
        }
    }

    fn poll_answers(&mut self, producer: usize, out: &mut Vec<Polled>) {
        let now_us = self.now_us;
        let mut due = Vec::new();
        if let Some(answers) = self.answers.get_mut(&producer) {
            while let Some(first) = answers.first_entry().filter(|first| first.key().0 <= now_us) {
                due.push(first.remove());
            }
        }
        for late in due {
            let source = match &late {
                Late::Ready(polled) => {
                    out.push(polled.clone());
                    continue;
                }
                Late::Bounds(source) | Late::OffsetAt(source, _) | Late::Fetch(source, _) => *source,
            };
            if self.is_stalled(source.partition) {
                self.answer(producer, 20 * MILLI_US, late);
            } else if self.rng.one_in(20) {
                let fetch = matches!(late, Late::Fetch(..));
                out.push(Polled::Fault(if fetch { Fault::Unfetched(source) } else { Fault::Unanswered(source) }));
            } else {
                let part = self.parts.entry(source).or_default();
                out.push(match late {
                    Late::OffsetAt(_, append_ms) => Polled::OffsetAt(source, part.offset_at(append_ms)),
                    Late::Fetch(_, from) => Polled::Fetched(part.fetch(source, from)),
                    Late::Bounds(_) | Late::Ready(_) => Polled::Bounds(source, part.bounds()),
                });
            }
        }
    }

    fn ask(&mut self, producer: usize, late: Late) {
        let after_us = self.rng.below(4 * self.delay_max_us);
        self.answer(producer, after_us, late);
    }
}

/// One gateway's handle.
pub struct SimLog {
    broker: Rc<RefCell<Broker>>,
    producer: usize,
    next_ticket: u64,
    followed: BTreeMap<Source, u64>,
}

impl SimLog {
    /// A handle for the gateway that is the `producer`th to start.
    pub fn open(broker: &Rc<RefCell<Broker>>, producer: usize) -> SimLog {
        SimLog { broker: broker.clone(), producer, next_ticket: 0, followed: BTreeMap::new() }
    }
}

impl Log for SimLog {
    fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.broker.borrow_mut().publish(self.producer, ticket, source, bytes);
        ticket
    }

    fn follow(&mut self, change: Follow) {
        match change {
            Follow::From(source, offset) => self.followed.insert(source, offset),
            Follow::Drop(source) => self.followed.remove(&source),
        };
    }

    fn poll(&mut self, out: &mut Vec<Polled>) {
        self.broker.borrow_mut().poll(self.producer, &mut self.followed, out);
    }

    fn bounds(&mut self, source: Source) {
        self.broker.borrow_mut().ask(self.producer, Late::Bounds(source));
    }

    fn offset_at(&mut self, source: Source, append_ms: i64) {
        self.broker.borrow_mut().ask(self.producer, Late::OffsetAt(source, append_ms));
    }

    fn fetch(&mut self, source: Source, from: u64) {
        self.broker.borrow_mut().ask(self.producer, Late::Fetch(source, from));
    }
}
