//! One partition of `motion`, folded: who is in it, where, and who has left. A function of the partition's records
//! alone; order and duplicates do not matter, because the highest (incarnation, sequence) of an entity wins.

use std::sync::Arc;

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use crate::codec::message::{AppState, Id};
use crate::codec::record::{Note, Sample};
use crate::limits::{
    EXPIRY_US, MILLI_US, MOTION_RETENTION_US, PARTITION_ENTITIES_MAX, PARTITION_STEP_MAX_US, TOMBSTONES_MAX,
};
use crate::space::Pos;

/// Iterates in order of insertion and removal, so that folding is deterministic.
pub type Map<K, V> = IndexMap<K, V, FxBuildHasher>;

/// (incarnation, sequence): which of two samples of an entity is newer.
pub type Version = (u64, u64);

/// An entity as one partition knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Of the newest sample.
    pub version: Version,
    /// When the newest sample was taken, µs on this gateway's clock.
    pub time_us: u64,
    /// Position.
    pub pos: Pos,
    /// Facing.
    pub yaw: u8,
    /// Application state.
    pub state: AppState,
    /// The newest profile, and the version that brought it; (0, 0) before the first keyframe.
    pub profile: (Version, Arc<str>),
    /// The newest version that jumped without walking.
    pub teleported: Option<Version>,
    /// Partition time at which the newest sample was folded.
    pub folded_us: u64,
    /// Since it is held in another partition.
    pub leaver: Option<Leaver>,
    /// The world's dense number of the entity.
    pub handle: u32,
}

/// An entity that crossed into another partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaver {
    /// The other partition.
    pub to: u16,
    /// This partition's time when that was folded first.
    pub since_us: u64,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded {
    /// It is the entity's state now.
    New,
    /// A newer one, or the same, is known.
    Old,
    /// The partition is full ([`PARTITION_ENTITIES_MAX`]).
    Full,
}

/// What folding asks of its world, and tells it: which entities it holds, and who is over.
pub trait Surroundings {
    /// A dense number for an entity that this partition starts to hold.
    fn hold(&mut self, entity: Id) -> u32;
    /// This partition holds it no more.
    fn release(&mut self, entity: Id);
    /// It has left the world with this version, or expired: whatever others hold of it up to then is over too.
    fn over(&mut self, entity: Id, version: Version);
}

/// The state of one partition.
#[derive(Debug, Default)]
pub struct Fold {
    /// Partition time, µs: advances with each record by the difference of append times, clamped to 0..2 s.
    pub time_us: u64,
    last_append_ms: Option<i64>,
    entities: Map<Id, Held>,
    tombstones: Map<Id, (Version, u64)>,
    /// Tombstones forgotten before their time because there were too many; the caller empties it.
    pub forgotten: u64,
}

impl Fold {
    /// Advances partition time by one record.
    pub fn advance(&mut self, append_ms: i64) {
        if let Some(last) = self.last_append_ms {
            let step_us = append_ms.saturating_sub(last).max(0) as u64 * MILLI_US;
            let unclamped = crate::planted!(StallRemovesAll);
            self.time_us += if unclamped { step_us } else { step_us.min(PARTITION_STEP_MAX_US) };
        }
        self.last_append_ms = Some(append_ms);
    }

    /// Who is in it, in order of arrival.
    pub fn entities(&self) -> impl Iterator<Item = (Id, &Held)> {
        self.entities.iter().map(|(id, held)| (*id, held))
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, entity: Id) -> Option<&Held> {
        self.entities.get(&entity)
    }

    /// Whether this version of an entity, or a newer one, has been folded.
    #[must_use]
    pub fn knows(&self, entity: Id, version: Version) -> bool {
        self.entities.get(&entity).is_some_and(|held| held.version >= version)
            || self.tombstones.get(&entity).is_some_and(|(left, _)| *left >= version)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// How many that have left are remembered, for the simulation's checker.
    #[must_use]
    pub fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// Folds one sample. `time_us` is the sample's time on this gateway's clock.
    pub fn fold(&mut self, sample: &Sample, time_us: u64, around: &mut impl Surroundings) -> Folded {
        let version = (sample.incarnation, sample.sequence);
        if self.tombstones.get(&sample.entity).is_some_and(|(left, _)| *left >= version) {
            return Folded::Old;
        }
        if sample.note == Note::Leave {
            return self.leave(sample.entity, version, around);
        }
        let now_us = self.time_us;
        let leaver = |before: Option<&Held>| match sample.note {
            Note::Handover(to) => {
                before.and_then(|h| h.leaver.filter(|l| l.to == to)).or(Some(Leaver { to, since_us: now_us }))
            }
            Note::None | Note::Teleport | Note::Leave => None,
        };
        let teleported = (sample.note == Note::Teleport).then_some(version);
        let Some(held) = self.entities.get_mut(&sample.entity) else {
            if self.entities.len() >= PARTITION_ENTITIES_MAX {
                return Folded::Full;
            }
            let leaver = leaver(None);
            let held = Held {
                version,
                time_us,
                pos: sample.pos,
                yaw: sample.yaw,
                state: sample.state,
                profile: sample.profile.clone().map_or_else(Default::default, |p| (version, p)),
                teleported,
                folded_us: now_us,
                leaver,
                handle: around.hold(sample.entity),
            };
            self.tombstones.swap_remove(&sample.entity);
            self.entities.insert(sample.entity, held);
            return Folded::New;
        };
        // A profile is folded on its own: its keyframe may come after a newer sample without one.
        if let Some(profile) = &sample.profile
            && version >= held.profile.0
        {
            held.profile = (version, profile.clone());
        }
        if version <= held.version && !crate::planted!(StaleVersion) {
            return Folded::Old;
        }
        held.leaver = leaver(Some(held));
        held.version = version;
        held.time_us = time_us;
        held.pos = sample.pos;
        held.yaw = sample.yaw;
        held.state = sample.state;
        held.teleported = teleported.or(held.teleported);
        held.folded_us = now_us;
        Folded::New
    }

    fn leave(&mut self, entity: Id, version: Version, around: &mut impl Surroundings) -> Folded {
        if self.entities.get(&entity).is_some_and(|held| held.version > version) {
            return Folded::Old;
        }
        if crate::planted!(Ghost) {
            return Folded::New;
        }
        if self.entities.swap_remove(&entity).is_some() {
            around.release(entity);
        }
        around.over(entity, version);
        self.tombstones.insert(entity, (version, self.time_us));
        Folded::New
    }

    /// Removes who has not been heard of for 15 s of partition time, except those whose session this gateway holds;
    /// forgets tombstones older than the motion kept. Returns how many expired.
    pub fn expire(&mut self, is_own: impl Fn(Id) -> bool, around: &mut impl Surroundings) -> usize {
        let now_us = self.time_us;
        let gone = |held: &Held| now_us.saturating_sub(held.folded_us) >= EXPIRY_US;
        let expired: Vec<(Id, Version, bool)> = self
            .entities
            .iter()
            .filter(|(id, held)| gone(held) && (held.leaver.is_some() || !is_own(**id)))
            .map(|(id, held)| (*id, held.version, held.leaver.is_some()))
            .collect();
        for (entity, version, is_leaver) in &expired {
            self.entities.swap_remove(entity);
            around.release(*entity);
            // Where a leaver went decides whether it is over: that partition's time may stand still while ours passes.
            if !is_leaver {
                around.over(*entity, *version);
            }
            self.tombstones.insert(*entity, (*version, self.time_us));
        }
        let over = self.tombstones.len().saturating_sub(TOMBSTONES_MAX);
        let old = self.tombstones.values().take_while(|(_, at)| now_us - at > MOTION_RETENTION_US).count();
        self.tombstones.drain(..over.max(old));
        self.forgotten += over.saturating_sub(old) as u64;
        expired.len()
    }

    /// Gives back all dense numbers; the partition is followed no more.
    pub fn clear(&mut self, around: &mut impl Surroundings) {
        self.entities.keys().for_each(|id| around.release(*id));
        *self = Fold::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Alone {
        next: u32,
    }

    impl Surroundings for Alone {
        fn hold(&mut self, _: Id) -> u32 {
            self.next += 1;
            self.next
        }
        fn release(&mut self, _: Id) {}
        fn over(&mut self, _: Id, _: Version) {}
    }

    fn sample(entity: Id, sequence: u64, note: Note) -> Sample {
        Sample {
            entity,
            incarnation: 0,
            sequence,
            time_us: sequence,
            pos: Pos { x: sequence as i32, y: 0, z: 0 },
            yaw: 0,
            state: AppState::default(),
            profile: sequence.is_multiple_of(3).then(|| format!("p{sequence}").into()),
            note,
        }
    }

    proptest! {
        #[test]
        fn order_and_duplicates_do_not_matter(
            samples in prop::collection::vec((0..4_u64, 1..40_u64), 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        ) {
            let fold_all = |samples: &[(u64, u64)]| {
                let mut fold = Fold::default();
                for (entity, sequence) in samples {
                    fold.fold(&sample(*entity, *sequence, Note::None), *sequence, &mut Alone::default());
                }
                let mut all: Vec<_> = fold.entities().map(|(id, h)| (id, h.version, h.pos, h.profile.1.clone())).collect();
                all.sort();
                all
            };
            let mut shuffled: Vec<_> = order.iter().map(|i| samples[i.index(samples.len())]).collect();
            shuffled.extend(samples.iter().rev());
            prop_assert_eq!(fold_all(&samples), fold_all(&shuffled));
        }
    }

    #[test]
    fn who_left_does_not_come_back_by_an_old_sample() {
        let mut fold = Fold::default();
        let around = &mut Alone::default();
        assert_eq!(fold.fold(&sample(1, 5, Note::None), 0, around), Folded::New);
        assert_eq!(fold.fold(&sample(1, 6, Note::Leave), 0, around), Folded::New);
        assert_eq!(fold.fold(&sample(1, 6, Note::None), 0, around), Folded::Old);
        assert!(fold.is_empty());
        assert_eq!(fold.fold(&sample(1, 7, Note::None), 0, around), Folded::New, "a newer sample revives");
    }

    #[test]
    fn tombstones_are_bounded_and_those_that_go_early_are_counted() {
        let mut fold = Fold::default();
        let around = &mut Alone::default();
        fold.advance(0);
        for entity in 0..TOMBSTONES_MAX as u64 + 3 {
            fold.fold(&sample(entity, 1, Note::Leave), 0, around);
        }
        fold.expire(|_| false, around);
        assert_eq!((fold.tombstones(), fold.forgotten), (TOMBSTONES_MAX, 3));
        fold.time_us += MOTION_RETENTION_US + 1;
        fold.expire(|_| false, around);
        assert_eq!((fold.tombstones(), fold.forgotten), (0, 3), "the others had their time");
    }

    #[test]
    fn a_stall_of_any_length_counts_two_seconds() {
        let mut fold = Fold::default();
        let around = &mut Alone::default();
        fold.advance(1_000);
        fold.fold(&sample(1, 1, Note::None), 0, around);
        fold.advance(3_600_000);
        assert_eq!((fold.time_us, fold.expire(|_| false, around)), (2_000_000, 0));
        fold.advance(0);
        fold.advance(1_000);
        assert_eq!(fold.time_us, 3_000_000, "a clock that steps back counts nothing");
        for second in 2..13 {
            fold.advance(second * 1_000);
        }
        assert_eq!(fold.expire(|_| false, around), 0, "14 s");
        fold.advance(13_000);
        assert_eq!(fold.expire(|id| id == 1, around), 0, "never one whose session we hold");
        assert_eq!(fold.expire(|_| false, around), 1);
        assert_eq!(fold.fold(&sample(1, 1, Note::None), 0, around), Folded::Old, "expiry leaves a tombstone");
    }
}
