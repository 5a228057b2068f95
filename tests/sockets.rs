//! What a driver does with sockets, seen byte by byte: times, ends, and clients that take little.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use nearcast::client::Mirror;
use nearcast::codec::message::{Act, Hello, In, Move, Out, Scope, View};
use nearcast::codec::state::Known;
use nearcast::codec::{Encoding, Heard};
use nearcast::edge::Gateway;
use nearcast::edge::clock::Clock;
use nearcast::edge::framing::{self, Opcode};
use nearcast::limits::{ACTS_BURST, BUDGET_MAX, MILLI_US, SEND_BUFFER_BYTES, TEXT_CHARS_MAX};
use support::{COUNTERS, Client, gateway, metric, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A client without a library, in JSON.
struct Raw {
    socket: TcpStream,
    known: Known,
}

impl Raw {
    /// Connects and says hello, in one segment with the handshake, and reads the answer to that.
    async fn open(gateway: &Gateway, hello: Hello, receive_buffer_bytes: Option<u32>) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes).expect("a size");
        }
        let mut socket = within("a connection", socket.connect(gateway.listen)).await.expect("connects");
        let head = "GET /v1 HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let bytes = [head.as_bytes(), &masked(&In::Hello(hello))].concat();
        socket.write_all(&bytes).await.expect("writes");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(within("an answer", socket.read_u8()).await.expect("reads"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
        Raw { socket, known: Known::default() }
    }

    async fn say(&mut self, message: &In) {
        self.socket.write_all(&masked(message)).await.expect("writes");
    }

    /// So many bytes, each by a read of its own.
    async fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            bytes.push(within("a byte", self.socket.read_u8()).await.expect("reads"));
        }
        bytes
    }

    /// The next message.
    async fn hear(&mut self) -> Heard {
        loop {
            let head = self.bytes(2).await;
            let len = match head[1] {
                126 => u16::from_be_bytes(self.bytes(2).await.try_into().expect("two")).into(),
                127 => u64::from_be_bytes(self.bytes(8).await.try_into().expect("eight")) as usize,
                short => usize::from(short),
            };
            let payload = self.bytes(len).await;
            match head[0] {
                0x81 => return Encoding::Json.decode_out(&mut self.known, &payload).expect("ours"),
                0x89 => {}
                first => panic!("a frame that begins with {first:02x}"),
            }
        }
    }
}

/// A message as a client's frame; the mask is 0.
fn masked(message: &In) -> Vec<u8> {
    let (mut frame, payload) = (Vec::new(), Encoding::Json.encode_in(message));
    framing::write(&mut frame, Opcode::Text, payload.bytes());
    let head = frame.len() - payload.bytes().len();
    frame[1] |= 0x80;
    frame.splice(head..head, [0; 4]);
    frame
}

fn hello() -> Hello {
    Hello { world: "plaza".into(), ..Hello::default() }
}

#[tokio::test]
async fn what_comes_with_the_handshake_has_the_time_at_which_it_came() {
    let _alone = COUNTERS.lock().await;
    let gateway = gateway("").await;
    let clock = Clock::start();
    let hop = |part: &str, hop: &str| format!("nearcast_hop_seconds_{part}{{hop=\"{hop}\"}}");
    let hops = ["decode_admit", "socket_write"];
    let mut before = Vec::new();
    for name in hops {
        before.push((metric(&gateway, &hop("count", name)).await, metric(&gateway, &hop("sum", name)).await));
    }
    let (tries, mut took_us) = (10, 0);
    for _ in 0..tries {
        // Nothing happens for a while, which is what this is about; by another part of a tick each time.
        tokio::time::sleep(Duration::from_millis(27)).await;
        let sent_us = clock.now_us();
        let mut client = Raw::open(&gateway, hello(), None).await;
        let Heard::Other(Out::Welcome(welcome)) = client.hear().await else { panic!("no welcome") };
        let heard_us = clock.now_us();
        let welcomed_us = (welcome.time * 1e3) as u64;
        // This clock and the gateway's were started by the same one, which may have been set between.
        let within_us = sent_us - MILLI_US..=heard_us + MILLI_US;
        assert!(within_us.contains(&welcomed_us), "{welcomed_us} is not in {within_us:?}");
        took_us += heard_us - sent_us;
    }
    for (name, (count, sum)) in hops.into_iter().zip(before) {
        within(name, async { while metric(&gateway, &hop("count", name)).await < count + f64::from(tries) {} }).await;
        let hop_us = (metric(&gateway, &hop("sum", name)).await - sum) * 1e6;
        assert!(hop_us < took_us as f64, "{name}: {hop_us} us in all, when the clients waited {took_us} us");
    }
    gateway.drain().await;
}

#[tokio::test]
async fn a_client_that_closes_is_not_lost() {
    let _alone = COUNTERS.lock().await;
    let gateway = gateway("").await;
    let closes = |reason: &str| format!("nearcast_closes_total{{reason=\"{reason}\"}}");
    for (code, reason) in [(Some(1000), "client"), (Some(1001), "client"), (None, "client"), (Some(0), "lost")] {
        let before = metric(&gateway, &closes(reason)).await;
        let other = if reason == "lost" { "client" } else { "lost" };
        let before_other = metric(&gateway, &closes(other)).await;
        let (mut client, _) = Client::join(&gateway, Encoding::Json, "Ann").await;
        if code != Some(0) {
            let mut frame = Vec::new();
            framing::write_close(&mut frame, code, "");
            frame[1] |= 0x80;
            frame.splice(2..2, [0; 4]);
            client.wire(&frame, true).await;
            assert_eq!(client.close_code().await, code, "the same code comes back");
            assert!(client.ends_well().await, "{code:?}");
        }
        drop(client);
        within(reason, async { while metric(&gateway, &closes(reason)).await == before {} }).await;
        assert_eq!(metric(&gateway, &closes(reason)).await, before + 1.0, "{code:?}: counted once");
        assert_eq!(metric(&gateway, &closes(other)).await, before_other, "{code:?}: as nothing else");
    }
    gateway.drain().await;
}

#[tokio::test]
async fn one_who_takes_a_byte_at_a_time_gets_every_byte_in_order() {
    let gateway = gateway("").await;
    let here = Move { time: 0.0, pos: [0.0; 3], yaw: 0.0, state: Default::default(), seen: None, held_ms: None };
    let wide = Hello { view: Some(View { radius: Some(50.0), budget: Some(BUDGET_MAX) }), ..hello() };
    let mut slow = Raw::open(&gateway, wide.clone(), Some(4_096)).await;
    let mut fast = Raw::open(&gateway, wide, None).await;
    for reader in [&mut slow, &mut fast] {
        let Heard::Other(Out::Welcome(_)) = reader.hear().await else { panic!("no welcome") };
        reader.say(&In::Move(here.clone())).await;
        while !matches!(reader.hear().await, Heard::State(_)) {}
    }
    // Far more than both kernels hold for one who does not read; those who say it hear nothing of each other.
    let (tellers, data) = (8, "😀".repeat(TEXT_CHARS_MAX));
    let mut tellings = Vec::new();
    for i in 0..tellers {
        let narrow = Hello { view: Some(View { radius: Some(1.0), budget: None }), ..hello() };
        let mut teller = Raw::open(&gateway, narrow, None).await;
        let Heard::Other(Out::Welcome(_)) = teller.hear().await else { panic!("no welcome") };
        let pos = [f64::from(i) * 3.0, 0.0, 10.0];
        teller.say(&In::Move(Move { pos, ..here.clone() })).await;
        for n in 1..=u64::from(ACTS_BURST) {
            let (name, scope) = ("tell".into(), Scope::Nearby);
            teller.say(&In::Act(Act { n, to: None, scope, name, data: data.clone(), time: 0.0, pos })).await;
        }
        tellings.push(teller);
    }
    let all = tellers as usize * ACTS_BURST as usize;
    assert!(all * data.len() > 4 * SEND_BUFFER_BYTES, "{all} are too few");
    // By the time that the other has heard all, this one's socket has long been full.
    for reader in [&mut fast, &mut slow] {
        let (mut told, mut last, mut mirror) = (BTreeSet::new(), 0, Mirror::default());
        while told.len() < all {
            match reader.hear().await {
                Heard::Other(Out::Event(event)) => {
                    assert_eq!(event.data, data);
                    assert!(told.is_empty() || event.offset > last, "{} after {last}", event.offset);
                    last = event.offset;
                    told.insert(last);
                }
                Heard::State(delta) if !mirror.is_empty() || delta.full_begin => {
                    mirror.apply(&delta).expect("no contradiction");
                }
                Heard::State(_) | Heard::Other(Out::Cursor(_) | Out::Object(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    gateway.drain().await;
}
