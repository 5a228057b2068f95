//! The log on disk: batches in segments, one file after the other, and where in them each lane's records stand. No thread
//! and no clock; what it writes it has synced before it says so.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use super::batch::{Batch, Entry, Lane, RECORD_HEAD_BYTES, Writer};
use super::files::Files;
use super::recover;
use super::scan::Scan;
use crate::limits::{DISK_MARK_BYTES, DISK_SEGMENT_BYTES};
use crate::log::Bounds;

/// How segments' names end.
pub(super) const SUFFIX: &str = ".log";

/// One file.
#[derive(Debug)]
pub(super) struct Segment {
    /// The number of its first batch, and so its name.
    pub(super) first: u64,
    /// Bytes of whole batches.
    pub(super) len: u64,
    /// Where the lanes ended when the next segment began.
    pub(super) ends: Vec<(Lane, u64)>,
}

impl Segment {
    pub(super) fn name(&self) -> String {
        format!("{:020}{SUFFIX}", self.first)
    }
}

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
    /// Nothing of it is in the log.
    #[error("{0}")]
    NeverEntered(String),
    /// It may be in the log when it is opened again. The log takes nothing more until then.
    #[error("{0}")]
    Unknown(String),
}

/// A record of a lane: offset, append time, bytes.
pub type Record = (u64, i64, Bytes);

/// How large the pieces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// A segment of so many bytes is followed by another one.
    pub segment: u64,
    /// Batches that are remembered of a lane lie so many bytes apart.
    pub mark: u64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { segment: DISK_SEGMENT_BYTES, mark: DISK_MARK_BYTES }
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
    pub(super) worlds: Vec<String>,
    /// The number of the next batch.
    pub(super) next: u64,
    /// What the next batch is to say besides its records.
    news: Vec<News>,
    writer: Writer,
    /// Why nothing is taken any more.
    broken: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum News {
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
            broken: None,
        };
        let torn = recover::recover(&mut store)?;
        Ok((store, torn))
    }

    /// The number of a world; a new one gets the next.
    pub fn world(&mut self, name: &str) -> u16 {
        let known = self.worlds.iter().position(|world| world == name);
        let at = known.unwrap_or_else(|| {
            self.worlds.push(name.to_owned());
            self.news.push(News::World(self.worlds.len() as u16));
            self.worlds.len() - 1
        });
        at as u16 + 1
    }

    /// Appends records as one batch, and returns their offsets when they are safe.
    ///
    /// # Errors
    /// When they are not; then none of them has entered, or nobody knows until the log is opened again.
    pub fn commit(&mut self, records: &[(Lane, Bytes)], append_ms: i64) -> Result<Vec<u64>, Refused> {
        if let Some(why) = &self.broken {
            return Err(Refused::NeverEntered(why.clone()));
        }
        self.roll().map_err(|error| Refused::NeverEntered(format!("no new segment: {error}")))?;
        let offsets = self.put(records);
        let segment = self.segments.last_mut().expect("one was begun");
        let (name, at) = (segment.name(), segment.len);
        let bytes = self.writer.finish(self.next, append_ms);
        if let Err(error) = self.files.write(&name, at, bytes) {
            let why = format!("{name} cannot be written: {error}");
            return Err(match self.files.cut(&name, at) {
                Ok(()) => Refused::NeverEntered(why),
                Err(error) => self.broken(format!("{why}, nor cut: {error}")),
            });
        }
        if let Err(error) = self.files.sync(&name) {
            // Not tried again: the system may have thrown away what it could not write, and then say that all is well.
            return Err(self.broken(format!("{name} cannot be synced: {error}")));
        }
        self.news.clear();
        segment.len += bytes.len() as u64;
        let mark = |offset| Mark { offset, segment: segment.first, at };
        for ((lane, _), offset) in records.iter().zip(&offsets) {
            self.lanes.entry(*lane).or_default().append(append_ms, mark(*offset), self.sizes.mark);
        }
        self.next += 1;
        Ok(offsets)
    }

    fn broken(&mut self, why: String) -> Refused {
        let why = format!("the log is closed until the gateway starts again: {why}");
        self.broken = Some(why.clone());
        Refused::Unknown(why)
    }

    /// Begins another segment if there is none, or the last one is full.
    fn roll(&mut self) -> io::Result<()> {
        if self.segments.last().is_some_and(|last| last.len < self.sizes.segment) {
            return Ok(());
        }
        let segment = Segment { first: self.next, len: 0, ends: Vec::new() };
        match self.files.create(&segment.name()) {
            // From an attempt that failed half-way: nothing was ever written to it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.files.cut(&segment.name(), 0)?,
            made => made?,
        }
        if let Some(last) = self.segments.last_mut() {
            last.ends = self.lanes.iter().map(|(lane, extent)| (*lane, extent.end)).collect();
        }
        self.segments.push(segment);
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
                    let name = &self.worlds[usize::from(number) - 1];
                    self.writer.push(Entry::World { number, name });
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
            let mut scan = Scan::new(segment.name(), at);
            at = 0;
            while scan.at() < segment.len {
                let damaged = |bad| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {bad}", segment.name()));
                let Some(next) = scan.next(&mut self.files)? else { break };
                let batch = next.map_err(|bad| damaged(bad.to_string()))?;
                for record in records(batch, lane) {
                    let record = record.map_err(|bad| damaged(bad.to_string()))?;
                    if record.0 >= from && !each(record) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Records below this offset are no longer wanted; segments that nobody wants go. Known for sure with the next commit.
    ///
    /// # Errors
    /// When a segment cannot be removed.
    pub fn advance(&mut self, lane: Lane, start: u64) -> io::Result<()> {
        let Some(extent) = self.lanes.get_mut(&lane) else { return Ok(()) };
        if start <= extent.start {
            return Ok(());
        }
        extent.start = start.min(extent.end);
        self.news.push(News::Start(lane));
        while self.segments.len() > 1 {
            let first = &self.segments[0];
            let wanted = |(lane, end): &(Lane, u64)| self.lanes[lane].start < *end;
            if first.ends.iter().any(wanted) {
                break;
            }
            self.files.remove(&first.name())?;
            let gone = self.segments.remove(0).first;
            self.lanes.values_mut().for_each(|extent| extent.marks.retain(|mark| mark.segment > gone));
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

    /// Names of the worlds, by number from 1.
    #[must_use]
    pub fn worlds(&self) -> &[String] {
        &self.worlds
    }
}

impl Extent {
    /// The record of a mark was appended. Marks are kept so many bytes apart.
    pub(super) fn append(&mut self, append_ms: i64, mark: Mark, apart: u64) {
        self.end = mark.offset + 1;
        self.last_append_ms = Some(append_ms);
        let near = |last: &Mark| last.segment == mark.segment && mark.at < last.at + apart;
        if !self.marks.last().is_some_and(near) {
            self.marks.push(mark);
        }
    }
}

/// A batch's records of one lane.
fn records(batch: Batch<'_>, lane: Lane) -> impl Iterator<Item = Result<Record, super::batch::Bad>> {
    let append_ms = batch.append_ms;
    batch.entries().filter_map(move |entry| match entry {
        Ok(Entry::Record { lane: of, offset, bytes }) if of == lane => {
            Some(Ok((offset, append_ms, Bytes::copy_from_slice(bytes))))
        }
        Ok(Entry::Record { .. } | Entry::Bounds { .. } | Entry::World { .. }) => None,
        Err(bad) => Some(Err(bad)),
    })
}
