//! `kill -9` while clients act and make things: what they were acknowledged is in the log, once, where they were told it is,
//! and comes to what they were told; and the gateway starts again on it. `KILLS=50` kills as often. And who was there goes on
//! as the same avatar, and is told what they missed.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nearcast::codec::Encoding;
use nearcast::codec::command::Verdict;
use nearcast::codec::message::{Hello, Id, Out, Resume, Scope, Welcome};
use nearcast::codec::record::{self, Record};
use nearcast::log::Topic;
use nearcast::log::disk::files::Folder;
use nearcast::log::disk::store::{Sizes, Store};
use nearcast::region::commands::fold::Commands;
use nearcast::settings::WorldSettings;
use nearcast::space::{Pos, Region};
use support::{Client, within};
use tokio::sync::mpsc::{Sender, channel};

const KILLS: usize = 5;
const CLIENTS: usize = 16;
/// What a session may do at once.
const ACTS: u64 = 20;

/// A command's id, where it stands (partition and offset), and what it came to.
type Key = (Id, u64);
type At = (u16, u64);
type Told = (At, Verdict);

/// A gateway in a process of its own.
struct Served {
    process: Child,
    listen: SocketAddr,
}

impl Served {
    fn start(folder: &Path) -> Served {
        let mut process = Command::new(env!("CARGO_BIN_EXE_nearcast"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
            .arg(folder)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let listen = line.split_once("listen=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        Served { process, listen: listen.unwrap_or_else(|| panic!("not ready: {line:?}")) }
    }
}

impl Drop for Served {
    /// As `kill -9` does it.
    fn drop(&mut self) {
        self.process.kill().expect("it ran");
        self.process.wait().expect("it has ended");
    }
}

/// Does all that it may at once, tells what is acknowledged, and ends with the gateway.
async fn act(mut client: Client, session: Id, x: f64, told: Sender<(Key, Told)>) {
    let region = Region::of(Pos::from_metres([x, 0.0, 0.0]).expect("in the world"));
    let partition = WorldSettings::plaza().grid.partition(region);
    client.walk(x, 0.0).await;
    for n in 1..=ACTS {
        if n % 3 == 0 {
            client.create(n, x, 0.0).await;
        } else {
            client.act(n, Scope::Nearby, x, 0.0).await;
        }
    }
    let mut from = 0;
    while let Some(Ok(())) = client.read().await {
        for out in &client.heard[from..] {
            assert!(!matches!(out, Out::Refuse(_)), "{out:?}");
            if let Out::Ack(ack) = out {
                let verdict = Verdict::Done(ack.object.zip(ack.version));
                told.send(((session, ack.n), ((partition, ack.offset), verdict))).await.expect("is listened to");
            }
        }
        from = client.heard.len();
    }
}

/// All commands in the log: where they stand, and what they come to.
fn logged(folder: &Path) -> BTreeMap<Key, Vec<Told>> {
    let grid = WorldSettings::plaza().grid;
    let (mut store, _) = Store::look(Folder::look(folder), Sizes::default()).expect("nothing safe is damaged");
    let mut found: BTreeMap<Key, Vec<Told>> = BTreeMap::new();
    for lane in store.lanes().into_iter().filter(|lane| lane.source.topic == Topic::Events) {
        let partition = lane.source.partition;
        let mut commands = Commands::new(grid, partition);
        for (offset, _, bytes) in store.read(lane, 0, usize::MAX, usize::MAX).expect("readable") {
            let (_, Record::Command(command)) = record::decode(&bytes).expect("ours") else { continue };
            let told = ((partition, offset), commands.fold(offset, &command));
            commands.read(offset);
            found.entry((command.session, command.n)).or_default().push(told);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_log_after_kill_9() {
    let kills = env::var("KILLS").map_or(KILLS, |text| text.parse().expect("KILLS is a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged: BTreeMap<Key, Told> = BTreeMap::new();
    for kill in 0..kills {
        let gateway = Served::start(folder.path());
        let mut clients = Vec::new();
        for i in 0..CLIENTS {
            clients.push((Client::join_at(gateway.listen, Encoding::Json, &format!("c{i}")).await, i));
        }
        let (told, mut hears) = channel(CLIENTS * ACTS as usize);
        let tasks = clients.into_iter().map(|((mut client, welcome), i)| {
            client.says_seen = false;
            tokio::spawn(act(client, welcome.session, 240.0 * i as f64 - 1_900.0, told.clone()))
        });
        let tasks: Vec<_> = tasks.collect();
        drop(told);
        // The process dies after as many answers, somewhere among those that are under way.
        let answers = 1 + (kill * 7_919) % (CLIENTS * ACTS as usize * 9 / 10);
        for _ in 0..answers {
            let (key, at) = within("an ack", hears.recv()).await.expect("clients are there");
            assert_eq!(acknowledged.insert(key, at), None, "{key:?} was acknowledged before");
        }
        drop(gateway);
        // Some have come in the meantime.
        while let Some((key, at)) = within("the end", hears.recv()).await {
            assert_eq!(acknowledged.insert(key, at), None, "{key:?} was acknowledged before");
        }
        for task in tasks {
            task.await.expect("no client fails");
        }
        let logged = logged(folder.path());
        for (key, told) in &acknowledged {
            let stands = logged.get(key).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(stands, [*told], "kill {kill}: {key:?} was told {told:?}");
        }
    }
    println!("{} commands were acknowledged in {kills} lives", acknowledged.len());
}

/// Goes on as the session of a welcome.
async fn resume(gateway: &Served, welcome: &Welcome, open: u64, cursors: Vec<(String, u64)>) -> (Client, Welcome) {
    let token = welcome.token.clone().expect("a token");
    let resume = Some(Resume { token, open: Some(open), cursors });
    Client::hello_at(gateway.listen, Encoding::Json, Hello { resume, ..Hello::default() }).await
}

#[tokio::test]
async fn who_was_there_goes_on_after_kill_9_and_misses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = Served::start(folder.path());
    let (mut ann, mut ann_is) = Client::join_at(gateway.listen, Encoding::Json, "Ann").await;
    let (mut bob, mut bob_is) = Client::join_at(gateway.listen, Encoding::Json, "Bob").await;
    ann.walk(0.0, 0.0).await;
    bob.walk(5.0, 0.0).await;
    ann.see("Bob", |m| !m.is_empty()).await;
    bob.see("Ann", |m| !m.is_empty()).await;
    let ack = |n: u64| move |out: &Out| matches!(out, Out::Ack(ack) if ack.n == n).then_some(());
    // The stream and the offset of the last thing heard.
    let last = |client: &Client| {
        let mut events = client.heard.iter().rev();
        events.find_map(
            |out| if let Out::Event(event) = out { Some((event.stream.clone(), event.offset + 1)) } else { None },
        )
    };
    ann.act(1, Scope::Nearby, 0.0, 0.0).await;
    bob.hear("act 1", |out| matches!(out, Out::Event(event) if event.from == ann_is.entity).then_some(())).await;
    for kill in 2..4 {
        let cursors: Vec<_> = last(&bob).into_iter().collect();
        drop(bob);
        ann.act(kill, Scope::Nearby, 0.0, 0.0).await;
        ann.hear("an ack", ack(kill)).await;
        gateway = {
            drop(gateway);
            Served::start(folder.path())
        };
        let (came, is) = resume(&gateway, &bob_is, 1, cursors).await;
        assert_eq!((is.session, is.entity, is.resumed), (bob_is.session, bob_is.entity, true), "kill {kill}");
        (bob, bob_is) = (came, is);
        bob.walk(5.0, 0.0).await;
        bob.hear("what he missed", |out| matches!(out, Out::Event(event) if event.from == ann_is.entity).then_some(()))
            .await;
        let (came, is) = resume(&gateway, &ann_is, kill, Vec::new()).await;
        assert_eq!((is.session, is.resumed), (ann_is.session, true), "kill {kill}");
        (ann, ann_is) = (came, is);
        // She has not got the answer, for all she knows: it has taken effect, and does not again.
        ann.walk(0.0, 0.0).await;
        ann.act(kill, Scope::Nearby, 0.0, 0.0).await;
        ann.hear("the answer", ack(kill)).await;
        bob.see("Ann again", |m| m.find(ann_is.entity).is_some()).await;
        let told = bob.heard.iter().filter(|out| matches!(out, Out::Event(_))).count();
        assert_eq!(told, 1, "kill {kill}: what he missed, once");
    }
}
