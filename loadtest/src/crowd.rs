//! Crowds: any number of agents out of a few scenes, as copies with places and times of their own.
//! Also the figures that say what a crowd is like. Deterministic: no clock, no randomness.

use std::f64::consts::TAU;
use std::sync::Arc;

use anyhow::{Result, ensure};
use nearcast::limits::{BLOCK_REGIONS, BORDER_SLACK_M, HYSTERESIS, RADIUS_M, REGION_M};

use crate::scene::{Agent, Place, Scene, distance_m};
use crate::track::Track;

/// Where partitions meet along x: half a block from the origin, metres.
pub const BORDER_X_M: f64 = REGION_M * BLOCK_REGIONS as f64 / 2.0;
/// The golden ratio less one: its multiples fill a circle or a cycle evenly, however many there are.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// Copies of one spot stay inside by this much, metres: places are rounded to centimetres.
const ROUNDING_M: f64 = 0.02;

/// Closest tiles are this much farther apart than anybody can see, metres.
const APART_M: f64 = 2.0;

/// How copies of scenes lie in the world.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// From the middle of a tile to the middle of the next, metres.
    pub spacing_m: f64,
    /// The last column of tiles straddles this line, metres; the other columns lie to the west of it.
    pub border_x_m: f64,
    /// So many scenes lie over each other in a tile, 1 or more: real distances hold among the people of each.
    pub scenes_per_tile: usize,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout { spacing_m: 160.0, border_x_m: BORDER_X_M, scenes_per_tile: 1 }
    }
}

impl Layout {
    /// Tiles as close as they can be without seeing each other within `radius_m`, hysteresis included.
    #[must_use]
    pub fn close(scenes: &[Scene], radius_m: f64) -> Layout {
        let reach_m = scenes.iter().map(|scene| scene.reach_m).fold(0.0, f64::max);
        Layout { spacing_m: (2.0 * reach_m + radius_m * HYSTERESIS + APART_M).ceil(), ..Layout::default() }
    }

    /// The default, or wider where scenes reach farther or `radius_m` is larger.
    #[must_use]
    pub fn wide(scenes: &[Scene], radius_m: f64) -> Layout {
        let (usual, close) = (Layout::default(), Layout::close(scenes, radius_m));
        Layout { spacing_m: close.spacing_m.max(usual.spacing_m), ..usual }
    }
}

const _: () = assert!(160.0 > 2.0 * RADIUS_M * HYSTERESIS, "scenes of the default layout must not see each other");

/// Agents that play recorded people.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// Tile by tile: agents of one scene are neighbours.
    pub agents: Vec<Agent>,
}

impl Crowd {
    /// `n` agents in tiles, one scene each if the layout does not say otherwise. Neighbours see each other only if scenes reach farther than the spacing
    /// less the radius of interest allows; the plaza's do not. The first tile is the one nearest
    /// to the origin; every row has a tile on the partition border, whose people walk along x, so that some cross it.
    ///
    /// # Errors
    /// When there is no scene, or the scenes are too large for the spacing.
    pub fn tiled(scenes: &[Scene], n: usize, layout: Layout) -> Result<Crowd> {
        let Layout { spacing_m, border_x_m, scenes_per_tile } = layout;
        for scene in scenes {
            let (name, reach_m) = (&scene.name, scene.reach_m);
            ensure!(
                spacing_m > 2.0 * reach_m,
                "scene `{name}` reaches {reach_m:.1} m: space the tiles by more than twice as much"
            );
        }
        let columns = columns(layout);
        let place = |copy: usize, scene: &Scene| {
            let tile = copy / scenes_per_tile.max(1);
            let x_m = columns[tile % columns.len()];
            let on_border = (x_m - border_x_m).abs() < 0.005;
            let quarter_turns = if on_border { u8::from(!scene.along_x) } else { copy as u8 % 4 };
            let z_m = row(tile / columns.len()) * spacing_m;
            Place { middle_cm: cm(x_m, z_m), quarter_turns, ahead_ms: ahead_ms(copy, scene) }
        };
        Crowd::of_copies(scenes, n, place)
    }

    /// `n` agents within `within_m` of the origin: as many copies of the scenes as it takes lie over each other.
    ///
    /// # Errors
    /// When there is no scene, or one of them is too large.
    pub fn one_spot(scenes: &[Scene], n: usize, within_m: f64) -> Result<Crowd> {
        for scene in scenes {
            let (name, reach_m) = (&scene.name, scene.reach_m);
            ensure!(
                within_m > reach_m + ROUNDING_M,
                "scene `{name}` reaches {reach_m:.1} m: allow more than {within_m} m"
            );
        }
        let mut copies = 0;
        let mut people = 0;
        while people < n && !scenes.is_empty() {
            people += scenes[copies % scenes.len()].people();
            copies += 1;
        }
        // Sunflower seeds: the same area for each copy.
        let place = |copy: usize, scene: &Scene| {
            let from_middle_m = (within_m - scene.reach_m - ROUNDING_M) * ((copy as f64 + 0.5) / copies as f64).sqrt();
            let angle = copy as f64 * GOLDEN * TAU;
            let middle_cm = cm(from_middle_m * angle.cos(), from_middle_m * angle.sin());
            Place { middle_cm, quarter_turns: copy as u8 % 4, ahead_ms: ahead_ms(copy, scene) }
        };
        Crowd::of_copies(scenes, n, place)
    }

    /// `n` agents who never move, each on a square of its own, `spacing_m` wide.
    #[must_use]
    pub fn alone(n: usize, spacing_m: f64) -> Crowd {
        let side = (n as f64).sqrt().ceil().max(1.0) as usize;
        let from_middle_m = |at: usize| (at as f64 - (side - 1) as f64 / 2.0) * spacing_m;
        let standing = Arc::new(Track::standing());
        let agent = |at: usize| {
            let middle_cm = cm(from_middle_m(at % side), from_middle_m(at / side));
            Agent::new(&standing, Place { middle_cm, ..Place::default() })
        };
        Crowd { agents: (0..n).map(agent).collect() }
    }

    /// The scenes in turn, each copy in its place, until there are `n` agents; the last copy may lack some people.
    fn of_copies(scenes: &[Scene], n: usize, place: impl Fn(usize, &Scene) -> Place) -> Result<Crowd> {
        ensure!(scenes.iter().any(|scene| scene.people() > 0), "no scene with people in it: name another folder");
        let mut agents = Vec::with_capacity(n);
        for (copy, scene) in scenes.iter().cycle().enumerate() {
            if agents.len() >= n {
                break;
            }
            let place = place(copy, scene);
            agents.extend(scene.tracks.iter().take(n - agents.len()).map(|track| Agent::new(track, place)));
        }
        Ok(Crowd { agents })
    }

    /// The agents who walk over the line x = `border_x_m` and back: beyond it on both sides by more than the
    /// slack that a gateway allows.
    #[must_use]
    pub fn crossing(&self, border_x_m: f64) -> usize {
        let crosses = |agent: &&Agent| {
            let mut west = false;
            let mut east = false;
            for (_, sample) in agent.changes(0.0, agent.period_ms() as f64) {
                west |= sample.pos[0] < border_x_m - BORDER_SLACK_M;
                east |= sample.pos[0] > border_x_m + BORDER_SLACK_M;
            }
            west && east
        };
        self.agents.iter().filter(crosses).count()
    }

    /// Mean number of others within `radius_m` of an agent at a time.
    #[must_use]
    pub fn others_within(&self, radius_m: f64, t_ms: f64) -> f64 {
        let places: Vec<[f64; 3]> = self.agents.iter().map(|agent| agent.at(t_ms).pos).collect();
        let mut pairs = 0usize;
        for (at, a) in places.iter().enumerate() {
            pairs += places[at + 1..].iter().filter(|b| distance_m(*a, **b) <= radius_m).count();
        }
        2.0 * pairs as f64 / places.len().max(1) as f64
    }

    /// The same, mean over four moments of `over_ms` milliseconds.
    #[must_use]
    pub fn others_mean(&self, radius_m: f64, over_ms: f64) -> f64 {
        (0..4).map(|quarter| self.others_within(radius_m, f64::from(quarter) * over_ms / 4.0)).sum::<f64>() / 4.0
    }

    /// What the crowd is like from its start, over one cycle of its longest scene.
    #[must_use]
    pub fn figures(&self, radius_m: f64) -> Figures {
        let seconds = self.agents.iter().map(Agent::period_ms).max().unwrap_or(0) / 1000;
        let mut speeds = Vec::with_capacity(self.agents.len() * seconds as usize);
        let mut changes = 0;
        for agent in &self.agents {
            changes += agent.changes(0.0, seconds as f64 * 1000.0).count();
            let at = |second: i64| agent.at(second as f64 * 1000.0).pos;
            speeds.extend((0..seconds).map(|second| distance_m(at(second), at(second + 1))));
        }
        speeds.sort_by(f64::total_cmp);
        let rank =
            |share: f64| speeds.get((speeds.len().saturating_sub(1) as f64 * share) as usize).copied().unwrap_or(0.0);
        let agent_seconds = speeds.len().max(1) as f64;
        Figures {
            agents: self.agents.len(),
            others: self.others_mean(radius_m, seconds as f64 * 1000.0),
            speed_p50: rank(0.5),
            speed_p99: rank(0.99),
            speed_max: rank(1.0),
            standing: speeds.iter().filter(|speed| **speed < 0.1).count() as f64 / agent_seconds,
            changes_per_s: changes as f64 / agent_seconds,
        }
    }
}

/// What a crowd is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// How many there are.
    pub agents: usize,
    /// Mean number of others within the radius asked for.
    pub others: f64,
    /// Median way in a second, metres.
    pub speed_p50: f64,
    /// 99th percentile of the way in a second, metres.
    pub speed_p99: f64,
    /// Longest way in a second, metres.
    pub speed_max: f64,
    /// Share of the seconds with a way below 0.1 m.
    pub standing: f64,
    /// Changes of one agent per second, mean.
    pub changes_per_s: f64,
}

/// The columns' middles along x, metres, the nearest to the origin first. As many as lie between the two borders.
fn columns(layout: Layout) -> Vec<f64> {
    let Layout { spacing_m, border_x_m, .. } = layout;
    let count = (2.0 * border_x_m.abs() / spacing_m) as usize + 1;
    let mut columns: Vec<f64> = (0..count).map(|column| border_x_m - column as f64 * spacing_m).collect();
    columns.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    columns
}

/// 0, 1, −1, 2, −2 …: rows grow on both sides of the origin.
fn row(at: usize) -> f64 {
    let from_middle = at.div_ceil(2) as f64;
    if at.is_multiple_of(2) { -from_middle } else { from_middle }
}

/// Copies of one scene play different parts of it.
fn ahead_ms(copy: usize, scene: &Scene) -> i64 {
    ((copy as f64 * GOLDEN).fract() * 2.0 * scene.length_ms as f64) as i64
}

fn cm(x_m: f64, z_m: f64) -> [i32; 3] {
    [(x_m * 100.0).round() as i32, 0, (z_m * 100.0).round() as i32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Sample;

    fn default_crowd() -> Crowd {
        Crowd::tiled(&Scene::plaza(), 500, Layout::default()).expect("the plaza fits")
    }

    /// Every agent every 50 ms, for longer than the longest cycle: the sample and the one before.
    fn each_tick(crowd: &Crowd, mut check: impl FnMut(Sample, Sample)) {
        for agent in &crowd.agents {
            let at = |tick: i32| agent.at(f64::from(tick) * 50.0);
            (1..520).for_each(|tick| check(at(tick), at(tick - 1)));
        }
    }

    #[test]
    fn nobody_jumps_not_even_when_time_turns() {
        // Rows are 63 ms apart: a step may show what happened in that time as well.
        each_tick(&default_crowd(), |now, before| {
            let way_m = distance_m(now.pos, before.pos);
            assert!(way_m <= 2.5 * (0.05 + 0.063), "{way_m} m from {before:?} to {now:?}");
        });
    }

    #[test]
    fn places_are_whole_centimetres_on_the_ground_and_facing_is_an_angle() {
        each_tick(&default_crowd(), |now, _| {
            let off_cm = now.pos.map(|m| (m * 100.0 - (m * 100.0).round()).abs());
            assert!(off_cm.iter().all(|off| *off < 1e-6), "{now:?}");
            assert!(now.pos[1] == 0.0 && (0.0..360.0).contains(&now.yaw_deg), "{now:?}");
        });
    }

    #[test]
    fn what_holds_holds_from_change_to_change() {
        for agent in default_crowd().agents.iter().step_by(17) {
            let mut since = agent.changed_at(0.0);
            let mut holds = agent.at(0.0);
            assert!(since <= 0.0 && agent.at(since) == holds, "since {since}");
            for (t_ms, sample) in agent.changes(0.0, 2.0 * agent.period_ms() as f64) {
                assert_eq!((agent.changed_at(t_ms - 0.25), agent.at(t_ms - 0.25)), (since, holds), "until then");
                assert_eq!((agent.changed_at(t_ms), agent.at(t_ms)), (t_ms, sample), "from then on");
                assert_eq!(agent.next_change(since), t_ms);
                (since, holds) = (t_ms, sample);
            }
            assert_eq!(agent.at(12_345.0), agent.at(12_345.0 + 3.0 * agent.period_ms() as f64), "it repeats");
        }
    }

    #[test]
    fn walkers_face_where_they_go_there_and_back() {
        let mut agree = [0usize; 2];
        for agent in &default_crowd().agents {
            for second in 1..24 {
                let [from, now, to] = [-250.0, 0.0, 250.0].map(|off| agent.at(f64::from(second) * 1000.0 + off));
                let (east, north) = (to.pos[0] - from.pos[0], from.pos[2] - to.pos[2]);
                if east.hypot(north) > 0.3 {
                    let facing = now.yaw_deg.to_radians();
                    agree[usize::from(east * facing.cos() + north * facing.sin() > 0.0)] += 1;
                }
            }
        }
        assert!(agree[0] * 100 < agree[1], "at odds, agreeing: {agree:?}");
    }

    #[test]
    fn distances_within_a_scene_are_the_same_in_every_copy_at_every_moment() {
        let scene = &Scene::plaza()[0];
        let crowd = Crowd::tiled(std::slice::from_ref(scene), 3 * scene.people(), Layout::default()).expect("fits");
        let apart_um = |copy: usize, scene_ms: i64| -> Vec<f64> {
            let t_ms = (scene_ms - ahead_ms(copy, scene)) as f64;
            let at = |person: usize| crowd.agents[copy * scene.people() + person].at(t_ms).pos;
            (1..scene.people()).map(|person| (distance_m(at(0), at(person)) * 1e6).round()).collect()
        };
        for scene_ms in (0..scene.length_ms).step_by(77) {
            for copy in 0..3 {
                assert_eq!(apart_um(copy, scene_ms), apart_um(0, scene_ms), "copy {copy} at {scene_ms}");
            }
            let there_um = apart_um(0, scene_ms - 1);
            let back_um = apart_um(0, 2 * scene.length_ms - scene_ms);
            assert_eq!(there_um, back_um, "what held until {scene_ms} holds from there on the way back");
        }
    }

    #[test]
    fn the_default_crowd_is_like_a_plaza() {
        let crowd = default_crowd();
        let figures = crowd.figures(RADIUS_M);
        assert_eq!(figures.agents, 500);
        assert!((47.0..=51.0).contains(&figures.others), "{figures:?}");
        assert!(figures.speed_p50 > 0.2 && figures.speed_max < 10.0, "{figures:?}");
        let beyond = crowd.others_within(RADIUS_M * HYSTERESIS, 0.0);
        assert_eq!(crowd.others_within(RADIUS_M, 0.0), beyond, "scenes do not see each other");
    }

    #[test]
    fn two_scenes_in_a_tile_have_twice_as_many_near() {
        let layout = Layout { scenes_per_tile: 2, ..Layout::default() };
        let crowd = Crowd::tiled(&Scene::plaza(), 500, layout).expect("the plaza fits");
        let others = crowd.others_mean(RADIUS_M, 20_000.0);
        assert!((97.0..=101.0).contains(&others), "{others}");
    }

    #[test]
    fn some_walk_across_the_partition_border() {
        let crossing = default_crowd().crossing(BORDER_X_M);
        assert!((10..=51).contains(&crossing), "{crossing} of the tile on the border");
    }

    #[test]
    fn rows_grow_around_the_origin_and_the_border_column_comes_last() {
        assert_eq!(columns(Layout::default()), [32.0, -128.0, 192.0, -288.0, 352.0, -448.0, 512.0]);
        assert_eq!([0, 1, 2, 3, 4].map(row), [0.0, 1.0, -1.0, 2.0, -2.0]);
    }

    #[test]
    fn one_spot_holds_everybody_within_reach() {
        let crowd = Crowd::one_spot(&Scene::plaza(), 1_000, 40.0).expect("the plaza fits");
        assert_eq!(crowd.agents.len(), 1_000);
        each_tick(&crowd, |now, before| {
            assert!(distance_m(now.pos, [0.0; 3]) <= 40.0, "{now:?}");
            assert!(distance_m(now.pos, before.pos) < 0.3, "{now:?}");
        });
        let error = Crowd::one_spot(&Scene::plaza(), 10, 5.0).expect_err("scenes reach 7 m").to_string();
        assert!(error.contains("reaches") && error.contains("allow more than"), "{error}");
    }

    #[test]
    fn who_is_alone_sees_nobody_and_never_moves() {
        let crowd = Crowd::alone(2_000, 57.0);
        assert_eq!(crowd.agents.len(), 2_000);
        assert_eq!(crowd.others_within(RADIUS_M * HYSTERESIS, 0.0), 0.0);
        for agent in &crowd.agents {
            assert_eq!((agent.at(0.0), agent.next_change(0.0)), (agent.at(98_765.0), f64::INFINITY));
            assert!(agent.at(0.0).pos.iter().all(|m| m.abs() < 2_000.0), "within the plaza's world");
        }
    }

    #[test]
    fn the_same_request_makes_the_same_crowd() {
        let places = |crowd: &Crowd| crowd.agents.iter().map(|agent| agent.at(54_321.0)).collect::<Vec<_>>();
        assert_eq!(places(&default_crowd()), places(&default_crowd()));
        assert!(Crowd::tiled(&[], 1, Layout::default()).is_err(), "no scenes, no crowd");
    }
}
