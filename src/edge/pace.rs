//! How many rows a state may have while a thread has time for so many. In a crowd beyond that the far are told less
//! often, as under a small byte budget, before anybody misses a tick.

use crate::limits::{ROWS_MAX, ROWS_MIN, TICK_US};

/// A tick's work above this leaves too little time for reading and for the world, µs.
const LONG_US: u64 = TICK_US * 7 / 10;
/// Below this there is time for more, µs.
const SHORT_US: u64 = TICK_US / 2;

/// See the module. Falls by an eighth for each tick that took long, and rises by a sixteenth for each that did not: a
/// crowd that comes is answered within a second. A tick is judged when the next one begins, by what all worlds of the
/// thread took together.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rows: usize,
    tick: u64,
    /// Of the tick at hand, until now.
    took_us: u64,
    rows_most: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { rows: ROWS_MAX, tick: 0, took_us: 0, rows_most: 0 }
    }
}

impl Pace {
    /// Rows that a state of this tick may have.
    pub fn rows(&mut self, tick: u64) -> usize {
        if tick > self.tick {
            self.judge();
            *self = Pace { rows: self.rows, tick, took_us: 0, rows_most: 0 };
        }
        self.rows
    }

    /// The states of one world took so long, µs; one had so many rows at most.
    pub fn took(&mut self, took_us: u64, rows_most: usize) {
        self.took_us += took_us;
        self.rows_most = self.rows_most.max(rows_most);
    }

    fn judge(&mut self) {
        if self.took_us > LONG_US {
            // From what was in force: a limit that nobody reached falls at once to where it bites.
            let rows = self.rows.min(self.rows_most.max(ROWS_MIN));
            self.rows = (rows - rows / 8).max(ROWS_MIN);
        } else if self.took_us < SHORT_US {
            self.rows = (self.rows + self.rows / 16 + 1).min(ROWS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks with a crowd of so many rows, of which each takes so long, µs; the rows of the last state, and its µs.
    fn ticks(pace: &mut Pace, crowd: usize, viewers: u64, row_ns: u64) -> (usize, u64) {
        let mut last = (0, 0);
        for _ in 0..200 {
            let rows = pace.rows(pace.tick + 1).min(crowd);
            last = (rows, viewers * rows as u64 * row_ns / 1_000);
            pace.took(last.1, rows);
        }
        last
    }

    #[test]
    fn a_crowd_gets_as_many_rows_as_there_is_time_for() {
        let mut pace = Pace::default();
        assert_eq!(ticks(&mut pace, 500, 500, 60), (500, 15_000), "there is time for all");
        let (rows, took_us) = ticks(&mut pace, 1_000, 1_000, 100);
        assert!((SHORT_US * 7 / 8..=LONG_US * 17 / 16).contains(&took_us), "{rows} rows in {took_us} us");
        assert_eq!(ticks(&mut pace, 3_000, 3_000, 1_000).0, ROWS_MIN, "the nearest are told at the full rate");
        assert_eq!(ticks(&mut pace, 500, 500, 60).0, 500, "when they have gone all is as before");
    }

    #[test]
    fn a_crowd_that_comes_is_answered_within_a_second() {
        let mut pace = Pace::default();
        let tick = |pace: &mut Pace| {
            let rows = pace.rows(pace.tick + 1).min(1_000);
            let took_us = 1_000 * rows as u64 / 10;
            pace.took(took_us, rows);
            took_us
        };
        let late = (0..20).filter(|_| tick(&mut pace) > TICK_US).count();
        assert!(late < 8, "{late} ticks were late");
    }

    #[test]
    fn what_two_worlds_take_together_counts_in_whatever_order_they_come() {
        let (mut pace, mut alone) = (Pace::default(), Pace::default());
        for tick in 1..=200 {
            // Either alone has time for all; the second shows its tick late every other time.
            for tick in [tick, tick - tick % 2] {
                let rows = pace.rows(tick).min(500);
                pace.took(LONG_US * rows as u64 * 3 / 5 / 500, rows);
            }
            let rows = alone.rows(tick).min(500);
            alone.took(LONG_US * rows as u64 * 3 / 5 / 500, rows);
        }
        assert_eq!(alone.rows(201), ROWS_MAX);
        assert!((350..500).contains(&pace.rows(201)), "{} rows", pace.rows(201));
    }
}
