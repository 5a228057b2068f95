//! What gateways do of themselves with objects. One that has left for another partition is written there, and its landing back
//! where it left. What is in hands goes along when its holder crosses into another partition, and is put down when the holder
//! leaves. All of it names a version, so it takes effect once, whoever else does it as well: the gateway whose part it is does
//! it at once; any that follows the partition, when nobody has for a while.

use std::sync::Arc;

use super::objects::Departed;
use crate::codec::command::{Aim, Command, Deed, Object};
use crate::codec::message::Id;
use crate::codec::record::{self, Record, Stamp};
use crate::limits::{CARRY_AFTER_US, ERRAND_JITTER_US, ERRAND_US, ERRANDS_MAX, EXPIRY_US, LEAVER_US};
use crate::log::{Log, Source, Topic};
use crate::region::motion::fold::Map;
use crate::region::upkeep::jitter;
use crate::region::world::World;
use crate::space::{Pos, Region};

/// What is to be done with an object of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It has left for this partition, and is not known there.
    SeeOff(u16),
    /// It has left, and is known where it went: here it need not be remembered any more.
    Land,
    /// Its holder, one of ours, is somewhere else by now: there.
    Carry(Pos, u8),
    /// Its holder is nowhere: it is put down where it was taken.
    PutDown,
}

impl Need {
    fn is_like(self, other: Need) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// Something to be done with an object at one version.
#[derive(Clone, Copy, Debug)]
struct Errand {
    version: u64,
    need: Need,
    since_us: u64,
    /// It was ours to do: we gave the command that it follows from.
    is_own: bool,
    /// When it was last done; that may have been lost.
    done_us: Option<u64>,
    /// It has left, and is shown here no more.
    is_hidden: bool,
}

/// What is to be done in one partition, by object: as many as are in hands there or have left.
#[derive(Clone, Debug, Default)]
pub(in crate::region) struct Errands(Map<Id, Errand>);

impl Errands {
    /// Something is to be done, if not since now, then since it was noted first.
    fn note(&mut self, id: Id, version: u64, need: Need, now_us: u64) -> &mut Errand {
        let fresh = Errand { version, need, since_us: now_us, is_own: false, done_us: None, is_hidden: false };
        let errand = self.0.entry(id).or_insert(fresh);
        if errand.version != version {
            *errand = fresh;
        } else if !errand.need.is_like(need) {
            *errand = Errand { is_own: errand.is_own, is_hidden: errand.is_hidden, ..fresh };
        }
        errand.need = need;
        errand
    }
}

impl Errand {
    /// Whether to do it now; `jitter_us` differs from gateway to gateway.
    fn is_due(&self, jitter_us: u64, now_us: u64) -> bool {
        let wait_us = match self.need {
            Need::SeeOff(_) | Need::Land if self.is_own => 0,
            Need::SeeOff(_) | Need::Land => ERRAND_US + jitter_us,
            Need::Carry(..) => CARRY_AFTER_US,
            Need::PutDown => EXPIRY_US + jitter_us,
        };
        let rests = |done_us: u64| now_us.saturating_sub(done_us) < ERRAND_US + jitter_us;
        now_us.saturating_sub(self.since_us) >= wait_us && !self.done_us.is_some_and(rests)
    }
}

impl World {
    /// An avatar is about to leave: what it holds stays where it was last.
    pub(in crate::region) fn put_down(&mut self, entity: Id, log: &mut impl Log, now_us: u64) {
        let Some((session, to)) = self.owned.get(&entity).and_then(|owned| Some((owned.session, owned.stance()?)))
        else {
            return;
        };
        let held = self.parts.iter().flatten().flat_map(|part| part.story.commands.objects.held_by(session));
        let held: Vec<Arc<Object>> = held.cloned().collect();
        for object in held {
            self.facts.errands.put_down += 1;
            self.order(&object, Deed::Release(at(&object), to), log, now_us);
        }
    }

    /// What our own commands have sent away goes on at once.
    pub(in crate::region) fn see_off(&mut self, log: &mut impl Log, now_us: u64) {
        for (partition, id) in std::mem::take(&mut self.sent_away) {
            let Some(part) = self.parts[usize::from(partition)].as_mut() else { continue };
            // What was read back may long have landed.
            let Some(departed) = part.story.commands.objects.left(id) else { continue };
            let (object, to) = (departed.object.clone(), departed.to);
            let errand = part.errands.note(id, object.version, Need::SeeOff(to), now_us);
            (errand.is_own, errand.done_us) = (true, Some(now_us));
            self.arrive(&object, partition, to, log, now_us);
            self.follow(to, log, now_us);
        }
    }

    /// Does what is due in one partition.
    pub(in crate::region) fn run_errands(&mut self, partition: u16, log: &mut impl Log, now_us: u64) {
        let Some(part) = self.parts[usize::from(partition)].as_ref().filter(|part| part.story.commands.is_read())
        else {
            return;
        };
        let objects = &part.story.commands.objects;
        let mut needs: Map<Id, (Arc<Object>, Need)> = Map::default();
        for departed in objects.departed() {
            needs.insert(departed.object.id, (departed.object.clone(), self.way(departed)));
        }
        for (holder, object) in objects.in_hands() {
            let owned = self.owned.get(&holder.entity).filter(|owned| owned.session == holder.session);
            let need = match owned.map(|owned| owned.stance()) {
                Some(place) => place
                    .filter(|(pos, _)| self.grid.partition(Region::of(*pos)) != partition)
                    .map(|(pos, yaw)| Need::Carry(pos, yaw)),
                None => (part.is_complete() && !self.is_about(holder.entity)).then_some(Need::PutDown),
            };
            needs.extend(need.map(|need| (object.id, (object.clone(), need))));
        }
        let Some(part) = self.parts[usize::from(partition)].as_mut() else { return };
        part.errands.0.retain(|id, _| needs.contains_key(id));
        let jitter_us = jitter(u64::from(self.gateway), u64::from(partition), now_us) % ERRAND_JITTER_US;
        let mut due = Vec::new();
        for (id, (object, need)) in needs {
            let errand = part.errands.note(id, object.version, need, now_us);
            if errand.is_due(jitter_us, now_us) && due.len() < ERRANDS_MAX {
                due.push((object, *errand));
            }
            // Until it has landed, both ends are looked at.
            if errand.is_own {
                part.wanted_us = now_us;
            }
        }
        for (object, errand) in due {
            if self.run(partition, &object, errand, log, now_us)
                && let Some(part) = self.parts[usize::from(partition)].as_mut()
            {
                part.errands.note(object.id, object.version, errand.need, now_us).done_us = Some(now_us);
            }
        }
    }

    /// Does one thing. False if it must wait until more is known.
    fn run(&mut self, partition: u16, object: &Arc<Object>, errand: Errand, log: &mut impl Log, now_us: u64) -> bool {
        match errand.need {
            Need::SeeOff(to) => {
                self.follow(to, log, now_us);
                let there = self.parts[usize::from(to)].as_ref().map(|part| &part.story);
                let Some(there) = there.filter(|there| there.commands.is_read()) else { return false };
                if !there.commands.objects.knows(object.id, object.version) {
                    self.arrive(object, partition, to, log, now_us);
                }
            }
            Need::Land => {
                self.facts.errands.landed += 1;
                let landed = Record::Landed { object: object.id, version: object.version };
                self.write(partition, &landed, log, now_us);
            }
            Need::Carry(pos, yaw) => {
                self.facts.errands.carried += 1;
                let deed = Deed::Change { of: at(object), to: Some((pos, yaw)), fields: Vec::new() };
                self.order(object, deed, log, now_us);
            }
            Need::PutDown => {
                self.facts.errands.put_down += 1;
                self.order(object, Deed::Release(at(object), (object.pos, object.yaw)), log, now_us);
            }
        }
        true
    }

    /// What is to be done with an object that has left.
    fn way(&self, departed: &Departed) -> Need {
        let Departed { object, to } = departed;
        let there = self.parts[usize::from(*to)].as_ref();
        let is_known = there.is_some_and(|part| part.story.commands.objects.knows(object.id, object.version));
        if is_known { Need::Land } else { Need::SeeOff(*to) }
    }

    fn arrive(&mut self, object: &Arc<Object>, from: u16, to: u16, log: &mut impl Log, now_us: u64) {
        self.facts.errands.arrived += 1;
        self.write(to, &Record::Arrive { object: (**object).clone(), from }, log, now_us);
    }

    /// A command of the gateway's own about an object: it has no number, as it names a version.
    fn order(&self, object: &Object, deed: Deed, log: &mut impl Log, now_us: u64) {
        let pos = object.pos;
        let command = Command { session: 0, n: 0, entity: 0, trusted: false, pos, from: pos, deed };
        self.write(self.grid.partition(Region::of(pos)), &Record::Command(command), log, now_us);
    }

    fn write(&self, partition: u16, record: &Record, log: &mut impl Log, now_us: u64) {
        let stamp = Stamp { gateway: self.gateway, published_us: now_us };
        log.publish(Source { topic: Topic::Events, partition }, record::encode(stamp, record));
    }

    /// Whether an avatar is in a partition that is followed.
    fn is_about(&self, entity: Id) -> bool {
        self.parts.iter().flatten().any(|part| part.fold.get(entity).is_some())
    }

    /// By partition: what has left it and is shown there still, as nobody shows it where it goes.
    pub(in crate::region) fn leavers(&mut self, now_us: u64) -> Vec<Vec<Arc<Object>>> {
        (0..self.parts.len()).map(|partition| self.leavers_of(partition, now_us)).collect()
    }

    fn leavers_of(&mut self, partition: usize, now_us: u64) -> Vec<Arc<Object>> {
        let departed = self.parts[partition].iter().flat_map(|part| part.story.commands.objects.departed());
        let departed: Vec<_> = departed
            .map(|gone| (gone.object.clone(), self.parts[usize::from(gone.to)].is_some(), self.way(gone)))
            .collect();
        let Some(part) = self.parts[partition].as_mut() else { return Vec::new() };
        let mut shown = Vec::new();
        for (object, is_followed, need) in departed {
            let errand = part.errands.note(object.id, object.version, need, now_us);
            // Where the other partition is not followed nobody looks. Once hidden it stays so, also when that is read.
            let is_over = !is_followed && now_us.saturating_sub(errand.since_us) >= LEAVER_US;
            errand.is_hidden |= need == Need::Land || is_over;
            if !errand.is_hidden {
                shown.push(object);
            }
        }
        shown
    }
}

fn at(object: &Object) -> Aim {
    Aim { id: object.id, expect: Some(object.version) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use bytes::Bytes;

    use super::super::objects::id_of;
    use super::*;
    use crate::codec::command::Holder;
    use crate::codec::message::AppState;
    use crate::limits::{BEAT_JITTER_US, BEAT_US, SECOND_US, TICK_US};
    use crate::log::memory::{Memory, MemoryLog};
    use crate::log::{Follow, Polled, Ticket};
    use crate::region::motion::owned::Place;
    use crate::region::submit::Submit;
    use crate::space::Grid;

    /// The border of partitions 0 and 1 is at x = 512 m.
    const GRID: Grid = Grid { w: 2, h: 1 };
    const START_US: u64 = 1_700_000_000 * SECOND_US;

    /// A log in memory into which some records never come.
    struct Lossy {
        log: MemoryLog,
        loses: fn(&Record) -> bool,
    }

    impl Log for Lossy {
        fn publish(&mut self, source: Source, bytes: Bytes) -> Ticket {
            let is_lost = record::decode(&bytes).is_ok_and(|(_, record)| (self.loses)(&record));
            if is_lost { Ticket(u64::MAX) } else { self.log.publish(source, bytes) }
        }
        fn follow(&mut self, change: Follow) {
            self.log.follow(change);
        }
        fn poll(&mut self, out: &mut Vec<Polled>) {
            self.log.poll(out);
        }
        fn bounds(&mut self, source: Source) {
            self.log.bounds(source);
        }
        fn offset_at(&mut self, source: Source, append_ms: i64) {
            self.log.offset_at(source, append_ms);
        }
        fn fetch(&mut self, source: Source, from: u64) {
            self.log.fetch(source, from);
        }
    }

    struct Gateway {
        world: World,
        log: Lossy,
    }

    struct Scene {
        memory: Memory,
        now_ms: Arc<AtomicI64>,
        now_us: u64,
        commands: u64,
    }

    const CUP: Id = 1 << 10;
    const ANN: Holder = Holder { session: 1, entity: 2 };

    impl Scene {
        fn new() -> Scene {
            let now_ms = Arc::new(AtomicI64::new((START_US / 1_000) as i64));
            let at = now_ms.clone();
            let memory = Memory::new(1, move || at.load(Ordering::Relaxed));
            Scene { memory, now_ms, now_us: START_US, commands: 0 }
        }

        fn gateway(&self, number: u32) -> Gateway {
            let log = Lossy { log: self.memory.open(), loses: |_| false };
            Gateway { world: World::new(GRID, number), log }
        }

        /// Lets so many ms pass; at each tick whoever shows a partition in which the cup is, or that it has left, shows it.
        fn run(&mut self, gateways: &mut [&mut Gateway], ms: u64) {
            for _ in 0..ms * 1_000 / TICK_US {
                self.now_us += TICK_US;
                self.now_ms.store((self.now_us / 1_000) as i64, Ordering::Relaxed);
                for gateway in &mut *gateways {
                    gateway.world.step(&mut gateway.log, self.now_us, &mut Vec::new());
                    gateway.world.freeze(self.now_us / TICK_US, self.now_us);
                }
            }
        }

        fn stand(&self, gateway: &mut Gateway, who: Holder, x: f64) {
            if !gateway.world.owned.contains_key(&who.entity) {
                let Holder { session, entity } = who;
                gateway.world.adopt(session, entity, "".into(), 50.0);
            }
            let pos = Pos::from_metres([x, 0.0, 0.0]).expect("finite");
            let place = Place { time_us: self.now_us, pos, yaw: 7, state: AppState::default(), jumped: true };
            gateway.world.submit(Submit::Move { entity: who.entity, place }, &mut gateway.log, self.now_us);
        }

        fn command(&mut self, gateway: &mut Gateway, who: Holder, x: f64, deed: Deed) {
            self.commands += 1;
            let pos = Pos::from_metres([x, 0.0, 0.0]).expect("finite");
            let Holder { session, entity } = who;
            let command = Command { session, n: self.commands, entity, trusted: false, pos, from: pos, deed };
            gateway.world.submit(Submit::Command(command), &mut gateway.log, self.now_us);
            self.run(&mut [gateway], 150);
        }

        /// Ann's cup, made at a place and taken up.
        fn cup(&mut self, gateway: &mut Gateway, x: f64) {
            self.stand(gateway, ANN, x);
            self.run(&mut [gateway], 100);
            self.command(gateway, ANN, x, Deed::Create { kind: "cup".into(), yaw: 0, fields: Vec::new() });
            self.command(gateway, ANN, x, Deed::Grab(Aim { id: CUP, expect: Some(1) }));
        }
    }

    impl Gateway {
        /// Where the cup is: in which partition, at which version, how far east in metres, in whose hands.
        fn cup(&self) -> Vec<(u16, u64, i32, Option<Id>)> {
            let parts = (0..).zip(&self.world.parts);
            let objects =
                parts.filter_map(|(partition, part)| Some((partition, &part.as_ref()?.story.commands.objects)));
            let one = |(partition, objects): (u16, &super::super::objects::Objects)| {
                let cup = objects.get(CUP)?;
                Some((partition, cup.version, cup.pos.x / 100, cup.holder.map(|holder| holder.session)))
            };
            objects.filter_map(one).collect()
        }

        fn departed(&self) -> usize {
            self.world.parts.iter().flatten().map(|part| part.story.commands.objects.departed().count()).sum()
        }

        /// How often the cup is shown.
        fn shown(&self) -> usize {
            let displays = self.world.frozen.objects.iter().flatten();
            let all = displays.flat_map(|d| d.bays.iter().flat_map(|bay| &bay.objects).chain(&d.held));
            all.filter(|object| object.id == CUP).count()
        }
    }

    fn put(x: f64) -> Deed {
        let to = (Pos::from_metres([x, 0.0, 0.0]).expect("finite"), 0);
        Deed::Release(Aim { id: CUP, expect: None }, to)
    }

    #[test]
    fn what_leaves_a_partition_is_in_the_next_at_once_and_shown_all_along() {
        let mut scene = Scene::new();
        let mut gateway = scene.gateway(1);
        scene.cup(&mut gateway, 510.0);
        assert_eq!(id_of(0, 0), CUP);
        scene.command(&mut gateway, ANN, 510.0, put(513.0));
        for _ in 0..40 {
            scene.run(&mut [&mut gateway], 50);
            assert_eq!(gateway.shown(), 1);
        }
        assert_eq!(gateway.cup(), [(1, 3, 513, None)]);
        assert_eq!(gateway.departed(), 0, "it has landed");
        let errands = gateway.world.facts.errands;
        assert_eq!((errands.arrived, errands.landed), (1, 1));
    }

    #[test]
    fn what_is_in_hands_goes_along_over_the_border_and_back() {
        let mut scene = Scene::new();
        let mut gateway = scene.gateway(1);
        scene.cup(&mut gateway, 510.0);
        for (round, (partition, x)) in (1..).zip([(1, 515.0), (0, 505.0), (1, 515.0)]) {
            scene.stand(&mut gateway, ANN, x);
            for _ in 0..60 {
                scene.run(&mut [&mut gateway], 50);
                assert_eq!(gateway.shown(), 1, "round {round}");
            }
            assert_eq!(gateway.cup(), [(partition, 2 + round, x as i32, Some(ANN.session))]);
            assert_eq!(gateway.departed(), 0);
        }
        // Who only dances on the border does not carry it to and fro.
        for step in 0..40 {
            scene.stand(&mut gateway, ANN, if step % 2 == 0 { 505.0 } else { 515.0 });
            scene.run(&mut [&mut gateway], 250);
        }
        let carried = gateway.world.facts.errands.carried;
        assert!(carried <= 4, "{carried} times");
    }

    #[test]
    fn what_is_lost_on_the_way_is_brought_by_another_gateway() {
        let mut scene = Scene::new();
        let (mut first, mut second) = (scene.gateway(1), scene.gateway(2));
        scene.cup(&mut first, 510.0);
        // The other one's viewer is far from the border, so it follows partition 0 alone.
        scene.stand(&mut second, Holder { session: 11, entity: 12 }, 300.0);
        scene.run(&mut [&mut first, &mut second], 1_000);
        assert!(second.world.parts[1].is_none());
        first.log.loses = |record| matches!(record, Record::Arrive { .. });
        scene.command(&mut first, ANN, 510.0, put(515.0));
        // The first is dead from now on.
        scene.run(&mut [&mut second], 300);
        assert_eq!((second.cup(), second.departed(), second.shown()), (vec![], 1, 1));
        scene.run(&mut [&mut second], 500);
        assert_eq!(second.shown(), 0, "nobody looks where it went");
        scene.run(&mut [&mut second], (ERRAND_US + ERRAND_JITTER_US) / 1_000 + 500);
        assert_eq!((second.cup(), second.shown()), (vec![(1, 3, 515, None)], 1));
        scene.run(&mut [&mut second], (ERRAND_US + ERRAND_JITTER_US) / 1_000 + 500);
        assert_eq!(second.departed(), 0);
        let errands = second.world.facts.errands;
        assert_eq!((errands.arrived, errands.landed), (1, 1));
    }

    #[test]
    fn what_is_brought_twice_is_there_once() {
        let mut scene = Scene::new();
        let (mut first, mut second) = (scene.gateway(1), scene.gateway(2));
        scene.cup(&mut first, 510.0);
        scene.stand(&mut second, Holder { session: 11, entity: 12 }, 511.0);
        // Landings are lost: both go on looking after it.
        first.log.loses = |record| matches!(record, Record::Landed { .. });
        second.log.loses = |record| matches!(record, Record::Landed { .. });
        scene.command(&mut first, ANN, 510.0, put(515.0));
        let left = first.world.parts[0].as_ref().and_then(|part| part.story.commands.objects.left(CUP)).cloned();
        let object = left.expect("it has left").object;
        second.world.arrive(&object, 0, 1, &mut second.log, scene.now_us);
        scene.run(&mut [&mut first, &mut second], 500);
        let gone = Deed::Remove(Aim { id: CUP, expect: None });
        scene.command(&mut first, ANN, 515.0, gone);
        scene.run(&mut [&mut first, &mut second], 10_000);
        assert_eq!((first.cup(), second.cup()), (vec![], vec![]), "removed is removed");
        assert_eq!((first.shown(), second.shown()), (0, 0));
        first.log.loses = |_| false;
        second.log.loses = |_| false;
        scene.run(&mut [&mut first, &mut second], 5_000);
        assert_eq!((first.departed(), second.departed()), (0, 0));
    }

    #[test]
    fn who_leaves_puts_down_what_they_hold_where_they_were_last() {
        let mut scene = Scene::new();
        let mut gateway = scene.gateway(1);
        scene.cup(&mut gateway, 100.0);
        scene.stand(&mut gateway, ANN, 140.0);
        scene.run(&mut [&mut gateway], 1_000);
        assert_eq!(gateway.cup(), [(0, 2, 100, Some(ANN.session))], "within a partition it need not be carried");
        gateway.world.submit(Submit::Leave { entity: ANN.entity, incarnation: 0 }, &mut gateway.log, scene.now_us);
        scene.run(&mut [&mut gateway], 100);
        assert_eq!(gateway.cup(), [(0, 3, 140, None)]);
    }

    #[test]
    fn what_the_clients_of_a_dead_gateway_held_is_put_down_by_another_once_they_are_gone() {
        let mut scene = Scene::new();
        let (mut first, mut second) = (scene.gateway(1), scene.gateway(2));
        scene.cup(&mut first, 100.0);
        scene.stand(&mut second, Holder { session: 11, entity: 12 }, 110.0);
        scene.run(&mut [&mut first, &mut second], 2_000);
        // The first is dead from now on.
        scene.run(&mut [&mut second], EXPIRY_US / 1_000 + 5_000);
        assert_eq!(second.cup(), [(0, 2, 100, Some(ANN.session))], "its holder may come back");
        let rest_us = EXPIRY_US + ERRAND_JITTER_US + BEAT_US + BEAT_JITTER_US;
        scene.run(&mut [&mut second], rest_us / 1_000);
        assert_eq!(second.cup(), [(0, 3, 100, None)]);
        assert_eq!(second.world.facts.errands.put_down, 1);
    }
}
