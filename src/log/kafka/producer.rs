//! The way into the log: one producer for motion, which may lose records but never waits, and one for everything else,
//! which is idempotent. Each has librdkafka's own polling thread; outcomes come back through a bounded channel.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::KafkaConfig;
use super::client::{self, Names, Trouble};
use crate::limits::{
    KAFKA_EVENTS_QUEUE_KIB, KAFKA_EVENTS_QUEUE_RECORDS, KAFKA_EVENTS_SOCKET_MS, KAFKA_EVENTS_TIMEOUT_MS,
    KAFKA_FLUSH_MS, KAFKA_MOTION_IN_FLIGHT, KAFKA_MOTION_QUEUE_KIB, KAFKA_MOTION_QUEUE_RECORDS,
    KAFKA_MOTION_TIMEOUT_MS, KAFKA_REMAKE_MS,
};
use crate::log::{Outcome, Polled, Source, Ticket, Topic};

type Client = ThreadedProducer<Deliveries>;

/// What librdkafka calls back with when a record has been delivered, or not.
#[derive(Clone)]
struct Deliveries {
    reports: SyncSender<Polled>,
    trouble: Arc<Trouble>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        client::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::note(&self.trouble, &error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let outcome = match result {
            Ok(message) => Outcome::At(u64::try_from(message.offset()).ok()),
            // Once enqueued, a record may have been sent, and sent again: no error says for certain that no attempt
            // has reached the log. (librdkafka knows, but rdkafka does not hand on its message status.)
            Err(_) => Outcome::Unknown,
        };
        // Waits when nobody polls: then librdkafka's own bounded queue fills, and `publish` refuses. The other end
        // goes only when the log is closed, and then nobody asks for outcomes.
        let _ = self.reports.send(Polled::Outcome(Ticket(ticket as u64), outcome));
    }
}

/// Both producers.
pub(super) struct Producers {
    motion: Client,
    events: Client,
    events_config: ClientConfig,
    deliveries: Deliveries,
    remade: Instant,
}

impl Producers {
    pub(super) fn new(config: &KafkaConfig, reports: SyncSender<Polled>, trouble: Arc<Trouble>) -> KafkaResult<Self> {
        let deliveries = Deliveries { reports, trouble };
        let events_config = events(config);
        Ok(Producers {
            motion: motion(config).create_with_context(deliveries.clone())?,
            events: events_config.create_with_context(deliveries.clone())?,
            events_config,
            deliveries,
            remade: Instant::now(),
        })
    }

    /// Never waits. `Err` says that the record will not enter the log.
    pub(super) fn send(&mut self, names: &Names, source: Source, bytes: &Bytes, ticket: usize) -> Result<(), ()> {
        let record = BaseRecord::<(), [u8], usize>::with_opaque_to(names.of(source.topic), ticket)
            .partition(i32::from(source.partition))
            .payload(bytes);
        let client = match source.topic {
            Topic::Motion => &self.motion,
            Topic::Events | Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => &self.events,
        };
        let Err((error, _)) = client.send(record) else { return Ok(()) };
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
            self.deliveries.trouble.note(format!("{error}"));
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.remake_events();
        }
        Err(())
    }

    /// Lets what is under way reach the log, for a bounded time; dropping alone would throw it away.
    pub(super) fn flush(&self) {
        for (client, name) in [(&self.motion, "motion"), (&self.events, "events")] {
            if let Err(error) = client.flush(Duration::from_millis(KAFKA_FLUSH_MS)) {
                tracing::warn!(%error, name, "closed before all records were in the log");
            }
        }
    }

    /// An idempotent producer that has lost its place (a broker came back without its data) refuses everything for
    /// good. A new one begins anew; what the old one still had ends as `Unknown`.
    fn remake_events(&mut self) {
        if self.remade.elapsed() < Duration::from_millis(KAFKA_REMAKE_MS) {
            return;
        }
        self.remade = Instant::now();
        match self.events_config.create_with_context(self.deliveries.clone()) {
            Ok(fresh) => {
                let old = std::mem::replace(&mut self.events, fresh);
                // Dropping it waits for its thread and for its last outcomes.
                thread::spawn(move || drop(old));
            }
            Err(error) => self.deliveries.trouble.note(format!("{error}")),
        }
    }
}

fn motion(config: &KafkaConfig) -> ClientConfig {
    let mut client = client::base(config, "motion");
    client.set("acks", "1");
    client.set("enable.idempotence", "false");
    // The batcher has waited already: one record a partition and flush.
    client.set("linger.ms", "0");
    client.set("max.in.flight.requests.per.connection", KAFKA_MOTION_IN_FLIGHT.to_string());
    client.set("compression.type", "lz4");
    client.set("message.timeout.ms", KAFKA_MOTION_TIMEOUT_MS.to_string());
    client.set("queue.buffering.max.messages", KAFKA_MOTION_QUEUE_RECORDS.to_string());
    client.set("queue.buffering.max.kbytes", KAFKA_MOTION_QUEUE_KIB.to_string());
    client
}

fn events(config: &KafkaConfig) -> ClientConfig {
    let mut client = client::base(config, "events");
    client.set("acks", "all");
    client.set("enable.idempotence", "true");
    client.set("linger.ms", "1");
    client.set("compression.type", "zstd");
    client.set("message.timeout.ms", KAFKA_EVENTS_TIMEOUT_MS.to_string());
    client.set("request.timeout.ms", KAFKA_EVENTS_SOCKET_MS.to_string());
    client.set("socket.timeout.ms", KAFKA_EVENTS_SOCKET_MS.to_string());
    client.set("queue.buffering.max.messages", KAFKA_EVENTS_QUEUE_RECORDS.to_string());
    client.set("queue.buffering.max.kbytes", KAFKA_EVENTS_QUEUE_KIB.to_string());
    client
}
