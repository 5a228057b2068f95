//! The way between a bot and its gateway: in order, late, and only so many bytes per second downwards.

use std::collections::VecDeque;

use nearcast::codec::Payload;
use nearcast::limits::SECOND_US;

/// What a gateway hands to a socket.
#[derive(Clone, Debug)]
pub enum Down {
    /// A message.
    Message(Payload),
    /// A WebSocket ping.
    Ping([u8; 8]),
    /// The socket is closed.
    Closed,
}

/// What a bot hands to its socket.
#[derive(Clone, Debug)]
pub enum Up {
    /// A message.
    Message(Vec<u8>),
    /// The answer to a ping.
    Pong([u8; 8]),
}

/// How good a way is.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// One way.
    pub delay_us: u64,
    /// Downwards.
    pub bytes_per_s: u64,
}

impl Quality {
    /// Whether states have to be skipped on it.
    pub fn is_slow(self) -> bool {
        self.bytes_per_s < 60_000
    }
}

/// Both directions.
#[derive(Debug)]
pub struct Link {
    /// How good it is.
    pub quality: Quality,
    free_us: u64,
    down: VecDeque<(u64, Down)>,
    up: VecDeque<(u64, Up)>,
}

impl Link {
    /// Nothing on its way.
    pub fn new(quality: Quality) -> Link {
        Link { quality, free_us: 0, down: VecDeque::new(), up: VecDeque::new() }
    }

    /// From the gateway.
    pub fn send_down(&mut self, down: Down, now_us: u64) {
        let bytes = match &down {
            Down::Message(payload) => payload.framed_len() as u64,
            Down::Ping(_) => 10,
            Down::Closed => 4,
        };
        self.free_us = self.free_us.max(now_us) + bytes * SECOND_US / self.quality.bytes_per_s;
        self.down.push_back((self.free_us + self.quality.delay_us, down));
    }

    /// From the bot.
    pub fn send_up(&mut self, up: Up, now_us: u64) {
        let at = (now_us + self.quality.delay_us).max(self.up.back().map_or(0, |(at, _)| *at));
        self.up.push_back((at, up));
    }

    /// What has arrived at the bot.
    pub fn next_down(&mut self, now_us: u64) -> Option<Down> {
        self.down.pop_front_if(|(at, _)| *at <= now_us).map(|(_, down)| down)
    }

    /// What has arrived at the gateway.
    pub fn next_up(&mut self, now_us: u64) -> Option<Up> {
        self.up.pop_front_if(|(at, _)| *at <= now_us).map(|(_, up)| up)
    }
}
