//! What a socket has not taken yet. Pure but for the writer that it is given.

use std::io::{ErrorKind, Write};

use crate::limits::{WRITE_BUFFER_BYTES_MAX, WRITE_WITHIN_US};

/// Bytes that wait for a socket, and since when it has taken none.
#[derive(Debug, Default)]
pub struct Unsent {
    bytes: Vec<u8>,
    since_us: u64,
}

/// The socket is broken, or its client takes far too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl Unsent {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the socket has taken nothing for too long.
    #[must_use]
    pub fn is_stuck(&self, now_us: u64) -> bool {
        !self.bytes.is_empty() && now_us >= self.since_us + WRITE_WITHIN_US
    }

    /// Hands the socket what waits, then `frames`, and keeps what it does not take.
    ///
    /// # Errors
    /// When the socket is broken, or more waits than [`WRITE_BUFFER_BYTES_MAX`].
    pub fn write(&mut self, socket: &mut impl Write, frames: &[u8], now_us: u64) -> Result<(), Lost> {
        if self.bytes.is_empty() {
            let sent = write_some(socket, frames)?;
            self.bytes.extend_from_slice(&frames[sent..]);
            self.since_us = now_us;
        } else {
            self.bytes.extend_from_slice(frames);
            let sent = write_some(socket, &self.bytes)?;
            self.bytes.drain(..sent);
            if sent > 0 {
                self.since_us = now_us;
            }
            if self.bytes.is_empty() {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() > WRITE_BUFFER_BYTES_MAX { Err(Lost) } else { Ok(()) }
    }
}

/// How many of the bytes the socket has taken.
fn write_some(socket: &mut impl Write, bytes: &[u8]) -> Result<usize, Lost> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
            Ok(0) => return Err(Lost),
            Ok(len) => sent += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Lost),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A socket whose kernel has room for so many bytes.
    #[derive(Default)]
    struct Socket {
        room: usize,
        /// Bytes that one call takes at most.
        step: usize,
        interrupted: bool,
        taken: Vec<u8>,
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(ErrorKind::Interrupted.into());
            }
            let len = bytes.len().min(self.room).min(self.step);
            if len == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= len;
            self.taken.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn all_bytes_come_in_order_however_little_is_taken(
            turns in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0..400_usize), 1..40),
            step in 1..100_usize,
        ) {
            let (mut unsent, mut said) = (Unsent::default(), Vec::new());
            let mut socket = Socket { step, ..Socket::default() };
            for (frames, room) in &turns {
                said.extend_from_slice(frames);
                socket.room = *room;
                prop_assert_eq!(unsent.write(&mut socket, frames, 0), Ok(()));
                prop_assert_eq!(unsent.is_empty(), socket.taken.len() == said.len());
            }
            socket.room = usize::MAX;
            prop_assert_eq!(unsent.write(&mut socket, &[], 0), Ok(()));
            prop_assert_eq!(socket.taken, said);
        }
    }

    #[test]
    fn a_socket_that_takes_no_byte_is_stuck_and_one_byte_is_enough() {
        let (mut unsent, mut socket) = (Unsent::default(), Socket { step: 1, room: 1, ..Socket::default() });
        assert_eq!(unsent.write(&mut socket, b"abc", 5), Ok(()));
        assert!(!unsent.is_stuck(4 + WRITE_WITHIN_US) && unsent.is_stuck(5 + WRITE_WITHIN_US));
        assert_eq!(unsent.write(&mut socket, b"d", 6), Ok(()));
        assert!(unsent.is_stuck(5 + WRITE_WITHIN_US), "nothing was taken");
        socket.room = 1;
        assert_eq!(unsent.write(&mut socket, b"", 7), Ok(()));
        assert!(!unsent.is_stuck(6 + WRITE_WITHIN_US) && unsent.is_stuck(7 + WRITE_WITHIN_US));
        socket.room = 2;
        assert_eq!(unsent.write(&mut socket, b"", 8), Ok(()));
        assert!(!unsent.is_stuck(u64::MAX) && socket.taken == b"abcd");
    }

    #[test]
    fn who_takes_far_too_little_is_lost() {
        let (mut unsent, mut socket) = (Unsent::default(), Socket { step: 1, ..Socket::default() });
        assert_eq!(unsent.write(&mut socket, &vec![0; WRITE_BUFFER_BYTES_MAX], 0), Ok(()));
        assert_eq!(unsent.write(&mut socket, &[0], 0), Err(Lost));
    }
}
