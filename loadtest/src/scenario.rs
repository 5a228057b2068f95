//! The scenarios: which bots on which links, for how long, and which figures are wanted of them.

use std::time::Duration;

use anyhow::{Result, bail};
use nearcast::limits::{BUDGET_BYTES_PER_S, RADIUS_M, SECOND_US, TICK_US};
use nearcast::view::capacity;

use crate::crowd::{Crowd, Layout};
use crate::relay::Link;
use crate::scene::Scene;
use crate::server::Server;
use crate::sheet::Wanted;
use crate::swarm::dialect::Dialect;

/// Bots whose views are judged, of a crowd in tiles.
const AUDITED: usize = 50;
/// The same of a crowd in one spot, where each view is twenty times as large.
const AUDITED_IN_SPOT: usize = 8;
/// So many join per second.
const JOINS_PER_S: u32 = 200;
/// The same where servers are compared: joining is not what is measured, and a view that fills costs some of them more
/// than one that is held.
const JOINS_PER_S_COMPARED: u32 = 50;
/// A crowd in one spot lies within this of the origin, metres: all are within the radius of all.
const SPOT_M: f64 = 20.0;

/// How the bots stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Tiles far from each other, in each so many scenes over each other.
    Tiles(usize),
    /// All near the origin.
    Spot,
}

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// Bots.
    pub bots: usize,
    /// Where they stand.
    pub place: Place,
    /// What they connect to.
    pub server: Server,
    /// Servers to be compared: in each run the same bots go to one after the other. If there are none, only to `server`.
    pub compared: Vec<Server>,
    /// So many join per second.
    pub joins_per_s: u32,
    /// From the last joining to the window.
    pub settle: Duration,
    /// Length of the window.
    pub seconds: u64,
    /// Every so many bots, one is on a bad link; 1: all.
    pub bad_every: Option<usize>,
    /// What a bad link is.
    pub link: Link,
    /// Those who are not audited leave and come back after about this long.
    pub life: Option<Duration>,
    /// Gateways, on one Apache Kafka if there are two.
    pub gateways: usize,
    /// What is wanted.
    pub wanted: Vec<Wanted>,
}

impl Scenario {
    /// All names.
    pub const NAMES: [&'static str; 10] = [
        "plaza500",
        "floor500",
        "peers50",
        "peers100",
        "spot1000",
        "spot1000json",
        "slow5k",
        "rtt300",
        "churn",
        "kafka2",
    ];

    /// The scenario of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Scenario> {
        Ok(match name {
            "plaza500" => Scenario::plaza(500),
            "floor500" => Scenario::floor(500),
            "peers50" => Scenario::peers("peers50", "200 bots, about 50 others in radius", 200, 1),
            "peers100" => Scenario::peers("peers100", "500 bots, about 100 others in radius", 500, 2),
            "spot1000" => Scenario::spot("spot1000", Server::NEARCAST),
            "spot1000json" => Scenario::spot("spot1000json", Server::NEARCAST_JSON),
            "slow5k" => Scenario::slow(),
            "rtt300" => Scenario::far(),
            "churn" => Scenario::churn(),
            "kafka2" => Scenario::kafka(500),
            other => bail!("no scenario `{other}`: name one of {}", Scenario::NAMES.join(", ")),
        })
    }

    /// Recorded people on the plaza, on a healthy link.
    #[must_use]
    pub fn plaza(bots: usize) -> Scenario {
        Scenario {
            name: "plaza500",
            about: "500 bots, about 50 others in radius, embedded log",
            bots,
            place: Place::Tiles(1),
            server: Server::NEARCAST,
            compared: Vec::new(),
            joins_per_s: JOINS_PER_S,
            settle: Duration::from_secs(3),
            seconds: 20,
            bad_every: None,
            link: Link::default(),
            life: None,
            gateways: 1,
            wanted: objectives(19.8, 1.0),
        }
    }

    /// As [`Scenario::plaza`], on a server that does the least: what the machine costs by itself.
    fn floor(bots: usize) -> Scenario {
        Scenario {
            name: "floor500",
            about: "the same crowd on the floor: one thread that reads, finds who is near, and sends it all",
            server: Server::FLOOR,
            wanted: Vec::new(),
            ..Scenario::plaza(bots)
        }
    }

    /// The same crowd on nearcast and on servers of other makes; judged is only whether each does the job.
    fn peers(name: &'static str, about: &'static str, bots: usize, scenes: usize) -> Scenario {
        Scenario {
            name,
            about,
            place: Place::Tiles(scenes),
            compared: Server::COMPARED.to_vec(),
            joins_per_s: JOINS_PER_S_COMPARED,
            seconds: 10,
            wanted: vec![
                Wanted { figure: "held_of_others", bounds: (0.98, 1.02) },
                Wanted::at_least("states_per_s_median", 18.0),
                Wanted::at_most("lost_sessions", 0.0),
            ],
            ..Scenario::plaza(bots)
        }
    }

    /// How long it takes until the last bot has had its turn to join.
    #[must_use]
    pub fn turns(&self) -> Duration {
        Duration::from_secs_f64(self.bots as f64 / f64::from(self.joins_per_s))
    }

    /// This scenario on each server that is compared; on its own if none is.
    #[must_use]
    pub fn rows(&self) -> Vec<Scenario> {
        let servers = if self.compared.is_empty() { std::slice::from_ref(&self.server) } else { &self.compared };
        servers.iter().map(|server| Scenario { server: *server, ..self.clone() }).collect()
    }

    /// As [`Scenario::plaza`], judged as loosely as a shared machine needs.
    #[must_use]
    pub fn demo(bots: usize, kafka: bool) -> Scenario {
        let plaza = Scenario::plaza(bots);
        let wanted = objectives(18.0, 3.0);
        let on_kafka = |rule: &Wanted| !kafka || !rule.figure.starts_with("age");
        // Two gateways and a swarm on two cores miss a tick now and then: the rate, which counts it, may be 18/s.
        let by_rate = |rule: &Wanted| rule.figure != "missed_states";
        let wanted = wanted.into_iter().filter(|rule| on_kafka(rule) && by_rate(rule)).collect();
        Scenario { name: "demo", gateways: if kafka { 2 } else { 1 }, wanted, ..plaza }
    }

    fn spot(name: &'static str, server: Server) -> Scenario {
        let packed = server == Server::NEARCAST;
        let budget = [Wanted::at_most("budget_depth_s", 0.51)];
        let all = [
            Wanted::at_most("joined_8s_missing_max", 0.0),
            Wanted::at_most("stale_max_ms", 2_000.0),
            Wanted { figure: "nearest_hz", bounds: (19.0, 21.0) },
            Wanted::at_least("ticks_per_s", 19.8),
            Wanted::at_most("lost_sessions", 0.0),
        ];
        let more: &[Wanted] = if packed { &all } else { &[] };
        Scenario {
            name,
            about: "1,000 bots in one spot at 24 KiB/s",
            bots: 1_000,
            place: Place::Spot,
            server,
            settle: Duration::from_secs(9),
            wanted: budget.iter().chain(more).copied().collect(),
            ..Scenario::plaza(0)
        }
    }

    fn slow() -> Scenario {
        let mut wanted = objectives(19.8, 1.0);
        wanted.extend([Wanted::at_most("bad_view_age_max_ms", 1_000.0), Wanted::at_most("rss_growth_mib", 16.0)]);
        // Ticks are skipped for the slow, on purpose.
        wanted.retain(|rule| rule.figure != "skipped_ticks");
        Scenario {
            name: "slow5k",
            about: "200 bots, every tenth reads 5,000 bytes per second",
            bots: 200,
            bad_every: Some(10),
            link: Link { bytes_per_s: Some(5_000), ..Link::default() },
            settle: Duration::from_secs(10),
            seconds: 30,
            wanted,
            ..Scenario::plaza(0)
        }
    }

    fn far() -> Scenario {
        Scenario {
            name: "rtt300",
            about: "100 bots, 150 ms each way added",
            bots: 100,
            bad_every: Some(1),
            link: Link { delay: Duration::from_millis(150), ..Link::default() },
            wanted: vec![
                Wanted::at_least("bad_served_per_s_min", 19.8),
                Wanted::at_most("skipped_ticks", 0.0),
                Wanted::at_most("lost_sessions", 0.0),
            ],
            ..Scenario::plaza(0)
        }
    }

    fn churn() -> Scenario {
        Scenario {
            name: "churn",
            about: "300 bots, of whom 250 stay for 6 to 10 s and come back a second later",
            bots: 300,
            life: Some(Duration::from_secs(8)),
            ..Scenario::plaza(0)
        }
    }

    fn kafka(bots: usize) -> Scenario {
        Scenario {
            name: "kafka2",
            about: "500 bots on two gateways that meet in Apache Kafka, after 60 s of warm-up",
            settle: Duration::from_secs(60),
            gateways: 2,
            // The ages are the broker's as much as ours: they are printed.
            wanted: vec![Wanted::at_most("missing_ghost_per_million", 100.0), Wanted::at_most("lost_sessions", 0.0)],
            ..Scenario::plaza(bots)
        }
    }

    /// The people it needs.
    ///
    /// # Errors
    /// When the scenes do not fit.
    pub fn crowd(&self, scenes: &[Scene]) -> Result<Crowd> {
        match self.place {
            Place::Tiles(per_tile) => {
                Crowd::tiled(scenes, self.bots, Layout { scenes_per_tile: per_tile, ..Layout::default() })
            }
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

    /// Whether a bot is audited: some of all tiles, and all on a bad link up to as many.
    #[must_use]
    pub fn is_audited(&self, bot: usize) -> bool {
        let audited = if self.place == Place::Spot { AUDITED_IN_SPOT } else { AUDITED };
        let every = (self.bots / audited).max(1);
        let is_judged = bot.is_multiple_of(every) || (self.is_bad(bot) && self.bad_every != Some(1));
        is_judged && matches!(self.server.dialect, Dialect::Nearcast(_))
    }

    /// Budget asked for, bytes per second.
    #[must_use]
    pub fn budget(&self) -> u32 {
        BUDGET_BYTES_PER_S
    }

    /// Radius asked for, metres.
    #[must_use]
    pub fn radius_m(&self) -> f64 {
        RADIUS_M
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

/// The objectives on a healthy link; ages may be looser by a factor.
fn objectives(states_per_s: f64, age_factor: f64) -> Vec<Wanted> {
    vec![
        // Of each bot: states, and ticks that had nothing to tell it.
        Wanted::at_least("served_per_s_min", states_per_s),
        Wanted::at_most("age_p50_ms", 35.0 * age_factor),
        Wanted::at_most("age_p99_ms", 75.0 * age_factor),
        Wanted::at_most("codec_error_p99_cm", 1.0),
        Wanted::at_most("missing_ghost_per_million", 100.0),
        Wanted::at_most("skipped_ticks", 0.0),
        Wanted::at_most("missed_states", 0.0),
        Wanted::at_most("lost_sessions", 0.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_its_crowd() {
        for name in Scenario::NAMES {
            let scenario = Scenario::named(name).expect("listed");
            assert_eq!(scenario.name, name);
            let crowd = scenario.crowd(&Scene::plaza()).expect("the plaza fits");
            assert_eq!(crowd.agents.len(), scenario.bots);
            let is_judged = (0..scenario.bots).any(|bot| scenario.is_audited(bot));
            assert_eq!(is_judged, name != "floor500");
        }
        assert!(Scenario::named("none").is_err());
    }

    #[test]
    fn the_default_budget_holds_a_thousand() {
        assert!(Scenario::named("spot1000").expect("listed").holds() > 999);
        assert!(Scenario::named("spot1000json").expect("listed").holds() < 400);
    }
}
