//! Snapshots of a partition's folded commands, in pieces: written to `objects` and read from there. A snapshot is named by
//! the offset that it is of; whoever writes one of the same offset writes the same. It counts when all of its pieces are
//! there.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::fold::{Commands, WINDOW};
use crate::codec::record::Piece;
use crate::limits::{SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECES_MAX};
use crate::space::Grid;

/// The pieces of a state, each at most a little larger than [`SNAPSHOT_PIECE_BYTES`]; at least one.
#[must_use]
pub fn pieces(commands: &Commands) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    commands.write(|thing| {
        if crate::planted!(ForgottenWindow) && thing[0] == WINDOW {
            return;
        }
        let last = pieces.last_mut().expect("at least one");
        if last.is_empty() || last.len() + thing.len() <= SNAPSHOT_PIECE_BYTES {
            last.extend_from_slice(thing);
        } else {
            pieces.push(thing.to_vec());
        }
    });
    pieces
}

/// A hash of a state: the same on all gateways that have folded as much. CRC-32C of all that a snapshot of it holds.
#[must_use]
pub fn hash(commands: &Commands) -> u32 {
    let mut hash = 0;
    commands.write(|thing| hash = crc32c::crc32c_append(hash, thing));
    hash
}

/// A snapshot whose pieces come in.
#[derive(Clone, Debug, Default)]
struct Partial {
    pieces: BTreeMap<u16, Bytes>,
    count: u16,
    /// Where in `objects` the first piece that came stands.
    first: u64,
}

impl Partial {
    fn is_whole(&self) -> bool {
        self.pieces.len() == usize::from(self.count)
    }
}

/// What is known of the snapshots of one partition.
#[derive(Clone, Debug, Default)]
pub struct Snapshots {
    /// By the offset that they are of.
    partial: BTreeMap<u64, Partial>,
    /// Of those that are whole: of which offset, and where in `objects` they begin; the newest last, two at most.
    whole: Vec<(u64, u64)>,
}

impl Snapshots {
    /// A piece came, at an offset of `objects`. True if a snapshot is whole by it that is newer than all before.
    pub fn take(&mut self, at: u64, piece: Piece) -> bool {
        let of = piece.offset;
        // An older one tells nothing new, nor does a second copy of the same.
        if piece.count > SNAPSHOT_PIECES_MAX || self.newest().is_some_and(|newest| of <= newest) {
            return false;
        }
        let partial = self.partial.entry(of).or_insert_with(|| Partial { first: at, ..Partial::default() });
        partial.count = piece.count;
        partial.pieces.insert(piece.index, piece.bytes);
        if !partial.is_whole() {
            return false;
        }
        self.whole.push((of, partial.first));
        if self.whole.len() > 2 {
            self.whole.remove(0);
        }
        self.partial.retain(|offset, _| *offset >= of);
        true
    }

    /// The offset that the newest whole one is of.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.whole.last().map(|(of, _)| *of)
    }

    /// The state of the newest whole one, and the offset that it is of. `None` if there is none, or it cannot be read.
    #[must_use]
    pub fn state(&self, grid: Grid, partition: u16) -> Option<(u64, Commands)> {
        let of = self.newest()?;
        let partial = self.partial.get(&of)?;
        let mut commands = Commands::new(grid, partition);
        for piece in partial.pieces.values() {
            let size = u32::from_le_bytes(*piece.first_chunk()?) as usize;
            if size > 2 * SNAPSHOT_PIECE_BYTES {
                return None;
            }
            commands.read_state(&lz4_flex::decompress_size_prepended(piece).ok()?).ok()?;
        }
        Some((of, commands))
    }

    /// The state has been taken: pieces of the newest are no longer needed.
    pub fn forget_pieces(&mut self) {
        if let Some(of) = self.newest() {
            self.partial.retain(|offset, _| *offset > of);
        }
    }

    /// What need not be kept: the offset in `objects` below which no snapshot is needed, and the offset below which no command
    /// is. One older than the newest is kept, should that be damaged.
    #[must_use]
    pub fn keep_from(&self) -> Option<(u64, u64)> {
        match self.whole[..] {
            [(of, at), _] => Some((at, of)),
            _ => None,
        }
    }
}

/// A snapshot that is being written: one piece at a time, so that no tick is late for it.
#[derive(Clone, Debug)]
pub struct Writing {
    /// The offset that it is of.
    pub offset: u64,
    /// Those not written yet, the last first.
    left: Vec<Vec<u8>>,
    count: u16,
}

impl Writing {
    /// Of a state as it is now. `None` if it has more pieces than there may be, which its quotas forbid.
    #[must_use]
    pub fn of(commands: &Commands) -> Option<Writing> {
        let mut left = pieces(commands);
        left.reverse();
        let count = u16::try_from(left.len()).ok().filter(|count| *count <= SNAPSHOT_PIECES_MAX)?;
        let offset = commands.next() + u64::from(crate::planted!(OlderSnapshot));
        Some(Writing { offset, left, count })
    }

    /// The next piece.
    #[must_use]
    pub fn piece(&mut self) -> Option<Piece> {
        let raw = self.left.pop()?;
        let index = self.count - 1 - self.left.len() as u16;
        let bytes = lz4_flex::compress_prepend_size(&raw).into();
        Some(Piece { offset: self.offset, index, count: self.count, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::{Command, Deed};
    use crate::space::Pos;

    const GRID: Grid = Grid { w: 1, h: 1 };

    /// A partition in which so many objects were made.
    fn made(objects: u64) -> Commands {
        let mut commands = Commands::new(GRID, 0);
        commands.start(0, 0, 0);
        for offset in 0..objects {
            let fields = vec![("text".into(), Some("x".repeat(900).into()))];
            let deed = Deed::Create { kind: "board".into(), yaw: 0, fields };
            let pos = Pos { x: (offset as i32 % 8) * 12_800, y: 0, z: 0 };
            let command =
                Command { session: offset % 7 + 1, n: offset, entity: 1, trusted: true, pos, from: pos, deed };
            commands.fold(offset, &command);
            commands.read(offset);
        }
        commands
    }

    fn all(commands: &Commands) -> Vec<Piece> {
        let mut writing = Writing::of(commands).expect("not too many");
        std::iter::from_fn(|| writing.piece()).collect()
    }

    #[test]
    fn a_state_goes_out_in_pieces_and_comes_back_whole() {
        let commands = made(1_000);
        let pieces = all(&commands);
        assert!(pieces.len() > 2, "{}", pieces.len());
        // In any order, with one twice.
        let mut snapshots = Snapshots::default();
        let mut whole = Vec::new();
        for (at, piece) in pieces.iter().rev().chain(&pieces[..1]).enumerate() {
            whole.push(snapshots.take(at as u64, piece.clone()));
        }
        assert_eq!(whole.iter().filter(|whole| **whole).count(), 1);
        let (of, again) = snapshots.state(GRID, 0).expect("whole");
        assert_eq!((of, hash(&again)), (1_000, hash(&commands)));
        assert_ne!(hash(&again), hash(&made(999)));
    }

    #[test]
    fn one_that_lacks_a_piece_counts_for_nothing() {
        let (old, new) = (all(&made(600)), all(&made(700)));
        let mut snapshots = Snapshots::default();
        let mut take =
            |at, pieces: &[Piece]| pieces.iter().fold(false, |whole, piece| whole | snapshots.take(at, piece.clone()));
        assert!(take(0, &old));
        assert!(!take(10, &new[1..]), "the first lacks");
        assert_eq!(snapshots.newest(), Some(600));
        assert_eq!(snapshots.state(GRID, 0).map(|(of, _)| of), Some(600));
        assert!(snapshots.take(20, new[0].clone()));
        assert_eq!(snapshots.keep_from(), Some((0, 600)), "the one before is kept");
        snapshots.forget_pieces();
        assert!(!snapshots.take(30, old[0].clone()), "an older one");
    }

    #[test]
    fn a_piece_that_was_damaged_makes_no_state() {
        let mut pieces = all(&made(600));
        let mut bytes = pieces[1].bytes.to_vec();
        bytes.truncate(bytes.len() / 2);
        pieces[1].bytes = bytes.into();
        let mut snapshots = Snapshots::default();
        pieces.into_iter().for_each(|piece| {
            snapshots.take(0, piece);
        });
        assert!(snapshots.state(GRID, 0).is_none());
    }
}
