//! What the parts of a state cost, in bits, before it is encoded.

use super::interest::Supply;
use crate::codec::Encoding;
use crate::codec::state::{ENVELOPE_BYTES, ROW_BYTES};
use crate::codec::wire::json_len;
use crate::limits::{STRIDE_MAX, VIEW_ENTITIES_MAX};
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
    /// What a row of the near usually costs, before any was told,
    near_row: usize,
    /// and one of the far: at their strides more is new.
    far_row: usize,
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
                near_row: 8 * 2,
                far_row: 8 * 6,
                text: str::len,
                growth: 1,
            },
            Encoding::Json => Costs {
                encoding,
                envelope: 8 * 130,
                leave: 8 * 12,
                enter: JSON_ROW + 8 * 30,
                change: 8 * 30,
                near_row: 8 * 44,
                far_row: 8 * 44,
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
    Prices::new(&Costs::of(encoding)).supply(per_tick).kept
}

/// What the rows of a plan cost in one view.
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    near: Price,
    far: Price,
    /// What they usually cost, near and far.
    usual: [usize; 2],
}

impl Prices {
    /// Before any was paid.
    pub fn new(costs: &Costs) -> Prices {
        let usual = [costs.near_row, costs.far_row];
        let [near, far] = usual.map(Price::new);
        Prices { near, far, usual }
    }

    /// What so many bytes per tick buy.
    pub fn supply(&self, per_tick: usize) -> Supply {
        let bits = PART * 8 * per_tick.saturating_sub(ENVELOPE_BYTES);
        let [near_row, far_row] = self.usual.map(|bits| bits * PART);
        let (near, spare) = Supply { bits, near_row, far_row, kept: 0 }.rows(VIEW_ENTITIES_MAX);
        let kept = (near + spare * STRIDE_MAX as usize).min(VIEW_ENTITIES_MAX);
        Supply { bits, near_row: self.near.paid, far_row: self.far.paid, kept }
    }

    /// Learns from a tick that took so many bits for so many rows of the plan: of the near, and of the far 1/64 row each.
    pub fn learn(&mut self, (near_bits, near_rows): (usize, usize), (far_bits, far_rows): (usize, usize)) {
        self.near.learn(near_bits, near_rows * STRIDE_MAX as usize);
        self.far.learn(far_bits, far_rows);
    }
}

/// What a row of the plan costs: who stands, who is told alone and what else is told of them included.
#[derive(Clone, Copy, Debug)]
struct Price {
    /// Of late, 1/1024 bit.
    mean: usize,
    /// What plans go by, 1/16 bit. It lags, as every new plan moves people from stride to stride.
    paid: usize,
}

/// Part of a bit that prices are told in.
const PART: usize = 16;
/// Weight of the past in a price, ticks; and part of [`PART`] that the mean is kept in.
const MEMORY: usize = 64;
/// A price rises when it is this part above what plans go by,
const RISE_PART: usize = 64;
/// and falls when it is this part below.
const FALL_PART: usize = 8;
/// A row costs so many bits at least, so that a crowd that stands may walk off.
const LEAST: usize = 5;

impl Price {
    fn new(bits: usize) -> Price {
        Price { mean: bits * PART * MEMORY, paid: bits * PART }
    }

    /// Rows are counted in 1/64.
    fn learn(&mut self, bits: usize, rows: usize) {
        let Some(price) = (bits * PART * STRIDE_MAX as usize).checked_div(rows) else { return };
        self.mean = self.mean - self.mean / MEMORY + price;
        let price = (self.mean / MEMORY).max(LEAST * PART);
        if price > self.paid + self.paid / RISE_PART || price + self.paid / FALL_PART < self.paid {
            self.paid = price;
        }
    }
}
