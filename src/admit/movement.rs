//! Where an avatar may go: to finite places, in bounds, and not faster than 1.5 × the world's speed.

use super::Refusal;
use crate::limits::{REFUSED_MOVES_OF_S, SECOND_US, SPEED_TOLERANCE};
use crate::settings::WorldSettings;
use crate::space::{Pos, Region};

/// A rule that a world may have in shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A move is not faster than the world allows.
    Speed,
    /// An action's place is where the avatar was.
    Place,
    /// Not too many seconds of a minute have a move that is too fast.
    RefusedMoves,
}

impl Rule {
    /// All, for metrics.
    pub const ALL: [Rule; 3] = [Rule::Speed, Rule::Place, Rule::RefusedMoves];

    /// For metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Rule::Speed => "speed",
            Rule::Place => "place",
            Rule::RefusedMoves => "refused_moves",
        }
    }
}

/// The way of one avatar, as far as judging the next step needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Movement {
    last: Option<(Pos, u64)>,
    /// Metres that may be gone at once.
    allowance_m: f64,
    /// Where it counts as being, see [`Region::held`].
    region: Region,
}

/// A step that may be taken.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Where it leads.
    pub pos: Pos,
    /// Further than anybody goes in half a second, so that no line is to be drawn.
    pub jumped: bool,
    /// Into another region.
    pub crosses: bool,
    /// Faster than the world allows.
    pub too_fast: bool,
    after: Movement,
}

impl Movement {
    /// The last admitted position.
    #[must_use]
    pub fn pos(&self) -> Option<Pos> {
        self.last.map(|(pos, _)| pos)
    }

    /// Judges a step, which is taken by [`Movement::go`]. The first may lead anywhere within bounds.
    ///
    /// The way allowed grows with the gateway's time by 1.5 × speed and is kept for half a second, or for as long as
    /// nothing was admitted: who was in a tunnel may come out where walking would have brought them.
    pub fn judge(&self, metres: [f64; 3], world: &WorldSettings, now_us: u64) -> Result<Step, Refusal> {
        let pos = place(metres, world)?;
        let limit = world.speed * SPEED_TOLERANCE;
        let last = Some((pos, now_us));
        let Some((from, at_us)) = self.last else {
            let after = Movement { last, allowance_m: limit * KEPT_S, region: Region::of(pos) };
            return Ok(Step { pos, jumped: false, crosses: false, too_fast: false, after });
        };
        let passed_s = now_us.saturating_sub(at_us) as f64 / SECOND_US as f64;
        let allowance_m = (self.allowance_m + passed_s * limit).min(limit * passed_s.max(KEPT_S));
        let way_m = pos.distance_m(from);
        let region = self.region.held(pos);
        let after = Movement { last, allowance_m: (allowance_m - way_m).max(0.0), region };
        let (jumped, crosses) = (way_m > limit * KEPT_S, region != self.region);
        Ok(Step { pos, jumped, crosses, too_fast: way_m > allowance_m, after })
    }

    /// Takes a step.
    pub fn go(&mut self, step: &Step) {
        *self = step.after;
    }

    /// Judges the place of an action done `age_us` ago: whether walking could have brought the avatar there.
    pub fn reaches(&self, metres: [f64; 3], age_us: u64, world: &WorldSettings) -> Result<(Pos, bool), Refusal> {
        let pos = place(metres, world)?;
        let last = self.pos().ok_or(Refusal::NoPlace)?;
        let reach_m = world.speed * SPEED_TOLERANCE * (age_us as f64 / SECOND_US as f64 + SLACK_S);
        Ok((pos, pos.distance_m(last) <= reach_m))
    }
}

/// Way not gone is kept this long, so that messages that arrive together pass.
const KEPT_S: f64 = 0.5;
/// An action may be dated this much later than the move before it came: the time between two moves, and jitter.
const SLACK_S: f64 = 0.3;

/// A place in the world.
///
/// # Errors
/// `NotFinite`, `OutOfBounds`.
pub fn place(metres: [f64; 3], world: &WorldSettings) -> Result<Pos, Refusal> {
    if metres.iter().any(|m| !m.is_finite()) {
        return Err(Refusal::NotFinite);
    }
    Pos::from_metres(metres).filter(|pos| world.contains(*pos)).ok_or(Refusal::OutOfBounds)
}

/// In which seconds of the last minute something happened: a bit each, the newest lowest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds {
    bits: u64,
    newest_s: u64,
}

impl Seconds {
    /// It happens now. In how many seconds of the minute up to this one it did.
    pub fn mark(&mut self, now_us: u64) -> u32 {
        let now_s = now_us / SECOND_US;
        let passed = now_s.saturating_sub(self.newest_s);
        self.bits = if passed < u64::from(REFUSED_MOVES_OF_S) { self.bits << passed } else { 0 } | 1;
        self.bits &= (1 << REFUSED_MOVES_OF_S) - 1;
        self.newest_s = now_s.max(self.newest_s);
        self.bits.count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks at a multiple of the world's speed for ten seconds; returns how many of the steps were refused.
    fn refused(times_speed: f64) -> usize {
        let world = WorldSettings::plaza();
        let mut movement = Movement::default();
        let step_m = world.speed * times_speed / 20.0;
        let mut x = 0.0;
        let mut refused = 0;
        for i in 0..200_u64 {
            let step = movement.judge([x, 0.0, 0.0], &world, i * SECOND_US / 20).expect("a place");
            if step.too_fast {
                refused += 1;
            } else {
                movement.go(&step);
            }
            x += step_m;
        }
        refused
    }

    #[test]
    fn one_point_four_passes_and_one_point_six_is_refused() {
        assert_eq!(refused(1.4), 0);
        assert!(refused(1.6) > 0);
    }

    #[test]
    fn a_jump_is_refused_until_the_way_could_be_walked() {
        let world = WorldSettings::plaza();
        let mut movement = Movement::default();
        let mut to = |x, s| {
            let step = movement.judge([x, 0.0, 0.0], &world, s * SECOND_US).expect("a place");
            if !step.too_fast {
                movement.go(&step);
            }
            (step.too_fast, step.jumped)
        };
        assert_eq!(to(0.0, 0), (false, false), "the first");
        assert_eq!(to(100.0, 1), (true, true));
        assert_eq!(to(100.0, 6), (true, true), "15 m/s x 6 s");
        assert_eq!(to(100.0, 7), (false, true), "walked, but nobody saw the way");
        assert_eq!(to(107.0, 9), (false, false), "7 m");
    }

    #[test]
    fn a_step_that_is_taken_though_it_is_too_fast_leaves_no_way_to_go() {
        let world = WorldSettings::plaza();
        let mut movement = Movement::default();
        for (x, s, too_fast) in [(0.0, 0, false), (300.0, 1, true), (301.0, 1, true), (310.0, 2, false)] {
            let step = movement.judge([x, 0.0, 0.0], &world, s * SECOND_US).expect("a place");
            assert_eq!(step.too_fast, too_fast, "to {x}");
            movement.go(&step);
        }
    }

    #[test]
    fn a_region_is_entered_a_metre_behind_its_border() {
        let world = WorldSettings::plaza();
        let mut movement = Movement::default();
        let to = |x: f64, movement: &mut Movement| {
            let step = movement.judge([x, 0.0, 0.0], &world, 0).expect("a place");
            movement.go(&step);
            step.crosses
        };
        for (x, crosses) in [(127.0, false), (128.9, false), (129.1, true), (127.1, false), (126.9, true)] {
            assert_eq!(to(x, &mut movement), crosses, "to {x}");
        }
    }

    #[test]
    fn seconds_of_the_last_minute_are_counted_once_each() {
        let mut seconds = Seconds::default();
        assert_eq!([100, 101, 101, 150, 159].map(|s| seconds.mark(s * SECOND_US)), [1, 2, 2, 3, 4]);
        assert_eq!(seconds.mark(160 * SECOND_US), 4, "the first is a minute ago");
        assert_eq!(seconds.mark(159 * SECOND_US), 4, "a clock that steps back");
        assert_eq!(seconds.mark(900 * SECOND_US), 1);
    }

    #[test]
    fn an_action_is_done_where_walking_could_have_brought_one() {
        let world = WorldSettings::plaza();
        let mut movement = Movement::default();
        let judge = |movement: &Movement, x| movement.reaches([x, 0.0, 0.0], SECOND_US, &world).map(|(_, near)| near);
        assert_eq!(judge(&movement, 0.0), Err(Refusal::NoPlace));
        movement.go(&movement.judge([0.0; 3], &world, 0).expect("a place"));
        assert_eq!(judge(&movement, 19.0), Ok(true), "15 m/s × 1.3 s");
        assert_eq!(judge(&movement, 20.0), Ok(false));
        assert_eq!(judge(&movement, 1e9), Err(Refusal::OutOfBounds));
    }

    #[test]
    fn places_outside_or_nowhere_are_refused() {
        let world = WorldSettings::plaza();
        for (bad, why) in [
            ([f64::NAN, 0.0, 0.0], Refusal::NotFinite),
            ([0.0, f64::INFINITY, 0.0], Refusal::NotFinite),
            ([2_048.01, 0.0, 0.0], Refusal::OutOfBounds),
            ([0.0, 0.0, -1e300], Refusal::OutOfBounds),
        ] {
            assert_eq!(Movement::default().judge(bad, &world, 0).map(|step| step.pos), Err(why), "{bad:?}");
        }
        assert!(Movement::default().judge([2_048.0, -64.0, -2_048.0], &world, 0).is_ok(), "the bounds are inside");
    }
}
