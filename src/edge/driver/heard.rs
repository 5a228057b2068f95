//! Reading: a socket's bytes become frames, and those what a session hears.

use std::io::{ErrorKind, Read};
use std::time::Instant;

use super::{Connection, Driver, Next};
use crate::admit::Close;
use crate::edge::framing::{self, Bounds, Heard, Opcode};
use crate::limits::{CLOSE_WITHIN_US, CONTROLS_BEFORE_HELLO_MAX, FRAGMENTS_MAX, MESSAGE_BYTES_MAX};
use crate::metrics;
use crate::session::Input;

/// So many buffers of one connection are read in one turn.
const READS_MAX: usize = 4;
const BOUNDS: Bounds = Bounds { bytes: MESSAGE_BYTES_MAX, fragments: FRAGMENTS_MAX };

impl Driver {
    /// Reads on where the turn before ended.
    pub(super) fn read_on(&mut self, index: usize, connection: &mut Connection, buffer: &mut [u8]) -> Next {
        // Another connection may have the token by now.
        let to_the_end = connection.unread.take().unwrap_or(false);
        self.read(index, connection, buffer, to_the_end)
    }

    /// Reads what is there, up to a bound: who sends more waits for the next turn.
    pub(super) fn read(
        &mut self,
        index: usize,
        connection: &mut Connection,
        buffer: &mut [u8],
        to_the_end: bool,
    ) -> Next {
        if let Some(waits) = &mut connection.unread {
            *waits |= to_the_end;
            return Next::Stays;
        }
        let mut next = Next::Stays;
        let mut reads = 0;
        while next == Next::Stays {
            match connection.socket.read(buffer) {
                Ok(0) => next = Next::Lost,
                Ok(len) => {
                    self.lap = Instant::now();
                    next = self.heard(index, connection, &mut buffer[..len]);
                    reads += 1;
                    if len < buffer.len() && !to_the_end {
                        break;
                    }
                    if reads == READS_MAX {
                        connection.unread = Some(to_the_end);
                        self.again.push(index);
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => next = Next::Lost,
            }
        }
        next
    }

    pub(super) fn heard(&mut self, index: usize, connection: &mut Connection, bytes: &mut [u8]) -> Next {
        if connection.closing_us.is_some() {
            return Next::Stays;
        }
        let mut framing = std::mem::take(&mut connection.framing);
        let mut within_message = framing.is_within_message();
        let mut whole = false;
        let result = framing.read(bytes, BOUNDS, &mut |heard| {
            // What has begun goes on behind a ping in between, or a client could keep it for ever.
            let is_between = within_message && matches!(heard, Heard::Ping(_) | Heard::Pong(_));
            (whole, within_message) = (whole || !is_between, is_between);
            self.on_heard(index, connection, heard);
            connection.closing_us.is_none()
        });
        connection.begun_us = match connection.begun_us {
            _ if framing.is_between() => None,
            Some(begun_us) if !whole => Some(begun_us),
            Some(_) | None => Some(self.clock.at_us(self.lap)),
        };
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
}
