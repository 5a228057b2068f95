//! A folder that breaks as disks do: power goes and takes what was not synced, the process is killed in the midst of a change,
//! space runs out, a sync fails and what it did not write is thrown away.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use nearcast::log::disk::files::Files;

use crate::rng::Rng;

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// A folder. Clones share it: one of them can break what another one uses, and open it again.
#[derive(Clone, Default)]
pub struct SimFiles(Rc<RefCell<Disk>>);

/// What is on it.
#[derive(Default)]
pub struct Disk {
    /// By name.
    pub files: BTreeMap<String, Content>,
    /// Bytes that fit on it.
    pub room: Option<usize>,
    /// The next sync fails.
    pub bad_sync: bool,
    /// Syncs asked for.
    pub syncs: usize,
    /// After so many changes whoever makes them is no more; the next one is not or half made, and all after it are not.
    pub dies_in: Option<usize>,
    /// Whether that has happened.
    pub is_dead: bool,
}

/// What is in a file, and what of it is safe.
#[derive(Clone, Default)]
pub struct Content {
    /// What is read.
    pub now: Vec<u8>,
    /// What is there for sure after a crash.
    pub safe: Vec<u8>,
    /// From here on the system knows that it has something to write. What is neither safe nor to be written was thrown away by
    /// a sync that failed.
    dirty_from: usize,
}

impl Content {
    /// The system has written what it knew that it had to write.
    fn written(&mut self) {
        let from = self.dirty_from.min(self.now.len());
        self.safe.resize(from, 0);
        self.safe.extend(&self.now[from..]);
        self.dirty_from = self.now.len();
    }
}

impl SimFiles {
    /// The disk itself.
    pub fn disk(&self) -> RefMut<'_, Disk> {
        self.0.borrow_mut()
    }

    /// The power goes: of what was not synced each sector is there, or is zeros, and the file may be shorter.
    pub fn crash(&self, rng: &mut Rng) {
        self.revive();
        for content in self.disk().files.values_mut() {
            // What was written over is not simulated: the log writes over only what is the same.
            let Content { now, safe, .. } = content;
            let mut left = safe.clone();
            let longer = now.len().saturating_sub(safe.len());
            let kept = safe.len() + rng.below(longer as u64 + 1) as usize;
            for at in safe.len()..kept {
                if at == safe.len() || at % SECTOR == 0 {
                    let end = kept.min((at / SECTOR + 1) * SECTOR);
                    if rng.one_in(2) { left.extend(&now[at..end]) } else { left.resize(end, 0) }
                }
            }
            *content = Content { now: left.clone(), dirty_from: left.len(), safe: left };
        }
    }

    /// The process was killed and another one comes; the system has lost nothing.
    pub fn revive(&self) {
        let mut disk = self.disk();
        (disk.dies_in, disk.is_dead) = (None, false);
    }
}

impl Disk {
    fn file(&mut self, name: &str) -> io::Result<&mut Content> {
        self.files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What of so many more bytes fits.
    fn fits(&self, more: usize) -> usize {
        let used: usize = self.files.values().map(|file| file.now.len()).sum();
        self.room.map_or(more, |room| room.saturating_sub(used).min(more))
    }

    /// A change is to be made. An error when nobody is there to make it, or nobody from now on.
    fn change(&mut self) -> io::Result<()> {
        self.is_dead |= self.dies_in == Some(0);
        self.dies_in = self.dies_in.map(|changes| changes.saturating_sub(1));
        if self.is_dead { Err(io::Error::other("it is dead")) } else { Ok(()) }
    }
}

impl Files for SimFiles {
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(self.disk().files.keys().cloned().collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        if disk.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if disk.room.is_some() && disk.fits(1) == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.files.insert(name.to_owned(), Content::default());
        Ok(())
    }

    fn read(&mut self, name: &str, at: u64, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.extend(self.disk().file(name)?.now.iter().skip(at as usize).take(len));
        Ok(())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut disk, at) = (self.disk(), at as usize);
        let was_dead = disk.is_dead;
        let alive = disk.change();
        if was_dead {
            return alive;
        }
        let more = (at + bytes.len()).saturating_sub(disk.file(name)?.now.len());
        let fits = bytes.len() - (more - disk.fits(more));
        let written = if alive.is_ok() { fits } else { fits / 2 };
        let file = disk.file(name)?;
        assert!(at <= file.now.len(), "the log leaves no hole");
        let end = file.now.len().max(at + written);
        file.now.resize(end, 0);
        file.now[at..at + written].copy_from_slice(&bytes[..written]);
        file.dirty_from = file.dirty_from.min(at);
        alive?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.syncs += 1;
        disk.change()?;
        let is_bad = std::mem::take(&mut disk.bad_sync);
        let file = disk.file(name)?;
        if is_bad {
            file.dirty_from = file.now.len();
            return Err(io::Error::other("input/output error"));
        }
        file.written();
        Ok(())
    }

    fn cut(&mut self, name: &str, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        let file = disk.file(name)?;
        file.now.truncate(len as usize);
        file.safe.truncate(len as usize);
        file.written();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        disk.files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn replace(&mut self, file: &str, other: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        let content = disk.files.remove(file).ok_or(io::ErrorKind::NotFound)?;
        assert_eq!(content.now, content.safe, "what takes a place is safe");
        disk.files.insert(other.to_owned(), content);
        Ok(())
    }
}
