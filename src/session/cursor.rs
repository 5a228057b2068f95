//! How far a session has been told of one partition, and what of it is told while there is room.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::codec::message::{Event as Told, Out, Reset, Scope};
use crate::codec::wire::json_len;
use crate::limits::RECALL_RECORDS_MAX;
use crate::region::commands::event::{Event, Ring};
use crate::region::commands::streams::{USER, WORLD};
use crate::space::Region;

/// What an event costs besides its name and data, bytes.
const FIELDS_BYTES: usize = 150;

/// What a ring has no more, and the session was not told.
#[derive(Clone, Debug, Default)]
pub(super) enum Older {
    /// Nothing, or it is not known yet.
    #[default]
    None,
    /// It is asked for; at this tick nobody waits for it any more.
    Asked(Range<u64>, u64),
    /// Events up to an offset.
    Here(VecDeque<Arc<Event>>, u64),
    /// It is not to be had.
    Lost,
}

/// See the top.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    /// As in the tick's list.
    pub(super) partition: u16,
    /// The next offset.
    pub(super) next: u64,
    /// What stands below was written while the session was away.
    pub(super) away_until: u64,
    /// Up to where the client was told that it has been told, and at which tick.
    pub(super) said: Option<(u64, u64)>,
    /// What comes before all that the ring has.
    pub(super) older: Older,
}

impl Cursor {
    /// Tells what was read from the log for it, in order, as long as each is told. Whether nothing is left of it.
    pub(super) fn tell_older(&mut self, tick: u64, teller: &mut Teller<'_>) -> bool {
        match &mut self.older {
            Older::None | Older::Lost => true,
            Older::Asked(_, until) if tick < *until => false,
            Older::Asked(..) => {
                self.older = Older::Lost;
                true
            }
            Older::Here(events, until) => {
                while let Some(event) = events.front() {
                    self.next = event.offset;
                    if !teller.tell(event) {
                        return false;
                    }
                    events.pop_front();
                }
                self.next = *until;
                self.older = Older::None;
                true
            }
        }
    }

    /// What the ring has no more and the log may have, and half of what it has: else, where much happens, as much would have
    /// left the ring again when that is read, and the session would run after it for ever.
    pub(super) fn lacks(&mut self, ring: &Ring) -> Option<Range<u64>> {
        let is_lost = matches!(std::mem::take(&mut self.older), Older::Lost);
        if is_lost || self.next >= ring.start || ring.start - self.next > RECALL_RECORDS_MAX {
            return None;
        }
        let until = ring.start + (ring.end - ring.start) / 2;
        // What came while it was away is judged by where it was then.
        let is_away = self.next < self.away_until;
        Some(self.next..if is_away { until.min(self.away_until) } else { until })
    }
}

/// Tells events as long as there is room.
pub(super) struct Teller<'a> {
    pub(super) room: usize,
    pub(super) depth: usize,
    /// One waits for room; all after it wait as well.
    pub(super) waits: bool,
    pub(super) out: &'a mut Vec<Out>,
}

impl Teller<'_> {
    /// Whether it was told.
    pub(super) fn tell(&mut self, event: &Event) -> bool {
        let cost = json_len(&event.data) + json_len(&event.name) + FIELDS_BYTES;
        self.waits |= self.room < cost.min(self.depth);
        if !self.waits {
            self.room = self.room.saturating_sub(cost);
            self.out.push(Out::Event(told(event)));
        }
        !self.waits
    }

    pub(super) fn reset(&mut self, reset: Reset) {
        self.out.push(Out::Reset(reset));
        self.room = self.room.saturating_sub(FIELDS_BYTES);
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

    #[test]
    fn who_reads_slowly_is_asked_for_what_came_while_they_were_away_apart_from_what_came_later() {
        let ring = |start, end| Ring { start, end, news: end, events: Vec::new() };
        let mut cursor = Cursor { partition: 0, next: 4, away_until: 6, said: None, older: Older::None };
        assert_eq!(cursor.lacks(&ring(9, 12)), Some(4..6));
        (cursor.next, cursor.older) = (6, Older::None);
        assert_eq!(cursor.lacks(&ring(9, 13)), Some(6..11));
        (cursor.next, cursor.older) = (9, Older::None);
        assert_eq!(cursor.lacks(&ring(9, 12)), None);
    }
}
