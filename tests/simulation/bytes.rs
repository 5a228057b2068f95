//! The bytes handed to one client, against its budget: any t seconds hold at most rate × (t + 0.5 s).

use nearcast::codec::Payload;
use nearcast::limits::{BUDGET_DEPTH_US, BUDGET_MIN, SECOND_US};

use crate::bots::ACTS_OPEN;

/// A state without rows goes when nothing is left, and is paid for afterwards.
const EMPTY_STATE_BYTES: i64 = 150;
/// So do answers: a refusal, the largest, to each of a bot's open actions, and an empty state among them.
const ANSWERS_BYTES: i64 = ACTS_OPEN as i64 * 200 + EMPTY_STATE_BYTES;
const MICRO: i64 = SECOND_US as i64;

/// What has gone and is not paid for yet.
pub struct Spent {
    rate: u32,
    /// The gateway may lower the rate, and with it what it saves up for an event.
    falls: bool,
    /// Bytes × 10^6, so that no time is lost in rounding.
    level: i64,
    at_us: u64,
    /// The largest bound of an event: one may be larger than the bucket.
    event: i64,
}

impl Spent {
    /// Nothing yet, of a budget of so many bytes per second.
    pub fn new(rate: u32, falls: bool, now_us: u64) -> Spent {
        Spent { rate, falls, level: 0, at_us: now_us, event: 0 }
    }

    /// A message is handed to the socket.
    pub fn add(&mut self, payload: &Payload, now_us: u64) -> Result<(), String> {
        let bytes = payload.framed_len() as i64;
        let paid = (now_us - self.at_us) as i64 * i64::from(self.rate);
        (self.level, self.at_us) = ((self.level - paid).max(0) + bytes * MICRO, now_us);
        let depth_of = |rate: u32| i64::from(rate) * BUDGET_DEPTH_US as i64 / MICRO;
        let depth = depth_of(self.rate);
        // What can wait goes only when all is paid for; an event larger than the bucket when that is full. One whose rate
        // was lowered meanwhile is full with less.
        let bound = match kind(payload) {
            Kind::Event => {
                let full = if self.falls { depth_of(BUDGET_MIN) } else { depth };
                let bound = depth - full + full.max(bytes);
                self.event = self.event.max(bound);
                bound
            }
            Kind::State if bytes > EMPTY_STATE_BYTES => depth,
            Kind::State | Kind::Answer => depth.max(self.event) + ANSWERS_BYTES,
        };
        let level = self.level / MICRO;
        if level > bound {
            let Spent { rate, .. } = self;
            return Err(format!("{level} bytes are not paid for at {rate} bytes/s, bound {bound}, the last {bytes}"));
        }
        Ok(())
    }
}

enum Kind {
    State,
    Event,
    Answer,
}

/// A message is a map of one entry: its name stands at the beginning.
fn kind(payload: &Payload) -> Kind {
    let bytes = payload.bytes();
    let starts = |json: &[u8], binary: &[u8]| bytes.starts_with(json) || bytes.starts_with(binary);
    if starts(b"{\"state\"", b"\x81\xa1s") {
        Kind::State
    } else if starts(b"{\"event\"", b"\x81\xa5event") {
        Kind::Event
    } else {
        Kind::Answer
    }
}
