//! What users are told by others: one partition of `direct`, folded. Each once, in the partition's order, kept in a ring for
//! the sessions of these users. A function of the partition's records, but for what stood there before the reading began.

use std::sync::Arc;

use super::dedupe::Windows;
use super::event::{Event, Ring};
use crate::codec::command::{Command, Deed, Verdict};
use crate::codec::message::Id;
use crate::limits::DIRECT_PARTITIONS;

/// The partition of `direct` in which a user's openings stand, and what they are told.
#[must_use]
pub fn lane_of(user: Id) -> u16 {
    (user % Id::from(DIRECT_PARTITIONS)) as u16
}

/// What the users of one partition are told.
#[derive(Clone, Debug, Default)]
pub struct Tells {
    windows: Windows,
    ring: Arc<Ring>,
    is_begun: bool,
    /// Windows forgotten because there were too many; the caller empties it.
    pub forgotten: u64,
}

impl Tells {
    /// Reading begins at an offset, of a log that ends at another one. What was read before stays, where the two join.
    pub fn start(&mut self, first: u64, end: u64) {
        let Ring { end: read, .. } = *self.ring;
        let is_anew = end < read;
        if is_anew {
            self.windows = Windows::default();
        }
        if !self.is_begun || is_anew || first > read {
            let news = if self.is_begun { first } else { end };
            self.ring = Arc::new(Ring::starting(first, news));
            self.is_begun = true;
        }
    }

    /// The record at an offset has been read, whatever it holds.
    pub fn read(&mut self, offset: u64) {
        Arc::make_mut(&mut self.ring).end = offset + 1;
    }

    /// The newest, of all users of the partition.
    #[must_use]
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// Sessions and events remembered, for the simulation's checker.
    #[must_use]
    pub fn kept(&self) -> (usize, usize) {
        (self.windows.len(), self.ring.events.len())
    }

    /// Whether it has been folded.
    #[must_use]
    pub fn knows(&self, key: (Id, u64)) -> bool {
        self.windows.has(key)
    }

    /// Folds a command: `None` if it is none that stands here.
    pub fn fold(&mut self, offset: u64, command: &Command) -> Option<Verdict> {
        let Deed::Tell { .. } = &command.deed else { return None };
        let (taken, forgot) = self.windows.take((command.session, command.n), command.trusted);
        self.forgotten += u64::from(forgot);
        if taken.is_ok() || crate::planted!(DoneTwice) {
            Event::of(offset, command).into_iter().for_each(|event| Arc::make_mut(&mut self.ring).push(event));
        }
        Some(Verdict::Done(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::EVENT_RING;
    use crate::space::Pos;

    fn tell(session: Id, n: u64, to: Id) -> Command {
        let deed = Deed::Tell { to, user: session, name: "x".into(), data: "".into() };
        let (pos, from) = (Pos::default(), Pos::default());
        Command { session, n, entity: 1, trusted: false, pos, from, deed }
    }

    fn fold(tells: &mut Tells, offset: u64, command: &Command) -> Option<Verdict> {
        let verdict = tells.fold(offset, command);
        tells.read(offset);
        verdict
    }

    fn span(tells: &Tells) -> (u64, u64, usize) {
        let ring = tells.ring();
        (ring.start, ring.end, ring.events.len())
    }

    #[test]
    fn each_is_told_once_and_answered_as_often_as_it_is_sent() {
        let mut tells = Tells::default();
        tells.start(4, 4);
        for (offset, n) in [(4, 7), (5, 7), (7, 8), (8, 7)] {
            assert_eq!(fold(&mut tells, offset, &tell(1, n, 9)), Some(Verdict::Done(None)));
        }
        assert_eq!(fold(&mut tells, 9, &tell(2, 7, 9)), Some(Verdict::Done(None)));
        let offsets: Vec<u64> = tells.ring().events.iter().map(|event| event.offset).collect();
        assert_eq!(offsets, [4, 7, 9]);
        assert!(tells.knows((1, 8)) && !tells.knows((1, 6)));
        let act = Command { deed: Deed::Remove(crate::codec::command::Aim { id: 1, expect: None }), ..tell(1, 9, 9) };
        assert_eq!(fold(&mut tells, 10, &act), None, "it does not belong here");
    }

    #[test]
    fn the_ring_is_bounded_and_knows_where_something_lacks() {
        let mut tells = Tells::default();
        tells.start(0, 0);
        for n in 0..EVENT_RING as u64 + 10 {
            fold(&mut tells, n, &tell(1, n, 2));
        }
        let end = EVENT_RING as u64 + 10;
        assert_eq!(span(&tells), (10, end, EVENT_RING));
        tells.start(end - 5, end + 3);
        assert_eq!(span(&tells), (10, end, EVENT_RING), "read anew, from before where it was");
        tells.start(end + 1, end + 3);
        assert_eq!(span(&tells), (end + 1, end + 1, 0), "one was not read");
        assert!(tells.knows((1, end - 1)));
        tells.start(0, 3);
        assert_eq!(span(&tells), (0, 0, 0), "the topic was made anew");
        assert!(!tells.knows((1, end - 1)));
    }
}
