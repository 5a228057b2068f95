//! One thread that drives many sessions: reads every few ms the sockets that have something, feeds the sessions, and on
//! the tick writes what they say. No task, wake-up or timer per connection; a socket costs one read per message and one
//! write per state.
//!
//! From outside a driver is reached by [`Line`]: a bounded channel, on which it also sleeps.

use std::io::{ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tokio::sync::{mpsc, watch};
use tracing::{debug, error};

use super::clock::Clock;
use super::framing::{self, Bounds, Framing, Heard, Opcode};
use super::http::Place;
use super::pace::Pace;
use super::world::{Hall, Mail};
use crate::admit::Close;
use crate::codec::message::{Id, In};
use crate::codec::{Encoding, Payload};
use crate::limits::{
    CLOSE_WITHIN_US, COMMANDS_MAX, CONTROLS_BEFORE_HELLO_MAX, FLUSH_US, FRAGMENTS_MAX, HELLO_WITHIN_US,
    MESSAGE_BYTES_MAX, MILLI_US, READ_AHEAD_US, READ_BYTES_MAX, WRITE_BUFFER_BYTES_MAX, WRITE_WITHIN_US,
};
use crate::metrics::{self, Hop};
use crate::region::{Submit, Tick};
use crate::session::{Effect, Input, Note, Session, ping_payload};

/// Deadlines are looked at this often.
const CARE_US: u64 = 250 * MILLI_US;
/// So many buffers of one connection are read in one turn.
const READS_MAX: usize = 4;
/// So many views are computed before their sockets are written.
const BATCH: usize = 64;
const BOUNDS: Bounds = Bounds { bytes: MESSAGE_BYTES_MAX, fragments: FRAGMENTS_MAX };

/// What a driver is told.
pub enum Command {
    /// A connection has been upgraded.
    Open(Box<Newcomer>),
    /// A world shows a new tick.
    Tick,
    /// Something for one session.
    Mail(Token, Id, Mail),
    /// End at once.
    Stop,
}

/// An upgraded connection.
pub struct Newcomer {
    /// Its socket, not blocking.
    pub socket: std::net::TcpStream,
    /// What came behind the request.
    pub early: Vec<u8>,
    /// As it asked.
    pub encoding: Encoding,
    /// Its place among the connections.
    pub place: Place,
}

/// How a driver is reached.
#[derive(Clone)]
pub struct Line(SyncSender<Command>);

impl Line {
    /// Hands over a command. Gives it back if too many wait, or the driver is gone.
    pub fn tell(&self, command: Command) -> Result<(), Command> {
        self.0.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) | TrySendError::Disconnected(command) => command,
        })
    }
}

/// How a session is reached.
#[derive(Clone)]
pub struct Mailbox {
    line: Line,
    token: Token,
}

impl Mailbox {
    /// Whether the mail is on its way.
    #[must_use]
    pub fn send(&self, session: Id, mail: Mail) -> bool {
        self.line.tell(Command::Mail(self.token, session, mail)).is_ok()
    }
}

/// Makes a driver: how it is reached, and what runs on its thread.
///
/// # Errors
/// When the system gives no epoll instance.
pub fn open() -> std::io::Result<(Line, Opening)> {
    let (commands_in, commands) = sync_channel(COMMANDS_MAX);
    Ok((Line(commands_in), Opening { poll: Poll::new()?, commands }))
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
        let ticks = halls.iter().map(|hall| hall.ticks.clone()).collect();
        let driver = Driver {
            poll: self.poll,
            commands: self.commands,
            line,
            halls,
            ticks,
            clock,
            connections: Vec::new(),
            free: Vec::new(),
            again: Vec::new(),
            owed: Vec::new(),
            buffer: vec![0; READ_BYTES_MAX],
            out: Vec::new(),
            outs: vec![Vec::new(); BATCH],
            effects: Vec::new(),
            lap: Instant::now(),
            pace: Pace::default(),
            rows_most: 0,
        };
        thread::Builder::new().name("driver".to_owned()).spawn(move || driver.run())
    }
}

/// A session's entry in the directory. It goes with the session, also when that ends by a mistake of ours.
struct Presence {
    hall: Arc<Hall>,
    id: Id,
    entity: Id,
    /// The session has said the last thing it had to say to the world.
    ended: bool,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.hall.directory.remove(&self.id);
        metrics::session_count(&self.hall.settings.name, -1);
        if !self.ended {
            metrics::closed(Close::Internal);
            let _ = self.hall.inbox.try_send(Submit::Gone { entity: self.entity });
        }
    }
}

/// A session and its world.
struct Seat {
    session: Session,
    hall: usize,
    presence: Presence,
}

struct Connection {
    socket: TcpStream,
    framing: Framing,
    encoding: Encoding,
    opened_us: u64,
    /// Pings and pongs that came before it had a session.
    controls: u32,
    _place: Place,
    /// From the first message on; gone when the session is over.
    seat: Option<Seat>,
    /// What the socket has not taken, and since when.
    unsent: Vec<u8>,
    stuck_us: u64,
    /// All has been said: what comes is thrown away, until the client goes or this moment.
    closing_us: Option<u64>,
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
    /// Tokens of those who had more to read than one turn allows.
    again: Vec<usize>,
    /// What worlds must be told, and had no room for.
    owed: Vec<(usize, Submit)>,
    buffer: Vec<u8>,
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
        loop {
            let now_us = self.clock.now_us();
            if now_us >= read_us {
                self.read_ready(&mut events);
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
            match self.commands.recv_timeout(Duration::from_micros(wait_us)) {
                Ok(Command::Open(newcomer)) => self.take(*newcomer),
                Ok(Command::Tick) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Mail(token, session, mail)) => self.mail(token, session, mail),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    // --- connections ----------------------------------------------------------------------------------------------

    fn take(&mut self, newcomer: Newcomer) {
        let Newcomer { socket, mut early, encoding, place } = newcomer;
        let mut socket = TcpStream::from_std(socket);
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
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
            _place: place,
            seat: None,
            unsent: Vec::new(),
            stuck_us: 0,
            closing_us: None,
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
            Ok(Next::Stays) => self.connections[index] = Some(connection),
            Ok(Next::Lost) => {
                if connection.closing_us.is_none() {
                    metrics::lost();
                }
                self.leave(&mut connection);
                self.drop_socket(index, *connection);
            }
            Err(_) => {
                error!("a session made a mistake and is ended");
                self.effects = Vec::new();
                self.drop_socket(index, *connection);
            }
        }
    }

    fn drop_socket(&mut self, index: usize, mut connection: Connection) {
        let _ = self.poll.registry().deregister(&mut connection.socket);
        self.free.push(index);
    }

    /// The session learns that its socket is gone, if it has not ended itself.
    fn leave(&mut self, connection: &mut Connection) {
        if connection.seat.is_some() {
            self.feed(connection, Input::Gone);
            self.stand_up(connection);
        }
    }

    fn stand_up(&mut self, connection: &mut Connection) {
        if let Some(mut seat) = connection.seat.take() {
            debug!(session = seat.presence.id, "session ended");
            seat.presence.ended = true;
        }
    }

    // --- reading --------------------------------------------------------------------------------------------------

    fn read_ready(&mut self, events: &mut Events) {
        for index in std::mem::take(&mut self.again) {
            self.with(index, |driver, connection| driver.read(index, connection, false));
        }
        loop {
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
                    self.with(index, |driver, connection| driver.read(index, connection, to_the_end));
                } else {
                    self.with(index, |_, _| Next::Stays);
                }
            }
            if events.iter().count() < events.capacity() {
                return;
            }
        }
    }

    /// Reads what is there, up to a bound: who sends more waits for the next turn.
    fn read(&mut self, index: usize, connection: &mut Connection, to_the_end: bool) -> Next {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut next = Next::Stays;
        let mut reads = 0;
        while next == Next::Stays {
            match connection.socket.read(&mut buffer) {
                Ok(0) => next = Next::Lost,
                Ok(len) => {
                    self.lap = Instant::now();
                    next = self.heard(index, connection, &mut buffer[..len]);
                    reads += 1;
                    if len < buffer.len() && !to_the_end {
                        break;
                    }
                    if reads == READS_MAX {
                        self.again.push(index);
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => next = Next::Lost,
            }
        }
        self.buffer = buffer;
        next
    }

    fn heard(&mut self, index: usize, connection: &mut Connection, bytes: &mut [u8]) -> Next {
        if connection.closing_us.is_some() {
            return Next::Stays;
        }
        let mut framing = std::mem::take(&mut connection.framing);
        let result = framing.read(bytes, BOUNDS, &mut |heard| {
            self.on_heard(index, connection, heard);
            connection.closing_us.is_none()
        });
        connection.framing = framing;
        if let Err(broken) = result
            && connection.closing_us.is_none()
        {
            self.sit(index, connection, None);
            self.feed(connection, Input::Broken(broken.close()));
        }
        Next::Stays
    }

    fn on_heard(&mut self, index: usize, connection: &mut Connection, heard: Heard<'_>) {
        match heard {
            Heard::Text(bytes) | Heard::Binary(bytes) => {
                self.sit(index, connection, Some(bytes));
                self.feed(connection, Input::Message(bytes));
            }
            Heard::Ping(_) | Heard::Pong(_) if connection.seat.is_none() => {
                connection.controls += 1;
                if connection.controls > CONTROLS_BEFORE_HELLO_MAX {
                    self.sit(index, connection, None);
                    self.feed(connection, Input::Broken(Close::Rate));
                } else if let Heard::Ping(payload) = heard {
                    framing::write(&mut self.out, Opcode::Pong, payload);
                }
            }
            Heard::Pong(payload) => self.feed(connection, Input::Pong(payload)),
            Heard::Ping(payload) => self.feed(connection, Input::Ping(payload)),
            Heard::Close(code) => {
                metrics::left();
                self.leave(connection);
                framing::write_close(&mut self.out, code, "");
                connection.closing_us = Some(self.clock.now_us() + CLOSE_WITHIN_US);
            }
        }
    }

    /// Gives a connection its session, if it has none. The first message decides the world; whoever says something else
    /// than hello, or nothing, meets the first world's session, which turns them away.
    fn sit(&mut self, index: usize, connection: &mut Connection, first: Option<&[u8]>) {
        if connection.seat.is_some() {
            return;
        }
        let world = first.and_then(|bytes| match connection.encoding.decode(bytes) {
            Ok(In::Hello(hello)) => Some(hello.world),
            Ok(_) | Err(_) => None,
        });
        let named = self.halls.iter().position(|hall| world.as_ref() == Some(&hall.settings.name));
        let at = named.unwrap_or(0);
        let hall = &self.halls[at];
        let (Some(id), Some(entity)) = (hall.ids.take(), hall.ids.take()) else { return };
        hall.directory.insert(id, Mailbox { line: self.line.clone(), token: Token(index) });
        metrics::session_count(&hall.settings.name, 1);
        let presence = Presence { hall: hall.clone(), id, entity, ended: false };
        let settings = hall.settings.clone();
        let session = Session::new(id, entity, connection.encoding, settings, connection.opened_us);
        connection.seat = Some(Seat { session, hall: at, presence });
    }

    // --- sessions -------------------------------------------------------------------------------------------------

    fn meet_tick(&mut self, hall: usize) {
        match self.ticks[hall].has_changed() {
            Ok(true) => {
                let tick = self.ticks[hall].borrow_and_update().clone();
                let (begun, rows_max) = (Instant::now(), self.pace.rows(tick.number));
                self.lap = begun;
                self.rows_most = 0;
                self.each(hall, &|| Input::Tick(&tick, rows_max));
                self.pace.took((self.lap - begun).as_micros() as u64, self.rows_most);
                metrics::rows_max(rows_max);
            }
            Ok(false) => {}
            // The world's thread is gone: a mistake of ours, or the end of the process.
            Err(_) => {
                self.lap = Instant::now();
                self.each(hall, &|| Input::Drain(0));
            }
        }
    }

    /// Feeds all sessions of a world; those whose socket takes nothing miss it. The views of a batch are computed first,
    /// then its sockets are written: each in turn would push the other's code and data out of the cache.
    fn each<'a>(&mut self, hall: usize, input: &dyn Fn() -> Input<'a>) {
        let here = |c: &Connection| c.seat.as_ref().is_some_and(|seat| seat.hall == hall) && c.unsent.is_empty();
        let is_here = |c: &Option<Box<Connection>>| c.as_ref().is_some_and(|connection| here(connection));
        let all: Vec<usize> = (0..self.connections.len()).filter(|index| is_here(&self.connections[*index])).collect();
        let mut outs = std::mem::take(&mut self.outs);
        for batch in all.chunks(BATCH) {
            for (index, out) in batch.iter().zip(&mut outs) {
                self.out.clear();
                self.on(*index, |driver, connection| {
                    driver.feed(connection, input());
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
            if connection.seat.as_ref().is_some_and(|seat| seat.presence.id == session) {
                driver.feed(
                    connection,
                    match mail {
                        Mail::Answered(n, answer) => Input::Answered(n, answer),
                        Mail::Drain(after_ms) => Input::Drain(after_ms),
                    },
                );
            }
            Next::Stays
        });
    }

    /// Lets the session decide, and does what it says; frames go to `out`.
    fn feed(&mut self, connection: &mut Connection, input: Input<'_>) {
        let hop = match input {
            Input::Message(_) => Some(Hop::DecodeAdmit),
            Input::Tick(..) => Some(Hop::ViewEncode),
            Input::Ping(_)
            | Input::Pong(_)
            | Input::Answered(..)
            | Input::Busy(_)
            | Input::Drain(_)
            | Input::Broken(_)
            | Input::Gone => None,
        };
        let Some(seat) = &mut connection.seat else { return };
        let mut effects = std::mem::take(&mut self.effects);
        let now_us = self.clock.at_us(self.lap);
        seat.session.on(input, now_us, &mut effects);
        if let Some(hop) = hop {
            self.lap(hop);
        }
        let hall = seat.hall;
        let mut busy = Vec::new();
        let mut close = None;
        for effect in effects.drain(..) {
            self.perform(effect, hall, &mut busy, &mut close);
        }
        for n in busy {
            seat.session.on(Input::Busy(n), now_us, &mut effects);
        }
        for effect in effects.drain(..) {
            self.perform(effect, hall, &mut Vec::new(), &mut close);
        }
        self.effects = effects;
        if let Some(close) = close {
            metrics::closed(close);
            framing::write_close(&mut self.out, Some(close.code()), close.text());
            connection.closing_us = Some(self.clock.now_us() + CLOSE_WITHIN_US);
            self.stand_up(connection);
        }
    }

    fn perform(&mut self, effect: Effect, hall: usize, busy: &mut Vec<u64>, close: &mut Option<Close>) {
        match effect {
            Effect::Send(Payload::Text(text)) => framing::write(&mut self.out, Opcode::Text, text.as_bytes()),
            Effect::Send(Payload::Binary(bytes)) => framing::write(&mut self.out, Opcode::Binary, &bytes),
            Effect::Ping(number) => framing::write(&mut self.out, Opcode::Ping, &ping_payload(number)),
            Effect::Pong(payload) => framing::write(&mut self.out, Opcode::Pong, &payload),
            Effect::Submit(submit) => self.submit(hall, submit, busy),
            Effect::Note(note) => {
                if let Note::State(state) = &note {
                    self.rows_most = self.rows_most.max(state.updates);
                }
                metrics::noted(&note);
            }
            Effect::Close(why) => *close = Some(why),
        }
    }

    /// Hands a submission to the world. When its inbox is full, samples are dropped, actions refused, the rest waits.
    fn submit(&mut self, hall: usize, submit: Submit, busy: &mut Vec<u64>) {
        let inbox = &self.halls[hall].inbox;
        match submit {
            Submit::Move { .. } => {
                if let Err(mpsc::error::TrySendError::Full(_)) = inbox.try_send(submit) {
                    metrics::sample_dropped();
                }
            }
            Submit::Act(action) => {
                let n = action.n;
                if inbox.try_send(Submit::Act(action)).is_err() {
                    busy.push(n);
                }
            }
            // Without these an avatar would stay for ever, or never be seen. They keep their order.
            Submit::Open { .. }
            | Submit::Profile { .. }
            | Submit::Radius { .. }
            | Submit::Gone { .. }
            | Submit::Leave { .. } => {
                self.owed.push((hall, submit));
                self.pay();
            }
        }
    }

    fn pay(&mut self) {
        let mut full = false;
        let halls = &self.halls;
        let mut owed = std::mem::take(&mut self.owed).into_iter();
        for (hall, submit) in owed.by_ref() {
            if let Err(mpsc::error::TrySendError::Full(submit)) = halls[hall].inbox.try_send(submit) {
                self.owed.push((hall, submit));
                full = true;
                break;
            }
        }
        if full {
            self.owed.extend(owed);
        }
    }

    // --- writing --------------------------------------------------------------------------------------------------

    /// Hands the socket what it has not taken yet, and the frames at hand.
    fn flush(&mut self, connection: &mut Connection) -> Next {
        let waited = !connection.unsent.is_empty();
        if waited {
            connection.unsent.extend_from_slice(&self.out);
        }
        let mut bytes: &[u8] = if waited { &connection.unsent } else { &self.out };
        if bytes.is_empty() {
            return Next::Stays;
        }
        while !bytes.is_empty() {
            match connection.socket.write(bytes) {
                Ok(0) => return Next::Lost,
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::Lost,
            }
        }
        let now = Instant::now();
        metrics::hop(Hop::SocketWrite, now - self.lap);
        self.lap = now;
        let left = bytes.len();
        if left > WRITE_BUFFER_BYTES_MAX {
            return Next::Lost;
        }
        if waited {
            let sent = connection.unsent.len() - left;
            if sent > 0 {
                connection.stuck_us = self.clock.now_us();
            }
            connection.unsent.drain(..sent);
            if left == 0 {
                connection.unsent = Vec::new();
            }
        } else if left > 0 {
            connection.unsent.extend_from_slice(&self.out[self.out.len() - left..]);
            connection.stuck_us = self.clock.now_us();
        }
        if left == 0 && connection.closing_us.is_some() {
            let _ = connection.socket.shutdown(std::net::Shutdown::Write);
        }
        Next::Stays
    }

    // --- deadlines ------------------------------------------------------------------------------------------------

    fn care(&mut self, now_us: u64) {
        for index in 0..self.connections.len() {
            let Some(connection) = &self.connections[index] else { continue };
            let stuck = !connection.unsent.is_empty() && now_us >= connection.stuck_us + WRITE_WITHIN_US;
            let over = connection.closing_us.is_some_and(|until_us| now_us >= until_us);
            let mute = connection.seat.is_none()
                && connection.closing_us.is_none()
                && now_us >= connection.opened_us + HELLO_WITHIN_US;
            if stuck || over {
                self.with(index, |_, _| Next::Lost);
            } else if mute {
                self.with(index, |driver, connection| {
                    // The next tick turns it away.
                    driver.sit(index, connection, None);
                    if connection.seat.is_some() { Next::Stays } else { Next::Lost }
                });
            }
        }
    }
}

/// Reads are [`READ_AHEAD_US`] before the world's next step, so that a tick shows what came until just before.
fn next_read_us(now_us: u64) -> u64 {
    ((now_us + READ_AHEAD_US) / FLUSH_US + 1) * FLUSH_US - READ_AHEAD_US
}
