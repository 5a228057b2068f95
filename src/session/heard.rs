//! What comes from the client: messages are decoded, admitted and turned into submissions or refusals.

use std::borrow::Cow;
use std::sync::Arc;

use super::gate::Strike;
use super::{Effect, Note, Phase, Session};
use crate::admit::movement::Rule;
use crate::admit::text::{self, Kind};
use crate::admit::{Close, Refusal};
use crate::codec::Unreadable;
use crate::codec::message::{In, Move, Out, Ping, Pong, Refuse, Report, View as ViewWish};
use crate::limits::{
    FLOW_SEEN_FADES, FLOW_SILENT_MAX_US, FLOW_SILENT_TIMES, FLOW_SILENT_US, PROFILE_BYTES_MAX, RADIUS_MAX_M,
    RADIUS_MIN_M, REPAIR_PAUSE_US,
};
use crate::region::Submit;
use crate::region::motion::owned::Place;
use crate::settings::Enforcement;
use crate::space::yaw_from_degrees;

impl Session {
    pub(super) fn on_bytes(&mut self, bytes: &[u8], now_us: u64, out: &mut Vec<Effect>) {
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
            (Phase::Opening, message) => self.on_early(message, now_us, out),
            (_, message) => self.on_message(message, now_us, out),
        }
    }

    fn on_message(&mut self, message: In, now_us: u64, out: &mut Vec<Effect>) {
        let name = message.name();
        match message {
            In::Move(step) => self.step(&step, now_us, out),
            In::Seen(seen) => self.seen(seen.seen, seen.held_ms, now_us, out),
            In::Act(act) => self.act(&act, now_us, out),
            In::Set(set) => self.set(&set, now_us, out),
            In::Profile(profile) => {
                if !self.gate.change(now_us) {
                    return self.refuse_rate(name, now_us, out);
                }
                match clean(&profile.profile, Kind::Line, PROFILE_BYTES_MAX, out) {
                    Ok(profile) => out.push(Effect::Submit(Submit::Profile { entity: self.entity, profile })),
                    Err(reason) => self.refuse(None, name, reason, out),
                }
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
            In::Ping(ping) => self.pong(ping, now_us, out),
            In::Report(report) => self.report(report, now_us, out),
            In::Bye(_) => {
                out.push(Effect::Submit(Submit::Leave { entity: self.entity, incarnation: self.incarnation }));
                self.close(Close::Bye, out);
            }
            In::Hello(_) => self.refuse(None, name, Refusal::Again, out),
            In::Auth(_) | In::Pose(_) | In::Read(_) | In::GroupJoin(_) | In::GroupLeave(_) | In::Ignore(_) => {
                self.refuse(None, name, Refusal::NotSupported, out)
            }
        }
    }

    /// Takes over what a client wants to see. False if it is no number.
    pub(super) fn look(&mut self, wish: ViewWish) -> bool {
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

    pub(super) fn pong(&mut self, ping: Ping, now_us: u64, out: &mut Vec<Effect>) {
        let server = now_us as f64 / 1e3;
        let time = if ping.time.is_finite() { ping.time } else { 0.0 };
        self.send(&Out::Pong(Pong { time, server }), out);
    }

    pub(super) fn step(&mut self, step: &Move, now_us: u64, out: &mut Vec<Effect>) {
        if let Some(number) = step.seen {
            self.seen(number, step.held_ms.unwrap_or(0.0), now_us, out);
        }
        let mut place = match self.judge(step, now_us, out) {
            Ok(place) => place,
            Err(Refusal::Rate) => return self.refuse_rate("move", now_us, out),
            Err(Refusal::Speed) => {
                self.refuse(None, "move", Refusal::Speed, out);
                if self.gate.too_fast(self.world.refused_moves, now_us) {
                    self.close(Close::Moves, out);
                }
                return;
            }
            Err(reason) => return self.refuse(None, "move", reason, out),
        };
        out.push(Effect::Note(Note::Sample { client_to_gateway_us: now_us.saturating_sub(place.time_us) }));
        place.jumped |= self.merged.take().is_some_and(|merged| merged.jumped);
        if self.gate.step(now_us) {
            out.push(Effect::Submit(Submit::Move { entity: self.entity, place }));
        } else {
            self.merged = Some(place);
            out.push(Effect::Note(Note::Merged));
        }
    }

    fn judge(&mut self, step: &Move, now_us: u64, out: &mut Vec<Effect>) -> Result<Place, Refusal> {
        // The place comes last: what is refused has no effect.
        let yaw = yaw_from_degrees(step.yaw).ok_or(Refusal::NotFinite)?;
        let time_us = self.clock.map(step.time, now_us).ok_or(Refusal::NotFinite)?;
        let next = self.movement.judge(step.pos, &self.world, now_us)?;
        if next.too_fast {
            self.broken(Rule::Speed, Refusal::Speed, out)?;
            if self.gate.too_fast(self.world.refused_moves, now_us) {
                self.broken(Rule::RefusedMoves, Refusal::Speed, out)?;
            }
        }
        if next.crosses && !self.gate.crossing(now_us) {
            return Err(Refusal::Rate);
        }
        self.movement.go(&next);
        Ok(Place { time_us, pos: next.pos, yaw, state: step.state, jumped: next.jumped })
    }

    /// A rule of movement is broken: an error where it is enforced, counted where it is in shadow.
    pub(super) fn broken(&self, rule: Rule, refusal: Refusal, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        match self.world.enforcement_of(self.role) {
            Enforcement::Enforce => return Err(refusal),
            Enforcement::Shadow => out.push(Effect::Note(Note::Shadowed(rule))),
            Enforcement::Off => {}
        }
        Ok(())
    }

    fn seen(&mut self, number: u64, held_ms: f64, now_us: u64, out: &mut Vec<Effect>) {
        self.says_seen = true;
        let waited_us = self.waits_seen_us.take().map_or(0, |since_us| now_us.saturating_sub(since_us));
        // There is none before the welcome.
        if (1..=self.context.number).contains(&number) {
            self.confirm(out);
        }
        let held_us = (held_ms.clamp(0.0, 1e4) * 1e3) as u64;
        let fact = self.flow.seen(number, Some(held_us), now_us);
        let took_us = fact.map_or(0, |fact| fact.write_to_seen_us + held_us);
        // What has come in between tells less of a queue than what had been in it.
        self.seen_took_us = took_us.max(waited_us).max(self.seen_took_us - self.seen_took_us / FLOW_SEEN_FADES);
        if let Some(fact) = fact {
            out.push(Effect::Note(Note::Seen(fact)));
        }
    }

    /// Whether `seen` is to be waited for. One that was lost, above the rate or by a mistake of the client, must not
    /// leave a session without states for ever: after some silence pongs count again. They tell less: a browser answers
    /// pings at once, however late its page comes to what it was told.
    pub(super) fn says_seen(&self, now_us: u64) -> bool {
        let patience_us = (self.seen_took_us * FLOW_SILENT_TIMES).clamp(FLOW_SILENT_US, FLOW_SILENT_MAX_US);
        let waits = |since: u64| now_us.saturating_sub(since) >= patience_us;
        self.says_seen && !self.waits_seen_us.is_some_and(waits)
    }

    /// Pings and pongs have a rate of their own and count as messages too: a flood of them is cut.
    pub(super) fn on_ping(&mut self, payload: &[u8], now_us: u64, out: &mut Vec<Effect>) {
        self.heard_us = now_us;
        if !self.gate.control(payload.len(), now_us) {
            return self.refuse_rate("message", now_us, out);
        }
        out.push(Effect::Pong(payload.into()));
    }

    pub(super) fn on_pong(&mut self, payload: &[u8], now_us: u64, out: &mut Vec<Effect>) {
        self.heard_us = now_us;
        if !self.gate.control(payload.len(), now_us) {
            return self.refuse_rate("message", now_us, out);
        }
        self.confirm(out);
        if let (Ok(number), false) = (payload.try_into().map(u64::from_le_bytes), self.says_seen(now_us))
            && let Some(fact) = self.flow.seen(number, None, now_us)
        {
            out.push(Effect::Note(Note::Seen(fact)));
        }
    }

    fn report(&mut self, report: Report, now_us: u64, out: &mut Vec<Effect>) {
        if let Some(ages_ms) = report.age_ms {
            if !ages_ms.iter().all(|age_ms| age_ms.is_finite()) {
                return self.refuse(None, "report", Refusal::NotFinite, out);
            }
            out.push(Effect::Note(Note::Ages { p50_ms: ages_ms[0], p99_ms: ages_ms[1] }));
        }
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

    /// Refusals for rate are told once a second, so that a flood is not answered by a flood.
    fn refuse_rate(&mut self, of: &'static str, now_us: u64, out: &mut Vec<Effect>) {
        match self.gate.strike(now_us) {
            Strike::Tell => self.refuse(None, of, Refusal::Rate, out),
            Strike::Silent => out.push(Effect::Note(Note::Refused(Refusal::Rate))),
            Strike::Close => self.close(Close::Rate, out),
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
}

/// A text as others get it, see [`text::clean`].
pub(super) fn clean(text: &str, kind: Kind, bytes_max: usize, out: &mut Vec<Effect>) -> Result<Arc<str>, Refusal> {
    let cleaned = text::clean(text, kind, bytes_max)?;
    if let Cow::Owned(_) = cleaned {
        out.push(Effect::Note(Note::Cleaned));
    }
    Ok(cleaned.into())
}
