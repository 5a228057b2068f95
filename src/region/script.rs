//! A log for the tests of the region: it takes everything, and gives what the test says.

use bytes::Bytes;

use crate::limits::SECOND_US;
use crate::log::{Follow, Log, Polled, Source, Ticket};
use crate::space::Grid;

/// The partitions of a test's world.
pub const GRID: Grid = Grid { w: 4, h: 4 };
/// When a test begins.
pub const NOW_US: u64 = 1_700_000_000 * SECOND_US;

/// A log that takes everything and gives what the test says.
#[derive(Default)]
pub struct Script {
    /// What was written, and where.
    pub published: Vec<(Ticket, Source, Bytes)>,
    /// How often it was asked where a partition begins and ends.
    pub asked: usize,
    /// What was fetched, and from where.
    pub fetched: Vec<(Source, u64)>,
    /// What the next poll brings.
    pub next: Vec<Polled>,
}

impl Log for Script {
    fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket {
        let ticket = Ticket(self.published.len() as u64);
        self.published.push((ticket, source, bytes));
        ticket
    }
    fn follow(&mut self, _: Follow) {}
    fn poll(&mut self, out: &mut Vec<Polled>) {
        out.append(&mut self.next);
    }
    fn bounds(&mut self, _: Source) {
        self.asked += 1;
    }
    fn offset_at(&mut self, _: Source, _: i64) {}
    fn fetch(&mut self, source: Source, from: u64) {
        self.fetched.push((source, from));
    }
}
