//! Mapping another clock to ours from one-way delays: the smallest difference seen lately is the least delayed.
//! Pure; the clock itself is read in `edge`.

/// The minimum over the last one to two windows.
#[derive(Clone, Copy, Debug)]
pub struct MinWindow {
    window_us: u64,
    started_us: u64,
    current: i64,
    previous: i64,
}

impl MinWindow {
    /// Empty.
    #[must_use]
    pub fn new(window_us: u64) -> MinWindow {
        MinWindow { window_us, started_us: 0, current: i64::MAX, previous: i64::MAX }
    }

    /// Takes a value in.
    pub fn push(&mut self, value: i64, now_us: u64) {
        if now_us.saturating_sub(self.started_us) >= self.window_us {
            let gap = now_us.saturating_sub(self.started_us) >= 2 * self.window_us;
            self.previous = if gap { i64::MAX } else { self.current };
            self.current = i64::MAX;
            self.started_us = now_us;
        }
        self.current = self.current.min(value);
    }

    /// The smallest value, if there was one.
    #[must_use]
    pub fn min(&self) -> Option<i64> {
        let min = self.current.min(self.previous);
        (min != i64::MAX).then_some(min)
    }
}

/// Maps a client's clock (any epoch, ms) to ours.
#[derive(Clone, Copy, Debug)]
pub struct ClientClock {
    offset_us: MinWindow,
    last_us: u64,
}

/// Clients' clocks drift by up to 100 µs per second: 3 ms over this.
const CLIENT_WINDOW_US: u64 = 15 * crate::limits::SECOND_US;

impl Default for ClientClock {
    fn default() -> Self {
        ClientClock { offset_us: MinWindow::new(CLIENT_WINDOW_US), last_us: 0 }
    }
}

impl ClientClock {
    /// When a client's time was on our clock: never in the future, at most 250 ms ago, never before the last answer.
    /// `None` if the time is no number a clock could show.
    pub fn map(&mut self, client_ms: f64, now_us: u64) -> Option<u64> {
        let mapped = self.earlier(client_ms, now_us)?;
        let oldest = now_us.saturating_sub(crate::limits::SAMPLE_AGE_MAX_US);
        self.last_us = mapped.clamp(oldest, now_us).max(self.last_us.min(now_us));
        Some(self.last_us)
    }

    /// As [`ClientClock::map`], for a moment that may be long ago.
    pub fn earlier(&mut self, client_ms: f64, now_us: u64) -> Option<u64> {
        if !client_ms.is_finite() || client_ms.abs() > 1e14 {
            return None;
        }
        let client_us = (client_ms * 1e3) as i64;
        let now = now_us as i64;
        self.offset_us.push(now - client_us, now_us);
        let offset = self.offset_us.min().unwrap_or(now - client_us);
        Some((client_us + offset).clamp(0, now) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_message_is_dated_by_the_least_delayed_one() {
        let mut clock = ClientClock::default();
        let start = 1_000_000_000;
        assert_eq!(clock.map(0.0, start + 20_000), Some(start + 20_000), "the first is taken as it comes");
        assert_eq!(clock.map(50.0, start + 55_000), Some(start + 55_000), "a faster one moves the offset");
        assert_eq!(clock.map(100.0, start + 180_000), Some(start + 105_000), "a late one is dated back");
        assert_eq!(clock.map(150.0, start + 900_000), Some(start + 650_000), "by 250 ms at most");
        assert_eq!(clock.map(100.0, start + 910_000), Some(start + 660_000), "and never before the last");
        for bad in [f64::NAN, f64::INFINITY, -1e300] {
            assert_eq!(clock.map(bad, start), None);
        }
    }

    #[test]
    fn minima_are_forgotten() {
        let mut min = MinWindow::new(10);
        min.push(1, 0);
        min.push(5, 10);
        assert_eq!(min.min(), Some(1));
        min.push(6, 20);
        assert_eq!(min.min(), Some(5));
        min.push(9, 100);
        assert_eq!(min.min(), Some(9));
    }
}
