//! What a bot does with things: it makes a lamp, a door or a ball where there is none, switches what lies within reach, opens
//! and closes, carries, and says something now and then; or it only says something, as often as it is asked. And what became
//! of the things, for all bots: whether all that was acknowledged is in effect, each once.

use std::collections::{BTreeMap, BTreeSet};

use nearcast::client::{Contradiction, Stock};
use nearcast::codec::message::{Ack, Act, Id, In, ObjectRow, Objects, Scope, Set, Wish};
use nearcast::limits::OPEN_ACTS_MAX;
use nearcast::region::commands::objects::id_of;

/// What they make.
const KINDS: [&str; 3] = ["lamp", "door", "ball"];
/// Within this is what one takes; the gateway lets reach 5 m, and everybody walks meanwhile.
const REACH_M: f64 = 3.5;
/// Nothing new is made where something lies within this.
const APART_M: f64 = 12.0;
/// A ball is carried for so long, µs.
const CARRY_US: u64 = 4_000_000;
/// After `unknown` a command is said again so much later, µs.
const AGAIN_US: u64 = 1_000_000;
/// Who uses things says something every so many turns instead.
const SAYS_EVERY: u64 = 3;
/// Who only talks has as many commands open as a session may.
const TALKS_OPEN_MAX: usize = OPEN_ACTS_MAX as usize;

/// What a bot gives commands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It uses things, one command after the other.
    #[default]
    Uses,
    /// It says something, whether or not the last word was answered.
    Talks,
}

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A wish about a thing.
    Set(Set),
    /// Something said.
    Act(Act),
}

impl Command {
    /// As it is sent.
    #[must_use]
    pub fn message(self) -> In {
        match self {
            Command::Set(set) => In::Set(set),
            Command::Act(act) => In::Act(act),
        }
    }
}

/// A command without an answer.
#[derive(Clone, Debug)]
struct Open {
    command: Command,
    sent_us: u64,
    /// Since when nobody knows what became of it.
    unknown_us: Option<u64>,
}

/// One bot's hands and voice, in one session, over all its connections.
#[derive(Clone, Debug, Default)]
pub struct Hands {
    kind: usize,
    manner: Manner,
    stock: Stock,
    next: u64,
    turns: u64,
    open: BTreeMap<u64, Open>,
    has_made: bool,
    took_us: u64,
}

impl Hands {
    /// Those of a bot.
    #[must_use]
    pub fn new(number: usize, manner: Manner) -> Hands {
        // Not all have the same turn to say something.
        Hands { kind: number % KINDS.len(), manner, turns: number as u64 % SAYS_EVERY, ..Hands::default() }
    }

    /// What to say next, by whom, who stands there: a command again whose answer got lost, else a new one.
    pub fn turn(&mut self, me: Id, at: [f64; 3], now_us: u64) -> Option<Command> {
        let is_due = |open: &&mut Open| open.unknown_us.is_some_and(|since| now_us.saturating_sub(since) >= AGAIN_US);
        if let Some(open) = self.open.values_mut().find(is_due) {
            // Unchanged: however often it arrives, it takes effect once.
            open.unknown_us = None;
            return Some(open.command.clone());
        }
        let room = match self.manner {
            Manner::Uses => 1,
            Manner::Talks => TALKS_OPEN_MAX,
        };
        if self.open.len() >= room || !self.is_in_window(room) {
            return None;
        }
        self.turns += 1;
        let n = self.next + 1;
        let says = self.manner == Manner::Talks || self.turns.is_multiple_of(SAYS_EVERY);
        let command = if says {
            // The number makes each word unlike all others of the same avatar.
            let (name, data, time) = ("wave".to_owned(), n.to_string(), now_us as f64 / 1e3);
            Command::Act(Act { n, scope: Scope::Nearby, name, data, time, pos: at, to: None })
        } else {
            Command::Set(Set { n, ..self.idea(me, at, now_us)? })
        };
        self.next = n;
        self.open.insert(n, Open { command: command.clone(), sent_us: now_us, unknown_us: None });
        Some(command)
    }

    /// Numbers may not run ahead of the lowest without an answer.
    fn is_in_window(&self, room: usize) -> bool {
        self.open.keys().next().is_none_or(|lowest| self.next + 1 < lowest + room as u64)
    }

    fn idea(&mut self, me: Id, at: [f64; 3], now_us: u64) -> Option<Set> {
        let away = |row: &&ObjectRow| distance2(row.pos, at);
        if let Some(held) = self.stock.objects.values().find(|row| row.holder == Some(me)) {
            let has_arrived = now_us.saturating_sub(self.took_us) >= CARRY_US;
            return has_arrived.then(|| Set { to: Some(at), ..of(Wish::Release, held) });
        }
        let lying = self.stock.objects.values().filter(|row| row.holder.is_none());
        let nearest = lying.min_by(|a, b| away(a).total_cmp(&away(b)));
        match nearest.map(|row| (row, away(&row).sqrt())) {
            Some((row, metres)) if metres <= REACH_M => {
                let toggle = |name: &str| {
                    let is_on = row.fields.get(name).is_some_and(|text| text == "yes");
                    let fields = [(name.to_owned(), Some(if is_on { "no" } else { "yes" }.to_owned()))].into();
                    Set { expect: Some(row.version), fields, ..of(Wish::Change, row) }
                };
                match row.kind.as_str() {
                    "lamp" => Some(toggle("on")),
                    "door" => Some(toggle("open")),
                    "ball" => {
                        self.took_us = now_us;
                        Some(of(Wish::Grab, row))
                    }
                    _ => None,
                }
            }
            Some((_, metres)) if metres < APART_M => None,
            Some(_) | None if self.has_made => None,
            Some(_) | None => {
                self.has_made = true;
                let kind = Some(KINDS[self.kind].to_owned());
                Some(Set { object: None, kind, pos: at, ..wish(Wish::Create) })
            }
        }
    }

    /// What came of objects.
    pub(super) fn see(&mut self, objects: &Objects) -> Result<(), Contradiction> {
        self.stock.apply(objects)
    }

    /// A command took effect: what it was, and how long that took, µs. `None` if that was known.
    pub(super) fn acked(&mut self, ack: &Ack, now_us: u64) -> Option<(Command, u64)> {
        let open = self.open.remove(&ack.n)?;
        Some((open.command, now_us.saturating_sub(open.sent_us)))
    }

    /// Whether a command has no answer.
    pub(super) fn has(&self, n: u64) -> bool {
        self.open.contains_key(&n)
    }

    /// A command has no effect.
    pub(super) fn refused(&mut self, n: u64) {
        self.open.remove(&n);
    }

    /// Nobody knows what became of a command.
    pub(super) fn unknown(&mut self, n: u64, now_us: u64) {
        if let Some(open) = self.open.get_mut(&n) {
            open.unknown_us = Some(now_us);
        }
    }

    /// The session goes on by another connection: what has no answer is said again, when it is the bot's turn.
    pub(super) fn came_back(&mut self) {
        self.open.values_mut().for_each(|open| open.unknown_us = Some(0));
    }

    /// Commands without an answer.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// The lowest number of them; the next number if there is none.
    pub(super) fn lowest(&self) -> u64 {
        self.open.keys().next().copied().unwrap_or(self.next + 1)
    }
}

fn wish(wish: Wish) -> Set {
    Set {
        n: 0,
        wish,
        object: None,
        expect: None,
        kind: None,
        fields: BTreeMap::new(),
        to: None,
        yaw: 0.0,
        pos: [0.0; 3],
        scope: None,
    }
}

fn of(what: Wish, row: &ObjectRow) -> Set {
    Set { object: Some(row.object), pos: row.pos, ..wish(what) }
}

fn distance2(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum()
}

/// What all bots know of all objects.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    objects: BTreeMap<Id, Known>,
    /// By partition: objects below this number were there before.
    older: BTreeMap<u16, Id>,
    acked: u64,
    doubled: u64,
    wrong: u64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// Versions that an acknowledged wish has made, with what it wished.
    acked: BTreeMap<u64, Set>,
    /// The newest that anybody was told, since all came back last.
    seen: Option<ObjectRow>,
    /// The version that was seen first.
    first: Option<u64>,
}

/// Whether what was acknowledged is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Objects.
    pub objects: u64,
    /// Wishes acknowledged.
    pub acked: u64,
    /// Of these, at versions that nobody has seen; where all have come back, since then.
    pub lost: u64,
    /// Of these, at a version that another one was acknowledged with, too.
    pub doubled: u64,
    /// Versions at which an object was not as wished.
    pub wrong: u64,
    /// Versions seen that none of these has made.
    pub others: u64,
}

impl Ledger {
    /// The world's log had so many records when the bots came, by partition: what was made before is not theirs.
    pub(super) fn begin(&mut self, ends: &BTreeMap<u16, u64>) {
        self.older = ends.iter().map(|(partition, end)| (*partition, id_of(*end, *partition))).collect();
    }

    /// All have lost their connections: what was seen counts only if it is seen again.
    pub(super) fn forget_sights(&mut self) {
        self.objects.values_mut().for_each(|known| known.seen = None);
    }

    /// Whether an object was there before.
    fn is_older(&self, object: Id) -> bool {
        let partition = (object % id_of(0, 0)) as u16;
        self.older.get(&partition).is_some_and(|first| object < *first)
    }

    /// The objects.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<Id> {
        self.objects.keys().copied().collect()
    }

    /// A wish was acknowledged.
    pub(super) fn acked(&mut self, ack: &Ack, set: Set) {
        let (Some(object), Some(version)) = (ack.object, ack.version) else { return };
        self.acked += 1;
        let known = self.objects.entry(object).or_default();
        if known.seen.as_ref().is_some_and(|row| row.version == version && !is_as_wished(row, &set)) {
            self.wrong += 1;
        }
        self.doubled += u64::from(known.acked.insert(version, set).is_some());
    }

    /// Somebody was told of objects.
    pub(super) fn saw(&mut self, objects: &Objects) {
        // What they do not make is others' affair.
        for row in objects.put.iter().filter(|row| KINDS.contains(&row.kind.as_str())) {
            let known = self.objects.entry(row.object).or_default();
            if known.seen.as_ref().is_some_and(|seen| seen.version >= row.version) {
                continue;
            }
            self.wrong += u64::from(known.acked.get(&row.version).is_some_and(|set| !is_as_wished(row, set)));
            known.first.get_or_insert(row.version);
            known.seen = Some(row.clone());
        }
    }

    /// How it stands.
    #[must_use]
    pub fn account(&self) -> Account {
        let Ledger { acked, doubled, wrong, .. } = *self;
        let mut account = Account { objects: self.objects.len() as u64, acked, doubled, wrong, ..Account::default() };
        for (object, known) in &self.objects {
            let newest = known.seen.as_ref().map_or(0, |row| row.version);
            let made: BTreeSet<u64> = known.acked.keys().copied().collect();
            account.lost += made.iter().filter(|version| **version > newest).count() as u64;
            let before = if self.is_older(*object) { known.first.unwrap_or(0) } else { 0 };
            account.others += (before + 1..=newest).filter(|version| !made.contains(version)).count() as u64;
        }
        account
    }
}

/// Whether an object at the version that a wish has made is as it was wished.
fn is_as_wished(row: &ObjectRow, set: &Set) -> bool {
    let fields = set.fields.iter().all(|(name, text)| row.fields.get(name) == text.as_ref());
    let held = match set.wish {
        Wish::Grab => row.holder.is_some(),
        Wish::Release | Wish::Create => row.holder.is_none(),
        Wish::Change | Wish::Remove | Wish::Environment => true,
    };
    fields && held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(version: u64, on: &str) -> ObjectRow {
        let fields = [("on".to_owned(), on.to_owned())].into();
        ObjectRow { object: 7, version, kind: "lamp".into(), pos: [1.0, 0.0, 0.0], yaw: 0.0, holder: None, fields }
    }

    fn put(row: ObjectRow) -> Objects {
        Objects { put: vec![row], ..Objects::default() }
    }

    fn ack(n: u64, version: u64) -> Ack {
        Ack { n, offset: n, object: Some(7), version: Some(version) }
    }

    #[test]
    fn a_bot_makes_one_thing_uses_what_is_near_and_asks_again_unchanged() {
        let mut hands = Hands::new(0, Manner::Uses);
        let wish = |hands: &mut Hands, at, now_us| {
            hands
                .turn(1, at, now_us)
                .map(|command| if let Command::Set(set) = command { set } else { panic!("{command:?}") })
        };
        let made = wish(&mut hands, [0.0; 3], 0).expect("nothing is near");
        assert_eq!((made.n, made.wish, made.kind.as_deref()), (1, Wish::Create, Some("lamp")));
        assert_eq!(wish(&mut hands, [0.0; 3], 1), None, "it has no answer");
        hands.unknown(1, 1);
        assert_eq!(wish(&mut hands, [0.0; 3], 2), None);
        assert_eq!(wish(&mut hands, [5.0; 3], AGAIN_US + 1).as_ref(), Some(&made));
        assert!(hands.acked(&ack(1, 1), 9).is_some() && hands.acked(&ack(1, 1), 9).is_none());
        assert_eq!(wish(&mut hands, [50.0, 0.0, 0.0], 10), None, "it has made one");
        let said = hands.turn(1, [0.0; 3], 10).map(Command::message);
        assert!(matches!(said, Some(In::Act(act)) if act.n == 2), "its third turn");
        hands.refused(2);
        assert!(!hands.has(2));
        hands.see(&put(row(1, "no"))).expect("new");
        let used = wish(&mut hands, [0.0; 3], 10).expect("a lamp");
        assert_eq!((used.wish, used.expect, used.fields["on"].as_deref()), (Wish::Change, Some(1), Some("yes")));
    }

    #[test]
    fn who_talks_does_not_wait_and_says_again_what_has_no_answer_when_it_comes_back() {
        let mut hands = Hands::new(0, Manner::Talks);
        let turn = |hands: &mut Hands| match hands.turn(1, [0.0; 3], AGAIN_US)? {
            Command::Act(act) => Some(act.n),
            Command::Set(set) => panic!("{set:?}"),
        };
        let first: Vec<u64> = (0..TALKS_OPEN_MAX + 5).filter_map(|_| turn(&mut hands)).collect();
        assert_eq!(first, (1..=TALKS_OPEN_MAX as u64).collect::<Vec<_>>());
        assert!(hands.acked(&Ack { object: None, version: None, ..ack(1, 1) }, 1).is_some());
        hands.refused(3);
        assert_eq!((hands.lowest(), turn(&mut hands), turn(&mut hands)), (2, Some(33), None), "the window");
        hands.came_back();
        let again: Vec<u64> = (0..TALKS_OPEN_MAX).filter_map(|_| turn(&mut hands)).collect();
        assert_eq!(again, [2].into_iter().chain(4..=33).collect::<Vec<_>>());
        assert_eq!(hands.open(), again.len());
    }

    #[test]
    fn after_a_return_what_was_acknowledged_must_be_seen_again() {
        let set = |on: &str| Set { fields: [("on".to_owned(), Some(on.to_owned()))].into(), ..wish(Wish::Change) };
        let mut ledger = Ledger::default();
        ledger.acked(&ack(2, 2), set("yes"));
        ledger.saw(&put(row(2, "yes")));
        ledger.forget_sights();
        assert_eq!(ledger.account().lost, 1, "it may have gone");
        ledger.saw(&put(row(1, "no")));
        assert_eq!(ledger.account().lost, 1, "it is as it was before");
        ledger.saw(&put(row(3, "yes")));
        assert_eq!((ledger.account().lost, ledger.account().others), (0, 2));
    }

    #[test]
    fn versions_of_before_are_nobodys() {
        let mut ledger = Ledger::default();
        // The object's number is that of partition 7 of a log that was empty.
        ledger.begin(&[(7, 1)].into());
        ledger.saw(&put(row(5, "no")));
        ledger.saw(&put(row(6, "no")));
        assert_eq!(ledger.account().others, 1);
    }

    #[test]
    fn what_is_lost_doubled_or_wrong_is_found() {
        let set = |on: &str| Set { fields: [("on".to_owned(), Some(on.to_owned()))].into(), ..wish(Wish::Change) };
        let mut ledger = Ledger::default();
        ledger.saw(&put(row(1, "no")));
        ledger.acked(&ack(2, 2), set("yes"));
        assert_eq!(ledger.account(), Account { objects: 1, acked: 1, lost: 1, others: 1, ..Account::default() });
        ledger.saw(&put(row(2, "yes")));
        assert_eq!(ledger.account(), Account { objects: 1, acked: 1, others: 1, ..Account::default() });
        ledger.acked(&ack(3, 2), set("yes"));
        assert_eq!(ledger.account().doubled, 1);
        ledger.acked(&ack(4, 3), set("no"));
        ledger.saw(&put(row(3, "yes")));
        assert_eq!((ledger.account().wrong, ledger.account().lost), (1, 0));
    }
}
