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
    /// The bot's number for it, which travels as application state.
    pub counter: u64,
    /// Where.
    pub pos: Pos,
    /// Facing.
    pub yaw: u8,
}

impl Step {
    /// Whether an avatar stands there and faces that way, as nearly as facing is told.
    pub fn is_shown_by(&self, avatar: &Avatar) -> bool {
        let turn = self.yaw.wrapping_sub(avatar.yaw) as i8;
        self.pos == avatar.pos && turn.unsigned_abs() <= FACING_SLACK
    }
}

/// The truth about an avatar.
pub struct Life {
    /// Its gateway.
    pub gateway: usize,
    /// All samples.
    pub steps: Vec<Step>,
    /// All profiles, since when.
    pub profiles: Vec<(u64, Arc<str>)>,
    /// What became of it.
    pub phase: Phase,
}

impl Life {
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
