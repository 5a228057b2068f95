//! What benches without sockets have in common: sessions in a world with its log in memory, and what is said to them.

use std::sync::Arc;

use nearcast::codec::message::{self, AppState, Hello, Id, In, Move};
use nearcast::codec::{Encoding, Payload};
use nearcast::limits::SECOND_US;
use nearcast::log::memory::MemoryLog;
use nearcast::region::{Letter, Opened, World};
use nearcast::session::{Effect, Input, Session};
use nearcast::settings::WorldSettings;

/// When all begins.
pub const START_US: u64 = 1_700_000_000 * SECOND_US;
/// What all speak.
pub const ENCODING: Encoding = Encoding::MessagePack;

/// The avatar of a client.
pub fn entity(i: usize) -> Id {
    1 + i as Id
}

/// The session of a client who has been welcomed, without a word in the log of that.
pub fn open(i: usize, budget: u32, settings: &Arc<WorldSettings>, world: &mut World, log: &mut MemoryLog) -> Session {
    let mut session = Session::new(1_000_000 + entity(i), entity(i), ENCODING, settings.clone(), START_US);
    let (profile, view) = (format!("bot {i:012}"), message::View { budget: Some(budget), radius: None });
    let (world_name, view) = (settings.name.clone(), Some(view));
    let hello = Hello { world: world_name, profile: Some(profile.clone()), view, ..Hello::default() };
    let mut effects = Vec::new();
    session.on(Input::Message(ENCODING.encode_in(&In::Hello(hello)).bytes()), START_US, &mut effects);
    effects.clear();
    let (id, entity) = (1_000_000 + entity(i), entity(i));
    world.adopt(id, entity, profile.into(), settings.radius);
    let (resumed, token, at) = (false, None, None);
    let opened = Opened { session: id, entity, user: id, incarnation: 0, resumed, token, at };
    session.on(Input::Letter(&Letter::Opened(Box::new(opened))), START_US, &mut effects);
    submit(&mut effects, world, log, START_US);
    session
}

/// A move to x, y, z in metres with a facing in degrees, by a client who has seen the state of a number.
pub fn say([x, y, z, yaw]: [f64; 4], seen: Option<u64>, now_us: u64) -> Payload {
    let (time, state, held_ms) = (now_us as f64 / 1e3, AppState::default(), seen.map(|_| 12.5));
    ENCODING.encode_in(&In::Move(Move { time, pos: [x, y, z], yaw, state, seen, held_ms }))
}

/// What sessions want of the world.
pub fn submit(effects: &mut Vec<Effect>, world: &mut World, log: &mut MemoryLog, now_us: u64) {
    for effect in effects.drain(..) {
        if let Effect::Submit(submit) = effect {
            world.submit(submit, log, now_us);
        }
    }
}
