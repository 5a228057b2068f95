//! Clocks of other gateways, learnt from how long their records are under way. Our own records tell the log's delay,
//! those of others that delay and the difference of the clocks.

use super::fold::Map;
use crate::clock::MinWindow;
use crate::limits::SECOND_US;

/// Least one-way delays are kept over this; clocks of servers drift by a few ms over it at most.
const WINDOW_US: u64 = 30 * SECOND_US;
/// A gateway not heard of for this long is forgotten.
const SILENT_US: u64 = 60 * SECOND_US;

/// See the module.
pub struct Peers {
    own: MinWindow,
    /// By gateway: its least delay, and when it was last heard of.
    others: Map<u32, (MinWindow, u64)>,
}

impl Default for Peers {
    fn default() -> Self {
        Peers { own: MinWindow::new(WINDOW_US), others: Map::default() }
    }
}

impl Peers {
    /// A record of our own was under way so long.
    pub fn own(&mut self, delay_us: i64, now_us: u64) {
        self.own.push(delay_us, now_us);
    }

    /// A record of another gateway seems to have been under way so long.
    pub fn other(&mut self, gateway: u32, delay_us: i64, now_us: u64) {
        let (window, heard) = self.others.entry(gateway).or_insert((MinWindow::new(WINDOW_US), now_us));
        window.push(delay_us, now_us);
        *heard = now_us;
    }

    /// What to add to a gateway's clock to get ours, µs: its least one-way delay less our own records' least round trip
    /// through the same log. Wrong by at most that round trip.
    #[must_use]
    pub fn offset_us(&self, gateway: u32) -> Option<i64> {
        let (window, _) = self.others.get(&gateway)?;
        Some(window.min()? - self.error_us())
    }

    /// The largest difference to any clock, µs; 0 when there is no other gateway.
    #[must_use]
    pub fn largest_offset_us(&self) -> i64 {
        self.others.keys().filter_map(|gateway| self.offset_us(*gateway)).max_by_key(|o| o.abs()).unwrap_or(0)
    }

    /// How wrong an offset may be, µs.
    #[must_use]
    pub fn error_us(&self) -> i64 {
        self.own.min().unwrap_or(0)
    }

    /// Forgets gateways that have not been heard of for a minute.
    pub fn forget_silent(&mut self, now_us: u64) {
        self.others.retain(|_, (_, heard)| now_us.saturating_sub(*heard) < SILENT_US);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_delay_is_not_taken_for_a_clock() {
        let mut peers = Peers::default();
        assert_eq!(peers.offset_us(2), None);
        // Ours take 3 ms at least; those of a gateway whose clock is 100 ms behind seem to take 103 ms.
        for jitter in [0, 5_000, 900] {
            peers.own(3_000 + jitter, 1);
            peers.other(2, 103_000 + jitter, 1);
        }
        assert_eq!((peers.offset_us(2), peers.largest_offset_us(), peers.error_us()), (Some(100_000), 100_000, 3_000));
        peers.forget_silent(1 + SILENT_US);
        assert_eq!(peers.offset_us(2), None);
    }
}
