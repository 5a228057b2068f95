//! What bots speak: nearcast's protocol, or that of a server it is compared with.

use nearcast::codec::message::In;
use nearcast::codec::{Encoding, Payload};

use crate::floor::{RECORD_BYTES, SAID_BYTES, UNITS_PER_M};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// nearcast's, v1.
    Nearcast(Encoding),
    /// That of [`crate::floor`].
    Floor,
}

impl Dialect {
    /// The WebSocket subprotocol that asks for it, if one must.
    #[must_use]
    pub fn subprotocol(self) -> Option<&'static str> {
        match self {
            Dialect::Nearcast(encoding) => Some(encoding.subprotocol()),
            Dialect::Floor => None,
        }
    }

    /// What a bot says, if there is a word for it.
    #[must_use]
    pub fn encode(self, message: &In) -> Option<Payload> {
        match (self, message) {
            (Dialect::Nearcast(encoding), message) => Some(encoding.encode_in(message)),
            (Dialect::Floor, In::Move(step)) => {
                let units = |at: f64| ((at * UNITS_PER_M) as i16).to_le_bytes();
                let [x, y, z] = step.pos.map(units);
                let yaw = ((step.yaw / 360.0 * 65_536.0) as i32 as i16).to_le_bytes();
                let said: [u8; SAID_BYTES] = [x[0], x[1], y[0], y[1], z[0], z[1], yaw[0], yaw[1]];
                Some(Payload::Binary(said.to_vec().into()))
            }
            (Dialect::Floor, _) => None,
        }
    }

    /// Updates in a message of a server that is only counted.
    #[must_use]
    pub fn counted(self, bytes: &[u8]) -> Option<u64> {
        match self {
            Dialect::Nearcast(_) => None,
            Dialect::Floor => Some((bytes.len() / RECORD_BYTES) as u64),
        }
    }
}
