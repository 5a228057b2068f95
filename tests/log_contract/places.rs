//! Where the contract is tested: a place gives handles on one fresh log.

use std::time::{SystemTime, UNIX_EPOCH};

use nearcast::log::disk::{Disk, DiskLog, Thread};
use nearcast::log::memory::{Memory, MemoryLog, Retention};
use nearcast::log::{Log, Topic, Trim};
use nearcast::space::Grid;

/// A log that nobody else uses.
pub(crate) trait Place {
    type Handle: Log + Trim;

    fn open(&self) -> Self::Handle;

    /// A handle for another world.
    fn open_other(&self) -> Self::Handle;
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("fits for some time")
}

pub(crate) struct InMemory {
    memory: Memory,
}

impl InMemory {
    pub(crate) fn new() -> InMemory {
        let retention = |_: Topic| Retention { age_ms: 3_600_000, bytes: 64 * 1024 * 1024 };
        // The first number of control is not 0: no test may count on that.
        InMemory { memory: Memory::with_retention(7, now_ms, retention) }
    }
}

impl Place for InMemory {
    type Handle = MemoryLog;

    fn open(&self) -> MemoryLog {
        self.memory.handle(0)
    }

    fn open_other(&self) -> MemoryLog {
        self.memory.handle(1)
    }
}

pub(crate) struct OnDisk {
    disk: Disk,
    thread: Option<Thread>,
    _folder: tempfile::TempDir,
}

impl OnDisk {
    pub(crate) fn new() -> OnDisk {
        let folder = tempfile::tempdir().expect("a folder");
        let (disk, thread, torn) =
            Disk::open(folder.path(), &["plaza", "arena"].map(|world| (world, Grid { w: 4, h: 4 })), now_ms, |_| ())
                .expect("an empty log");
        assert_eq!(torn, None);
        OnDisk { disk, thread: Some(thread), _folder: folder }
    }
}

impl Place for OnDisk {
    type Handle = DiskLog;

    fn open(&self) -> DiskLog {
        self.disk.handle("plaza").expect("it was opened for it")
    }

    fn open_other(&self) -> DiskLog {
        self.disk.handle("arena").expect("it was opened for it")
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        self.disk.close();
        let ended = self.thread.take().map(Thread::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "the log's thread has failed");
    }
}

#[cfg(feature = "kafka")]
pub(crate) use on_kafka::OnKafka;

#[cfg(feature = "kafka")]
mod on_kafka {
    use std::time::Duration;

    use nearcast::log::Topic;
    use nearcast::log::kafka::{KafkaConfig, KafkaLog, ensure_topics};
    use rdkafka::ClientConfig;
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;

    use super::{Place, now_ms};

    pub(crate) struct OnKafka {
        config: KafkaConfig,
    }

    impl OnKafka {
        /// Fresh topics under a prefix of their own.
        pub(crate) fn new(test: &str) -> OnKafka {
            let servers = std::env::var("KAFKA_BOOTSTRAP").unwrap_or_else(|_| {
                panic!(
                    "KAFKA_BOOTSTRAP is not set, and the contract is not proven without a broker: run `make kafka`, \
                     then set KAFKA_BOOTSTRAP to what it prints (127.0.0.1:19092)"
                )
            });
            let prefix = format!("contract-{test}-{}-{}", std::process::id(), now_ms());
            let config = KafkaConfig::from_url(&format!("kafka://{servers}"), &prefix, "plaza", 4).expect("a good URL");
            let place = OnKafka { config };
            // Twice: what it has made must also pass its check.
            for _ in 0..2 {
                ensure_topics(&place.config).expect("topics");
            }
            ensure_topics(&place.other()).expect("topics");
            place
        }

        /// Of another world.
        fn other(&self) -> KafkaConfig {
            KafkaConfig { world: "arena".to_owned(), ..self.config.clone() }
        }

        fn admin<T>(&self, task: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T) -> T {
            let admin = ClientConfig::new().set("bootstrap.servers", &self.config.servers).create().expect("a client");
            let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(15)));
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(task(&admin, &options))
        }
    }

    impl Place for OnKafka {
        type Handle = KafkaLog;

        fn open(&self) -> KafkaLog {
            KafkaLog::open(&self.config).expect("a log")
        }

        fn open_other(&self) -> KafkaLog {
            KafkaLog::open(&self.other()).expect("a log")
        }
    }

    impl Drop for OnKafka {
        fn drop(&mut self) {
            let name = |topic: &Topic, config: &KafkaConfig| topic.name(&config.prefix, &config.world);
            let others = Topic::ALL.iter().filter(|topic| topic.is_of_world()).map(|topic| name(topic, &self.other()));
            let names: Vec<String> = Topic::ALL.iter().map(|topic| name(topic, &self.config)).chain(others).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let deleted = self.admin(async |admin, options| admin.delete_topics(&names, options).await);
            if let Err(error) = deleted {
                eprintln!("topics of {} are left behind: {error}", self.config.prefix);
            }
        }
    }
}
