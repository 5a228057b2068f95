//! Reading the log on disk when it is opened: every batch is checked. What a crash tore off at the end, where nothing was
//! safe yet, is no part of it. Damage to what was safe is: the log does not open, and says where it is.

use std::collections::BTreeMap;
use std::io;

use super::batch::{Bad, Batch, Entry, Lane};
use super::files::Files;
use super::scan::Scan;
use super::segment::{SUFFIX, Segment};
use super::store::{Extent, Known, Store};
use crate::space::Grid;

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
    #[error("the log cannot be read")]
    Unreadable(#[from] io::Error),
    /// A world has been laid out otherwise: what is in its partitions would not be found.
    #[error(
        "world {world:?} has partitions = [{}, {}] in this log, for good, not [{}, {}]: configure the former, or give the \
         world another name",
        known.w, known.h, wanted.w, wanted.h
    )]
    LaidOut {
        /// Its name.
        world: String,
        /// As it is.
        known: Grid,
        /// As it was asked for.
        wanted: Grid,
    },
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
    let (mut torn, mut said) = (None, Said::default());
    for (i, &first) in firsts.iter().enumerate() {
        if i == 0 {
            store.next = first;
        }
        let segment = Segment::new(first);
        if first != store.next {
            let why = format!("it begins with batch {first}, where {} was to come", store.next);
            return Err(Unfit::Damaged { name: segment.name(), at: 0, why });
        }
        store.segments.push(segment);
        torn = read(store, &mut said, i + 1 == firsts.len())?;
        store.next = store.segments.last().and_then(|segment| segment.sealed).unwrap_or(store.next);
    }
    match said.missing() {
        None => Ok(torn),
        Some((lane, start, end)) => {
            let why = format!("of {lane} what is between {start} and {end} is missing before it, or in it");
            Err(Unfit::Damaged { name: store.segments[0].name(), at: 0, why })
        }
    }
}

/// What batches say of lanes, besides their records.
#[derive(Default)]
struct Said {
    /// The highest start of each lane: nothing before it is wanted.
    starts: BTreeMap<Lane, u64>,
    /// What is not there of each lane: all before this offset.
    gone: BTreeMap<Lane, u64>,
}

impl Said {
    /// A lane of which something is not there that is wanted, and from where to where. Nothing goes before it is said that it
    /// is not wanted.
    fn missing(&self) -> Option<(Lane, u64, u64)> {
        let starts = self.gone.iter().map(|(lane, gone)| (*lane, self.starts.get(lane).copied().unwrap_or(0), *gone));
        starts.into_iter().find(|(_, start, gone)| start < gone)
    }
}

/// Reads the last of the segments so far.
fn read<F: Files>(store: &mut Store<F>, said: &mut Said, is_last: bool) -> Result<Option<Torn>, Unfit> {
    let name = store.segments.last().expect("just pushed").name();
    let damaged = |at: u64, why: String| Unfit::Damaged { name: name.clone(), at, why };
    let mut scan = Scan::new(name.clone(), 0);
    loop {
        let at = scan.at();
        let bad = match scan.next(&mut store.files)? {
            None => return Ok(None),
            Some(Ok(batch)) => {
                store.take(batch, said).map_err(|why| damaged(at, why))?;
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
    /// Takes the next batch of the last segment.
    fn take(&mut self, batch: Batch<'_>, said: &mut Said) -> Result<(), String> {
        let is_first = self.segments.len() == 1;
        let segment = self.segments.last_mut().expect("it stands in one");
        let at = segment.len;
        if let Some(Ok(Entry::Cleaned { next })) = batch.entries().next().filter(|_| at == 0) {
            segment.sealed = Some(next);
        }
        let sealed = segment.sealed;
        let is_next = sealed.map_or(batch.number == self.next, |next| (self.next..next).contains(&batch.number));
        if !is_next {
            return Err(format!("batch {} stands where {} was to come", batch.number, self.next));
        }
        let mut leads = true;
        for entry in batch.entries() {
            match entry.map_err(|bad| bad.to_string())? {
                Entry::Record { lane, offset, bytes } => {
                    let end = self.lanes.get(&lane).map_or(0, |extent| extent.end);
                    if offset != end {
                        return Err(format!("offset {offset} of {lane} stands where {end} was to come"));
                    }
                    self.took(lane, offset, bytes.len(), (at, batch.append_ms), std::mem::take(&mut leads));
                }
                Entry::Bounds { lane, start, end } => {
                    let extent = self.lanes.entry(lane).or_default();
                    // What stood before the first segment is gone, and what was cleaned out of one.
                    if at == 0 && (is_first || sealed.is_some()) && end > extent.end {
                        *extent = Extent { start: end, end, ..Extent::default() };
                        said.gone.insert(lane, end);
                    }
                    if end != extent.end || start > end {
                        return Err(format!("{lane} is said to be {start} to {end}, but ends at {}", extent.end));
                    }
                    extent.start = extent.start.max(start);
                    let said = said.starts.entry(lane).or_default();
                    *said = start.max(*said);
                }
                Entry::World { number, grid, name } => match self.worlds.get(usize::from(number).wrapping_sub(1)) {
                    Some(known) if (&*known.name, known.grid) == (name, grid) => {}
                    None if usize::from(number) == self.worlds.len() + 1 => {
                        self.worlds.push(Known { name: name.to_owned(), grid });
                    }
                    Some(_) | None => return Err(format!("world {number} is said to be {name:?}")),
                },
                Entry::Cleaned { .. } if at == 0 => {}
                Entry::Cleaned { .. } => return Err("it was cleaned from its middle on".to_owned()),
            }
        }
        self.segments.last_mut().expect("it stands in one").append(batch.len, batch.append_ms);
        self.next = batch.number + 1;
        Ok(())
    }
}
