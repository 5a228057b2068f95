//! The gateway as clients and operators meet it: real sockets, both encodings, one process.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for")]

mod support;

use nearcast::codec::Encoding;
use nearcast::codec::message::{Act, ByeIn, Hello, In, Out, Profile, Reserved, Scope, View, Wish};
use nearcast::limits::MESSAGE_BYTES_MAX;
use nearcast::region::commands::tells::lane_of;
use support::{Client, gateway, get, within};
use tokio_tungstenite::tungstenite::Message;

fn refusal(out: &Out) -> Option<String> {
    match out {
        Out::Refuse(refuse) => Some(refuse.code.to_string()),
        _ => None,
    }
}

#[tokio::test]
async fn two_clients_see_each_other_come_move_and_go() {
    let gateway = gateway("").await;
    for (one, other) in [(Encoding::Json, Encoding::MessagePack), (Encoding::MessagePack, Encoding::Json)] {
        let (mut ann, _) = Client::join(&gateway, one, "Ann").await;
        let (mut bob, bob_is) = Client::join(&gateway, other, "Bob").await;
        ann.walk(500.0, 3.0).await;
        bob.walk(503.0, 3.0).await;
        let at = |x: i32| move |m: &nearcast::client::Mirror| m.find(bob_is.entity).is_some_and(|b| b.pos.x == x);
        ann.see("Bob comes", at(50_300)).await;
        assert_eq!(&*ann.mirror.find(bob_is.entity).expect("seen").profile, "Bob");
        bob.see("Ann comes", |m| !m.is_empty()).await;
        bob.walk(503.5, 3.0).await;
        ann.see("Bob moves", at(50_350)).await;
        bob.say(&In::Profile(Profile { profile: "Bobby".into() })).await;
        ann.see("Bob is Bobby", |m| m.find(bob_is.entity).is_some_and(|b| &*b.profile == "Bobby")).await;
        bob.say(&In::Bye(ByeIn {})).await;
        assert_eq!(bob.bye().await.code, 1000);
        ann.see("Bob goes", |m| m.find(bob_is.entity).is_none()).await;
        ann.say(&In::Bye(ByeIn {})).await;
        ann.bye().await;
    }
    gateway.drain().await;
}

#[tokio::test]
async fn who_is_beyond_the_radius_is_not_seen() {
    let gateway = gateway("").await;
    let (mut ann, _) = Client::join(&gateway, Encoding::MessagePack, "Ann").await;
    let (mut bob, bob_is) = Client::join(&gateway, Encoding::MessagePack, "Bob").await;
    let (mut eve, eve_is) = Client::join(&gateway, Encoding::MessagePack, "Eve").await;
    ann.walk(0.0, 0.0).await;
    eve.walk(0.0, 51.0).await;
    bob.walk(0.0, 49.0).await;
    ann.see("Bob", |m| m.find(bob_is.entity).is_some()).await;
    assert!(ann.mirror.find(eve_is.entity).is_none());
    ann.say(&In::View(View { radius: Some(60.0), budget: None })).await;
    ann.see("Eve, from 60 m", |m| m.find(eve_is.entity).is_some()).await;
    ann.say(&In::View(View { radius: Some(30.0), budget: None })).await;
    ann.see("nobody within 30 m", |m| m.is_empty()).await;
    gateway.drain().await;
}

#[tokio::test]
async fn an_action_is_acknowledged_and_told_to_who_is_near() {
    let gateway = gateway("").await;
    let (mut ann, ann_is) = Client::join(&gateway, Encoding::MessagePack, "Ann").await;
    let (mut bob, _) = Client::join(&gateway, Encoding::Json, "Bob").await;
    let (mut far, _) = Client::join(&gateway, Encoding::Json, "Far").await;
    ann.walk(0.0, 0.0).await;
    bob.walk(5.0, 0.0).await;
    far.walk(100.0, 0.0).await;
    bob.see("Ann", |m| !m.is_empty()).await;
    let event = |n: u64| {
        move |out: &Out| match out {
            Out::Event(e) if e.from == n => Some((e.scope, e.stream.clone())),
            _ => None,
        }
    };
    let ack = |n: u64| move |out: &Out| matches!(out, Out::Ack(a) if a.n == n).then_some(());
    ann.act(1, Scope::Nearby, 0.0, 0.0).await;
    ann.hear("ack 1", ack(1)).await;
    assert_eq!(bob.hear("the wave", event(ann_is.entity)).await, (Scope::Nearby, "region/0/0".to_owned()));
    // The same number again: acknowledged, and without effect.
    ann.act(1, Scope::Nearby, 0.0, 0.0).await;
    ann.act(2, Scope::Region, 0.0, 0.0).await;
    ann.hear("ack 2", ack(2)).await;
    assert_eq!(far.hear("the region's event", event(ann_is.entity)).await.0, Scope::Region);
    bob.hear("the region's event", |out| matches!(out, Out::Event(e) if e.scope == Scope::Region).then_some(())).await;
    let waves = bob.heard.iter().filter(|out| matches!(out, Out::Event(e) if e.scope == Scope::Nearby)).count();
    assert_eq!(waves, 1, "a resend takes effect once");
    assert_eq!(ann.heard.iter().filter(|out| matches!(out, Out::Ack(a) if a.n == 1)).count(), 2);
    gateway.drain().await;
}

#[tokio::test]
async fn the_rules_of_the_settings_come_into_force() {
    let gateway = gateway("[[world]]\nname = 'plaza'\n[world.rules]\nrevision = 1\nsession_objects = 1").await;
    let (mut ann, _) = Client::join(&gateway, Encoding::Json, "Ann").await;
    ann.walk(0.0, 0.0).await;
    let answer = |n: u64| {
        move |out: &Out| match out {
            Out::Ack(ack) if ack.n == n => Some(None),
            Out::Refuse(refuse) if refuse.n == Some(n) => Some(Some(refuse.code.to_string())),
            _ => None,
        }
    };
    // They are written when the partition has been read: at the second as a rule. Else the 17th would be refused.
    for n in 1..=16 {
        ann.see("the next state", |m| m.number() >= n).await;
        ann.create(n, 0.0, 0.0).await;
        if let Some(code) = ann.hear("an answer", answer(n)).await {
            assert_eq!((n > 1, &*code), (true, "too_many"));
            gateway.drain().await;
            return;
        }
    }
    panic!("16 objects, by one session that may make one");
}

#[tokio::test]
async fn two_clients_switch_a_lamp_and_fight_for_a_cup_that_is_carried_over_a_border() {
    let gateway = gateway("").await;
    for (one, other) in [(Encoding::Json, Encoding::MessagePack), (Encoding::MessagePack, Encoding::Json)] {
        let (mut ann, ann_is) = Client::join(&gateway, one, "Ann").await;
        let (mut bob, bob_is) = Client::join(&gateway, other, "Bob").await;
        ann.walk(510.0, 3.0).await;
        bob.walk(508.0, 3.0).await;
        let made =
            |n: u64| move |out: &Out| if let Out::Ack(ack) = out { (ack.n == n).then_some(ack.object?) } else { None };
        ann.create(1, 510.0, 3.0).await;
        let lamp = ann.hear("a lamp", made(1)).await;
        bob.hold("the lamp", |stock| stock.objects.contains_key(&lamp)).await;
        let is_on = |stock: &nearcast::client::Stock| {
            stock.objects[&lamp].version == 2 && stock.objects[&lamp].fields["on"] == "yes"
        };
        bob.wish(1, Wish::Change, lamp, None).await;
        bob.hold("it is on", is_on).await;
        ann.hold("the lamp is on", |stock| stock.objects.contains_key(&lamp) && is_on(stock)).await;

        ann.create(2, 510.0, 3.0).await;
        let cup = ann.hear("a cup", made(2)).await;
        ann.hold("the cup", |stock| stock.objects.contains_key(&cup)).await;
        bob.hold("the cup", |stock| stock.objects.contains_key(&cup)).await;
        ann.wish(3, Wish::Grab, cup, None).await;
        bob.wish(3, Wish::Grab, cup, None).await;
        let answer = |out: &Out| match out {
            Out::Ack(ack) if ack.n == 3 => Some("ack".to_owned()),
            Out::Refuse(refuse) if refuse.n == Some(3) => Some(refuse.code.to_string()),
            _ => None,
        };
        let answers = [ann.hear("an answer", answer).await, bob.hear("an answer", answer).await];
        assert!(answers == ["ack", "held"] || answers == ["held", "ack"], "{answers:?}");
        let (mut has, mut has_not, holder) =
            if answers[0] == "ack" { (ann, bob, ann_is.entity) } else { (bob, ann, bob_is.entity) };
        for client in [&mut has, &mut has_not] {
            client.hold("who holds it", |stock| stock.objects[&cup].holder == Some(holder)).await;
        }

        // Over the border of a block, which is that of a partition.
        has.walk(514.0, 3.0).await;
        let is_over = |stock: &nearcast::client::Stock| {
            stock.objects.get(&cup).is_some_and(|row| row.pos[0] > 512.0 && row.holder == Some(holder))
        };
        has.hold("the cup has come along", is_over).await;
        has_not.hold("the cup has gone along", is_over).await;
        has.wish(4, Wish::Release, cup, Some([515.0, 0.0, 3.0])).await;
        let lies = |stock: &nearcast::client::Stock| {
            stock.objects.get(&cup).is_some_and(|row| row.pos == [515.0, 0.0, 3.0] && row.holder.is_none())
        };
        has_not.hold("the cup lies there", lies).await;
        let (mut cid, _) = Client::join(&gateway, one, "Cid").await;
        cid.walk(530.0, 3.0).await;
        cid.hold("what lies there", |stock| lies(stock) && stock.objects.contains_key(&lamp)).await;
        assert_eq!(cid.stock.objects, has_not.stock.objects, "who comes later sees the same");
        has_not.walk(513.0, 3.0).await;
        has_not.wish(5, Wish::Grab, cup, None).await;
        has_not.hear("it is taken", made(5)).await;
        // Who goes leaves it where they are.
        has_not.say(&In::Bye(ByeIn {})).await;
        assert_eq!(has_not.bye().await.code, 1000);
        cid.hold("it is put down", |stock| stock.objects[&cup].pos == [513.0, 0.0, 3.0]).await;
        assert_eq!(cid.stock.objects[&cup].holder, None);
        for mut client in [has, cid] {
            client.say(&In::Bye(ByeIn {})).await;
            client.bye().await;
        }
    }
    gateway.drain().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_a_code_and_the_session_lives_on() {
    let gateway = gateway("").await;
    let (mut ann, _) = Client::join(&gateway, Encoding::Json, "Ann").await;
    let cases = [
        (r#"{"pose":{"joints":[]}}"#, "not_supported"),
        (r#"{"group_join":{}}"#, "not_supported"),
        (r#"{"hello":{"world":"plaza"}}"#, "again"),
        (r#"{"jump":{}}"#, "unknown_type"),
        (r#"{"act":{"n":1,"scope":"nearby","name":"x","time":0,"pos":[0,0,0]}}"#, "no_place"),
        (r#"{"move":{"time":0,"pos":[9999,0,0]}}"#, "out_of_bounds"),
        (r#"{"move":{"time":0,"pos":[0,0,0]}}"#, ""),
        (r#"{"move":{"time":1,"pos":[200,0,0]}}"#, "speed"),
        (r#"{"act":{"n":1,"scope":"nearby","name":"x","time":0,"pos":[90,0,0]}}"#, "too_far"),
        (r#"{"act":{"n":1,"scope":"nearby","name":"","time":0,"pos":[0,0,0]}}"#, "length"),
        (r#"{"act":{"n":1,"scope":"all","name":"x","time":0,"pos":[0,0,0]}}"#, "malformed"),
    ];
    for (message, code) in cases {
        ann.heard.clear();
        ann.raw(Message::text(message)).await;
        if !code.is_empty() {
            assert_eq!(ann.hear(message, refusal).await, code, "{message}");
        }
    }
    let long = "é".repeat(49);
    ann.heard.clear();
    ann.say(&In::Profile(Profile { profile: long })).await;
    assert_eq!(ann.hear("98 bytes of profile", refusal).await, "length");
    gateway.drain().await;
}

#[tokio::test]
async fn sessions_end_with_a_code_that_tells_whether_to_come_back() {
    let gateway = gateway("").await;
    let mut first = Client::connect(&gateway, Encoding::Json).await;
    first.say(&In::Pose(Reserved {})).await;
    let bye = first.bye().await;
    assert_eq!((bye.code, bye.again), (4102, true), "something else before hello");
    assert_eq!(first.close_code().await, Some(4102));

    let mut nowhere = Client::connect(&gateway, Encoding::MessagePack).await;
    nowhere.say(&In::Hello(Hello { world: "atlantis".into(), ..Hello::default() })).await;
    let bye = nowhere.bye().await;
    assert_eq!((bye.code, bye.again), (4507, false), "no such world");

    let (mut confused, _) = Client::join(&gateway, Encoding::Json, "Bug").await;
    for _ in 0..3 {
        confused.raw(Message::text("{")).await;
    }
    assert_eq!(confused.bye().await.code, 4505, "three unreadable messages");

    let (mut loud, _) = Client::join(&gateway, Encoding::Json, "Loud").await;
    loud.raw(Message::text(" ".repeat(MESSAGE_BYTES_MAX + 1))).await;
    assert_eq!(loud.close_code().await, Some(1009), "a message above 16 KiB");
    let mut loud = Client::connect(&gateway, Encoding::Json).await;
    loud.raw(Message::text(" ".repeat(MESSAGE_BYTES_MAX + 1))).await;
    assert_eq!(loud.close_code().await, Some(1009), "the same as the first thing said");

    let mut mute = Client::connect(&gateway, Encoding::Json).await;
    assert_eq!(mute.bye().await.code, 4102, "no hello within 5 s");
    gateway.drain().await;
}

#[tokio::test]
async fn a_flood_is_cut_and_then_closed() {
    let gateway = gateway("").await;
    let (mut flood, _) = Client::join(&gateway, Encoding::Json, "Flood").await;
    for _ in 0..900 {
        flood.raw(Message::text(r#"{"ping":{"time":0}}"#)).await;
    }
    let bye = flood.bye().await;
    assert_eq!((bye.code, bye.again, bye.after_ms), (4003, true, 5_000));
    let answered = flood.heard.iter().filter(|out| matches!(out, Out::Pong(_))).count();
    assert!((119..400).contains(&answered), "{answered} pongs: what hello left of the burst of 120, and 60 a second");
    let refused = flood.heard.iter().filter_map(refusal).count();
    assert!((1..=5).contains(&refused), "{refused} refusals were told: one a second");
    gateway.drain().await;
}

#[tokio::test]
async fn a_websocket_ping_is_answered_also_before_hello() {
    let gateway = gateway("").await;
    let mut client = Client::connect(&gateway, Encoding::Json).await;
    client.raw(Message::Ping("early".into())).await;
    client.pong("early").await;
    client.say(&In::Hello(Hello { world: "plaza".into(), ..Hello::default() })).await;
    client.raw(Message::Ping("late".into())).await;
    client.pong("late").await;
    gateway.drain().await;
}

#[tokio::test]
async fn a_client_that_never_says_seen_is_pinged_and_kept_fresh() {
    let gateway = gateway("").await;
    let (mut quiet, _) = Client::join(&gateway, Encoding::MessagePack, "Quiet").await;
    let (mut bob, bob_is) = Client::join(&gateway, Encoding::MessagePack, "Bob").await;
    quiet.says_seen = false;
    let time = quiet.clock_ms();
    let here = nearcast::codec::message::Move {
        time,
        pos: [0.0; 3],
        yaw: 0.0,
        state: Default::default(),
        seen: None,
        held_ms: None,
    };
    quiet.say(&In::Move(here)).await;
    // 40 steps: were its pongs not counted, the flow would stop after the fourth state.
    for i in 1..=40 {
        bob.walk(f64::from(i) * 0.1, 1.0).await;
        quiet.see("Bob walks", |m| m.find(bob_is.entity).is_some_and(|b| b.pos.x == i * 10)).await;
    }
    gateway.drain().await;
}

#[tokio::test]
async fn draining_tells_all_to_come_back() {
    let gateway = gateway("").await;
    let admin = gateway.admin;
    let mut clients = Vec::new();
    for i in 0..5 {
        clients.push(Client::join(&gateway, Encoding::Json, &format!("c{i}")).await.0);
    }
    assert_eq!(get(admin, "/readyz").await.0, 200);
    let mut late = Client::connect(&gateway, Encoding::Json).await;
    let draining = tokio::spawn(gateway.drain());
    for client in &mut clients {
        let bye = client.bye().await;
        assert_eq!((bye.code, bye.again), (4000, true));
        assert_eq!(client.close_code().await, Some(4000));
    }
    // Connected before the drain began, but it has not said hello until all others are gone.
    late.say(&In::Hello(Hello { world: "plaza".into(), ..Hello::default() })).await;
    assert_eq!(late.bye().await.code, 4000);
    within("the drain", draining).await.expect("no panic");
}

#[tokio::test]
async fn no_two_worlds_give_the_same_ids() {
    let gateway = gateway("[[world]]\nname = 'plaza'\n[[world]]\nname = 'arena'").await;
    let (_ann, ann_is) = Client::join(&gateway, Encoding::Json, "Ann").await;
    let mut bob = Client::connect(&gateway, Encoding::Json).await;
    bob.say(&In::Hello(Hello { world: "arena".into(), ..Hello::default() })).await;
    let bob_is = bob.hear("welcome", |m| if let Out::Welcome(w) = m { Some(w.clone()) } else { None }).await;
    let ids = std::collections::BTreeSet::from([ann_is.session, ann_is.entity, bob_is.session, bob_is.entity]);
    assert_eq!(ids.len(), 4);
    gateway.drain().await;
}

#[tokio::test]
async fn who_rests_in_one_world_does_not_meet_the_ticks_of_another() {
    let small = "[[world]]\nname = 'plaza'\npartitions = [1, 1]\n";
    let large =
        "[[world]]\nname = 'arena'\npartitions = [4, 4]\nmin = [-1024.0, 0.0, -1024.0]\nmax = [1024.0, 9.0, 1024.0]";
    let gateway = gateway(&[small, large].concat()).await;
    let mut bob = Client::connect(&gateway, Encoding::MessagePack).await;
    bob.say(&In::Hello(Hello { world: "arena".into(), ..Hello::default() })).await;
    // In a partition that the other world does not have.
    bob.walk(600.0, 600.0).await;
    // It rests from the fifth of these on: nothing has changed for as long as the coarsest stride is.
    for number in 1..=7 {
        bob.see("the next empty state", |m| m.number() >= number).await;
    }
    gateway.drain().await;
}

#[tokio::test]
async fn operators_see_metrics_and_health() {
    let gateway = gateway("").await;
    let (mut ann, _) = Client::join(&gateway, Encoding::Json, "Ann").await;
    ann.walk(1_000.0, 0.0).await;
    ann.see("a first state", |m| m.number() > 0).await;
    assert_eq!(get(gateway.admin, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(gateway.admin, "/readyz").await.0, 200);
    assert_eq!(get(gateway.listen, "/metrics").await.0, 404, "not for clients");
    // A gateway that was built without the page says so.
    let (status, page) = get(gateway.listen, "/").await;
    assert!(if status == 200 { page.contains("<canvas") } else { page.contains("make build") }, "{status}: {page}");
    assert_eq!(get(gateway.listen, "/nothing.js").await.0, 404);
    let (_, metrics) = get(gateway.admin, "/metrics").await;
    let documented = std::fs::read_to_string("docs/metrics.md").expect("the list");
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for name in names {
        assert!(documented.contains(&format!("`{name}")), "{name} is not in docs/metrics.md");
    }
    let source = std::fs::read_to_string("src/metrics.rs").expect("the source");
    for row in documented.lines().filter_map(|line| line.strip_prefix("| `nearcast_")) {
        let name = row.split(['`', '{']).next().expect("a name");
        assert!(source.contains(&format!("\"nearcast_{name}\"")), "nearcast_{name} does not exist");
    }
    for hop in nearcast::metrics::Hop::ALL {
        assert!(documented.contains(&format!("`{}`", hop.label())), "{hop:?}");
    }
    gateway.drain().await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let gateway = gateway("").await;
    let mut silent = tokio::net::TcpStream::connect(gateway.listen).await.expect("connects");
    silent.write_all(b"GET /v1 HTTP/1.1\r\nhost: x\r\n").await.expect("writes");
    let mut answer = Vec::new();
    let _ = within("the end of a half request", silent.read_to_end(&mut answer)).await;
    let mut wrong = tokio::net::TcpStream::connect(gateway.listen).await.expect("connects");
    let request = "GET /v1 HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: chat\r\n\r\n";
    wrong.write_all(request.as_bytes()).await.expect("writes");
    let mut head = [0; 12];
    within("an answer", wrong.read_exact(&mut head)).await.expect("reads");
    assert_eq!(&head, b"HTTP/1.1 400", "an unknown subprotocol is refused");
    gateway.drain().await;
}

#[tokio::test]
async fn one_who_does_not_read_holds_nobody_up_and_is_sent_little() {
    let gateway = gateway("").await;
    let (mut stuck, _) = Client::join(&gateway, Encoding::MessagePack, "Stuck").await;
    stuck.walk(0.0, 0.0).await;
    let (mut ann, _) = Client::join(&gateway, Encoding::MessagePack, "Ann").await;
    let (mut bob, bob_is) = Client::join(&gateway, Encoding::MessagePack, "Bob").await;
    ann.walk(1.0, 0.0).await;
    for i in 1..=60 {
        bob.walk(f64::from(i) * 0.1, 1.0).await;
        ann.see("Bob walks", |m| m.find(bob_is.entity).is_some_and(|b| b.pos.x == i * 10)).await;
    }
    // Now it reads. What had been sent till then has waited in the kernels' memory, and the gateway kept note of it.
    let (now, all) = (ann.mirror.tick(), ann.mirror.number());
    let mut waited = 0;
    while stuck.mirror.tick() < now {
        waited = stuck.mirror.number();
        assert!(matches!(stuck.read().await, Some(Ok(()))), "its session lives on");
    }
    assert!(waited < 20 && waited + 20 < all, "{waited} states waited for it, when Ann had {all}");
    let seen = stuck.mirror.find(bob_is.entity).expect("seen");
    assert!(seen.pos.x > 500, "and it is fresh at once: {:?}", seen.pos);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worlds_do_not_see_each_other_and_users_are_told_across_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for log in [String::new(), format!("data = '{}'\n", folder.path().display())] {
        let gateway = gateway(&format!("{log}[[world]]\nname = 'plaza'\n[[world]]\nname = 'arena'")).await;
        let (mut ann, _) = Client::join(&gateway, Encoding::Json, "Ann").await;
        let (mut eve, eve_is) = Client::join(&gateway, Encoding::Json, "Eve").await;
        let mut bob = Client::connect(&gateway, Encoding::MessagePack).await;
        bob.say(&In::Hello(Hello { world: "arena".into(), ..Hello::default() })).await;
        let welcome = |out: &Out| if let Out::Welcome(welcome) = out { Some(welcome.clone()) } else { None };
        let bob_is = bob.hear("welcome", welcome).await;
        for who in [&mut ann, &mut bob, &mut eve] {
            who.walk(0.0, 0.0).await;
        }
        // He hears what he is told from here on.
        let own = format!("partition/{}", 16 + 1 + lane_of(bob_is.user));
        bob.hear("his own stream", |out| matches!(out, Out::Cursor(c) if c.stream == own).then_some(())).await;
        let (time, pos) = (ann.clock_ms(), [0.0; 3]);
        let (name, data, to) = ("hello".to_owned(), String::new(), Some(bob_is.user));
        ann.say(&In::Act(Act { n: 1, to, scope: Scope::User, name, data, time, pos })).await;
        bob.hear("what Ann says", |out| matches!(out, Out::Event(e) if e.name == "hello").then_some(())).await;
        bob.walk(1.0, 0.0).await;
        eve.walk(1.0, 0.0).await;
        ann.see("Eve's step", |mirror| mirror.find(eve_is.entity).is_some_and(|eve| eve.pos.x == 100)).await;
        assert_eq!(ann.mirror.shown().count(), 1, "{log}: Bob stands in another world");
        assert_eq!(bob.mirror.shown().count(), 0, "{log}: and is alone there");
        gateway.drain().await;
    }
}

#[tokio::test]
async fn operators_see_who_sees_whom_and_why() {
    let gateway = gateway("").await;
    let (mut ann, welcome) = Client::join(&gateway, Encoding::MessagePack, "Ann").await;
    ann.walk(0.0, 0.0).await;
    let (mut bob, near) = Client::join(&gateway, Encoding::Json, "Bob").await;
    bob.walk(10.0, 0.0).await;
    let (mut eve, far) = Client::join(&gateway, Encoding::Json, "Eve").await;
    eve.walk(90.0, 0.0).await;
    let (_cid, nowhere) = Client::join(&gateway, Encoding::Json, "Cid").await;
    ann.see("Bob", |m| m.find(near.entity).is_some()).await;
    bob.see("Ann", |m| m.find(welcome.entity).is_some()).await;
    let json = async |path: &str| {
        let (status, body) = get(gateway.admin, path).await;
        (status, serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default())
    };
    let (_, worlds) = json("/inspect.json").await;
    assert_eq!(worlds[0]["world"], "plaza");
    assert_eq!(worlds[0]["sessions"].as_array().map(Vec::len), Some(4), "{worlds}");
    assert_eq!(worlds[0]["profiles"][near.entity.to_string()], "Bob");
    assert_eq!(worlds[0]["sessions"][0]["held"], 1, "{worlds}");
    assert_eq!(worlds[0]["regions"], serde_json::json!([[0, 0, 3]]));
    let regard = async |viewer: u64, entity: u64| {
        json(&format!("/inspect/regard.json?world=plaza&viewer={viewer}&entity={entity}")).await.1
    };
    let why = |regard: &serde_json::Value| regard["why"].as_str().unwrap_or_default().to_owned();
    let seen = regard(welcome.entity, near.entity).await;
    assert_eq!((&seen["rank"], &seen["of"], &seen["stride"]), (&1.into(), &1.into(), &1.into()), "{seen}");
    assert!(seen["told"].is_u64() && seen["bits"].as_u64() > Some(0) && seen["distance"] == 10.0, "{seen}");
    assert!(why(&seen).starts_with("one of the nearest"), "{seen}");
    let unseen = regard(welcome.entity, far.entity).await;
    assert!(why(&unseen).starts_with("beyond the radius") && unseen["distance"] == 90.0, "{unseen}");
    assert!(why(&regard(welcome.entity, welcome.entity).await).contains("its own avatar"));
    assert!(why(&regard(welcome.entity, 7).await).contains("no such avatar"));
    assert!(why(&regard(nowhere.entity, near.entity).await).contains("no place yet"));
    for wrong in ["world=plaza&viewer=7&entity=8", "world=moon&viewer=7&entity=8"] {
        assert_eq!(json(&format!("/inspect/regard.json?{wrong}")).await.0, 404);
    }
    for path in ["/inspect", "/inspect.html", "/inspect.json", "/inspect/regard.json"] {
        assert_eq!(get(gateway.listen, path).await.0, 404, "{path} is not for clients");
    }
    gateway.drain().await;
}
