//! The rate-distortion curve: what a client's bytes buy, as the error of where it shows others. A recorded crowd is played
//! at 20 Hz, offline, to the gateway's own world, views and codec, to formats of others, and to what could be done instead.
//! Deterministic: no socket, no clock, no randomness.
//!
//! - [`film`] is the truth; everybody says where they are at the tick, so what is left is the error of telling it.
//! - [`tally`] plays it to a way of telling, and makes a point of the curve.
//! - [`ours`] is the product, [`peers`] are other formats, [`guess`] is a tolerance that the product does not have.

pub mod film;
pub mod guess;
pub mod ours;
pub mod peers;
pub mod tally;

use anyhow::{Result, ensure};
use nearcast::codec::Encoding;
use nearcast::limits::{FACING_SLACK, ROWS_MIN};

use crate::crowd::{Crowd, Layout};
use crate::scene::Scene;
use film::Film;
use guess::Guess;
use ours::{Ours, Settings};
use peers::{Format, Peers};
use tally::{Point, play};

/// Budgets of a client, bytes per second: from the least that a client may ask for to far beyond the default.
const BUDGETS: [u32; 8] = [2_048, 4_096, 6_144, 8_192, 12_288, 16_384, 24_576, 98_304];
/// Rows of a state, of which a smaller crowd needs fewer: from the least that time may leave (decisions, 23) on.
const ROWS: [usize; 4] = [ROWS_MIN, 150, 220, 320];
/// Everybody is told of at every so many ticks: 20, 10, 5 and 2 Hz.
const EVERY: [u64; 4] = [1, 2, 4, 10];
/// Units of a position, cm.
const UNITS_CM: [f64; 5] = [1.0, 2.0, 4.0, 8.0, 16.0];
/// Tolerances, cm.
const TOLERANCES_CM: [u64; 6] = [1, 2, 5, 10, 20, 40];

/// How far off a facing may be before it is told, 1/256 turn: the product's 3°, 6°, 11°, 22°.
const FACINGS: [u8; 4] = [FACING_SLACK, 4, 8, 16];

/// All of a set, each once, so near and so far as recorded; tiles do not see each other.
///
/// # Errors
/// When there is no scene.
pub fn as_recorded(scenes: &[Scene], radius_m: f64, smooth: bool) -> Result<Film> {
    let people = scenes.iter().map(Scene::people).sum();
    Ok(Film::of(&Crowd::tiled(scenes, people, Layout::close(scenes, radius_m))?, radius_m, smooth))
}

/// So many in one spot, all within the radius of each other if their scenes are small enough.
///
/// # Errors
/// When there is no scene.
pub fn in_one_spot(scenes: &[Scene], people: usize, radius_m: f64, smooth: bool) -> Result<Film> {
    let reach_m = scenes.iter().map(|scene| scene.reach_m).fold(0.0, f64::max);
    Ok(Film::of(&Crowd::one_spot(scenes, people, (reach_m + 1.0).max(radius_m / 2.0))?, radius_m, smooth))
}

/// All points for one crowd.
///
/// # Errors
/// When the gateway tells a client something that contradicts what it told before.
pub fn points(film: &Film, crowd: &str) -> Result<Vec<Point>> {
    ensure!(film.people() > 1, "`{crowd}` has one person, who sees nobody: name a larger one");
    let mut points = Vec::new();
    let mut ours = |series, label: String, settings| -> Result<()> {
        points.push(play(film, &mut Ours::new(film, settings), crowd, series, label)?);
        Ok(())
    };
    let usual = Settings::default();
    for budget in BUDGETS {
        ours("nearcast: budget", format!("{budget} B/s"), Settings { budget, ..usual })?;
    }
    for budget in BUDGETS {
        let encoding = Encoding::Json;
        ours("nearcast in JSON: budget", format!("{budget} B/s"), Settings { encoding, budget, ..usual })?;
    }
    for rows_max in ROWS {
        ours("nearcast: tiers", format!("{rows_max} rows"), Settings { rows_max, ..usual })?;
    }
    for every in EVERY {
        ours("nearcast: rate", hertz(every), Settings { every, ..usual })?;
    }
    for unit_cm in UNITS_CM {
        ours("what if: quantum", format!("{unit_cm} cm"), Settings { unit_cm, ..usual })?;
    }
    for facing in FACINGS {
        ours("what if: facing", degrees(facing), Settings { facing, ..usual })?;
    }
    for (series, facing) in [("what if: tolerance", FACINGS[0]), ("what if: tolerance, and facing 22°", FACINGS[3])] {
        for tolerance_cm in TOLERANCES_CM {
            let label = format!("{tolerance_cm} cm");
            points.push(play(film, &mut Guess::new(film, tolerance_cm, facing), crowd, series, label)?);
        }
    }
    for (series, format) in [
        ("records of 10 bytes", Format::Records),
        ("changed fields (Colyseus)", Format::Fields),
        ("objects in JSON", Format::Json),
    ] {
        for every in EVERY {
            let peers = &mut Peers::new(film, format, every as usize);
            points.push(play(film, peers, crowd, series, hertz(every))?);
        }
    }
    Ok(points)
}

fn hertz(every: u64) -> String {
    format!("{} Hz", 20 / every)
}

fn degrees(facing: u8) -> String {
    format!("{:.0}°", f64::from(facing) * 360.0 / 256.0)
}

/// The points as a table.
#[must_use]
pub fn table(points: &[Point]) -> String {
    let mut out = format!(
        "{:<34} {:>11} {:>9} {:>13} {:>8} {:>8} {:>8} {:>9} {:>10} {:>11}\n",
        "", "", "bytes/s", "bytes/update", "p50 cm", "p95 cm", "p99 cm", "held p95", "ahead p95", "nearest p95"
    );
    let mut crowd = "";
    for point in points {
        if point.crowd != crowd {
            crowd = &point.crowd;
            out += &format!("{crowd}\n");
        }
        let Point { series, label, bytes_per_s, bytes_per_update, .. } = point;
        let cm = |error: Option<f64>| error.map_or("-".to_owned(), |cm| format!("{cm:.1}"));
        let [p50, p95, p99] = [point.error_p50_cm, point.error_p95_cm, point.error_p99_cm].map(cm);
        let [held, drawn, nearest] = [point.held_p95_cm, point.drawn_p95_cm, point.nearest_p95_cm].map(cm);
        out += &format!(
            "{series:<34} {label:>11} {bytes_per_s:>9.0} {bytes_per_update:>13.2} {p50:>8} {p95:>8} {p99:>8} {held:>9} {drawn:>10} {nearest:>11}\n"
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Sample;
    use film::{TICKS, WARM_TICKS};

    /// Two abreast, who walk along x, so many cm each tick.
    fn two(step_cm: f64) -> Film {
        let sample = |tick: usize, z: f64| Sample { pos: [tick as f64 * step_cm / 100.0, 0.0, z], yaw_deg: 0.0 };
        Film::new((0..WARM_TICKS + TICKS).map(|tick| vec![sample(tick, 0.0), sample(tick, 1.01)]).collect(), 50.0)
    }

    fn ours(film: &Film, settings: Settings) -> Point {
        play(film, &mut Ours::new(film, settings), "", "", "").expect("no contradiction")
    }

    #[test]
    fn two_who_walk_on_cost_what_can_be_counted_by_hand() {
        let film = two(10.0);
        // Frame 2, `{"s": bin}` 5, head 1; then parameter 3 bits, gap 1, two distances of none 1 each, nothing else 1.
        let point = ours(&film, Settings::default());
        assert_eq!((point.bytes_per_update, point.bytes_per_s), (9.0, 180.0));
        assert_eq!([point.error_p50_cm, point.error_p99_cm], [Some(0.0); 2]);
        // At every second tick: a byte says that one was left out. Who holds is 10 cm behind each time between, who draws
        // ahead is right.
        let halved = ours(&film, Settings { every: 2, ..Settings::default() });
        assert_eq!((halved.bytes_per_update, halved.bytes_per_s), (5.0, 100.0));
        assert_eq!([halved.held_p95_cm, halved.drawn_p95_cm], [Some(10.0), Some(0.0)]);
        // All is as expected: nothing need be said.
        let guessed = play(&film, &mut Guess::new(&film, 1, FACING_SLACK), "", "", "").expect("no contradiction");
        assert_eq!((guessed.bytes_per_s, guessed.drawn_p95_cm), (0.0, Some(0.0)));
        let quantum = ours(&two(0.0), Settings { unit_cm: 4.0, ..Settings::default() });
        assert_eq!((quantum.bytes_per_s, quantum.error_p99_cm), (0.0, Some(1.0)), "1.01 m is shown at 1.00 m");
    }

    #[test]
    fn two_who_stand_cost_a_record_each_tick_and_no_fields() {
        let film = two(0.0);
        let peer = |format| play(&film, &mut Peers::new(&film, format, 1), "", "", "").expect("never fails");
        let (records, fields) = (peer(Format::Records), peer(Format::Fields));
        assert_eq!((records.bytes_per_update, records.bytes_per_s), (12.0, 240.0), "frame 2, record 10");
        assert_eq!(fields.bytes_per_s, 0.0);
        assert_eq!([records.error_p99_cm, fields.error_p99_cm], [Some(1.0); 2], "1.01 m is 32 / 32 m");
    }

    fn crowd(people: usize) -> Film {
        in_one_spot(&Scene::plaza(), people, 50.0, false).expect("the plaza fits")
    }

    #[test]
    fn the_same_crowd_makes_the_same_curve() {
        let film = crowd(12);
        let points = || points(&film, "plaza").expect("no contradiction");
        assert_eq!(points(), points());
    }

    #[test]
    fn more_bytes_never_show_less_well() {
        let film = crowd(150);
        for encoding in Encoding::ALL {
            let point = |budget| ours(&film, Settings { encoding, budget, ..Settings::default() });
            let points = BUDGETS.map(point);
            for (less, more) in points.iter().zip(&points[1..]) {
                let [before, after] = [less, more].map(|point| point.error_p95_cm.unwrap_or(f64::INFINITY));
                assert!(after <= before * 1.02, "{encoding:?}: {less:?} {more:?}");
            }
            for (point, budget) in points.iter().zip(BUDGETS) {
                assert!(point.bytes_per_s <= f64::from(budget) * 1.05, "{encoding:?}: {point:?}");
            }
            if encoding == Encoding::MessagePack {
                let [least, most] = [&points[0], &points[7]].map(|point| point.error_p99_cm);
                assert!(least > Some(10.0) && most == Some(0.0), "budgets matter: {points:?}");
            }
        }
    }

    #[test]
    fn who_moves_evenly_passes_through_the_recorded_rows() {
        let scenes = Scene::plaza();
        let [held, even] = [false, true].map(|smooth| in_one_spot(&scenes, 30, 50.0, smooth).expect("the plaza fits"));
        let stood = |film: &Film| {
            let same = |at: &usize| film.pos(at / 30, at % 30, 1.0) == film.pos(at / 30 + 1, at % 30, 1.0);
            (0..30 * 500).filter(same).count()
        };
        assert!(2 * stood(&even) < stood(&held), "{} {}", stood(&even), stood(&held));
        let far = (0..30 * 500).map(|at| held.pos(at / 30, at % 30, 1.0).distance_m(even.pos(at / 30, at % 30, 1.0)));
        assert!(far.fold(0.0, f64::max) < 0.3, "no more than a step off");
    }

    #[test]
    fn nobody_is_off_by_more_than_the_tolerance() {
        let film = crowd(40);
        for tolerance_cm in TOLERANCES_CM {
            let point =
                play(&film, &mut Guess::new(&film, tolerance_cm, FACING_SLACK), "", "", "").expect("no contradiction");
            assert!(point.error_p99_cm <= Some(tolerance_cm as f64), "{point:?}");
        }
    }
}
