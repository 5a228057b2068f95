//! Token buckets for what one client sends.

use crate::limits::SECOND_US;

/// So many per second, and a burst above it.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    per_s: u64,
    burst: u64,
    /// Millionths of a token.
    tokens: u64,
    at_us: u64,
}

impl Rate {
    /// A full bucket.
    #[must_use]
    pub fn new(per_s: u32, burst: u32, now_us: u64) -> Rate {
        let burst = u64::from(burst) * SECOND_US;
        Rate { per_s: u64::from(per_s), burst, tokens: burst, at_us: now_us }
    }

    /// Takes `n` tokens if there are as many.
    pub fn take(&mut self, n: u64, now_us: u64) -> bool {
        let passed_us = now_us.saturating_sub(self.at_us).min(SECOND_US * 3_600);
        self.at_us = now_us;
        self.tokens = (self.tokens + passed_us * self.per_s).min(self.burst);
        let enough = self.tokens >= n * SECOND_US;
        if enough {
            self.tokens -= n * SECOND_US;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `per_s` messages a second for a minute; returns the share that passed after the burst was used up.
    fn passed(per_s: u64) -> f64 {
        let mut rate = Rate::new(20, 40, 0);
        while rate.take(1, 0) {}
        let sent = per_s * 60;
        (1..=sent).filter(|i| rate.take(1, i * SECOND_US / per_s)).count() as f64 / sent as f64
    }

    #[test]
    fn nine_tenths_pass_and_eleven_tenths_are_cut_to_the_rate() {
        assert!((passed(18) - 1.0).abs() < 1e-9);
        assert!((passed(22) - 20.0 / 22.0).abs() < 0.01);
    }
}
