//! One partition of `direct`, folded: which opening of a session is the one in force, and who may go on as it. A function of
//! the partition's records alone, so that all gateways agree on one winner.
//!
//! A client proves by its token that it was answered an opening. The next opening names that one, and wins if it is the
//! newest *confirmed* (its answer is known to have arrived) or the *last* that won (whoever names it has its answer, so that
//! confirms it). So a lost `welcome` locks nobody out: the older token opens until the newer one has been shown. And
//! a token that was stolen is worth nothing from then on.

use crate::codec::message::Id;
use crate::codec::record::{Opening, Sign, Signal};
use crate::limits::{DIRECT_STEP_MAX_US, LIVE_JITTER_US, LIVE_US, MILLI_US, RESUME_US, SESSIONS_MAX};
use crate::region::motion::fold::Map;
use crate::space::Pos;

/// A session as the log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    /// The newest opening whose answer has arrived; 0: none has.
    confirmed: u64,
    /// The last opening that won.
    last: u64,
    /// Partition time of the last sign of life.
    heard_us: u64,
    /// Its sockets have gone since.
    lost: bool,
    /// Where its avatar was last known to be, and the append time of the record that says so.
    at: Option<(Pos, i64)>,
}

impl Life {
    fn is_over(&self, now_us: u64) -> bool {
        // Who says nothing, its gateway has gone: the last time it said something may be a whole round ago.
        let kept_us = if self.lost { RESUME_US } else { RESUME_US + LIVE_US + LIVE_JITTER_US };
        now_us.saturating_sub(self.heard_us) >= kept_us
    }

    /// Whether the token of this incarnation opens it.
    fn takes(&self, names: u64) -> bool {
        names == self.confirmed || names == self.last
    }
}

/// What an opening has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in force; the opening before it is not any more.
    Won {
        /// Higher than that of every opening of the session before it.
        incarnation: u64,
        /// Where the avatar was last known to be, and how long ago that was written, µs.
        at: Option<(Pos, u64)>,
    },
    /// Its token opens nothing any more, or the session's number is taken.
    Refused,
}

/// The sessions of one partition.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Partition time, µs: advances with each record by the difference of append times, clamped to
    /// [`DIRECT_STEP_MAX_US`].
    time_us: u64,
    last_append_ms: Option<i64>,
    /// The next record has at least this offset.
    end: u64,
    lives: Map<Id, Life>,
    /// Sessions forgotten before their time because there were too many; the caller empties it.
    pub forgotten: u64,
}

impl Sessions {
    /// A record is there. False if it has been folded before: the partition is read anew.
    pub fn advance(&mut self, offset: u64, append_ms: i64) -> bool {
        if offset < self.end {
            return false;
        }
        self.end = offset + 1;
        if let Some(last) = self.last_append_ms {
            let step_us = append_ms.saturating_sub(last).max(0) as u64 * MILLI_US;
            self.time_us += step_us.min(DIRECT_STEP_MAX_US);
        }
        self.last_append_ms = Some(append_ms);
        true
    }

    /// The log ends here: if that is before what was folded, the topic was made anew, and so is this.
    pub fn bounded(&mut self, end: u64) {
        if end < self.end {
            *self = Sessions::default();
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lives.len()
    }

    /// Whether none are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lives.is_empty()
    }

    /// Whether an opening that names this incarnation would win, were it the next record.
    #[cfg(test)]
    fn would_open(&self, session: Id, names: u64) -> bool {
        self.lives.get(&session).is_some_and(|life| !life.is_over(self.time_us) && life.takes(names))
    }

    /// Folds the opening of the record that [`Sessions::advance`] was told of.
    pub fn open(&mut self, opening: &Opening) -> Verdict {
        let (now_us, append_ms, incarnation) = (self.time_us, self.last_append_ms.unwrap_or_default(), self.end);
        let life = self.life(opening.session);
        let Some(names) = opening.names else {
            if life.is_some() {
                return Verdict::Refused;
            }
            self.insert(
                opening.session,
                Life { confirmed: 0, last: incarnation, heard_us: now_us, lost: false, at: None },
            );
            return Verdict::Won { incarnation, at: None };
        };
        let Some(life) = life.filter(|life| life.takes(names)) else { return Verdict::Refused };
        if names == life.last {
            life.confirmed = names;
        }
        (life.last, life.heard_us, life.lost) = (incarnation, now_us, false);
        let at = life.at.map(|(pos, since_ms)| (pos, append_ms.saturating_sub(since_ms).max(0) as u64 * MILLI_US));
        Verdict::Won { incarnation, at }
    }

    /// Folds a sign of the record that [`Sessions::advance`] was told of. One of an opening that is not in force any more
    /// counts for nothing.
    pub fn sign(&mut self, signal: Signal, sign: &Sign) {
        let (now_us, append_ms) = (self.time_us, self.last_append_ms.unwrap_or_default());
        let Sign { session, incarnation, confirmed, pos, age_ms } = *sign;
        let since_ms = append_ms.saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX));
        let known = self.life(session).copied();
        if known.is_some_and(|life| life.last != incarnation) {
            return;
        }
        match signal {
            Signal::Closed => {
                self.lives.swap_remove(&session);
            }
            Signal::Live | Signal::Lost => {
                let unknown = Life { confirmed: 0, last: incarnation, heard_us: 0, lost: false, at: None };
                let before = known.unwrap_or(unknown);
                let life = Life {
                    confirmed: if confirmed { incarnation } else { before.confirmed },
                    last: incarnation,
                    heard_us: now_us,
                    lost: signal == Signal::Lost,
                    at: pos.map(|pos| (pos, since_ms)).or(before.at),
                };
                self.insert(session, life);
            }
        }
    }

    /// A session that is not over: one that is counts as forgotten, tidied or not.
    fn life(&mut self, session: Id) -> Option<&mut Life> {
        let now_us = self.time_us;
        self.lives.get_mut(&session).filter(|life| !life.is_over(now_us))
    }

    fn insert(&mut self, session: Id, life: Life) {
        if !self.lives.contains_key(&session) && self.lives.len() >= SESSIONS_MAX {
            self.tidy();
            if self.lives.len() >= SESSIONS_MAX {
                // Those that are lost come first.
                let oldest = self.lives.iter().min_by_key(|(id, life)| (!life.lost, life.heard_us, **id));
                let oldest = oldest.map(|(id, _)| *id).expect("there are many");
                self.lives.swap_remove(&oldest);
                self.forgotten += 1;
            }
        }
        self.lives.insert(session, life);
    }

    /// Forgets those whose time is over. When that is done changes nothing but the memory used.
    pub fn tidy(&mut self) {
        let now_us = self.time_us;
        self.lives.retain(|_, life| !life.is_over(now_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SECOND_US;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A partition, and what is written into it.
    #[derive(Default)]
    struct Partition {
        sessions: Sessions,
        end: u64,
        now_ms: i64,
    }

    impl Partition {
        fn next(&mut self) {
            assert!(self.sessions.advance(self.end, self.now_ms));
            self.end += 1;
        }

        /// The incarnation of a winner.
        fn open(&mut self, session: Id, names: Option<u64>) -> Option<u64> {
            self.next();
            let world = "plaza".into();
            match self.sessions.open(&Opening { user: session, session, entity: 2, opener: 3, names, world }) {
                Verdict::Won { incarnation, .. } => Some(incarnation),
                Verdict::Refused => None,
            }
        }

        fn sign(&mut self, signal: Signal, session: Id, incarnation: u64, confirmed: bool) {
            self.next();
            self.sessions.sign(signal, &Sign { session, incarnation, confirmed, pos: None, age_ms: 0 });
        }

        fn confirm(&mut self, session: Id, incarnation: u64) {
            self.sign(Signal::Live, session, incarnation, true);
        }

        /// Time passes, and a gateway says so.
        fn wait(&mut self, seconds: i64) {
            for _ in 0..seconds {
                self.now_ms += 1_000;
                self.next();
            }
        }
    }

    fn won(opened: Option<u64>) -> u64 {
        opened.expect("it wins")
    }

    #[test]
    fn the_last_that_won_opens_and_so_does_the_newest_confirmed() {
        let mut p = Partition::default();
        let first = won(p.open(1, None));
        assert!(first > 0);
        // Its `welcome` was lost, or was not: whoever shows the token has it.
        let second = won(p.open(1, Some(first)));
        let third = won(p.open(1, Some(first)));
        assert!(first < second && second < third);
        assert_eq!(p.open(1, Some(second)), None, "neither confirmed nor the last: its `welcome` came too late");
        let fourth = won(p.open(1, Some(third)));
        assert_eq!(p.open(1, Some(first)), None, "naming the third has confirmed it");
        p.confirm(1, fourth);
        assert_eq!(p.open(1, Some(third)), None, "a sign has confirmed the fourth");
        assert!(p.open(1, Some(fourth)).is_some());
    }

    #[test]
    fn a_sign_of_an_opening_that_was_superseded_counts_for_nothing() {
        let mut p = Partition::default();
        let first = won(p.open(1, None));
        p.confirm(1, first);
        let second = won(p.open(1, Some(first)));
        let third = won(p.open(1, Some(first)));
        for signal in [Signal::Live, Signal::Lost, Signal::Closed] {
            p.sign(signal, 1, second, true);
            assert!(p.sessions.would_open(1, first), "{signal:?}");
        }
        p.confirm(1, third);
        assert!(!p.sessions.would_open(1, first) && p.sessions.would_open(1, third));
    }

    #[test]
    fn a_token_opens_for_two_minutes_and_half_a_minute_more_if_its_gateway_died() {
        let check = |lost: bool, seconds: i64, opens: bool| {
            let mut p = Partition::default();
            let first = won(p.open(1, None));
            if lost {
                p.sign(Signal::Lost, 1, first, true);
            }
            p.wait(seconds);
            assert_eq!(p.open(1, Some(first)).is_some(), opens, "lost {lost}, after {seconds} s");
        };
        check(true, 119, true);
        check(true, 120, false);
        check(false, 153, true);
        check(false, 154, false);
    }

    #[test]
    fn what_is_said_of_it_keeps_a_session_alive_and_an_outage_ends_none() {
        let mut p = Partition::default();
        let first = won(p.open(1, None));
        for _ in 0..10 {
            p.wait(30);
            p.sign(Signal::Live, 1, first, false);
        }
        p.sign(Signal::Lost, 1, first, false);
        p.now_ms += 3_600_000;
        assert!(p.open(1, Some(first)).is_some(), "an hour without a record");
        p.now_ms -= 3_600_000;
        p.wait(10);
        assert!(p.sessions.would_open(1, first), "a clock that steps back");
    }

    #[test]
    fn who_said_bye_does_not_come_back() {
        let mut p = Partition::default();
        let first = won(p.open(1, None));
        p.sign(Signal::Closed, 1, first, true);
        assert_eq!(p.open(1, Some(first)), None);
        assert!(p.sessions.is_empty());
    }

    #[test]
    fn a_number_is_not_given_twice_and_a_session_that_nobody_knows_is_not_opened() {
        let mut p = Partition::default();
        won(p.open(1, None));
        assert_eq!(p.open(1, None), None);
        assert_eq!(p.open(2, Some(1)), None);
    }

    #[test]
    fn who_starts_to_read_in_the_middle_knows_who_lives() {
        let mut p = Partition { end: 900, ..Partition::default() };
        p.confirm(1, 700);
        p.sign(Signal::Lost, 2, 800, true);
        p.sign(Signal::Live, 3, 850, false);
        for (session, names) in [(1, 700), (2, 800), (3, 850)] {
            assert!(p.open(session, Some(names)).is_some(), "{session}");
        }
    }

    #[test]
    fn a_record_is_folded_once_and_a_topic_made_anew_starts_afresh() {
        let mut p = Partition::default();
        let first = won(p.open(1, None));
        assert!(!p.sessions.advance(0, 0));
        p.sessions.bounded(1);
        assert!(p.sessions.would_open(1, first));
        p.sessions.bounded(0);
        assert!(!p.sessions.would_open(1, first) && p.sessions.advance(0, 0));
    }

    #[test]
    fn where_the_avatar_was_is_told_with_its_age() {
        let mut p = Partition::default();
        let first = won(p.open(1, None));
        let pos = Some(Pos { x: 1, y: 2, z: 3 });
        p.next();
        let sign = Sign { session: 1, incarnation: first, confirmed: false, pos, age_ms: 7_000 };
        p.sessions.sign(Signal::Lost, &sign);
        p.now_ms += 90_000;
        p.next();
        let names = Some(first);
        let opening = Opening { user: 1, session: 1, entity: 2, opener: 3, names, world: "plaza".into() };
        let at = pos.map(|pos| (pos, 97 * SECOND_US));
        assert_eq!(p.sessions.open(&opening), Verdict::Won { incarnation: p.end, at }, "all of it, not a step");
    }

    #[test]
    fn the_session_lost_longest_is_forgotten_first() {
        let mut p = Partition::default();
        let all: Vec<u64> = (0..SESSIONS_MAX as u64).map(|session| won(p.open(session, None))).collect();
        p.wait(1);
        p.sign(Signal::Lost, 7, all[7], true);
        p.wait(1);
        p.sign(Signal::Lost, 5, all[5], true);
        won(p.open(1 << 40, None));
        assert_eq!((p.sessions.forgotten, p.sessions.len()), (1, SESSIONS_MAX));
        assert!(!p.sessions.would_open(7, all[7]) && p.sessions.would_open(5, all[5]));
        p.wait(120);
        won(p.open(1 << 41, None));
        assert_eq!(p.sessions.forgotten, 1, "whose time is over makes room");
    }

    proptest! {
        /// Gateways forget at times of their own.
        #[test]
        fn when_sessions_are_forgotten_changes_nothing(
            steps in prop::collection::vec((0..8_u8, 1..3_u64, 0..12_u64, any::<bool>()), 1..60),
        ) {
            let mut both = [Partition::default(), Partition::default()];
            for (what, session, names, confirmed) in steps {
                let [kept, tidied] = both.each_mut().map(|p| {
                    let opened = match what {
                        0 => p.open(session, None),
                        1 | 2 => p.open(session, Some(names)),
                        3 => {
                            p.wait(60);
                            None
                        }
                        _ => {
                            let signal = [Signal::Live, Signal::Live, Signal::Lost, Signal::Closed][usize::from(what) - 4];
                            p.sign(signal, session, names, confirmed);
                            None
                        }
                    };
                    (opened, [1, 2].map(|id| (0..12).map(|names| p.sessions.would_open(id, names)).collect::<Vec<_>>()))
                });
                prop_assert_eq!(kept, tidied);
                both[1].sessions.tidy();
            }
        }

        /// Clients show tokens that they were given, old and new; answers arrive or do not; gateways confirm, lose and close
        /// what they hold, late as well.
        #[test]
        fn whatever_happens_one_opening_at_most_is_in_force(
            steps in prop::collection::vec((0..6_u8, any::<prop::sample::Index>()), 1..120),
        ) {
            let mut p = Partition::default();
            let mut given = vec![won(p.open(1, None))];
            // What gateways take for live: each closes what it holds when it folds the next that wins.
            let mut live: BTreeSet<u64> = given.iter().copied().collect();
            let (mut confirmed, mut closed) = (0, false);
            for (what, which) in steps {
                let token = given[which.index(given.len())];
                match what {
                    0..3 => {
                        let last = given[given.len() - 1];
                        let opened = p.open(1, Some(token));
                        prop_assert_eq!(opened.is_some(), !closed && (token == last || token == confirmed), "{}", token);
                        if let Some(incarnation) = opened {
                            prop_assert!(given.iter().all(|before| *before < incarnation));
                            confirmed = if token == last { token } else { confirmed };
                            given.push(incarnation);
                            live = BTreeSet::from([incarnation]);
                        }
                    }
                    3 => {
                        p.confirm(1, token);
                        if live.contains(&token) {
                            confirmed = token;
                        } else if closed {
                            // The gateway that closed it says nothing more of it: not what happens.
                            p.sign(Signal::Closed, 1, token, true);
                        }
                    }
                    4 => {
                        if live.contains(&token) {
                            p.sign(Signal::Lost, 1, token, false);
                        }
                    }
                    _ => {
                        if which.index(10) == 0 && live.remove(&token) {
                            p.sign(Signal::Closed, 1, token, false);
                            closed = true;
                        }
                    }
                }
                prop_assert!(live.len() <= 1);
                let open: Vec<u64> = given.iter().copied().filter(|token| p.sessions.would_open(1, *token)).collect();
                prop_assert!(open.len() <= 2 && (closed || open.contains(&given[given.len() - 1])), "{:?}", open);
            }
        }
    }
}
