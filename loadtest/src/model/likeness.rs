//! What a crowd is like, quantile by quantile: measured alike on recorded and on modelled scenes, to be set side by side.

use std::collections::HashMap;
use std::fmt::Write;

use super::Quantiles;
use super::fit::nearest_m;
use crate::scene::Scene;
use crate::trace::{Person, Recording, held};

/// Quantiles that are looked at.
pub const SHARES: [f64; 6] = [0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// A moving second, ms; looks at a way are half of it apart.
const SECOND_MS: i64 = 1_000;
/// From look to look, ms.
const LOOK_MS: i64 = 250;
/// A way below this in a second is standing, metres.
const STANDING_M: f64 = 0.1;
/// A turn is measured where both ways of half a second are this long, metres.
const TURNING_M: f64 = 0.1;
/// Bytes are counted at this rate, ms from sample to sample.
const SAMPLE_MS: i64 = 50;

/// One quantity.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is, with its unit.
    pub name: &'static str,
    /// By [`SHARES`].
    pub quantiles: [f64; 6],
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Likeness {
    /// The quantities with quantiles.
    pub lines: Vec<Line>,
    /// Share of time in which somebody stands.
    pub standing: f64,
    /// Changes of a position, each second.
    pub changes_per_s: f64,
    /// Order-0 entropy, bits: of the residual in centimetres at each 20 Hz sample that is new, by both axes of the ground,
    /// predicted over the last two different samples; times the share of new ones; and of whether it is new.
    pub residual_bits: f64,
}

impl Likeness {
    /// Measures scenes.
    #[must_use]
    pub fn of(scenes: &[Recording]) -> Likeness {
        let mut seen = Seen::default();
        for scene in scenes {
            let end_ms = scene.window.map_or(0, |window| window.length_ms);
            scene.people.iter().for_each(|person| seen.walk(person, end_ms));
            seen.nearest_m.extend(nearest_m(&scene.people));
            if let Ok(scene) = Scene::whole(scene) {
                seen.facing(&scene);
            }
        }
        let line = |name, values: &Vec<f64>| {
            let quantiles = Quantiles::of(values.clone());
            Line { name, quantiles: SHARES.map(|share| quantiles.at(share)) }
        };
        Likeness {
            standing: seen.standing as f64 / seen.speeds.len().max(1) as f64,
            changes_per_s: seen.changes as f64 / seen.seconds.max(1e-9),
            residual_bits: seen.residual_bits(),
            lines: vec![
                line("speed over 1 s, m/s", &seen.speeds),
                line("stands, s", &seen.stands),
                line("acceleration over 0.5 s, m/s²", &seen.accelerations),
                line("turn in 0.5 s, degrees", &seen.turns),
                line("residual of a sample, cm", &seen.residuals),
                line("turn of the facing, degrees/row", &seen.facings),
                line("nearest other, m", &seen.nearest_m),
            ],
        }
    }

    /// Two of them beside each other.
    #[must_use]
    pub fn beside(&self, modelled: &Likeness) -> String {
        let row = |name: &str, of: &str, cells: [String; 6]| {
            let cells: String = cells.iter().map(|cell| format!(" {cell:>8}")).collect();
            format!("{name:<32} {of:<9}{cells}\n")
        };
        let mut text = row("", "", SHARES.map(|share| format!("p{:.0}", share * 100.0)));
        for (is, made) in self.lines.iter().zip(&modelled.lines) {
            for (name, of, line) in [(is.name, "recorded", is), ("", "modelled", made)] {
                text += &row(name, of, line.quantiles.map(|value| format!("{value:.3}")));
            }
        }
        let mut pair = |name: &str, is: f64, made: f64| {
            let _ = writeln!(text, "{name:<32} recorded  {is:>8.3}\n{:<32} modelled  {made:>8.3}", "");
        };
        pair("standing, share of time", self.standing, modelled.standing);
        pair("changes, 1/s", self.changes_per_s, modelled.changes_per_s);
        pair("residual, bits per update", self.residual_bits, modelled.residual_bits);
        text
    }
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    seconds: f64,
    changes: usize,
    standing: usize,
    speeds: Vec<f64>,
    stands: Vec<f64>,
    accelerations: Vec<f64>,
    turns: Vec<f64>,
    residuals: Vec<f64>,
    facings: Vec<f64>,
    nearest_m: Vec<f64>,
    samples: usize,
    new_samples: usize,
    /// How often a residual was seen, by axis and centimetres.
    counts: HashMap<(usize, i32), usize>,
}

impl Seen {
    fn walk(&mut self, person: &Person, end_ms: i64) {
        let at = |t_ms: i64| held(&person.rows, t_ms).cm;
        let way = |from_ms: i64, to_ms: i64| {
            let (from, to) = (at(from_ms), at(to_ms));
            [0, 1].map(|axis| f64::from(to[axis] - from[axis]) / 100.0)
        };
        let length = |way: [f64; 2]| way[0].hypot(way[1]);
        self.seconds += end_ms as f64 / 1e3;
        self.changes += person.rows.len() - 1;
        let mut stood = 0;
        for t_ms in (0..=end_ms - SECOND_MS).step_by(LOOK_MS as usize) {
            let (middle, end) = (t_ms + SECOND_MS / 2, t_ms + SECOND_MS);
            let (whole, first, second) = (length(way(t_ms, end)), way(t_ms, middle), way(middle, end));
            self.speeds.push(whole);
            let stands = whole < STANDING_M;
            self.standing += usize::from(stands);
            if stands {
                stood += 1;
            } else {
                self.stood(&mut stood);
            }
            self.accelerations.push(length([second[0] - first[0], second[1] - first[1]]) / 0.25);
            if length(first) >= TURNING_M && length(second) >= TURNING_M {
                let (sin, cos) =
                    (first[0] * second[1] - first[1] * second[0], first[0] * second[0] + first[1] * second[1]);
                self.turns.push(sin.atan2(cos).to_degrees().abs());
            }
        }
        self.stood(&mut stood);
        let (mut before, mut last) = (at(0), at(0));
        for t_ms in (SAMPLE_MS..=end_ms).step_by(SAMPLE_MS as usize) {
            let now = at(t_ms);
            self.samples += 1;
            if now == last {
                continue;
            }
            self.new_samples += 1;
            let off = [0, 1].map(|axis| now[axis] - 2 * last[axis] + before[axis]);
            self.residuals.push(f64::from(off[0]).hypot(f64::from(off[1])));
            off.iter().enumerate().for_each(|(axis, cm)| *self.counts.entry((axis, *cm)).or_default() += 1);
            (before, last) = (last, now);
        }
    }

    fn stood(&mut self, looks: &mut i64) {
        if *looks > 0 {
            self.stands.push((*looks * LOOK_MS) as f64 / 1e3);
        }
        *looks = 0;
    }

    /// The facing is not in the rows: it is what a track makes of them, on the way there.
    fn facing(&mut self, scene: &Scene) {
        for track in &scene.tracks {
            let there = track.steps.iter().take_while(|step| step.at_ms < scene.length_ms);
            let yaws: Vec<f64> = there.map(|step| f64::from(step.yaw_deg)).collect();
            self.facings
                .extend(yaws.windows(2).map(|pair| ((pair[1] - pair[0] + 540.0).rem_euclid(360.0) - 180.0).abs()));
        }
    }

    fn residual_bits(&self) -> f64 {
        let bits = |count: usize, of: usize| {
            let share = count as f64 / of.max(1) as f64;
            if share > 0.0 { -share * share.log2() } else { 0.0 }
        };
        let residual: f64 = self.counts.values().map(|count| bits(*count, self.new_samples)).sum();
        let flag = bits(self.new_samples, self.samples) + bits(self.samples - self.new_samples, self.samples);
        flag + residual * self.new_samples as f64 / self.samples.max(1) as f64
    }
}
