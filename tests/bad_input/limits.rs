//! Every limit of a session at 0.9 and at 1.1 times itself, for players and for game servers.

use std::collections::BTreeMap;

use nearcast::admit::movement::Rule;
use nearcast::admit::{Close, Refusal};
use nearcast::codec::Encoding;
use nearcast::codec::message::{Act, Hello, In, Out, Ping, Profile, Scope, Seen, Set, View, Wish};
use nearcast::limits::{
    ACT_DATA_BYTES_MAX, ACT_NAME_BYTES_MAX, FIELD_BYTES_MAX, FIELD_NAME_BYTES_MAX, FIELDS_MAX, HELLO_WITHIN_US,
    KIND_BYTES_MAX, OPEN_ACTS_MAX, OPEN_ACTS_MAX_SERVER, PROFILE_BYTES_MAX, REFUSALS_WINDOW_US, SECOND_US, SILENT_US,
    SPEED_TOLERANCE, TEXT_CHARS_MAX, TICK_US, TOKEN_BYTES_MAX, UNREADABLE_MAX,
};
use nearcast::session::{Input, Note};
use nearcast::settings::{Enforcement, Limits, Role, Secret, WorldSettings};

use super::room::Room;

const TOKEN: &str = "a secret of at least thirty-two bytes";

fn settings() -> WorldSettings {
    WorldSettings { server_token: Some(Secret::new(TOKEN.into())), ..WorldSettings::plaza() }
}

/// A room with somebody in it who has just said hello.
fn join(settings: WorldSettings, role: Role) -> Room {
    let mut room = Room::of(settings);
    let who = room.connect(Encoding::MessagePack);
    let token = match role {
        Role::Player => None,
        Role::Server => Some(TOKEN.to_owned()),
    };
    room.say(who, &In::Hello(Hello { world: "plaza".into(), token, ..Hello::default() }));
    room.settle();
    assert!(matches!(room.people[who].heard.pop(), Some(Out::Welcome(_))));
    room
}

/// The only one in the room.
const ANN: usize = 0;

fn count(room: &Room, wanted: impl Fn(&Note) -> bool) -> usize {
    room.people[ANN].notes.iter().filter(|note| wanted(note)).count()
}

/// Turns the clock to a moment.
fn until(room: &mut Room, at_us: u64) {
    while room.now_us / TICK_US < at_us / TICK_US {
        room.ticks(1);
    }
    room.now_us = room.now_us.max(at_us);
}

// --- so many a second -------------------------------------------------------------------------------------------------

/// A rate: what it is of, how many a second and at once, what one of them takes, and how the n-th is said.
type Row = (&'static str, u32, u32, u32, fn(&mut Room, u64));

fn act(room: &mut Room, n: u64) {
    room.act(ANN, n, None, 0.0);
}

fn rates(limits: &Limits) -> [Row; 7] {
    [
        ("messages", limits.messages_per_s, limits.messages_burst, 1, |room, _| {
            room.say(ANN, &In::Seen(Seen { seen: 0, held_ms: 0.0 }));
        }),
        ("bytes", limits.bytes_per_s, limits.bytes_burst, 2_048, |room, _| {
            room.input(ANN, Input::Message(&padded()));
        }),
        ("moves", limits.moves_per_s, limits.moves_burst, 1, |room, n| room.walk(ANN, (n % 2) as f64, 0.0)),
        ("acts", limits.acts_per_s, limits.acts_burst, 1, act),
        ("changes", limits.changes_per_s, limits.changes_burst, 1, |room, _| {
            room.say(ANN, &In::View(View { radius: Some(9.0), budget: None }));
        }),
        ("crossings", limits.crossings_per_s, limits.crossings_burst, 1, |room, n| {
            // Each of them into another region than that in which she is.
            let entered = n - 1 - count(room, |note| matches!(note, Note::Refused(_))) as u64;
            room.walk(ANN, if entered.is_multiple_of(2) { 300.0 } else { 0.0 }, 0.0);
        }),
        ("controls", limits.controls_per_s, limits.controls_burst, 1, |room, _| room.input(ANN, Input::Ping(b""))),
    ]
}

/// A `ping` of 2,048 bytes.
fn padded() -> Vec<u8> {
    let mut bytes = b"\x81\xa4ping\x82\xa4time\x01\xa5later\xda".to_vec();
    let len = 2_048 - bytes.len() - 2;
    bytes.extend((len as u16).to_be_bytes());
    bytes.resize(2_048, b'x');
    bytes
}

/// What was above a rate.
fn above(room: &Room) -> usize {
    count(room, |note| matches!(note, Note::Refused(Refusal::Rate) | Note::Merged))
}

#[test]
fn rates_pass_nine_tenths_and_cut_eleven_tenths_to_themselves() {
    for (role, limits) in [(Role::Player, Limits::PLAYER), (Role::Server, Limits::SERVER)] {
        for (name, per_s, burst, takes, say) in rates(&limits) {
            // No other rule is in the way.
            let settings = WorldSettings { speed: 1e6, ..settings() };
            let mut room = join(settings, role);
            room.walk(ANN, 0.0, 0.0);
            let rested_us = room.now_us + 3 * SECOND_US;
            until(&mut room, rested_us);
            // What she said for the last state is made good for as well.
            room.now_us += TICK_US / 2;
            room.people[ANN].notes.clear();
            let mut n = 0;
            let mut next = |room: &mut Room| {
                n += 1;
                say(room, n);
            };
            for _ in 0..burst / takes {
                next(&mut room);
            }
            assert_eq!(above(&room), 0, "{name} of a {role:?}: {burst} at once");
            next(&mut room);
            assert_eq!(above(&room), 1, "{name} of a {role:?}: one more");
            let mut told = 0;
            for tenths in [9, 11] {
                let (start_us, before) = (room.now_us, above(&room));
                let sent = 60 * u64::from(per_s / takes) * tenths / 10;
                for i in 1..=sent {
                    until(&mut room, start_us + i * SECOND_US * 10 / (u64::from(per_s / takes) * tenths));
                    next(&mut room);
                }
                let share = (above(&room) - before) as f64 / sent as f64;
                let wanted = if tenths == 9 { 0.0 } else { 1.0 / 11.0 };
                // What was left over at nine tenths is at hand in the beginning of eleven tenths.
                let left = if tenths == 9 { 0.0 } else { f64::from(burst / takes) / sent as f64 };
                assert!(share <= wanted + 0.02 && share >= wanted - left - 0.02, "{name} of a {role:?}: {share}");
                told = room.people[ANN].heard.len();
            }
            assert_eq!(room.people[ANN].closed, None, "{name} of a {role:?}");
            assert!(told > 0 || name == "moves", "{name} of a {role:?}: it is told");
        }
    }
}

#[test]
fn as_many_refusals_as_messages_may_come_are_a_flood() {
    for (role, limits) in [(Role::Player, Limits::PLAYER), (Role::Server, Limits::SERVER)] {
        let max = u64::from(limits.refusals_max());
        assert_eq!(max, u64::from(limits.messages_per_s) * 10, "600 of a player");
        for (tenths, closed) in [(9, None), (11, Some(Close::Rate))] {
            let mut room = join(settings(), role);
            let later_us = room.now_us + REFUSALS_WINDOW_US;
            until(&mut room, later_us);
            for _ in 0..u64::from(limits.messages_burst) + max * tenths / 10 {
                room.say(ANN, &In::Seen(Seen { seen: 0, held_ms: 0.0 }));
            }
            assert_eq!(room.people[ANN].closed, closed, "{tenths} tenths of a {role:?}");
        }
    }
}

#[test]
fn two_unreadable_messages_are_refused_and_three_close() {
    for role in [Role::Player, Role::Server] {
        let mut room = join(settings(), role);
        for n in 1..=UNREADABLE_MAX {
            assert_eq!(room.people[ANN].closed, None);
            room.raw(ANN, b"\xc1");
            assert_eq!(room.people[ANN].closed, (n == UNREADABLE_MAX).then_some(Close::BadMessages));
        }
    }
}

// --- how much ---------------------------------------------------------------------------------------------------------

fn nothing() -> Set {
    let (n, wish, yaw, pos) = (0, Wish::Create, 0.0, [0.0; 3]);
    Set { n, wish, object: None, expect: None, kind: None, fields: BTreeMap::new(), to: None, yaw, pos, scope: None }
}

#[test]
fn sizes_pass_at_nine_tenths_and_at_most_themselves() {
    let act = |name: String, data: String| {
        In::Act(Act { n: 1, to: None, scope: Scope::Nearby, name, data, time: 0.0, pos: [0.0; 3] })
    };
    let hello =
        |token: usize| In::Hello(Hello { world: "plaza".into(), token: Some("x".repeat(token)), ..Hello::default() });
    let emoji = |bytes: usize| "😀".repeat(bytes / 4);
    type Say<'a> = &'a dyn Fn(usize) -> In;
    let fields = |n: usize| (0..n).map(|field| (format!("f{field}"), Some("1".to_owned()))).collect();
    let named = |name: usize, text: usize| [("x".repeat(name), Some("x".repeat(text)))].into();
    let set = |kind: usize, fields: BTreeMap<String, Option<String>>| {
        In::Set(Set { n: 1, wish: Wish::Create, kind: Some("x".repeat(kind)), fields, ..nothing() })
    };
    let table: [(&str, usize, Say<'_>); 10] = [
        ("a kind", KIND_BYTES_MAX, &|n| set(n, fields(0))),
        ("fields", FIELDS_MAX, &|n| set(1, fields(n))),
        ("a field's name", FIELD_NAME_BYTES_MAX, &|n| set(1, named(n, 0))),
        ("a field", FIELD_BYTES_MAX, &|n| set(1, named(1, n))),
        ("a profile", PROFILE_BYTES_MAX, &|n| In::Profile(Profile { profile: "x".repeat(n) })),
        ("a name", ACT_NAME_BYTES_MAX, &|n| act("x".repeat(n), String::new())),
        ("characters of data", TEXT_CHARS_MAX, &|n| act("x".into(), "x".repeat(n))),
        ("bytes of data", ACT_DATA_BYTES_MAX, &|n| act("x".into(), emoji(n + 3))),
        ("data that is cleaned", TEXT_CHARS_MAX, &|n| act("x".into(), "x\u{0}".repeat(n))),
        ("a token", TOKEN_BYTES_MAX, &|n| hello(n)),
    ];
    for (name, max, say) in table {
        for (size, passes) in [(max * 9 / 10, true), (max, true), (max + 1, false), (max * 11 / 10, false)] {
            let mut room = Room::of(settings());
            if name == "a token" {
                room.connect(Encoding::Json);
            } else {
                room.stand(Encoding::Json, 0.0, 0.0);
            }
            room.people[ANN].notes.clear();
            room.say(ANN, &say(size));
            let refused = count(&room, |note| *note == Note::Refused(Refusal::Length)) == 1;
            assert_eq!(refused, !passes, "{name}: {size} of {max}");
        }
    }
}

#[test]
fn open_actions_have_their_number() {
    for (role, max) in [(Role::Player, OPEN_ACTS_MAX), (Role::Server, OPEN_ACTS_MAX_SERVER)] {
        for (n, refused) in [(max * 9 / 10, false), (max - 1, false), (max, true), (max * 11 / 10, true)] {
            let mut room = join(settings(), role);
            room.walk(ANN, 0.0, 0.0);
            room.people[ANN].notes.clear();
            act(&mut room, 0);
            act(&mut room, n);
            assert_eq!(count(&room, |note| *note == Note::Refused(Refusal::Window)), usize::from(refused), "{n}");
        }
    }
}

// --- how soon ---------------------------------------------------------------------------------------------------------

#[test]
fn deadlines_pass_at_nine_tenths() {
    for (tenths, closed) in [(9, None), (11, Some(Close::NoHello))] {
        let mut room = Room::of(settings());
        room.connect(Encoding::Json);
        let later_us = room.now_us + HELLO_WITHIN_US * tenths / 10;
        until(&mut room, later_us);
        assert_eq!(room.people[ANN].closed, closed);
    }
    for (tenths, closed) in [(9, None), (11, Some(Close::Silent))] {
        let mut room = join(settings(), Role::Player);
        let later_us = room.now_us + SILENT_US * tenths / 10;
        until(&mut room, later_us);
        assert_eq!(room.people[ANN].closed, closed);
        if closed.is_none() {
            room.say(ANN, &In::Ping(Ping { time: 0.0 }));
            until(&mut room, later_us + SILENT_US * tenths / 10);
            assert_eq!(room.people[ANN].closed, None, "a word begins it anew");
        }
    }
}

// --- how fast ---------------------------------------------------------------------------------------------------------

/// Walks for ten seconds at so many tenths of what is allowed, and acts ahead of where it is by as much. What was refused
/// and what was counted.
fn walk(movement: Enforcement, role: Role, tenths: u32) -> (Vec<String>, Vec<Rule>) {
    let world = WorldSettings { movement, ..settings() };
    let limit = world.speed * SPEED_TOLERANCE * f64::from(tenths) / 10.0;
    let mut room = join(world, role);
    room.walk(ANN, 0.0, 0.0);
    for tick in 1..=200 {
        room.ticks(1);
        room.walk(ANN, limit * f64::from(tick) * TICK_US as f64 / SECOND_US as f64, 0.0);
    }
    let shadowed = room.people[ANN].notes.iter().filter_map(|note| match note {
        Note::Shadowed(rule) => Some(*rule),
        _ => None,
    });
    (room.people[ANN].heard.iter().filter_map(super::answers::code).collect(), shadowed.collect())
}

#[test]
fn the_speed_is_enforced_counted_or_free() {
    for movement in [Enforcement::Enforce, Enforcement::Shadow, Enforcement::Off] {
        for role in [Role::Player, Role::Server] {
            assert_eq!(walk(movement, role, 9), (vec![], vec![]), "{movement:?}, {role:?} at nine tenths");
        }
        assert_eq!(walk(movement, Role::Server, 110), (vec![], vec![]), "a game server has no rule");
    }
    let (refused, counted) = walk(Enforcement::Enforce, Role::Player, 11);
    assert!(!refused.is_empty() && refused.iter().all(|code| code == "speed"), "{refused:?}");
    assert!(counted.is_empty());
    let (refused, counted) = walk(Enforcement::Shadow, Role::Player, 11);
    assert!(
        refused.is_empty() && !counted.is_empty() && counted.iter().all(|rule| *rule == Rule::Speed),
        "{counted:?}"
    );
    assert_eq!(walk(Enforcement::Off, Role::Player, 11), (vec![], vec![]));
}

#[test]
fn an_action_is_done_where_its_avatar_could_be() {
    for (movement, role, tenths, refused, counted) in [
        (Enforcement::Enforce, Role::Player, 9, 0, 0),
        (Enforcement::Enforce, Role::Player, 11, 1, 0),
        (Enforcement::Shadow, Role::Player, 9, 0, 0),
        (Enforcement::Shadow, Role::Player, 11, 0, 1),
        (Enforcement::Off, Role::Player, 11, 0, 0),
        (Enforcement::Enforce, Role::Server, 11, 0, 0),
    ] {
        let world = WorldSettings { movement, ..settings() };
        let reach_m = world.speed * SPEED_TOLERANCE * 0.3 * f64::from(tenths) / 10.0;
        let mut room = join(world, role);
        room.walk(ANN, 0.0, 0.0);
        let (name, data, time) = ("x".into(), String::new(), room.clock_ms());
        room.say(
            ANN,
            &In::Act(Act { n: 1, to: None, scope: Scope::Nearby, name, data, time, pos: [reach_m, 0.0, 0.0] }),
        );
        let why = format!("{movement:?}, {role:?}, {tenths} tenths");
        assert_eq!(count(&room, |note| *note == Note::Refused(Refusal::TooFar)), refused, "{why}");
        assert_eq!(count(&room, |note| *note == Note::Shadowed(Rule::Place)), counted, "{why}");
    }
}

#[test]
fn too_fast_in_ten_seconds_of_a_minute() {
    for (movement, role, seconds, closed, speed, strikes) in [
        (Enforcement::Enforce, Role::Player, 9, None, 0, 0),
        (Enforcement::Enforce, Role::Player, 11, Some(Close::Moves), 0, 0),
        (Enforcement::Shadow, Role::Player, 9, None, 9, 0),
        (Enforcement::Shadow, Role::Player, 11, None, 11, 1),
        (Enforcement::Off, Role::Player, 11, None, 0, 0),
        (Enforcement::Enforce, Role::Server, 11, None, 0, 0),
    ] {
        let mut room = join(WorldSettings { movement, ..settings() }, role);
        room.walk(ANN, 0.0, 0.0);
        for second in 1..=seconds {
            room.ticks(5 * 20);
            room.walk(ANN, if second % 2 == 1 { 2_000.0 } else { -2_000.0 }, 0.0);
        }
        let why = format!("{movement:?}, {role:?}, {seconds} s");
        assert_eq!(room.people[ANN].closed, closed, "{why}");
        assert_eq!(count(&room, |note| *note == Note::Shadowed(Rule::Speed)), speed, "{why}");
        assert_eq!(count(&room, |note| *note == Note::Shadowed(Rule::RefusedMoves)), strikes, "{why}");
    }
}

#[test]
fn bounds_hold_for_everybody() {
    for movement in [Enforcement::Enforce, Enforcement::Shadow, Enforcement::Off] {
        for role in [Role::Player, Role::Server] {
            let mut room = join(WorldSettings { movement, ..settings() }, role);
            for (x, refused) in [(2_048.0 * 0.9, 0), (2_048.0 * 1.1, 1), (f64::NAN, 2), (f64::INFINITY, 3)] {
                room.walk(ANN, x, 0.0);
                assert_eq!(count(&room, |note| matches!(note, Note::Refused(_))), refused, "{x} in {movement:?}");
            }
        }
    }
}
