//! Walkers who never were, as like recorded ones as a few fitted numbers make them: for crowds larger than any recording.
//! One model for each recorded scene. Pure and seeded: the same seed makes the same crowd.
//!
//! Each walker sets out where a recorded one did, in the direction in which that one went on the whole, and has a slow way
//! and a sway around it. On the slow way, the speed and how far one bears off that direction are drawn anew twice a
//! second, from the quantiles of the recording and as like the last ones as there; between, they change evenly. The sway,
//! along and across, remembers its last two values. Who comes too near is pushed away. Rows come at the recording's
//! rate, in whole centimetres, and nobody's facing is in them: it follows from the way, as with recorded people.
//!
//! Not modelled: walls, aims, who walks with whom, and how one makes way for another before they are near.

mod fit;
pub mod likeness;
mod walk;

use anyhow::{Result, ensure};

use crate::trace::Recording;

/// Speed and bearing are drawn anew this often, s; also half the width of what makes a way slow.
const KNOT_S: f64 = 0.5;
/// One way through a modelled scene, ms; a cycle is twice as long.
const LENGTH_MS: i64 = 15_000;

/// The fitted numbers of one recorded scene.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name of the scene it was fitted to.
    pub name: String,
    /// From row to row, ms.
    pub step_ms: f64,
    /// Where people set out, metres along x and y, and in which direction, radians.
    pub starts: Vec<Start>,
    /// Speed along the slow way, m/s, and its correlation over half a second.
    pub speed: Pace,
    /// How far the slow way bears off from where one sets out to, radians, and its correlation over half a second.
    pub bearing: Pace,
    /// Sway along and across, metres.
    pub sway: [Sway; 2],
    /// Who is nearer than this is pushed away, metres.
    pub apart_m: f64,
}

/// Where somebody sets out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// x and y, metres.
    pub at: [f64; 2],
    /// The direction, radians from x towards y.
    pub heading: f64,
}

/// A quantity that is drawn from quantiles, again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// What values there are.
    pub values: Quantiles,
    /// Correlation of one value with the next, of their normal scores.
    pub kept: f64,
}

/// What is left of a way when its slow part is taken off, in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Sway {
    /// How much of the last value and of the one before is in the next.
    pub recall: [f64; 2],
    /// What is new in it, metres.
    pub news: Quantiles,
}

/// A distribution by evenly spaced quantiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantiles(Vec<f64>);

impl Quantiles {
    /// Of many values.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Quantiles {
        const PARTS: usize = 100;
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1);
        let value = |part: usize| values.get(part * last / PARTS).copied().unwrap_or(0.0);
        Quantiles((0..=PARTS).map(value).collect())
    }

    /// The value below which a share of all lie, on the line between the quantiles.
    #[must_use]
    pub fn at(&self, share: f64) -> f64 {
        let place = share.clamp(0.0, 1.0) * (self.0.len() - 1) as f64;
        let (below, above) = (self.0[place as usize], self.0[(place.ceil()) as usize]);
        below + (above - below) * place.fract()
    }

    /// All values times a factor.
    fn times(mut self, factor: f64) -> Quantiles {
        self.0.iter_mut().for_each(|value| *value *= factor);
        self
    }
}

/// The recordings with those only who never leave the ground.
///
/// # Errors
/// When nobody is left of one.
pub fn walkers(recordings: &[Recording]) -> Result<Vec<Recording>> {
    let grounded = |recording: &Recording| {
        let mut recording = recording.clone();
        recording.people.retain(|person| person.rows.iter().all(|row| row.cm[2] == 0));
        ensure!(!recording.people.is_empty(), "`{}` cannot be modelled: nobody stays on the ground", recording.name);
        Ok(recording)
    };
    recordings.iter().map(grounded).collect()
}

/// Models of recordings and as many modelled scenes: `people` in each, those of the recording if it is not given.
///
/// # Errors
/// When nobody of a recording can be modelled, or fewer people than asked for set out in it.
pub fn scenes(recordings: &[Recording], people: Option<usize>, seed: u64) -> Result<Vec<Recording>> {
    let scene = |(at, recording): (usize, &Recording)| {
        let model = Model::fit(recording)?;
        let people = people.unwrap_or(model.starts.len());
        ensure!(
            (1..=model.starts.len()).contains(&people),
            "{people} people of `{}`, of whom {} set out: model 1 to so many",
            model.name,
            model.starts.len()
        );
        Ok(model.walk(people, seed.wrapping_add(at as u64)))
    };
    recordings.iter().enumerate().map(scene).collect()
}

#[cfg(test)]
mod tests {
    use super::likeness::Likeness;
    use super::*;
    use crate::catalogue::recordings;
    use crate::trace::{distance_m, held};

    fn juelich() -> Vec<Recording> {
        recordings("juelich").expect("built in")
    }

    fn rows(scenes: &[Recording]) -> Vec<Vec<crate::trace::Row>> {
        scenes.iter().flat_map(|s| s.people.iter().map(|p| p.rows.clone())).collect()
    }

    #[test]
    fn a_seed_makes_one_crowd_and_another_seed_another() {
        let made = |seed| rows(&scenes(&juelich(), Some(5), seed).expect("five set out everywhere"));
        assert_eq!(made(7), made(7));
        assert_ne!(made(7), made(8));
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let evenly = Quantiles::of((0..=1_000).map(f64::from).collect());
        let check = |share, expected: f64| assert!((evenly.at(share) - expected).abs() < 10.0, "{share}");
        check(0.0, 0.0);
        check(0.254, 254.0);
        check(1.0, 1_000.0);
        assert_eq!(Quantiles::of(Vec::new()).at(0.5), 0.0);
    }

    #[test]
    fn a_modelled_crowd_is_like_the_recorded_one() {
        let recorded = Likeness::of(&juelich());
        let modelled = Likeness::of(&scenes(&juelich(), None, 1).expect("it can be modelled"));
        // Off by so much and so large a part of the recorded value, up to so large a share. Modelled people drift apart,
        // so that some are far from all; recorded ones are held together by walls.
        let allowed = [(0.05, 0.1, 1.0), (0.5, 1.0, 1.0), (0.05, 0.3, 1.0), (2.0, 0.4, 1.0), (0.5, 0.1, 1.0)];
        let allowed = allowed.into_iter().chain([(1.0, 0.25, 1.0), (0.05, 0.4, 0.95)]);
        for ((is, made), (flat, part, up_to)) in recorded.lines.iter().zip(&modelled.lines).zip(allowed) {
            for (share, (a, b)) in likeness::SHARES.iter().zip(is.quantiles.iter().zip(&made.quantiles)) {
                let within = *share > up_to || (a - b).abs() <= flat + part * a.abs();
                assert!(within, "{} at {share}: {a:.3} recorded, {b:.3} modelled", is.name);
            }
        }
        let bits = (recorded.residual_bits, modelled.residual_bits);
        assert!((bits.0 - bits.1).abs() < 0.15, "{} bits recorded, {} modelled", bits.0, bits.1);
    }

    #[test]
    fn nobody_stands_in_anybody() {
        for recording in juelich() {
            let model = Model::fit(&recording).expect("walkers");
            let made = model.walk(20, 3);
            let (mut pairs, mut too_near) = (0, 0);
            for second in 0..15 {
                let at: Vec<_> = made.people.iter().map(|person| held(&person.rows, second * 1_000).cm).collect();
                for (i, a) in at.iter().enumerate() {
                    let near =
                        at.iter().enumerate().filter(|(j, b)| i != *j && distance_m(*a, **b) < 0.5 * model.apart_m);
                    too_near += usize::from(near.count() > 0);
                    pairs += 1;
                }
            }
            assert!(
                too_near * 100 <= pairs,
                "{}: {too_near} of {pairs} nearer than half of {}",
                model.name,
                model.apart_m
            );
        }
    }

    #[test]
    fn what_flies_cannot_be_modelled() {
        let cars = recordings("rocketleague").expect("built in");
        let error = walkers(&cars).expect_err("cars have wheels").to_string();
        assert!(error.contains("m02-47") && error.contains("ground"), "{error}");
        let people = walkers(&recordings("football").expect("built in")).expect("players run");
        assert!(people.iter().all(|scene| scene.people.len() == 14), "all but the ball");
    }
}
