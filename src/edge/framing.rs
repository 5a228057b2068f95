//! WebSocket frames as a server reads and writes them (RFC 6455, section 5). Pure: bytes in, frames out, no socket.
//!
//! Whole messages are unmasked and handed out where they lie in the caller's buffer; only what is incomplete is kept.

use crate::admit::Close;

/// What a client's bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A whole message of text, which is UTF-8.
    Text(&'a [u8]),
    /// A whole message of bytes.
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// The answer to a ping.
    Pong(&'a [u8]),
    /// The client ends the connection; to be answered with the same code.
    Close(Option<u16>),
}

/// Bytes that no well-behaved client sends; nothing after them can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Not what RFC 6455 allows.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message is not UTF-8.
    #[error("a text message is not UTF-8")]
    NotUtf8,
    /// A message is larger than allowed, or in more fragments.
    #[error("a message is too large")]
    TooBig,
}

impl Broken {
    /// Why the session closes.
    #[must_use]
    pub fn close(self) -> Close {
        match self {
            Broken::Protocol(_) => Close::Protocol,
            Broken::NotUtf8 => Close::NotUtf8,
            Broken::TooBig => Close::TooBig,
        }
    }
}

/// Kinds of frames (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next part of a message.
    Continuation = 0,
    /// Text, UTF-8.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// End of the connection.
    Close = 8,
    /// A question whether the other end lives.
    Ping = 9,
    /// Its answer.
    Pong = 10,
}

impl Opcode {
    fn of(bits: u8) -> Result<Opcode, Broken> {
        Ok(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err(Broken::Protocol("an opcode that is reserved")),
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;
/// Memory above this is given back once nothing is kept.
const KEEP_BYTES: usize = 256;

/// The largest message, in bytes and in fragments.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of one message.
    pub bytes: usize,
    /// Fragments of one message: empty ones cost no bytes.
    pub fragments: usize,
}

/// A message whose last fragment has not come.
#[derive(Debug, Default)]
struct Parts {
    text: bool,
    bytes: Vec<u8>,
    fragments: usize,
    /// So many bytes are known to be UTF-8.
    checked: usize,
}

/// One connection's incoming direction.
#[derive(Debug, Default)]
pub struct Framing {
    /// The beginning of a header, or of a control frame.
    rest: Vec<u8>,
    /// The frame of a message whose payload has not come whole.
    open: Option<Header>,
    parts: Option<Parts>,
}

/// A frame's header.
#[derive(Debug)]
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of the header, 0 once they are behind.
    head: usize,
    /// Bytes of the payload that are to come.
    len: usize,
}

impl Framing {
    /// Reads what came: calls `each` for every whole message and control frame, in order, until it returns false.
    ///
    /// # Errors
    /// When the bytes break the protocol or `bounds`. What came before has been handed out; nothing more can be read.
    pub fn read(
        &mut self,
        bytes: &mut [u8],
        bounds: Bounds,
        each: &mut dyn FnMut(Heard<'_>) -> bool,
    ) -> Result<(), Broken> {
        if self.rest.is_empty() {
            let done = self.frames(bytes, bounds, each)?;
            self.rest.extend_from_slice(&bytes[done..]);
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(bytes);
            let done = self.frames(&mut rest, bounds, each)?;
            rest.drain(..done);
            if rest.capacity() > KEEP_BYTES && rest.is_empty() {
                rest = Vec::new();
            }
            self.rest = rest;
        }
        Ok(())
    }

    /// Whether no part of a message or frame is kept.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.rest.is_empty() && self.parts.is_none()
    }

    /// Whether a message has begun whose end has not come. A control frame may come in between.
    #[must_use]
    pub fn is_within_message(&self) -> bool {
        self.parts.is_some()
    }

    /// Hands out all messages and control frames that are whole, and keeps the parts of the last; how many bytes they
    /// were.
    fn frames(
        &mut self,
        bytes: &mut [u8],
        bounds: Bounds,
        each: &mut dyn FnMut(Heard<'_>) -> bool,
    ) -> Result<usize, Broken> {
        let mut done = 0;
        if let Some(header) = self.open.take() {
            done = bytes.len().min(header.len);
            let payload = &mut bytes[..done];
            unmask(payload, header.mask);
            if !self.part(&header, payload, each)? {
                return Ok(done);
            }
        }
        while let Some(header) = self.header(&bytes[done..], bounds)? {
            let (from, to) = (done + header.head, done + header.head + header.len);
            if bytes.len() < to && header.opcode.is_control() {
                break;
            }
            done = bytes.len().min(to);
            let payload = &mut bytes[from..done];
            unmask(payload, header.mask);
            if !self.frame(&header, payload, each)? {
                break;
            }
        }
        Ok(done)
    }

    /// The header at the start of `bytes`, once it is whole. Judged before its payload comes.
    fn header(&self, bytes: &[u8], bounds: Bounds) -> Result<Option<Header>, Broken> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        let opcode = Opcode::of(first & 0x0f)?;
        let fin = first & FINAL != 0;
        if first & RESERVED != 0 {
            return Err(Broken::Protocol("a reserved bit is set"));
        }
        if second & MASKED == 0 {
            return Err(Broken::Protocol("a client's frame is not masked"));
        }
        if opcode.is_control() && !fin {
            return Err(Broken::Protocol("a control frame in fragments"));
        }
        let short = u64::from(second & !MASKED);
        let (len, head, least) = match (short, bytes) {
            (126, [_, _, a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4, 126),
            (127, [_, _, a, b, c, d, e, f, g, h, ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10, 65_536)
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (short, 2, 0),
        };
        if len < least {
            return Err(Broken::Protocol("a length in more bytes than it needs"));
        }
        if len >> 63 != 0 {
            return Err(Broken::Protocol("a length of 2^63 or more"));
        }
        let len = usize::try_from(len).map_err(|_| Broken::TooBig)?;
        if opcode.is_control() && len > CONTROL_BYTES_MAX {
            return Err(Broken::Protocol("a control frame above 125 bytes"));
        }
        match (opcode, &self.parts) {
            (Opcode::Continuation, None) => return Err(Broken::Protocol("a continuation of nothing")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Broken::Protocol("a new message within another"));
            }
            (Opcode::Continuation | Opcode::Text | Opcode::Binary, parts) => {
                let (before, fragments) = parts.as_ref().map_or((0, 0), |parts| (parts.bytes.len(), parts.fragments));
                if len > bounds.bytes.saturating_sub(before) || fragments >= bounds.fragments {
                    return Err(Broken::TooBig);
                }
            }
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {}
        }
        let Some(mask) = bytes.get(head..head + 4) else { return Ok(None) };
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        Ok(Some(Header { fin, opcode, mask, head: head + 4, len }))
    }

    /// Takes what has come of a frame's payload.
    fn frame(
        &mut self,
        header: &Header,
        payload: &[u8],
        each: &mut dyn FnMut(Heard<'_>) -> bool,
    ) -> Result<bool, Broken> {
        match header.opcode {
            Opcode::Ping => Ok(each(Heard::Ping(payload))),
            Opcode::Pong => Ok(each(Heard::Pong(payload))),
            Opcode::Close => Ok(each(Heard::Close(close_code(payload)?))),
            Opcode::Text | Opcode::Binary if header.fin && payload.len() == header.len => {
                if header.opcode == Opcode::Binary {
                    return Ok(each(Heard::Binary(payload)));
                }
                if std::str::from_utf8(payload).is_err() {
                    return Err(Broken::NotUtf8);
                }
                Ok(each(Heard::Text(payload)))
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => self.part(header, payload, each),
        }
    }

    /// Takes a part of a message. Text is judged by as much as there is of it.
    #[cold]
    fn part(
        &mut self,
        header: &Header,
        payload: &[u8],
        each: &mut dyn FnMut(Heard<'_>) -> bool,
    ) -> Result<bool, Broken> {
        let left = header.len - payload.len();
        let is_last = header.fin && left == 0;
        let text = header.opcode == Opcode::Text;
        let mut parts = self.parts.take().unwrap_or(Parts { text, ..Parts::default() });
        parts.bytes.extend_from_slice(payload);
        parts.fragments += usize::from(header.head > 0);
        parts.check(is_last)?;
        if is_last {
            return Ok(each(if parts.text { Heard::Text(&parts.bytes) } else { Heard::Binary(&parts.bytes) }));
        }
        if left > 0 {
            let mut mask = header.mask;
            mask.rotate_left(payload.len() % 4);
            self.open = Some(Header { mask, head: 0, len: left, ..*header });
        }
        self.parts = Some(parts);
        Ok(true)
    }
}

impl Parts {
    /// Text must be UTF-8; a character may be cut by the end of what has come, not by the end of the message.
    fn check(&mut self, whole: bool) -> Result<(), Broken> {
        if !self.text {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !whole => self.checked += error.valid_up_to(),
            Err(_) => return Err(Broken::NotUtf8),
        }
        Ok(())
    }
}

/// The code of a close frame, `None` if it has none (RFC 6455, 5.5.1 and 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Broken> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Broken::Protocol("a close frame of one byte")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Broken::Protocol("a close code that may not be sent"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Broken::NotUtf8);
    }
    Ok(Some(code))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u32::from_ne_bytes(mask);
    let wide = u64::from(word) << 32 | u64::from(word);
    let (eights, rest) = payload.as_chunks_mut::<8>();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

/// Appends a whole frame of a server: not masked, not in fragments.
pub fn write(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.push(FINAL | opcode as u8);
    match payload.len() {
        len @ 0..126 => out.push(len as u8),
        len @ 126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Appends a close frame.
pub fn write_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let reason = reason.as_bytes();
    let mut payload = Vec::with_capacity(CONTROL_BYTES_MAX);
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(&reason[..reason.len().min(CONTROL_BYTES_MAX - 2)]);
    }
    write(out, Opcode::Close, &payload);
}

#[cfg(test)]
mod tests;
