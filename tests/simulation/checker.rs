//! What must hold all along. The checker knows the truth (every admitted sample, every record that entered the log) and
//! looks at what each client holds whenever a state arrives. It judges a state by the truth of the moment at which its
//! tick was frozen, so that slow links do not blur the bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use nearcast::client::Mirror;
use nearcast::codec::Payload;
use nearcast::codec::message::{Id, Out};
use nearcast::codec::state::Delta;
use nearcast::limits::{
    EVENT_RING, EXPIRY_US, FACING_SLACK, FLOW_START_US, FLOW_UNSEEN_MAX, HYSTERESIS, MILLI_US, OPEN_ACTS_MAX, SECOND_US,
};
use nearcast::log::Source;
use nearcast::region::{Submit, World};
use nearcast::settings::WorldSettings;
use nearcast::space::Pos;

use crate::bots::Bot;
use crate::bytes::Spent;
use crate::history::History;

/// A margin on every distance, metres: positions are rounded, and borders are crossed 1 m late.
const MARGIN_M: f64 = 1.0;
/// After something went wrong with motion, everybody has been repeated whole by then: a keyframe, and some time.
const HEALED_US: u64 = 7 * SECOND_US;
/// A lost `leave` leaves a ghost for this long.
const EXPIRED_US: u64 = 18 * SECOND_US;
/// Longest stall, and what precedes it: an older sample than this is not under way any more.
const UNDER_WAY_US: u64 = 30 * SECOND_US;

/// What a state of a full view takes on a healthy link, and a bot to look at it.
const LAG_SLACK_US: u64 = 20 * MILLI_US;
/// A plan holds the nearest so many on any budget: a stride of 32 ticks serves them with one row a tick.
const HELD_MIN: usize = 32;
/// How much longer who has a small budget, a slow link or a late `seen` may miss somebody, and be shown a ghost. Within
/// 100 seeds it takes 1.1 s and 0.3 s: bytes are saved up for an enter, and taken turns for with events.
const POOR_MISSING_US: u64 = 4 * SECOND_US;
const POOR_GHOST_US: u64 = 2 * SECOND_US;

/// Who says or hears something.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// The gateway's incarnation.
    pub gateway: usize,
    /// The bot.
    pub bot: usize,
    /// The bot's connection.
    pub conn: u64,
}

/// What became of an avatar, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its session lives.
    Live,
    /// Its socket was lost.
    Lingering(u64),
    /// Its gateway died.
    Orphan(u64),
    /// Its gateway died while its `leave` was due: it may have been written.
    Unsure(u64),
    /// It said bye.
    Left(u64),
}

/// One sample as it was admitted.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// When it was handed to the world.
    pub at_us: u64,
    /// The bot's number for it, which travels as application state.
    pub counter: u64,
    /// Where.
    pub pos: Pos,
    /// Facing.
    pub yaw: u8,
}

impl Step {
    /// Whether an avatar stands there and faces that way, as nearly as facing is told.
    pub fn is_shown_by(&self, avatar: &nearcast::client::Avatar) -> bool {
        let turn = self.yaw.wrapping_sub(avatar.yaw) as i8;
        self.pos == avatar.pos && turn.unsigned_abs() <= FACING_SLACK
    }
}

/// The truth about an avatar.
pub struct Life {
    /// Its gateway.
    pub gateway: usize,
    /// All samples.
    pub steps: Vec<Step>,
    /// All profiles, since when.
    pub profiles: Vec<(u64, Arc<str>)>,
    /// What became of it.
    pub phase: Phase,
}

impl Life {
    /// Where it was at a time.
    pub fn at(&self, at_us: u64) -> Option<&Step> {
        let after = self.steps.partition_point(|step| step.at_us <= at_us);
        self.steps[..after].last()
    }

    /// Whether all its samples that may be taken for the newest within `[from, to]` satisfy `holds`.
    fn all_within(&self, from_us: u64, to_us: u64, holds: impl Fn(Pos) -> bool) -> bool {
        let first = self.steps.partition_point(|step| step.at_us <= from_us).saturating_sub(1);
        let last = self.steps.partition_point(|step| step.at_us <= to_us);
        first < last && self.steps[first..last].iter().all(|step| holds(step.pos))
    }
}

/// What is wrong with a view, about one entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Missing,
    Ghost,
}

/// What the checker knows of one connection.
pub struct Viewer {
    /// Who.
    pub who: Who,
    /// Its session.
    pub session: Id,
    /// Its own avatar.
    pub entity: Id,
    /// How far it sees, and since when.
    pub radius: (f64, u64),
    /// Its budget suffices and its link too.
    pub well_served: bool,
    /// Its link cannot carry its budget: ticks may be skipped.
    slow_link: bool,
    /// It says `seen` late: so long after a state was sent at the latest.
    lag_us: Option<u64>,
    /// When its first and its last state were sent.
    states_us: Option<(u64, u64)>,
    /// It reads JSON, whose rows are larger.
    pub json: bool,
    /// It holds a whole view, since then.
    pub whole_us: Option<u64>,
    /// Since when it joins, while it does.
    joining_us: u64,
    opened_us: u64,
    /// The newest sample and profile shown of each, ever.
    shown: BTreeMap<Id, (u64, usize)>,
    wrong: BTreeMap<Id, (Wrong, u64)>,
    lied: bool,
    spent: Spent,
}

/// The checker.
pub struct Checker {
    /// The first violation.
    pub violation: Option<String>,
    /// What happened.
    pub story: Vec<String>,
    /// Actions and events.
    pub history: History,
    settings: Arc<WorldSettings>,
    start_us: u64,
    now_us: u64,
    bad_us: u64,
    delay_us: u64,
    clock_steps: u64,
    /// Gateways that have ever run.
    gateways: usize,
    lives: BTreeMap<Id, Life>,
    viewers: BTreeMap<u64, Viewer>,
    ticks: BTreeMap<(usize, u64), u64>,
    states: u64,
    judged: u64,
}

impl Checker {
    /// Knows nothing yet. `delay_us` is the longest way through a healthy log.
    pub fn new(settings: Arc<WorldSettings>, delay_us: u64) -> Checker {
        Checker {
            violation: None,
            story: Vec::new(),
            history: History::new(settings.grid),
            settings,
            start_us: 0,
            now_us: 0,
            bad_us: 0,
            delay_us,
            clock_steps: 0,
            gateways: 0,
            lives: BTreeMap::new(),
            viewers: BTreeMap::new(),
            ticks: BTreeMap::new(),
            states: 0,
            judged: 0,
        }
    }

    /// Something must not be. The first counts.
    pub fn fail(&mut self, what: String) {
        self.note(format!("VIOLATION {what}"));
        let at_s = (self.now_us - self.start_us) as f64 / 1e6;
        self.violation.get_or_insert_with(|| format!("after {at_s:.3} s: {what}"));
    }

    /// Something happened.
    pub fn note(&mut self, what: String) {
        let at_s = (self.now_us - self.start_us) as f64 / 1e6;
        self.story.push(format!("{at_s:7.3} {what}"));
    }

    /// For the report.
    pub fn counts(&self) -> String {
        format!("{} states, {} judgements, {}", self.states, self.judged, self.history.counts())
    }

    /// It is later.
    pub fn time(&mut self, now_us: u64, bad_us: u64) {
        if self.start_us == 0 {
            self.start_us = now_us;
        }
        (self.now_us, self.bad_us) = (now_us, bad_us);
        if (now_us / MILLI_US).is_multiple_of(100) {
            self.overdue();
        }
    }

    /// Append times jumped.
    pub fn clock_stepped(&mut self) {
        self.clock_steps += 1;
    }

    // --- the truth ------------------------------------------------------------------------------------------------

    /// A connection opens.
    pub fn opened(&mut self, who: Who, session: Id, entity: Id, bot: &Bot) {
        self.note(format!("bot {} connects to gateway {} as {session:x}, avatar {entity:x}", who.bot, who.gateway));
        let viewer = Viewer {
            who,
            session,
            entity,
            radius: (self.settings.radius, self.now_us),
            well_served: bot.is_well_served(),
            slow_link: bot.is_slow(),
            lag_us: bot.lag_us(),
            states_us: None,
            json: bot.encoding == nearcast::codec::Encoding::Json,
            whole_us: None,
            joining_us: self.now_us,
            opened_us: self.now_us,
            shown: BTreeMap::new(),
            wrong: BTreeMap::new(),
            lied: false,
            spent: Spent::new(bot.budget(), bot.is_slow() || bot.lag_us().is_some(), self.now_us),
        };
        self.viewers.insert(who.conn, viewer);
    }

    /// A connection is over, at one end at least.
    pub fn closed(&mut self, conn: u64) {
        if let Some(viewer) = self.viewers.remove(&conn) {
            self.note(format!("bot {} is off, {:x}", viewer.who.bot, viewer.session));
            self.history.closed(conn);
        }
    }

    /// A session hands something to its world.
    pub fn submitted(&mut self, who: Who, submit: &Submit) {
        let now_us = self.now_us;
        match submit {
            Submit::Open { entity, profile, radius_m, .. } => {
                let profiles = vec![(now_us, profile.clone())];
                let life = Life { gateway: who.gateway, steps: Vec::new(), profiles, phase: Phase::Live };
                self.lives.insert(*entity, life);
                self.see(who, *radius_m);
            }
            Submit::Move { entity, place } => {
                let counter = place.state.bytes().try_into().map(u64::from_le_bytes);
                let counter = counter.expect("bots number their samples");
                let step = Step { at_us: now_us, counter, pos: place.pos, yaw: place.yaw };
                let life = self.lives.get_mut(entity).expect("it was opened");
                if life.steps.last().is_some_and(|last| last.counter >= counter) {
                    self.fail(format!("sample {counter} of {entity:x} was handed on after a newer one"));
                } else {
                    life.steps.push(step);
                }
            }
            Submit::Profile { entity, profile } => {
                let life = self.lives.get_mut(entity).expect("it was opened");
                life.profiles.push((now_us, profile.clone()));
            }
            Submit::Radius { radius_m, .. } => self.see(who, *radius_m),
            Submit::Gone { entity } => self.ended(*entity, Phase::Lingering(now_us)),
            Submit::Leave { entity } => self.ended(*entity, Phase::Left(now_us)),
            Submit::Act(_) => {}
        }
    }

    fn see(&mut self, who: Who, radius_m: f64) {
        if let Some(viewer) = self.viewers.get_mut(&who.conn) {
            viewer.radius = (radius_m, self.now_us);
        }
    }

    fn ended(&mut self, entity: Id, phase: Phase) {
        self.note(format!("avatar {entity:x}: {phase:?}"));
        self.lives.get_mut(&entity).expect("it was opened").phase = phase;
    }

    /// A gateway died.
    pub fn gateway_died(&mut self, gateway: usize) {
        let now_us = self.now_us;
        for life in self.lives.values_mut().filter(|life| life.gateway == gateway) {
            life.phase = match life.phase {
                Phase::Live => Phase::Orphan(now_us),
                Phase::Lingering(since) if now_us < since + EXPIRY_US => Phase::Orphan(now_us),
                // Its `leave` is written with the upkeep that follows.
                Phase::Lingering(since) if now_us < since + EXPIRY_US + SECOND_US => Phase::Unsure(now_us),
                Phase::Lingering(_) | Phase::Orphan(_) | Phase::Unsure(_) | Phase::Left(_) => life.phase,
            };
        }
    }

    /// A gateway froze a tick.
    pub fn ticked(&mut self, gateway: usize, tick: u64) {
        self.ticks.insert((gateway, tick), self.now_us);
    }

    /// A record entered the log.
    pub fn entered(&mut self, source: Source, offset: u64, bytes: &Bytes) {
        let now_us = self.now_us;
        let Checker { history, viewers, lives, delay_us, .. } = self;
        let result = history.entered(source, offset, bytes, viewers, lives, (now_us, *delay_us));
        result.unwrap_or_else(|what| self.fail(what));
    }

    // --- what clients get -----------------------------------------------------------------------------------------

    /// A message was handed to a socket: it counts against the budget.
    pub fn sent(&mut self, conn: u64, payload: &Payload) {
        let now_us = self.now_us;
        if let Some(viewer) = self.viewers.get_mut(&conn)
            && let Err(what) = viewer.spent.add(payload, now_us)
        {
            let bot = viewer.who.bot;
            self.fail(format!("bot {bot}: {what}"));
        }
    }

    /// That was a state.
    pub fn sent_state(&mut self, conn: u64) {
        if let Some(viewer) = self.viewers.get_mut(&conn) {
            viewer.states_us.get_or_insert((self.now_us, self.now_us)).1 = self.now_us;
        }
    }

    /// A tick was skipped, because too much is on its way: never on a healthy link, once that is known. Who says `seen`
    /// late has nothing on its way when it has said it for the last state.
    pub fn skipped(&mut self, conn: u64) {
        let Some(viewer) = self.viewers.get(&conn) else { return };
        let (bot, now_us) = (viewer.who.bot, self.now_us);
        let fault = match (viewer.states_us, viewer.lag_us) {
            _ if viewer.slow_link => false,
            (None, _) => true,
            (Some((_, last_us)), Some(lag_us)) => now_us > last_us + lag_us + LAG_SLACK_US,
            (Some((first_us, _)), None) => now_us >= first_us + FLOW_START_US,
        };
        if fault {
            self.fail(format!("a tick was skipped for bot {bot}, whose link is healthy"));
        }
    }

    /// A bot reports a wrong digest on purpose.
    pub fn lied(&mut self, conn: u64) {
        self.viewers.entry(conn).and_modify(|viewer| viewer.lied = true);
    }

    /// A gateway compared a digest.
    pub fn digest(&mut self, conn: u64, same: bool) {
        let Some(viewer) = self.viewers.get_mut(&conn) else { return };
        if !same && !std::mem::take(&mut viewer.lied) {
            let what = format!("bot {} holds something else than its gateway thinks", viewer.who.bot);
            self.fail(what);
        }
    }

    /// A message other than a state arrived.
    pub fn told(&mut self, conn: u64, out: &Out) {
        let Some(viewer) = self.viewers.get(&conn) else { return };
        let result = self.history.told(viewer, out);
        result.unwrap_or_else(|what| self.fail(what));
    }

    /// A state arrived and was applied; `before` were shown until then.
    pub fn state(&mut self, conn: u64, before: &[Id], mirror: &Mirror, delta: &Delta) {
        self.states += 1;
        let now_us = self.now_us;
        let Some(viewer) = self.viewers.get_mut(&conn) else { return };
        let Some(&at_us) = self.ticks.get(&(viewer.who.gateway, delta.tick)) else {
            return self.fail(format!("a state shows tick {}, which was never frozen", delta.tick));
        };
        if mirror.is_joining() || delta.partial {
            viewer.whole_us = None;
            viewer.wrong.clear();
        } else {
            viewer.whole_us.get_or_insert(now_us);
            viewer.joining_us = now_us;
        }
        let mut faults = Vec::new();
        let touched = delta.enters.iter().map(|e| e.row.slot).chain(delta.changes.iter().map(|c| c.slot));
        for slot in touched.chain(delta.updates.iter().map(|row| row.slot)) {
            let Some(avatar) = mirror.at(slot) else { continue };
            let known = !delta.partial && at_us > self.bad_us + HEALED_US;
            faults.extend(versions(viewer, &self.lives, avatar, at_us, known));
        }
        let me = self.lives.get(&viewer.entity).and_then(|life| life.at(at_us)).map(|step| step.pos);
        if let (Some(me), Some(whole_us)) = (me, viewer.whole_us) {
            let over = |since_us: u64| now_us > since_us.max(self.bad_us) + EXPIRED_US;
            let there = self.lives.values().filter(|life| match life.phase {
                Phase::Live => true,
                Phase::Lingering(since_us)
                | Phase::Orphan(since_us)
                | Phase::Unsure(since_us)
                | Phase::Left(since_us) => !over(since_us),
            });
            let sight = Sight {
                all_fit: there.count() <= HELD_MIN,
                at_us,
                me,
                same_us: if viewer.json { 2_500 } else { 500 } * MILLI_US,
                other_us: 2 * self.delay_us + 700 * MILLI_US,
                bad_us: self.bad_us,
                clock_steps: self.clock_steps,
                settled: now_us > viewer.radius.1 + 3 * SECOND_US,
                established: now_us > whole_us + SECOND_US,
                hysteresis: if delta.full_begin || delta.full_end { 1.0 } else { HYSTERESIS },
            };
            for (id, life) in &self.lives {
                if *id != viewer.entity {
                    self.judged += 1;
                    faults.extend(sight.judge(viewer, *id, life, mirror, before.contains(id)));
                }
            }
        }
        faults.into_iter().for_each(|what| self.fail(what));
    }

    // --- all along ------------------------------------------------------------------------------------------------

    /// Everything that a gateway keeps has a bound.
    pub fn bounded(&mut self, gateway: usize, world: &World, unseen: impl Iterator<Item = usize>) {
        let (queued, pending) = world.waiting();
        let sessions = self.lives.values().filter(|life| life.gateway == gateway).count();
        self.gateways = self.gateways.max(gateway + 1);
        let kept = world.kept();
        let folded = (0..self.partitions()).flat_map(|partition| world.folded(partition).map(|(id, _)| id));
        let held = folded.collect::<BTreeSet<Id>>().len();
        let within = queued <= world.owned()
            && world.owned() <= sessions
            && pending <= sessions * OPEN_ACTS_MAX as usize
            // Each is sent again only after its answer, or 10 s of silence.
            && kept.tickets <= sessions * OPEN_ACTS_MAX as usize
            && world.followed() <= usize::from(self.settings.grid.partitions())
            && kept.handles == held
            && kept.handles + kept.free_handles <= self.lives.len()
            && kept.tombstones <= self.lives.len()
            && kept.windows <= self.lives.len()
            && kept.events <= EVENT_RING
            && kept.peers < self.gateways;
        if !within || unseen.max().unwrap_or(0) > FLOW_UNSEEN_MAX {
            let queues = format!("{queued} samples, {pending} actions, {held} entities, {kept:?}");
            self.fail(format!("gateway {gateway} holds too much: {queues}"));
        }
    }

    fn overdue(&mut self) {
        let healthy_us = self.bad_us + HEALED_US;
        let now_us = self.now_us;
        let mut faults = Vec::new();
        for viewer in self.viewers.values() {
            let has_place = self.lives.get(&viewer.entity).is_some_and(|life| !life.steps.is_empty());
            let bound_us = if viewer.well_served { 10 } else { 20 } * SECOND_US;
            let since_us = viewer.joining_us.max(healthy_us).max(viewer.opened_us);
            if has_place && viewer.whole_us.is_none() && now_us > since_us + bound_us {
                faults.push(format!("bot {} has no whole view after {} s", viewer.who.bot, bound_us / SECOND_US));
            }
        }
        faults.extend(self.history.overdue(&self.viewers, &self.lives, now_us, self.bad_us));
        faults.into_iter().for_each(|what| self.fail(what));
    }

    /// Partitions of the world.
    pub fn partitions(&self) -> u16 {
        self.settings.grid.partitions()
    }

    /// The truth about all avatars.
    pub fn lives(&self) -> &BTreeMap<Id, Life> {
        &self.lives
    }

    /// What is known of a connection.
    pub fn viewer(&self, conn: u64) -> Option<&Viewer> {
        self.viewers.get(&conn)
    }
}

/// The sample shown is one that was admitted, byte for byte, and never older than the one before.
fn versions(
    viewer: &mut Viewer,
    lives: &BTreeMap<Id, Life>,
    avatar: &nearcast::client::Avatar,
    at_us: u64,
    known: bool,
) -> Option<String> {
    let (bot, id) = (viewer.who.bot, avatar.entity);
    let Some(life) = lives.get(&id) else { return Some(format!("bot {bot} sees {id:x}, which never was")) };
    let counter = avatar.state.bytes().try_into().map_or(0, u64::from_le_bytes);
    let Ok(index) = life.steps.binary_search_by_key(&counter, |step| step.counter) else {
        return Some(format!("bot {bot} sees sample {counter} of {id:x}, which was never admitted"));
    };
    let step = life.steps[index];
    if !step.is_shown_by(avatar) {
        return Some(format!("bot {bot} sees {id:x} at {:?}, sample {counter} says {:?}", avatar.pos, step.pos));
    }
    let same = life.gateway == viewer.who.gateway;
    // Another gateway's avatar has no profile until its first keyframe has come: never, if that gateway died.
    let known = known && !matches!(life.phase, Phase::Orphan(_) | Phase::Unsure(_));
    let unknown = (avatar.profile.is_empty() && !same && !known).then_some(0);
    let Some(profile) = life.profiles.iter().position(|(_, profile)| *profile == avatar.profile).or(unknown) else {
        return Some(format!("bot {bot} sees {id:x} as {:?}, which it never was", avatar.profile));
    };
    let shown = viewer.shown.entry(id).or_insert((counter, profile));
    if shown.0 > counter || (shown.1 > profile && unknown.is_none()) {
        return Some(format!("bot {bot} saw sample {} of {id:x}, and now {counter}: back in time", shown.0));
    }
    *shown = (counter, profile.max(shown.1));
    let next_us = life.steps.get(index + 1).map_or(u64::MAX, |next| next.at_us);
    let stale_us = at_us.saturating_sub(next_us);
    if same && viewer.well_served && stale_us > 3 * SECOND_US {
        return Some(format!("bot {bot} is told a sample of {id:x} that is {stale_us} us behind"));
    }
    None
}

/// What one viewer should see at the moment of one tick.
struct Sight {
    at_us: u64,
    me: Pos,
    /// Bounds for avatars of the same and of another gateway.
    same_us: u64,
    other_us: u64,
    bad_us: u64,
    clock_steps: u64,
    /// Nobody is crowded out, however small the budget.
    all_fit: bool,
    /// The radius has been the same for a while.
    settled: bool,
    established: bool,
    /// A full view, just come to its end, knows nothing of who was held.
    hysteresis: f64,
}

impl Sight {
    fn judge(&self, viewer: &mut Viewer, id: Id, life: &Life, mirror: &Mirror, before: bool) -> Option<String> {
        let at_us = self.at_us;
        let radius_m = viewer.radius.0;
        let distance_m = life.at(at_us).map(|step| step.pos.distance_m(self.me));
        let inside = distance_m.is_some_and(|d| d < radius_m - MARGIN_M);
        let outside = distance_m.is_none_or(|d| d > radius_m * HYSTERESIS + MARGIN_M);
        // How long the avatar must be shown, and from when on it must not.
        let (until_us, gone_us) = match life.phase {
            Phase::Live => (u64::MAX, u64::MAX),
            Phase::Left(since) => (since, since),
            Phase::Unsure(since) => (since, since + 17 * SECOND_US),
            Phase::Lingering(since) => (since + 13 * SECOND_US, since + 17 * SECOND_US),
            Phase::Orphan(since) => {
                // A clock step and a stall count as 2 s each of the 15 s after its last sample.
                let steps = self.clock_steps + u64::from(since < self.bad_us + EXPIRY_US);
                (since + (9 * SECOND_US).saturating_sub(2 * SECOND_US * steps), since + 17 * SECOND_US)
            }
        };
        let same = life.gateway == viewer.who.gateway;
        let shown = mirror.find(id).is_some();
        let entitled = inside && at_us < until_us;
        let wrong = if entitled && !shown && self.settled && (viewer.well_served || self.all_fit) {
            Some(Wrong::Missing)
        } else if shown && self.settled && (outside || at_us > gone_us) {
            Some(Wrong::Ghost)
        } else {
            None
        };
        let judged = self.established && self.settled && viewer.well_served && at_us < until_us;
        if before && !shown && judged && self.must_be_near(radius_m, life, same) {
            let bot = viewer.who.bot;
            return Some(format!(
                "bot {bot}: {id:x} ({:?}, same gateway: {same}) was removed and is near: {:?} m, me {:?}",
                life.phase, distance_m, self.me
            ));
        }
        let Some(wrong) = wrong else {
            viewer.wrong.remove(&id);
            return None;
        };
        let (kind, since_us) = *viewer
            .wrong
            .entry(id)
            .and_modify(|w| {
                if w.0 != wrong {
                    *w = (wrong, at_us)
                }
            })
            .or_insert((wrong, at_us));
        let healed_us = match kind {
            // Events that waited for the log come first, and use the budget up.
            _ if same => self.bad_us + 5 * SECOND_US,
            Wrong::Missing => self.bad_us + HEALED_US,
            // A `leave` may have been lost.
            Wrong::Ghost => self.bad_us + EXPIRED_US + 2 * SECOND_US,
        };
        let bound_us = if same { self.same_us } else { self.other_us };
        let slow_us = match kind {
            _ if viewer.well_served => 0,
            Wrong::Missing => POOR_MISSING_US,
            Wrong::Ghost => POOR_GHOST_US,
        };
        if at_us > since_us.max(healed_us) + bound_us + slow_us {
            let bot = viewer.who.bot;
            let what = format!(
                "bot {bot}: {kind:?} {id:x} ({:?}, same gateway: {same}) at {distance_m:?} m of {radius_m:.1} for {} ms",
                life.phase,
                (at_us - since_us) / MILLI_US
            );
            return Some(what);
        }
        None
    }

    /// Wherever its gateway may think the avatar is, it is near: so it must not be removed, whatever the log does.
    fn must_be_near(&self, radius_m: f64, life: &Life, same: bool) -> bool {
        let back_us = match same {
            true => 300 * MILLI_US,
            false if self.at_us > self.bad_us + HEALED_US => self.other_us,
            false => UNDER_WAY_US,
        };
        let near = |pos: Pos| pos.distance_m(self.me) < radius_m * self.hysteresis - 2.0 * MARGIN_M;
        life.all_within(self.at_us.saturating_sub(back_us), self.at_us, near)
    }
}
