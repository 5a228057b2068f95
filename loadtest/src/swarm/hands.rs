//! What a bot does with things: it makes a lamp, a door or a ball where there is none, switches what lies within reach, opens
//! and closes, carries. And what became of that, for all bots: whether all that was acknowledged is in effect, each once.

use std::collections::{BTreeMap, BTreeSet};

use nearcast::client::{Contradiction, Stock};
use nearcast::codec::message::{Ack, Id, ObjectRow, Objects, Set, Wish};

/// What they make.
const KINDS: [&str; 3] = ["lamp", "door", "ball"];
/// Within this is what one takes; the gateway lets reach 5 m, and everybody walks meanwhile.
const REACH_M: f64 = 3.5;
/// Nothing new is made where something lies within this.
const APART_M: f64 = 12.0;
/// A ball is carried for so long, µs.
const CARRY_US: u64 = 4_000_000;
/// After `unknown` a wish is said again so much later, µs.
const AGAIN_US: u64 = 1_000_000;

/// A wish without an answer.
#[derive(Clone, Debug)]
struct Open {
    set: Set,
    sent_us: u64,
    /// Since when nobody knows what became of it.
    unknown_us: Option<u64>,
}

/// One bot's hands, in one session.
#[derive(Clone, Debug, Default)]
pub struct Hands {
    kind: usize,
    stock: Stock,
    next: u64,
    open: BTreeMap<u64, Open>,
    has_made: bool,
    took_us: u64,
}

impl Hands {
    /// Those of a bot.
    #[must_use]
    pub fn new(number: usize) -> Hands {
        Hands { kind: number % KINDS.len(), ..Hands::default() }
    }

    /// What to wish for, by whom, who stands there.
    pub fn wish(&mut self, me: Id, at: [f64; 3], now_us: u64) -> Option<Set> {
        if let Some(open) = self.open.values_mut().next() {
            // Unchanged: however often it arrives, it takes effect once.
            let is_due = open.unknown_us.is_some_and(|since| now_us.saturating_sub(since) >= AGAIN_US);
            if is_due {
                open.unknown_us = None;
            }
            return is_due.then(|| open.set.clone());
        }
        let set = self.idea(me, at, now_us)?;
        self.next += 1;
        let set = Set { n: self.next, ..set };
        self.open.insert(set.n, Open { set: set.clone(), sent_us: now_us, unknown_us: None });
        Some(set)
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

    /// A wish took effect: what it was, and how long that took, µs. `None` if that was known.
    pub(super) fn acked(&mut self, ack: &Ack, now_us: u64) -> Option<(Set, u64)> {
        let open = self.open.remove(&ack.n)?;
        Some((open.set, now_us.saturating_sub(open.sent_us)))
    }

    /// A wish has no effect: somebody else was faster.
    pub(super) fn refused(&mut self, n: u64) {
        self.open.remove(&n);
    }

    /// Nobody knows what became of a wish.
    pub(super) fn unknown(&mut self, n: u64, now_us: u64) {
        if let Some(open) = self.open.get_mut(&n) {
            open.unknown_us = Some(now_us);
        }
    }

    /// Wishes without an answer.
    pub(super) fn open(&self) -> usize {
        self.open.len()
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
    acked: u64,
    doubled: u64,
    wrong: u64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// Versions that an acknowledged wish has made, with what it wished.
    acked: BTreeMap<u64, Set>,
    /// The newest that anybody was told.
    seen: Option<ObjectRow>,
}

/// Whether what was acknowledged is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Objects.
    pub objects: u64,
    /// Wishes acknowledged.
    pub acked: u64,
    /// Of these, at versions that nobody has seen.
    pub lost: u64,
    /// Of these, at a version that another one was acknowledged with, too.
    pub doubled: u64,
    /// Versions at which an object was not as wished.
    pub wrong: u64,
    /// Versions seen that none of these has made.
    pub others: u64,
}

impl Ledger {
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
        for row in &objects.put {
            let known = self.objects.entry(row.object).or_default();
            if known.seen.as_ref().is_some_and(|seen| seen.version >= row.version) {
                continue;
            }
            self.wrong += u64::from(known.acked.get(&row.version).is_some_and(|set| !is_as_wished(row, set)));
            known.seen = Some(row.clone());
        }
    }

    /// How it stands.
    #[must_use]
    pub fn account(&self) -> Account {
        let Ledger { acked, doubled, wrong, .. } = *self;
        let mut account = Account { objects: self.objects.len() as u64, acked, doubled, wrong, ..Account::default() };
        for known in self.objects.values() {
            let newest = known.seen.as_ref().map_or(0, |row| row.version);
            let made: BTreeSet<u64> = known.acked.keys().copied().collect();
            account.lost += made.iter().filter(|version| **version > newest).count() as u64;
            account.others += (1..=newest).filter(|version| !made.contains(version)).count() as u64;
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
        let mut hands = Hands::new(0);
        let made = hands.wish(1, [0.0; 3], 0).expect("nothing is near");
        assert_eq!((made.n, made.wish, made.kind.as_deref()), (1, Wish::Create, Some("lamp")));
        assert_eq!(hands.wish(1, [0.0; 3], 1), None, "it has no answer");
        hands.unknown(1, 1);
        assert_eq!(hands.wish(1, [0.0; 3], 2), None);
        assert_eq!(hands.wish(1, [5.0; 3], AGAIN_US + 1).as_ref(), Some(&made));
        assert!(hands.acked(&ack(1, 1), 9).is_some() && hands.acked(&ack(1, 1), 9).is_none());
        assert_eq!(hands.wish(1, [50.0, 0.0, 0.0], 10), None, "it has made one");
        hands.see(&put(row(1, "no"))).expect("new");
        let used = hands.wish(1, [0.0; 3], 10).expect("a lamp");
        assert_eq!((used.wish, used.expect, used.fields["on"].as_deref()), (Wish::Change, Some(1), Some("yes")));
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
