//! What is remembered of a segment: how long it is, and how much of it belongs to which lane. It tells what of it nobody
//! wants any more.

use std::collections::BTreeMap;

use super::batch::{HEAD_BYTES, Lane, RECORD_HEAD_BYTES};

/// How segments' names end.
pub(super) const SUFFIX: &str = ".log";
/// How the names of what is to replace one end, until it does.
pub(super) const CLEANED_SUFFIX: &str = ".cleaned";

/// One file.
#[derive(Debug)]
pub(super) struct Segment {
    /// The number of its first batch, and so its name.
    pub(super) first: u64,
    /// Bytes of whole batches.
    pub(super) len: u64,
    /// Where the last of them begins.
    pub(super) tail: u64,
    /// When the first and the last one were written, ms since 1970.
    pub(super) began_ms: i64,
    pub(super) ended_ms: i64,
    /// It was cleaned: nothing is appended any more, the next segment begins with this batch, and any before it may be missing.
    pub(super) sealed: Option<u64>,
    /// What it has of each lane.
    pub(super) shares: BTreeMap<Lane, Share>,
}

/// Records of one lane in one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// The first one's offset.
    pub(super) first: u64,
    /// The offset behind the last one.
    pub(super) end: u64,
    /// Bytes that they take up.
    bytes: u64,
}

impl Segment {
    /// One that begins with this batch.
    pub(super) fn new(first: u64) -> Segment {
        Segment { first, len: 0, tail: 0, began_ms: 0, ended_ms: 0, sealed: None, shares: BTreeMap::new() }
    }

    pub(super) fn name(&self) -> String {
        format!("{:020}{SUFFIX}", self.first)
    }

    /// The name of what is to replace it.
    pub(super) fn cleaned_name(&self) -> String {
        format!("{:020}{CLEANED_SUFFIX}", self.first)
    }

    /// A batch of so many bytes stands behind the others.
    pub(super) fn append(&mut self, bytes: usize, append_ms: i64) {
        if self.len == 0 {
            self.began_ms = append_ms;
        }
        self.ended_ms = append_ms;
        self.tail = self.len;
        self.len += bytes as u64;
    }

    /// A record of so many bytes is in the batch that comes next. `leads`: it is the first there.
    pub(super) fn share(&mut self, lane: Lane, offset: u64, bytes: usize, leads: bool) {
        let share = self.shares.entry(lane).or_insert(Share { first: offset, end: offset, bytes: 0 });
        share.end = offset + 1;
        share.bytes += (RECORD_HEAD_BYTES + bytes + if leads { HEAD_BYTES } else { 0 }) as u64;
    }

    /// Whether no record of it is wanted, `start` being what is of each lane.
    pub(super) fn is_unwanted(&self, start: impl Fn(&Lane) -> u64) -> bool {
        self.shares.iter().all(|(lane, share)| start(lane) >= share.end)
    }

    /// Bytes of it that are not wanted, about.
    pub(super) fn unwanted_bytes(&self, start: impl Fn(&Lane) -> u64) -> u64 {
        let of = |(lane, share): (&Lane, &Share)| {
            let unwanted = start(lane).clamp(share.first, share.end) - share.first;
            // Shares are as large as segments at most: the product fits.
            share.bytes * unwanted / (share.end - share.first)
        };
        self.shares.iter().map(of).sum()
    }
}
