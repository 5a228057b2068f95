//! Kind E: texts that are none, that reach beyond their place, that have two forms; as data of an action and as a profile.

use nearcast::codec::Encoding;
use nearcast::limits::PROFILE_BYTES_MAX;
use nearcast::region::Submit;
use nearcast::session::Note;

use super::lines;
use super::room::Room;

/// A text of the corpus: the bytes that stand in a message, and what others get of it.
pub struct Text {
    /// What it is about.
    pub why: &'static str,
    /// Between quotes of JSON.
    json: Vec<u8>,
    /// As MessagePack has it; none if only JSON can be so wrong.
    msgpack: Option<Vec<u8>>,
    /// What others get of it, or the code of a refusal.
    pub wanted: Result<String, &'static str>,
}

fn times(cell: &'static str) -> (&'static str, usize) {
    match cell.rsplit_once('*') {
        Some((text, n)) if text.ends_with('"') => (text, n.parse().expect("a number")),
        _ => (cell, 1),
    }
}

fn read(literal: &str, n: usize) -> Option<String> {
    serde_json::from_str::<String>(literal).ok().map(|text| text.repeat(n))
}

/// All of the corpus.
pub fn texts() -> impl Iterator<Item = Text> {
    lines(include_str!("../corpus/strings.txt"), 3).map(|cells| {
        let [why, input, wanted] = cells[..] else { unreachable!("three cells") };
        let (literal, n) = times(input);
        let (json, msgpack) = match input.strip_prefix("hex:") {
            Some(hex) => {
                let byte = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal");
                let bytes: Vec<u8> = (0..hex.len() / 2).map(byte).collect();
                // Control characters must be escapes in JSON; they are dropped elsewhere.
                let msgpack = std::str::from_utf8(&bytes).is_err().then(|| bytes.clone());
                (bytes, msgpack)
            }
            None => {
                let inner = literal.strip_prefix('"').and_then(|text| text.strip_suffix('"')).expect("quotes");
                (inner.repeat(n).into_bytes(), read(literal, n).map(String::into_bytes))
            }
        };
        let wanted = match wanted {
            "=" => Ok(read(literal, n).expect("a text")),
            "malformed" | "length" => Err(wanted),
            other => {
                let (literal, n) = times(other);
                Ok(read(literal, n).expect("a text"))
            }
        };
        Text { why, json, msgpack, wanted }
    })
}

impl Text {
    /// A message with it between what stands before and behind; none if it cannot be so written.
    pub fn message(&self, encoding: Encoding, name: &str, field: &str) -> Option<Vec<u8>> {
        let text = match encoding {
            Encoding::Json => [b"\"", &self.json[..], b"\""].concat(),
            Encoding::MessagePack => {
                let bytes = self.msgpack.as_ref()?;
                let mut text = Vec::new();
                rmp::encode::write_str_len(&mut text, bytes.len() as u32).expect("memory");
                [&text[..], bytes].concat()
            }
        };
        let act = r#""n":1,"scope":"nearby","name":"say","time":0,"pos":[0,0,0],"#;
        let rest = if name == "act" { act } else { "" };
        Some(super::floats::message(encoding, &format!(r#"{{"{name}":{{{rest}"{field}":"@@"}}}}"#), &text))
    }
}

#[test]
fn texts_are_read_cleaned_or_refused() {
    let mut cases = 0;
    for text in texts() {
        for encoding in Encoding::ALL {
            let mut room = Room::new();
            let ann = room.stand(encoding, 0.0, 0.0);
            let bob = room.stand(Encoding::Json, 1.0, 0.0);
            room.ticks(2);
            let why = format!("{}, {encoding:?}", text.why);
            let Some(message) = text.message(encoding, "act", "data") else { continue };
            room.people[ann].notes.clear();
            room.raw(ann, &message);
            room.ticks(2);
            let told: Vec<String> = room.people[bob]
                .heard
                .drain(..)
                .filter_map(|out| match out {
                    nearcast::codec::message::Out::Event(event) => Some(event.data),
                    _ => None,
                })
                .collect();
            let cleaned = room.people[ann].notes.contains(&Note::Cleaned);
            match &text.wanted {
                Ok(wanted) => {
                    assert_eq!((&told[..], room.codes(ann)), (&[wanted.clone()][..], vec![]), "{why}");
                    let was = text.msgpack.as_ref().expect("a text");
                    assert_eq!(cleaned, was != wanted.as_bytes(), "{why}: counted");
                }
                Err(code) => assert_eq!((told.len(), room.codes(ann)), (0, vec![(*code).to_owned()]), "{why}"),
            }
            room.lives(ann, &why);
            cases += 1;
        }
    }
    assert!(cases > 160, "{cases} cases");
}

#[test]
fn the_same_in_a_profile() {
    for text in texts() {
        for encoding in Encoding::ALL {
            let Some(message) = text.message(encoding, "profile", "profile") else { continue };
            let mut room = Room::new();
            let ann = room.stand(encoding, 0.0, 0.0);
            let bob = room.stand(Encoding::MessagePack, 1.0, 0.0);
            room.ticks(2);
            room.raw(ann, &message);
            let wanted = text.wanted.clone().map(|text| text.replace(['\t', '\n', '\r'], ""));
            let wanted = wanted.and_then(|text| if text.len() > PROFILE_BYTES_MAX { Err("length") } else { Ok(text) });
            let got = room.people[ann].submits.iter().find_map(|submit| match submit {
                Submit::Profile { profile, .. } => Some(profile.to_string()),
                _ => None,
            });
            let codes = room.codes(ann);
            assert_eq!(got.ok_or(codes.first().map_or("", String::as_str)), wanted, "{}, {encoding:?}", text.why);
            room.ticks(5);
            let seen = room.people[bob].mirror.shown().next().map(|avatar| avatar.profile.to_string());
            assert_eq!(seen, Some(wanted.unwrap_or_default()), "{}: what others see", text.why);
        }
    }
}

/// JSON within a text is the same JSON afterwards.
#[test]
fn json_within_data_is_the_same() {
    for value in [
        serde_json::json!({"say": "a \"quoted\" \\ line\nand\ttab", "to": [1, -2.5e10, null, true], "ключ": "Zoë 👋"}),
        serde_json::json!("\u{202e}"),
    ] {
        for written in [value.to_string(), serde_json::to_string_pretty(&value).expect("finite")] {
            let escaped: String =
                written.chars().map(|c| if c == '\u{202e}' { "\\u202e".into() } else { c.to_string() }).collect();
            let cleaned =
                nearcast::admit::text::clean(&escaped, nearcast::admit::text::Kind::Data, 2_000).expect("short");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&cleaned).expect("JSON"), value);
        }
    }
}
