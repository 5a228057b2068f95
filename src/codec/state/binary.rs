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
mod tests {
    use super::*;
    use crate::codec::bits::Bits;
    use crate::codec::row::Chain;
    use crate::codec::state::{AGE_OLD_MS, Single};
    use crate::codec::wire::{Encoding, Heard};
    use proptest::prelude::*;

    const ORIGIN: Pos = Pos { x: 100, y: 0, z: -77 };

    fn told() -> impl Strategy<Value = Told> {
        (any::<[i16; 3]>(), any::<u8>(), 0..128_u8).prop_map(|([x, y, z], yaw, age)| Told {
            pos: Pos { x: ORIGIN.x + i32::from(x), y: i32::from(y), z: ORIGIN.z + i32::from(z) },
            yaw,
            age,
        })
    }

    fn app_state() -> impl Strategy<Value = AppState> {
        prop::collection::vec(any::<u8>(), 0..=16).prop_map(|b| AppState::new(&b).expect("short"))
    }

    /// What happens to one slot in one state: whether it is taken or freed, jumps, is told alone, or is told at all.
    fn deed() -> impl Strategy<Value = ([bool; 4], Told, [i8; 4])> {
        (any::<[bool; 4]>(), told(), any::<[i8; 4]>())
    }

    type Things = ([bool; 3], u64, String, AppState, Vec<([bool; 4], Told, [i8; 4])>);

    fn things() -> impl Strategy<Value = Things> {
        (any::<[bool; 3]>(), 1..4_u64, "\\PC{0,20}", app_state(), prop::collection::vec(deed(), 0..40))
    }

    /// A sender's table, by slot.
    #[derive(Default)]
    struct Table {
        tick: u64,
        trails: Vec<Option<(u8, Trail)>>,
    }

    impl Table {
        /// The next state, for JSON and for MessagePack, and the same as it is to be read.
        fn next(&mut self, (flags, ticks, profile, state, deeds): &Things) -> (Delta, Delta) {
            self.tick += ticks;
            let full_begin = flags[0] && self.tick > 5;
            let [_, full_end, partial] = *flags;
            let mut delta =
                Delta { tick: self.tick, full_begin, full_end, partial, origin: ORIGIN, ..Delta::default() };
            if full_begin {
                self.trails.fill(None);
            }
            self.trails.resize(self.trails.len().max(deeds.len()), None);
            let (mut singles, mut shared) = (Vec::new(), Vec::new());
            for (index, ([leaves, jumped, alone, moves], told, step)) in deeds.iter().enumerate() {
                let slot = Slot { index: index as u16, generation: step[0] as u8 };
                let Some((generation, trail)) = &mut self.trails[index] else {
                    let row = Row { slot, pos: told.pos, yaw: told.yaw, age_ms: u32::from(told.age), flags: 0 };
                    let entity = u64::from(told.pos.x.unsigned_abs()) << 20;
                    delta.enters.push(Enter { row, entity, profile: profile.as_str().into(), state: *state });
                    self.trails[index] = Some((slot.generation, Trail::new(*told)));
                    continue;
                };
                let slot = Slot { generation: *generation, ..slot };
                if *leaves && *alone {
                    delta.leaves.push(slot);
                    self.trails[index] = None;
                    continue;
                }
                if *leaves {
                    let (profile, state) = (Some(profile.as_str().into()).filter(|_| *jumped), Some(*state));
                    delta.changes.push(Change { slot, profile, state });
                }
                if !moves {
                    continue;
                }
                let on = |at: i32, by: i8| at.wrapping_add(i32::from(by));
                let Told { pos, yaw, .. } = trail.last;
                let near = Pos { x: on(pos.x, step[1]), y: on(pos.y, step[2] / 100), z: on(pos.z, step[3]) };
                let near = Told { pos: near, yaw: yaw.wrapping_add_signed(step[0] / 64), age: told.age / 64 };
                // As a chain would tell it that holds the same.
                let (mut bits, surprise) = (Bits::NONE, step[1].unsigned_abs() / 16);
                row::put(&mut bits, trail, &near, surprise);
                let bits = Some(bits).filter(|bits| !bits.is_empty() && !*alone && !*jumped);
                let now = bits.map_or(*told, |_| near);
                let jumped = *jumped && bits.is_none();
                let flags = if jumped { ROW_TELEPORT } else { 0 };
                let row = Row { slot, pos: now.pos, yaw: now.yaw, age_ms: u32::from(now.age), flags };
                match bits {
                    Some(bits) => {
                        delta.rows.shared.push((slot.index, bits));
                        shared.push(row);
                    }
                    None => {
                        let trail = *trail;
                        delta.rows.singles.push(Single { slot: slot.index, trail, told: now, surprise, jumped });
                        singles.push(row);
                    }
                }
                trail.go(now, jumped, surprise);
            }
            singles.extend(shared);
            delta.updates = singles;
            let read = Delta { rows: Rows::default(), ..delta.clone() };
            (delta, read)
        }
    }

    proptest! {
        #[test]
        fn states_round_trip_in_both_encodings(all in prop::collection::vec(things(), 1..6)) {
            for encoding in Encoding::ALL {
                let (mut table, mut writer, mut reader) = (Table::default(), Context::default(), Known::default());
                // JSON tells no origin.
                (writer.origin, reader.context.origin) = (ORIGIN, ORIGIN);
                for things in &all {
                    let (sent, read) = table.next(things);
                    let payload = encoding.encode_state(&mut writer, &sent);
                    prop_assert_eq!(encoding.decode_out(&mut reader, payload.bytes()), Ok(Heard::State(read)), "{:?}", encoding);
                }
                prop_assert_eq!(writer, reader.context);
                if encoding == Encoding::MessagePack {
                    let taken = |trails: &[Option<_>]| -> Vec<_> {
                        trails.iter().copied().enumerate().filter(|(_, trail)| trail.is_some()).collect()
                    };
                    prop_assert_eq!(taken(&table.trails), taken(&reader.trails));
                }
            }
        }

        #[test]
        fn bytes_from_elsewhere_never_panic(first in things(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (sent, _) = Table::default().next(&first);
            let (mut known, mut after) = (Known::default(), Vec::new());
            let first = encode(&mut Context::default(), &sent);
            decode(&mut known, body(&first).expect("a state")).expect("ours");
            // Also such as get beyond the number.
            after.push(bytes.first().copied().unwrap_or(0) & 3 | 2 << NUMBER_SHIFT);
            after.extend_from_slice(&bytes);
            let _ = decode(&mut known.clone(), &after);
            let _ = decode(&mut known.clone(), &bytes);
            let _ = Encoding::MessagePack.decode_out(&mut known, &bytes);
        }

        #[test]
        fn a_cut_state_is_an_error_or_a_shorter_list_of_rows(all in prop::collection::vec(things(), 2), cut in 0.0..1.0_f64) {
            let (mut table, mut writer, mut reader) = (Table::default(), Context::default(), Known::default());
            let (first, _) = table.next(&all[0]);
            decode(&mut reader, body(&encode(&mut writer, &first)).expect("a state")).expect("ours");
            let (sent, _) = table.next(&all[1]);
            let whole = encode(&mut writer, &sent);
            let body = body(&whole).expect("a state");
            let cut = (body.len() as f64 * cut) as usize;
            if let Ok(read) = decode(&mut reader, &body[..cut]) {
                prop_assert!(read.updates.len() < sent.updates.len());
            }
        }
    }

    #[test]
    fn a_crowd_that_walks_on_costs_a_few_bits_each() {
        let (mut context, mut known) = (Context { number: 70_000, ..Context::default() }, Known::default());
        known.context = context;
        let place = |i: u16, tick: u64| Told {
            pos: Pos { x: i32::from(i) + 7 * tick as i32, y: 120, z: 3 * i32::from(i) },
            yaw: i as u8,
            age: 20,
        };
        let slot = |index| Slot { index, generation: 0 };
        let enter = |i: u16| {
            let Told { pos, yaw, age } = place(i, 1);
            let row = Row { slot: slot(i), pos, yaw, age_ms: u32::from(age), flags: 0 };
            Enter { row, entity: u64::from(i) + 1, profile: "".into(), state: AppState::default() }
        };
        let mut chains: Vec<Chain> = (0..50).map(|i| Chain::new(place(i, 1), 0)).collect();
        let mut trails: Vec<Trail> = (0..50).map(|i| Trail::new(place(i, 1))).collect();
        let mut states =
            vec![Delta { tick: 1, full_begin: true, enters: (0..50).map(enter).collect(), ..Delta::default() }];
        for tick in 2..60 {
            let mut rows = Rows::default();
            for ((i, trail), chain) in (0..50).zip(&mut trails).zip(&mut chains) {
                let told = place(i, tick);
                let shared = chain.tell(told, false);
                assert!(shared.is_for(trail), "few bits");
                rows.shared.push((i, shared.bits));
                *trail = shared.next;
            }
            states.push(Delta { tick, rows, ..Delta::default() });
        }
        let mut bytes = 0;
        for state in &states {
            let payload = Encoding::MessagePack.encode_state(&mut context, state);
            bytes = payload.framed_len();
            let Ok(Heard::State(read)) = Encoding::MessagePack.decode_out(&mut known, payload.bytes()) else {
                panic!("not read again")
            };
            let expected = if state.tick == 1 { 0 } else { 50 };
            assert_eq!(read.updates.len(), expected);
            assert!(read.updates.iter().zip(0..).all(|(row, i)| row.pos == place(i, state.tick).pos));
        }
        // A gap, two distances and that nothing else is new: one bit each; and three for the parameter of the gaps.
        assert_eq!(bytes, 8 + (3_usize + 50 * 4).div_ceil(8));
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
