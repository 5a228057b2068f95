//! Actions and events: what entered the log, what was answered, who was told. Every event reaches everybody who was in
//! range all along, once and in order, unless a `reset` says that something was missed: also who was away meanwhile and
//! goes on as the same session.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use nearcast::codec::command::{Aim, Command, Deed};
use nearcast::codec::message::{Event, Id, Out, Scope};
use nearcast::codec::record::{Record, decode};
use nearcast::limits::{EVENT_RING, MILLI_US, REGION_M, SECOND_US};
use nearcast::log::{Source, Topic};
use nearcast::region::commands::tells::lane_of;
use nearcast::space::{Grid, Pos, Region};

use crate::cluster::CROWD;
use crate::ledger::Ledger;
use crate::sight::Viewer;
use crate::truth::Life;

/// A viewer nearer than the radius by this is entitled, metres: positions travel for a while.
const MARGIN_M: f64 = 4.0;

type Lives = BTreeMap<Id, Life>;

/// What is known of actions and events.
pub struct History {
    grid: Grid,
    /// What the commands come to.
    pub ledger: Ledger,
    /// By partition and offset, as they entered.
    events: BTreeMap<(u16, u64), Command>,
    /// Actions that entered.
    entered: BTreeSet<(Id, u64)>,
    /// Actions whose session was told that they never will.
    refused: BTreeSet<(Id, u64)>,
    /// Actions whose session has its answer; what a resend on its way then brings, counts no more.
    answered: BTreeSet<(Id, u64)>,
    /// Refusals of actions that were heard, by code.
    pub refusals: BTreeMap<String, u64>,
    /// Who is to be told of what, by when.
    expected: BTreeMap<(u64, (u16, u64)), u64>,
    /// By session, over all its connections: the last offset by stream, and the actions told.
    heard: BTreeMap<Id, Heard>,
    /// What bots miss that are away, until they go on.
    away: BTreeMap<usize, Away>,
    told: u64,
    /// Events that were owed to those who were away.
    missed: u64,
    met: u64,
    resets: u64,
    /// Rings have been overrun.
    is_crowded: bool,
    /// When gateways did something of themselves with an object.
    errands_us: BTreeMap<Id, u64>,
}

#[derive(Default)]
struct Heard {
    streams: BTreeMap<String, u64>,
    actions: BTreeSet<(Id, u64)>,
}

/// A bot without a connection.
struct Away {
    session: Id,
    entity: Id,
    user: Option<Id>,
    radius_m: f64,
    owed: BTreeSet<(u16, u64)>,
}

/// How a session goes on.
pub struct Back {
    /// Where its avatar was.
    pub at: Option<Pos>,
    /// When.
    pub now_us: u64,
    /// The longest way through a healthy log.
    pub delay_us: u64,
}

impl History {
    /// Empty.
    pub fn new(grid: Grid) -> History {
        History {
            grid,
            ledger: Ledger::new(grid),
            events: BTreeMap::new(),
            entered: BTreeSet::new(),
            refused: BTreeSet::new(),
            answered: BTreeSet::new(),
            refusals: BTreeMap::new(),
            expected: BTreeMap::new(),
            heard: BTreeMap::new(),
            away: BTreeMap::new(),
            told: 0,
            missed: 0,
            met: 0,
            resets: 0,
            is_crowded: false,
            errands_us: BTreeMap::new(),
        }
    }

    /// For the report.
    pub fn counts(&self) -> String {
        let History { entered, told, met, missed, resets, .. } = self;
        let (commands, ledger) = (entered.len(), self.ledger.counts());
        format!(
            "{commands} commands, {told} events told, {met} of them owed, {missed} to who was away, {resets} resets, {ledger}"
        )
    }

    /// A connection is over: what was owed to it is, if its session goes on.
    pub fn closed(&mut self, viewer: &Viewer) {
        let Viewer { who, session, entity, user, radius: (radius_m, _), .. } = *viewer;
        let span = (who.conn, (0, 0))..=(who.conn, (u16::MAX, u64::MAX));
        let owed: BTreeSet<(u16, u64)> = self.expected.range(span).map(|((_, place), _)| *place).collect();
        self.expected.retain(|(to, _), _| *to != who.conn);
        // Before it was told that it is a session, nothing is new.
        if viewer.whole_us.is_some() || !owed.is_empty() {
            self.away.insert(who.bot, Away { session, entity, user, radius_m, owed });
        }
    }

    /// A bot is somebody new.
    pub fn begins_anew(&mut self, bot: usize) {
        self.away.remove(&bot);
    }

    /// A session goes on: it is owed what it missed where it says how far it was told.
    pub fn comes_back(&mut self, viewer: &Viewer, back: Back) {
        let Some(away) = self.away.remove(&viewer.who.bot).filter(|away| away.session == viewer.session) else {
            return;
        };
        let Some(at) = back.at else { return };
        let named = viewer.named.as_ref().expect("it goes on");
        let radius_m = viewer.radius.0.min(away.radius_m);
        let slow_us = if viewer.well_served { 5 } else { 40 } * SECOND_US;
        let by_us = back.now_us + 2 * back.delay_us + slow_us + self.recall_us(back.delay_us);
        for place in away.owed.into_iter().filter(|(stream, _)| named.contains(stream)) {
            if reaches(&self.events[&place], away.user, at, radius_m) {
                self.missed += 1;
                self.expected.insert((viewer.who.conn, place), by_us);
            }
        }
    }

    /// A record entered the log.
    pub fn entered(
        &mut self,
        source: Source,
        offset: u64,
        bytes: &Bytes,
        viewers: &BTreeMap<u64, Viewer>,
        lives: &Lives,
        (now_us, delay_us): (u64, u64),
    ) -> Result<(), String> {
        let (_, record) = decode(bytes).map_err(|e| format!("a gateway wrote a {e}"))?;
        match (source.topic, &record) {
            (Topic::Events | Topic::Social, _) => self.ledger.entered(source, offset, &record)?,
            (Topic::Direct, Record::Command(told)) => self.ledger.told(told)?,
            (Topic::Motion | Topic::Objects | Topic::Direct | Topic::Control, _) => return Ok(()),
        }
        let stream = self.ledger.stream(source);
        let Record::Command(action) = record else { return Ok(()) };
        if action.session == 0
            && let Deed::Change { of: Aim { id, .. }, .. } | Deed::Release(Aim { id, .. }, _) = action.deed
        {
            self.errands_us.insert(id, now_us);
        }
        assert_eq!(action.is_of_world(), source.topic == Topic::Social);
        assert_eq!(action.addressee().is_some(), source.topic == Topic::Direct);
        self.is_crowded |= action.session == CROWD;
        let key = (action.session, action.n);
        if self.refused.contains(&key) {
            return Err(format!("action {key:x?} enters the log and was refused"));
        }
        let recall_us = self.recall_us(delay_us);
        if self.entered.insert(key) {
            for (conn, viewer) in viewers {
                let established = viewer.whole_us.is_some_and(|since| now_us > since + 2 * SECOND_US);
                let settled = now_us > viewer.radius.1 + 2 * SECOND_US;
                if established && settled && is_entitled(viewer, lives, &action, now_us) {
                    let slow_us = if viewer.well_served { 1 } else { 40 } * SECOND_US;
                    // What is read from the log comes before what is new.
                    let by_us = now_us + 2 * delay_us + 500 * MILLI_US + slow_us + recall_us;
                    self.expected.insert((*conn, (stream, offset)), by_us);
                }
            }
            for away in self.away.values_mut() {
                let at = lives.get(&away.entity).and_then(|life| life.at(now_us));
                if at.is_some_and(|step| reaches(&action, away.user, step.pos, away.radius_m)) {
                    away.owed.insert((stream, offset));
                }
            }
        }
        self.events.insert((stream, offset), action);
        Ok(())
    }

    /// How long it may take to read what rings have no more: a dozen readings of the log, each of which takes four ways through
    /// it at most.
    fn recall_us(&self, delay_us: u64) -> u64 {
        if self.is_crowded { 12 * 4 * delay_us } else { 0 }
    }

    /// A client was told something; `is_well`: the log has not stalled lately.
    pub fn told(&mut self, viewer: &Viewer, out: &Out, is_well: bool) -> Result<(), String> {
        let bot = viewer.who.bot;
        match out {
            Out::Event(event) => return self.event(viewer, event),
            Out::Reset(reset) => {
                self.resets += 1;
                let conn = viewer.who.conn;
                // Retention and faults take no events out of this log, and a gateway that dies takes its clients along:
                // only a ring that has overflowed makes anybody miss one.
                // Who goes on and does not say how far it was told may have missed some.
                let is_known = viewer.named.as_ref().is_none_or(|named| named.contains(&reset.partition));
                // What the crowd elsewhere does nobody hears, and while the log stalls nothing older can be read from it.
                let before = (reset.partition, 0)..(reset.partition, reset.offset);
                let heard = self.events.range(before).filter(|(_, action)| action.session != CROWD).count();
                if is_known && is_well && heard < EVENT_RING {
                    return Err(format!("bot {bot} is told {reset:?}, though it can have missed nothing"));
                }
                self.expected.retain(|(to, (partition, _)), _| *to != conn || *partition != reset.partition);
            }
            Out::Ack(ack) => {
                let key = (viewer.session, ack.n);
                self.answered.insert(key);
                let at_offset =
                    self.events.iter().any(|((_, offset), a)| *offset == ack.offset && key == (a.session, a.n));
                self.ledger.acknowledged(key, ack).map_err(|why| format!("bot {bot}: {why}"))?;
                if !at_offset {
                    return Err(format!(
                        "bot {bot}: action {key:x?} is acknowledged at {}, it is not there",
                        ack.offset
                    ));
                }
            }
            Out::Refuse(refuse) => {
                if let Some(n) = refuse.n {
                    let key = (viewer.session, n);
                    if self.answered.contains(&key) {
                        return Ok(());
                    }
                    *self.refusals.entry(refuse.code.to_string()).or_default() += 1;
                    self.ledger.refused(key, refuse).map_err(|why| format!("bot {bot}: {why}"))?;
                    // What the fold denies stands in the log.
                    if !self.entered.contains(&key) {
                        self.refused.insert(key);
                    }
                }
            }
            Out::Welcome(_)
            | Out::State(_)
            | Out::Unknown(_)
            | Out::Object(_)
            | Out::Notice(_)
            | Out::Correct(_)
            | Out::Stale(_)
            | Out::Cursor(_)
            | Out::Pong(_)
            | Out::Moved(_)
            | Out::Bye(_) => {}
        }
        Ok(())
    }

    fn event(&mut self, viewer: &Viewer, event: &Event) -> Result<(), String> {
        let bot = viewer.who.bot;
        let pos = Pos::from_metres(event.pos).ok_or("an event is nowhere")?;
        let (stream, name) = match (event.scope, viewer.user) {
            (Scope::World, _) => (self.grid.partitions(), "world".to_owned()),
            (Scope::User, Some(user)) => (self.grid.partitions() + 1 + lane_of(user), format!("user/{user}")),
            (Scope::User, None) => return Err(format!("bot {bot} is told {event:?} before it is anybody")),
            (Scope::Nearby | Scope::Region, _) => (self.grid.partition(Region::of(pos)), Region::of(pos).stream()),
        };
        let place = (stream, event.offset);
        let Some(action) = self.events.get(&place) else {
            return Err(format!("bot {bot} is told of {place:?}, which is not in the log"));
        };
        let (scope, to, said, data) = match &action.deed {
            Deed::Act { scope, name, data, .. } => (*scope, None, name, data),
            Deed::Tell { to, name, data, .. } => (Scope::User, Some(*to), name, data),
            Deed::Create { .. }
            | Deed::Change { .. }
            | Deed::Grab(_)
            | Deed::Release(..)
            | Deed::Remove(_)
            | Deed::Environment { .. } => {
                return Err(format!("bot {bot} is told {event:?} as an event, the log says {action:?}"));
            }
        };
        let same = (action.entity, scope, &**said, &**data, action.pos)
            == (event.from, event.scope, event.name.as_str(), event.data.as_str(), pos);
        if !same || event.stream != name || (to.is_some() && to != viewer.user) {
            return Err(format!("bot {bot} is told {event:?}, the log says {action:?}"));
        }
        let key = (action.session, action.n);
        let heard = self.heard.entry(viewer.session).or_default();
        if !heard.actions.insert(key) {
            return Err(format!("bot {bot} is told twice of {key:x?}, now at {place:?}"));
        }
        let last = heard.streams.insert(event.stream.clone(), event.offset);
        if last.is_some_and(|last| last >= event.offset) {
            return Err(format!("bot {bot} is told {place:?} of {} after {last:?}", event.stream));
        }
        self.told += 1;
        self.met += u64::from(self.expected.remove(&(viewer.who.conn, place)).is_some());
        Ok(())
    }

    /// Whether gateways have just done something of themselves with an object: not all need know yet.
    pub fn is_on_errand(&self, object: Id, now_us: u64) -> bool {
        self.errands_us.get(&object).is_some_and(|at_us| now_us < at_us + SECOND_US)
    }

    /// What is owed and has not come, by connection.
    pub fn owed(&self, conn: u64) -> usize {
        self.expected.range((conn, (0, 0))..=(conn, (u16::MAX, u64::MAX))).count()
    }

    /// What was owed and has not come. Who has gone out of range meanwhile is owed nothing; while the log stalls there
    /// is time.
    pub fn overdue(&mut self, viewers: &BTreeMap<u64, Viewer>, lives: &Lives, now_us: u64, bad_us: u64) -> Vec<String> {
        let events = &self.events;
        let mut faults = Vec::new();
        self.expected.retain(|(conn, place), by_us| {
            let Some(viewer) = viewers.get(conn) else { return false };
            if !is_entitled(viewer, lives, &events[place], now_us) {
                return false;
            }
            if now_us > *by_us && now_us > bad_us + 10 * SECOND_US {
                let (bot, served) = (viewer.who.bot, viewer.well_served);
                faults.push(format!("bot {bot} ({served}) was not told of {place:?}: {:?}", events[place]));
            }
            true
        });
        faults
    }
}

fn is_entitled(viewer: &Viewer, lives: &Lives, action: &Command, now_us: u64) -> bool {
    let Some(me) = lives.get(&viewer.entity).and_then(|life| life.at(now_us)) else { return false };
    reaches(action, viewer.user, me.pos, viewer.radius.0)
}

/// Whether who is there, and sees so far, is surely told.
fn reaches(action: &Command, user: Option<Id>, at: Pos, radius_m: f64) -> bool {
    if let Some(to) = action.addressee() {
        return user == Some(to);
    }
    let Deed::Act { scope, .. } = action.deed else { return false };
    match scope {
        Scope::World => true,
        // That is another deed.
        Scope::User => false,
        Scope::Nearby => action.pos.distance_m(at) < radius_m - MARGIN_M,
        Scope::Region => {
            let well_inside = |metres: f64| {
                let at = metres.rem_euclid(REGION_M);
                (MARGIN_M..REGION_M - MARGIN_M).contains(&at)
            };
            let [x, _, z] = at.metres();
            Region::of(action.pos) == Region::of(at) && well_inside(x) && well_inside(z)
        }
    }
}
