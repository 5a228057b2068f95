//! The log on this machine's disk: what is acknowledged survives `kill -9` and power loss. Motion stays in memory, where
//! the newest counts; everything else is written in batches ([`batch`]) to segments ([`store`]), synced before anybody is
//! told ([`desk`]), and checked when it is opened ([`recover`]). While one batch is being synced the next one fills: so
//! what a sync takes is shared by all who wait for it. What nobody wants any more goes in between ([`tidy`]).
//!
//! [`Disk`] is the log, [`DiskLog`] one world's handle on it, and [`Works`] what its thread turns.

pub mod batch;
pub mod desk;
pub mod files;
pub mod recover;
mod scan;
mod segment;
pub mod store;
pub mod tidy;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::batch::Lane;
use self::desk::{Desk, Reply, Request};
use self::files::{Files, Folder};
use self::recover::{Torn, Unfit};
use self::store::{Sizes, Store};
use super::memory::{Memory, MemoryLog};
use super::{Fault, Follow, Health, Log, Outcome, Polled, Source, Ticket, Topic, Trim, Trimmed};
use crate::limits::{DISK_PROBE_MS, DISK_QUEUE_BYTES, POLL_RECORDS_MAX};
use crate::space::Grid;

/// What gives append times, ms since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What the log's thread has done in one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Records that were to be written.
    pub published: usize,
    /// Records that are safe.
    pub committed: u64,
    /// From taking to answering.
    pub took: Duration,
    /// Files.
    pub segments: usize,
    /// Bytes of all.
    pub bytes: u64,
    /// Whether what is published is taken.
    pub health: Health,
    /// Bytes that were made free.
    pub freed: u64,
    /// Room could not be made.
    pub untidy: bool,
}

/// The log on disk. Clones share it. Its thread ends after [`Disk::close`].
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Shared>,
    memory: Memory,
    /// Their numbers in the log.
    worlds: BTreeMap<String, u16>,
}

struct Shared {
    inner: Mutex<Inner>,
    asked: Condvar,
}

#[derive(Default)]
struct Inner {
    requests: Vec<(u64, Request)>,
    /// Of records that wait for their commit.
    waiting_bytes: usize,
    /// By handle: what it has not polled.
    replies: BTreeMap<u64, VecDeque<Reply>>,
    handles: u64,
    closing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

/// The thread of a log on disk.
pub type Thread = thread::JoinHandle<()>;

impl Disk {
    /// Opens the log in a folder, which is made if there is none, and starts its thread, which notes each of its turns.
    /// Handles can be opened for these worlds. Tells what a crash has torn off, where it has.
    ///
    /// # Errors
    /// When the folder cannot be used, what was safe in it is damaged, or a world was laid out otherwise.
    pub fn open(
        folder: &Path,
        worlds: &[(&str, Grid)],
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
        note: impl Fn(&Turn) + Send + 'static,
    ) -> Result<(Disk, Thread, Option<Torn>), Unfit> {
        let (store, torn) = Store::open(Folder::open(folder)?, Sizes::default())?;
        let (disk, mut works) = Disk::over(store, worlds, now_ms)?;
        let run = move || {
            while works.wait() {
                note(&works.turn());
            }
        };
        let thread = thread::Builder::new().name("disk".to_owned()).spawn(run)?;
        Ok((disk, thread, torn))
    }

    /// The same over a store that was opened before, without a thread: nothing is done until somebody turns its works.
    ///
    /// # Errors
    /// When a world was laid out otherwise.
    pub fn over<F: Files>(
        mut store: Store<F>,
        worlds: &[(&str, Grid)],
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Result<(Disk, Works<F>), Unfit> {
        let clock: Clock = Arc::new(now_ms);
        let numbered = |(name, grid): &(&str, Grid)| Ok(((*name).to_owned(), store.world(name, *grid)?));
        let worlds = worlds.iter().map(numbered).collect::<Result<_, Unfit>>()?;
        let shared = Arc::new(Shared { inner: Mutex::default(), asked: Condvar::new() });
        let desk = Desk::new(store);
        let works = Works { shared: shared.clone(), desk, now_ms: clock.clone(), replies: Vec::new(), more: true };
        Ok((Disk { shared, memory: Memory::new(0, move || clock()), worlds }, works))
    }

    /// A handle for one gateway's world; `None` if the log was not opened for it.
    #[must_use]
    pub fn handle(&self, world: &str) -> Option<DiskLog> {
        let world = *self.worlds.get(world)?;
        let mut inner = self.shared.lock();
        inner.handles += 1;
        let number = inner.handles;
        inner.replies.insert(number, VecDeque::new());
        let (memory, shared) = (self.memory.handle(world), self.shared.clone());
        let (followed, trimmed) = (BTreeMap::new(), VecDeque::new());
        Some(DiskLog { shared, memory, number, world, tickets: 0, wishes: 0, followed, trimmed })
    }

    /// No handle is used any more: the thread ends when all that was published is safe.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.asked.notify_one();
    }
}

/// Does the work of a log on disk, turn by turn.
pub struct Works<F> {
    shared: Arc<Shared>,
    desk: Desk<F>,
    now_ms: Clock,
    replies: Vec<(u64, Reply)>,
    /// There may be something to tidy.
    more: bool,
}

impl<F: Files> Works<F> {
    /// Waits until there is something to do. False when there never will be.
    fn wait(&self) -> bool {
        let mut inner = self.shared.lock();
        loop {
            if !inner.requests.is_empty() {
                return true;
            }
            if inner.closing {
                return false;
            }
            if self.more {
                return true;
            }
            if self.desk.waits_for_room() {
                let pause = Duration::from_millis(DISK_PROBE_MS as u64);
                drop(self.shared.asked.wait_timeout(inner, pause).expect("no holder of this lock panics"));
                return true;
            }
            inner = self.shared.asked.wait(inner).expect("no holder of this lock panics");
        }
    }

    /// Does what was asked, answers, and then a piece of what can wait.
    pub fn turn(&mut self) -> Turn {
        let mut inner = self.shared.lock();
        let requests = std::mem::take(&mut inner.requests);
        inner.waiting_bytes = 0;
        drop(inner);
        let (began, now_ms) = (Instant::now(), (self.now_ms)());
        let (published, committed) = self.desk.turn(requests, now_ms, &mut self.replies);
        let took = began.elapsed();
        let mut inner = self.shared.lock();
        for (handle, reply) in self.replies.drain(..) {
            if let Some(of_handle) = inner.replies.get_mut(&handle) {
                of_handle.push_back(reply);
            }
        }
        drop(inner);
        let tidied = self.desk.tidy(now_ms);
        self.more = tidied.more;
        if let Some(why) = &tidied.failed {
            tracing::warn!(why, "no room was made in the log");
        }
        let ((segments, bytes), health) = (self.desk.store.size(), self.desk.health());
        let (freed, untidy) = (tidied.freed, tidied.failed.is_some());
        Turn { published, committed: committed as u64, took, segments, bytes, health, freed, untidy }
    }

    /// The log itself, for the simulation's checker.
    pub fn store(&mut self) -> &mut Store<F> {
        &mut self.desk.store
    }
}

/// One world's handle on a [`Disk`].
pub struct DiskLog {
    shared: Arc<Shared>,
    /// Where motion is.
    memory: MemoryLog,
    number: u64,
    world: u16,
    tickets: u64,
    wishes: u64,
    /// The wish that counts, of what is followed on disk.
    followed: BTreeMap<Source, u64>,
    /// Ends of wishes to trim that nobody has looked at; at most one per wish.
    trimmed: VecDeque<Trimmed>,
}

impl DiskLog {
    fn lane(&self, source: Source) -> Lane {
        Lane { world: if source.topic.is_of_world() { self.world } else { 0 }, source }
    }

    fn ask(&self, request: Request) {
        self.shared.lock().requests.push((self.number, request));
        self.shared.asked.notify_one();
    }
}

/// Whether something that comes of a wish comes of the one that counts.
fn is_wanted(followed: &BTreeMap<Source, u64>, wish: u64, polled: &Polled) -> bool {
    let (Polled::Record { source, .. } | Polled::Fault(Fault::OutOfBounds(source))) = polled else { return true };
    followed.get(source) == Some(&wish)
}

impl Trim for DiskLog {
    fn trim(&mut self, source: Source, start: u64) {
        match source.topic {
            Topic::Motion => self.memory.trim(source, start),
            Topic::Events | Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {
                self.ask(Request::Trim(self.lane(source), start));
            }
        }
    }

    fn trimmed(&mut self) -> Option<Trimmed> {
        self.memory.trimmed().or_else(|| self.trimmed.pop_front())
    }
}

/// Tickets of the memory are even, those of the disk odd.
fn in_memory(Ticket(number): Ticket) -> Ticket {
    Ticket(2 * number)
}

impl Log for DiskLog {
    fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket {
        if source.topic == Topic::Motion {
            return in_memory(self.memory.publish(source, bytes));
        }
        let ticket = Ticket(2 * self.tickets + 1);
        self.tickets += 1;
        let request = Request::Publish(ticket, self.lane(source), bytes.clone());
        let mut inner = self.shared.lock();
        if inner.waiting_bytes + bytes.len() > DISK_QUEUE_BYTES {
            let polled = Polled::Outcome(ticket, Outcome::NeverEntered);
            inner.replies.entry(self.number).or_default().push_back(Reply::Polled(polled));
            return ticket;
        }
        inner.waiting_bytes += bytes.len();
        inner.requests.push((self.number, request));
        drop(inner);
        self.shared.asked.notify_one();
        ticket
    }

    fn follow(&mut self, change: Follow) {
        match change {
            Follow::From(Source { topic: Topic::Motion, .. }, _)
            | Follow::Drop(Source { topic: Topic::Motion, .. }) => {
                self.memory.follow(change);
            }
            Follow::From(source, from) => {
                self.wishes += 1;
                self.followed.insert(source, self.wishes);
                self.ask(Request::Follow { lane: self.lane(source), from, wish: self.wishes });
            }
            Follow::Drop(source) => {
                self.followed.remove(&source);
                self.ask(Request::Drop(self.lane(source)));
            }
        }
    }

    fn poll(&mut self, out: &mut Vec<Polled>) {
        let before = out.len();
        self.memory.poll(out);
        for polled in &mut out[before..] {
            if let Polled::Outcome(ticket, _) = polled {
                *ticket = in_memory(*ticket);
            }
        }
        let is_record = |polled: &Polled| matches!(polled, Polled::Record { .. });
        let mut room = POLL_RECORDS_MAX - out[before..].iter().filter(|polled| is_record(polled)).count();
        let mut taken = 0;
        let mut inner = self.shared.lock();
        let Some(replies) = inner.replies.get_mut(&self.number) else { return };
        let fits = |reply: &Reply, room| match reply {
            Reply::Polled(polled) | Reply::Of(_, polled) => room > 0 || !is_record(polled),
            Reply::Trimmed(_) => true,
        };
        while let Some(reply) = replies.pop_front_if(|reply| fits(reply, room)) {
            match reply {
                Reply::Polled(polled) => out.push(polled),
                Reply::Of(wish, polled) => {
                    taken += usize::from(is_record(&polled));
                    if is_wanted(&self.followed, wish, &polled) {
                        room -= usize::from(is_record(&polled));
                        out.push(polled);
                    }
                }
                Reply::Trimmed(trimmed) => self.trimmed.push_back(trimmed),
            }
        }
        if taken > 0 {
            inner.requests.push((self.number, Request::Polled(taken)));
            self.shared.asked.notify_one();
        }
    }

    fn bounds(&mut self, source: Source) {
        match source.topic {
            Topic::Motion => self.memory.bounds(source),
            Topic::Events | Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {
                self.ask(Request::Bounds(self.lane(source)));
            }
        }
    }

    fn offset_at(&mut self, source: Source, append_ms: i64) {
        match source.topic {
            Topic::Motion => self.memory.offset_at(source, append_ms),
            Topic::Events | Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {
                self.ask(Request::OffsetAt(self.lane(source), append_ms));
            }
        }
    }

    fn fetch(&mut self, source: Source, from: u64) {
        match source.topic {
            Topic::Motion => self.memory.fetch(source, from),
            Topic::Events | Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {
                self.ask(Request::Fetch(self.lane(source), from));
            }
        }
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.replies.remove(&self.number);
        inner.requests.push((self.number, Request::Close));
        drop(inner);
        self.shared.asked.notify_one();
    }
}
