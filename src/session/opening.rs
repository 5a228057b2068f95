//! From `hello` to `welcome`: the log says which session this is. Until then nothing is kept of what the client says but its
//! newest move, which is judged when it is known where the avatar was.

use super::gate::Gate;
use super::heard::clean;
use super::{Effect, Phase, Session};
use crate::admit::text::Kind;
use crate::admit::{Close, Refusal};
use crate::codec::message::{Hello, In, Out, Resume, Welcome};
use crate::limits::{PROFILE_BYTES_MAX, RESUME_CURSORS_MAX, TICK_US, TOKEN_BYTES_MAX};
use crate::region::{Letter, Opened, Submit};
use crate::settings::Role;

impl Session {
    pub(super) fn hello(&mut self, hello: Hello, now_us: u64, out: &mut Vec<Effect>) {
        if hello.world != self.world.name {
            return self.close(Close::NoWorld, out);
        }
        let token_len = hello.token.as_ref().map_or(0, String::len);
        let cursors = hello.resume.as_ref().map_or(0, |resume| resume.cursors.len());
        if token_len > TOKEN_BYTES_MAX || cursors > RESUME_CURSORS_MAX {
            return self.refuse(None, "hello", Refusal::Length, out);
        }
        let profile = match clean(&hello.profile.unwrap_or_default(), Kind::Line, PROFILE_BYTES_MAX, out) {
            Ok(profile) => profile,
            Err(reason) => return self.refuse(None, "hello", reason, out),
        };
        self.budget.ask(self.world.budget);
        if !self.look(hello.view.unwrap_or_default()) {
            return self.refuse(None, "hello", Refusal::NotFinite, out);
        }
        self.role = self.world.role(hello.token.as_deref());
        match self.role {
            Role::Player => {}
            Role::Server => self.gate = Gate::new(self.limits(), now_us),
        }
        (self.phase, self.asked_us, self.resume) = (Phase::Opening, now_us, hello.resume);
        let token = self.resume.as_ref().map(|resume| resume.token.as_str().into());
        let (session, entity, radius_m) = (self.id, self.entity, self.radius_m);
        out.push(Effect::Submit(Submit::Open { session, entity, profile, radius_m, token }));
    }

    /// A message before the welcome.
    pub(super) fn on_early(&mut self, message: In, now_us: u64, out: &mut Vec<Effect>) {
        let name = message.name();
        match message {
            In::Move(step) => self.early = Some((step, now_us)),
            In::Ping(ping) => self.pong(ping, now_us, out),
            In::Bye(_) => {
                self.end(out);
                self.close(Close::Bye, out);
            }
            In::Hello(_) => self.refuse(None, name, Refusal::Again, out),
            In::Act(act) => self.refuse(Some(act.n), name, Refusal::NotOpen, out),
            In::Set(set) => self.refuse(Some(set.n), name, Refusal::NotOpen, out),
            // They are about states, of which there are none yet.
            In::Seen(_) | In::Report(_) => {}
            In::Profile(_)
            | In::View(_)
            | In::Auth(_)
            | In::Pose(_)
            | In::Read(_)
            | In::GroupJoin(_)
            | In::GroupLeave(_)
            | In::Ignore(_) => self.refuse(None, name, Refusal::NotOpen, out),
        }
    }

    pub(super) fn on_letter(&mut self, letter: &Letter, now_us: u64, out: &mut Vec<Effect>) {
        match (letter, self.phase) {
            (Letter::Opened(opened), Phase::Opening) => self.on_opened(opened, now_us, out),
            (Letter::Unopened, Phase::Opening) => self.close(Close::NoLog, out),
            (Letter::Superseded, Phase::Live) => self.close(Close::Superseded, out),
            (Letter::Recalled(recalled), Phase::Live) => self.cursors.recalled(recalled),
            // What crossed its own end.
            (Letter::Opened(_) | Letter::Unopened | Letter::Superseded | Letter::Recalled(_), _) => {}
        }
    }

    fn on_opened(&mut self, opened: &Opened, now_us: u64, out: &mut Vec<Effect>) {
        let Opened { session, entity, user, incarnation, resumed, ref token, at } = *opened;
        (self.phase, self.id, self.entity, self.incarnation) = (Phase::Live, session, entity, incarnation);
        if let Some((pos, since_us)) = at {
            self.movement.resume(pos, since_us);
        }
        self.user = user;
        self.cursors.hear(user, self.world.grid);
        let resume = self.resume.take().filter(|_| resumed).unwrap_or_default();
        let Resume { open, cursors, .. } = resume;
        let max = self.limits().open_acts;
        open.into_iter().for_each(|lowest| self.open.resume(lowest, max));
        if resumed {
            self.cursors.resume(&cursors, self.world.grid, at.map(|(pos, _)| pos));
        }
        let welcome = Welcome {
            session,
            entity,
            world: self.world.name.clone(),
            min: self.world.min,
            max: self.world.max,
            speed: self.world.speed,
            tick_ms: TICK_US as f64 / 1e3,
            time: now_us as f64 / 1e3,
            radius: self.radius_m,
            budget: self.budget.rate(),
            resumed,
            token: token.clone(),
            user,
        };
        self.send(&Out::Welcome(welcome), out);
        // Its pong says that the welcome has arrived, whatever the client says.
        out.push(Effect::Ping(0));
        if let Some((step, came_us)) = self.early.take() {
            self.step(&step, came_us, out);
        }
    }

    /// The client says something that it cannot have said before it was welcomed.
    pub(super) fn confirm(&mut self, out: &mut Vec<Effect>) {
        if self.phase == Phase::Live && !self.confirmed {
            self.confirmed = true;
            let (entity, incarnation) = (self.entity, self.incarnation);
            out.push(Effect::Submit(Submit::Confirm { entity, incarnation }));
        }
    }
}
