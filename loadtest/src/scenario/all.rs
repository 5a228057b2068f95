//! All scenarios that there are.

use std::time::Duration;

use anyhow::{Context, Result};
use nearcast::limits::{ACTS_PER_S, RADIUS_M, RADIUS_MAX_M, SECOND_US, TICK_US};

use super::{Place, Scenario, Users};
use crate::relay::Link;
use crate::server::Server;
use crate::sheet::Wanted;
use crate::swarm::hands::Manner;

/// So many join per second.
const JOINS_PER_S: u32 = 200;
/// The same where servers are compared: joining is not what is measured, and a view that fills costs some of them more
/// than one that is held.
const JOINS_PER_S_COMPARED: u32 = 50;

/// In the demonstration one of so many uses things: a command or two a second for each hundred.
const USERS: Users = Users { every: 8, manner: Manner::Uses, each_us: SECOND_US, varied: true };
/// Each says something as often as a session may.
const TALKERS: Users = Users { every: 1, manner: Manner::Talks, each_us: SECOND_US / ACTS_PER_S as u64, varied: false };
/// Of 500 bots, 20 say something once a second.
const BESIDE: Users = Users { every: 25, manner: Manner::Talks, each_us: SECOND_US, varied: false };

impl Scenario {
    /// All, in the order in which they run and are shown.
    #[must_use]
    pub fn all() -> Vec<Scenario> {
        let cars = Scenario::bytes("rocketleague", "60 recorded cars and 10 balls, 6 others within 128 m", 70, 5.0);
        let players = "120 recorded players, referees and balls, 14 others within 50 m";
        vec![
            Scenario::quarter(),
            Scenario::floor(500),
            Scenario::peers("peers50", "200 bots, about 50 others in radius", 200, 1),
            Scenario::peers("peers100", "500 bots, about 100 others in radius", 500, 2),
            Scenario::bytes("juelich", "411 recorded people once each, 53 others in radius", 411, 1.5),
            Scenario { world: "arena", ..Scenario::bytes("football", players, 120, 2.5) },
            Scenario { world: "arena", radius_m: RADIUS_MAX_M, ..cars },
            Scenario::grow("grow100", 100),
            Scenario::grow("grow500", 500),
            Scenario::grow("grow1000", 1_000),
            // A core of gateway has room for these, and for half of the next; the swarm needs several.
            Scenario { usual: false, ..Scenario::grow("grow2000", 2_000) },
            Scenario { usual: false, ..Scenario::grow("grow5000", 5_000) },
            Scenario::idle(),
            Scenario::spot_of("spot100", "100 bots in one spot at 24 KiB/s", 100),
            Scenario::spot_of("spot300", "300 bots in one spot at 24 KiB/s", 300),
            Scenario::loaded(),
            Scenario::spot("spot1000", Server::NEARCAST),
            // The swarm reads seconds late: a core of it cannot take in the states of so many.
            Scenario { usual: false, ..Scenario::crowded() },
            Scenario::spot("spot1000json", Server::NEARCAST_JSON),
            Scenario::storm(),
            Scenario::steady(),
            Scenario::slow(),
            Scenario::far(),
            Scenario::churn(),
            Scenario::kafka(500),
            Scenario::commands("commands1", "1 bot that says something 5 times a second, synced to disk", 1),
            Scenario::commands("commands100", "100 bots that say something 5 times a second, synced to disk", 100),
            Scenario::commands("commands1000", "1,000 bots that say something 5 times a second, synced to disk", 1_000),
            Scenario::acts(),
        ]
    }

    /// The scenario of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Scenario> {
        let found = Scenario::all().into_iter().find(|scenario| scenario.name == name);
        let names = || Scenario::all().iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
        found.with_context(|| format!("no scenario `{name}`: name one of {}", names()))
    }

    /// Recorded people on the plaza, on a healthy link.
    #[must_use]
    pub fn plaza(bots: usize) -> Scenario {
        Scenario {
            name: "plaza500",
            about: "500 bots, about 50 others in radius, embedded log",
            usual: true,
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
            lasts: None,
            storm: 0,
            users: None,
            data: false,
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

    /// Whether what is good at first stays so: half an hour.
    fn steady() -> Scenario {
        let mut loaded = Scenario::loaded();
        // In half an hour a shared machine stands still now and then: ticks are judged by `spot700`, and shown here.
        loaded.wanted.retain(|rule| rule.figure == "lost_sessions");
        loaded.wanted.extend([
            Wanted::at_most("rss_spread_percent", 4.0),
            Wanted::at_most("age_p50_of_first", 1.1),
            Wanted::at_most("age_p99_of_first", 1.1),
        ]);
        let (about, lasts) = ("700 bots in one spot for 30 minutes", Some(Duration::from_secs(1_800)));
        Scenario { name: "steady700", about, usual: false, lasts, ..loaded }
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

    /// As [`Scenario::plaza`], judged as loosely as a shared machine needs.
    #[must_use]
    pub fn demo(bots: usize, kafka: bool) -> Scenario {
        let plaza = Scenario::plaza(bots);
        let wanted = objectives(18.0, 3.0);
        let on_kafka = |rule: &Wanted| !kafka || !rule.figure.starts_with("age");
        // Two gateways and a swarm on two cores miss a tick now and then: the rate, which counts it, may be 18/s. Who lost the
        // connection and came back is judged apart.
        let by_rate = |rule: &Wanted| rule.figure != "missed_states";
        let wanted = wanted.into_iter().filter(|rule| on_kafka(rule) && by_rate(rule)).collect();
        Scenario {
            name: "demo",
            users: Some(USERS),
            data: !kafka,
            gateways: if kafka { 2 } else { 1 },
            wanted,
            ..plaza
        }
    }

    /// How many commands a second are acknowledged, and when: what was said is in the data folder then. Nobody is near, and
    /// nobody moves, so that nothing else is measured.
    fn commands(name: &'static str, about: &'static str, bots: usize) -> Scenario {
        Scenario {
            name,
            about,
            usual: false,
            place: Place::Alone,
            users: Some(TALKERS),
            data: true,
            seconds: 10,
            wanted: vec![
                Wanted::at_most("commands_refused", 0.0),
                Wanted::at_most("refusals_heard", 0.0),
                Wanted::at_most("lost_sessions", 0.0),
            ],
            ..Scenario::plaza(bots)
        }
    }

    /// What commands cost the main load, and it them.
    fn acts() -> Scenario {
        Scenario {
            name: "plaza500acts",
            about: "plaza500 with a data folder, and 20 commands a second, each heard by about 50",
            usual: false,
            users: Some(BESIDE),
            data: true,
            ..Scenario::quarter()
        }
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
    use crate::scene::Scene;

    #[test]
    fn every_scenario_has_its_crowd() {
        for scenario in Scenario::all() {
            let crowd = scenario.crowd(&Scene::plaza()).expect("the plaza fits");
            assert_eq!(crowd.agents.len(), scenario.bots);
            let is_judged = (0..scenario.bots).any(|bot| scenario.is_audited(bot));
            assert_eq!(is_judged, scenario.name != "floor500");
        }
    }

    #[test]
    fn a_name_is_of_one_scenario() {
        for scenario in Scenario::all() {
            assert_eq!(Scenario::all().iter().filter(|other| other.name == scenario.name).count(), 1);
            assert_eq!(Scenario::named(scenario.name).expect("listed").about, scenario.about);
        }
        let error = Scenario::named("none").expect_err("is not listed").to_string();
        assert!(error.contains("`none`") && error.contains("spot1000json"), "{error}");
    }

    #[test]
    fn what_two_cores_or_a_while_cannot_do_runs_by_name_only() {
        let by_name: Vec<&str> = Scenario::all().iter().filter(|one| !one.usual).map(|one| one.name).collect();
        assert_eq!(
            by_name,
            [
                "grow2000",
                "grow5000",
                "spot3000",
                "steady700",
                "commands1",
                "commands100",
                "commands1000",
                "plaza500acts"
            ]
        );
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
