//! The client's table, as it was last handed to the socket: which slot holds whom, and what it was last told of them.

use super::interest::Candidate;
use crate::codec::message::{AppState, Id};
use crate::codec::state::Slot;
use crate::limits::VIEW_ENTITIES_MAX;
use crate::region::frame::{Entity, Spot};
use crate::space::Pos;

/// What the client was last told of one slot.
#[derive(Clone, Debug, Default)]
struct Held {
    /// Who; 0 when the slot is free.
    id: Id,
    handle: u32,
    pos: Pos,
    yaw: u8,
    state: AppState,
    generation: u8,
}

/// Marks a handle that no slot holds.
const NO_SLOT: u16 = u16::MAX;

/// The table. What every tick looks at lies apart, close together in memory: a crowd's tables do not fit a cache.
#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Held>,
    /// By slot: the tick it was last told at.
    told: Vec<u64>,
    /// By slot: the tick at which it was last wanted.
    wanted: Vec<u64>,
    free: Vec<u16>,
    /// By handle: the slot that holds it, and the handle's epoch when it entered.
    by_handle: Vec<(u16, u16)>,
}

impl Table {
    /// Entities held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether nobody is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slot that holds an entity.
    #[must_use]
    pub fn find(&self, handle: u32, epoch: u16) -> Option<u16> {
        let (slot, entered) = *self.by_handle.get(handle as usize)?;
        (slot != NO_SLOT && entered == epoch).then_some(slot)
    }

    /// The tick at which a slot was last told.
    #[must_use]
    pub fn told(&self, slot: u16) -> u64 {
        self.told[usize::from(slot)]
    }

    /// Ids of who is held, in order of slots.
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        self.slots.iter().map(|held| held.id).filter(|id| *id != 0)
    }

    /// Frees all slots. Generations go on, so that a late word about an old slot is not taken for a new one.
    pub fn clear(&mut self) {
        self.by_handle.clear();
        for held in &mut self.slots {
            *held = Held { generation: held.generation.wrapping_add(1), ..Held::default() };
        }
        self.free = (0..self.slots.len() as u16).rev().collect();
    }

    /// Puts an entity into a free slot. `None` when there is none.
    pub fn enter(&mut self, spot: Spot, entity: &Entity, tick: u64) -> Option<Slot> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < VIEW_ENTITIES_MAX => {
                self.slots.push(Held::default());
                self.told.push(0);
                self.wanted.push(0);
                (self.slots.len() - 1) as u16
            }
            None => return None,
        };
        let at = usize::from(index);
        let generation = self.slots[at].generation;
        let Spot { id, handle, pos, epoch, .. } = spot;
        self.slots[at] = Held { id, handle, pos, yaw: entity.yaw, state: entity.state, generation };
        (self.told[at], self.wanted[at]) = (tick, tick);
        if self.by_handle.len() <= handle as usize {
            self.by_handle.resize(handle as usize + 1, (NO_SLOT, 0));
        }
        self.by_handle[handle as usize] = (index, epoch);
        Some(Slot { index, generation })
    }

    /// Notes what is told of a slot's entity. Returns its full name, when it was told before, and where it was then.
    pub fn tell(&mut self, slot: u16, spot: Spot, entity: &Entity, tick: u64) -> (Slot, u64, Pos) {
        let told = std::mem::replace(&mut self.told[usize::from(slot)], tick);
        let held = &mut self.slots[usize::from(slot)];
        let before = std::mem::replace(&mut held.pos, spot.pos);
        (held.yaw, held.state) = (entity.yaw, entity.state);
        (Slot { index: slot, generation: held.generation }, told, before)
    }

    /// Frees the slots of all who are not in `kept`.
    pub fn leave_others(&mut self, kept: &[Candidate], tick: u64, leaves: &mut Vec<Slot>) {
        if kept.iter().filter(|candidate| candidate.slot.is_some()).count() == self.len() {
            return;
        }
        for slot in kept.iter().filter_map(|candidate| candidate.slot) {
            self.wanted[usize::from(slot)] = tick;
        }
        for index in 0..self.slots.len() {
            let held = &mut self.slots[index];
            if held.id == 0 || self.wanted[index] == tick {
                continue;
            }
            let Held { id, handle, generation, .. } = *held;
            if !crate::planted!(DroppedLeave) || !id.is_multiple_of(5) {
                leaves.push(Slot { index: index as u16, generation });
            }
            let next = if crate::planted!(SlotReused) { generation } else { generation.wrapping_add(1) };
            *held = Held { generation: next, ..Held::default() };
            self.free.push(index as u16);
            if let Some(entry) = self.by_handle.get_mut(handle as usize)
                && entry.0 == index as u16
            {
                *entry = (NO_SLOT, 0);
            }
        }
    }

    /// Sum of the hashes of all slots held, wrapping.
    #[must_use]
    pub fn digest(&self) -> u32 {
        let slots = self.slots.iter().enumerate().filter(|(_, held)| held.id != 0);
        slots.fold(0, |sum, (index, held)| {
            let slot = Slot { index: index as u16, generation: held.generation };
            sum.wrapping_add(crate::codec::state::row_hash(slot, held.id, held.pos, held.yaw, &held.state))
        })
    }
}
