//! Reading the log on disk when it is opened: every batch is checked. What a crash tore off at the end, where nothing was
//! safe yet, is no part of it. Damage to what was safe is: the log does not open, and says where it is.

use std::io;

use super::batch::{Bad, Batch, Entry};
use super::files::Files;
use super::scan::Scan;
use super::store::{Mark, SUFFIX, Segment, Store};

/// What stands behind the end: a batch that was being written when the process or the machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub name: String,
    /// Where it begins in it.
    pub at: u64,
    /// Its bytes.
    pub bytes: u64,
    /// What was wrong with them.
    pub why: Bad,
}

/// Why the log does not open.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The files cannot be read or written.
    #[error("the log cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// What was safe is no longer what was written.
    #[error(
        "{name} is damaged at byte {at}: {why}. Nothing was changed. Put the file back from a copy, or move the folder away \
         to begin with an empty log"
    )]
    Damaged {
        /// The file.
        name: String,
        /// Where in it.
        at: u64,
        /// What is wrong.
        why: String,
    },
}

/// Reads all segments into an empty store.
pub(super) fn recover<F: Files>(store: &mut Store<F>) -> Result<Option<Torn>, Unfit> {
    let number = |name: String| name.strip_suffix(SUFFIX)?.parse::<u64>().ok();
    let mut firsts: Vec<u64> = store.files.names()?.into_iter().filter_map(number).collect();
    firsts.sort_unstable();
    let mut torn = None;
    for (i, &first) in firsts.iter().enumerate() {
        if i == 0 {
            store.next = first;
        } else if let Some(last) = store.segments.last_mut() {
            last.ends = store.lanes.iter().map(|(lane, extent)| (*lane, extent.end)).collect();
        }
        let segment = Segment { first, len: 0, ends: Vec::new() };
        if first != store.next {
            let why = format!("it begins with batch {first}, where {} was to come", store.next);
            return Err(Unfit::Damaged { name: segment.name(), at: 0, why });
        }
        store.segments.push(segment);
        torn = read(store, i == 0, i + 1 == firsts.len())?;
    }
    Ok(torn)
}

/// Reads the last of the segments so far.
fn read<F: Files>(store: &mut Store<F>, is_first: bool, is_last: bool) -> Result<Option<Torn>, Unfit> {
    let first = store.next;
    let name = store.segments.last().expect("just pushed").name();
    let damaged = |at: u64, why: String| Unfit::Damaged { name: name.clone(), at, why };
    let mut scan = Scan::new(name.clone(), 0);
    loop {
        let at = scan.at();
        let bad = match scan.next(&mut store.files)? {
            None => return Ok(None),
            Some(Ok(batch)) => {
                // What stood before the first segment is gone.
                let forget = is_first && at == 0;
                store.take(batch, Mark { offset: 0, segment: first, at }, forget).map_err(|why| damaged(at, why))?;
                continue;
            }
            Some(Err(bad)) => bad,
        };
        if !is_last || scan.is_followed(&mut store.files)? {
            return Err(damaged(at, bad.to_string()));
        }
        let mut rest = Vec::new();
        store.files.read(&name, at, usize::MAX, &mut rest)?;
        return Ok(Some(Torn { name, at, bytes: rest.len() as u64, why: bad }));
    }
}

impl<F: Files> Store<F> {
    /// Takes a batch that stands at a mark. `forget`: what its lanes had before is gone.
    fn take(&mut self, batch: Batch<'_>, mark: Mark, forget: bool) -> Result<(), String> {
        if batch.number != self.next {
            return Err(format!("batch {} stands where {} was to come", batch.number, self.next));
        }
        for entry in batch.entries() {
            match entry.map_err(|bad| bad.to_string())? {
                Entry::Record { lane, offset, .. } => {
                    let extent = self.lanes.entry(lane).or_default();
                    if offset != extent.end {
                        return Err(format!("offset {offset} of {lane} stands where {} was to come", extent.end));
                    }
                    extent.append(batch.append_ms, Mark { offset, ..mark }, self.sizes.mark);
                }
                Entry::Bounds { lane, start, end } => {
                    let extent = self.lanes.entry(lane).or_default();
                    if forget {
                        (extent.start, extent.end) = (end, end);
                    } else if end != extent.end || start > end {
                        return Err(format!("{lane} is said to be {start} to {end}, but ends at {}", extent.end));
                    }
                    extent.start = extent.start.max(start);
                }
                Entry::World { number, name } => match self.worlds.get(usize::from(number).wrapping_sub(1)) {
                    Some(known) if known == name => {}
                    None if usize::from(number) == self.worlds.len() + 1 => self.worlds.push(name.to_owned()),
                    Some(_) | None => return Err(format!("world {number} is said to be {name:?}")),
                },
            }
        }
        self.segments.last_mut().expect("it stands in one").len = mark.at + batch.len as u64;
        self.next += 1;
        Ok(())
    }
}
