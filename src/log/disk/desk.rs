//! What the handles ask of the log on disk, and what they are answered. No thread and no clock: the gateway turns it on a
//! thread of its own, the simulation as it likes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::batch::{Lane, RECORD_HEAD_BYTES};
use super::files::Files;
use super::store::{Record, Refused, Store};
use super::tidy::Tidied;
use crate::limits::{
    DISK_BATCH_BYTES_MAX, DISK_CLEAN_BYTES, DISK_PROBE_MS, FETCH_BYTES, FETCH_RECORDS_MAX, POLL_RECORDS_MAX,
};
use crate::log::{Fault, Fetched, Health, Outcome, Polled, Ticket, Trimmed};

/// Records that a handle has been given and has not polled, at most: two polls' worth.
const UNPOLLED_MAX: usize = 2 * POLL_RECORDS_MAX;

/// What a handle asks.
#[derive(Debug)]
pub enum Request {
    /// To append a record.
    Publish(Ticket, Lane, Bytes),
    /// To be given a lane's records from an offset on; they come with the number of this wish.
    Follow {
        /// The lane.
        lane: Lane,
        /// The first offset wanted.
        from: u64,
        /// A number that the handle has not used yet.
        wish: u64,
    },
    /// To be given no more of a lane.
    Drop(Lane),
    /// How far a lane reaches.
    Bounds(Lane),
    /// Where in a lane a time is, ms since 1970.
    OffsetAt(Lane, i64),
    /// Some records of a lane, from an offset on.
    Fetch(Lane, u64),
    /// What stands below an offset is no longer wanted.
    Trim(Lane, u64),
    /// So many records have been polled.
    Polled(usize),
    /// There is no such handle any more.
    Close,
}

/// What a handle is answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// What it polls.
    Polled(Polled),
    /// What it polls of the wish with this number: nothing, if that was followed by another one.
    Of(u64, Polled),
    /// What became of a wish to trim.
    Trimmed(Trimmed),
}

struct Followed {
    next: u64,
    wish: u64,
}

#[derive(Default)]
struct Handle {
    followed: BTreeMap<Lane, Followed>,
    unpolled: usize,
}

/// All handles, and the log.
pub struct Desk<F> {
    /// The log.
    pub store: Store<F>,
    handles: BTreeMap<u64, Handle>,
    /// What this turn has committed, by lane: whoever has all before it need not read it from disk.
    fresh: BTreeMap<Lane, VecDeque<Record>>,
    health: Health,
    /// When it is looked for room again, ms since 1970.
    probe_ms: i64,
}

impl<F: Files> Desk<F> {
    /// Without handles.
    #[must_use]
    pub fn new(store: Store<F>) -> Desk<F> {
        Desk { store, handles: BTreeMap::new(), fresh: BTreeMap::new(), health: Health::Well, probe_ms: 0 }
    }

    /// Does what was asked since the last turn: what was published first, in as few commits as it fits in, then the rest in
    /// order. Then all get what they follow. Returns how many records were published, and how many of them are safe.
    pub fn turn(
        &mut self,
        requests: impl IntoIterator<Item = (u64, Request)>,
        now_ms: i64,
        replies: &mut Vec<(u64, Reply)>,
    ) -> (usize, usize) {
        let (mut published, mut others) = (Vec::new(), Vec::new());
        for (handle, request) in requests {
            self.know(handle, replies);
            if let Request::Publish(ticket, lane, bytes) = request {
                published.push((handle, ticket, lane, bytes));
            } else {
                others.push((handle, request));
            }
        }
        self.probe(now_ms, replies);
        self.fresh.clear();
        let count = published.len();
        self.publish(published, now_ms, replies);
        let safe = self.fresh.values().map(VecDeque::len).sum();
        for (handle, request) in others {
            self.answer(handle, request, replies);
        }
        self.serve(replies);
        (count, safe)
    }

    /// Makes room, a piece at a time: for when all that was asked is answered.
    pub fn tidy(&mut self, now_ms: i64) -> Tidied {
        // On a full disk, what is not wanted cannot even be said.
        if self.health == Health::Well { self.store.tidy(now_ms, DISK_CLEAN_BYTES) } else { Tidied::default() }
    }

    /// Whether what is published is taken.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether it will be looked for room, though nobody asks anything.
    #[must_use]
    pub fn waits_for_room(&self) -> bool {
        self.health != Health::Well && !self.store.is_broken()
    }

    /// A handle that is new is told how things are.
    fn know(&mut self, handle: u64, replies: &mut Vec<(u64, Reply)>) {
        if self.handles.contains_key(&handle) {
            return;
        }
        self.handles.insert(handle, Handle::default());
        if self.health != Health::Well {
            replies.push((handle, Reply::Polled(Polled::Fault(Fault::Health(self.health)))));
        }
    }

    /// All handles are told how things are from now on, and why.
    fn turn_to(&mut self, health: Health, why: Option<&Refused>, replies: &mut Vec<(u64, Reply)>) {
        if std::mem::replace(&mut self.health, health) == health {
            return;
        }
        for handle in self.handles.keys() {
            replies.push((*handle, Reply::Polled(Polled::Fault(Fault::Health(health)))));
            if let Some(why) = why {
                replies.push((*handle, Reply::Polled(Polled::Fault(Fault::Unreachable(why.to_string())))));
            }
        }
    }

    /// Looks now and then whether there is room again.
    fn probe(&mut self, now_ms: i64, replies: &mut Vec<(u64, Reply)>) {
        if !self.waits_for_room() || now_ms < self.probe_ms {
            return;
        }
        self.probe_ms = now_ms + DISK_PROBE_MS;
        if self.store.has_room(now_ms) {
            self.turn_to(Health::Well, None, replies);
        }
    }

    fn publish(&mut self, published: Vec<(u64, Ticket, Lane, Bytes)>, now_ms: i64, replies: &mut Vec<(u64, Reply)>) {
        let mut published = published.into_iter().peekable();
        let (mut size, mut tickets, mut records) = (0, Vec::new(), Vec::new());
        while let Some((handle, ticket, lane, bytes)) = published.next() {
            size += RECORD_HEAD_BYTES + bytes.len();
            tickets.push((handle, ticket));
            records.push((lane, bytes));
            let more = published.peek().map_or(usize::MAX, |(.., bytes)| RECORD_HEAD_BYTES + bytes.len());
            if size.saturating_add(more) > DISK_BATCH_BYTES_MAX / 2 {
                self.commit(&tickets, &records, now_ms, replies);
                (size, tickets, records) = (0, Vec::new(), Vec::new());
            }
        }
    }

    fn commit(
        &mut self,
        tickets: &[(u64, Ticket)],
        records: &[(Lane, Bytes)],
        now_ms: i64,
        replies: &mut Vec<(u64, Reply)>,
    ) {
        // While there is no room nothing is tried: small records would slip in where large ones do not fit.
        let committed = match self.health {
            Health::Well | Health::Down => self.store.commit(records, now_ms),
            Health::Full => Err(Refused::Full(String::new())),
        };
        let tell = |i: usize, outcome| {
            let (handle, ticket): (u64, Ticket) = tickets[i];
            (handle, Reply::Polled(Polled::Outcome(ticket, outcome)))
        };
        match committed {
            Ok(offsets) => {
                self.turn_to(Health::Well, None, replies);
                for (i, (offset, (lane, bytes))) in offsets.into_iter().zip(records).enumerate() {
                    replies.push(tell(i, Outcome::At(Some(offset))));
                    self.fresh.entry(*lane).or_default().push_back((offset, now_ms, bytes.clone()));
                }
            }
            Err(refused) => {
                let (health, outcome) = match &refused {
                    Refused::Full(_) => (Health::Full, Outcome::NeverEntered),
                    Refused::NeverEntered(_) => (Health::Down, Outcome::NeverEntered),
                    Refused::Unknown(_) => (Health::Down, Outcome::Unknown),
                };
                if self.health == Health::Well {
                    self.probe_ms = now_ms + DISK_PROBE_MS;
                }
                self.turn_to(health, Some(&refused), replies);
                replies.extend((0..tickets.len()).map(|i| tell(i, outcome)));
            }
        }
    }

    fn answer(&mut self, number: u64, request: Request, replies: &mut Vec<(u64, Reply)>) {
        let Some(handle) = self.handles.get_mut(&number) else { return };
        let polled = match request {
            Request::Publish(..) => return,
            Request::Follow { lane, from, wish } => {
                handle.followed.insert(lane, Followed { next: from, wish });
                return;
            }
            Request::Drop(lane) => {
                handle.followed.remove(&lane);
                return;
            }
            Request::Trim(lane, start) => {
                let trimmed = Trimmed { source: lane.source, result: self.store.advance(lane, start) };
                replies.push((number, Reply::Trimmed(trimmed)));
                return;
            }
            Request::Polled(records) => {
                handle.unpolled = handle.unpolled.saturating_sub(records);
                return;
            }
            Request::Close => {
                self.handles.remove(&number);
                return;
            }
            Request::Bounds(lane) => Polled::Bounds(lane.source, self.store.bounds(lane)),
            Request::OffsetAt(lane, append_ms) => match self.store.offset_at(lane, append_ms) {
                Ok(offset) => Polled::OffsetAt(lane.source, offset),
                Err(_) => Polled::Fault(Fault::Unanswered(lane.source)),
            },
            Request::Fetch(lane, from) => self.fetch(lane, from),
        };
        replies.push((number, Reply::Polled(polled)));
    }

    fn fetch(&mut self, lane: Lane, from: u64) -> Polled {
        let start = self.store.bounds(lane).start;
        match self.store.read(lane, from.max(start), FETCH_RECORDS_MAX, FETCH_BYTES) {
            Ok(records) => {
                let next = records.last().map_or(from, |(offset, ..)| offset + 1);
                let records = records.into_iter().map(|(offset, _, bytes)| (offset, bytes)).collect();
                Polled::Fetched(Fetched { source: lane.source, from, start, records, next })
            }
            Err(_) => Polled::Fault(Fault::Unfetched(lane.source)),
        }
    }

    /// Gives all handles what they follow and have room for.
    fn serve(&mut self, replies: &mut Vec<(u64, Reply)>) {
        for (&number, handle) in &mut self.handles {
            let unpolled = &mut handle.unpolled;
            handle.followed.retain(|&lane, followed| {
                let mut tell = |polled| replies.push((number, Reply::Of(followed.wish, polled)));
                let bounds = self.store.bounds(lane);
                if followed.next < bounds.start || followed.next > bounds.end {
                    tell(Polled::Fault(Fault::OutOfBounds(lane.source)));
                    return false;
                }
                while followed.next < bounds.end && *unpolled < UNPOLLED_MAX {
                    let room = UNPOLLED_MAX - *unpolled;
                    let records = match fresh(&self.fresh, lane, followed.next, room) {
                        Some(records) => records,
                        None => match self.store.read(lane, followed.next, room, FETCH_BYTES) {
                            Ok(records) => records,
                            Err(error) => {
                                let fault = Polled::Fault(Fault::Unreachable(error.to_string()));
                                replies.push((number, Reply::Polled(fault)));
                                return true;
                            }
                        },
                    };
                    if records.is_empty() {
                        break;
                    }
                    *unpolled += records.len();
                    for (offset, append_ms, bytes) in records {
                        followed.next = offset + 1;
                        tell(Polled::Record { source: lane.source, offset, append_ms, bytes });
                    }
                }
                true
            });
        }
    }
}

/// The records from an offset on, if they are among those of this turn.
fn fresh(fresh: &BTreeMap<Lane, VecDeque<Record>>, lane: Lane, from: u64, room: usize) -> Option<Vec<Record>> {
    let records = fresh.get(&lane)?;
    let (first, ..) = records.front()?;
    let skip = from.checked_sub(*first)? as usize;
    (skip < records.len()).then(|| records.iter().skip(skip).take(room).cloned().collect())
}
