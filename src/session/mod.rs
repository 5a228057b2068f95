//! One client's session as a pure state machine: `on(input, now) → effects`. It decodes, admits, keeps the client's
//! view and decides what is sent; it knows no socket, clock or log. Driven by `edge`, and by the simulation.

pub mod account;
mod command;
mod cursor;
pub mod effect;
pub mod events;
pub mod flow;
pub mod gate;
mod heard;
mod opening;
pub mod rest;
pub mod things;
mod tick;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::admit::movement::Movement;
use crate::admit::{Close, Refusal};
use crate::clock::ClientClock;
use crate::codec::Encoding;
use crate::codec::message::{Id, Move, Out, Refuse, Resume};
use crate::codec::state::Context;
use crate::region::frame::Tick;
use crate::region::motion::owned::Place;
use crate::region::{Answer, Letter, Submit};
use crate::settings::{Limits, Role, WorldSettings};
use crate::space::Around;
use crate::view::View;
use crate::view::budget::Budget;

use command::Open;
pub use effect::{Effect, Note, StateNote};
use events::Cursors;
use flow::Flow;
use gate::Gate;
use rest::Rest;
use things::Things;

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// A WebSocket message came.
    Message(&'a [u8]),
    /// A WebSocket ping came, to be answered with what it carries.
    Ping(&'a [u8]),
    /// A WebSocket pong came, with what the ping carried.
    Pong(&'a [u8]),
    /// The world shows a new tick; a state may have so many rows.
    Tick(&'a Tick, usize),
    /// A command has its answer.
    Answered(u64, Answer),
    /// What the world tells the session of itself.
    Letter(&'a Letter),
    /// A command could not be handed on: the world has too much to do.
    Busy(u64),
    /// The gateway is going; the client is to come back, spread over so many ms.
    Drain(u32),
    /// What came can be read no further.
    Broken(Close),
    /// The socket is gone.
    Gone,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    id: Id,
    entity: Id,
    /// Whose it is, once it has been welcomed.
    user: Id,
    /// Which opening of the session this is.
    incarnation: u64,
    /// The client is known to have been welcomed.
    confirmed: bool,
    /// When it said `hello`.
    asked_us: u64,
    /// What it wants to go on with; until it has been welcomed.
    resume: Option<Resume>,
    /// The last move before it was welcomed, and when that came.
    early: Option<(Move, u64)>,
    encoding: Encoding,
    world: Arc<WorldSettings>,
    role: Role,
    phase: Phase,
    opened_us: u64,
    heard_us: u64,
    pinged_us: u64,
    /// It has said `seen`; and when the first state since was sent.
    says_seen: bool,
    waits_seen_us: Option<u64>,
    /// How long `seen` has taken of late.
    seen_took_us: u64,
    gate: Gate,
    clock: ClientClock,
    movement: Movement,
    merged: Option<Place>,
    radius_m: f64,
    /// Commands without an answer.
    open: Open,
    view: View,
    budget: Budget,
    flow: Flow,
    context: Context,
    digests: VecDeque<(u64, u32)>,
    repaired_us: u64,
    around: Around,
    cursors: Cursors,
    /// Some events did not fit at the last tick.
    events_wait: bool,
    /// What it was told of objects.
    things: Things,
    stale: bool,
    /// The last tick it met, if it has not rested since.
    met: Option<u64>,
    rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `hello` has not come.
    New,
    /// The log is asked.
    Opening,
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
            user: id,
            incarnation: 0,
            confirmed: false,
            asked_us: now_us,
            resume: None,
            early: None,
            encoding,
            role: Role::Player,
            phase: Phase::New,
            opened_us: now_us,
            heard_us: now_us,
            pinged_us: now_us,
            says_seen: false,
            waits_seen_us: None,
            seen_took_us: 0,
            gate: Gate::new(&world.limits, now_us),
            clock: ClientClock::default(),
            movement: Movement::default(),
            merged: None,
            radius_m: world.radius,
            open: Open::default(),
            view: View::new(encoding),
            budget: Budget::new(now_us),
            flow: Flow::default(),
            context: Context::default(),
            digests: VecDeque::new(),
            repaired_us: 0,
            around: Around::default(),
            cursors: Cursors::default(),
            events_wait: false,
            things: Things::default(),
            stale: false,
            met: None,
            rest: None,
            world,
        }
    }

    /// What it may do.
    fn limits(&self) -> &Limits {
        self.world.limits_of(self.role)
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

    /// What it was told of objects, for the simulation's checker.
    #[must_use]
    pub fn things(&self) -> &Things {
        &self.things
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
        self.budget.fill(now_us);
        self.rest = None;
        match input {
            Input::Message(bytes) => self.on_bytes(bytes, now_us, out),
            Input::Ping(payload) => self.on_ping(payload, now_us, out),
            Input::Pong(payload) => self.on_pong(payload, now_us, out),
            Input::Tick(tick, rows_max) => self.on_tick(tick, rows_max, now_us, out),
            Input::Answered(n, answer) => self.on_answer(n, answer, out),
            Input::Letter(letter) => self.on_letter(letter, now_us, out),
            Input::Busy(n) => self.busy(n, out),
            Input::Drain(after_ms) => self.close(Close::Drain(after_ms), out),
            Input::Broken(close) => self.close(close, out),
            Input::Gone => self.end(out),
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

    fn close(&mut self, close: Close, out: &mut Vec<Effect>) {
        self.send(&Out::Bye(close.bye()), out);
        out.push(Effect::Close(close));
        match close {
            // The world knows.
            Close::Bye | Close::Superseded => self.phase = Phase::Over,
            Close::Drain(_)
            | Close::Silent
            | Close::Unfinished
            | Close::Moves
            | Close::Rate
            | Close::Internal
            | Close::NoLog
            | Close::NoHello
            | Close::NoWorld
            | Close::BadMessages
            | Close::Protocol
            | Close::NotUtf8
            | Close::TooBig => self.end(out),
        }
    }

    fn end(&mut self, out: &mut Vec<Effect>) {
        out.extend(self.last_word().map(Effect::Submit));
        self.phase = Phase::Over;
    }

    /// What the world must be told when the session ends without a word of its client.
    #[must_use]
    pub fn last_word(&self) -> Option<Submit> {
        match self.phase {
            Phase::New | Phase::Over => None,
            Phase::Opening => Some(Submit::Abandon { session: self.id }),
            Phase::Live => Some(Submit::Gone { entity: self.entity, incarnation: self.incarnation }),
        }
    }
}

/// The payload of a ping: the number of the newest state on its way.
#[must_use]
pub fn ping_payload(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::events::TURN_TICKS;
    use super::*;
    use crate::codec::Heard;
    use crate::codec::message::{Act, Hello, In, Move, Scope, View as ViewWish};
    use crate::limits::{NUMBER_MAX, ROWS_MAX, SECOND_US, TICK_US};
    use crate::region::Opened;
    use crate::region::commands::event::Ring;
    use crate::region::frame::{Entity, PartitionStatus, Spot};
    use crate::space::{Grid, Pos};

    const NOW_US: u64 = 1_700_000_000 * SECOND_US;

    struct Client {
        session: Session,
        known: crate::codec::state::Known,
    }

    impl Client {
        /// A client that stands at the origin.
        fn placed() -> Client {
            let session = Session::new(1, 2, Encoding::MessagePack, Arc::new(WorldSettings::plaza()), NOW_US);
            let mut client = Client { session, known: crate::codec::state::Known::default() };
            client.say(In::Hello(Hello { world: "plaza".into(), ..Hello::default() }));
            client.input(Input::Letter(&opened(false, None)));
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
            self.say(In::Act(Act { n, to: None, scope: Scope::Nearby, name, data, time: 0.0, pos: [0.0; 3] }))
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
                .decode_out(&mut self.known, payload.bytes())
                .expect("ours")
            {
                Heard::Other(Out::Refuse(refuse)) => refuse.code.into_owned(),
                Heard::Other(Out::Unknown(_)) => "unknown".into(),
                Heard::Other(_) | Heard::State(_) => "something else".into(),
            };
            payloads.map(&mut name).collect()
        }
    }

    /// The session is number 1 with avatar 2, new or resumed.
    fn opened(resumed: bool, at: Option<(Pos, u64)>) -> Letter {
        let opened = Opened { session: 1, entity: 2, user: 1, incarnation: 7, resumed, token: None, at };
        Letter::Opened(Box::new(opened))
    }

    fn submits(effects: &[Effect]) -> bool {
        effects.iter().any(|effect| matches!(effect, Effect::Submit(Submit::Command(_))))
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
        let spot = Spot {
            id: 9,
            touched: number,
            pos: Pos { x: 100, y: 0, z: (number % 100) as i32 },
            epoch: 1,
            ..Spot::default()
        };
        let avatar = Entity { yaw: 0, teleported: 0, moved: number, changed: 1, renamed: 1, ..Entity::default() };
        let tick = Tick {
            partitions: vec![PartitionStatus { complete: true, ..PartitionStatus::default() }; 2],
            events: vec![Some(Arc::new(Ring::backlog(Pos::default(), n))), None],
            ..Tick::empty(number, Grid { w: 1, h: 1 })
        };
        tick.with(vec![(spot, avatar)])
    }

    #[test]
    fn a_client_whose_seen_was_lost_gets_states_again() {
        let mut client = Client::placed();
        let first = NOW_US / TICK_US;
        let mut sent = 0;
        for number in first..first + 200 {
            let now_us = number * TICK_US;
            let effects = client.input_at(Input::Tick(&busy(number, 0), ROWS_MAX), now_us);
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
            for effect in client.input_at(Input::Tick(&busy(number, n), ROWS_MAX), now_us) {
                match effect {
                    Effect::Note(Note::State(state)) if state.updates + state.enters > 0 => shown = number,
                    Effect::Send(payload) => told += usize::from(payload.bytes().len() > 1_900),
                    Effect::Ping(_) | Effect::Pong(_) | Effect::Submit(_) | Effect::Close(_) | Effect::Note(_) => {}
                }
            }
            let seen = In::Seen(crate::codec::message::Seen { seen: client.session.context.number, held_ms: 0.0 });
            client.input_at(Input::Message(Encoding::MessagePack.encode_in(&seen).bytes()), now_us);
            assert!(number - shown <= 4 * TURN_TICKS, "nothing shown for {} ticks", number - shown);
        }
        assert_eq!(told, 10, "all events");
    }

    #[test]
    fn a_move_without_a_facing_or_a_time_moves_nobody() {
        let mut client = Client::placed();
        let at = client.session.movement.pos();
        for (time, yaw) in [(0.0, f64::NAN), (f64::INFINITY, 0.0)] {
            let state = crate::codec::message::AppState::default();
            let pos = [1.0, 0.0, 1.0];
            let effects = client.say(In::Move(Move { time, pos, yaw, state, seen: None, held_ms: None }));
            assert_eq!(client.heard(&effects), ["not_finite"]);
            assert_eq!(client.session.movement.pos(), at);
        }
    }

    #[test]
    fn whom_to_tell_goes_with_its_scope_only() {
        let mut client = Client::placed();
        let mut tell = |n, scope, to| {
            let (name, data) = ("wave".into(), String::new());
            let effects = client.say(In::Act(Act { n, to, scope, name, data, time: 0.0, pos: [0.0; 3] }));
            (submits(&effects), client.heard(&effects))
        };
        for (scope, to) in [
            (Scope::Nearby, Some(5)),
            (Scope::Region, Some(5)),
            (Scope::World, Some(5)),
            (Scope::User, None),
            (Scope::User, Some(NUMBER_MAX + 1)),
        ] {
            assert_eq!(tell(1, scope, to), (false, vec!["lacks".to_owned()]), "{scope:?} {to:?}");
        }
        assert_eq!(tell(1, Scope::User, Some(5)), (true, vec![]));
    }

    #[test]
    fn what_an_earlier_connection_may_have_handed_on_is_not_refused_unless_it_never_can_be() {
        let mut client = Client::placed();
        let session = Session::new(1, 2, Encoding::MessagePack, Arc::new(WorldSettings::plaza()), NOW_US);
        (client.session, client.known) = (session, crate::codec::state::Known::default());
        let resume = crate::codec::message::Resume { open: Some(7), ..Default::default() };
        client.say(In::Hello(Hello { world: "plaza".into(), resume: Some(resume), ..Hello::default() }));
        client.input(Input::Letter(&opened(true, Some((Pos::default(), NOW_US)))));
        let mut far = |n, metres: f64, name: &str| {
            let (name, data) = (name.to_owned(), String::new());
            let pos = [metres, 0.0, 0.0];
            let effects = client.say(In::Act(Act { n, scope: Scope::Nearby, name, data, time: 0.0, pos, to: None }));
            client.heard(&effects)
        };
        for n in [7, 8, 38] {
            assert_eq!(far(n, 900.0, "wave"), ["unknown"], "{n}: it may be in the log");
            assert_eq!(far(n, 0.0, ""), ["length"], "{n}: it is the same message, and was wrong then");
        }
        client.act(8);
        for answer in [Input::Busy(8), Input::Answered(8, crate::region::Answer::NotLogged(crate::log::Health::Well))] {
            let effects = client.input(answer);
            assert_eq!(client.heard(&effects), ["unknown"], "this gateway has not written it; another may have");
        }
    }

    #[test]
    fn action_numbers_may_be_as_large_as_javascript_counts() {
        let mut client = Client::placed();
        assert!(submits(&client.act(NUMBER_MAX)));
        assert!(submits(&client.act(NUMBER_MAX - 31)));
        for n in [NUMBER_MAX - 70, NUMBER_MAX + 1, u64::MAX] {
            let refused = client.act(n);
            assert_eq!(client.heard(&refused), ["window"], "{n}");
        }
    }
}
