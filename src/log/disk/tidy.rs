//! How room is made in the log on disk. What stands below a lane's start is not wanted; starts move by an operator's wish, or
//! by age. A segment that nobody wants goes, if it is the first. One of which half is unwanted is cleaned, wherever it stands:
//! what is wanted is copied to a new file, batch by batch under the same numbers and offsets, which then takes its place at
//! one stroke. So each record is there once at any moment, and one lane's few old records do not keep all others'.
//!
//! Nothing goes before it is safe in the log that it is not wanted: so what is missing otherwise is known to be damage.

use std::collections::BTreeMap;
use std::io;

use super::batch::{Batch, Entry, Lane};
use super::files::Files;
use super::scan::Scan;
use super::segment::Segment;
use super::store::{Extent, Mark, News, Store, damaged, is_full, mark};
use crate::log::{Topic, beyond};

/// A segment that is being cleaned.
#[derive(Debug)]
pub(super) struct Cleaning {
    /// It is read up to here.
    scan: Scan,
    /// What of each lane was wanted when it began.
    starts: BTreeMap<Lane, u64>,
    /// What is to take its place.
    made: Segment,
    marks: BTreeMap<Lane, Vec<Mark>>,
}

/// What a piece of tidying came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// There is more to do.
    pub more: bool,
    /// Bytes that are no longer taken up.
    pub freed: u64,
    /// Why it was given up; tried again when the next start moves, or when the log is opened.
    pub failed: Option<String>,
}

/// Whether a topic is cut by age alone.
fn is_aged(topic: Topic) -> bool {
    match topic {
        Topic::Social | Topic::Direct | Topic::Control => true,
        // In memory, and cut by who writes snapshots.
        Topic::Motion | Topic::Events | Topic::Objects => false,
    }
}

impl<F: Files> Store<F> {
    /// Records below this offset are no longer wanted; where the lane begins now. Known for sure with the next commit, or when
    /// something has gone for it.
    ///
    /// # Errors
    /// When the offset is beyond the lane's end. Nothing has changed then.
    pub fn advance(&mut self, lane: Lane, start: u64) -> Result<u64, String> {
        let Extent { start: now, end, .. } = *self.lanes.get(&lane).unwrap_or(&Extent::default());
        if start > end {
            return Err(beyond(start, end));
        }
        if start > now {
            self.lanes.get_mut(&lane).expect("it has a record").start = start;
            self.news.push(News::Start(lane));
            self.untidy = true;
        }
        Ok(start.max(now))
    }

    /// What is cut by age and is too old is not wanted. Judged by whole segments: their last batch says how old they are.
    pub(super) fn expire(&mut self, now_ms: i64) {
        let old_ms = now_ms.saturating_sub(self.sizes.kept_ms);
        let closed = self.segments.len().saturating_sub(1);
        let old = self.segments[..closed].iter().take_while(|segment| segment.ended_ms < old_ms);
        let ends = old.flat_map(|segment| segment.shares.iter().map(|(lane, share)| (*lane, share.end)));
        let ends: Vec<(Lane, u64)> = ends.filter(|(lane, _)| is_aged(lane.source.topic)).collect();
        for (lane, end) in ends {
            self.advance(lane, end).expect("no segment has more of a lane than there is");
        }
    }

    /// Makes room where it can, a piece at a time: one segment goes, or about so many bytes of one are cleaned.
    pub fn tidy(&mut self, now_ms: i64, bytes: u64) -> Tidied {
        if self.is_broken() {
            return Tidied::default();
        }
        if let Some(cleaning) = self.cleaning.take() {
            return self.clean(cleaning, bytes);
        }
        let closed = self.segments.len().saturating_sub(1);
        let wanted = |lane: &Lane| self.lanes[lane].start;
        let goes = closed > 0 && self.segments[0].is_unwanted(wanted);
        let half = |segment: &Segment| 2 * segment.unwanted_bytes(wanted) >= segment.len;
        let dirty = self.segments[..closed].iter().position(half);
        if !self.untidy || (!goes && dirty.is_none()) {
            self.untidy = false;
            return Tidied::default();
        }
        if let Err(refused) = self.settle(now_ms) {
            return self.give_up(refused.to_string());
        }
        if goes {
            return self.remove_first();
        }
        let i = dirty.expect("else the first goes");
        match self.begin(i) {
            Ok(cleaning) => {
                self.cleaning = Some(cleaning);
                Tidied { more: true, ..Tidied::default() }
            }
            Err(error) => self.give_up(error.to_string()),
        }
    }

    /// Sees to it that the starts are safe.
    fn settle(&mut self, now_ms: i64) -> Result<(), super::store::Refused> {
        // The last segment must say it, or be newer than what it says.
        let is_said = self.news.is_empty() && self.segments.last().is_some_and(|last| last.len > 0);
        if is_said { Ok(()) } else { self.commit(&[], now_ms).map(|_| ()) }
    }

    fn give_up(&mut self, why: String) -> Tidied {
        self.untidy = false;
        Tidied { failed: Some(why), ..Tidied::default() }
    }

    fn remove_first(&mut self) -> Tidied {
        let gone = self.segments.remove(0);
        self.lanes.values_mut().for_each(|extent| extent.marks.retain(|mark| mark.segment != gone.first));
        match self.files.remove(&gone.name()) {
            Ok(()) => Tidied { more: true, freed: gone.len, failed: None },
            // It may still be there, and is then when the log is opened again: nothing of it is wanted even so.
            Err(error) => self.give_up(format!("{} does not go: {error}", gone.name())),
        }
    }

    // --- cleaning ---------------------------------------------------------------------------------------------------

    fn begin(&mut self, i: usize) -> io::Result<Cleaning> {
        let (segment, next) = (&self.segments[i], self.segments[i + 1].first);
        let name = segment.cleaned_name();
        match self.files.create(&name) {
            // From an attempt that failed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.files.cut(&name, 0)?,
            made => made?,
        }
        let more = u64::from(crate::planted!(CleanedTooMuch));
        let starts = self.lanes.iter().map(|(lane, extent)| (*lane, extent.start + more)).collect();
        let made = Segment { sealed: Some(next), ..Segment::new(segment.first) };
        Ok(Cleaning { scan: Scan::new(segment.name(), 0), starts, made, marks: BTreeMap::new() })
    }

    fn clean(&mut self, mut cleaning: Cleaning, bytes: u64) -> Tidied {
        let old = self.segments.iter().position(|segment| segment.first == cleaning.made.first);
        let old = old.expect("the first goes only while none is cleaned");
        let name = self.segments[old].cleaned_name();
        let copied = self.copy(old, &mut cleaning, bytes);
        let over = match copied {
            Ok(over) => over,
            Err(error) => {
                // Where this fails as well, it goes when the log is opened.
                let _ = self.files.remove(&name);
                let why = if is_full(&error) { "no room to clean".to_owned() } else { error.to_string() };
                return self.give_up(format!("{name}: {why}"));
            }
        };
        if !over {
            self.cleaning = Some(cleaning);
            return Tidied { more: true, ..Tidied::default() };
        }
        if let Err(error) = self.files.replace(&name, &self.segments[old].name()) {
            // Nobody knows which of both is read from now on.
            let refused = self.broken(format!("{name} does not take its place: {error}"));
            return self.give_up(refused.to_string());
        }
        let Cleaning { made, marks, .. } = cleaning;
        for extent in self.lanes.values_mut() {
            extent.marks.retain(|mark| mark.segment != made.first);
        }
        for (lane, marks) in marks {
            let extent = self.lanes.get_mut(&lane).expect("it has records");
            extent.marks.extend(marks);
            extent.marks.sort_unstable_by_key(|mark| mark.offset);
        }
        let freed = self.segments[old].len.saturating_sub(made.len);
        self.segments[old] = made;
        Tidied { more: true, freed, failed: None }
    }

    /// Copies what is wanted of the next so many bytes, and has it safe. Whether that was the last of it.
    fn copy(&mut self, old: usize, cleaning: &mut Cleaning, bytes: u64) -> io::Result<bool> {
        let Store { files, segments, writer, sizes, .. } = self;
        let old = &segments[old];
        let Cleaning { scan, starts, made, marks } = cleaning;
        let (until, from) = (old.len.min(scan.at() + bytes), made.len);
        let mut copied = Vec::new();
        while scan.at() < until {
            let is_first = scan.at() == 0;
            let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, format!("{} is shorter than it was", old.name()));
            let batch = scan.next(files)?.ok_or_else(cut)?.map_err(|bad| damaged(old, &bad))?;
            writer.begin();
            if is_first {
                head(batch, old, starts, made.sealed, writer).map_err(|bad| damaged(old, &bad))?;
            }
            let mut leads = true;
            for entry in batch.entries() {
                match entry.map_err(|bad| damaged(old, &bad))? {
                    Entry::Record { lane, offset, .. } if offset < starts[&lane] => {}
                    Entry::Record { lane, offset, bytes } => {
                        writer.push(Entry::Record { lane, offset, bytes });
                        made.share(lane, offset, bytes.len(), std::mem::take(&mut leads));
                        let mark_of = Mark { offset, segment: made.first, at: made.len };
                        mark(marks.entry(lane).or_default(), mark_of, sizes.mark);
                    }
                    world @ Entry::World { .. } => writer.push(world),
                    // Later segments say how far lanes reach; how far they did when this began is in its head.
                    Entry::Bounds { .. } | Entry::Cleaned { .. } => {}
                }
            }
            if !writer.is_empty() {
                let bytes = writer.finish(batch.number, batch.append_ms);
                made.append(bytes.len(), batch.append_ms);
                copied.extend_from_slice(bytes);
            }
        }
        let name = old.cleaned_name();
        files.write(&name, from, &copied)?;
        files.sync(&name)?;
        let over = scan.at() >= old.len;
        if over && !is_whole(old, made, starts) {
            return Err(io::Error::other("not all that is wanted was found"));
        }
        // Segments are old by when they were written, not by what is left of them.
        (made.began_ms, made.ended_ms) = (old.began_ms, old.ended_ms);
        Ok(over)
    }
}

/// Begins the first batch of what is to take a segment's place: that batches may be missing in it, and where each lane goes
/// on in it.
fn head(
    batch: Batch<'_>,
    old: &Segment,
    starts: &BTreeMap<Lane, u64>,
    sealed: Option<u64>,
    writer: &mut super::batch::Writer,
) -> Result<(), super::batch::Bad> {
    writer.push(Entry::Cleaned { next: sealed.expect("it is made so") });
    let mut begins: BTreeMap<Lane, (u64, u64)> = BTreeMap::new();
    for entry in batch.entries() {
        if let Entry::Bounds { lane, start, end } = entry? {
            begins.insert(lane, (start, end));
        }
    }
    for (lane, share) in &old.shares {
        let (_, end) = begins.entry(*lane).or_default();
        *end = (*end).max(starts[lane].min(share.end));
    }
    for (lane, (start, end)) in begins {
        writer.push(Entry::Bounds { lane, start, end });
    }
    Ok(())
}

/// Whether what takes a segment's place has all of it that is wanted.
fn is_whole(old: &Segment, made: &Segment, starts: &BTreeMap<Lane, u64>) -> bool {
    old.shares.iter().all(|(lane, share)| {
        let from = starts[lane].clamp(share.first, share.end);
        let found = made.shares.get(lane).map(|share| (share.first, share.end));
        if from == share.end { found.is_none() } else { found == Some((from, share.end)) }
    })
}
