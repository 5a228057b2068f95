//! What is shown at one tick: partitions united by entity, the newest version of each, laid out by region.

use std::sync::Arc;

use super::commands::display::{self, Carried, Display};
use super::frame::{Cell, PartitionStatus, Spot, Tick};
use super::motion::fold::{Held, Leaver};
use super::motion::handles::{Handles, Shown};
use super::submit::Facts;
use super::world::{Part, World};
use crate::codec::message::Id;
use crate::codec::row::{Chain, Shared};
use crate::limits::{LEAVER_US, STALE_US, STRIDES, TICK_US};
use crate::space::Region;

impl World {
    /// Freezes what is known into what is shown at one tick.
    pub fn freeze(&mut self, number: u64, now_us: u64) -> Arc<Tick> {
        let tick_us = number * TICK_US;
        let objects = self.show_objects(number, now_us);
        let here = newest(&self.parts, &self.handles);
        let mut tick = Tick {
            spots: Vec::with_capacity(here.len()),
            entities: Vec::with_capacity(here.len()),
            shared: Vec::with_capacity(here.len()),
            partitions: self.statuses(now_us),
            events: self.stories().map(|story| story?.commands.ring()).chain(self.openings.rings()).collect(),
            objects,
            ..Tick::empty(number, self.grid)
        };
        for (region, handle, held) in here {
            let shown = &mut self.handles.shown[handle as usize];
            let fresh = shown.show(held, number, tick_us);
            let strided_at = tick.strided.len();
            tick.shared.push(share(shown, handle, number, fresh, &mut tick.strided));
            let strides = (tick.strided.len() - strided_at) as u8;
            tick.push(region, shown.spot(handle, held, tick_us), shown.entity(strided_at as u32, strides));
        }
        tick.carried = carry(&tick, &self.handles);
        let Facts { fold_to_tick_us, remote_age_us, .. } = &mut self.facts;
        fold_to_tick_us.extend(self.admitted_us.drain(..).map(|at_us| now_us.saturating_sub(at_us)));
        remote_age_us.extend(self.arrived_us.drain(..).map(|at_us| tick_us.saturating_sub(at_us)));
        date_cells(&mut tick, &self.frozen);
        date_partitions(&mut tick, &self.frozen);
        let tick = Arc::new(tick);
        self.frozen = tick.clone();
        tick
    }

    /// How well the partitions are known, and behind them the world as a whole, which has no avatars: nothing of it is old.
    fn statuses(&self, now_us: u64) -> Vec<PartitionStatus> {
        let complete = self.social.as_ref().is_some_and(|story| story.commands.is_read());
        let whole = PartitionStatus { complete, stale: false, altered: 0 };
        self.parts.iter().map(|part| status(part.as_ref(), now_us)).chain([whole]).collect()
    }

    /// What is shown of the objects of all partitions, and behind them of the world as a whole.
    fn show_objects(&mut self, number: u64, now_us: u64) -> Vec<Option<Arc<Display>>> {
        let leavers = self.leavers(now_us);
        let parts = self.parts.iter_mut().zip(leavers);
        let mut objects: Vec<_> = parts.map(|(part, leavers)| part.as_mut()?.story.show(leavers, number)).collect();
        objects.push(self.social.as_mut().and_then(|story| story.show(Vec::new(), number)));
        objects
    }
}

/// What those who are shown have in their hands.
fn carry(tick: &Tick, handles: &Handles) -> Vec<Carried> {
    if tick.objects.iter().flatten().all(|display| display.held.is_empty()) {
        return Vec::new();
    }
    let mut spots = vec![None; handles.shown.len()];
    tick.spots.iter().enumerate().for_each(|(index, spot)| spots[spot.handle as usize] = Some(index as u32));
    display::carried(&tick.objects, |entity| spots[handles.get(entity)? as usize])
}

/// Who is shown, by region and handle: partitions united by entity, the newest version of each.
fn newest<'a>(parts: &'a [Option<Part>], handles: &Handles) -> Vec<(Region, u32, &'a Held)> {
    let mut best: Vec<Option<&Held>> = vec![None; handles.shown.len()];
    // Whether anybody shows it still. Who has left for another partition, which knows it, is there, even if what this
    // one was told last is newer: then that partition lags.
    let mut is_here = vec![false; best.len()];
    for part in parts.iter().flatten() {
        for (id, held) in part.fold.entities() {
            let handle = held.handle as usize;
            is_here[handle] |= held.leaver.is_none_or(|leaver| !has_left(id, held, leaver, part, parts));
            let rank = |held: &Held| (held.version, held.leaver.is_none());
            if best[handle].is_none_or(|other| rank(held) > rank(other)) {
                best[handle] = Some(held);
            }
        }
    }
    let is_over = |handle: usize, held: &Held| handles.shown[handle].over.is_some_and(|over| over >= held.version);
    let all = best.into_iter().enumerate().filter_map(|(handle, held)| Some((handle, held?)));
    let here = all.filter(|(handle, held)| is_here[*handle] && !is_over(*handle, held));
    let mut here: Vec<_> = here.map(|(handle, held)| (Region::of(held.pos), handle as u32, held)).collect();
    here.sort_unstable_by_key(|(region, handle, _)| (*region, *handle));
    here
}

/// Whether a leaver is no longer shown by the partition that it left: the other one knows it as well. However long
/// that takes, because the other stalls or has a backlog: who is never heard of there expires here. Where the
/// other is not followed nobody looks; 500 ms of this one's time must do.
fn has_left(entity: Id, held: &Held, leaver: Leaver, here: &Part, parts: &[Option<Part>]) -> bool {
    match parts.get(usize::from(leaver.to)).and_then(Option::as_ref) {
        Some(there) => there.fold.knows(entity, held.version),
        None => here.fold.time_us.saturating_sub(leaver.since_us) >= LEAVER_US,
    }
}

/// Makes the bits that tell an entity's newest sample to all who hold what they were told at the anchors before, for
/// each stride of which this tick is an anchor: those for stride 1, and appended to `out` the others.
fn share(shown: &mut Shown, handle: u32, number: u64, fresh: bool, out: &mut Vec<Shared>) -> Shared {
    let told = shown.told();
    if fresh {
        shown.chains = std::array::from_fn(|level| Chain::new(told, level));
        return Shared::default();
    }
    // The same anchors as those of `Candidate::has_turn`.
    let levels = ((number + u64::from(handle)).trailing_zeros() as usize + 1).min(STRIDES);
    let teleported = shown.teleported.0;
    let mut all = shown.chains[..levels].iter_mut().enumerate().map(|(level, chain)| {
        let jumped = teleported + (1 << level) > number;
        chain.tell(told, jumped)
    });
    let first = all.next().unwrap_or_default();
    out.extend(all);
    first
}

fn status(part: Option<&Part>, now_us: u64) -> PartitionStatus {
    part.map_or_else(PartitionStatus::default, |part| PartitionStatus {
        complete: part.is_complete() && part.story.commands.is_read(),
        stale: now_us.saturating_sub(part.heard_us) >= STALE_US,
        altered: 0,
    })
}

/// Says of each region since when it is as it is, by the tick before.
fn date_cells(tick: &mut Tick, before: &Tick) {
    let Tick { number, cells, spots, .. } = tick;
    let mut old_cells = before.cells.iter().peekable();
    let who = |spot: &Spot| (spot.handle, spot.epoch);
    for cell in cells {
        while old_cells.next_if(|old| old.region < cell.region).is_some() {}
        let spots = &spots[cell.range()];
        let same = |old: &&&Cell| {
            old.region == cell.region
                && spots.iter().all(|spot| spot.touched < *number)
                && before.spots[old.range()].iter().map(who).eq(spots.iter().map(who))
        };
        cell.altered = old_cells.peek().filter(same).map_or(*number, |old| old.altered);
    }
}

/// The same of each partition.
fn date_partitions(tick: &mut Tick, before: &Tick) {
    let spans = |tick: &Tick| {
        let events = tick.events.iter().map(|ring| ring.as_ref().map(|ring| (ring.start, ring.end)));
        let objects = tick.objects.iter().map(|display| display.as_ref().map(|display| display.since));
        events.zip(objects).collect::<Vec<_>>()
    };
    let new = spans(tick);
    let Tick { number, partitions, .. } = tick;
    let old = before.partitions.iter().zip(spans(before)).map(Some).chain(std::iter::repeat(None));
    for ((status, ring), old) in partitions.iter_mut().zip(new).zip(old) {
        let since =
            old.filter(|(old, span)| *span == ring && (old.complete, old.stale) == (status.complete, status.stale));
        status.altered = since.map_or(*number, |(old, _)| old.altered);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::message::AppState;
    use crate::codec::record::{self, Note, Record, Sample, Stamp};
    use crate::limits::MILLI_US;
    use crate::log::{Bounds, Polled, Source, Topic};
    use crate::region::frame::Entity;
    use crate::region::motion::owned::Place;
    use crate::region::script::{GRID, NOW_US, Script};
    use crate::region::submit::Submit;
    use crate::space::Pos;

    #[test]
    fn who_left_by_one_partition_is_not_shown_by_another_that_missed_it() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        world.adopt(1, 2, "Ann".into(), 50.0);
        let pos = |x| Pos { x, y: 0, z: 0 };
        let place = Place { time_us: NOW_US, pos: pos(50_000), yaw: 0, state: AppState::default(), jumped: false };
        world.submit(Submit::Move { entity: 2, place }, &mut log, NOW_US);
        let other = |sequence, x, note| {
            let (time_us, yaw, state) = (NOW_US, 0, AppState::default());
            Sample { entity: 9, incarnation: 0, sequence, time_us, pos: pos(x), yaw, state, profile: None, note }
        };
        let shown = |world: &mut World| world.freeze(1, NOW_US).spots.len();
        // Partition 0 missed the crossing.
        for (partition, sample, seen) in [
            (0, other(1, 51_000, Note::None), 2),
            (4, other(2, 51_400, Note::None), 2),
            (4, other(3, 51_400, Note::Leave), 1),
            (0, other(4, 51_000, Note::None), 2),
        ] {
            world.fold_own(&[(partition, sample)]);
            assert_eq!(shown(&mut world), seen);
        }
    }

    /// What a test tells a world by its log, as another gateway would write it.
    struct Wire {
        world: World,
        log: Script,
        now_us: u64,
        offsets: [u64; 16],
    }

    impl Wire {
        /// A viewer stands at the border of partitions 0 and 4, both of which are read.
        fn at_the_border() -> Wire {
            let mut wire =
                Wire { world: World::new(GRID, 1), log: Script::default(), now_us: NOW_US, offsets: [0; 16] };
            wire.world.adopt(1, 2, "Ann".into(), 50.0);
            let pos = Pos { x: 50_000, y: 0, z: 0 };
            let place = Place { time_us: NOW_US, pos, yaw: 0, state: AppState::default(), jumped: false };
            wire.world.submit(Submit::Move { entity: 2, place }, &mut wire.log, NOW_US);
            wire.step();
            for partition in [0, 4] {
                let bounds = Bounds { start: 0, end: 0, last_append_ms: None };
                let source = Source { topic: Topic::Motion, partition };
                wire.log.next.push(Polled::Bounds(source, bounds));
                wire.beat(partition, 0);
            }
            wire
        }

        fn step(&mut self) {
            self.now_us += 250 * MILLI_US;
            self.world.step(&mut self.log, self.now_us, &mut Vec::new());
        }

        fn tell(&mut self, partition: u16, append_ms: i64, bytes: Bytes) {
            let offset = self.offsets[usize::from(partition)];
            self.offsets[usize::from(partition)] += 1;
            let source = Source { topic: Topic::Motion, partition };
            self.log.next.push(Polled::Record { source, offset, append_ms, bytes });
            self.step();
        }

        fn beat(&mut self, partition: u16, append_ms: i64) {
            let stamp = Stamp { gateway: 9, published_us: self.now_us };
            self.tell(partition, append_ms, record::encode(stamp, &Record::Beat));
        }

        /// A sample of avatar 9 in one record, which stands at `x` cm.
        fn sample(&mut self, partition: u16, append_ms: i64, sequence: u64, x: i32, note: Note) {
            let (time_us, yaw, state) = (self.now_us, 0, AppState::default());
            let (entity, incarnation, profile, pos) = (9, 0, None, Pos { x, y: 0, z: 0 });
            let sample = Sample { entity, incarnation, sequence, time_us, pos, yaw, state, profile, note };
            let stamp = Stamp { gateway: 9, published_us: self.now_us };
            self.tell(partition, append_ms, record::encode(stamp, &Record::Motion(vec![sample])));
        }

        /// Where avatar 9 is shown, x in cm.
        fn shown(&mut self) -> Option<i32> {
            let tick = self.world.freeze(self.now_us / 50_000, self.now_us);
            tick.spots.iter().find(|spot| spot.id == 9).map(|spot| spot.pos.x)
        }
    }

    #[test]
    fn who_crosses_into_a_stalled_partition_is_shown_all_along() {
        let mut wire = Wire::at_the_border();
        wire.sample(0, 100, 1, 51_000, Note::None);
        assert_eq!(wire.shown(), Some(51_000));
        wire.sample(0, 200, 2, 51_400, Note::Handover(4));
        assert_eq!(wire.shown(), Some(51_400), "the other partition stalls, and does not know it yet");
        for append_ms in [20_000, 22_000, 24_000] {
            wire.beat(4, append_ms);
            assert_eq!(wire.shown(), Some(51_400), "its time jumps, but its backlog has not been read");
        }
        wire.sample(4, 24_001, 2, 51_400, Note::None);
        wire.sample(4, 24_002, 3, 51_500, Note::None);
        assert_eq!(wire.shown(), Some(51_500));
        wire.sample(4, 24_003, 4, 51_500, Note::Leave);
        assert_eq!(wire.shown(), None, "it left: the partition that it came from keeps no ghost");
    }

    #[test]
    fn who_crosses_back_while_one_partition_lags_is_shown_all_along() {
        let mut wire = Wire::at_the_border();
        wire.sample(4, 100, 1, 51_400, Note::None);
        wire.sample(4, 200, 2, 51_000, Note::Handover(0));
        wire.sample(0, 200, 2, 51_000, Note::None);
        wire.sample(0, 300, 3, 51_400, Note::Handover(4));
        for append_ms in [20_000, 22_000] {
            wire.beat(4, append_ms);
            wire.beat(0, append_ms);
            assert_eq!(wire.shown(), Some(51_400), "each says that it is in the other");
        }
    }

    #[test]
    fn who_is_never_seen_where_it_went_is_gone_with_its_gateway() {
        let mut wire = Wire::at_the_border();
        wire.sample(0, 200, 2, 51_400, Note::Handover(4));
        for second in 1..15 {
            wire.beat(0, second * 1_000);
            wire.beat(4, second * 1_000);
            assert!(wire.shown().is_some(), "{second} s");
        }
        (15..18).for_each(|second| wire.beat(0, second * 1_000));
        assert_eq!(wire.shown(), None);
    }

    proptest! {
        /// Avatars stand in a few regions, or nowhere; at each tick some come, go or walk. A region's date is when those in
        /// it, or one of them, last became different.
        #[test]
        fn regions_are_dated_and_found_whatever_the_others_do(
            ticks in prop::collection::vec(prop::collection::vec((0..8_usize, prop::option::of((0..3_i32, 0..3_i32, 0..2_i32))), 0..4), 1..20),
        ) {
            let (mut here, mut before): (BTreeMap<usize, Pos>, Tick) = (BTreeMap::new(), Tick::empty(0, GRID));
            let mut touched = [0; 8];
            let mut dates: BTreeMap<Region, (u64, Vec<(usize, Pos)>)> = BTreeMap::new();
            for (number, changes) in (1..).zip(ticks) {
                let old = here.clone();
                for (who, at) in changes {
                    here.remove(&who);
                    here.extend(at.map(|(x, z, step)| (who, Pos { x: x * 12_800 + step, y: 0, z: z * 12_800 })));
                }
                let moved = here.iter().filter(|(who, pos)| old.get(*who) != Some(*pos));
                moved.for_each(|(who, _)| touched[*who] = number);
                let spot = |(who, pos): (&usize, &Pos)| {
                    Spot { id: *who as u64 + 1, handle: *who as u32, pos: *pos, touched: touched[*who], ..Spot::default() }
                };
                let mut tick = Tick::empty(number, GRID).with(here.iter().map(|one| (spot(one), Entity::default())).collect());
                date_cells(&mut tick, &before);
                let mut naive: BTreeMap<Region, Vec<(usize, Pos)>> = BTreeMap::new();
                here.iter().for_each(|(who, pos)| naive.entry(Region::of(*pos)).or_default().push((*who, *pos)));
                dates = naive.into_iter().map(|(region, all)| {
                    let since = dates.get(&region).filter(|(_, old)| *old == all).map_or(number, |(since, _)| *since);
                    (region, (since, all))
                }).collect();
                let cells: Vec<_> = tick.cells.iter().map(|cell| (cell.region, cell.altered)).collect();
                prop_assert_eq!(cells, dates.iter().map(|(region, (since, _))| (*region, *since)).collect::<Vec<_>>());
                for (from, to) in [(0, 2), (0, 0), (1, 1), (1, 2), (3, 4)] {
                    for x in 0..3 {
                        let column = (Region { x, z: from }, Region { x, z: to });
                        let ids: Vec<_> = tick.column(column).map(|index| tick.spots[index].id).collect();
                        let inside = dates.iter().filter(|(region, _)| region.x == x && (from..=to).contains(&region.z));
                        let all: Vec<_> = inside.flat_map(|(_, (_, all))| all.iter().map(|(who, _)| *who as u64 + 1)).collect();
                        prop_assert_eq!(ids, all);
                    }
                }
                before = tick;
            }
        }
    }

    #[test]
    fn a_partition_forgets_who_left_it_and_takes_nobody_from_another_that_stalls() {
        let mut wire = Wire::at_the_border();
        wire.sample(4, 200, 2, 51_400, Note::None);
        wire.sample(0, 200, 2, 51_400, Note::Handover(4));
        (1..30).for_each(|second| wire.beat(0, second * 1_000));
        assert_eq!(wire.world.folded(0).count(), 1, "only the viewer");
        assert_eq!(wire.shown(), Some(51_400), "partition 4 has said nothing since");
    }
}
