//! Each server of the comparison does the job: bots see exactly those who are near, again and again, and what they are
//! sent is counted. Needs Node.js and `npm ci` in `peers`; fails with what lacks.

use std::path::Path;
use std::time::Duration;

use nearcast::limits::{BUDGET_BYTES_PER_S, RADIUS_M};
use nearcast_loadtest::crowd::{Crowd, Layout};
use nearcast_loadtest::gateway::{Gateway, Placing, Start};
use nearcast_loadtest::scene::Scene;
use nearcast_loadtest::server::{Program, Server};
use nearcast_loadtest::swarm::hands::Manner;
use nearcast_loadtest::swarm::{BotPlan, Counts, Swarm, SwarmPlan};
use tokio::task::LocalSet;

/// A scene has 51 people: the last bots are alone with each other in the second tile.
const BOTS: usize = 56;
const WITHIN: Duration = Duration::from_secs(20);

async fn shows_who_is_near(server: Server) {
    let words = match server.program {
        Program::Floor(words) => {
            let floor = env!("CARGO_BIN_EXE_nearcast-floor");
            std::iter::once(floor).chain(words.iter().copied()).map(Into::into).collect()
        }
        Program::Node(_) => server.words(Path::new("")).expect("what it needs is there"),
        Program::Gateway => unreachable!("the gateway has its own tests"),
    };
    let placing = Placing { pinned: false, real_time: false };
    let (kafka, data, server_token) = (None, None, None);
    let start = Start { words: &words, number: 0, world: "plaza", kafka, prefix: "", data, server_token, placing };
    let gateway = Gateway::start(start).await.expect("it starts");
    let crowd = Crowd::tiled(&Scene::plaza(), BOTS, Layout::default()).expect("the plaza fits");
    let others = crowd.others_within(RADIUS_M, 0.0);
    let bot = |agent| BotPlan {
        agent,
        gateway: 0,
        addr: gateway.listen,
        one_way_us: 0,
        keeps: true,
        audited: false,
        idle: false,
        group: 0,
        uses_us: None,
        manner: Manner::Uses,
        life_us: None,
    };
    let swarm = Swarm::start(SwarmPlan {
        bots: crowd.agents.into_iter().map(bot).collect(),
        gateways: 1,
        dialect: server.dialect,
        world: String::new(),
        radius_m: RADIUS_M,
        budget: BUDGET_BYTES_PER_S,
        joins_per_s: 200,
        storm: 0,
        holds: usize::MAX,
    });
    swarm.all_joined(WITHIN).await.expect("all can join");
    let wanted = (others * BOTS as f64).round() as usize;
    let seen = swarm.until(WITHIN, || swarm.held().iter().sum::<usize>() == wanted).await;
    assert!(seen, "{}: {:?} of {wanted} others in view", server.name, swarm.held());

    swarm.begin();
    let has_counted = |bot: &Counts| bot.states >= 20 && bot.updates >= 20;
    let counted = swarm.until(WITHIN, || swarm.counts().iter().all(has_counted)).await;
    assert!(counted, "{}: {:?}", server.name, swarm.counts());
    let window = swarm.window();
    assert_eq!(window.counters.lost, Vec::<String>::new(), "{}", server.name);
    for (bot, held) in window.bots.iter().zip(&window.held) {
        // Nobody is told more than everybody near in each state, and 20 states a second, plus those that were on the way.
        assert!(bot.updates <= bot.states * *held as u64, "{}: {bot:?} with {held} in view", server.name);
        assert!(bot.states as f64 <= window.seconds * 20.0 + 20.0, "{}: {bot:?} in {} s", server.name, window.seconds);
        assert!(bot.bytes >= bot.updates * 3, "{}: {bot:?}", server.name);
    }
    swarm.close();
}

async fn shows(server: Server) {
    LocalSet::new().run_until(shows_who_is_near(server)).await;
}

#[tokio::test]
async fn floor() {
    shows(Server::FLOOR).await;
}

#[tokio::test]
async fn floor_per_message() {
    shows(Server::FLOOR_PER_MESSAGE).await;
}

#[tokio::test]
async fn ws_packed() {
    shows(Server::WS_PACKED).await;
}

#[tokio::test]
async fn ws_json() {
    shows(Server::WS_JSON).await;
}

#[tokio::test]
async fn colyseus() {
    shows(Server::COLYSEUS).await;
}
