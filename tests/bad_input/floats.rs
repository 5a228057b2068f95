//! Kind D: numbers that are none, far too large or hardly there, in every field that takes one, in both encodings. None
//! panics, none is handed on that is not finite and in bounds, and none comes out again.

use nearcast::codec::Encoding;
use nearcast::codec::message::{Out, View};
use serde_json::Value;

use super::answers::code;
use super::lines;
use super::room::Room;

/// How a number is written in an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is no number.
    None,
    /// Beyond all clocks and worlds.
    Far,
    /// A time, but no place in plaza.
    Huge,
    /// Within plaza.
    Fine,
}

/// What is wrong with a number, why, and its bytes in an encoding.
pub fn numbers(encoding: Encoding) -> impl Iterator<Item = (Kind, &'static str, Vec<u8>)> {
    lines(include_str!("../corpus/floats.txt"), 4).filter_map(move |cells| {
        let kind = match cells[0] {
            "none" => Kind::None,
            "far" => Kind::Far,
            "huge" => Kind::Huge,
            "fine" => Kind::Fine,
            other => panic!("{other}"),
        };
        let bytes = match encoding {
            Encoding::Json => cells[2].as_bytes().to_vec(),
            Encoding::MessagePack if cells[3] == "-" => return None,
            Encoding::MessagePack => (0..cells[3].len() / 2)
                .map(|i| u8::from_str_radix(&cells[3][2 * i..2 * i + 2], 16).expect("hexadecimal"))
                .collect(),
        };
        Some((kind, cells[1], bytes))
    })
}

/// Where a number may stand, and whether it is a time, a place, or any number.
pub const FIELDS: [(&str, What); 17] = [
    (r#"{"move":{"time":"@@","pos":[0,0,0]}}"#, What::Time),
    (r#"{"move":{"time":0,"pos":["@@",0,0]}}"#, What::Place),
    (r#"{"move":{"time":0,"pos":[0,"@@",0]}}"#, What::Height),
    (r#"{"move":{"time":0,"pos":[0,0,"@@"]}}"#, What::Place),
    (r#"{"move":{"time":0,"pos":[0,0,0],"yaw":"@@"}}"#, What::Any),
    (r#"{"move":{"time":0,"pos":[0,0,0],"seen":1,"held_ms":"@@"}}"#, What::Unjudged),
    (r#"{"act":{"n":1,"scope":"nearby","name":"x","time":"@@","pos":[0,0,0]}}"#, What::Time),
    (r#"{"act":{"n":1,"scope":"nearby","name":"x","time":0,"pos":["@@",0,0]}}"#, What::Place),
    (r#"{"act":{"n":1,"scope":"nearby","name":"x","time":0,"pos":[0,"@@",0]}}"#, What::Height),
    (r#"{"act":{"n":1,"scope":"nearby","name":"x","time":0,"pos":[0,0,"@@"]}}"#, What::Place),
    (r#"{"set":{"n":1,"wish":"create","kind":"x","pos":["@@",0,0]}}"#, What::Place),
    (r#"{"set":{"n":1,"wish":"create","kind":"x","pos":[0,"@@",0]}}"#, What::Height),
    (r#"{"set":{"n":1,"wish":"change","object":1,"pos":[0,0,0],"to":[0,0,"@@"]}}"#, What::Place),
    (r#"{"set":{"n":1,"wish":"create","kind":"x","pos":[0,0,0],"yaw":"@@"}}"#, What::Any),
    (r#"{"view":{"radius":"@@"}}"#, What::Any),
    (r#"{"seen":{"seen":1,"held_ms":"@@"}}"#, What::Unjudged),
    (r#"{"ping":{"time":"@@"}}"#, What::Unjudged),
];

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// ms on the client's clock.
    Time,
    /// East or south, metres.
    Place,
    /// Up, metres.
    Height,
    /// Any finite number.
    Any,
    /// Whatever comes: it is brought within bounds.
    Unjudged,
}

/// A message with a number in its place.
pub fn message(encoding: Encoding, template: &str, number: &[u8]) -> Vec<u8> {
    let (bytes, hole) = match encoding {
        Encoding::Json => (template.as_bytes().to_vec(), &b"\"@@\""[..]),
        Encoding::MessagePack => {
            let value: Value = serde_json::from_str(template).expect("JSON");
            (rmp_serde::to_vec_named(&value).expect("memory"), &b"\xa2@@"[..])
        }
    };
    let at = bytes.windows(hole.len()).position(|part| part == hole).expect("a hole");
    [&bytes[..at], number, &bytes[at + hole.len()..]].concat()
}

/// The codes that a number may be refused with.
pub fn wanted(kind: Kind, what: What, encoding: Encoding) -> &'static [&'static str] {
    match (kind, what) {
        // JSON has no such numbers.
        (Kind::None, _) if encoding == Encoding::Json => &["malformed"],
        (_, What::Unjudged)
        | (Kind::Far | Kind::Huge | Kind::Fine, What::Any)
        | (Kind::Huge | Kind::Fine, What::Time) => &[],
        (Kind::None, _) | (Kind::Far, What::Time) => &["not_finite"],
        (Kind::Far | Kind::Huge, What::Place | What::Height) => &["out_of_bounds"],
        // Within bounds, but perhaps too far from where the avatar is, or above the sky.
        (Kind::Fine, What::Place) => &["", "speed", "too_far"],
        (Kind::Fine, What::Height) => &["", "out_of_bounds", "speed", "too_far"],
    }
}

#[test]
fn no_number_does_harm() {
    let mut cases = 0;
    for encoding in Encoding::ALL {
        for (kind, why, number) in numbers(encoding) {
            for (template, what) in FIELDS {
                let mut room = Room::new();
                let ann = room.stand(encoding, 0.0, 0.0);
                let bob = room.stand(Encoding::Json, 1.0, 0.0);
                room.ticks(2);
                room.people[ann].heard.clear();
                room.raw(ann, &message(encoding, template, &number));
                let why = format!("{why} in {template}, {encoding:?}");
                let said = room.people[ann].heard.iter().find_map(code);
                let wanted = wanted(kind, what, encoding);
                let as_wanted = match &said {
                    None => wanted.is_empty() || wanted.contains(&""),
                    Some(code) => wanted.contains(&code.as_str()),
                };
                assert!(as_wanted, "{why}: {said:?}");
                // What others and it itself hear afterwards can be read, also as JSON, which has no such numbers.
                room.ticks(4);
                room.lives(ann, &why);
                room.lives(bob, &why);
                assert!(room.people[bob].mirror.shown().count() == 1, "{why}: she stands there");
                cases += 1;
            }
        }
    }
    assert!(cases > 1_000, "{cases} cases");
}

#[test]
fn a_hello_with_no_number_for_a_radius_may_be_said_again() {
    for encoding in Encoding::ALL {
        for (kind, why, number) in numbers(encoding) {
            let mut room = Room::new();
            let ann = room.connect(encoding);
            let hello = r#"{"hello":{"world":"plaza","view":{"radius":"@@"}}}"#;
            room.raw(ann, &message(encoding, hello, &number));
            let said = std::mem::take(&mut room.people[ann].heard);
            if kind != Kind::None {
                assert!(matches!(&said[..], [Out::Welcome(w)] if (1.0..=128.0).contains(&w.radius)), "{why}: {said:?}");
                continue;
            }
            assert_eq!(said.iter().filter_map(code).count(), 1, "{why}: {said:?}");
            let view = Some(View { radius: Some(9.0), budget: None });
            let hello = nearcast::codec::message::Hello { world: "plaza".into(), view, ..Default::default() };
            room.say(ann, &nearcast::codec::message::In::Hello(hello));
            room.settle();
            assert!(matches!(&room.people[ann].heard[..], [Out::Welcome(w)] if w.radius == 9.0), "{why}");
        }
    }
}
