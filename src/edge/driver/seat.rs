//! A session in its place on a connection: it is given one, fed, and what it wants is done.

use std::sync::Arc;

use mio::Token;
use tokio::sync::mpsc;
use tracing::debug;

use super::{Connection, Driver};
use crate::admit::Close;
use crate::codec::Payload;
use crate::codec::message::{Id, In, Out};
use crate::edge::framing::{self, Opcode};
use crate::edge::line::Mailbox;
use crate::edge::world::Hall;
use crate::limits::CLOSE_WITHIN_US;
use crate::metrics::{self, Hop};
use crate::region::Submit;
use crate::session::rest::Rest;
use crate::session::{Effect, Input, Note, Session, ping_payload};

/// A session's entry in the directory. It goes with the session.
struct Presence {
    hall: Arc<Hall>,
    id: Id,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.hall.directory.remove(&self.id);
        metrics::session_count(&self.hall.settings.name, -1);
    }
}

/// A session and its world.
pub(super) struct Seat {
    pub(super) session: Session,
    pub(super) hall: usize,
    presence: Presence,
}

impl Seat {
    /// The number with which its session asked to be one.
    pub(super) fn id(&self) -> Id {
        self.presence.id
    }

    /// Which world's ticks its session need not be fed, and for how long.
    pub(super) fn rest(&self) -> Option<(usize, Rest)> {
        self.session.rest().map(|rest| (self.hall, rest))
    }
}

impl Driver {
    /// Gives a connection its session, if it has none. The first message decides the world; whoever says something else
    /// than hello, or nothing, meets the first world's session, which turns them away.
    pub(super) fn sit(&mut self, index: usize, connection: &mut Connection, first: Option<&[u8]>) {
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
        hall.directory.insert(id, Mailbox::new(self.line.clone(), Token(index)));
        metrics::session_count(&hall.settings.name, 1);
        let presence = Presence { hall: hall.clone(), id };
        let settings = hall.settings.clone();
        let session = Session::new(id, entity, connection.encoding, settings, connection.opened_us);
        connection.seat = Some(Seat { session, hall: at, presence });
    }

    /// Lets the session decide, and does what it says; frames go to `out`.
    pub(super) fn feed(&mut self, connection: &mut Connection, input: Input<'_>) {
        let hop = match input {
            Input::Message(_) => Some(Hop::DecodeAdmit),
            Input::Tick(..) => Some(Hop::ViewEncode),
            Input::Ping(_)
            | Input::Pong(_)
            | Input::Answered(..)
            | Input::Letter(_)
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
            Effect::Send(payload) => self.send(&payload),
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

    fn send(&mut self, payload: &Payload) {
        match payload {
            Payload::Text(text) => framing::write(&mut self.out, Opcode::Text, text.as_bytes()),
            Payload::Binary(bytes) => framing::write(&mut self.out, Opcode::Binary, bytes),
        }
    }

    /// Hands a submission to the world. When its inbox is full, samples are dropped, commands refused, the rest waits.
    fn submit(&mut self, hall: usize, submit: Submit, busy: &mut Vec<u64>) {
        let inbox = &self.halls[hall].inbox;
        match submit {
            Submit::Move { .. } => {
                if let Err(mpsc::error::TrySendError::Full(_)) = inbox.try_send(submit) {
                    metrics::sample_dropped();
                }
            }
            Submit::Command(command) => {
                let n = command.n;
                if inbox.try_send(Submit::Command(command)).is_err() {
                    busy.push(n);
                }
                self.halls[hall].hurry();
            }
            // Without these an avatar would stay for ever, or never be seen. They keep their order.
            Submit::Open { .. }
            | Submit::Abandon { .. }
            | Submit::Confirm { .. }
            | Submit::Profile { .. }
            | Submit::Radius { .. }
            | Submit::Recall { .. }
            | Submit::Gone { .. }
            | Submit::Leave { .. } => {
                let waits = matches!(submit, Submit::Open { .. });
                self.owed.push((hall, submit));
                self.pay();
                if waits {
                    self.halls[hall].hurry();
                }
            }
        }
    }

    pub(super) fn pay(&mut self) {
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

    /// The session learns that its socket is gone, if it has not ended itself.
    pub(super) fn leave(&mut self, connection: &mut Connection) {
        if connection.seat.is_some() {
            self.feed(connection, Input::Gone);
            self.stand_up(connection);
        }
    }

    fn stand_up(&mut self, connection: &mut Connection) {
        if let Some(seat) = connection.seat.take() {
            debug!(session = seat.id(), "session ended");
        }
    }

    /// A mistake of ours has ended a session: its world and its client are told, as far as the socket takes it at once.
    pub(super) fn apologise(&mut self, connection: &mut Connection) {
        let close = Close::Internal;
        metrics::closed(close);
        if let Some(seat) = connection.seat.take() {
            self.owed.extend(seat.session.last_word().map(|last| (seat.hall, last)));
        }
        self.out.clear();
        self.send(&connection.encoding.encode(&Out::Bye(close.bye())));
        framing::write_close(&mut self.out, Some(close.code()), close.text());
        let now_us = self.clock.now_us();
        let _ = connection.unsent.write(&mut connection.socket, &self.out, now_us);
        self.out.clear();
    }
}
