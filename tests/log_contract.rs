//! The contract of `src/log/mod.rs` as tests: one suite, run unchanged on every backend. A backend is a [`Place`]; the
//! tests see handles on it and nothing else.
//!
//! The half on Kafka needs a broker: `make kafka`, then set `KAFKA_BOOTSTRAP`. Without one it fails, it does not skip.

#[path = "log_contract/places.rs"]
mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nearcast::limits::{FETCH_RECORDS_MAX, POLL_RECORDS_MAX, RECORD_BYTES_MAX};
use nearcast::log::{Bounds, Fault, Fetched, Follow, Log, Outcome, Polled, Source, Ticket, Topic, Trim};
use places::Place;

/// Far above what any backend needs, so that only a defect reaches it.
const DEADLINE: Duration = Duration::from_secs(30);

const MOTION: Source = Source { topic: Topic::Motion, partition: 1 };
const MOTION_TOO: Source = Source { topic: Topic::Motion, partition: 2 };
const EVENTS: Source = Source { topic: Topic::Events, partition: 1 };
const OBJECTS: Source = Source { topic: Topic::Objects, partition: 1 };
const OBJECTS_TOO: Source = Source { topic: Topic::Objects, partition: 2 };
const CONTROL: Source = Source { topic: Topic::Control, partition: 0 };

/// A record as it was polled.
type Record = (u64, i64, Bytes);

/// A handle and all that it has yielded.
struct Reader<L> {
    log: L,
    seen: Vec<Polled>,
}

impl<L: Log> Reader<L> {
    fn new(log: L) -> Self {
        Reader { log, seen: Vec::new() }
    }

    fn poll(&mut self) {
        let before = self.seen.len();
        self.log.poll(&mut self.seen);
        let records = self.seen[before..].iter().filter(|polled| matches!(polled, Polled::Record { .. })).count();
        assert!(records <= POLL_RECORDS_MAX, "{records} records in one poll");
    }

    /// Polls until something holds of what was seen.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited in vain for {what}; seen at last: {:?}", self.tail());
            self.poll();
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn tail(&self) -> Vec<String> {
        let short = |polled: &Polled| format!("{polled:?}").chars().take(120).collect();
        self.seen.iter().rev().take(8).map(short).collect()
    }

    fn records(&self, wanted: Source) -> Vec<Record> {
        let record = |polled: &Polled| match polled {
            Polled::Record { source, offset, append_ms, bytes } if *source == wanted => {
                Some((*offset, *append_ms, bytes.clone()))
            }
            Polled::Record { .. }
            | Polled::Outcome(..)
            | Polled::Bounds(..)
            | Polled::OffsetAt(..)
            | Polled::Fetched(_)
            | Polled::Fault(_) => None,
        };
        self.seen.iter().filter_map(record).collect()
    }

    fn bodies(&self, source: Source) -> Vec<Bytes> {
        self.records(source).into_iter().map(|(_, _, bytes)| bytes).collect()
    }

    fn outcomes(&self, wanted: Ticket) -> Vec<Outcome> {
        let outcome = |polled: &Polled| match polled {
            Polled::Outcome(ticket, outcome) if *ticket == wanted => Some(*outcome),
            Polled::Outcome(..)
            | Polled::Record { .. }
            | Polled::Bounds(..)
            | Polled::OffsetAt(..)
            | Polled::Fetched(_)
            | Polled::Fault(_) => None,
        };
        self.seen.iter().filter_map(outcome).collect()
    }

    fn is_out_of_bounds(&self, source: Source) -> bool {
        self.seen.contains(&Polled::Fault(Fault::OutOfBounds(source)))
    }

    fn follow(&mut self, source: Source, offset: u64) {
        self.log.follow(Follow::From(source, offset));
    }

    fn await_records(&mut self, source: Source, count: usize) -> Vec<Record> {
        self.until(&format!("{count} records of {source:?}"), |r| r.records(source).len() >= count);
        self.records(source)
    }

    /// Publishes and waits until the record is in the log; where it is.
    fn put(&mut self, source: Source, body: impl Into<Bytes>) -> u64 {
        let ticket = self.log.publish(source, body.into());
        self.until("an outcome", |r| !r.outcomes(ticket).is_empty());
        match self.outcomes(ticket)[..] {
            [Outcome::At(Some(offset))] => offset,
            ref other => panic!("published, but {other:?}"),
        }
    }

    /// A question that was not answered is asked again, as the contract says.
    fn is_unanswered(&mut self, source: Source) -> bool {
        let before = self.seen.len();
        let faults = [Fault::Unanswered(source), Fault::Unfetched(source)].map(Polled::Fault);
        self.seen.retain(|polled| !faults.contains(polled));
        self.seen.len() < before
    }

    fn bounds(&mut self, source: Source) -> Bounds {
        self.seen.clear();
        self.log.bounds(source);
        let mut found = None;
        self.until("bounds", |r| {
            if r.is_unanswered(source) {
                r.log.bounds(source);
            }
            found = r.seen.iter().find_map(|polled| if let Polled::Bounds(_, b) = polled { Some(*b) } else { None });
            found.is_some()
        });
        found.expect("awaited")
    }

    fn offset_at(&mut self, source: Source, append_ms: i64) -> u64 {
        self.seen.clear();
        self.log.offset_at(source, append_ms);
        let mut found = None;
        self.until("an offset by time", |r| {
            if r.is_unanswered(source) {
                r.log.offset_at(source, append_ms);
            }
            found = r.seen.iter().find_map(|polled| if let Polled::OffsetAt(_, o) = polled { Some(*o) } else { None });
            found.is_some()
        });
        found.expect("awaited")
    }
}

impl<L: Log> Reader<L> {
    fn fetch(&mut self, source: Source, from: u64) -> Fetched {
        self.seen.retain(|polled| !matches!(polled, Polled::Fetched(_)));
        self.log.fetch(source, from);
        let mut found = None;
        self.until("what was fetched", |r| {
            if r.is_unanswered(source) {
                r.log.fetch(source, from);
            }
            found =
                r.seen.iter().find_map(|polled| if let Polled::Fetched(f) = polled { Some(f.clone()) } else { None });
            found.is_some()
        });
        let fetched = found.expect("awaited");
        assert_eq!((fetched.source, fetched.from), (source, from));
        assert!(fetched.records.len() <= FETCH_RECORDS_MAX, "{}", fetched.records.len());
        fetched
    }
}

impl<L: Log + Trim> Reader<L> {
    /// Advances a partition's start and waits for what becomes of that.
    fn trim(&mut self, source: Source, start: u64) -> Result<u64, String> {
        self.log.trim(source, start);
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.poll();
            if let Some(trimmed) = self.log.trimmed() {
                assert_eq!((trimmed.source, self.log.trimmed()), (source, None), "one end for one wish");
                return trimmed.result;
            }
            assert!(Instant::now() < deadline, "waited in vain for the start to move");
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

fn numbered(n: usize) -> Bytes {
    Bytes::from(format!("record {n}"))
}

fn order_holds_per_partition(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    let sources = [MOTION, MOTION_TOO, EVENTS, CONTROL];
    for source in sources {
        let start = reader.bounds(source).start;
        reader.follow(source, start);
    }
    for n in 0..800 {
        reader.log.publish(sources[n % sources.len()], numbered(n));
    }
    for (i, source) in sources.into_iter().enumerate() {
        let records = reader.await_records(source, 200);
        let expected: Vec<Bytes> = (i..800).step_by(sources.len()).map(numbered).collect();
        assert_eq!(reader.bodies(source), expected, "{source:?}");
        assert!(records.windows(2).all(|pair| pair[0].0 < pair[1].0), "offsets rise in {source:?}");
    }
}

fn all_handles_see_the_same(place: &impl Place) {
    let mut handles = [Reader::new(place.open()), Reader::new(place.open()), Reader::new(place.open())];
    for handle in &mut handles {
        handle.follow(EVENTS, 0);
    }
    for n in 0..300 {
        handles[n % 2].log.publish(EVENTS, numbered(n));
        handles[n % 3].poll();
    }
    let seen = handles.each_mut().map(|handle| handle.await_records(EVENTS, 300));
    assert_eq!(seen[0].len(), 300);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

fn a_ticket_ends_once_where_the_record_is(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    for source in [MOTION, EVENTS, CONTROL] {
        let start = reader.bounds(source).start;
        reader.follow(source, start);
        let tickets: Vec<Ticket> = (0..50).map(|n| reader.log.publish(source, numbered(n))).collect();
        assert_eq!(tickets.iter().collect::<BTreeSet<_>>().len(), 50, "tickets are distinct");
        // One more, after which everything before it has ended.
        reader.put(source, "last");
        let records = reader.await_records(source, 51);
        let at: BTreeMap<u64, &Bytes> = records.iter().map(|(offset, _, bytes)| (*offset, bytes)).collect();
        for (n, ticket) in tickets.into_iter().enumerate() {
            match reader.outcomes(ticket)[..] {
                [Outcome::At(Some(offset))] => assert_eq!(at[&offset], &numbered(n), "{source:?}"),
                ref other => panic!("{n} of {source:?} ended as {other:?}"),
            }
        }
    }
}

fn follow_starts_where_it_is_told(place: &impl Place) {
    let mut writer = Reader::new(place.open());
    let offsets: Vec<u64> = (0..10).map(|n| writer.put(EVENTS, numbered(n))).collect();
    let end = writer.bounds(EVENTS).end;
    let mut all = Reader::new(place.open());
    let mut half = Reader::new(place.open());
    let mut new = Reader::new(place.open());
    all.follow(EVENTS, offsets[0]);
    half.follow(EVENTS, offsets[5]);
    new.follow(EVENTS, end);
    writer.put(EVENTS, numbered(10));
    for (reader, from) in [(&mut all, 0), (&mut half, 5), (&mut new, 10)] {
        reader.await_records(EVENTS, 11 - from);
        assert_eq!(reader.bodies(EVENTS), (from..11).map(numbered).collect::<Vec<_>>());
    }
}

fn following_again_starts_again(place: &impl Place) {
    let count = POLL_RECORDS_MAX as u64 + 1_000;
    let mut reader = Reader::new(place.open());
    for n in 1..count {
        reader.log.publish(EVENTS, Bytes::from(format!("record {n}")));
    }
    reader.put(EVENTS, "last");
    // Back and forth, before any record of the first wish has come and in the midst of them.
    for (round, from) in [0, count - 50, 3, 3, count - 1, 0, 77, 2_000, count, 1].into_iter().enumerate() {
        reader.seen.clear();
        reader.follow(EVENTS, 50);
        if round % 2 == 0 {
            reader.await_records(EVENTS, 1);
        }
        reader.follow(EVENTS, from);
        reader.seen.clear();
        let records = reader.await_records(EVENTS, usize::try_from(count - from).expect("small"));
        assert!(records.iter().map(|r| r.0).eq(from..count), "round {round}");
    }
}

fn a_dropped_partition_yields_nothing_more(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    for n in 0..10_000 {
        reader.log.publish(EVENTS, numbered(n));
    }
    reader.put(EVENTS, "last");
    reader.follow(EVENTS, 0);
    reader.await_records(EVENTS, 1);
    reader.log.follow(Follow::Drop(EVENTS));
    reader.seen.clear();
    // Whatever was on its way before the drop comes before this.
    reader.follow(MOTION, 0);
    for n in 0..20 {
        reader.put(MOTION, numbered(n));
    }
    reader.await_records(MOTION, 20);
    assert_eq!(reader.bodies(EVENTS), Vec::<Bytes>::new());
    // And it can be followed anew.
    reader.follow(EVENTS, 9_990);
    assert_eq!(reader.await_records(EVENTS, 11)[0].0, 9_990);
}

fn an_offset_above_the_end_is_a_fault(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    reader.put(EVENTS, "only");
    let end = reader.bounds(EVENTS).end;
    reader.follow(EVENTS, end + 1);
    reader.until("a fault", |r| r.is_out_of_bounds(EVENTS));
    // Nothing more comes, also not what reaches that offset now.
    for n in 0..5 {
        reader.put(EVENTS, numbered(n));
    }
    reader.follow(MOTION, 0);
    reader.put(MOTION, "after");
    reader.await_records(MOTION, 1);
    assert_eq!(reader.bodies(EVENTS), Vec::<Bytes>::new());
    reader.follow(EVENTS, end);
    reader.await_records(EVENTS, 5);
}

fn an_offset_below_the_start_is_a_fault(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    for n in 0..10 {
        reader.put(OBJECTS, numbered(n));
    }
    assert_eq!(reader.trim(OBJECTS, 5), Ok(5));
    assert_eq!(reader.bounds(OBJECTS).start, 5);
    reader.follow(OBJECTS, 4);
    reader.until("a fault", |r| r.is_out_of_bounds(OBJECTS));
    assert_eq!(reader.bodies(OBJECTS), Vec::<Bytes>::new());
    reader.follow(OBJECTS, 5);
    assert_eq!(reader.await_records(OBJECTS, 1)[0].0, 5);
}

fn a_start_that_moves_takes_what_is_below_it_and_nothing_else(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    for n in 0..10 {
        reader.put(OBJECTS, numbered(n));
        reader.put(OBJECTS_TOO, numbered(n));
    }
    assert_eq!(reader.trim(OBJECTS, 6), Ok(6));
    let Bounds { start, end, last_append_ms } = reader.bounds(OBJECTS);
    assert_eq!((start, end, last_append_ms.is_some()), (6, 10, true));
    let other = reader.bounds(OBJECTS_TOO);
    assert_eq!((other.start, other.end), (0, 10));
    assert_eq!(reader.trim(OBJECTS, 2), Ok(6), "a start does not go back");
    assert!(reader.trim(OBJECTS, 11).is_err(), "nor beyond the end");
    reader.follow(OBJECTS, 6);
    reader.await_records(OBJECTS, 4);
    assert_eq!(reader.bodies(OBJECTS), (6..10).map(numbered).collect::<Vec<_>>());
    // Whoever follows goes on while the start moves up to where it is.
    assert_eq!(reader.trim(OBJECTS, 10), Ok(10));
    assert_eq!(reader.bounds(OBJECTS), Bounds { start: 10, end: 10, last_append_ms: None });
    assert_eq!(reader.put(OBJECTS, numbered(10)), 10);
    assert_eq!(reader.await_records(OBJECTS, 1)[0].0, 10);
    assert!(!reader.is_out_of_bounds(OBJECTS));
}

fn a_fault_of_one_partition_leaves_the_others_alone(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    reader.follow(MOTION, 0);
    reader.follow(EVENTS, 0);
    for n in 0..600 {
        reader.log.publish(MOTION, numbered(n));
        reader.log.publish(EVENTS, numbered(n));
        if n % 100 == 50 {
            reader.follow(MOTION_TOO, 1_000_000);
        }
        reader.poll();
    }
    reader.until("a fault", |r| r.is_out_of_bounds(MOTION_TOO));
    for source in [MOTION, EVENTS] {
        reader.put(source, numbered(600));
        reader.await_records(source, 601);
        assert_eq!(reader.bodies(source), (0..601).map(numbered).collect::<Vec<_>>(), "{source:?}");
    }
}

fn bounds_tell_start_end_and_last_time(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    for source in [MOTION, EVENTS, CONTROL] {
        let empty = reader.bounds(source);
        assert_eq!((empty.start, empty.last_append_ms), (empty.end, None), "{source:?}");
        for n in 0..5 {
            assert_eq!(reader.put(source, numbered(n)), empty.end + n as u64);
        }
        let full = reader.bounds(source);
        assert_eq!((full.start, full.end), (empty.end, empty.end + 5), "{source:?}");
        reader.follow(source, full.start);
        assert_eq!(Some(reader.await_records(source, 5)[4].1), full.last_append_ms, "{source:?}");
    }
}

fn offset_at_finds_the_first_at_or_after_a_time(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    assert_eq!(reader.offset_at(EVENTS, 0), 0, "of an empty partition");
    assert_eq!(reader.offset_at(EVENTS, i64::MAX / 2), 0, "of an empty partition");
    reader.follow(EVENTS, 0);
    let mut times: Vec<i64> = Vec::new();
    for n in 0..4 {
        // Some milliseconds apart on the log's clock, so that there is a time between any two.
        loop {
            reader.put(EVENTS, numbered(n));
            let records = {
                let sent = times.len();
                reader.await_records(EVENTS, sent + 1)
            };
            times = records.iter().map(|r| r.1).collect();
            let last_two = times.len().checked_sub(2).map_or(5, |i| times[i + 1] - times[i]);
            if last_two >= 3 {
                break;
            }
            thread::park_timeout(Duration::from_millis(4));
        }
    }
    let first_at = |time: i64| times.iter().position(|t| *t >= time).unwrap_or(times.len()) as u64;
    let asked: Vec<i64> = times.iter().flat_map(|t| [t - 1, *t, t + 1]).chain([0, -1, i64::MAX / 2]).collect();
    for time in asked {
        let found = reader.offset_at(EVENTS, time);
        assert_eq!(found, first_at(time), "at {time} of {times:?}");
    }
}

fn bytes_arrive_as_they_were(place: &impl Place) {
    let mut reader = Reader::new(place.open());
    let mut state = 7_u64;
    let mut noise = |len: usize| -> Bytes {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    };
    let bodies: Vec<Bytes> = vec![
        Bytes::new(),
        Bytes::from_static(&[0]),
        (0..=255).collect(),
        noise(RECORD_BYTES_MAX),
        noise(RECORD_BYTES_MAX - 1),
        Bytes::from(vec![0; RECORD_BYTES_MAX]),
    ];
    for source in [MOTION, EVENTS] {
        reader.follow(source, 0);
        for body in &bodies {
            reader.put(source, body.clone());
        }
        reader.await_records(source, bodies.len());
        assert!(reader.bodies(source) == bodies, "{source:?}");
    }
}

fn a_backlog_comes_in_slices(place: &impl Place) {
    let count = 3 * POLL_RECORDS_MAX + 5;
    let mut writer = Reader::new(place.open());
    for n in 0..count {
        writer.log.publish(EVENTS, numbered(n));
    }
    writer.put(EVENTS, "last");
    let mut reader = Reader::new(place.open());
    reader.follow(EVENTS, 0);
    // `poll` asserts the size of each slice.
    reader.await_records(EVENTS, count + 1);
    assert!(reader.bodies(EVENTS)[..count].iter().enumerate().all(|(n, body)| *body == numbered(n)));
}

fn a_fetch_brings_records_once_more_beside_what_is_followed(place: &impl Place) {
    let count = 3 * FETCH_RECORDS_MAX as u64 + 5;
    let mut reader = Reader::new(place.open());
    reader.follow(EVENTS, 0);
    for n in 0..count {
        reader.log.publish(EVENTS, numbered(n as usize));
    }
    reader.await_records(EVENTS, count as usize);
    for from in [0, 7, count - 2] {
        let (mut next, mut all) = (from, Vec::new());
        loop {
            let fetched = reader.fetch(EVENTS, next);
            assert_eq!(fetched.start, 0);
            if fetched.next <= next {
                assert!(fetched.records.is_empty());
                break;
            }
            assert!(!fetched.records.is_empty(), "some at least");
            all.extend(fetched.records);
            next = fetched.next;
        }
        assert_eq!(next, count, "from {from}");
        let expected: Vec<_> = (from..count).map(|n| (n, numbered(n as usize))).collect();
        assert!(all == expected, "from {from}");
    }
    let beyond = reader.fetch(EVENTS, count + 9);
    assert_eq!((beyond.start, beyond.records.len(), beyond.next), (0, 0, count + 9));
    assert_eq!(reader.records(EVENTS).len() as u64, count, "what is followed came once");
    reader.put(EVENTS, "after");
    reader.await_records(EVENTS, count as usize + 1);
    // Of a partition that nobody follows, whose start has moved.
    for n in 0..10 {
        reader.put(OBJECTS, numbered(n));
    }
    assert_eq!(reader.trim(OBJECTS, 5), Ok(5));
    let fetched = reader.fetch(OBJECTS, 2);
    assert_eq!((fetched.start, fetched.next), (5, 10));
    assert!(fetched.records.into_iter().eq((5..10).map(|n| (n, numbered(n as usize)))));
}

fn worlds_share_what_is_the_clusters_and_nothing_else(place: &impl Place) {
    let (mut one, mut other) = (Reader::new(place.open()), Reader::new(place.open_other()));
    for topic in Topic::ALL {
        let source = Source { topic, partition: 0 };
        let before = other.bounds(source).end;
        other.follow(source, before);
        let at = one.put(source, numbered(1));
        let end = other.bounds(source).end;
        if topic.is_of_world() {
            assert_eq!(end, before, "{topic:?}");
            assert_eq!(other.put(source, numbered(2)), before, "{topic:?}");
            assert_eq!(other.await_records(source, 1)[0].2, numbered(2), "{topic:?}");
        } else {
            assert_eq!((at, end), (before, before + 1), "{topic:?}");
            assert_eq!(other.await_records(source, 1)[0].2, numbered(1), "{topic:?}");
        }
    }
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $name() { super::$name(&super::places::InMemory::new()); })*
        }
        mod disk {
            $(#[test] fn $name() { super::$name(&super::places::OnDisk::new()); })*
        }
        #[cfg(feature = "kafka")]
        mod kafka {
            $(#[test] fn $name() { super::$name(&super::places::OnKafka::new(stringify!($name))); })*
        }
    };
}

contract!(
    order_holds_per_partition,
    all_handles_see_the_same,
    a_ticket_ends_once_where_the_record_is,
    follow_starts_where_it_is_told,
    following_again_starts_again,
    a_dropped_partition_yields_nothing_more,
    an_offset_above_the_end_is_a_fault,
    an_offset_below_the_start_is_a_fault,
    a_start_that_moves_takes_what_is_below_it_and_nothing_else,
    a_fault_of_one_partition_leaves_the_others_alone,
    bounds_tell_start_end_and_last_time,
    offset_at_finds_the_first_at_or_after_a_time,
    bytes_arrive_as_they_were,
    a_backlog_comes_in_slices,
    a_fetch_brings_records_once_more_beside_what_is_followed,
    worlds_share_what_is_the_clusters_and_nothing_else,
);
