//! The truth about avatars: what was admitted, when, and what became of them.

use std::sync::Arc;

use nearcast::client::Avatar;
use nearcast::limits::FACING_SLACK;
use nearcast::space::Pos;

/// What became of an avatar, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its session lives.
    Live,
    /// Its socket was lost.
    Lingering(u64),
    /// Its gateway died.
    Orphan(u64),
    /// Its gateway died while its `leave` was due: it may have been written.
    Unsure(u64),
    /// It said bye.
    Left(u64),
}

/// One sample as it was admitted.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// When it was handed to the world.
    pub at_us: u64,
    /// Rises from sample to sample: twice the bot's number for it, which travels as application state. Odd where the
    /// gateway has put the avatar back, as its session went on; there is no such state then.
    pub key: u64,
    /// Where.
    pub pos: Pos,
    /// Facing.
    pub yaw: u8,
    /// Its session went on elsewhere already, which its gateway had not heard.
    pub in_vain: bool,
}

impl Step {
    /// The application state that comes with it.
    pub fn state(&self) -> Vec<u8> {
        if self.is_back() { Vec::new() } else { (self.key / 2).to_le_bytes().to_vec() }
    }

    /// The gateway has put the avatar back here.
    pub fn is_back(&self) -> bool {
        self.key % 2 == 1
    }

    /// Whether an avatar stands there and faces that way, as nearly as facing is told.
    pub fn is_shown_by(&self, avatar: &Avatar) -> bool {
        let turn = self.yaw.wrapping_sub(avatar.yaw) as i8;
        self.pos == avatar.pos && turn.unsigned_abs() <= FACING_SLACK
    }
}

/// The truth about an avatar.
pub struct Life {
    /// Its gateway: the last where its session has opened.
    pub gateway: usize,
    /// Which opening of its session that was; 0 until it has opened.
    pub incarnation: u64,
    /// When it has gone on last; 0: never.
    pub returned_us: u64,
    /// It has gone on, and nobody knows where it was, until it says so.
    pub unplaced: bool,
    /// All samples.
    pub steps: Vec<Step>,
    /// All profiles, since when.
    pub profiles: Vec<(u64, Arc<str>)>,
    /// What became of it.
    pub phase: Phase,
}

impl Life {
    /// One that begins.
    pub fn new(gateway: usize, profile: Arc<str>, now_us: u64) -> Life {
        let (steps, profiles) = (Vec::new(), vec![(now_us, profile)]);
        Life { gateway, incarnation: 0, returned_us: 0, unplaced: false, steps, profiles, phase: Phase::Live }
    }

    /// The step that a sample with this state, shown at this place, is; of several that look the same the newest.
    pub fn shown(&self, avatar: &Avatar) -> Option<usize> {
        let state = avatar.state.bytes();
        if state.is_empty() {
            return self.steps.iter().rposition(|step| step.is_back() && step.pos == avatar.pos);
        }
        let key = 2 * u64::from_le_bytes(state.try_into().ok()?);
        self.steps.binary_search_by_key(&key, |step| step.key).ok()
    }

    /// The key of the oldest step that looks the same as this one and is not older than what was shown before.
    pub fn oldest_like(&self, step: &Step, before: u64) -> u64 {
        let is = |other: &&Step| other.is_back() && other.pos == step.pos && other.key >= before;
        self.steps.iter().find(is).filter(|_| step.is_back()).map_or(step.key, |other| other.key)
    }

    /// Its newest sample shows as this: that which the gateway has put back may be the one before, where it had not gone.
    pub fn ends_as(&self, avatar: &Avatar) -> bool {
        let is = |step: &Step| step.is_shown_by(avatar) && avatar.state.bytes() == step.state();
        let [.., before, last] = &self.steps[..] else { return self.steps.last().is_some_and(is) };
        is(last) || (last.is_back() && before.pos == last.pos && is(before))
    }

    /// Where it was at a time.
    pub fn at(&self, at_us: u64) -> Option<&Step> {
        let after = self.steps.partition_point(|step| step.at_us <= at_us);
        self.steps[..after].last()
    }

    /// Whether all its samples that may be taken for the newest within `[from, to]` satisfy `holds`.
    pub fn all_within(&self, from_us: u64, to_us: u64, holds: impl Fn(Pos) -> bool) -> bool {
        let first = self.steps.partition_point(|step| step.at_us <= from_us).saturating_sub(1);
        let last = self.steps.partition_point(|step| step.at_us <= to_us);
        first < last && self.steps[first..last].iter().all(|step| holds(step.pos))
    }
}
