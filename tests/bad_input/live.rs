//! A sample of each kind of bad input against a real gateway, and what only sockets show: a game server's token, and messages
//! that begin and do not end.

use std::time::{Duration, Instant};

use nearcast::codec::Encoding;
use nearcast::codec::message::{Hello, In, Move, Out, Ping, Scope};
use nearcast::edge::Gateway;
use nearcast::limits::MESSAGE_WITHIN_US;
use tokio_tungstenite::tungstenite::Message;

use super::floats::{self, FIELDS, numbers, wanted};
use super::messages::by_hand;
use super::scripts::{self, expand, name, scripts};
use super::strings::texts;
use super::support::{COUNTERS, Client, gateway, metric};

/// A client who stands at the origin, at its own time 0.
async fn stand(gateway: &Gateway, encoding: Encoding) -> Client {
    let (mut client, _) = Client::join(gateway, encoding, "Ann").await;
    client.says_seen = false;
    let state = Default::default();
    client.say(&In::Move(Move { time: 0.0, pos: [0.0; 3], yaw: 0.0, state, seen: None, held_ms: None })).await;
    client
}

fn frame(encoding: Encoding, bytes: Vec<u8>) -> Message {
    match encoding {
        Encoding::Json => Message::text(String::from_utf8(bytes).expect("UTF-8")),
        Encoding::MessagePack => Message::binary(bytes),
    }
}

/// The next thing heard that has a name; `nothing` is the answer to a ping of [`heard`].
async fn next(client: &mut Client) -> String {
    loop {
        let before = client.heard.len();
        match client.read().await {
            Some(Ok(())) => {}
            Some(Err(bye)) => return format!("bye {}", bye.code),
            None => return "the end".to_owned(),
        }
        match client.heard.get(before) {
            Some(Out::Pong(pong)) if pong.time == -7.0 => return "nothing".to_owned(),
            Some(out) => {
                if let Some(name) = name(out, |_| String::new()) {
                    return name;
                }
            }
            None => {}
        }
    }
}

/// What has been heard by now.
async fn heard(client: &mut Client) -> String {
    client.say(&In::Ping(Ping { time: -7.0 })).await;
    next(client).await
}

#[tokio::test]
async fn a_gateway_answers_bad_messages_numbers_and_texts_as_a_session_does() {
    let gateway = gateway("").await;
    for (wanted, text) in by_hand().step_by(9) {
        let mut client = stand(&gateway, Encoding::Json).await;
        client.raw(Message::text(text)).await;
        let heard = heard(&mut client).await;
        let wanted = wanted.trim_start_matches(['+', '-']);
        let is_it = heard.split(' ').nth(1).unwrap_or_default() == wanted;
        // What comes of a good one is told in other ways.
        assert!(is_it || (wanted.is_empty() && !heard.starts_with("refuse")), "{text}: {heard}");
    }
    for encoding in Encoding::ALL {
        for (at, (kind, why, number)) in numbers(encoding).enumerate() {
            let (template, what) = FIELDS[at % FIELDS.len()];
            let mut client = stand(&gateway, encoding).await;
            client.raw(frame(encoding, floats::message(encoding, template, &number))).await;
            let heard = heard(&mut client).await;
            let wanted = wanted(kind, what, encoding);
            let code = heard.strip_prefix("refuse ").map_or("", |code| code.split(' ').next().unwrap_or_default());
            assert!(wanted.contains(&code) || (wanted.is_empty() && code.is_empty()), "{why} in {template}: {heard}");
        }
        for text in texts().step_by(7) {
            let Some(message) = text.message(encoding, "profile", "profile") else { continue };
            if encoding == Encoding::Json && std::str::from_utf8(&message).is_err() {
                continue; // That is a bad frame.
            }
            let mut client = stand(&gateway, encoding).await;
            client.raw(frame(encoding, message)).await;
            let heard = heard(&mut client).await;
            match text.wanted {
                Ok(text) if text.len() <= 96 => assert_eq!(heard, "nothing", "{text:?}"),
                Ok(_) => assert_eq!(heard, "refuse length"),
                Err(code) => assert_eq!(heard, format!("refuse {code}"), "{}", text.why),
            }
        }
    }
    gateway.drain().await;
}

#[tokio::test]
async fn a_gateway_plays_scripts_as_a_session_does() {
    let gateway = gateway("").await;
    let (timed, mut played) =
        (["ticks", "seconds", "pings", "goes", "mute", "sees", "event", "repeats", "joins\nB"], 0);
    for (at, script) in scripts().into_iter().enumerate() {
        let lines = script.lines.join("\n");
        if timed.iter().any(|word| lines.contains(word)) || lines.contains("times:") {
            continue;
        }
        println!("{}", script.about);
        let encoding = Encoding::ALL[at % 2];
        let mut client = Client::connect(&gateway, encoding).await;
        client.says_seen = false;
        for line in script.lines {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<f64>().expect("a number");
            match words[1] {
                "connects" => {}
                "joins" => {
                    client.say(&In::Hello(Hello { world: "plaza".into(), ..Hello::default() })).await;
                    assert_eq!(next(&mut client).await, "welcome");
                }
                "at" => client.walk(number(2), number(3)).await,
                "does" => {
                    let x = words.get(4).map_or(0.0, |_| number(4));
                    client.act(words[2].parse().expect("a number"), Scope::Nearby, x, 0.0).await;
                }
                "says" => {
                    let text = line.split_once(" says ").expect("a word").1;
                    let bytes = scripts::bytes(text, encoding);
                    client.raw(frame(encoding, bytes)).await;
                }
                "hears" => {
                    let names = expand(line.split_once(" hears ").expect("a word").1);
                    for name in &names {
                        assert_eq!(next(&mut client).await, *name, "{}: {line}", script.about);
                    }
                    if names.last().is_none_or(|name| !name.starts_with("bye")) {
                        assert_eq!(heard(&mut client).await, "nothing", "{}: {line}", script.about);
                    }
                }
                _ => panic!("{line}"),
            }
        }
        played += 1;
    }
    assert!(played >= 15, "{played} scripts");
    gateway.drain().await;
}

#[tokio::test]
async fn a_game_server_goes_where_it_likes_and_a_shadow_counts() {
    let _alone = COUNTERS.lock().await;
    let token = "0123456789abcdef0123456789abcdef";
    let gateway = gateway(&format!("server_token = '{token}'\n[[world]]\nname = 'plaza'\nmovement = 'shadow'")).await;
    let shadowed = async |gateway: &Gateway| metric(gateway, "nearcast_shadowed_total{rule=\"speed\"}").await;
    for (says, counted) in [(Some(token), 0.0), (Some(&token[1..]), 1.0), (None, 2.0)] {
        let mut client = Client::connect(&gateway, Encoding::Json).await;
        let hello = Hello { world: "plaza".into(), token: says.map(str::to_owned), ..Hello::default() };
        client.say(&In::Hello(hello)).await;
        assert_eq!(next(&mut client).await, "welcome");
        client.walk(0.0, 0.0).await;
        client.walk(1_000.0, 0.0).await;
        assert_eq!(heard(&mut client).await, "nothing");
        assert_eq!(shadowed(&gateway).await, counted, "{says:?}");
    }
    let (_, page) = super::support::get(gateway.admin, "/metrics").await;
    assert!(!page.contains(token));
    gateway.drain().await;
}

#[tokio::test]
async fn a_message_that_begins_must_end() {
    let gateway = gateway("").await;
    // Text that is said to have 100 bytes; one in fragments; a cut header.
    for begun in [&b"\x81\xe4\0\0\0\0{"[..], b"\x01\x81\0\0\0\0{", b"\x81"] {
        let (mut client, _) = Client::join(&gateway, Encoding::Json, "Drip").await;
        // The ping that follows a welcome is answered: its pong must not get into what is begun.
        for time in [1.0, 2.0] {
            client.say(&In::Ping(Ping { time })).await;
            client.hear("a pong", |out| matches!(out, Out::Pong(pong) if pong.time == time).then_some(())).await;
        }
        let since = Instant::now();
        client.wire(begun, true).await;
        // Pings in between fragments do not put it off.
        for _ in 0..if begun[0] == 1 { 10 } else { 0 } {
            tokio::time::sleep(Duration::from_micros(MESSAGE_WITHIN_US * 8 / 100)).await;
            client.wire(b"\x89\x80\0\0\0\0", true).await;
        }
        assert_eq!(client.bye().await.code, 4006, "{begun:x?}");
        let took = since.elapsed();
        assert!(took >= Duration::from_micros(MESSAGE_WITHIN_US * 9 / 10), "{begun:x?}: {took:?}");
    }
    // One that ends in time is heard, in however many parts.
    let (mut client, _) = Client::join(&gateway, Encoding::Json, "Slow").await;
    for part in [&b"\x01\x8c\0\0\0\0{\"ping\":{\"ti"[..], b"\x89\x80\0\0\0\0", b"\x80\x88\0\0\0\0me\":-7}}"] {
        client.wire(part, false).await;
    }
    client.hear("the answer", |out| matches!(out, Out::Pong(pong) if pong.time == -7.0).then_some(())).await;
    gateway.drain().await;
}
