//! What the log carries: a header, then samples, a beat, a command, a gateway's opening, or what becomes of sessions.
//!
//! ```text
//! magic "NC" · version u8 · kind u8 · crc32c u32 (of everything but itself) · gateway u32 · published_us u64 · body
//!
//! motion:  samples until the end
//! sample:  entity u64 · incarnation varint · sequence varint · age varint (0.1 ms before published)
//!          · x y z 3 × i32 cm · yaw u8 · flags u8 · state short · [profile short] if KEYFRAME · [to u16] if HANDOVER
//! command: session u64 · n varint · entity u64 · aimed at and from: each x y z 3 × i32 cm
//!          · deed (see `command`)
//! arrive:  from u16 · object       landed: object u64 · version varint
//! piece:   offset varint · index u16 · count u16 · compressed, until the end
//! hash:    offset varint · u32      rules: revision u32 · u16 · u16 · u32 · u16
//! gateway: name short              beat: nothing
//! opening: user u64 · session u64 · entity u64 · opener u64 · names varint (0: none) · world short
//! signs:   what u8 (0 live, 1 lost, 2 closed), then until the end
//!          session u64 · incarnation varint · flags u8 · [x y z 3 × i32 cm] if PLACE
//! ```

use std::sync::Arc;

use bytes::Bytes;

use super::command::{
    Command, Object, Rules, command, object, pos, put_command, put_object, put_pos, put_rules, rules,
};
use super::message::{AppState, Id};
use super::reader::{Malformed, Reader, put_short, put_varint};
use crate::limits::{APP_STATE_BYTES_MAX, PROFILE_BYTES_MAX, SIGNS_MAX, WORLD_NAME_BYTES_MAX};
use crate::space::Pos;

const MAGIC: [u8; 2] = *b"NC";
/// Version of the record format. A reader skips records of other versions and counts them.
pub const RECORD_VERSION: u8 = 1;
const HEADER_BYTES: usize = 20;
const CRC_AT: usize = 4;

const KIND_MOTION: u8 = 1;
const KIND_BEAT: u8 = 2;
const KIND_GATEWAY: u8 = 4;
const KIND_COMMAND: u8 = 5;
const KIND_ARRIVE: u8 = 6;
const KIND_LANDED: u8 = 7;
const KIND_PIECE: u8 = 8;
const KIND_HASH: u8 = 9;
const KIND_OPENING: u8 = 10;
const KIND_SIGNS: u8 = 11;
const KIND_RULES: u8 = 12;

const KEYFRAME: u8 = 1;
const HANDOVER: u8 = 2;
const LEAVE: u8 = 4;
const TELEPORT: u8 = 8;

const PLACE: u8 = 1;
const CONFIRMED: u8 = 2;
const AGE: u8 = 4;

/// No gateway's clock shows more, µs since 1970: the year 2255. Differences of such times fit an `i64` many times over.
const TIME_MAX_US: u64 = 1 << 53;

/// Who wrote a record, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The gateway's number.
    pub gateway: u32,
    /// Its clock at publishing, µs since 1970.
    pub published_us: u64,
}

/// Where an avatar was, when; the newest by (incarnation, sequence) is its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The avatar.
    pub entity: Id,
    /// Counts the openings of its session.
    pub incarnation: u64,
    /// Counts its samples within the incarnation.
    pub sequence: u64,
    /// When it was there, µs since 1970 on the clock of the gateway that wrote it. Exact to 0.1 ms in the log.
    pub time_us: u64,
    /// Where.
    pub pos: Pos,
    /// Facing, 1/256 turn.
    pub yaw: u8,
    /// Application state.
    pub state: AppState,
    /// The profile: this is a keyframe.
    pub profile: Option<Arc<str>>,
    /// What else the sample says.
    pub note: Note,
}

/// What a sample says besides the position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Note {
    /// Nothing.
    #[default]
    None,
    /// The avatar did not walk here.
    Teleport,
    /// The avatar is now held in another partition, this one.
    Handover(u16),
    /// The avatar has left the world.
    Leave,
}

/// A piece of a snapshot of a partition's commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The snapshot is of all commands below this offset.
    pub offset: u64,
    /// Which piece this is, from 0.
    pub index: u16,
    /// Of how many.
    pub count: u16,
    /// Things one after the other, see `region::commands`; compressed (LZ4, size first).
    pub bytes: Bytes,
}

/// Somebody asks to be a session; `region/sessions.rs` says whether they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The session's user; decides in which partition of `direct` this stands.
    pub user: Id,
    /// The session.
    pub session: Id,
    /// Its avatar.
    pub entity: Id,
    /// Who asks: a number that no connection had before. A new session is named by it.
    pub opener: Id,
    /// The incarnation whose token the client has shown; `None`: the session is new.
    pub names: Option<u64>,
    /// The world that it is in.
    pub world: Arc<str>,
}

/// What a gateway knows of a session that it holds, or has held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The session.
    pub session: Id,
    /// Which of its openings the gateway has answered.
    pub incarnation: u64,
    /// The answer has arrived: the client holds the token of this incarnation.
    pub confirmed: bool,
    /// Where its avatar was last admitted.
    pub pos: Option<Pos>,
    /// How long ago its client said so, ms, where it has gone on since and has not said it again; else 0.
    pub age_ms: u64,
}

/// What signs say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The sockets are there.
    Live,
    /// The sockets have gone without a `bye`; who has the token may come back for a while.
    Lost,
    /// They said `bye`: the token opens nothing any more.
    Closed,
}

/// A record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Samples of avatars.
    Motion(Vec<Sample>),
    /// The partition lives.
    Beat,
    /// Something done, or to be done with an object.
    Command(Command),
    /// An object comes from another partition of `events`, which it has left.
    Arrive {
        /// The object.
        object: Object,
        /// The partition that it left.
        from: u16,
    },
    /// An object has arrived elsewhere: the partition that it left need not remember it any more.
    Landed {
        /// Which.
        object: Id,
        /// At which version it left.
        version: u64,
    },
    /// What decides over the commands that follow.
    Rules(Rules),
    /// A piece of a snapshot.
    Piece(Piece),
    /// What a partition's commands have come to, so that gateways notice when they differ.
    Hash {
        /// After all commands below this offset.
        offset: u64,
        /// See `region::snapshot::hash`.
        hash: u32,
    },
    /// A gateway starts; the record's offset is its number.
    Gateway(String),
    /// Somebody asks to be a session.
    Opening(Opening),
    /// What becomes of sessions; [`SIGNS_MAX`] at most. Without any it says that time passes.
    Signs(Signal, Vec<Sign>),
}

/// Why a record was not folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Not ours, or damaged: wrong magic, too short, wrong checksum, or a body that does not parse.
    #[error("damaged record: {0}")]
    Damaged(Malformed),
    /// The checksum does not fit.
    #[error("damaged record: wrong checksum")]
    Checksum,
    /// Written by another version of nearcast: skipped.
    #[error("record of an unknown version or kind ({version}, {kind})")]
    Unknown {
        /// Its version.
        version: u8,
        /// Its kind.
        kind: u8,
    },
}

impl From<Malformed> for Foreign {
    fn from(malformed: Malformed) -> Foreign {
        Foreign::Damaged(malformed)
    }
}

/// Writes a record.
#[must_use]
pub fn encode(stamp: Stamp, record: &Record) -> Bytes {
    match record {
        Record::Motion(samples) => {
            let mut writer = MotionWriter::new(stamp);
            samples.iter().for_each(|sample| writer.push(sample));
            writer.finish()
        }
        Record::Beat => seal(begin(stamp, KIND_BEAT)),
        Record::Gateway(name) => {
            let mut out = begin(stamp, KIND_GATEWAY);
            put_short(&mut out, name.as_bytes());
            seal(out)
        }
        Record::Command(command) => {
            let mut out = begin(stamp, KIND_COMMAND);
            put_command(&mut out, command);
            seal(out)
        }
        Record::Arrive { object, from } => {
            let mut out = begin(stamp, KIND_ARRIVE);
            out.extend_from_slice(&from.to_le_bytes());
            put_object(&mut out, object);
            seal(out)
        }
        Record::Piece(Piece { offset, index, count, bytes }) => {
            let mut out = begin(stamp, KIND_PIECE);
            put_varint(&mut out, *offset);
            out.extend_from_slice(&index.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(bytes);
            seal(out)
        }
        Record::Rules(rules) => {
            let mut out = begin(stamp, KIND_RULES);
            put_rules(&mut out, rules);
            seal(out)
        }
        Record::Hash { offset, hash } => {
            let mut out = begin(stamp, KIND_HASH);
            put_varint(&mut out, *offset);
            out.extend_from_slice(&hash.to_le_bytes());
            seal(out)
        }
        Record::Landed { object, version } => {
            let mut out = begin(stamp, KIND_LANDED);
            out.extend_from_slice(&object.to_le_bytes());
            put_varint(&mut out, *version);
            seal(out)
        }
        Record::Opening(opening) => {
            let mut out = begin(stamp, KIND_OPENING);
            let Opening { user, session, entity, opener, names, world } = opening;
            [user, session, entity, opener].iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
            put_varint(&mut out, names.unwrap_or(0));
            put_short(&mut out, world.as_bytes());
            seal(out)
        }
        Record::Signs(signal, signs) => {
            let mut out = begin(stamp, KIND_SIGNS);
            out.push(match signal {
                Signal::Live => 0,
                Signal::Lost => 1,
                Signal::Closed => 2,
            });
            for Sign { session, incarnation, confirmed, pos, age_ms } in signs {
                out.extend_from_slice(&session.to_le_bytes());
                put_varint(&mut out, *incarnation);
                let flag = |is: bool, flag: u8| if is { flag } else { 0 };
                out.push(flag(*confirmed, CONFIRMED) | flag(pos.is_some(), PLACE) | flag(*age_ms > 0, AGE));
                pos.iter().for_each(|pos| put_pos(&mut out, *pos));
                if *age_ms > 0 {
                    put_varint(&mut out, *age_ms);
                }
            }
            seal(out)
        }
    }
}

/// Reads a record; checks magic, version, checksum and every field.
pub fn decode(bytes: &[u8]) -> Result<(Stamp, Record), Foreign> {
    let mut reader = Reader::new(bytes);
    if reader.take(2)? != MAGIC {
        return Err(Foreign::Damaged(Malformed::Bad("magic")));
    }
    let (version, kind, crc) = (reader.u8()?, reader.u8()?, reader.u32()?);
    let stamp = Stamp { gateway: reader.u32()?, published_us: reader.u64()? };
    if crc != checksum(bytes) {
        return Err(Foreign::Checksum);
    }
    if stamp.published_us > TIME_MAX_US {
        return Err(Foreign::Damaged(Malformed::Bad("time")));
    }
    let record = match (version, kind) {
        (RECORD_VERSION, KIND_MOTION) => {
            let mut samples = Vec::new();
            while reader.left() > 0 {
                samples.push(sample(&mut reader, stamp)?);
            }
            Record::Motion(samples)
        }
        (RECORD_VERSION, KIND_BEAT) => Record::Beat,
        (RECORD_VERSION, KIND_COMMAND) => Record::Command(command(&mut reader)?),
        (RECORD_VERSION, KIND_ARRIVE) => Record::Arrive { from: reader.u16()?, object: object(&mut reader)? },
        (RECORD_VERSION, KIND_LANDED) => Record::Landed { object: reader.u64()?, version: reader.varint()? },
        (RECORD_VERSION, KIND_PIECE) => {
            let (offset, index, count) = (reader.varint()?, reader.u16()?, reader.u16()?);
            if index >= count {
                return Err(Foreign::Damaged(Malformed::Bad("piece")));
            }
            let bytes = Bytes::copy_from_slice(reader.take(reader.left())?);
            Record::Piece(Piece { offset, index, count, bytes })
        }
        (RECORD_VERSION, KIND_RULES) => Record::Rules(rules(&mut reader)?),
        (RECORD_VERSION, KIND_HASH) => Record::Hash { offset: reader.varint()?, hash: reader.u32()? },
        (RECORD_VERSION, KIND_GATEWAY) => Record::Gateway(reader.short_str(255, "gateway name")?.to_owned()),
        (RECORD_VERSION, KIND_OPENING) => Record::Opening(opening(&mut reader)?),
        (RECORD_VERSION, KIND_SIGNS) => {
            let signal = match reader.u8()? {
                0 => Signal::Live,
                1 => Signal::Lost,
                2 => Signal::Closed,
                _ => return Err(Foreign::Damaged(Malformed::Bad("signal"))),
            };
            let mut signs = Vec::new();
            while reader.left() > 0 {
                if signs.len() == SIGNS_MAX {
                    return Err(Foreign::Damaged(Malformed::Bad("number of signs")));
                }
                signs.push(sign(&mut reader)?);
            }
            Record::Signs(signal, signs)
        }
        (version, kind) => return Err(Foreign::Unknown { version, kind }),
    };
    reader.end()?;
    Ok((stamp, record))
}

/// Writes samples into one record as they come.
pub struct MotionWriter {
    published_us: u64,
    out: Vec<u8>,
}

impl MotionWriter {
    /// An empty record.
    #[must_use]
    pub fn new(stamp: Stamp) -> MotionWriter {
        MotionWriter { published_us: stamp.published_us, out: begin(stamp, KIND_MOTION) }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether it holds no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.len() == HEADER_BYTES
    }

    /// Appends a sample.
    pub fn push(&mut self, sample: &Sample) {
        let out = &mut self.out;
        out.extend_from_slice(&sample.entity.to_le_bytes());
        put_varint(out, sample.incarnation);
        put_varint(out, sample.sequence);
        put_varint(out, self.published_us.saturating_sub(sample.time_us) / 100);
        put_pos(out, sample.pos);
        out.push(sample.yaw);
        let note = match sample.note {
            Note::None => 0,
            Note::Teleport => TELEPORT,
            Note::Handover(_) => HANDOVER,
            Note::Leave => LEAVE,
        };
        out.push(note | if sample.profile.is_some() { KEYFRAME } else { 0 });
        put_short(out, sample.state.bytes());
        sample.profile.iter().for_each(|profile| put_short(out, profile.as_bytes()));
        if let Note::Handover(to) = sample.note {
            out.extend_from_slice(&to.to_le_bytes());
        }
    }

    /// The record.
    #[must_use]
    pub fn finish(self) -> Bytes {
        seal(self.out)
    }
}

fn sample(reader: &mut Reader<'_>, stamp: Stamp) -> Result<Sample, Malformed> {
    let entity = reader.u64()?;
    let (incarnation, sequence, age) = (reader.varint()?, reader.varint()?, reader.varint()?);
    let age_us = age.checked_mul(100).ok_or(Malformed::Bad("sample age"))?;
    let time_us = stamp.published_us.checked_sub(age_us).ok_or(Malformed::Bad("sample age"))?;
    let (pos, yaw, flags) = (pos(reader)?, reader.u8()?, reader.u8()?);
    let state = AppState::new(reader.short_bytes(APP_STATE_BYTES_MAX, "application state")?);
    let state = state.ok_or(Malformed::Bad("application state"))?;
    let profile = match flags & KEYFRAME {
        0 => None,
        _ => Some(Arc::from(reader.short_str(PROFILE_BYTES_MAX, "profile")?)),
    };
    let note = match flags & !KEYFRAME {
        0 => Note::None,
        TELEPORT => Note::Teleport,
        HANDOVER => Note::Handover(reader.u16()?),
        LEAVE => Note::Leave,
        _ => return Err(Malformed::Bad("sample flags")),
    };
    Ok(Sample { entity, incarnation, sequence, time_us, pos, yaw, state, profile, note })
}

fn opening(reader: &mut Reader<'_>) -> Result<Opening, Malformed> {
    let (user, session, entity, opener) = (reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?);
    let names = Some(reader.varint()?).filter(|names| *names > 0);
    let world = reader.short_str(WORLD_NAME_BYTES_MAX, "world name")?.into();
    Ok(Opening { user, session, entity, opener, names, world })
}

fn sign(reader: &mut Reader<'_>) -> Result<Sign, Malformed> {
    let (session, incarnation, flags) = (reader.u64()?, reader.varint()?, reader.u8()?);
    if flags & !(PLACE | CONFIRMED | AGE) != 0 {
        return Err(Malformed::Bad("sign flags"));
    }
    let pos = if flags & PLACE == 0 { None } else { Some(pos(reader)?) };
    let age_ms = if flags & AGE == 0 { 0 } else { reader.varint()? };
    let is_old = (1..=TIME_MAX_US / 1_000).contains(&age_ms) && pos.is_some();
    if (flags & AGE != 0) != is_old {
        return Err(Malformed::Bad("sign age"));
    }
    Ok(Sign { session, incarnation, confirmed: flags & CONFIRMED != 0, pos, age_ms })
}

fn begin(stamp: Stamp, kind: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[RECORD_VERSION, kind, 0, 0, 0, 0]);
    out.extend_from_slice(&stamp.gateway.to_le_bytes());
    out.extend_from_slice(&stamp.published_us.to_le_bytes());
    debug_assert_eq!(out.len(), HEADER_BYTES);
    out
}

fn seal(mut out: Vec<u8>) -> Bytes {
    let crc = checksum(&out).to_le_bytes();
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc);
    out.into()
}

fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..CRC_AT]), &record[CRC_AT + 4..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::{Aim, Deed, Holder};
    use crate::codec::message::Scope;
    use proptest::prelude::*;

    const STAMP: Stamp = Stamp { gateway: 7, published_us: 1_790_000_000_000_000 };

    const AIM: Aim = Aim { id: 1 << 50, expect: Some(12) };

    fn command(deed: Deed) -> Record {
        let (session, n, entity, trusted) = (5, 300, 6, matches!(deed, Deed::Create { .. }));
        let (pos, from) = (Pos { x: 1, y: 2, z: 3 }, Pos { x: -4, y: 5, z: -6 });
        Record::Command(Command { session, n, entity, trusted, pos, from, deed })
    }

    fn records() -> Vec<Record> {
        let sample = |sequence, note, profile: Option<&str>| Sample {
            entity: 1 << 52,
            incarnation: 0,
            sequence,
            time_us: STAMP.published_us - 12_300,
            pos: Pos { x: -1_600_000, y: 3, z: 0 },
            yaw: 200,
            state: AppState::new(&[9; 16]).expect("short"),
            profile: profile.map(Into::into),
            note,
        };
        vec![
            Record::Motion(vec![
                sample(1, Note::None, None),
                sample(2, Note::Handover(4), Some("Ann")),
                sample(3, Note::Leave, None),
                sample(4, Note::Teleport, Some("")),
            ]),
            Record::Beat,
            Record::Gateway("host-1".into()),
            Record::Opening(Opening {
                user: 1,
                session: 1 << 52,
                entity: 2,
                opener: 3,
                names: Some(1 << 40),
                world: "w".repeat(WORLD_NAME_BYTES_MAX).into(),
            }),
            Record::Opening(Opening { user: 1, session: 1, entity: 2, opener: 1, names: None, world: "plaza".into() }),
            Record::Signs(Signal::Live, Vec::new()),
            Record::Signs(
                Signal::Lost,
                vec![
                    Sign {
                        session: 1 << 52,
                        incarnation: 300,
                        confirmed: true,
                        pos: Some(Pos { x: -1, y: 2, z: 3 }),
                        age_ms: 9_000,
                    },
                    Sign { session: 2, incarnation: 1, confirmed: false, pos: None, age_ms: 0 },
                ],
            ),
            Record::Signs(
                Signal::Closed,
                vec![Sign { session: 2, incarnation: 1, confirmed: true, pos: None, age_ms: 0 }],
            ),
            command(Deed::Act { scope: Scope::Region, user: 300, name: "wave".into(), data: "x".repeat(300).into() }),
            command(Deed::Tell { to: 1 << 40, user: 300, name: "wave".into(), data: "x".into() }),
            command(Deed::Create { kind: "lamp".into(), yaw: 7, fields: vec![("on".into(), Some("1".into()))] }),
            command(Deed::Change {
                of: AIM,
                to: Some((Pos { x: 4, y: 5, z: 6 }, 8)),
                fields: vec![("on".into(), None)],
            }),
            command(Deed::Change { of: Aim { expect: None, ..AIM }, to: None, fields: Vec::new() }),
            command(Deed::Grab(AIM)),
            command(Deed::Release(AIM, (Pos::default(), 9))),
            command(Deed::Remove(AIM)),
            command(Deed::Environment {
                of_world: true,
                expect: Some(0),
                fields: vec![("weather".into(), Some("rain".into()))],
            }),
            Record::Arrive {
                from: 3,
                object: Object {
                    id: 1 << 50,
                    version: 300,
                    maker: 5,
                    kind: "ball".into(),
                    pos: Pos { x: -1, y: 2, z: 3 },
                    yaw: 255,
                    holder: Some(Holder { session: 5, entity: 6 }),
                    fields: [("colour".into(), "red".into())].into(),
                },
            },
            Record::Landed { object: 1 << 50, version: 300 },
            Record::Hash { offset: 300, hash: 0xdead_beef },
            Record::Rules(Rules { revision: 7, ..Rules::default() }),
            Record::Piece(Piece { offset: 300, index: 1, count: 2, bytes: Bytes::from_static(b"compressed") }),
        ]
    }

    #[test]
    fn records_round_trip() {
        for record in records() {
            assert_eq!(decode(&encode(STAMP, &record)), Ok((STAMP, record)));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for record in records() {
            let good = encode(STAMP, &record).to_vec();
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&bad).is_err(), "bit {bit}");
            }
            for len in 0..good.len() {
                assert!(decode(&good[..len]).is_err(), "cut at {len}");
            }
        }
    }

    #[test]
    fn times_that_no_clock_shows_are_damage() {
        for published_us in [TIME_MAX_US + 1, 1 << 63, u64::MAX] {
            let record = encode(Stamp { gateway: 7, published_us }, &Record::Beat);
            assert_eq!(decode(&record), Err(Foreign::Damaged(Malformed::Bad("time"))));
        }
    }

    #[test]
    fn other_versions_are_skipped_not_guessed() {
        let mut later = encode(STAMP, &Record::Beat).to_vec();
        later[2] = RECORD_VERSION + 1;
        assert_eq!(decode(&seal(later)), Err(Foreign::Unknown { version: RECORD_VERSION + 1, kind: KIND_BEAT }));
    }

    proptest! {
        #[test]
        fn sealed_nonsense_never_panics(kind in 0_u8..15, body in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut out = begin(STAMP, kind);
            out.extend_from_slice(&body);
            let _ = decode(&seal(out));
        }
    }
}
