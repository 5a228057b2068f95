//! What the handles ask of the log on disk, and what they are answered. No thread and no clock: the gateway turns it on a
//! thread of its own, the simulation as it likes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::batch::{Lane, RECORD_HEAD_BYTES};
use super::files::Files;
use super::store::{Record, Refused, Store};
use crate::limits::{DISK_BATCH_BYTES_MAX, DISK_READ_BYTES, POLL_RECORDS_MAX};
use crate::log::{Fault, Outcome, Polled, Ticket};

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
    /// What stands below an offset is no longer wanted.
    Trim(Lane, u64),
    /// So many records have been polled.
    Polled(usize),
    /// There is no such handle any more.
    Close,
}

/// What a handle is answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// Which wish a record or its fault comes of; it counts for nothing if that was followed by another one.
    pub wish: Option<u64>,
    /// What the handle polls.
    pub polled: Polled,
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
}

impl<F: Files> Desk<F> {
    /// Without handles.
    #[must_use]
    pub fn new(store: Store<F>) -> Desk<F> {
        Desk { store, handles: BTreeMap::new(), fresh: BTreeMap::new() }
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
            if let Request::Publish(ticket, lane, bytes) = request {
                published.push((handle, ticket, lane, bytes));
            } else {
                others.push((handle, request));
            }
        }
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
        let committed = self.store.commit(records, now_ms);
        let mut tell = |i: usize, outcome| {
            let (handle, ticket) = tickets[i];
            replies.push((handle, Reply { wish: None, polled: Polled::Outcome(ticket, outcome) }));
        };
        match committed {
            Ok(offsets) => {
                for (i, (offset, (lane, bytes))) in offsets.into_iter().zip(records).enumerate() {
                    tell(i, Outcome::At(Some(offset)));
                    self.fresh.entry(*lane).or_default().push_back((offset, now_ms, bytes.clone()));
                }
            }
            Err(refused) => {
                let outcome = match &refused {
                    Refused::NeverEntered(_) => Outcome::NeverEntered,
                    Refused::Unknown(_) => Outcome::Unknown,
                };
                (0..tickets.len()).for_each(|i| tell(i, outcome));
                let fault = Polled::Fault(Fault::Unreachable(refused.to_string()));
                let told = self.handles.keys().map(|handle| (*handle, Reply { wish: None, polled: fault.clone() }));
                replies.extend(told);
            }
        }
    }

    fn answer(&mut self, number: u64, request: Request, replies: &mut Vec<(u64, Reply)>) {
        let handle = self.handles.entry(number).or_default();
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
            Request::Trim(lane, start) => match self.store.advance(lane, start) {
                Ok(()) => return,
                Err(error) => Polled::Fault(Fault::Unreachable(error.to_string())),
            },
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
        };
        replies.push((number, Reply { wish: None, polled }));
    }

    /// Gives all handles what they follow and have room for.
    fn serve(&mut self, replies: &mut Vec<(u64, Reply)>) {
        for (&number, handle) in &mut self.handles {
            let unpolled = &mut handle.unpolled;
            handle.followed.retain(|&lane, followed| {
                let mut tell = |wish, polled| replies.push((number, Reply { wish, polled }));
                let wish = Some(followed.wish);
                let bounds = self.store.bounds(lane);
                if followed.next < bounds.start || followed.next > bounds.end {
                    tell(wish, Polled::Fault(Fault::OutOfBounds(lane.source)));
                    return false;
                }
                while followed.next < bounds.end && *unpolled < UNPOLLED_MAX {
                    let room = UNPOLLED_MAX - *unpolled;
                    let records = match fresh(&self.fresh, lane, followed.next, room) {
                        Some(records) => records,
                        None => match self.store.read(lane, followed.next, room, DISK_READ_BYTES) {
                            Ok(records) => records,
                            Err(error) => {
                                tell(None, Polled::Fault(Fault::Unreachable(error.to_string())));
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
                        tell(wish, Polled::Record { source: lane.source, offset, append_ms, bytes });
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
