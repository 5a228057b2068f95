//! Reads a segment's batches, one after the other.

use std::io;

use super::batch::{Bad, Batch, HEAD_BYTES, MAGIC};
use super::files::Files;
use crate::limits::DISK_BATCH_BYTES_MAX;

/// So much is read at once: far more than a usual batch, and little beside a segment.
const CHUNK: usize = 1024 * 1024;

/// A place in a segment.
#[derive(Debug)]
pub struct Scan {
    name: String,
    /// What was read of the file, from `window_at` on; up to `used` it has been given.
    window: Vec<u8>,
    window_at: u64,
    used: usize,
}

impl Scan {
    /// From a position on, where a batch begins.
    #[must_use]
    pub fn new(name: String, at: u64) -> Scan {
        Scan { name, window: Vec::new(), window_at: at, used: 0 }
    }

    /// Where the next batch begins.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.window_at + self.used as u64
    }

    /// The next batch; `None` at the end of the file. After a bad one the same comes again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next<F: Files>(&mut self, files: &mut F) -> io::Result<Option<Result<Batch<'_>, Bad>>> {
        self.fill(files, HEAD_BYTES)?;
        let length = self.window.get(self.used + 8..self.used + 12).and_then(|bytes| bytes.first_chunk());
        let length = length.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        // One that lies about its length is not read to an end that it has not.
        self.fill(files, HEAD_BYTES + length.min(DISK_BATCH_BYTES_MAX))?;
        if self.used == self.window.len() {
            return Ok(None);
        }
        let batch = match Batch::read(&self.window[self.used..]) {
            Ok(batch) => batch,
            Err(bad) => return Ok(Some(Err(bad))),
        };
        self.used += batch.len;
        Ok(Some(Ok(batch)))
    }

    /// Whether anywhere behind this place a whole batch begins. What is written after a sync only cannot be there if what
    /// comes before it was not synced: then this is no torn end, but damage.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_followed<F: Files>(&self, files: &mut F) -> io::Result<bool> {
        let mut rest = Vec::new();
        files.read(&self.name, self.at() + 1, usize::MAX, &mut rest)?;
        let begins = (0..rest.len()).filter(|at| rest[*at..].starts_with(&MAGIC));
        Ok(begins.into_iter().any(|at| Batch::read(&rest[at..]).is_ok()))
    }

    /// Sees to it that so many bytes are there, unless the file ends before.
    fn fill<F: Files>(&mut self, files: &mut F, bytes: usize) -> io::Result<()> {
        let have = self.window.len() - self.used;
        if have >= bytes {
            return Ok(());
        }
        self.window.drain(..self.used);
        self.window_at += self.used as u64;
        self.used = 0;
        files.read(&self.name, self.window_at + have as u64, (bytes - have).max(CHUNK), &mut self.window)
    }
}
