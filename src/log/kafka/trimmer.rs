//! Advances the start of partitions, on a client and thread of its own: each wish waits for the broker. The client is made
//! for the first one, as most gateways never have any.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};

use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use super::KafkaConfig;
use super::admin;
use super::asker::LOOK;
use super::client::{self, Names};
use super::reader::Mailbox;
use crate::log::{Source, Trimmed};

/// The trimming thread.
pub(super) struct Trimmer {
    pub(super) config: KafkaConfig,
    pub(super) names: Names,
    pub(super) wishes: Receiver<(Source, u64)>,
    pub(super) trimmed: SyncSender<Trimmed>,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Trimmer {
    /// Trims until the mailbox is closed.
    pub(super) fn run(self) {
        let mut client = None;
        while !self.mailbox.is_closed() {
            let (source, start) = match self.wishes.recv_timeout(LOOK) {
                Ok(wish) => wish,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let result = self.trim(&mut client, source, start).map_err(|error| error.to_string());
            // Fails only when the log is being closed.
            let _ = self.trimmed.send(Trimmed { source, result });
        }
    }

    fn trim(
        &self,
        client: &mut Option<AdminClient<DefaultClientContext>>,
        source: Source,
        start: u64,
    ) -> KafkaResult<u64> {
        let client = match client {
            Some(client) => client,
            None => client.insert(client::base(&self.config, "trimmer").create()?),
        };
        let mut list = TopicPartitionList::new();
        let before = Offset::Offset(i64::try_from(start).unwrap_or(i64::MAX));
        list.add_partition_offset(self.names.of(source.topic), i32::from(source.partition), before)?;
        let late = KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut);
        let trimmed = admin::wait(client.delete_records(&list, &admin::options())).ok_or(late)??;
        let of_partition = trimmed.elements().into_iter().next();
        let Some(of_partition) = of_partition else { return Ok(start) };
        of_partition.error()?;
        let now = of_partition.offset().to_raw().and_then(|raw| u64::try_from(raw).ok());
        Ok(now.unwrap_or(start))
    }
}
