//! One world on one gateway: takes submissions of its sessions, folds what the log brings, writes what its avatars
//! have to say, and freezes frames. Driven by `edge` every few milliseconds and by the simulation: both call
//! [`World::submit`], [`World::step`] and, on the tick, [`World::freeze`].

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::actions::Actions;
use super::batch;
use super::fold::{Fold, Folded, Held, Leaver, Map, Surroundings, Version};
use super::frame::{Entity, Frame, PartitionStatus, Spot, Tick};
use super::owned::{Owned, Place};
use super::reading::Reading;
use crate::clock::MinWindow;
use crate::codec::message::{AppState, Id};
use crate::codec::record::{self, Action, Foreign, Record, Sample, Stamp};
use crate::limits::{
    ANSWER_US, BEAT_JITTER_US, BEAT_US, FLUSH_US, FOLLOW_MARGIN_M, HYSTERESIS, LEAVER_US, MILLI_US, SECOND_US,
    STALE_US, UNFOLLOW_US,
};
use crate::log::{Fault, Follow, Log, Outcome, Polled, Source, Ticket, Topic};
use crate::space::{Grid, Pos, Region};

/// What a session asks of its world.
#[derive(Clone, Debug, PartialEq)]
pub enum Submit {
    /// A session opens; its avatar has no place yet.
    Open {
        /// The session.
        session: Id,
        /// Its avatar.
        entity: Id,
        /// The avatar's profile.
        profile: Arc<str>,
        /// How far the viewer sees, metres.
        radius_m: f64,
    },
    /// The avatar is somewhere.
    Move {
        /// The avatar.
        entity: Id,
        /// Where, when.
        place: Place,
    },
    /// The avatar has another profile.
    Profile {
        /// The avatar.
        entity: Id,
        /// The profile.
        profile: Arc<str>,
    },
    /// The viewer sees another distance.
    Radius {
        /// The avatar.
        entity: Id,
        /// Metres.
        radius_m: f64,
    },
    /// The avatar does something.
    Act(Action),
    /// The socket is gone without a `bye`; the avatar stays for 15 s.
    Gone {
        /// The avatar.
        entity: Id,
    },
    /// The avatar leaves at once.
    Leave {
        /// The avatar.
        entity: Id,
    },
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Folded at this offset.
    Ack(u64),
    /// It certainly never entered the log.
    NotLogged,
    /// Nobody knows; send it again.
    Unknown,
}

/// An answer to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The session.
    pub session: Id,
    /// Its number for the action.
    pub n: u64,
    /// What became of it.
    pub answer: Answer,
}

/// What the caller should count, since it last looked. Durations in µs.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// From admission to the log.
    pub batch_wait_us: Vec<u64>,
    /// From publishing to polling, own records.
    pub log_round_trip_us: Vec<u64>,
    /// From admission to the tick that shows it.
    pub fold_to_tick_us: Vec<u64>,
    /// From a sample on another gateway to the tick that shows it.
    pub remote_age_us: Vec<u64>,
    /// Ends of publishes: at an offset, never entered, unknown.
    pub outcomes: [u64; 3],
    /// Records that were damaged, or of an unknown version.
    pub foreign: u64,
    /// Samples dropped because a partition is full.
    pub full: u64,
    /// Own samples that came back newer than they were written: another writer uses our name.
    pub echo_mismatch: u64,
    /// Entities that expired.
    pub expired: u64,
    /// Partitions whose reading began anew because their offset was out of bounds.
    pub out_of_bounds: u64,
    /// The last reason for which the log could not be reached.
    pub unreachable: Option<String>,
}

/// One followed partition.
struct Part {
    motion: Reading,
    events: Reading,
    fold: Fold,
    actions: Actions,
    /// When a record of it was last polled, µs on our clock.
    heard_us: u64,
    beat_us: u64,
    /// When somebody could last see it.
    wanted_us: u64,
}

/// Dense numbers of entities, shared by the partitions that hold them, and what was last shown of each.
#[derive(Default)]
struct Handles {
    by_id: FxHashMap<Id, (u32, u32)>,
    free: Vec<u32>,
    shown: Vec<Shown>,
}

#[derive(Clone, Default)]
struct Shown {
    id: Id,
    tick: u64,
    pos: Pos,
    yaw: u8,
    state: AppState,
    /// The newest, and the version that brought it: a partition just entered may know an older one, or none.
    profile: (Version, Arc<str>),
    moved: u64,
    changed: u64,
    teleported: (u64, Option<Version>),
    /// The version with which it left the world, or expired, in one partition; another may hold it still.
    over: Option<Version>,
}

struct Around<'a> {
    handles: &'a mut Handles,
    times: &'a [Option<u64>],
}

impl Surroundings for Around<'_> {
    fn hold(&mut self, entity: Id) -> u32 {
        let Handles { by_id, free, shown } = &mut *self.handles;
        let (handle, holders) = by_id.entry(entity).or_insert_with(|| {
            let handle = free.pop().unwrap_or_else(|| {
                shown.push(Shown::default());
                (shown.len() - 1) as u32
            });
            shown[handle as usize] = Shown { id: entity, ..Shown::default() };
            (handle, 0)
        });
        *holders += 1;
        *handle
    }

    fn release(&mut self, entity: Id) {
        if let Some((handle, holders)) = self.handles.by_id.get_mut(&entity) {
            *holders -= 1;
            if *holders == 0 {
                self.handles.free.push(*handle);
                self.handles.by_id.remove(&entity);
            }
        }
    }

    fn over(&mut self, entity: Id, version: Version) {
        if let Some((handle, _)) = self.handles.by_id.get(&entity) {
            let over = &mut self.handles.shown[*handle as usize].over;
            *over = (*over).max(Some(version));
        }
    }

    fn time_of(&self, partition: u16) -> Option<u64> {
        self.times.get(usize::from(partition)).copied().flatten()
    }
}

/// An action without an answer.
#[derive(Default)]
struct Pending {
    deadline_us: u64,
    /// `unknown` was told.
    told: bool,
    /// Sendings whose end is not known.
    sendings: u32,
    /// A sending is in the log, or may be: then no other one's end is the action's.
    maybe_logged: bool,
    /// Where it was published.
    partition: u16,
}

/// One world on one gateway.
pub struct World {
    grid: Grid,
    gateway: u32,
    parts: Vec<Option<Part>>,
    times: Vec<Option<u64>>,
    handles: Handles,
    owned: Map<Id, Owned>,
    queued: Vec<Id>,
    flush_us: u64,
    samples: Vec<(u16, Sample)>,
    tickets: FxHashMap<Ticket, (Id, u64)>,
    pending: Map<(Id, u64), Pending>,
    peers: Map<u32, (MinWindow, u64)>,
    own_delay: MinWindow,
    polled: Vec<Polled>,
    answers: Vec<Answered>,
    /// What to count; the caller empties it.
    pub facts: Facts,
    upkeep_us: u64,
}

/// Least one-way delays are kept over this; clocks of servers drift by a few ms over it at most.
const PEER_WINDOW_US: u64 = 30 * SECOND_US;
/// A gateway not heard of for this long is forgotten.
const PEER_SILENT_US: u64 = 60 * SECOND_US;
/// What is not urgent is looked after this often.
const UPKEEP_US: u64 = 250 * MILLI_US;

impl World {
    /// A world that follows nothing yet. `gateway` is this gateway's number, unique in the log.
    #[must_use]
    pub fn new(grid: Grid, gateway: u32) -> World {
        let partitions = usize::from(grid.partitions());
        World {
            grid,
            gateway,
            parts: std::iter::repeat_with(|| None).take(partitions).collect(),
            times: vec![None; partitions],
            handles: Handles::default(),
            owned: Map::default(),
            queued: Vec::new(),
            flush_us: 0,
            samples: Vec::new(),
            tickets: FxHashMap::default(),
            pending: Map::default(),
            peers: Map::default(),
            own_delay: MinWindow::new(PEER_WINDOW_US),
            polled: Vec::new(),
            answers: Vec::new(),
            facts: Facts::default(),
            upkeep_us: 0,
        }
    }

    /// Takes what a session asks. Samples are folded here and now, so that a slow log never freezes neighbours.
    pub fn submit(&mut self, submit: Submit, log: &mut impl Log, now_us: u64) {
        match submit {
            Submit::Open { session, entity, profile, radius_m } => {
                let mut owned = Owned::new(entity, session, profile);
                owned.radius_m = radius_m;
                self.owned.insert(entity, owned);
            }
            Submit::Move { entity, place } => {
                let grid = self.grid;
                let Some(owned) = self.owned.get_mut(&entity) else { return };
                let before = owned.partition();
                let samples = owned.moved(place, grid, now_us);
                if owned.partition() != before {
                    self.want(entity, log, now_us);
                }
                self.fold_own(&samples);
                self.queue(entity, now_us);
            }
            Submit::Profile { entity, profile } => {
                let Some(owned) = self.owned.get_mut(&entity) else { return };
                owned.set_profile(profile, now_us);
                if let Some(sample) = owned.sample(true) {
                    self.fold_own(&[sample]);
                    self.queue(entity, now_us);
                }
            }
            Submit::Radius { entity, radius_m } => {
                if let Some(owned) = self.owned.get_mut(&entity) {
                    owned.radius_m = radius_m;
                }
            }
            Submit::Act(action) => self.act(&action, log, now_us),
            Submit::Gone { entity } => {
                if let Some(owned) = self.owned.get_mut(&entity) {
                    owned.linger(now_us);
                }
            }
            Submit::Leave { entity } => self.leave(entity, log, now_us),
        }
    }

    /// Folds what the log brings, and writes what is due. Answers go to `answers`.
    pub fn step(&mut self, log: &mut impl Log, now_us: u64, answers: &mut Vec<Answered>) {
        let mut polled = std::mem::take(&mut self.polled);
        log.poll(&mut polled);
        for item in polled.drain(..) {
            self.on_polled(item, log, now_us);
        }
        self.polled = polled;
        if now_us >= self.flush_us {
            self.flush_us = now_us + FLUSH_US;
            self.flush(log, now_us);
        }
        if now_us >= self.upkeep_us {
            self.upkeep_us = now_us + UPKEEP_US;
            self.upkeep(log, now_us);
        }
        answers.append(&mut self.answers);
    }

    // --- from the log ---------------------------------------------------------------------------------------------

    fn on_polled(&mut self, polled: Polled, log: &mut impl Log, now_us: u64) {
        match polled {
            Polled::Record { source, offset, append_ms, bytes } => {
                self.on_record(source, offset, append_ms, &bytes, now_us);
            }
            Polled::Outcome(ticket, outcome) => self.on_outcome(ticket, outcome),
            Polled::Bounds(source, bounds) => {
                if let Some(part) = self.part(source.partition) {
                    match source.topic {
                        Topic::Motion => {
                            part.motion.on_bounds(bounds, log, now_us);
                        }
                        Topic::Events => {
                            if part.events.on_bounds(bounds, log, now_us) {
                                part.actions.start(bounds.end);
                            }
                        }
                        Topic::Control => {}
                    }
                }
            }
            Polled::OffsetAt(source, offset) => {
                if let Some(part) = self.part(source.partition)
                    && source.topic == Topic::Motion
                {
                    part.motion.on_offset(offset, log);
                }
            }
            Polled::Fault(Fault::OutOfBounds(source)) => {
                self.facts.out_of_bounds += 1;
                self.read_again(source, log, now_us);
            }
            // Nothing to do for a second question, asked because the first was late.
            Polled::Fault(Fault::Unanswered(source)) => {
                let follows = |part: &mut Part| match source.topic {
                    Topic::Motion => part.motion.is_following(),
                    Topic::Events | Topic::Control => part.events.is_following(),
                };
                if !self.part(source.partition).is_some_and(follows) {
                    self.read_again(source, log, now_us);
                }
            }
            Polled::Fault(Fault::Unreachable(why)) => self.facts.unreachable = Some(why),
        }
    }

    fn read_again(&mut self, source: Source, log: &mut impl Log, now_us: u64) {
        if let Some(part) = self.part(source.partition) {
            match source.topic {
                Topic::Motion => part.motion = Reading::start(source, log, now_us),
                Topic::Events => part.events = Reading::start(source, log, now_us),
                Topic::Control => {}
            }
        }
    }

    fn on_record(&mut self, source: Source, offset: u64, append_ms: i64, bytes: &[u8], now_us: u64) {
        let Some(part) = self.parts.get_mut(usize::from(source.partition)).and_then(Option::as_mut) else { return };
        let wanted = match source.topic {
            Topic::Motion => part.motion.on_record(offset),
            Topic::Events => part.events.on_record(offset),
            Topic::Control => false,
        };
        if !wanted {
            return;
        }
        if source.topic == Topic::Motion {
            // Also a damaged record shows that time passes.
            part.fold.advance(append_ms);
            self.times[usize::from(source.partition)] = Some(part.fold.time_us);
            part.heard_us = now_us;
        }
        match record::decode(bytes) {
            Ok((stamp, Record::Motion(samples))) if source.topic == Topic::Motion => {
                self.on_motion(source.partition, stamp, &samples, now_us);
            }
            Ok((stamp, Record::Beat)) => self.on_stamp(stamp, now_us),
            Ok((stamp, Record::Action(action))) if source.topic == Topic::Events => {
                part.actions.fold(offset, &action);
                if stamp.gateway == self.gateway {
                    self.pending.swap_remove(&(action.session, action.n));
                    let answer = Answer::Ack(offset);
                    self.answers.push(Answered { session: action.session, n: action.n, answer });
                }
            }
            Ok((_, Record::Motion(_) | Record::Action(_) | Record::Gateway(_)))
            | Err(Foreign::Damaged(_) | Foreign::Checksum | Foreign::Unknown { .. }) => self.facts.foreign += 1,
        }
    }

    fn on_motion(&mut self, partition: u16, stamp: Stamp, samples: &[Sample], now_us: u64) {
        self.on_stamp(stamp, now_us);
        let own = stamp.gateway == self.gateway;
        let offset_us = if own { 0 } else { self.peer_offset_us(stamp.gateway).unwrap_or(0) };
        let Some(part) = self.parts[usize::from(partition)].as_mut() else { return };
        let around = &mut Around { handles: &mut self.handles, times: &self.times };
        for sample in samples {
            if own && self.owned.get(&sample.entity).is_some_and(|o| sample.sequence > o.sequence()) {
                self.facts.echo_mismatch += 1;
            }
            let time_us = sample.time_us.saturating_add_signed(offset_us).min(now_us);
            self.facts.full += u64::from(part.fold.fold(sample, time_us, around) == Folded::Full);
        }
    }

    /// Learns how long a record was under way: our own tell the log's delay, those of others also their clock.
    fn on_stamp(&mut self, stamp: Stamp, now_us: u64) {
        let delay_us = now_us as i64 - stamp.published_us as i64;
        if stamp.gateway == self.gateway {
            self.own_delay.push(delay_us, now_us);
            self.facts.log_round_trip_us.push(delay_us.max(0) as u64);
        } else {
            let (window, heard) = self.peers.entry(stamp.gateway).or_insert((MinWindow::new(PEER_WINDOW_US), now_us));
            window.push(delay_us, now_us);
            *heard = now_us;
        }
    }

    /// What to add to a peer's clock to get ours, µs: its least one-way delay less our own records' least round trip
    /// through the same log. Wrong by at most that round trip.
    fn peer_offset_us(&self, gateway: u32) -> Option<i64> {
        let (window, _) = self.peers.get(&gateway)?;
        Some(window.min()? - self.own_delay.min().unwrap_or(0))
    }

    /// The largest clock difference to a peer and how wrong it may be, µs.
    #[must_use]
    pub fn peer_clock_us(&self) -> (i64, i64) {
        let offset = self.peers.keys().filter_map(|g| self.peer_offset_us(*g)).max_by_key(|o| o.abs());
        (offset.unwrap_or(0), self.own_delay.min().unwrap_or(0))
    }

    fn on_outcome(&mut self, ticket: Ticket, outcome: Outcome) {
        let index = match outcome {
            Outcome::At(_) => 0,
            Outcome::NeverEntered => 1,
            Outcome::Unknown => 2,
        };
        self.facts.outcomes[index] += 1;
        let Some(key) = self.tickets.remove(&ticket) else { return };
        let Some(pending) = self.pending.get_mut(&key) else { return };
        // A sending from before the answer to an earlier one is not counted here; then the fold knows the action.
        pending.sendings = pending.sendings.saturating_sub(1);
        pending.maybe_logged |= outcome != Outcome::NeverEntered;
        let (sendings, maybe_logged, partition) = (pending.sendings, pending.maybe_logged, pending.partition);
        if outcome == Outcome::NeverEntered && self.part(partition).is_some_and(|part| part.actions.knows(key)) {
            // A resend that crossed the answer to an earlier sending.
            self.pending.swap_remove(&key);
            return;
        }
        let Some(pending) = self.pending.get_mut(&key) else { return };
        let answer = match outcome {
            // The fold answers.
            Outcome::At(_) => return,
            Outcome::NeverEntered if sendings > 0 => return,
            Outcome::NeverEntered if !maybe_logged => Answer::NotLogged,
            Outcome::NeverEntered | Outcome::Unknown => Answer::Unknown,
        };
        if !std::mem::replace(&mut pending.told, true) {
            self.answers.push(Answered { session: key.0, n: key.1, answer });
        }
        if answer == Answer::NotLogged {
            self.pending.swap_remove(&key);
        }
    }

    // --- to the log -----------------------------------------------------------------------------------------------

    fn fold_own(&mut self, samples: &[(u16, Sample)]) {
        for (partition, sample) in samples {
            if let Some(part) = self.parts[usize::from(*partition)].as_mut() {
                let around = &mut Around { handles: &mut self.handles, times: &self.times };
                self.facts.full += u64::from(part.fold.fold(sample, sample.time_us, around) == Folded::Full);
            }
        }
    }

    fn queue(&mut self, entity: Id, now_us: u64) {
        if let Some(owned) = self.owned.get_mut(&entity)
            && owned.queued_us.is_none()
        {
            owned.queued_us = Some(now_us);
            self.queued.push(entity);
        }
    }

    fn flush(&mut self, log: &mut impl Log, now_us: u64) {
        let mut again = Vec::new();
        for entity in self.queued.drain(..) {
            let Some(owned) = self.owned.get_mut(&entity) else { continue };
            let queued_us = owned.queued_us.take().unwrap_or(now_us);
            self.facts.batch_wait_us.push(now_us.saturating_sub(queued_us));
            if owned.flush(now_us, &mut self.samples) {
                owned.queued_us = Some(now_us);
                again.push(entity);
            }
        }
        self.queued = again;
        self.publish_samples(log, now_us);
    }

    fn publish_samples(&mut self, log: &mut impl Log, now_us: u64) {
        let stamp = Stamp { gateway: self.gateway, published_us: now_us };
        batch::records(stamp, &mut self.samples, |partition, bytes| {
            log.publish(Source { topic: Topic::Motion, partition }, bytes);
        });
    }

    fn act(&mut self, action: &Action, log: &mut impl Log, now_us: u64) {
        let partition = self.grid.partition(Region::of(action.pos));
        self.follow(partition, log, now_us);
        let stamp = Stamp { gateway: self.gateway, published_us: now_us };
        let bytes = record::encode(stamp, &Record::Action(action.clone()));
        let ticket = log.publish(Source { topic: Topic::Events, partition }, bytes);
        self.tickets.insert(ticket, (action.session, action.n));
        let pending = self.pending.entry((action.session, action.n)).or_default();
        (pending.deadline_us, pending.told, pending.partition) = (now_us + ANSWER_US, false, partition);
        pending.sendings += 1;
    }

    fn leave(&mut self, entity: Id, log: &mut impl Log, now_us: u64) {
        let Some(mut owned) = self.owned.swap_remove(&entity) else { return };
        let samples = owned.leave();
        self.fold_own(&samples);
        self.samples.extend(samples);
        self.publish_samples(log, now_us);
    }

    // --- upkeep ---------------------------------------------------------------------------------------------------

    fn upkeep(&mut self, log: &mut impl Log, now_us: u64) {
        let over: Vec<Id> = self.owned.iter().filter(|(_, o)| o.is_over(now_us)).map(|(id, _)| *id).collect();
        for entity in over {
            self.leave(entity, log, now_us);
        }
        for i in 0..self.owned.len() {
            let (&entity, owned) = self.owned.get_index_mut(i).expect("below the length");
            if owned.keyframe_due(now_us) {
                let sample = owned.sample(true);
                self.fold_own(sample.as_slice());
                self.queue(entity, now_us);
            }
            self.want(entity, log, now_us);
        }
        for (key, pending) in &mut self.pending {
            if now_us >= pending.deadline_us && !pending.told {
                pending.told = true;
                self.answers.push(Answered { session: key.0, n: key.1, answer: Answer::Unknown });
            }
        }
        self.pending.retain(|_, pending| now_us < pending.deadline_us + 12 * ANSWER_US);
        self.peers.retain(|_, (_, heard)| now_us.saturating_sub(*heard) < PEER_SILENT_US);
        for partition in 0..self.grid.partitions() {
            self.upkeep_part(partition, log, now_us);
        }
    }

    fn upkeep_part(&mut self, partition: u16, log: &mut impl Log, now_us: u64) {
        let index = usize::from(partition);
        let Some(part) = self.parts[index].as_mut() else { return };
        let around = &mut Around { handles: &mut self.handles, times: &self.times };
        if now_us.saturating_sub(part.wanted_us) >= UNFOLLOW_US {
            log.follow(Follow::Drop(Source { topic: Topic::Motion, partition }));
            log.follow(Follow::Drop(Source { topic: Topic::Events, partition }));
            part.fold.clear(around);
            self.parts[index] = None;
            self.times[index] = None;
            return;
        }
        let owned = &self.owned;
        self.facts.expired += part.fold.expire(|id| owned.contains_key(&id), around) as u64;
        part.motion.ask_again(log, now_us);
        part.events.ask_again(log, now_us);
        let jitter_us = jitter(u64::from(self.gateway), u64::from(partition), now_us) % BEAT_JITTER_US;
        let quiet_us = now_us.saturating_sub(part.heard_us.max(part.beat_us));
        if part.motion.is_following() && quiet_us >= BEAT_US + jitter_us {
            part.beat_us = now_us;
            let stamp = Stamp { gateway: self.gateway, published_us: now_us };
            log.publish(Source { topic: Topic::Motion, partition }, record::encode(stamp, &Record::Beat));
        }
    }

    /// Follows what an avatar's viewer can see, or soon will.
    fn want(&mut self, entity: Id, log: &mut impl Log, now_us: u64) {
        let Some(owned) = self.owned.get(&entity) else { return };
        let Some(pos) = owned.pos() else { return };
        let own = owned.partition();
        let reach_m = owned.radius_m * HYSTERESIS + FOLLOW_MARGIN_M;
        for partition in self.grid.partitions_around(pos, reach_m) {
            self.follow(partition, log, now_us);
        }
        // It may be held up to 1 m beyond its partition's border.
        if let Some(partition) = own {
            self.follow(partition, log, now_us);
        }
    }

    fn follow(&mut self, partition: u16, log: &mut impl Log, now_us: u64) {
        let index = usize::from(partition);
        if let Some(part) = self.parts[index].as_mut() {
            part.wanted_us = now_us;
            return;
        }
        let source = |topic| Source { topic, partition };
        self.parts[index] = Some(Part {
            motion: Reading::start(source(Topic::Motion), log, now_us),
            events: Reading::start(source(Topic::Events), log, now_us),
            fold: Fold::default(),
            actions: Actions::default(),
            heard_us: now_us,
            beat_us: now_us,
            wanted_us: now_us,
        });
        self.times[index] = Some(0);
        // Those of our own that are in it, or have left it lately, are known without the log.
        let own: Vec<_> = self.owned.values().filter_map(|o| o.sample(true)).filter(|(p, _)| *p == partition).collect();
        self.fold_own(&own);
    }

    fn part(&mut self, partition: u16) -> Option<&mut Part> {
        self.parts.get_mut(usize::from(partition))?.as_mut()
    }

    // --- to the viewers -------------------------------------------------------------------------------------------

    /// Freezes what is known into the frames of one tick: partitions united by entity, the newest version wins.
    pub fn freeze(&mut self, number: u64, now_us: u64) -> Tick {
        let tick_us = number * crate::limits::TICK_US;
        let mut best: Vec<Option<(usize, &Held)>> = vec![None; self.handles.shown.len()];
        // Whether anybody shows it still. Who has left for another partition, which knows it, is there, even if what this
        // one was told last is newer: then that partition lags.
        let mut is_here = vec![false; best.len()];
        for (partition, part) in self.parts.iter().enumerate() {
            for (_, held) in part.iter().flat_map(|part| part.fold.entities()) {
                let slot = &mut best[held.handle as usize];
                is_here[held.handle as usize] |= held.leaver.is_none_or(|leaver| !self.has_left(partition, leaver));
                let rank = |held: &Held| (held.version, held.leaver.is_none());
                if slot.is_none_or(|(_, other)| rank(held) > rank(other)) {
                    *slot = Some((partition, held));
                }
            }
        }
        let mut cells: FxHashMap<Region, usize> = FxHashMap::default();
        let mut frames: Vec<Frame> = Vec::new();
        for (handle, held) in best.iter().enumerate() {
            let Some((_, held)) = *held else { continue };
            let shown = &mut self.handles.shown[handle];
            if !is_here[handle] || shown.over.is_some_and(|over| over >= held.version) {
                continue;
            }
            let fresh = shown.tick == 0;
            if fresh || shown.pos != held.pos || shown.yaw != held.yaw {
                (shown.pos, shown.yaw, shown.moved) = (held.pos, held.yaw, number);
            }
            let profile = held.profile.0 > shown.profile.0;
            if fresh || shown.state != held.state || (profile && shown.profile.1 != held.profile.1) {
                shown.changed = number;
            }
            shown.state = held.state;
            if profile {
                shown.profile = held.profile.clone();
            }
            if held.teleported != shown.teleported.1 {
                shown.teleported = (number, held.teleported);
            }
            shown.tick = number;
            let region = Region::of(held.pos);
            let cell = *cells.entry(region).or_insert_with(|| {
                frames.push(Frame { region, spots: Vec::new(), entities: Vec::new() });
                frames.len() - 1
            });
            frames[cell].spots.push(Spot { pos: held.pos, handle: handle as u32 });
            frames[cell].entities.push(Entity {
                id: shown.id,
                time_us: held.time_us.min(tick_us),
                yaw: held.yaw,
                teleported: shown.teleported.0,
                moved: shown.moved,
                changed: shown.changed,
                state: held.state,
                profile: shown.profile.1.clone(),
            });
            match self.owned.get_mut(&shown.id) {
                Some(owned) if owned.admitted_us > 0 => {
                    self.facts.fold_to_tick_us.push(now_us.saturating_sub(owned.admitted_us));
                    owned.admitted_us = 0;
                }
                Some(_) => {}
                None if shown.moved == number => {
                    self.facts.remote_age_us.push(tick_us.saturating_sub(held.time_us));
                }
                None => {}
            }
        }
        frames.sort_unstable_by_key(|frame| frame.region);
        Tick {
            number,
            grid: self.grid,
            frames: frames.into_iter().map(Arc::new).collect(),
            partitions: self.parts.iter().map(|part| status(part.as_ref(), now_us)).collect(),
            events: self.parts.iter().map(|p| p.as_ref().map(|p| p.actions.ring()).unwrap_or_default()).collect(),
        }
    }

    /// Whether a leaver is shown no more: 500 ms of the other partition's time have passed (of this one's, where the
    /// other is not followed).
    fn has_left(&self, partition: usize, leaver: Leaver) -> bool {
        let (time_us, since_us) =
            match (self.times.get(usize::from(leaver.to)).copied().flatten(), self.times[partition]) {
                // Followed only since: its time began then.
                (Some(there), _) => (there, leaver.since_there_us.unwrap_or(0)),
                (None, here) => (here.unwrap_or(0), leaver.since_us),
            };
        time_us.saturating_sub(since_us) >= LEAVER_US
    }

    // --- for the caller -------------------------------------------------------------------------------------------

    /// Partitions followed.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.parts.iter().flatten().count()
    }

    /// Avatars whose session this gateway holds, those that linger included.
    #[must_use]
    pub fn owned(&self) -> usize {
        self.owned.len()
    }

    /// Samples and actions that wait to be written or answered.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.queued.len(), self.pending.len())
    }

    /// Folded entities of a partition, for the simulation's checker.
    pub fn folded(&self, partition: u16) -> impl Iterator<Item = (Id, &Held)> {
        self.parts.get(usize::from(partition)).into_iter().flatten().flat_map(|part| part.fold.entities())
    }
}

fn status(part: Option<&Part>, now_us: u64) -> PartitionStatus {
    part.map_or_else(PartitionStatus::default, |part| PartitionStatus {
        complete: part.motion.is_complete(part.fold.time_us),
        stale: now_us.saturating_sub(part.heard_us) >= STALE_US,
    })
}

/// The same inputs give the same number (SplitMix64, Steele et al. 2014): spreads beats without a random source.
fn jitter(a: u64, b: u64, c: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.rotate_left(32) ^ (c / SECOND_US);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::message::Scope;
    use crate::codec::record::Note;
    use bytes::Bytes;

    const GRID: Grid = Grid { w: 4, h: 4 };
    const NOW_US: u64 = 1_700_000_000 * SECOND_US;

    /// A log that takes everything and gives what the test says.
    #[derive(Default)]
    struct Told {
        published: Vec<(Ticket, Source, Bytes)>,
        asked: usize,
        next: Vec<Polled>,
    }

    impl Log for Told {
        fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket {
            let ticket = Ticket(self.published.len() as u64);
            self.published.push((ticket, source, bytes));
            ticket
        }
        fn follow(&mut self, _: Follow) {}
        fn poll(&mut self, out: &mut Vec<Polled>) {
            out.append(&mut self.next);
        }
        fn bounds(&mut self, _: Source) {
            self.asked += 1;
        }
        fn offset_at(&mut self, _: Source, _: i64) {}
    }

    fn act(world: &mut World, log: &mut Told) -> Ticket {
        let (name, data) = ("wave".into(), "".into());
        let action = Action { session: 1, n: 5, entity: 2, scope: Scope::Nearby, pos: Pos::default(), name, data };
        world.submit(Submit::Act(action), log, NOW_US);
        log.published.iter().rev().find(|(_, s, _)| s.topic == Topic::Events).expect("just published").0
    }

    fn answers(world: &mut World, log: &mut Told, outcomes: &[(Ticket, Outcome)]) -> Vec<Answer> {
        log.next.extend(outcomes.iter().map(|(ticket, outcome)| Polled::Outcome(*ticket, *outcome)));
        let mut answers = Vec::new();
        world.step(log, NOW_US, &mut answers);
        answers.into_iter().map(|answered| answered.answer).collect()
    }

    #[test]
    fn an_action_is_refused_only_if_none_of_its_sendings_can_be_in_the_log() {
        use Outcome::{At, NeverEntered, Unknown};
        let check = |outcomes: [Outcome; 2], expected: &[Answer]| {
            let (mut world, mut log) = (World::new(GRID, 1), Told::default());
            let (first, second) = (act(&mut world, &mut log), act(&mut world, &mut log));
            let told = answers(&mut world, &mut log, &[(first, outcomes[0]), (second, outcomes[1])]);
            assert_eq!(told, expected, "{outcomes:?}");
        };
        check([NeverEntered, NeverEntered], &[Answer::NotLogged]);
        check([Unknown, NeverEntered], &[Answer::Unknown]);
        check([NeverEntered, Unknown], &[Answer::Unknown]);
        check([At(Some(3)), NeverEntered], &[Answer::Unknown]);
        check([NeverEntered, At(Some(3))], &[]);
    }

    #[test]
    fn a_late_question_without_an_answer_does_not_start_the_reading_anew() {
        let (mut world, mut log) = (World::new(GRID, 1), Told::default());
        act(&mut world, &mut log);
        let source = Source { topic: Topic::Events, partition: 0 };
        let asked = log.asked;
        log.next.push(Polled::Fault(Fault::Unanswered(source)));
        answers(&mut world, &mut log, &[]);
        assert_eq!(log.asked, asked + 1, "asked again");
        log.next.push(Polled::Bounds(source, crate::log::Bounds { start: 0, end: 9, last_append_ms: Some(0) }));
        log.next.push(Polled::Fault(Fault::Unanswered(source)));
        answers(&mut world, &mut log, &[]);
        assert_eq!(log.asked, asked + 1, "nothing is open any more");
    }

    #[test]
    fn outcomes_of_sendings_that_crossed_their_answer_do_no_harm() {
        let (mut world, mut log) = (World::new(GRID, 1), Told::default());
        let first = act(&mut world, &mut log);
        let source = Source { topic: Topic::Events, partition: 0 };
        let bytes = log.published.iter().rev().find(|(_, s, _)| *s == source).expect("published").2.clone();
        log.next.push(Polled::Bounds(source, crate::log::Bounds { start: 0, end: 0, last_append_ms: None }));
        log.next.push(Polled::Record { source, offset: 0, append_ms: 0, bytes });
        assert_eq!(answers(&mut world, &mut log, &[]), [Answer::Ack(0)]);
        let second = act(&mut world, &mut log);
        let outcomes = [(first, Outcome::At(Some(0))), (second, Outcome::NeverEntered)];
        assert_eq!(answers(&mut world, &mut log, &outcomes), [], "it has been answered");
    }

    #[test]
    fn who_left_by_one_partition_is_not_shown_by_another_that_missed_it() {
        let (mut world, mut log) = (World::new(GRID, 1), Told::default());
        let open = Submit::Open { session: 1, entity: 2, profile: "Ann".into(), radius_m: 50.0 };
        world.submit(open, &mut log, NOW_US);
        let pos = |x| Pos { x, y: 0, z: 0 };
        let place = Place { time_us: NOW_US, pos: pos(50_000), yaw: 0, state: AppState::default() };
        world.submit(Submit::Move { entity: 2, place }, &mut log, NOW_US);
        let other = |sequence, x, note| {
            let (time_us, yaw, state) = (NOW_US, 0, AppState::default());
            Sample { entity: 9, incarnation: 0, sequence, time_us, pos: pos(x), yaw, state, profile: None, note }
        };
        let shown = |world: &mut World| world.freeze(1, NOW_US).frames.iter().map(|f| f.entities.len()).sum::<usize>();
        // Partition 0 missed the crossing.
        for (partition, sample, seen) in [
            (0, other(1, 51_000, Note::None), 2),
            (4, other(2, 51_400, Note::None), 2),
            (4, other(3, 51_400, Note::Leave), 1),
            (0, other(4, 51_000, Note::None), 2),
        ] {
            world.fold_own(&[(partition, sample)]);
            assert_eq!(shown(&mut world), seen);
        }
    }

    #[test]
    fn a_resend_after_unknown_remembers_the_first_sending() {
        let (mut world, mut log) = (World::new(GRID, 1), Told::default());
        let first = act(&mut world, &mut log);
        assert_eq!(answers(&mut world, &mut log, &[(first, Outcome::Unknown)]), [Answer::Unknown]);
        let second = act(&mut world, &mut log);
        assert_eq!(answers(&mut world, &mut log, &[(second, Outcome::NeverEntered)]), [Answer::Unknown]);
    }
}
