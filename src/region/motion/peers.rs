//! Clocks of other gateways, learnt from how long their records are under way. Our own records tell the log's delay,
//! those of others that delay and the difference of the clocks.

use super::fold::Map;
use crate::clock::MinWindow;
use crate::limits::{PEERS_SETTLE_US, SECOND_US};

/// Least one-way delays are kept over this; clocks of servers drift by a few ms over it at most.
const WINDOW_US: u64 = 30 * SECOND_US;
/// A gateway not heard of for this long is forgotten.
const SILENT_US: u64 = 60 * SECOND_US;

/// See the module.
pub struct Peers {
    own: MinWindow,
    /// When the first record of our own was heard (since the last long silence), and the newest.
    own_heard: Option<(u64, u64)>,
    /// By gateway: its least delay, and when it was last heard of.
    others: Map<u32, (MinWindow, u64)>,
}

impl Default for Peers {
    fn default() -> Self {
        Peers { own: MinWindow::new(WINDOW_US), own_heard: None, others: Map::default() }
    }
}

impl Peers {
    /// A record of our own was under way so long. The first ones wait for connections, so they say nothing of the log's
    /// delay: counted as the least of it they would make others look late by as much, and where nobody moves the next
    /// one comes only after seconds.
    pub fn own(&mut self, delay_us: i64, now_us: u64) {
        let (first, last) = self.own_heard.get_or_insert((now_us, now_us));
        if now_us.saturating_sub(*last) >= SILENT_US {
            *first = now_us;
        }
        *last = now_us;
        if now_us.saturating_sub(*first) >= PEERS_SETTLE_US {
            self.own.push(delay_us, now_us);
        }
    }

    /// A record of another gateway seems to have been under way so long.
    pub fn other(&mut self, gateway: u32, delay_us: i64, now_us: u64) {
        let (window, heard) = self.others.entry(gateway).or_insert((MinWindow::new(WINDOW_US), now_us));
        window.push(delay_us, now_us);
        *heard = now_us;
    }

    /// What to add to a gateway's clock to get ours, µs: its least one-way delay less our own records' least round trip
    /// through the same log. Wrong by at most that round trip; until one is known, by the log's delay.
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

    /// How wrong an offset may be, µs; 0 until that is known.
    #[must_use]
    pub fn error_us(&self) -> i64 {
        self.own.min().unwrap_or(0)
    }

    /// How many other gateways are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.others.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.others.is_empty()
    }

    /// Forgets gateways that have not been heard of for a minute.
    pub fn forget_silent(&mut self, now_us: u64) {
        self.others.retain(|_, (_, heard)| now_us.saturating_sub(*heard) < SILENT_US);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MILLI_US;

    #[test]
    fn the_logs_delay_is_not_taken_for_a_clock() {
        let mut peers = Peers::default();
        assert_eq!(peers.offset_us(2), None);
        // Ours take 3 ms at least; those of a gateway whose clock is 100 ms behind seem to take 103 ms.
        for (jitter, now_us) in [(0, 1), (0, 1 + PEERS_SETTLE_US), (5_000, 9 * SECOND_US), (900, 9 * SECOND_US)] {
            peers.own(3_000 + jitter, now_us);
            peers.other(2, 103_000 + jitter, now_us);
        }
        assert_eq!((peers.offset_us(2), peers.largest_offset_us(), peers.error_us()), (Some(100_000), 100_000, 3_000));
        peers.forget_silent(9 * SECOND_US + SILENT_US);
        assert_eq!(peers.offset_us(2), None);
    }

    #[test]
    fn a_gateway_that_connects_slowly_does_not_take_others_for_late() {
        const NOW_US: u64 = 1_700_000_000 * SECOND_US;
        let mut peers = Peers::default();
        // The other one's backlog, the newest 40 ms old, and what it says since, with the same clock.
        for (at_ms, delay_ms) in [(0, 7_900), (0, 4_000), (0, 40), (50, 6), (100, 5), (4_900, 6)] {
            peers.other(2, delay_ms * 1_000, NOW_US + at_ms * MILLI_US);
        }
        // Our first record waited for the connection; our only client stands still, so the next is a keyframe.
        peers.own(1_000_000, NOW_US + SECOND_US);
        let offset_us = peers.offset_us(2).expect("it has been heard of");
        assert!((0..=5_000).contains(&offset_us), "its samples look {} ms late", -offset_us / 1_000);
        peers.own(4_000, NOW_US + 6 * SECOND_US);
        assert_eq!((peers.offset_us(2), peers.error_us()), (Some(1_000), 4_000));
        // The same after a long silence: the connection may have been closed meanwhile.
        for second in [90, 91] {
            peers.other(2, 5_000, NOW_US + second * SECOND_US);
        }
        peers.own(800_000, NOW_US + 91 * SECOND_US);
        assert_eq!(peers.offset_us(2), Some(1_000));
    }
}
