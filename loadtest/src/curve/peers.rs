//! Formats of others, counted byte by byte: records in full, as the floor and `ws-packed` send them, objects in JSON, as
//! `ws-json` does, and changed fields, as Colyseus. Nobody holds anything back: all within the radius are told of at every patch.
//!
//! Of fields, what `@colyseus/schema` 5.0.34 writes for the room of `peers/colyseus.mjs`, by running its encoder and
//! reading `src/encoder/Encoder.ts` and `StateView.ts`: 255 and a number in front of each player that changed, 3 bytes for
//! each field. A number takes 1 byte below 128, 2 below 256, 3 below 65,536.

use anyhow::Result;
use nearcast::client::Avatar;
use nearcast::codec::message::{AppState, Id};
use nearcast::codec::wire::framed_len;
use nearcast::limits::TICK_US;
use serde_json::json;

use super::film::Film;
use super::tally::{Shown, Teller};
use crate::audit::AHEAD_US;
use crate::floor::{RECORD_BYTES, UNITS_PER_M};

/// What a position is told as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A record of number, position and facing, whether they changed or not.
    Records,
    /// The same as an object in JSON, as exact as it was said.
    Json,
    /// Those of the four fields that changed.
    Fields,
}

impl Format {
    /// Coordinates are whole multiples of this, cm.
    fn unit_cm(self) -> f64 {
        match self {
            Format::Records | Format::Fields => 100.0 / UNITS_PER_M,
            Format::Json => 1.0,
        }
    }
}

/// x, y, z and facing as int16 tell them.
type Words = [i32; 4];

/// See the top.
pub struct Peers {
    format: Format,
    every: usize,
    /// By viewer and person.
    seen: Vec<Vec<Option<Seen>>>,
}

/// What a client knows of somebody.
#[derive(Clone)]
struct Seen {
    words: Words,
    avatar: Avatar,
}

impl Peers {
    /// A server that sends at every so many ticks.
    #[must_use]
    pub fn new(film: &Film, format: Format, every: usize) -> Peers {
        Peers { format, every, seen: vec![vec![None; film.people()]; film.viewers.len()] }
    }
}

impl Teller for Peers {
    fn tick(&mut self, _: &Film, _: usize) {}

    fn tell(&mut self, film: &Film, tick: usize, at: usize) -> Result<usize> {
        if !tick.is_multiple_of(self.every) {
            return Ok(0);
        }
        let time_us = tick as u64 * TICK_US;
        let mut message = Message::default();
        let mut near = film.within(tick, film.viewers[at], film.radius_m).peekable();
        for (person, seen) in self.seen[at].iter_mut().enumerate() {
            if near.next_if_eq(&person).is_none() {
                message.leave(person, seen.take().is_some());
                continue;
            }
            let (pos, sample) = (film.pos(tick, person, self.format.unit_cm()), film.sample(tick, person));
            let facing = (sample.yaw_deg / 360.0 * 65_536.0) as i32;
            if self.format == Format::Json {
                let ([x, y, z], yaw) = (sample.pos, sample.yaw_deg);
                message.json += json!({"id": person, "x": x, "y": y, "z": z, "yaw": yaw}).to_string().len() + 1;
            }
            let words = [pos.x, pos.y, pos.z, facing];
            match seen {
                None => {
                    message.enter(person);
                    let before = (pos, time_us);
                    let (entity, state) = (person as Id, AppState::default());
                    let avatar = Avatar { entity, pos, yaw: 0, time_us, before, profile: "".into(), state };
                    *seen = Some(Seen { words, avatar });
                }
                Some(seen) => {
                    message.change(person, &seen.words, &words);
                    let avatar = &mut seen.avatar;
                    avatar.before = (avatar.pos, avatar.time_us);
                    (avatar.pos, avatar.time_us, seen.words) = (pos, time_us, words);
                }
            }
        }
        Ok(match self.format {
            Format::Records => framed_len(RECORD_BYTES * message.people),
            Format::Json => framed_len(r#"{"players":[]}"#.len() + message.json.saturating_sub(1)),
            Format::Fields => message.len_of_fields(),
        })
    }

    fn shown(&self, tick: usize, at: usize, person: usize) -> Option<Shown> {
        let Seen { avatar, .. } = self.seen[at][person].as_ref()?;
        let metres = |in_units: [f64; 3]| in_units.map(|axis| axis * self.format.unit_cm());
        let drawn = metres(avatar.at(tick as u64 * TICK_US, AHEAD_US));
        Some(Shown { held: metres(avatar.pos.metres()), drawn })
    }
}

/// One patch of fields, as lengths.
#[derive(Default)]
struct Message {
    /// All who are in view.
    people: usize,
    entered: bool,
    left: bool,
    len: usize,
    /// Of all objects, with the commas behind them.
    json: usize,
}

/// A client's number in the room, as its key in the map: nine characters and their length.
const KEY: usize = 10;
/// One changed field: its index and two bytes.
const FIELD: usize = 3;
/// Fields of a player.
const FIELDS: usize = 4;

/// The players' numbers begin after those of the room and of the map.
fn number(person: usize) -> usize {
    person + 2
}

/// Bytes of a number.
fn len_of(number: usize) -> usize {
    match number {
        0..128 => 1,
        128..256 => 2,
        _ => 3,
    }
}

impl Message {
    /// The map's new entry, then the player's four fields.
    fn enter(&mut self, person: usize) {
        (self.people, self.entered) = (self.people + 1, true);
        let of_map = 1 + len_of(person) + KEY + len_of(number(person));
        self.len += of_map + 1 + len_of(number(person)) + FIELDS * FIELD;
    }

    fn leave(&mut self, person: usize, was_there: bool) {
        if was_there {
            self.left = true;
            self.len += 1 + len_of(person);
        }
    }

    fn change(&mut self, person: usize, before: &Words, now: &Words) {
        self.people += 1;
        let changed = before.iter().zip(now).filter(|(before, now)| before != now).count();
        if changed > 0 {
            self.len += 1 + len_of(number(person)) + FIELD * changed;
        }
    }

    /// With what stands before the map, the protocol's byte and the frame. Nothing is sent without a change.
    fn len_of_fields(&self) -> usize {
        let map = match (self.entered, self.left) {
            (true, _) => 6,
            (false, true) => 2,
            (false, false) => 0,
        };
        if self.len == 0 { 0 } else { framed_len(1 + map + self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_take_what_the_real_encoder_writes() {
        let check = |bytes: usize, fill: fn(&mut Message)| {
            let mut message = Message::default();
            fill(&mut message);
            assert_eq!(message.len_of_fields(), 2 + 1 + bytes);
        };
        // Lengths of `Encoder.encodeView` for a `StateView`, with keys of nine characters.
        check(33, |m| m.enter(0));
        check(39, |m| m.enter(300));
        check(5, |m| m.change(0, &[0; 4], &[9, 0, 0, 0]));
        check(8, |m| m.change(0, &[9, 0, 0, 0], &[10, 0, 10, 0]));
        check(13, |m| {
            m.change(0, &[10, 0, 10, 0], &[11, 0, 11, 0]);
            m.change(1, &[1, 0, 1, 0], &[5, 0, 1, 0]);
        });
        check(7, |m| m.change(300, &[0; 4], &[1, 0, 0, 0]));
        check(16, |m| m.change(300, &[0; 4], &[1; 4]));
        check(6, |m| m.leave(300, true));
        let mut nothing = Message::default();
        nothing.change(7, &[1; 4], &[1; 4]);
        assert_eq!(nothing.len_of_fields(), 0);
    }
}
