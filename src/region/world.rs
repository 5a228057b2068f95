//! One world on one gateway: takes submissions of its sessions, folds what the log brings, writes what its avatars
//! have to say, and freezes frames. Driven by `edge` and by the simulation: both call [`World::submit`],
//! [`World::step`] and, on the tick, [`World::freeze`].

use std::sync::Arc;

use bytes::Bytes;

use super::commands::errands::Errands;
use super::commands::pending::Pending;
use super::commands::recall::Recalls;
use super::commands::story::{Keeper, Story};
use super::commands::tells::lane_of;
use super::frame::Tick;
use super::motion::batch;
use super::motion::fold::{Fold, Folded, Held, Map};
use super::motion::handles::Handles;
use super::motion::owned::Owned;
use super::motion::peers::Peers;
use super::reading::Reading;
use super::sessions::openings::Openings;
use super::submit::{Answered, Facts, Submit};
use super::upkeep::UPKEEP_US;
use crate::codec::command::{Command, Rules};
use crate::codec::message::Id;
use crate::codec::record::{self, Record, Sample, Signal, Stamp};
use crate::limits::{FLUSH_US, OWNED_MAX, SNAPSHOT_COMMANDS};
use crate::log::{Health, Log, Polled, Source, Ticket, Topic};
use crate::space::{Grid, Region};

/// One followed partition.
pub(super) struct Part {
    pub(super) motion: Reading,
    pub(super) fold: Fold,
    /// What its commands have come to.
    pub(super) story: Story,
    /// What is to be done with its objects.
    pub(super) errands: Errands,
    /// When a record of it was last polled, µs on our clock.
    pub(super) heard_us: u64,
    pub(super) beat_us: u64,
    /// When somebody could last see it.
    pub(super) wanted_us: u64,
}

impl Part {
    /// Whether all who live in it are known.
    pub(super) fn is_complete(&self) -> bool {
        self.motion.is_complete(self.fold.time_us)
    }
}

/// One world on one gateway.
pub struct World {
    pub(super) grid: Grid,
    pub(super) gateway: u32,
    pub(super) parts: Vec<Option<Part>>,
    /// Commands of which a snapshot is whole, up to these offsets: they go when they are a week old.
    pub(super) weeks: Map<Source, u64>,
    /// What it does for the commands of its partitions.
    pub keeper: Keeper,
    /// It has been told that its rules are not in force.
    pub(super) outruled: bool,
    /// World-wide commands, from the first step on.
    pub(super) social: Option<Story>,
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
    pub(super) pending: Pending,
    pub(super) peers: Peers,
    pub(super) openings: Openings,
    pub(super) recalls: Recalls,
    polled: Vec<Polled>,
    pub(super) answers: Vec<Answered>,
    /// What our own commands have sent into other partitions: from where, and which object.
    pub(super) sent_away: Vec<(u16, Id)>,
    /// The question for another number that is under way.
    pub(super) claim: Option<Ticket>,
    /// Whether the log takes what is written.
    pub(super) health: Health,
    /// What to count; the caller empties it.
    pub facts: Facts,
    upkeep_us: u64,
    /// The last tick.
    pub(super) frozen: Arc<Tick>,
}

/// Where gateways are numbered.
pub const CONTROL: Source = Source { topic: Topic::Control, partition: 0 };

/// Where commands stand that concern the whole world.
pub const SOCIAL: Source = Source { topic: Topic::Social, partition: 0 };

/// What a gateway writes to [`CONTROL`] to get a number: the record's offset.
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
    /// Sessions that may be resumed, of one partition of `direct`, at most.
    pub sessions: usize,
}

impl World {
    /// A world that follows nothing yet. `gateway` is this gateway's number, unique in the log.
    #[must_use]
    pub fn new(grid: Grid, gateway: u32) -> World {
        let partitions = usize::from(grid.partitions());
        World {
            grid,
            gateway,
            parts: std::iter::repeat_with(|| None).take(partitions).collect(),
            weeks: Map::default(),
            keeper: Keeper { gateway, snapshot_after: SNAPSHOT_COMMANDS, rules: Rules::default() },
            outruled: false,
            social: None,
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
            openings: Openings::default(),
            recalls: Recalls::default(),
            polled: Vec::new(),
            answers: Vec::new(),
            sent_away: Vec::new(),
            claim: None,
            health: Health::Well,
            facts: Facts::default(),
            upkeep_us: 0,
            frozen: Arc::new(Tick::empty(0, grid)),
        }
    }

    /// Takes what a session asks. Samples are folded here and now, so that a slow log never freezes neighbours.
    pub fn submit(&mut self, submit: Submit, log: &mut impl Log, now_us: u64) {
        match submit {
            Submit::Open { session, entity, profile, radius_m, token } => {
                self.ask(session, (entity, profile, radius_m), token.as_deref(), log, now_us);
            }
            Submit::Abandon { session } => self.abandon(session, log, now_us),
            Submit::Confirm { entity, incarnation } => self.confirm(entity, incarnation, now_us),
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
            Submit::Command(command) => self.command(command, log, now_us),
            Submit::Recall { entity, incarnation, ask } => {
                if let Some(session) = self.held(entity, incarnation).map(|owned| owned.session) {
                    self.recalls.ask(session, ask, now_us);
                }
            }
            Submit::Gone { entity, incarnation } => {
                let full = self.owned.len() > OWNED_MAX;
                let Some(owned) = self.held(entity, incarnation) else { return };
                owned.linger(now_us);
                let session = owned.session;
                self.recalls.gone(session);
                self.sign(Signal::Lost, entity, log, now_us);
                if full {
                    self.facts.lingers_cut += 1;
                    self.leave(entity, log, now_us);
                }
            }
            Submit::Leave { entity, incarnation } => {
                if self.held(entity, incarnation).is_some() {
                    self.sign(Signal::Closed, entity, log, now_us);
                    self.leave(entity, log, now_us);
                }
            }
        }
    }

    /// An avatar, if this incarnation of its session still has a say.
    fn held(&mut self, entity: Id, incarnation: u64) -> Option<&mut Owned> {
        self.owned.get_mut(&entity).filter(|owned| owned.incarnation == incarnation)
    }

    /// Folds what the log brings, and writes what is due. Answers go to `answers`.
    pub fn step(&mut self, log: &mut impl Log, now_us: u64, answers: &mut Vec<Answered>) {
        if self.social.is_none() {
            self.social = Some(Story::start(self.grid, SOCIAL, u64::from(self.gateway), log, now_us));
        }
        let mut polled = std::mem::take(&mut self.polled);
        log.poll(&mut polled);
        for item in polled.drain(..) {
            self.on_polled(item, log, now_us);
        }
        self.polled = polled;
        self.see_off(log, now_us);
        if now_us >= self.flush_us {
            // Steps come a little early or late; two close together write once.
            self.flush_us = now_us + FLUSH_US / 2;
            self.flush(log, now_us);
        }
        if now_us >= self.upkeep_us {
            self.upkeep_us = now_us + UPKEEP_US;
            self.upkeep(log, now_us);
        }
        if !self.openings.is_idle() {
            self.open(log, now_us);
        }
        self.recalls.begin(self.grid, log, now_us);
        self.tell_recalled();
        // To whoever speaks for the session now.
        let openings = &self.openings;
        answers.extend(
            self.answers.drain(..).map(|answered| Answered { to: openings.opener_of(answered.to), ..answered }),
        );
    }

    /// Asks the log for another number, for ids to come; it is told in [`Facts::number`]. The world keeps its own.
    pub fn claim(&mut self, log: &mut impl Log, now_us: u64) {
        if self.claim.is_none() {
            self.claim = Some(log.publish(CONTROL, claim_record(now_us)));
        }
    }

    // --- to the log -----------------------------------------------------------------------------------------------

    pub(super) fn fold_own(&mut self, samples: &[(u16, Sample)]) {
        for (partition, sample) in samples {
            if let Some(part) = self.parts[usize::from(*partition)].as_mut() {
                let folded = part.fold.fold(sample, sample.time_us, &mut self.handles);
                self.facts.full += u64::from(folded == Folded::Full);
            }
        }
    }

    pub(super) fn queue(&mut self, entity: Id, now_us: u64) {
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

    fn command(&mut self, command: Command, log: &mut impl Log, now_us: u64) {
        let source = if let Some(user) = command.addressee() {
            Source { topic: Topic::Direct, partition: lane_of(user) }
        } else if command.is_of_world() {
            SOCIAL
        } else {
            let partition = self.grid.partition(Region::of(command.pos));
            self.follow(partition, log, now_us);
            Source { topic: Topic::Events, partition }
        };
        let key = (command.session, command.n);
        let stamp = Stamp { gateway: self.gateway, published_us: now_us };
        let ticket = log.publish(source, record::encode(stamp, &Record::Command(command)));
        self.pending.sent(ticket, key, source, now_us);
    }

    pub(super) fn leave(&mut self, entity: Id, log: &mut impl Log, now_us: u64) {
        self.put_down(entity, log, now_us);
        let Some(mut owned) = self.disown(entity) else { return };
        let samples = owned.leave();
        self.fold_own(&samples);
        self.samples.extend(samples);
        self.publish_samples(log, now_us);
    }

    /// The gateway is going: all that was said is written, and that its sessions may be resumed from now on. No avatar
    /// leaves: whoever goes on elsewhere takes it along, and who does not expires there.
    pub fn close(&mut self, log: &mut impl Log, now_us: u64) {
        self.flush(log, now_us);
        self.lose_all(log, now_us);
    }

    /// The commands of all partitions, and behind them of the world as a whole.
    pub(super) fn stories(&self) -> impl Iterator<Item = Option<&Story>> {
        self.parts.iter().map(|part| part.as_ref().map(|part| &part.story)).chain([self.social.as_ref()])
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

    /// Samples that wait to be written, and actions, openings and recalls that wait for an answer.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.queued.len(), self.pending.len() + self.openings.len() + self.recalls.len())
    }

    /// What it keeps, for the simulation's checker.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let parts = || self.parts.iter().flatten();
        let stories = || parts().map(|part| part.story.commands.kept()).chain(self.openings.kept_tells());
        Kept {
            tickets: self.pending.tickets(),
            peers: self.peers.len(),
            handles: self.handles.len(),
            free_handles: self.handles.shown.len() - self.handles.len(),
            tombstones: parts().map(|part| part.fold.tombstones()).max().unwrap_or(0),
            windows: stories().map(|kept| kept.0).max().unwrap_or(0),
            events: stories().map(|kept| kept.1).max().unwrap_or(0),
            sessions: self.openings.kept(),
        }
    }

    /// What the commands that are read have come to, for the simulation's checker: by stream the offset after the last, and
    /// the hash of the state.
    pub fn states(&self) -> impl Iterator<Item = (u16, u64, u32)> {
        let known = |(stream, story): (u16, Option<&Story>)| {
            let commands = &story.filter(|story| story.commands.is_read())?.commands;
            Some((stream, commands.next(), super::commands::snapshot::hash(commands)))
        };
        (0..).zip(self.stories()).filter_map(known)
    }

    /// Folded entities of a partition, for the simulation's checker.
    pub fn folded(&self, partition: u16) -> impl Iterator<Item = (Id, &Held)> {
        self.parts.get(usize::from(partition)).into_iter().flatten().flat_map(|part| part.fold.entities())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SECOND_US;
    use crate::region::script::{GRID, NOW_US, Script};

    #[test]
    fn connections_that_come_and_go_fast_leave_a_bounded_crowd() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        for entity in 1..=OWNED_MAX as u64 + 100 {
            world.adopt(entity, entity, "".into(), 50.0);
            world.submit(Submit::Gone { entity, incarnation: 0 }, &mut log, NOW_US);
        }
        assert_eq!((world.owned(), world.facts.lingers_cut), (OWNED_MAX, 100));
    }

    #[test]
    fn a_loss_that_the_log_did_not_take_is_said_again() {
        use crate::log::Outcome::{At, NeverEntered, Unknown};
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        world.adopt(2, 3, "".into(), 50.0);
        world.submit(Submit::Gone { entity: 3, incarnation: 0 }, &mut log, NOW_US);
        let signs = |log: &Script| log.published.iter().filter(|(_, source, _)| source.topic == Topic::Direct).count();
        let mut said = signs(&log);
        assert_eq!(said, 1);
        for (seconds, outcome, again) in [(1, NeverEntered, 1), (2, NeverEntered, 1), (3, Unknown, 1), (4, At(None), 0)]
        {
            let sign = log.published.iter().rev().find(|(_, source, _)| source.topic == Topic::Direct);
            log.next.push(Polled::Outcome(sign.expect("said").0, outcome));
            world.step(&mut log, NOW_US + seconds * SECOND_US, &mut Vec::new());
            assert_eq!(signs(&log) - said, again, "after {outcome:?}");
            said = signs(&log);
        }
    }
}
