//! What an audit counts: histograms, each bounded, and the sums beside them.

use hdrhistogram::Histogram;

use super::rules::{Presences, Rates};

/// Bands of distance end here, metres.
pub const BANDS_M: [f64; 3] = [10.0, 25.0, 50.0];

/// Longest time and largest error that a histogram tells apart; what is beyond counts as this: 60 s, 600 m.
const LARGEST: u64 = 60_000_000;

/// An empty histogram, three digits exact.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LARGEST, 3).expect("the bounds are right")
}

/// What was counted over a stretch of time.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Receipt less sample time, by update, where owner and viewer are on one gateway, µs.
    pub age_us: Histogram<u64>,
    /// The same where they are not.
    pub age_other_us: Histogram<u64>,
    /// By held entity and 50 ms: since when the truth differs from what is held, µs; 0 if it does not.
    pub stale_us: Histogram<u64>,
    /// Now less the tick shown, by client and 50 ms, µs.
    pub view_age_us: Histogram<u64>,
    /// Position told against the truth at the sample's time, by row, cm.
    pub codec_cm: Histogram<u64>,
    /// Position held against the truth as the gateway knew it at the tick, by held entity and state, cm.
    pub tick_cm: Histogram<u64>,
    /// Newest position held against the truth now, by band of distance, cm.
    pub held_cm: [Histogram<u64>; 3],
    /// Position drawn, on the line of the last two samples, against the truth now, by band of distance, cm.
    pub drawn_cm: [Histogram<u64>; 3],
    /// A row's time against the time of the sample it was taken for, µs.
    pub dating_us: Histogram<u64>,
    /// Updates that came.
    pub updates: u64,
    /// Rows too old to say how old.
    pub undated: u64,
    /// Ticks that no state came for, though somebody held had moved.
    pub missed_states: u64,
    /// Missing entities and ghosts.
    pub presence: Presences,
    /// How often the nearest are told.
    pub rates: Rates,
    /// The deepest window of bytes beyond its rate, seconds of that rate; over the whole session.
    pub budget_depth_s: f64,
    /// By client: how many it held 8 s after it joined, and how many near ones it did not.
    pub joins: Vec<(usize, usize)>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            age_us: histogram(),
            age_other_us: histogram(),
            stale_us: histogram(),
            view_age_us: histogram(),
            codec_cm: histogram(),
            tick_cm: histogram(),
            held_cm: [histogram(), histogram(), histogram()],
            drawn_cm: [histogram(), histogram(), histogram()],
            dating_us: histogram(),
            updates: 0,
            undated: 0,
            missed_states: 0,
            presence: Presences::default(),
            rates: Rates::default(),
            budget_depth_s: 0.0,
            joins: Vec::new(),
        }
    }
}

impl Tally {
    /// Starts anew; what belongs to whole sessions stays.
    pub fn restart(&mut self) {
        let (budget_depth_s, joins) = (self.budget_depth_s, std::mem::take(&mut self.joins));
        *self = Tally { budget_depth_s, joins, ..Tally::default() };
    }
}

/// A quantile of a histogram of µs, in ms; 0 of an empty one.
#[must_use]
pub fn quantile_ms(histogram: &Histogram<u64>, share: f64) -> f64 {
    histogram.value_at_quantile(share) as f64 / 1e3
}
