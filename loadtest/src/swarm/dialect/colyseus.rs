//! Colyseus 0.18 (`@colyseus/shared-types`, `Protocol.ts`; `@colyseus/schema` 5, `encoder/EncodeOperation.ts`): a seat is
//! asked for by HTTP, the first message is answered, then come the state of the room and its patches. Reads as much of
//! them as it takes to know which players changed and which are in view; it knows the schema of
//! `peers/colyseus.mjs`: a map of players, each of int16 fields.

use std::collections::HashSet;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use nearcast::codec::Payload;
use nearcast::codec::message::Move;
use serde::Deserialize;

use super::packed::words;
use crate::http;

/// The room that `peers/colyseus.mjs` has.
const ROOM: &str = "plaza";

// The first byte of a message.
const JOIN_ROOM: u8 = 10;
const ROOM_DATA: u8 = 13;
const ROOM_STATE: u8 = 14;
const ROOM_STATE_PATCH: u8 = 15;

// What the bytes of a structure mean: an operation in the two upper bits, for a field with its number in the others.
const SWITCH_TO_STRUCTURE: u8 = 255;
const OPERATION: u8 = 0b1100_0000;
const REPLACE: u8 = 0;
const DELETE: u8 = 0b0100_0000;
/// The state of the room is this structure.
const STATE: u32 = 0;
/// Bytes of a player's field.
const FIELD_BYTES: usize = 2;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seat {
    process_id: String,
    room_id: String,
    session_id: String,
}

/// Asks for a seat in the room; where it is.
pub(super) async fn reserve(addr: SocketAddr) -> Result<String> {
    let head = format!("POST /matchmake/joinOrCreate/{ROOM} HTTP/1.1\r\nHost: {addr}\r\nConnection: close");
    let request = format!("{head}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
    let answer = http::ask(addr, &request).await.with_context(|| format!("{addr} gives no seat in a room"))?;
    let Seat { process_id, room_id, session_id } =
        serde_json::from_str(&answer).with_context(|| format!("{answer:?} is no seat in a room"))?;
    Ok(format!("/{process_id}/{room_id}?sessionId={session_id}"))
}

/// The answer to the first message, after which the state is sent.
pub(super) fn joined() -> Payload {
    Payload::Binary(vec![JOIN_ROOM].into())
}

/// `room.send("move", {x, y, z, yaw})`: the name, then the object in MessagePack.
pub(super) fn say(step: &Move) -> Payload {
    let mut said = vec![ROOM_DATA, 0xA4];
    said.extend_from_slice(b"move\x84");
    for (name, word) in [&b"\xA1x"[..], b"\xA1y", b"\xA1z", b"\xA3yaw"].iter().zip(words(step)) {
        said.extend_from_slice(name);
        said.push(0xD1);
        said.extend_from_slice(&word.to_be_bytes());
    }
    Payload::Binary(said.into())
}

/// What is known of the room.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The structure that is the map of players.
    map: Option<u32>,
    /// Players in view, by their index in the map.
    players: HashSet<u32>,
}

impl Room {
    pub(super) fn others(&self) -> usize {
        self.players.len()
    }

    /// Players of whom a message has a position; `None` if it is no state.
    pub(super) fn count(&mut self, bytes: &[u8]) -> Result<Option<u64>, String> {
        match bytes.split_first() {
            Some((&(ROOM_STATE | ROOM_STATE_PATCH), body)) => {
                let mut reader = Reader(body);
                self.patch(&mut reader).map(Some).ok_or_else(|| {
                    let at = bytes.len() - reader.0.len();
                    format!("byte {at} of a patch of {} is not of the schema of a room `{ROOM}`", bytes.len())
                })
            }
            Some(_) | None => Ok(None),
        }
    }

    fn patch(&mut self, reader: &mut Reader<'_>) -> Option<u64> {
        let mut structure = STATE;
        // Of the last player that was switched to; a switch without a field is no update.
        let (mut updates, mut is_counted) = (0, false);
        while !reader.0.is_empty() {
            let byte = reader.byte()?;
            if byte == SWITCH_TO_STRUCTURE {
                (structure, is_counted) = (reader.number()?, false);
            } else if structure == STATE {
                self.map = Some(reader.number()?);
            } else if Some(structure) == self.map {
                self.entry(byte, reader)?;
            } else {
                if byte & OPERATION != DELETE {
                    reader.skip(FIELD_BYTES)?;
                }
                updates += u64::from(!is_counted);
                is_counted = true;
            }
        }
        Some(updates)
    }

    /// One entry of the map of players comes or goes.
    fn entry(&mut self, operation: u8, reader: &mut Reader<'_>) -> Option<()> {
        let index = reader.number()?;
        match operation {
            DELETE => {
                self.players.remove(&index);
                return Some(());
            }
            REPLACE => {}
            _ => reader.skip_string()?,
        }
        reader.number()?;
        self.players.insert(index);
        Some(())
    }
}

/// What is left of a message. `None`: it ends too early, or has what is not expected.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn little_endian(&mut self, bytes: usize) -> Option<u32> {
        (0..bytes).try_fold(0, |number, at| Some(number | u32::from(self.byte()?) << (8 * at)))
    }

    /// A number that is not negative: itself below 128, else with its width before it.
    fn number(&mut self) -> Option<u32> {
        match self.byte()? {
            small @ 0..0x80 => Some(u32::from(small)),
            0xCC => self.little_endian(1),
            0xCD => self.little_endian(2),
            0xCE => self.little_endian(4),
            _ => None,
        }
    }

    fn skip_string(&mut self) -> Option<()> {
        let len = match self.byte()? {
            short @ 0xA0..0xC0 => u32::from(short & 0x1F),
            0xD9 => self.little_endian(1)?,
            0xDA => self.little_endian(2)?,
            _ => return None,
        };
        self.skip(len as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::a_move;
    use super::*;

    /// As `peers/colyseus.mjs` sent it: the map is structure 1; player 2 enters with index 0 and all four fields.
    const ENTERS: &[u8] = b"\x0F\xFF\x00\x80\x01\xFF\x01\x80\x00\xA9izE67YoLd\x02\xFF\x02\x80\x02\x00\x81\x00\x00\x82\x02\x01\x83\x05\x00";
    /// As it was sent: the same player's `x` changes.
    const MOVES: &[u8] = b"\x0F\xFF\x02\x80\x03\x00";
    const LEAVES: &[u8] = b"\x0F\xFF\x01\x40\x00";

    #[test]
    fn a_move_is_a_name_and_messagepack() {
        let said = b"\x0D\xA4move\x84\xA1x\xD1\x00\x30\xA1y\xD1\x00\x00\xA1z\xD1\xFF\xB8\xA3yaw\xD1\x40\x00";
        assert_eq!(say(&a_move()).bytes(), said);
    }

    #[test]
    fn patches_are_counted_by_player() {
        let mut room = Room::default();
        let mut check = |bytes: &[u8], updates, others| {
            assert_eq!((room.count(bytes), room.others()), (Ok(updates), others), "{bytes:02X?}");
        };
        check(&[JOIN_ROOM, 9], None, 0);
        check(&[ROOM_STATE], Some(0), 0);
        check(ENTERS, Some(1), 1);
        check(MOVES, Some(1), 1);
        check(&[ROOM_STATE_PATCH], Some(0), 1);
        // Two fields of one player, then one of another, whose number takes two bytes.
        check(b"\x0F\xFF\x02\x00\x03\x00\x02\x04\x00\xFF\xCC\xC8\x00\x03\x00", Some(2), 1);
        check(LEAVES, Some(0), 0);
    }

    #[test]
    fn what_is_cut_or_foreign_is_an_error_and_never_a_panic() {
        for len in 2..ENTERS.len() {
            // A cut between two operations cannot be seen.
            let _error_or_less = Room::default().count(&ENTERS[..len]);
        }
        assert!(Room::default().count(&ENTERS[..ENTERS.len() - 1]).is_err());
        let error = Room::default().count(b"\x0F\xFF\xC0").expect_err("no number begins so");
        assert!(error.contains("byte 3 of a patch of 3"), "{error}");
    }
}
