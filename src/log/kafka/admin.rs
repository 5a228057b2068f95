//! Topics, made where missing and checked where present, before the log is used. Blocks, for a bounded time.
//! What a topic must be stands here once, as a list of settings.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::client::{self, Names};
use super::{KafkaConfig, SetupError};
use crate::limits::{
    EVENTS_RETENTION_US, KAFKA_ADMIN_MS, KAFKA_MOTION_SEGMENT_BYTES, KAFKA_MOTION_SEGMENT_MS, MILLI_US,
    MOTION_RETENTION_US, RECORD_BYTES_MAX,
};
use crate::log::Topic;

type Admin = AdminClient<DefaultClientContext>;

const ALL: [Topic; 6] = Topic::ALL;

/// Makes the topics of the world and of the cluster where they are missing, and checks those there are. Blocks until the
/// broker has answered, at most a few times `KAFKA_ADMIN_MS`.
///
/// # Errors
/// When no broker answers, or a topic is not as it must be: the error says what to change.
pub fn ensure_topics(config: &KafkaConfig) -> Result<(), SetupError> {
    let admin: Admin = client::base(config, "admin").create()?;
    let names = Names::new(config);
    let present = partition_counts(&admin, config)?;
    let missing: Vec<Topic> =
        ALL.into_iter().filter(|&topic| !present.iter().any(|(name, _)| name == names.of(topic))).collect();
    make(&admin, config, &names, &missing)?;
    // Also those just made: another gateway may have been faster, and of another opinion. In order: the count of motion is
    // what was configured.
    let present = partition_counts(&admin, config)?;
    for topic in ALL {
        let Some((name, partitions)) = present.iter().find(|(name, _)| name == names.of(topic)) else { continue };
        let wanted = partition_count(config, topic);
        if *partitions != wanted {
            let problem = format!(
                "has {partitions} partitions, the world needs {wanted}: configure {partitions}, or choose another \
                 world name (the count is fixed for a world's life)"
            );
            return Err(SetupError::Topic { topic: name.clone(), problem });
        }
    }
    check_settings(&admin, config, &names)
}

fn partition_count(config: &KafkaConfig, topic: Topic) -> usize {
    usize::from(topic.partitions(config.partitions))
}

/// Settings that a topic is made with.
fn settings(topic: Topic) -> Vec<(&'static str, String)> {
    let ms = |us: u64| (us / MILLI_US).to_string();
    let mut settings = required();
    match topic {
        Topic::Motion => {
            settings.push(("retention.ms", ms(MOTION_RETENTION_US)));
            settings.push(("segment.ms", KAFKA_MOTION_SEGMENT_MS.to_string()));
            settings.push(("segment.bytes", KAFKA_MOTION_SEGMENT_BYTES.to_string()));
        }
        // Whoever writes a snapshot advances the log's start: time alone must not take what none has.
        Topic::Events | Topic::Objects => settings.push(("retention.ms", "-1".to_owned())),
        Topic::Social | Topic::Direct | Topic::Control => settings.push(("retention.ms", ms(EVENTS_RETENTION_US))),
    }
    settings
}

/// Settings without which the contract does not hold; an operator may turn the others.
fn required() -> Vec<(&'static str, String)> {
    // Records have no keys, and the log's clock counts, not the gateways'.
    vec![("cleanup.policy", "delete".to_owned()), ("message.timestamp.type", "LogAppendTime".to_owned())]
}

fn partition_counts(admin: &Admin, config: &KafkaConfig) -> Result<Vec<(String, usize)>, SetupError> {
    // Asked for all topics: asking for one by name would make it, where brokers make topics by themselves.
    let metadata = admin
        .inner()
        .fetch_metadata(None, Duration::from_millis(KAFKA_ADMIN_MS))
        .map_err(|error| unreachable(config, &error.to_string()))?;
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
}

fn make(admin: &Admin, config: &KafkaConfig, names: &Names, missing: &[Topic]) -> Result<(), SetupError> {
    if missing.is_empty() {
        return Ok(());
    }
    let settings: Vec<(Topic, Vec<(&str, String)>)> = missing.iter().map(|&topic| (topic, settings(topic))).collect();
    let new: Vec<NewTopic<'_>> = settings
        .iter()
        .map(|(topic, settings)| {
            let count = i32::try_from(partition_count(config, *topic)).expect("a u16 fits");
            let topic = NewTopic::new(names.of(*topic), count, TopicReplication::Fixed(config.replication));
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let made = wait(admin.create_topics(&new, &options())).ok_or_else(|| unreachable(config, "timed out"))?;
    for result in made.map_err(|error| unreachable(config, &error.to_string()))? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(SetupError::Topic { topic, problem: format!("cannot be made: {code}") });
            }
        }
    }
    await_present(admin, config, names)
}

/// A topic that was made is not known to every broker at once.
fn await_present(admin: &Admin, config: &KafkaConfig, names: &Names) -> Result<(), SetupError> {
    let deadline = Instant::now() + Duration::from_millis(KAFKA_ADMIN_MS);
    loop {
        let present = partition_counts(admin, config)?;
        let missing = ALL.into_iter().find(|&topic| !present.iter().any(|(name, n)| name == names.of(topic) && *n > 0));
        let Some(missing) = missing else { return Ok(()) };
        if Instant::now() > deadline {
            let problem = "was made, but no broker shows it".to_owned();
            return Err(SetupError::Topic { topic: names.of(missing).to_owned(), problem });
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

fn check_settings(admin: &Admin, config: &KafkaConfig, names: &Names) -> Result<(), SetupError> {
    let asked = ALL.map(|topic| ResourceSpecifier::Topic(names.of(topic)));
    let described = wait(admin.describe_configs(&asked, &options())).ok_or_else(|| unreachable(config, "timed out"))?;
    let described = described.map_err(|error| unreachable(config, &error.to_string()))?;
    for (topic, resource) in ALL.into_iter().zip(described) {
        let name = names.of(topic).to_owned();
        let resource = resource.map_err(|code| SetupError::Topic {
            topic: name.clone(),
            problem: format!("its settings cannot be read: {code}; allow DescribeConfigs"),
        })?;
        let value = |key: &str| resource.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
        for (key, wanted) in required() {
            let found = value(key);
            if found != wanted {
                let problem = format!("{key} is {found:?} and must be {wanted:?}: change it with kafka-configs");
                return Err(SetupError::Topic { topic: name, problem });
            }
        }
        let largest = value("max.message.bytes");
        if largest.parse::<usize>().is_ok_and(|bytes| bytes <= RECORD_BYTES_MAX) {
            let problem = format!("max.message.bytes is {largest} and must be above {RECORD_BYTES_MAX}");
            return Err(SetupError::Topic { topic: name, problem });
        }
    }
    Ok(())
}

pub(super) fn options() -> AdminOptions {
    let limit = Some(Duration::from_millis(KAFKA_ADMIN_MS));
    AdminOptions::new().request_timeout(limit).operation_timeout(limit)
}

fn unreachable(config: &KafkaConfig, reason: &str) -> SetupError {
    SetupError::Unreachable { servers: config.servers.clone(), reason: reason.to_owned() }
}

/// Waits for a future of the admin client, which is woken by a thread of its own: needs no runtime, and so can be called
/// inside one as well. `None` when it takes longer than the broker was given.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let deadline = Instant::now() + Duration::from_millis(2 * KAFKA_ADMIN_MS);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(value) => return Some(value),
            Poll::Pending => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                thread::park_timeout(left);
            }
        }
    }
}
