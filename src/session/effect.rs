//! What a session wants done, and what it wants counted.

use super::flow::SeenFact;
use super::things::Sighting;
use crate::admit::movement::Rule;
use crate::admit::{Close, Refusal};
use crate::codec::Payload;
use crate::region::Submit;
use crate::view::Summary;

/// Done by whoever drives the session, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a message.
    Send(Payload),
    /// Send a WebSocket ping with this number, see [`super::ping_payload`].
    Ping(u64),
    /// Answer a WebSocket ping.
    Pong(Box<[u8]>),
    /// Hand this to the world.
    Submit(Submit),
    /// Close the socket; a `bye` has been sent.
    Close(Close),
    /// Count this.
    Note(Note),
}

/// A fact for the metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Note {
    /// A sample was admitted, so long after it was taken (µs).
    Sample {
        /// From the sample's time to its receipt.
        client_to_gateway_us: u64,
    },
    /// A sample came above the rate and was merged into the next tick.
    Merged,
    /// A message was refused.
    Refused(Refusal),
    /// A rule of movement was broken, in a world that has it in shadow.
    Shadowed(Rule),
    /// Something was dropped from a text, or brought into its normal form.
    Cleaned,
    /// A state was sent.
    State(StateNote),
    /// Something was told of objects.
    Objects(Sighting),
    /// A tick was skipped, because too much is on its way.
    Skipped,
    /// The session was so late that it did not meet this many ticks.
    Late(u64),
    /// The client has seen a state.
    Seen(SeenFact),
    /// The client reported what it holds.
    Digest {
        /// As it should.
        same: bool,
    },
    /// The client reported how old updates were on receipt, ms; below 0 where its clock is off.
    Ages {
        /// Half of them were no older.
        p50_ms: f64,
        /// 99 of 100 were no older.
        p99_ms: f64,
    },
    /// The client was told that its view is old, or fresh again.
    Stale(bool),
}

/// What a state held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateNote {
    /// Bytes on the socket.
    pub bytes: usize,
    /// Entities that entered.
    pub enters: usize,
    /// Entities that moved.
    pub updates: usize,
    /// Entities that left.
    pub leaves: usize,
    /// It began a full view.
    pub full: bool,
    /// More about it.
    pub summary: Summary,
}
