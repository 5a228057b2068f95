//! What others hear of commands, and the newest of it in a ring that all sessions share.

use std::sync::Arc;

use crate::codec::command::{Command, Deed};
use crate::codec::message::{Id, Scope};
use crate::limits::EVENT_RING;
use crate::space::{Pos, Region};

/// Something done, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its offset in the partition of `events`.
    pub offset: u64,
    /// Whose avatar did it.
    pub from: Id,
    /// Which user that is.
    pub user: Id,
    /// Which user is told, if it is one.
    pub to: Option<Id>,
    /// Who is told.
    pub scope: Scope,
    /// Where.
    pub pos: Pos,
    /// What.
    pub name: Arc<str>,
    /// More about it.
    pub data: Arc<str>,
}

impl Event {
    /// What a command lets others hear, where it stands at this offset; `None` if nothing.
    #[must_use]
    pub fn of(offset: u64, command: &Command) -> Option<Event> {
        let (from, pos) = (command.entity, command.pos);
        let (to, scope, user, name, data) = match &command.deed {
            Deed::Act { scope, user, name, data } => (None, *scope, *user, name, data),
            Deed::Tell { to, user, name, data } => (Some(*to), Scope::User, *user, name, data),
            Deed::Create { .. }
            | Deed::Change { .. }
            | Deed::Grab(_)
            | Deed::Release(..)
            | Deed::Remove(_)
            | Deed::Environment { .. } => return None,
        };
        Some(Event { offset, from, user, to, scope, pos, name: name.clone(), data: data.clone() })
    }

    /// Whether it is told to somebody: which user that is, where they are, and how far they see, metres.
    #[must_use]
    pub fn reaches(&self, user: Option<Id>, at: Pos, radius_m: f64) -> bool {
        match self.scope {
            Scope::Nearby => self.pos.distance_m(at) <= radius_m,
            Scope::Region => Region::of(self.pos) == Region::of(at),
            Scope::World => true,
            Scope::User => self.to.is_some() && self.to == user,
        }
    }
}

/// The newest events of one partition.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Everything below this offset has gone from the ring, or was never in it.
    pub start: u64,
    /// The next event will have at least this offset.
    pub end: u64,
    /// What stands below was there before this gateway began to read.
    pub news: u64,
    /// Events, offsets rising.
    pub events: Vec<Arc<Event>>,
}

impl Ring {
    /// Nothing yet: what comes has at least this offset.
    pub(in crate::region) fn starting(at: u64, news: u64) -> Ring {
        Ring { start: at, end: at, news, events: Vec::new() }
    }

    /// Appends an event; the oldest goes where there are too many.
    pub(in crate::region) fn push(&mut self, event: Event) {
        self.events.push(Arc::new(event));
        if self.events.len() > EVENT_RING {
            let gone = self.events.remove(0);
            self.start = gone.offset + 1;
        }
    }

    /// So many long events at one place, for tests of what holds them back.
    #[cfg(test)]
    pub(crate) fn backlog(pos: Pos, n: u64) -> Ring {
        let (scope, name, data): (_, Arc<str>, Arc<str>) = (Scope::Nearby, "x".into(), "x".repeat(2_000).into());
        let event = |offset| {
            let (name, data) = (name.clone(), data.clone());
            Arc::new(Event { offset, from: 1, user: 1, to: None, scope, pos, name, data })
        };
        Ring { start: 0, end: n, news: 0, events: (0..n).map(event).collect() }
    }
}
