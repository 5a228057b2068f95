//! What a client may do: rates (`rate`), places and speeds (`movement`), texts (`text`), and the three kinds of no: a
//! [`Refusal`] ends a message, a [`Close`] ends a session, and faults of our own are `log::Fault`. Pure.

pub mod movement;
pub mod rate;
pub mod text;

use crate::codec::command::Denial;
use crate::codec::message::ByeOut;

/// Why a message has no effect. The code is told to the client and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It cannot be read.
    Malformed,
    /// Its name is none of protocol v1.
    UnknownType,
    /// Its name is reserved for a later feature.
    NotSupported,
    /// A second `hello`.
    Again,
    /// The session has not been welcomed yet.
    NotOpen,
    /// A text or state is longer than allowed, or empty where it must not be.
    Length,
    /// A coordinate, angle or time is no finite number.
    NotFinite,
    /// The place is outside the world.
    OutOfBounds,
    /// The avatar would be faster than the world allows.
    Speed,
    /// The action's place is not where the avatar was.
    TooFar,
    /// The avatar has no place yet.
    NoPlace,
    /// Too many messages or bytes.
    Rate,
    /// Too many actions without an answer.
    Window,
    /// The gateway has too much to do.
    Busy,
    /// The log did not take the action.
    NotLogged,
    /// A field lacks that this kind of message needs.
    Lacks,
    /// Only game servers may.
    NotAllowed,
    /// The log took it, and in its place there it has no effect.
    Denied(Denial),
    /// There is no room for it in the log.
    LogFull,
    /// The log cannot be written to.
    LogDown,
}

impl Refusal {
    /// All, for metrics.
    pub const ALL: [Refusal; 28] = [
        Refusal::Malformed,
        Refusal::UnknownType,
        Refusal::NotSupported,
        Refusal::Again,
        Refusal::NotOpen,
        Refusal::Length,
        Refusal::NotFinite,
        Refusal::OutOfBounds,
        Refusal::Speed,
        Refusal::TooFar,
        Refusal::NoPlace,
        Refusal::Rate,
        Refusal::Window,
        Refusal::Busy,
        Refusal::NotLogged,
        Refusal::Lacks,
        Refusal::NotAllowed,
        Refusal::Denied(Denial::NoObject),
        Refusal::Denied(Denial::Version),
        Refusal::Denied(Denial::Held),
        Refusal::Denied(Denial::NotHeld),
        Refusal::Denied(Denial::NotYours),
        Refusal::Denied(Denial::TooFar),
        Refusal::Denied(Denial::RegionFull),
        Refusal::Denied(Denial::TooMany),
        Refusal::Denied(Denial::Fields),
        Refusal::LogFull,
        Refusal::LogDown,
    ];

    /// For programs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::UnknownType => "unknown_type",
            Refusal::NotSupported => "not_supported",
            Refusal::Again => "again",
            Refusal::NotOpen => "not_open",
            Refusal::Length => "length",
            Refusal::NotFinite => "not_finite",
            Refusal::OutOfBounds => "out_of_bounds",
            Refusal::Speed => "speed",
            Refusal::TooFar => "too_far",
            Refusal::NoPlace => "no_place",
            Refusal::Rate => "rate",
            Refusal::Window => "window",
            Refusal::Busy => "busy",
            Refusal::NotLogged => "not_logged",
            Refusal::Lacks => "lacks",
            Refusal::NotAllowed => "not_allowed",
            Refusal::Denied(denial) => match denial {
                Denial::NoObject => "no_object",
                Denial::Version => "version",
                Denial::Held => "held",
                Denial::NotHeld => "not_held",
                Denial::NotYours => "not_yours",
                Denial::TooFar => "out_of_reach",
                Denial::RegionFull => "region_full",
                Denial::TooMany => "too_many",
                Denial::Fields => "fields",
            },
            Refusal::LogFull => "log_full",
            Refusal::LogDown => "log_down",
        }
    }

    /// For people: what was wrong and what to do.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Refusal::Malformed => "not a message of protocol v1; see schemas/",
            Refusal::UnknownType => "no message of protocol v1 has this name",
            Refusal::NotSupported => "reserved for a later version of the gateway",
            Refusal::Again => "this session has said hello already",
            Refusal::NotOpen => "wait for welcome; until then only move, ping and bye are heard",
            Refusal::Length => "a text or state is too long, or empty where it must not be; see schemas/protocol.md",
            Refusal::NotFinite => "coordinates, angles and times must be finite numbers, and times within all clocks",
            Refusal::OutOfBounds => "outside the bounds that welcome names",
            Refusal::Speed => "faster than the speed that welcome names; send smaller steps",
            Refusal::TooFar => "the place of an action must be where the avatar was at its time",
            Refusal::NoPlace => "send a move first",
            Refusal::Rate => "too many messages; slow down",
            Refusal::Window => {
                "too far above the oldest action without an answer, or below the newest; wait, or use the next number"
            }
            Refusal::Busy => "the gateway is overloaded; try again later",
            Refusal::NotLogged => "the log did not take the action; send it again",
            Refusal::Lacks => {
                "a field lacks that is needed here, or is there that does not go with it; see schemas/protocol.md"
            }
            Refusal::NotAllowed => "only game servers may do this",
            Refusal::Denied(denial) => match denial {
                Denial::NoObject => "no such object at the place that pos names; look where it is now",
                Denial::Version => "the object has another version by now; look at it and decide anew",
                Denial::Held => "somebody else holds it",
                Denial::NotHeld => "this session does not hold it",
                Denial::NotYours => "only the session that made it may remove it",
                Denial::TooFar => "out of reach of where the avatar is; go nearer",
                Denial::RegionFull => "the region has no room for more objects; remove some",
                Denial::TooMany => "this session has made, or holds, as many objects as it may in a block of 1024 m",
                Denial::Fields => "an object has 32 fields at most",
            },
            Refusal::LogFull => "there is no room in the log; try again in some seconds",
            Refusal::LogDown => "the log cannot be written to; try again when the gateway has started anew",
        }
    }
}

/// Why the gateway ends a session. 40xx: come back at once; 41xx: after a condition; 45xx: do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// The client said bye.
    Bye,
    /// The gateway is going; come back after so many ms.
    Drain(u32),
    /// Nothing was heard for 25 s.
    Silent,
    /// A message began and did not end within 5 s.
    Unfinished,
    /// A flood.
    Rate,
    /// The gateway made a mistake.
    Internal,
    /// The log does not answer, so that no session can open.
    NoLog,
    /// The session goes on by another connection.
    Superseded,
    /// No `hello` in time, or something else first.
    NoHello,
    /// There is no such world.
    NoWorld,
    /// Three messages in ten seconds that cannot be read.
    BadMessages,
    /// Too many seconds of a minute in which a move was too fast.
    Moves,
    /// A message above 16 KiB.
    TooBig,
    /// Frames that RFC 6455 does not allow.
    Protocol,
    /// A text message that is not UTF-8.
    NotUtf8,
}

impl Close {
    /// The WebSocket close code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Close::Bye => 1000,
            Close::Protocol => 1002,
            Close::NotUtf8 => 1007,
            Close::TooBig => 1009,
            Close::Drain(_) => 4000,
            Close::Silent => 4001,
            Close::Rate => 4003,
            Close::Internal => 4004,
            Close::Unfinished => 4006,
            Close::NoLog => 4005,
            Close::Superseded => 4504,
            Close::NoHello => 4102,
            Close::BadMessages | Close::Moves => 4505,
            Close::NoWorld => 4507,
        }
    }

    /// For metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Close::Bye => "bye",
            Close::TooBig => "too_big",
            Close::Protocol => "protocol",
            Close::NotUtf8 => "not_utf8",
            Close::Drain(_) => "drain",
            Close::Silent => "silent",
            Close::Unfinished => "unfinished",
            Close::Rate => "rate",
            Close::Internal => "internal",
            Close::NoLog => "no_log",
            Close::Superseded => "superseded",
            Close::NoHello => "no_hello",
            Close::BadMessages => "bad_messages",
            Close::Moves => "moves",
            Close::NoWorld => "no_world",
        }
    }

    /// For people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Close::Bye => "goodbye",
            Close::TooBig => "a message may have 16 KiB",
            Close::Protocol => "these are no frames of RFC 6455",
            Close::NotUtf8 => "a text message must be UTF-8",
            Close::Drain(_) => "this gateway is going; come back",
            Close::Silent => "nothing heard for 25 s; say seen when a state comes",
            Close::Unfinished => "a message that has begun must be whole within 5 s",
            Close::Rate => "too many messages refused",
            Close::Internal => "the gateway made a mistake",
            Close::NoLog => "the log does not answer; come back",
            Close::Superseded => "this session goes on by another connection",
            Close::NoHello => "say hello within 5 s, and first",
            Close::BadMessages => "three messages within ten seconds could not be read",
            Close::Moves => "too fast again and again; welcome names the speed",
            Close::NoWorld => "no such world on this gateway; its settings name those there are",
        }
    }

    /// How the client is told, before the WebSocket closes.
    #[must_use]
    pub fn bye(self) -> ByeOut {
        let (code, text, again) = (self.code(), self.text().into(), self.again());
        ByeOut { code, text, again: again.is_some(), after_ms: again.unwrap_or(0) }
    }

    /// Whether to come back, and after how many ms at the earliest.
    #[must_use]
    pub fn again(self) -> Option<u32> {
        match self {
            Close::Drain(after_ms) => Some(after_ms),
            Close::Silent | Close::Unfinished | Close::Internal | Close::NoHello => Some(0),
            Close::NoLog => Some(1_000),
            Close::Rate => Some(5_000),
            Close::Bye
            | Close::TooBig
            | Close::Protocol
            | Close::NotUtf8
            | Close::BadMessages
            | Close::Moves
            | Close::NoWorld
            | Close::Superseded => None,
        }
    }
}
