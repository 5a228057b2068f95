//! A scenario: which bots on which links, for how long, and which figures are wanted of them.

mod all;

use std::time::Duration;

use anyhow::Result;
use nearcast::limits::{BUDGET_BYTES_PER_S, SECOND_US, TICK_US};
use nearcast::view::capacity;

use crate::catalogue;
use crate::compare;
use crate::crowd::{Crowd, Layout};
use crate::relay::Link;
use crate::scene::Scene;
use crate::server::Server;
use crate::sheet::Wanted;
use crate::swarm::dialect::Dialect;
use crate::swarm::hands::Manner;

/// Bots whose views are judged, of a crowd in tiles.
const AUDITED: usize = 50;
/// The same of a crowd in one spot, where each view is twenty times as large.
const AUDITED_IN_SPOT: usize = 8;
/// As many bots at most all keep a table of what they receive.
const KEEPING_MAX: usize = 1_000;
/// A crowd in one spot lies within this of the origin, metres: all are within the radius of all.
const SPOT_M: f64 = 20.0;

/// How the bots stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Tiles far from each other, in each so many scenes over each other.
    Tiles(usize),
    /// Tiles of a scene each, as close to each other as they can be without being in view.
    Close,
    /// Each where nobody is in view, without ever moving.
    Alone,
    /// All near the origin.
    Spot,
}

/// Which bots give commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users {
    /// Of so many bots, one.
    pub every: usize,
    /// What for.
    pub manner: Manner,
    /// So often, µs.
    pub each_us: u64,
    /// Each waits longer by a share of its own, up to once more.
    pub varied: bool,
}

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// Whether it runs when none is named: not if it takes half an hour, or more than two cores.
    pub usual: bool,
    /// Bots.
    pub bots: usize,
    /// The scenes it always plays, a name of [`crate::catalogue`]; else those of the call.
    pub scenes: Option<&'static str>,
    /// Where they stand.
    pub place: Place,
    /// The world they enter, one of [`crate::gateway::WORLDS`].
    pub world: &'static str,
    /// Radius asked for, metres.
    pub radius_m: f64,
    /// What they connect to.
    pub server: Server,
    /// Servers to be compared: in each run the same bots go to one after the other. If there are none, only to `server`.
    pub compared: Vec<Server>,
    /// So many join per second.
    pub joins_per_s: u32,
    /// From the last joining to the window.
    pub settle: Duration,
    /// Length of a window.
    pub seconds: u64,
    /// If windows follow each other for so long: the last is told of, with what has changed since the first.
    pub lasts: Option<Duration>,
    /// So many of the bots, who are not audited, come when a second window begins, and then stand: a swarm on one core
    /// could not move all.
    pub storm: usize,
    /// Every so many bots, one is on a bad link; 1: all.
    pub bad_every: Option<usize>,
    /// What a bad link is.
    pub link: Link,
    /// Those who are not audited leave and come back after about this long.
    pub life: Option<Duration>,
    /// Who gives commands.
    pub users: Option<Users>,
    /// Whether the gateway keeps what was done in a data folder.
    pub data: bool,
    /// Gateways, on one Apache Kafka if there are two.
    pub gateways: usize,
    /// What is wanted.
    pub wanted: Vec<Wanted>,
}

impl Scenario {
    /// How long it takes until the last bot has had its turn to join.
    #[must_use]
    pub fn turns(&self) -> Duration {
        Duration::from_secs_f64((self.bots - self.storm) as f64 / f64::from(self.joins_per_s))
    }

    /// How long it measures, if no window is void.
    #[must_use]
    pub fn measured(&self) -> Duration {
        let windows = if self.storm > 0 { 2 } else { 1 };
        self.lasts.unwrap_or(Duration::from_secs(self.seconds * windows))
    }

    /// This scenario on each server that is compared; on its own if none is.
    #[must_use]
    pub fn rows(&self) -> Vec<Scenario> {
        let servers = if self.compared.is_empty() { std::slice::from_ref(&self.server) } else { &self.compared };
        let row = |server: &Server| {
            let mut row = Scenario { server: *server, ..self.clone() };
            if *server == Server::NEARCAST {
                row.wanted.extend(compare::wanted(&self.compared));
            }
            row
        };
        servers.iter().map(row).collect()
    }

    /// The people it needs, playing `scenes` if it has none of its own.
    ///
    /// # Errors
    /// When the scenes do not fit.
    pub fn crowd(&self, scenes: &[Scene]) -> Result<Crowd> {
        let its_own = self.scenes.map(catalogue::scenes).transpose()?;
        let scenes = its_own.as_deref().unwrap_or(scenes);
        match self.place {
            Place::Tiles(scenes_per_tile) => {
                let layout = Layout { scenes_per_tile, ..Layout::wide(scenes, self.radius_m) };
                Crowd::tiled(scenes, self.bots, layout)
            }
            Place::Close => Crowd::tiled(scenes, self.bots, Layout::close(scenes, self.radius_m)),
            Place::Alone => Ok(Crowd::alone(self.bots, Layout::close(&[], self.radius_m).spacing_m)),
            Place::Spot => {
                let reach_m = scenes.iter().map(|scene| scene.reach_m).fold(0.0, f64::max);
                Crowd::one_spot(scenes, self.bots, SPOT_M.max(reach_m + 1.0))
            }
        }
    }

    /// Whether a bot's link is bad.
    #[must_use]
    pub fn is_bad(&self, bot: usize) -> bool {
        self.bad_every.is_some_and(|every| bot % every == every - 1)
    }

    /// How often a bot gives a command, µs.
    #[must_use]
    pub fn uses_us(&self, bot: usize) -> Option<u64> {
        let Users { every, each_us, varied, .. } = self.users?;
        let gives = bot % every == every / 2 && matches!(self.server.dialect, Dialect::Nearcast(_));
        let more_us = if varied { (bot as u64 * 7_919) % each_us } else { 0 };
        gives.then_some(each_us + more_us)
    }

    /// Whether a bot is audited: some of all tiles, and all on a bad link up to as many.
    #[must_use]
    pub fn is_audited(&self, bot: usize) -> bool {
        let audited = if self.place == Place::Spot { AUDITED_IN_SPOT } else { AUDITED };
        let every = ((self.bots - self.storm) / audited).max(1);
        let is_resident = bot < self.bots - self.storm;
        let is_judged = is_resident && bot.is_multiple_of(every) || (self.is_bad(bot) && self.bad_every != Some(1));
        is_judged && matches!(self.server.dialect, Dialect::Nearcast(_))
    }

    /// Whether all bots keep a table of what they receive, or the audited ones only: the tables of all in one spot, or of
    /// thousands, would be more than one core of a swarm can keep.
    #[must_use]
    pub fn all_keep(&self) -> bool {
        self.place != Place::Spot && self.bots <= KEEPING_MAX
    }

    /// Budget asked for, bytes per second.
    #[must_use]
    pub fn budget(&self) -> u32 {
        BUDGET_BYTES_PER_S
    }

    /// Entities that the budget is sure to hold in view: a tenth less than the gateway plans for, because who is held
    /// already comes before others who are a little nearer.
    #[must_use]
    pub fn holds(&self) -> usize {
        let per_tick = u64::from(self.budget()) * TICK_US / SECOND_US;
        match self.server.dialect {
            Dialect::Nearcast(encoding) => capacity(encoding, per_tick as usize) * 9 / 10,
            Dialect::Packed | Dialect::Json | Dialect::Colyseus => usize::MAX,
        }
    }
}
