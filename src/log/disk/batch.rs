//! The bytes of a group commit: a batch is written and synced as a whole, and read back as a whole or not at all.
//!
//! ```text
//! batch: magic "NCB1" · crc32c u32 (of all that follows) · length u32 (of the entries) · entries u32 · number u64
//!        · append_ms i64 · entries
//! entry: kind u8 · world u16 · topic u8 · partition u16 · then
//!        record (1): offset u64 · length u32 · bytes
//!        bounds (2): start u64 · end u64           how far a lane reaches; the first batch of a segment has all
//!        world  (3): length u16 · name             the number of a world; likewise. Topic is 0, the bytes of partition are
//!                                                  how many partitions it has along x and z: 1 to 32; 0: not known
//!        cleaned (4): next u64                     first in a segment of which batches were left out; the next segment
//!                                                  begins with batch `next` (world, topic and partition are 0)
//! ```
//!
//! Integers are little-endian. A batch's number is one more than that of the batch before, so that a missing or doubled
//! piece is noticed.

use std::fmt;

use crate::log::{Source, Topic};
use crate::space::Grid;

/// Bytes before the entries.
pub const HEAD_BYTES: usize = 32;
/// Bytes of a record's entry but for the record.
pub const RECORD_HEAD_BYTES: usize = 18;
/// How a batch begins.
pub const MAGIC: [u8; 4] = *b"NCB1";
const CRC_END: usize = 8;

const RECORD: u8 = 1;
const BOUNDS: u8 = 2;
const WORLD: u8 = 3;
const CLEANED: u8 = 4;

/// One partition of one topic of one world: what has an order of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The world's number in this log; 0 for topics of no world.
    pub world: u16,
    /// Which topic and partition.
    pub source: Source,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} of world {}", self.source.topic.label(), self.source.partition, self.world)
    }
}

/// One thing in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A record.
    Record {
        /// Where it belongs.
        lane: Lane,
        /// Its offset there.
        offset: u64,
        /// What was published.
        bytes: &'a [u8],
    },
    /// A lane has records from `start` up to, not including, `end`; those before are no longer wanted.
    Bounds {
        /// The lane.
        lane: Lane,
        /// Its first offset.
        start: u64,
        /// The offset that its next record gets.
        end: u64,
    },
    /// A world has a number.
    World {
        /// The number, from 1.
        number: u16,
        /// How its regions map to partitions: along x and z at most 255 of them.
        grid: Grid,
        /// The world's name.
        name: &'a str,
    },
    /// Batches that nobody wanted were left out of this segment.
    Cleaned {
        /// The number with which the next segment begins.
        next: u64,
    },
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// They end too early.
    #[error("ends in the middle of a batch")]
    Cut,
    /// They begin otherwise.
    #[error("no batch begins here")]
    Magic,
    /// They are not what was written.
    #[error("checksum does not match")]
    Checksum,
    /// They are what was written, but nothing that this version writes.
    #[error("holds what this version does not know")]
    Entry,
}

/// A batch being put together. Its memory is used again.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    entries: u32,
}

impl Writer {
    /// Begins a batch; what was begun before is forgotten.
    pub fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEAD_BYTES, 0);
        self.entries = 0;
    }

    /// Appends an entry. A record is at most 4 GiB long, a name 64 KiB.
    pub fn push(&mut self, entry: Entry<'_>) {
        self.entries += 1;
        match entry {
            Entry::Record { lane, offset, bytes } => {
                self.head(RECORD, lane);
                self.bytes.extend(offset.to_le_bytes());
                self.bytes.extend((bytes.len() as u32).to_le_bytes());
                self.bytes.extend(bytes);
            }
            Entry::Bounds { lane, start, end } => {
                self.head(BOUNDS, lane);
                self.bytes.extend(start.to_le_bytes());
                self.bytes.extend(end.to_le_bytes());
            }
            Entry::World { number, grid: Grid { w, h }, name } => {
                self.bytes.push(WORLD);
                self.bytes.extend(number.to_le_bytes());
                self.bytes.extend([0, w as u8, h as u8]);
                self.bytes.extend((name.len() as u16).to_le_bytes());
                self.bytes.extend(name.as_bytes());
            }
            Entry::Cleaned { next } => {
                self.bytes.push(CLEANED);
                self.bytes.extend([0; 5]);
                self.bytes.extend(next.to_le_bytes());
            }
        }
    }

    fn head(&mut self, kind: u8, Lane { world, source: Source { topic, partition } }: Lane) {
        self.bytes.push(kind);
        self.bytes.extend(world.to_le_bytes());
        self.bytes.push(code(topic));
        self.bytes.extend(partition.to_le_bytes());
    }

    /// Whether nothing was appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Ends the batch; its bytes.
    pub fn finish(&mut self, number: u64, append_ms: i64) -> &[u8] {
        let length = (self.bytes.len() - HEAD_BYTES) as u32;
        self.bytes[..4].copy_from_slice(&MAGIC);
        self.bytes[8..12].copy_from_slice(&length.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&self.entries.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&number.to_le_bytes());
        self.bytes[24..32].copy_from_slice(&append_ms.to_le_bytes());
        let crc = crc32c::crc32c(&self.bytes[CRC_END..]);
        self.bytes[4..CRC_END].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

/// A batch that was read and is whole.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its number.
    pub number: u64,
    /// When it was written, ms since 1970.
    pub append_ms: i64,
    /// Its length with head, bytes.
    pub len: usize,
    entries: u32,
    body: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the batch with which these bytes begin.
    ///
    /// # Errors
    /// When they do not begin with a whole one.
    pub fn read(bytes: &'a [u8]) -> Result<Batch<'a>, Bad> {
        let rest = &mut &*bytes;
        if take(rest).ok_or(Bad::Cut)? != MAGIC {
            return Err(Bad::Magic);
        }
        let crc = take(rest).map(u32::from_le_bytes).ok_or(Bad::Cut)?;
        let checked = *rest;
        let length = take(rest).map(u32::from_le_bytes).ok_or(Bad::Cut)? as usize;
        let entries = take(rest).map(u32::from_le_bytes).ok_or(Bad::Cut)?;
        let number = take(rest).map(u64::from_le_bytes).ok_or(Bad::Cut)?;
        let append_ms = take(rest).map(i64::from_le_bytes).ok_or(Bad::Cut)?;
        let body = rest.get(..length).ok_or(Bad::Cut)?;
        let len = HEAD_BYTES + length;
        if crc32c::crc32c(&checked[..len - CRC_END]) != crc {
            return Err(Bad::Checksum);
        }
        Ok(Batch { number, append_ms, len, entries, body })
    }

    /// What is in it; ends with an error where it is not what this version writes.
    pub fn entries(self) -> impl Iterator<Item = Result<Entry<'a>, Bad>> {
        let mut rest = self.body;
        (0..self.entries).map(move |_| entry(&mut rest).ok_or(Bad::Entry))
    }
}

fn entry<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let [kind] = take(rest)?;
    let world = take(rest).map(u16::from_le_bytes)?;
    let [topic] = take(rest)?;
    let partition = take(rest).map(u16::from_le_bytes)?;
    if kind == WORLD {
        let [w, h] = partition.to_le_bytes().map(u16::from);
        let len = take(rest).map(u16::from_le_bytes)?;
        let name = std::str::from_utf8(rest.split_off(..usize::from(len))?).ok()?;
        return Some(Entry::World { number: world, grid: Grid { w, h }, name });
    }
    if kind == CLEANED {
        return Some(Entry::Cleaned { next: take(rest).map(u64::from_le_bytes)? });
    }
    let lane = Lane { world, source: Source { topic: topic_of(topic)?, partition } };
    let first = take(rest).map(u64::from_le_bytes)?;
    match kind {
        RECORD => {
            let len = take(rest).map(u32::from_le_bytes)?;
            Some(Entry::Record { lane, offset: first, bytes: rest.split_off(..len as usize)? })
        }
        BOUNDS => Some(Entry::Bounds { lane, start: first, end: take(rest).map(u64::from_le_bytes)? }),
        _ => None,
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn code(topic: Topic) -> u8 {
    match topic {
        Topic::Motion => 1,
        Topic::Events => 2,
        Topic::Control => 3,
        Topic::Objects => 4,
        Topic::Social => 5,
        Topic::Direct => 6,
    }
}

fn topic_of(code: u8) -> Option<Topic> {
    Topic::ALL.into_iter().find(|topic| self::code(*topic) == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane { world: 2, source: Source { topic: Topic::Events, partition: 9 } };
    const ENTRIES: [Entry<'_>; 5] = [
        Entry::Cleaned { next: 1 << 40 },
        Entry::World { number: 2, grid: Grid { w: 4, h: 32 }, name: "plaza" },
        Entry::Bounds { lane: LANE, start: 3, end: 70_000 },
        Entry::Record { lane: LANE, offset: 70_000, bytes: b"hello" },
        Entry::Record {
            lane: Lane { world: 0, source: Source { topic: Topic::Control, partition: 0 } },
            offset: 0,
            bytes: b"",
        },
    ];

    fn written() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.begin();
        assert!(writer.is_empty());
        ENTRIES.into_iter().for_each(|entry| writer.push(entry));
        writer.finish(17, -5).to_vec()
    }

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        let mut bytes = written();
        let len = bytes.len();
        bytes.extend(b"what comes behind it");
        let batch = Batch::read(&bytes).expect("whole");
        assert_eq!((batch.number, batch.append_ms, batch.len), (17, -5, len));
        assert_eq!(batch.entries().collect::<Result<Vec<_>, _>>().expect("known"), ENTRIES);
    }

    #[test]
    fn a_batch_that_is_cut_or_changed_anywhere_is_none() {
        let bytes = written();
        for len in 0..bytes.len() {
            assert!(Batch::read(&bytes[..len]).is_err(), "cut to {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Batch::read(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_entry_of_another_version_is_not_read_as_one_of_ours() {
        let mut writer = Writer::default();
        writer.begin();
        writer.push(Entry::Bounds { lane: LANE, start: 0, end: 0 });
        writer.bytes[HEAD_BYTES] = 9;
        let bytes = writer.finish(1, 0);
        let read: Vec<_> = Batch::read(bytes).expect("whole").entries().collect();
        assert_eq!(read, [Err(Bad::Entry)]);
    }
}
