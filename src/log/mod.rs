//! The world log: bytes in, bytes out, partitioned; embedded (`memory`, `disk`) or Apache Kafka (`kafka`). Order, partitions,
//! offsets and retention are Kafka's own terms. Knows nothing of what the bytes mean.
//!
//! The contract is polled and has no async in it, so that the simulation can drive it:
//!
//! - order holds per partition; offsets rise, with gaps at most;
//! - a record is polled only when it is below the high watermark, so nobody sees what a crash unmakes;
//! - a ticket ends exactly once: `At` an offset, `NeverEntered`, or `Unknown`;
//! - a dropped partition yields nothing more, also nothing that was already on its way;
//! - an offset out of bounds is a [`Fault::OutOfBounds`], never a silent jump;
//! - append time may step, forwards or back.
//!
//! `tests/log_contract.rs` is the same text as a test; every backend passes it unchanged.

use bytes::Bytes;

use crate::limits::DIRECT_PARTITIONS;

pub mod disk;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;

/// A topic of one world, or of the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Samples of avatars; latest wins; minutes are kept; acks=1.
    Motion,
    /// Commands on what is in a partition's regions; idempotent, acks=all. Cut by snapshots, not by time.
    Events,
    /// Snapshots of what the commands of a partition of `events` have come to, at one offset of it.
    Objects,
    /// World-wide commands; one partition.
    Social,
    /// Cluster-wide, by user: who opens which session.
    Direct,
    /// Cluster-wide, one partition: who is a gateway. Its offsets number the gateways.
    Control,
}

impl Topic {
    /// All there are.
    pub const ALL: [Topic; 6] =
        [Topic::Motion, Topic::Events, Topic::Objects, Topic::Social, Topic::Direct, Topic::Control];

    /// The topic's name on a broker: `{prefix}.{world}.{topic}`; `direct` and `control` belong to no world.
    #[must_use]
    pub fn name(self, prefix: &str, world: &str) -> String {
        let topic = self.label();
        if self.is_of_world() { format!("{prefix}.{world}.{topic}") } else { format!("{prefix}.{topic}") }
    }

    /// Whether each world has its own.
    #[must_use]
    pub fn is_of_world(self) -> bool {
        match self {
            Topic::Motion | Topic::Events | Topic::Objects | Topic::Social => true,
            Topic::Direct | Topic::Control => false,
        }
    }

    /// How many partitions it has, where blocks of regions map to so many.
    #[must_use]
    pub fn partitions(self, of_world: u16) -> u16 {
        match self {
            Topic::Motion | Topic::Events => of_world,
            // The last has the snapshots of `social`.
            Topic::Objects => of_world + 1,
            Topic::Social | Topic::Control => 1,
            Topic::Direct => DIRECT_PARTITIONS,
        }
    }

    /// For metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Topic::Motion => "motion",
            Topic::Events => "events",
            Topic::Objects => "objects",
            Topic::Social => "social",
            Topic::Direct => "direct",
            Topic::Control => "control",
        }
    }
}

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The topic.
    pub topic: Topic,
    /// The partition's number.
    pub partition: u16,
}

/// Names a publish until its outcome has been polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The record is in the log. `None` where the log does not say where (fire and forget).
    At(Option<u64>),
    /// The record is certainly not in the log and never will be.
    NeverEntered,
    /// The record may or may not be in the log, now or later.
    Unknown,
}

impl Outcome {
    /// The gateway number that a record in `control` got: its offset.
    #[must_use]
    pub fn number(self) -> Option<u32> {
        match self {
            Outcome::At(offset) => u32::try_from(offset?).ok(),
            Outcome::NeverEntered | Outcome::Unknown => None,
        }
    }
}

/// The answer to [`Log::bounds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Offset of the oldest record kept; equals `end` when there is none.
    pub start: u64,
    /// Offset that the next record will get, as of the asking: the high watermark.
    pub end: u64,
    /// Append time of the newest record, ms since 1970; `None` when none is kept.
    pub last_append_ms: Option<i64>,
}

/// The answer to [`Log::fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The partition.
    pub source: Source,
    /// The offset that was asked for.
    pub from: u64,
    /// Offset of the oldest record kept, as of the answer: what stood below it is gone.
    pub start: u64,
    /// Records with their offsets, from the asked one on, or from the oldest kept if that is higher.
    pub records: Vec<(u64, Bytes)>,
    /// Where the next fetch goes on. Not above `from`: there is nothing.
    pub next: u64,
}

/// What went wrong with a partition or with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The followed offset is not in the log (retention passed it, or the topic was made anew). Nothing more comes
    /// from this partition until it is followed again.
    OutOfBounds(Source),
    /// The log cannot be reached for now; nothing is lost, and it goes on by itself.
    Unreachable(String),
    /// A question (bounds, an offset by time) could not be answered; ask again.
    Unanswered(Source),
    /// What was to be fetched of a partition does not come; ask again.
    Unfetched(Source),
    /// Whether the log takes what is published has changed. Polled before the outcomes that it explains.
    Health(Health),
}

/// Whether a log takes what is published. What it has is read in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It does.
    #[default]
    Well,
    /// There is no room; it goes on by itself when there is.
    Full,
    /// It cannot write. Where a sync has failed, until the gateway starts again.
    Down,
}

/// What [`Log::poll`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// A record of a followed partition.
    Record {
        /// Where it stands.
        source: Source,
        /// Its offset.
        offset: u64,
        /// When the log took it, ms since 1970, on the log's clock.
        append_ms: i64,
        /// Its bytes.
        bytes: Bytes,
    },
    /// A publish ended.
    Outcome(Ticket, Outcome),
    /// Answer to [`Log::bounds`].
    Bounds(Source, Bounds),
    /// Answer to [`Log::offset_at`]: the first offset appended at or after the time, `end` if there is none.
    OffsetAt(Source, u64),
    /// Answer to [`Log::fetch`].
    Fetched(Fetched),
    /// Something went wrong.
    Fault(Fault),
}

/// A change of what is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Yields the partition's records from this offset on. A partition already followed starts again there.
    From(Source, u64),
    /// Yields nothing more of it.
    Drop(Source),
}

/// What became of a wish to advance a partition's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The partition.
    pub source: Source,
    /// Where it begins now, or why nothing has changed.
    pub result: Result<u64, String>,
}

/// The operator's interface beside the contract: it makes room. Nobody depends on its being done; who wants it done asks
/// again. No method blocks.
pub trait Trim {
    /// What stands below `start` is no longer wanted. A start beyond the end changes nothing and has failed.
    fn trim(&mut self, source: Source, start: u64);

    /// The end of a wish, if the last [`Log::poll`] brought one; each has one.
    fn trimmed(&mut self) -> Option<Trimmed>;
}

/// Why a start beyond the end is refused.
fn beyond(start: u64, end: u64) -> String {
    format!("{start} is beyond the end, {end}")
}

/// A log, as one gateway uses it for one world. No method blocks.
pub trait Log {
    /// Hands a record to the log. Motion is fire and forget, and may be lost where the log lags. In memory it does not
    /// lag. On Kafka a record that the broker has not taken for 2 s is dropped (`Unknown`), and while the producer's
    /// queue is full the newest never enters (`NeverEntered`); `docs/decisions.md` says why not the oldest.
    fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket;

    /// Changes what is followed.
    fn follow(&mut self, change: Follow);

    /// Appends to `out` what has happened since the last poll, at most
    /// [`POLL_RECORDS_MAX`](crate::limits::POLL_RECORDS_MAX) records of it.
    fn poll(&mut self, out: &mut Vec<Polled>);

    /// Asks for a partition's bounds; answered through [`Log::poll`].
    fn bounds(&mut self, source: Source);

    /// Asks for the first offset appended at or after a time (ms since 1970); answered through [`Log::poll`].
    fn offset_at(&mut self, source: Source, append_ms: i64);

    /// Asks for some records from an offset on, once, whether the partition is followed or not and beside that: at least one
    /// if there is any, at most [`FETCH_RECORDS_MAX`](crate::limits::FETCH_RECORDS_MAX); answered through [`Log::poll`].
    fn fetch(&mut self, source: Source, from: u64);
}
