//! Questions to the broker (bounds, offsets by time, records once more) on a client and thread of their own, because each waits for its
//! answer. A question that the broker does not answer in time ends as `Unanswered`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;

use super::KafkaConfig;
use super::client::{self, Context, Names, Trouble};
use super::reader::{Change, Mailbox};
use crate::limits::{FETCH_BYTES, FETCH_RECORDS_MAX, KAFKA_ASK_MS};
use crate::log::{Bounds, Fault, Fetched, Polled, Source};

/// What can be asked.
pub(super) enum Question {
    Bounds(Source),
    OffsetAt(Source, i64),
    Fetch(Source, u64),
    /// Which of these are out of bounds? The epochs go back with the findings.
    Audit(Vec<(Source, u64)>),
}

impl Question {
    /// What is said where there is no answer.
    pub(super) fn unanswered(&self) -> Option<Polled> {
        match self {
            Question::Bounds(source) | Question::OffsetAt(source, _) => Some(Polled::Fault(Fault::Unanswered(*source))),
            Question::Fetch(source, _) => Some(Polled::Fault(Fault::Unfetched(*source))),
            Question::Audit(_) => None,
        }
    }
}

/// A question and when it was asked.
pub(super) struct Asked {
    question: Question,
    at: Instant,
}

impl Asked {
    pub(super) fn now(question: Question) -> Asked {
        Asked { question, at: Instant::now() }
    }
}

/// How far the search for the newest visible record goes back from the end. At the very end there may be none: a
/// transaction's marker, or a record that compaction has removed.
const LOOK_BACK: [u64; 3] = [1, 16, 256];
/// How often the thread looks whether the log was closed.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// Events of its client (errors, log lines) that the thread takes off at a time; nobody else does.
const EVENTS_AT_ONCE: usize = 64;

pub(super) fn settings(config: &KafkaConfig) -> ClientConfig {
    let mut client = client::consumer(config, "asker");
    client.set("socket.timeout.ms", KAFKA_ASK_MS.to_string());
    // The end of a partition must be seen, and quickly: the next question waits for a fetch that is under way.
    client.set("enable.partition.eof", "true");
    client.set("fetch.wait.max.ms", "5");
    client.set("fetch.error.backoff.ms", "10");
    client.set("queued.max.messages.kbytes", "1024");
    client
}

/// The asking thread.
pub(super) struct Asker {
    pub(super) names: Names,
    pub(super) consumer: BaseConsumer<Context>,
    pub(super) questions: Receiver<Asked>,
    pub(super) reports: SyncSender<Polled>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) trouble: Arc<Trouble>,
}

impl Asker {
    /// Answers until the mailbox is closed.
    pub(super) fn run(self) {
        while !self.mailbox.is_closed() {
            match self.questions.recv_timeout(LOOK) {
                Ok(asked) => self.answer(&asked),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            for _ in 0..EVENTS_AT_ONCE {
                if self.consumer.poll(Duration::ZERO).is_none() {
                    break;
                }
            }
        }
    }

    fn answer(&self, asked: &Asked) {
        let deadline = asked.at + Duration::from_millis(KAFKA_ASK_MS);
        let answer = match &asked.question {
            Question::Bounds(source) => self.bounds(*source, deadline).map(|bounds| Polled::Bounds(*source, bounds)),
            Question::OffsetAt(source, append_ms) => {
                let answer = self.offset_at(*source, *append_ms, deadline);
                answer.map(|offset| Polled::OffsetAt(*source, offset))
            }
            Question::Fetch(source, from) => self.fetch(*source, *from, deadline).map(Polled::Fetched),
            Question::Audit(followed) => {
                if let Err(error) = self.audit(followed, deadline) {
                    self.trouble.note(format!("{error}"));
                    self.mailbox.want_audit();
                }
                return;
            }
        };
        let report = answer.map_or_else(
            |error| {
                self.trouble.note(format!("{error}"));
                asked.question.unanswered()
            },
            Some,
        );
        // Fails only when the log is being closed.
        report.into_iter().for_each(|report| drop(self.reports.send(report)));
    }

    /// The partition's start, and its high watermark.
    fn extent(&self, source: Source, deadline: Instant) -> KafkaResult<(u64, u64)> {
        let (topic, partition) = (self.names.of(source.topic), i32::from(source.partition));
        let (low, high) = self.consumer.fetch_watermarks(topic, partition, left(deadline)?)?;
        Ok((offset(low)?, offset(high)?))
    }

    fn bounds(&self, source: Source, deadline: Instant) -> KafkaResult<Bounds> {
        let (start, end) = self.extent(source, deadline)?;
        let last_append_ms = self.last_append_ms(source, start, end, deadline)?;
        Ok(Bounds { start, end, last_append_ms })
    }

    /// Reads the newest record below `end`: rdkafka cannot ask for the largest time stamp.
    fn last_append_ms(&self, source: Source, start: u64, end: u64, deadline: Instant) -> KafkaResult<Option<i64>> {
        for back in LOOK_BACK {
            let from = end.saturating_sub(back).max(start);
            if from == end {
                return Ok(None);
            }
            self.assign(source, from)?;
            let last = self.newest_until(end, deadline);
            self.consumer.unassign()?;
            if let Some(append_ms) = last? {
                return Ok(Some(append_ms));
            }
            if from == start {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Reads the partition from an offset on, which must be in it.
    fn assign(&self, source: Source, from: u64) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        let at = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        list.add_partition_offset(self.names.of(source.topic), i32::from(source.partition), at)?;
        self.consumer.assign(&list)
    }

    fn fetch(&self, source: Source, from: u64, deadline: Instant) -> KafkaResult<Fetched> {
        let (start, end) = self.extent(source, deadline)?;
        let first = from.max(start);
        let (mut records, mut next) = (Vec::new(), from);
        if first < end {
            self.assign(source, first)?;
            let read = self.read_until(end, &mut records, deadline);
            self.consumer.unassign()?;
            next = read?;
        }
        Ok(Fetched { source, from, start, records, next })
    }

    /// Reads records up to `end`, as many as one fetch has. Where the next one goes on: what is read ends at `end`, though its
    /// last offsets may hold no record.
    fn read_until(&self, end: u64, out: &mut Vec<(u64, Bytes)>, deadline: Instant) -> KafkaResult<u64> {
        let mut bytes = 0;
        loop {
            match self.consumer.poll(left(deadline)?) {
                Some(Ok(message)) => {
                    let (at, payload) = (offset(message.offset())?, message.payload().unwrap_or_default());
                    if at >= end {
                        return Ok(end);
                    }
                    bytes += payload.len();
                    out.push((at, Bytes::copy_from_slice(payload)));
                    if out.len() == FETCH_RECORDS_MAX || bytes >= FETCH_BYTES || at + 1 == end {
                        return Ok(at + 1);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(end),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
    }

    fn newest_until(&self, end: u64, deadline: Instant) -> KafkaResult<Option<i64>> {
        let mut newest = None;
        loop {
            match self.consumer.poll(left(deadline)?) {
                Some(Ok(message)) => {
                    newest = message.timestamp().to_millis();
                    if offset(message.offset())? + 1 >= end {
                        return Ok(newest);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
    }

    fn offset_at(&self, source: Source, append_ms: i64, deadline: Instant) -> KafkaResult<u64> {
        // Negative times have meanings of their own in the protocol.
        let at = Offset::Offset(append_ms.max(0));
        if let Some(offset) = self.list(&[source], at, deadline)?.remove(&source).transpose()?.flatten() {
            return Ok(offset);
        }
        let end = self.list(&[source], Offset::End, deadline)?.remove(&source).transpose()?.flatten();
        end.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))
    }

    fn audit(&self, followed: &[(Source, u64)], deadline: Instant) -> KafkaResult<()> {
        let sources: Vec<Source> = followed.iter().map(|&(source, _)| source).collect();
        let starts = self.list(&sources, Offset::Beginning, deadline)?;
        let ends = self.list(&sources, Offset::End, deadline)?;
        for &(source, epoch) in followed {
            let (start, end) = (starts.get(&source), ends.get(&source));
            if let (Some(&Ok(Some(start))), Some(&Ok(Some(end)))) = (start, end) {
                self.mailbox.suggest(source, Change::Audited { epoch, start, end });
            } else {
                self.mailbox.want_audit();
            }
        }
        Ok(())
    }

    /// For each source the first offset at a time, at the beginning or at the end; `None` where there is none. The
    /// protocol counts times from 1970 and gives the other two negative ones, so one request serves all three.
    fn list(&self, sources: &[Source], at: Offset, deadline: Instant) -> KafkaResult<BTreeMap<Source, Listed>> {
        let mut times = TopicPartitionList::new();
        for source in sources {
            times.add_partition_offset(self.names.of(source.topic), i32::from(source.partition), at)?;
        }
        let offsets = self.consumer.offsets_for_times(times, left(deadline)?)?;
        let listed = offsets.elements().into_iter().filter_map(|element| {
            let source = self.names.source(element.topic(), element.partition())?;
            let offset = element.offset().to_raw().and_then(|raw| u64::try_from(raw).ok());
            Some((source, element.error().map(|()| offset)))
        });
        Ok(listed.collect())
    }
}

type Listed = KafkaResult<Option<u64>>;

fn left(deadline: Instant) -> KafkaResult<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(KafkaError::OffsetFetch(RDKafkaErrorCode::OperationTimedOut)) } else { Ok(left) }
}

fn offset(raw: i64) -> KafkaResult<u64> {
    u64::try_from(raw).map_err(|_| KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))
}
