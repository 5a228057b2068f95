//! The arithmetic of the audit: which sample a row shows, how stale it is, who is missing or a ghost, what a window of
//! time held. Pure: times are arguments, µs on the swarm's clock unless a name says otherwise.

use std::collections::HashMap;

use nearcast::codec::message::Id;
use nearcast::limits::{HYSTERESIS, TICK_US};

use crate::scene::Agent;

/// Bots say where they are this often, µs.
pub const SAMPLE_EVERY_US: u64 = TICK_US;
/// Missing or a ghost for up to this long is no fault, µs.
pub const GRACE_US: u64 = 250_000;
/// Distances this close to the radius, or to where hysteresis ends, are not judged, metres.
pub const MARGIN_M: f64 = 1.0;
/// A walk through an agent's changes looks at this many at most; a person has some 20 a second.
const CHANGES_MAX: usize = 256;

/// The sample nearest to a time, of an owner who speaks at `phase_us` and every 50 ms from there: its time, µs.
#[must_use]
pub fn nearest_sample_us(time_us: i64, phase_us: u64) -> u64 {
    let every = SAMPLE_EVERY_US as i64;
    let since = time_us - phase_us as i64;
    let count = (since + every / 2).div_euclid(every).max(0);
    phase_us + (count * every) as u64
}

/// The newest sample at or before a time, µs; the first one if that is later.
#[must_use]
pub fn last_sample_us(time_us: u64, phase_us: u64) -> u64 {
    phase_us + time_us.saturating_sub(phase_us) / SAMPLE_EVERY_US * SAMPLE_EVERY_US
}

/// How long ago the truth first differed from the sample of `sample_us`, µs; 0 if it does not differ now.
#[must_use]
pub fn stale_for_us(agent: &Agent, sample_us: u64, now_us: u64) -> u64 {
    let ms = |us: u64| us as f64 / 1e3;
    if agent.changed_at(ms(now_us)) <= ms(sample_us) {
        return 0;
    }
    let held = agent.at(ms(sample_us)).pos;
    if agent.at(ms(now_us)).pos == held {
        return 0;
    }
    let mut at = ms(sample_us);
    for _ in 0..CHANGES_MAX {
        at = agent.next_change(at);
        if at > ms(now_us) || agent.at(at).pos != held {
            break;
        }
    }
    now_us.saturating_sub((at * 1e3) as u64)
}

/// Whether a client should hold somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Should {
    /// Near enough.
    Hold,
    /// Too far, or gone.
    Not,
    /// Within a metre of where that changes, or beyond what the budget holds: either is right.
    Either,
}

/// What distance alone says.
#[must_use]
pub fn should(distance_m: f64, radius_m: f64) -> Should {
    if distance_m <= radius_m - MARGIN_M {
        Should::Hold
    } else if distance_m > radius_m * HYSTERESIS + MARGIN_M {
        Should::Not
    } else {
        Should::Either
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Missing,
    Ghost,
}

/// Who is missing from one client's view, or a ghost in it, and since when.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    /// Fault, since when, when it was last seen; by entity.
    doubts: HashMap<Id, (Fault, u64, u64)>,
}

/// What presence added up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presences {
    /// Entities times ticks looked at: held, or to be held.
    pub entity_ticks: u64,
    /// Of these, not held for longer than 250 ms though near.
    pub missing: u64,
    /// Of these, held for longer than 250 ms though far or gone.
    pub ghosts: u64,
}

impl Presences {
    /// Missing and ghosts per million entity-ticks.
    #[must_use]
    pub fn per_million(&self) -> f64 {
        (self.missing + self.ghosts) as f64 * 1e6 / self.entity_ticks.max(1) as f64
    }
}

impl Presence {
    /// Looks at one entity at one moment.
    pub fn look(&mut self, entity: Id, held: bool, should: Should, now_us: u64, sum: &mut Presences) {
        let fault = match (should, held) {
            (Should::Hold, false) => Some(Fault::Missing),
            (Should::Not, true) => Some(Fault::Ghost),
            (Should::Hold | Should::Either, true) | (Should::Not | Should::Either, false) => None,
        };
        sum.entity_ticks += u64::from(held || should == Should::Hold);
        let Some(fault) = fault else { return };
        let (kind, since_us, seen_us) = self.doubts.entry(entity).or_insert((fault, now_us, now_us));
        if *kind != fault {
            (*kind, *since_us) = (fault, now_us);
        }
        *seen_us = now_us;
        if now_us - *since_us > GRACE_US {
            match fault {
                Fault::Missing => sum.missing += 1,
                Fault::Ghost => sum.ghosts += 1,
            }
        }
    }

    /// All have been looked at: whoever was not at fault at `now_us` is in the clear.
    pub fn looked(&mut self, now_us: u64) {
        self.doubts.retain(|_, (_, _, seen_us)| *seen_us == now_us);
    }

    /// Nothing can be said: the view is joining.
    pub fn forget(&mut self) {
        self.doubts.clear();
    }
}

/// The deepest any window of time went beyond its rate: the largest of (bytes − rate × time) over all windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    level: f64,
    at_us: u64,
    deepest: f64,
}

impl Bucket {
    /// Bytes came at a moment; moments do not step back.
    pub fn add(&mut self, bytes: usize, rate: u32, now_us: u64) {
        let drained = now_us.saturating_sub(self.at_us) as f64 * f64::from(rate) / 1e6;
        self.at_us = self.at_us.max(now_us);
        self.level = (self.level - drained).max(0.0) + bytes as f64;
        self.deepest = self.deepest.max(self.level);
    }

    /// Bytes of the deepest window beyond its rate. A budget is kept if this is at most half a second's worth.
    #[must_use]
    pub fn deepest(&self) -> f64 {
        self.deepest
    }
}

/// Whether those who stay among the nearest are told as often as they move.
#[derive(Clone, Debug, Default)]
pub struct Nearest {
    /// Since when somebody has been among the nearest, updates that came since the last look, when it was last seen.
    since: HashMap<Id, (u64, u32, u64)>,
}

/// What nearness added up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Ticks at which one of the nearest had moved.
    pub due: u64,
    /// Updates that came about them.
    pub told: u64,
}

impl Rates {
    /// Updates per second, if all moved at each of the 20 ticks.
    #[must_use]
    pub fn hz(&self) -> f64 {
        self.told as f64 * 20.0 / self.due.max(1) as f64
    }
}

impl Nearest {
    /// An update about somebody came.
    pub fn told(&mut self, entity: Id) {
        if let Some((_, told, _)) = self.since.get_mut(&entity) {
            *told += 1;
        }
    }

    /// Somebody is among the nearest at this look; `moved`: whether they moved since the look 50 ms ago.
    pub fn look(&mut self, entity: Id, moved: bool, now_us: u64, sum: &mut Rates) {
        let (since_us, told, seen_us) = self.since.entry(entity).or_insert((now_us, 0, now_us));
        if now_us - *since_us > GRACE_US {
            sum.due += u64::from(moved);
            sum.told += u64::from(*told);
        }
        *told = 0;
        *seen_us = now_us;
    }

    /// All of the nearest have been looked at; the others are forgotten.
    pub fn looked(&mut self, now_us: u64) {
        self.since.retain(|_, (_, _, seen_us)| *seen_us == now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::{Crowd, Layout};
    use crate::scene::Scene;

    #[test]
    fn the_nearest_sample_is_one_that_was_sent() {
        let check = |time_us, expected| assert_eq!(nearest_sample_us(time_us, 7_000), expected, "{time_us}");
        check(7_000, 7_000);
        check(31_000, 7_000);
        check(33_000, 57_000);
        check(57_900, 57_000);
        check(-400_000, 7_000);
        assert_eq!(last_sample_us(56_999, 7_000), 7_000);
        assert_eq!(last_sample_us(57_000, 7_000), 57_000);
        assert_eq!(last_sample_us(3, 7_000), 7_000);
    }

    #[test]
    fn staleness_counts_from_the_first_difference() {
        let crowd = Crowd::tiled(&Scene::plaza(), 60, Layout::default()).expect("the plaza fits");
        let mut looked = 0;
        for agent in &crowd.agents {
            let Some((at_ms, next)) = agent.changes(1_000.0, 60_000.0).next() else { continue };
            if next.pos == agent.at(1_000.0).pos {
                continue;
            }
            looked += 1;
            let at_us = (at_ms * 1e3) as u64;
            assert_eq!(stale_for_us(agent, 1_000_000, at_us - 1_000), 0, "nothing differs before the change");
            assert_eq!(stale_for_us(agent, 1_000_000, at_us), 0, "nor has it differed for any time at it");
            let later_us = at_us + 30_000;
            if agent.at(later_us as f64 / 1e3).pos != agent.at(1_000.0).pos {
                assert_eq!(stale_for_us(agent, 1_000_000, later_us), 30_000);
            }
        }
        assert!(looked > 20, "{looked} people moved");
    }

    #[test]
    fn margins_are_not_judged() {
        let check = |distance_m, expected| assert_eq!(should(distance_m, 50.0), expected, "{distance_m} m");
        check(0.0, Should::Hold);
        check(49.0, Should::Hold);
        check(49.01, Should::Either);
        check(55.9, Should::Either);
        check(56.01, Should::Not);
    }

    /// Looks every 50 ms at one entity; returns what was counted.
    fn presence(looks: &[(bool, Should)]) -> Presences {
        let (mut presence, mut sum) = (Presence::default(), Presences::default());
        for (i, (held, should)) in looks.iter().enumerate() {
            let now_us = i as u64 * 50_000;
            presence.look(7, *held, *should, now_us, &mut sum);
            presence.looked(now_us);
        }
        sum
    }

    #[test]
    fn a_quarter_of_a_second_is_forgiven() {
        let missing = (false, Should::Hold);
        assert_eq!(presence(&[missing; 6]), Presences { entity_ticks: 6, missing: 0, ghosts: 0 }, "0 to 250 ms");
        assert_eq!(presence(&[missing; 8]), Presences { entity_ticks: 8, missing: 2, ghosts: 0 });
        let ghost = (true, Should::Not);
        assert_eq!(presence(&[ghost; 8]), Presences { entity_ticks: 8, missing: 0, ghosts: 2 });
        assert_eq!(presence(&[(false, Should::Not); 8]), Presences::default(), "far and not held is nothing");
        assert_eq!(presence(&[(true, Should::Either); 8]).per_million(), 0.0);
    }

    #[test]
    fn a_fault_that_ends_starts_anew() {
        let mut looks = vec![(false, Should::Hold); 5];
        looks.push((true, Should::Hold));
        looks.extend([(false, Should::Hold); 5]);
        assert_eq!(presence(&looks).missing, 0);
        let mut looks = vec![(false, Should::Hold); 5];
        looks.extend([(true, Should::Not); 7]);
        assert_eq!(presence(&looks), Presences { entity_ticks: 12, missing: 0, ghosts: 1 }, "another fault, too");
    }

    #[test]
    fn the_deepest_window_is_found() {
        let mut bucket = Bucket::default();
        for (bytes, at_us) in [(500, 0), (400, 100_000), (50, 1_000_000), (900, 1_100_000), (50, 1_150_000)] {
            bucket.add(bytes, 1_000, at_us);
        }
        assert!((bucket.deepest() - 900.0).abs() < 1e-6, "{}", bucket.deepest());
        // The same by all windows: bytes of [i..=j] less rate × time between.
        let sent = [(0_u64, 700.0_f64), (40_000, 200.0), (90_000, 300.0), (700_000, 900.0)];
        let mut bucket = Bucket::default();
        sent.iter().for_each(|(at, bytes)| bucket.add(*bytes as usize, 2_000, *at));
        let mut worst: f64 = 0.0;
        for i in 0..sent.len() {
            for j in i..sent.len() {
                let sum: f64 = sent[i..=j].iter().map(|(_, bytes)| bytes).sum();
                worst = worst.max(sum - 2_000.0 * (sent[j].0 - sent[i].0) as f64 / 1e6);
            }
        }
        assert!((bucket.deepest() - worst).abs() < 1e-6, "{} {worst}", bucket.deepest());
    }

    #[test]
    fn the_nearest_count_after_a_quarter_of_a_second() {
        let (mut nearest, mut sum) = (Nearest::default(), Rates::default());
        for tick in 0..26_u64 {
            nearest.told(1);
            nearest.look(1, true, tick * 50_000, &mut sum);
            nearest.looked(tick * 50_000);
        }
        assert_eq!(sum, Rates { due: 20, told: 20 });
        assert!((sum.hz() - 20.0).abs() < 1e-9);
        nearest.looked(9_000_000);
        nearest.look(1, true, 9_050_000, &mut sum);
        assert_eq!(sum.due, 20, "who was away starts anew");
    }
}
