//! Events are pulled: one cursor per partition in view, into rings that all sessions share. What a ring has no more is asked
//! of the world, which reads it from the log.

use super::cursor::{Cursor, Older, Teller};
use crate::admit::rate::Rate;
use crate::codec::message::{Cursor as CursorAt, Id, Out, Reset};
use crate::limits::{CURSOR_US, LAG_US, RECALL_BURST, RECALL_GIVEN_UP_US, RECALL_LEAD, RECALL_PER_S, TICK_US};
use crate::region::commands::event::{Event, Ring};
use crate::region::commands::recall::{Ask, Recalled};
use crate::region::commands::streams;
use crate::region::frame::Tick;
use crate::space::{Grid, Pos};

/// Events that wait and states take turns of this many ticks: a second, so that a bucket of half a second gets full.
pub const TURN_TICKS: u64 = 20;
/// What a `cursor` costs, bytes.
const CURSOR_BYTES: usize = 80;

/// How far a session has read in each partition it can see.
#[derive(Clone, Debug, Default)]
pub struct Cursors {
    /// Sorted by partition.
    open: Vec<Cursor>,
    /// Partitions in which the session goes on where it was when it went away, and are not read yet. Sorted.
    behind: Vec<(u16, u64)>,
    /// Where the avatar was meanwhile.
    away: Option<Pos>,
    /// Partitions in view that are not read yet. Sorted.
    waits: Vec<u16>,
    /// It goes on, and has not been told of any partition since.
    returns: bool,
    /// Until which tick the reading of a partition may lag behind what it was told before; 0 before the first.
    lags_until: u64,
    /// Partitions that were in view then, and of which it does not know how far it was told. Sorted.
    doubts: Vec<u16>,
    /// Whose it is.
    user: Option<Own>,
    /// What is to be asked of the world; the caller empties it.
    pub asks: Vec<Ask>,
    /// How often it may.
    quota: Option<Rate>,
}

/// What a session's user is told by others, and up to where that has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    user: Id,
    /// The partition, behind that of the world as a whole.
    partition: u16,
    /// The next offset.
    next: u64,
}

impl Own {
    /// Whether a tick has something new.
    #[must_use]
    pub fn is_told(self, tick: &Tick) -> bool {
        let ring = tick.events.get(usize::from(self.partition)).and_then(Option::as_ref);
        let new = |ring: &Ring| {
            let mut new = ring.events.iter().rev().take_while(|event| event.offset >= self.next);
            new.any(|event| event.to == Some(self.user))
        };
        ring.is_some_and(|ring| new(ring))
    }
}

impl Cursors {
    /// Whose session it is, in a world of this grid: what the user is told is always in view.
    pub fn hear(&mut self, user: Id, grid: Grid) {
        self.user = Some(Own { user, partition: streams::lane(user, grid), next: 0 });
    }

    /// What the user is told, and up to where that has been read.
    #[must_use]
    pub fn own(&self) -> Option<Own> {
        let own = self.user?;
        let found = self.open.binary_search_by_key(&own.partition, |cursor| cursor.partition).ok()?;
        Some(Own { next: self.open[found].next, ..own })
    }

    /// A session that was away goes on at what it names, `[stream, next offset]`; while it was away its avatar was at `at`,
    /// or where it appears first. Order holds over all streams of a partition, so the highest offset counts.
    pub fn resume(&mut self, named: &[(String, u64)], grid: Grid, at: Option<Pos>) {
        (self.away, self.returns, self.lags_until) = (at, true, 0);
        for (stream, next) in named {
            let Some(partition) = streams::named(stream, grid) else { continue };
            match self.behind.binary_search_by_key(&partition, |(p, _)| *p) {
                Ok(found) => self.behind[found].1 = self.behind[found].1.max(*next),
                Err(place) => self.behind.insert(place, (partition, *next)),
            }
        }
    }

    /// The world has answered.
    pub fn recalled(&mut self, recalled: &Recalled) {
        let Recalled { partition, span, events } = recalled;
        if let Ok(found) = self.open.binary_search_by_key(partition, |cursor| cursor.partition)
            && let Older::Asked(asked, _) = &self.open[found].older
            && asked == span
        {
            let here = |events: &Vec<_>| Older::Here(events.iter().cloned().collect(), span.end);
            self.open[found].older = events.as_ref().map_or(Older::Lost, here);
        }
    }

    /// Appends what a viewer is to be told, who sees so far from their place into these partitions: events whose scope
    /// reaches it, in order, while `room` bytes allow (the rest stays for the next tick). Where the ring has moved past the
    /// cursor, what lies between is asked of the world; a `reset` where it has that no more, or the ring begins anew below the
    /// cursor. A partition that comes into view is read from its newest event on; if the world does not know it yet, from where
    /// its log ended when that began to read; one in which a resumed session is behind, from there on, in view or not. An event
    /// larger than the whole bucket, of `depth` bytes, goes when that is full. Returns whether one waits: then the bucket must
    /// be let fill.
    pub fn pull(
        &mut self,
        tick: &Tick,
        partitions: &[u16],
        (at, radius_m): (Pos, f64),
        (room, depth): (usize, usize),
        out: &mut Vec<Out>,
    ) -> bool {
        let away = *self.away.get_or_insert(at);
        let user = self.user.map(|own| own.user);
        let own = self.user.map(|own| own.partition);
        let is_seen = |partition: u16| partitions.binary_search(&partition).is_ok() || own == Some(partition);
        self.waits.retain(|partition| is_seen(*partition));
        if std::mem::take(&mut self.returns) {
            let is_known = |partition| self.behind.binary_search_by_key(&partition, |(p, _)| *p).is_ok();
            self.doubts = partitions.iter().copied().chain(own).filter(|partition| !is_known(*partition)).collect();
            self.lags_until = tick.number + LAG_US / TICK_US;
            // What happened farther off did not reach it.
            let reached = tick.grid.partitions_around(away, radius_m);
            let whole = streams::whole(tick.grid);
            self.behind.retain(|(p, _)| reached.contains(p) || *p == whole || is_seen(*p));
        }
        self.open.retain(|c| c.next < c.away_until || is_seen(c.partition));
        let kept = self.open.iter().map(|cursor| cursor.partition);
        let unseen = kept.chain(self.behind.iter().map(|(partition, _)| *partition));
        let unseen: Vec<u16> = unseen.filter(|partition| !is_seen(*partition)).collect();
        // No partition is always last: a backlog of one does not keep out the others. Each is first for an even turn.
        let first = (tick.number / (2 * TURN_TICKS)) as usize % partitions.len();
        let mut teller = Teller { room, depth, waits: false, out };
        for &partition in partitions[first..].iter().chain(&partitions[..first]).chain(&own).chain(&unseen) {
            // Also of a partition that is not followed any more.
            let known = self.open.binary_search_by_key(&partition, |cursor| cursor.partition);
            if known.is_ok_and(|found| !self.open[found].tell_older(tick.number, &mut teller)) {
                continue;
            }
            let ring = tick.events.get(usize::from(partition)).and_then(Option::as_ref);
            let Some(ring) = ring.filter(|ring| !self.lags(partition, ring, tick.number)) else {
                if let Err(place) = self.waits.binary_search(&partition) {
                    self.waits.insert(place, partition);
                }
                continue;
            };
            if let Ok(found) = self.doubts.binary_search(&partition) {
                self.doubts.remove(found);
                teller.reset(Reset { partition, offset: ring.end });
            }
            if let Some(span) = self.cursor(partition, ring).lacks(ring) {
                // One after the other, so that what waits to be told stays little.
                if self.open.iter().any(|cursor| matches!(cursor.older, Older::Asked(..) | Older::Here(..))) {
                    continue;
                }
                let now_us = tick.number * TICK_US;
                let quota = self.quota.get_or_insert_with(|| Rate::new(RECALL_PER_S, RECALL_BURST, now_us));
                if quota.take(1 + (span.end - span.start) / RECALL_LEAD, now_us) {
                    let cursor = self.cursor(partition, ring);
                    let at = if span.start < cursor.away_until { away } else { at };
                    cursor.older = Older::Asked(span.clone(), tick.number + RECALL_GIVEN_UP_US / TICK_US);
                    self.asks.push(Ask { partition, span, user, at, radius_m });
                    continue;
                }
            }
            let Cursor { next, away_until, .. } = self.cursor(partition, ring);
            // Beyond the end: the topic was made anew, and its offsets count from 0 again.
            if *next < ring.start || *next > ring.end {
                *next = ring.start;
                teller.reset(Reset { partition, offset: ring.start });
            }
            let from = ring.events.partition_point(|event| event.offset < *next);
            let reaches = |event: &Event| {
                let at = if event.offset < *away_until { away } else { at };
                event.reaches(user, at, radius_m)
            };
            let waiting = ring.events[from..].iter().find(|event| reaches(event) && !teller.tell(event));
            *next = waiting.map_or(ring.end, |event| event.offset);
        }
        teller.waits
    }

    /// Whether a partition's reading has not come so far yet as the session was told before. Later it is taken for another
    /// topic, whose offsets count from 0 again.
    fn lags(&self, partition: u16, ring: &Ring, tick: u64) -> bool {
        let behind = self.behind.binary_search_by_key(&partition, |(p, _)| *p).ok();
        tick < self.lags_until && behind.is_some_and(|found| self.behind[found].1 > ring.end)
    }

    /// The cursor of a partition, which has this ring.
    fn cursor(&mut self, partition: u16, ring: &Ring) -> &mut Cursor {
        let at = match self.open.binary_search_by_key(&partition, |cursor| cursor.partition) {
            Ok(found) => found,
            Err(place) => {
                let behind = self.behind.binary_search_by_key(&partition, |(p, _)| *p).ok();
                let behind = behind.map(|found| self.behind.remove(found).1);
                let behind = behind.map(|next| if crate::planted!(CursorsIgnored) { ring.end } else { next });
                let waited = self.waits.binary_search(&partition).map(|found| self.waits.remove(found)).is_ok();
                let first = if waited { ring.news.clamp(ring.start, ring.end) } else { ring.end };
                let (next, away_until) = behind.map_or((first, 0), |next| (next, ring.end));
                self.open.insert(place, Cursor { partition, next, away_until, said: None, older: Older::None });
                place
            }
        };
        &mut self.open[at]
    }

    /// Appends up to where the client has been told, where that has changed and was not said lately: it comes back with it.
    /// Where `room` has no bytes left for it, it is said later.
    pub fn say(&mut self, tick: &Tick, room: usize, out: &mut Vec<Out>) {
        let mut left = room / CURSOR_BYTES;
        for cursor in &mut self.open {
            let due = match cursor.said {
                None => true,
                Some((offset, at)) => offset != cursor.next && tick.number >= at + CURSOR_US / TICK_US,
            };
            if due && left > 0 {
                left -= 1;
                cursor.said = Some((cursor.next, tick.number));
                let stream = format!("{}{}", streams::PARTITION, cursor.partition);
                out.push(Out::Cursor(CursorAt { stream, offset: cursor.next }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::message::Scope;
    use crate::limits::{BUDGET_MIN, DIRECT_PARTITIONS, RECALL_RECORDS_MAX};
    use crate::region::commands::tells::lane_of;
    use crate::region::frame::PartitionStatus;
    use crate::view::budget::Budget;

    #[test]
    fn an_event_larger_than_the_bucket_goes_when_that_is_full() {
        let ring = |events: Vec<Arc<Event>>| {
            let end = events.len() as u64;
            Ring { start: 0, end, news: 0, events }
        };
        let event = |data: &str| {
            let (scope, pos, name) = (Scope::Nearby, Pos::default(), "x".into());
            Arc::new(Event { offset: 0, from: 1, user: 1, to: None, scope, pos, name, data: data.into() })
        };
        let mut tick = Tick {
            partitions: vec![PartitionStatus::default()],
            events: vec![Some(Arc::new(ring(Vec::new())))],
            ..Tick::empty(1, Grid { w: 1, h: 1 })
        };
        let mut cursors = Cursors::default();
        let mut pull = |tick: &Tick, room, depth| {
            let mut out = Vec::new();
            let waits = cursors.pull(tick, &[0], (Pos::default(), 10.0), (room, depth), &mut out);
            (waits, out.len())
        };
        assert_eq!(pull(&tick, 1_000, 1_000), (false, 0));
        tick.events = vec![Some(Arc::new(ring(vec![event(&"x".repeat(2_000))])))];
        assert_eq!(pull(&tick, 900, 1_000), (true, 0));
        assert_eq!(pull(&tick, 1_000, 1_000), (false, 1));
        assert_eq!(pull(&tick, 1_000, 1_000), (false, 0));
    }

    #[test]
    fn a_reset_is_told_to_whom_events_passed_by_and_to_nobody_else() {
        let ring = |start, end| Some(Arc::new(Ring { start, end, news: end, events: Vec::new() }));
        let mut cursors = Cursors::default();
        // Not read yet; read from offset 7 on; not read for a moment; made anew; passed by for so much that nobody reads it.
        for (ring, reset) in [
            (None, None),
            (ring(7, 7), None),
            (ring(7, 9), None),
            (None, None),
            (ring(9, 9), None),
            (ring(2, 3), Some(2)),
            (ring(2, 4), None),
            (ring(RECALL_RECORDS_MAX + 5, RECALL_RECORDS_MAX + 5), Some(RECALL_RECORDS_MAX + 5)),
        ] {
            let tick = Tick {
                partitions: vec![PartitionStatus::default()],
                events: vec![ring.clone()],
                ..Tick::empty(1, Grid { w: 1, h: 1 })
            };
            let mut out = Vec::new();
            cursors.pull(&tick, &[0], (Pos::default(), 10.0), (1_000, 1_000), &mut out);
            let told: Vec<_> =
                out.iter().map(|out| if let Out::Reset(reset) = out { Some(reset.offset) } else { None }).collect();
            assert_eq!(told, reset.map(Some).into_iter().collect::<Vec<_>>(), "{ring:?}");
        }
    }

    /// Start, end, and events: offset and metres east.
    type Span<'a> = (u64, u64, &'a [(u64, f64)]);

    /// Rings of a world of two partitions: events at these offsets, metres east of the origin.
    fn rings(rings: [Option<Span<'_>>; 2]) -> Tick {
        let event = |&(offset, x): &(u64, f64)| {
            let (scope, pos, data) = (Scope::Nearby, Pos::from_metres([x, 0.0, 0.0]).expect("a place"), "".into());
            Arc::new(Event { offset, from: 1, user: 1, to: None, scope, pos, name: "x".into(), data })
        };
        let ring = |(start, end, events): Span<'_>| {
            Arc::new(Ring { start, end, news: end, events: events.iter().map(event).collect() })
        };
        Tick {
            partitions: vec![PartitionStatus::default(); 2],
            events: rings.map(|of| of.map(ring)).into(),
            ..Tick::empty(0, Grid { w: 2, h: 1 })
        }
    }

    /// What is told of two partitions, to somebody at the origin who sees only the first of them: event offsets, resets.
    /// Of what is asked of the world there is nothing.
    fn told_of(cursors: &mut Cursors, tick: &Tick) -> Vec<(bool, u64)> {
        let mut out = Vec::new();
        cursors.pull(tick, &[0], (Pos::default(), 10.0), (100_000, 100_000), &mut out);
        for Ask { partition, span, .. } in std::mem::take(&mut cursors.asks) {
            cursors.recalled(&Recalled { partition, span, events: None });
            cursors.pull(tick, &[0], (Pos::default(), 10.0), (100_000, 100_000), &mut out);
        }
        let told = |out: &Out| {
            if let Out::Event(event) = out {
                return (true, event.offset);
            }
            if let Out::Reset(reset) = out { (false, reset.offset) } else { panic!("{out:?}") }
        };
        out.iter().map(told).collect()
    }

    #[test]
    fn who_was_away_is_told_what_they_missed_where_they_were_and_once() {
        let named = |all: &[(&str, u64)]| -> Vec<(String, u64)> {
            all.iter().map(|(stream, next)| ((*stream).to_owned(), *next)).collect()
        };
        let grid = Grid { w: 2, h: 1 };
        let check = |all: &[(&str, u64)], tick: &Tick, expected: &[(bool, u64)]| {
            let mut cursors = Cursors::default();
            let all = [all, &[("partition/0", 0)]].concat();
            cursors.resume(&named(&all), grid, Pos::from_metres([1_000.0, 0.0, 0.0]));
            assert_eq!(told_of(&mut cursors, tick), expected, "{all:?}");
            assert_eq!(told_of(&mut cursors, tick), [], "{all:?}: once");
            cursors
        };
        // They were at 1,000 m, in the second partition, which they do not see any more.
        let missed: &[(u64, f64)] = &[(3, 1_000.0), (5, 1_001.0), (6, 0.0), (8, 1_002.0)];
        let tick = rings([Some((0, 0, &[])), Some((2, 9, missed))]);
        check(&[("partition/1", 4)], &tick, &[(true, 5), (true, 8)]);
        check(&[("partition/1", 4), ("region/7/0", 6)], &tick, &[(true, 8)]);
        check(&[("region/7/0", 6), ("region/9/0", 2)], &tick, &[(true, 8)]);
        check(&[("partition/1", 1)], &tick, &[(false, 2), (true, 3), (true, 5), (true, 8)]);
        for nonsense in ["partition/3", "partition/-1", "region/1", "region/x/0", "region/99999999999/0", "worlds", ""]
        {
            check(&[(nonsense, 0)], &tick, &[]);
        }
        check(&[("partition/1", 4)], &rings([Some((0, 0, &[])), None]), &[]);
        let mut cursors = Cursors::default();
        cursors.resume(&[], grid, None);
        assert_eq!(told_of(&mut cursors, &tick), [(false, 0)], "who does not say how far they were told");
        assert_eq!(told_of(&mut cursors, &tick), []);
        for whole in ["world", "partition/2"] {
            assert_eq!(streams::named(whole, grid), Some(2), "behind the partitions of blocks");
        }
        // What comes behind is judged by where they are.
        let mut cursors = check(&[("partition/0", 4)], &rings([Some((0, 4, &[])), None]), &[]);
        let later = rings([Some((0, 6, &[(4, 1_000.0), (5, 0.0)])), None]);
        assert_eq!(told_of(&mut cursors, &later), [(true, 5)]);
    }

    #[test]
    fn who_knows_more_than_was_read_waits_for_the_reading_and_not_for_ever() {
        let grid = Grid { w: 2, h: 1 };
        let begun = || {
            let mut cursors = Cursors::default();
            let named =
                [("partition/0", 0), ("partition/1", 10)].map(|(stream, next): (&str, u64)| (stream.to_owned(), next));
            cursors.resume(&named, grid, Pos::from_metres([1_000.0, 0.0, 0.0]));
            cursors
        };
        let at = |number, end, events| {
            let mut tick = rings([Some((0, 0, &[])), Some((2, end, events))]);
            tick.number = number;
            tick
        };
        let missed: &[(u64, f64)] = &[(3, 1_000.0), (8, 1_001.0), (11, 1_002.0)];
        let last = LAG_US / TICK_US;
        let mut cursors = begun();
        assert_eq!(told_of(&mut cursors, &at(0, 9, &missed[..2])), []);
        assert_eq!(told_of(&mut cursors, &at(last - 1, 12, missed)), [(true, 11)], "it was told what stood below 10");
        let mut cursors = begun();
        assert_eq!(told_of(&mut cursors, &at(0, 9, &missed[..2])), []);
        assert_eq!(told_of(&mut cursors, &at(last - 1, 9, &missed[..2])), []);
        let anew = [(false, 2), (true, 3), (true, 8)];
        assert_eq!(told_of(&mut cursors, &at(last, 9, &missed[..2])), anew, "the topic was made anew");
    }

    #[test]
    fn what_the_ring_has_no_more_is_asked_for_and_told_before_all_else() {
        let away = Pos::from_metres([1_000.0, 0.0, 0.0]).expect("a place");
        let tick = rings([Some((0, 0, &[])), Some((8, 12, &[(8, 1_000.0), (11, 1_001.0)]))]);
        let event = |offset| {
            let (scope, data) = (Scope::Nearby, "".into());
            Arc::new(Event { offset, from: 1, user: 1, to: None, scope, pos: away, name: "x".into(), data })
        };
        let pull = |cursors: &mut Cursors, room| {
            let mut out = Vec::new();
            cursors.pull(&tick, &[0], (Pos::default(), 10.0), (room, 100_000), &mut out);
            out.iter().map(|out| if let Out::Event(event) = out { event.offset } else { 0 }).collect::<Vec<_>>()
        };
        let asked = || {
            let mut cursors = Cursors::default();
            let named =
                [("partition/0", 0), ("partition/1", 4)].map(|(stream, next): (&str, u64)| (stream.to_owned(), next));
            cursors.resume(&named, Grid { w: 2, h: 1 }, Some(away));
            assert!(pull(&mut cursors, 100_000).is_empty());
            let ask = Ask { partition: 1, span: 4..10, user: None, at: away, radius_m: 10.0 };
            assert_eq!(std::mem::take(&mut cursors.asks), [ask], "judged by where it was; half of the ring too");
            assert_eq!((pull(&mut cursors, 100_000), cursors.asks.len()), (vec![], 0), "it waits");
            cursors
        };
        let answer = |span, events: &[u64]| Recalled {
            partition: 1,
            span,
            events: Some(events.iter().copied().map(event).collect()),
        };
        let mut cursors = asked();
        cursors.recalled(&answer(3..10, &[3, 5]));
        assert!(pull(&mut cursors, 100_000).is_empty(), "that was asked by another connection");
        cursors.recalled(&answer(4..10, &[5, 6, 8]));
        assert_eq!(pull(&mut cursors, 200), [5], "one, as the budget allows");
        assert_eq!(cursors.open[1].next, 6, "this is said to be told");
        assert_eq!(pull(&mut cursors, 100_000), [6, 8, 11]);
        assert!(pull(&mut cursors, 100_000).is_empty());
        // Its partition is followed no more: what was read of it is told all the same.
        let mut cursors = asked();
        cursors.recalled(&answer(4..10, &[5, 6, 8]));
        let unread = rings([Some((0, 0, &[])), None]);
        assert_eq!(told_of(&mut cursors, &unread), [(true, 5), (true, 6), (true, 8)]);
        assert_eq!(pull(&mut cursors, 100_000), [11]);
        // The world does not answer.
        let mut cursors = asked();
        let late =
            Tick { number: RECALL_GIVEN_UP_US / TICK_US, ..rings([Some((0, 0, &[])), Some((8, 9, &[(8, 1_000.0)]))]) };
        assert_eq!(told_of(&mut cursors, &late), [(false, 8), (true, 8)]);
        let mut cursors = asked();
        cursors.recalled(&answer(4..10, &[8]));
        assert_eq!(pull(&mut cursors, 100_000), [8, 11]);
        let mut cursors = asked();
        cursors.recalled(&Recalled { partition: 1, span: 4..10, events: None });
        assert_eq!(pull(&mut cursors, 100_000), [0, 8, 11], "a reset, and what there is");
    }

    #[test]
    fn a_user_is_told_what_is_said_to_them_and_whoever_says_not_how_far_is_reset() {
        let grid = Grid { w: 2, h: 1 };
        // Behind two partitions of blocks and the world.
        let own = 3 + lane_of(13);
        let tick = |end, told: &[(u64, Id)]| {
            let event = |&(offset, to): &(u64, Id)| {
                let (scope, pos, data) = (Scope::User, Pos::default(), "".into());
                Arc::new(Event { offset, from: 1, user: 1, to: Some(to), scope, pos, name: "x".into(), data })
            };
            let mut tick = rings([Some((0, 0, &[])), Some((0, 0, &[]))]);
            tick.events.resize(usize::from(own), None);
            let events = told.iter().map(event).collect();
            tick.events.push(Some(Arc::new(Ring { start: 2, end, news: end, events })));
            tick
        };
        let begun = |named: &[(&str, u64)], resumes: bool| {
            let mut cursors = Cursors::default();
            cursors.hear(13, grid);
            let named: Vec<(String, u64)> = named.iter().map(|(stream, next)| ((*stream).to_owned(), *next)).collect();
            if resumes {
                cursors.resume(&named, grid, None);
            }
            cursors
        };
        let (blocks, other) = (("partition/0", 0), 13 + u64::from(DIRECT_PARTITIONS));
        let told: &[(u64, Id)] = &[(2, 13), (4, other), (6, 13)];
        let mut new = begun(&[], false);
        assert_eq!(told_of(&mut new, &tick(7, told)), [], "what was said before they came is not for them");
        assert_eq!(new.own(), Some(Own { user: 13, partition: own, next: 7 }));
        assert!(!new.own().is_some_and(|own| own.is_told(&tick(9, &[(6, 13), (8, other)]))));
        assert!(new.own().is_some_and(|own| own.is_told(&tick(9, &[(7, 13), (8, other)]))));
        assert_eq!(told_of(&mut new, &tick(9, &[(7, 13), (8, other)])), [(true, 7)]);
        let by_number = format!("partition/{own}");
        for (name, next, expected) in [
            ("user/13", 3, vec![(true, 6)]),
            (&*by_number, 2, vec![(true, 2), (true, 6)]),
            (&*by_number, 7, vec![]),
            (&*by_number, 1, vec![(false, 2), (true, 2), (true, 6)]),
        ] {
            let mut back = begun(&[blocks, (name, next)], true);
            assert_eq!(told_of(&mut back, &tick(7, told)), expected, "{name} from {next}");
            assert_eq!(told_of(&mut back, &tick(7, told)), [], "once");
        }
        assert_eq!(told_of(&mut begun(&[blocks], true), &tick(7, told)), [(false, 7)]);
        let foreign = format!("partition/{}", own - lane_of(13) + DIRECT_PARTITIONS);
        assert_eq!(streams::named(&foreign, grid), None, "there is no such partition");
    }

    #[test]
    fn who_waited_for_a_partition_to_be_read_is_told_what_came_meanwhile() {
        let ring = |news| Ring { start: 0, end: 9, news, events: Vec::new() };
        let read = |news, waited: bool| {
            let mut cursors = Cursors::default();
            if waited {
                assert_eq!(told_of(&mut cursors, &rings([None, None])), []);
            }
            cursors.cursor(0, &ring(news)).next
        };
        assert_eq!((read(6, true), read(9, true), read(6, false)), (6, 9, 9));
    }

    #[test]
    fn up_to_where_it_was_told_is_said_at_first_and_then_now_and_again() {
        let mut cursors = Cursors::default();
        let mut say = |number, end: u64| {
            let mut tick = rings([Some((0, end, &[(end.saturating_sub(1), 0.0)])), None]);
            tick.number = number;
            told_of(&mut cursors, &tick);
            let mut out = Vec::new();
            cursors.say(&tick, 2 * CURSOR_BYTES - 1, &mut out);
            let said = |out: &Out| if let Out::Cursor(c) = out { Some((c.stream.clone(), c.offset)) } else { None };
            out.iter().filter_map(said).collect::<Vec<_>>()
        };
        let partition = |offset| vec![("partition/0".to_owned(), offset)];
        assert_eq!(say(1, 7), partition(7));
        assert_eq!(say(2, 8), []);
        assert_eq!(say(101, 8), partition(8));
        assert_eq!(say(300, 8), []);
    }

    #[test]
    fn a_backlog_of_one_partition_does_not_keep_out_another() {
        let at = Pos { x: 51_200, y: 0, z: 0 };
        let ring = |x: i32, n: u64| Some(Arc::new(Ring::backlog(Pos { x, ..at }, n)));
        let mut tick = Tick {
            partitions: vec![PartitionStatus::default(); 2],
            events: vec![Some(Arc::default()), Some(Arc::default())],
            ..Tick::empty(0, Grid { w: 2, h: 1 })
        };
        let (mut cursors, mut budget, mut out) = (Cursors::default(), Budget::new(0), Vec::new());
        budget.ask(BUDGET_MIN);
        cursors.pull(&tick, &[0, 1], (at, 10.0), (0, 1), &mut out);
        tick.events = vec![ring(51_100, 500), ring(51_300, 1)];
        for number in 1..=4 * TURN_TICKS {
            tick.number = number;
            let room = (budget.room(number * TICK_US), budget.depth_bytes());
            let told = out.len();
            cursors.pull(&tick, &[0, 1], (at, 10.0), room, &mut out);
            budget.spend((out.len() - told) * 2_100);
        }
        let other = |told: &Out| matches!(told, Out::Event(event) if event.pos[0] > 512.0);
        assert!(out.iter().any(other), "{} of the backlog were told", out.len());
    }
}
