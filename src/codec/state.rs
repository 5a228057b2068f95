//! The difference between what a client holds and what it should hold ([`Delta`]), as bytes and as JSON.
//!
//! A `state` in MessagePack is `{"s": bin}`. The binary field, little-endian (`schemas/protocol.md` has the table):
//!
//! ```text
//! flags u8 · number u16 (low bits) · tick varint (absolute with full_begin, else since the last state)
//! [origin 3 × i32 cm]                          if flags.ORIGIN
//! [count varint · count × (slot u16, generation u8)]                                  if flags.LEAVES
//! [count varint · count × (row, entity u64, profile short, state short)]              if flags.ENTERS
//! [count varint · count × (slot u16, generation u8, what u8, [profile], [state])]     if flags.CHANGES
//! rows until the end
//!
//! row = slot u16 · generation u8 · x y z 3 × i16 cm from the origin · yaw u8 · age u8 · flags u8   (12 bytes)
//! ```

use std::sync::Arc;

use super::message::{AppState, ChangeRow, EnterRow, Id, State, UpdateRow};
use super::reader::{Malformed, Reader, put_short, put_varint};
use crate::limits::{APP_STATE_BYTES_MAX, PROFILE_BYTES_MAX};
use crate::space::{Pos, yaw_degrees, yaw_from_degrees};

/// Bytes of one row.
pub const ROW_BYTES: usize = 12;
/// Bytes around the rows of a state without sections: WebSocket header 4, `{"s": bin16}` 6, flags, number, tick 4.
pub const ENVELOPE_BYTES: usize = 14;

const FULL_BEGIN: u8 = 1;
const FULL_END: u8 = 2;
const PARTIAL: u8 = 4;
const ORIGIN: u8 = 8;
const LEAVES: u8 = 16;
const ENTERS: u8 = 32;
const CHANGES: u8 = 64;
const UNKNOWN_FLAGS: u8 = 128;

const CHANGE_PROFILE: u8 = 1;
const CHANGE_STATE: u8 = 2;

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
    /// New positions.
    pub updates: Vec<Row>,
}

impl Delta {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        let Delta { tick, full_begin, full_end, partial, origin: _, leaves, enters, changes, updates } = self;
        *tick = 0;
        (*full_begin, *full_end, *partial) = (false, false, false);
        leaves.clear();
        enters.clear();
        changes.clear();
        updates.clear();
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

/// The binary field of a MessagePack `state`, if `message` is one.
#[must_use]
pub fn body(message: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(message.strip_prefix(&[0x81, 0xa1, b's'])?);
    let len = match reader.u8().ok()? {
        0xc4 => usize::from(reader.u8().ok()?),
        0xc5 => usize::from(u16::from_be_bytes([reader.u8().ok()?, reader.u8().ok()?])),
        _ => return None,
    };
    let body = reader.take(len).ok()?;
    reader.end().ok()?;
    Some(body)
}

/// A `state` as a MessagePack message; numbers it, and moves `context` on.
///
/// # Panics
/// If a row is more than 327 m from `delta.origin`, which `limits` rules out.
#[must_use]
pub fn encode(context: &mut Context, delta: &Delta) -> Vec<u8> {
    const PREFIX: usize = 6;
    let mut out = Vec::with_capacity(PREFIX + 24 + ROW_BYTES * delta.updates.len() + 48 * delta.enters.len());
    out.extend_from_slice(&[0; PREFIX]);

    context.number += 1;
    let with_origin = delta.full_begin || delta.origin != context.origin;
    let mut flags = 0;
    for (bit, set) in [
        (FULL_BEGIN, delta.full_begin),
        (FULL_END, delta.full_end),
        (PARTIAL, delta.partial),
        (ORIGIN, with_origin),
        (LEAVES, !delta.leaves.is_empty()),
        (ENTERS, !delta.enters.is_empty()),
        (CHANGES, !delta.changes.is_empty()),
    ] {
        flags |= if set { bit } else { 0 };
    }
    out.push(flags);
    out.extend_from_slice(&(context.number as u16).to_le_bytes());
    put_varint(&mut out, if delta.full_begin { delta.tick } else { delta.tick - context.tick });
    context.tick = delta.tick;
    context.origin = delta.origin;
    if with_origin {
        for axis in [delta.origin.x, delta.origin.y, delta.origin.z] {
            out.extend_from_slice(&axis.to_le_bytes());
        }
    }
    if !delta.leaves.is_empty() {
        put_varint(&mut out, delta.leaves.len() as u64);
        delta.leaves.iter().for_each(|slot| put_slot(&mut out, *slot));
    }
    if !delta.enters.is_empty() {
        put_varint(&mut out, delta.enters.len() as u64);
        for enter in &delta.enters {
            put_row(&mut out, delta.origin, &enter.row);
            out.extend_from_slice(&enter.entity.to_le_bytes());
            put_short(&mut out, enter.profile.as_bytes());
            put_short(&mut out, enter.state.bytes());
        }
    }
    if !delta.changes.is_empty() {
        put_varint(&mut out, delta.changes.len() as u64);
        for change in &delta.changes {
            put_slot(&mut out, change.slot);
            out.push(
                if change.profile.is_some() { CHANGE_PROFILE } else { 0 }
                    | if change.state.is_some() { CHANGE_STATE } else { 0 },
            );
            change.profile.iter().for_each(|p| put_short(&mut out, p.as_bytes()));
            change.state.iter().for_each(|s| put_short(&mut out, s.bytes()));
        }
    }
    delta.updates.iter().for_each(|row| put_row(&mut out, delta.origin, row));

    let len = u16::try_from(out.len() - PREFIX).expect("the budget's bucket keeps a state below 64 KiB").to_be_bytes();
    out[..PREFIX].copy_from_slice(&[0x81, 0xa1, b's', 0xc5, len[0], len[1]]);
    out
}

/// Reads a state's binary field; checks and moves `context` on.
pub fn decode(context: &mut Context, body: &[u8]) -> Result<Delta, Malformed> {
    let mut reader = Reader::new(body);
    let flags = reader.u8()?;
    if flags & UNKNOWN_FLAGS != 0 {
        return Err(Malformed::Bad("state flags"));
    }
    let number = reader.u16()?;
    if number != (context.number + 1) as u16 {
        return Err(Malformed::Bad("state number"));
    }
    let has = |bit: u8| flags & bit != 0;
    let tick = reader.varint()?;
    let tick = if has(FULL_BEGIN) { tick } else { context.tick.checked_add(tick).ok_or(Malformed::Bad("tick"))? };
    let origin =
        if has(ORIGIN) { Pos { x: reader.i32()?, y: reader.i32()?, z: reader.i32()? } } else { context.origin };
    let mut delta = Delta {
        tick,
        full_begin: has(FULL_BEGIN),
        full_end: has(FULL_END),
        partial: has(PARTIAL),
        origin,
        ..Delta::default()
    };
    if has(LEAVES) {
        for _ in 0..reader.varint()? {
            delta.leaves.push(slot(&mut reader)?);
        }
    }
    if has(ENTERS) {
        for _ in 0..reader.varint()? {
            let row = row(&mut reader, origin)?;
            let entity = reader.u64()?;
            let profile = reader.short_str(PROFILE_BYTES_MAX, "profile")?.into();
            delta.enters.push(Enter { row, entity, profile, state: app_state(&mut reader)? });
        }
    }
    if has(CHANGES) {
        for _ in 0..reader.varint()? {
            let slot = slot(&mut reader)?;
            let what = reader.u8()?;
            let profile = match what & CHANGE_PROFILE {
                0 => None,
                _ => Some(reader.short_str(PROFILE_BYTES_MAX, "profile")?.into()),
            };
            let state = if what & CHANGE_STATE == 0 { None } else { Some(app_state(&mut reader)?) };
            delta.changes.push(Change { slot, profile, state });
        }
    }
    while reader.left() > 0 {
        delta.updates.push(row(&mut reader, origin)?);
    }
    *context = Context { number: context.number + 1, tick, origin };
    Ok(delta)
}

fn put_slot(out: &mut Vec<u8>, slot: Slot) {
    let [low, high] = slot.index.to_le_bytes();
    out.extend_from_slice(&[low, high, slot.generation]);
}

fn slot(reader: &mut Reader<'_>) -> Result<Slot, Malformed> {
    Ok(Slot { index: reader.u16()?, generation: reader.u8()? })
}

fn put_row(out: &mut Vec<u8>, origin: Pos, row: &Row) {
    let axis = |at: i32, origin: i32| {
        i16::try_from(at - origin).expect("interest and origin keep rows within 327 m").to_le_bytes()
    };
    let (x, y, z) = (axis(row.pos.x, origin.x), axis(row.pos.y, origin.y), axis(row.pos.z, origin.z));
    let slot = row.slot.index.to_le_bytes();
    out.extend_from_slice(&[
        slot[0],
        slot[1],
        row.slot.generation,
        x[0],
        x[1],
        y[0],
        y[1],
        z[0],
        z[1],
        row.yaw,
        age_to_byte(row.age_ms),
        row.flags,
    ]);
}

fn row(reader: &mut Reader<'_>, origin: Pos) -> Result<Row, Malformed> {
    let slot = slot(reader)?;
    let mut axis = |origin: i32| {
        let offset = reader.i16()?;
        origin.checked_add(i32::from(offset)).ok_or(Malformed::Bad("position"))
    };
    let pos = Pos { x: axis(origin.x)?, y: axis(origin.y)?, z: axis(origin.z)? };
    Ok(Row { slot, pos, yaw: reader.u8()?, age_ms: age_from_byte(reader.u8()?), flags: reader.u8()? })
}

fn app_state(reader: &mut Reader<'_>) -> Result<AppState, Malformed> {
    let bytes = reader.short_bytes(APP_STATE_BYTES_MAX, "application state")?;
    AppState::new(bytes).ok_or(Malformed::Bad("application state"))
}

/// A `state` for JSON; numbers it, and moves `context` on.
#[must_use]
pub fn to_json(context: &mut Context, delta: &Delta) -> State {
    context.number += 1;
    context.tick = delta.tick;
    let row = |row: &Row| {
        let [x, y, z] = row.pos.metres();
        UpdateRow(row.slot.index, row.slot.generation, x, y, z, yaw_degrees(row.yaw), row.age_ms, row.flags)
    };
    State {
        number: context.number,
        tick: delta.tick,
        full_begin: delta.full_begin,
        full_end: delta.full_end,
        partial: delta.partial,
        leave: delta.leaves.iter().map(|slot| (slot.index, slot.generation)).collect(),
        enter: delta
            .enters
            .iter()
            .map(|enter| {
                let UpdateRow(slot, generation, x, y, z, yaw, age, flags) = row(&enter.row);
                EnterRow(
                    slot,
                    generation,
                    x,
                    y,
                    z,
                    yaw,
                    age,
                    flags,
                    enter.entity,
                    enter.profile.to_string(),
                    enter.state,
                )
            })
            .collect(),
        change: delta
            .changes
            .iter()
            .map(|c| ChangeRow(c.slot.index, c.slot.generation, c.profile.as_deref().map(str::to_owned), c.state))
            .collect(),
        update: delta.updates.iter().map(row).collect(),
    }
}

/// Reads a JSON `state`; checks and moves `context` on.
pub fn from_json(context: &mut Context, state: State) -> Result<Delta, Malformed> {
    if state.number != context.number + 1 {
        return Err(Malformed::Bad("state number"));
    }
    let row = |UpdateRow(index, generation, x, y, z, yaw, age_ms, flags)| {
        Ok::<Row, Malformed>(Row {
            slot: Slot { index, generation },
            pos: Pos::from_metres([x, y, z]).ok_or(Malformed::Bad("position"))?,
            yaw: yaw_from_degrees(yaw).ok_or(Malformed::Bad("yaw"))?,
            age_ms,
            flags,
        })
    };
    let delta = Delta {
        tick: state.tick,
        full_begin: state.full_begin,
        full_end: state.full_end,
        partial: state.partial,
        origin: context.origin,
        leaves: state.leave.iter().map(|&(index, generation)| Slot { index, generation }).collect(),
        enters: state
            .enter
            .into_iter()
            .map(|EnterRow(slot, generation, x, y, z, yaw, age, flags, entity, profile, state)| {
                let row = row(UpdateRow(slot, generation, x, y, z, yaw, age, flags))?;
                Ok(Enter { row, entity, profile: profile.into(), state })
            })
            .collect::<Result<_, Malformed>>()?,
        changes: state
            .change
            .into_iter()
            .map(|ChangeRow(index, generation, profile, state)| Change {
                slot: Slot { index, generation },
                profile: profile.map(Into::into),
                state,
            })
            .collect(),
        updates: state.update.into_iter().map(row).collect::<Result<_, Malformed>>()?,
    };
    context.number += 1;
    context.tick = state.tick;
    Ok(delta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::wire::{Encoding, Heard};
    use proptest::prelude::*;

    fn row() -> impl Strategy<Value = Row> {
        (any::<u16>(), any::<u8>(), any::<[i16; 3]>(), any::<u8>(), 0_u32..128, any::<u8>()).prop_map(
            |(index, generation, [x, y, z], yaw, age_ms, flags)| Row {
                slot: Slot { index, generation },
                pos: Pos { x: 100 + i32::from(x), y: i32::from(y), z: i32::from(z) - 77 },
                yaw,
                age_ms,
                flags,
            },
        )
    }

    fn app_state() -> impl Strategy<Value = AppState> {
        prop::collection::vec(any::<u8>(), 0..=16).prop_map(|b| AppState::new(&b).expect("short"))
    }

    fn delta() -> impl Strategy<Value = Delta> {
        let slot = (any::<u16>(), any::<u8>()).prop_map(|(index, generation)| Slot { index, generation });
        let profile = "\\PC{0,20}".prop_map(Arc::<str>::from);
        let enter = (row(), 0..1_u64 << 53, profile.clone(), app_state())
            .prop_map(|(row, entity, profile, state)| Enter { row, entity, profile, state });
        let change = (slot.clone(), prop::option::of(profile), prop::option::of(app_state()))
            .prop_map(|(slot, profile, state)| Change { slot, profile, state });
        let lists = (
            prop::collection::vec(slot, 0..4),
            prop::collection::vec(enter, 0..4),
            prop::collection::vec(change, 0..4),
            prop::collection::vec(row(), 0..40),
        );
        (any::<[bool; 3]>(), 1_000..2_000_u64, lists).prop_map(|(flags, tick, (leaves, enters, changes, updates))| {
            Delta {
                tick,
                full_begin: flags[0],
                full_end: flags[1],
                partial: flags[2],
                origin: Pos { x: 100, y: 0, z: -77 },
                leaves,
                enters,
                changes,
                updates,
            }
        })
    }

    proptest! {
        #[test]
        fn states_round_trip_in_both_encodings(first in delta(), mut second in delta()) {
            second.tick += 1_000;
            for encoding in Encoding::ALL {
                let (mut writer, mut reader) = (Context { origin: first.origin, ..Context::default() }, Context { origin: first.origin, ..Context::default() });
                for sent in [&first, &second] {
                    let payload = encoding.encode_state(&mut writer, sent);
                    let heard = encoding.decode_out(&mut reader, payload.bytes());
                    prop_assert_eq!(heard, Ok(Heard::State(sent.clone())), "{:?}", encoding);
                }
                prop_assert_eq!(writer, reader);
            }
        }

        #[test]
        fn bytes_from_elsewhere_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&mut Context { number: u64::from(bytes.first().copied().unwrap_or(0)), ..Context::default() }, &bytes);
            let _ = Encoding::MessagePack.decode_out(&mut Context::default(), &bytes);
        }

        #[test]
        fn a_cut_state_is_an_error_or_a_shorter_list_of_rows(sent in delta(), cut in 0.0..1.0_f64) {
            let whole = encode(&mut Context { origin: sent.origin, ..Context::default() }, &sent);
            let body = body(&whole).expect("a state");
            let cut = (body.len() as f64 * cut) as usize;
            if let Ok(read) = decode(&mut Context { origin: sent.origin, ..Context::default() }, &body[..cut]) {
                prop_assert!(read.updates.len() < sent.updates.len());
            }
        }
    }

    #[test]
    fn an_envelope_of_fourteen_bytes() {
        let mut context = Context { number: 70_000, tick: 5, origin: Pos::default() };
        let row = Row { slot: Slot::default(), pos: Pos::default(), yaw: 0, age_ms: 0, flags: 0 };
        let delta = Delta { tick: 6, updates: vec![row; 50], ..Delta::default() };
        let payload = Encoding::MessagePack.encode_state(&mut context, &delta);
        assert_eq!(payload.framed_len(), ENVELOPE_BYTES + 50 * ROW_BYTES);
    }

    #[test]
    fn ages_keep_their_step() {
        for age in 0..2_000 {
            let back = age_from_byte(age_to_byte(age));
            let step = if age < 128 { 1 } else { 8 };
            assert!(back <= age && (age - back < step || back == AGE_OLD_MS), "{age} {back}");
        }
    }
}
