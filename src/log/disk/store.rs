//! The log on disk: batches in segments, one file after the other, and where in them each lane's records stand. No thread
//! and no clock; what it writes it has synced before it says so.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use super::batch::{Batch, Entry, Lane, RECORD_HEAD_BYTES, Writer};
use super::files::Files;
use super::recover;
use super::scan::Scan;
use super::segment::{CLEANED_SUFFIX, Segment};
use super::tidy::Cleaning;
use crate::limits::{
    DISK_MARK_BYTES, DISK_ROOM_BYTES, DISK_SEGMENT_BYTES, DISK_SEGMENT_US, EVENTS_RETENTION_US, MILLI_US,
};
use crate::log::Bounds;
use crate::space::Grid;

/// How far a lane reaches.
#[derive(Debug, Default)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) last_append_ms: Option<i64>,
    /// Some of the batches that have records of it, in order: to find an offset without reading all.
    pub(super) marks: Vec<Mark>,
}

/// A batch that has records of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// The first of them.
    pub(super) offset: u64,
    /// The segment's first batch.
    pub(super) segment: u64,
    /// Where in it the batch begins.
    pub(super) at: u64,
}

/// Why a commit did not take place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing of it is in the log: there is no room for it.
    #[error("{0}")]
    Full(String),
    /// Nothing of it is in the log.
    #[error("{0}")]
    NeverEntered(String),
    /// It may be in the log when it is opened again. The log takes nothing more until then.
    #[error("{0}")]
    Unknown(String),
}

impl Refused {
    /// Nothing was written, for this reason.
    fn nothing(error: &io::Error, why: String) -> Refused {
        if is_full(error) { Refused::Full(why) } else { Refused::NeverEntered(why) }
    }
}

/// Whether there was no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A record of a lane: offset, append time, bytes.
pub type Record = (u64, i64, Bytes);

/// How large the pieces are, and how long they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// A segment of so many bytes is followed by another one.
    pub segment: u64,
    /// So is one that began so long ago, ms.
    pub segment_ms: i64,
    /// Topics that are cut by age keep a segment's records for so long after its last one, ms.
    pub kept_ms: i64,
    /// Batches that are remembered of a lane lie so many bytes apart.
    pub mark: u64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        let ms = |us: u64| (us / MILLI_US) as i64;
        Sizes {
            segment: DISK_SEGMENT_BYTES,
            segment_ms: ms(DISK_SEGMENT_US),
            kept_ms: ms(EVENTS_RETENTION_US),
            mark: DISK_MARK_BYTES,
        }
    }
}

/// The log on disk.
#[derive(Debug)]
pub struct Store<F> {
    pub(super) files: F,
    pub(super) sizes: Sizes,
    pub(super) segments: Vec<Segment>,
    pub(super) lanes: BTreeMap<Lane, Extent>,
    /// World number `n` is at `n - 1`.
    pub(super) worlds: Vec<Known>,
    /// The number of the next batch.
    pub(super) next: u64,
    /// What the next batch is to say besides its records.
    pub(super) news: Vec<News>,
    pub(super) writer: Writer,
    /// Something may have to go.
    pub(super) untidy: bool,
    /// What of a segment is still wanted is being copied.
    pub(super) cleaning: Option<Cleaning>,
    /// Why nothing is taken any more.
    broken: Option<String>,
}

/// A world of this log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// How its regions map to partitions, for good.
    pub grid: Grid,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum News {
    World(u16),
    Start(Lane),
}

impl<F: Files> Store<F> {
    /// Opens what is there, or makes it. What was torn off by a crash is cut, and told.
    ///
    /// # Errors
    /// When the files cannot be read, or what was safe is damaged: [`recover::Unfit`].
    pub fn open(files: F, sizes: Sizes) -> Result<(Store<F>, Option<recover::Torn>), recover::Unfit> {
        let (mut store, torn) = Store::look(files, sizes)?;
        if let Some(torn) = &torn {
            store.files.cut(&torn.name, torn.at)?;
        }
        store.secure()?;
        for name in store.files.names()?.into_iter().filter(|name| name.ends_with(CLEANED_SUFFIX)) {
            store.files.remove(&name)?;
        }
        store.untidy = true;
        Ok((store, torn))
    }

    /// The same without changing anything: to be read only.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn look(files: F, sizes: Sizes) -> Result<(Store<F>, Option<recover::Torn>), recover::Unfit> {
        let mut store = Store {
            files,
            sizes,
            segments: Vec::new(),
            lanes: BTreeMap::new(),
            worlds: Vec::new(),
            next: 1,
            news: Vec::new(),
            writer: Writer::default(),
            untidy: false,
            cleaning: None,
            broken: None,
        };
        let torn = recover::recover(&mut store)?;
        Ok((store, torn))
    }

    /// The last batch may have been written by a process that was killed before its sync, or whose sync failed, and be in
    /// the system's memory only: then the system may even think that it is safe. So it is written once more.
    fn secure(&mut self) -> io::Result<()> {
        let Some(last) = self.segments.last().filter(|last| last.len > 0) else { return Ok(()) };
        if crate::planted!(TailUnsafe) {
            return Ok(());
        }
        let (name, mut bytes) = (last.name(), Vec::new());
        self.files.read(&name, last.tail, (last.len - last.tail) as usize, &mut bytes)?;
        self.files.write(&name, last.tail, &bytes)?;
        self.files.sync(&name)
    }

    /// The number of a world; a new one gets the next.
    ///
    /// # Errors
    /// When its regions map to other partitions than before: [`recover::Unfit::LaidOut`].
    pub fn world(&mut self, name: &str, grid: Grid) -> Result<u16, recover::Unfit> {
        let at = match self.worlds.iter().position(|world| world.name == name) {
            Some(at) => at,
            None => {
                self.worlds.push(Known { name: name.to_owned(), grid });
                self.news.push(News::World(self.worlds.len() as u16));
                self.worlds.len() - 1
            }
        };
        let known = self.worlds[at].grid;
        if known != grid {
            return Err(recover::Unfit::LaidOut { world: name.to_owned(), known, wanted: grid });
        }
        Ok(at as u16 + 1)
    }

    /// Appends records as one batch, and returns their offsets when they are safe.
    ///
    /// # Errors
    /// When they are not; then none of them has entered, or nobody knows until the log is opened again.
    pub fn commit(&mut self, records: &[(Lane, Bytes)], append_ms: i64) -> Result<Vec<u64>, Refused> {
        self.roll(append_ms)?;
        let offsets = self.put(records);
        let at = self.write(append_ms)?;
        for (i, ((lane, bytes), offset)) in records.iter().zip(&offsets).enumerate() {
            self.took(*lane, *offset, bytes.len(), (at, append_ms), i == 0);
        }
        Ok(offsets)
    }

    /// Writes the batch that was put together, and has it safe; where it stands.
    fn write(&mut self, append_ms: i64) -> Result<u64, Refused> {
        let segment = self.segments.last_mut().expect("one was begun");
        let (name, at) = (segment.name(), segment.len);
        let bytes = self.writer.finish(self.next, append_ms);
        let written = self.files.write(&name, at, bytes);
        let written = if crate::planted!(FullIsAcknowledged) { Ok(()) } else { written };
        if let Err(error) = written {
            let why = format!("{name} cannot be written: {error}");
            return Err(match self.files.cut(&name, at) {
                Ok(()) => Refused::nothing(&error, why),
                Err(error) => self.broken(format!("{why}, nor cut: {error}")),
            });
        }
        let synced = if crate::planted!(AckBeforeSync) { Ok(()) } else { self.files.sync(&name) };
        // Not tried again: the system may have thrown away what it could not write, and then say that all is well.
        let synced = if crate::planted!(SyncedAgain) { synced.or_else(|_| self.files.sync(&name)) } else { synced };
        if let Err(error) = synced {
            return Err(self.broken(format!("{name} cannot be synced: {error}")));
        }
        segment.append(bytes.len(), append_ms);
        self.news.clear();
        self.next += 1;
        Ok(at)
    }

    /// A record stands in the batch at a place of the last segment, which was written at a time. `leads`: it is the first there.
    pub(super) fn took(&mut self, lane: Lane, offset: u64, bytes: usize, (at, append_ms): (u64, i64), leads: bool) {
        let segment = self.segments.last_mut().expect("it stands in one");
        segment.share(lane, offset, bytes, leads);
        let extent = self.lanes.entry(lane).or_default();
        extent.end = offset + 1;
        extent.last_append_ms = Some(append_ms);
        mark(&mut extent.marks, Mark { offset, segment: segment.first, at }, self.sizes.mark);
    }

    pub(super) fn broken(&mut self, why: String) -> Refused {
        let why = format!("the log is closed until the gateway starts again: {why}");
        self.broken = Some(why.clone());
        Refused::Unknown(why)
    }

    /// Begins another segment if there is none, or the last one is full or old. Then what is too old goes.
    fn roll(&mut self, now_ms: i64) -> Result<(), Refused> {
        if let Some(why) = &self.broken {
            return Err(Refused::NeverEntered(why.clone()));
        }
        let Sizes { segment, segment_ms, .. } = self.sizes;
        let goes_on = |last: &Segment| {
            let is_old = last.len > 0 && now_ms.saturating_sub(last.began_ms) >= segment_ms;
            last.len < segment && last.sealed.is_none() && !is_old
        };
        if self.segments.last().is_some_and(goes_on) {
            return Ok(());
        }
        let segment = Segment::new(self.next);
        let made = match self.files.create(&segment.name()) {
            // From an attempt that failed half-way: nothing was ever written to it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.files.cut(&segment.name(), 0),
            made => made,
        };
        made.map_err(|error| Refused::nothing(&error, format!("no new segment: {error}")))?;
        self.segments.push(segment);
        self.expire(now_ms);
        Ok(())
    }

    /// Puts a batch together. The first of a segment says how far all lanes reach, so that older ones can go.
    fn put(&mut self, records: &[(Lane, Bytes)]) -> Vec<u64> {
        self.writer.begin();
        if self.segments.last().is_some_and(|segment| segment.len == 0) {
            self.news = (1..=self.worlds.len()).map(|number| News::World(number as u16)).collect();
            self.news.extend(self.lanes.keys().map(|lane| News::Start(*lane)));
        }
        for news in &self.news {
            match *news {
                News::World(number) => {
                    let Known { name, grid } = &self.worlds[usize::from(number) - 1];
                    self.writer.push(Entry::World { number, grid: *grid, name });
                }
                News::Start(lane) => {
                    let Extent { start, end, .. } = self.lanes[&lane];
                    self.writer.push(Entry::Bounds { lane, start, end });
                }
            }
        }
        let mut next: BTreeMap<Lane, u64> = BTreeMap::new();
        let mut offsets = Vec::with_capacity(records.len());
        for (lane, bytes) in records {
            let next = next.entry(*lane).or_insert_with(|| self.lanes.get(lane).map_or(0, |extent| extent.end));
            self.writer.push(Entry::Record { lane: *lane, offset: *next, bytes });
            offsets.push(*next);
            *next += 1;
        }
        offsets
    }

    /// Whether there is room again, for far more than the next record. Tried: it is written behind the end, and cut.
    pub fn has_room(&mut self, now_ms: i64) -> bool {
        if self.roll(now_ms).is_err() {
            return false;
        }
        let last = self.segments.last().expect("one was begun");
        let (name, at) = (last.name(), last.len);
        let written = self.files.write(&name, at, &vec![0; DISK_ROOM_BYTES]);
        if let Err(error) = self.files.cut(&name, at) {
            self.broken(format!("{name} cannot be cut: {error}"));
            return false;
        }
        written.is_ok()
    }

    /// How far a lane reaches.
    #[must_use]
    pub fn bounds(&self, lane: Lane) -> Bounds {
        let of = |extent: &Extent| Bounds {
            start: extent.start,
            end: extent.end,
            last_append_ms: extent.last_append_ms.filter(|_| extent.start < extent.end),
        };
        self.lanes.get(&lane).map_or(Bounds { start: 0, end: 0, last_append_ms: None }, of)
    }

    /// The records of a lane from an offset on: at least one if there is any, else up to so many, or so many bytes.
    ///
    /// # Errors
    /// When they cannot be read, or are no longer what was written.
    pub fn read(&mut self, lane: Lane, from: u64, records: usize, bytes: usize) -> io::Result<Vec<Record>> {
        let (mut found, mut size) = (Vec::new(), 0);
        self.walk(lane, from, |record| {
            size += RECORD_HEAD_BYTES + record.2.len();
            found.push(record);
            found.len() < records && size < bytes
        })?;
        Ok(found)
    }

    /// The first offset that was appended at or after a time; the lane's end if there is none.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn offset_at(&mut self, lane: Lane, append_ms: i64) -> io::Result<u64> {
        let Bounds { start, mut end, .. } = self.bounds(lane);
        self.walk(lane, start, |(offset, at_ms, _)| {
            let before = at_ms < append_ms;
            if !before {
                end = offset;
            }
            before
        })?;
        Ok(end)
    }

    /// Goes through a lane's records until it is told to stop.
    fn walk(&mut self, lane: Lane, from: u64, mut each: impl FnMut(Record) -> bool) -> io::Result<()> {
        let Some(extent) = self.lanes.get(&lane) else { return Ok(()) };
        let from = from.max(extent.start);
        let marked = extent.marks.partition_point(|mark| mark.offset <= from);
        let Some(mark) = extent.marks.get(marked.saturating_sub(1)).copied().filter(|_| from < extent.end) else {
            return Ok(());
        };
        let mut at = mark.at;
        for segment in self.segments.iter().filter(|segment| segment.first >= mark.segment) {
            if !segment.shares.contains_key(&lane) {
                continue;
            }
            let mut scan = Scan::new(segment.name(), at);
            at = 0;
            while scan.at() < segment.len {
                let Some(next) = scan.next(&mut self.files)? else { break };
                let batch = next.map_err(|bad| damaged(segment, &bad))?;
                for record in records(batch, lane) {
                    let record = record.map_err(|bad| damaged(segment, &bad))?;
                    if record.0 >= from && !each(record) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether nothing is taken any more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Segments, and the bytes of all.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        (self.segments.len(), self.segments.iter().map(|segment| segment.len).sum())
    }

    /// Batches that were ever written.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.next - 1
    }

    /// All lanes that ever had a record, in order.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        self.lanes.keys().copied().collect()
    }

    /// The worlds, by number from 1.
    #[must_use]
    pub fn worlds(&self) -> &[Known] {
        &self.worlds
    }
}

/// Remembers a batch if it is far enough from the last that is.
pub(super) fn mark(marks: &mut Vec<Mark>, mark: Mark, apart: u64) {
    let near = |last: &Mark| last.segment == mark.segment && mark.at < last.at + apart;
    if !marks.last().is_some_and(near) {
        marks.push(mark);
    }
}

/// What was safe in a segment is not what was written.
pub(super) fn damaged(segment: &Segment, bad: &super::batch::Bad) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {bad}", segment.name()))
}

/// A batch's records of one lane.
fn records(batch: Batch<'_>, lane: Lane) -> impl Iterator<Item = Result<Record, super::batch::Bad>> {
    let append_ms = batch.append_ms;
    batch.entries().filter_map(move |entry| match entry {
        Ok(Entry::Record { lane: of, offset, bytes }) if of == lane => {
            Some(Ok((offset, append_ms, Bytes::copy_from_slice(bytes))))
        }
        Ok(Entry::Record { .. } | Entry::Bounds { .. } | Entry::World { .. } | Entry::Cleaned { .. }) => None,
        Err(bad) => Some(Err(bad)),
    })
}
