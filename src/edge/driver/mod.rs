//! One thread that drives many sessions: reads every few ms the sockets that have something, feeds the sessions, and on
//! the tick writes what they say. No task, wake-up or timer per connection; a socket costs one read per message and one
//! write per state.
//!
//! Here is its loop: who is looked at, when, and what becomes of them. `heard` reads, `seat` feeds the sessions and
//! does what they say, `unsent` keeps what sockets do not take, `asked` answers operators. From outside a driver is reached by a
//! [`Line`].

mod asked;
mod heard;
mod seat;
mod unsent;

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tokio::sync::watch;
use tracing::error;

use super::clock::Clock;
use super::framing::Framing;
use super::http::Place;
use super::line::{Command, Line, Newcomer};
use super::pace::Pace;
use super::world::{Hall, Mail};
use crate::admit::Close;
use crate::codec::Encoding;
use crate::codec::message::Id;
use crate::limits::{HELLO_WITHIN_US, MESSAGE_WITHIN_US, MILLI_US, READ_AHEAD_US, READ_BYTES_MAX, READ_EVERY_US};
use crate::metrics::{self, Hop};
use crate::region::{Submit, Tick};
use crate::session::rest::Rest;
use crate::session::{Effect, Input};
use seat::Seat;
use unsent::{Lost, Unsent};

/// Deadlines are looked at this often.
const CARE_US: u64 = 250 * MILLI_US;
/// So many views are computed before their sockets are written.
const BATCH: usize = 64;
/// So many commands are done in one turn of the loop. A turn may have a whole tick's work in it: if each command took
/// one, those who join a crowd would wait for seconds. 64 joins take less than the 10 ms between two readings.
const COMMANDS_A_TURN: usize = 64;

/// Makes a driver: how it is reached, and what runs on its thread.
///
/// # Errors
/// When the system gives no epoll instance.
pub fn open() -> std::io::Result<(Line, Opening)> {
    let (line, commands) = Line::open();
    Ok((line, Opening { poll: Poll::new()?, commands }))
}

/// A driver that has no worlds yet: those must know its line first.
pub struct Opening {
    poll: Poll,
    commands: Receiver<Command>,
}

impl Opening {
    /// Starts its thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self, line: Line, halls: Vec<Arc<Hall>>, clock: Clock) -> std::io::Result<thread::JoinHandle<()>> {
        let driver = self.driver(line, halls, clock);
        thread::Builder::new().name("driver".to_owned()).spawn(move || driver.run())
    }

    fn driver(self, line: Line, halls: Vec<Arc<Hall>>, clock: Clock) -> Driver {
        let ticks = halls.iter().map(|hall| hall.ticks.clone()).collect();
        Driver {
            poll: self.poll,
            commands: self.commands,
            line,
            halls,
            ticks,
            clock,
            connections: Vec::new(),
            free: Vec::new(),
            rests: Vec::new(),
            again: Vec::new(),
            owed: Vec::new(),
            out: Vec::new(),
            outs: vec![Vec::new(); BATCH],
            effects: Vec::new(),
            lap: Instant::now(),
            pace: Pace::default(),
            rows_most: 0,
        }
    }
}

struct Connection {
    socket: TcpStream,
    framing: Framing,
    encoding: Encoding,
    opened_us: u64,
    /// Pings and pongs that came before it had a session.
    controls: u32,
    /// When what is not whole of a message or frame began to come.
    begun_us: Option<u64>,
    _place: Place,
    /// From the first message on; gone when the session is over.
    seat: Option<Seat>,
    unsent: Unsent,
    /// All has been said: what comes is thrown away, until the client goes or this moment.
    closing_us: Option<u64>,
    /// It had more to read than one turn allows; whether up to the last that it says.
    unread: Option<bool>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Stays,
    /// The socket is gone.
    Lost,
}

struct Driver {
    poll: Poll,
    commands: Receiver<Command>,
    line: Line,
    halls: Vec<Arc<Hall>>,
    ticks: Vec<watch::Receiver<Arc<Tick>>>,
    clock: Clock,
    /// By token.
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    /// By token: who has nothing to say for a while, and in which world. Apart from the connections, which need not be
    /// touched for it.
    rests: Vec<Option<(usize, Rest)>>,
    /// Tokens of those who had more to read than one turn allows, see [`Connection::unread`].
    again: Vec<usize>,
    /// What worlds must be told, and had no room for: of each connection its coming and going, and a change a second.
    owed: Vec<(usize, Submit)>,
    /// Frames for the connection at hand.
    out: Vec<u8>,
    /// The same for those of a batch.
    outs: Vec<Vec<u8>>,
    effects: Vec<Effect>,
    /// When the last thing that is timed ended, and the next began: now, for the sessions.
    lap: Instant,
    pace: Pace,
    /// Rows of the largest state of the tick at hand.
    rows_most: usize,
}

impl Driver {
    fn run(mut self) {
        let mut read_us = next_read_us(self.clock.now_us());
        let mut care_us = 0;
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; READ_BYTES_MAX];
        loop {
            let now_us = self.clock.now_us();
            if now_us >= read_us {
                self.read_ready(&mut events, &mut buffer);
                self.pay();
                read_us = next_read_us(now_us);
            }
            if now_us >= care_us {
                care_us = now_us + CARE_US;
                self.care(now_us);
            }
            (0..self.halls.len()).for_each(|hall| self.meet_tick(hall));
            metrics::settle();
            let wait_us = read_us.saturating_sub(self.clock.now_us());
            if !self.heed(Duration::from_micros(wait_us)) {
                return;
            }
        }
    }

    /// Waits for a command, and does it and those that wait behind it. False if that is the end.
    fn heed(&mut self, wait: Duration) -> bool {
        let mut wait = wait;
        for _ in 0..COMMANDS_A_TURN {
            match self.commands.recv_timeout(wait) {
                Ok(Command::Open(newcomer)) => self.take(*newcomer),
                Ok(Command::Tick) => {}
                Ok(Command::Mail(token, session, mail)) => self.mail(token, session, mail),
                Ok(Command::Ask(question)) => self.answer(question),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => break,
            }
            wait = Duration::ZERO;
        }
        true
    }

    // --- connections ----------------------------------------------------------------------------------------------

    fn take(&mut self, newcomer: Newcomer) {
        let Newcomer { socket, mut early, encoding, place } = newcomer;
        let mut socket = TcpStream::from_std(socket);
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.rests.push(None);
            self.connections.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(index), interest) {
            error!(%error, "cannot watch a socket");
            self.free.push(index);
            return;
        }
        let opened_us = self.clock.now_us();
        self.connections[index] = Some(Box::new(Connection {
            socket,
            framing: Framing::default(),
            encoding,
            opened_us,
            controls: 0,
            begun_us: None,
            _place: place,
            seat: None,
            unsent: Unsent::default(),
            closing_us: None,
            unread: None,
        }));
        self.with(index, |driver, connection| driver.heard(index, connection, &mut early));
    }

    /// The time since the last lap ended is this hop's.
    fn lap(&mut self, hop: Hop) {
        let now = Instant::now();
        metrics::hop(hop, now - self.lap);
        self.lap = now;
    }

    /// Does something with a connection, writes what came of it, and ends the connection if it is over. A mistake of
    /// ours ends that connection only.
    fn with(&mut self, index: usize, work: impl FnOnce(&mut Driver, &mut Connection) -> Next) {
        self.lap = Instant::now();
        self.out.clear();
        self.on(index, work);
        self.on(index, Driver::flush);
    }

    /// As [`Driver::with`], but what came of it stays in `out`.
    fn on(&mut self, index: usize, work: impl FnOnce(&mut Driver, &mut Connection) -> Next) {
        let Some(mut connection) = self.connections.get_mut(index).and_then(Option::take) else { return };
        let next = catch_unwind(AssertUnwindSafe(|| work(self, &mut connection)));
        match next {
            Ok(Next::Stays) => {
                self.rests[index] = connection.seat.as_ref().and_then(Seat::rest);
                self.connections[index] = Some(connection);
            }
            Ok(Next::Lost) => {
                if connection.closing_us.is_none() {
                    metrics::lost();
                }
                self.leave(&mut connection);
                self.drop_socket(index, *connection);
            }
            Err(_) => {
                error!("a session made a mistake and is ended");
                self.apologise(&mut connection);
                self.drop_socket(index, *connection);
            }
        }
    }

    /// Hands the socket the frames at hand, behind what it has not taken yet.
    fn flush(&mut self, connection: &mut Connection) -> Next {
        if self.out.is_empty() && connection.unsent.is_empty() {
            return Next::Stays;
        }
        let now_us = self.clock.at_us(self.lap);
        if let Err(Lost) = connection.unsent.write(&mut connection.socket, &self.out, now_us) {
            return Next::Lost;
        }
        self.lap(Hop::SocketWrite);
        if connection.unsent.is_empty() && connection.closing_us.is_some() {
            let _ = connection.socket.shutdown(std::net::Shutdown::Write);
        }
        Next::Stays
    }

    fn drop_socket(&mut self, index: usize, mut connection: Connection) {
        self.rests[index] = None;
        let _ = self.poll.registry().deregister(&mut connection.socket);
        self.free.push(index);
    }

    // --- reading --------------------------------------------------------------------------------------------------

    /// Reads what has come, each socket about once: where bytes come faster than they are read, what is left waits for the
    /// next turn, as do ticks and commands otherwise.
    fn read_ready(&mut self, events: &mut Events, buffer: &mut [u8]) {
        for index in std::mem::take(&mut self.again) {
            self.with(index, |driver, connection| driver.read_on(index, connection, buffer));
        }
        let rounds = self.connections.len() / events.capacity() + 1;
        for _ in 0..rounds {
            if let Err(error) = self.poll.poll(events, Some(Duration::ZERO)) {
                if error.kind() != ErrorKind::Interrupted {
                    error!(%error, "cannot poll");
                }
                return;
            }
            for event in &*events {
                let index = event.token().0;
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    let to_the_end = event.is_read_closed() || event.is_error();
                    self.with(index, |driver, connection| driver.read(index, connection, buffer, to_the_end));
                } else {
                    self.with(index, |_, _| Next::Stays);
                }
            }
            if events.iter().count() < events.capacity() {
                return;
            }
        }
    }

    // --- sessions -------------------------------------------------------------------------------------------------

    fn meet_tick(&mut self, hall: usize) {
        match self.ticks[hall].has_changed() {
            Ok(true) => {
                let tick = self.ticks[hall].borrow_and_update().clone();
                let (begun, rows_max) = (Instant::now(), self.pace.rows(tick.number));
                self.lap = begun;
                self.rows_most = 0;
                self.each(hall, Some((&tick, rows_max)));
                self.pace.took((self.lap - begun).as_micros() as u64, self.rows_most);
                metrics::rows_max(rows_max);
            }
            Ok(false) => {}
            // The world's thread is gone: a mistake of ours, or the end of the process.
            Err(_) => {
                self.lap = Instant::now();
                self.each(hall, None);
            }
        }
    }

    /// Shows all sessions of a world a tick, and how many rows a state may have; without one it sends them away. Those
    /// whose socket takes nothing miss it. The views of a batch are computed first, then its sockets are written: each in
    /// turn would push the other's code and data out of the cache.
    fn each(&mut self, hall: usize, shown: Option<(&Tick, usize)>) {
        let here = |c: &Connection| c.seat.as_ref().is_some_and(|seat| seat.hall == hall) && c.unsent.is_empty();
        let is_here = |index: &usize| self.connections[*index].as_ref().is_some_and(|connection| here(connection));
        let lasts = |rest: Rest| shown.is_some_and(|(tick, _)| rest.lasts(tick));
        let is_spared = |index: &usize| self.rests[*index].is_some_and(|(of, rest)| of != hall || lasts(rest));
        // In this order: who is spared is not touched.
        let all: Vec<usize> = (0..self.connections.len()).filter(|index| !is_spared(index) && is_here(index)).collect();
        let mut outs = std::mem::take(&mut self.outs);
        for batch in all.chunks(BATCH) {
            for (index, out) in batch.iter().zip(&mut outs) {
                self.out.clear();
                self.on(*index, |driver, connection| {
                    driver.feed(
                        connection,
                        shown.map_or(Input::Drain(0), |(tick, rows_max)| Input::Tick(tick, rows_max)),
                    );
                    Next::Stays
                });
                std::mem::swap(&mut self.out, out);
            }
            for (index, out) in batch.iter().zip(&mut outs) {
                std::mem::swap(&mut self.out, out);
                self.on(*index, Driver::flush);
            }
        }
        self.outs = outs;
    }

    fn mail(&mut self, token: Token, session: Id, mail: Mail) {
        self.with(token.0, |driver, connection| {
            if connection.seat.as_ref().is_some_and(|seat| seat.id() == session) {
                driver.feed(
                    connection,
                    match &mail {
                        Mail::Answered(n, answer) => Input::Answered(*n, *answer),
                        Mail::Letter(letter) => Input::Letter(letter),
                        Mail::Drain(after_ms) => Input::Drain(*after_ms),
                    },
                );
            }
            Next::Stays
        });
    }

    // --- deadlines ------------------------------------------------------------------------------------------------

    fn care(&mut self, now_us: u64) {
        for index in 0..self.connections.len() {
            let Some(connection) = &self.connections[index] else { continue };
            let stuck = connection.unsent.is_stuck(now_us);
            let over = connection.closing_us.is_some_and(|until_us| now_us >= until_us);
            let mute = connection.seat.is_none()
                && connection.closing_us.is_none()
                && now_us >= connection.opened_us + HELLO_WITHIN_US;
            let unfinished = connection.closing_us.is_none()
                && connection.begun_us.is_some_and(|begun_us| now_us >= begun_us + MESSAGE_WITHIN_US);
            if stuck || over {
                self.with(index, |_, _| Next::Lost);
            } else if mute {
                self.with(index, |driver, connection| {
                    // The next tick turns it away.
                    driver.sit(index, connection, None);
                    if connection.seat.is_some() { Next::Stays } else { Next::Lost }
                });
            } else if unfinished {
                self.with(index, |driver, connection| {
                    driver.feed(connection, Input::Broken(Close::Unfinished));
                    Next::Stays
                });
            }
        }
    }
}

/// Reads are [`READ_AHEAD_US`] before a multiple of [`READ_EVERY_US`], so that a tick shows what came until just before.
fn next_read_us(now_us: u64) -> u64 {
    ((now_us + READ_AHEAD_US) / READ_EVERY_US + 1) * READ_EVERY_US - READ_AHEAD_US
}

#[cfg(test)]
mod tests;
