//! What must hold all along. The checker knows the truth (every admitted sample, every record that entered the log) and
//! looks at what each client holds whenever a state arrives. It judges a state by the truth of the moment at which its
//! tick was frozen, so that slow links do not blur the bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use nearcast::client::Mirror;
use nearcast::codec::Payload;
use nearcast::codec::message::{Id, Out};
use nearcast::codec::record::decode;
use nearcast::codec::state::Delta;
use nearcast::limits::{
    EVENT_RING, EXPIRY_US, FLOW_START_US, FLOW_UNSEEN_MAX, HYSTERESIS, MILLI_US, OPEN_ACTS_MAX, RECALL_WITHIN_US,
    SECOND_US,
};
use nearcast::log::{Source, Topic};
use nearcast::region::{Opened, Submit, World};
use nearcast::settings::WorldSettings;
use nearcast::space::Pos;

use crate::bots::Bot;
use crate::bytes::Spent;
use crate::history::{Back, History};
use crate::openings::Openings;
use crate::sight::{EXPIRED_US, HEALED_US, Sight, Viewer, Who, versions};
use crate::truth::{Life, Phase, Step};

/// What a state of a full view takes on a healthy link, and a bot to look at it.
const LAG_SLACK_US: u64 = 20 * MILLI_US;
/// A plan holds the nearest so many on any budget: a stride of 32 ticks serves them with one row a tick.
const HELD_MIN: usize = 32;

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
    openings: Openings,
    /// Connections that each gateway ever had.
    opened: BTreeMap<usize, usize>,
    /// Profiles of those who ask to go on, until it is known whether they do.
    asked: BTreeMap<Id, (Id, Arc<str>)>,
    lives: BTreeMap<Id, Life>,
    viewers: BTreeMap<u64, Viewer>,
    ticks: BTreeMap<(usize, u64), u64>,
    states: u64,
    judged: u64,
    /// The bot of which the story says what it is told: `BOT=n`.
    watched: Option<u64>,
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
            openings: Openings::default(),
            opened: BTreeMap::new(),
            asked: BTreeMap::new(),
            lives: BTreeMap::new(),
            viewers: BTreeMap::new(),
            ticks: BTreeMap::new(),
            states: 0,
            judged: 0,
            watched: crate::number("BOT"),
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
        let (openings, history) = (self.openings.counts(), self.history.counts());
        format!("{} states, {} judgements, {openings}, {history}", self.states, self.judged)
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

    /// A gateway starts.
    pub fn gateway_started(&mut self, gateway: usize, place: usize, clock_us: i64) {
        self.note(format!("gateway {gateway} starts at place {place}, clock {clock_us} us"));
        self.gateways = self.gateways.max(gateway + 1);
    }

    /// Whether sessions may be over before their time: by several jumps, or as one that has started later reads back by time,
    /// which is not what has passed.
    fn may_forget(&self) -> bool {
        self.clock_steps > 1 || (self.clock_steps > 0 && self.gateways > 2)
    }

    /// Whether they have.
    pub fn has_stepped(&self) -> bool {
        self.clock_steps > 0
    }

    // --- the truth ------------------------------------------------------------------------------------------------

    /// A connection opens. If it wants to go on as a session, `named` are the partitions of which it says how far it was told.
    pub fn opened(&mut self, who: Who, session: Id, entity: Id, bot: &Bot, named: Option<BTreeSet<u16>>) {
        *self.opened.entry(who.gateway).or_default() += 1;
        if named.is_none() {
            self.history.begins_anew(who.bot);
        }
        self.note(format!("bot {} connects to gateway {} as {session:x}, avatar {entity:x}", who.bot, who.gateway));
        let viewer = Viewer {
            who,
            session,
            entity,
            user: None,
            named,
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
            self.history.closed(&viewer);
        }
    }

    /// A bot does not care for a connection any more: what it is told is not looked at.
    pub fn forgotten(&mut self, conn: u64) {
        self.viewers.remove(&conn);
    }

    /// A gateway has closed a connection, or has noticed that it is gone.
    pub fn released(&mut self, conn: u64, superseded: bool) {
        if superseded {
            self.note(format!("connection {conn} is superseded"));
        }
        if let Some(entity) = self.openings.released(conn, superseded) {
            self.orphaned(entity);
        }
    }

    /// A session has opened, and whoever asked is told.
    pub fn welcomed(&mut self, opener: Id, who: Who, opened: &Opened) {
        let now_us = self.now_us;
        let asked = self.asked.remove(&opener);
        let result = self.openings.opened(opener, asked.is_some(), opened, self.may_forget());
        result.unwrap_or_else(|what| self.fail(what));
        let Opened { session, entity, user, incarnation, resumed, at, .. } = *opened;
        if let Some((asked_entity, profile)) = asked {
            if resumed {
                self.note(format!("bot {} goes on as {session:x}, opening {incarnation}", who.bot));
                self.goes_on(who, opened, profile);
            } else {
                self.note(format!("bot {} may not go on", who.bot));
                self.lives.insert(asked_entity, Life::new(who.gateway, profile, now_us));
                self.history.begins_anew(who.bot);
            }
        }
        if let Some(life) = self.lives.get_mut(&entity) {
            life.incarnation = life.incarnation.max(incarnation);
        }
        if let Some(viewer) = self.viewers.get_mut(&who.conn) {
            (viewer.session, viewer.entity, viewer.user) = (session, entity, Some(user));
            (viewer.joining_us, viewer.opened_us) = (now_us, now_us);
            if resumed {
                let at = at.map(|(pos, _)| pos);
                self.history.comes_back(viewer, Back { at, now_us, delay_us: self.delay_us });
            } else {
                viewer.named = None;
            }
        }
    }

    fn goes_on(&mut self, who: Who, opened: &Opened, profile: Arc<str>) {
        let now_us = self.now_us;
        let Opened { entity, incarnation, at, .. } = *opened;
        let Some(life) = self.lives.get_mut(&entity) else {
            return self.fail(format!("{entity:x} goes on and never was"));
        };
        if incarnation < life.incarnation {
            // It has been superseded already, which its gateway hears next.
            let before = life.profiles.len() - 1;
            return life.profiles.insert(before, (now_us, profile));
        }
        let knew = !life.unplaced && !matches!(life.phase, Phase::Orphan(_) | Phase::Unsure(_));
        let last = life.steps.last().map(|step| step.pos);
        let before = life.phase;
        (life.gateway, life.phase, life.returned_us) = (who.gateway, Phase::Live, now_us);
        life.profiles.push((now_us, profile));
        life.unplaced = at.is_none();
        if let Some((pos, _)) = at {
            let key = life.steps.last().map_or(1, |step| step.key | 1);
            if life.steps.last().is_none_or(|step| !step.is_back() || step.pos != pos) {
                life.steps.retain(|step| step.key != key);
                life.steps.push(Step { at_us: now_us, key, pos, yaw: 0, in_vain: false });
            }
        }
        let at: Option<Pos> = at.map(|(pos, _)| pos);
        // (A `bye` that a full log does not take is not known after a restart.)
        if knew && matches!(before, Phase::Lingering(_)) && at != last {
            self.fail(format!("{entity:x} ({before:?}) was at {last:?} and goes on at {at:?}"));
        }
        if self.openings.is_nobodys(opened.session)
            && let Some(life) = self.lives.get_mut(&entity)
        {
            // It may be over before it has written where it is.
            life.phase = Phase::Unsure(now_us);
        }
    }

    /// Nobody holds an avatar's session any more, and no gateway knows: it expires.
    fn orphaned(&mut self, entity: Id) {
        let now_us = self.now_us;
        let Some(life) = self.lives.get_mut(&entity) else { return };
        life.phase = match life.phase {
            Phase::Live => Phase::Orphan(now_us),
            Phase::Lingering(since) if now_us + 2 * SECOND_US < since + EXPIRY_US => Phase::Orphan(now_us),
            Phase::Lingering(since) if now_us < since + EXPIRY_US + SECOND_US => {
                Phase::Unsure(now_us.min(since + EXPIRY_US - 2 * SECOND_US))
            }
            Phase::Lingering(_) | Phase::Orphan(_) | Phase::Unsure(_) | Phase::Left(_) => life.phase,
        };
        let phase = life.phase;
        self.note(format!("avatar {entity:x} is nobody's: {phase:?}"));
    }

    /// A session hands something to its world.
    pub fn submitted(&mut self, who: Who, submit: &Submit) {
        let now_us = self.now_us;
        match submit {
            Submit::Open { session, entity, profile, radius_m, token } => {
                self.openings.asks(*session, who);
                if token.is_some() {
                    self.asked.insert(*session, (*entity, profile.clone()));
                } else {
                    self.lives.insert(*entity, Life::new(who.gateway, profile.clone(), now_us));
                }
                self.see(who, *radius_m);
            }
            Submit::Move { entity, place } => {
                let counter = place.state.bytes().try_into().map(u64::from_le_bytes);
                let counter = counter.expect("bots number their samples");
                let life = self.lives.get_mut(entity).expect("it was opened");
                let in_vain = self.openings.incarnation(who.conn).is_some_and(|by| by < life.incarnation);
                let step = Step { at_us: now_us, key: 2 * counter, pos: place.pos, yaw: place.yaw, in_vain };
                life.unplaced = false;
                if life.steps.last().is_some_and(|last| last.key >= step.key) {
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
            Submit::Gone { entity, incarnation } => self.ended(*entity, *incarnation, Phase::Lingering(now_us)),
            Submit::Leave { entity, incarnation } => self.ended(*entity, *incarnation, Phase::Left(now_us)),
            // It has never had a place.
            Submit::Abandon { session } => {
                let entity = self.viewers.get(&who.conn).map(|viewer| viewer.entity);
                if let (Some(entity), None) = (entity, self.asked.remove(session)) {
                    self.ended(entity, 0, Phase::Left(now_us));
                }
            }
            Submit::Command(_) | Submit::Recall { .. } | Submit::Confirm { .. } => {}
        }
    }

    fn see(&mut self, who: Who, radius_m: f64) {
        if let Some(viewer) = self.viewers.get_mut(&who.conn) {
            viewer.radius = (radius_m, self.now_us);
        }
    }

    fn ended(&mut self, entity: Id, incarnation: u64, phase: Phase) {
        self.note(format!("avatar {entity:x}: {phase:?}"));
        let life = self.lives.get_mut(&entity).expect("it was opened");
        // Who was superseded has no say.
        if life.incarnation == incarnation {
            life.phase = phase;
        }
    }

    /// A gateway died.
    pub fn gateway_died(&mut self, gateway: usize) {
        let now_us = self.now_us;
        for conn in self.openings.of_gateway(gateway) {
            self.released(conn, false);
        }
        for life in self.lives.values_mut().filter(|life| life.gateway == gateway) {
            life.phase = match life.phase {
                Phase::Live => Phase::Orphan(now_us),
                Phase::Lingering(since) if now_us < since + EXPIRY_US => Phase::Orphan(now_us),
                // Its `leave` is written with the upkeep that follows, or has been just before.
                Phase::Lingering(since) if now_us < since + EXPIRY_US + SECOND_US => {
                    Phase::Unsure(since + EXPIRY_US - 2 * SECOND_US)
                }
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
        if source.topic == Topic::Direct
            && let Ok((_, record)) = decode(bytes)
            && let Some(won) = self.openings.entered(offset, &record, now_us)
            && won.in_vain
        {
            self.orphaned(won.entity);
        }
        let Checker { history, viewers, lives, delay_us, .. } = self;
        let result = history.entered(source, offset, bytes, viewers, lives, (now_us, *delay_us));
        result.unwrap_or_else(|what| self.fail(what));
    }

    /// What a gateway has come to is what the log comes to.
    pub fn compare(&mut self, world: &World) {
        let result = self.history.ledger.compare(world);
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
        if self.watched == Some(viewer.who.bot as u64) {
            let at_s = (self.now_us - self.start_us) as f64 / 1e6;
            self.story.push(format!("{at_s:7.3} bot {} is told {out:?}", viewer.who.bot));
        }
        let is_well = self.now_us > self.bad_us + RECALL_WITHIN_US;
        let result = self.history.told(viewer, out, is_well);
        result.unwrap_or_else(|what| self.fail(what));
    }

    /// A state arrived and was applied; `before` were shown until then.
    pub fn state(&mut self, conn: u64, before: &[Id], mirror: &Mirror, delta: &Delta) {
        self.states += 1;
        let may_forget = self.may_forget();
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
                may_forget,
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
        let sessions = self.opened.get(&gateway).copied().unwrap_or(0);
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
        if now_us > self.bad_us + 2 * SECOND_US {
            let by_us = now_us.saturating_sub(2 * self.delay_us + SECOND_US);
            faults.extend(self.openings.overdue(by_us.min(now_us - 2 * SECOND_US)));
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

    /// Whether gateways have just done something of themselves with an object: not all need know yet.
    pub fn is_on_errand(&self, object: Id) -> bool {
        self.history.is_on_errand(object, self.now_us)
    }

    /// Whether an avatar without a socket may stand where it was, and may be gone.
    pub fn may_stand(&self, life: &Life) -> bool {
        match life.phase {
            Phase::Live | Phase::Left(_) => false,
            Phase::Lingering(since) | Phase::Orphan(since) | Phase::Unsure(since) => self.now_us < since + EXPIRED_US,
        }
    }

    /// Somebody who is there, drawn by a number.
    pub fn some_user(&self, drawn: u64) -> Option<Id> {
        let users: Vec<Id> = self.viewers.values().filter_map(|viewer| viewer.user).collect();
        users.get(drawn.checked_rem(users.len() as u64)? as usize).copied()
    }

    /// What is known of a connection.
    pub fn viewer(&self, conn: u64) -> Option<&Viewer> {
        self.viewers.get(&conn)
    }
}
