//! A `state` in MessagePack is `{"s": bin}`. The binary field, little-endian (`schemas/protocol.md` has the table):
//!
//! ```text
//! head u8: bit 0 the tick after the last · bit 1 `what` follows · bits 2 to 7 number, low bits
//! [what u8]
//! [tick varint]                       unless head bit 0: absolute with what.FULL_BEGIN, else since the last state
//! [origin 3 × i32 cm]                 if what.ORIGIN
//! [count varint · count × (slot u16, generation u8)]                                          if what.LEAVES
//! [count varint · count × (row, entity varint, profile short, state short)]                   if what.ENTERS
//! [count varint · count × (slot u16, generation u8, what u8, [profile], [state])]             if what.CHANGES
//! bits, the lowest of a byte first, the last byte filled up with ones:
//!   [count Rice 4 · count × (gap Rice 2, jumped 1, sample)]                                   if what.SINGLES
//!   [parameter 3 · (gap Rice parameter, sample) until the end]
//!
//! row = slot u16 · generation u8 · x y z 3 × i16 cm from the origin · yaw u8 · age u8   (11 bytes)
//! gap = slots between this one and the last
//! sample = as `row::put` writes it
//! ```
use bytes::Bytes;

use super::{Change, Context, Delta, Enter, ROW_TELEPORT, Row, Rows, Slot, age_from_byte, age_to_byte};
use crate::codec::bits::{BitReader, Put, Writer};
use crate::codec::message::AppState;
use crate::codec::reader::{Malformed, Reader, put_short, put_varint};
use crate::codec::row::{self, Told, Trail};
use crate::limits::{APP_STATE_BYTES_MAX, PROFILE_BYTES_MAX};
use crate::space::Pos;

/// Bytes of the row of an enter.
pub const ROW_BYTES: usize = 11;
/// Bytes around the rows of a state that has nothing else: WebSocket header 2 or 4, `{"s": bin}` 5 or 6, head 1.
pub const ENVELOPE_BYTES: usize = 11;

/// The tick is the one after the last state's.
const HEAD_NEXT: u8 = 1;
/// A byte follows of what there is besides shared rows.
const HEAD_WHAT: u8 = 2;
const NUMBER_SHIFT: u32 = 2;

const FULL_BEGIN: u8 = 1;
const FULL_END: u8 = 2;
const PARTIAL: u8 = 4;
const ORIGIN: u8 = 8;
const LEAVES: u8 = 16;
const ENTERS: u8 = 32;
const CHANGES: u8 = 64;
const SINGLES: u8 = 128;

/// Rice parameter of the number of singles.
const COUNT_PARAMETER: u32 = 4;
/// Rice parameter of the gaps between singles.
const SINGLE_PARAMETER: u32 = 2;
/// Bits of the Rice parameter of the gaps between shared rows.
const GAP_PARAMETER_BITS: u32 = 3;

const CHANGE_PROFILE: u8 = 1;
const CHANGE_STATE: u8 = 2;

/// What a reader remembers: besides the context, by slot, its generation and the samples that the next one is told
/// relative to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub(in crate::codec) context: Context,
    trails: Vec<Option<(u8, Trail)>>,
}

impl Known {
    /// Number of the last state.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.context.number
    }

    /// Tick of the last state.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.context.tick
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

/// A `state` as a MessagePack message; numbers it, and moves `context` on. Updates are taken from [`Delta::rows`].
///
/// # Panics
/// If who enters is more than 327 m from `delta.origin`, which `limits` rules out.
#[must_use]
pub fn encode(context: &mut Context, delta: &Delta) -> Bytes {
    const PREFIX: usize = 6;
    let Rows { singles, shared } = &delta.rows;
    let mut out = Vec::with_capacity(PREFIX + 24 + 2 * shared.len() + 12 * singles.len() + 48 * delta.enters.len());
    out.extend_from_slice(&[0; PREFIX]);

    context.number += 1;
    let with_origin = delta.full_begin || delta.origin != context.origin;
    let mut what = 0;
    for (bit, set) in [
        (FULL_BEGIN, delta.full_begin),
        (FULL_END, delta.full_end),
        (PARTIAL, delta.partial),
        (ORIGIN, with_origin),
        (LEAVES, !delta.leaves.is_empty()),
        (ENTERS, !delta.enters.is_empty()),
        (CHANGES, !delta.changes.is_empty()),
        (SINGLES, !singles.is_empty()),
    ] {
        what |= if set { bit } else { 0 };
    }
    let is_next = !delta.full_begin && delta.tick == context.tick + 1;
    let head = (context.number << NUMBER_SHIFT) as u8;
    out.push(head | if is_next { HEAD_NEXT } else { 0 } | if what == 0 { 0 } else { HEAD_WHAT });
    if what != 0 {
        out.push(what);
    }
    if !is_next {
        put_varint(&mut out, if delta.full_begin { delta.tick } else { delta.tick - context.tick });
    }
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
            put_varint(&mut out, zigzag(enter.entity.wrapping_sub(context.entity)));
            context.entity = enter.entity;
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
    let mut out = put_rows(out, &delta.rows);

    let len = u16::try_from(out.len() - PREFIX).expect("the budget's bucket keeps a state below 64 KiB");
    match u8::try_from(len) {
        Ok(len) => {
            out[1..PREFIX].copy_from_slice(&[0x81, 0xa1, b's', 0xc4, len]);
            Bytes::from(out).slice(1..)
        }
        Err(_) => {
            let [high, low] = len.to_be_bytes();
            out[..PREFIX].copy_from_slice(&[0x81, 0xa1, b's', 0xc5, high, low]);
            Bytes::from(out)
        }
    }
}

fn put_rows(out: Vec<u8>, rows: &Rows) -> Vec<u8> {
    let mut bits = Writer::new(out);
    let gap = |next: &mut u16, slot: u16| {
        let gap = u32::from(slot - *next);
        *next = slot + 1;
        gap
    };
    if !rows.singles.is_empty() {
        bits.put_rice(rows.singles.len() as u32, COUNT_PARAMETER);
        let mut next = 0;
        for single in &rows.singles {
            bits.put_rice(gap(&mut next, single.slot), SINGLE_PARAMETER);
            bits.put(u32::from(single.jumped), 1);
            row::put(&mut bits, &single.trail, &single.told, single.surprise);
        }
    }
    if let Some((last, _)) = rows.shared.last() {
        // Two thirds of the mean distance is where one more bit begins to pay.
        let mean = (2 * (u32::from(*last) + 1) / (3 * rows.shared.len() as u32)).max(1);
        let parameter = mean.ilog2().min((1 << GAP_PARAMETER_BITS) - 1);
        bits.put(parameter, GAP_PARAMETER_BITS);
        let mut next = 0;
        for (slot, sample) in &rows.shared {
            bits.put_rice(gap(&mut next, *slot), parameter);
            bits.put_bits(*sample);
        }
    }
    bits.end()
}

struct Head {
    what: u8,
    tick: u64,
}

fn head(context: &Context, reader: &mut Reader<'_>) -> Result<Head, Malformed> {
    let head = reader.u8()?;
    if head >> NUMBER_SHIFT != (context.number + 1) as u8 & (0xff >> NUMBER_SHIFT) {
        return Err(Malformed::Bad("state number"));
    }
    let what = if head & HEAD_WHAT == 0 { 0 } else { reader.u8()? };
    let tick = if head & HEAD_NEXT == 0 { reader.varint()? } else { 1 };
    let is_absolute = what & FULL_BEGIN != 0;
    let tick = if is_absolute { tick } else { context.tick.checked_add(tick).ok_or(Malformed::Bad("tick"))? };
    Ok(Head { what, tick })
}

/// Reads no more of a state's binary field than its number and tick, which `known` then has. For who wants nothing
/// else: the next can only be skimmed as well.
///
/// # Errors
/// When it is none, or not the next after the last.
pub fn skim(known: &mut Known, body: &[u8]) -> Result<(), Malformed> {
    let context = &mut known.context;
    let Head { tick, .. } = head(context, &mut Reader::new(body))?;
    (context.number, context.tick) = (context.number + 1, tick);
    Ok(())
}

/// Reads a state's binary field; checks and moves `known` on.
///
/// # Errors
/// When it is none, or not the next after the last; nothing can be read after that.
pub fn decode(known: &mut Known, body: &[u8]) -> Result<Delta, Malformed> {
    let mut reader = Reader::new(body);
    let Known { context, trails } = known;
    let Head { what, tick } = head(context, &mut reader)?;
    let has = |bit: u8| what & bit != 0;
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
    if has(FULL_BEGIN) {
        trails.clear();
    }
    if has(LEAVES) {
        for _ in 0..reader.varint()? {
            let slot = slot(&mut reader)?;
            trails.get_mut(usize::from(slot.index)).ok_or(Malformed::Bad("leave"))?.take();
            delta.leaves.push(slot);
        }
    }
    if has(ENTERS) {
        for _ in 0..reader.varint()? {
            let (row, told) = row(&mut reader, origin)?;
            let entity = context.entity.wrapping_add(unzigzag(reader.varint()?));
            context.entity = entity;
            let index = usize::from(row.slot.index);
            if trails.len() <= index {
                trails.resize(index + 1, None);
            }
            trails[index] = Some((row.slot.generation, Trail::new(told)));
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
    let bits = BitReader::new(reader.take(reader.left())?);
    get_rows(bits, trails, has(SINGLES), &mut delta.updates)?;
    *context = Context { number: context.number + 1, tick, origin, entity: context.entity };
    Ok(delta)
}

fn get_rows(
    mut bits: BitReader<'_>,
    trails: &mut [Option<(u8, Trail)>],
    has_singles: bool,
    out: &mut Vec<Row>,
) -> Result<(), Malformed> {
    let mut row = |bits: &mut BitReader<'_>, next: &mut usize, parameter: u32, single: bool| {
        let index = *next + bits.rice(parameter)? as usize;
        *next = index + 1;
        let (generation, trail) = trails.get_mut(index).and_then(Option::as_mut).ok_or(Malformed::Bad("slot"))?;
        let jumped = single && bits.get(1)? == 1;
        let told = row::get(bits, trail, jumped)?;
        out.push(Row {
            slot: Slot { index: index as u16, generation: *generation },
            pos: told.pos,
            yaw: told.yaw,
            age_ms: age_from_byte(told.age),
            flags: if jumped { ROW_TELEPORT } else { 0 },
        });
        Ok(())
    };
    let mut next = 0;
    if has_singles {
        for _ in 0..bits.rice(COUNT_PARAMETER)? {
            row(&mut bits, &mut next, SINGLE_PARAMETER, true)?;
        }
    }
    if bits.is_at_end() {
        return Ok(());
    }
    let parameter = bits.get(GAP_PARAMETER_BITS)?;
    let mut next = 0;
    loop {
        row(&mut bits, &mut next, parameter, false)?;
        if bits.is_at_end() {
            return Ok(());
        }
    }
}

fn zigzag(value: u64) -> u64 {
    (value << 1) ^ ((value as i64 >> 63) as u64)
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
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
    ]);
}

fn row(reader: &mut Reader<'_>, origin: Pos) -> Result<(Row, Told), Malformed> {
    let slot = slot(reader)?;
    let mut axis = |origin: i32| {
        let offset = reader.i16()?;
        origin.checked_add(i32::from(offset)).ok_or(Malformed::Bad("position"))
    };
    let pos = Pos { x: axis(origin.x)?, y: axis(origin.y)?, z: axis(origin.z)? };
    let told = Told { pos, yaw: reader.u8()?, age: reader.u8()? };
    Ok((Row { slot, pos, yaw: told.yaw, age_ms: age_from_byte(told.age), flags: 0 }, told))
}

fn app_state(reader: &mut Reader<'_>) -> Result<AppState, Malformed> {
    let bytes = reader.short_bytes(APP_STATE_BYTES_MAX, "application state")?;
    AppState::new(bytes).ok_or(Malformed::Bad("application state"))
}

#[cfg(test)]
mod tests;
