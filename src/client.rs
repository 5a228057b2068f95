//! The receiving half, in Rust: a client's table as the gateway's states make it, and the objects that it is told of. Used by the load test's bots, by the
//! simulation and by tests; `clients/typescript` does the same for pages. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::message::{AppState, Id, ObjectRow, Objects, PlaceRow};
use crate::codec::state::{Change, Delta, Enter, ROW_TELEPORT, Row, Slot, row_hash};
use crate::limits::{DIGEST_EVERY, TICK_US};
use crate::space::Pos;

/// An entity as a client holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Avatar {
    /// Its number.
    pub entity: Id,
    /// Newest position.
    pub pos: Pos,
    /// Newest facing.
    pub yaw: u8,
    /// When it was there, µs on the gateway's clock.
    pub time_us: u64,
    /// The position before, to draw from; the same after an enter or a jump.
    pub before: (Pos, u64),
    /// Its profile.
    pub profile: Arc<str>,
    /// Its application state.
    pub state: AppState,
}

/// A state that contradicts what came before it. The client should close and come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A row, change or leave about a slot that holds nobody, or another generation.
    #[error("slot {0:?} holds nobody")]
    Empty(Slot),
    /// An enter into a slot that is taken.
    #[error("slot {0:?} is taken")]
    Taken(Slot),
    /// An enter with the generation that the slot had last.
    #[error("slot {0:?} is used again without a new generation")]
    Reused(Slot),
    /// An enter of an entity that is held already.
    #[error("entity {0} is held twice")]
    Twice(Id),
    /// An object at a version that is not newer than the one held.
    #[error("object {0} is told at an old version")]
    Old(Id),
    /// An object is gone that was not there.
    #[error("object {0} is gone and was not there")]
    Absent(Id),
}

/// One slot of the table.
#[derive(Clone, Debug, Default)]
struct Place {
    /// The generation it has, or had last.
    generation: Option<u8>,
    avatar: Option<Avatar>,
}

/// What one client holds.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    /// By slot.
    table: Vec<Place>,
    /// What a full view is about to replace.
    old: Option<BTreeMap<Id, Avatar>>,
    by_entity: BTreeMap<Id, u16>,
    number: u64,
    tick: u64,
}

impl Mirror {
    /// Applies a state. Returns a digest to report, when one is due.
    pub fn apply(&mut self, delta: &Delta) -> Result<Option<(u64, u32)>, Contradiction> {
        self.number += 1;
        self.tick = delta.tick;
        if delta.full_begin {
            // A second beginning: what the first had brought is shown like the old.
            let old = self.old.get_or_insert_default();
            let begun = self.table.iter_mut().filter_map(|place| place.avatar.take());
            old.extend(begun.map(|avatar| (avatar.entity, avatar)));
            self.by_entity.clear();
        }
        delta.leaves.iter().try_for_each(|slot| self.leave(*slot))?;
        delta.enters.iter().try_for_each(|enter| self.enter(enter, delta.tick))?;
        delta.changes.iter().try_for_each(|change| self.change(change))?;
        delta.updates.iter().try_for_each(|row| self.update(row, delta.tick))?;
        if delta.full_end {
            self.old = None;
        }
        Ok(self.number.is_multiple_of(DIGEST_EVERY).then(|| (self.number, self.digest())))
    }

    fn leave(&mut self, slot: Slot) -> Result<(), Contradiction> {
        let entity = self.get(slot)?.entity;
        self.by_entity.remove(&entity);
        self.table[usize::from(slot.index)].avatar = None;
        Ok(())
    }

    fn enter(&mut self, enter: &Enter, tick: u64) -> Result<(), Contradiction> {
        let Enter { row, entity, profile, state } = enter;
        let slot = row.slot;
        let index = usize::from(slot.index);
        if self.table.len() <= index {
            self.table.resize_with(index + 1, Place::default);
        }
        let place = &mut self.table[index];
        if place.avatar.is_some() {
            return Err(Contradiction::Taken(slot));
        }
        if place.generation.replace(slot.generation) == Some(slot.generation) {
            return Err(Contradiction::Reused(slot));
        }
        if self.by_entity.insert(*entity, slot.index).is_some() {
            return Err(Contradiction::Twice(*entity));
        }
        let time_us = sample_time_us(row, tick);
        place.avatar = Some(Avatar {
            entity: *entity,
            pos: row.pos,
            yaw: row.yaw,
            time_us,
            before: (row.pos, time_us),
            profile: profile.clone(),
            state: *state,
        });
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), Contradiction> {
        let avatar = self.get(change.slot)?;
        if let Some(profile) = &change.profile {
            avatar.profile = profile.clone();
        }
        if let Some(state) = change.state {
            avatar.state = state;
        }
        Ok(())
    }

    fn update(&mut self, row: &Row, tick: u64) -> Result<(), Contradiction> {
        let avatar = self.get(row.slot)?;
        let time_us = sample_time_us(row, tick);
        let jumped = row.flags & ROW_TELEPORT != 0;
        avatar.before = if jumped { (row.pos, time_us) } else { (avatar.pos, avatar.time_us) };
        (avatar.pos, avatar.yaw, avatar.time_us) = (row.pos, row.yaw, time_us);
        Ok(())
    }

    fn get(&mut self, slot: Slot) -> Result<&mut Avatar, Contradiction> {
        let place = self.table.get_mut(usize::from(slot.index)).filter(|p| p.generation == Some(slot.generation));
        place.and_then(|place| place.avatar.as_mut()).ok_or(Contradiction::Empty(slot))
    }

    /// Who is shown: the new table, and of the old one those who are not in the new yet.
    pub fn shown(&self) -> impl Iterator<Item = &Avatar> {
        let old = self.old.iter().flat_map(BTreeMap::values);
        let not_new = old.filter(|avatar| !self.by_entity.contains_key(&avatar.entity));
        self.table.iter().filter_map(|place| place.avatar.as_ref()).chain(not_new)
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, entity: Id) -> Option<&Avatar> {
        match self.by_entity.get(&entity) {
            Some(slot) => self.table[usize::from(*slot)].avatar.as_ref(),
            None => self.old.as_ref()?.get(&entity),
        }
    }

    /// The entity of a slot in the new table.
    #[must_use]
    pub fn at(&self, slot: Slot) -> Option<&Avatar> {
        let place = self.table.get(usize::from(slot.index)).filter(|p| p.generation == Some(slot.generation))?;
        place.avatar.as_ref()
    }

    /// Number of the last state.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Tick of the last state.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// Whether a full view is under way.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.old.is_some()
    }

    /// Entities in the new table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_entity.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_entity.is_empty()
    }

    /// Hash of the new table.
    #[must_use]
    pub fn digest(&self) -> u32 {
        self.table.iter().enumerate().fold(0, |sum, (index, place)| match (&place.avatar, place.generation) {
            (Some(avatar), Some(generation)) => {
                let slot = Slot { index: index as u16, generation };
                sum.wrapping_add(row_hash(slot, avatar.entity, avatar.pos, avatar.yaw, &avatar.state))
            }
            (None, _) | (_, None) => sum,
        })
    }
}

/// What one client holds of objects, and knows of places.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    /// Objects by number.
    pub objects: BTreeMap<Id, ObjectRow>,
    /// Places by name.
    pub places: BTreeMap<String, PlaceRow>,
}

impl Stock {
    /// Applies a message.
    ///
    /// # Errors
    /// When it contradicts what came before it.
    pub fn apply(&mut self, message: &Objects) -> Result<(), Contradiction> {
        if message.begin {
            *self = Stock::default();
        }
        for id in &message.gone {
            self.objects.remove(id).ok_or(Contradiction::Absent(*id))?;
        }
        for row in &message.put {
            if let Some(before) = self.objects.insert(row.object, row.clone())
                && before.version >= row.version
            {
                return Err(Contradiction::Old(row.object));
            }
        }
        self.places.extend(message.places.iter().map(|row| (row.place.clone(), row.clone())));
        Ok(())
    }
}

/// When a row's sample was taken, µs on the gateway's clock.
#[must_use]
pub fn sample_time_us(row: &Row, tick: u64) -> u64 {
    (tick * TICK_US).saturating_sub(u64::from(row.age_ms) * 1_000)
}

impl Avatar {
    /// Where to draw it at a moment, metres: on the line between the last two samples, and beyond it for at most
    /// `ahead_us`. A gap of more than 250 ms was a stand, so the line begins 100 ms before its end.
    #[must_use]
    pub fn at(&self, time_us: u64, ahead_us: u64) -> [f64; 3] {
        const GAP_US: u64 = 250_000;
        const STEP_US: u64 = 100_000;
        let (from, before_us) = self.before;
        // Sample times may step back when gateways learn each other's clocks.
        let mut from_us = before_us.min(self.time_us);
        if self.time_us - from_us > GAP_US {
            from_us = self.time_us - STEP_US;
        }
        let span = (self.time_us - from_us) as f64;
        let at = time_us.clamp(from_us, self.time_us + ahead_us) as f64 - from_us as f64;
        let share = if span > 0.0 { at / span } else { 1.0 };
        let (a, b) = (from.metres(), self.pos.metres());
        std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_older_than_the_one_before_is_drawn_where_it_is() {
        let at = |x, time_us| (Pos { x, y: 0, z: 0 }, time_us);
        let (pos, time_us) = at(200, 1_000_000);
        let state = crate::codec::message::AppState::default();
        let avatar = Avatar { entity: 1, profile: "".into(), state, pos, yaw: 0, time_us, before: at(100, 1_040_000) };
        for moment_us in [900_000, 1_000_000, 1_020_000, 1_040_000, 2_000_000] {
            assert_eq!(avatar.at(moment_us, 100_000), [2.0, 0.0, 0.0]);
        }
    }
}
