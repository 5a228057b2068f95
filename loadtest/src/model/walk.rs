//! From a model to people who walk.

use std::f64::consts::{SQRT_2, TAU};

use fastrand::Rng;

use super::{KNOT_S, LENGTH_MS, Model, Pace, Start, Sway};
use crate::trace::{Person, Recording, Row, Window};

/// Who is too near is pushed away within about this long, s.
const PUSH_S: f64 = 0.15;
/// Sway begins so many steps before the walk, so that nobody starts from rest.
const WARM_UP_STEPS: usize = 64;

/// A value that is drawn from a pace at each knot.
struct Drawn {
    score: f64,
    from: f64,
    to: f64,
}

impl Drawn {
    fn new(pace: &Pace, rng: &mut Rng) -> Drawn {
        let score = normal(rng);
        let from = pace.values.at(share(score));
        let mut drawn = Drawn { score, from, to: from };
        drawn.draw(pace, rng);
        drawn
    }

    /// The next knot.
    fn draw(&mut self, pace: &Pace, rng: &mut Rng) {
        self.score = pace.kept * self.score + (1.0 - pace.kept * pace.kept).sqrt() * normal(rng);
        (self.from, self.to) = (self.to, pace.values.at(share(self.score)));
    }

    fn at(&self, part: f64) -> f64 {
        self.from + (self.to - self.from) * part
    }
}

struct Walker {
    at: [f64; 2],
    /// Where to, on the whole.
    heading: f64,
    speed: Drawn,
    bearing: Drawn,
    /// Along and across: the last value and the one before.
    sway: [[f64; 2]; 2],
}

impl Model {
    /// Lets `people` walk for a while: those who set out nearest to one of them, so that they are as dense as recorded.
    #[must_use]
    pub fn walk(&self, people: usize, seed: u64) -> Recording {
        let mut rng = Rng::with_seed(seed);
        let mut walkers: Vec<Walker> =
            self.together(people, &mut rng).iter().map(|s| self.set_out(s, &mut rng)).collect();
        let mut rows: Vec<Vec<Row>> = vec![Vec::new(); walkers.len()];
        let step_s = self.step_ms / 1e3;
        let steps_a_knot = (KNOT_S / step_s).round().max(1.0) as usize;
        for step in 0..=(LENGTH_MS as f64 / self.step_ms) as usize {
            let t_ms = ((step as f64 * self.step_ms).round() as i64).min(LENGTH_MS);
            if step > 0 && step.is_multiple_of(steps_a_knot) {
                for walker in &mut walkers {
                    walker.speed.draw(&self.speed, &mut rng);
                    walker.bearing.draw(&self.bearing, &mut rng);
                }
            }
            let part = (step % steps_a_knot) as f64 / steps_a_knot as f64;
            for (walker, rows) in walkers.iter_mut().zip(&mut rows) {
                let cm = walker.step(self, part, step_s, &mut rng);
                if rows.last().is_none_or(|last| last.cm != cm) {
                    rows.push(Row { t_ms, cm, yaw_deg: None });
                }
            }
            push_apart(&mut walkers, self.apart_m, step_s);
        }
        Recording {
            name: format!("{}-model", self.name),
            cut_from: self.name.clone(),
            source_file: String::new(),
            window: Some(Window { start_ms: 0, length_ms: LENGTH_MS }),
            people: people_of(rows),
        }
    }

    /// One who sets out, and those who do next to them.
    fn together(&self, people: usize, rng: &mut Rng) -> Vec<Start> {
        let middle = self.starts[rng.usize(..self.starts.len())].at;
        let from_middle = |start: &Start| (start.at[0] - middle[0]).hypot(start.at[1] - middle[1]);
        let mut starts = self.starts.clone();
        starts.sort_by(|a, b| from_middle(a).total_cmp(&from_middle(b)));
        starts.truncate(people);
        starts
    }

    fn set_out(&self, start: &Start, rng: &mut Rng) -> Walker {
        let (speed, bearing) = (Drawn::new(&self.speed, rng), Drawn::new(&self.bearing, rng));
        let mut walker = Walker { at: start.at, heading: start.heading, speed, bearing, sway: [[0.0; 2]; 2] };
        (0..WARM_UP_STEPS).for_each(|_| walker.sway(&self.sway, rng));
        walker
    }
}

impl Walker {
    /// Goes one step; where to, in whole centimetres.
    fn step(&mut self, model: &Model, part: f64, step_s: f64, rng: &mut Rng) -> [i32; 3] {
        let (sin, cos) = (self.heading + self.bearing.at(part)).sin_cos();
        let way_m = self.speed.at(part) * step_s;
        self.at = [self.at[0] + way_m * cos, self.at[1] + way_m * sin];
        self.sway(&model.sway, rng);
        let ([along, _], [across, _]) = (self.sway[0], self.sway[1]);
        let cm = |m: f64| (m * 100.0).round() as i32;
        [cm(self.at[0] + along * cos - across * sin), cm(self.at[1] + along * sin + across * cos), 0]
    }

    fn sway(&mut self, sway: &[Sway; 2], rng: &mut Rng) {
        for ([last, before], sway) in self.sway.iter_mut().zip(sway) {
            let next = sway.recall[0] * *last + sway.recall[1] * *before + sway.news.at(rng.f64());
            (*last, *before) = (next, *last);
        }
    }
}

/// Each of two who are nearer than `apart_m` gives way by its half, a little at each step.
fn push_apart(walkers: &mut [Walker], apart_m: f64, step_s: f64) {
    for i in 1..walkers.len() {
        let (before, after) = walkers.split_at_mut(i);
        let a = &mut after[0];
        for b in before {
            let (dx, dy) = (a.at[0] - b.at[0], a.at[1] - b.at[1]);
            let d = dx.hypot(dy);
            if d < apart_m && d > 0.0 {
                let give = (apart_m - d) / 2.0 * (step_s / PUSH_S).min(1.0) / d;
                a.at = [a.at[0] + dx * give, a.at[1] + dy * give];
                b.at = [b.at[0] - dx * give, b.at[1] - dy * give];
            }
        }
    }
}

/// The middle of all becomes the origin, as `cut` does it.
fn people_of(mut rows: Vec<Vec<Row>>) -> Vec<Person> {
    for axis in [0, 1] {
        let along = || rows.iter().flatten().map(|row| row.cm[axis]);
        let middle = along().min().unwrap_or(0).midpoint(along().max().unwrap_or(0));
        rows.iter_mut().flatten().for_each(|row| row.cm[axis] -= middle);
    }
    let person = |(number, rows)| Person { id: format!("w{number:02}"), rows, stays: vec![(0, LENGTH_MS)] };
    rows.into_iter().enumerate().map(person).collect()
}

/// A normal score, by Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos()
}

/// The share of normal scores below one: (1 + erf(score / √2)) / 2, after Abramowitz and Stegun, 7.1.26.
fn share(score: f64) -> f64 {
    let x = score.abs() / SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let tail =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let above = tail * (-x * x).exp() / 2.0;
    if score > 0.0 { 1.0 - above } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_normal() {
        let check = |score, expected: f64| assert!((share(score) - expected).abs() < 1e-6, "{score}: {}", share(score));
        check(0.0, 0.5);
        check(1.0, 0.841_344_7);
        check(-1.959_964, 0.025);
        let mut rng = Rng::with_seed(1);
        let below = (0..10_000).filter(|_| normal(&mut rng) < 1.0).count();
        assert!((8_300..8_530).contains(&below), "{below} of 10,000 below one");
    }
}
