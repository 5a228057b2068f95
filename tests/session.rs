//! Sessions without sockets: inputs in, effects out, over a world on the log in memory and a clock that the test turns.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for")]

#[path = "support/room.rs"]
mod room;

use nearcast::codec::Encoding;
use nearcast::codec::message::{Ack, ByeIn, Hello, Id, In, ObjectRow, Objects, Out, Profile, Seen, Set, View, Wish};
use nearcast::limits::{BUDGET_DEPTH_US, DIGEST_EVERY, ROWS_MAX, SECOND_US, STRIDE_MAX, TICK_US};
use nearcast::session::{Input, Note};
use nearcast::space::Pos;
use room::{Person, Room};

impl Room {
    /// Somebody says hello and stands somewhere.
    fn join(&mut self, encoding: Encoding, view: View, x: f64, z: f64) -> usize {
        let who = self.connect(encoding);
        let profile = Some(format!("person {who:08}"));
        self.say(who, &In::Hello(Hello { world: "plaza".into(), view: Some(view), profile, ..Hello::default() }));
        self.walk(who, x, z);
        self.settle();
        who
    }

    /// In any window of time, no more was sent than the budget allows.
    fn keeps_to_budget(&self, who: usize, budget: u32) {
        let Person { encoding, sent, .. } = &self.people[who];
        for i in 0..sent.len() {
            let mut sum = 0;
            for (at, bytes) in &sent[i..] {
                sum += *bytes as u64;
                let bound = u64::from(budget) * (at - sent[i].0 + BUDGET_DEPTH_US) / SECOND_US;
                assert!(sum <= bound, "{encoding:?}: {sum} bytes in {} ms", (at - sent[i].0) / 1_000);
            }
        }
    }

    /// Wishes something of an object, or of none, where it is seen, or at the place of who wishes.
    fn set(&mut self, who: usize, n: u64, wish: Wish, of: Option<Id>, change: impl FnOnce(&mut Set)) {
        let seen = of.and_then(|id| self.people[who].stock.objects.get(&id));
        let mut set = Set {
            n,
            wish,
            object: of,
            expect: None,
            kind: (wish == Wish::Create).then(|| "lamp".into()),
            fields: std::collections::BTreeMap::new(),
            to: None,
            yaw: 0.0,
            pos: seen.map_or([0.0; 3], |row| row.pos),
            scope: None,
        };
        change(&mut set);
        self.say(who, &In::Set(set));
    }

    fn acks(&self, who: usize) -> Vec<&Ack> {
        self.heard(who, |out| if let Out::Ack(ack) = out { Some(ack) } else { None }).collect()
    }

    /// An object as somebody holds it.
    fn seen(&self, who: usize, object: Id) -> Option<&ObjectRow> {
        self.people[who].stock.objects.get(&object)
    }
}

#[test]
fn a_view_that_differs_is_found_and_repaired() {
    let mut room = Room::new();
    let (ann, bob) = (
        room.join(Encoding::MessagePack, View::default(), 0.0, 0.0),
        room.join(Encoding::Json, View::default(), 5.0, 0.0),
    );
    room.people[ann].lies = true;
    let full = |room: &Room| room.people[ann].notes.iter().filter(|n| matches!(n, Note::State(s) if s.full)).count();
    for i in 0..DIGEST_EVERY + 10 {
        room.walk(bob, 5.0 + i as f64 * 0.05, 0.0);
        room.tick();
    }
    assert!(room.people[ann].notes.contains(&Note::Digest { same: false }));
    assert_eq!(full(&room), 2, "a second full view");
    assert!(!room.people[ann].mirror.is_joining());
    room.people[ann].lies = false;
    for i in 0..DIGEST_EVERY {
        room.walk(bob, 12.0 + i as f64 * 0.05, 0.0);
        room.tick();
    }
    assert!(room.people[ann].notes.contains(&Note::Digest { same: true }));
    assert!(!room.people[bob].notes.contains(&Note::Digest { same: false }), "JSON's digest is the same");
    assert_eq!(full(&room), 2);
}

#[test]
fn during_a_repair_nobody_vanishes() {
    let mut room = Room::new();
    let ann = room.join(Encoding::MessagePack, View { budget: Some(2_048), radius: None }, 0.0, 0.0);
    for i in 0..60 {
        room.join(Encoding::MessagePack, View::default(), f64::from(i % 8), f64::from(i / 8));
    }
    room.ticks(120);
    assert_eq!(room.people[ann].mirror.shown().count(), 60, "all came, at 2 KiB/s");
    room.people[ann].lies = true;
    let mut repairing = 0;
    for i in 0..400 {
        room.walk(1, f64::from(i % 40) * 0.01, 0.0);
        room.tick();
        repairing += usize::from(room.people[ann].mirror.is_joining());
        assert_eq!(room.people[ann].mirror.shown().count(), 60);
    }
    assert!(repairing > 5, "the repair took {repairing} ticks of its budget");
}

#[test]
fn any_window_of_time_holds_its_budget() {
    for encoding in Encoding::ALL {
        let mut room = Room::new();
        let budget = 8_192;
        let ann = room.join(encoding, View { budget: Some(budget), radius: None }, 0.0, 0.0);
        for i in 0..150 {
            room.join(Encoding::MessagePack, View::default(), f64::from(i % 12), f64::from(i / 12));
        }
        // A profile that JSON makes six times as long.
        room.say(150, &In::Profile(Profile { profile: "\u{1}".repeat(96) }));
        for step in 0..200 {
            for who in 1..151 {
                room.walk(who, f64::from(who as i32 % 12) + f64::from(step % 20) * 0.05, (who / 12) as f64);
            }
            room.tick();
        }
        room.keeps_to_budget(ann, budget);
        let used: usize = room.people[ann].sent.iter().map(|(_, bytes)| bytes).sum();
        assert!(used > 8_192 * 6, "{encoding:?}: and uses it: {used} bytes in 10 s");
    }
}

#[test]
fn samples_above_the_rate_are_merged_not_lost() {
    let mut room = Room::new();
    let (ann, bob) = (
        room.join(Encoding::MessagePack, View::default(), 0.0, 0.0),
        room.join(Encoding::MessagePack, View::default(), 1.0, 0.0),
    );
    // 3 a tick are 60 a second: three times the rate of samples, just within that of messages.
    for i in 0..100 {
        for part in 0..2 {
            room.now_us += 1_000;
            room.walk(bob, 1.0 + f64::from(i) * 0.02 + f64::from(part) * 0.01, 0.0);
        }
        room.tick();
    }
    room.ticks(2);
    assert!(room.people[bob].notes.contains(&Note::Merged));
    let seen = room.people[ann].mirror.shown().next().expect("Bob").pos;
    assert_eq!(seen.x, 299, "the newest sample has come");
}

#[test]
fn no_more_than_32_actions_are_open() {
    let mut room = Room::new();
    let ann = room.join(Encoding::Json, View::default(), 0.0, 0.0);
    let act = |room: &mut Room, n| room.act(ann, n, None, 0.0);
    act(&mut room, 100);
    act(&mut room, 131);
    assert!(room.refusals(ann).is_empty());
    act(&mut room, 132);
    act(&mut room, 68);
    assert_eq!(room.refusals(ann), ["window", "window"]);
    room.tick();
    act(&mut room, 132);
    assert_eq!(room.refusals(ann).len(), 2, "the answers have made room");
    for n in 133..150 {
        act(&mut room, n);
    }
    assert_eq!(room.refusals(ann)[2], "rate", "five a second, and twenty at once");
}

#[test]
fn a_number_long_past_is_refused_and_not_taken_for_a_repetition() {
    let mut room = Room::new();
    let ann = room.join(Encoding::Json, View::default(), 0.0, 0.0);
    room.tick();
    let act = |room: &mut Room, n: u64, x| {
        room.act(ann, n, None, x);
        room.ticks(2);
    };
    act(&mut room, 1, 400.0);
    assert_eq!(room.refusals(ann), ["too_far"]);
    [2, 33, 64, 95].into_iter().for_each(|n| act(&mut room, n, 0.0));
    act(&mut room, 1, 0.0);
    act(&mut room, 63, 0.0);
    assert_eq!(room.refusals(ann), ["too_far", "window", "window"]);
    act(&mut room, 64, 0.0);
    act(&mut room, 65, 0.0);
    assert_eq!(room.refusals(ann).len(), 3);
    let told: Vec<_> = room.events(ann).map(|event| event.name.as_str()).collect();
    assert_eq!(told, ["act 2", "act 33", "act 64", "act 95", "act 65"], "64 was a repetition: it takes effect once");
    let acked = room.people[ann].heard.iter().filter(|out| matches!(out, Out::Ack(_)));
    assert_eq!(acked.count(), 6);
}

#[test]
fn who_opens_a_partition_has_missed_nothing() {
    let mut room = Room::new();
    let ann = room.join(Encoding::Json, View::default(), 0.0, 0.0);
    room.tick();
    let wave = |room: &mut Room, who, n| {
        room.act(who, n, None, 0.0);
        room.ticks(2);
    };
    wave(&mut room, ann, 1);
    // A gateway that has just started, on the same log.
    room.gateways[0].0 = room::world(&room.settings, 2);
    let bob = room.join(Encoding::Json, View::default(), 1.0, 0.0);
    let tick = room.gateways[0].0.freeze(room.now_us / TICK_US, room.now_us);
    room.input(bob, Input::Tick(&tick, ROWS_MAX));
    room.ticks(2);
    wave(&mut room, bob, 1);
    let resets = |who: usize| room.people[who].heard.iter().filter(|out| matches!(out, Out::Reset(_))).count();
    assert_eq!((room.events(bob).count(), resets(bob)), (1, 0));
    assert_eq!((room.events(ann).count(), resets(ann)), (2, 0), "who was there goes on");
}

#[test]
fn who_says_nothing_is_pinged_and_then_closed() {
    let mut room = Room::new();
    let ann = room.join(Encoding::Json, View::default(), 0.0, 0.0);
    room.people[ann].is_mute = true;
    room.ticks(20 * 26);
    let bye = room.people[ann].heard.iter().find_map(|out| match out {
        Out::Bye(bye) => Some((bye.code, bye.again)),
        _ => None,
    });
    assert_eq!(bye, Some((4001, true)));
}

/// How many states wait at a client that takes one every so many ticks and says so, and whose pongs come at once, after a minute.
fn waiting(every: usize, says_seen: bool) -> u64 {
    let mut room = Room::new();
    let slow = room.join(Encoding::MessagePack, View::default(), 0.0, 0.0);
    let others: Vec<usize> =
        (0..20).map(|i| room.join(Encoding::MessagePack, View::default(), 1.0 + f64::from(i), 0.0)).collect();
    (room.people[slow].sees_late, room.people[slow].pongs) = (true, true);
    let mut taken = 0;
    for tick in 0..1_200 {
        for (i, who) in others.iter().enumerate() {
            room.walk(*who, 1.0 + i as f64 + f64::from(tick) * 0.002, 0.0);
        }
        room.tick();
        // At first it is as quick as the others.
        let is_quick = tick < 100;
        let newest = room.people[slow].mirror.number();
        if newest > taken && (is_quick || (tick as usize).is_multiple_of(every)) {
            taken = if is_quick { newest } else { taken + 1 };
            if says_seen || is_quick {
                room.say(slow, &In::Seen(Seen { seen: taken, held_ms: 0.0 }));
            }
        }
    }
    room.people[slow].mirror.number() - taken
}

#[test]
fn who_takes_long_to_say_seen_is_waited_for_though_pongs_come_at_once() {
    assert!(waiting(60, true) < 12, "one every three seconds: {} wait", waiting(60, true));
    assert!(waiting(60, false) > 100, "who has stopped saying it is gone by pongs: {} wait", waiting(60, false));
}

#[test]
fn who_lost_the_socket_stays_for_15_seconds_and_goes_everywhere() {
    let mut room = Room::new();
    let (ann, bob) = (
        room.join(Encoding::MessagePack, View::default(), 0.0, 0.0),
        room.join(Encoding::MessagePack, View::default(), 1.0, 0.0),
    );
    room.ticks(10);
    room.input(bob, Input::Gone);
    for tick in 0..20 * 17 {
        room.walk(ann, f64::from(tick % 3) * 0.01, 0.0);
        room.tick();
        let there = room.people[ann].mirror.shown().count() == 1;
        assert_eq!(there, tick + 1 < 20 * 15, "tick {tick} after the loss");
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let run = || {
        let mut room = Room::new();
        for i in 0..40 {
            room.join(Encoding::ALL[i % 2], View::default(), i as f64, 0.0);
        }
        for step in 0..100 {
            for who in 0..40 {
                room.walk(who, who as f64 + f64::from(step) * 0.1, f64::from(step % 7) * 0.1);
            }
            room.tick();
        }
        room.people.iter().map(|p| (p.sent.clone(), p.mirror.digest())).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn who_rests_misses_nothing() {
    let mut room = Room::new();
    let ann = room.join(Encoding::MessagePack, View::default(), 0.0, 0.0);
    let bob = room.join(Encoding::MessagePack, View::default(), 20.0, 0.0);
    let calm = |room: &mut Room| {
        room.ticks(STRIDE_MAX as usize + 10);
        let states = |room: &Room| room.people[ann].notes.iter().filter(|note| matches!(note, Note::State(_))).count();
        let (before, sent) = (room.people[ann].fed, states(room));
        room.ticks(200);
        let (fed, sent) = (room.people[ann].fed - before, states(room) - sent);
        assert!(fed <= 22 && sent == 10, "fed {fed} of 200 ticks, sent {sent} states");
    };
    let sees = |room: &Room, x| {
        let shown: Vec<f64> = room.people[ann].mirror.shown().map(|avatar| avatar.pos.metres()[0]).collect();
        assert_eq!(shown, x);
    };
    calm(&mut room);
    room.walk(bob, 20.5, 0.0);
    room.tick();
    sees(&room, vec![20.5]);
    calm(&mut room);
    let profile = Profile { profile: "Robert".into() };
    room.say(bob, &In::Profile(profile));
    room.tick();
    assert!(room.people[ann].mirror.shown().any(|avatar| &*avatar.profile == "Robert"));
    calm(&mut room);
    room.act(bob, 1, None, 20.5);
    room.tick();
    assert_eq!(room.events(ann).count(), 1);
    calm(&mut room);
    // What others are told ends nobody's rest.
    for (n, to, told, fed) in [(2, 1 + 8, 1, 0), (3, 1, 2, 1)] {
        let before = room.people[ann].fed;
        room.act(bob, n, Some(to), 20.5);
        room.tick();
        assert_eq!((room.events(ann).count(), room.people[ann].fed - before), (told, fed));
    }
    calm(&mut room);
    room.say(bob, &In::Bye(ByeIn {}));
    room.tick();
    sees(&room, vec![]);
    calm(&mut room);
    room.join(Encoding::MessagePack, View::default(), 30.0, 0.0);
    room.tick();
    sees(&room, vec![30.0]);
    assert!(!room.people[ann].notes.iter().any(|note| matches!(note, Note::Late(_))), "rest is not lateness");
}

#[test]
fn the_nearest_are_there_after_two_ticks_and_the_rest_as_fast_as_the_budget_pays() {
    let mut room = Room::new();
    // Nearer ones join later, on a spiral.
    let place = |i: u32| {
        let (angle, away) = (f64::from(i) * 2.4, 45.0 - f64::from(i) * 0.1);
        (away * angle.cos(), away * angle.sin())
    };
    for i in 0..400 {
        let (x, z) = place(i);
        room.join(Encoding::MessagePack, View::default(), x, z);
    }
    room.ticks(5);
    let ann = room.join(Encoding::MessagePack, View::default(), 0.0, 0.0);
    room.ticks(2);
    let near =
        |room: &Room| room.people[ann].mirror.shown().filter(|a| a.pos.distance_m(Pos::default()) < 10.05).count();
    assert_eq!(near(&room), 50, "those within 10 m");
    // 400 enters of at most 60 bytes at 24 KiB/s, of which half a second is at hand: all are paid for in half a second more.
    room.ticks(10);
    assert_eq!(room.people[ann].mirror.shown().count(), 400);
}

#[test]
fn an_object_is_seen_by_all_who_are_near_as_it_is() {
    for encoding in Encoding::ALL {
        let mut room = Room::new();
        let ann = room.join(encoding, View::default(), 0.0, 0.0);
        let bob = room.join(Encoding::Json, View::default(), 10.0, 0.0);
        let eve = room.join(Encoding::MessagePack, View::default(), 70.0, 0.0);
        let ann_is = room.people[ann].session.entity();
        let fields = |on: &str| [("on".to_owned(), Some(on.to_owned()))].into();
        room.ticks(2);
        let begun = |room: &Room, who: usize| {
            let objects = room.people[who].heard.iter().filter(|out| matches!(out, Out::Object(_)));
            objects.cloned().collect::<Vec<_>>()
        };
        let nothing = Out::Object(Objects { begin: true, ..Objects::default() });
        assert_eq!(begun(&room, bob), [nothing], "there is nothing");
        room.set(ann, 1, Wish::Create, None, |set| set.fields = fields("no"));
        room.ticks(2);
        let Some(lamp) = room.acks(ann)[0].object else { panic!("{:?}", room.acks(ann)) };
        room.set(bob, 1, Wish::Change, Some(lamp), |set| set.fields = fields("yes"));
        room.ticks(2);
        assert_eq!(room.refusals(bob), ["out_of_reach"], "10 m are too far");
        room.set(ann, 2, Wish::Change, Some(lamp), |set| (set.fields, set.expect) = (fields("yes"), Some(1)));
        room.set(ann, 3, Wish::Change, Some(lamp), |set| (set.fields, set.expect) = (fields("no"), Some(1)));
        room.ticks(2);
        assert_eq!(room.acks(ann).iter().map(|ack| ack.version).collect::<Vec<_>>(), [Some(1), Some(2)]);
        assert_eq!(room.refusals(ann), ["version"]);
        let row = room.seen(bob, lamp).expect("it is near");
        assert_eq!((row.version, &*row.kind, &*row.fields["on"], row.holder), (2, "lamp", "yes", None));
        assert_eq!(room.seen(eve, lamp), None, "70 m away");
        // Who comes later is told what is, and with it that this is all.
        let cid = room.join(encoding, View::default(), -10.0, 0.0);
        room.ticks(2);
        assert_eq!(room.seen(cid, lamp), room.seen(bob, lamp));
        assert!(matches!(&begun(&room, cid)[..], [Out::Object(Objects { begin: true, .. })]));
        // Carried out of Cid's sight into Eve's.
        room.set(ann, 4, Wish::Grab, Some(lamp), |_| {});
        for step in 1..=60 {
            room.walk(ann, f64::from(step), 0.0);
            room.ticks(2);
        }
        room.ticks(4);
        assert_eq!(room.seen(eve, lamp).map(|row| (row.version, row.holder)), Some((3, Some(ann_is))));
        assert_eq!(room.seen(cid, lamp), None, "it is where its holder is");
        room.set(ann, 5, Wish::Release, Some(lamp), |set| set.to = Some([61.0, 0.0, 0.0]));
        room.ticks(2);
        assert_eq!(room.seen(eve, lamp).map(|row| (row.pos, row.holder)), Some(([61.0, 0.0, 0.0], None)));
        // It stays when she has gone, and goes when it is removed.
        room.set(ann, 6, Wish::Remove, Some(lamp), |_| {});
        room.ticks(2);
        assert_eq!((room.seen(eve, lamp), room.seen(bob, lamp)), (None, None));
        assert_eq!(room.acks(ann).len(), 6 - 1);
    }
}

#[test]
fn of_two_hands_on_one_cup_one_wins() {
    let mut room = Room::new();
    let ann = room.join(Encoding::Json, View::default(), 0.0, 0.0);
    let bob = room.join(Encoding::MessagePack, View::default(), 1.0, 0.0);
    room.ticks(2);
    room.set(ann, 1, Wish::Create, None, |_| {});
    room.ticks(2);
    let cup = room.acks(ann)[0].object.expect("made");
    room.set(bob, 1, Wish::Grab, Some(cup), |_| {});
    room.set(ann, 2, Wish::Grab, Some(cup), |_| {});
    room.ticks(2);
    assert_eq!((room.refusals(ann), room.acks(bob).len()), (vec!["held"], 1));
    let holder = Some(room.people[bob].session.entity());
    assert!([ann, bob].iter().all(|who| room.seen(*who, cup).expect("near").holder == holder));
    // It is put down where Bob was when he goes.
    room.walk(bob, 2.0, 0.0);
    room.say(bob, &In::Bye(ByeIn {}));
    room.ticks(2);
    assert_eq!(room.seen(ann, cup).map(|row| (row.pos, row.holder)), Some(([2.0, 0.0, 0.0], None)));
}

#[test]
fn who_rests_sees_what_becomes_of_an_object() {
    let mut room = Room::new();
    let ann = room.join(Encoding::MessagePack, View::default(), 0.0, 0.0);
    let bob = room.join(Encoding::MessagePack, View::default(), 20.0, 0.0);
    room.ticks(2);
    room.set(bob, 1, Wish::Create, None, |set| set.pos = [20.0, 0.0, 0.0]);
    room.ticks(STRIDE_MAX as usize + 10);
    let cup = room.acks(bob)[0].object.expect("made");
    for (n, wish) in (2..).zip([Wish::Change, Wish::Grab, Wish::Release]) {
        let before = room.people[ann].fed;
        room.ticks(200);
        assert!(room.people[ann].fed - before <= 22, "fed {} of 200 ticks", room.people[ann].fed - before);
        room.set(bob, n, wish, Some(cup), |set| set.to = Some([20.0 + n as f64 / 10.0, 0.0, 0.0]));
        room.ticks(2);
        assert_eq!(room.seen(ann, cup).map(|row| row.version), Some(n));
        room.ticks(STRIDE_MAX as usize + 10);
    }
}

#[test]
fn a_room_full_of_objects_keeps_to_the_budget_and_avatars_move_meanwhile() {
    for encoding in Encoding::ALL {
        let mut room = Room::new();
        let budget = 8_192;
        for i in 0..40 {
            room.join(Encoding::MessagePack, View::default(), f64::from(i % 8), f64::from(i / 8));
        }
        room.ticks(2);
        let text = "\u{1}\"x".repeat(50);
        for n in 1..=12 {
            for who in 0..40 {
                room.set(who, n, Wish::Create, None, |set| {
                    set.pos = [(who % 8) as f64, 0.0, (who / 8) as f64];
                    set.fields = [("like".to_owned(), Some(text.clone()))].into();
                });
            }
            room.ticks(4);
        }
        let ann = room.join(encoding, View { budget: Some(budget), radius: None }, 4.0, 2.0);
        let (mut still, mut longest, mut last) = (0, 0, None);
        for step in 0..20 * 60 {
            room.walk(1, 1.0 + f64::from(step % 20) * 0.05, 0.0);
            room.tick();
            let first = room.people[ann].mirror.shown().find(|avatar| avatar.entity == 4).map(|avatar| avatar.pos);
            still = if first.is_some() && first == last { still + 1 } else { 0 };
            (longest, last) = (longest.max(still), first);
        }
        assert_eq!(room.people[ann].stock.objects.len(), 480, "{encoding:?}: all came");
        assert!(longest <= 10, "{encoding:?}: an avatar stood still for {longest} ticks");
        room.keeps_to_budget(ann, budget);
    }
}
