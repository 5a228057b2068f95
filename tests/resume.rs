//! Sessions that survive: who has lost the connection goes on as the same avatar, on the same gateway or another one, and
//! is told what they missed. First without sockets, two gateways on one log; then on real ones.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for")]

#[path = "support/room.rs"]
mod room;
#[path = "resume/sockets.rs"]
mod sockets;
mod support;

use std::sync::Arc;

use nearcast::codec::command::{Command, Deed};
use nearcast::codec::message::{ByeIn, Hello, Id, In, Out, Ping, Resume, Scope, Welcome};
use nearcast::codec::record::{self, Record, Stamp};
use nearcast::codec::state::Known;
use nearcast::codec::token::{Claim, Key, Seal};
use nearcast::codec::{Encoding, Heard};
use nearcast::limits::{EVENT_RING, EXPIRY_US, OPEN_WITHIN_US, RESUME_US, ROWS_MAX, SECOND_US, TICK_US};
use nearcast::log::{Follow, Log, Polled, Source, Ticket, Topic};
use nearcast::region::Submit;
use nearcast::session::{Effect, Input, Session};
use nearcast::settings::WorldSettings;
use nearcast::space::{Pos, Region};
use room::{Room, START_US};

const ENCODING: Encoding = Encoding::Json;

impl Room {
    /// So many gateways, which have begun.
    fn with(gateways: usize) -> Room {
        let mut room = Room::new();
        (1..gateways).for_each(|_| room.start());
        room.ticks(2);
        room
    }

    /// Two gateways; Ann, and Bob five metres from her, on the first.
    fn of_two() -> (Room, usize, (usize, Welcome)) {
        let mut room = Room::with(2);
        let (ann, _) = room.join(0, None);
        let bob = room.join(0, None);
        room.walk(ann, 0.0, 0.0);
        room.walk(bob.0, 5.0, 0.0);
        room.ticks(10);
        (room, ann, bob)
    }

    /// Somebody connects to a gateway and says hello; a pong says that the welcome has arrived.
    fn hello(&mut self, gateway: usize, resume: Option<Resume>) -> usize {
        let who = self.connect(ENCODING);
        (self.people[who].gateway, self.people[who].pongs) = (gateway, true);
        let profile = Some(format!("guest {who}"));
        self.say(who, &In::Hello(Hello { world: "plaza".into(), resume, profile, ..Hello::default() }));
        who
    }

    /// The same, and is welcomed.
    fn join(&mut self, gateway: usize, resume: Option<Resume>) -> (usize, Welcome) {
        let who = self.hello(gateway, resume);
        self.ticks(2);
        (who, self.welcome(who).expect("welcomed"))
    }

    /// Others do so much at once, so many metres off: on no gateway of these.
    fn crowd(&mut self, acts: u64, x: f64) {
        let (pos, nobody) = (Pos::from_metres([x, 0.0, 0.0]).expect("a place"), 1 << 40);
        let source = Source { topic: Topic::Events, partition: self.settings.grid.partition(Region::of(pos)) };
        let mut log = self.memory.open();
        for n in 0..acts {
            let deed = Deed::Act { scope: Scope::Nearby, user: nobody, name: "crowd".into(), data: "".into() };
            let command = Command { session: nobody, n, entity: nobody, trusted: true, pos, from: pos, deed };
            let stamp = Stamp { gateway: 99, published_us: self.now_us };
            log.publish(source, record::encode(stamp, &Record::Command(command)));
        }
    }

    fn seconds(&mut self, n: u64) {
        self.ticks((n * SECOND_US / TICK_US) as usize);
    }

    fn welcome(&self, who: usize) -> Option<Welcome> {
        self.heard(who, |out| if let Out::Welcome(welcome) = out { Some(welcome.clone()) } else { None }).next()
    }

    fn bye(&self, who: usize) -> Option<(u16, bool)> {
        self.heard(who, |out| if let Out::Bye(bye) = out { Some((bye.code, bye.again)) } else { None }).next()
    }

    fn told(&self, who: usize) -> Vec<&str> {
        self.events(who).map(|event| &*event.name).collect()
    }

    fn acked(&self, who: usize) -> Vec<u64> {
        self.heard(who, |out| if let Out::Ack(ack) = out { Some(ack.n) } else { None }).collect()
    }

    fn shows(&self, who: usize, entity: Id) -> bool {
        self.people[who].mirror.find(entity).is_some()
    }
}

fn token(welcome: &Welcome) -> Resume {
    Resume { token: welcome.token.clone().expect("a token"), ..Resume::default() }
}

/// What a client knows of events, by what it has heard.
fn cursors(heard: &[Out]) -> Vec<(String, u64)> {
    let mut all = std::collections::BTreeMap::new();
    for out in heard {
        match out {
            Out::Event(event) => all.insert(event.stream.clone(), event.offset + 1),
            Out::Cursor(cursor) => all.insert(cursor.stream.clone(), cursor.offset),
            Out::Reset(reset) => all.insert(format!("partition/{}", reset.partition), reset.offset),
            _ => None,
        };
    }
    all.into_iter().collect()
}

#[test]
fn a_lost_socket_is_resumed_as_the_same_avatar_without_a_gap() {
    for other in [0, 1] {
        let (mut room, ann, (bob, first)) = Room::of_two();
        assert!(room.shows(ann, first.entity) && !first.resumed);
        room.input(bob, Input::Gone);
        for _ in 0..10 {
            room.seconds(1);
            assert!(room.shows(ann, first.entity), "it stays for 15 s");
        }
        let (again, second) = room.join(other, Some(token(&first)));
        assert_eq!(
            (second.session, second.entity, second.user, second.resumed),
            (first.session, first.entity, first.user, true)
        );
        assert_ne!(second.token, first.token);
        room.ticks(10);
        assert!(room.shows(again, ann_of(&room)), "it sees before it has said where it is");
        let facing = room.people[ann].mirror.find(first.entity).expect("it never went").yaw;
        assert_eq!(facing == 64, other == 0, "what lingers here stays as it is; elsewhere only its place is known");
        for i in 0..30_u32 {
            room.walk(again, 5.0 + f64::from(i) * 0.4, 0.0);
            room.seconds(1);
            assert!(room.shows(ann, first.entity), "gateway {other}, {i} s");
        }
        let at = room.people[ann].mirror.find(first.entity).expect("seen").pos.metres();
        assert_eq!(at[0], 5.0 + 29.0 * 0.4);
        assert_eq!(room.people[ann].mirror.shown().count(), 1, "one avatar, not two");
        assert!(room.refusals(again).is_empty());
    }
}

/// The first one's avatar.
fn ann_of(room: &Room) -> Id {
    room.welcome(0).expect("she is here").entity
}

#[test]
fn an_avatar_that_has_gone_comes_back_where_it_was() {
    for other in [0, 1] {
        let (mut room, ann, (bob, first)) = Room::of_two();
        room.input(bob, Input::Gone);
        room.seconds(EXPIRY_US / SECOND_US + 1);
        assert!(!room.shows(ann, first.entity));
        room.seconds(60);
        let (again, second) = room.join(other, Some(token(&first)));
        assert!(second.resumed);
        room.ticks(10);
        let at = room.people[ann].mirror.find(first.entity).map(|avatar| avatar.pos.metres()[0]);
        assert_eq!(at, Some(5.0), "gateway {other}");
        room.walk(again, 2_000.0, 0.0);
        assert_eq!(room.refusals(again), ["speed"], "no further than it can have walked");
        room.walk(again, 600.0, 0.0);
        assert_eq!(room.refusals(again).len(), 1);
    }
}

#[test]
fn who_is_lost_twice_before_they_say_where_they_are_may_have_walked_all_the_time() {
    // On the gateway that has it in its hands, and on one that knows it from what that has written.
    for gateway in [1, 2] {
        let mut room = Room::with(3);
        let (bob, first) = room.join(0, None);
        room.walk(bob, 5.0, 0.0);
        room.ticks(10);
        room.input(bob, Input::Gone);
        room.seconds(20);
        let (again, second) = room.join(1, Some(token(&first)));
        room.seconds(1);
        room.input(again, Input::Gone);
        room.ticks(4);
        let (last, third) = room.join(gateway, Some(token(&second)));
        assert!(third.resumed);
        room.walk(last, 150.0, 0.0);
        assert!(room.refusals(last).is_empty(), "gateway {gateway}: 20 s have passed: {:?}", room.refusals(last));
    }
}

#[test]
fn who_goes_on_and_stands_still_keeps_their_place_for_longer_than_the_log_is_read_back() {
    let mut room = Room::with(2);
    let (ann, _) = room.join(0, None);
    room.walk(ann, -2_000.0, 0.0);
    let (bob, first) = room.join(0, None);
    room.walk(bob, -1_995.0, 0.0);
    room.ticks(10);
    room.input(bob, Input::Gone);
    room.seconds(2);
    let (again, second) = room.join(1, Some(token(&first)));
    for _ in 0..19 {
        room.seconds(10);
        [ann, again].into_iter().for_each(|who| room.say(who, &In::Ping(Ping { time: 1.0 })));
    }
    // His gateway dies, and he goes on at one that has just started.
    room.start();
    let (last, third) = room.join(2, Some(token(&second)));
    assert!(third.resumed);
    room.ticks(10);
    let at = room.people[ann].mirror.find(first.entity).map(|avatar| avatar.pos.metres()[0]);
    assert_eq!(at, Some(-1_995.0));
    room.walk(last, 2_000.0, 0.0);
    assert_eq!(room.refusals(last), ["speed"], "200 s are not enough for that");
}

#[test]
fn who_goes_on_in_another_partition_is_soon_in_that_alone() {
    let mut room = Room::with(2);
    let (bob, first) = room.join(0, None);
    room.ticks(10);
    room.walk(bob, 500.0, 0.0);
    room.ticks(10);
    // Nothing in `direct` says where he is, as where a gateway dies; and his first word on the other one leads over the border
    // between two blocks, at 512 m.
    let (again, second) = room.join(1, Some(token(&first)));
    assert!(second.resumed);
    room.walk(again, 514.0, 0.0);
    for _ in 0..40 {
        room.seconds(1);
        room.say(again, &In::Ping(Ping { time: 1.0 }));
    }
    let partitions = room.settings.grid.partitions();
    for (world, _) in &room.gateways {
        let holds =
            |partition: &u16| world.folded(*partition).any(|(id, held)| id == first.entity && held.leaver.is_none());
        let held: Vec<u16> = (0..partitions).filter(holds).collect();
        assert!(held.len() <= 1, "{held:?}");
    }
}

#[test]
fn a_token_opens_nothing_when_its_time_is_over_or_the_session_said_bye() {
    let mut room = Room::with(1);
    let (bob, first) = room.join(0, None);
    room.walk(bob, 5.0, 0.0);
    room.input(bob, Input::Gone);
    room.seconds(RESUME_US / SECOND_US + 40);
    let (_, second) = room.join(0, Some(token(&first)));
    assert!(!second.resumed && second.session != first.session && second.entity != first.entity);
    let (eve, third) = room.join(0, None);
    room.say(eve, &In::Bye(ByeIn {}));
    room.ticks(2);
    assert!(!room.join(0, Some(token(&third))).1.resumed);
}

#[test]
fn a_bye_just_after_the_welcome_ends_the_session_too() {
    let mut room = Room::with(2);
    for ticks in 0..8 {
        room.ticks(ticks);
        let (eve, first) = room.join(0, None);
        room.say(eve, &In::Bye(ByeIn {}));
        room.seconds(1);
        assert!(!room.join(1, Some(token(&first))).1.resumed, "{ticks}");
    }
}

#[test]
fn tokens_that_are_none_open_a_new_session_without_a_word_why() {
    let mut room = Room::with(1);
    let (_, ann) = room.join(0, None);
    let claim = Claim { session: ann.session, user: ann.user, entity: ann.entity, incarnation: 1_000 };
    let of = |key: u8, world: &str| Seal::new(&Key::new([key; Key::BYTES]), world).seal(&claim);
    for wrong in [String::new(), "x".repeat(9_000), "ä".into(), of(8, "plaza"), of(7, "arena"), of(7, "plaza")] {
        let (who, welcome) = room.join(0, Some(Resume { token: wrong, ..Resume::default() }));
        assert!(!welcome.resumed && welcome.session != ann.session);
        assert!(room.refusals(who).is_empty());
    }
}

#[test]
fn the_last_to_open_closes_the_other_and_a_stolen_token_opens_nothing() {
    for other in [0, 1] {
        let mut room = Room::with(2);
        let (ann, first) = room.join(0, None);
        room.walk(ann, 0.0, 0.0);
        room.seconds(2);
        let (again, second) = room.join(other, Some(token(&first)));
        assert!(second.resumed);
        room.ticks(4);
        assert_eq!(room.bye(ann), Some((4504, false)), "gateway {other}");
        // What the old socket still says or does counts for nothing.
        let (world, log) = &mut room.gateways[other];
        world.submit(Submit::Gone { entity: first.entity, incarnation: 1 }, log, room.now_us);
        room.walk(again, 1.0, 0.0);
        room.seconds(2);
        // Its token was confirmed by the pong; the one before it was stolen.
        let (thief, stolen) = room.join(0, Some(token(&first)));
        assert!(!stolen.resumed && stolen.entity != first.entity);
        assert_eq!(room.bye(again), None);
        room.walk(thief, 3.0, 0.0);
        for _ in 0..20 {
            room.seconds(1);
            assert!(room.shows(thief, first.entity), "gateway {other}: it does not linger, it lives");
        }
    }
}

#[test]
fn of_two_that_race_one_goes_on_and_the_other_hears_of_it() {
    assert_eq!(live_after_a_race(), 1);
}

#[cfg(feature = "planted")]
#[test]
fn two_that_both_go_on_are_noticed() {
    nearcast::planted::set(Some(nearcast::planted::Bug::BothLive));
    let live = live_after_a_race();
    nearcast::planted::set(None);
    assert!(live > 1, "{live}");
}

/// Four connections show the same token at once; how many of them then speak for the session.
fn live_after_a_race() -> usize {
    let mut room = Room::with(2);
    let (ann, first) = room.join(0, None);
    room.walk(ann, 0.0, 0.0);
    room.seconds(1);
    room.input(ann, Input::Gone);
    let racers: Vec<usize> = (0..4).map(|i| room.hello(i % 2, Some(token(&first)))).collect();
    racers.iter().for_each(|who| room.people[*who].is_mute = true);
    room.seconds(1);
    let live: Vec<usize> = racers.iter().copied().filter(|who| room.bye(*who).is_none()).collect();
    let resumed: Vec<usize> =
        racers.iter().copied().filter(|who| room.welcome(*who).is_some_and(|welcome| welcome.resumed)).collect();
    let both: Vec<usize> = live.iter().copied().filter(|who| resumed.contains(who)).collect();
    if both.len() == 1 {
        for who in resumed.iter().filter(|who| **who != both[0]) {
            assert_eq!(room.bye(*who), Some((4504, false)));
        }
        let owned: Vec<usize> = room.gateways.iter().map(|(world, _)| world.owned()).collect();
        assert_eq!(owned.iter().sum::<usize>(), live.len(), "{owned:?}");
    }
    both.len()
}

#[test]
fn a_lost_welcome_locks_nobody_out() {
    let mut room = Room::with(2);
    let (ann, first) = room.join(0, None);
    room.walk(ann, 0.0, 0.0);
    room.seconds(1);
    room.input(ann, Input::Gone);
    // The welcome of the next two does not arrive: no pong comes, and the token is lost.
    for gateway in [0, 1] {
        let deaf = room.hello(gateway, Some(token(&first)));
        room.people[deaf].is_mute = true;
        room.seconds(2);
        assert!(room.welcome(deaf).expect("on its way").resumed);
        room.input(deaf, Input::Gone);
    }
    let (_, last) = room.join(0, Some(token(&first)));
    assert!(last.resumed);
    room.seconds(1);
    assert!(!room.join(0, Some(token(&first))).1.resumed, "and now its token is confirmed");
}

#[test]
fn what_was_missed_is_told_once_and_what_is_sent_again_takes_effect_once() {
    for (other, away_s) in [(0, 3), (1, 3), (0, 30), (1, 30)] {
        let (mut room, ann, (bob, first)) = Room::of_two();
        room.act(ann, 1, None, 0.0);
        room.act(bob, 1, None, 5.0);
        room.ticks(4);
        assert_eq!(room.told(bob), ["act 1", "act 1"]);
        // His second action is in the log; its answer is lost.
        room.act(bob, 2, None, 5.0);
        room.input(bob, Input::Gone);
        room.seconds(1);
        room.act(ann, 2, None, 0.0);
        room.seconds(away_s);
        room.act(ann, 3, None, 0.0);
        room.ticks(4);
        let (heard, open) = (room.people[bob].heard.clone(), Some(2));
        let resume = Resume { open, cursors: cursors(&heard), ..token(&first) };
        let (again, welcome) = room.join(other, Some(resume));
        assert!(welcome.resumed);
        room.act(again, 2, None, 5.0);
        room.act(again, 3, None, 5.0);
        room.seconds(1);
        let told = room.told(again);
        assert_eq!(told, ["act 2", "act 2", "act 3", "act 3"], "gateway {other}, after {away_s} s");
        assert_eq!(room.acked(again), [2, 3]);
        assert_eq!(room.told(ann).len(), 6, "each once");
        assert!(!room.people[again].heard.iter().any(|out| matches!(out, Out::Reset(_))));
    }
}

#[test]
fn what_the_ring_has_no_more_is_told_from_the_log_unless_it_is_too_much() {
    for (other, crowd_m, expected) in [(0, 400.0, Some("act 2")), (1, 400.0, Some("act 2")), (0, 9.0, None)] {
        let (mut room, ann, (bob, first)) = Room::of_two();
        room.act(bob, 1, None, 5.0);
        room.seconds(6);
        room.input(bob, Input::Gone);
        room.act(ann, 2, None, 0.0);
        room.ticks(4);
        room.crowd(2 * EVENT_RING as u64, crowd_m);
        room.ticks(4);
        let resume = Resume { cursors: cursors(&room.people[bob].heard), ..token(&first) };
        let (again, welcome) = room.join(other, Some(resume));
        assert!(welcome.resumed);
        room.act(ann, 3, None, 0.0);
        room.seconds(2);
        let resets = room.people[again].heard.iter().filter(|out| matches!(out, Out::Reset(_))).count();
        let told = room.told(again);
        match expected {
            Some(missed) => assert_eq!((told, resets), (vec![missed, "act 3"], 0), "on gateway {other}"),
            None => {
                assert_eq!(resets, 1, "more than the ring has were for him");
                assert!(told[0] == "crowd" && told.iter().filter(|name| name.starts_with("act")).count() <= 1);
            }
        }
    }
}

#[test]
fn a_user_is_told_on_whatever_gateway_once_also_of_what_they_missed_and_nobody_else_is() {
    for other in [0, 1] {
        let mut room = Room::with(2);
        let (ann, ann_is) = room.join(1, None);
        let (bob, first) = room.join(0, None);
        let (eve, _) = room.join(0, None);
        for (who, x) in [(ann, 0.0), (bob, 900.0), (eve, 901.0)] {
            room.walk(who, x, 0.0);
        }
        room.ticks(10);
        room.act(ann, 1, Some(first.user), 0.0);
        room.ticks(4);
        // The answer was lost.
        room.act(ann, 1, Some(first.user), 0.0);
        room.ticks(4);
        assert_eq!((room.told(bob), room.acked(ann)), (vec!["tell 1"], vec![1, 1]));
        let event = room.people[bob].heard.iter().find_map(|out| if let Out::Event(e) = out { Some(e) } else { None });
        let Some(event) = event.cloned() else { unreachable!() };
        assert_eq!((event.stream, event.scope), (format!("user/{}", first.user), Scope::User));
        assert_eq!((event.from, event.user), (ann_is.entity, ann_is.user), "he can answer");
        room.seconds(6);
        room.input(bob, Input::Gone);
        room.seconds(1);
        room.act(ann, 2, Some(first.user), 0.0);
        room.seconds(20);
        let resume = Resume { cursors: cursors(&room.people[bob].heard), ..token(&first) };
        let (again, welcome) = room.join(other, Some(resume));
        assert!(welcome.resumed);
        room.act(ann, 3, Some(first.user), 0.0);
        room.act(again, 1, Some(ann_is.user), 900.0);
        room.act(eve, 1, Some(1 << 50), 901.0);
        room.seconds(1);
        assert_eq!(room.told(again), ["tell 2", "tell 3"], "on gateway {other}");
        assert!(!room.people[again].heard.iter().any(|out| matches!(out, Out::Reset(_))));
        assert_eq!(room.told(ann), ["tell 1"]);
        assert_eq!((room.told(eve), room.acked(eve)), (vec![], vec![1]), "nobody need be there");
        // A gateway that starts has not heard the first; it takes no old ones for new.
        room.start();
        let (late, late_is) = room.join(2, None);
        room.walk(late, 0.0, 0.0);
        room.ticks(10);
        room.act(ann, 4, Some(late_is.user), 0.0);
        room.ticks(4);
        assert_eq!(room.told(late), ["tell 4"]);
    }
}

#[test]
fn numbers_go_on_with_the_session() {
    let mut room = Room::with(1);
    let (ann, first) = room.join(0, None);
    room.walk(ann, 0.0, 0.0);
    room.ticks(2);
    room.input(ann, Input::Gone);
    let (again, welcome) = room.join(0, Some(Resume { open: Some(7), ..token(&first) }));
    assert!(welcome.resumed);
    room.act(again, 39, None, 0.0);
    assert_eq!(room.refusals(again), ["window"], "32 above the lowest without an answer");
    room.act(again, 38, None, 0.0);
    room.act(again, 7, None, 500.0);
    let unknown = room.people[again].heard.iter().any(|out| matches!(out, Out::Unknown(unknown) if unknown.n == 7));
    assert!(unknown, "it may have been sent before: it is not refused for its place");
    assert_eq!(room.refusals(again).len(), 1);
}

#[test]
fn before_the_welcome_the_newest_move_is_kept_and_nothing_else() {
    let mut room = Room::with(1);
    let who = room.hello(0, None);
    room.act(who, 7, None, 0.0);
    assert_eq!(room.refusals(who), ["not_open"]);
    room.say(who, &In::Ping(Ping { time: 1.0 }));
    assert!(room.people[who].heard.iter().any(|out| matches!(out, Out::Pong(_))));
    (0..5).for_each(|i| room.walk(who, 100.0 * f64::from(i), 0.0));
    room.ticks(4);
    let (ann, _) = room.join(0, None);
    room.walk(ann, 390.0, 0.0);
    room.ticks(4);
    let entity = room.welcome(who).expect("welcomed").entity;
    assert_eq!(room.people[ann].mirror.find(entity).map(|avatar| avatar.pos.x), Some(40_000));
}

#[test]
fn who_goes_before_the_welcome_leaves_nothing_behind() {
    let mut room = Room::with(1);
    let who = room.hello(0, None);
    room.input(who, Input::Gone);
    room.ticks(10);
    assert_eq!(room.gateways[0].0.owned(), 0);
    // Its answer crosses its end.
    let who = room.hello(0, None);
    let (world, log) = &mut room.gateways[0];
    for _ in 0..3 {
        world.step(log, room.now_us, &mut Vec::new());
    }
    assert_eq!((world.owned(), world.letters().len()), (1, 1));
    room.input(who, Input::Gone);
    room.seconds(EXPIRY_US / SECOND_US + 1);
    assert_eq!(room.gateways[0].0.owned(), 0);
}

/// A log that says nothing.
struct Silence;

impl Log for Silence {
    fn publish(&mut self, _: Source, _: bytes::Bytes) -> Ticket {
        Ticket(0)
    }
    fn follow(&mut self, _: Follow) {}
    fn poll(&mut self, _: &mut Vec<Polled>) {}
    fn bounds(&mut self, _: Source) {}
    fn offset_at(&mut self, _: Source, _: i64) {}
    fn fetch(&mut self, _: Source, _: u64) {}
}

#[test]
fn who_is_not_answered_by_the_log_is_sent_away_to_come_back() {
    let settings = Arc::new(WorldSettings::plaza());
    let mut world = room::world(&settings, 1);
    let mut session = Session::new(1, 2, ENCODING, settings, START_US);
    let mut effects = Vec::new();
    let hello = In::Hello(Hello { world: "plaza".into(), ..Hello::default() });
    session.on(Input::Message(ENCODING.encode_in(&hello).bytes()), START_US, &mut effects);
    let mut bye = None;
    for number in START_US / TICK_US + 1.. {
        let now_us = number * TICK_US;
        world.step(&mut Silence, now_us, &mut Vec::new());
        session.on(Input::Tick(&world.freeze(number, now_us), ROWS_MAX), now_us, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Submit(submit) => world.submit(submit, &mut Silence, now_us),
                Effect::Send(payload) => {
                    match ENCODING.decode_out(&mut Known::default(), payload.bytes()).expect("ours") {
                        Heard::Other(Out::Bye(said)) => bye = Some((said.code, said.again)),
                        heard => panic!("{heard:?}"),
                    }
                }
                _ => {}
            }
        }
        if now_us > START_US + OPEN_WITHIN_US {
            break;
        }
    }
    assert_eq!(bye, Some((4005, true)));
    assert_eq!(world.waiting().1, 0, "nobody asks any more");
}
