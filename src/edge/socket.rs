//! One task per connection: reads the socket, lets the session decide, does what it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::clock::Clock;
use super::world::{Hall, Mail};
use crate::admit::Close;
use crate::codec::message::{Id, In};
use crate::codec::{Encoding, Payload};
use crate::limits::{CLOSE_WITHIN_S, HELLO_WITHIN_US, MAILBOX_MAX, WRITE_WITHIN_S};
use crate::metrics::{self, Hop};
use crate::region::Submit;
use crate::session::{Effect, Input, Session, ping_payload};

/// Why a connection's loop ends.
enum End {
    /// The session closed it, and said so.
    Closed,
    /// The socket is gone.
    Lost,
}

/// Serves one connection until it ends. The first message decides the world.
pub async fn serve(mut socket: WebSocket, encoding: Encoding, halls: &[Arc<Hall>], clock: Clock) {
    let opened_us = clock.now_us();
    let first = match timeout(Duration::from_micros(HELLO_WITHIN_US), first_data(&mut socket)).await {
        Ok(Some(first)) => Some(first),
        Ok(None) => return metrics::lost(),
        Err(_) => None,
    };
    let named = |message: &Message| match encoding.decode(&data(message)?) {
        Ok(In::Hello(hello)) => halls.iter().find(|hall| hall.settings.name == hello.world),
        Ok(_) | Err(_) => None,
    };
    // Whoever says something else meets the first world's session, which turns them away.
    let hall = first.as_ref().and_then(|first| first.as_ref().ok()).and_then(named).or(halls.first());
    let Some(hall) = hall else { return };
    let (Some(id), Some(entity)) = (hall.ids.take(), hall.ids.take()) else { return };
    let (mailbox, mail) = mpsc::channel(MAILBOX_MAX);
    let mut presence = Presence::new(hall, id, entity, mailbox);
    let session = Session::new(id, entity, encoding, hall.settings.clone(), opened_us);
    let mut connection = Connection { socket, session, hall, clock, effects: Vec::new() };
    let end = connection.run(first, mail).await;
    if let End::Lost = end {
        metrics::lost();
        let _ = connection.feed(Input::Gone).await;
    }
    presence.ended = true;
    debug!(session = id, "session ended");
}

/// The first message that carries data, or what is wrong with it; `None` if the socket ends before one comes.
async fn first_data(socket: &mut WebSocket) -> Option<Result<Message, axum::Error>> {
    loop {
        match socket.recv().await? {
            Ok(message) if data(&message).is_none() => {}
            first => return Some(first),
        }
    }
}

/// A session's entry in the directory. It goes with the session, also when that ends by a mistake of ours.
struct Presence<'a> {
    hall: &'a Hall,
    id: Id,
    entity: Id,
    /// The session has said the last thing it had to say to the world.
    ended: bool,
}

impl<'a> Presence<'a> {
    fn new(hall: &'a Hall, id: Id, entity: Id, mailbox: mpsc::Sender<Mail>) -> Presence<'a> {
        hall.directory.insert(id, mailbox);
        metrics::session_count(&hall.settings.name, 1);
        Presence { hall, id, entity, ended: false }
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.hall.directory.remove(&self.id);
        metrics::session_count(&self.hall.settings.name, -1);
        if !self.ended {
            metrics::closed(Close::Internal);
            let _ = self.hall.inbox.try_send(Submit::Gone { entity: self.entity });
        }
    }
}

/// The bytes of a message that carries some.
fn data(message: &Message) -> Option<Bytes> {
    match message {
        Message::Text(text) => Some(text.clone().into()),
        Message::Binary(bytes) => Some(bytes.clone()),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => None,
    }
}

struct Connection<'a> {
    socket: WebSocket,
    session: Session,
    hall: &'a Hall,
    clock: Clock,
    effects: Vec<Effect>,
}

impl Connection<'_> {
    async fn run(&mut self, first: Option<Result<Message, axum::Error>>, mut mail: mpsc::Receiver<Mail>) -> End {
        let mut ticks = self.hall.ticks.clone();
        if let Some(first) = first
            && let Err(end) = self.on_received(first).await
        {
            return end;
        }
        loop {
            let step = tokio::select! {
                message = self.socket.recv() => match message {
                    Some(received) => self.on_received(received).await,
                    None => Err(End::Lost),
                },
                changed = ticks.changed() => match changed {
                    Ok(()) => {
                        let tick = ticks.borrow_and_update().clone();
                        self.feed(Input::Tick(&tick)).await
                    }
                    // The world's task is gone: a mistake of ours, or the end of the process.
                    Err(_) => self.feed(Input::Drain(0)).await,
                },
                Some(mail) = mail.recv() => match mail {
                    Mail::Answered(n, answer) => self.feed(Input::Answered(n, answer)).await,
                    Mail::Drain(after_ms) => self.feed(Input::Drain(after_ms)).await,
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn on_received(&mut self, received: Result<Message, axum::Error>) -> Result<(), End> {
        match received {
            Ok(Message::Text(text)) => self.feed(Input::Message(text.as_bytes())).await,
            Ok(Message::Binary(bytes)) => self.feed(Input::Message(&bytes)).await,
            Ok(Message::Pong(payload)) => self.feed(Input::Pong(&payload)).await,
            Ok(Message::Ping(_)) => Ok(()),
            Ok(Message::Close(_)) => Err(End::Lost),
            Err(error) => self.on_error(&error).await,
        }
    }

    async fn on_error(&mut self, error: &axum::Error) -> Result<(), End> {
        // tungstenite says so in words only, through two layers of boxes.
        if error.to_string().contains("too long") || error.to_string().contains("too large") {
            return self.feed(Input::TooBig).await;
        }
        Err(End::Lost)
    }

    /// Lets the session decide, and does what it says.
    async fn feed(&mut self, input: Input<'_>) -> Result<(), End> {
        let hop = match input {
            Input::Message(_) => Some(Hop::DecodeAdmit),
            Input::Tick(_) => Some(Hop::ViewEncode),
            Input::Pong(_) | Input::Answered(..) | Input::Busy(_) | Input::Drain(_) | Input::TooBig | Input::Gone => {
                None
            }
        };
        let started = Instant::now();
        let mut effects = std::mem::take(&mut self.effects);
        self.session.on(input, self.clock.now_us(), &mut effects);
        if let Some(hop) = hop {
            metrics::hop(hop, started.elapsed());
        }
        let mut done = Ok(());
        let mut busy = Vec::new();
        for effect in effects.drain(..) {
            if done.is_ok() || matches!(effect, Effect::Submit(_)) {
                let result = self.perform(effect, &mut busy).await;
                done = done.and(result);
            }
        }
        for n in busy {
            self.session.on(Input::Busy(n), self.clock.now_us(), &mut effects);
        }
        for effect in effects.drain(..) {
            done = done.and(self.perform(effect, &mut Vec::new()).await);
        }
        self.effects = effects;
        done
    }

    async fn perform(&mut self, effect: Effect, busy: &mut Vec<u64>) -> Result<(), End> {
        match effect {
            Effect::Send(Payload::Text(text)) => self.write(Message::Text(text.into())).await,
            Effect::Send(Payload::Binary(bytes)) => self.write(Message::Binary(bytes)).await,
            Effect::Ping(number) => self.write(Message::Ping(Bytes::copy_from_slice(&ping_payload(number)))).await,
            Effect::Submit(submit) => {
                submit_to(self.hall, submit, busy).await;
                Ok(())
            }
            Effect::Note(note) => {
                metrics::noted(&note);
                Ok(())
            }
            Effect::Close(close) => {
                metrics::closed(close);
                let frame = CloseFrame { code: close.code(), reason: close.text().into() };
                let _ = self.write(Message::Close(Some(frame))).await;
                // Up to its own close frame: what is left unread would reset the connection, and our last words with it.
                let until_close = async { while let Some(Ok(_)) = self.socket.recv().await {} };
                let _ = timeout(Duration::from_secs(CLOSE_WITHIN_S), until_close).await;
                Err(End::Closed)
            }
        }
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        let started = Instant::now();
        match timeout(Duration::from_secs(WRITE_WITHIN_S), self.socket.send(message)).await {
            Ok(Ok(())) => {
                metrics::hop(Hop::SocketWrite, started.elapsed());
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(End::Lost),
        }
    }
}

/// Hands a submission to the world. When its inbox is full, samples are dropped, actions refused, the rest waits.
async fn submit_to(hall: &Hall, submit: Submit, busy: &mut Vec<u64>) {
    let Err(mpsc::error::TrySendError::Full(submit)) = hall.inbox.try_send(submit) else { return };
    match submit {
        Submit::Move { .. } => metrics::sample_dropped(),
        Submit::Act(action) => busy.push(action.n),
        // Without these an avatar would stay for ever, or never be seen.
        Submit::Open { .. }
        | Submit::Profile { .. }
        | Submit::Radius { .. }
        | Submit::Gone { .. }
        | Submit::Leave { .. } => {
            let _ = hall.inbox.send(submit).await;
        }
    }
}
