//! Events are pulled: one cursor per partition in view, into rings that all sessions share.

use crate::codec::message::{Event as Told, Out, Reset, Scope};
use crate::codec::wire::json_len;
use crate::region::frame::{Event, Tick};
use crate::space::{Pos, Region};

/// Events that wait and states take turns of this many ticks: a second, so that a bucket of half a second gets full.
pub const TURN_TICKS: u64 = 20;
/// What an event costs besides its name and data, bytes.
const FIELDS_BYTES: usize = 150;

/// How far a session has read in each partition it can see.
#[derive(Clone, Debug, Default)]
pub struct Cursors {
    /// (partition, next offset), sorted.
    next: Vec<(u16, u64)>,
}

impl Cursors {
    /// Appends what a viewer is to be told, who sees so far from their place into these partitions: events whose scope
    /// reaches it, in order, while `room` bytes allow (the rest stays for the next tick); a `reset` where the ring has moved
    /// past the cursor, or begins anew below it. A partition that comes into view is read from its newest event on, as soon
    /// as the world reads it. An event larger than the whole bucket, of `depth` bytes, goes when that is full. Returns
    /// whether one waits: then the bucket must be let fill.
    pub fn pull(
        &mut self,
        tick: &Tick,
        partitions: &[u16],
        (at, radius_m): (Pos, f64),
        (room, depth): (usize, usize),
        out: &mut Vec<Out>,
    ) -> bool {
        self.next.retain(|(partition, _)| partitions.binary_search(partition).is_ok());
        // No partition is always last: a backlog of one does not keep out the others. Each is first for an even turn.
        let first = (tick.number / (2 * TURN_TICKS)) as usize % partitions.len();
        let mut room = room;
        let mut waits = false;
        for &partition in partitions[first..].iter().chain(&partitions[..first]) {
            let Some(ring) = &tick.events[usize::from(partition)] else { continue };
            let at_cursor = match self.next.binary_search_by_key(&partition, |(p, _)| *p) {
                Ok(found) => found,
                Err(place) => {
                    self.next.insert(place, (partition, ring.end));
                    place
                }
            };
            let next = &mut self.next[at_cursor].1;
            // Beyond the end: the topic was made anew, and its offsets count from 0 again.
            if *next < ring.start || *next > ring.end {
                *next = ring.start;
                out.push(Out::Reset(Reset { partition, offset: ring.start }));
                room = room.saturating_sub(FIELDS_BYTES);
            }
            let from = ring.events.partition_point(|event| event.offset < *next);
            for event in &ring.events[from..] {
                if reaches(event, at, radius_m) {
                    let cost = json_len(&event.data) + json_len(&event.name) + FIELDS_BYTES;
                    if waits || room < cost.min(depth) {
                        waits = true;
                        break;
                    }
                    room = room.saturating_sub(cost);
                    out.push(Out::Event(told(event)));
                }
                *next = event.offset + 1;
            }
        }
        waits
    }
}

fn reaches(event: &Event, at: Pos, radius_m: f64) -> bool {
    match event.scope {
        Scope::Nearby => event.pos.distance_m(at) <= radius_m,
        Scope::Region => Region::of(event.pos) == Region::of(at),
        Scope::World => true,
    }
}

fn told(event: &Event) -> Told {
    let stream = match event.scope {
        Scope::Nearby | Scope::Region => Region::of(event.pos).stream(),
        Scope::World => "world".to_owned(),
    };
    Told {
        stream,
        offset: event.offset,
        from: event.from,
        scope: event.scope,
        name: event.name.to_string(),
        data: event.data.to_string(),
        pos: event.pos.metres(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BUDGET_MIN, TICK_US};
    use crate::region::frame::{PartitionStatus, Ring};
    use crate::space::Grid;
    use crate::view::budget::Budget;
    use std::sync::Arc;

    #[test]
    fn an_event_larger_than_the_bucket_goes_when_that_is_full() {
        let ring = |events: Vec<Arc<Event>>| Ring { start: 0, end: events.len() as u64, events };
        let event = |data: &str| {
            let (scope, pos, name) = (Scope::Nearby, Pos::default(), "x".into());
            Arc::new(Event { offset: 0, from: 1, scope, pos, name, data: data.into() })
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
        let ring = |start, end| Some(Arc::new(Ring { start, end, events: Vec::new() }));
        let mut cursors = Cursors::default();
        // Not read yet; read from offset 7 on; not read for a moment; passed by; made anew; passed by again.
        for (ring, reset) in [
            (None, None),
            (ring(7, 7), None),
            (ring(7, 9), None),
            (None, None),
            (ring(7, 7), None),
            (ring(9, 9), Some(9)),
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

    #[test]
    fn a_backlog_of_one_partition_does_not_keep_out_another() {
        let at = Pos { x: 51_200, y: 0, z: 0 };
        let ring = |x: i32, n: u64| {
            let (scope, pos, data) = (Scope::Nearby, Pos { x, ..at }, "x".repeat(2_000));
            let event = |offset| Event { offset, from: 1, scope, pos, name: "x".into(), data: data.as_str().into() };
            Some(Arc::new(Ring { start: 0, end: n, events: (0..n).map(|offset| Arc::new(event(offset))).collect() }))
        };
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
