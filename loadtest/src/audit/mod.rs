//! The judge of what bots receive: compares what a client holds with the truth, which the swarm knows because it plays
//! it. Pure but for its histograms; the swarm tells it what came and when to look.

pub mod rules;
pub mod tally;

use std::collections::HashMap;

use nearcast::client::{Avatar, Mirror};
use nearcast::codec::message::Id;
use nearcast::codec::state::{AGE_OLD_MS, Delta, Row};
use nearcast::limits::{EMPTY_STATE_TICKS, FLUSH_US, NEAREST, TICK_US};

use crate::scene::{Agent, distance_m};
use rules::{Bucket, Nearest, Presence, Should, last_sample_us, nearest_sample_us, should, stale_for_us};
use tally::{BANDS_M, Tally};

/// Drawing goes this far beyond the newest sample, µs.
pub const AHEAD_US: u64 = 100_000;
/// Who came is held this long after, µs.
const HELD_AFTER_US: u64 = 8_000_000;
/// A view that has just opened is joining for this long at least, µs.
const OPENING_US: u64 = 1_000_000;
/// Whether somebody moved between two ticks is asked of ticks this long ago, so that their samples have all gone out, µs.
const BACK_US: u64 = 25_000;
/// A sample that comes to the gateway this much before a tick is in it, µs: it waits for one flush. One that comes later
/// may be, but nobody is blamed for it.
const IN_TIME_US: u64 = FLUSH_US;

/// What the swarm knows of one of its avatars.
#[derive(Clone, Debug)]
pub struct Player {
    /// The person it plays.
    pub agent: Agent,
    /// Which gateway it speaks to.
    pub gateway: usize,
    /// Its way to the gateway takes this long, µs; the gateway cannot know and dates its samples later by as much.
    pub one_way_us: u64,
    /// Its avatar, once it is welcome and until it leaves.
    pub entity: Option<Id>,
    /// When its first sample was due, µs; the others follow every 50 ms.
    pub phase_us: u64,
    /// The position it said last, metres.
    pub said: Option<[f64; 3]>,
    /// How much later than due its last samples went out, µs, by their number modulo [`LATE_KEPT`].
    pub late_us: [u64; LATE_KEPT],
}

/// Samples of which the lateness is kept.
pub const LATE_KEPT: usize = 32;
/// Ticks of one hole that are looked at, the newest. Their samples' lateness is still kept when the state after the hole
/// comes, up to 270 ms on either way. In a longer hole states were missed, as one comes without news too: its older ticks
/// count so without a look.
const HOLE_TICKS: u64 = EMPTY_STATE_TICKS - 1;

impl Player {
    /// Where the lateness of a sample is kept.
    #[must_use]
    pub fn late_at(&self, sample_us: u64) -> usize {
        (sample_us.saturating_sub(self.phase_us) / TICK_US) as usize % LATE_KEPT
    }
}

/// All avatars of the swarm.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// By number of the bot.
    pub players: Vec<Player>,
    /// Every entity that there ever was, and whose it was.
    pub by_entity: HashMap<Id, u32>,
}

impl Roster {
    /// Who plays an entity now.
    fn player(&self, entity: Id) -> Option<&Player> {
        self.players.get(*self.by_entity.get(&entity)? as usize).filter(|player| player.entity == Some(entity))
    }
}

/// What the audit needs to know of a client besides its view.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Number of the bot.
    pub bot: usize,
    /// Its gateway's clock less ours, µs.
    pub offset_us: i64,
    /// Its radius, metres.
    pub radius_m: f64,
    /// Its budget, bytes per second.
    pub budget: u32,
    /// As many entities as the budget can hold in view; of the others nothing is said.
    pub holds: usize,
}

/// One audited client.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    presence: Presence,
    nearest: Nearest,
    bucket: Bucket,
    joined_us: u64,
    counted: bool,
    near: Vec<(f64, Id)>,
}

impl Watch {
    /// Begins with a client that was welcomed at a moment.
    #[must_use]
    pub fn new(joined_us: u64) -> Watch {
        Watch { joined_us, ..Watch::default() }
    }

    /// Bytes came, with their framing.
    pub fn bytes(&mut self, bytes: usize, client: &Client, now_us: u64, tally: &mut Tally) {
        self.bucket.add(bytes, client.budget, now_us);
        tally.budget_depth_s = tally.budget_depth_s.max(self.bucket.deepest() / f64::from(client.budget));
    }

    /// A state came at `received_us` and is in the mirror now.
    pub fn state(
        &mut self,
        delta: &Delta,
        mirror: &Mirror,
        client: &Client,
        roster: &Roster,
        received_us: u64,
        tally: &mut Tally,
    ) {
        for row in &delta.updates {
            let Some(entity) = mirror.at(row.slot).map(|avatar| avatar.entity) else { continue };
            let Some(player) = roster.player(entity) else { continue };
            self.nearest.told(entity);
            tally.updates += 1;
            let Some(sample_us) = date(row, delta.tick, client, player, roster, tally) else { continue };
            let age_us = received_us.saturating_sub(sample_us);
            let same_gateway = player.gateway == roster.players[client.bot].gateway;
            if same_gateway { &mut tally.age_us } else { &mut tally.age_other_us }.saturating_record(age_us);
            tally.codec_cm.saturating_record(off_cm(row, player, sample_us));
        }
        Watch::at_the_tick(mirror, client, roster, tally);
        for enter in &delta.enters {
            let Some(player) = roster.player(enter.entity) else { continue };
            let Some(sample_us) = date(&enter.row, delta.tick, client, player, roster, tally) else { continue };
            tally.codec_cm.saturating_record(off_cm(&enter.row, player, sample_us));
        }
    }

    /// What is held after a state against what the gateway had heard by its tick, told or not.
    fn at_the_tick(mirror: &Mirror, client: &Client, roster: &Roster, tally: &mut Tally) {
        let tick_us = ((mirror.tick() * TICK_US) as i64 - client.offset_us).max(0) as u64;
        for avatar in mirror.shown() {
            let Some(player) = roster.player(avatar.entity) else { continue };
            let place = avatar.pos.metres();
            let newest_us = last_sample_us((tick_us + IN_TIME_US).saturating_sub(player.one_way_us), player.phase_us);
            let heard_us = newest_us + player.late_us[player.late_at(newest_us)] + player.one_way_us;
            // A sample that comes so near to the tick, or later, may be in or not.
            let before_us = if heard_us + IN_TIME_US < tick_us { newest_us } else { newest_us.saturating_sub(TICK_US) };
            let off = |us: u64| (distance_m(place, player.agent.at(us as f64 / 1e3).pos) * 100.0).round() as u64;
            tally.tick_cm.saturating_record(off(newest_us).min(off(before_us)));
        }
    }

    /// Looks at the view as it is; to be done every 50 ms.
    pub fn look(&mut self, mirror: &Mirror, client: &Client, roster: &Roster, now_us: u64, tally: &mut Tally) {
        let me = &roster.players[client.bot];
        let Some(my_place) = me.said else { return };
        let gateway_us = (now_us as i64 + client.offset_us).max(0) as u64;
        tally.view_age_us.saturating_record(gateway_us.saturating_sub(mirror.tick() * TICK_US));
        let joining = mirror.is_joining() || now_us.saturating_sub(self.joined_us) < OPENING_US;
        for avatar in mirror.shown() {
            match roster.player(avatar.entity) {
                Some(player) => {
                    let is_far = |said| should(distance_m(said, my_place), client.radius_m) == Should::Not;
                    if !joining && player.said.is_some_and(is_far) {
                        self.presence.look(avatar.entity, true, Should::Not, now_us, &mut tally.presence);
                    }
                    look_at(avatar, player, client, roster, my_place, now_us, tally);
                }
                None if !joining && roster.by_entity.contains_key(&avatar.entity) => {
                    self.presence.look(avatar.entity, true, Should::Not, now_us, &mut tally.presence);
                }
                None => {}
            }
        }
        self.neighbours(roster, client, my_place);
        if joining {
            self.presence.forget();
        } else {
            for (rank, (distance_m, entity)) in self.near.iter().enumerate() {
                let held = mirror.find(*entity).is_some();
                let should = if rank < client.holds { should(*distance_m, client.radius_m) } else { Should::Either };
                self.presence.look(*entity, held, should, now_us, &mut tally.presence);
            }
            self.presence.looked(now_us);
        }
        self.look_at_nearest(roster, mirror, now_us, tally);
        if !self.counted && now_us.saturating_sub(self.joined_us) >= HELD_AFTER_US {
            self.counted = true;
            let to_hold = self.near.iter().filter(|(d, _)| should(*d, client.radius_m) == Should::Hold);
            let missing = to_hold.filter(|(_, entity)| mirror.find(*entity).is_none()).count();
            tally.joins.push((mirror.shown().count(), missing));
        }
    }

    /// All others who are not too far to be held, the nearest first.
    fn neighbours(&mut self, roster: &Roster, client: &Client, my_place: [f64; 3]) {
        self.near.clear();
        for (bot, player) in roster.players.iter().enumerate() {
            if let (Some(entity), Some(said), false) = (player.entity, player.said, bot == client.bot) {
                let distance_m = distance_m(said, my_place);
                if should(distance_m, client.radius_m) != Should::Not {
                    self.near.push((distance_m, entity));
                }
            }
        }
        self.near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    }

    fn look_at_nearest(&mut self, roster: &Roster, mirror: &Mirror, now_us: u64, tally: &mut Tally) {
        for (_, entity) in self.near.iter().take(NEAREST).filter(|(_, entity)| mirror.find(*entity).is_some()) {
            let Some(player) = roster.player(*entity) else { continue };
            let at = |us: u64| player.agent.at(last_sample_us(us, player.phase_us) as f64 / 1e3).pos;
            let then_us = now_us.saturating_sub(BACK_US);
            let moved = at(then_us) != at(then_us.saturating_sub(TICK_US));
            self.nearest.look(*entity, moved, now_us, &mut tally.rates);
        }
        self.nearest.looked(now_us);
    }
}

/// Ticks between two states, or after the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hole {
    /// There was nothing to tell.
    pub quiet: u64,
    /// Somebody held had moved.
    pub missed: u64,
}

impl Hole {
    /// Judges the ticks after `shown` and before `next`, of which a client that holds `mirror` got no state.
    #[must_use]
    pub fn between(shown: u64, next: u64, mirror: &Mirror, client: &Client, roster: &Roster) -> Hole {
        let ticks = next.saturating_sub(shown + 1);
        let looked_at = ticks.min(HOLE_TICKS);
        let told = |tick: &u64| anything_to_tell(*tick, mirror, client, roster);
        let missed = ticks - looked_at + (next - looked_at..next).filter(told).count() as u64;
        Hole { quiet: ticks - missed, missed }
    }
}

/// Whether a tick had something new of anybody held: a sample that differs from the one before, and was sent early
/// enough to be in.
fn anything_to_tell(tick: u64, mirror: &Mirror, client: &Client, roster: &Roster) -> bool {
    let tick_us = ((tick * TICK_US) as i64 - client.offset_us).max(0) as u64;
    mirror.shown().filter_map(|avatar| roster.player(avatar.entity)).any(|player| {
        let sample_us = last_sample_us(tick_us.saturating_sub(player.one_way_us), player.phase_us);
        let at = |us: u64| player.agent.at(us as f64 / 1e3).pos;
        let sent_us = sample_us + player.late_us[player.late_at(sample_us)];
        let in_time = sent_us + player.one_way_us + IN_TIME_US < tick_us;
        in_time && sample_us >= player.phase_us + TICK_US && at(sample_us) != at(sample_us - TICK_US)
    })
}

/// One held entity against the truth.
fn look_at(
    avatar: &Avatar,
    player: &Player,
    client: &Client,
    roster: &Roster,
    my_place: [f64; 3],
    now_us: u64,
    tally: &mut Tally,
) {
    let ours_us = ours(avatar.time_us, client, player) - half_step_us(0);
    let sample_us = shown_sample_us(ours_us, avatar.pos.metres(), client, player, roster);
    tally.stale_us.saturating_record(stale_for_us(&player.agent, sample_us, now_us));
    let truth = player.agent.at(now_us as f64 / 1e3).pos;
    let distance = distance_m(truth, my_place);
    let Some(band) = BANDS_M.iter().position(|end_m| distance < *end_m) else { return };
    let cm = |place: [f64; 3]| (distance_m(place, truth) * 100.0).round() as u64;
    let gateway_us = (now_us as i64 + client.offset_us).max(0) as u64 + player.one_way_us;
    tally.held_cm[band].saturating_record(cm(avatar.pos.metres()));
    tally.drawn_cm[band].saturating_record(cm(avatar.at(gateway_us, AHEAD_US)));
}

/// The sample that a row shows. `None` if the row does not say how old it is.
fn date(row: &Row, tick: u64, client: &Client, player: &Player, roster: &Roster, tally: &mut Tally) -> Option<u64> {
    if row.age_ms >= AGE_OLD_MS {
        tally.undated += 1;
        return None;
    }
    let gateway_us = nearcast::client::sample_time_us(row, tick);
    let ours_us = ours(gateway_us, client, player) - half_step_us(row.age_ms);
    let sample_us = shown_sample_us(ours_us, row.pos.metres(), client, player, roster);
    tally.dating_us.saturating_record(ours_us.abs_diff(sample_us as i64));
    Some(sample_us)
}

/// The sample that a position told for a time shows, µs. On one gateway the time decides. Across gateways times are as
/// wrong as the gateways' idea of each other's clock, so among the samples around it the one at that place is taken.
fn shown_sample_us(time_us: i64, place: [f64; 3], client: &Client, player: &Player, roster: &Roster) -> u64 {
    let nearest_us = nearest_sample_us(time_us, player.phase_us);
    if player.gateway == roster.players[client.bot].gateway {
        return nearest_us;
    }
    let around = [0, -1, 1, -2, 2, -3, 3].map(|steps: i64| nearest_us.saturating_add_signed(steps * TICK_US as i64));
    let is_there = |us: &u64| distance_m(player.agent.at(*us as f64 / 1e3).pos, place) < 0.005;
    around.into_iter().find(|us| *us >= player.phase_us && is_there(us)).unwrap_or(nearest_us)
}

/// A sample's time as the gateway tells it, on our clock, µs.
fn ours(gateway_us: u64, client: &Client, player: &Player) -> i64 {
    gateway_us as i64 - client.offset_us - player.one_way_us as i64
}

/// Ages are rounded down, to 1 ms and from 128 ms on to 8 ms: half of that is put back, µs.
fn half_step_us(age_ms: u32) -> i64 {
    if age_ms < 128 { 500 } else { 4_000 }
}

/// The distance between a row and where its owner was, cm.
fn off_cm(row: &Row, player: &Player, sample_us: u64) -> u64 {
    (distance_m(row.pos.metres(), player.agent.at(sample_us as f64 / 1e3).pos) * 100.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::{Crowd, Layout};
    use crate::scene::Scene;
    use nearcast::codec::state::{Enter, Slot};

    /// Samples come 20 ms before a tick.
    const PHASE_US: u64 = 30_000;

    fn player(agent: &Agent) -> Player {
        let (agent, entity) = (agent.clone(), Some(7));
        Player { agent, gateway: 0, one_way_us: 0, entity, phase_us: PHASE_US, said: None, late_us: [0; LATE_KEPT] }
    }

    /// A client that holds entity 7 there since tick 100.
    fn holding(pos: nearcast::space::Pos) -> (Mirror, Client) {
        let slot = Slot { index: 0, generation: 0 };
        let row = Row { slot, pos, yaw: 0, age_ms: 0, flags: 0 };
        let state = nearcast::codec::message::AppState::default();
        let enters = vec![Enter { row, entity: 7, profile: "".into(), state }];
        let first = Delta { tick: 100, full_begin: true, full_end: true, enters, ..Delta::default() };
        let mut mirror = Mirror::default();
        mirror.apply(&first).expect("an empty table takes it");
        (mirror, Client { bot: 0, offset_us: 0, radius_m: 50.0, budget: 24_576, holds: 100 })
    }

    #[test]
    fn what_is_held_at_a_tick_is_off_by_what_was_not_told() {
        let crowd = Crowd::tiled(&Scene::plaza(), 60, Layout::default()).expect("the plaza fits");
        let mut moved = 0;
        for agent in &crowd.agents {
            let at = |ticks_ago: u64| agent.at(((99 - ticks_ago) * TICK_US + PHASE_US) as f64 / 1e3).pos;
            let off = |ticks_ago: u64, late_us: u64| {
                let (mirror, client) = holding(nearcast::space::Pos::from_metres(at(ticks_ago)).expect("in the world"));
                let players = vec![Player { late_us: [late_us; LATE_KEPT], ..player(agent) }];
                let roster = Roster { players, by_entity: HashMap::from([(7, 0)]) };
                let mut tally = Tally::default();
                Watch::at_the_tick(&mirror, &client, &roster, &mut tally);
                tally.tick_cm.max()
            };
            let way_cm = (distance_m(at(0), at(1)) * 100.0).round() as u64;
            assert_eq!((off(0, 0), off(1, 0)), (0, way_cm), "the newest sample was there 20 ms before the tick");
            assert_eq!((off(0, 16_000), off(1, 16_000)), (0, 0), "one of 4 ms before may be in or not");
            moved += u64::from(way_cm > 0);
        }
        assert!(moved > 20, "{moved} people moved");
    }

    #[test]
    fn a_tick_without_a_state_is_missed_only_if_it_had_news_in_time() {
        let crowd = Crowd::tiled(&Scene::plaza(), 60, Layout::default()).expect("the plaza fits");
        let (mirror, client) = holding(nearcast::space::Pos::default());
        let by_entity = HashMap::from([(7, 0)]);
        let hole = |player: Player, next: u64| {
            let roster = Roster { players: vec![player], by_entity: by_entity.clone() };
            Hole::between(100, next, &mirror, &client, &roster)
        };
        let mut some = Hole::default();
        for agent in &crowd.agents {
            let at = |tick: u64| agent.at((tick * TICK_US - TICK_US + PHASE_US) as f64 / 1e3).pos;
            let missed = (101..111).filter(|tick| at(*tick) != at(tick - 1)).count() as u64;
            assert_eq!(hole(player(agent), 111), Hole { quiet: 10 - missed, missed });
            some = Hole { quiet: some.quiet + 10 - missed, missed: some.missed + missed };
            let late = Player { late_us: [16_000; LATE_KEPT], ..player(agent) };
            assert_eq!(hole(late, 111), Hole { quiet: 10, missed: 0 }, "4 ms before a tick are too few");
            let gone = Player { entity: None, ..player(agent) };
            assert_eq!(hole(gone.clone(), 111), Hole { quiet: 10, missed: 0 }, "nothing is known of who left");
            assert_eq!(hole(gone, 200), Hole { quiet: HOLE_TICKS, missed: 99 - HOLE_TICKS }, "too long to be quiet");
        }
        assert!(some.quiet > 20 && some.missed > 20, "{some:?}");
        assert_eq!(hole(player(&crowd.agents[0]), 101), Hole::default());
        assert_eq!(hole(player(&crowd.agents[0]), 0), Hole::default(), "states that are still on their way");
    }
}
