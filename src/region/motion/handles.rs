//! Dense numbers for the entities that a gateway knows, and what it last showed of each.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::fold::{Held, Surroundings, Version};
use crate::codec::message::{AppState, Id};
use crate::codec::row::{Chain, Told};
use crate::codec::state::{age_from_byte, age_to_byte};
use crate::limits::{AGE_SLACK_MS, FACING_SLACK, MILLI_US, STRIDES};
use crate::region::frame::{Entity, Spot};
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

impl Shown {
    /// From now on this is shown of it, which it is at a tick. Returns whether nothing was shown of it before.
    pub fn show(&mut self, held: &Held, number: u64, tick_us: u64) -> bool {
        let fresh = self.tick == 0;
        let turned = held.yaw.wrapping_sub(self.yaw) as i8;
        if fresh || turned.unsigned_abs() > FACING_SLACK {
            (self.yaw, self.moved) = (held.yaw, number);
        }
        if fresh || self.pos != held.pos {
            (self.pos, self.moved) = (held.pos, number);
        }
        let age_ms = u32::try_from(tick_us.saturating_sub(held.time_us) / MILLI_US).unwrap_or(u32::MAX);
        if fresh || age_ms.abs_diff(age_from_byte(self.age)) > AGE_SLACK_MS {
            self.age = age_to_byte(age_ms);
        }
        if fresh || self.state != held.state {
            (self.state, self.changed) = (held.state, number);
        }
        let profile = held.profile.0 > self.profile.0;
        if fresh || (profile && self.profile.1 != held.profile.1) {
            self.renamed = number;
        }
        if profile {
            self.profile = held.profile.clone();
        }
        if held.teleported != self.teleported.1 {
            self.teleported = (number, held.teleported);
        }
        self.tick = number;
        fresh
    }

    /// The sample that is shown.
    #[must_use]
    pub fn told(&self) -> Told {
        Told { pos: self.pos, yaw: self.yaw, age: self.age }
    }

    /// What of it every viewer in reach looks at.
    #[must_use]
    pub fn spot(&self, handle: u32, held: &Held, tick_us: u64) -> Spot {
        let altered = self.changed.max(self.renamed);
        Spot {
            id: self.id,
            touched: self.moved.max(altered),
            altered,
            pos: self.pos,
            handle,
            epoch: self.epoch,
            age_us: u32::try_from(tick_us.saturating_sub(held.time_us)).unwrap_or(u32::MAX),
        }
    }

    /// The rest, and where its bits are in [`crate::region::Tick::strided`].
    #[must_use]
    pub fn entity(&self, strided_at: u32, strides: u8) -> Entity {
        Entity {
            yaw: self.yaw,
            age: self.age,
            strided_at,
            strides,
            teleported: self.teleported.0,
            moved: self.moved,
            changed: self.changed,
            renamed: self.renamed,
            state: self.state,
            profile: self.profile.1.clone(),
        }
    }
}

impl Handles {
    /// How many are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The dense number of an entity.
    #[must_use]
    pub fn get(&self, entity: Id) -> Option<u32> {
        self.by_id.get(&entity).map(|(handle, _)| *handle)
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
