//! How much may be on its way to a client that has not said `seen`. A full socket is no sign: kernels and proxies
//! swallow many seconds. The sign is delay, as in TCP Vegas: a link is *late* for a second after a state was seen 100
//! ms later than the smallest delay RTT₀, or was not seen 250 ms after RTT₀. On a late link a tick is skipped while
//! unseen bytes would exceed max(2 messages, R × (RTT₀ + 250 ms)); on any other link none is.
//!
//! R is what came through, and on a link that was calm that is what there was to tell, not what it carries. So R bounds
//! nothing until a queue shows (BBR: a sample taken while the sender had nothing more to send must not bound the
//! estimate), and a budget that fell climbs again only while it is used (RFC 7661, validation of the window).

use std::collections::VecDeque;

use crate::limits::{
    FLOW_DRAIN_US, FLOW_LATE_FOR_US, FLOW_LATE_US, FLOW_PING_US, FLOW_RATE_WINDOW_US, FLOW_RTT_MAX_US,
    FLOW_RTT_WINDOW_US, FLOW_SLACK_US, FLOW_START_MESSAGES, FLOW_START_US, FLOW_UNSEEN_MAX, FLOW_USED_PART, MILLI_US,
    SECOND_US,
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
    /// When the last sign of a queue was.
    late_us: Option<u64>,
    skips: u32,
    judged_us: u64,
    judged_skips: u32,
    /// Bytes of all messages since it was judged.
    spent: u64,
}

/// What a second's worth of ticks says about the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ticks were skipped: no more than this many bytes per second.
    Fall(u32),
    /// None were, and much of the budget was used.
    Climb,
    /// None were, and little of the budget was used: that says nothing of a larger one.
    Stay,
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
            late_us: None,
            skips: 0,
            judged_us: 0,
            judged_skips: 0,
            spent: 0,
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
        let starting = self.is_starting(now_us);
        if !starting && !self.is_late(now_us) {
            return true;
        }
        if self.skips > 0 && now_us.saturating_sub(self.drained_us) >= FLOW_DRAIN_US {
            // The round trip is to be measured on an empty link once in a while; not for skips that are long over.
            (self.draining, self.skips) = (true, 0);
            return false;
        }
        let (messages, span_us) =
            if starting { (FLOW_START_MESSAGES, self.rtt_us()) } else { (2, self.rtt_us() + FLOW_SLACK_US) };
        let by_rate = self.rate() * span_us / SECOND_US;
        let window = if starting { messages * self.last_bytes + by_rate } else { by_rate };
        (self.unseen.len() as u64) < messages || self.unseen_bytes + self.last_bytes <= window
    }

    /// Whether there is a queue on the way, or was a moment ago.
    fn is_late(&mut self, now_us: u64) -> bool {
        let overdue_us = self.rtt_us() + FLOW_SLACK_US;
        if self.unseen.front().is_some_and(|oldest| now_us.saturating_sub(oldest.sent_us) > overdue_us) {
            self.late_us = Some(now_us);
        }
        self.late_us.is_some_and(|at| now_us.saturating_sub(at) <= FLOW_LATE_FOR_US)
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

    /// The client has seen a state, `held_us` before it said so; a pong (`None`) does not know. Answers `None` if that
    /// state was seen before or never sent.
    pub fn seen(&mut self, number: u64, held_us: Option<u64>, now_us: u64) -> Option<SeenFact> {
        self.turn_bins(now_us);
        let mut newest = None;
        while let Some(unseen) = self.unseen.pop_front_if(|unseen| unseen.number <= number) {
            self.unseen_bytes -= unseen.bytes;
            self.bins[self.bin as usize % BINS] += unseen.bytes;
            newest = Some(unseen);
        }
        let unseen = newest.filter(|unseen| unseen.number == number)?;
        let received_us = now_us.saturating_sub(held_us.unwrap_or(0));
        let rtt_us = received_us.saturating_sub(unseen.sent_us);
        let bin = &mut self.rtts[self.rtt_bin as usize % RTT_BINS];
        *bin = (*bin).min(rtt_us);
        let blur_us = if held_us.is_none() { FLOW_PING_US } else { 0 };
        if rtt_us > self.rtt_us() + FLOW_LATE_US + blur_us {
            self.late_us = Some(now_us);
        }
        Some(SeenFact {
            write_to_seen_us: rtt_us,
            end_to_end_us: (unseen.sample_us > 0).then(|| received_us.saturating_sub(unseen.sample_us)),
        })
    }

    /// Bytes of any message were handed to the socket, states among them.
    pub fn spent(&mut self, bytes: usize) {
        self.spent += bytes as u64;
    }

    /// Once a second: what the skips say about a budget of so many bytes per second.
    pub fn judge(&mut self, budget: u32, now_us: u64) -> Option<Verdict> {
        if now_us.saturating_sub(self.judged_us) < SECOND_US || self.started_us.is_none() {
            return None;
        }
        self.judged_us = now_us;
        let used = std::mem::take(&mut self.spent) * FLOW_USED_PART >= u64::from(budget);
        let skipped = self.skips != self.judged_skips && self.skips > 0;
        self.judged_skips = self.skips;
        Some(match (skipped, used) {
            (true, _) => Verdict::Fall(u32::try_from(self.rate()).unwrap_or(u32::MAX)),
            (false, true) => Verdict::Climb,
            (false, false) => Verdict::Stay,
        })
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
        if (bin, rtt_bin) == (self.bin, self.rtt_bin) {
            return;
        }
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
    use crate::limits::{EMPTY_STATE_TICKS, TICK_US};
    use crate::view::budget::Budget;

    type Wants = fn(u64, u64) -> usize;

    /// A link, its reader, and what there is to tell.
    struct Link {
        rtt_us: u64,
        /// Bytes per second that it carries at a time (s).
        carries: fn(u64) -> u64,
        /// Bytes of the state of a tick (0: nothing to tell) at a time (s); the budget may allow less.
        wants: Wants,
        /// The client says `seen` at every so many ticks, and how long it held it.
        seen_ticks: u64,
    }

    struct Run {
        /// One entry a second.
        seconds: Vec<Second>,
    }

    #[derive(Clone, Copy, Default)]
    struct Second {
        states: usize,
        skipped: usize,
        /// Largest age of what the client shows, ms, sampled at every tick.
        age_ms: u64,
    }

    impl Run {
        fn states(&self, from_s: usize) -> usize {
            self.seconds[from_s..].iter().map(|second| second.states).sum()
        }

        fn skipped(&self, from_s: usize) -> usize {
            self.seconds[from_s..].iter().map(|second| second.skipped).sum()
        }

        fn age_ms(&self, from_s: usize) -> u64 {
            self.seconds[from_s..].iter().map(|second| second.age_ms).max().expect("it ran longer")
        }
    }

    const LINK: Link = Link { rtt_us: 40 * MILLI_US, carries: |_| FAST, wants: |_, _| 700, seen_ticks: 1 };
    /// 10 Mbit/s.
    const FAST: u64 = 1_250_000;

    fn run(link: &Link, seconds: u64) -> Run {
        let start = 1_700_000_000 * SECOND_US;
        let (mut flow, mut budget) = (Flow::default(), Budget::new(start));
        let mut result = Run { seconds: vec![Second::default(); seconds as usize] };
        let mut link_free_us = start;
        let mut down: VecDeque<(u64, u64, u64)> = VecDeque::new(); // arrival, number, tick time
        let mut up: VecDeque<(u64, u64, u64)> = VecDeque::new(); // arrival, number, held
        let mut received = None;
        let mut number = 0;
        let mut shown_us = start;
        for tick in 0..seconds * 20 {
            let now = start + tick * TICK_US;
            let second = &mut result.seconds[(tick / 20) as usize];
            while let Some((arrived, n, made)) = down.pop_front_if(|(arrived, ..)| *arrived <= now) {
                (received, shown_us) = (Some((arrived, n)), made);
                if link.seen_ticks == 1 {
                    up.push_back((arrived + link.rtt_us / 2, n, 0));
                }
            }
            if tick % link.seen_ticks == 0
                && link.seen_ticks > 1
                && let Some((arrived, n)) = received.take()
            {
                up.push_back((now + link.rtt_us / 2, n, now - arrived));
            }
            while let Some((at, n, held_us)) = up.pop_front_if(|(at, ..)| *at <= now) {
                flow.seen(n, Some(held_us), at);
            }
            match flow.judge(budget.rate(), now) {
                Some(Verdict::Fall(rate)) => budget.fall(rate),
                Some(Verdict::Climb) => budget.climb(),
                Some(Verdict::Stay) | None => {}
            }
            if flow.may_send(now) {
                let bytes = (link.wants)(tick / 20, tick).min(budget.room(now));
                if bytes > 0 || tick % EMPTY_STATE_TICKS == 0 {
                    let bytes = bytes.max(20);
                    budget.spend(bytes);
                    flow.spent(bytes);
                    number += 1;
                    let rate = (link.carries)(tick / 20);
                    link_free_us = link_free_us.max(now) + bytes as u64 * SECOND_US / rate;
                    down.push_back((link_free_us + link.rtt_us / 2, number, now));
                    flow.sent(number, bytes, now, now);
                    second.states += 1;
                }
            } else {
                second.skipped += 1;
            }
            second.age_ms = second.age_ms.max((now - shown_us) / MILLI_US);
        }
        result
    }

    /// A crowd walks into view after 30 s.
    fn grows(second: u64, _: u64) -> usize {
        if second < 30 { 0 } else { 1_200 }
    }

    #[test]
    fn a_healthy_link_of_300_ms_keeps_every_tick() {
        for wants in [|_, _| 300, |_, _| 700] as [Wants; 2] {
            let run = run(&Link { rtt_us: 300 * MILLI_US, wants, ..LINK }, 60);
            assert_eq!(run.skipped(2), 0);
            assert_eq!(run.states(30), 600);
            assert!(run.age_ms(2) <= 250, "{} ms", run.age_ms(2));
        }
    }

    #[test]
    fn a_healthy_link_keeps_every_tick_when_its_traffic_grows() {
        for rtt_ms in [5, 40, 300] {
            for carries in [|_| FAST, |_| 10_000_000] {
                // The latest `seen` that the protocol allows.
                for seen_ticks in [1, 2] {
                    let run = run(&Link { rtt_us: rtt_ms * MILLI_US, carries, wants: grows, seen_ticks }, 60);
                    assert_eq!(run.skipped(2), 0, "{rtt_ms} ms, seen every {seen_ticks}");
                    assert!(run.age_ms(31) <= rtt_ms / 2 + 100, "{rtt_ms} ms: {} ms", run.age_ms(31));
                }
            }
        }
    }

    #[test]
    fn a_slow_reader_shows_nothing_older_than_a_second() {
        for carries in [|_| 5_000, |_| 10_000, |_| 20_000] as [fn(u64) -> u64; 3] {
            for wants in [|_, _| 300, |_, _| 700, |_, _| 1_200] as [Wants; 3] {
                for seen_ticks in [1, 2] {
                    let run = run(&Link { carries, wants, seen_ticks, ..LINK }, 60);
                    let what = format!("{} B at {} B/s", wants(0, 0), carries(0));
                    assert!(run.age_ms(10) <= 1_000, "{what}: {} ms", run.age_ms(10));
                    assert!(run.states(30) >= 60, "{what}: {} states in 30 s", run.states(30));
                }
            }
        }
    }

    #[test]
    fn a_slow_reader_that_was_calm_is_found_out_within_two_seconds_and_not_forgotten() {
        let carries = |_| 5_000;
        let grown = run(&Link { carries, wants: grows, ..LINK }, 60);
        assert!(grown.age_ms(30) <= 1_500, "{} ms", grown.age_ms(30));
        assert!(grown.age_ms(32) <= 1_000, "{} ms", grown.age_ms(32));
        // Every other ten seconds it is calm; only the first crowd comes as a surprise.
        for (rtt_us, worst_ms) in [(40 * MILLI_US, 1_000), (300 * MILLI_US, 1_300)] {
            let wants = |second: u64, _| if (second / 10).is_multiple_of(2) { 50 } else { 1_200 };
            let waves = run(&Link { rtt_us, carries, wants, ..LINK }, 120);
            assert!(waves.age_ms(20) <= worst_ms, "{} ms", waves.age_ms(20));
        }
    }

    #[test]
    fn a_link_that_gets_slow_recovers_within_seconds() {
        let carries = |second| if second < 30 { FAST } else { 5_000 };
        for (rtt_us, worst_ms) in [(40 * MILLI_US, 1_500), (300 * MILLI_US, 3_000)] {
            let run = run(&Link { rtt_us, carries, wants: |_, _| 1_200, ..LINK }, 60);
            assert!(run.age_ms(30) <= worst_ms, "{} ms", run.age_ms(30));
            assert!(run.age_ms(37) <= 1_000, "{} ms", run.age_ms(37));
        }
    }

    #[test]
    fn a_hiccup_is_over_when_it_is_over() {
        let calm_and_grown = |second, _| match second {
            0..33 => 700,
            33..40 => 0,
            _ => 1_200,
        };
        for wants in [|_, _| 700, calm_and_grown] as [Wants; 2] {
            for carries in [|s| if s == 30 { 5_000 } else { FAST }, |s| if s / 2 == 15 { 8_000 } else { FAST }] {
                for rtt_us in [40 * MILLI_US, 300 * MILLI_US] {
                    let run = run(&Link { rtt_us, carries, wants, ..LINK }, 60);
                    assert!(run.skipped(30) > 0, "it was one");
                    assert_eq!(run.skipped(34), 0);
                }
            }
        }
    }

    #[test]
    fn a_pong_may_be_later_than_seen() {
        let late = |held_us: Option<u64>| {
            let mut flow = Flow::default();
            for (number, rtt_us) in [(1, 50 * MILLI_US), (2, 51 * MILLI_US + FLOW_LATE_US)] {
                flow.sent(number, 100, 0, number * SECOND_US);
                flow.seen(number, held_us, number * SECOND_US + rtt_us);
            }
            flow.is_late(2 * SECOND_US + 200 * MILLI_US)
        };
        assert!(late(Some(0)));
        assert!(!late(None));
    }

    #[test]
    fn a_budget_climbs_only_while_it_is_used() {
        let mut flow = Flow::default();
        flow.sent(1, 100, 0, SECOND_US);
        flow.spent(999);
        assert_eq!(flow.judge(4_000, 2 * SECOND_US), Some(Verdict::Stay));
        flow.spent(1_000);
        assert_eq!(flow.judge(4_000, 3 * SECOND_US), Some(Verdict::Climb));
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
        assert_eq!(flow.seen(9, Some(0), 5), None);
        assert_eq!(flow.seen(1, Some(0), 5), None, "the lie has freed it, but taught nothing");
    }
}
