//! States are read as they were written, whatever happens in them; what is no state is an error and no more.

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
        let mut delta = Delta { tick: self.tick, full_begin, full_end, partial, origin: ORIGIN, ..Delta::default() };
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
