//! Bad input over real sockets, from `tests/corpus/frames.txt` and `schemas/vectors/bad.json`, and bad handshakes: each has
//! its answer or its close code, is counted, and disturbs nobody.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for")]

mod support;

use nearcast::codec::Encoding;
use nearcast::codec::message::{Hello, In, Out, Ping};
use nearcast::edge::Gateway;
use nearcast::edge::framing::{Bounds, Framing};
use nearcast::limits::{CONTROLS_BEFORE_HELLO_MAX, FRAGMENTS_MAX, MESSAGE_BYTES_MAX, MESSAGES_BURST, UNREADABLE_MAX};
use nearcast::settings::Limits;
use serde_json::Value;
use support::{COUNTERS, Client, gateway, metric, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// What a counter has come to.
async fn counted(gateway: &Gateway, counter: &str) -> u64 {
    metric(gateway, counter).await as u64
}

fn closes(reason: &str) -> String {
    format!("nearcast_closes_total{{reason=\"{reason}\"}}")
}

/// Somebody whom all this must not touch.
struct Witness {
    client: Client,
    asked: f64,
}

impl Witness {
    async fn join(gateway: &Gateway) -> Witness {
        let (mut client, _) = Client::join(gateway, Encoding::MessagePack, "Ann").await;
        client.walk(0.0, 0.0).await;
        Witness { client, asked: 0.0 }
    }

    /// Its session answers, and its states follow on each other.
    async fn is_fine(&mut self, after: &str) {
        self.asked += 1.0;
        self.client.heard.clear();
        self.client.say(&In::Ping(Ping { time: self.asked })).await;
        let is_answer = |out: &Out| matches!(out, Out::Pong(pong) if pong.time == self.asked).then_some(());
        self.client.hear(after, is_answer).await;
    }

    /// It is the only one left.
    async fn is_alone(&mut self, gateway: &Gateway) {
        self.is_fine("at the end").await;
        assert!(self.client.mirror.number() > 0, "it has states");
        assert_eq!(counted(gateway, "nearcast_sessions{world=\"plaza\"}").await, 1, "no session is left over");
    }
}

// --- frames -----------------------------------------------------------------------------------------------------------

struct Entry {
    section: String,
    why: String,
    code: u16,
    bytes: Vec<u8>,
}

/// The notation of `frames.txt`.
fn bytes(text: &str) -> Vec<u8> {
    let (mut all, mut group) = (Vec::new(), None);
    for word in text.split_whitespace() {
        let (word, times) = word.rsplit_once('*').map_or((word, 1), |(word, n)| (word, n.parse().expect("a number")));
        let part = match word.as_bytes() {
            b"(" => {
                group = Some(std::mem::take(&mut all));
                continue;
            }
            b")" => std::mem::replace(&mut all, group.take().expect("an open group")),
            [b'"', text @ .., b'"'] => text.to_vec(),
            hex => hex
                .chunks(2)
                .map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hexadecimal"))
                .collect(),
        };
        all.extend(part.repeat(times));
    }
    all
}

fn entries() -> Vec<Entry> {
    let mut section = String::new();
    let mut entries = Vec::new();
    for line in include_str!("corpus/frames.txt").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        } else if !line.is_empty() && !line.starts_with('#') {
            let [code, why, text] = line.splitn(3, " | ").collect::<Vec<_>>()[..] else { panic!("{line}") };
            let why = format!("{section}: {why}");
            let (section, code) = (section.clone(), code.parse().expect("a code"));
            entries.push(Entry { section, why, code, bytes: bytes(text) });
        }
    }
    entries
}

/// The label of a close code in `nearcast_closes_total`.
fn reason(code: u16) -> &'static str {
    match code {
        1002 => "protocol",
        1007 => "not_utf8",
        1009 => "too_big",
        _ => panic!("no frame is closed with {code}"),
    }
}

#[test]
fn a_bad_frame_is_refused_wherever_it_is_cut() {
    assert!(entries().len() > 120, "{} entries", entries().len());
    let bounds = Bounds { bytes: MESSAGE_BYTES_MAX, fragments: FRAGMENTS_MAX };
    for Entry { why, code, bytes, .. } in entries() {
        for size in 1..=bytes.len().min(32) {
            let mut framing = Framing::default();
            let mut parts = bytes.chunks(size).map(<[u8]>::to_vec);
            let broken = parts.find_map(|mut part| framing.read(&mut part, bounds, &mut |_| true).err());
            assert_eq!(broken.map(|broken| broken.close().code()), Some(code), "{why}, in parts of {size}");
        }
    }
}

#[tokio::test]
async fn a_bad_frame_ends_its_connection_only() {
    let _alone = COUNTERS.lock().await;
    let gateway = gateway("").await;
    let mut witness = Witness::join(&gateway).await;
    let mut section = String::new();
    for entry in entries() {
        let why = &entry.why;
        println!("{why}"); // the last line names the entry for which something did not come
        for (encoding, is_welcome, at_once) in
            [(Encoding::Json, true, true), (Encoding::MessagePack, true, false), (Encoding::Json, false, true)]
        {
            let before = counted(&gateway, &closes(reason(entry.code))).await;
            let mut client = Client::connect(&gateway, encoding).await;
            if is_welcome {
                client.say(&In::Hello(Hello { world: "plaza".into(), ..Hello::default() })).await;
            }
            client.wire(&entry.bytes, at_once).await;
            let bye = client.bye().await;
            assert_eq!((bye.code, bye.again, bye.text.is_empty()), (entry.code, false, false), "{why}: {bye:?}");
            assert_eq!(client.close_code().await, Some(entry.code), "{why}");
            assert!(client.ends_well().await, "{why}: the connection was reset");
            assert_eq!(counted(&gateway, &closes(reason(entry.code))).await, before + 1, "{why}: counted once");
        }
        if section != entry.section {
            section = entry.section;
            witness.is_fine(&section).await;
        }
    }
    witness.is_alone(&gateway).await;
    gateway.drain().await;
}

#[tokio::test]
async fn a_frame_that_never_ends_is_given_up() {
    let _alone = COUNTERS.lock().await;
    let gateway = gateway("").await;
    let mut witness = Witness::join(&gateway).await;
    let (silent, lost) = (counted(&gateway, &closes("no_hello")).await, counted(&gateway, &closes("lost")).await);
    // A header that promises 16 KiB, a fragment without an end, a header cut: none says hello within 5 s.
    let parts = ["81 fe 4000 00000000 20*100", "01 81 00000000 \"{\"", "81 fe", "81"];
    let mut waiting = Vec::new();
    for part in parts {
        let mut client = Client::connect(&gateway, Encoding::Json).await;
        client.wire(&bytes(part), true).await;
        waiting.push((part, client));
    }
    // Nor does one who goes in the middle of a frame leave anything.
    let (mut gone, _) = Client::join(&gateway, Encoding::Json, "Gone").await;
    gone.wire(&bytes(parts[0]), true).await;
    drop(gone);
    for (part, client) in &mut waiting {
        assert_eq!(client.bye().await.code, 4102, "{part}");
    }
    assert_eq!(counted(&gateway, &closes("no_hello")).await, silent + 4);
    assert_eq!(counted(&gateway, &closes("lost")).await, lost + 1);
    witness.is_alone(&gateway).await;
    gateway.drain().await;
}

#[tokio::test]
async fn a_flood_of_control_frames_is_closed() {
    let _alone = COUNTERS.lock().await;
    let gateway = gateway("").await;
    let mut witness = Witness::join(&gateway).await;
    for (name, frame) in [("pings", "89 80 00000000"), ("pongs", "8a 81 00000000 00")] {
        let before = counted(&gateway, &closes("rate")).await;
        let (mut client, _) = Client::join(&gateway, Encoding::Json, "Flood").await;
        // Twice the burst comes from the rate, while they are read.
        let flood = bytes(frame).repeat((3 * MESSAGES_BURST + Limits::PLAYER.refusals_max()) as usize);
        client.wire(&flood, true).await;
        assert_eq!(client.bye().await.code, 4003, "{name}");
        assert_eq!(counted(&gateway, &closes("rate")).await, before + 1, "{name}");
        witness.is_fine(name).await;
    }
    witness.is_alone(&gateway).await;
    gateway.drain().await;
}

#[tokio::test]
async fn control_frames_before_hello_have_a_bound() {
    let _alone = COUNTERS.lock().await;
    let gateway = gateway("").await;
    let mut witness = Witness::join(&gateway).await;
    let (max, before) = (CONTROLS_BEFORE_HELLO_MAX as usize, counted(&gateway, &closes("rate")).await);
    let hello = In::Hello(Hello { world: "plaza".into(), ..Hello::default() });
    for (i, (name, frame)) in (1..).zip([("pings", "89 80 00000000"), ("pongs", "8a 81 00000000 00")]) {
        let mut client = Client::connect(&gateway, Encoding::Json).await;
        client.wire(&bytes(frame).repeat(max), true).await;
        client.say(&hello).await;
        client.hear(name, |out| matches!(out, Out::Welcome(_)).then_some(())).await;
        drop(client);
        let mut client = Client::connect(&gateway, Encoding::Json).await;
        client.wire(&bytes(frame).repeat(max + 1), true).await;
        assert_eq!(client.bye().await.code, 4003, "{name}");
        assert_eq!(client.close_code().await, Some(4003), "{name}");
        assert_eq!(counted(&gateway, &closes("rate")).await, before + i, "{name}");
        witness.is_fine(name).await;
    }
    witness.is_alone(&gateway).await;
    gateway.drain().await;
}

// --- handshakes -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_bad_handshake_is_answered_and_counted() {
    let _alone = COUNTERS.lock().await;
    let gateway = gateway("").await;
    let good = [
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol: nearcast.v1.json",
    ];
    // Which header is another, or empty: not there.
    for (status, reason, at, instead) in [
        (101, "handshake", 0, good[0]),
        (101, "handshake", 3, "sec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEC=="),
        (400, "handshake", 0, ""),
        (400, "handshake", 0, "connection: keep-alive"),
        (400, "handshake", 1, ""),
        (400, "handshake", 1, "upgrade: h2c"),
        (400, "handshake", 2, ""),
        (400, "handshake", 2, "sec-websocket-version: 8"),
        (400, "handshake", 3, ""),
        (400, "handshake", 3, "sec-websocket-key: not base64"),
        (400, "handshake", 3, "sec-websocket-key: dGhlIHNhbXBsZSBub25j"),
        (400, "subprotocol", 4, "sec-websocket-protocol: nearcast.v2.json"),
    ] {
        let refused = format!("nearcast_connections_refused_total{{reason=\"{reason}\"}}");
        let before = counted(&gateway, &refused).await;
        let mut headers = good;
        headers[at] = instead;
        let headers: Vec<&str> = headers.into_iter().filter(|header| !header.is_empty()).collect();
        let request = format!("GET /v1 HTTP/1.1\r\nhost: x\r\n{}\r\n\r\n", headers.join("\r\n"));
        let mut socket = tokio::net::TcpStream::connect(gateway.listen).await.expect("connects");
        socket.write_all(request.as_bytes()).await.expect("writes");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("an answer", socket.read_u8()).await.expect("reads"));
        }
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{instead:?}: {head}");
        let names_version = head.contains("sec-websocket-version: 13\r\n");
        assert_eq!(names_version, status == 400 && reason == "handshake", "{instead:?}: {head}");
        assert_eq!(counted(&gateway, &refused).await, before + u64::from(status != 101), "{instead:?}");
    }
    gateway.drain().await;
}

// --- messages ---------------------------------------------------------------------------------------------------------

/// What gateways must refuse: why, in which encoding, and the message.
fn bad_messages() -> Vec<(String, Encoding, Message)> {
    let all: Vec<Value> = serde_json::from_str(include_str!("../schemas/vectors/bad.json")).expect("JSON");
    let to_gateways = all.iter().filter(|entry| entry["to"] == "gateway");
    to_gateways
        .map(|entry| {
            let why = entry["why"].as_str().expect("why").to_owned();
            match (&entry["json"], &entry["msgpack"]) {
                (Value::String(text), _) => (why, Encoding::Json, Message::text(text)),
                (_, Value::String(hex)) => (why, Encoding::MessagePack, Message::binary(bytes(hex))),
                _ => panic!("{entry}: neither json nor msgpack"),
            }
        })
        .collect()
}

#[tokio::test]
async fn a_bad_message_is_refused_and_its_session_lives_on() {
    let _alone = COUNTERS.lock().await;
    let gateway = gateway("").await;
    let mut witness = Witness::join(&gateway).await;
    let refusal = |out: &Out| if let Out::Refuse(refuse) = out { Some(refuse.clone()) } else { None };
    for (why, encoding, message) in bad_messages() {
        println!("{why}");
        let (mut client, _) = Client::join(&gateway, encoding, "Bug").await;
        let code = if why.starts_with("a name") { "unknown_type" } else { "malformed" };
        let refusals = format!("nearcast_refusals_total{{reason=\"{code}\"}}");
        let before = (counted(&gateway, &refusals).await, counted(&gateway, &closes("bad_messages")).await);
        for _ in 1..UNREADABLE_MAX {
            client.heard.clear();
            client.raw(message.clone()).await;
            let refuse = client.hear(&why, refusal).await;
            assert_eq!((&*refuse.of, &*refuse.code, refuse.text.is_empty()), ("message", code, false), "{why}");
        }
        client.say(&In::Ping(Ping { time: 1.0 })).await;
        client.hear(&why, |out| matches!(out, Out::Pong(_)).then_some(())).await;
        client.raw(message).await;
        assert_eq!(client.bye().await.code, 4505, "{why}: one too many");
        assert_eq!(client.close_code().await, Some(4505), "{why}");
        let after = (counted(&gateway, &refusals).await, counted(&gateway, &closes("bad_messages")).await);
        assert_eq!(after, (before.0 + u64::from(UNREADABLE_MAX), before.1 + 1), "{why}: each is counted");
        witness.is_fine(&why).await;
    }
    witness.is_alone(&gateway).await;
    gateway.drain().await;
}
