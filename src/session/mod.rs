//! One client's session as a pure state machine: `on(input, now) → effects`. It decodes, admits, keeps the client's
//! view and decides what is sent; it knows no socket, clock or log. Driven by `edge`, and by the simulation.

pub mod effect;
pub mod events;
pub mod flow;
pub mod gate;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::admit::movement::Movement;
use crate::admit::{Close, Refusal};
use crate::clock::ClientClock;
use crate::codec::message::{
    Ack, Act, ByeOut, Hello, In, Move, Out, Pong, Refuse, Report, Stale, View as ViewWish, Welcome,
};
use crate::codec::message::{Id, Unknown};
use crate::codec::record::Action;
use crate::codec::state::{Context, Delta};
use crate::codec::{Encoding, Unreadable};
use crate::limits::{
    ACT_AGE_MAX_US, ACT_DATA_BYTES_MAX, ACT_NAME_BYTES_MAX, DIGEST_EVERY, FLOW_PING_US, FLOW_SILENT_US,
    HELLO_WITHIN_US, HYSTERESIS, OPEN_ACTS_MAX, PROFILE_BYTES_MAX, RADIUS_MAX_M, RADIUS_MIN_M, REPAIR_PAUSE_US,
    SECOND_US, SILENT_US, TICK_US, TOKEN_BYTES_MAX,
};
use crate::region::frame::Tick;
use crate::region::owned::Place;
use crate::region::{Answer, Submit};
use crate::settings::WorldSettings;
use crate::space::yaw_from_degrees;
use crate::view::budget::Budget;
use crate::view::{Turn, View};

pub use effect::{Effect, Note, StateNote};
use events::{Cursors, TURN_TICKS};
use flow::{Flow, Verdict};
use gate::Gate;

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// A WebSocket message came.
    Message(&'a [u8]),
    /// A WebSocket pong came, with what the ping carried.
    Pong(&'a [u8]),
    /// The world shows a new tick.
    Tick(&'a Tick),
    /// An action has its answer.
    Answered(u64, Answer),
    /// An action could not be handed on: the world has too much to do.
    Busy(u64),
    /// The gateway is going; the client is to come back, spread over so many ms.
    Drain(u32),
    /// A message above 16 KiB came.
    TooBig,
    /// The socket is gone.
    Gone,
}

/// Without a difference to tell, a state is still sent this often, so that the client knows the world lives.
const EMPTY_STATE_TICKS: u64 = 10;
/// Digests that wait for their reports.
const DIGESTS_MAX: usize = 4;
/// Pinged when nothing was heard for this long; closed after [`SILENT_US`].
const PING_AFTER_US: u64 = 10 * SECOND_US;
/// The largest part of a state that one tick may take of a full bucket, so that a join is a row of messages.
const STATE_BYTES_MAX: usize = 32 * 1024;

/// A session.
#[derive(Debug)]
pub struct Session {
    id: Id,
    entity: Id,
    encoding: Encoding,
    world: Arc<WorldSettings>,
    phase: Phase,
    opened_us: u64,
    heard_us: u64,
    pinged_us: u64,
    /// When it last said `seen`.
    said_seen_us: Option<u64>,
    gate: Gate,
    clock: ClientClock,
    movement: Movement,
    merged: Option<Place>,
    radius_m: f64,
    /// Actions without an answer; true if sent more than once.
    open_acts: BTreeMap<u64, bool>,
    view: View,
    budget: Budget,
    flow: Flow,
    context: Context,
    digests: VecDeque<(u64, u32)>,
    repaired_us: u64,
    cursors: Cursors,
    stale: bool,
    /// The last tick it met.
    met: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `hello` has not come.
    New,
    /// Welcomed.
    Live,
    /// Closed, or about to be; nothing is done any more.
    Over,
}

impl Session {
    /// A session that waits for `hello`. `id` and `entity` are numbers that no gateway has given before.
    #[must_use]
    pub fn new(id: Id, entity: Id, encoding: Encoding, world: Arc<WorldSettings>, now_us: u64) -> Session {
        Session {
            id,
            entity,
            encoding,
            phase: Phase::New,
            opened_us: now_us,
            heard_us: now_us,
            pinged_us: now_us,
            said_seen_us: None,
            gate: Gate::new(now_us),
            clock: ClientClock::default(),
            movement: Movement::default(),
            merged: None,
            radius_m: world.radius,
            open_acts: BTreeMap::new(),
            view: View::new(encoding),
            budget: Budget::new(now_us),
            flow: Flow::default(),
            context: Context::default(),
            digests: VecDeque::new(),
            repaired_us: 0,
            cursors: Cursors::default(),
            stale: false,
            met: 0,
            world,
        }
    }

    /// Its avatar.
    #[must_use]
    pub fn entity(&self) -> Id {
        self.entity
    }

    /// Its view, for the simulation's checker.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// States on their way to the client.
    #[must_use]
    pub fn unseen(&self) -> usize {
        self.flow.unseen()
    }

    /// The state machine's one step. Effects are appended in the order in which they are to be done.
    pub fn on(&mut self, input: Input<'_>, now_us: u64, out: &mut Vec<Effect>) {
        if self.phase == Phase::Over {
            return;
        }
        match input {
            Input::Message(bytes) => self.on_bytes(bytes, now_us, out),
            Input::Pong(payload) => self.on_pong(payload, now_us, out),
            Input::Tick(tick) => self.on_tick(tick, now_us, out),
            Input::Answered(n, answer) => self.on_answer(n, answer, out),
            // Its first sending may yet take effect.
            Input::Busy(n) if self.open_acts.get(&n) == Some(&true) => self.send(&Out::Unknown(Unknown { n }), out),
            Input::Busy(n) => {
                self.open_acts.remove(&n);
                self.refuse(Some(n), "act", Refusal::Busy, out);
            }
            Input::Drain(after_ms) => self.close(Close::Drain(after_ms), out),
            Input::TooBig => self.close(Close::TooBig, out),
            Input::Gone => self.end(Submit::Gone { entity: self.entity }, out),
        }
    }

    // --- from the client ------------------------------------------------------------------------------------------

    fn on_bytes(&mut self, bytes: &[u8], now_us: u64, out: &mut Vec<Effect>) {
        self.heard_us = now_us;
        if !self.gate.message(bytes.len(), now_us) {
            return self.refuse_rate("message", now_us, out);
        }
        let message = match self.encoding.decode(bytes) {
            Ok(message) => message,
            Err(error) => return self.unreadable(&error, now_us, out),
        };
        match (self.phase, message) {
            (Phase::New, In::Hello(hello)) => self.hello(hello, now_us, out),
            (Phase::New, _) => self.close(Close::NoHello, out),
            (_, message) => self.on_message(message, now_us, out),
        }
    }

    fn on_message(&mut self, message: In, now_us: u64, out: &mut Vec<Effect>) {
        let name = message.name();
        match message {
            In::Move(step) => self.step(&step, now_us, out),
            In::Seen(seen) => self.seen(seen.seen, seen.held_ms, now_us, out),
            In::Act(act) => self.act(&act, now_us, out),
            In::Profile(profile) => {
                if !self.gate.change(now_us) {
                    return self.refuse_rate(name, now_us, out);
                }
                if profile.profile.len() > PROFILE_BYTES_MAX {
                    return self.refuse(None, name, Refusal::Length, out);
                }
                out.push(Effect::Submit(Submit::Profile { entity: self.entity, profile: profile.profile.into() }));
            }
            In::View(wish) => {
                if !self.gate.change(now_us) {
                    return self.refuse_rate(name, now_us, out);
                }
                if self.look(wish) {
                    out.push(Effect::Submit(Submit::Radius { entity: self.entity, radius_m: self.radius_m }));
                } else {
                    self.refuse(None, name, Refusal::NotFinite, out);
                }
            }
            In::Ping(ping) => {
                let server = now_us as f64 / 1e3;
                let time = if ping.time.is_finite() { ping.time } else { 0.0 };
                self.send(&Out::Pong(Pong { time, server }), out);
            }
            In::Report(report) => self.report(report, now_us, out),
            In::Bye(_) => {
                out.push(Effect::Submit(Submit::Leave { entity: self.entity }));
                self.close(Close::Bye, out);
            }
            In::Hello(_) => self.refuse(None, name, Refusal::Again, out),
            In::Auth(_)
            | In::Pose(_)
            | In::Set(_)
            | In::Read(_)
            | In::GroupJoin(_)
            | In::GroupLeave(_)
            | In::Ignore(_) => self.refuse(None, name, Refusal::NotSupported, out),
        }
    }

    fn hello(&mut self, hello: Hello, now_us: u64, out: &mut Vec<Effect>) {
        let profile = hello.profile.unwrap_or_default();
        let token_len = hello.token.map_or(0, |token| token.len());
        if hello.world != self.world.name {
            return self.close(Close::NoWorld, out);
        }
        if profile.len() > PROFILE_BYTES_MAX || token_len > TOKEN_BYTES_MAX {
            return self.refuse(None, "hello", Refusal::Length, out);
        }
        self.budget.ask(self.world.budget);
        if !self.look(hello.view.unwrap_or_default()) {
            return self.refuse(None, "hello", Refusal::NotFinite, out);
        }
        self.phase = Phase::Live;
        let (session, entity, radius_m) = (self.id, self.entity, self.radius_m);
        out.push(Effect::Submit(Submit::Open { session, entity, profile: profile.into(), radius_m }));
        let welcome = Welcome {
            session,
            entity,
            world: self.world.name.clone(),
            min: self.world.min,
            max: self.world.max,
            speed: self.world.speed,
            tick_ms: TICK_US as f64 / 1e3,
            time: now_us as f64 / 1e3,
            radius: radius_m,
            budget: self.budget.rate(),
            resumed: false,
        };
        self.send(&Out::Welcome(welcome), out);
    }

    /// Takes over what a client wants to see. False if it is no number.
    fn look(&mut self, wish: ViewWish) -> bool {
        if let Some(radius) = wish.radius {
            if !radius.is_finite() {
                return false;
            }
            self.radius_m = radius.clamp(RADIUS_MIN_M, RADIUS_MAX_M);
        }
        self.view.set_radius(self.radius_m);
        if let Some(budget) = wish.budget {
            self.budget.ask(budget);
        }
        true
    }

    fn step(&mut self, step: &Move, now_us: u64, out: &mut Vec<Effect>) {
        if let Some(number) = step.seen {
            self.seen(number, step.held_ms.unwrap_or(0.0), now_us, out);
        }
        let judged = self
            .movement
            .admit(step.pos, &self.world, now_us)
            .and_then(|pos| Ok((pos, yaw_from_degrees(step.yaw).ok_or(Refusal::NotFinite)?)))
            .and_then(|(pos, yaw)| Ok((pos, yaw, self.clock.map(step.time, now_us).ok_or(Refusal::NotFinite)?)));
        let (pos, yaw, time_us) = match judged {
            Ok(admitted) => admitted,
            Err(reason) => return self.refuse(None, "move", reason, out),
        };
        out.push(Effect::Note(Note::Sample { client_to_gateway_us: now_us.saturating_sub(time_us) }));
        let place = Place { time_us, pos, yaw, state: step.state };
        if self.gate.step(now_us) {
            self.merged = None;
            out.push(Effect::Submit(Submit::Move { entity: self.entity, place }));
        } else {
            self.merged = Some(place);
            out.push(Effect::Note(Note::Merged));
        }
    }

    fn act(&mut self, act: &Act, now_us: u64, out: &mut Vec<Effect>) {
        let n = act.n;
        let lowest = self.open_acts.first_key_value().map_or(n, |(lowest, _)| *lowest);
        let judged = if !self.gate.act(now_us) {
            Err(Refusal::Rate)
        } else if n.abs_diff(lowest) >= OPEN_ACTS_MAX {
            Err(Refusal::Window)
        } else if act.name.is_empty() || act.name.len() > ACT_NAME_BYTES_MAX || act.data.len() > ACT_DATA_BYTES_MAX {
            Err(Refusal::Length)
        } else {
            let time_us = self.clock.earlier(act.time, now_us);
            time_us.ok_or(Refusal::NotFinite).and_then(|time_us| {
                let age_us = now_us.saturating_sub(time_us).min(ACT_AGE_MAX_US);
                self.movement.reaches(act.pos, age_us, &self.world)
            })
        };
        match judged {
            Ok(pos) => {
                let again = self.open_acts.contains_key(&n);
                self.open_acts.insert(n, again);
                out.push(Effect::Submit(Submit::Act(Action {
                    session: self.id,
                    n,
                    entity: self.entity,
                    scope: act.scope,
                    pos,
                    name: act.name.as_str().into(),
                    data: act.data.as_str().into(),
                })));
            }
            // An open number is not refused: its first sending may yet take effect.
            Err(_) if self.open_acts.contains_key(&n) => self.send(&Out::Unknown(Unknown { n }), out),
            Err(reason) => self.refuse(Some(n), "act", reason, out),
        }
    }

    fn on_answer(&mut self, n: u64, answer: Answer, out: &mut Vec<Effect>) {
        match answer {
            Answer::Ack(offset) => {
                self.open_acts.remove(&n);
                self.send(&Out::Ack(Ack { n, offset }), out);
            }
            Answer::NotLogged => {
                self.open_acts.remove(&n);
                self.refuse(Some(n), "act", Refusal::NotLogged, out);
            }
            Answer::Unknown => self.send(&Out::Unknown(Unknown { n }), out),
        }
    }

    fn seen(&mut self, number: u64, held_ms: f64, now_us: u64, out: &mut Vec<Effect>) {
        self.said_seen_us = Some(now_us);
        let held_us = (held_ms.clamp(0.0, 1e4) * 1e3) as u64;
        if let Some(fact) = self.flow.seen(number, Some(held_us), now_us) {
            out.push(Effect::Note(Note::Seen(fact)));
        }
    }

    /// Whether `seen` is to be waited for. One that was lost, above the rate or by a mistake of the client, must not
    /// leave a session without states for ever: after a second of silence pongs count again.
    fn says_seen(&self, now_us: u64) -> bool {
        self.said_seen_us.is_some_and(|at| now_us.saturating_sub(at) < FLOW_SILENT_US)
    }

    fn on_pong(&mut self, payload: &[u8], now_us: u64, out: &mut Vec<Effect>) {
        self.heard_us = now_us;
        if let (Ok(number), false) = (payload.try_into().map(u64::from_le_bytes), self.says_seen(now_us))
            && let Some(fact) = self.flow.seen(number, None, now_us)
        {
            out.push(Effect::Note(Note::Seen(fact)));
        }
    }

    fn report(&mut self, report: Report, now_us: u64, out: &mut Vec<Effect>) {
        let Some(at) = self.digests.iter().position(|(number, _)| *number == report.number) else { return };
        let (_, digest) = self.digests[at];
        self.digests.drain(..=at);
        let same = digest == report.digest;
        out.push(Effect::Note(Note::Digest { same }));
        if !same && now_us.saturating_sub(self.repaired_us) >= REPAIR_PAUSE_US {
            self.repaired_us = now_us;
            self.view.doubt();
        }
    }

    // --- to the client --------------------------------------------------------------------------------------------

    fn on_tick(&mut self, tick: &Tick, now_us: u64, out: &mut Vec<Effect>) {
        if self.phase == Phase::New {
            if now_us.saturating_sub(self.opened_us) >= HELLO_WITHIN_US {
                self.close(Close::NoHello, out);
            }
            return;
        }
        let silent_us = now_us.saturating_sub(self.heard_us);
        if silent_us >= SILENT_US {
            return self.close(Close::Silent, out);
        }
        self.ping(silent_us, now_us, out);
        if let Some(place) = self.merged.take() {
            out.push(Effect::Submit(Submit::Move { entity: self.entity, place }));
        }
        let late = if self.met > 0 { tick.number.saturating_sub(self.met + 1) } else { 0 };
        self.met = tick.number;
        if late > 0 {
            out.push(Effect::Note(Note::Late(late)));
        }
        let Some(at) = self.movement.pos() else { return };
        match self.flow.judge(self.budget.rate(), now_us) {
            Some(Verdict::Fall(rate)) => self.budget.fall(rate),
            Some(Verdict::Climb) => self.budget.climb(),
            Some(Verdict::Stay) | None => {}
        }
        let around = tick.grid.partitions_around(at, self.radius_m * HYSTERESIS);
        let status = |partition: &u16| tick.partitions[usize::from(*partition)];
        self.tell_stale(around.iter().any(|partition| status(partition).stale), out);
        let complete = around.iter().all(|partition| status(partition).complete);
        let mut told = Vec::new();
        let room = (self.budget.room(now_us), self.budget.depth_bytes());
        let waits = self.cursors.pull(tick, around, (at, self.radius_m), room, &mut told);
        told.iter().for_each(|message| self.send(message, out));
        // While events wait they and states take turns, so that neither a crowd nor a backlog keeps the other out.
        let share = if waits && (tick.number / TURN_TICKS).is_multiple_of(2) { 0 } else { STATE_BYTES_MAX };
        let (room, per_tick) = (self.budget.room(now_us).min(share), self.budget.per_tick());
        self.tell_state(Turn { tick, me: self.entity, at, complete, room, per_tick }, now_us, out);
    }

    fn tell_state(&mut self, turn: Turn<'_>, now_us: u64, out: &mut Vec<Effect>) {
        if !self.flow.may_send(now_us) {
            return out.push(Effect::Note(Note::Skipped));
        }
        let tick = turn.tick;
        // Not kept from tick to tick: a thousand clients' would push each other out of the cache.
        let mut delta = Delta::default();
        let summary = self.view.step(turn, &mut delta);
        let says_nothing = delta.leaves.is_empty()
            && delta.enters.is_empty()
            && delta.changes.is_empty()
            && delta.updates.is_empty()
            && !delta.full_begin
            && !delta.full_end;
        if !says_nothing || tick.number >= self.context.tick + EMPTY_STATE_TICKS {
            let payload = self.encoding.encode_state(&mut self.context, &delta);
            let number = self.context.number;
            let bytes = payload.framed_len();
            self.budget.spend(bytes);
            self.flow.spent(bytes);
            let updates = delta.updates.len() as u64;
            let sample_us = (tick.number * TICK_US).saturating_sub(summary.age_sum_us / updates.max(1));
            self.flow.sent(number, bytes, if updates > 0 { sample_us } else { 0 }, now_us);
            if number.is_multiple_of(DIGEST_EVERY) {
                if self.digests.len() == DIGESTS_MAX {
                    self.digests.pop_front();
                }
                self.digests.push_back((number, self.view.digest()));
            }
            out.push(Effect::Send(payload));
            out.push(Effect::Note(Note::State(StateNote {
                bytes,
                enters: delta.enters.len(),
                updates: delta.updates.len(),
                leaves: delta.leaves.len(),
                full: delta.full_begin,
                summary,
            })));
        }
    }

    fn tell_stale(&mut self, stale: bool, out: &mut Vec<Effect>) {
        if stale != self.stale {
            self.stale = stale;
            self.send(&Out::Stale(Stale { stale }), out);
            out.push(Effect::Note(Note::Stale(stale)));
        }
    }

    /// Pings who is silent, and ten times a second who does not say `seen` and has something to see.
    fn ping(&mut self, silent_us: u64, now_us: u64, out: &mut Vec<Effect>) {
        let since_us = now_us.saturating_sub(self.pinged_us);
        let unseen = self.flow.newest_unseen().filter(|_| !self.says_seen(now_us));
        let due = match unseen {
            Some(_) => since_us >= FLOW_PING_US,
            None => silent_us >= PING_AFTER_US && since_us >= PING_AFTER_US,
        };
        if due {
            self.pinged_us = now_us;
            out.push(Effect::Ping(unseen.unwrap_or(0)));
        }
    }

    fn send(&mut self, message: &Out, out: &mut Vec<Effect>) {
        let payload = self.encoding.encode(message);
        self.budget.spend(payload.framed_len());
        self.flow.spent(payload.framed_len());
        out.push(Effect::Send(payload));
    }

    fn refuse(&mut self, n: Option<u64>, of: &'static str, reason: Refusal, out: &mut Vec<Effect>) {
        out.push(Effect::Note(Note::Refused(reason)));
        let refuse = Refuse { n, of: of.into(), code: reason.code().into(), text: reason.text().into() };
        self.send(&Out::Refuse(refuse), out);
    }

    /// Refusals for rate are told once a second, so that a flood is not answered by a flood.
    fn refuse_rate(&mut self, of: &'static str, now_us: u64, out: &mut Vec<Effect>) {
        match self.gate.strike(now_us) {
            gate::Strike::Tell => self.refuse(None, of, Refusal::Rate, out),
            gate::Strike::Silent => out.push(Effect::Note(Note::Refused(Refusal::Rate))),
            gate::Strike::Close => self.close(Close::Rate, out),
        }
    }

    fn unreadable(&mut self, error: &Unreadable, now_us: u64, out: &mut Vec<Effect>) {
        let (reason, text) = match error {
            Unreadable::UnknownType(_) => (Refusal::UnknownType, None),
            Unreadable::Malformed(why) => (Refusal::Malformed, Some(why)),
        };
        out.push(Effect::Note(Note::Refused(reason)));
        let text = text.map_or_else(|| reason.text().into(), |why| format!("{}: {why}", reason.text()).into());
        let refuse = Refuse { n: None, of: "message".into(), code: reason.code().into(), text };
        self.send(&Out::Refuse(refuse), out);
        if self.gate.unreadable(now_us) {
            self.close(Close::BadMessages, out);
        }
    }

    fn close(&mut self, close: Close, out: &mut Vec<Effect>) {
        let again = close.again();
        let (code, text) = (close.code(), close.text().into());
        self.send(&Out::Bye(ByeOut { code, text, again: again.is_some(), after_ms: again.unwrap_or(0) }), out);
        out.push(Effect::Close(close));
        let entity = self.entity;
        match close {
            Close::Bye => self.phase = Phase::Over,
            // Without resume they come back as somebody else; who they were must not stand beside them.
            Close::Drain(_) => self.end(Submit::Leave { entity }, out),
            Close::Silent
            | Close::Rate
            | Close::Internal
            | Close::NoHello
            | Close::NoWorld
            | Close::BadMessages
            | Close::TooBig => self.end(Submit::Gone { entity }, out),
        }
    }

    fn end(&mut self, last: Submit, out: &mut Vec<Effect>) {
        if self.phase == Phase::Live {
            out.push(Effect::Submit(last));
        }
        self.phase = Phase::Over;
    }
}

/// The payload of a ping: the number of the newest state on its way.
#[must_use]
pub fn ping_payload(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Heard;
    use crate::codec::message::Scope;
    use crate::region::frame::{Entity, Event, Frame, PartitionStatus, Ring, Spot};
    use crate::space::{Grid, Pos, Region};

    const NOW_US: u64 = 1_700_000_000 * SECOND_US;

    struct Client {
        session: Session,
        context: Context,
    }

    impl Client {
        /// A client that stands at the origin.
        fn placed() -> Client {
            let session = Session::new(1, 2, Encoding::MessagePack, Arc::new(WorldSettings::plaza()), NOW_US);
            let mut client = Client { session, context: Context::default() };
            client.say(In::Hello(Hello { world: "plaza".into(), ..Hello::default() }));
            let state = crate::codec::message::AppState::default();
            client.say(In::Move(Move { time: 0.0, pos: [0.0; 3], yaw: 0.0, state, seen: None, held_ms: None }));
            client
        }

        fn say(&mut self, message: In) -> Vec<Effect> {
            let payload = Encoding::MessagePack.encode_in(&message);
            self.input(Input::Message(payload.bytes()))
        }

        fn act(&mut self, n: u64) -> Vec<Effect> {
            let (name, data) = ("wave".into(), String::new());
            self.say(In::Act(Act { n, scope: Scope::Nearby, name, data, time: 0.0, pos: [0.0; 3] }))
        }

        fn input(&mut self, input: Input<'_>) -> Vec<Effect> {
            self.input_at(input, NOW_US)
        }

        fn input_at(&mut self, input: Input<'_>, now_us: u64) -> Vec<Effect> {
            let mut effects = Vec::new();
            self.session.on(input, now_us, &mut effects);
            effects
        }

        /// The names of what was sent: refusals by their code.
        fn heard(&mut self, effects: &[Effect]) -> Vec<String> {
            let payloads =
                effects.iter().filter_map(|e| if let Effect::Send(payload) = e { Some(payload) } else { None });
            let mut name = |payload: &crate::codec::Payload| match Encoding::MessagePack
                .decode_out(&mut self.context, payload.bytes())
                .expect("ours")
            {
                Heard::Other(Out::Refuse(refuse)) => refuse.code.into_owned(),
                Heard::Other(Out::Unknown(_)) => "unknown".into(),
                Heard::Other(_) | Heard::State(_) => "something else".into(),
            };
            payloads.map(&mut name).collect()
        }
    }

    fn submits(effects: &[Effect]) -> bool {
        effects.iter().any(|effect| matches!(effect, Effect::Submit(Submit::Act(_))))
    }

    #[test]
    fn a_resend_that_cannot_be_handed_on_is_not_refused() {
        let mut client = Client::placed();
        assert!(submits(&client.act(7)));
        assert!(submits(&client.act(7)), "after `unknown`");
        let busy = client.input(Input::Busy(7));
        assert_eq!(client.heard(&busy), ["unknown"], "the first may be in the log");
        assert!(submits(&client.act(8)));
        let busy = client.input(Input::Busy(8));
        assert_eq!(client.heard(&busy), ["busy"]);
    }

    /// A tick at which one avatar has just moved, and `n` long events stand in the ring.
    fn busy(number: u64, n: u64) -> Tick {
        let spot =
            Spot { id: 9, touched: number, pos: Pos { x: 100, y: 0, z: (number % 100) as i32 }, handle: 0, epoch: 1 };
        let avatar = Entity {
            time_us: number * TICK_US,
            yaw: 0,
            teleported: 0,
            moved: number,
            changed: 1,
            renamed: 1,
            state: crate::codec::message::AppState::default(),
            profile: "".into(),
        };
        let (scope, pos, data) = (Scope::Nearby, Pos::default(), "x".repeat(2_000));
        let event = |offset| Event { offset, from: 9, scope, pos, name: "x".into(), data: data.as_str().into() };
        let events = (0..n).map(|offset| Arc::new(event(offset))).collect();
        let frame = Frame { region: Region { x: 0, z: 0 }, spots: vec![spot], entities: vec![avatar] };
        Tick {
            number,
            grid: Grid { w: 1, h: 1 },
            frames: vec![Arc::new(frame)],
            partitions: vec![PartitionStatus { complete: true, stale: false }],
            events: vec![Arc::new(Ring { start: 0, end: n, events })],
        }
    }

    #[test]
    fn a_client_whose_seen_was_lost_gets_states_again() {
        let mut client = Client::placed();
        let first = NOW_US / TICK_US;
        let mut sent = 0;
        for number in first..first + 200 {
            let now_us = number * TICK_US;
            let effects = client.input_at(Input::Tick(&busy(number, 0)), now_us);
            sent = effects.iter().filter(|e| matches!(e, Effect::Note(Note::State(_)))).count();
            // It says `seen` for five seconds; then, as the browsers of all, it answers pings only.
            if number < first + 100 {
                let seen = In::Seen(crate::codec::message::Seen { seen: client.session.context.number, held_ms: 0.0 });
                client.input_at(Input::Message(Encoding::MessagePack.encode_in(&seen).bytes()), now_us);
            }
            for effect in effects {
                if let Effect::Ping(seen) = effect {
                    client.input_at(Input::Pong(&ping_payload(seen)), now_us);
                }
            }
        }
        assert_eq!(sent, 1, "a state at the last tick");
    }

    #[test]
    fn a_backlog_of_events_and_the_view_take_turns_on_a_small_budget() {
        let mut client = Client::placed();
        client.say(In::View(ViewWish { radius: None, budget: Some(crate::limits::BUDGET_MIN) }));
        let first = NOW_US / TICK_US;
        let (mut shown, mut told) = (first, 0);
        for number in first..first + 60 * 20 {
            let n = if number < first + 40 { 0 } else { 10 };
            let now_us = number * TICK_US;
            for effect in client.input_at(Input::Tick(&busy(number, n)), now_us) {
                match effect {
                    Effect::Note(Note::State(state)) if state.updates + state.enters > 0 => shown = number,
                    Effect::Send(payload) => told += usize::from(payload.bytes().len() > 1_900),
                    Effect::Ping(_) | Effect::Submit(_) | Effect::Close(_) | Effect::Note(_) => {}
                }
            }
            let seen = In::Seen(crate::codec::message::Seen { seen: client.session.context.number, held_ms: 0.0 });
            client.input_at(Input::Message(Encoding::MessagePack.encode_in(&seen).bytes()), now_us);
            assert!(number - shown <= 4 * TURN_TICKS, "nothing shown for {} ticks", number - shown);
        }
        assert_eq!(told, 10, "all events");
    }

    #[test]
    fn action_numbers_may_be_as_large_as_they_like() {
        let mut client = Client::placed();
        assert!(submits(&client.act(u64::MAX)));
        assert!(submits(&client.act(u64::MAX - 31)));
        let refused = client.act(u64::MAX - 70);
        assert_eq!(client.heard(&refused), ["window"]);
    }
}
