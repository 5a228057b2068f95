//! What bots have said and who must hear of it: each word once, at one place in the log, by the one who said it and by all
//! who stood well within its reach. Knows no socket and no clock.

use std::collections::{BTreeMap, BTreeSet};

use nearcast::codec::message::Id;

/// A word without an end after this long is settled, µs: who was cut off comes back as the same for 120 s.
const SETTLED_US: u64 = 150_000_000;
/// Words that are not settled yet; what is said beyond is not followed, but counted.
const TALES_MAX: usize = 20_000;

/// A word: the avatar that said it, and its number.
pub type Word = (Id, u64);

/// What is known of one word.
#[derive(Clone, Debug, Default)]
struct Tale {
    said_us: u64,
    is_acked: bool,
    /// Stream and offset, as it was heard first.
    at: Option<(String, u64)>,
    /// Bots who must hear of it and have not.
    due: BTreeSet<u32>,
}

/// All words that are not settled.
#[derive(Clone, Debug, Default)]
pub struct Tales {
    tales: BTreeMap<Word, Tale>,
    past: Told,
}

/// What became of words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Acknowledged.
    pub acked: u64,
    /// How often any was heard by somebody who had to hear it.
    pub heard: u64,
    /// How often somebody who had to hear an acknowledged word did not.
    pub missed: u64,
    /// How often one was heard at another place of the log than before: it took effect twice.
    pub doubled: u64,
    /// How often somebody was told something that is not later in its stream than all before.
    pub repeated: u64,
    /// Words too many to follow.
    pub unfollowed: u64,
}

impl Tales {
    /// Somebody says something, and these must hear of it. Said again it is the same.
    pub(super) fn said(&mut self, word: Word, now_us: u64, due: impl FnOnce() -> BTreeSet<u32>) {
        if self.tales.contains_key(&word) {
            return;
        }
        if self.tales.len() == TALES_MAX {
            self.settle(|tale| tale.is_acked && tale.due.is_empty() || now_us - tale.said_us >= SETTLED_US);
        }
        if self.tales.len() == TALES_MAX {
            self.past.unfollowed += 1;
            return;
        }
        self.tales.insert(word, Tale { said_us: now_us, due: due(), ..Tale::default() });
    }

    /// It was acknowledged.
    pub(super) fn acked(&mut self, word: Word) {
        self.past.acked += 1;
        if let Some(tale) = self.tales.get_mut(&word) {
            tale.is_acked = true;
        }
    }

    /// It has no effect, or nobody will ever know.
    pub(super) fn dropped(&mut self, word: Word) {
        self.tales.remove(&word);
    }

    /// A bot heard it there; `is_later` than all that it had heard of this stream.
    pub(super) fn heard(&mut self, word: Word, bot: u32, (stream, offset): (&str, u64), is_later: bool) {
        self.past.repeated += u64::from(!is_later);
        let Some(tale) = self.tales.get_mut(&word) else { return };
        match &tale.at {
            Some((known, at)) => self.past.doubled += u64::from((known.as_str(), *at) != (stream, offset)),
            None => tale.at = Some((stream.to_owned(), offset)),
        }
        self.past.heard += u64::from(tale.due.remove(&bot));
    }

    /// A bot was told that it has missed something, or is another session by now: nothing more is due to it.
    pub(super) fn excuse(&mut self, bot: u32) {
        self.tales.values_mut().for_each(|tale| _ = tale.due.remove(&bot));
    }

    /// The session of an avatar is over: of what it has said without an answer nothing will be known.
    pub(super) fn ended(&mut self, entity: Id) {
        self.tales.retain(|(by, _), tale| *by != entity || tale.is_acked);
    }

    /// How it stands, with all that is under way counted as missed.
    #[must_use]
    pub fn told(&self) -> Told {
        let missed: u64 = self.tales.values().filter(|tale| tale.is_acked).map(|tale| tale.due.len() as u64).sum();
        Told { missed: self.past.missed + missed, ..self.past }
    }

    fn settle(&mut self, is_settled: impl Fn(&Tale) -> bool) {
        let past = &mut self.past;
        self.tales.retain(|_, tale| {
            let settled = is_settled(tale);
            past.missed += if settled && tale.is_acked { tale.due.len() as u64 } else { 0 };
            !settled
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: (&str, u64) = ("region/0/0", 7);

    fn said() -> Tales {
        let mut tales = Tales::default();
        tales.said((1, 1), 0, || [0, 1].into());
        tales
    }

    #[test]
    fn each_who_is_near_hears_it_once() {
        let mut tales = said();
        tales.acked((1, 1));
        assert_eq!(tales.told(), Told { acked: 1, missed: 2, ..Told::default() });
        tales.heard((1, 1), 0, AT, true);
        tales.said((1, 1), 5, || panic!("it was said before"));
        tales.heard((1, 1), 1, AT, true);
        tales.heard((1, 1), 2, AT, true);
        assert_eq!(tales.told(), Told { acked: 1, heard: 2, ..Told::default() });
    }

    #[test]
    fn what_took_effect_twice_or_is_told_again_is_found() {
        let mut tales = said();
        tales.heard((1, 1), 0, AT, true);
        tales.heard((1, 1), 1, ("region/0/0", 8), true);
        tales.heard((1, 1), 1, AT, false);
        assert_eq!(tales.told(), Told { heard: 2, doubled: 1, repeated: 1, ..Told::default() });
    }

    #[test]
    fn who_is_excused_misses_nothing_nor_does_one_of_a_word_without_effect() {
        let mut tales = said();
        tales.acked((1, 1));
        tales.excuse(0);
        assert_eq!(tales.told().missed, 1);
        tales.dropped((1, 1));
        assert_eq!(tales.told().missed, 0);
        let mut tales = said();
        assert_eq!(tales.told().missed, 0, "it was not acknowledged");
        tales.ended(1);
        tales.acked((1, 1));
        assert_eq!(tales.told().missed, 0);
    }

    #[test]
    fn there_is_a_bound_and_what_is_missed_stays_so() {
        let mut tales = Tales::default();
        (0..TALES_MAX as u64).for_each(|n| tales.said((1, n), 0, || [0].into()));
        tales.acked((1, 0));
        tales.heard((1, 0), 0, AT, true);
        tales.acked((1, 1));
        tales.said((2, 0), 1, || [0].into());
        tales.said((2, 1), 1, || [0].into());
        assert_eq!((tales.tales.len(), tales.told().unfollowed), (TALES_MAX, 1), "one was through");
        tales.said((2, 2), SETTLED_US, || [0].into());
        assert_eq!((tales.tales.len(), tales.told().missed), (2, 1));
    }
}
