//! The rates of one session, and what happens to one that does not keep them.

use crate::admit::movement::Seconds;
use crate::admit::rate::Rate;
use crate::limits::{REFUSALS_WINDOW_US, SECOND_US, UNREADABLE_MAX};
use crate::settings::Limits;

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
    crossings: Rate,
    controls: Rate,
    window_us: u64,
    refusals: u32,
    refusals_max: u32,
    unreadable: u32,
    told_us: Option<u64>,
    refused_moves: Seconds,
}

impl Gate {
    /// All buckets full.
    #[must_use]
    pub fn new(limits: &Limits, now_us: u64) -> Gate {
        let rate = |per_s, burst| Rate::new(per_s, burst, now_us);
        Gate {
            messages: rate(limits.messages_per_s, limits.messages_burst),
            bytes: rate(limits.bytes_per_s, limits.bytes_burst),
            moves: rate(limits.moves_per_s, limits.moves_burst),
            acts: rate(limits.acts_per_s, limits.acts_burst),
            changes: rate(limits.changes_per_s, limits.changes_burst),
            crossings: rate(limits.crossings_per_s, limits.crossings_burst),
            controls: rate(limits.controls_per_s, limits.controls_burst),
            window_us: now_us,
            refusals: 0,
            refusals_max: limits.refusals_max(),
            unreadable: 0,
            told_us: None,
            refused_moves: Seconds::default(),
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

    /// Whether another region may be entered.
    pub fn crossing(&mut self, now_us: u64) -> bool {
        self.crossings.take(1, now_us)
    }

    /// Whether a WebSocket ping or pong of so many bytes may come in; it is a message as well.
    pub fn control(&mut self, bytes: usize, now_us: u64) -> bool {
        self.controls.take(1, now_us) && self.message(bytes, now_us)
    }

    /// A move was too fast. Whether one was in `max` seconds of the last minute; then they count from 0 again.
    pub fn too_fast(&mut self, max: u32, now_us: u64) -> bool {
        let is_too_often = self.refused_moves.mark(now_us) >= max;
        if is_too_often {
            self.refused_moves = Seconds::default();
        }
        is_too_often
    }

    /// A message was above the rate.
    pub fn strike(&mut self, now_us: u64) -> Strike {
        self.turn_window(now_us);
        self.refusals += 1;
        if self.refusals >= self.refusals_max {
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
