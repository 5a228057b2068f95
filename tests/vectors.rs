//! `schemas/vectors` against the code: messages and states, good and bad, that any language can test its codec with.
//!
//! After a change of the protocol: `UPDATE_SCHEMAS=1 cargo test --release --locked --workspace --test vectors`.

mod examples;

use std::fmt::Write as _;
use std::sync::Arc;

use examples::{all_in, all_out, example_states};
use nearcast::client::Mirror;
use nearcast::codec::message::{AppState, Out};
use nearcast::codec::state::{Context, Delta, Known, age_from_byte, to_json};
use nearcast::codec::{Encoding, Heard};
use nearcast::limits::{ROWS_MAX, TICK_US};
use nearcast::log::memory::{Memory, MemoryLog};
use nearcast::region::motion::owned::Place;
use nearcast::region::{Submit, Tick, World};
use nearcast::space::{Grid, Pos};
use nearcast::view::{Turn, View};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hexadecimal")).collect()
}

/// Holds a file to a list, whose items stand on a line each.
fn check(file: &str, list: &[Value]) {
    let path = format!("{}/schemas/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let lines: Vec<String> = list.iter().map(Value::to_string).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, text).expect("schemas/vectors is writable");
    } else {
        let same = std::fs::read_to_string(&path).unwrap_or_default() == text;
        assert!(
            same,
            "schemas/vectors/{file} is not what the codec gives: UPDATE_SCHEMAS=1 cargo test --release --locked --workspace --test vectors"
        );
    }
}

// --- messages ---------------------------------------------------------------------------------------------------------

#[test]
fn messages_are_the_same_in_both_encodings() {
    let mut all = Vec::new();
    for message in all_in() {
        let (json, msgpack) = (Encoding::Json.encode_in(&message), Encoding::MessagePack.encode_in(&message));
        assert_eq!(Encoding::Json.decode(json.bytes()), Ok(message.clone()));
        assert_eq!(Encoding::MessagePack.decode(msgpack.bytes()), Ok(message.clone()));
        all.push(json!({"to": "gateway", "json": message, "msgpack": hex(msgpack.bytes())}));
    }
    for message in all_out().into_iter().filter(|message| !matches!(message, Out::State(_))) {
        let (json, msgpack) = (Encoding::Json.encode(&message), Encoding::MessagePack.encode(&message));
        for (encoding, payload) in [(Encoding::Json, json), (Encoding::MessagePack, msgpack.clone())] {
            let heard = encoding.decode_out(&mut Known::default(), payload.bytes());
            assert_eq!(heard, Ok(Heard::Other(message.clone())));
        }
        all.push(json!({"to": "client", "json": message, "msgpack": hex(msgpack.bytes())}));
    }
    check("messages.json", &all);
}

// --- states -----------------------------------------------------------------------------------------------------------

/// A crowd around a viewer, as a gateway shows it.
struct Crowd {
    world: World,
    log: MemoryLog,
    view: View,
}

const VIEWER: u64 = 9;
/// The larger one.
const LONG: u64 = 120;
/// The crowd's ticks begin after this one.
const FIRST: u64 = 1_000_000;

impl Crowd {
    fn of(n: u64) -> Crowd {
        let crowd = Crowd {
            world: World::new(Grid { w: 1, h: 1 }, 1),
            log: Memory::new(1, || 0).open(),
            view: View::new(Encoding::MessagePack),
        };
        (0..n).fold(crowd, |mut crowd, i| {
            crowd.world.adopt(200 + i, 10 + i, name(i), 50.0);
            crowd
        })
    }

    fn submit(&mut self, submit: Submit, tick: u64) {
        self.world.submit(submit, &mut self.log, (FIRST + tick) * TICK_US);
    }

    fn freeze(&mut self, tick: u64) -> Arc<Tick> {
        let now_us = (FIRST + tick) * TICK_US;
        self.world.step(&mut self.log, now_us, &mut Vec::new());
        self.world.freeze(FIRST + tick, now_us)
    }

    fn look(&mut self, tick: &Tick, at: Pos, complete: bool, room: usize) -> Delta {
        let mut delta = Delta::default();
        let turn = Turn { tick, me: VIEWER, at, complete, room, per_tick: 1_000, rows_max: ROWS_MAX };
        self.view.step(turn, &mut delta);
        delta
    }

    /// A few around one who stands: who stands, walks, zigzags, jumps, climbs, turns, comes and goes.
    fn small(&mut self, tick: u64) -> Option<Delta> {
        let now_us = (FIRST + tick) * TICK_US;
        for i in 0..8_u64 {
            let t = tick as i32;
            let (x, y, z, yaw) = match i {
                0 => (-512, 0, 256, 7),
                1 => (7 * t, 0, -3 * t, 250),
                2 => (1_000 + 9 * (t % 3), 0, -2_000 + 40 * (t % 2), 64),
                3 => (if t < 12 { -900 + t } else { 1_100 + t }, 0, 30, 0),
                4 => (-2_000, 4 * t * t, 2_000, 128),
                5 => (300 + t / 8, 0, 0, 11 * t),
                6 => (-40 * t, 0, 90, 33),
                _ => (4_900 + 130 * (t % 16), 0, 0, 192),
            };
            let state = AppState::new(&vec![9; usize::from(tick >= 15 && i == 1)]).expect("short");
            let place = Place {
                time_us: now_us - 1_000 * (3 * i + u64::from(tick > 20 && i == 2) * 9),
                pos: Pos { x, y, z },
                yaw: yaw as u8,
                state,
                jumped: i == 3 && tick == 12,
            };
            self.submit(Submit::Move { entity: 10 + i, place }, tick);
        }
        match tick {
            18 => self.submit(Submit::Profile { entity: 12, profile: "Zoë".into() }, tick),
            20 => self.submit(Submit::Leave { entity: 16, incarnation: 0 }, tick),
            25 => self.world.adopt(300, 16, name(9), 50.0),
            30 => self.view.doubt(),
            _ => {}
        }
        let frozen = self.freeze(tick);
        let room = if tick.is_multiple_of(9) { 43 } else { 1_000 };
        (tick != 22).then(|| self.look(&frozen, Pos::default(), true, room))
    }

    /// Many along the way of one who walks through them: more states than their number has bits for, a view that is not
    /// complete at first, origins that move, full views of many states, one of them begun again.
    fn long(&mut self, tick: u64) -> Delta {
        let now_us = (FIRST + tick) * TICK_US;
        for i in 0..LONG {
            let (lane, column) = ((i % 5) as i32, (i / 5) as i32);
            let walked = if i.is_multiple_of(3) { 6 * tick as i32 } else { 0 };
            let pos = Pos { x: 700 * column + walked, y: 20 * lane, z: 500 * lane - 1_000 };
            // Some are told late.
            let late_us = if i.is_multiple_of(7) { 40_000 * (tick % 6) } else { 2_000 };
            let state = AppState::new(&[i as u8; 3][..i as usize % 4]).expect("short");
            let place = Place { time_us: now_us - late_us, pos, yaw: (i * 5) as u8, state, jumped: false };
            self.submit(Submit::Move { entity: 10 + i, place }, tick);
        }
        if [50, 52].contains(&tick) {
            self.view.doubt();
        }
        let frozen = self.freeze(tick);
        let at = Pos { x: 200 * tick as i32, y: 0, z: 0 };
        let room = if tick < 50 { 1_000 } else { 150 };
        self.look(&frozen, at, tick > 5, room)
    }
}

fn name(i: u64) -> Arc<str> {
    format!("p{i}").into()
}

/// States one after another, behind the name of the sequence: as bytes, as they are read, and the digest of the table after
/// each.
fn sequence(name: &str, states: &[Delta]) -> Vec<Value> {
    let (mut context, mut shown, mut known, mut mirror) =
        (Context::default(), Context::default(), Known::default(), Mirror::default());
    let begin = json!({"sequence": name});
    let states = states.iter().map(|delta| {
        let payload = Encoding::MessagePack.encode_state(&mut context, delta);
        let Ok(Heard::State(read)) = Encoding::MessagePack.decode_out(&mut known, payload.bytes()) else {
            panic!("{name}: not read again")
        };
        mirror.apply(&read).expect("no contradiction");
        let json = Out::State(to_json(&mut shown, &read));
        json!({"msgpack": hex(payload.bytes()), "json": json, "digest": format!("{:08x}", mirror.digest())})
    });
    std::iter::once(begin).chain(states).collect()
}

#[test]
fn states_are_told_so_that_the_table_becomes_the_gateways() {
    let (mut few, mut many) = (Crowd::of(8), Crowd::of(LONG));
    let small: Vec<Delta> = (1..41).filter_map(|tick| few.small(tick)).collect();
    let count = |some: fn(&Delta) -> usize| small.iter().map(some).sum::<usize>();
    let has = [
        count(|delta| delta.leaves.len()),
        count(|delta| delta.enters.len()),
        count(|delta| delta.changes.len()),
        count(|delta| delta.rows.singles.len()),
        count(|delta| delta.rows.shared.len()),
        count(|delta| delta.rows.singles.iter().filter(|single| single.jumped).count()),
        count(|delta| usize::from(delta.full_begin)) - 1,
    ];
    assert!(has.iter().all(|count| *count > 0), "the small crowd does not show all: {has:?}");
    let long: Vec<Delta> = (1..81).map(|tick| many.long(tick)).collect();
    let moves = |pair: &[Delta]| pair[0].origin != pair[1].origin && !pair[1].full_begin;
    let mut context = Context::default();
    let bytes = long.iter().map(|d| Encoding::MessagePack.encode_state(&mut context, d).bytes().len());
    let bytes: Vec<usize> = bytes.collect();
    let begun: Vec<usize> = (0..long.len()).filter(|i| long[*i].full_begin).collect();
    let again = begun.windows(2).any(|pair| !long[pair[0]..pair[1]].iter().any(|delta| delta.full_end));
    let singles = || long.iter().flat_map(|delta| &delta.rows.singles);
    let has = [
        ("more than 64 states", long.len() > 64),
        ("a view that is not complete", long.iter().any(|delta| delta.partial)),
        ("an origin that moves", long.windows(2).any(moves)),
        ("a full view begun again", again),
        ("a full view of several states", begun.iter().any(|i| !long[*i].full_end)),
        ("a field above 255 bytes", bytes.iter().any(|len| *len > 260)),
        ("an age above 127 ms", singles().any(|single| age_from_byte(single.told.age) > 127)),
        ("a slot above 7 in a list", singles().any(|single| single.slot > 7)),
        ("a slot above 7 told in shared bits", long.iter().any(|d| d.rows.shared.iter().any(|(slot, _)| *slot > 7))),
    ];
    let lacks: Vec<&str> = has.into_iter().filter(|(_, there)| !there).map(|(what, _)| what).collect();
    assert!(lacks.is_empty(), "the long way lacks {lacks:?}");
    let sequences = [
        sequence("four states of the prose", &example_states()),
        sequence("a small crowd", &small),
        sequence("a long way", &long),
    ];
    check("states.json", &sequences.concat());
}

// --- bad ones ---------------------------------------------------------------------------------------------------------

#[test]
fn bad_ones_are_refused() {
    let mut all = Vec::new();
    for (why, text) in [
        ("no JSON", "{"),
        ("no map", "[1]"),
        ("empty", "{}"),
        ("two names", r#"{"seen":{"seen":1},"bye":{}}"#),
        ("a name that v1 does not have", r#"{"dance":{}}"#),
        ("a field is missing", r#"{"seen":{}}"#),
        ("a field of another type", r#"{"seen":{"seen":"1"}}"#),
        ("a negative number of a state", r#"{"seen":{"seen":-1}}"#),
        ("a number that is none", r#"{"ping":{"time":NaN}}"#),
        ("two axes", r#"{"move":{"time":1,"pos":[1,2],"yaw":0}}"#),
        ("something behind the message", r#"{"bye":{}} 1"#),
    ] {
        assert!(Encoding::Json.decode(text.as_bytes()).is_err(), "{why}");
        all.push(json!({"to": "gateway", "why": why, "json": text}));
    }
    for (why, text) in [
        ("nothing", ""),
        ("a map without its value", "81"),
        ("no map", "c0"),
        ("a name that v1 does not have", "81a564616e636580"),
        ("a field is missing", "81a47365656e80"),
        ("a byte behind the message", "81a3627965 80 00"),
        ("a text that is no UTF-8", "81a770726f66696c6581a770726f66696c65a1ff"),
    ] {
        let text = text.replace(' ', "");
        assert!(Encoding::MessagePack.decode(&unhex(&text)).is_err(), "{why}");
        all.push(json!({"to": "gateway", "why": why, "msgpack": text}));
    }
    // Ann in slot 0, Bob in slot 1, surprise 2: what comes second is bad.
    let mut context = Context::default();
    let first = Encoding::MessagePack.encode_state(&mut context, &example_states()[0]);
    let mut reader = Known::default();
    Encoding::MessagePack.decode_out(&mut reader, first.bytes()).expect("ours");
    for (why, body, says) in [
        ("no head", "", "cut short"),
        ("the number of the first state", "05", "state number"),
        ("number 3", "0d", "state number"),
        ("no `what`, though the head says so", "0b", "cut short"),
        ("no tick", "08", "cut short"),
        ("a tick beyond 64 bits", "08 ffffffffffffffffff7f", "varint"),
        ("half an origin", "0b 08 00000000 0000", "cut short"),
        ("a leave of a slot that is free", "0b 10 01 0700 00", "leave"),
        ("an enter cut in its row", "0b 20 01 0700 00 0000", "cut short"),
        ("an enter cut in its profile", "0b 20 01 0700 00 0000 0000 0000 00 00 02 05 41", "cut short"),
        ("a profile that is no UTF-8", "0b 20 01 0700 00 0000 0000 0000 00 00 02 01 ff 00", "profile"),
        (
            "an application state of 17 bytes",
            "0b 20 01 0700 00 0000 0000 0000 00 00 02 00 11 0102030405060708090a0b0c0d0e0f1011",
            "application state",
        ),
        ("two changes, but one", "0b 40 02 0000 00 00", "cut short"),
        ("three singles, but none", "0b 80 06", "cut short"),
        ("a shared row of a slot that is free", "09 f8 07", "slot"),
        ("a whole byte of filling", "09 ff", "cut short"),
        ("a shared row cut in its sample", "09 00", "cut short"),
        ("a distance of 0 written in 32 bits", "09 f0ff 00000000 f0", "of-range number"),
        ("a turn of 200/256", "09 00 fcff 90010000 f8", "turn"),
    ] {
        let body = unhex(&body.replace(' ', ""));
        let len = u8::try_from(body.len()).expect("short");
        let message = [&[0x81, 0xa1, b's', 0xc4, len], body.as_slice()].concat();
        let refused = Encoding::MessagePack.decode_out(&mut reader.clone(), &message).expect_err(why);
        assert!(refused.to_string().contains(says), "{why}: {refused}");
        all.push(json!({"to": "client", "after": hex(first.bytes()), "why": why, "msgpack": hex(&message)}));
    }
    for (why, text) in [
        ("a field that is cut", "81a173c40505"),
        ("a byte behind the field", "81a173c4010500"),
        ("a field that is no binary", "81a17305"),
    ] {
        assert!(Encoding::MessagePack.decode_out(&mut reader.clone(), &unhex(text)).is_err(), "{why}");
        all.push(json!({"to": "client", "after": hex(first.bytes()), "why": why, "msgpack": text}));
    }
    check("bad.json", &all);
}
