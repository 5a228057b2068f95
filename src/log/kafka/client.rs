//! What all clients of the broker share: names, settings, and where they put their troubles.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaConfig;
use crate::limits::{KAFKA_RECONNECT_MS, KAFKA_UNREACHABLE_MS};
use crate::log::{Source, Topic};

/// The topics' names on the broker.
#[derive(Clone, Debug)]
pub(super) struct Names([(Topic, String); Topic::ALL.len()]);

impl Names {
    pub(super) fn new(config: &KafkaConfig) -> Names {
        Names(Topic::ALL.map(|topic| (topic, topic.name(&config.prefix, &config.world))))
    }

    pub(super) fn of(&self, topic: Topic) -> &str {
        let (_, name) = self.0.iter().find(|(of, _)| *of == topic).expect("all topics have names");
        name
    }

    pub(super) fn source(&self, topic: &str, partition: i32) -> Option<Source> {
        let (topic, _) = self.0.iter().find(|(_, name)| name == topic)?;
        Some(Source { topic: *topic, partition: u16::try_from(partition).ok()? })
    }
}

/// Settings of every client. The operator's come first: what the contract rests on is not theirs to change.
pub(super) fn base(config: &KafkaConfig, role: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (key, value) in &config.extra {
        client.set(key, value);
    }
    client.set("bootstrap.servers", &config.servers);
    client.set("client.id", format!("nearcast-{role}"));
    client.set("reconnect.backoff.max.ms", KAFKA_RECONNECT_MS.to_string());
    // Statistics are events that can swallow a consumer's wake-up (rust-rdkafka #665).
    client.set("statistics.interval.ms", "0");
    client.set_log_level(RDKafkaLogLevel::Warning);
    client
}

/// Settings of every consumer. It needs a group's name to be allowed to assign, and never joins that group.
pub(super) fn consumer(config: &KafkaConfig, role: &str) -> ClientConfig {
    let mut client = base(config, role);
    client.set("group.id", format!("{}.gateway", config.prefix));
    client.set("enable.auto.commit", "false");
    client.set("enable.auto.offset.store", "false");
    client.set("auto.offset.reset", "error");
    client.set("isolation.level", "read_uncommitted");
    client
}

/// The last reason why the log could not be reached, until somebody is told.
pub(super) struct Trouble {
    noted: Mutex<Option<String>>,
}

impl Trouble {
    pub(super) fn new() -> Trouble {
        Trouble { noted: Mutex::new(None) }
    }

    pub(super) fn note(&self, reason: String) {
        *self.lock() = Some(reason);
    }

    /// The newest reason, if `said` is long enough ago.
    pub(super) fn take(&self, said: &mut Option<Instant>) -> Option<String> {
        let mut noted = self.lock();
        noted.as_ref()?;
        if said.is_some_and(|at| at.elapsed() < Duration::from_millis(KAFKA_UNREACHABLE_MS)) {
            return None;
        }
        *said = Some(Instant::now());
        noted.take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.noted.lock().expect("no holder of this lock panics")
    }
}

/// What librdkafka calls back with, for clients that produce nothing.
pub(super) struct Context {
    pub(super) trouble: Arc<Trouble>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        note(&self.trouble, &error, reason);
    }
}

impl ConsumerContext for Context {}

/// librdkafka repeats itself each second of an outage, once a client: what matters arrives as an error as well.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    tracing::debug!(target: "librdkafka", ?level, facility, "{text}");
}

pub(super) fn note(trouble: &Trouble, error: &KafkaError, reason: &str) {
    let passes = [
        // One broker of several: its partitions move, and if it was the last, `AllBrokersDown` follows.
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::OperationTimedOut,
        // Not about the broker but about an offset; see `reader.rs`.
        RDKafkaErrorCode::AutoOffsetReset,
        RDKafkaErrorCode::PartitionEOF,
    ];
    if !error.rdkafka_error_code().is_some_and(|code| passes.contains(&code)) {
        trouble.note(format!("{error}: {reason}"));
    }
}
