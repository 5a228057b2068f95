//! What the parts of a state cost, in bits, before it is encoded.

use super::interest;
use crate::codec::Encoding;
use crate::codec::state::{ENVELOPE_BYTES, ROW_BYTES};
use crate::codec::wire::json_len;
use crate::region::frame::Entity;

/// Bits that the parts of a state cost in one encoding: upper bounds, so that a budget holds before encoding.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Which encoding.
    pub encoding: Encoding,
    /// Around all else.
    pub envelope: usize,
    /// Of a leave.
    pub leave: usize,
    enter: usize,
    change: usize,
    /// What a row usually costs before any was told.
    pub usual_row: usize,
    /// Bytes that a text becomes.
    text: fn(&str) -> usize,
    /// Application state grows by at most this factor.
    growth: usize,
}

/// Bits of a row in JSON, at most.
pub const JSON_ROW: usize = 8 * 64;
/// Bits of the gap before a shared row, where most have news.
pub const GAP: usize = 2;
/// Where few have, gaps take more: in all at most a bit for so many slots, and what the envelope's bound leaves.
pub const SLOTS_PER_GAP_BIT: usize = 3;
/// Bits before a row that is told to one client alone.
pub const SINGLE_GAP: usize = 5;

impl Costs {
    /// The costs of an encoding.
    pub fn of(encoding: Encoding) -> Costs {
        match encoding {
            Encoding::MessagePack => Costs {
                encoding,
                envelope: 8 * 40,
                leave: 8 * 3,
                enter: 8 * (ROW_BYTES + 12),
                change: 8 * 6,
                usual_row: 8 * 2,
                text: str::len,
                growth: 1,
            },
            Encoding::Json => Costs {
                encoding,
                envelope: 8 * 130,
                leave: 8 * 12,
                enter: JSON_ROW + 8 * 30,
                change: 8 * 30,
                usual_row: 8 * 44,
                text: json_len,
                growth: 2,
            },
        }
    }

    /// What it costs that somebody enters.
    pub fn enter(&self, entity: &Entity) -> usize {
        self.enter + 8 * ((self.text)(&entity.profile) + self.growth * entity.state.bytes().len())
    }

    /// What it costs to tell a new profile, or state, or both.
    pub fn change(&self, entity: &Entity, profile: bool, state: bool) -> usize {
        let profile = if profile { (self.text)(&entity.profile) } else { 0 };
        let state = if state { self.growth * entity.state.bytes().len() } else { 0 };
        self.change + 8 * (profile + state)
    }
}

/// As many of a crowd are held at most by a view that has so many bytes per tick.
#[must_use]
pub fn capacity(encoding: Encoding, per_tick: usize) -> usize {
    interest::capacity(rows(per_tick, Costs::of(encoding).usual_row))
}

/// Rows of so many bits that fit so many bytes.
#[must_use]
pub fn rows(per_tick: usize, row: usize) -> usize {
    8 * per_tick.saturating_sub(ENVELOPE_BYTES) / row
}
