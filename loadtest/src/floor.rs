//! The floor: the least that a server of this job can cost on this machine, to hold a gateway against. One thread, frames
//! by hand, a grid; every tick it sends everybody who is near, in full. It keeps no state of what a client holds, checks
//! nothing, logs nothing and counts nothing. Not for use.
//!
//! In one form it reads each socket once a tick, in the other as soon as something came, which is what servers usually do.
//!
//! A client says 8 bytes, x y z in 1/32 m and its facing, as i16; it hears first its number as u16, then every 50 ms
//! a record of 10 bytes (number, x y z, facing) of each other within the radius. Everything little-endian.

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
/// How far each sees, units; a cell is as wide.
const RADIUS: i32 = (RADIUS_M * UNITS_PER_M) as i32;
/// Cells along x and z: all that an i16 can say, and one beyond on either side, so that each has its nine.
const AXIS_CELLS: usize = 2 * (i16::MAX as usize / RADIUS as usize + 2);

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
    let (mut grid, mut out) = (Grid::new(), Vec::new());
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
        tell(&clients, &mut grid, &mut out);
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

/// Everybody in the order of their cells, then of their numbers. A cell is as wide as the radius, so that all who are near
/// are in nine; the three in a row of z lie behind each other.
struct Grid {
    /// Where each cell begins; at the end, how many there are.
    starts: Vec<u32>,
    sorted: Vec<(Place, u16)>,
}

impl Grid {
    fn new() -> Grid {
        Grid { starts: vec![0; AXIS_CELLS * AXIS_CELLS + 1], sorted: Vec::new() }
    }

    fn cell(place: &Place) -> usize {
        let [x, z] = [0, 2].map(|axis| (i32::from(place[axis]).div_euclid(RADIUS) + AXIS_CELLS as i32 / 2) as usize);
        x * AXIS_CELLS + z
    }

    /// Sorts by counting; the numbers ascend.
    fn sort(&mut self, places: impl DoubleEndedIterator<Item = (Place, u16)> + Clone) {
        self.starts.fill(0);
        places.clone().for_each(|(place, _)| self.starts[Grid::cell(&place)] += 1);
        let mut ends = 0;
        for count in &mut self.starts {
            ends += *count;
            *count = ends;
        }
        self.sorted.resize(ends as usize, Default::default());
        for (place, number) in places.rev() {
            let at = &mut self.starts[Grid::cell(&place)];
            *at -= 1;
            self.sorted[*at as usize] = (place, number);
        }
    }

    /// All in the nine cells around a place.
    fn around(&self, place: &Place) -> impl Iterator<Item = &(Place, u16)> {
        let middle = Grid::cell(place);
        let rows = [middle - AXIS_CELLS, middle, middle + AXIS_CELLS];
        rows.into_iter().flat_map(|z| &self.sorted[self.starts[z - 1] as usize..self.starts[z + 2] as usize])
    }
}

fn tell(clients: &[Client], grid: &mut Grid, out: &mut Vec<u8>) {
    let numbered = clients.iter().zip(0..=u16::MAX);
    grid.sort(numbered.filter_map(|(client, number)| Some((client.place?, number))));
    for (number, client) in clients.iter().enumerate() {
        let Some(me) = client.place else { continue };
        out.clear();
        out.extend_from_slice(&[0; 4]);
        for (place, other) in grid.around(&me) {
            let apart = |axis: usize| i32::from(place[axis]) - i32::from(me[axis]);
            let distance2 = apart(0) * apart(0) + apart(1) * apart(1) + apart(2) * apart(2);
            if distance2 <= RADIUS * RADIUS && usize::from(*other) != number {
                let [a, b, c, d] = place.map(i16::to_le_bytes);
                let id = other.to_le_bytes();
                out.extend_from_slice(&[id[0], id[1], a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nine_cells_have_all_who_are_near_in_the_order_of_cells_then_numbers() {
        let ends = [i16::MIN, -RADIUS as i16, -1, 0, 1, RADIUS as i16 - 1, RADIUS as i16, i16::MAX];
        let places: Vec<Place> = ends.iter().flat_map(|x| ends.map(|z| [*x, 0, z, 0])).collect();
        let people: Vec<(Place, u16)> = places.iter().chain(&places).copied().zip(0..).collect();
        let mut grid = Grid::new();
        // The second sorting finds the memory of the first.
        grid.sort(people.iter().copied());
        grid.sort(people[..100].iter().copied());
        let cell = |place: &Place| [0, 2].map(|axis| i32::from(place[axis]).div_euclid(RADIUS));
        for (me, _) in &people {
            let is_around = |other: &Place| (0..2).all(|axis| (cell(other)[axis] - cell(me)[axis]).abs() <= 1);
            let mut expected: Vec<(Place, u16)> = people[..100].to_vec();
            expected.retain(|(other, _)| is_around(other));
            expected.sort_by_key(|(other, number)| (cell(other), *number));
            assert_eq!(grid.around(me).copied().collect::<Vec<_>>(), expected, "{me:?}");
        }
    }
}
