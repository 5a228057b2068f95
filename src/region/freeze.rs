//! The frames of one tick: partitions united by entity, the newest version of each, laid out by region.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::fold::{Held, Leaver};
use super::frame::{Entity, Frame, PartitionStatus, Spot, Tick};
use super::handles::Shown;
use super::submit::Facts;
use super::world::{Part, World};
use crate::codec::message::Id;
use crate::codec::row::{Chain, Shared, Told};
use crate::codec::state::{age_from_byte, age_to_byte};
use crate::limits::{AGE_SLACK_MS, FACING_SLACK, LEAVER_US, MILLI_US, STALE_US, STRIDES, TICK_US};
use crate::space::Region;

impl World {
    /// Freezes what is known into the frames of one tick: partitions united by entity, the newest version wins.
    pub fn freeze(&mut self, number: u64, now_us: u64) -> Tick {
        let tick_us = number * TICK_US;
        let mut best: Vec<Option<&Held>> = vec![None; self.handles.shown.len()];
        // Whether anybody shows it still. Who has left for another partition, which knows it, is there, even if what this
        // one was told last is newer: then that partition lags.
        let mut is_here = vec![false; best.len()];
        for part in self.parts.iter().flatten() {
            for (id, held) in part.fold.entities() {
                let slot = &mut best[held.handle as usize];
                is_here[held.handle as usize] |=
                    held.leaver.is_none_or(|leaver| !self.has_left(id, held, leaver, part));
                let rank = |held: &Held| (held.version, held.leaver.is_none());
                if slot.is_none_or(|other| rank(held) > rank(other)) {
                    *slot = Some(held);
                }
            }
        }
        let mut cells: FxHashMap<Region, usize> = FxHashMap::default();
        let mut frames: Vec<Frame> = Vec::new();
        for (handle, held) in best.iter().enumerate() {
            let Some(held) = *held else { continue };
            let shown = &mut self.handles.shown[handle];
            if !is_here[handle] || shown.over.is_some_and(|over| over >= held.version) {
                continue;
            }
            let fresh = shown.tick == 0;
            let turned = held.yaw.wrapping_sub(shown.yaw) as i8;
            if fresh || turned.unsigned_abs() > FACING_SLACK {
                (shown.yaw, shown.moved) = (held.yaw, number);
            }
            if fresh || shown.pos != held.pos {
                (shown.pos, shown.moved) = (held.pos, number);
            }
            let age_ms = u32::try_from(tick_us.saturating_sub(held.time_us) / MILLI_US).unwrap_or(u32::MAX);
            if fresh || age_ms.abs_diff(age_from_byte(shown.age)) > AGE_SLACK_MS {
                shown.age = age_to_byte(age_ms);
            }
            let profile = held.profile.0 > shown.profile.0;
            if fresh || shown.state != held.state {
                (shown.state, shown.changed) = (held.state, number);
            }
            if fresh || (profile && shown.profile.1 != held.profile.1) {
                shown.renamed = number;
            }
            if profile {
                shown.profile = held.profile.clone();
            }
            if held.teleported != shown.teleported.1 {
                shown.teleported = (number, held.teleported);
            }
            shown.tick = number;
            let region = Region::of(held.pos);
            let cell = *cells.entry(region).or_insert_with(|| {
                frames.push(Frame { region, ..Frame::default() });
                frames.len() - 1
            });
            let frame = &mut frames[cell];
            let strided_at = frame.strided.len() as u32;
            frame.shared.push(share(shown, handle as u32, number, fresh, &mut frame.strided));
            let altered = shown.changed.max(shown.renamed);
            frame.spots.push(Spot {
                id: shown.id,
                touched: shown.moved.max(altered),
                altered,
                pos: held.pos,
                handle: handle as u32,
                epoch: shown.epoch,
                age_us: u32::try_from(tick_us.saturating_sub(held.time_us)).unwrap_or(u32::MAX),
            });
            frame.entities.push(Entity {
                yaw: shown.yaw,
                age: shown.age,
                strided_at,
                strides: (frame.strided.len() - strided_at as usize) as u8,
                teleported: shown.teleported.0,
                moved: shown.moved,
                changed: shown.changed,
                renamed: shown.renamed,
                state: held.state,
                profile: shown.profile.1.clone(),
            });
        }
        let Facts { fold_to_tick_us, remote_age_us, .. } = &mut self.facts;
        fold_to_tick_us.extend(self.admitted_us.drain(..).map(|at_us| now_us.saturating_sub(at_us)));
        remote_age_us.extend(self.arrived_us.drain(..).map(|at_us| tick_us.saturating_sub(at_us)));
        frames.sort_unstable_by_key(|frame| frame.region);
        Tick {
            number,
            grid: self.grid,
            frames: frames.into_iter().map(Arc::new).collect(),
            partitions: self.parts.iter().map(|part| status(part.as_ref(), now_us)).collect(),
            events: self.parts.iter().map(|part| part.as_ref()?.actions.ring()).collect(),
        }
    }

    /// Whether a leaver is no longer shown by the partition that it left: the other one knows it as well. However long
    /// that takes, because the other stalls or has a backlog: who is never heard of there expires here. Where the
    /// other is not followed nobody looks; 500 ms of this one's time must do.
    fn has_left(&self, entity: Id, held: &Held, leaver: Leaver, here: &Part) -> bool {
        match self.parts.get(usize::from(leaver.to)).and_then(Option::as_ref) {
            Some(there) => there.fold.knows(entity, held.version),
            None => here.fold.time_us.saturating_sub(leaver.since_us) >= LEAVER_US,
        }
    }
}

/// Makes the bits that tell an entity's newest sample to all who hold what they were told at the anchors before, for
/// each stride of which this tick is an anchor: those for stride 1, and appended to `out` the others.
fn share(shown: &mut Shown, handle: u32, number: u64, fresh: bool, out: &mut Vec<Shared>) -> Shared {
    let told = Told { pos: shown.pos, yaw: shown.yaw, age: shown.age };
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
        complete: part.motion.is_complete(part.fold.time_us),
        stale: now_us.saturating_sub(part.heard_us) >= STALE_US,
    })
}
