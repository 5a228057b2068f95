//! What goes between sessions and their world: what they ask, what they are answered, and what is to be counted.

use std::sync::Arc;

use super::commands::recall::{Ask, Recalled};
use super::motion::owned::Place;
use crate::codec::command::{Command, Rules, Verdict};
use crate::codec::message::Id;
use crate::log::{Health, Source};
use crate::space::Pos;

/// What a session asks of its world.
#[derive(Clone, Debug, PartialEq)]
pub enum Submit {
    /// Somebody asks to be a session; answered by a [`Letter`].
    Open {
        /// The number of whoever asks, and of the session if it is a new one.
        session: Id,
        /// Its avatar, if it is a new one.
        entity: Id,
        /// The avatar's profile.
        profile: Arc<str>,
        /// How far the viewer sees, metres.
        radius_m: f64,
        /// The token of the session that it wants to go on as.
        token: Option<Box<str>>,
    },
    /// Whoever asked to be a session is gone, and has not taken notice of an answer.
    Abandon {
        /// The number it asked with.
        session: Id,
    },
    /// The answer has arrived: older tokens open the session no more.
    Confirm {
        /// The avatar.
        entity: Id,
        /// The incarnation of its session.
        incarnation: u64,
    },
    /// The avatar is somewhere.
    Move {
        /// The avatar.
        entity: Id,
        /// Where, when.
        place: Place,
    },
    /// The avatar has another profile.
    Profile {
        /// The avatar.
        entity: Id,
        /// The profile.
        profile: Arc<str>,
    },
    /// The viewer sees another distance.
    Radius {
        /// The avatar.
        entity: Id,
        /// Metres.
        radius_m: f64,
    },
    /// The avatar does something.
    Command(Command),
    /// A session asks for events that the ring has no more; answered by [`Letter::Recalled`].
    Recall {
        /// The avatar.
        entity: Id,
        /// The incarnation of its session: one that was superseded has no say.
        incarnation: u64,
        /// Which.
        ask: Ask,
    },
    /// The socket is gone without a `bye`; the avatar stays for 15 s, and the session may be resumed for longer.
    Gone {
        /// The avatar.
        entity: Id,
        /// The incarnation of its session: one that was superseded has no say.
        incarnation: u64,
    },
    /// The avatar leaves at once, and the session is over.
    Leave {
        /// The avatar.
        entity: Id,
        /// The incarnation of its session: one that was superseded has no say.
        incarnation: u64,
    },
}

/// What a session is told of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Letter {
    /// Its opening is in force; told to the number that asked.
    Opened(Box<Opened>),
    /// The log did not take its opening; told to the number that asked.
    Unopened,
    /// It goes on elsewhere: this one is over.
    Superseded,
    /// What it missed.
    Recalled(Box<Recalled>),
}

/// A session that has opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The session.
    pub session: Id,
    /// Its avatar.
    pub entity: Id,
    /// Its user.
    pub user: Id,
    /// Counts its openings; higher than that of all before.
    pub incarnation: u64,
    /// It goes on, as the token asked.
    pub resumed: bool,
    /// Opens it again; `None` in a world without a key.
    pub token: Option<String>,
    /// Where its avatar is, and since when, µs on our clock.
    pub at: Option<(Pos, u64)>,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Folded at this offset, with this outcome.
    Folded(u64, Verdict),
    /// It certainly never entered the log, which is in this state.
    NotLogged(Health),
    /// Nobody knows; send it again.
    Unknown,
}

/// An answer to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The number by which whoever speaks for the session has asked to; mostly its own.
    pub to: Id,
    /// The session's number for the command.
    pub n: u64,
    /// What became of it.
    pub answer: Answer,
}

/// Records that this gateway has written of itself about objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrandFacts {
    /// Objects carried along with their holders.
    pub carried: u64,
    /// Objects put down, as their holders left or were nowhere.
    pub put_down: u64,
    /// Objects written into the partition that they left for.
    pub arrived: u64,
    /// Landings written into the partition that was left.
    pub landed: u64,
}

/// What the caller should count, since it last looked. Durations in µs.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// From admission to the log.
    pub batch_wait_us: Vec<u64>,
    /// From publishing to polling, own records.
    pub log_round_trip_us: Vec<u64>,
    /// From admission to the tick that shows it.
    pub fold_to_tick_us: Vec<u64>,
    /// From a sample on another gateway to the tick that shows it.
    pub remote_age_us: Vec<u64>,
    /// Ends of publishes: at an offset, never entered, unknown.
    pub outcomes: [u64; 3],
    /// Records that were damaged, or of an unknown version.
    pub foreign: u64,
    /// Samples dropped because a partition is full.
    pub full: u64,
    /// Own samples that came back newer than they were written: another writer uses our name.
    pub echo_mismatch: u64,
    /// Avatars whose socket went, and that left at once because too many linger.
    pub lingers_cut: u64,
    /// Entities that expired.
    pub expired: u64,
    /// Sessions whose dedupe window was forgotten because a partition had too many.
    pub sessions_forgotten: u64,
    /// Leavers forgotten early because a partition had too many.
    pub leavers_forgotten: u64,
    /// Sessions that opened: as new ones, as the token asked, and as new ones against what the token asked.
    pub opened: [u64; 3],
    /// Sessions that cannot be resumed any more because a partition of `direct` had too many.
    pub resumes_forgotten: u64,
    /// Asks for events which a ring has no more: those that were answered with all of them, and those that were not.
    pub recalls: [u64; 2],
    /// Partitions whose reading began anew because their offset was out of bounds.
    pub out_of_bounds: u64,
    /// What need not be kept: of these partitions all below these offsets. An operator's act, beside the contract.
    pub trims: Vec<(Source, u64)>,
    /// Partitions of which commands were lost between the newest snapshot and the log's start.
    pub gaps: u64,
    /// Snapshots that are whole now, whoever wrote them.
    pub snapshots: u64,
    /// Partitions that another gateway has folded to another state; they are read anew.
    pub diverged: u64,
    /// Rules that are in force instead of this gateway's, whose revision is not higher; told once.
    pub outruled: Option<Rules>,
    /// What was done with objects of itself.
    pub errands: ErrandFacts,
    /// Another number of this gateway, see [`super::World::claim`].
    pub number: Option<u32>,
    /// Whether the log takes what is written, if that has changed.
    pub health: Option<Health>,
    /// The last reason for which the log could not be reached.
    pub unreachable: Option<String>,
}
