//! The scenarios: which bots on which links, for how long, and which figures are wanted of them.

use std::time::Duration;

use anyhow::{Result, bail};
use nearcast::limits::{BUDGET_BYTES_PER_S, RADIUS_M, RADIUS_MAX_M, SECOND_US, TICK_US};
use nearcast::view::capacity;

use crate::catalogue;
use crate::compare;
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
/// As many bots at most all keep a table of what they receive.
const KEEPING_MAX: usize = 1_000;
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
    /// Tiles of a scene each, as close to each other as they can be without being in view.
    Close,
    /// Each where nobody is in view, without ever moving.
    Alone,
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
    /// Windows, one after the other; the last is told of, with what has changed since the first.
    pub windows: usize,
    /// So many of the bots, who are not audited, come when the second window begins, and then stand: a swarm on one core
    /// could not move all.
    pub storm: usize,
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
    /// All names. Those that [`Scenario::is_long`] run by name only.
    pub const NAMES: [&'static str; 25] = [
        "plaza500",
        "floor500",
        "peers50",
        "peers100",
        "juelich",
        "football",
        "rocketleague",
        "grow100",
        "grow500",
        "grow1000",
        "grow2000",
        "grow5000",
        "idle2000",
        "spot100",
        "spot300",
        "spot700",
        "spot1000",
        "spot3000",
        "spot1000json",
        "storm1000",
        "steady700",
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
            "plaza500" => Scenario::quarter(),
            "spot700" => Scenario::loaded(),
            "storm1000" => Scenario::storm(),
            "steady700" => Scenario::steady(),
            "floor500" => Scenario::floor(500),
            "juelich" => Scenario::bytes("juelich", "411 recorded people once each, 53 others in radius", 411, 1.5),
            "football" => {
                let about = "120 recorded players, referees and balls, 14 others within 50 m";
                Scenario { world: "arena", ..Scenario::bytes("football", about, 120, 2.5) }
            }
            "rocketleague" => {
                let about = "60 recorded cars and 10 balls, 6 others within 128 m";
                let cars = Scenario::bytes("rocketleague", about, 70, 5.0);
                Scenario { world: "arena", radius_m: RADIUS_MAX_M, ..cars }
            }
            "grow100" => Scenario::grow("grow100", 100),
            "grow500" => Scenario::grow("grow500", 500),
            "grow1000" => Scenario::grow("grow1000", 1_000),
            "grow2000" => Scenario::grow("grow2000", 2_000),
            "grow5000" => Scenario::grow("grow5000", 5_000),
            "idle2000" => Scenario::idle(),
            "spot100" => Scenario::spot_of("spot100", "100 bots in one spot at 24 KiB/s", 100),
            "spot300" => Scenario::spot_of("spot300", "300 bots in one spot at 24 KiB/s", 300),
            "spot3000" => Scenario::crowded(),
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
            scenes: None,
            place: Place::Tiles(1),
            world: "plaza",
            radius_m: RADIUS_M,
            server: Server::NEARCAST,
            compared: Vec::new(),
            joins_per_s: JOINS_PER_S,
            settle: Duration::from_secs(3),
            seconds: 20,
            windows: 1,
            storm: 0,
            bad_every: None,
            link: Link::default(),
            life: None,
            gateways: 1,
            wanted: objectives(19.8, 1.0),
        }
    }

    /// About a quarter of a core: how late what a client sees is, there.
    fn quarter() -> Scenario {
        let mut plaza = Scenario::plaza(500);
        plaza.wanted.retain(|rule| !rule.figure.starts_with("age"));
        let tick_ms = TICK_US as f64 / 1e3;
        plaza.wanted.extend([
            Wanted::at_most("age_p50_ms", tick_ms / 2.0 + 3.0),
            Wanted::at_most("age_p99_ms", tick_ms + 5.0),
            Wanted::at_most("tick_delay_p99_ms", 2.0),
            Wanted::at_most("rss_per_client_kib", 24.0),
        ]);
        plaza
    }

    /// Whether those who are in feel that many come.
    fn storm() -> Scenario {
        Scenario {
            name: "storm1000",
            about: "500 bots, to whom 1,000 more come within 2 s, elsewhere in the world, and stand still",
            bots: 1_500,
            storm: 1_000,
            windows: 2,
            seconds: 8,
            wanted: vec![Wanted::at_most("age_p99_of_first", 1.5), Wanted::at_most("lost_sessions", 0.0)],
            ..Scenario::plaza(0)
        }
    }

    /// About 70 % of a core: whether the last client of a tick waits longer than the work before it takes. In one spot,
    /// where a client costs the gateway more and the swarm no more: 1,300 with 50 near are too many for a swarm on one core.
    fn loaded() -> Scenario {
        let mut spot = Scenario::spot_of("spot700", "700 bots in one spot at 24 KiB/s, 70 % of a core", 700);
        spot.wanted = vec![
            Wanted::at_least("served_per_s_min", 19.0),
            Wanted::at_most("skipped_ticks", 0.0),
            Wanted::at_most("lost_sessions", 0.0),
            // As wanted of a quarter of a core, where the work is short.
            Wanted::at_most("age_p99_less_work_ms", TICK_US as f64 / 1e3 + 5.0),
        ];
        spot
    }

    /// Whether what is good at first stays so. Not among the usual ones: it takes half an hour.
    fn steady() -> Scenario {
        let mut loaded = Scenario::loaded();
        // Ages are held against those of the first window.
        loaded.wanted.retain(|rule| !rule.figure.starts_with("age"));
        loaded.wanted.extend([
            Wanted::at_most("rss_spread_percent", 4.0),
            Wanted::at_most("age_p50_of_first", 1.1),
            Wanted::at_most("age_p99_of_first", 1.1),
        ]);
        let about = "700 bots in one spot for 30 minutes, in windows of five";
        Scenario { name: "steady700", about, seconds: 300, windows: 6, ..loaded }
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

    /// What a recording costs on the socket: its scenes once each, with nobody coming or going.
    fn bytes(name: &'static str, about: &'static str, bots: usize, per_update: f64) -> Scenario {
        let wanted = vec![
            Wanted::at_most("bytes_per_update", per_update),
            Wanted::at_most("envelope_bytes_per_state", 14.0),
            Wanted::at_most("tick_error_p99_cm", 1.0),
            // Who misses ticks saves their bytes.
            Wanted::at_least("served_per_s_min", 19.8),
            Wanted::at_most("missing_ghost_per_million", 100.0),
            Wanted::at_most("refusals_heard", 0.0),
            Wanted::at_most("lost_sessions", 0.0),
        ];
        Scenario { name, about, scenes: Some(name), place: Place::Close, wanted, ..Scenario::plaza(bots) }
    }

    /// The same crowd on nearcast and on servers of other makes: whether each does the job, and what ours costs beside them.
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
        Duration::from_secs_f64((self.bots - self.storm) as f64 / f64::from(self.joins_per_s))
    }

    /// Whether it takes too long to be among those that run when none is named.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.seconds * self.windows as u64 > 300
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

    /// The same with fewer: for how the cost grows, see [`crate::growth`].
    fn spot_of(name: &'static str, about: &'static str, bots: usize) -> Scenario {
        let mut wanted = every_tick();
        wanted.push(Wanted::at_most("budget_depth_s", 0.51));
        Scenario { name, about, bots, wanted, ..Scenario::spot(name, Server::NEARCAST) }
    }

    /// More than there is time for: which rate holds is shown, as `served_per_s_min`, `nearest_hz` and `state_rows_max`.
    fn crowded() -> Scenario {
        let spot = Scenario::spot_of("spot3000", "3,000 bots in one spot at 24 KiB/s", 3_000);
        let wanted = vec![Wanted::at_most("budget_depth_s", 0.51), Wanted::at_most("lost_sessions", 0.0)];
        Scenario { wanted, ..spot }
    }

    /// Modelled walkers, equally dense however many there are.
    fn grow(name: &'static str, bots: usize) -> Scenario {
        let about = "modelled walkers, 19 others in radius";
        Scenario {
            name,
            about,
            scenes: Some("model:juelich:20"),
            place: Place::Close,
            wanted: every_tick(),
            ..Scenario::plaza(bots)
        }
    }

    /// What a client costs that only stays.
    fn idle() -> Scenario {
        Scenario {
            name: "idle2000",
            about: "2,000 bots that stand still, with nobody in radius, and say only what they have seen",
            place: Place::Alone,
            wanted: [vec![Wanted::at_most("cpu_us_per_client_tick", 0.5)], every_tick()].concat(),
            ..Scenario::plaza(2_000)
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

/// What makes a cost per client-tick mean something: it is over all ticks, so who misses some looks cheaper.
fn every_tick() -> Vec<Wanted> {
    vec![
        Wanted::at_most("missed_ticks", 0.0),
        Wanted::at_least("served_per_s_min", 19.8),
        Wanted::at_most("lost_sessions", 0.0),
    ]
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
    fn only_the_half_hour_is_long() {
        let named = |name| Scenario::named(name).expect("listed");
        let long: Vec<&str> = Scenario::NAMES.into_iter().filter(|name| named(name).is_long()).collect();
        assert_eq!(long, ["steady700"]);
    }

    #[test]
    fn a_goal_of_cpu_is_not_met_by_missing_ticks() {
        let wants = |name, figure| {
            let scenario = Scenario::named(name).expect("listed");
            scenario.wanted.iter().any(|rule| rule.figure == figure)
        };
        for name in ["grow100", "grow5000", "spot100", "spot300", "spot1000", "idle2000"] {
            assert!(wants(name, "missed_ticks") || wants(name, "ticks_per_s"), "{name}");
            assert!(wants(name, "served_per_s_min") || wants(name, "ticks_per_s"), "{name}");
            assert!(wants(name, "lost_sessions"), "{name}");
        }
    }

    #[test]
    fn the_default_budget_holds_a_thousand_and_fewer_in_json() {
        assert!(Scenario::named("spot1000").expect("listed").holds() > 999);
        assert!(Scenario::named("spot1000json").expect("listed").holds() < 999);
    }
}
