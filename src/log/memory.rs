//! The log in this process's memory: the default. Bounded by bytes and age per partition; gone when the process ends.
//! [`Memory`] is the log, [`MemoryLog`] one gateway's handle on it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::{Bounds, Fault, Fetched, Follow, Log, Outcome, Polled, Source, Ticket, Topic, Trim, Trimmed, beyond};
use crate::limits::{
    EVENTS_RETENTION_US, FETCH_BYTES, FETCH_RECORDS_MAX, MEMORY_EVENTS_BYTES, MEMORY_MOTION_BYTES, MEMORY_MOTION_US,
    MILLI_US, POLL_RECORDS_MAX,
};

/// How much of a partition is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Milliseconds.
    pub age_ms: i64,
    /// Bytes of records.
    pub bytes: usize,
}

impl Retention {
    /// What a topic keeps in memory.
    #[must_use]
    pub fn of(topic: Topic) -> Retention {
        match topic {
            Topic::Motion => Retention { age_ms: (MEMORY_MOTION_US / MILLI_US) as i64, bytes: MEMORY_MOTION_BYTES },
            Topic::Events | Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {
                Retention { age_ms: (EVENTS_RETENTION_US / MILLI_US) as i64, bytes: MEMORY_EVENTS_BYTES }
            }
        }
    }
}

#[derive(Default)]
struct Partition {
    start: u64,
    records: VecDeque<(i64, Bytes)>,
    bytes: usize,
    last_append_ms: Option<i64>,
}

impl Partition {
    fn end(&self) -> u64 {
        self.start + self.records.len() as u64
    }

    fn append(&mut self, append_ms: i64, record: Bytes, keep: Retention) -> u64 {
        let offset = self.end();
        self.bytes += record.len();
        self.records.push_back((append_ms, record));
        self.last_append_ms = Some(append_ms);
        while self.records.len() > 1
            && (self.bytes > keep.bytes || self.records[0].0 < append_ms.saturating_sub(keep.age_ms))
        {
            let (_, old) = self.records.pop_front().expect("longer than one");
            self.bytes -= old.len();
            self.start += 1;
        }
        offset
    }

    fn trim(&mut self, start: u64) -> Result<u64, String> {
        if start > self.end() {
            return Err(beyond(start, self.end()));
        }
        while self.start < start {
            let (_, old) = self.records.pop_front().expect("the start is below the end");
            self.bytes -= old.len();
            self.start += 1;
        }
        Ok(self.start)
    }
}

struct Shared {
    /// By world; what is the whole cluster's is in world 0.
    partitions: BTreeMap<(u16, Source), Partition>,
    retention: fn(Topic) -> Retention,
    first_control: u64,
}

/// A log in memory. Clones share it.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
    now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Memory {
    /// An empty log. `now_ms` gives append times; `first_control` is the first offset of `control`, which numbers
    /// the gateways: as this log forgets everything, a value that rises from start to start (seconds) keeps the
    /// numbers, and so the entity ids, unique.
    pub fn new(first_control: u64, now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Memory {
        Memory::with_retention(first_control, now_ms, Retention::of)
    }

    /// As [`Memory::new`], keeping less or more.
    pub fn with_retention(
        first_control: u64,
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
        retention: fn(Topic) -> Retention,
    ) -> Memory {
        let shared = Shared { partitions: BTreeMap::new(), retention, first_control };
        Memory { shared: Arc::new(Mutex::new(shared)), now_ms: Arc::new(now_ms) }
    }

    /// A handle for one gateway, where there is one world.
    #[must_use]
    pub fn open(&self) -> MemoryLog {
        self.handle(0)
    }

    /// A handle for one gateway's world of this number: it shares with other worlds what is not of a world.
    #[must_use]
    pub fn handle(&self, world: u16) -> MemoryLog {
        let (followed, answers, trimmed) = (BTreeMap::new(), VecDeque::new(), VecDeque::new());
        MemoryLog { memory: self.clone(), world, next_ticket: 0, followed, answers, trimmed }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no holder of this lock panics")
    }
}

impl Shared {
    fn partition(&mut self, world: u16, source: Source) -> &mut Partition {
        let world = if source.topic.is_of_world() { world } else { 0 };
        let start = if source.topic == Topic::Control { self.first_control } else { 0 };
        self.partitions.entry((world, source)).or_insert_with(|| Partition { start, ..Partition::default() })
    }
}

/// One gateway's handle on a [`Memory`].
pub struct MemoryLog {
    memory: Memory,
    world: u16,
    next_ticket: u64,
    followed: BTreeMap<Source, u64>,
    /// Outcomes and answers until they are polled; at most one per call since the last poll.
    answers: VecDeque<Polled>,
    /// Likewise.
    trimmed: VecDeque<Trimmed>,
}

impl Trim for MemoryLog {
    fn trim(&mut self, source: Source, start: u64) {
        let result = self.memory.lock().partition(self.world, source).trim(start);
        self.trimmed.push_back(Trimmed { source, result });
    }

    fn trimmed(&mut self) -> Option<Trimmed> {
        self.trimmed.pop_front()
    }
}

impl Log for MemoryLog {
    fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let append_ms = (self.memory.now_ms)();
        let mut shared = self.memory.lock();
        let keep = (shared.retention)(source.topic);
        let offset = shared.partition(self.world, source).append(append_ms, bytes, keep);
        drop(shared);
        self.answers.push_back(Polled::Outcome(ticket, Outcome::At(Some(offset))));
        ticket
    }

    fn follow(&mut self, change: Follow) {
        match change {
            Follow::From(source, offset) => self.followed.insert(source, offset),
            Follow::Drop(source) => self.followed.remove(&source),
        };
    }

    fn poll(&mut self, out: &mut Vec<Polled>) {
        out.extend(self.answers.drain(..));
        let mut room = POLL_RECORDS_MAX;
        let mut shared = self.memory.lock();
        self.followed.retain(|&source, next| {
            let partition = shared.partition(self.world, source);
            if *next < partition.start || *next > partition.end() {
                out.push(Polled::Fault(Fault::OutOfBounds(source)));
                return false;
            }
            let from = (*next - partition.start) as usize;
            for (append_ms, bytes) in partition.records.iter().skip(from).take(room) {
                out.push(Polled::Record { source, offset: *next, append_ms: *append_ms, bytes: bytes.clone() });
                *next += 1;
                room -= 1;
            }
            true
        });
    }

    fn bounds(&mut self, source: Source) {
        let mut shared = self.memory.lock();
        let p = shared.partition(self.world, source);
        let last_append_ms = p.last_append_ms.filter(|_| !p.records.is_empty());
        let bounds = Bounds { start: p.start, end: p.end(), last_append_ms };
        self.answers.push_back(Polled::Bounds(source, bounds));
    }

    fn offset_at(&mut self, source: Source, append_ms: i64) {
        let mut shared = self.memory.lock();
        let p = shared.partition(self.world, source);
        let older = p.records.iter().position(|(at, _)| *at >= append_ms).unwrap_or(p.records.len());
        self.answers.push_back(Polled::OffsetAt(source, p.start + older as u64));
    }

    fn fetch(&mut self, source: Source, from: u64) {
        let mut shared = self.memory.lock();
        let p = shared.partition(self.world, source);
        let first = from.max(p.start);
        let skip = usize::try_from(first - p.start).unwrap_or(usize::MAX);
        let mut left = FETCH_BYTES;
        let fits = |(_, bytes): &&(i64, Bytes)| {
            let fits = left > 0;
            left = left.saturating_sub(bytes.len());
            fits
        };
        let some = p.records.iter().skip(skip).take(FETCH_RECORDS_MAX).take_while(fits);
        let records: Vec<_> = (first..).zip(some.map(|(_, bytes)| bytes.clone())).collect();
        let next = records.last().map_or(from, |(offset, _)| offset + 1);
        self.answers.push_back(Polled::Fetched(Fetched { source, from, start: p.start, records, next }));
    }
}
