//! The client's table, as it was last handed to the socket: which slot holds whom, and what it was last told of them.

use rustc_hash::FxHashMap;

use super::interest::Candidate;
use crate::codec::message::{AppState, Id};
use crate::codec::state::Slot;
use crate::limits::VIEW_ENTITIES_MAX;
use crate::region::frame::{Entity, Spot};
use crate::space::Pos;

/// One slot.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Who; 0 when the slot is free.
    pub id: Id,
    /// Its dense number when it entered.
    pub handle: u32,
    /// The tick it was last told at.
    pub told: u64,
    /// The position told.
    pub pos: Pos,
    /// The facing told.
    pub yaw: u8,
    /// The application state told.
    pub state: AppState,
    generation: u8,
    wanted: u64,
}

/// The table.
#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Held>,
    free: Vec<u16>,
    by_handle: FxHashMap<u32, u16>,
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
    pub fn find(&self, handle: u32, id: Id) -> Option<u16> {
        self.by_handle.get(&handle).copied().filter(|slot| self.slots[usize::from(*slot)].id == id)
    }

    /// What a slot holds.
    #[must_use]
    pub fn get(&self, slot: u16) -> &Held {
        &self.slots[usize::from(slot)]
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
    pub fn enter(&mut self, id: Id, spot: Spot, entity: &Entity, tick: u64) -> Option<Slot> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < VIEW_ENTITIES_MAX => {
                self.slots.push(Held::default());
                (self.slots.len() - 1) as u16
            }
            None => return None,
        };
        let held = &mut self.slots[usize::from(index)];
        let generation = held.generation;
        *held = Held {
            id,
            handle: spot.handle,
            told: tick,
            pos: spot.pos,
            yaw: entity.yaw,
            state: entity.state,
            generation,
            wanted: tick,
        };
        self.by_handle.insert(spot.handle, index);
        Some(Slot { index, generation })
    }

    /// Notes what is told of a slot's entity. Returns its full name, and when it was told before.
    pub fn tell(&mut self, slot: u16, spot: Spot, entity: &Entity, tick: u64) -> (Slot, u64) {
        let held = &mut self.slots[usize::from(slot)];
        let before = std::mem::replace(&mut held.told, tick);
        (held.pos, held.yaw, held.state) = (spot.pos, entity.yaw, entity.state);
        (Slot { index: slot, generation: held.generation }, before)
    }

    /// Frees the slots of all who are not in `kept`.
    pub fn leave_others(&mut self, kept: &[Candidate], tick: u64, leaves: &mut Vec<Slot>) {
        for slot in kept.iter().filter_map(|candidate| candidate.slot) {
            self.slots[usize::from(slot)].wanted = tick;
        }
        for index in 0..self.slots.len() {
            let held = &mut self.slots[index];
            if held.id == 0 || held.wanted == tick {
                continue;
            }
            let handle = held.handle;
            let generation = held.generation;
            if !crate::planted!(DroppedLeave) || !held.id.is_multiple_of(5) {
                leaves.push(Slot { index: index as u16, generation });
            }
            let next = if crate::planted!(SlotReused) { generation } else { generation.wrapping_add(1) };
            *held = Held { generation: next, ..Held::default() };
            self.free.push(index as u16);
            if self.by_handle.get(&handle) == Some(&(index as u16)) {
                self.by_handle.remove(&handle);
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
