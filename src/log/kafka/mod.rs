//! The log on Apache Kafka. [`KafkaLog`] is one gateway's handle: two producers, a reading, an asking and a trimming thread,
//! all behind bounded channels, so that no method waits for a broker. Topics are made and checked beforehand, by
//! [`ensure_topics`].
//!
//! Knows Kafka through rdkafka (librdkafka); the settings stand with the client that they are for.

mod admin;
mod asker;
mod client;
mod producer;
mod reader;
mod trimmer;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;

pub use admin::ensure_topics;

use super::{Fault, Follow, Log, Outcome, Polled, Source, Ticket, Topic, Trim, Trimmed};
use crate::limits::{
    KAFKA_CLOSE_MS, KAFKA_QUESTIONS_MAX, KAFKA_RECORDS_MAX, KAFKA_REPORTS_MAX, KAFKA_TOPIC_NAME_BYTES_MAX,
    KAFKA_TRIMS_MAX, POLL_RECORDS_MAX,
};
use asker::{Asked, Asker, Question};
use client::{Context, Names, Trouble};
use producer::Producers;
use reader::{Change, Fetched, Mailbox, Reader};
use trimmer::Trimmer;

/// Which broker, and whose topics on it.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port[,host:port]`.
    pub servers: String,
    /// First part of all topic names.
    pub prefix: String,
    /// The world.
    pub world: String,
    /// Partitions of `motion` and of `events`; fixed for the world's life.
    pub partitions: u16,
    /// Replicas of topics that are made; -1 leaves it to the broker.
    pub replication: i32,
    /// Further settings of librdkafka, such as `security.protocol`. They cannot change what the contract rests on.
    pub extra: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// From `kafka://host:port[,host:port]`.
    ///
    /// # Errors
    /// When the URL, or a topic's name made from prefix and world, is not one.
    pub fn from_url(url: &str, prefix: &str, world: &str, partitions: u16) -> Result<KafkaConfig, SetupError> {
        let servers = url.strip_prefix("kafka://").ok_or_else(|| SetupError::Url(url.to_owned()))?;
        let is_server = |server: &str| {
            let parts = server.rsplit_once(':');
            parts.is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok())
        };
        if !servers.split(',').all(is_server) {
            return Err(SetupError::Url(url.to_owned()));
        }
        let name = Topic::Motion.name(prefix, world);
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fits = !prefix.is_empty() && !world.is_empty() && name.len() <= KAFKA_TOPIC_NAME_BYTES_MAX;
        if !fits || !name.chars().all(is_legal) {
            return Err(SetupError::Name { prefix: prefix.to_owned(), world: world.to_owned() });
        }
        Ok(KafkaConfig {
            servers: servers.to_owned(),
            prefix: prefix.to_owned(),
            world: world.to_owned(),
            partitions,
            replication: -1,
            extra: BTreeMap::new(),
        })
    }
}

impl fmt::Debug for KafkaConfig {
    /// Without the values of `extra`: passwords stand there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("servers", &self.servers)
            .field("prefix", &self.prefix)
            .field("world", &self.world)
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("extra", &self.extra.keys())
            .finish()
    }
}

/// Why the log on Kafka could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Not a URL of brokers.
    #[error("{0:?} is not kafka://host:port[,host:port]")]
    Url(String),
    /// Prefix and world do not make topic names.
    #[error(
        "prefix {prefix:?} and world {world:?} do not make topic names: both need letters, digits, '.', '_' or '-', \
         and {max} bytes at most in all",
        max = KAFKA_TOPIC_NAME_BYTES_MAX
    )]
    Name {
        /// The prefix.
        prefix: String,
        /// The world.
        world: String,
    },
    /// librdkafka refused the settings or could not start.
    #[error("kafka client: {0}")]
    Client(#[from] KafkaError),
    /// A thread could not be started.
    #[error("thread: {0}")]
    Thread(#[from] std::io::Error),
    /// No broker answered.
    #[error("no answer from kafka at {servers}: {reason}")]
    Unreachable {
        /// Who was asked.
        servers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// A topic is not as it must be, or cannot be made.
    #[error("topic {topic}: {problem}")]
    Topic {
        /// Its name.
        topic: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// One gateway's handle on the log of one world on Kafka. What has no outcome yet when it is dropped may be in the log
/// or not.
pub struct KafkaLog {
    names: Names,
    /// Taken when the log is dropped, never before.
    producers: Option<Producers>,
    next_ticket: usize,
    mailbox: Arc<Mailbox>,
    /// The epoch of each followed partition; what was fetched under another one is not handed out.
    followed: BTreeMap<Source, u64>,
    next_epoch: u64,
    records: Receiver<Fetched>,
    waiting_bytes: Arc<AtomicUsize>,
    questions: SyncSender<Asked>,
    /// Outcomes and answers from the threads.
    reports: Receiver<Polled>,
    /// Wishes to trim, and ends of them.
    trims: SyncSender<(Source, u64)>,
    trimmed: Receiver<Trimmed>,
    /// Those that ended at once, until somebody looks; at most one per call since then.
    untrimmed: VecDeque<Trimmed>,
    /// What was known at once, until it is polled; at most one per call since the last poll.
    answers: VecDeque<Polled>,
    trouble: Arc<Trouble>,
    said_unreachable: Option<Instant>,
    threads: Vec<Thread>,
}

impl KafkaLog {
    /// Starts clients and threads. Needs no broker to be up; see [`ensure_topics`] for the topics.
    ///
    /// # Errors
    /// When librdkafka refuses a setting, or a thread cannot be started.
    pub fn open(config: &KafkaConfig) -> Result<KafkaLog, SetupError> {
        let names = Names::new(config);
        let trouble = Arc::new(Trouble::new());
        let mailbox = Arc::new(Mailbox::new());
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let (reports_in, reports) = sync_channel(KAFKA_REPORTS_MAX);
        let (records_in, records) = sync_channel(KAFKA_RECORDS_MAX);
        let (questions, questions_out) = sync_channel(KAFKA_QUESTIONS_MAX);
        let (trims, wishes) = sync_channel(KAFKA_TRIMS_MAX);
        let (trimmed_in, trimmed) = sync_channel(KAFKA_TRIMS_MAX);
        let context = || Context { trouble: trouble.clone() };

        let producers = Producers::new(config, reports_in.clone(), trouble.clone())?;
        let consumer: BaseConsumer<Context> = reader::settings(config).create_with_context(context())?;
        let reader = Reader {
            names: names.clone(),
            mailbox: mailbox.clone(),
            records: records_in,
            waiting_bytes: waiting_bytes.clone(),
            questions: questions.clone(),
            trouble: trouble.clone(),
        };
        let asker = Asker {
            names: names.clone(),
            consumer: asker::settings(config).create_with_context(context())?,
            questions: questions_out,
            reports: reports_in,
            mailbox: mailbox.clone(),
            trouble: trouble.clone(),
        };
        let trimmer = Trimmer {
            config: config.clone(),
            names: names.clone(),
            wishes,
            trimmed: trimmed_in,
            mailbox: mailbox.clone(),
        };
        let mut log = KafkaLog {
            names,
            producers: Some(producers),
            next_ticket: 0,
            mailbox,
            followed: BTreeMap::new(),
            next_epoch: 0,
            records,
            waiting_bytes,
            questions,
            reports,
            trims,
            trimmed,
            untrimmed: VecDeque::new(),
            answers: VecDeque::new(),
            trouble,
            said_unreachable: None,
            threads: Vec::new(),
        };
        log.threads.push(Thread::start("kafka-reader", move || reader.run(&consumer))?);
        log.threads.push(Thread::start("kafka-asker", move || asker.run())?);
        log.threads.push(Thread::start("kafka-trimmer", move || trimmer.run())?);
        Ok(log)
    }

    fn ask(&mut self, question: Question) {
        let unanswered = question.unanswered();
        if self.questions.try_send(Asked::now(question)).is_err() {
            self.answers.extend(unanswered);
        }
    }

    /// What was fetched, if it still is of the partition's present epoch.
    fn current(&mut self, fetched: Fetched) -> Option<Polled> {
        match fetched {
            Fetched::Record { source, epoch, offset, append_ms, bytes } => {
                self.waiting_bytes.fetch_sub(bytes.len(), Ordering::AcqRel);
                let wanted = self.followed.get(&source) == Some(&epoch);
                wanted.then_some(Polled::Record { source, offset, append_ms, bytes })
            }
            Fetched::OutOfBounds { source, epoch } => {
                let wanted = self.followed.get(&source) == Some(&epoch);
                if wanted {
                    self.followed.remove(&source);
                }
                wanted.then_some(Polled::Fault(Fault::OutOfBounds(source)))
            }
        }
    }
}

impl Log for KafkaLog {
    fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let producers = self.producers.as_mut().expect("taken by drop only");
        if producers.send(&self.names, source, &bytes, ticket).is_err() {
            self.answers.push_back(Polled::Outcome(Ticket(ticket as u64), Outcome::NeverEntered));
        }
        Ticket(ticket as u64)
    }

    fn follow(&mut self, change: Follow) {
        match change {
            Follow::From(source, offset) => {
                let epoch = self.next_epoch;
                self.next_epoch += 1;
                self.followed.insert(source, epoch);
                self.mailbox.wish(source, Change::Follow { epoch, offset });
            }
            Follow::Drop(source) => {
                self.followed.remove(&source);
                self.mailbox.wish(source, Change::Drop);
            }
        }
    }

    fn poll(&mut self, out: &mut Vec<Polled>) {
        out.extend(self.answers.drain(..));
        if let Some(reason) = self.trouble.take(&mut self.said_unreachable) {
            out.push(Polled::Fault(Fault::Unreachable(reason)));
        }
        out.extend(self.reports.try_iter().take(KAFKA_REPORTS_MAX));
        for _ in 0..POLL_RECORDS_MAX {
            let Ok(fetched) = self.records.try_recv() else { break };
            out.extend(self.current(fetched));
        }
    }

    fn bounds(&mut self, source: Source) {
        self.ask(Question::Bounds(source));
    }

    fn offset_at(&mut self, source: Source, append_ms: i64) {
        self.ask(Question::OffsetAt(source, append_ms));
    }

    fn fetch(&mut self, source: Source, from: u64) {
        self.ask(Question::Fetch(source, from));
    }
}

impl Trim for KafkaLog {
    fn trim(&mut self, source: Source, start: u64) {
        if self.trims.try_send((source, start)).is_err() {
            self.untrimmed.push_back(Trimmed { source, result: Err("too many wishes wait".to_owned()) });
        }
    }

    fn trimmed(&mut self) -> Option<Trimmed> {
        self.untrimmed.pop_front().or_else(|| self.trimmed.try_recv().ok())
    }
}

impl Drop for KafkaLog {
    /// Waits a bounded time for clients and threads to end; a client that hangs is left behind.
    fn drop(&mut self) {
        self.mailbox.close();
        // Without another end, nobody waits for room in a channel any more.
        self.reports = sync_channel(0).1;
        self.records = sync_channel(0).1;
        self.trimmed = sync_channel(0).1;
        let producers = self.producers.take();
        let close = move || producers.iter().for_each(Producers::flush);
        match Thread::start("kafka-close", close) {
            Ok(thread) => self.threads.push(thread),
            Err(error) => tracing::warn!(%error, "kafka producers not closed"),
        }
        let deadline = Instant::now() + Duration::from_millis(KAFKA_CLOSE_MS);
        for thread in self.threads.drain(..) {
            thread.join_until(deadline);
        }
    }
}

/// A thread that can be waited for, but not for ever.
struct Thread {
    name: &'static str,
    /// Nothing is ever sent: the other end goes when the thread's work is over.
    over: Receiver<()>,
}

impl Thread {
    fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
        let (alive, over) = sync_channel::<()>(0);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _alive = alive;
            work();
        })?;
        Ok(Thread { name, over })
    }

    fn join_until(self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.over.recv_timeout(left) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) => tracing::warn!(thread = self.name, "kafka client hangs: left behind"),
        }
    }
}
