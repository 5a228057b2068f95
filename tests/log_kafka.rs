//! What is Kafka's own: topics that are not as they must be, and brokers that are not there. The contract itself is
//! tested in `log_contract.rs`.
#![cfg(feature = "kafka")]

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nearcast::limits::{KAFKA_CLOSE_MS, KAFKA_MOTION_TIMEOUT_MS, KAFKA_UNREACHABLE_MS};
use nearcast::log::kafka::{KafkaConfig, KafkaLog, SetupError, ensure_topics};
use nearcast::log::{Fault, Follow, Log, Outcome, Polled, Source, Topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

fn config(world: &str, partitions: u16) -> KafkaConfig {
    let servers = std::env::var("KAFKA_BOOTSTRAP")
        .unwrap_or_else(|_| panic!("KAFKA_BOOTSTRAP is not set: run `make kafka`, then set it to what that prints"));
    let prefix = format!("own-{world}-{}", std::process::id());
    KafkaConfig::from_url(&format!("kafka://{servers}"), &prefix, world, partitions).expect("a good URL")
}

fn admin<T>(config: &KafkaConfig, task: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T) -> T {
    let admin = ClientConfig::new().set("bootstrap.servers", &config.servers).create().expect("a client");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(15)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(task(&admin, &options))
}

fn delete(config: &KafkaConfig) {
    let names = Topic::ALL.map(|topic| topic.name(&config.prefix, &config.world));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    admin(config, async |admin, options| admin.delete_topics(&names, options).await).expect("topics deleted");
}

fn refused(config: &KafkaConfig, expected: [&str; 2]) {
    match ensure_topics(config) {
        Err(SetupError::Topic { topic, problem }) => {
            for part in expected {
                assert!(format!("{topic}: {problem}").contains(part), "{topic}: {problem}");
            }
        }
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

#[test]
fn a_topic_that_is_not_as_it_must_be_is_refused() {
    let four = config("counted", 4);
    ensure_topics(&four).expect("topics");
    refused(&KafkaConfig { partitions: 5, ..four.clone() }, ["has 4 partitions", "needs 5"]);
    delete(&four);

    let clock = config("clocked", 1);
    let name = Topic::Motion.name(&clock.prefix, &clock.world);
    let wrong = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("message.timestamp.type", "CreateTime");
    admin(&clock, async |admin, options| admin.create_topics(&[wrong], options).await).expect("a topic made");
    refused(&clock, ["message.timestamp.type", "LogAppendTime"]);
    delete(&clock);
}

#[test]
fn a_log_without_a_broker_never_blocks_and_says_so() {
    // Port 1 of this machine: nobody listens.
    let nobody = KafkaConfig::from_url("kafka://127.0.0.1:1", "own", "nobody", 4).expect("a good URL");
    let mut log = KafkaLog::open(&nobody).expect("a log");
    let motion = Source { topic: Topic::Motion, partition: 0 };
    log.follow(Follow::From(motion, 0));
    log.bounds(motion);
    let (mut out, mut told, mut unanswered, mut ended) = (Vec::new(), Vec::new(), 0, 0);
    let mut published = 0;
    let begun = Instant::now();
    while told.len() < 3 || unanswered == 0 || ended < published {
        assert!(begun.elapsed() < Duration::from_secs(30), "told {told:?}, {unanswered}, {ended} of {published}");
        if published < 100 {
            log.publish(motion, Bytes::from_static(b"lost"));
            published += 1;
        }
        log.poll(&mut out);
        for polled in out.drain(..) {
            match polled {
                Polled::Fault(Fault::Unreachable(_)) => told.push(begun.elapsed()),
                Polled::Fault(Fault::Unanswered(_)) => unanswered += 1,
                Polled::Outcome(_, Outcome::Unknown | Outcome::NeverEntered) => {
                    // Stale motion goes: it does not wait for the broker to come back.
                    assert!(begun.elapsed() < Duration::from_millis(3 * KAFKA_MOTION_TIMEOUT_MS));
                    ended += 1;
                }
                Polled::Outcome(..)
                | Polled::Record { .. }
                | Polled::Bounds(..)
                | Polled::OffsetAt(..)
                | Polled::Fetched(_)
                | Polled::Fault(Fault::OutOfBounds(_) | Fault::Unfetched(_) | Fault::Health(_)) => panic!("{polled:?}"),
            }
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    let apart = Duration::from_millis(KAFKA_UNREACHABLE_MS);
    assert!(told.windows(2).all(|pair| pair[1] - pair[0] + Duration::from_millis(5) >= apart), "{told:?}");
    let closing = Instant::now();
    drop(log);
    assert!(closing.elapsed() < Duration::from_millis(KAFKA_CLOSE_MS));
}

#[test]
fn what_was_published_last_is_in_the_log_after_closing() {
    let config = config("closed", 1);
    ensure_topics(&config).expect("topics");
    let motion = Source { topic: Topic::Motion, partition: 0 };
    let mut log = KafkaLog::open(&config).expect("a log");
    // More than goes out while the clients' threads end: 24 MB that do not compress.
    let noise = |i: u32| i.wrapping_mul(0x9e37_79b9).to_le_bytes();
    for record in 0..8_000 {
        let bytes: Vec<u8> = (0..750).flat_map(|i| noise(record * 750 + i)).collect();
        log.publish(motion, bytes.into());
    }
    drop(log);
    let mut log = KafkaLog::open(&config).expect("a log");
    log.bounds(motion);
    let (mut out, begun) = (Vec::new(), Instant::now());
    let end = loop {
        assert!(begun.elapsed() < Duration::from_secs(10), "no answer");
        log.poll(&mut out);
        let bounds =
            out.drain(..).find_map(|p| if let Polled::Bounds(_, bounds) = p { Some(bounds.end) } else { None });
        if let Some(end) = bounds {
            break end;
        }
        thread::park_timeout(Duration::from_millis(1));
    };
    assert_eq!(end, 8_000);
    delete(&config);
}

#[test]
fn urls_and_names_are_checked() {
    for url in
        ["", "127.0.0.1:9092", "kafka://", "kafka://host", "kafka://a:1,,b:2", "kafka://a:1/x", "kafka://a:99999"]
    {
        assert!(matches!(KafkaConfig::from_url(url, "nearcast", "plaza", 4), Err(SetupError::Url(_))), "{url:?}");
    }
    for (prefix, world) in [("", "plaza"), ("nearcast", ""), ("near cast", "plaza"), ("nearcast", &"x".repeat(250))] {
        let made = KafkaConfig::from_url("kafka://a:1,[::1]:2", prefix, world, 4);
        assert!(matches!(made, Err(SetupError::Name { .. })), "{prefix:?} {world:?}");
    }
    let mut config = KafkaConfig::from_url("kafka://a:1,[::1]:2", "nearcast", "plaza", 4).expect("good");
    config.extra.insert("sasl.password".to_owned(), "hunter2".to_owned());
    assert!(!format!("{config:?}").contains("hunter2"));
}
