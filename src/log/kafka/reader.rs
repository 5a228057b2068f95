//! The way out of the log: one consumer on its own thread, with partitions assigned by hand. No group is joined (a
//! rebalance stops readers for seconds) and no queue is split (a missed wake-up would stall a partition for good).
//!
//! librdkafka says *that* an offset was out of bounds, but rdkafka does not say *where*: it then has stopped reading
//! that partition. So the reader has all its partitions audited: the asker looks up their bounds, and then each is
//! either out of them, or is assigned again where it stood.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::Offset;

use super::KafkaConfig;
use super::asker::{Asked, Question};
use super::client::{self, Context, Names, Trouble};
use crate::limits::{
    KAFKA_AUDIT_PAUSE_MS, KAFKA_FETCH_WAIT_MS, KAFKA_FULL_MS, KAFKA_LOOK_MS, KAFKA_PREFETCH_KIB,
    KAFKA_RECORDS_BYTES_MAX, KAFKA_SOCKET_MS,
};
use crate::log::Source;

/// A record on its way to `poll`. The epoch tells which `follow` it belongs to: an older one counts no more.
pub(super) enum Fetched {
    Record { source: Source, epoch: u64, offset: u64, append_ms: i64, bytes: Bytes },
    OutOfBounds { source: Source, epoch: u64 },
}

/// A change of one partition, waiting for the reader.
pub(super) enum Change {
    Follow { epoch: u64, offset: u64 },
    Drop,
    Audited { epoch: u64, start: u64, end: u64 },
}

/// What others want of the reader. Bounded: at most one change a partition, the newest.
pub(super) struct Mailbox {
    changes: Mutex<BTreeMap<Source, Change>>,
    changed: AtomicBool,
    audit: AtomicBool,
    closed: AtomicBool,
}

impl Mailbox {
    pub(super) fn new() -> Mailbox {
        Mailbox {
            changes: Mutex::new(BTreeMap::new()),
            changed: AtomicBool::new(false),
            audit: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// The world's wish: replaces what was waiting.
    pub(super) fn wish(&self, source: Source, change: Change) {
        self.lock().insert(source, change);
        self.changed.store(true, Ordering::Release);
    }

    /// A finding, or a wish to be tried again: a newer wish goes first.
    pub(super) fn suggest(&self, source: Source, change: Change) {
        self.lock().entry(source).or_insert(change);
        self.changed.store(true, Ordering::Release);
    }

    pub(super) fn want_audit(&self) {
        self.audit.store(true, Ordering::Release);
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn take(&self) -> BTreeMap<Source, Change> {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return BTreeMap::new();
        }
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, Change>> {
        self.changes.lock().expect("no holder of this lock panics")
    }
}

pub(super) fn settings(config: &KafkaConfig) -> ClientConfig {
    let mut client = client::consumer(config, "reader");
    client.set("fetch.min.bytes", "1");
    client.set("fetch.wait.max.ms", KAFKA_FETCH_WAIT_MS.to_string());
    // The default of 1 s would stall every partition for that long whenever the local queue was full.
    client.set("fetch.queue.backoff.ms", "5");
    client.set("fetch.error.backoff.ms", "10");
    client.set("queued.max.messages.kbytes", KAFKA_PREFETCH_KIB.to_string());
    client.set("socket.timeout.ms", KAFKA_SOCKET_MS.to_string());
    client
}

struct Assigned {
    epoch: u64,
    /// Offset after the last record taken from librdkafka.
    next: u64,
}

/// The state of the reading thread.
pub(super) struct Reader {
    pub(super) names: Names,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) records: SyncSender<Fetched>,
    /// Bytes in `records`; `poll` takes them off.
    pub(super) waiting_bytes: Arc<AtomicUsize>,
    pub(super) questions: SyncSender<Asked>,
    pub(super) trouble: Arc<Trouble>,
}

impl Reader {
    /// Reads until the mailbox is closed.
    pub(super) fn run(self, consumer: &BaseConsumer<Context>) {
        let mut hands = Hands { reader: self, assigned: BTreeMap::new(), held: VecDeque::new(), audited: None };
        while !hands.reader.mailbox.is_closed() {
            hands.apply_changes(consumer);
            hands.ask_for_audit();
            if !hands.hand_over() {
                // Full: librdkafka stops fetching at its own bound, while changes are still heard.
                thread::park_timeout(Duration::from_millis(KAFKA_FULL_MS));
                continue;
            }
            match consumer.poll(Duration::from_millis(KAFKA_LOOK_MS)) {
                Some(Ok(message)) => hands.take(&message),
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    hands.reader.mailbox.want_audit();
                }
                // Other errors have gone to the context, and librdkafka tries again by itself.
                Some(Err(_)) | None => {}
            }
        }
        // Closing a consumer that still reads has been seen to hang (rust-rdkafka #453, #509).
        let _ = consumer.unassign();
    }
}

struct Hands {
    reader: Reader,
    assigned: BTreeMap<Source, Assigned>,
    /// What did not fit into the channel: a record at most, and faults, at most one a partition and change.
    held: VecDeque<Fetched>,
    audited: Option<Instant>,
}

impl Hands {
    fn apply_changes(&mut self, consumer: &BaseConsumer<Context>) {
        for (source, change) in self.reader.mailbox.take() {
            match change {
                Change::Follow { epoch, offset } => {
                    self.unassign(consumer, source);
                    self.assign(consumer, source, epoch, offset);
                }
                Change::Drop => self.unassign(consumer, source),
                Change::Audited { epoch, start, end } => self.judge(consumer, source, epoch, start..=end),
            }
        }
    }

    fn judge(
        &mut self,
        consumer: &BaseConsumer<Context>,
        source: Source,
        epoch: u64,
        bounds: std::ops::RangeInclusive<u64>,
    ) {
        let Some(next) = self.assigned.get(&source).filter(|a| a.epoch == epoch).map(|a| a.next) else { return };
        self.unassign(consumer, source);
        if bounds.contains(&next) {
            self.assign(consumer, source, epoch, next);
        } else {
            self.held.push_back(Fetched::OutOfBounds { source, epoch });
        }
    }

    fn assign(&mut self, consumer: &BaseConsumer<Context>, source: Source, epoch: u64, offset: u64) {
        let from = i64::try_from(offset).unwrap_or(i64::MAX);
        let done = self.partition(source, Offset::Offset(from)).and_then(|list| consumer.incremental_assign(&list));
        match done {
            Ok(()) => {
                self.assigned.insert(source, Assigned { epoch, next: offset });
            }
            Err(error) => {
                self.reader.trouble.note(format!("{error}"));
                self.reader.mailbox.suggest(source, Change::Follow { epoch, offset });
            }
        }
    }

    fn unassign(&mut self, consumer: &BaseConsumer<Context>, source: Source) {
        if self.assigned.remove(&source).is_none() {
            return;
        }
        let done = self.partition(source, Offset::Invalid).and_then(|list| consumer.incremental_unassign(&list));
        if let Err(error) = done {
            self.reader.trouble.note(format!("{error}"));
        }
    }

    fn partition(&self, source: Source, offset: Offset) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.reader.names.of(source.topic), i32::from(source.partition), offset)?;
        Ok(list)
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let Some(source) = self.reader.names.source(message.topic(), message.partition()) else { return };
        let (Some(assigned), Ok(offset)) = (self.assigned.get_mut(&source), u64::try_from(message.offset())) else {
            return;
        };
        // Guards the order, whatever an assignment that has just ended may still yield.
        if offset < assigned.next {
            return;
        }
        assigned.next = offset + 1;
        self.held.push_back(Fetched::Record {
            source,
            epoch: assigned.epoch,
            offset,
            append_ms: message.timestamp().to_millis().unwrap_or(0),
            bytes: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        });
    }

    /// Moves what is held into the channel; whether all of it went.
    fn hand_over(&mut self) -> bool {
        while let Some(fetched) = self.held.pop_front() {
            let bytes = match &fetched {
                Fetched::Record { bytes, .. } => bytes.len(),
                Fetched::OutOfBounds { .. } => 0,
            };
            let waiting = &self.reader.waiting_bytes;
            if waiting.load(Ordering::Acquire) > KAFKA_RECORDS_BYTES_MAX {
                self.held.push_front(fetched);
                return false;
            }
            waiting.fetch_add(bytes, Ordering::AcqRel);
            match self.reader.records.try_send(fetched) {
                Ok(()) => {}
                Err(TrySendError::Full(fetched)) => {
                    waiting.fetch_sub(bytes, Ordering::AcqRel);
                    self.held.push_front(fetched);
                    return false;
                }
                // The log is being closed.
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        true
    }

    fn ask_for_audit(&mut self) {
        let pause = Duration::from_millis(KAFKA_AUDIT_PAUSE_MS);
        if !self.reader.mailbox.audit.load(Ordering::Acquire) || self.audited.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.audited = Some(Instant::now());
        let followed = self.assigned.iter().map(|(&source, a)| (source, a.epoch)).collect();
        // When the asker has too much to do, the audit stays wanted.
        if self.reader.questions.try_send(Asked::now(Question::Audit(followed))).is_ok() {
            self.reader.mailbox.audit.store(false, Ordering::Release);
        }
    }
}
