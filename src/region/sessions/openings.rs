//! Sessions of a world: who asks to be one is written into `direct`, and is one when that has come back from the log and
//! has won (`sessions`). Every world of a gateway reads all of `direct`; of what others write it takes notice where they
//! supersede a session of its own.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::fold::{Sessions, Verdict};
use crate::codec::command::Command;
use crate::codec::message::{AppState, Id};
use crate::codec::record::{self, Opening, Record, Sign, Signal, Stamp};
use crate::codec::token::{Claim, Key, Seal};
use crate::limits::{DIRECT_PARTITIONS, DIRECT_READ_BACK_US, LIVE_JITTER_US, LIVE_US, MILLI_US, SIGNS_MAX};
use crate::log::{Log, Outcome, Source, Ticket, Topic};
use crate::region::commands::event::Ring;
use crate::region::commands::tells::{Tells, lane_of};
use crate::region::motion::fold::Map;
use crate::region::motion::owned::{Owned, Place};
use crate::region::reading::{From, Reading};
use crate::region::submit::{Answer, Answered, Letter, Opened, Submit};
use crate::region::upkeep::jitter;
use crate::region::world::World;
use crate::space::Pos;

/// One partition of `direct`.
struct Lane {
    reading: Reading,
    fold: Sessions,
    /// What its users are told.
    tells: Tells,
    /// When the sessions of it that this gateway holds are next said to live.
    live_us: u64,
    /// Sessions whose client is known to have its token; written with the next upkeep.
    confirmed: Vec<Sign>,
}

/// Somebody who asks to be a session. There are as many as connections at most: each asks once, and says when it is gone.
struct Asking {
    entity: Id,
    profile: Arc<str>,
    radius_m: f64,
    /// Its token was of no use.
    in_vain: bool,
    /// What its token says, as long as it may be of use.
    claim: Option<Claim>,
    /// It has been written.
    is_sent: bool,
}

/// See the top.
#[derive(Default)]
pub(in crate::region) struct Openings {
    /// By partition; empty until the reading begins.
    lanes: Vec<Lane>,
    /// By the number that asks.
    asking: Map<Id, Asking>,
    tickets: FxHashMap<Ticket, Id>,
    /// Signs of lost sockets on their way into the log: of which avatars. Each has one at most.
    losses: FxHashMap<Ticket, Id>,
    /// Avatars whose loss the log has not taken, or may not have: it is said again.
    unsaid: Vec<Id>,
    /// `None`: tokens are neither given nor taken.
    seal: Option<Seal>,
    world: Arc<str>,
    /// By session: who asked for it last, where that is another number than its own.
    openers: FxHashMap<Id, Id>,
    /// What whoever asked is to be told.
    letters: Vec<(Id, Letter)>,
}

impl Openings {
    /// How many ask.
    pub(in crate::region) fn len(&self) -> usize {
        self.asking.len()
    }

    /// Sessions remembered in one partition, at most.
    pub(in crate::region) fn kept(&self) -> usize {
        self.lanes.iter().map(|lane| lane.fold.len()).max().unwrap_or(0)
    }

    /// Whether nobody waits for an answer.
    pub(in crate::region) fn is_idle(&self) -> bool {
        self.asking.is_empty()
    }

    /// The number by which whoever speaks for a session has asked to.
    pub(in crate::region) fn opener_of(&self, session: Id) -> Id {
        self.openers.get(&session).copied().unwrap_or(session)
    }

    fn source(partition: u16) -> Source {
        Source { topic: Topic::Direct, partition }
    }

    pub(in crate::region) fn reading(&mut self, partition: u16) -> Option<&mut Reading> {
        self.lanes.get_mut(usize::from(partition)).map(|lane| &mut lane.reading)
    }

    /// What users are told, by partition; `None` while it is not read.
    pub(in crate::region) fn rings(&self) -> impl Iterator<Item = Option<Arc<Ring>>> {
        let ring = |lane: &Lane| lane.reading.is_read().then(|| lane.tells.ring().clone());
        (0..usize::from(DIRECT_PARTITIONS)).map(move |partition| self.lanes.get(partition).and_then(ring))
    }

    /// Sessions and events remembered of each partition.
    pub(in crate::region) fn kept_tells(&self) -> impl Iterator<Item = (usize, usize)> {
        self.lanes.iter().map(|lane| lane.tells.kept())
    }

    /// Whether something that a user is told has been folded.
    pub(in crate::region) fn knows(&self, partition: u16, key: (Id, u64)) -> bool {
        self.lanes.get(usize::from(partition)).is_some_and(|lane| lane.tells.knows(key))
    }

    /// Records of a partition come from now on, if they do.
    pub(in crate::region) fn begun(&mut self, partition: u16) {
        if let Some(lane) = self.lanes.get_mut(usize::from(partition))
            && let Some((first, end)) = lane.reading.span()
        {
            lane.tells.start(first, end);
        }
    }

    /// A partition's end is known, before what is there is read.
    pub(in crate::region) fn bounded(&mut self, partition: u16, end: u64) {
        if let Some(lane) = self.lanes.get_mut(usize::from(partition)) {
            lane.fold.bounded(end);
        }
    }

    /// Whoever asks is told so when the log certainly did not take it; a loss that it did not take is said again.
    pub(in crate::region) fn ended(&mut self, ticket: Ticket, outcome: Outcome) {
        if let Some(entity) = self.losses.remove(&ticket) {
            self.unsaid.extend((!matches!(outcome, Outcome::At(_))).then_some(entity));
            return;
        }
        let Some(opener) = self.tickets.remove(&ticket) else { return };
        match outcome {
            Outcome::NeverEntered => {
                if self.asking.swap_remove(&opener).is_some() {
                    self.letters.push((opener, Letter::Unopened));
                }
            }
            // The fold answers, or the session does not wait any longer.
            Outcome::At(_) | Outcome::Unknown => {}
        }
    }
}

/// A place that its client has not said since it has gone on is as old as when it has.
fn sign_of(owned: &Owned, now_us: u64) -> Sign {
    let Owned { session, incarnation, confirmed, is_placed, .. } = *owned;
    let said = owned.place().filter(|_| !is_placed);
    let age_ms = said.map_or(0, |(_, said_us)| now_us.saturating_sub(said_us) / MILLI_US);
    Sign { session, incarnation, confirmed, pos: owned.pos(), age_ms }
}

impl World {
    /// The same world by its name, with the key that its tokens are sealed with. A world without gives none.
    #[must_use]
    pub fn named(mut self, name: &str, key: &Key) -> World {
        (self.openings.seal, self.openings.world) = (Some(Seal::new(key, name)), name.into());
        self
    }

    /// What is to be told to whoever asked, by the number they asked with; the caller takes it after each step.
    pub fn letters(&mut self) -> Vec<(Id, Letter)> {
        std::mem::take(&mut self.openings.letters)
    }

    /// What was read once more goes to whoever speaks for the sessions now.
    pub(in crate::region) fn tell_recalled(&mut self) {
        for (session, recalled) in self.recalls.answers.drain(..) {
            self.facts.recalls[usize::from(recalled.events.is_none())] += 1;
            let letter = Letter::Recalled(Box::new(recalled));
            self.openings.letters.push((self.openings.opener_of(session), letter));
        }
    }

    /// An avatar whose session is not in the log: for benches and tests of what comes behind that.
    pub fn adopt(&mut self, session: Id, entity: Id, profile: Arc<str>, radius_m: f64) {
        let mut owned = Owned::new(entity, session, profile);
        owned.radius_m = radius_m;
        self.owned.insert(entity, owned);
    }

    /// The avatar is another gateway's, or nobody's.
    pub(in crate::region) fn disown(&mut self, entity: Id) -> Option<Owned> {
        let owned = self.owned.swap_remove(&entity)?;
        self.recalls.gone(owned.session);
        self.openings.openers.remove(&owned.session);
        Some(owned)
    }

    /// Takes an asker. `token` is what it goes by.
    pub(in crate::region) fn ask(
        &mut self,
        opener: Id,
        (entity, profile, radius_m): (Id, Arc<str>, f64),
        token: Option<&str>,
        log: &mut impl Log,
        now_us: u64,
    ) {
        let claim = token.and_then(|token| self.openings.seal.as_ref()?.open(token));
        let in_vain = token.is_some() && claim.is_none();
        let asking = Asking { entity, profile, radius_m, in_vain, claim, is_sent: false };
        self.openings.asking.insert(opener, asking);
        self.open(log, now_us);
    }

    /// Whoever asked is gone. If its session has opened meanwhile, that has lost its socket.
    pub(in crate::region) fn abandon(&mut self, opener: Id, log: &mut impl Log, now_us: u64) {
        if self.openings.asking.swap_remove(&opener).is_none()
            && let Some((&entity, owned)) = self.owned.iter().find(|(_, owned)| owned.opener == opener)
        {
            let incarnation = owned.incarnation;
            self.submit(Submit::Gone { entity, incarnation }, log, now_us);
        }
    }

    /// Begins to read `direct`, and writes what is asked where that has been read.
    pub(in crate::region) fn open(&mut self, log: &mut impl Log, now_us: u64) {
        if self.openings.lanes.is_empty() {
            let lane = |partition| Lane {
                reading: Reading::start(Openings::source(partition), From::Back(DIRECT_READ_BACK_US), log, now_us),
                fold: Sessions::default(),
                tells: Tells::default(),
                live_us: now_us,
                confirmed: Vec::new(),
            };
            self.openings.lanes = (0..DIRECT_PARTITIONS).map(lane).collect();
        }
        let stamp = Stamp { gateway: self.gateway, published_us: now_us };
        let Openings { lanes, asking, tickets, world, .. } = &mut self.openings;
        for (&opener, asking) in asking.iter_mut().filter(|(_, asking)| !asking.is_sent) {
            // Whether a claim is good the fold says: this gateway may not have heard yet of the opening that it names.
            let (user, session, entity, names) = match asking.claim {
                Some(claim) => (claim.user, claim.session, claim.entity, Some(claim.incarnation)),
                // Until there is identity, a user is who they first were.
                None => (opener, opener, asking.entity, None),
            };
            if !lanes[usize::from(lane_of(user))].reading.is_read() {
                continue;
            }
            let opening = Opening { user, session, entity, opener, names, world: world.clone() };
            let bytes = record::encode(stamp, &Record::Opening(opening));
            tickets.insert(log.publish(Openings::source(lane_of(user)), bytes), opener);
            asking.is_sent = true;
        }
    }

    /// Folds a record of `direct`.
    pub(in crate::region) fn on_direct(
        &mut self,
        (partition, offset, append_ms): (u16, u64, i64),
        record: Result<(Stamp, Record), ()>,
        log: &mut impl Log,
        now_us: u64,
    ) {
        let Some(lane) = self.openings.lanes.get_mut(usize::from(partition)) else { return };
        // Also a damaged record shows that time passes.
        if !lane.reading.on_record(offset) || !lane.fold.advance(offset, append_ms) {
            return;
        }
        lane.tells.read(offset);
        match record {
            Ok((stamp, Record::Command(command))) => {
                let Some(verdict) = lane.tells.fold(offset, &command) else {
                    self.facts.foreign += 1;
                    return;
                };
                self.facts.sessions_forgotten += std::mem::take(&mut lane.tells.forgotten);
                let (Command { session, n, .. }, is_news) = (command, lane.reading.is_news(offset));
                if stamp.gateway == self.gateway && (self.pending.folded((session, n)) || is_news) {
                    self.answers.push(Answered { to: session, n, answer: Answer::Folded(offset, verdict) });
                }
            }
            Ok((_, Record::Opening(opening))) => {
                let verdict = lane.fold.open(&opening);
                self.facts.resumes_forgotten += std::mem::take(&mut lane.fold.forgotten);
                self.on_opening(&opening, verdict, log, now_us);
            }
            Ok((_, Record::Signs(signal, signs))) => {
                signs.iter().for_each(|sign| lane.fold.sign(signal, sign));
                self.facts.resumes_forgotten += std::mem::take(&mut lane.fold.forgotten);
            }
            Ok((
                _,
                Record::Motion(_)
                | Record::Beat
                | Record::Arrive { .. }
                | Record::Landed { .. }
                | Record::Piece(_)
                | Record::Hash { .. }
                | Record::Rules(_)
                | Record::Gateway(_),
            ))
            | Err(()) => {
                self.facts.foreign += 1;
            }
        }
    }

    fn on_opening(&mut self, opening: &Opening, verdict: Verdict, log: &mut impl Log, now_us: u64) {
        let Opening { user, session, entity, opener, names, .. } = *opening;
        let is_asked = |asking: &&mut Asking| asking.is_sent && asking.claim.map(|claim| claim.incarnation) == names;
        let own = self.openings.asking.get_mut(&opener).filter(is_asked).is_some();
        match verdict {
            // It raced with another one: it begins anew, as somebody new.
            Verdict::Refused if own => {
                let asking = self.openings.asking.get_mut(&opener).expect("it asks");
                (asking.claim, asking.in_vain, asking.is_sent) = (None, true, names.is_none());
                self.open(log, now_us);
            }
            Verdict::Refused => {}
            Verdict::Won { incarnation, at } => {
                if let Some(before) = self.owned.get(&entity) {
                    if before.session != session || before.incarnation >= incarnation {
                        return;
                    }
                    if !before.is_lingering() && !crate::planted!(BothLive) {
                        self.openings.letters.push((before.opener, Letter::Superseded));
                    }
                }
                match self.openings.asking.swap_remove(&opener).filter(|_| own) {
                    Some(asking) => {
                        let claim = Claim { session, user, entity, incarnation };
                        let at = at.map(|(pos, age_us)| (pos, now_us.saturating_sub(age_us)));
                        self.settle(opener, asking, claim, at, log, now_us);
                    }
                    // It goes on elsewhere, and is written there.
                    None if !crate::planted!(BothLive) => {
                        self.disown(entity);
                    }
                    None => {}
                }
            }
        }
    }

    /// The session is here from now on.
    fn settle(
        &mut self,
        opener: Id,
        asking: Asking,
        claim: Claim,
        at: Option<(Pos, u64)>,
        log: &mut impl Log,
        now_us: u64,
    ) {
        let Claim { session, user, entity, incarnation } = claim;
        let Asking { profile, radius_m, in_vain, claim: asked, .. } = asking;
        let resumed = asked.is_some();
        // What an earlier opening asked for.
        self.recalls.gone(session);
        let lingers = self.owned.contains_key(&entity);
        let owned = self.owned.entry(entity).or_insert_with(|| Owned::new(entity, session, profile.clone()));
        (owned.user, owned.radius_m) = (user, radius_m);
        owned.reopen(incarnation, opener, profile, now_us);
        let at = owned.place().or(at);
        if opener != session {
            self.openings.openers.insert(session, opener);
        }
        if lingers {
            let sample = owned.sample(true);
            self.fold_own(sample.as_slice());
            self.queue(entity, now_us);
        } else if let Some((pos, time_us)) = at {
            // The avatar had gone, and comes back where it was, as of then: should it lose this connection too before it has
            // said where it is, the way from there is judged by all the time that has passed.
            let place = Place { time_us, pos, yaw: 0, state: AppState::default(), jumped: false };
            self.submit(Submit::Move { entity, place }, log, now_us);
            self.owned.get_mut(&entity).into_iter().for_each(|owned| owned.is_placed = false);
        }
        self.want(entity, log, now_us);
        let token = self.openings.seal.as_ref().map(|seal| seal.seal(&claim));
        let opened = Opened { session, entity, user, incarnation, resumed, token, at };
        self.openings.letters.push((opener, Letter::Opened(Box::new(opened))));
        self.facts.opened[if resumed { 1 } else { 2 * usize::from(in_vain) }] += 1;
    }

    /// The answer has arrived at a session's client.
    pub(in crate::region) fn confirm(&mut self, entity: Id, incarnation: u64, now_us: u64) {
        let Some(owned) = self.owned.get_mut(&entity).filter(|owned| owned.incarnation == incarnation) else { return };
        owned.confirmed = true;
        if let Some(lane) = self.openings.lanes.get_mut(usize::from(lane_of(owned.user))) {
            lane.confirmed.push(sign_of(owned, now_us));
        }
    }

    /// A session has lost its socket, or said `bye`.
    pub(in crate::region) fn sign(&mut self, signal: Signal, entity: Id, log: &mut impl Log, now_us: u64) {
        let Some(owned) = self.owned.get(&entity) else { return };
        let partition = lane_of(owned.user);
        // This says it too; written after a `bye`, that the session lives would open it again.
        if let Some(lane) = self.openings.lanes.get_mut(usize::from(partition)) {
            lane.confirmed.retain(|sign| sign.session != owned.session);
        }
        let ticket = self.write_signs(partition, signal, vec![sign_of(owned, now_us)], log, now_us);
        if signal == Signal::Lost {
            // It is the only word of where the avatar was, if none has been due while it was there.
            self.openings.losses.insert(ticket, entity);
        }
    }

    /// Says again of whom the log may not know that they were lost, as long as they are.
    fn sign_unsaid(&mut self, log: &mut impl Log, now_us: u64) {
        for entity in std::mem::take(&mut self.openings.unsaid) {
            if self.owned.get(&entity).is_some_and(Owned::is_lingering) {
                self.sign(Signal::Lost, entity, log, now_us);
            }
        }
    }

    fn write_signs(&self, partition: u16, signal: Signal, signs: Vec<Sign>, log: &mut impl Log, now_us: u64) -> Ticket {
        let stamp = Stamp { gateway: self.gateway, published_us: now_us };
        // What of it does not enter is missed by nobody for long: all that live are said again.
        log.publish(Openings::source(partition), record::encode(stamp, &Record::Signs(signal, signs)))
    }

    /// What is due of sessions now and then.
    pub(in crate::region) fn upkeep_sessions(&mut self, log: &mut impl Log, now_us: u64) {
        self.open(log, now_us);
        self.sign_unsaid(log, now_us);
        for partition in 0..DIRECT_PARTITIONS {
            let gateway = u64::from(self.gateway);
            let lane = &mut self.openings.lanes[usize::from(partition)];
            lane.reading.ask_again(log, now_us);
            let mut signs = std::mem::take(&mut lane.confirmed);
            if now_us >= lane.live_us && lane.reading.is_read() {
                lane.fold.tidy();
                lane.live_us = now_us + LIVE_US + jitter(gateway, u64::from(partition), now_us) % (LIVE_JITTER_US / 2);
                let here = |owned: &&Owned| lane_of(owned.user) == partition && !owned.is_lingering();
                signs = self.owned.values().filter(here).map(|owned| sign_of(owned, now_us)).collect();
                // Without any it says that time passes for those who are lost.
                if signs.is_empty() && !self.openings.lanes[usize::from(partition)].fold.is_empty() {
                    self.write_signs(partition, Signal::Live, Vec::new(), log, now_us);
                }
            }
            for chunk in signs.chunks(SIGNS_MAX) {
                self.write_signs(partition, Signal::Live, chunk.to_vec(), log, now_us);
            }
        }
    }

    /// All sessions of this gateway lose it.
    pub(in crate::region) fn lose_all(&mut self, log: &mut impl Log, now_us: u64) {
        for partition in 0..DIRECT_PARTITIONS {
            let here = |owned: &&Owned| lane_of(owned.user) == partition && !owned.is_lingering();
            let signs: Vec<Sign> = self.owned.values().filter(here).map(|owned| sign_of(owned, now_us)).collect();
            for chunk in signs.chunks(SIGNS_MAX) {
                self.write_signs(partition, Signal::Lost, chunk.to_vec(), log, now_us);
            }
        }
    }
}
