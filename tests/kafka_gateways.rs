//! Two gateways that meet in a genuine Apache Kafka: they show each other's avatars, and outlive a broker that stands
//! still for 20 s under load.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nearcast::codec::Encoding;
use nearcast::codec::message::{ByeIn, Id, In, Out, Scope};
use nearcast::edge::Gateway;
use nearcast::space::Pos;
use support::{Client, gateway, within};

/// A broker of this test's own, so that it may be stopped.
struct Broker {
    folder: PathBuf,
    bootstrap: String,
    pid: String,
}

impl Broker {
    fn start(name: &str) -> Broker {
        let folder = std::env::temp_dir().join(format!("nearcast-{name}-{}", std::process::id()));
        let script = |command| {
            let mut run = Command::new("deploy/kafka/kafka.sh");
            run.arg(command).env("KAFKA_DIR", &folder).env("KAFKA_PORT", "0").env_remove("KAFKA_BOOTSTRAP");
            run.output().expect("deploy/kafka/kafka.sh runs")
        };
        let started = script("start");
        let said = String::from_utf8_lossy(&started.stderr);
        assert!(started.status.success(), "no broker; it needs Java and Maven (make setup-test): {said}");
        let read = |file| std::fs::read_to_string(folder.join(file)).expect("the script wrote it").trim().to_owned();
        Broker { bootstrap: read("bootstrap"), pid: read("broker.pid"), folder }
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid]).status().expect("kill runs").success());
    }

    async fn gateway(&self) -> Gateway {
        gateway(&format!("log = 'kafka://{}'", self.bootstrap)).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.signal("-CONT");
        let mut stop = Command::new("deploy/kafka/kafka.sh");
        let _ = stop.arg("stop").env("KAFKA_DIR", &self.folder).env_remove("KAFKA_BOOTSTRAP").status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn avatars_and_actions_cross_gateways() {
    let broker = Broker::start("cross");
    let (one, two) = (broker.gateway().await, broker.gateway().await);
    let (mut ann, ann_is) = Client::join(&one, Encoding::MessagePack, "Ann").await;
    let (mut bob, bob_is) = Client::join(&two, Encoding::Json, "Bob").await;
    assert_ne!((ann_is.entity, ann_is.session), (bob_is.entity, bob_is.session), "no number is given twice");
    // They stand on either side of a partition's border.
    ann.walk(510.0, 0.0).await;
    bob.walk(514.0, 0.0).await;
    ann.see("Bob", |m| m.find(bob_is.entity).is_some_and(|b| &*b.profile == "Bob")).await;
    bob.see("Ann", |m| m.find(ann_is.entity).is_some_and(|a| &*a.profile == "Ann")).await;
    bob.see("a whole view", |m| !m.is_joining()).await;
    // Ann walks over the border; nobody loses her for a moment.
    for i in 0..100 {
        ann.walk(510.0 + f64::from(i) * 0.1, 0.0).await;
        bob.see("Ann walks", |m| m.find(ann_is.entity).expect("never lost").pos.x >= 51_000 + i * 10 - 40).await;
    }
    ann.act(1, Scope::Nearby, 519.9, 0.0).await;
    ann.hear("ack", |out| matches!(out, Out::Ack(a) if a.n == 1).then_some(())).await;
    bob.hear("the wave", |out| matches!(out, Out::Event(e) if e.from == ann_is.entity).then_some(())).await;
    ann.say(&In::Bye(ByeIn {})).await;
    bob.see("Ann leaves at once", |m| m.find(ann_is.entity).is_none()).await;
    // A gateway that comes later finds who is there.
    let three = broker.gateway().await;
    let (mut eve, _) = Client::join(&three, Encoding::MessagePack, "Eve").await;
    eve.walk(500.0, 0.0).await;
    eve.see("Bob, from before", |m| m.find(bob_is.entity).is_some() && !m.is_joining()).await;
    for gateway in [one, two, three] {
        gateway.drain().await;
    }
}

/// Asks ten times a second until the answer is yes.
async fn until(what: &str, good: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    within(what, async {
        while !good() {
            looks.tick().await;
        }
    })
    .await;
}

/// What one walking client has to tell.
#[derive(Default)]
struct Diary {
    /// Newest place of everybody it holds.
    holds: BTreeMap<Id, Pos>,
    /// Whether it was told that its view is old.
    stale: bool,
    joined: bool,
}

/// Walks in a circle at 20 Hz until aborted, so that it is nowhere twice within seconds, and keeps a diary.
async fn wander(mut client: Client, z: f64, diary: Arc<Mutex<Diary>>) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let angle = started.elapsed().as_secs_f64() * 0.5;
                client.walk(angle.sin() * 4.0, z + angle.cos() * 4.0).await;
            }
            read = client.read() => assert!(matches!(read, Some(Ok(()))), "the session lives on"),
        }
        let mut diary = diary.lock().expect("no panic");
        diary.holds = client.mirror.shown().map(|a| (a.entity, a.pos)).collect();
        diary.joined = client.mirror.number() > 0 && !client.mirror.is_joining();
        let mut told = client.heard.drain(..).filter_map(|out| match out {
            Out::Stale(stale) => Some(stale.stale),
            _ => None,
        });
        diary.stale = told.next_back().unwrap_or(diary.stale);
    }
}

/// Whether all of those who are held and asked for stand elsewhere than before.
fn have_moved(before: &BTreeMap<Id, Pos>, after: &BTreeMap<Id, Pos>, of: impl Fn(Id) -> bool) -> bool {
    after.iter().filter(|(id, _)| of(**id)).all(|(id, place)| before.get(id) != Some(place))
}

#[tokio::test]
async fn a_broker_that_stands_still_for_20_s_removes_nobody() {
    const EACH: usize = 6;
    let broker = Broker::start("stall");
    let gateways = [broker.gateway().await, broker.gateway().await];
    let mut people: Vec<(usize, Id, Arc<Mutex<Diary>>)> = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..2 * EACH {
        let (client, welcome) = Client::join(&gateways[i % 2], Encoding::MessagePack, &format!("p{i}")).await;
        let diary = Arc::new(Mutex::new(Diary::default()));
        people.push((i % 2, welcome.entity, diary.clone()));
        tasks.spawn(wander(client, i as f64, diary));
    }
    let look = |everybody: bool, good: &dyn Fn(usize, &Diary) -> bool| {
        people.iter().all(|(gateway, _, diary)| {
            let diary = diary.lock().expect("no panic");
            assert!(!everybody || diary.holds.len() == 2 * EACH - 1, "somebody disappeared");
            good(*gateway, &diary)
        })
    };
    until("everybody sees everybody", || look(false, &|_, d| d.joined && d.holds.len() == 2 * EACH - 1)).await;

    broker.signal("-STOP");
    let stopped = Instant::now();
    until("all are told that their view is old", || look(true, &|_, d| d.stale)).await;
    // Half a second, over and over, until 20 s have passed: all neighbours move, nobody goes. No event ends this: what is
    // looked for is that nothing happens while the broker stands still, so the time itself is slept through.
    let positions = || -> Vec<BTreeMap<Id, Pos>> {
        people.iter().map(|(_, _, diary)| diary.lock().expect("no panic").holds.clone()).collect()
    };
    let gateway_of: BTreeMap<Id, usize> = people.iter().map(|(gateway, id, _)| (*id, *gateway)).collect();
    let (mut rounds, mut neighbours_moved) = (0, 0);
    while stopped.elapsed() < Duration::from_secs(20) {
        let before = positions();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = positions();
        rounds += 1;
        let mut moved = true;
        for (i, (gateway, ..)) in people.iter().enumerate() {
            assert_eq!(after[i].len(), 2 * EACH - 1, "after {:?} somebody disappeared", stopped.elapsed());
            moved &= have_moved(&before[i], &after[i], |id| gateway_of[&id] == *gateway);
        }
        neighbours_moved += usize::from(moved);
    }
    assert!(neighbours_moved * 10 >= rounds * 9, "neighbours moved in {neighbours_moved} of {rounds} half seconds");

    broker.signal("-CONT");
    let healed = Instant::now();
    let before = positions();
    // Every viewer is fresh again, and has seen everybody of the other gateway move.
    until("all is well again", || {
        look(true, &|_, d| !d.stale)
            && positions()
                .iter()
                .zip(&before)
                .zip(&people)
                .all(|((now, then), (gateway, ..))| have_moved(then, now, |id| gateway_of[&id] != *gateway))
    })
    .await;
    assert!(healed.elapsed() < Duration::from_secs(5), "well again after {:?}", healed.elapsed());
    tasks.shutdown().await;
    for gateway in gateways {
        gateway.drain().await;
    }
}
