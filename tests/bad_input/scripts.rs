//! Kind G: sessions that say things at the wrong time or in another's name, played from `scripts.txt`.

use nearcast::codec::Encoding;
use nearcast::codec::message::{Act, In, Out, Scope};
use nearcast::session::Input;

use super::room::Room;

/// A script: what it is about, and its lines.
pub struct Script {
    /// Its heading.
    pub about: &'static str,
    /// What is done and heard, in order.
    pub lines: Vec<&'static str>,
}

/// All of the corpus.
pub fn scripts() -> Vec<Script> {
    let text = include_str!("../corpus/scripts.txt");
    let parts = text.split("\n## ").skip(1);
    parts
        .map(|part| {
            let mut lines = part.lines().filter(|line| !line.is_empty());
            Script { about: lines.next().expect("a heading"), lines: lines.collect() }
        })
        .collect()
}

/// The bytes of a message that stands in a script as JSON; what is none is said as it is.
pub fn bytes(text: &str, encoding: Encoding) -> Vec<u8> {
    let text = match text.split_once("FILL ") {
        None => text.to_owned(),
        Some((before, rest)) => {
            let (n, behind) = rest.split_once('"').expect("a quote");
            before.to_owned() + &"x".repeat(n.parse().expect("a number")) + "\"" + behind
        }
    };
    match (encoding, serde_json::from_str::<serde_json::Value>(&text)) {
        (Encoding::MessagePack, Ok(value)) => rmp_serde::to_vec_named(&value).expect("memory"),
        (Encoding::MessagePack | Encoding::Json, _) => text.into_bytes(),
    }
}

/// Whoever is called by a letter.
struct Cast {
    room: Room,
    /// The letter of each, in order of their connections.
    letters: Vec<char>,
    /// What each said last.
    said: Vec<Vec<u8>>,
    first: usize,
}

impl Cast {
    fn who(&self, letter: &str) -> usize {
        let letter = letter.parse().expect("a letter");
        self.letters.iter().position(|other| *other == letter).unwrap_or_else(|| panic!("{letter} has not connected"))
    }

    fn letter(&self, entity: u64) -> String {
        self.letters[(entity / 2 - 1) as usize].to_string()
    }

    fn say(&mut self, who: usize, bytes: Vec<u8>) {
        self.room.raw(who, &bytes);
        self.said[who] = bytes;
    }

    fn play(&mut self, line: &str) {
        if let Some((n, line)) = line.split_once(" times: ")
            && let Ok(n) = n.parse::<usize>()
        {
            for _ in 0..n {
                line.split("; ").for_each(|line| self.play(line));
            }
            return;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<f64>().unwrap_or_else(|_| panic!("{line}: a number"));
        match words[..] {
            ["ticks", _] => self.room.ticks(number(1) as usize),
            ["seconds", _] => self.room.ticks(20 * number(1) as usize),
            [letter, "connects" | "joins"] => {
                let encoding = Encoding::ALL[(self.first + self.letters.len()) % 2];
                self.letters.push(letter.parse().expect("a letter"));
                self.said.push(Vec::new());
                let who = if words[1] == "joins" { self.room.join(encoding) } else { self.room.connect(encoding) };
                assert_eq!(who + 1, self.letters.len());
            }
            [letter, "at", ..] => self.room.walk(self.who(letter), number(2), number(3)),
            [letter, "does", n, name, ..] => {
                let who = self.who(letter);
                // Where it stands at first: A at 0, B at 1, C at 2.
                let x = words.get(4).map_or(0.0, |_| number(4));
                let (n, time) = (n.parse().expect("a number"), self.room.clock_ms());
                let act = Act {
                    n,
                    to: None,
                    scope: Scope::Nearby,
                    name: name.into(),
                    data: String::new(),
                    time,
                    pos: [x, 0.0, 0.0],
                };
                let payload = self.room.people[who].encoding.encode_in(&In::Act(act));
                self.say(who, payload.bytes().to_vec());
            }
            [letter, "says", ..] => {
                let who = self.who(letter);
                let text = line.split_once(" says ").expect("a word").1;
                self.say(who, bytes(text, self.room.people[who].encoding));
            }
            [letter, "repeats", other] => {
                let (who, other) = (self.who(letter), self.who(other));
                self.say(who, self.said[other].clone());
            }
            [letter, "pings", _] => {
                let who = self.who(letter);
                (0..number(2) as usize).for_each(|_| self.room.input(who, Input::Ping(b"x")));
            }
            [letter, "goes"] => self.room.input(self.who(letter), Input::Gone),
            [letter, "is", "mute"] => {
                let who = self.who(letter);
                self.room.people[who].is_mute = true;
            }
            [letter, "hears", ..] => {
                let who = self.who(letter);
                let wanted = line.split_once(" hears ").expect("a word").1;
                let heard = std::mem::take(&mut self.room.people[who].heard);
                let names: Vec<String> =
                    heard.iter().filter_map(|out| name(out, |entity| self.letter(entity))).collect();
                assert_eq!(names, expand(wanted), "{line}");
            }
            [letter, "sees", ..] => {
                let shown = self.room.people[self.who(letter)].mirror.shown();
                let mut seen: Vec<String> = shown.map(|avatar| self.letter(avatar.entity)).collect();
                seen.sort();
                let wanted: &[&str] = if words[2] == "nobody" { &[] } else { &words[2..] };
                assert_eq!(seen, wanted, "{line}");
            }
            _ => panic!("{line}: what is that?"),
        }
    }
}

/// What a message to a client is called in scripts; those that come by themselves have no name.
pub fn name(out: &Out, letter: impl Fn(u64) -> String) -> Option<String> {
    let n = |n: Option<u64>| n.map_or_else(String::new, |n| format!(" {n}"));
    Some(match out {
        Out::Welcome(_) => "welcome".into(),
        Out::Pong(_) => "pong".into(),
        Out::Ack(ack) => format!("ack {}", ack.n),
        Out::Unknown(unknown) => format!("unknown {}", unknown.n),
        Out::Refuse(refuse) => format!("refuse {}{}", refuse.code, n(refuse.n)),
        Out::Bye(bye) => format!("bye {}", bye.code),
        Out::Event(event) => format!("event {} {}", event.name, letter(event.from)),
        _ => return None,
    })
}

/// `3 pong, bye 4003` as a list.
pub fn expand(wanted: &str) -> Vec<String> {
    let each = wanted.split(", ").filter(|name| *name != "nothing");
    each.flat_map(|name| match name.split_once(' ') {
        Some((n, rest)) if n.parse::<usize>().is_ok() => vec![rest.to_owned(); n.parse().expect("a number")],
        _ => vec![name.to_owned()],
    })
    .collect()
}

#[test]
fn scripts_are_heard_as_they_say() {
    let scripts = scripts();
    assert!(scripts.len() >= 60, "{} scripts", scripts.len());
    for Script { about, lines } in scripts {
        for first in 0..2 {
            println!("{about}, {:?} first", Encoding::ALL[first]); // the last line names the one that failed
            let room = Room::new();
            let mut cast = Cast { room, letters: Vec::new(), said: Vec::new(), first };
            lines.iter().for_each(|line| cast.play(line));
        }
    }
}
