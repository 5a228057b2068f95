//! One world on one gateway: takes submissions of its sessions, folds what the log brings, writes what its avatars
//! have to say, and freezes frames. Driven by `edge` every few milliseconds and by the simulation: both call
//! [`World::submit`], [`World::step`] and, on the tick, [`World::freeze`].

use bytes::Bytes;

use super::actions::Actions;
use super::batch;
use super::fold::{Fold, Folded, Held, Map};
use super::frame::Tick;
use super::handles::Handles;
use super::owned::Owned;
use super::peers::Peers;
use super::pending::Pending;
use super::reading::Reading;
use super::submit::{Answer, Answered, Facts, Submit};
use crate::codec::message::Id;
use crate::codec::record::{self, Action, Foreign, Record, Sample, Stamp};
use crate::limits::{
    BEAT_JITTER_US, BEAT_US, FLUSH_US, FOLLOW_MARGIN_M, HYSTERESIS, MILLI_US, OWNED_MAX, SECOND_US, UNFOLLOW_US,
};
use crate::log::{Fault, Follow, Log, Outcome, Polled, Source, Ticket, Topic};
use crate::space::{Grid, Region};

/// One followed partition.
pub(super) struct Part {
    pub(super) motion: Reading,
    events: Reading,
    pub(super) fold: Fold,
    pub(super) actions: Actions,
    /// When a record of it was last polled, µs on our clock.
    pub(super) heard_us: u64,
    beat_us: u64,
    /// When somebody could last see it.
    wanted_us: u64,
}

/// One world on one gateway.
pub struct World {
    pub(super) grid: Grid,
    gateway: u32,
    pub(super) parts: Vec<Option<Part>>,
    pub(super) handles: Handles,
    pub(super) owned: Map<Id, Owned>,
    queued: Vec<Id>,
    flush_us: u64,
    samples: Vec<(u16, Sample)>,
    /// Those of one move.
    moved: Vec<(u16, Sample)>,
    /// When the samples of our own that no tick has shown yet were admitted, and those of others were taken, µs.
    pub(super) admitted_us: Vec<u64>,
    pub(super) arrived_us: Vec<u64>,
    pending: Pending,
    peers: Peers,
    polled: Vec<Polled>,
    answers: Vec<Answered>,
    /// The question for another number that is under way.
    claim: Option<Ticket>,
    /// What to count; the caller empties it.
    pub facts: Facts,
    upkeep_us: u64,
    /// The last tick.
    pub(super) frozen: Tick,
}

/// Where gateways are numbered.
pub const CONTROL: Source = Source { topic: Topic::Control, partition: 0 };

/// What a gateway writes there to get a number: the record's offset.
#[must_use]
pub fn claim_record(now_us: u64) -> Bytes {
    record::encode(Stamp { gateway: 0, published_us: now_us }, &Record::Gateway("gateway".to_owned()))
}

/// How much a world keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Sendings of actions whose end is not known.
    pub tickets: usize,
    /// Other gateways.
    pub peers: usize,
    /// Dense numbers in use.
    pub handles: usize,
    /// Dense numbers to be used again.
    pub free_handles: usize,
    /// Leavers remembered in one partition, at most.
    pub tombstones: usize,
    /// Sessions remembered in one partition, at most.
    pub windows: usize,
    /// Events in the ring of one partition, at most.
    pub events: usize,
}

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
            handles: Handles::default(),
            owned: Map::default(),
            queued: Vec::new(),
            flush_us: 0,
            samples: Vec::new(),
            moved: Vec::new(),
            admitted_us: Vec::new(),
            arrived_us: Vec::new(),
            pending: Pending::default(),
            peers: Peers::default(),
            polled: Vec::new(),
            answers: Vec::new(),
            claim: None,
            facts: Facts::default(),
            upkeep_us: 0,
            frozen: Tick { number: 0, grid, frames: Vec::new(), partitions: Vec::new(), events: Vec::new() },
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
                let mut samples = std::mem::take(&mut self.moved);
                owned.moved(place, grid, now_us, &mut samples);
                if owned.queued_us.is_none() {
                    owned.queued_us = Some(now_us);
                    self.queued.push(entity);
                }
                if owned.partition() != before {
                    self.want(entity, log, now_us);
                }
                self.fold_own(&samples);
                samples.clear();
                self.moved = samples;
                self.admitted_us.push(now_us);
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
            Submit::Gone { entity } if self.owned.len() > OWNED_MAX => {
                self.facts.lingers_cut += 1;
                self.leave(entity, log, now_us);
            }
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

    /// Asks the log for another number, for ids to come; it is told in [`Facts::number`]. The world keeps its own.
    pub fn claim(&mut self, log: &mut impl Log, now_us: u64) {
        if self.claim.is_none() {
            self.claim = Some(log.publish(CONTROL, claim_record(now_us)));
        }
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
            part.heard_us = now_us;
        }
        match record::decode(bytes) {
            Ok((stamp, Record::Motion(samples))) if source.topic == Topic::Motion => {
                self.on_motion(source.partition, stamp, &samples, now_us);
            }
            Ok((stamp, Record::Beat)) => self.on_stamp(stamp, now_us),
            Ok((stamp, Record::Action(action))) if source.topic == Topic::Events => {
                // A repetition is acknowledged too: sessions hand on no number so low that the fold only takes it for one.
                part.actions.fold(offset, &action);
                self.facts.sessions_forgotten += std::mem::take(&mut part.actions.forgotten);
                if stamp.gateway == self.gateway {
                    self.pending.folded((action.session, action.n));
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
        let offset_us = if own { 0 } else { self.peers.offset_us(stamp.gateway).unwrap_or(0) };
        let Some(part) = self.parts[usize::from(partition)].as_mut() else { return };
        for sample in samples {
            if own && self.owned.get(&sample.entity).is_some_and(|o| sample.sequence > o.sequence()) {
                self.facts.echo_mismatch += 1;
            }
            let time_us = sample.time_us.saturating_add_signed(offset_us).min(now_us);
            match part.fold.fold(sample, time_us, &mut self.handles) {
                Folded::New if !own => self.arrived_us.push(time_us),
                Folded::New | Folded::Old => {}
                Folded::Full => self.facts.full += 1,
            }
        }
    }

    /// Learns how long a record was under way.
    fn on_stamp(&mut self, stamp: Stamp, now_us: u64) {
        let delay_us = now_us as i64 - stamp.published_us as i64;
        if stamp.gateway == self.gateway {
            self.peers.own(delay_us, now_us);
            self.facts.log_round_trip_us.push(delay_us.max(0) as u64);
        } else {
            self.peers.other(stamp.gateway, delay_us, now_us);
        }
    }

    fn on_outcome(&mut self, ticket: Ticket, outcome: Outcome) {
        let index = match outcome {
            Outcome::At(_) => 0,
            Outcome::NeverEntered => 1,
            Outcome::Unknown => 2,
        };
        self.facts.outcomes[index] += 1;
        if self.claim == Some(ticket) {
            self.claim = None;
            self.facts.number = outcome.number();
            return;
        }
        let parts = &self.parts;
        let knows = |partition: u16, key| parts[usize::from(partition)].as_ref().is_some_and(|p| p.actions.knows(key));
        self.answers.extend(self.pending.ended(ticket, outcome, knows));
    }

    // --- to the log -----------------------------------------------------------------------------------------------

    fn fold_own(&mut self, samples: &[(u16, Sample)]) {
        for (partition, sample) in samples {
            if let Some(part) = self.parts[usize::from(*partition)].as_mut() {
                let folded = part.fold.fold(sample, sample.time_us, &mut self.handles);
                self.facts.full += u64::from(folded == Folded::Full);
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
        self.pending.sent(ticket, (action.session, action.n), partition, now_us);
    }

    fn leave(&mut self, entity: Id, log: &mut impl Log, now_us: u64) {
        let Some(mut owned) = self.owned.swap_remove(&entity) else { return };
        let samples = owned.leave();
        self.fold_own(&samples);
        self.samples.extend(samples);
        self.publish_samples(log, now_us);
    }

    /// The gateway is going: nobody of its own stays, those that linger neither.
    pub fn close(&mut self, log: &mut impl Log, now_us: u64) {
        let all: Vec<Id> = self.owned.keys().copied().collect();
        all.into_iter().for_each(|entity| self.leave(entity, log, now_us));
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
        self.pending.overdue(now_us, &mut self.answers);
        self.peers.forget_silent(now_us);
        for partition in 0..self.grid.partitions() {
            self.upkeep_part(partition, log, now_us);
        }
    }

    fn upkeep_part(&mut self, partition: u16, log: &mut impl Log, now_us: u64) {
        let index = usize::from(partition);
        let Some(part) = self.parts[index].as_mut() else { return };
        if now_us.saturating_sub(part.wanted_us) >= UNFOLLOW_US {
            log.follow(Follow::Drop(Source { topic: Topic::Motion, partition }));
            log.follow(Follow::Drop(Source { topic: Topic::Events, partition }));
            part.fold.clear(&mut self.handles);
            self.parts[index] = None;
            return;
        }
        let owned = &self.owned;
        self.facts.expired += part.fold.expire(|id| owned.contains_key(&id), &mut self.handles) as u64;
        self.facts.leavers_forgotten += std::mem::take(&mut part.fold.forgotten);
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
        // Those of our own that are in it, or have left it lately, are known without the log.
        let own: Vec<_> = self.owned.values().filter_map(|o| o.sample(true)).filter(|(p, _)| *p == partition).collect();
        self.fold_own(&own);
    }

    fn part(&mut self, partition: u16) -> Option<&mut Part> {
        self.parts.get_mut(usize::from(partition))?.as_mut()
    }

    // --- for the caller -------------------------------------------------------------------------------------------

    /// The largest clock difference to another gateway and how wrong it may be, µs.
    #[must_use]
    pub fn peer_clock_us(&self) -> (i64, i64) {
        (self.peers.largest_offset_us(), self.peers.error_us())
    }

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

    /// What it keeps, for the simulation's checker.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let parts = || self.parts.iter().flatten();
        Kept {
            tickets: self.pending.tickets(),
            peers: self.peers.len(),
            handles: self.handles.len(),
            free_handles: self.handles.shown.len() - self.handles.len(),
            tombstones: parts().map(|part| part.fold.tombstones()).max().unwrap_or(0),
            windows: parts().map(|part| part.actions.kept().0).max().unwrap_or(0),
            events: parts().map(|part| part.actions.kept().1).max().unwrap_or(0),
        }
    }

    /// Folded entities of a partition, for the simulation's checker.
    pub fn folded(&self, partition: u16) -> impl Iterator<Item = (Id, &Held)> {
        self.parts.get(usize::from(partition)).into_iter().flatten().flat_map(|part| part.fold.entities())
    }
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
    use crate::codec::message::{AppState, Scope};
    use crate::codec::record::Note;
    use crate::region::owned::Place;
    use crate::space::Pos;

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
    fn another_number_comes_beside_everything_else() {
        let (mut world, mut log) = (World::new(GRID, 1), Told::default());
        let source = Source { topic: Topic::Events, partition: 0 };
        act(&mut world, &mut log);
        let bytes = log.published.last().expect("published").2.clone();
        for (outcome, number) in [
            (Outcome::NeverEntered, None),
            (Outcome::Unknown, None),
            (Outcome::At(Some(1 << 40)), None),
            (Outcome::At(Some(9)), Some(9)),
        ] {
            world.claim(&mut log, NOW_US);
            let claims = log.published.len();
            world.claim(&mut log, NOW_US);
            assert_eq!(log.published.len(), claims, "one at a time");
            let (ticket, at, _) = log.published.last().expect("published").clone();
            assert_eq!(at, CONTROL);
            log.next.push(Polled::Outcome(ticket, outcome));
            answers(&mut world, &mut log, &[]);
            assert_eq!(std::mem::take(&mut world.facts).number, number, "{outcome:?}");
        }
        log.next.push(Polled::Bounds(source, crate::log::Bounds { start: 0, end: 0, last_append_ms: None }));
        world.claim(&mut log, NOW_US);
        log.next.push(Polled::Record { source, offset: 0, append_ms: 0, bytes });
        assert_eq!(answers(&mut world, &mut log, &[]), [Answer::Ack(0)], "records are folded meanwhile");
    }

    #[test]
    fn connections_that_come_and_go_fast_leave_a_bounded_crowd() {
        let (mut world, mut log) = (World::new(GRID, 1), Told::default());
        for entity in 1..=OWNED_MAX as u64 + 100 {
            let open = Submit::Open { session: entity, entity, profile: "".into(), radius_m: 50.0 };
            world.submit(open, &mut log, NOW_US);
            world.submit(Submit::Gone { entity }, &mut log, NOW_US);
        }
        assert_eq!((world.owned(), world.facts.lingers_cut), (OWNED_MAX, 100));
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
        let place = Place { time_us: NOW_US, pos: pos(50_000), yaw: 0, state: AppState::default(), jumped: false };
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

    /// What a test tells a world by its log, as another gateway would write it.
    struct Wire {
        world: World,
        log: Told,
        now_us: u64,
        offsets: [u64; 16],
    }

    impl Wire {
        /// A viewer stands at the border of partitions 0 and 4, both of which are read.
        fn at_the_border() -> Wire {
            let mut wire = Wire { world: World::new(GRID, 1), log: Told::default(), now_us: NOW_US, offsets: [0; 16] };
            let open = Submit::Open { session: 1, entity: 2, profile: "Ann".into(), radius_m: 50.0 };
            wire.world.submit(open, &mut wire.log, NOW_US);
            let pos = Pos { x: 50_000, y: 0, z: 0 };
            let place = Place { time_us: NOW_US, pos, yaw: 0, state: AppState::default(), jumped: false };
            wire.world.submit(Submit::Move { entity: 2, place }, &mut wire.log, NOW_US);
            wire.step();
            for partition in [0, 4] {
                let bounds = crate::log::Bounds { start: 0, end: 0, last_append_ms: None };
                let source = Source { topic: Topic::Motion, partition };
                wire.log.next.push(Polled::Bounds(source, bounds));
                wire.beat(partition, 0);
            }
            wire
        }

        fn step(&mut self) {
            self.now_us += 250 * MILLI_US;
            self.world.step(&mut self.log, self.now_us, &mut Vec::new());
        }

        fn tell(&mut self, partition: u16, append_ms: i64, bytes: Bytes) {
            let offset = self.offsets[usize::from(partition)];
            self.offsets[usize::from(partition)] += 1;
            let source = Source { topic: Topic::Motion, partition };
            self.log.next.push(Polled::Record { source, offset, append_ms, bytes });
            self.step();
        }

        fn beat(&mut self, partition: u16, append_ms: i64) {
            let stamp = Stamp { gateway: 9, published_us: self.now_us };
            self.tell(partition, append_ms, record::encode(stamp, &Record::Beat));
        }

        /// A sample of avatar 9 in one record, which stands at `x` cm.
        fn sample(&mut self, partition: u16, append_ms: i64, sequence: u64, x: i32, note: Note) {
            let (time_us, yaw, state) = (self.now_us, 0, AppState::default());
            let (entity, incarnation, profile, pos) = (9, 0, None, Pos { x, y: 0, z: 0 });
            let sample = Sample { entity, incarnation, sequence, time_us, pos, yaw, state, profile, note };
            let stamp = Stamp { gateway: 9, published_us: self.now_us };
            self.tell(partition, append_ms, record::encode(stamp, &Record::Motion(vec![sample])));
        }

        /// Where avatar 9 is shown, x in cm.
        fn shown(&mut self) -> Option<i32> {
            let tick = self.world.freeze(self.now_us / 50_000, self.now_us);
            let mut spots = tick.frames.iter().flat_map(|frame| &frame.spots);
            spots.find(|spot| spot.id == 9).map(|spot| spot.pos.x)
        }
    }

    #[test]
    fn who_crosses_into_a_stalled_partition_is_shown_all_along() {
        let mut wire = Wire::at_the_border();
        wire.sample(0, 100, 1, 51_000, Note::None);
        assert_eq!(wire.shown(), Some(51_000));
        wire.sample(0, 200, 2, 51_400, Note::Handover(4));
        assert_eq!(wire.shown(), Some(51_400), "the other partition stalls, and does not know it yet");
        for append_ms in [20_000, 22_000, 24_000] {
            wire.beat(4, append_ms);
            assert_eq!(wire.shown(), Some(51_400), "its time jumps, but its backlog has not been read");
        }
        wire.sample(4, 24_001, 2, 51_400, Note::None);
        wire.sample(4, 24_002, 3, 51_500, Note::None);
        assert_eq!(wire.shown(), Some(51_500));
        wire.sample(4, 24_003, 4, 51_500, Note::Leave);
        assert_eq!(wire.shown(), None, "it left: the partition that it came from keeps no ghost");
    }

    #[test]
    fn who_crosses_back_while_one_partition_lags_is_shown_all_along() {
        let mut wire = Wire::at_the_border();
        wire.sample(4, 100, 1, 51_400, Note::None);
        wire.sample(4, 200, 2, 51_000, Note::Handover(0));
        wire.sample(0, 200, 2, 51_000, Note::None);
        wire.sample(0, 300, 3, 51_400, Note::Handover(4));
        for append_ms in [20_000, 22_000] {
            wire.beat(4, append_ms);
            wire.beat(0, append_ms);
            assert_eq!(wire.shown(), Some(51_400), "each says that it is in the other");
        }
    }

    #[test]
    fn who_is_never_seen_where_it_went_is_gone_with_its_gateway() {
        let mut wire = Wire::at_the_border();
        wire.sample(0, 200, 2, 51_400, Note::Handover(4));
        for second in 1..15 {
            wire.beat(0, second * 1_000);
            wire.beat(4, second * 1_000);
            assert!(wire.shown().is_some(), "{second} s");
        }
        (15..18).for_each(|second| wire.beat(0, second * 1_000));
        assert_eq!(wire.shown(), None);
    }

    #[test]
    fn a_partition_forgets_who_left_it_and_takes_nobody_from_another_that_stalls() {
        let mut wire = Wire::at_the_border();
        wire.sample(4, 200, 2, 51_400, Note::None);
        wire.sample(0, 200, 2, 51_400, Note::Handover(4));
        (1..30).for_each(|second| wire.beat(0, second * 1_000));
        assert_eq!(wire.world.folded(0).count(), 1, "only the viewer");
        assert_eq!(wire.shown(), Some(51_400), "partition 4 has said nothing since");
    }
}
