//! Dense numbers for the entities that a gateway knows, and what it last showed of each.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::fold::{Surroundings, Version};
use crate::codec::message::{AppState, Id};
use crate::codec::row::Chain;
use crate::limits::STRIDES;
use crate::space::Pos;

/// Dense numbers of entities, shared by the partitions that hold them, and what was last shown of each.
#[derive(Default)]
pub struct Handles {
    by_id: FxHashMap<Id, (u32, u32)>,
    free: Vec<u32>,
    /// By handle.
    pub shown: Vec<Shown>,
}

/// What was last shown of an entity.
#[derive(Clone, Default)]
pub struct Shown {
    /// Who.
    pub id: Id,
    /// Counts the uses of the handle, wrapping.
    pub epoch: u16,
    /// When it was last shown; 0: never.
    pub tick: u64,
    /// Position.
    pub pos: Pos,
    /// Facing.
    pub yaw: u8,
    /// Age, as rows tell it.
    pub age: u8,
    /// Application state.
    pub state: AppState,
    /// The newest, and the version that brought it: a partition just entered may know an older one, or none.
    pub profile: (Version, Arc<str>),
    /// Last tick at which position or facing changed.
    pub moved: u64,
    /// Last tick at which application state changed.
    pub changed: u64,
    /// Last tick at which the profile changed.
    pub renamed: u64,
    /// Last tick at which it jumped, and the version that did.
    pub teleported: (u64, Option<Version>),
    /// By stride, 1, 2, 4 …: what viewers who were told at all its anchors hold.
    pub chains: [Chain; STRIDES],
    /// The version with which it left the world, or expired, in one partition; another may hold it still.
    pub over: Option<Version>,
}

impl Handles {
    /// How many are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl Surroundings for Handles {
    fn hold(&mut self, entity: Id) -> u32 {
        let Handles { by_id, free, shown } = self;
        let (handle, holders) = by_id.entry(entity).or_insert_with(|| {
            let handle = free.pop().unwrap_or_else(|| {
                shown.push(Shown::default());
                (shown.len() - 1) as u32
            });
            let epoch = shown[handle as usize].epoch.wrapping_add(1);
            shown[handle as usize] = Shown { id: entity, epoch, ..Shown::default() };
            (handle, 0)
        });
        *holders += 1;
        *handle
    }

    fn release(&mut self, entity: Id) {
        if let Some((handle, holders)) = self.by_id.get_mut(&entity) {
            *holders -= 1;
            if *holders == 0 {
                self.free.push(*handle);
                self.by_id.remove(&entity);
            }
        }
    }

    fn over(&mut self, entity: Id, version: Version) {
        if let Some((handle, _)) = self.by_id.get(&entity) {
            let over = &mut self.shown[*handle as usize].over;
            *over = (*over).max(Some(version));
        }
    }
}
