//! One partition of `events`, folded: which actions took effect, in which order, each once. A function of the
//! partition's records alone.

use std::sync::Arc;

use super::fold::Map;
use super::frame::{Event, Ring};
use crate::codec::message::Id;
use crate::codec::record::Action;
use crate::limits::{DEDUPE_SESSIONS_MAX, EVENT_RING, OPEN_ACTS_MAX};

/// Numbers of a session that are remembered: twice what may be open, so that a resend always falls inside.
const WINDOW: u64 = 2 * OPEN_ACTS_MAX;

/// Which numbers of a session have taken effect: the highest, and a bit for each of the 64 up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    highest: u64,
    bits: u64,
}

impl Window {
    /// Whether `n` is remembered.
    fn has(self, n: u64) -> bool {
        self.bits != 0 && n <= self.highest && self.highest - n < WINDOW && self.bits & (1 << (self.highest - n)) != 0
    }

    /// Whether `n` is new; then it is remembered. Below the window everything counts as seen.
    fn take(&mut self, n: u64) -> bool {
        if n > self.highest || self.bits == 0 {
            let shift = n - self.highest;
            self.bits = if shift >= WINDOW { 0 } else { self.bits << shift } | 1;
            self.highest = n;
            return true;
        }
        let back = self.highest - n;
        let new = back < WINDOW && self.bits & (1 << back) == 0;
        if new {
            self.bits |= 1 << back;
        }
        new
    }
}

/// The folded actions of one partition.
#[derive(Debug, Default)]
pub struct Actions {
    windows: Map<Id, Window>,
    /// `None` until the log is read.
    ring: Option<Arc<Ring>>,
    /// What stands below has been told when it was new: it only fills the windows.
    from: u64,
    /// Windows forgotten because there were too many; the caller empties it.
    pub forgotten: u64,
}

impl Actions {
    /// The newest events, once they are read.
    #[must_use]
    pub fn ring(&self) -> Option<Arc<Ring>> {
        self.ring.clone()
    }

    /// The log reaches to this offset: nobody is told of what stands before it.
    pub fn start(&mut self, offset: u64) {
        self.from = offset;
        self.ring = Some(Arc::new(Ring { start: offset, end: offset, events: Vec::new() }));
    }

    /// Sessions and events remembered, for the simulation's checker.
    #[must_use]
    pub fn kept(&self) -> (usize, usize) {
        (self.windows.len(), self.ring.as_ref().map_or(0, |ring| ring.events.len()))
    }

    /// Whether an action has taken effect.
    #[must_use]
    pub fn knows(&self, (session, n): (Id, u64)) -> bool {
        self.windows.get(&session).is_some_and(|window| window.has(n))
    }

    /// Folds one action. False if it had taken effect before.
    pub fn fold(&mut self, offset: u64, action: &Action) -> bool {
        // The window moves to the end, so that the first is the session longest silent.
        let mut window = self.windows.shift_remove(&action.session).unwrap_or_default();
        let new = window.take(action.n);
        if self.windows.len() >= DEDUPE_SESSIONS_MAX {
            self.windows.shift_remove_index(0);
            self.forgotten += 1;
        }
        self.windows.insert(action.session, window);
        if offset < self.from {
            return new;
        }
        let ring = Arc::make_mut(self.ring.get_or_insert_default());
        ring.end = offset + 1;
        if new {
            ring.events.push(Arc::new(Event {
                offset,
                from: action.entity,
                scope: action.scope,
                pos: action.pos,
                name: action.name.clone(),
                data: action.data.clone(),
            }));
            let len = ring.events.len();
            if crate::planted!(SwappedOrder) && len >= 2 {
                ring.events.swap(len - 1, len - 2);
            }
            if len > EVENT_RING {
                let gone = ring.events.remove(0);
                ring.start = gone.offset + 1;
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::message::Scope;
    use crate::space::Pos;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn action(session: Id, n: u64) -> Action {
        Action { session, n, entity: 1, scope: Scope::Nearby, pos: Pos::default(), name: "x".into(), data: "".into() }
    }

    proptest! {
        #[test]
        fn each_number_takes_effect_once_within_the_window(ns in prop::collection::vec(0..60_u64, 1..200)) {
            let mut actions = Actions::default();
            let mut seen = BTreeSet::new();
            for (offset, n) in ns.into_iter().enumerate() {
                prop_assert_eq!(actions.fold(offset as u64, &action(1, n)), seen.insert(n));
            }
        }
    }

    #[test]
    fn the_ring_is_bounded_and_says_from_where() {
        let mut actions = Actions::default();
        for n in 0..2_000 {
            assert!(actions.fold(n * 2, &action(n % 7, n)));
        }
        let ring = actions.ring().expect("it has events");
        assert_eq!((ring.events.len(), ring.end), (EVENT_RING, 3_999));
        assert_eq!(ring.start, ring.events[0].offset - 1);
    }

    #[test]
    fn what_is_read_back_is_known_and_told_to_nobody() {
        let mut actions = Actions::default();
        actions.start(7);
        assert!(actions.fold(5, &action(1, 1)) && actions.fold(6, &action(1, 2)));
        let ring = actions.ring().expect("it has begun");
        assert_eq!((ring.start, ring.end, ring.events.len()), (7, 7, 0));
        assert!(!actions.fold(7, &action(1, 2)), "it was done before");
        assert!(actions.fold(8, &action(1, 3)));
        let ring = actions.ring().expect("it has begun");
        assert_eq!((ring.end, ring.events.len()), (9, 1));
    }

    #[test]
    fn the_session_longest_silent_is_forgotten_first() {
        let mut actions = Actions::default();
        for session in 0..DEDUPE_SESSIONS_MAX as u64 {
            actions.fold(session, &action(session, 1));
        }
        actions.fold(10_000, &action(0, 2));
        assert_eq!(actions.forgotten, 0);
        actions.fold(10_001, &action(9_999, 1));
        assert_eq!((actions.forgotten, actions.kept().0), (1, DEDUPE_SESSIONS_MAX));
        assert!(!actions.fold(10_002, &action(0, 1)), "session 0 spoke lately");
        assert!(actions.fold(10_003, &action(1, 1)), "session 1 was forgotten");
    }
}
