//! One machine: the real log on disk over files that break, and one gateway on it. The process is killed in the midst of any
//! change, the power goes, the disk is full for a while, a sync fails. What was safe once is there after every start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use nearcast::limits::{DISK_PROBE_MS, MILLI_US, SECOND_US};
use nearcast::log::disk::batch::Lane;
use nearcast::log::disk::store::{Sizes, Store};
use nearcast::log::disk::{Disk, DiskLog, Works};
use nearcast::log::{Follow, Log, Polled, Source, Ticket, Topic, Trim};
use nearcast::space::Grid;

use crate::rng::{Rng, Trace};
use crate::sim_files::SimFiles;
use crate::sim_log::SimLog;

/// Segments of some hundred actions, so that many come and go in a run.
const SIZES: Sizes = Sizes { segment: 16_384, segment_ms: i64::MAX, kept_ms: i64::MAX, mark: 2_048 };
/// The bots' world, and one in whose `objects` the filler writes.
const WORLDS: [&str; 2] = ["plaza", "filler"];
const GRID: Grid = Grid { w: 4, h: 4 };
const FILLER: u16 = 2;
/// Partitions of `objects` that it writes to and trims, so that room is to be made between the actions.
const FILLED: u16 = 3;

/// One gateway's log.
pub enum Handle {
    /// On a broker of its cluster.
    Cluster(SimLog),
    /// On its machine's disk.
    Disk(Box<DiskLog>),
}

macro_rules! each {
    ($self:ident, $log:ident => $call:expr) => {
        match $self {
            Handle::Cluster($log) => $call,
            Handle::Disk($log) => $call,
        }
    };
}

impl Log for Handle {
    fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket {
        each!(self, log => log.publish(source, bytes))
    }
    fn follow(&mut self, change: Follow) {
        each!(self, log => log.follow(change));
    }
    fn poll(&mut self, out: &mut Vec<Polled>) {
        each!(self, log => log.poll(out));
    }
    fn bounds(&mut self, source: Source) {
        each!(self, log => log.bounds(source));
    }
    fn offset_at(&mut self, source: Source, append_ms: i64) {
        each!(self, log => log.offset_at(source, append_ms));
    }
    fn fetch(&mut self, source: Source, from: u64) {
        each!(self, log => log.fetch(source, from));
    }
}

/// A record that is safe: where, offset, bytes.
pub type Entered = (Source, u64, Bytes);

struct Running {
    works: Works<SimFiles>,
    /// Writes what is soon not wanted any more.
    filler: DiskLog,
    /// Writes what others do in the bots' world.
    others: DiskLog,
}

/// The machine.
pub struct Machine {
    files: SimFiles,
    rng: Rng,
    now_ms: Arc<AtomicI64>,
    running: Option<Running>,
    /// All records that were ever safe, by lane from offset 0 on.
    safe: BTreeMap<Lane, Vec<Bytes>>,
    trace: Trace,
    turn_us: u64,
    fill_us: u64,
    full_until_us: Option<u64>,
    /// By then something must enter, as there is room again.
    enters_by_us: Option<u64>,
    /// When somebody ends the process, because its log has.
    ends_us: Option<u64>,
    /// A sync failed in the process before.
    was_broken: bool,
    /// Whether the power goes with the process.
    loses_power: bool,
    is_over: bool,
}

impl Machine {
    /// A machine that is off, with an empty disk.
    pub fn new(rng: Rng) -> Machine {
        Machine {
            files: SimFiles::default(),
            rng,
            now_ms: Arc::default(),
            running: None,
            safe: BTreeMap::new(),
            trace: Trace::new(),
            turn_us: 0,
            fill_us: 0,
            full_until_us: None,
            enters_by_us: None,
            ends_us: None,
            was_broken: false,
            loses_power: false,
            is_over: false,
        }
    }

    /// Hash of all that was ever safe, in order.
    pub fn trace(&self) -> Trace {
        self.trace
    }

    /// A gateway starts. `None` if its process dies at once.
    ///
    /// # Errors
    /// When the log does not open, or something that was safe is not there any more.
    pub fn start(&mut self, now_us: u64) -> Result<Option<DiskLog>, String> {
        self.now_ms.store((now_us / MILLI_US) as i64, Ordering::Relaxed);
        if self.rng.one_in(4) {
            self.files.disk().dies_in = Some(self.rng.below(4) as usize);
        }
        let breaks = self.files.disk().bad_sync;
        let opened = Store::open(self.files.clone(), SIZES);
        // A process whose first sync fails does not start.
        let is_broken = breaks && !self.files.disk().bad_sync && opened.is_err();
        if self.files.disk().is_dead || is_broken {
            self.stop();
            return Ok(None);
        }
        self.files.disk().dies_in = None;
        let (mut store, _) = opened.map_err(|unfit| format!("the log does not open: {unfit}"))?;
        for (lane, records) in &self.safe {
            is_there(&mut store, *lane, records)?;
        }
        let now_ms = self.now_ms.clone();
        let (disk, works) =
            Disk::over(store, &WORLDS.map(|world| (world, GRID)), move || now_ms.load(Ordering::Relaxed))
                .map_err(|unfit| format!("the log does not open: {unfit}"))?;
        let handle = |world| disk.handle(world).expect("it was opened for it");
        let [log, others, filler] = [WORLDS[0], WORLDS[0], WORLDS[1]].map(handle);
        self.running = Some(Running { works, filler, others });
        (self.turn_us, self.enters_by_us) = (now_us, None);
        if std::mem::take(&mut self.was_broken) && self.rng.one_in(2) {
            // Soon after, the power goes.
            let changes = self.rng.between(5, 60) as usize;
            self.dies_in(changes, true);
        }
        Ok(Some(log))
    }

    /// The process dies after so many changes to its files, or the power goes there.
    pub fn dies_in(&mut self, changes: usize, loses_power: bool) {
        if self.running.is_some() {
            self.files.disk().dies_in = Some(changes);
            self.loses_power = loses_power;
        }
    }

    /// The process is no more.
    pub fn stop(&mut self) {
        (self.running, self.ends_us, self.is_over) = (None, None, false);
        if std::mem::take(&mut self.loses_power) {
            self.files.crash(&mut self.rng);
        } else {
            self.files.revive();
        }
    }

    /// There is room for so many bytes only, for a while.
    pub fn fills_up(&mut self, until_us: u64) {
        let used: usize = self.files.disk().files.values().map(|file| file.now.len()).sum();
        self.files.disk().room = Some(used + self.rng.below(3_000) as usize);
        (self.full_until_us, self.enters_by_us) = (Some(until_us), None);
    }

    /// Others write to the bots' world.
    pub fn others_write(&mut self, source: Source, records: impl Iterator<Item = Bytes>) {
        let Some(Running { others, .. }) = &mut self.running else { return };
        records.for_each(|record| _ = others.publish(source, record));
        // Nobody waits for what becomes of it.
        others.poll(&mut Vec::new());
    }

    /// The next sync fails.
    pub fn breaks_a_sync(&mut self) {
        self.files.disk().bad_sync = true;
    }

    /// Whether its process has just died.
    pub fn is_dead(&self) -> bool {
        self.running.is_some() && (self.is_over || self.files.disk().is_dead)
    }

    /// It is later: what has become safe.
    ///
    /// # Errors
    /// When the log says that something is safe that is not, or takes nothing though there is room.
    pub fn advance(&mut self, now_us: u64) -> Result<Vec<Entered>, String> {
        self.now_ms.store((now_us / MILLI_US) as i64, Ordering::Relaxed);
        if self.full_until_us.take_if(|until_us| now_us >= *until_us).is_some() {
            self.files.disk().room = None;
            self.enters_by_us = Some(now_us + DISK_PROBE_MS as u64 * MILLI_US + SECOND_US);
        }
        self.is_over |= self.ends_us.is_some_and(|ends_us| now_us >= ends_us);
        if self.running.is_none() || self.is_over || now_us < self.turn_us {
            return Ok(Vec::new());
        }
        // A sync takes its time, and now and then a long one.
        let took_ms = if self.rng.one_in(100) { self.rng.between(20, 200) } else { self.rng.between(1, 6) };
        self.turn_us = now_us + took_ms * MILLI_US;
        self.fill(now_us);
        let running = self.running.as_mut().expect("looked above");
        running.works.turn();
        if self.files.disk().is_dead {
            return Ok(Vec::new());
        }
        let entered = self.look()?;
        if self.is_broken() && self.ends_us.is_none() {
            self.ends_us = Some(now_us + self.rng.between(1_000, 5_000) * MILLI_US);
            self.loses_power = self.rng.one_in(4);
            self.was_broken = true;
        }
        if self.enters_by_us.is_some_and(|by_us| now_us > by_us) && self.ends_us.is_none() {
            return Err("nothing enters, though there has been room again for two seconds".to_owned());
        }
        Ok(entered)
    }

    fn is_broken(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| running.works.store().is_broken())
    }

    /// What has become safe since it was looked at last.
    fn look(&mut self) -> Result<Vec<Entered>, String> {
        let store = self.running.as_mut().expect("it runs").works.store();
        let mut entered = Vec::new();
        for lane in store.lanes() {
            let (known, end) = (self.safe.entry(lane).or_default(), store.bounds(lane).end);
            let next = known.len() as u64;
            if end == next {
                continue;
            }
            let records = store.read(lane, next, usize::MAX, usize::MAX).map_err(|error| error.to_string())?;
            if !records.iter().map(|(offset, ..)| *offset).eq(next..end) {
                return Err(format!("{lane} is said to have {next} to {end}, and has not"));
            }
            for (offset, _, bytes) in records {
                self.trace.add(offset, &bytes);
                known.push(bytes.clone());
                self.enters_by_us = self.enters_by_us.filter(|_| self.full_until_us.is_some());
                // Those of the filler tell gateways nothing.
                if lane.world != FILLER {
                    entered.push((lane.source, offset, bytes));
                }
            }
        }
        Ok(entered)
    }

    /// Snapshots as somebody might write them: each makes those before superfluous.
    fn fill(&mut self, now_us: u64) {
        let filler = &mut self.running.as_mut().expect("it runs").filler;
        let mut polled = Vec::new();
        filler.poll(&mut polled);
        for polled in polled {
            if let Polled::Bounds(source, bounds) = polled {
                filler.trim(source, bounds.end.saturating_sub(self.rng.below(3)));
            }
        }
        while filler.trimmed().is_some() {}
        if now_us < self.fill_us {
            return;
        }
        self.fill_us = now_us + self.rng.between(20, 300) * MILLI_US;
        let source = Source { topic: Topic::Objects, partition: self.rng.below(u64::from(FILLED)) as u16 };
        let bytes = (0..self.rng.between(100, 3_000)).map(|_| self.rng.next() as u8).collect();
        filler.publish(source, bytes);
        if self.rng.one_in(4) {
            filler.bounds(source);
        }
    }
}

/// What was safe once is there, from the lane's start on.
fn is_there(store: &mut Store<SimFiles>, lane: Lane, records: &[Bytes]) -> Result<(), String> {
    let bounds = store.bounds(lane);
    let found = store.read(lane, 0, usize::MAX, usize::MAX).map_err(|error| error.to_string())?;
    let expected = records.iter().enumerate().skip(bounds.start as usize);
    let mut found = found.iter().map(|(offset, _, bytes)| (*offset as usize, bytes));
    for (offset, bytes) in expected {
        match found.next() {
            Some((at, found)) if at == offset && found == bytes => {}
            Some((at, _)) => {
                return Err(format!("offset {offset} of {lane} was safe, and there is something else at {at}"));
            }
            None => return Err(format!("offset {offset} of {lane} was safe, and it is gone: {bounds:?}")),
        }
    }
    // Only what somebody trims goes.
    let may_go = lane.source.topic == Topic::Objects;
    if may_go || bounds.start == 0 { Ok(()) } else { Err(format!("{lane} begins at {}", bounds.start)) }
}
