//! Kind C: every message cut at each byte; each field of a wrong type, missing, twice, and one nobody knows; lengths that lie;
//! depth. What the JSON Schema refuses the gateway refuses too, in both encodings alike. And those of `messages.txt`.

use std::sync::LazyLock;

use nearcast::codec::Encoding;
use nearcast::codec::message::{In, Out};
use serde_json::{Map, Value, json};

use super::examples::all_in;
use super::lines;
use super::room::Room;

/// Whether the JSON Schema for clients takes a message.
fn is_valid(message: &Value) -> bool {
    static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema = serde_json::from_str(include_str!("../../schemas/in.schema.json")).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    });
    SCHEMA.is_valid(message)
}

/// A message that the types of Rust need not be able to hold: a name, and fields in order, the same one twice if need be.
#[derive(Clone, Debug)]
struct Loose {
    name: String,
    fields: Vec<(String, Value)>,
}

impl Loose {
    fn of(message: &In) -> Loose {
        let Value::Object(entry) = serde_json::to_value(message).expect("finite") else { panic!("a map") };
        let (name, Value::Object(fields)) = entry.into_iter().next().expect("a name") else { panic!("fields") };
        Loose { name, fields: fields.into_iter().collect() }
    }

    fn encode(&self, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Json => {
                let fields: Vec<String> =
                    self.fields.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
                format!("{{{}:{{{}}}}}", json!(self.name), fields.join(",")).into_bytes()
            }
            Encoding::MessagePack => {
                let mut out = Vec::new();
                let put =
                    |out: &mut Vec<u8>, value: &Value| out.extend(rmp_serde::to_vec_named(value).expect("memory"));
                rmp::encode::write_map_len(&mut out, 1).expect("memory");
                put(&mut out, &json!(self.name));
                rmp::encode::write_map_len(&mut out, self.fields.len() as u32).expect("memory");
                for (name, value) in &self.fields {
                    put(&mut out, &json!(name));
                    put(&mut out, value);
                }
                out
            }
        }
    }

    fn value(&self) -> Value {
        json!({&self.name: self.fields.iter().cloned().collect::<Map<_, _>>()})
    }

    /// With another value in a field, or in a part of it.
    fn with(&self, field: usize, part: Option<&str>, value: Value) -> Loose {
        let mut other = self.clone();
        let place = &mut other.fields[field].1;
        // Without a part it is the whole.
        *place.pointer_mut(part.unwrap_or_default()).expect("a part") = value;
        other
    }
}

/// Values of every type, and of every size.
fn values() -> Vec<Value> {
    let deep = (0..40).fold(json!(0), |inner, _| json!([inner]));
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(-1e300),
        json!((1_u64 << 53) - 1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("x"),
        json!("x".repeat(600)),
        json!([]),
        json!([0, 0, 0]),
        json!({}),
        json!({"x": 1}),
        deep,
    ]
}

/// What a session makes of a message: the codes it answers with, and whether something came of it. It lives on, unless it was
/// said bye, and nobody near notices.
fn outcome(bytes: &[u8], encoding: Encoding, is_new: bool, why: &dyn Fn() -> String) -> (Vec<String>, bool) {
    let mut room = Room::new();
    let who = if is_new { room.connect(encoding) } else { room.stand(encoding, 0.0, 0.0) };
    room.people[who].notes.clear();
    room.raw(who, bytes);
    let person = &room.people[who];
    let did =
        !person.submits.is_empty() || person.heard.iter().any(|out| matches!(out, Out::Pong(_) | Out::Welcome(_)));
    let codes = room.codes(who);
    if room.people[who].closed.is_none() && !is_new {
        room.lives(who, &why());
    }
    (codes, did)
}

/// A message that cannot be read is told so once, and nothing comes of it.
fn is_refused(bytes: &[u8], encoding: Encoding, why: &str) {
    for is_new in [false, true] {
        let (codes, did) = outcome(bytes, encoding, is_new, &|| why.to_owned());
        let code = codes.first().map(String::as_str);
        assert!(!did && matches!(code, Some("malformed" | "unknown_type")), "{why}: {codes:?}, {encoding:?}");
        assert_eq!(codes.len(), 1, "{why}: {codes:?}");
    }
}

#[test]
fn a_message_that_is_cut_is_refused() {
    let mut cases = 0;
    for message in all_in() {
        for encoding in Encoding::ALL {
            let payload = encoding.encode_in(&message);
            for len in 0..payload.bytes().len() {
                is_refused(&payload.bytes()[..len], encoding, &format!("{message:?} cut at {len}"));
                cases += 1;
            }
            is_refused(&[payload.bytes(), b"0"].concat(), encoding, &format!("{message:?} and more"));
        }
    }
    assert!(cases > 1_000, "{cases} cases");
}

/// The fields of a message and their parts: which one, and where in it.
fn places(message: &Loose) -> Vec<(usize, Option<String>)> {
    let mut places = Vec::new();
    for (field, (_, value)) in message.fields.iter().enumerate() {
        places.push((field, None));
        match value {
            Value::Array(parts) => places.extend((0..parts.len()).map(|part| (field, Some(format!("/{part}"))))),
            Value::Object(parts) => places.extend(parts.keys().map(|part| (field, Some(format!("/{part}"))))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    places
}

/// What the schema does not take is refused, and both encodings agree.
fn check(message: &Loose, why: &str) {
    let read = Encoding::ALL.map(|encoding| encoding.decode(&message.encode(encoding)));
    // In MessagePack the application's state is bytes, and texts and lists of bytes are taken for them; in JSON it is a text.
    let has_state = message.fields.iter().any(|(name, value)| name == "state" && value != "");
    if !is_valid(&message.value()) {
        // A view may be told as a list of its fields in order: serde takes it, and it says what it means.
        let is_list = message.fields.iter().any(|(name, value)| name == "view" && value.is_array());
        for (read, encoding) in read.iter().zip(Encoding::ALL) {
            let is_bytes = has_state && encoding == Encoding::MessagePack;
            assert!(read.is_err() || is_list || is_bytes, "{why}: {message:?} read as {read:?}, {encoding:?}");
        }
    }
    if !has_state {
        assert_eq!(read[0].is_ok(), read[1].is_ok(), "{why}: {message:?}: {read:?}");
        if let [Ok(json), Ok(msgpack)] = &read {
            assert_eq!(json, msgpack, "{why}");
        }
    }
    for (read, encoding) in read.iter().zip(Encoding::ALL) {
        let bytes = message.encode(encoding);
        match read {
            Ok(_) => [false, true].into_iter().for_each(|is_new| {
                outcome(&bytes, encoding, is_new, &|| format!("{why}: {message:?}"));
            }),
            Err(_) => is_refused(&bytes, encoding, why),
        }
    }
}

#[test]
fn a_field_of_another_type_is_refused() {
    let mut cases = 0;
    for message in all_in().iter().map(Loose::of) {
        for (field, part) in places(&message) {
            for value in values() {
                let why = format!("{} {} {part:?} is {value}", message.name, message.fields[field].0);
                check(&message.with(field, part.as_deref(), value), &why);
                cases += 1;
            }
        }
    }
    assert!(cases > 700, "{cases} cases");
}

#[test]
fn a_field_that_is_missing_twice_or_unknown() {
    for message in all_in().iter().map(Loose::of) {
        for field in 0..message.fields.len() {
            let name = &message.fields[field].0;
            let mut missing = message.clone();
            missing.fields.remove(field);
            check(&missing, &format!("without {name}"));
            let mut twice = message.clone();
            twice.fields.push(message.fields[field].clone());
            for encoding in Encoding::ALL {
                is_refused(&twice.encode(encoding), encoding, &format!("{} with {name} twice", message.name));
            }
        }
        for value in values().into_iter().filter(|value| value.pointer("/0/0").is_none()) {
            let mut more = message.clone();
            more.fields.insert(0, ("later".to_owned(), value));
            for encoding in Encoding::ALL {
                let state = ("state".to_owned(), json!("AQI="));
                if more.fields.contains(&state) && encoding == Encoding::MessagePack {
                    continue;
                }
                let read = encoding.decode(&more.encode(encoding));
                assert_eq!(read, encoding.decode(&message.encode(encoding)), "{more:?}: what is unknown is ignored");
            }
        }
    }
}

#[test]
fn a_message_by_another_shape_is_refused() {
    for message in all_in() {
        let Loose { name, fields } = Loose::of(&message);
        let by_order: Vec<&Value> = fields.iter().map(|(_, value)| value).collect();
        let whole = serde_json::to_value(&message).expect("finite");
        let map: Map<String, Value> = fields.iter().cloned().collect();
        for shape in [
            json!(name),
            json!([name]),
            json!([name, map]),
            json!([whole]),
            json!({&name: Value::Null}),
            json!({&name: by_order}),
            json!({&name: [map]}),
            json!({&name: map, "bye": {}, "later": 1}),
            json!({name.to_uppercase(): map}),
            json!({format!("{name} "): map}),
            json!({"type": name, "fields": map}),
        ] {
            for encoding in Encoding::ALL {
                let bytes = match encoding {
                    Encoding::Json => shape.to_string().into_bytes(),
                    Encoding::MessagePack => rmp_serde::to_vec_named(&shape).expect("memory"),
                };
                is_refused(&bytes, encoding, &shape.to_string());
            }
        }
    }
}

#[test]
fn a_length_that_lies_is_refused_or_means_something_else() {
    for message in all_in() {
        let payload = Encoding::MessagePack.encode_in(&message);
        for at in 0..payload.bytes().len() {
            // Texts, bytes, lists and maps of 4 GiB; and shorter ones than are there.
            for marker in [0xc6, 0xc9, 0xdb, 0xdd, 0xdf] {
                let (before, behind) = payload.bytes().split_at(at);
                for lie in [&[marker, 0xff, 0xff, 0xff, 0xff][..], &[marker, 0x7f, 0xff, 0xff, 0xff], &[marker]] {
                    let bytes = [before, lie, behind].concat();
                    if Encoding::MessagePack.decode(&bytes).is_err() {
                        is_refused(&bytes, Encoding::MessagePack, &format!("{message:?} with {lie:x?} at {at}"));
                    }
                }
            }
        }
    }
}

#[test]
fn depth_is_harmless() {
    for levels in [1, 14, 15, 16, 17, 64, 127, 128, 129, 1_000, 8_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nest = |inner: &str| open.repeat(levels) + inner + &close.repeat(levels);
            for text in
                [nest("1"), format!("{{\"ping\":{}}}", nest("1")), format!("{{\"ping\":{{\"time\":{}}}}}", nest("1"))]
            {
                is_refused(text.as_bytes(), Encoding::Json, &format!("{levels} levels of {open}"));
            }
            is_refused(open.repeat(levels).as_bytes(), Encoding::Json, &format!("{levels} levels of {open}, open"));
            let text = format!("{{\"ping\":{{\"time\":1,\"later\":{}}}}}", nest("1"));
            outcome(text.as_bytes(), Encoding::Json, false, &|| text.clone());
        }
        for level in [&[0x91_u8][..], &[0x81, 0xa1, b'a'], &[0xdd, 0, 0, 0, 1], &[0xdf, 0, 0, 0, 1, 0xa1, b'a']] {
            let nest = level.repeat(levels);
            for head in
                [&b""[..], b"\x81\xa4ping", b"\x81\xa4ping\x81\xa4time", b"\x81\xa4ping\x82\xa4time\x01\xa5later"]
            {
                for end in [&b"\x01"[..], b""] {
                    let bytes = [head, &nest, end].concat();
                    outcome(&bytes, Encoding::MessagePack, false, &|| format!("{levels} levels of {level:x?}"));
                }
            }
        }
    }
}

/// The messages of `messages.txt`: the code that answers, and the message.
pub fn by_hand() -> impl Iterator<Item = (&'static str, &'static str)> {
    lines(include_str!("../corpus/messages.txt"), 2).map(|cells| (cells[0], cells[1]))
}

#[test]
fn those_by_hand_have_the_answer_they_name() {
    assert!(by_hand().count() >= 100, "{} messages", by_hand().count());
    for (wanted, text) in by_hand() {
        let (codes, did) = outcome(text.as_bytes(), Encoding::Json, false, &|| text.to_owned());
        let code = codes.first().map_or("", String::as_str);
        assert_eq!(code, wanted.trim_start_matches(['+', '-']), "{text}: {codes:?}");
        assert_eq!(did, wanted.starts_with('+'), "{text}: whether something comes of it");
        // The same in MessagePack, where it can be written.
        let Ok(value) = serde_json::from_str::<Value>(text) else { continue };
        if !text.contains("state\"") && !text.contains("twice") {
            let bytes = rmp_serde::to_vec_named(&value).expect("memory");
            assert_eq!(outcome(&bytes, Encoding::MessagePack, false, &|| text.to_owned()), (codes, did), "{text}");
        }
    }
}
