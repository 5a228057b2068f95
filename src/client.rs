//! The receiving half, in Rust: a client's table as the gateway's states make it. Used by the load test's bots, by the
//! simulation and by tests; the TypeScript page does the same. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::message::{AppState, Id};
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
}

type Table = BTreeMap<u16, (u8, Avatar)>;

/// What one client holds.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    table: Table,
    /// What a full view is about to replace.
    old: Option<Table>,
    last_generation: BTreeMap<u16, u8>,
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
            let begun = std::mem::take(&mut self.table);
            let old = self.old.get_or_insert_default();
            // A second beginning: what the first had brought is shown like the old.
            for (slot, avatar) in begun {
                old.retain(|_, (_, other)| other.entity != avatar.1.entity);
                let free =
                    if old.contains_key(&slot) { (0..).find(|s| !old.contains_key(s)).unwrap_or(slot) } else { slot };
                old.insert(free, avatar);
            }
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
        self.get(slot)?;
        if let Some((_, avatar)) = self.table.remove(&slot.index) {
            self.by_entity.remove(&avatar.entity);
        }
        Ok(())
    }

    fn enter(&mut self, enter: &Enter, tick: u64) -> Result<(), Contradiction> {
        let Enter { row, entity, profile, state } = enter;
        let slot = row.slot;
        if self.table.contains_key(&slot.index) {
            return Err(Contradiction::Taken(slot));
        }
        if self.last_generation.insert(slot.index, slot.generation) == Some(slot.generation) {
            return Err(Contradiction::Reused(slot));
        }
        if self.by_entity.insert(*entity, slot.index).is_some() {
            return Err(Contradiction::Twice(*entity));
        }
        let time_us = sample_time_us(row, tick);
        let avatar = Avatar {
            entity: *entity,
            pos: row.pos,
            yaw: row.yaw,
            time_us,
            before: (row.pos, time_us),
            profile: profile.clone(),
            state: *state,
        };
        self.table.insert(slot.index, (slot.generation, avatar));
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
        match self.table.get_mut(&slot.index) {
            Some((generation, avatar)) if *generation == slot.generation => Ok(avatar),
            Some(_) | None => Err(Contradiction::Empty(slot)),
        }
    }

    /// Who is shown: the new table, and of the old one those who are not in the new yet.
    pub fn shown(&self) -> impl Iterator<Item = &Avatar> {
        let old = self.old.iter().flat_map(|old| old.values().map(|(_, avatar)| avatar));
        let not_new = old.filter(|avatar| !self.by_entity.contains_key(&avatar.entity));
        self.table.values().map(|(_, avatar)| avatar).chain(not_new)
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, entity: Id) -> Option<&Avatar> {
        match self.by_entity.get(&entity) {
            Some(slot) => self.table.get(slot).map(|(_, avatar)| avatar),
            None => self.old.as_ref()?.values().map(|(_, avatar)| avatar).find(|avatar| avatar.entity == entity),
        }
    }

    /// The entity of a slot in the new table.
    #[must_use]
    pub fn at(&self, slot: Slot) -> Option<&Avatar> {
        self.table.get(&slot.index).filter(|(g, _)| *g == slot.generation).map(|(_, avatar)| avatar)
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
        self.table.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Hash of the new table.
    #[must_use]
    pub fn digest(&self) -> u32 {
        self.table.iter().fold(0, |sum, (index, (generation, avatar))| {
            let slot = Slot { index: *index, generation: *generation };
            sum.wrapping_add(row_hash(slot, avatar.entity, avatar.pos, avatar.yaw, &avatar.state))
        })
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
        let (from, mut from_us) = self.before;
        if self.time_us.saturating_sub(from_us) > GAP_US {
            from_us = self.time_us - STEP_US;
        }
        let span = self.time_us.saturating_sub(from_us) as f64;
        let at = time_us.clamp(from_us, self.time_us + ahead_us) as f64 - from_us as f64;
        let share = if span > 0.0 { at / span } else { 1.0 };
        let (a, b) = (from.metres(), self.pos.metres());
        std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share)
    }
}
