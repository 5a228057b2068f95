//! One person's way, played to and fro for ever: forwards, then backwards, without a jump.
//! All times are whole milliseconds and all places whole centimetres, so that the truth is exact at every moment.

use crate::trace::{Row, distance_m, held};

/// The direction of travel is taken over this much of the recording before and after a row, ms.
const HEADING_REACH_MS: i64 = 150;
/// Less than this within twice [`HEADING_REACH_MS`] is sway, not travel, metres; who stands keeps facing.
const HEADING_STEP_M: f64 = 0.05;

/// The steps begun are known at every so many ms of a cycle. An audit asks a million times a second: a search over all
/// steps was a quarter of the swarm's time.
const INDEX_MS: i64 = 100;

/// From `at_ms` of the cycle on, the person is here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// Milliseconds into the cycle.
    pub(crate) at_ms: i64,
    /// Right-handed, **y up**, centimetres.
    pub(crate) cm: [i32; 3],
    /// Facing, degrees; 0 along +x, 90 along −z.
    pub(crate) yaw_deg: f32,
}

/// The steps of one cycle, there and back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Track {
    /// Length of the cycle: twice the length of the recording, ms.
    pub(crate) period_ms: i64,
    /// In order of time, at least one. Before the first, the last one of the previous cycle holds.
    pub(crate) steps: Vec<Step>,
    /// By `at_ms` / [`INDEX_MS`]: how many steps have begun by then.
    index: Vec<u32>,
}

impl Track {
    /// Rows between 0 and `length_ms`, the first at 0. Backwards, each row holds over the same stretch of the
    /// recording as forwards, so the distances between the people of one scene are real at every moment.
    pub(crate) fn new(rows: &[Row], length_ms: i64) -> Track {
        let period_ms = 2 * length_ms;
        let headings = headings(rows);
        let mut steps = Vec::with_capacity(2 * rows.len());
        for (row, &heading) in rows.iter().zip(&headings).skip(1) {
            steps.push(Step { at_ms: row.t_ms, cm: y_up(row.cm), yaw_deg: row.yaw_deg.unwrap_or(heading) });
        }
        for at in (1..rows.len()).rev() {
            let row = rows[at - 1];
            let forwards = row.yaw_deg.unwrap_or(headings[at]);
            steps.push(Step {
                at_ms: period_ms - rows[at].t_ms,
                cm: y_up(row.cm),
                yaw_deg: (forwards + 180.0) % 360.0,
            });
        }
        if steps.is_empty() {
            steps.push(Step { at_ms: 0, cm: y_up(rows[0].cm), yaw_deg: rows[0].yaw_deg.unwrap_or(0.0) });
        }
        // A row at the very end of the recording holds for no time before it is left again.
        steps.dedup_by(|next, step| {
            let same = next.at_ms == step.at_ms;
            if same {
                *step = *next;
            }
            same
        });
        let begun = |at_ms: i64| steps.partition_point(|step| step.at_ms <= at_ms) as u32;
        let index = (0..=period_ms / INDEX_MS).map(|k| begun(k * INDEX_MS)).collect();
        Track { period_ms, steps, index }
    }

    /// Somebody who never moves.
    pub(crate) fn standing() -> Track {
        Track::new(&[Row { t_ms: 0, cm: [0; 3], yaw_deg: None }], 1_000)
    }

    /// How many steps have begun at a time of the cycle.
    fn begun(&self, phase_ms: i64) -> usize {
        let before = self.index[(phase_ms / INDEX_MS) as usize] as usize;
        before + self.steps[before..].iter().take_while(|step| step.at_ms <= phase_ms).count()
    }

    /// Whether the person ever moves or turns.
    pub(crate) fn moves(&self) -> bool {
        self.steps.len() > 1
    }

    /// The step that holds at a time, and when it began to hold.
    pub(crate) fn held(&self, t_ms: i64) -> (Step, i64) {
        let (cycle, phase) = (t_ms.div_euclid(self.period_ms), t_ms.rem_euclid(self.period_ms));
        let begun = self.begun(phase);
        let (step, cycle) = match begun {
            0 => (self.steps[self.steps.len() - 1], cycle - 1),
            n => (self.steps[n - 1], cycle),
        };
        (step, cycle * self.period_ms + step.at_ms)
    }

    /// When the next step after a time begins.
    pub(crate) fn next(&self, t_ms: i64) -> i64 {
        let (cycle, phase) = (t_ms.div_euclid(self.period_ms), t_ms.rem_euclid(self.period_ms));
        let begun = self.begun(phase);
        let to_go = self.steps.get(begun).map_or(self.period_ms + self.steps[0].at_ms, |step| step.at_ms);
        cycle * self.period_ms + to_go
    }
}

/// x, y, z with z up → x, z, −y: y up, right-handed. An angle from x towards y stays the same number.
fn y_up([x, y, z]: [i32; 3]) -> [i32; 3] {
    [x, z, -y]
}

/// The direction of travel at each row, degrees in 0..360; where the person stands, the one before, else the one after.
fn headings(rows: &[Row]) -> Vec<f32> {
    let travelled = |row: &Row| {
        let from = held(rows, row.t_ms - HEADING_REACH_MS).cm;
        let to = held(rows, row.t_ms + HEADING_REACH_MS).cm;
        let flat = |cm: [i32; 3]| [cm[0], cm[1], 0];
        let (dx, dy) = (f64::from(to[0] - from[0]), f64::from(to[1] - from[1]));
        (distance_m(flat(from), flat(to)) >= HEADING_STEP_M).then(|| dy.atan2(dx).to_degrees().rem_euclid(360.0) as f32)
    };
    let known: Vec<Option<f32>> = rows.iter().map(travelled).collect();
    let mut facing = known.iter().find_map(|heading| *heading).unwrap_or(0.0);
    let mut all = Vec::with_capacity(rows.len());
    for heading in known {
        facing = heading.unwrap_or(facing);
        all.push(facing);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of (t, x, y) in ms and cm.
    fn track(rows: &[(i64, i32, i32)], length_ms: i64) -> Track {
        let rows: Vec<Row> = rows.iter().map(|&(t_ms, x, y)| Row { t_ms, cm: [x, y, 7], yaw_deg: None }).collect();
        Track::new(&rows, length_ms)
    }

    #[test]
    fn a_row_holds_until_the_next_one_and_back_again() {
        let track = track(&[(0, 0, 0), (100, 10, 0), (300, 20, 0)], 350);
        let check = |t_ms, x, since| {
            let (step, begun) = track.held(t_ms);
            assert_eq!((step.cm[0], begun), (x, since), "at {t_ms}");
        };
        for cycle in [-700, 0, 700, 70_000] {
            check(cycle, 0, cycle - 100);
            check(cycle + 99, 0, cycle - 100);
            check(cycle + 100, 10, cycle + 100);
            check(cycle + 299, 10, cycle + 100);
            check(cycle + 300, 20, cycle + 300);
            check(cycle + 399, 20, cycle + 300);
            check(cycle + 400, 10, cycle + 400);
            check(cycle + 600, 0, cycle + 600);
            assert_eq!(track.next(cycle + 300), cycle + 400);
            assert_eq!(track.next(cycle + 600), cycle + 800);
        }
    }

    #[test]
    fn axes_turn_from_z_up_to_y_up() {
        let north = track(&[(0, 1, 0), (100, 1, 50)], 200);
        let (step, _) = north.held(100);
        assert_eq!((step.cm, step.yaw_deg), ([1, 7, -50], 90.0), "along y of the source is along −z");
        let (step, _) = north.held(300);
        assert_eq!((step.cm, step.yaw_deg), ([1, 7, 0], 270.0), "backwards faces where it goes");
    }

    #[test]
    fn who_stands_keeps_facing() {
        let track = track(&[(0, 0, 0), (1_000, 100, 0), (3_000, 101, 1), (5_000, 101, 100)], 6_000);
        assert_eq!(track.held(3_000).0.yaw_deg, 0.0, "one centimetre is sway");
        assert_eq!(track.held(5_000).0.yaw_deg, 90.0);
    }

    #[test]
    fn a_row_at_the_end_of_the_recording_is_one_step() {
        let track = track(&[(0, 0, 0), (100, 10, 0)], 100);
        assert_eq!(track.steps.len(), 1, "there and back at the same moment");
        assert_eq!(track.held(100).0.cm[0], 0);
    }
}
