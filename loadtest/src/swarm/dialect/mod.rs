//! What bots speak: nearcast's protocol, or that of a server it is compared with. Of the others a bot only says where it
//! is and counts what it is shown: nothing is judged but how many there are.

mod colyseus;
mod json;
mod packed;

use std::net::SocketAddr;

use anyhow::Result;
use nearcast::codec::message::{In, Move};
use nearcast::codec::{Encoding, Payload};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// nearcast's, v1.
    Nearcast(Encoding),
    /// Records of ten bytes, as of [`crate::floor`].
    Packed,
    /// A JSON array of those who are near.
    Json,
    /// A Colyseus room and its schema.
    Colyseus,
}

/// What a server that is only counted has shown one bot.
#[derive(Debug, Default)]
pub struct Shown {
    /// Others in view.
    pub others: usize,
    room: colyseus::Room,
}

impl Dialect {
    /// The WebSocket subprotocol that asks for it, if one must.
    #[must_use]
    pub fn subprotocol(self) -> Option<&'static str> {
        match self {
            Dialect::Nearcast(encoding) => Some(encoding.subprotocol()),
            Dialect::Packed | Dialect::Json | Dialect::Colyseus => None,
        }
    }

    /// Where on the server the WebSocket is opened: path and query. May have to be asked for.
    ///
    /// # Errors
    /// When the server does not tell.
    pub async fn path(self, addr: SocketAddr) -> Result<String> {
        match self {
            Dialect::Nearcast(_) | Dialect::Packed | Dialect::Json => Ok("/v1".to_owned()),
            Dialect::Colyseus => colyseus::reserve(addr).await,
        }
    }

    /// What a bot says, if there is a word for it.
    #[must_use]
    pub fn encode(self, message: &In) -> Option<Payload> {
        match self {
            Dialect::Nearcast(encoding) => Some(encoding.encode_in(message)),
            Dialect::Packed => of_move(message).map(packed::say),
            Dialect::Json => of_move(message).map(json::say),
            Dialect::Colyseus => of_move(message).map(colyseus::say),
        }
    }

    /// What a bot answers to the first message of a server that is only counted.
    #[must_use]
    pub fn answer(self) -> Option<Payload> {
        match self {
            Dialect::Nearcast(_) | Dialect::Packed | Dialect::Json => None,
            Dialect::Colyseus => Some(colyseus::joined()),
        }
    }

    /// Positions in a message of a server that is only counted; `None` if it is no state.
    ///
    /// # Errors
    /// When it cannot be read: what was expected instead.
    pub fn count(self, shown: &mut Shown, bytes: &[u8]) -> Result<Option<u64>, String> {
        let all = |others: usize| {
            shown.others = others;
            Some(others as u64)
        };
        match self {
            Dialect::Nearcast(_) => Ok(None),
            Dialect::Packed => packed::count(bytes).map(all),
            Dialect::Json => json::count(bytes).map(all),
            Dialect::Colyseus => {
                let updates = shown.room.count(bytes)?;
                shown.others = shown.room.others();
                Ok(updates)
            }
        }
    }
}

fn of_move(message: &In) -> Option<&Move> {
    if let In::Move(step) = message { Some(step) } else { None }
}

#[cfg(test)]
fn a_move() -> Move {
    use nearcast::codec::message::AppState;
    Move { time: 0.0, pos: [1.5, 0.0, -2.25], yaw: 90.0, state: AppState::default(), seen: None, held_ms: None }
}
