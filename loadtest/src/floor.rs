//! The floor: the least that a server of this job can cost on this machine, to hold a gateway against. One thread, frames
//! by hand, a grid; every tick it sends everybody who is near, in full. It keeps no state of what a client holds, checks
//! nothing, logs nothing and counts nothing. Not for use.
//!
//! In one form it reads each socket once a tick, in the other as soon as something came, which is what servers usually do.
//!
//! A client says 8 bytes, x y z in 1/32 m and its facing, as i16; it hears first its number as u16, then every 50 ms
//! a record of 10 bytes (number, x y z, facing) of each other within the radius. Everything little-endian.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nearcast::limits::{RADIUS_M, TICK_US};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Units of a coordinate in a metre.
pub const UNITS_PER_M: f64 = 32.0;
/// Bytes of what a client says.
pub const SAID_BYTES: usize = 8;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 2 + SAID_BYTES;
/// A request longer than this is none of ours.
const HEAD_BYTES_MAX: usize = 2_048;
/// A frame of a client: two bytes of header, four of mask, what it says.
const FRAME_BYTES: usize = 6 + SAID_BYTES;
/// Sockets that one wait tells of at most.
const EVENTS_MAX: usize = 1_024;

/// When sockets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Each once a tick, whether something came or not.
    OnceATick,
    /// Those that `epoll` tells of.
    PerMessage,
}

type Place = [i16; 4];

struct Client {
    socket: TcpStream,
    place: Option<Place>,
}

/// Serves until the process ends.
///
/// # Errors
/// When the listener fails.
pub fn serve(listener: &TcpListener, reads: Reads) -> Result<()> {
    listener.set_nonblocking(true).context("cannot make the listener non-blocking")?;
    let mut poll = Poll::new().context("cannot make an epoll")?;
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut clients: Vec<Client> = Vec::new();
    let tick = Duration::from_micros(TICK_US);
    let mut next = Instant::now() + tick;
    loop {
        match reads {
            Reads::OnceATick => wait(next),
            Reads::PerMessage => read_until(next, &mut poll, &mut events, &mut clients)?,
        }
        next += tick;
        while let Ok((socket, _)) = listener.accept() {
            let Ok(mut client) = open(socket, clients.len()) else { continue };
            if reads == Reads::PerMessage {
                poll.registry().register(&mut client.socket, Token(clients.len()), Interest::READABLE)?;
            }
            clients.push(client);
        }
        if reads == Reads::OnceATick {
            clients.iter_mut().for_each(read);
        }
        tell(&clients);
    }
}

fn read_until(until: Instant, poll: &mut Poll, events: &mut Events, clients: &mut [Client]) -> Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        match poll.poll(events, Some(left)) {
            Ok(()) => events.iter().for_each(|event| read(&mut clients[event.token().0])),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot wait for sockets"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it has nothing else to do until the next tick")]
fn wait(until: Instant) {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}

/// Takes the upgrade, and tells the client its number.
fn open(mut socket: std::net::TcpStream, number: usize) -> Result<Client> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut byte = [0; 512];
    while !head.ends_with(b"\r\n\r\n") {
        let len = socket.read(&mut byte)?;
        ensure!(len > 0 && head.len() < HEAD_BYTES_MAX, "no request");
        head.extend_from_slice(&byte[..len]);
    }
    let head = String::from_utf8(head)?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let key = fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).context("no key")?.1.trim();
    let accept = derive_accept_key(key.as_bytes());
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
    write!(socket, "{switch}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")?;
    let [low, high] = u16::try_from(number)?.to_le_bytes();
    socket.write_all(&[0x82, 2, low, high])?;
    socket.set_nonblocking(true)?;
    Ok(Client { socket: TcpStream::from_std(socket), place: None })
}

/// Reads what has come, at once and whole: there is more room than anybody says between two reads. The last frame counts;
/// all have the same size, so those before it need no look.
fn read(client: &mut Client) {
    let mut buffer = [0; 64 * FRAME_BYTES];
    match client.socket.read(&mut buffer) {
        Ok(len) if len >= FRAME_BYTES => {
            let frame = &buffer[len - FRAME_BYTES..len];
            let mut said = [0; SAID_BYTES];
            for (i, byte) in said.iter_mut().enumerate() {
                *byte = frame[6 + i] ^ frame[2 + i % 4];
            }
            client.place = Some([0, 2, 4, 6].map(|at| i16::from_le_bytes([said[at], said[at + 1]])));
        }
        Ok(0) => client.place = None,
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => client.place = None,
    }
}

fn tell(clients: &[Client]) {
    let radius = (RADIUS_M * UNITS_PER_M) as i32;
    let cell = |place: &Place| (i32::from(place[0]).div_euclid(radius), i32::from(place[2]).div_euclid(radius));
    let mut grid: HashMap<(i32, i32), Vec<(Place, u16)>> = HashMap::new();
    for (number, client) in clients.iter().enumerate() {
        if let Some(place) = client.place {
            grid.entry(cell(&place)).or_default().push((place, number as u16));
        }
    }
    let mut out = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        let Some(me) = client.place else { continue };
        let (x, z) = cell(&me);
        out.clear();
        out.extend_from_slice(&[0; 4]);
        for cell in (x - 1..=x + 1).flat_map(|x| (z - 1..=z + 1).map(move |z| (x, z))) {
            for (place, other) in grid.get(&cell).into_iter().flatten() {
                let apart = |axis: usize| i32::from(place[axis]) - i32::from(me[axis]);
                let distance2 = apart(0) * apart(0) + apart(1) * apart(1) + apart(2) * apart(2);
                if distance2 <= radius * radius && usize::from(*other) != number {
                    let [a, b, c, d] = place.map(i16::to_le_bytes);
                    let id = other.to_le_bytes();
                    out.extend_from_slice(&[id[0], id[1], a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]);
                }
            }
        }
        let len = out.len() - 4;
        let from = if len < 126 {
            out[2..4].copy_from_slice(&[0x82, len as u8]);
            2
        } else {
            let [high, low] = (len as u16).to_be_bytes();
            out[..4].copy_from_slice(&[0x82, 126, high, low]);
            0
        };
        // A socket that is full misses this tick.
        let _ = (&client.socket).write(&out[from..]);
    }
}

/// Listens.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).with_context(|| format!("cannot listen on {addr}"))
}
