//! nearcast: players' positions and actions go in over WebSockets, through a log partitioned by world region, and come
//! back to each client as small differences of what is near it.
//!
//! ```text
//!  client ──ws──▶ edge ─ codec: decode ─ admit ─▶ region: batch ──publish──▶ log (memory | disk | Kafka), by block of regions
//!                 (session: on(input, now) → effects)                          │
//!                                                                               ▼
//!  client ◀──ws── edge ◀─ session ◀─ view: interest, delta ◀─ frames of one tick ◀─ region: fold, freeze
//! ```
//!
//! In the order of the flow:
//!
//! - [`edge`]: sockets, tasks and the clock; drives everything below. The only async part.
//! - [`codec`]: bytes ↔ messages, states and log records.
//! - [`admit`]: what a client may do, and the kinds of no.
//! - [`session`]: one client, as a pure state machine.
//! - [`log`]: the world log's contract, in memory, on this machine's disk, or on Apache Kafka.
//! - [`region`]: one world on one gateway: partitions folded, frames frozen.
//! - [`view`]: what one client holds, and the difference to what it should hold.
//! - [`client`]: the receiving end in Rust, for bots and tests.
//!
//! Beside them: [`space`] (positions, regions, partitions), [`clock`] (mapping other clocks), [`settings`] (what a
//! world is), [`config`] (settings of a gateway), [`limits`] (every bound with its reason), [`metrics`], [`inspect`] (a data
//! folder in words).
//!
//! All but `edge`, the logs on disk and on Kafka, `config`, `inspect` and `metrics` is pure: no async, no clock, no environment, no socket. That
//! is what lets `tests/simulation` run a cluster in one thread, twice, byte for byte alike.

pub mod admit;
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod edge;
pub mod inspect;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod planted;
pub mod region;
pub mod session;
pub mod settings;
pub mod space;
pub mod view;
