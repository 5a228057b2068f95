//! How many rows a state may have while a thread has time for so many. In a crowd beyond that the far are told less
//! often, as under a small byte budget, before anybody misses a tick.

use crate::limits::{ROWS_MAX, ROWS_MIN, TICK_US};

/// A tick's work above this leaves too little time for reading and for the world, µs.
const LONG_US: u64 = TICK_US * 7 / 10;
/// Below this there is time for more, µs.
const SHORT_US: u64 = TICK_US / 2;

/// See the module. Falls by an eighth for each tick that took long, and rises by a sixteenth for each that did not: a
/// crowd that comes is answered within a second.
#[derive(Clone, Copy, Debug)]
pub struct Pace(usize);

impl Default for Pace {
    fn default() -> Pace {
        Pace(ROWS_MAX)
    }
}

impl Pace {
    /// Rows that a state may have.
    #[must_use]
    pub fn rows(self) -> usize {
        self.0
    }

    /// The states of a tick took so long, µs; one had so many rows at most.
    pub fn took(&mut self, took_us: u64, rows_most: usize) {
        let Pace(rows) = self;
        if took_us > LONG_US {
            // From what was in force: a limit that nobody reached falls at once to where it bites.
            *rows = (*rows).min(rows_most.max(ROWS_MIN));
            *rows = (*rows - *rows / 8).max(ROWS_MIN);
        } else if took_us < SHORT_US {
            *rows = (*rows + *rows / 16 + 1).min(ROWS_MAX);
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
            let rows = pace.rows().min(crowd);
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
            let took_us = 1_000 * pace.rows().min(1_000) as u64 / 10;
            pace.took(took_us, pace.rows().min(1_000));
            took_us
        };
        let late = (0..20).filter(|_| tick(&mut pace) > TICK_US).count();
        assert!(late < 8, "{late} ticks were late");
    }
}
