//! Messages as JSON text or MessagePack, chosen by WebSocket subprotocol; both are maps with the same names.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize as _, Deserializer};

use super::message::{In, Out};
use super::quick;
use super::state::{self, Context, Delta, Known};

/// How a client writes and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Text; to read and to start with.
    Json,
    /// Binary; to ship.
    MessagePack,
}

/// One WebSocket message to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
}

impl Payload {
    /// Bytes of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::Text(text) => text.as_bytes(),
            Payload::Binary(bytes) => bytes,
        }
    }

    /// Bytes on the socket: with the header of an unmasked WebSocket frame (RFC 6455, 5.2).
    #[must_use]
    pub fn framed_len(&self) -> usize {
        framed_len(self.bytes().len())
    }
}

/// Bytes on the socket of a payload of `len` bytes, as in [`Payload::framed_len`].
#[must_use]
pub fn framed_len(len: usize) -> usize {
    len + match len {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its name is none of protocol v1.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// It is no map of one name and its fields, or a field is of the wrong type or missing.
    #[error("{0}")]
    Malformed(String),
}

/// Bytes of a text in JSON, without its quotes: some characters are escaped (RFC 8259, 7).
#[must_use]
pub fn json_len(text: &str) -> usize {
    let len = |byte: u8| match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(len).sum()
}

/// Nested values deeper than this are malformed; no message of v1 has more than four levels.
const DEPTH_MAX: usize = 16;

impl Encoding {
    /// All, the preferred last.
    pub const ALL: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

    /// The WebSocket subprotocol that asks for it.
    #[must_use]
    pub fn subprotocol(self) -> &'static str {
        match self {
            Encoding::Json => "nearcast.v1.json",
            Encoding::MessagePack => "nearcast.v1.msgpack",
        }
    }

    /// The encoding a subprotocol asks for.
    #[must_use]
    pub fn of_subprotocol(name: &str) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|e| e.subprotocol() == name)
    }

    /// Reads a client's message.
    pub fn decode(self, bytes: &[u8]) -> Result<In, Unreadable> {
        if self == Encoding::MessagePack
            && let Some(step) = quick::step(bytes)
        {
            return Ok(In::Move(step));
        }
        let error = match self {
            Encoding::Json => match serde_json::from_slice(bytes) {
                Ok(message) if is_map_in_json(bytes) => return Ok(message),
                Ok(_) => NO_MAP.to_owned(),
                Err(e) => e.to_string(),
            },
            Encoding::MessagePack => {
                match from_msgpack(bytes).and_then(|message| from_msgpack(bytes).map(|Shape| message)) {
                    Ok(message) => return Ok(message),
                    Err(e) => e,
                }
            }
        };
        Err(match self.name_of(bytes) {
            Some(name) if !In::NAMES.contains(&name.as_str()) => Unreadable::UnknownType(name),
            Some(_) | None => Unreadable::Malformed(error),
        })
    }

    /// Writes a client's message; the other end of [`Encoding::decode`].
    #[must_use]
    pub fn encode_in(self, message: &In) -> Payload {
        self.encode_any(message)
    }

    /// Writes a message to a client. `state` goes through [`Encoding::encode_state`].
    #[must_use]
    pub fn encode(self, message: &Out) -> Payload {
        self.encode_any(message)
    }

    /// Writes a state. In MessagePack it is `{"s": bin}`, see [`state`].
    #[must_use]
    pub fn encode_state(self, context: &mut Context, delta: &Delta) -> Payload {
        match self {
            Encoding::Json => self.encode_any(&Out::State(state::to_json(context, delta))),
            Encoding::MessagePack => Payload::Binary(state::encode(context, delta)),
        }
    }

    /// Reads what a gateway sent; the other end of [`Encoding::encode`] and [`Encoding::encode_state`].
    pub fn decode_out(self, known: &mut Known, bytes: &[u8]) -> Result<Heard, Unreadable> {
        let malformed = |e: &dyn std::fmt::Display| Unreadable::Malformed(e.to_string());
        match self {
            Encoding::Json => {
                let out = serde_json::from_slice(bytes).map_err(|e| malformed(&e))?;
                if let Out::State(json) = out {
                    state::from_json(&mut known.context, json).map(Heard::State).map_err(|e| malformed(&e))
                } else {
                    Ok(Heard::Other(out))
                }
            }
            Encoding::MessagePack => match state::body(bytes) {
                Some(body) => Ok(Heard::State(state::decode(known, body).map_err(|e| malformed(&e))?)),
                None => from_msgpack(bytes).map(Heard::Other).map_err(Unreadable::Malformed),
            },
        }
    }

    fn encode_any<T: serde::Serialize>(self, message: &T) -> Payload {
        match self {
            Encoding::Json => Payload::Text(serde_json::to_string(message).expect("our messages are finite maps")),
            Encoding::MessagePack => {
                Payload::Binary(rmp_serde::to_vec_named(message).expect("writing to memory does not fail").into())
            }
        }
    }

    fn name_of(self, bytes: &[u8]) -> Option<String> {
        type Named = BTreeMap<String, IgnoredAny>;
        let map: Named = match self {
            Encoding::Json => serde_json::from_slice(bytes).ok()?,
            Encoding::MessagePack => from_msgpack(bytes).ok()?,
        };
        if map.len() == 1 { map.into_keys().next() } else { None }
    }
}

/// A message to a client, read again.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// A state, in either encoding.
    State(Delta),
    /// Anything else.
    Other(Out),
}

const NO_MAP: &str = "the fields are no map";

/// Whether the fields of a message, which has been read, are a map: serde takes a list of them in their order as well. Its
/// first colon is that behind its name.
fn is_map_in_json(bytes: &[u8]) -> bool {
    let behind = bytes.iter().skip_while(|byte| **byte != b':').skip(1);
    behind.copied().find(|byte| !byte.is_ascii_whitespace()) == Some(b'{')
}

/// What all messages have in common: a map of a name and a map of names. serde takes lists for maps as well, and in
/// MessagePack numbers for names.
struct Shape;

struct Fields;

struct Name;

impl<'de> serde::Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_map(Entries::<Fields>(PhantomData))?;
        Ok(Shape)
    }
}

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(Entries::<IgnoredAny>(PhantomData))?;
        Ok(Fields)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(Name)
    }
}

impl Visitor<'_> for Name {
    type Value = Name;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Name, E> {
        Ok(Name)
    }
}

/// Goes through a map with values of one kind.
struct Entries<V>(PhantomData<V>);

impl<'de, V: serde::Deserialize<'de>> Visitor<'de> for Entries<V> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<Name, V>()?.is_some() {}
        Ok(())
    }
}

fn from_msgpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut deserializer).map_err(|e| e.to_string())?;
    // What borrows its bytes does not say how many are left; only at their end is there no marker to read.
    match bool::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        Ok(_) | Err(_) => Err("there are bytes after the message".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn json_len_is_what_json_takes(text in any::<String>()) {
            prop_assert_eq!(json_len(&text) + 2, serde_json::to_string(&text).expect("text").len());
        }
    }
    use crate::codec::message::*;

    fn messages() -> Vec<In> {
        vec![
            In::Hello(Hello { world: "plaza".into(), profile: Some("Ann".into()), ..Hello::default() }),
            In::Move(Move {
                time: 12.5,
                pos: [1.0, 0.25, -3.0],
                yaw: 90.0,
                state: AppState::new(&[1, 2, 255]).expect("short"),
                seen: Some(7),
                held_ms: Some(3.5),
            }),
            In::Act(Act {
                to: Some(7),
                n: 1,
                scope: Scope::Nearby,
                name: "wave".into(),
                data: String::new(),
                time: 1.0,
                pos: [0.0; 3],
            }),
            In::View(View { radius: Some(30.0), budget: None }),
            In::Seen(Seen { seen: 4, held_ms: 1.0 }),
            In::Bye(ByeIn {}),
            In::Pose(Reserved {}),
        ]
    }

    #[test]
    fn messages_round_trip_in_both_encodings() {
        for encoding in Encoding::ALL {
            for message in messages() {
                let payload = encoding.encode_in(&message);
                assert_eq!(encoding.decode(payload.bytes()), Ok(message), "{encoding:?}");
            }
        }
    }

    #[test]
    fn every_name_is_reserved() {
        for name in In::NAMES {
            let json = format!("{{{name:?}:{{}}}}");
            let read = Encoding::Json.decode(json.as_bytes());
            assert!(!matches!(read, Err(Unreadable::UnknownType(_))), "{name}: {read:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let json = |text: &str| Encoding::Json.decode(text.as_bytes());
        assert_eq!(json(r#"{"jump":{}}"#), Err(Unreadable::UnknownType("jump".into())));
        assert!(matches!(json(r#"{"move":{"time":1}}"#), Err(Unreadable::Malformed(e)) if e.contains("pos")));
        assert!(
            matches!(json(r#"{"move":{"time":1,"time":2,"pos":[0,0,0]}}"#), Err(Unreadable::Malformed(e)) if e.contains("duplicate"))
        );
        assert!(matches!(json(r#"{"move":{"time":1,"pos":[0,0,1e999]}}"#), Err(Unreadable::Malformed(_))));
        assert!(matches!(json(r#"{"bye":{},"ping":{"time":1}}"#), Err(Unreadable::Malformed(_))));
        assert!(matches!(json(r#"{"ping" :[1]}"#), Err(Unreadable::Malformed(e)) if e == NO_MAP), "fields by order");
        for (numbers, why) in [
            (b"\x81\xa4ping\x91\x01".as_slice(), "fields by order"),
            (b"\x81\x0f\x80", "a name by number"),
            (b"\x81\xa4ping\x81\x00\x01", "a field by number"),
        ] {
            let read = Encoding::MessagePack.decode(numbers);
            assert!(matches!(read, Err(Unreadable::Malformed(_))), "{why}: {read:?}");
        }
        assert_eq!(json(r#"{"bye":{"why":["new","field"]}}"#), Ok(In::Bye(ByeIn {})), "unknown fields are ignored");
        let mut deep = r#"{"bye":{"x":"#.to_string() + &"[".repeat(9_000);
        deep += &"]".repeat(9_000);
        deep += "}}";
        assert_eq!(json(&deep), Ok(In::Bye(ByeIn {})), "however deep: they are skipped without recursion");
        let mut twice = Encoding::MessagePack.encode_in(&In::Bye(ByeIn {})).bytes().to_vec();
        twice.push(0);
        assert!(matches!(Encoding::MessagePack.decode(&twice), Err(Unreadable::Malformed(e)) if e.contains("after")));
    }
}
