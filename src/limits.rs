//! Every bound of the gateway, with its reason and what happens when it is reached.
//! A limit that an operator may turn lives in `config.rs`; its default and its extremes live here.

/// Microseconds in one second, the unit of the gateway's clock.
pub const SECOND_US: u64 = 1_000_000;
/// Microseconds in one millisecond.
pub const MILLI_US: u64 = 1_000;

/// One tick: 20 Hz. Tick `n` happens at `n * TICK_US` on the gateway's clock.
pub const TICK_US: u64 = 50 * MILLI_US;

// --- what a peer may send -------------------------------------------------------------------------------------

/// Largest message from a client, bytes. Beyond it the socket is closed with 1009 before the body is read.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Application state in a sample, bytes. It travels in every sample, so it must stay small.
pub const APP_STATE_BYTES_MAX: usize = 16;
/// Profile of an entity (name, looks), bytes of UTF-8. It travels with every keyframe and every enter.
pub const PROFILE_BYTES_MAX: usize = 96;
/// Name of an action, bytes of UTF-8.
pub const ACT_NAME_BYTES_MAX: usize = 32;
/// Data of an action, bytes of UTF-8: [`TEXT_CHARS_MAX`] characters of any script.
pub const ACT_DATA_BYTES_MAX: usize = 4 * TEXT_CHARS_MAX;
/// Characters (Unicode scalar values) of any text: a long chat message. Refused beyond (`length`).
pub const TEXT_CHARS_MAX: usize = 500;
/// Combining marks in a row; further ones are dropped. The scripts that stack most take six (Tibetan); towers of dozens
/// cover the lines above and below.
pub const MARKS_MAX: usize = 8;
/// World name, bytes; it is part of topic names, which Kafka limits to 249 bytes in all.
pub const WORLD_NAME_BYTES_MAX: usize = 64;
/// Auth token in `hello`, bytes.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;

/// Messages of one connection per second, and the burst above it. Refused beyond (`rate`).
pub const MESSAGES_PER_S: u32 = 60;
/// Burst of messages: two seconds' worth, a page that was asleep may catch up.
pub const MESSAGES_BURST: u32 = 120;
/// Bytes of one connection per second. Refused beyond (`rate`).
pub const INBOUND_BYTES_PER_S: u32 = 32 * 1024;
/// Burst of inbound bytes.
pub const INBOUND_BYTES_BURST: u32 = 64 * 1024;
/// Samples per second taken at once; the newest of the excess is merged into the next tick.
pub const MOVES_PER_S: u32 = 20;
/// Burst of samples.
pub const MOVES_BURST: u32 = 40;
/// Actions per second. Refused beyond (`rate`).
pub const ACTS_PER_S: u32 = 5;
/// Burst of actions.
pub const ACTS_BURST: u32 = 20;
/// Profile and view changes per second. Refused beyond (`rate`): each costs a keyframe or a new interest set.
pub const CHANGES_PER_S: u32 = 1;
/// Burst of profile and view changes.
pub const CHANGES_BURST: u32 = 8;
/// Regions entered per second. Refused beyond (`rate`): each may be another partition to follow, and samples for two.
/// Whoever dances on a border goes at least 2 m from one to the next, see [`BORDER_SLACK_M`].
pub const CROSSINGS_PER_S: u32 = 2;
/// Burst of regions entered: twice around a corner.
pub const CROSSINGS_BURST: u32 = 8;
/// WebSocket pings and pongs per second; they count as messages too. As many as the gateway's own pings want answered,
/// see [`FLOW_PING_US`]. Refused beyond (`rate`).
pub const CONTROLS_PER_S: u32 = 10;
/// Burst of pings and pongs: those of five seconds that a link held back.
pub const CONTROLS_BURST: u32 = 5 * CONTROLS_PER_S;
/// Messages above a rate within this time that end a session, if there are as many as may come in it: at 60 a second 600,
/// which is a flood, not a mistake.
pub const REFUSALS_WINDOW_US: u64 = 10 * SECOND_US;
/// Unreadable messages within that window that end a session: two may be a bug, three are a wrong client.
pub const UNREADABLE_MAX: u32 = 3;
/// Actions of one session that wait for an answer: newest number less lowest open one; and how far below the newest a
/// number may be. Refused beyond (`window`).
pub const OPEN_ACTS_MAX: u64 = 32;
/// The highest number of an action: JavaScript holds it exactly. Refused beyond (`window`).
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// A message that has begun must be whole this soon; else 4006. The largest, on a link of 3.3 KB/s; what drips more slowly
/// only holds memory.
pub const MESSAGE_WITHIN_US: u64 = 5 * SECOND_US;
/// A `hello` must come this soon after the upgrade; else 4102.
pub const HELLO_WITHIN_US: u64 = 5 * SECOND_US;
/// WebSocket pings and pongs of a client before its `hello`: ten a second for as long as that may take. Beyond it is
/// closed with 4003: there is no session yet whose rate they would use up, and each ping is answered.
pub const CONTROLS_BEFORE_HELLO_MAX: u32 = CONTROLS_PER_S * (HELLO_WITHIN_US / SECOND_US) as u32;
/// Nothing heard for this long: 4001. A client that gets states says `seen` ten times a second.
pub const SILENT_US: u64 = 25 * SECOND_US;
/// Pinged when nothing was heard for this long.
pub const PING_AFTER_US: u64 = 10 * SECOND_US;
/// An action's place may be this old at most; it bounds speed x elapsed time.
pub const ACT_AGE_MAX_US: u64 = 60 * SECOND_US;

// --- game servers ---------------------------------------------------------------------------------------------------

/// A game server may do so many times what a player may, per second and at once: it speaks for many.
pub const SERVER_FACTOR: u32 = 10;
/// Open commands of a game server, as [`OPEN_ACTS_MAX`]: a second of five a second for each of two hundred.
pub const OPEN_ACTS_MAX_SERVER: u64 = 1_024;
/// Bytes of the secret that makes a client a game server, at least: as many as a key of 256 bits has, so that nobody
/// guesses it.
pub const SERVER_TOKEN_BYTES_MIN: usize = 32;
/// Rates and bursts that a world's settings may name, at most: a typing error, above.
pub const RATE_MAX: u32 = 1_000_000;

// --- movement ---------------------------------------------------------------------------------------------------

/// Worlds reach at most this far from the origin, metres: centimetres then fit 22 bits.
pub const WORLD_REACH_M: f64 = 16_384.0;
/// A speed is judged over one second and may exceed the world's by this factor (clocks, held rows, stairs).
pub const SPEED_TOLERANCE: f64 = 1.5;
/// Seconds of the last [`REFUSED_MOVES_OF_S`] in which a move was too fast that end a session, if its world says nothing
/// else. Seconds, not moves: whoever is thrown back says twenty more before the refusal arrives.
pub const REFUSED_MOVES_MAX: u32 = 10;
/// The seconds that [`REFUSED_MOVES_MAX`] is counted in: a bit each.
pub const REFUSED_MOVES_OF_S: u32 = 60;
/// A sample's time is clamped to this long before its receipt.
pub const SAMPLE_AGE_MAX_US: u64 = 250 * MILLI_US;

// --- space ------------------------------------------------------------------------------------------------------

/// Side of a region, metres.
pub const REGION_M: f64 = 128.0;
/// Regions along one side of a block.
pub const BLOCK_REGIONS: i32 = 8;
/// An entity crosses a border only this far beyond it, so that one who dances on it does not flap.
pub const BORDER_SLACK_M: f64 = 1.0;
/// Largest partition grid of a world: 32 x 32.
pub const PARTITION_SIDE_MAX: u16 = 32;

// --- log and fold -------------------------------------------------------------------------------------------------

/// Where the log is outside, the newest motion per avatar waits about this long for company in one record. With the log in
/// the process, where nobody waits for it, up to a tick.
pub const FLUSH_US: u64 = 5 * MILLI_US;
/// A motion record is cut at this size; Kafka's default limit is 1 MiB.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;
/// Each entity is repeated whole, with profile, this often: whoever starts reading knows it within that time.
pub const KEYFRAME_US: u64 = 5 * SECOND_US;
/// L: an entity without a sample for this long of partition time expires; also how long a lost socket's avatar stays.
pub const EXPIRY_US: u64 = 15 * SECOND_US;
/// One record advances partition time by at most this: a stall or a clock step ages nobody out.
pub const PARTITION_STEP_MAX_US: u64 = 2 * SECOND_US;
/// A followed partition silent for this long (plus jitter) gets a beat.
pub const BEAT_US: u64 = SECOND_US;
/// Jitter of the beat, so that one gateway usually beats for all.
pub const BEAT_JITTER_US: u64 = 500 * MILLI_US;
/// A followed partition silent for this long is stale: two beats have failed to arrive.
pub const STALE_US: u64 = 3 * SECOND_US;
/// A handover is repeated in this many writes of its avatar's.
pub const HANDOVER_REPEATS: u8 = 3;
/// Partitions that an avatar left within 15 s; one that crosses more borders forgets the oldest.
pub const HANDOVERS_MAX: usize = 4;
/// A partition keeps showing a leaver until the other knows it; where that is not followed, this long of its own time.
pub const LEAVER_US: u64 = 500 * MILLI_US;
/// A new partition is read from this long before its last record.
pub const READ_BACK_US: u64 = 8 * SECOND_US;
/// The commands of a new partition are read from this long before the last one, also where a snapshot has them, so that a
/// session that goes on can be told what it missed.
pub const EVENTS_READ_BACK_US: u64 = RESUME_US + LIVE_US + LIVE_JITTER_US + 26 * SECOND_US;
/// A new partition is complete when this much partition time has been folded (more than one keyframe).
pub const COMPLETE_US: u64 = 6 * SECOND_US;
/// Motion is retained this long; so are tombstones.
pub const MOTION_RETENTION_US: u64 = 600 * SECOND_US;
/// Events are retained this long at least.
pub const EVENTS_RETENTION_US: u64 = 7 * 24 * 3600 * SECOND_US;
/// Tombstones of one partition; the oldest goes first. 65,536 is 100 leavers a second for ten minutes.
pub const TOMBSTONES_MAX: usize = 65_536;
/// Entities folded in one partition; samples of further ones are dropped and counted.
pub const PARTITION_ENTITIES_MAX: usize = 65_536;
/// Events kept in the ring of one partition; for a reader further behind the log is read once more.
pub const EVENT_RING: usize = 1_024;
/// Events that are told from the log, to one session of one partition at a time: as many as the ring has. Beyond it they
/// are not read, and `reset` says so.
pub const RECALL_EVENTS_MAX: usize = EVENT_RING;
/// The same in bytes of their names and data: five seconds of the default budget.
pub const RECALL_BYTES_MAX: usize = 128 * 1024;
/// Records that the log is read back for it: two minutes at 2,000 commands a second. Who is further behind gets `reset`.
pub const RECALL_RECORDS_MAX: u64 = 262_144;
/// Records before the first that is missed, which are read to know what was sent again: ten seconds at 1,600 a second.
pub const RECALL_LEAD: u64 = 16_384;
/// Events that the log has not brought by then are not told: `reset`.
pub const RECALL_WITHIN_US: u64 = 20 * SECOND_US;
/// Sessions of a world that may wait for events from the log; one beyond gets `reset`.
pub const RECALLS_MAX: usize = 4_096;
/// For so many of them the log is read at once, as each looks at each event.
pub const RECALLS_AT_ONCE: usize = 512;
/// A session that the world does not answer waits so long: it always does, unless the session was superseded.
pub const RECALL_GIVEN_UP_US: u64 = RECALL_WITHIN_US + 10 * SECOND_US;
/// What a session may have read of the log at once, in [`RECALL_LEAD`] records and one more for each reading: the longest, and a
/// few short ones. Beyond it `reset`.
pub const RECALL_BURST: u32 = 20;
/// And each second after that: whoever reads too slowly for where they are does not keep the log busy.
pub const RECALL_PER_S: u32 = 1;
/// Who comes back may know more than a gateway has read: for so long it waits for its reading to come so far.
pub const LAG_US: u64 = 10 * SECOND_US;
/// Sessions whose dedupe window one partition keeps; the one longest silent goes first.
pub const DEDUPE_SESSIONS_MAX: usize = 4_096;
/// What became of a session's newest commands is remembered for so many of them, so that who asks again learns the version.
pub const VERDICTS_MAX: usize = 16;
/// Bytes of an object's kind.
pub const KIND_BYTES_MAX: usize = 32;
/// Fields of one object or environment.
pub const FIELDS_MAX: usize = 32;
/// Bytes of a field's name.
pub const FIELD_NAME_BYTES_MAX: usize = 32;
/// Bytes of a field's text.
pub const FIELD_BYTES_MAX: usize = 1_024;
/// Objects of one region: an object every 2 m in each direction.
pub const REGION_OBJECTS_MAX: usize = 4_096;
/// Bytes of the objects of one region.
pub const REGION_OBJECT_BYTES_MAX: usize = 768 * 1024;
/// Objects in one partition that one session has made, but a game server's; and those that it holds.
pub const SESSION_OBJECTS_MAX: usize = 16;
/// An avatar reaches an object so far off, metres: a step, an arm, and what it walks while its word is under way.
pub const REACH_M: f64 = 5.0;
/// What gateways do of themselves with objects, another one does when nobody has done it for so long: twice what a log that is
/// well takes, several times over.
pub const ERRAND_US: u64 = 2 * SECOND_US;
/// And up to so much later, so that not all do it at once.
pub const ERRAND_JITTER_US: u64 = SECOND_US;
/// An object follows its holder into another partition after this long: who dances on a border carries it once, and is
/// still well within the radius of all who see it on the other side.
pub const CARRY_AFTER_US: u64 = 500 * MILLI_US;
/// Records that a gateway writes at once, four times a second, for the objects of one partition; the rest waits for the next time.
pub const ERRANDS_MAX: usize = 256;
/// Bytes of one piece of a snapshot before it is compressed: little beside a tick, well below what a broker takes.
pub const SNAPSHOT_PIECE_BYTES: usize = 256 * 1024;
/// Pieces of one snapshot: 256 MiB, above what a partition of a hundred regions may hold.
pub const SNAPSHOT_PIECES_MAX: u16 = 1_024;
/// A snapshot is written after so many commands.
pub const SNAPSHOT_COMMANDS: u64 = 1_000;
/// Or after this long, if there was any; with as much again at random, so that not all gateways write at once.
pub const SNAPSHOT_US: u64 = 300 * SECOND_US;
/// Gateways compare what they have come to at every so many records of a partition: a few ms of work for a full one.
pub const HASH_EVERY: u64 = 1_024;
/// Hashes that are remembered until the other's comes: of eight thousand commands.
pub const HASHES_MAX: usize = 8;
/// Objects that passed through a partition, and of which a late record must not make a second one; the oldest goes first.
pub const PASSED_MAX: usize = 4_096;
/// No fold of an action for this long: the answer is `unknown`.
pub const ANSWER_US: u64 = 10 * SECOND_US;
/// After `unknown` an action is remembered this long; a later `ack` comes from the fold all the same.
pub const REMEMBERED_US: u64 = 12 * ANSWER_US;
/// Round trips of a gateway's own records count only this long after the first: before, they wait for connections (up to
/// a second on Kafka) and would be taken for the log's least delay. Other gateways' samples look younger until then, by
/// that delay.
pub const PEERS_SETTLE_US: u64 = 2 * SECOND_US;
/// A partition that no client can see any more is still followed this long: players walk to and fro.
pub const UNFOLLOW_US: u64 = 10 * SECOND_US;
/// Partitions are read before they come into view by this margin, metres.
pub const FOLLOW_MARGIN_M: f64 = 24.0;
/// A question to the log (`bounds`, `offset_at`) is asked again after this long without an answer.
pub const ASK_AGAIN_US: u64 = 5 * SECOND_US;
/// Partitions of `direct`, which every gateway reads whole: openings of different users are written side by side.
pub const DIRECT_PARTITIONS: u16 = 8;
/// Embedded log: `motion` is kept this long. All of its readers are in this process and none reads further back than
/// [`READ_BACK_US`]; ten minutes would be 42 KiB of memory a minute for each avatar.
pub const MEMORY_MOTION_US: u64 = READ_BACK_US * 3 / 2;
/// Embedded log: bytes kept of one partition of `motion`; that long of 20,000 avatars at 20 Hz.
pub const MEMORY_MOTION_BYTES: usize = 64 * 1024 * 1024;
/// Embedded log: bytes kept of one partition of any other topic.
pub const MEMORY_EVENTS_BYTES: usize = 16 * 1024 * 1024;
/// Log on disk: bytes of a batch at most, twice the largest that is written, so that a damaged length is not read to its end.
pub const DISK_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Log on disk: a segment of this size is followed by another one: large beside a batch, small beside a disk.
pub const DISK_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Log on disk: so is one that began this long ago. Topics that are cut by age lose whole segments.
pub const DISK_SEGMENT_US: u64 = 24 * 3600 * SECOND_US;
/// Log on disk: bytes of a segment that are cleaned between two commits: a few ms of whoever waits.
pub const DISK_CLEAN_BYTES: u64 = 1024 * 1024;
/// Log on disk: room that there must be again before a full one takes anything: far more than one batch usually has, so that
/// it is not full and well in turn.
pub const DISK_ROOM_BYTES: usize = 1024 * 1024;
/// Log on disk: how often a full one looks for room, ms.
pub const DISK_PROBE_MS: i64 = 1_000;
/// Log on disk: to find an offset, so much is read at most; what is remembered of each is 24 bytes a lane.
pub const DISK_MARK_BYTES: u64 = 256 * 1024;
/// Log on disk: bytes that wait for their commit. Records beyond never enter.
pub const DISK_QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Records that one fetch brings: a ms or two of the world's thread.
pub const FETCH_RECORDS_MAX: usize = 512;
/// Bytes read at once for who is behind.
pub const FETCH_BYTES: usize = 1024 * 1024;
/// Records a log hands out in one poll, so that a backlog is folded in slices and ticks are kept.
pub const POLL_RECORDS_MAX: usize = 4_096;

// --- sessions: see `region/sessions` -----------------------------------------------------------------------------

/// W: who has lost their socket may go on as the same session for this long. A train through a tunnel, a gateway that is
/// started again.
pub const RESUME_US: u64 = 120 * SECOND_US;
/// A gateway says of all sessions it holds that they live, this often: where it dies without a word, [`RESUME_US`] counts
/// from the last time, so that a session may go on for as much longer.
pub const LIVE_US: u64 = 30 * SECOND_US;
/// And up to so much later: jitter, so that the partitions' turns fall apart, and what waits for the next upkeep.
pub const LIVE_JITTER_US: u64 = 4 * SECOND_US;
/// One record of `direct` advances the partition's time by at most this, a little more than the longest pause between two
/// where somebody lives: a log that was cut off for an hour, or a gateway that was down, ends nobody's session.
pub const DIRECT_STEP_MAX_US: u64 = LIVE_US + LIVE_JITTER_US + 2 * SECOND_US;
/// `direct` is read from so long before its last record on: all that may still be resumed has been heard of since.
pub const DIRECT_READ_BACK_US: u64 = RESUME_US + LIVE_US + LIVE_JITTER_US + 26 * SECOND_US;
/// Sessions remembered of one partition of `direct`: those of seven full gateways in all eight. The one lost longest is
/// forgotten first, and counted: its token opens nothing.
pub const SESSIONS_MAX: usize = 16_384;
/// Signs of life in one record, 120 KB.
pub const SIGNS_MAX: usize = 4_096;
/// An opening that the log has not answered by then: the client is told to come back.
pub const OPEN_WITHIN_US: u64 = 10 * SECOND_US;
/// A resume token, bytes of text; ours have 71.
pub const RESUME_TOKEN_BYTES_MAX: usize = 128;
/// Streams that a client may name in `hello.resume.cursors`. Beyond it the hello is refused (`length`): a viewer sees four
/// partitions at most, and what it left behind earlier it cannot miss.
pub const RESUME_CURSORS_MAX: usize = 64;
/// Up to where a client has been told of a partition's events is said this often at most, where that has changed.
pub const CURSOR_US: u64 = 5 * SECOND_US;

// --- log on Kafka ---------------------------------------------------------------------------------------------------

/// A motion record that the broker has not taken by then is dropped: newer samples have replaced it.
pub const KAFKA_MOTION_TIMEOUT_MS: u64 = 2_000;
/// An event that the broker has not taken by then is `Unknown`; below [`ANSWER_US`], so that the log speaks first.
pub const KAFKA_EVENTS_TIMEOUT_MS: u64 = 8_000;
/// A broker that does not answer an event for this long is left for the partition's next leader, with time to retry.
pub const KAFKA_EVENTS_SOCKET_MS: u64 = 3_000;
/// Motion records that wait for a broker: 2 s of a record for each of 16 partitions every 5 ms, twice over. The next one
/// never enters.
pub const KAFKA_MOTION_QUEUE_RECORDS: usize = 16_384;
/// The same in KiB; whichever is reached first.
pub const KAFKA_MOTION_QUEUE_KIB: usize = 32 * 1024;
/// Requests with motion that a broker has not answered. Beyond, records wait here and go together in one request. Without
/// this bound a broker that is slow for a moment gets every record as a request of its own and stays seconds behind.
pub const KAFKA_MOTION_IN_FLIGHT: usize = 16;
/// Events that wait for a broker: 8 s of 1,000 clients at their full rate. The next one never enters.
pub const KAFKA_EVENTS_QUEUE_RECORDS: usize = 40_000;
/// The same in KiB; whichever is reached first.
pub const KAFKA_EVENTS_QUEUE_KIB: usize = 32 * 1024;
/// A broker answers a fetch at the first byte; it holds an empty one for this long.
pub const KAFKA_FETCH_WAIT_MS: u64 = 100;
/// A broker that does not answer a fetch for this long is dialled anew. Long enough for a pause of its collector.
pub const KAFKA_SOCKET_MS: u64 = 10_000;
/// Longest pause before a broker is dialled again: after an outage the log is back within about that time.
pub const KAFKA_RECONNECT_MS: u64 = 1_000;
/// Fetched bytes that librdkafka keeps ahead of us, KiB. Fetching pauses beyond.
pub const KAFKA_PREFETCH_KIB: usize = 16 * 1024;
/// Fetched records that wait for `poll`. The fetching thread waits beyond.
pub const KAFKA_RECORDS_MAX: usize = 2 * POLL_RECORDS_MAX;
/// The same in bytes; whichever is reached first.
pub const KAFKA_RECORDS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Outcomes and answers that wait for `poll`. Beyond, outcomes wait in librdkafka and count against its queues.
pub const KAFKA_REPORTS_MAX: usize = 8_192;
/// Questions that wait for an answer: both kinds for both topics of the largest world. `Unanswered` beyond.
pub const KAFKA_QUESTIONS_MAX: usize = 4_096;
/// A question without an answer by then is `Unanswered`; below [`ASK_AGAIN_US`].
pub const KAFKA_ASK_MS: u64 = 4_000;
/// Wishes to advance a partition's start, and ends of them, that wait: eight of each partition of a usual world, where one
/// comes in minutes. A wish beyond fails, and is made again.
pub const KAFKA_TRIMS_MAX: usize = 256;
/// The fetching thread looks for changes of what is followed at least this often.
pub const KAFKA_LOOK_MS: u64 = 5;
/// A full channel to `poll` is tried again after this long.
pub const KAFKA_FULL_MS: u64 = 1;
/// Pause between two audits of what is followed; see `log/kafka/reader.rs`.
pub const KAFKA_AUDIT_PAUSE_MS: u64 = 200;
/// `Unreachable` is said at most this often.
pub const KAFKA_UNREACHABLE_MS: u64 = 1_000;
/// Pause between two remakes of the events producer after a fatal error.
pub const KAFKA_REMAKE_MS: u64 = 1_000;
/// Closing waits this long for what each producer still has: a healthy broker takes it in a few ms.
pub const KAFKA_FLUSH_MS: u64 = 1_000;
/// Closing the log waits this long for its threads; a client that hangs is then left to the end of the process.
pub const KAFKA_CLOSE_MS: u64 = 3_000;
/// Every question of the start (which topics there are, making them) must be answered within this time.
pub const KAFKA_ADMIN_MS: u64 = 15_000;
/// Only closed segments are ever deleted, so a motion segment must close well within the retention.
pub const KAFKA_MOTION_SEGMENT_MS: u64 = 120_000;
/// Size at which a motion segment closes, bytes: one partition then holds little more than its retention.
pub const KAFKA_MOTION_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Kafka's limit for topic names.
pub const KAFKA_TOPIC_NAME_BYTES_MAX: usize = 249;

// --- view -----------------------------------------------------------------------------------------------------------

/// Default and largest radius of interest, metres. Positions travel as 16-bit centimetres around an origin.
pub const RADIUS_M: f64 = 50.0;
/// Largest radius: with hysteresis, origin drift and height it stays within +-327 m of the origin.
pub const RADIUS_MAX_M: f64 = 128.0;
/// Smallest radius.
pub const RADIUS_MIN_M: f64 = 1.0;
/// An entity leaves interest at this multiple of the radius.
pub const HYSTERESIS: f64 = 1.1;
/// The origin of a view follows its viewer in jumps of at least this much, metres.
pub const ORIGIN_DRIFT_M: f64 = 64.0;
/// Default budget of one client, bytes per second.
pub const BUDGET_BYTES_PER_S: u32 = 24 * 1024;
/// Smallest budget a client may ask for: a state of a handful of entities at 20 Hz.
pub const BUDGET_MIN: u32 = 2 * 1024;
/// Largest budget a client may ask for.
pub const BUDGET_MAX: u32 = 256 * 1024;
/// Without a difference to tell a state is still sent every so many ticks, so that the client knows the world lives:
/// a second, well within what a person takes for a broken link. The link's rate is known by what was seen lately: more
/// rarely, and a slow reader's first crowd would take longer to be found out.
pub const EMPTY_STATE_TICKS: u64 = 20;
/// Depth of the budget's bucket: any t seconds hold at most rate x (t + 0.5 s).
pub const BUDGET_DEPTH_US: u64 = 500 * MILLI_US;
/// The largest part of a state that one tick may take of a full bucket, so that a join is a row of messages.
pub const STATE_BYTES_MAX: usize = 32 * 1024;
/// Entities one client holds; the farthest do not enter. Slots are 16 bits.
pub const VIEW_ENTITIES_MAX: usize = 4_096;
/// Objects one client holds; the farthest do not come into sight. A crowd's worth: a room with everything in it.
pub const VIEW_OBJECTS_MAX: usize = 1_024;
/// Who has moved less than this sees the same objects, metres: a fifth of the hysteresis of the default radius.
pub const OBJECTS_MOVE_M: f64 = 1.0;
/// What is carried near a viewer is looked for every so many ticks: at 10 m/s each, two meet by 4 m in that time, less than
/// the hysteresis of the default radius.
pub const CARRIED_EVERY_TICKS: u64 = 4;
/// The nearest so many (plus a margin for those who change ranks) move at the full rate in a crowd.
pub const NEAREST: usize = 50;
/// Margin on [`NEAREST`], so that a rank that changes within a quarter of a second costs no update.
pub const NEAREST_MARGIN: usize = 6;
/// Rows of a state at most, about: everybody that a client holds, where the gateway has time for it.
pub const ROWS_MAX: usize = VIEW_ENTITIES_MAX;
/// And where it has not: still as many as let the nearest move at the full rate, which get three fifths.
pub const ROWS_MIN: usize = (NEAREST + NEAREST_MARGIN) * 5 / 3 + 1;
/// Coarsest stride: every 64th tick, 3.2 s.
pub const STRIDE_MAX: u64 = 64;
/// Strides that there are: 1, 2, 4 … [`STRIDE_MAX`].
pub const STRIDES: usize = STRIDE_MAX.trailing_zeros() as usize + 1;
/// A turn of up to so many 1/256 is not told, 2.8°: a recorded walker's direction trembles by more than one.
pub const FACING_SLACK: u8 = 2;
/// A sample's age is told anew when it is off by more than this, ms: a clock filter trembles by one or two.
pub const AGE_SLACK_MS: u32 = 2;
/// Both ends hash the view at every so many states.
pub const DIGEST_EVERY: u64 = 128;
/// Digests that wait for their reports; the oldest goes.
pub const DIGESTS_MAX: usize = 4;
/// A digest that differs right after a repair is not repaired again before this long.
pub const REPAIR_PAUSE_US: u64 = 2 * SECOND_US;

// --- slow clients: see `session/flow.rs` --------------------------------------------------------------------------

/// On a late link unseen bytes may cover this much more than the round trip; and a link is late when a state is not
/// seen so long after it: 100 ms for the client to say it, a tick, and as much again.
pub const FLOW_SLACK_US: u64 = 250 * MILLI_US;
/// A state seen this much later than the fastest was behind a queue. Below [`FLOW_SLACK_US`], so that the queue which
/// that leaves on a slow link shows; above what radio links and a busy gateway add. A pong may be [`FLOW_PING_US`]
/// later.
pub const FLOW_LATE_US: u64 = 100 * MILLI_US;
/// A link is late for this long after the last sign of it. Simulated at 40 ms: without, what a 5 KB/s reader shows
/// grows to 1.3 s; 5 s are no better than one.
pub const FLOW_LATE_FOR_US: u64 = SECOND_US;
/// A budget climbs when at least 1 / so much of it was used. Less than the half of RFC 7661: a view plans for more
/// bytes than its rows then take.
pub const FLOW_USED_PART: u64 = 4;
/// The highest seen rate is taken over this window.
pub const FLOW_RATE_WINDOW_US: u64 = 5 * SECOND_US;
/// The smallest round trip is taken over this window.
pub const FLOW_RTT_WINDOW_US: u64 = 30 * SECOND_US;
/// A round trip above this is the queue, not the path.
pub const FLOW_RTT_MAX_US: u64 = SECOND_US;
/// While nothing is known of a link it may hold [`FLOW_START_MESSAGES`].
pub const FLOW_START_US: u64 = 1_500 * MILLI_US;
/// Messages allowed unseen at the start.
pub const FLOW_START_MESSAGES: u64 = 4;
/// Every so often, when there are skips, wait until nothing is unseen: the round trip is then that of an empty link.
pub const FLOW_DRAIN_US: u64 = 10 * SECOND_US;
/// A client that does not say `seen` is pinged this often, and its pongs count.
pub const FLOW_PING_US: u64 = 100 * MILLI_US;
/// So long after the last `seen`: ten times what a client may take to say it.
pub const FLOW_SILENT_US: u64 = SECOND_US;
/// Or so many times as long as `seen` has taken of late: who is slow, but says it, has said it late before…
pub const FLOW_SILENT_TIMES: u64 = 3;
/// …which is forgotten by this part with each `seen`.
pub const FLOW_SEEN_FADES: u64 = 4;
/// But no longer than this: a client that has lost one must not be without states for as long as it was away once.
pub const FLOW_SILENT_MAX_US: u64 = 10 * SECOND_US;
/// Unseen states that one session remembers; far above what the window allows.
pub const FLOW_UNSEEN_MAX: usize = 1_024;

// --- edge ------------------------------------------------------------------------------------------------------------

/// Connections of one process; the file limit is 20,000 on many systems.
pub const CONNECTIONS_MAX: usize = 18_000;
/// Avatars of one world on one gateway, connected or standing for 15 s after their socket went: as many again.
pub const OWNED_MAX: usize = 2 * CONNECTIONS_MAX;
/// HTTP request head, bytes, and the time for it to arrive.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Seconds for the whole HTTP head to arrive.
pub const HEAD_WITHIN_S: u64 = 5;
/// HTTP headers of one request.
pub const HEADERS_MAX: usize = 64;
/// Bytes that one read takes of a socket; one buffer serves all connections of a driver.
pub const READ_BYTES_MAX: usize = 16 * 1024;
/// Sockets are read this often. Each time costs a wake-up, which 200 clients share: at 5 ms they cost a twelfth more. A
/// sample is dated, and an action on its way, up to this much later than it came.
pub const READ_EVERY_US: u64 = 10 * MILLI_US;
/// Sockets are read this long before every multiple of [`READ_EVERY_US`]: time to read those of a tenth of 500 clients before
/// what they say is folded ahead of the tick. Of more, what is read later is folded at the tick itself.
pub const READ_AHEAD_US: u64 = 900;
/// And what was read is folded so long before the tick, so that the tick itself is not late for it.
pub const FOLD_AHEAD_US: u64 = 700;
/// Fragments of one message: empty ones cost no bytes. Sixteen are a KiB each of the largest message, and clients send it
/// in one. Beyond it the socket is closed with 1009.
pub const FRAGMENTS_MAX: usize = 16;
/// Bytes a socket may hold back in user space before it counts as dead.
pub const WRITE_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// A socket that takes no byte for this long is dead.
pub const WRITE_WITHIN_US: u64 = 10 * SECOND_US;
/// After a session has closed, its client is waited for so long.
pub const CLOSE_WITHIN_US: u64 = SECOND_US;
/// Kernel send buffer of one socket, bytes: what a client does not read waits with us, where newer state replaces it.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Submissions that wait for the world: 3 s of 1,000 clients. Samples beyond are dropped, actions refused (`busy`).
pub const INBOX_MAX: usize = 65_536;
/// Connections, answers and ticks that wait for one driver, which empties it every few ms: a second of 3,000 clients'
/// actions.
pub const COMMANDS_MAX: usize = 16_384;
/// Drain: clients are told to come back spread over this long.
pub const DRAIN_SPREAD_US: u64 = 3 * SECOND_US;
/// Drain: the process ends at the latest this long after SIGTERM.
pub const DRAIN_WITHIN_S: u64 = 15;

const _: () =
    assert!(RADIUS_MAX_M * HYSTERESIS + ORIGIN_DRIFT_M < 327.0, "rows are 16-bit centimetres around the origin");
const _: () = assert!(COMPLETE_US > KEYFRAME_US && READ_BACK_US > COMPLETE_US, "reading back must cover one keyframe");
const _: () = assert!(TICK_US.is_multiple_of(READ_EVERY_US), "a tick shows what came until just before");
const _: () = assert!(STALE_US > BEAT_US + BEAT_JITTER_US, "a healthy partition is never stale");
const _: () = assert!(FLOW_LATE_US + FLOW_PING_US < FLOW_SLACK_US, "the queue that is left on a slow link shows");
const _: () = assert!(CONTROLS_PER_S as u64 * FLOW_PING_US >= SECOND_US, "pongs to our own pings keep to their rate");
const _: () = assert!(REFUSED_MOVES_OF_S < u64::BITS, "a bit for each second");
const _: () = assert!(VIEW_ENTITIES_MAX <= u16::MAX as usize, "slots are 16 bits");
const _: () = assert!(KAFKA_EVENTS_TIMEOUT_MS * MILLI_US < ANSWER_US, "the log speaks before the gateway gives up");
const _: () = assert!(KAFKA_EVENTS_SOCKET_MS * 2 < KAFKA_EVENTS_TIMEOUT_MS, "an event gets a second try");
const _: () = assert!(KAFKA_ASK_MS * MILLI_US < ASK_AGAIN_US, "a question ends before it is asked again");
const _: () =
    assert!(KAFKA_MOTION_SEGMENT_MS * MILLI_US * 2 < MOTION_RETENTION_US, "segments close within the retention");
const _: () =
    assert!(RECALL_RECORDS_MAX / RECALL_LEAD < RECALL_BURST as u64, "the longest reading is within the quota");
