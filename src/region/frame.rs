//! What a gateway shows at one tick: immutable, shared by all viewers. A viewer reads the complete set of one tick.

use std::ops::Range;
use std::sync::Arc;

use super::commands::display::{Carried, Display};
use super::commands::event::Ring;
use crate::codec::message::{AppState, Id};
use crate::codec::row::{Shared, Told};
use crate::space::{Grid, Pos, Region};

/// All that a gateway shows at one tick. `spots`, `entities` and `shared` run in parallel, region by region.
#[derive(Debug)]
pub struct Tick {
    /// The tick's number; it happens at `number * TICK_US`.
    pub number: u64,
    /// How regions map to partitions.
    pub grid: Grid,
    /// Regions that hold somebody, sorted.
    pub cells: Vec<Cell>,
    /// Positions, close together in memory: interest looks at all of them.
    pub spots: Vec<Spot>,
    /// The rest, looked at for those who are near.
    pub entities: Vec<Entity>,
    /// Samples in bits, made once for all viewers, for stride 1.
    pub shared: Vec<Shared>,
    /// The same for stride 2, 4 … of each entity, as far as the tick is an anchor.
    pub strided: Vec<Shared>,
    /// By partition; behind them the world as a whole.
    pub partitions: Vec<PartitionStatus>,
    /// Events by partition, the newest last, behind them those of the world as a whole, and behind these those that users
    /// are told, by partition of `direct`; `None` while they are not read, so that nobody takes offsets for missed.
    pub events: Vec<Option<Arc<Ring>>>,
    /// Objects by partition, and behind them what the world as a whole is like; `None` while they are not read.
    pub objects: Vec<Option<Arc<Display>>>,
    /// What those who are shown have in their hands, by where they are.
    pub carried: Vec<Carried>,
}

impl Tick {
    /// A tick at which nobody is there, and of a world of which nothing is known.
    #[must_use]
    pub fn empty(number: u64, grid: Grid) -> Tick {
        Tick {
            number,
            grid,
            cells: Vec::new(),
            spots: Vec::new(),
            entities: Vec::new(),
            shared: Vec::new(),
            strided: Vec::new(),
            partitions: Vec::new(),
            events: Vec::new(),
            objects: Vec::new(),
            carried: Vec::new(),
        }
    }

    /// The same with avatars, of which nothing was shown before.
    #[cfg(test)]
    pub(crate) fn with(mut self, mut avatars: Vec<(Spot, Entity)>) -> Tick {
        avatars.sort_by_key(|(spot, _)| Region::of(spot.pos));
        for (spot, entity) in avatars {
            let region = Region::of(spot.pos);
            self.push(region, spot, entity);
        }
        self
    }

    /// Puts an avatar behind all others, in the region of the last one or in a later one.
    pub(super) fn push(&mut self, region: Region, spot: Spot, entity: Entity) {
        let index = self.spots.len();
        match self.cells.last_mut() {
            Some(cell) if cell.region == region => cell.to = index + 1,
            Some(_) | None => self.cells.push(Cell { region, altered: self.number, from: index, to: index + 1 }),
        }
        self.spots.push(spot);
        self.entities.push(entity);
    }

    /// Who is in a column of regions, as indices.
    #[must_use]
    pub fn column(&self, column: (Region, Region)) -> Range<usize> {
        match self.cells_of(column) {
            [first, .., last] => first.from..last.to,
            [only] => only.range(),
            [] => 0..0,
        }
    }

    /// What is carried in a column of regions.
    #[must_use]
    pub fn carried(&self, column: (Region, Region)) -> &[Carried] {
        let who = self.column(column);
        let at = |index: usize| self.carried.partition_point(|carried| (carried.by as usize) < index);
        if self.carried.is_empty() { &[] } else { &self.carried[at(who.start)..at(who.end)] }
    }

    fn cells_of(&self, (first, last): (Region, Region)) -> &[Cell] {
        let from = self.cells.partition_point(|cell| cell.region < first);
        let len = self.cells[from..].iter().take_while(|cell| cell.region <= last).count();
        &self.cells[from..from + len]
    }

    /// The bits of an entity for viewers of a stride, 2^`level`; they are for those who hold what they start from.
    #[must_use]
    pub fn shared(&self, index: usize, level: u32) -> Option<&Shared> {
        let Entity { strided_at, strides, .. } = self.entities[index];
        match level.checked_sub(1) {
            None => self.shared.get(index),
            Some(level) => (level < u32::from(strides)).then(|| &self.strided[(strided_at + level) as usize]),
        }
    }

    /// What there is in some columns of regions and partitions: who has seen the same before has seen all of it.
    #[must_use]
    pub fn scene(&self, columns: impl Iterator<Item = (Region, Region)>, partitions: &[u16]) -> Scene {
        let altered = partitions.iter().map(|partition| self.partitions[usize::from(*partition)].altered).max();
        let mut scene = Scene { cells: 0, altered: altered.unwrap_or(0) };
        for cell in columns.flat_map(|column| self.cells_of(column)) {
            scene.cells += 1;
            scene.altered = scene.altered.max(cell.altered);
        }
        scene
    }
}

/// What there is somewhere, in two figures that no change leaves as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// Regions that hold somebody.
    pub cells: u32,
    /// The last tick at which one of them, or a partition, became different from the tick before.
    pub altered: u64,
}

/// How well a partition is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionStatus {
    /// All that live in it have been read, and its objects: what happens there from now on is told.
    pub complete: bool,
    /// Nothing has been heard of it for a while: what is shown of other gateways' avatars is old.
    pub stale: bool,
    /// Last tick at which one of these, or its events or objects, became different from the tick before.
    pub altered: u64,
}

/// A region that holds somebody at one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Which region.
    pub region: Region,
    /// Last tick at which it became different from the tick before: somebody came, left, moved or changed.
    pub altered: u64,
    /// The first of those in it, as an index.
    pub from: usize,
    /// The index after the last.
    pub to: usize,
}

impl Cell {
    /// Who is in it, as indices.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.from..self.to
    }
}

/// Who is where: all that every viewer in reach looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// Its number.
    pub id: Id,
    /// Last tick at which anything of it changed,
    pub touched: u64,
    /// and anything but position and facing.
    pub altered: u64,
    /// Position.
    pub pos: Pos,
    /// The gateway's own dense number of the entity; used again after it is gone.
    pub handle: u32,
    /// Counts the uses of the handle, wrapping.
    pub epoch: u16,
    /// How much older than the tick the sample is, µs; at most 71 minutes.
    pub age_us: u32,
}

impl Spot {
    /// The sample as rows tell it.
    #[must_use]
    pub fn told(&self, entity: &Entity) -> Told {
        Told { pos: self.pos, yaw: entity.yaw, age: entity.age }
    }
}

/// What else is shown of an entity. Ticks say when something last became different from the tick before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entity {
    /// Facing as it is shown, 1/256 turn: within [`crate::limits::FACING_SLACK`] of the sample's.
    pub yaw: u8,
    /// Age as it is shown, see [`crate::codec::state::age_from_byte`]: within [`crate::limits::AGE_SLACK_MS`].
    pub age: u8,
    /// Where its bits begin in [`Tick::strided`], and for how many strides there are any.
    pub strided_at: u32,
    /// See above.
    pub strides: u8,
    /// Last tick at which it jumped without walking.
    pub teleported: u64,
    /// Last tick at which position or facing changed.
    pub moved: u64,
    /// Last tick at which application state changed.
    pub changed: u64,
    /// Last tick at which the profile changed.
    pub renamed: u64,
    /// Application state.
    pub state: AppState,
    /// Profile.
    pub profile: Arc<str>,
}
