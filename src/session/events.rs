//! Events are pulled: one cursor per partition in view, into rings that all sessions share.

use crate::codec::message::{Event as Told, Out, Reset, Scope};
use crate::region::frame::{Event, Tick};
use crate::space::{Pos, Region};

/// An event costs at most this many bytes: 2,000 of data, escaped, and its fields.
const EVENT_BYTES_MAX: usize = 4_400;

/// How far a session has read in each partition it can see.
#[derive(Clone, Debug, Default)]
pub struct Cursors {
    /// (partition, next offset), sorted.
    next: Vec<(u16, u64)>,
}

impl Cursors {
    /// Appends what a viewer at `at` is to be told: events whose scope reaches it, in order, while `room` bytes allow
    /// (the rest stays for the next tick); a `reset` where the ring has moved past the cursor. A partition that comes
    /// into view is read from its newest event on.
    pub fn pull(&mut self, tick: &Tick, at: Pos, radius_m: f64, room: usize, out: &mut Vec<Out>) {
        let partitions = tick.grid.partitions_around(at, radius_m);
        self.next.retain(|(partition, _)| partitions.binary_search(partition).is_ok());
        let mut room = room;
        for partition in partitions {
            let ring = &tick.events[usize::from(partition)];
            let at_cursor = match self.next.binary_search_by_key(&partition, |(p, _)| *p) {
                Ok(found) => found,
                Err(place) => {
                    self.next.insert(place, (partition, ring.end));
                    place
                }
            };
            let next = &mut self.next[at_cursor].1;
            if *next < ring.start {
                *next = ring.start;
                out.push(Out::Reset(Reset { partition, offset: ring.start }));
            }
            let from = ring.events.partition_point(|event| event.offset < *next);
            for event in &ring.events[from..] {
                if reaches(event, at, radius_m) {
                    if room < EVENT_BYTES_MAX {
                        break;
                    }
                    room -= event.data.len() + event.name.len() + 150;
                    out.push(Out::Event(told(event)));
                }
                *next = event.offset + 1;
            }
        }
    }
}

fn reaches(event: &Event, at: Pos, radius_m: f64) -> bool {
    match event.scope {
        Scope::Nearby => event.pos.distance_m(at) <= radius_m,
        Scope::Region => Region::of(event.pos) == Region::of(at),
    }
}

fn told(event: &Event) -> Told {
    Told {
        stream: Region::of(event.pos).stream(),
        offset: event.offset,
        from: event.from,
        scope: event.scope,
        name: event.name.to_string(),
        data: event.data.to_string(),
        pos: event.pos.metres(),
    }
}
