//! The frames of one tick: partitions united by entity, the newest version of each, laid out by region.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::fold::{Held, Leaver};
use super::frame::{Entity, Frame, PartitionStatus, Spot, Tick};
use super::world::{Part, World};
use crate::codec::message::Id;
use crate::limits::{LEAVER_US, STALE_US, TICK_US};
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
            if fresh || shown.pos != held.pos || shown.yaw != held.yaw {
                (shown.pos, shown.yaw, shown.moved) = (held.pos, held.yaw, number);
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
                frames.push(Frame { region, spots: Vec::new(), entities: Vec::new() });
                frames.len() - 1
            });
            frames[cell].spots.push(Spot {
                id: shown.id,
                touched: shown.moved.max(shown.changed).max(shown.renamed),
                pos: held.pos,
                handle: handle as u32,
                epoch: shown.epoch,
            });
            frames[cell].entities.push(Entity {
                time_us: held.time_us.min(tick_us),
                yaw: held.yaw,
                teleported: shown.teleported.0,
                moved: shown.moved,
                changed: shown.changed,
                renamed: shown.renamed,
                state: held.state,
                profile: shown.profile.1.clone(),
            });
            match self.owned.get_mut(&shown.id) {
                Some(owned) if owned.admitted_us > 0 => {
                    self.facts.fold_to_tick_us.push(now_us.saturating_sub(owned.admitted_us));
                    owned.admitted_us = 0;
                }
                Some(_) => {}
                None if shown.moved == number => {
                    self.facts.remote_age_us.push(tick_us.saturating_sub(held.time_us));
                }
                None => {}
            }
        }
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

fn status(part: Option<&Part>, now_us: u64) -> PartitionStatus {
    part.map_or_else(PartitionStatus::default, |part| PartitionStatus {
        complete: part.motion.is_complete(part.fold.time_us),
        stale: now_us.saturating_sub(part.heard_us) >= STALE_US,
    })
}
