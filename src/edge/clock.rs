//! The gateway's clock: microseconds since 1970 as read once at the start, then monotonic. It never steps, so ages and
//! timers are safe from whoever sets the machine's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_us: u64,
}

impl Clock {
    /// Reads the machine's clock once.
    #[must_use]
    pub fn start() -> Clock {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: Instant::now(), started_us: since_1970.as_micros() as u64 }
    }

    /// Now, µs since 1970.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.at_us(Instant::now())
    }

    /// The time of an instant, µs since 1970.
    #[must_use]
    pub fn at_us(&self, at: Instant) -> u64 {
        self.started_us + at.saturating_duration_since(self.started).as_micros() as u64
    }
}
