//! Where an avatar may go: finite, in bounds, and not faster than 1.5 × the world's speed.

use super::Refusal;
use crate::limits::{SECOND_US, SPEED_TOLERANCE};
use crate::settings::WorldSettings;
use crate::space::Pos;

/// The way of one avatar, as far as judging the next step needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Movement {
    last: Option<(Pos, u64)>,
    /// Metres that may be gone at once.
    allowance_m: f64,
}

impl Movement {
    /// The last admitted position.
    #[must_use]
    pub fn pos(&self) -> Option<Pos> {
        self.last.map(|(pos, _)| pos)
    }

    /// Goes on from where the avatar was, at a time on the gateway's clock: a resumed session jumps no further than walking
    /// would have brought it.
    pub fn resume(&mut self, pos: Pos, at_us: u64) {
        *self = Movement { last: Some((pos, at_us)), allowance_m: 0.0 };
    }

    /// Judges a step. The first may lead anywhere within bounds.
    ///
    /// The way allowed grows with the gateway's time by 1.5 × speed and is kept for half a second, or for as long as
    /// nothing was admitted: who was in a tunnel may come out where walking would have brought them. Says also whether
    /// that was a jump: further than anybody goes in half a second, so that no line is to be drawn.
    pub fn admit(&mut self, metres: [f64; 3], world: &WorldSettings, now_us: u64) -> Result<(Pos, bool), Refusal> {
        let pos = place(metres, world)?;
        let limit = world.speed * SPEED_TOLERANCE;
        let Some((last, at_us)) = self.last else {
            *self = Movement { last: Some((pos, now_us)), allowance_m: limit * KEPT_S };
            return Ok((pos, false));
        };
        let passed_s = now_us.saturating_sub(at_us) as f64 / SECOND_US as f64;
        let allowance_m = (self.allowance_m + passed_s * limit).min(limit * passed_s.max(KEPT_S));
        let way_m = pos.distance_m(last);
        if way_m > allowance_m {
            return Err(Refusal::Speed);
        }
        *self = Movement { last: Some((pos, now_us)), allowance_m: allowance_m - way_m };
        Ok((pos, way_m > limit * KEPT_S))
    }

    /// Judges the place of an action done `age_us` ago: no further than walking could have brought the avatar.
    pub fn reaches(&self, metres: [f64; 3], age_us: u64, world: &WorldSettings) -> Result<Pos, Refusal> {
        let pos = place(metres, world)?;
        let last = self.pos().ok_or(Refusal::NoPlace)?;
        let reach_m = world.speed * SPEED_TOLERANCE * (age_us as f64 / SECOND_US as f64 + SLACK_S);
        if pos.distance_m(last) > reach_m { Err(Refusal::TooFar) } else { Ok(pos) }
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
            match movement.admit([x, 0.0, 0.0], &world, i * SECOND_US / 20) {
                Ok(_) => {}
                Err(reason) => {
                    assert_eq!(reason, Refusal::Speed);
                    refused += 1;
                }
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
        assert!(movement.admit([0.0; 3], &world, 0).is_ok());
        assert_eq!(movement.admit([100.0, 0.0, 0.0], &world, SECOND_US), Err(Refusal::Speed));
        assert_eq!(movement.admit([100.0, 0.0, 0.0], &world, 6 * SECOND_US), Err(Refusal::Speed), "15 m/s x 6 s");
        let (_, jumped) = movement.admit([100.0, 0.0, 0.0], &world, 7 * SECOND_US).expect("walked");
        assert!(jumped, "but nobody saw the way");
        let (_, jumped) = movement.admit([107.0, 0.0, 0.0], &world, 9 * SECOND_US).expect("walked");
        assert!(!jumped, "7 m");
    }

    #[test]
    fn who_comes_back_may_be_where_walking_would_have_brought_them_and_no_further() {
        let world = WorldSettings::plaza();
        let resumed = || {
            let mut movement = Movement::default();
            movement.resume(Pos::default(), SECOND_US);
            movement
        };
        assert_eq!(resumed().admit([31.0, 0.0, 0.0], &world, 3 * SECOND_US), Err(Refusal::Speed), "15 m/s x 2 s");
        assert!(resumed().admit([29.0, 0.0, 0.0], &world, 3 * SECOND_US).is_ok());
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
            assert_eq!(Movement::default().admit(bad, &world, 0), Err(why), "{bad:?}");
        }
        assert!(Movement::default().admit([2_048.0, -64.0, -2_048.0], &world, 0).is_ok(), "the bounds are inside");
    }
}
