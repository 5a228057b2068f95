//! How a driver is reached from outside: a bounded channel, on which it also sleeps.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use mio::Token;
use tokio::sync::oneshot;

use super::http::Place;
use super::world::Mail;
use crate::codec::Encoding;
use crate::codec::message::Id;
use crate::limits::COMMANDS_MAX;
use crate::session::account::{Account, Regard};

/// What a driver is told.
pub enum Command {
    /// A connection has been upgraded.
    Open(Box<Newcomer>),
    /// A world shows a new tick.
    Tick,
    /// Something for one session.
    Mail(Token, Id, Mail),
    /// Something that operators want to know.
    Ask(Question),
    /// End at once.
    Stop,
}

/// What operators want to know of the sessions of a world, which is named by its place among the halls.
pub enum Question {
    /// All of them.
    Accounts {
        /// Which world.
        hall: usize,
        /// Who wants to know.
        reply: oneshot::Sender<Vec<Account>>,
    },
    /// How one sees an avatar; none if it is not here.
    Regard {
        /// Which world.
        hall: usize,
        /// The avatar of the session.
        viewer: Id,
        /// The avatar that it may see.
        entity: Id,
        /// Who wants to know.
        reply: oneshot::Sender<Option<Regard>>,
    },
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
    /// A line, and where its driver hears what it is told.
    #[must_use]
    pub fn open() -> (Line, Receiver<Command>) {
        let (commands_in, commands) = sync_channel(COMMANDS_MAX);
        (Line(commands_in), commands)
    }

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
    /// Of the session of a connection of that driver.
    #[must_use]
    pub fn new(line: Line, token: Token) -> Mailbox {
        Mailbox { line, token }
    }

    /// Whether the mail is on its way.
    #[must_use]
    pub fn send(&self, session: Id, mail: Mail) -> bool {
        self.line.tell(Command::Mail(self.token, session, mail)).is_ok()
    }
}
