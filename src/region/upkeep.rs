//! What a world looks after now and then: who has lingered long enough leaves, who says nothing is repeated, what
//! somebody sees is followed and what nobody sees is dropped, and a quiet partition is told that time passes.

use super::commands::errands::Errands;
use super::commands::story::Story;
use super::motion::fold::Fold;
use super::polled::story;
use super::reading::{From, Reading};
use super::world::{Part, World};
use crate::codec::message::Id;
use crate::codec::record::{self, Record, Stamp};
use crate::limits::{
    BEAT_JITTER_US, BEAT_US, EVENTS_RETENTION_US, FOLLOW_MARGIN_M, HYSTERESIS, MILLI_US, READ_BACK_US, SECOND_US,
    UNFOLLOW_US,
};
use crate::log::{Follow, Log, Source, Topic};

/// What is not urgent is looked after this often, µs.
pub(super) const UPKEEP_US: u64 = 250 * MILLI_US;

impl World {
    /// All of it, every [`UPKEEP_US`].
    pub(super) fn upkeep(&mut self, log: &mut impl Log, now_us: u64) {
        let over: Vec<Id> = self.owned.iter().filter(|(_, o)| o.is_over(now_us)).map(|(id, _)| *id).collect();
        for entity in over {
            self.leave(entity, log, now_us);
        }
        self.upkeep_sessions(log, now_us);
        for i in 0..self.owned.len() {
            let (&entity, owned) = self.owned.get_index_mut(i).expect("below the length");
            if owned.keyframe_due(now_us) {
                let sample = owned.sample(true);
                self.fold_own(sample.as_slice());
                self.queue(entity, now_us);
            }
            self.want(entity, log, now_us);
        }
        self.pending.overdue(now_us, &mut self.answers);
        let week_ago_ms = now_us.saturating_sub(EVENTS_RETENTION_US) / MILLI_US;
        let (parts, social) = (&mut self.parts, &mut self.social);
        // Not while the same is asked for another time: answers do not say for which.
        let follows = |source: &Source| story(parts, social, *source).is_some_and(|story| story.is_following());
        let asked: Vec<Source> = self.weeks.keys().copied().filter(follows).collect();
        asked.into_iter().for_each(|source| log.offset_at(source, week_ago_ms as i64));
        self.recalls.upkeep(log, now_us);
        self.peers.forget_silent(now_us);
        if let Some(social) = &mut self.social {
            self.facts.diverged += u64::from(social.upkeep(&self.keeper, log, now_us));
            let in_force = social.commands.objects.rules();
            let is_outruled = in_force.revision >= self.keeper.rules.revision && in_force != self.keeper.rules;
            if social.commands.is_read() && is_outruled && !std::mem::replace(&mut self.outruled, true) {
                self.facts.outruled = Some(in_force);
            }
        }
        for partition in 0..self.grid.partitions() {
            self.upkeep_part(partition, log, now_us);
            self.run_errands(partition, log, now_us);
        }
    }

    fn upkeep_part(&mut self, partition: u16, log: &mut impl Log, now_us: u64) {
        let index = usize::from(partition);
        let Some(part) = self.parts[index].as_mut() else { return };
        if now_us.saturating_sub(part.wanted_us) >= UNFOLLOW_US {
            log.follow(Follow::Drop(Source { topic: Topic::Motion, partition }));
            log.follow(Follow::Drop(part.story.source()));
            log.follow(Follow::Drop(part.story.shelf()));
            part.fold.clear(&mut self.handles);
            self.parts[index] = None;
            return;
        }
        let owned = &self.owned;
        // Only where it is: one that has gone on here may be known from before in another partition, which its gateway of then
        // has not told that it left.
        let is_own = |id| owned.get(&id).is_some_and(|owned| owned.partition() == Some(partition));
        self.facts.expired += part.fold.expire(is_own, &mut self.handles) as u64;
        self.facts.leavers_forgotten += std::mem::take(&mut part.fold.forgotten);
        part.motion.ask_again(log, now_us);
        self.facts.diverged += u64::from(part.story.upkeep(&self.keeper, log, now_us));
        let jitter_us = jitter(u64::from(self.gateway), u64::from(partition), now_us) % BEAT_JITTER_US;
        let quiet_us = now_us.saturating_sub(part.heard_us.max(part.beat_us));
        if part.motion.is_following() && quiet_us >= BEAT_US + jitter_us {
            part.beat_us = now_us;
            let stamp = Stamp { gateway: self.gateway, published_us: now_us };
            log.publish(Source { topic: Topic::Motion, partition }, record::encode(stamp, &Record::Beat));
        }
    }

    /// Follows what an avatar's viewer can see, or soon will.
    pub(super) fn want(&mut self, entity: Id, log: &mut impl Log, now_us: u64) {
        let Some(owned) = self.owned.get(&entity) else { return };
        let Some(pos) = owned.pos() else { return };
        let own = owned.partition();
        let reach_m = owned.radius_m * HYSTERESIS + FOLLOW_MARGIN_M;
        for partition in self.grid.partitions_around(pos, reach_m) {
            self.follow(partition, log, now_us);
        }
        // It may be held up to 1 m beyond its partition's border.
        if let Some(partition) = own {
            self.follow(partition, log, now_us);
        }
    }

    /// Follows a partition, or says that it is wanted still.
    pub(super) fn follow(&mut self, partition: u16, log: &mut impl Log, now_us: u64) {
        let index = usize::from(partition);
        if let Some(part) = self.parts[index].as_mut() {
            part.wanted_us = now_us;
            return;
        }
        let source = |topic| Source { topic, partition };
        let jitter = jitter(u64::from(self.gateway), u64::from(partition), now_us);
        self.parts[index] = Some(Part {
            motion: Reading::start(source(Topic::Motion), From::Back(READ_BACK_US), log, now_us),
            fold: Fold::default(),
            story: Story::start(self.grid, source(Topic::Events), jitter, log, now_us),
            errands: Errands::default(),
            heard_us: now_us,
            beat_us: now_us,
            wanted_us: now_us,
        });
        // Those of our own that are in it, or have left it lately, are known without the log.
        let own: Vec<_> = self.owned.values().filter_map(|o| o.sample(true)).filter(|(p, _)| *p == partition).collect();
        self.fold_own(&own);
    }
}

/// The same inputs give the same number (SplitMix64, Steele et al. 2014): spreads beats without a random source.
pub(super) fn jitter(a: u64, b: u64, c: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.rotate_left(32) ^ (c / SECOND_US);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
