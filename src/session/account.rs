//! What operators are shown of a session, and of how it sees somebody. Looks only; nothing comes to another end for it.

use serde::Serialize;

use super::{Phase, Session};
use crate::codec::message::Id;
use crate::limits::{HYSTERESIS, MILLI_US, ROWS_MAX, TICK_US};
use crate::region::frame::Tick;
use crate::settings::Role;
use crate::view::Turn;

/// A session that is open.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Account {
    /// Its number.
    pub session: Id,
    /// Its avatar.
    pub entity: Id,
    /// Whose it is.
    pub user: Id,
    /// It is a game server.
    pub server: bool,
    /// How its messages travel: the WebSocket subprotocol.
    pub encoding: &'static str,
    /// Where it is, metres; none before its first move.
    pub pos: Option<[f64; 3]>,
    /// How far it sees, metres.
    pub radius: f64,
    /// Bytes per second that it may get at the moment.
    pub budget: u32,
    /// Avatars that it holds.
    pub held: usize,
    /// A full view is under way.
    pub joining: bool,
    /// States that it has not said to have seen.
    pub unseen: usize,
    /// Part of its view is old.
    pub stale: bool,
    /// When something was heard of it, ms ago.
    pub heard_ms: u64,
}

/// How a session sees an avatar, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Regard {
    /// Why it is told of it as it is, or not at all: in words.
    pub why: String,
    /// How far away the avatar is, metres.
    pub distance: Option<f64>,
    /// How many are nearer, and itself: 1 is the nearest of `of`.
    pub rank: Option<usize>,
    /// All that are within reach.
    pub of: usize,
    /// Every how many ticks it is told.
    pub stride: Option<u64>,
    /// When it was told last, ticks ago.
    pub told: Option<u64>,
    /// What its next row takes, bits.
    pub bits: Option<usize>,
    /// Bytes per second that the session may get.
    pub budget: u32,
}

impl Session {
    /// What operators are shown of it; none before it is welcomed, and when it is over.
    #[must_use]
    pub fn account(&self, now_us: u64) -> Option<Account> {
        (self.phase == Phase::Live).then(|| Account {
            session: self.id,
            entity: self.entity,
            user: self.user,
            server: self.role == Role::Server,
            encoding: self.encoding.subprotocol(),
            pos: self.movement.pos().map(|pos| pos.metres()),
            radius: self.radius_m,
            budget: self.budget.rate(),
            held: self.view.len(),
            joining: self.view.is_joining(),
            unseen: self.flow.unseen(),
            stale: self.stale,
            heard_ms: now_us.saturating_sub(self.heard_us) / MILLI_US,
        })
    }

    /// How it sees an avatar at a tick.
    #[must_use]
    pub fn regard(&self, tick: &Tick, entity: Id) -> Regard {
        let budget = self.budget.rate();
        let nothing = Regard {
            why: String::new(),
            distance: None,
            rank: None,
            of: 0,
            stride: None,
            told: None,
            bits: None,
            budget,
        };
        let says = |why: &str| Regard { why: why.to_owned(), ..nothing.clone() };
        let Some(at) = self.movement.pos() else { return says("it has no place yet: nobody is seen from nowhere") };
        if entity == self.entity {
            return says("that is its own avatar, of which it is never told");
        }
        let Some(spot) = tick.spots.iter().find(|spot| spot.id == entity) else {
            return says("no such avatar is anywhere that this gateway knows of");
        };
        let distance = spot.pos.distance_m(at);
        let (room, per_tick) = (0, self.budget.per_tick());
        let turn = Turn { tick, me: self.entity, at, complete: true, room, per_tick, rows_max: ROWS_MAX };
        let Some(standing) = self.view.standing(turn, entity) else {
            let beyond = if distance <= self.radius_m * HYSTERESIS {
                "it enters within the radius"
            } else {
                "beyond the radius"
            };
            return Regard { why: format!("{beyond} of {} m", self.radius_m), distance: Some(distance), ..nothing };
        };
        let ms = TICK_US / MILLI_US;
        let why = match (standing.stride, standing.told) {
            (None, Some(_)) => "about to leave the view: the budget holds nearer ones".to_owned(),
            (None, None) => format!("crowded out: {budget} bytes/s hold fewer than are within {} m", self.radius_m),
            (Some(_), None) => "about to enter: joins are paced by the budget, the nearest first".to_owned(),
            (Some(1), Some(_)) => "one of the nearest: told at every tick at which it has moved".to_owned(),
            (Some(stride), Some(_)) => format!("not one of the nearest: told every {} ms, in turn", stride * ms),
        };
        Regard {
            why,
            distance: Some(distance),
            rank: Some(standing.rank),
            of: standing.of,
            stride: standing.stride,
            told: standing.told.map(|told| tick.number.saturating_sub(told)),
            bits: standing.bits,
            budget,
        }
    }
}
