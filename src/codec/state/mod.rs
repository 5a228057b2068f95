//! The difference between what a client holds and what it should hold ([`Delta`]); as bytes in `binary`, as JSON in
//! `json`.

mod binary;
mod json;

use std::sync::Arc;

use super::bits::Bits;
use super::message::{AppState, Id};
use super::row::{Told, Trail};
use crate::space::Pos;

pub use binary::{ENVELOPE_BYTES, Known, ROW_BYTES, body, decode, encode, skim};
pub use json::{from_json, to_json};

/// The row's entity did not walk here: draw no line from its last position.
pub const ROW_TELEPORT: u8 = 1;

/// How a client's table names an entity: the generation tells a reused slot from its predecessor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Index into the client's table.
    pub index: u16,
    /// Counts the uses of the index, wrapping.
    pub generation: u8,
}

/// Where an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whom it is about.
    pub slot: Slot,
    /// Position.
    pub pos: Pos,
    /// Facing, 1/256 turn.
    pub yaw: u8,
    /// Milliseconds between the sample and the tick. The binary form keeps 1 ms up to 127, then 8 ms, at most 1136;
    /// 255 there, and [`AGE_OLD_MS`] here, mean older.
    pub age_ms: u32,
    /// [`ROW_TELEPORT`]; other bits are reserved and ignored.
    pub flags: u8,
}

/// An entity that the client is to hold from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enter {
    /// Slot and position.
    pub row: Row,
    /// Its number.
    pub entity: Id,
    /// Its profile.
    pub profile: Arc<str>,
    /// Its application state.
    pub state: AppState,
}

/// What changed of an entity besides its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whom it is about.
    pub slot: Slot,
    /// The new profile, if it changed.
    pub profile: Option<Arc<str>>,
    /// The new application state, if it changed.
    pub state: Option<AppState>,
}

/// One state's content, the same for both encodings. Applied in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The tick it shows.
    pub tick: u64,
    /// Start a new table first.
    pub full_begin: bool,
    /// The new table is whole after this.
    pub full_end: bool,
    /// Part of the view is still being read.
    pub partial: bool,
    /// Origin that the rows of a binary state are relative to; positions here are absolute.
    pub origin: Pos,
    /// Slots that are free from now on.
    pub leaves: Vec<Slot>,
    /// New entities.
    pub enters: Vec<Enter>,
    /// Changed profiles and states.
    pub changes: Vec<Change>,
    /// New positions, as JSON tells them and as they were read.
    pub updates: Vec<Row>,
    /// New positions, as a binary state tells them.
    pub rows: Rows,
}

/// New positions on their way into a binary state. Slots rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Told to this client alone.
    pub singles: Vec<Single>,
    /// By slot: bits that other viewers get as well.
    pub shared: Vec<(u16, Bits)>,
}

/// A new position that is told to one client alone, because it does not hold what the shared bits are relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single {
    /// Whom it is about.
    pub slot: u16,
    /// What the client holds.
    pub trail: Trail,
    /// The new sample.
    pub told: Told,
    /// What is expected of the next one.
    pub surprise: u8,
    /// Its entity did not walk here.
    pub jumped: bool,
}

impl Delta {
    /// How many new positions it tells, in whichever form.
    #[must_use]
    pub fn updated(&self) -> usize {
        self.updates.len() + self.rows.singles.len() + self.rows.shared.len()
    }

    /// Whether it tells nothing but its tick.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let lists = self.leaves.len() + self.enters.len() + self.changes.len() + self.updated();
        lists == 0 && !self.full_begin && !self.full_end
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        let Delta { tick, full_begin, full_end, partial, origin: _, leaves, enters, changes, updates, rows } = self;
        *tick = 0;
        (*full_begin, *full_end, *partial) = (false, false, false);
        leaves.clear();
        enters.clear();
        changes.clear();
        updates.clear();
        rows.singles.clear();
        rows.shared.clear();
    }
}

/// Hash of one slot of a table: FNV-1a, 32 bits, over slot u16, generation u8, entity u64, x y z 3 × i32 cm, yaw u8 and
/// the application state's bytes, little-endian. A view's digest is the wrapping sum over its slots.
#[must_use]
pub fn row_hash(slot: Slot, entity: Id, pos: Pos, yaw: u8, state: &AppState) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut eat = |bytes: &[u8]| bytes.iter().for_each(|b| hash = (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    eat(&slot.index.to_le_bytes());
    eat(&[slot.generation]);
    eat(&entity.to_le_bytes());
    [pos.x, pos.y, pos.z].iter().for_each(|axis| eat(&axis.to_le_bytes()));
    eat(&[yaw]);
    eat(state.bytes());
    hash
}

/// What both ends remember from state to state, so that it need not travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Number of the last state.
    pub number: u64,
    /// Tick of the last state.
    pub tick: u64,
    /// Origin of the last binary state.
    pub origin: Pos,
    /// Who entered last by a binary state: ids of one gateway are near each other.
    pub entity: Id,
}

/// Age of a sample that is too old to say how old, ms.
pub const AGE_OLD_MS: u32 = 1144;

/// An age in one byte: 1 ms steps up to 127, then 8 ms steps (rounded down), 255 for older.
#[must_use]
pub fn age_to_byte(age_ms: u32) -> u8 {
    match age_ms {
        0..128 => age_ms as u8,
        128..AGE_OLD_MS => (128 + (age_ms - 128) / 8) as u8,
        _ => 255,
    }
}

/// The inverse of [`age_to_byte`]; ages from 128 ms on come back as the start of their step.
#[must_use]
pub fn age_from_byte(byte: u8) -> u32 {
    match byte {
        0..128 => u32::from(byte),
        128..255 => 128 + (u32::from(byte) - 128) * 8,
        255 => AGE_OLD_MS,
    }
}
