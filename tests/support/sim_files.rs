//! A folder that breaks as disks do: power goes and takes what was not synced, space runs out, a sync fails.

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
}

/// What is in a file, and what of it is safe.
#[derive(Clone, Default)]
pub struct Content {
    /// What is read.
    pub now: Vec<u8>,
    /// What is there for sure after a crash.
    pub safe: Vec<u8>,
}

impl SimFiles {
    /// The disk itself.
    pub fn disk(&self) -> RefMut<'_, Disk> {
        self.0.borrow_mut()
    }

    /// The power goes: of what was not synced each sector is there, or is zeros, and the file may be shorter.
    pub fn crash(&self, rng: &mut Rng) {
        for Content { now, safe } in self.disk().files.values_mut() {
            // What was written over is not simulated: the log only appends.
            let mut left = safe.clone();
            let longer = now.len().saturating_sub(safe.len());
            let kept = safe.len() + rng.below(longer as u64 + 1) as usize;
            for at in safe.len()..kept {
                if at == safe.len() || at % SECTOR == 0 {
                    let end = kept.min((at / SECTOR + 1) * SECTOR);
                    if rng.one_in(2) { left.extend(&now[at..end]) } else { left.resize(end, 0) }
                }
            }
            *now = left.clone();
            *safe = left;
        }
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
}

impl Files for SimFiles {
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(self.disk().files.keys().cloned().collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.files.insert(name.to_owned(), Content::default());
        Ok(())
    }

    fn read(&mut self, name: &str, at: u64, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.extend(self.disk().file(name)?.now.iter().skip(at as usize).take(len));
        Ok(())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let fits = disk.fits(bytes.len());
        let file = disk.file(name)?;
        assert_eq!(at as usize, file.now.len(), "the log only appends");
        file.now.extend(&bytes[..fits]);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.syncs += 1;
        if std::mem::take(&mut disk.bad_sync) {
            return Err(io::Error::other("input/output error"));
        }
        let file = disk.file(name)?;
        file.safe.clone_from(&file.now);
        Ok(())
    }

    fn cut(&mut self, name: &str, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.file(name)?;
        file.now.truncate(len as usize);
        file.safe.clone_from(&file.now);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.disk().files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
