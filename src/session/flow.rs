//! How much may be on its way to a client that has not said `seen`. A full socket is no sign: kernels and proxies
//! swallow many seconds. So a tick is skipped while unseen bytes would exceed max(2 messages, R × (RTT₀ + 250 ms)).

use std::collections::VecDeque;

use crate::limits::{
    FLOW_DRAIN_US, FLOW_RATE_WINDOW_US, FLOW_RTT_MAX_US, FLOW_RTT_WINDOW_US, FLOW_SLACK_US, FLOW_START_MESSAGES,
    FLOW_START_US, FLOW_UNSEEN_MAX, MILLI_US, SECOND_US,
};

/// Seen bytes are counted in bins of this; the highest sum of two neighbours within the last 5 s is the link's rate.
/// (One bin alone would overrate a slow link that gets few large messages.)
const BIN_US: u64 = 500 * MILLI_US;
const BINS: usize = (FLOW_RATE_WINDOW_US / BIN_US) as usize;
/// The smallest round trip is kept in so many bins over 30 s.
const RTT_BINS: usize = 6;
const RTT_BIN_US: u64 = FLOW_RTT_WINDOW_US / RTT_BINS as u64;
/// Round trip assumed before the first is known: none, so that a slow link is found out early.
const RTT_UNKNOWN_US: u64 = 0;

/// A state on its way.
#[derive(Clone, Copy, Debug)]
struct Unseen {
    number: u64,
    bytes: u64,
    sent_us: u64,
    sample_us: u64,
}

/// What a `seen` tells, µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenFact {
    /// From the write to the receipt.
    pub write_to_seen_us: u64,
    /// From the samples in the state, on average, to the receipt; `None` if it moved nobody.
    pub end_to_end_us: Option<u64>,
}

/// The way to one client.
#[derive(Debug)]
pub struct Flow {
    unseen: VecDeque<Unseen>,
    unseen_bytes: u64,
    last_bytes: u64,
    started_us: Option<u64>,
    bins: [u64; BINS],
    bin: u64,
    rtts: [u64; RTT_BINS],
    rtt_bin: u64,
    draining: bool,
    drained_us: u64,
    skips: u32,
    judged_us: u64,
    judged_skips: u32,
}

/// What a second's worth of ticks says about the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ticks were skipped: no more than this many bytes per second.
    Fall(u32),
    /// None were.
    Climb,
}

impl Default for Flow {
    fn default() -> Self {
        Flow {
            unseen: VecDeque::new(),
            unseen_bytes: 0,
            last_bytes: 0,
            started_us: None,
            bins: [0; BINS],
            bin: 0,
            rtts: [u64::MAX; RTT_BINS],
            rtt_bin: 0,
            draining: false,
            drained_us: 0,
            skips: 0,
            judged_us: 0,
            judged_skips: 0,
        }
    }
}

impl Flow {
    /// Whether a state may be sent on this tick. A no counts as a skipped tick.
    pub fn may_send(&mut self, now_us: u64) -> bool {
        self.turn_bins(now_us);
        let open = self.is_open(now_us);
        // Neither the first seconds, until a whole window of the rate is known, nor a drain says that the link is slow.
        let known = self.started_us.is_some_and(|at| now_us.saturating_sub(at) >= FLOW_RATE_WINDOW_US);
        if !open && !self.draining && known {
            self.skips += 1;
        }
        open
    }

    fn is_open(&mut self, now_us: u64) -> bool {
        if self.unseen.is_empty() {
            if self.draining {
                (self.draining, self.drained_us) = (false, now_us);
            }
            return true;
        }
        if self.draining || self.unseen.len() >= FLOW_UNSEEN_MAX {
            return false;
        }
        if self.skips > 0 && now_us.saturating_sub(self.drained_us) >= FLOW_DRAIN_US {
            // The round trip is to be measured on an empty link once in a while.
            (self.draining, self.skips) = (true, 0);
            return false;
        }
        let starting = self.is_starting(now_us);
        let (messages, span_us) =
            if starting { (FLOW_START_MESSAGES, self.rtt_us()) } else { (2, self.rtt_us() + FLOW_SLACK_US) };
        let by_rate = self.rate() * span_us / SECOND_US;
        let window = if starting { messages * self.last_bytes + by_rate } else { by_rate };
        (self.unseen.len() as u64) < messages || self.unseen_bytes + self.last_bytes <= window
    }

    fn is_starting(&self, now_us: u64) -> bool {
        self.started_us.is_some_and(|at| now_us.saturating_sub(at) < FLOW_START_US)
    }

    /// A state was handed to the socket; its samples are from `sample_us` on average (0: it moved nobody).
    pub fn sent(&mut self, number: u64, bytes: usize, sample_us: u64, now_us: u64) {
        let bytes = bytes as u64;
        self.started_us.get_or_insert(now_us);
        if self.drained_us == 0 {
            self.drained_us = now_us;
        }
        self.unseen.push_back(Unseen { number, bytes, sent_us: now_us, sample_us });
        self.unseen_bytes += bytes;
        self.last_bytes = bytes;
    }

    /// The client has seen a state, `held_us` before it said so. `None` if that state was seen before or never sent.
    pub fn seen(&mut self, number: u64, held_us: u64, now_us: u64) -> Option<SeenFact> {
        self.turn_bins(now_us);
        let mut newest = None;
        while let Some(unseen) = self.unseen.pop_front_if(|unseen| unseen.number <= number) {
            self.unseen_bytes -= unseen.bytes;
            self.bins[self.bin as usize % BINS] += unseen.bytes;
            newest = Some(unseen);
        }
        let unseen = newest.filter(|unseen| unseen.number == number)?;
        let received_us = now_us.saturating_sub(held_us);
        let rtt_us = received_us.saturating_sub(unseen.sent_us);
        let bin = &mut self.rtts[self.rtt_bin as usize % RTT_BINS];
        *bin = (*bin).min(rtt_us);
        Some(SeenFact {
            write_to_seen_us: rtt_us,
            end_to_end_us: (unseen.sample_us > 0).then(|| received_us.saturating_sub(unseen.sample_us)),
        })
    }

    /// Once a second: what the skips say about the budget.
    pub fn judge(&mut self, now_us: u64) -> Option<Verdict> {
        if now_us.saturating_sub(self.judged_us) < SECOND_US || self.started_us.is_none() {
            return None;
        }
        self.judged_us = now_us;
        let skipped = self.skips != self.judged_skips && self.skips > 0;
        self.judged_skips = self.skips;
        Some(if skipped { Verdict::Fall(u32::try_from(self.rate()).unwrap_or(u32::MAX)) } else { Verdict::Climb })
    }

    /// States on their way.
    #[must_use]
    pub fn unseen(&self) -> usize {
        self.unseen.len()
    }

    /// Number of the newest state on its way.
    #[must_use]
    pub fn newest_unseen(&self) -> Option<u64> {
        self.unseen.back().map(|unseen| unseen.number)
    }

    /// R: the highest seen bytes per second of the last 5 s.
    fn rate(&self) -> u64 {
        let newest = self.bin as usize;
        let pair =
            |back: usize| self.bins[(newest + BINS - back) % BINS] + self.bins[(newest + BINS - back - 1) % BINS];
        (0..BINS - 1).map(pair).max().unwrap_or(0) * (SECOND_US / BIN_US) / 2
    }

    /// RTT₀: the smallest send-to-seen delay of the last 30 s, at most 1 s.
    fn rtt_us(&self) -> u64 {
        match self.rtts.iter().min() {
            Some(&rtt) if rtt != u64::MAX => rtt.min(FLOW_RTT_MAX_US),
            Some(_) | None => RTT_UNKNOWN_US,
        }
    }

    fn turn_bins(&mut self, now_us: u64) {
        let (bin, rtt_bin) = (now_us / BIN_US, now_us / RTT_BIN_US);
        for b in (self.bin + 1..=bin).rev().take(BINS) {
            self.bins[b as usize % BINS] = 0;
        }
        for b in (self.rtt_bin + 1..=rtt_bin).rev().take(RTT_BINS) {
            self.rtts[b as usize % RTT_BINS] = u64::MAX;
        }
        (self.bin, self.rtt_bin) = (bin, rtt_bin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TICK_US;
    use crate::view::budget::Budget;

    struct Run {
        states: usize,
        /// From the third second on.
        skipped: usize,
        /// Age of what the client shows, ms, sampled at every tick of the second half.
        age_ms_max: u64,
    }

    /// A link with a round trip and a rate; the client says `seen` at once. States take what the budget gives, at
    /// most `state_bytes`.
    fn run(rtt_us: u64, bytes_per_s: u64, state_bytes: usize, seconds: u64) -> Run {
        let start = 1_700_000_000 * SECOND_US;
        let (mut flow, mut budget) = (Flow::default(), Budget::new(start));
        let mut result = Run { states: 0, skipped: 0, age_ms_max: 0 };
        let mut link_free_us = start;
        let mut arrivals: VecDeque<(u64, u64, u64)> = VecDeque::new(); // arrival, number, tick time
        let mut number = 0;
        let mut shown_us = start;
        for tick in 0..seconds * 20 {
            let now = start + tick * TICK_US;
            while let Some((arrived, n, made)) = arrivals.pop_front_if(|(arrived, ..)| *arrived + rtt_us / 2 <= now) {
                flow.seen(n, 0, arrived + rtt_us / 2);
                shown_us = made;
            }
            match flow.judge(now) {
                Some(Verdict::Fall(rate)) => budget.fall(rate),
                Some(Verdict::Climb) => budget.climb(),
                None => {}
            }
            let second_half = tick > seconds * 10;
            let settled = tick > 3 * 20;
            if flow.may_send(now) {
                let bytes = state_bytes.min(budget.room(now));
                budget.spend(bytes);
                number += 1;
                link_free_us = link_free_us.max(now) + bytes as u64 * SECOND_US / bytes_per_s;
                arrivals.push_back((link_free_us + rtt_us / 2, number, now));
                flow.sent(number, bytes, now, now);
                result.states += usize::from(second_half);
            } else {
                result.skipped += usize::from(settled);
            }
            if second_half {
                result.age_ms_max = result.age_ms_max.max((now - shown_us) / MILLI_US);
            }
        }
        result
    }

    #[test]
    fn a_healthy_link_of_300_ms_keeps_every_tick() {
        for state_bytes in [300, 700] {
            let run = run(300 * MILLI_US, 10_000_000, state_bytes, 60);
            assert_eq!(run.skipped, 0, "{state_bytes} B");
            assert!(run.states >= 590, "{}", run.states);
            assert!(run.age_ms_max <= 400, "{} ms", run.age_ms_max);
        }
    }

    #[test]
    fn a_reader_at_5_kb_per_s_shows_nothing_older_than_a_second() {
        for state_bytes in [300, 700, 1_200] {
            let run = run(40 * MILLI_US, 5_000, state_bytes, 60);
            assert!(run.age_ms_max <= 1_000, "{state_bytes} B: {} ms", run.age_ms_max);
            assert!(run.states >= 60, "{state_bytes} B: {} states in 30 s", run.states);
        }
    }

    #[test]
    fn nothing_seen_means_nothing_more_sent() {
        let mut flow = Flow::default();
        let mut sent = 0;
        for tick in 1..2_000 {
            if flow.may_send(tick * TICK_US) {
                sent += 1;
                flow.sent(sent, 500, 0, tick * TICK_US);
            }
        }
        assert_eq!(sent, FLOW_START_MESSAGES);
    }

    #[test]
    fn what_was_never_sent_is_not_seen() {
        let mut flow = Flow::default();
        flow.sent(1, 100, 0, 0);
        assert_eq!(flow.seen(9, 0, 5), None);
        assert_eq!(flow.seen(1, 0, 5), None, "the lie has freed it, but taught nothing");
    }
}
