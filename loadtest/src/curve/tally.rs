//! Bytes and errors of one way to tell a crowd, as one point of the curve.

use std::cmp::Ordering;

use anyhow::Result;
use nearcast::limits::{SECOND_US, TICK_US};
use serde::{Deserialize, Serialize};

use super::film::{Film, WARM_TICKS};
use crate::scene::distance_m;

/// A way to tell viewers what is around them.
pub trait Teller {
    /// A tick begins.
    fn tick(&mut self, film: &Film, tick: usize);

    /// Tells a viewer, by its place in [`Film::viewers`], what it is to know. Bytes on its socket.
    ///
    /// # Errors
    /// When what was told contradicts what was told before.
    fn tell(&mut self, film: &Film, tick: usize, at: usize) -> Result<usize>;

    /// Where a viewer shows somebody; `None` if it does not.
    fn shown(&self, tick: usize, at: usize, person: usize) -> Option<Shown>;
}

/// Where a client shows somebody, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// The newest position that it was told.
    pub held: [f64; 3],
    /// Where it draws them, as it goes on from there.
    pub drawn: [f64; 3],
}

/// One point. An error that is `None` is not known: more than that share of those within the radius are not shown at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The crowd; a plot each.
    #[serde(default)]
    pub crowd: String,
    /// Points of a series differ in one setting.
    pub series: String,
    /// What it is set to.
    pub label: String,
    /// Bytes on a client's socket per second.
    pub bytes_per_s: f64,
    /// The same by others within the radius and tick.
    #[serde(default)]
    pub bytes_per_update: f64,
    /// Median distance between where somebody within the radius is at a tick and where a client shows them, cm: one that
    /// draws ahead or holds the newest position, whichever has the smaller 95th percentile.
    pub error_p50_cm: Option<f64>,
    /// 95th percentile.
    pub error_p95_cm: Option<f64>,
    /// 99th percentile.
    pub error_p99_cm: Option<f64>,
    /// 95th percentile of a client that holds the newest position.
    pub held_p95_cm: Option<f64>,
    /// 95th percentile of a client that draws ahead.
    pub drawn_p95_cm: Option<f64>,
    /// 95th percentile of the [`NEAREST`] alone.
    #[serde(default)]
    pub nearest_p95_cm: Option<f64>,
}

/// So many others are looked at first.
pub const NEAREST: usize = 10;

/// Plays a film to all its viewers.
///
/// # Errors
/// As [`Teller::tell`].
pub fn play(
    film: &Film,
    teller: &mut impl Teller,
    crowd: &str,
    series: &str,
    label: impl Into<String>,
) -> Result<Point> {
    let (mut bytes, mut drawn_cm, mut held_cm, mut nearest) = (0, Vec::new(), Vec::new(), Vec::new());
    for tick in 0..film.ticks() {
        teller.tick(film, tick);
        for (at, viewer) in film.viewers.iter().enumerate() {
            let told = teller.tell(film, tick, at)?;
            if tick < WARM_TICKS {
                continue;
            }
            bytes += told;
            let (own, mut others) = (film.sample(tick, *viewer).pos, Vec::new());
            for person in film.within(tick, *viewer, film.radius_m) {
                let truth = film.sample(tick, person).pos;
                let off_cm = |shown: [f64; 3]| 100.0 * distance_m(shown, truth);
                // Who is not shown is farther off than anybody who is.
                let shown = teller.shown(tick, at, person);
                others.push((distance_m(truth, own), drawn_cm.len()));
                drawn_cm.push(shown.map_or(f64::INFINITY, |shown| off_cm(shown.drawn)));
                held_cm.push(shown.map_or(f64::INFINITY, |shown| off_cm(shown.held)));
            }
            others.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            nearest.extend(others.iter().take(NEAREST).map(|(_, at)| *at));
        }
    }
    let ticks = film.ticks().saturating_sub(WARM_TICKS).max(1);
    let seconds = (ticks * film.viewers.len()) as f64 * TICK_US as f64 / SECOND_US as f64;
    let [mut near_held_cm, mut near_drawn_cm] =
        [&held_cm, &drawn_cm].map(|errors| nearest.iter().map(|at| errors[*at]).collect::<Vec<f64>>());
    let [held_p95_cm, drawn_p95_cm] = [&mut held_cm, &mut drawn_cm].map(|errors| quantile(errors, 0.95));
    let or_far = |error: Option<f64>| error.unwrap_or(f64::INFINITY);
    let draws = or_far(drawn_p95_cm) < or_far(held_p95_cm);
    let errors = if draws { &mut drawn_cm } else { &mut held_cm };
    let nearest_cm = if draws { &mut near_drawn_cm } else { &mut near_held_cm };
    Ok(Point {
        crowd: crowd.to_owned(),
        series: series.to_owned(),
        label: label.into(),
        bytes_per_s: bytes as f64 / seconds,
        bytes_per_update: bytes as f64 / errors.len().max(1) as f64,
        error_p50_cm: quantile(errors, 0.5),
        error_p95_cm: quantile(errors, 0.95),
        error_p99_cm: quantile(errors, 0.99),
        held_p95_cm,
        drawn_p95_cm,
        nearest_p95_cm: quantile(nearest_cm, 0.95),
    })
}

/// The smallest value that this share is not above; `None` if that is infinite, or there is none.
fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    let rank = (values.len() as f64 * share).ceil().max(1.0) as usize - 1;
    let by_size: fn(&f64, &f64) -> Ordering = f64::total_cmp;
    let value = (rank < values.len()).then(|| *values.select_nth_unstable_by(rank, by_size).1)?;
    // Metres in binary are a little off: a thousandth of a centimetre is none.
    value.is_finite().then(|| (value * 1e3).round() / 1e3)
}
