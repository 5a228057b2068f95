//! A token bucket of bytes: any t seconds hold at most rate × (t + 0.5 s).

use crate::limits::{BUDGET_BYTES_PER_S, BUDGET_DEPTH_US, BUDGET_MAX, BUDGET_MIN, SECOND_US, TICK_US};

/// How many bytes may go to one client.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    asked: u32,
    rate: u32,
    /// Bytes × 10^6, so that no time is lost in rounding; below zero after a message that could not wait.
    tokens: i64,
    at_us: u64,
}

const MICRO: i64 = SECOND_US as i64;

impl Budget {
    /// A full bucket of the default rate.
    #[must_use]
    pub fn new(now_us: u64) -> Budget {
        let mut budget = Budget { asked: BUDGET_BYTES_PER_S, rate: BUDGET_BYTES_PER_S, tokens: 0, at_us: now_us };
        budget.tokens = budget.depth();
        budget
    }

    fn depth(&self) -> i64 {
        i64::from(self.rate) * BUDGET_DEPTH_US as i64
    }

    /// The client wants this many bytes per second; clamped.
    pub fn ask(&mut self, rate: u32) {
        self.asked = rate.clamp(BUDGET_MIN, BUDGET_MAX);
        self.set_rate(self.asked);
    }

    /// Bytes per second in force.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The link seems to take no more than this. Halves at most: one hiccup on a link that was hardly used would else
    /// be taken for its limit.
    pub fn fall(&mut self, rate: u32) {
        self.set_rate(rate.clamp((self.rate / 2).max(BUDGET_MIN), self.rate));
    }

    /// The link held for a second: a quarter more, up to what was asked for.
    pub fn climb(&mut self) {
        self.set_rate((self.rate + self.rate / 4).min(self.asked));
    }

    fn set_rate(&mut self, rate: u32) {
        self.rate = rate;
        self.tokens = self.tokens.min(self.depth());
    }

    /// Time has passed. Called before bytes go: what a full bucket was given must not pay for them.
    pub fn fill(&mut self, now_us: u64) {
        let passed_us = now_us.saturating_sub(self.at_us).min(2 * BUDGET_DEPTH_US) as i64;
        self.at_us = now_us;
        self.tokens = (self.tokens + passed_us * i64::from(self.rate)).min(self.depth());
    }

    /// Bytes that may go now.
    pub fn room(&mut self, now_us: u64) -> usize {
        self.fill(now_us);
        usize::try_from(self.tokens / MICRO).unwrap_or(0)
    }

    /// Bytes of a full bucket: the most that room can be.
    #[must_use]
    pub fn depth_bytes(&self) -> usize {
        usize::try_from(self.depth() / MICRO).unwrap_or(0)
    }

    /// Bytes the rate gives per tick.
    #[must_use]
    pub fn per_tick(&self) -> usize {
        (u64::from(self.rate) * TICK_US / SECOND_US) as usize
    }

    /// Bytes have gone.
    pub fn spend(&mut self, bytes: usize) {
        self.tokens -= bytes as i64 * MICRO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_window_holds_more_than_rate_and_depth(
            steps in prop::collection::vec((0..200_000_u64, 0..30_000_usize), 1..200),
            rate in BUDGET_MIN..BUDGET_MAX,
        ) {
            let mut budget = Budget::new(0);
            budget.ask(rate);
            let mut now = 0;
            let mut sent: Vec<(u64, usize)> = Vec::new();
            for (wait, want) in steps {
                now += wait;
                let bytes = want.min(budget.room(now));
                budget.spend(bytes);
                sent.push((now, bytes));
            }
            for i in 0..sent.len() {
                let mut sum = 0;
                for (at, bytes) in &sent[i..] {
                    sum += bytes;
                    let bound = u64::from(rate) * (at - sent[i].0 + BUDGET_DEPTH_US) / SECOND_US;
                    prop_assert!(sum as u64 <= bound + 1, "{sum} > {bound}");
                }
            }
        }
    }
}
