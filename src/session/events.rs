//! Events are pulled: one cursor per partition in view, into rings that all sessions share.

use crate::codec::message::{Cursor as CursorAt, Event as Told, Id, Out, Reset, Scope};
use crate::codec::wire::json_len;
use crate::limits::{CURSOR_US, DIRECT_PARTITIONS, TICK_US};
use crate::region::frame::{Event, Ring, Tick};
use crate::region::tells::lane_of;
use crate::space::{Grid, Pos, Region};

/// Events that wait and states take turns of this many ticks: a second, so that a bucket of half a second gets full.
pub const TURN_TICKS: u64 = 20;
/// What an event costs besides its name and data, bytes.
const FIELDS_BYTES: usize = 150;
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
    /// Partitions that were in view then, and of which it does not know how far it was told. Sorted.
    doubts: Vec<u16>,
    /// Whose it is.
    user: Option<Own>,
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

#[derive(Clone, Copy, Debug)]
struct Cursor {
    partition: u16,
    /// The next offset.
    next: u64,
    /// What stands below was written while the session was away.
    away_until: u64,
    /// Up to where the client was told that it has been told, and at which tick.
    said: Option<(u64, u64)>,
}

impl Cursors {
    /// Whose session it is, in a world of this grid: what the user is told is always in view.
    pub fn hear(&mut self, user: Id, grid: Grid) {
        self.user = Some(Own { user, partition: lane(user, grid), next: 0 });
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
        (self.away, self.returns) = (at, true);
        for (stream, next) in named {
            let Some(partition) = partition(stream, grid) else { continue };
            match self.behind.binary_search_by_key(&partition, |(p, _)| *p) {
                Ok(found) => self.behind[found].1 = self.behind[found].1.max(*next),
                Err(place) => self.behind.insert(place, (partition, *next)),
            }
        }
    }

    /// Appends what a viewer is to be told, who sees so far from their place into these partitions: events whose scope
    /// reaches it, in order, while `room` bytes allow (the rest stays for the next tick); a `reset` where the ring has moved
    /// past the cursor, or begins anew below it. A partition that comes into view is read from its newest event on; if the
    /// world does not know it yet, from where its log ended when that began to read; one in which a resumed session is
    /// behind, from there on, in view or not. An event larger than the whole bucket, of `depth` bytes, goes when that is full.
    /// Returns whether one waits: then the bucket must be let fill.
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
        }
        self.open.retain(|c| c.next < c.away_until || is_seen(c.partition));
        let kept = self.open.iter().map(|cursor| cursor.partition);
        let unseen = kept.chain(self.behind.iter().map(|(partition, _)| *partition));
        let unseen: Vec<u16> = unseen.filter(|partition| !is_seen(*partition)).collect();
        // No partition is always last: a backlog of one does not keep out the others. Each is first for an even turn.
        let first = (tick.number / (2 * TURN_TICKS)) as usize % partitions.len();
        let mut room = room;
        let mut waits = false;
        for &partition in partitions[first..].iter().chain(&partitions[..first]).chain(&own).chain(&unseen) {
            let Some(ring) = tick.events.get(usize::from(partition)).and_then(Option::as_ref) else {
                if let Err(place) = self.waits.binary_search(&partition) {
                    self.waits.insert(place, partition);
                }
                continue;
            };
            if let Ok(found) = self.doubts.binary_search(&partition) {
                self.doubts.remove(found);
                out.push(Out::Reset(Reset { partition, offset: ring.end }));
                room = room.saturating_sub(FIELDS_BYTES);
            }
            let cursor = self.cursor(partition, ring);
            let Cursor { next, away_until, .. } = cursor;
            // Beyond the end: the topic was made anew, and its offsets count from 0 again.
            if *next < ring.start || *next > ring.end {
                *next = ring.start;
                out.push(Out::Reset(Reset { partition, offset: ring.start }));
                room = room.saturating_sub(FIELDS_BYTES);
            }
            let from = ring.events.partition_point(|event| event.offset < *next);
            let mut is_through = true;
            for event in &ring.events[from..] {
                if reaches(event, user, if event.offset < *away_until { away } else { at }, radius_m) {
                    let cost = json_len(&event.data) + json_len(&event.name) + FIELDS_BYTES;
                    if waits || room < cost.min(depth) {
                        (waits, is_through) = (true, false);
                        break;
                    }
                    room = room.saturating_sub(cost);
                    out.push(Out::Event(told(event)));
                }
                *next = event.offset + 1;
            }
            if is_through {
                *next = (*next).max(ring.end);
            }
        }
        waits
    }

    /// The cursor of a partition, which has this ring.
    fn cursor(&mut self, partition: u16, ring: &Ring) -> &mut Cursor {
        let at = match self.open.binary_search_by_key(&partition, |cursor| cursor.partition) {
            Ok(found) => found,
            Err(place) => {
                let behind = self.behind.binary_search_by_key(&partition, |(p, _)| *p).ok();
                let behind = behind.map(|found| self.behind.remove(found).1);
                let waited = self.waits.binary_search(&partition).map(|found| self.waits.remove(found)).is_ok();
                let first = if waited { ring.news.clamp(ring.start, ring.end) } else { ring.end };
                let (next, away_until) = behind.map_or((first, 0), |next| (next, ring.end));
                self.open.insert(place, Cursor { partition, next, away_until, said: None });
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
                let stream = format!("{PARTITION}{}", cursor.partition);
                out.push(Out::Cursor(CursorAt { stream, offset: cursor.next }));
            }
        }
    }
}

/// The stream of what concerns the whole world.
const WORLD: &str = "world";
/// The streams of what users are told, before their number.
const USER: &str = "user/";
/// How partitions are named to clients, before their number.
const PARTITION: &str = "partition/";

/// The partition that a stream is in; `None` if there is no such stream.
fn partition(stream: &str, grid: Grid) -> Option<u16> {
    // Behind the partitions of blocks stands the world as a whole, and behind that what users are told.
    let whole = grid.partitions();
    match (stream.strip_prefix(PARTITION), stream.strip_prefix(USER)) {
        (Some(number), _) => number.parse().ok().filter(|partition| *partition <= whole + DIRECT_PARTITIONS),
        (None, Some(user)) => user.parse().ok().map(|user| lane(user, grid)),
        (None, None) if stream == WORLD => Some(whole),
        (None, None) => Region::from_stream(stream).map(|region| grid.partition(region)),
    }
}

/// The partition of what a user is told.
fn lane(user: Id, grid: Grid) -> u16 {
    grid.partitions() + 1 + lane_of(user)
}

fn reaches(event: &Event, user: Option<Id>, at: Pos, radius_m: f64) -> bool {
    match event.scope {
        Scope::Nearby => event.pos.distance_m(at) <= radius_m,
        Scope::Region => Region::of(event.pos) == Region::of(at),
        Scope::World => true,
        Scope::User => event.to.is_some() && event.to == user,
    }
}

fn told(event: &Event) -> Told {
    let stream = match event.scope {
        Scope::Nearby | Scope::Region => Region::of(event.pos).stream(),
        Scope::World => WORLD.to_owned(),
        Scope::User => format!("{USER}{}", event.to.unwrap_or(event.user)),
    };
    Told {
        stream,
        offset: event.offset,
        from: event.from,
        user: event.user,
        scope: event.scope,
        name: event.name.to_string(),
        data: event.data.to_string(),
        pos: event.pos.metres(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BUDGET_MIN;
    use crate::region::frame::PartitionStatus;
    use crate::view::budget::Budget;
    use std::sync::Arc;

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
        // Not read yet; read from offset 7 on; not read for a moment; passed by; made anew; passed by again.
        for (ring, reset) in [
            (None, None),
            (ring(7, 7), None),
            (ring(7, 9), None),
            (None, None),
            (ring(9, 9), None),
            (ring(11, 11), Some(11)),
            (ring(2, 3), Some(2)),
            (ring(2, 4), None),
            (ring(5, 5), Some(5)),
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
    fn told_of(cursors: &mut Cursors, tick: &Tick) -> Vec<(bool, u64)> {
        let mut out = Vec::new();
        cursors.pull(tick, &[0], (Pos::default(), 10.0), (100_000, 100_000), &mut out);
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
        check(&[("partition/1", 10)], &tick, &[(false, 2), (true, 3), (true, 5), (true, 8)]);
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
            assert_eq!(partition(whole, grid), Some(2), "behind the partitions of blocks");
        }
        // What comes behind is judged by where they are.
        let mut cursors = check(&[("partition/0", 4)], &rings([Some((0, 4, &[])), None]), &[]);
        let later = rings([Some((0, 6, &[(4, 1_000.0), (5, 0.0)])), None]);
        assert_eq!(told_of(&mut cursors, &later), [(true, 5)]);
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
        assert_eq!(partition(&foreign, grid), None, "there is no such partition");
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
