//! The swarm's clock, and how it maps a gateway's clock to it. Times are whole microseconds since the swarm's start.

use std::collections::VecDeque;
use std::time::Instant;

/// Microseconds since the swarm's start; monotonic.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// The moment as the runtime's timer wants it.
    #[must_use]
    pub fn at(&self, us: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + std::time::Duration::from_micros(us))
    }
}

/// Measurements of a gateway's clock are kept this long, µs: clocks drift by up to 100 µs per second.
const KEPT_US: u64 = 10_000_000;
/// Measurements kept at most; the oldest go first.
const KEPT_MAX: usize = 64;

/// The gateway's clock less ours, from pings: the one with the shortest round trip of the last 10 s counts.
#[derive(Clone, Debug, Default)]
pub struct Offset {
    /// When it was measured, round trip, offset; µs. Round trips rise, so the first is the best.
    kept: VecDeque<(u64, u64, i64)>,
}

impl Offset {
    /// A ping went at `sent_us` and its answer, with the gateway's time, came at `received_us`.
    pub fn measured(&mut self, sent_us: u64, received_us: u64, gateway_us: f64) {
        let middle = (sent_us as f64 + received_us as f64) / 2.0;
        self.push(received_us, received_us.saturating_sub(sent_us), (gateway_us - middle) as i64);
    }

    fn push(&mut self, now_us: u64, round_trip_us: u64, offset_us: i64) {
        while self.kept.front().is_some_and(|(at, ..)| now_us.saturating_sub(*at) > KEPT_US) {
            self.kept.pop_front();
        }
        while self.kept.back().is_some_and(|(_, trip, _)| *trip >= round_trip_us) {
            self.kept.pop_back();
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((now_us, round_trip_us, offset_us));
    }

    /// The gateway's clock less ours, µs; `None` before the first measurement.
    #[must_use]
    pub fn us(&self) -> Option<i64> {
        self.kept.front().map(|(_, _, offset)| *offset)
    }

    /// The round trip it was measured with, µs: the offset is wrong by half of it at most.
    #[must_use]
    pub fn round_trip_us(&self) -> Option<u64> {
        self.kept.front().map(|(_, trip, _)| *trip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_round_trip_of_ten_seconds_counts() {
        let mut offset = Offset::default();
        assert_eq!(offset.us(), None);
        offset.measured(0, 4_000, 1_003_000.0);
        assert_eq!(offset.us(), Some(1_001_000));
        offset.measured(1_000_000, 1_000_200, 2_000_100.0);
        assert_eq!((offset.us(), offset.round_trip_us()), (Some(1_000_000), Some(200)));
        offset.measured(2_000_000, 2_009_000, 3_000_000.0);
        assert_eq!(offset.us(), Some(1_000_000), "a longer one changes nothing");
        offset.measured(11_000_300, 11_001_300, 12_000_300.0);
        assert_eq!(offset.us(), Some(999_500), "until it is older than 10 s: then the best of the others");
    }
}
