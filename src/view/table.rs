//! The client's table, as it was last handed to the socket: which slot holds whom, and what it was last told of them.

use crate::codec::message::{AppState, Id};
use crate::codec::row::{Shared, Told, Trail};
use crate::codec::state::Slot;
use crate::limits::VIEW_ENTITIES_MAX;
use crate::region::frame::{Entity, Spot};

/// What a slot was told of where its entity is. Every state looks at those of all who move: two fit a cache line.
#[derive(Clone, Copy, Debug, Default)]
struct Hot {
    /// When, ticks since the table's first.
    told: u32,
    trail: Trail,
}

/// What else a slot holds.
#[derive(Clone, Debug, Default)]
struct Held {
    /// Who; 0 when the slot is free.
    id: Id,
    handle: u32,
    state: AppState,
    generation: u8,
}

/// Marks what no slot holds.
pub const NO_SLOT: u16 = u16::MAX;

/// The slot of a handle, and the handle's epoch when it entered. Every tick looks at those of everybody in reach.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: u16,
    epoch: u16,
}

const NOWHERE: Place = Place { slot: NO_SLOT, epoch: 0 };

/// Handles of a page. Those who are held are few among all that a gateway knows, and scattered: small pages keep a
/// table small. In a crowd neighbours in a region are neighbours in a page.
const PAGE: usize = 16;
const NO_PAGE: u16 = u16::MAX;

/// A map from handles to places, as pages.
#[derive(Debug, Default)]
struct Pages {
    /// By handle / 16: the page.
    numbers: Vec<u16>,
    pages: Vec<[Place; PAGE]>,
    free: Vec<u16>,
}

impl Pages {
    fn get(&self, handle: u32) -> Place {
        match self.numbers.get(handle as usize / PAGE) {
            Some(&number) if number != NO_PAGE => self.pages[usize::from(number)][handle as usize % PAGE],
            Some(_) | None => NOWHERE,
        }
    }

    fn set(&mut self, handle: u32, place: Place) {
        let at = handle as usize / PAGE;
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, NO_PAGE);
        }
        if self.numbers[at] == NO_PAGE {
            // At most one page for each slot.
            self.numbers[at] = self.free.pop().unwrap_or_else(|| {
                self.pages.push([NOWHERE; PAGE]);
                (self.pages.len() - 1) as u16
            });
        }
        self.pages[usize::from(self.numbers[at])][handle as usize % PAGE] = place;
    }

    fn remove(&mut self, handle: u32) {
        self.set(handle, NOWHERE);
        let number = &mut self.numbers[handle as usize / PAGE];
        if self.pages[usize::from(*number)].iter().all(|place| place.slot == NO_SLOT) {
            self.free.push(std::mem::replace(number, NO_PAGE));
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Table {
    /// By slot.
    hot: Vec<Hot>,
    /// By slot.
    slots: Vec<Held>,
    /// The tick that `told` counts from.
    first: u64,
    free: Vec<u16>,
    places: Pages,
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

    /// The slot that holds an entity, or [`NO_SLOT`].
    #[must_use]
    pub fn find(&self, handle: u32, epoch: u16) -> u16 {
        let place = self.places.get(handle);
        if place.epoch == epoch { place.slot } else { NO_SLOT }
    }

    /// The tick at which a slot was last told.
    #[must_use]
    pub fn told(&self, slot: u16) -> u64 {
        self.first + u64::from(self.hot[usize::from(slot)].told)
    }

    /// Ids of who is held, in order of slots.
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        self.slots.iter().map(|held| held.id).filter(|id| *id != 0)
    }

    /// Frees all slots. Generations go on, so that a late word about an old slot is not taken for a new one.
    pub fn clear(&mut self) {
        self.places = Pages::default();
        for held in &mut self.slots {
            *held = Held { generation: held.generation.wrapping_add(1), ..Held::default() };
        }
        self.free = (0..self.slots.len() as u16).rev().collect();
    }

    /// Puts an entity into a free slot. `None` when there is none.
    pub fn enter(&mut self, spot: Spot, entity: &Entity, tick: u64) -> Option<Slot> {
        if self.is_empty() {
            self.first = tick;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < VIEW_ENTITIES_MAX => {
                self.slots.push(Held::default());
                self.hot.push(Hot::default());
                (self.slots.len() - 1) as u16
            }
            None => return None,
        };
        let held = &mut self.slots[usize::from(index)];
        let generation = held.generation;
        let Spot { id, handle, epoch, .. } = spot;
        *held = Held { id, handle, state: entity.state, generation };
        let hot = &mut self.hot[usize::from(index)];
        *hot = Hot { told: ticks(self.first, tick), trail: Trail::new(spot.told(entity)) };
        self.places.set(handle, Place { slot: index, epoch });
        Some(Slot { index, generation })
    }

    /// What a slot was told last, and before.
    #[must_use]
    pub fn trail(&self, slot: u16) -> &Trail {
        &self.hot[usize::from(slot)].trail
    }

    /// The full name of a slot.
    #[must_use]
    pub fn name(&self, slot: u16) -> Slot {
        Slot { index: slot, generation: self.slots[usize::from(slot)].generation }
    }

    /// Notes that a slot is told a position.
    pub fn go(&mut self, slot: u16, told: Told, jumped: bool, surprise: u8) {
        self.hot[usize::from(slot)].trail.go(told, jumped, surprise);
    }

    /// Notes that a slot is told what leads to this.
    pub fn go_to(&mut self, slot: u16, next: &Trail) {
        self.hot[usize::from(slot)].trail = *next;
    }

    /// All slots with what they were told, and the tick that they are told now: to be told shared bits one by one.
    pub fn followers(&mut self, tick: u64) -> Followers<'_> {
        Followers { now: ticks(self.first, tick), first: self.first, hot: &mut self.hot }
    }

    /// Notes that a slot is told all there is to tell.
    pub fn tell(&mut self, slot: u16, tick: u64) {
        self.hot[usize::from(slot)].told = ticks(self.first, tick);
    }

    /// Notes that a slot is told another application state.
    pub fn change(&mut self, slot: u16, state: AppState) {
        self.slots[usize::from(slot)].state = state;
    }

    /// Slots, those that are free included.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Frees slots that are not to stay, `most` at most.
    pub fn leave_others(&mut self, stays: impl Fn(usize) -> bool, most: usize, leaves: &mut Vec<Slot>) {
        for (index, held) in self.slots.iter_mut().enumerate() {
            if held.id == 0 || stays(index) {
                continue;
            }
            if leaves.len() >= most {
                break;
            }
            let Held { id, handle, generation, .. } = *held;
            if !crate::planted!(DroppedLeave) || !id.is_multiple_of(5) {
                leaves.push(Slot { index: index as u16, generation });
            }
            let next = if crate::planted!(SlotReused) { generation } else { generation.wrapping_add(1) };
            *held = Held { generation: next, ..Held::default() };
            self.free.push(index as u16);
            // The handle may be another's by now, who has a slot of its own.
            if self.places.get(handle).slot == index as u16 {
                self.places.remove(handle);
            }
        }
    }

    /// Sum of the hashes of all slots held, wrapping.
    #[must_use]
    pub fn digest(&self) -> u32 {
        let slots = self.slots.iter().enumerate().filter(|(_, held)| held.id != 0);
        slots.fold(0, |sum, (index, held)| {
            let slot = Slot { index: index as u16, generation: held.generation };
            let Told { pos, yaw, .. } = self.hot[index].trail.last;
            sum.wrapping_add(crate::codec::state::row_hash(slot, held.id, pos, yaw, &held.state))
        })
    }
}

/// See [`Table::followers`].
pub struct Followers<'a> {
    hot: &'a mut [Hot],
    first: u64,
    now: u32,
}

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It was told all there is.
    Already,
    /// It is told now.
    Now,
    /// It must be told something else.
    Not,
}

impl Followers<'_> {
    /// Notes that a slot is told these bits and no more, if that is all there is to tell, and they are for what it holds.
    #[inline]
    pub fn follow(&mut self, slot: usize, spot: &Spot, shared: Option<&Shared>) -> Followed {
        let hot = &mut self.hot[slot];
        let told = self.first + u64::from(hot.told);
        if spot.touched <= told {
            return Followed::Already;
        }
        match shared {
            Some(shared) if spot.altered <= told && shared.is_for(&hot.trail) => {
                *hot = Hot { told: self.now, trail: shared.next };
                Followed::Now
            }
            Some(_) | None => Followed::Not,
        }
    }
}

/// Ticks since the first; a session that lasts for more than six years is told everything anew.
fn ticks(first: u64, tick: u64) -> u32 {
    u32::try_from(tick - first).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_table_finds_who_entered_and_has_not_left(steps in prop::collection::vec((0..200_u32, any::<bool>()), 1..400)) {
            let entity = Entity { profile: "".into(), ..Entity::default() };
            let (mut table, mut held) = (Table::default(), std::collections::BTreeMap::new());
            for (tick, (handle, stays)) in steps.into_iter().enumerate() {
                let spot = Spot { id: u64::from(handle) + 1, handle, epoch: 7, ..Spot::default() };
                if stays {
                    held.entry(handle).or_insert_with(|| table.enter(spot, &entity, tick as u64).expect("room").index);
                } else if held.remove(&handle).is_some() {
                    let mut leaves = Vec::new();
                    table.leave_others(|slot| held.values().any(|held| usize::from(*held) == slot), 1, &mut leaves);
                    prop_assert_eq!(leaves.len(), 1);
                }
                for handle in 0..200 {
                    prop_assert_eq!(table.find(handle, 7), held.get(&handle).copied().unwrap_or(NO_SLOT));
                    prop_assert_eq!(table.find(handle, 8), NO_SLOT);
                }
                prop_assert_eq!(table.len(), held.len());
                prop_assert!(table.places.pages.len() - table.places.free.len() <= held.len());
            }
        }
    }
}
