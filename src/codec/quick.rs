//! The usual form of a `move` in MessagePack, read straight off its bytes: nine of ten messages are one, and the general
//! way spends more on each than the session that takes it. Whatever is unusual is left to the general way, so that only
//! that one decides what is an error.

use super::message::{AppState, Move};
use super::reader::Reader;

/// Reads a `move` as encoders write it: one map, known names, whole numbers also as integers. `None` leaves it to serde.
#[must_use]
pub fn step(message: &[u8]) -> Option<Move> {
    let mut reader = Reader::new(message.strip_prefix(b"\x81\xa4move")?);
    let fields = reader.u8().ok().filter(|byte| byte & 0xf0 == 0x80)? & 0x0f;
    let (mut time, mut pos, mut yaw, mut state, mut seen, mut held_ms) = (None, None, None, None, None, None);
    for _ in 0..fields {
        let len = reader.u8().ok().filter(|byte| byte & 0xe0 == 0xa0)? & 0x1f;
        let is_again = match reader.take(usize::from(len)).ok()? {
            b"time" => time.replace(number(&mut reader)?).is_some(),
            b"pos" => pos.replace(place(&mut reader)?).is_some(),
            b"yaw" => yaw.replace(number(&mut reader)?).is_some(),
            b"state" => state.replace(bytes(&mut reader)?).is_some(),
            b"seen" => seen.replace(count(&mut reader)?).is_some(),
            b"held_ms" => held_ms.replace(number(&mut reader)?).is_some(),
            _ => return None,
        };
        if is_again {
            return None;
        }
    }
    reader.end().ok()?;
    let (yaw, state) = (yaw.unwrap_or_default(), state.unwrap_or_default());
    Some(Move { time: time?, pos: pos?, yaw, state, seen, held_ms })
}

/// A number without a sign.
fn count(reader: &mut Reader<'_>) -> Option<u64> {
    Some(match reader.u8().ok()? {
        small @ 0..0x80 => u64::from(small),
        0xcc => u64::from(reader.u8().ok()?),
        0xcd => u64::from(reader.u16().ok()?.swap_bytes()),
        0xce => u64::from(reader.u32().ok()?.swap_bytes()),
        0xcf => reader.u64().ok()?.swap_bytes(),
        _ => return None,
    })
}

/// Any number. Encoders write whole ones as integers.
fn number(reader: &mut Reader<'_>) -> Option<f64> {
    let mut ahead = *reader;
    Some(match ahead.u8().ok()? {
        0xcb => {
            *reader = ahead;
            f64::from_bits(reader.u64().ok()?.swap_bytes())
        }
        0xca => {
            *reader = ahead;
            f64::from(f32::from_bits(reader.u32().ok()?.swap_bytes()))
        }
        small @ 0xe0.. => {
            *reader = ahead;
            f64::from(small as i8)
        }
        _ => count(reader)? as f64,
    })
}

fn place(reader: &mut Reader<'_>) -> Option<[f64; 3]> {
    reader.u8().ok().filter(|byte| *byte == 0x93)?;
    Some([number(reader)?, number(reader)?, number(reader)?])
}

fn bytes(reader: &mut Reader<'_>) -> Option<AppState> {
    reader.u8().ok().filter(|byte| *byte == 0xc4)?;
    let len = reader.u8().ok()?;
    AppState::new(reader.take(usize::from(len)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoding;
    use crate::codec::message::In;
    use proptest::prelude::*;

    prop_compose! {
        fn some_move()(
            numbers in prop::array::uniform6(prop_oneof![any::<f64>(), (-300..70_000_i32).prop_map(f64::from)]),
            state in prop::collection::vec(any::<u8>(), 0..=16),
            seen: Option<u64>,
            held in any::<bool>(),
        ) -> Move {
            let [time, x, y, z, yaw, held_ms] = numbers;
            let state = AppState::new(&state).expect("short");
            Move { time, pos: [x, y, z], yaw, state, seen, held_ms: held.then_some(held_ms) }
        }
    }

    /// The same with whole numbers as integers, as JavaScript's encoders write them.
    fn with_integers(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = message;
        while let [first, tail @ ..] = rest {
            rest = tail;
            let Some((double, tail)) = tail.split_first_chunk().filter(|_| *first == 0xcb) else {
                out.push(*first);
                continue;
            };
            let value = f64::from_be_bytes(*double);
            match value as i64 {
                whole if whole as f64 != value => {
                    out.extend_from_slice(&message[message.len() - rest.len() - 1..][..9])
                }
                small @ -32..128 => out.push(small as u8),
                byte @ 128..256 => out.extend([0xcc, byte as u8]),
                short @ 256..65_536 => out.extend([0xcd, (short >> 8) as u8, short as u8]),
                other => {
                    out.push(0xd3);
                    out.extend(other.to_be_bytes());
                }
            }
            rest = tail;
        }
        out
    }

    fn general(message: &[u8]) -> Option<Move> {
        match rmp_serde::from_slice(message) {
            Ok(In::Move(step)) => Some(step),
            Ok(_) | Err(_) => None,
        }
    }

    /// Also where a number is none.
    fn same(a: &Move, b: &Move) -> bool {
        format!("{a:?}") == format!("{b:?}")
    }

    proptest! {
        #[test]
        fn it_reads_what_clients_write(step in some_move()) {
            let payload = Encoding::MessagePack.encode_in(&In::Move(step.clone()));
            let read = super::step(payload.bytes());
            prop_assert!(read.as_ref().is_some_and(|read| same(read, &step)), "{:?}", read);
        }

        #[test]
        fn what_it_reads_is_what_the_general_way_reads(
            step in some_move(),
            integers: bool,
            spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in 0.8..1.2_f64,
        ) {
            let payload = Encoding::MessagePack.encode_in(&In::Move(step));
            let mut message = if integers { with_integers(payload.bytes()) } else { payload.bytes().to_vec() };
            for (at, byte) in spoil {
                *at.get_mut(&mut message) = byte;
            }
            message.truncate((message.len() as f64 * cut) as usize);
            if let Some(read) = super::step(&message) {
                let general = general(&message);
                prop_assert!(general.as_ref().is_some_and(|step| same(step, &read)), "{:?} {:?}", read, general);
            }
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_general_way() {
        let step = |tail: &[u8]| super::step(&[b"\x81\xa4move".as_slice(), tail].concat());
        let usual: &[u8] = b"\x82\xa4time\x07\xa3pos\x93\x01\xff\xcd\x01\x00";
        let read = step(usual).expect("usual");
        assert_eq!((read.time, read.pos), (7.0, [1.0, -1.0, 256.0]));
        assert!(step(&[usual, b"\x00"].concat()).is_none(), "more behind it");
        assert!(step(b"\x81\xa4time\x07").is_none(), "no place");
        assert!(step(b"\x83\xa4time\x07\xa4time\x07\xa3pos\x93\x01\x02\x03").is_none(), "twice");
        assert!(step(b"\x83\xa4time\x07\xa4what\x07\xa3pos\x93\x01\x02\x03").is_none(), "a field to come");
        assert!(step(b"\x82\xa4time\xc0\xa3pos\x93\x01\x02\x03").is_none(), "nothing for a number");
    }
}
