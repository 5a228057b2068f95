//! A driver by itself: its turns, and a mistake of ours in one session, which is that session's alone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::edge::http::Shared;

/// A connection of a driver, as its client has it.
fn connect(line: &Line, shared: &Arc<Shared>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let (socket, _) = listener.accept().expect("accepts");
    socket.set_nonblocking(true).expect("an option");
    let place = Place::take(shared).expect("one is free");
    let newcomer = Newcomer { socket, early: Vec::new(), encoding: Encoding::Json, place };
    assert!(line.tell(Command::Open(Box::new(newcomer))).is_ok());
    client
}

/// The bytes of a client's frame, masked with zeros.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

#[test]
fn a_mistake_ends_its_own_session_only_and_the_client_is_told() {
    let (line, opening) = open().expect("an epoll instance");
    // Without any world a session cannot be made: a panic where sockets are read.
    let thread = opening.start(line.clone(), Vec::new(), Clock::start()).expect("a thread");
    let shared = Arc::new(Shared::new(Vec::new(), vec![line.clone()]));
    let (mut other, mut broken) = (connect(&line, &shared), connect(&line, &shared));
    broken.write_all(&frame(1, b"{}")).expect("writes");
    let mut told = Vec::new();
    broken.read_to_end(&mut told).expect("all that is told");
    let end = [&Close::Internal.code().to_be_bytes(), Close::Internal.text().as_bytes()].concat();
    assert!(told.ends_with(&end), "{}", String::from_utf8_lossy(&told));
    assert!(told.windows(5).any(|bytes| bytes == b"\"bye\""), "{}", String::from_utf8_lossy(&told));
    other.write_all(&frame(9, b"there?")).expect("writes");
    let mut pong = [0; 8];
    other.read_exact(&mut pong).expect("a pong");
    assert_eq!(pong, *b"\x8a\x06there?");
    assert!(line.tell(Command::Stop).is_ok());
    thread.join().expect("the driver lives to its end");
}

#[test]
fn one_turn_does_all_commands_that_wait_up_to_a_bound() {
    let (line, opening) = open().expect("an epoll instance");
    let mut driver = opening.driver(line.clone(), Vec::new(), Clock::start());
    let shared = Arc::new(Shared::new(Vec::new(), vec![line.clone()]));
    let _clients: Vec<TcpStream> = (0..=COMMANDS_A_TURN).map(|_| connect(&line, &shared)).collect();
    assert!(driver.heed(Duration::ZERO));
    assert_eq!(driver.connections.len(), COMMANDS_A_TURN);
    assert!(line.tell(Command::Stop).is_ok());
    assert!(!driver.heed(Duration::ZERO), "the last one, and then the end");
    assert_eq!(driver.connections.len(), COMMANDS_A_TURN + 1);
}
