//! Rest: a session with nothing to say until something near it changes is not looked at, tick by tick. In a world of
//! many who stay, what a tick costs is the memory it touches; a rest is a cache line. It ends after a second at the latest, so
//! that a row which waits for its next anchor is not later than that.

use super::events::Own;
use super::{Phase, Session};
use crate::limits::{EMPTY_STATE_TICKS, STRIDE_MAX};
use crate::region::frame::{Scene, Tick};
use crate::space::{Around, Region};
use crate::view::Summary;

/// Partitions that a reach touches at most, as it is shorter than a block is long; and the world as a whole.
const STREAMS: usize = 4 + 1;

/// What must stay as it is for a session to stay at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The tick that it is to meet whatever happens.
    until: u64,
    corners: (Region, Region),
    streams: [u16; STREAMS],
    scene: Scene,
    /// What its user is told.
    own: Option<Own>,
}

impl Rest {
    /// Whether the session need not meet this tick, one of its world.
    #[must_use]
    pub fn lasts(&self, tick: &Tick) -> bool {
        tick.number < self.until
            && self.scene == tick.scene(Region::between(self.corners), &self.streams)
            && !self.own.is_some_and(|own| own.is_told(tick))
    }

    /// A rest with what a tick shows around a place; `None` if that changed so lately that not everybody need have
    /// been told of it.
    fn at(around: &Around, own: Option<Own>, tick: &Tick, until: u64) -> Option<Rest> {
        let corners = around.corners()?;
        let touched = around.streams();
        if touched.len() > STREAMS {
            return None;
        }
        let streams = std::array::from_fn(|at| touched.get(at).copied().unwrap_or(touched[0]));
        let scene = tick.scene(Region::between(corners), &streams);
        let is_calm = scene.altered + STRIDE_MAX < tick.number;
        is_calm.then_some(Rest { until, corners, streams, scene, own })
    }
}

impl Session {
    /// Who feeds the session asks this after each input; the ticks through which it lasts need not be fed.
    #[must_use]
    pub fn rest(&self) -> Option<Rest> {
        self.rest
    }

    /// Rests after a tick at which there was nothing to tell, unless something waits that no tick brings.
    pub(super) fn lie_down(&mut self, tick: &Tick, summary: &Summary) {
        let until = self.context.tick + EMPTY_STATE_TICKS;
        let waits = self.events_wait
            || !self.things.is_settled()
            || self.flow.unseen() > 0
            || self.view.is_joining()
            || summary.waits();
        if !waits
            && self.phase == Phase::Live
            && let Some(rest) = Rest::at(&self.around, self.cursors.own(), tick, until)
        {
            (self.rest, self.met) = (Some(rest), None);
        }
    }
}
