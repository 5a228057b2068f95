//! The rates of one session, and what happens to one that does not keep them.

use crate::admit::rate::Rate;
use crate::limits::{
    ACTS_BURST, ACTS_PER_S, CHANGES_BURST, CHANGES_PER_S, INBOUND_BYTES_BURST, INBOUND_BYTES_PER_S, MESSAGES_BURST,
    MESSAGES_PER_S, MOVES_BURST, MOVES_PER_S, REFUSALS_MAX, REFUSALS_WINDOW_US, SECOND_US, UNREADABLE_MAX,
};

/// What to do about a message above the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Tell the client.
    Tell,
    /// It was told within the last second.
    Silent,
    /// It is a flood.
    Close,
}

/// Rates and strikes of one session.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    messages: Rate,
    bytes: Rate,
    moves: Rate,
    acts: Rate,
    changes: Rate,
    window_us: u64,
    refusals: u32,
    unreadable: u32,
    told_us: Option<u64>,
}

impl Gate {
    /// All buckets full.
    #[must_use]
    pub fn new(now_us: u64) -> Gate {
        Gate {
            messages: Rate::new(MESSAGES_PER_S, MESSAGES_BURST, now_us),
            bytes: Rate::new(INBOUND_BYTES_PER_S, INBOUND_BYTES_BURST, now_us),
            moves: Rate::new(MOVES_PER_S, MOVES_BURST, now_us),
            acts: Rate::new(ACTS_PER_S, ACTS_BURST, now_us),
            changes: Rate::new(CHANGES_PER_S, CHANGES_BURST, now_us),
            window_us: now_us,
            refusals: 0,
            unreadable: 0,
            told_us: None,
        }
    }

    /// Whether a message of so many bytes may come in.
    pub fn message(&mut self, bytes: usize, now_us: u64) -> bool {
        self.messages.take(1, now_us) && self.bytes.take(bytes as u64, now_us)
    }

    /// Whether a sample is handed on at once.
    pub fn step(&mut self, now_us: u64) -> bool {
        self.moves.take(1, now_us)
    }

    /// Whether an action may be done.
    pub fn act(&mut self, now_us: u64) -> bool {
        self.acts.take(1, now_us)
    }

    /// Whether profile or view may change.
    pub fn change(&mut self, now_us: u64) -> bool {
        self.changes.take(1, now_us)
    }

    /// A message was above the rate.
    pub fn strike(&mut self, now_us: u64) -> Strike {
        self.turn_window(now_us);
        self.refusals += 1;
        if self.refusals >= REFUSALS_MAX {
            Strike::Close
        } else if self.told_us.is_none_or(|at| now_us.saturating_sub(at) >= SECOND_US) {
            self.told_us = Some(now_us);
            Strike::Tell
        } else {
            Strike::Silent
        }
    }

    /// A message could not be read. Whether that is once too often.
    pub fn unreadable(&mut self, now_us: u64) -> bool {
        self.turn_window(now_us);
        self.unreadable += 1;
        self.unreadable >= UNREADABLE_MAX
    }

    fn turn_window(&mut self, now_us: u64) {
        if now_us.saturating_sub(self.window_us) >= REFUSALS_WINDOW_US {
            (self.window_us, self.refusals, self.unreadable) = (now_us, 0, 0);
        }
    }
}
