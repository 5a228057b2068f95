//! One bot: what it plays, what it holds, what it has counted. Knows no runtime; the swarm drives it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use nearcast::client::Mirror;
use nearcast::codec::message::{AppState, ByeOut, Hello, In, Move, Resume, View};
use nearcast::codec::state::Known;
use tokio_tungstenite::tungstenite::Bytes;

use super::around::Around;
use super::dialect::{Dialect, Shown};
use super::hands::{Hands, Manner};
use super::pass::Pass;
use super::socket::Socket;
use crate::audit::Watch;
use crate::scene::{Agent, Sample};

/// Messages that wait to be looked at; a bot so far behind is closed, and the run is void.
pub(super) const INBOX_MAX: usize = 1_024;

/// What one bot is to do.
#[derive(Clone, Debug)]
pub struct BotPlan {
    /// The person it plays.
    pub agent: Agent,
    /// Number of its gateway.
    pub gateway: usize,
    /// Where it connects: the gateway, or a relay in front of it.
    pub addr: SocketAddr,
    /// What the relay adds each way, µs.
    pub one_way_us: u64,
    /// Whether what it receives is judged.
    pub audited: bool,
    /// Whether it keeps a table of what it receives. Else it reads a state's number and tick only: what one core of a
    /// swarm can do in a dense crowd. Who is audited must keep one.
    pub keeps: bool,
    /// Figures are kept apart by group.
    pub group: usize,
    /// It says where it is once, and from then on only that it saw what came.
    pub idle: bool,
    /// It gives a command every so often, µs.
    pub uses_us: Option<u64>,
    /// What for.
    pub manner: Manner,
    /// It leaves after this long and comes back a second later, again and again, µs.
    pub life_us: Option<u64>,
}

/// A message that came.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) received_us: u64,
    pub(super) bytes: Bytes,
}

/// A bot.
#[derive(Debug, Default)]
pub(super) struct Bot {
    pub(super) socket: Option<Socket>,
    /// Counts its sessions, so that what was planned for an earlier one is not done in a later.
    pub(super) session: u32,
    /// When it began.
    pub(super) welcome_us: u64,
    /// Said bye, or is about to: an end of the socket is as it should be.
    pub(super) leaving: bool,
    pub(super) inbox: VecDeque<Arrival>,
    pub(super) mirror: Mirror,
    pub(super) known: Known,
    pub(super) watch: Option<Watch>,
    /// Of a server that is only counted: what it has shown.
    pub(super) shown: Shown,
    /// What it does with things, if it does; over all connections of a session.
    pub(super) hands: Option<Hands>,
    /// With which it goes on when the connection is lost.
    pub(super) pass: Pass,
    /// The gateway has said that this connection ends.
    pub(super) bye: Option<ByeOut>,
    /// What it was told cannot be: it does not come back.
    pub(super) is_broken: bool,
    /// Newest state and its receipt, not yet told.
    pub(super) unsaid: Option<(u64, u64)>,
    pub(super) counts: Counts,
}

/// What a bot has counted since the start of the window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// States received.
    pub states: u64,
    /// Positions in them, enters included; of those who keep a table.
    pub updates: u64,
    /// Bytes received, with the framing of WebSocket.
    pub bytes: u64,
    /// Of them, those of states, as far as the dialect has an envelope around them; and without that envelope.
    pub state_bytes: u64,
    /// See `state_bytes`.
    pub body_bytes: u64,
    /// Others within the radius, in truth.
    pub around: Around,
    /// Ticks between states that no state came for.
    pub gaps: u64,
    /// Those of the window's that had nothing to tell; of audited bots only.
    pub quiet: u64,
    /// Whether it is audited.
    pub audited: bool,
    /// Whether it keeps a table.
    pub keeps: bool,
    /// Whether it has been in session for the whole window.
    pub whole: bool,
}

impl Bot {
    /// Forgets the last connection, but for what a session goes on with.
    pub(super) fn renew(&mut self) {
        let counts = Counts { whole: false, ..self.counts };
        let (hands, pass) = (self.hands.take(), std::mem::take(&mut self.pass));
        let hands = hands.filter(|_| pass.has_been_in());
        *self = Bot { session: self.session + 1, counts, hands, pass, ..Bot::default() };
    }

    /// To go on as the session before.
    pub(super) fn resume(&self) -> Option<Resume> {
        self.pass.resume(self.hands.as_ref().map_or(1, Hands::lowest))
    }

    /// The words of the next sample; `seen` goes with it.
    pub(super) fn say_move(&self, sample: Sample, due_us: u64, now_us: u64) -> In {
        let unsaid = self.unsaid;
        In::Move(Move {
            time: due_us as f64 / 1e3,
            pos: sample.pos,
            yaw: sample.yaw_deg,
            state: AppState::default(),
            seen: unsaid.map(|(number, _)| number),
            held_ms: unsaid.map(|(_, received_us)| now_us.saturating_sub(received_us) as f64 / 1e3),
        })
    }
}

/// The first words of a bot; the profile is 16 bytes.
pub(super) fn hello(number: usize, world: &str, view: View, resume: Option<Resume>) -> In {
    let profile = Some(format!("bot {number:012}"));
    In::Hello(Hello { world: world.to_owned(), profile, view: Some(view), resume, ..Hello::default() })
}

/// What all bots of a swarm have in common.
#[derive(Clone, Debug)]
pub struct SwarmPlan {
    /// The bots.
    pub bots: Vec<BotPlan>,
    /// Gateways they speak to.
    pub gateways: usize,
    /// How they write and read.
    pub dialect: Dialect,
    /// The world they enter.
    pub world: String,
    /// Radius they ask for, metres.
    pub radius_m: f64,
    /// Budget they ask for, bytes per second.
    pub budget: u32,
    /// So many join per second.
    pub joins_per_s: u32,
    /// The last so many wait for [`super::Swarm::storm`].
    pub storm: usize,
    /// Entities that such a budget can hold in view.
    pub holds: usize,
}
