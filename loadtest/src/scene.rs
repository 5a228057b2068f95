//! Scenes that bots play: sets of people who were recorded together, and the agents that play them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::catalogue::scenes;
use crate::trace::Recording;
use crate::track::Track;

/// People who were together all the time, each to be played to and fro; the distances between them are real.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Its name in `scenes.csv`.
    pub name: String,
    /// One way through it, ms; a cycle is twice as long.
    pub length_ms: i64,
    /// Nobody is ever farther than this from its middle, metres along the ground.
    pub reach_m: f64,
    /// Whether its people travel more along x than along z.
    pub along_x: bool,
    pub(crate) tracks: Vec<Arc<Track>>,
}

impl Scene {
    /// The scenes of the plaza, which are part of the binary.
    #[must_use]
    pub fn plaza() -> Vec<Scene> {
        scenes("plaza").expect("built in and tested")
    }

    /// A cut recording, played as it is.
    pub(crate) fn whole(recording: &Recording) -> Result<Scene> {
        let Recording { name, people, .. } = recording;
        let length_ms = recording.window.with_context(|| format!("`{name}` is no cut scene"))?.length_ms;
        ensure!(length_ms > 0, "scenes.csv: `{name}` lasts 0 ms");
        ensure!(!people.is_empty(), "trace.csv.gz: nobody is in `{name}`");
        let mut reach_m: f64 = 0.0;
        let mut way_cm = [0u64; 2];
        for person in people {
            let last = person.rows.last().map_or(0, |row| row.t_ms);
            let (id, first) = (&person.id, person.rows[0].t_ms);
            ensure!(
                first == 0 && last <= length_ms,
                "`{name}_{id}` has rows from {first} to {last} ms, not from 0 to {length_ms} at most: cut it again"
            );
            let flat = |cm: [i32; 3]| f64::from(cm[0]).hypot(f64::from(cm[1])) / 100.0;
            reach_m = person.rows.iter().map(|row| flat(row.cm)).fold(reach_m, f64::max);
            for step in person.rows.windows(2) {
                for axis in [0, 1] {
                    way_cm[axis] += u64::from(step[1].cm[axis].abs_diff(step[0].cm[axis]));
                }
            }
        }
        let tracks = people.iter().map(|p| Arc::new(Track::new(&p.rows, length_ms))).collect();
        Ok(Scene { name: name.clone(), length_ms, reach_m, along_x: way_cm[0] > way_cm[1], tracks })
    }

    /// How many people it has.
    #[must_use]
    pub fn people(&self) -> usize {
        self.tracks.len()
    }
}

/// What a bot says of its person at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Right-handed, y up, metres; whole centimetres.
    pub pos: [f64; 3],
    /// Facing, degrees in 0..360; 0 along +x, 90 along −z.
    pub yaw_deg: f64,
}

/// Where and when a copy of a scene is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The middle of the scene in the world, y up, centimetres.
    pub middle_cm: [i32; 3],
    /// The scene is turned by so many quarter turns from +x towards −z.
    pub quarter_turns: u8,
    /// The copy is ahead of time by this much, ms.
    pub ahead_ms: i64,
}

/// One person of one copy of a scene. Times are milliseconds since the swarm's start, and may be fractions.
#[derive(Clone, Debug)]
pub struct Agent {
    track: Arc<Track>,
    place: Place,
}

impl Agent {
    pub(crate) fn new(track: &Arc<Track>, place: Place) -> Agent {
        Agent { track: Arc::clone(track), place }
    }

    /// Where the person is: the row of the recording that holds.
    #[must_use]
    pub fn at(&self, t_ms: f64) -> Sample {
        let (step, _) = self.track.held(self.scene_ms(t_ms));
        let [mut x, y, mut z] = step.cm;
        for _ in 0..self.place.quarter_turns % 4 {
            (x, z) = (z, -x);
        }
        let [mx, my, mz] = self.place.middle_cm;
        let yaw_deg = f64::from(step.yaw_deg) + 90.0 * f64::from(self.place.quarter_turns);
        Sample { pos: [x + mx, y + my, z + mz].map(|cm| f64::from(cm) / 100.0), yaw_deg: yaw_deg.rem_euclid(360.0) }
    }

    /// Since when what holds at `t_ms` has held, ms; −∞ for one who never moves.
    #[must_use]
    pub fn changed_at(&self, t_ms: f64) -> f64 {
        if !self.track.moves() {
            return f64::NEG_INFINITY;
        }
        (self.track.held(self.scene_ms(t_ms)).1 - self.place.ahead_ms) as f64
    }

    /// Until when what holds at `t_ms` still holds: the first change after it, ms; ∞ for one who never moves.
    #[must_use]
    pub fn next_change(&self, t_ms: f64) -> f64 {
        if !self.track.moves() {
            return f64::INFINITY;
        }
        (self.track.next(self.scene_ms(t_ms)) - self.place.ahead_ms) as f64
    }

    /// The changes after `from_ms` and up to `to_ms`, in order: when, and what holds from then on.
    pub fn changes(&self, from_ms: f64, to_ms: f64) -> impl Iterator<Item = (f64, Sample)> {
        let next = |t_ms: &f64| Some(self.next_change(*t_ms));
        let times = std::iter::successors(Some(self.next_change(from_ms)), next);
        times.take_while(move |&t_ms| t_ms <= to_ms).map(|t_ms| (t_ms, self.at(t_ms)))
    }

    /// After this long everything repeats, ms.
    #[must_use]
    pub fn period_ms(&self) -> i64 {
        self.track.period_ms
    }

    /// Steps begin at whole milliseconds: what holds at a moment held at its last whole one.
    fn scene_ms(&self, t_ms: f64) -> i64 {
        t_ms.floor() as i64 + self.place.ahead_ms
    }
}

/// Distance, metres.
#[must_use]
pub fn distance_m(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}
