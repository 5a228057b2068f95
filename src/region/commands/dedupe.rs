//! Each command once: which numbers of a session have taken effect in one partition, and what became of the newest.
//! Part of the folded state, and so of its snapshots.

use std::collections::VecDeque;

use crate::codec::command::{Verdict, put_verdict, verdict};
use crate::codec::message::Id;
use crate::codec::reader::{Malformed, Reader, put_varint};
use crate::limits::{DEDUPE_SESSIONS_MAX, OPEN_ACTS_MAX, OPEN_ACTS_MAX_SERVER, VERDICTS_MAX};
use crate::region::motion::fold::Map;

/// Numbers of a session that are remembered: twice what may be open, so that a resend always falls inside.
const WINDOW: u64 = 2 * OPEN_ACTS_MAX;
/// The same of a game server.
const WINDOW_SERVER: u64 = 2 * OPEN_ACTS_MAX_SERVER;

/// Which numbers of a session have taken effect: the highest, and a bit for each of those up to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Window {
    highest: u64,
    /// Bit `i` of word `w` is number `highest - 64 w - i`. One word, or 32 of a game server; none before the first number.
    bits: Vec<u64>,
    /// Of the newest that were told more than that they are done, oldest first.
    verdicts: VecDeque<(u64, Verdict)>,
}

impl Window {
    /// Whether `n` is remembered as taken.
    fn has(&self, n: u64) -> bool {
        let back = match self.highest.checked_sub(n) {
            Some(back) if !self.bits.is_empty() => back,
            Some(_) | None => return false,
        };
        self.bits.get((back / 64) as usize).is_some_and(|word| word & (1 << (back % 64)) != 0)
    }

    /// Whether `n` is new; then it is remembered. Below the window everything counts as taken.
    fn take(&mut self, n: u64, span: u64) -> bool {
        let words = (span / 64) as usize;
        if self.bits.len() < words {
            self.bits.resize(words, 0);
        }
        if self.bits.iter().all(|word| *word == 0) {
            self.highest = n;
        }
        if n > self.highest {
            self.shift(n - self.highest);
            self.highest = n;
        }
        let back = self.highest - n;
        let Some(word) = self.bits.get_mut((back / 64) as usize) else { return false };
        let bit = 1 << (back % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// The numbers move up by so many.
    fn shift(&mut self, by: u64) {
        let (words, bits) = ((by / 64) as usize, (by % 64) as u32);
        let old = |at: usize| at.checked_sub(words).and_then(|at| self.bits.get(at)).copied().unwrap_or(0);
        self.bits = (0..self.bits.len())
            .map(|at| {
                let below = if at == 0 || bits == 0 { 0 } else { old(at - 1) >> (64 - bits) };
                old(at) << bits | below
            })
            .collect();
    }
}

/// The windows of all sessions that gave commands in one partition, the one longest silent first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    windows: Map<Id, Window>,
}

impl Windows {
    /// How many sessions are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Whether a command has been folded.
    #[must_use]
    pub fn has(&self, (session, n): (Id, u64)) -> bool {
        self.windows.get(&session).is_some_and(|window| window.has(n))
    }

    /// What became of a command that has been folded: plain `Done` where that is not remembered.
    #[must_use]
    pub fn verdict(&self, (session, n): (Id, u64)) -> Verdict {
        let verdicts = self.windows.get(&session).map(|window| &window.verdicts);
        verdicts
            .and_then(|all| all.iter().find(|(of, _)| *of == n))
            .map_or(Verdict::Done(None), |(_, verdict)| *verdict)
    }

    /// Takes a number. `Ok` if it is new, else what became of it: plain `Done` where that is not remembered. The flag says
    /// whether another session was forgotten for it.
    pub fn take(&mut self, (session, n): (Id, u64), trusted: bool) -> (Result<(), Verdict>, bool) {
        // The window moves to the end, so that the first is the session longest silent.
        let mut window = self.windows.shift_remove(&session).unwrap_or_default();
        let new = window.take(n, if trusted { WINDOW_SERVER } else { WINDOW });
        let verdict = window.verdicts.iter().find(|(of, _)| *of == n).map_or(Verdict::Done(None), |(_, v)| *v);
        let full = self.windows.len() >= DEDUPE_SESSIONS_MAX;
        if full {
            self.windows.shift_remove_index(0);
        }
        self.windows.insert(session, window);
        (if new { Ok(()) } else { Err(verdict) }, full)
    }

    /// Remembers what became of the number that was taken last.
    pub fn note(&mut self, (session, n): (Id, u64), verdict: Verdict) {
        if verdict == Verdict::Done(None) {
            return;
        }
        if let Some(window) = self.windows.get_mut(&session) {
            if window.verdicts.len() == VERDICTS_MAX {
                window.verdicts.pop_front();
            }
            window.verdicts.push_back((n, verdict));
        }
    }

    // --- snapshots ------------------------------------------------------------------------------------------------

    /// Appends one window after the other to what `piece` gives, which is asked before each.
    pub fn write(&self, mut piece: impl FnMut(&[u8])) {
        let mut out = Vec::new();
        for (session, window) in &self.windows {
            out.clear();
            out.extend_from_slice(&session.to_le_bytes());
            put_varint(&mut out, window.highest);
            out.push(window.bits.len() as u8);
            window.bits.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
            out.push(window.verdicts.len() as u8);
            for (n, verdict) in &window.verdicts {
                put_varint(&mut out, *n);
                put_verdict(&mut out, *verdict);
            }
            piece(&out);
        }
    }

    /// Reads one window, and puts it behind the others.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let (session, highest, words) = (reader.u64()?, reader.varint()?, usize::from(reader.u8()?));
        if words > (WINDOW_SERVER / 64) as usize || self.windows.len() >= DEDUPE_SESSIONS_MAX {
            return Err(Malformed::Bad("window"));
        }
        let bits = (0..words).map(|_| reader.u64()).collect::<Result<_, _>>()?;
        let count = usize::from(reader.u8()?);
        if count > VERDICTS_MAX {
            return Err(Malformed::Bad("number of verdicts"));
        }
        let verdicts = (0..count).map(|_| Ok((reader.varint()?, verdict(reader)?))).collect::<Result<_, _>>()?;
        self.windows.insert(session, Window { highest, bits, verdicts });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::Denial;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn is_new(windows: &mut Windows, session: Id, n: u64) -> bool {
        windows.take((session, n), false).0.is_ok()
    }

    proptest! {
        #[test]
        fn each_number_takes_effect_once_within_the_window(ns in prop::collection::vec(0..60_u64, 1..200)) {
            let (mut windows, mut seen) = (Windows::default(), BTreeSet::new());
            for n in ns {
                prop_assert_eq!(windows.has((1, n)), seen.contains(&n));
                prop_assert_eq!(is_new(&mut windows, 1, n), seen.insert(n));
            }
        }

        #[test]
        fn a_game_server_has_two_thousand(ns in prop::collection::vec(0..1_900_u64, 1..400), base in 0..u64::MAX / 2) {
            let (mut windows, mut seen) = (Windows::default(), BTreeSet::new());
            for n in ns {
                prop_assert_eq!(windows.take((1, base + n), true).0.is_ok(), seen.insert(n));
                prop_assert!(windows.has((1, base + n)));
            }
        }

        #[test]
        fn windows_are_read_as_they_were_written(takes in prop::collection::vec((0..5_u64, 0..80_u64, any::<bool>(), 0..3_u8), 1..80)) {
            let mut windows = Windows::default();
            for (session, n, trusted, kind) in takes {
                if windows.take((session, n), trusted).0.is_ok() {
                    let verdict = [Verdict::Done(None), Verdict::Done(Some((n, session))), Verdict::Denied(Denial::Held)];
                    windows.note((session, n), verdict[usize::from(kind)]);
                }
            }
            let (mut bytes, mut again) = (Vec::new(), Windows::default());
            windows.write(|one| bytes.extend_from_slice(one));
            let mut reader = Reader::new(&bytes);
            while reader.left() > 0 {
                again.read(&mut reader).expect("ours");
            }
            prop_assert_eq!(again.windows.iter().collect::<Vec<_>>(), windows.windows.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_below_the_window_counts_as_taken() {
        let mut windows = Windows::default();
        assert!(is_new(&mut windows, 1, u64::MAX) && is_new(&mut windows, 1, u64::MAX - 63));
        assert!(!is_new(&mut windows, 1, u64::MAX - 64) && !is_new(&mut windows, 1, 0));
    }

    #[test]
    fn who_asks_again_learns_what_became_of_the_newest_sixteen() {
        let mut windows = Windows::default();
        for n in 0..20 {
            assert_eq!(windows.take((1, n), false).0, Ok(()));
            windows.note((1, n), Verdict::Done(Some((9, n))));
        }
        assert_eq!(windows.take((1, 19), false).0, Err(Verdict::Done(Some((9, 19)))));
        assert_eq!(windows.take((1, 4), false).0, Err(Verdict::Done(Some((9, 4)))));
        assert_eq!(windows.take((1, 3), false).0, Err(Verdict::Done(None)), "long ago");
    }

    #[test]
    fn the_session_longest_silent_is_forgotten_first() {
        let mut windows = Windows::default();
        for session in 0..DEDUPE_SESSIONS_MAX as u64 {
            assert_eq!(windows.take((session, 1), false), (Ok(()), false));
        }
        assert_eq!(windows.take((0, 2), false), (Ok(()), false));
        assert_eq!(windows.take((9_999, 1), false), (Ok(()), true));
        assert_eq!(windows.len(), DEDUPE_SESSIONS_MAX);
        assert!(!is_new(&mut windows, 0, 1), "session 0 spoke lately");
        assert!(is_new(&mut windows, 1, 1), "session 1 was forgotten");
    }
}
