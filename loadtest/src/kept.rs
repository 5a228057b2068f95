//! What a gateway keeps in its data folder, read beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nearcast::codec::command::{Command, Deed};
use nearcast::codec::message::Id;
use nearcast::codec::record::{self, Record};
use nearcast::log::Topic;
use nearcast::log::disk::batch::Lane;
use nearcast::log::disk::files::Folder;
use nearcast::log::disk::store::{Sizes, Store};

/// Records that are read at once, and their bytes.
const SLICE: usize = 1_024;
const SLICE_BYTES: usize = 1024 * 1024;

/// A data folder.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    is_temporary: bool,
}

impl Kept {
    /// One that stays.
    #[must_use]
    pub fn at(folder: &Path) -> Kept {
        Kept { folder: folder.to_owned(), is_temporary: false }
    }

    /// One that goes with this value.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary(name: &str) -> Result<Kept> {
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Kept { folder, is_temporary: true })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// By partition of a world's `events`: the offset of the next record. Empty, if the folder is new.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn ends(&self, world: &str) -> Result<BTreeMap<u16, u64>> {
        let is_new = fs::read_dir(&self.folder).map_or(true, |mut files| files.next().is_none());
        if is_new {
            return Ok(BTreeMap::new());
        }
        let store = self.store()?;
        let end = |lane: Lane| (lane.source.partition, store.bounds(lane).end);
        Ok(events(&store, world).into_iter().map(end).collect())
    }

    /// How many commands of gateways themselves about these objects stand in a world's `events`, from these offsets on: what
    /// they carry over a border, or put down.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn by_gateways(&self, world: &str, from: &BTreeMap<u16, u64>, objects: &BTreeSet<Id>) -> Result<u64> {
        let mut store = self.store()?;
        let mut found = 0;
        for lane in events(&store, world) {
            let from = from.get(&lane.source.partition).copied().unwrap_or(0);
            let mut next = from.max(store.bounds(lane).start);
            loop {
                let records = store.read(lane, next, SLICE, SLICE_BYTES)?;
                let Some((last, ..)) = records.last() else { break };
                next = last + 1;
                for (_, _, bytes) in &records {
                    let Ok((_, Record::Command(command))) = record::decode(bytes) else { continue };
                    let is_meant = about(&command).is_some_and(|object| objects.contains(&object));
                    found += u64::from(command.session == 0 && is_meant);
                }
            }
        }
        Ok(found)
    }

    fn store(&self) -> Result<Store<Folder>> {
        let opened = Store::look(Folder::look(&self.folder), Sizes::default());
        Ok(opened.with_context(|| self.folder.display().to_string())?.0)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.is_temporary {
            let _gone = fs::remove_dir_all(&self.folder);
        }
    }
}

fn events(store: &Store<Folder>, world: &str) -> Vec<Lane> {
    let number = store.worlds().iter().position(|known| known.name == *world).map(|at| at as u16 + 1);
    let is_its = |lane: &Lane| lane.source.topic == Topic::Events && Some(lane.world) == number;
    store.lanes().into_iter().filter(is_its).collect()
}

/// The object that a command is aimed at.
fn about(command: &Command) -> Option<Id> {
    match &command.deed {
        Deed::Change { of, .. } | Deed::Grab(of) | Deed::Release(of, _) | Deed::Remove(of) => Some(of.id),
        Deed::Act { .. } | Deed::Tell { .. } | Deed::Create { .. } | Deed::Environment { .. } => None,
    }
}
