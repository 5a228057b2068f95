//! From where a partition is read, and when it is complete. Motion: from 8 s before its last record (or from the log's
//! start), until the watermark of the beginning is passed and, unless the log's start was reached, 6 s of partition time have
//! been folded, which hold at least one keyframe of everybody. Snapshots: all there are. Commands: from the newest snapshot,
//! or from before it, for what was heard lately.

use crate::limits::{ASK_AGAIN_US, COMPLETE_US, MILLI_US};
use crate::log::{Bounds, Follow, Log, Source};

/// Where a reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// So long before the last record, µs.
    Back(u64),
    /// At an offset, or at the log's start if that is later.
    Offset(u64),
    /// At an offset, or so long before the last record, µs, if that is earlier.
    Earlier(u64, u64),
}

/// How far the reading of one partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `bounds` is asked, since then (µs).
    Bounds(u64),
    /// `offset_at` is asked, since then.
    Offset(u64, Bounds),
    /// Records come.
    Following {
        /// The first record.
        first: u64,
        /// The next record.
        next: u64,
        /// The watermark of the beginning.
        end: u64,
        /// Nothing older is in the log.
        from_start: bool,
    },
}

/// The reading of one partition of one topic.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    source: Source,
    from: From,
    phase: Phase,
}

impl Reading {
    /// Starts by asking for the bounds.
    pub fn start(source: Source, from: From, log: &mut impl Log, now_us: u64) -> Reading {
        log.bounds(source);
        Reading { source, from, phase: Phase::Bounds(now_us) }
    }

    /// The bounds are known: then it is known from where to read, or what to ask next.
    pub fn on_bounds(&mut self, bounds: Bounds, log: &mut impl Log, now_us: u64) {
        if !matches!(self.phase, Phase::Bounds(_)) {
            return;
        }
        match (self.from, bounds.last_append_ms) {
            (From::Back(back_us), Some(last_ms)) if bounds.end > bounds.start => {
                log.offset_at(self.source, last_ms - (back_us / MILLI_US) as i64);
                self.phase = Phase::Offset(now_us, bounds);
            }
            (From::Back(_), _) => self.follow(bounds.start, bounds, log),
            // Beyond the end: the topic was made anew.
            (From::Offset(offset), _) if offset > bounds.end => self.follow(bounds.start, bounds, log),
            (From::Offset(offset), _) => self.follow(offset.max(bounds.start), bounds, log),
            // Beyond the end: the topic was made anew.
            (From::Earlier(offset, _), _) if offset <= bounds.start || offset > bounds.end => {
                self.follow(bounds.start, bounds, log);
            }
            (From::Earlier(_, back_us), Some(last_ms)) if bounds.end > bounds.start => {
                log.offset_at(self.source, last_ms - (back_us / MILLI_US) as i64);
                self.phase = Phase::Offset(now_us, bounds);
            }
            (From::Earlier(offset, _), _) => self.follow(offset.max(bounds.start), bounds, log),
        }
    }

    /// The offset to start from is known.
    pub fn on_offset(&mut self, offset: u64, log: &mut impl Log) {
        if let Phase::Offset(_, bounds) = self.phase {
            let offset = match self.from {
                From::Back(_) | From::Offset(_) => offset,
                From::Earlier(least, _) => offset.min(least),
            };
            self.follow(offset.clamp(bounds.start, bounds.end), bounds, log);
        }
    }

    /// Whether it waits to be told from which offset on.
    #[must_use]
    pub fn asks_offset(&self) -> bool {
        matches!(self.phase, Phase::Offset(..))
    }

    fn follow(&mut self, offset: u64, bounds: Bounds, log: &mut impl Log) {
        log.follow(Follow::From(self.source, offset));
        let from_start = offset <= bounds.start;
        self.phase = Phase::Following { first: offset, next: offset, end: bounds.end, from_start };
    }

    /// A record was read. False if it is none that was asked for.
    pub fn on_record(&mut self, offset: u64) -> bool {
        match &mut self.phase {
            Phase::Following { next, .. } if offset >= *next => {
                *next = offset + 1;
                true
            }
            Phase::Following { .. } | Phase::Bounds(_) | Phase::Offset(..) => false,
        }
    }

    /// Asks again what has not been answered for long.
    pub fn ask_again(&mut self, log: &mut impl Log, now_us: u64) {
        if let Phase::Bounds(since) | Phase::Offset(since, _) = self.phase
            && now_us.saturating_sub(since) >= ASK_AGAIN_US
        {
            *self = Reading::start(self.source, self.from, log, now_us);
        }
    }

    /// The first record read, and where the log ended when the reading began; once that is known.
    #[must_use]
    pub fn span(&self) -> Option<(u64, u64)> {
        match self.phase {
            Phase::Following { first, end, .. } => Some((first, end)),
            Phase::Bounds(_) | Phase::Offset(..) => None,
        }
    }

    /// Whether a record is newer than the beginning of the reading.
    #[must_use]
    pub fn is_news(&self, offset: u64) -> bool {
        matches!(self.phase, Phase::Following { end, .. } if offset >= end)
    }

    /// Whether records come.
    #[must_use]
    pub fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Following { .. })
    }

    /// Whether all that was there at the beginning has been read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self.phase, Phase::Following { next, end, .. } if next >= end)
    }

    /// Whether all that was there at the beginning is known, at this partition time since the reading began.
    #[must_use]
    pub fn is_complete(&self, partition_time_us: u64) -> bool {
        match self.phase {
            Phase::Following { from_start, .. } => self.is_read() && (from_start || partition_time_us >= COMPLETE_US),
            Phase::Bounds(_) | Phase::Offset(..) => false,
        }
    }
}
