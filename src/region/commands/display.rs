//! The objects of one partition as they are shown: immutable, shared by all viewers, made anew only of the regions that have
//! become different. What is in hands is apart, as it is where its holder is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::objects::Objects;
use crate::codec::command::{Environment, Object};
use crate::codec::message::Id;
use crate::space::Region;

/// What lies in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bay {
    /// Which region.
    pub region: Region,
    /// Last tick at which it became different from the tick before.
    pub altered: u64,
    /// The objects, by id; nobody holds them.
    pub objects: Vec<Arc<Object>>,
    /// The revision of the fold that last made the region different; 0 where that says nothing.
    revision: u64,
}

/// The objects of one partition at some ticks.
#[derive(Clone, Debug, Default)]
pub struct Display {
    /// The tick at which it was made: of one partition no two have the same.
    pub since: u64,
    /// Regions in which something lies, sorted.
    pub bays: Vec<Arc<Bay>>,
    /// What is in hands, by session and id.
    pub held: Vec<Arc<Object>>,
    /// What places are like, sorted.
    pub places: Vec<(Region, Arc<Environment>)>,
    /// Last tick at which something came into hands, left them or changed there; and at which a place did.
    pub altered: u64,
    revision: u64,
    /// Objects that have left for another partition and are shown still, by id.
    leavers: Vec<Arc<Object>>,
}

/// What there is to see of objects somewhere, in two figures that no change leaves as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Regions in which something lies.
    pub bays: usize,
    /// The last tick at which one of them, or what is in hands, or a place became different.
    pub altered: u64,
}

impl Display {
    /// What is shown at a tick after `before` was: the same where nothing has changed.
    #[must_use]
    pub fn next(
        before: Option<&Arc<Display>>,
        objects: &Objects,
        leavers: Vec<Arc<Object>>,
        tick: u64,
    ) -> Arc<Display> {
        let is_same = |before: &&Arc<Display>| before.revision == objects.revision() && same(&before.leavers, &leavers);
        if let Some(before) = before.filter(is_same) {
            return before.clone();
        }
        let nothing = Display::default();
        let old = before.map_or(&nothing, |before| before);
        let mut bays: Vec<Arc<Bay>> = objects
            .regions()
            .filter_map(|(region, revision)| {
                let old = old.bay(region);
                if let Some(old) = old.filter(|old| old.revision == revision) {
                    return Some(old.clone());
                }
                let lying = objects.in_region(region).filter(|object| object.holder.is_none()).cloned().collect();
                Bay::next(old, region, lying, revision, tick)
            })
            .collect();
        // Where they go is another partition's, so none of these regions is there yet.
        let mut left: BTreeMap<Region, Vec<Arc<Object>>> = BTreeMap::new();
        for object in leavers.iter().filter(|object| object.holder.is_none()) {
            left.entry(Region::of(object.pos)).or_default().push(object.clone());
        }
        bays.extend(left.into_iter().filter_map(|(region, lying)| Bay::next(old.bay(region), region, lying, 0, tick)));
        bays.sort_unstable_by_key(|bay| bay.region);
        let in_hands = objects.in_hands().map(|(_, object)| object);
        let held: Vec<_> = in_hands.chain(leavers.iter().filter(|object| object.holder.is_some())).cloned().collect();
        let places: Vec<_> = objects.environments().map(|(region, place)| (region, place.clone())).collect();
        let is_calm = before.is_some()
            && same(&old.held, &held)
            && old
                .places
                .iter()
                .map(|(_, place)| Arc::as_ptr(place))
                .eq(places.iter().map(|(_, place)| Arc::as_ptr(place)));
        let altered = if is_calm { old.altered } else { tick };
        Arc::new(Display { since: tick, bays, held, places, altered, revision: objects.revision(), leavers })
    }

    fn bay(&self, region: Region) -> Option<&Arc<Bay>> {
        let at = self.bays.binary_search_by_key(&region, |bay| bay.region).ok()?;
        Some(&self.bays[at])
    }

    /// What lies in a column of regions.
    #[must_use]
    pub fn column(&self, (first, last): (Region, Region)) -> &[Arc<Bay>] {
        let from = self.bays.partition_point(|bay| bay.region < first);
        let len = self.bays[from..].iter().take_while(|bay| bay.region <= last).count();
        &self.bays[from..from + len]
    }

    /// What the places of a column are like.
    #[must_use]
    pub fn places(&self, (first, last): (Region, Region)) -> &[(Region, Arc<Environment>)] {
        let from = self.places.partition_point(|(region, _)| *region < first);
        let len = self.places[from..].iter().take_while(|(region, _)| *region <= last).count();
        &self.places[from..from + len]
    }

    /// What there is to see in some columns: who has seen the same before has seen all of it.
    #[must_use]
    pub fn look(&self, columns: impl Iterator<Item = (Region, Region)>) -> Look {
        let mut look = Look { bays: 0, altered: self.altered };
        for bay in columns.flat_map(|column| self.column(column)) {
            look.bays += 1;
            look.altered = look.altered.max(bay.altered);
        }
        look
    }
}

impl Bay {
    /// What lies in a region, after something else did; `None` if it is nothing.
    fn next(
        old: Option<&Arc<Bay>>,
        region: Region,
        objects: Vec<Arc<Object>>,
        revision: u64,
        tick: u64,
    ) -> Option<Arc<Bay>> {
        let altered = old.filter(|old| same(&old.objects, &objects)).map_or(tick, |old| old.altered);
        (!objects.is_empty()).then(|| Arc::new(Bay { region, altered, objects, revision }))
    }
}

/// Whether these are the same objects at the same versions.
fn same(some: &[Arc<Object>], others: &[Arc<Object>]) -> bool {
    some.iter().map(Arc::as_ptr).eq(others.iter().map(Arc::as_ptr))
}

/// An object in the hands of somebody who is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Who holds it, as an index of [`Tick::spots`](crate::region::Tick::spots).
    pub by: u32,
    /// What.
    pub object: Arc<Object>,
}

/// What is in hands, with who holds it, by where that is. `spot` tells the index of an entity that is shown.
#[must_use]
pub fn carried(displays: &[Option<Arc<Display>>], mut spot: impl FnMut(Id) -> Option<u32>) -> Vec<Carried> {
    let held = displays.iter().flatten().flat_map(|display| &display.held);
    let by = |object: &Arc<Object>| Some(Carried { by: spot(object.holder?.entity)?, object: object.clone() });
    let mut carried: Vec<Carried> = held.filter_map(by).collect();
    carried.sort_by_key(|carried| (carried.by, carried.object.id));
    carried
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::objects::id_of;
    use super::*;
    use crate::codec::command::{Aim, Command, Deed};
    use crate::region::script::GRID;
    use crate::space::Pos;

    /// By region, what lies there: object and version; and the same of what is in hands, without a region.
    fn content(display: &Display) -> BTreeMap<Option<Region>, Vec<(Id, u64)>> {
        let version = |object: &Arc<Object>| (object.id, object.version);
        let lying = display.bays.iter().map(|bay| (Some(bay.region), bay.objects.iter().map(version).collect()));
        let mut held: Vec<_> = display.held.iter().map(version).collect();
        held.sort_unstable();
        let held = (!held.is_empty()).then_some((None, held));
        lying.chain(held).collect()
    }

    proptest! {
        /// Whatever is done, a display made from the one before is one made from nothing; a region's date is when what lies in
        /// it last became different; and what has left is shown as long as it is said to be.
        #[test]
        fn a_display_is_what_the_fold_holds_and_dated_by_region(
            steps in prop::collection::vec((0..6_u8, 0..6_u64, -60_000..60_000_i32, any::<bool>()), 1..80),
        ) {
            let mut objects = Objects::new(GRID, 0);
            let mut before: Option<Arc<Display>> = None;
            // Since when what lies in a region, as ids and versions, is as it is.
            type Since = (u64, Vec<(Id, u64)>);
            let mut dates: BTreeMap<Option<Region>, Since> = BTreeMap::new();
            let mut tick = 0;
            for (offset, (kind, which, x, shows)) in (0..).zip(steps) {
                let (of, to) = (Aim { id: id_of(which, 0), expect: None }, (Pos { x, y: 0, z: x / 3 }, 0));
                let deed = match kind {
                    0 | 1 => Deed::Create { kind: "lamp".into(), yaw: 0, fields: Vec::new() },
                    2 => Deed::Change { of, to: Some(to), fields: Vec::new() },
                    3 => Deed::Grab(of),
                    4 => Deed::Release(of, to),
                    _ => Deed::Environment { of_world: false, expect: None, fields: Vec::new() },
                };
                let pos = Pos { x: x / 2, y: 0, z: 0 };
                objects.fold(offset, &Command { session: which % 2 + 1, n: 0, entity: 9, trusted: true, pos, from: pos, deed });
                if !shows {
                    continue;
                }
                tick += 1;
                let leavers: Vec<_> = objects.departed().map(|gone| gone.object.clone()).filter(|gone| gone.id % 2 == tick % 2).collect();
                let display = Display::next(before.as_ref(), &objects, leavers.clone(), tick);
                prop_assert_eq!(content(&display), content(&Display::next(None, &objects, leavers.clone(), tick)));
                let mut all: Vec<Id> = content(&display).into_values().flatten().map(|(id, _)| id).collect();
                all.sort_unstable();
                let mut naive: Vec<Id> = objects.iter().chain(&leavers).map(|object| object.id).collect();
                naive.sort_unstable();
                prop_assert_eq!(all, naive);
                dates = content(&display).into_iter().map(|(region, all)| {
                    let since = dates.get(&region).filter(|(_, old)| *old == all).map_or(tick, |(since, _)| *since);
                    (region, (since, all))
                }).collect();
                for bay in &display.bays {
                    prop_assert_eq!(bay.altered, dates[&Some(bay.region)].0);
                }
                if kind == 5 {
                    prop_assert!(display.altered == tick && !display.places.is_empty());
                }
                let again = Display::next(Some(&display), &objects, leavers, tick + 1);
                prop_assert!(Arc::ptr_eq(&again, &display), "nothing has changed");
                before = Some(display);
            }
        }
    }
}
