//! One partition of `events` (or `social`), folded: which commands took effect, in which order, each once; what was heard,
//! and what has become of the objects. A function of the partition's records alone.

use std::sync::Arc;

use super::dedupe::Windows;
use super::event::{Event, Ring};
use super::objects::Objects;
use crate::codec::command::{Command, Verdict};
use crate::codec::message::Id;
use crate::codec::reader::{Malformed, Reader};
use crate::space::Grid;

/// The folded commands of one partition.
#[derive(Clone, Debug)]
pub struct Commands {
    windows: Windows,
    /// Its objects and environments.
    pub objects: Objects,
    ring: Arc<Ring>,
    /// Which commands were heard of those below `next`, which are read for the ring alone.
    heard: Windows,
    /// The offset after the last record folded.
    next: u64,
    /// Where the log ended when its reading began; `None` until that is known. Before it is reached nobody is told of
    /// events, who would take those of long ago for new.
    news_from: Option<u64>,
    /// Windows forgotten because there were too many; the caller empties it.
    pub forgotten: u64,
}

impl Commands {
    /// None yet, in a partition of a world.
    #[must_use]
    pub fn new(grid: Grid, partition: u16) -> Commands {
        let (windows, objects) = (Windows::default(), Objects::new(grid, partition));
        let heard = Windows::default();
        Commands { windows, objects, ring: Arc::default(), heard, next: 0, news_from: None, forgotten: 0 }
    }

    /// The newest events, once all that was there at the beginning is read.
    #[must_use]
    pub fn ring(&self) -> Option<Arc<Ring>> {
        self.is_read().then(|| self.ring.clone())
    }

    /// Whether all that was there at the beginning is read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.news_from.is_some_and(|end| self.ring.end >= end)
    }

    /// Reading begins at an offset, of a log that ends at another one; what stands from `news` on nobody can have heard yet.
    /// What was folded of it before stays, and is only heard again.
    pub fn start(&mut self, from: u64, end: u64, news: u64) {
        self.news_from = Some(end);
        // Some is lost, or the topic was made anew.
        if from > self.next || self.next > end {
            self.next = from;
        }
        self.heard = Windows::default();
        self.ring = Arc::new(Ring::starting(from, news));
    }

    /// A snapshot of this offset is the state, and nothing that came before it was heard.
    pub fn skip_to(&mut self, offset: u64) {
        self.next = offset;
        self.ring = Arc::new(Ring::starting(offset, offset));
    }

    /// The offset after the last record folded: a snapshot of now is one of this.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The record at an offset has been read, whatever it holds.
    pub fn read(&mut self, offset: u64) {
        self.next = self.next.max(offset + 1);
        Arc::make_mut(&mut self.ring).end = offset + 1;
    }

    /// Sessions and events remembered, for the simulation's checker.
    #[must_use]
    pub fn kept(&self) -> (usize, usize) {
        (self.windows.len(), self.ring.events.len())
    }

    /// Whether a command has been folded.
    #[must_use]
    pub fn knows(&self, key: (Id, u64)) -> bool {
        self.windows.has(key)
    }

    /// Folds one command. What became of it: the same as before, if it was folded before.
    pub fn fold(&mut self, offset: u64, command: &Command) -> Verdict {
        let key = (command.session, command.n);
        if offset < self.next {
            // Each is told once, also of those that were sent again.
            if command.session == 0 || self.heard.take(key, command.trusted).0.is_ok() {
                self.hear(offset, command);
            }
            return self.windows.verdict(key);
        }
        // What gateways do of themselves has no number: it names versions, which come once.
        if command.session != 0 {
            let (taken, forgot) = self.windows.take(key, command.trusted);
            self.forgotten += u64::from(forgot);
            if let Err(verdict) = taken
                && !crate::planted!(DoneTwice)
            {
                return verdict;
            }
        }
        let verdict = self.objects.fold(offset, command);
        if command.session != 0 {
            self.windows.note(key, verdict);
        }
        self.hear(offset, command);
        verdict
    }

    fn hear(&mut self, offset: u64, command: &Command) {
        let Some(event) = Event::of(offset, command) else { return };
        let ring = Arc::make_mut(&mut self.ring);
        if crate::planted!(DroppedEvent) && offset % 8 == 3 {
            return;
        }
        ring.push(event);
        let len = ring.events.len();
        if crate::planted!(SwappedOrder) && len >= 2 {
            ring.events.swap(len - 1, len - 2);
        }
    }

    // --- snapshots ------------------------------------------------------------------------------------------------

    /// Appends the state, one thing after the other, to what `piece` gives, which is asked before each.
    pub fn write(&self, mut piece: impl FnMut(&[u8])) {
        let mut out = Vec::new();
        self.windows.write(|window| {
            out.clear();
            out.push(WINDOW);
            out.extend_from_slice(window);
            piece(&out);
        });
        self.objects.write(piece);
    }

    /// Reads things that were written; to be called on a new one.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn read_state(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut rest = bytes;
        while let Some((kind, after)) = rest.split_first() {
            let mut reader = Reader::new(if *kind == WINDOW { after } else { rest });
            if *kind == WINDOW {
                self.windows.read(&mut reader)?;
            } else {
                self.objects.read(&mut reader)?;
            }
            rest = &rest[rest.len() - reader.left()..];
        }
        Ok(())
    }
}

/// Precedes a window; the kinds of `objects` are others.
pub(in crate::region) const WINDOW: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::{Deed, Denial};
    use crate::codec::message::Scope;
    use crate::limits::EVENT_RING;
    use crate::space::Pos;

    const GRID: Grid = Grid { w: 1, h: 1 };

    fn act(session: Id, n: u64) -> Command {
        let deed = Deed::Act { scope: Scope::Nearby, user: 1, name: "x".into(), data: "".into() };
        let (pos, from) = (Pos::default(), Pos::default());
        Command { session, n, entity: 1, trusted: false, pos, from, deed }
    }

    /// What is read from an offset on, of a log that ends there or later.
    fn begun(from: u64, end: u64) -> Commands {
        let mut commands = Commands::new(GRID, 0);
        commands.start(from, end, end);
        commands
    }

    fn fold(commands: &mut Commands, offset: u64, command: &Command) -> Verdict {
        let verdict = commands.fold(offset, command);
        commands.read(offset);
        verdict
    }

    #[test]
    fn the_ring_is_bounded_and_says_from_where() {
        let mut commands = begun(0, 0);
        for n in 0..2_000 {
            fold(&mut commands, n * 2, &act(n % 7, n));
        }
        let ring = commands.ring().expect("it is read");
        assert_eq!((ring.events.len(), ring.end), (EVENT_RING, 3_999));
        assert_eq!(ring.start, ring.events[0].offset - 1);
    }

    #[test]
    fn what_is_read_back_is_kept_and_told_to_nobody_until_all_is_read() {
        let mut commands = begun(5, 7);
        fold(&mut commands, 5, &act(1, 1));
        assert!(commands.ring().is_none(), "6 is not read");
        fold(&mut commands, 6, &act(1, 2));
        let ring = commands.ring().expect("all is read");
        assert_eq!((ring.start, ring.end, ring.events.len()), (5, 7, 2));
        fold(&mut commands, 7, &act(1, 2));
        assert_eq!(commands.ring().expect("read").events.len(), 2, "it was done before");
        fold(&mut commands, 8, &act(1, 3));
        let ring = commands.ring().expect("read");
        assert_eq!((ring.end, ring.events.len()), (9, 3));
    }

    #[test]
    fn what_a_snapshot_has_is_only_heard_again() {
        let mut whole = begun(0, 0);
        for n in 0..6 {
            // The third is sent again.
            fold(&mut whole, n, &act(1, n.min(4)));
        }
        let mut bytes = Vec::new();
        whole.write(|one| bytes.extend_from_slice(one));
        let mut later = Commands::new(GRID, 0);
        later.read_state(&bytes).expect("ours");
        later.skip_to(6);
        later.start(2, 8, 7);
        for (offset, n) in [(2, 2), (3, 3), (4, 4), (5, 4), (6, 5)] {
            assert!(later.ring().is_none());
            fold(&mut later, offset, &act(1, n));
        }
        fold(&mut later, 7, &act(1, 5));
        let ring = later.ring().expect("all is read");
        let offsets: Vec<u64> = ring.events.iter().map(|event| event.offset).collect();
        assert_eq!((offsets, ring.start, ring.news, ring.end), (vec![2, 3, 4, 6], 2, 7, 8));
        fold(&mut whole, 6, &act(1, 5));
        fold(&mut whole, 7, &act(1, 5));
        let state = |commands: &Commands| {
            let mut bytes = Vec::new();
            commands.write(|one| bytes.extend_from_slice(one));
            (bytes, commands.next())
        };
        assert_eq!(state(&later), state(&whole));
    }

    #[test]
    fn a_log_without_records_is_read_at_once_and_one_that_is_not_known_never() {
        assert!(begun(7, 7).ring().is_some());
        assert!(Commands::new(GRID, 0).ring().is_none());
    }

    #[test]
    fn who_sends_again_gets_the_first_answer() {
        let mut commands = begun(0, 0);
        let create =
            |n| Command { deed: Deed::Create { kind: "lamp".into(), yaw: 0, fields: Vec::new() }, ..act(1, n) };
        let made = fold(&mut commands, 0, &create(1));
        assert!(matches!(made, Verdict::Done(Some((_, 1)))));
        assert_eq!(fold(&mut commands, 1, &create(1)), made);
        assert_eq!(commands.objects.iter().count(), 1);
        let Verdict::Done(Some((id, _))) = made else { unreachable!() };
        let grab = |session, n| Command {
            deed: Deed::Grab(crate::codec::command::Aim { id, expect: None }),
            ..act(session, n)
        };
        fold(&mut commands, 2, &grab(1, 2));
        assert_eq!(fold(&mut commands, 3, &grab(2, 1)), Verdict::Denied(Denial::Held));
        commands.objects.landed(0, 0);
        assert_eq!(
            fold(&mut commands, 4, &grab(2, 1)),
            Verdict::Denied(Denial::Held),
            "also when it could be done now"
        );
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let mut commands = begun(0, 0);
        for n in 0..40 {
            let create =
                Deed::Create { kind: "x".into(), yaw: 0, fields: vec![("n".into(), Some(n.to_string().into()))] };
            let deed = if n % 3 == 0 { create } else { act(0, 0).deed };
            fold(&mut commands, n, &Command { deed, ..act(n % 5 + 1, n) });
        }
        let written = |commands: &Commands| {
            let mut bytes = Vec::new();
            commands.write(|one| bytes.extend_from_slice(one));
            bytes
        };
        let bytes = written(&commands);
        let mut again = Commands::new(GRID, 0);
        again.read_state(&bytes).expect("ours");
        assert_eq!(written(&again), bytes);
        assert!(again.knows((1, 0)) && !again.knows((1, 1)));
        for len in 0..bytes.len() {
            let _ = Commands::new(GRID, 0).read_state(&bytes[..len]);
        }
    }
}
