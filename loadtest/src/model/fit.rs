//! From a recorded scene to the numbers of a model.

use anyhow::{Result, ensure};

use super::{KNOT_S, Model, Pace, Quantiles, Start, Sway};
use crate::trace::{Person, Recording, held};

/// A direction is only measured of who walks at least so fast, m/s: below, sway has none.
const BEARING_M_PER_S: f64 = 0.2;
/// Variance of a position's rounding to whole centimetres, m².
const ROUNDING_M2: f64 = 1e-4 / 12.0;
/// Modelled people keep the distance to the nearest other that all but this share do.
const NEAREST_SHARE: f64 = 0.05;
/// Nothing is pushed apart by more than this, metres: farther than that is no crowd.
const APART_MAX_M: f64 = 1.0;
/// A sway that recalls more of the value before the last would swell without end.
const RECALL_MAX: f64 = 0.96;
/// Fewer steps tell nothing of a walker.
const STEPS_MIN: usize = 24;

/// One person's way, step by step, with what is slow in it and what is not.
struct Way {
    /// Slow velocity, m/s.
    slow: Vec<[f64; 2]>,
    /// What is left, along and across the slow velocity, metres.
    sway: Vec<[f64; 2]>,
}

impl Model {
    /// Fits a model to a scene.
    ///
    /// # Errors
    /// When nobody is there for long enough.
    pub fn fit(recording: &Recording) -> Result<Model> {
        let name = &recording.name;
        let step_ms = step_ms(&recording.people);
        let half = (KNOT_S * 1e3 / step_ms).round() as usize;
        let ways: Vec<Way> = recording.people.iter().filter_map(|person| way(person, step_ms, half)).collect();
        ensure!(!ways.is_empty(), "`{name}` cannot be modelled: nobody is there for {STEPS_MIN} rows");
        let speeds: Vec<Vec<f64>> =
            ways.iter().map(|way| way.slow.iter().map(|v| v[0].hypot(v[1])).collect()).collect();
        let bearings: Vec<Vec<f64>> = ways.iter().map(|way| bearings(&way.slow)).collect();
        let sway = [0, 1].map(|axis| sway(&ways, axis));
        let starts: Vec<Start> = recording.people.iter().map(start).collect();
        let apart_m = Quantiles::of(nearest_m(&recording.people)).at(NEAREST_SHARE).min(APART_MAX_M);
        let (speed, bearing) = (pace(&speeds, half), pace(&bearings, half));
        Ok(Model { name: name.clone(), step_ms, starts, speed, bearing, sway, apart_m })
    }
}

/// Mean time between rows, without the longer ones at which somebody stood still.
fn step_ms(people: &[Person]) -> f64 {
    let gaps = people.iter().flat_map(|p| p.rows.windows(2).map(|pair| (pair[1].t_ms - pair[0].t_ms) as f64));
    let mut gaps: Vec<f64> = gaps.collect();
    gaps.sort_by(f64::total_cmp);
    let median = gaps.get(gaps.len() / 2).copied().unwrap_or(50.0);
    gaps.retain(|gap| (0.75..1.5).contains(&(gap / median)));
    gaps.iter().sum::<f64>() / gaps.len().max(1) as f64
}

fn way(person: &Person, step_ms: f64, half: usize) -> Option<Way> {
    // Between two rows, so that a row that was rounded to the next millisecond is not missed.
    let first_ms = person.rows.get(1)?.t_ms as f64 + step_ms / 2.0;
    let steps = ((person.stays[0].1 as f64 - first_ms) / step_ms) as usize;
    if steps < STEPS_MIN.max(2 * half + 2) {
        return None;
    }
    let at = |step: usize| {
        let [x, y, _] = held(&person.rows, (first_ms + step as f64 * step_ms) as i64).cm;
        [f64::from(x) / 100.0, f64::from(y) / 100.0]
    };
    let places: Vec<[f64; 2]> = (0..steps).map(at).collect();
    let wide = 2 * half + 1;
    let (mut slow, mut sway) = (Vec::new(), Vec::new());
    for around in places.windows(wide) {
        let mean = [0, 1].map(|axis| around.iter().map(|at| at[axis]).sum::<f64>() / wide as f64);
        let v = [0, 1].map(|axis| (around[wide - 1][axis] - around[0][axis]) / ((wide - 1) as f64 * step_ms / 1e3));
        let speed = v[0].hypot(v[1]).max(1e-9);
        let off = [around[half][0] - mean[0], around[half][1] - mean[1]];
        sway.push([(off[0] * v[0] + off[1] * v[1]) / speed, (off[1] * v[0] - off[0] * v[1]) / speed]);
        slow.push(v);
    }
    Some(Way { slow, sway })
}

/// How far the way bears off from its whole direction, radians; a stretch without walking is left out.
fn bearings(slow: &[[f64; 2]]) -> Vec<f64> {
    let whole = [0, 1].map(|axis| slow.iter().map(|v| v[axis]).sum::<f64>());
    let walks = slow.iter().filter(|v| v[0].hypot(v[1]) >= BEARING_M_PER_S);
    walks.map(|v| (whole[0] * v[1] - whole[1] * v[0]).atan2(whole[0] * v[0] + whole[1] * v[1])).collect()
}

/// Values of all ways, and how they stay alike from one knot to the next: by ranks, as they are not normal.
fn pace(ways: &[Vec<f64>], half: usize) -> Pace {
    let mut sorted: Vec<f64> = ways.iter().flatten().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let rank = |value: f64| sorted.partition_point(|other| *other < value) as f64 / sorted.len().max(1) as f64;
    let (mut together, mut alone, mut pairs) = (0.0, 0.0, 0.0);
    for way in ways {
        let ranks: Vec<f64> = way.iter().map(|value| rank(*value) - 0.5).collect();
        for (a, b) in ranks.iter().zip(ranks.iter().skip(half)) {
            together += a * b;
            alone += (a * a + b * b) / 2.0;
            pairs += 1.0;
        }
    }
    let spearman = if pairs > 0.0 && alone > 0.0 { together / alone } else { 0.0 };
    // Of the normal scores, given that of the ranks.
    let kept = 2.0 * (std::f64::consts::PI * spearman / 6.0).sin();
    Pace { values: Quantiles::of(sorted), kept: kept.clamp(0.0, 0.999) }
}

/// An autoregression over two steps, by Yule and Walker. Rounding is no sway: what it adds is taken off.
fn sway(ways: &[Way], axis: usize) -> Sway {
    let lagged = |lag: usize| {
        let (mut sum, mut pairs) = (0.0, 0usize);
        for way in ways {
            let later = way.sway.iter().skip(lag);
            sum += way.sway.iter().zip(later).map(|(a, b)| a[axis] * b[axis]).sum::<f64>();
            pairs += way.sway.len() - lag;
        }
        sum / pairs.max(1) as f64
    };
    let (c1, c2) = (lagged(1), lagged(2));
    let c0 = (lagged(0) - ROUNDING_M2).max(c1.abs().max(c2.abs()) * 1.001).max(1e-9);
    let (r1, r2) = (c1 / c0, c2 / c0);
    let second = ((r2 - r1 * r1) / (1.0 - r1 * r1)).clamp(-RECALL_MAX, RECALL_MAX);
    let recall = [r1 * (1.0 - second), second];
    let new = |three: &[[f64; 2]]| three[2][axis] - recall[0] * three[1][axis] - recall[1] * three[0][axis];
    let news: Vec<f64> = ways.iter().flat_map(|way| way.sway.windows(3).map(new)).collect();
    let variance = news.iter().map(|new| new * new).sum::<f64>() / news.len().max(1) as f64;
    let real = c0 * (1.0 - r1 * r1) * (1.0 - second * second);
    Sway { recall, news: Quantiles::of(news).times((real / variance.max(1e-12)).sqrt()) }
}

/// Where somebody is at the start, and where to on the whole.
fn start(person: &Person) -> Start {
    let at = |t_ms: i64| held(&person.rows, t_ms).cm.map(|cm| f64::from(cm) / 100.0);
    let (from, to) = (at(0), at(person.stays[0].1));
    Start { at: [from[0], from[1]], heading: (to[1] - from[1]).atan2(to[0] - from[0]) }
}

/// Distances to the nearest other, every half second.
pub(super) fn nearest_m(people: &[Person]) -> Vec<f64> {
    let end_ms = people.iter().map(|person| person.stays[0].1).min().unwrap_or(0);
    let mut all = Vec::new();
    for t_ms in (0..=end_ms).step_by(500) {
        let at: Vec<[i32; 3]> = people.iter().map(|person| held(&person.rows, t_ms).cm).collect();
        for (i, a) in at.iter().enumerate() {
            let others = at.iter().enumerate().filter(|(j, _)| i != *j);
            all.extend(others.map(|(_, b)| crate::trace::distance_m(*a, *b)).min_by(f64::total_cmp));
        }
    }
    all
}
