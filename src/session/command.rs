//! What a client does and wishes: numbered, judged, handed to the log, and answered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::heard::clean;
use super::{Effect, Session};
use crate::admit::Refusal;
use crate::admit::movement::Rule;
use crate::admit::text::Kind;
use crate::codec::command::{Aim, Changes, Command, Deed, Verdict};
use crate::codec::message::{Ack, Act, Out, Scope, Set, Unknown, Wish};
use crate::limits::{
    ACT_AGE_MAX_US, ACT_DATA_BYTES_MAX, ACT_NAME_BYTES_MAX, FIELD_BYTES_MAX, FIELD_NAME_BYTES_MAX, FIELDS_MAX,
    KIND_BYTES_MAX, NUMBER_MAX,
};
use crate::log::Health;
use crate::region::{Answer, Submit};
use crate::settings::Role;
use crate::space::{Pos, yaw_from_degrees};

/// Commands of a session that have no answer yet.
#[derive(Debug, Default)]
pub(super) struct Open {
    numbers: BTreeMap<u64, Sent>,
    /// The highest number handed on.
    highest: u64,
    /// An earlier connection may have handed on these: from the lowest that had no answer when the session went on.
    earlier: Range<u64>,
}

/// A command without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    /// The message's name.
    name: &'static str,
    /// It was sent more than once, or may have been.
    again: bool,
    /// This connection has handed it on.
    here: bool,
}

impl Open {
    /// Whether a number is one that may be used: not `max` or more above the lowest that has no answer, nor below the
    /// highest.
    fn admits(&self, n: u64, max: u64) -> bool {
        let lowest = self.numbers.first_key_value().map_or(n, |(lowest, _)| *lowest);
        // The log takes a number far below others for one that has taken effect: it would be acknowledged without any.
        self.highest.saturating_sub(n) < max && n.abs_diff(lowest) < max && n <= NUMBER_MAX
    }

    /// The session goes on, and this is the lowest number without an answer; `max` may be open. All of these count as handed
    /// on: an earlier connection may have done so.
    pub(super) fn resume(&mut self, lowest: u64, max: u64) {
        self.numbers.insert(lowest, Sent { name: "act", again: true, here: false });
        self.earlier = lowest..lowest.saturating_add(max);
    }

    /// Whether a command that is refused now may have been handed on before.
    fn may_be_logged(&self, n: u64, reason: Refusal) -> bool {
        let here = self.numbers.get(&n).is_some_and(|sent| sent.here);
        here || (self.earlier.contains(&n) && !is_of_the_message(reason))
    }

    fn sent(&mut self, n: u64, name: &'static str) {
        let again = self.numbers.contains_key(&n) || self.earlier.contains(&n);
        self.numbers.insert(n, Sent { name, again, here: true });
        self.highest = self.highest.max(n);
    }
}

impl Session {
    pub(super) fn act(&mut self, act: &Act, now_us: u64, out: &mut Vec<Effect>) {
        let judged = self.numbered(act.n, now_us).and_then(|()| self.done(act, now_us, out));
        self.command(act.n, "act", judged, out);
    }

    /// Where an action is done, and what it comes to.
    fn done(&mut self, act: &Act, now_us: u64, out: &mut Vec<Effect>) -> Result<(Pos, Pos, Deed), Refusal> {
        let name = word(&act.name, ACT_NAME_BYTES_MAX, out)?;
        let data = clean(&act.data, Kind::Data, ACT_DATA_BYTES_MAX, out)?;
        let time_us = self.clock.earlier(act.time, now_us).ok_or(Refusal::NotFinite)?;
        let age_us = now_us.saturating_sub(time_us).min(ACT_AGE_MAX_US);
        let (pos, is_near) = self.movement.reaches(act.pos, age_us, &self.world)?;
        if !is_near {
            self.broken(Rule::Place, Refusal::TooFar, out)?;
        }
        let (scope, user) = (act.scope, self.user);
        let deed = match (scope, act.to) {
            (Scope::Nearby | Scope::Region | Scope::World, None) => Deed::Act { scope, user, name, data },
            (Scope::User, Some(to)) if to <= NUMBER_MAX => Deed::Tell { to, user, name, data },
            (Scope::User, Some(_) | None) | (Scope::Nearby | Scope::Region | Scope::World, Some(_)) => {
                return Err(Refusal::Lacks);
            }
        };
        Ok((pos, pos, deed))
    }

    pub(super) fn set(&mut self, set: &Set, now_us: u64, out: &mut Vec<Effect>) {
        let judged = self.numbered(set.n, now_us).and_then(|()| self.wished(set, out));
        self.command(set.n, "set", judged, out);
    }

    fn numbered(&mut self, n: u64, now_us: u64) -> Result<(), Refusal> {
        if !self.gate.act(now_us) {
            Err(Refusal::Rate)
        } else if !self.open.admits(n, self.limits().open_acts) {
            Err(Refusal::Window)
        } else {
            Ok(())
        }
    }

    /// Where a wish is aimed, from where, and what it comes to. What is within reach is the fold's to say, which knows where
    /// the object is; and a wish that is sent again from elsewhere must not be judged anew here, as its first sending may be
    /// in the log.
    fn wished(&self, set: &Set, out: &mut Vec<Effect>) -> Result<(Pos, Pos, Deed), Refusal> {
        let from = self.movement.pos().ok_or(Refusal::NoPlace)?;
        let place = |metres: [f64; 3]| crate::admit::movement::place(metres, &self.world);
        let pos = place(set.pos)?;
        let yaw = yaw_from_degrees(set.yaw).ok_or(Refusal::NotFinite)?;
        let fields = changes(&set.fields, out)?;
        let aim = || Ok(Aim { id: set.object.ok_or(Refusal::Lacks)?, expect: set.expect });
        let to = set.to.map(|to| Ok((place(to)?, yaw))).transpose()?;
        let deed = match set.wish {
            Wish::Create => {
                let kind = word(set.kind.as_deref().ok_or(Refusal::Lacks)?, KIND_BYTES_MAX, out)?;
                Deed::Create { kind, yaw, fields }
            }
            Wish::Change => Deed::Change { of: aim()?, to, fields },
            Wish::Grab => Deed::Grab(aim()?),
            Wish::Release => Deed::Release(aim()?, to.ok_or(Refusal::Lacks)?),
            Wish::Remove => Deed::Remove(aim()?),
            Wish::Environment if self.role != Role::Server => return Err(Refusal::NotAllowed),
            Wish::Environment => Deed::Environment {
                of_world: match set.scope {
                    Some(Scope::World) => true,
                    Some(Scope::Region) | None => false,
                    Some(Scope::Nearby | Scope::User) => return Err(Refusal::Lacks),
                },
                expect: set.expect,
                fields,
            },
        };
        Ok((pos, from, deed))
    }

    fn command(
        &mut self,
        n: u64,
        name: &'static str,
        judged: Result<(Pos, Pos, Deed), Refusal>,
        out: &mut Vec<Effect>,
    ) {
        match judged {
            Ok((pos, from, deed)) => {
                self.open.sent(n, name);
                let (session, entity, trusted) = (self.id, self.entity, self.role == Role::Server);
                out.push(Effect::Submit(Submit::Command(Command { session, n, entity, trusted, pos, from, deed })));
            }
            // An open number is not refused: its first sending may yet take effect. What is wrong with a message however often
            // it comes was wrong the first time, on an earlier connection too: that is not asked for again for ever.
            Err(reason) if self.open.may_be_logged(n, reason) => self.send(&Out::Unknown(Unknown { n }), out),
            Err(reason) => self.refuse(Some(n), name, reason, out),
        }
    }

    /// A command could not be handed on.
    pub(super) fn busy(&mut self, n: u64, out: &mut Vec<Effect>) {
        match self.open.numbers.get(&n).copied() {
            // Its first sending may yet take effect.
            Some(Sent { again: true, .. }) => self.send(&Out::Unknown(Unknown { n }), out),
            Some(Sent { name, .. }) => {
                self.open.numbers.remove(&n);
                self.refuse(Some(n), name, Refusal::Busy, out);
            }
            None => {}
        }
    }

    pub(super) fn on_answer(&mut self, n: u64, answer: Answer, out: &mut Vec<Effect>) {
        let name = |sent: Option<Sent>| sent.map_or("act", |sent| sent.name);
        match answer {
            Answer::Folded(offset, verdict) => {
                let sent = self.open.numbers.remove(&n);
                match verdict {
                    Verdict::Done(made) => {
                        let (object, version) = made.unzip();
                        self.send(&Out::Ack(Ack { n, offset, object, version }), out);
                    }
                    Verdict::Denied(denial) => self.refuse(Some(n), name(sent), Refusal::Denied(denial), out),
                }
            }
            // Another gateway may have written it.
            Answer::NotLogged(_) if self.open.earlier.contains(&n) => self.send(&Out::Unknown(Unknown { n }), out),
            Answer::NotLogged(health) => {
                let sent = self.open.numbers.remove(&n);
                let reason = match health {
                    Health::Well => Refusal::NotLogged,
                    Health::Full => Refusal::LogFull,
                    Health::Down => Refusal::LogDown,
                };
                self.refuse(Some(n), name(sent), reason, out);
            }
            Answer::Unknown => self.send(&Out::Unknown(Unknown { n }), out),
        }
    }
}

/// Whether a message is refused for what it says, whenever it comes, and not for where its avatar is, or how things stand.
fn is_of_the_message(reason: Refusal) -> bool {
    match reason {
        Refusal::Malformed
        | Refusal::UnknownType
        | Refusal::NotSupported
        | Refusal::Length
        | Refusal::NotFinite
        | Refusal::OutOfBounds
        | Refusal::Lacks
        | Refusal::NotAllowed => true,
        Refusal::Again
        | Refusal::NotOpen
        | Refusal::Speed
        | Refusal::TooFar
        | Refusal::NoPlace
        | Refusal::Rate
        | Refusal::Window
        | Refusal::Busy
        | Refusal::NotLogged
        | Refusal::Denied(_)
        | Refusal::LogFull
        | Refusal::LogDown => false,
    }
}

/// A word of the application: one line, and not empty.
fn word(text: &str, bytes_max: usize, out: &mut Vec<Effect>) -> Result<Arc<str>, Refusal> {
    let word = clean(text, Kind::Line, bytes_max, out)?;
    if word.is_empty() { Err(Refusal::Length) } else { Ok(word) }
}

fn changes(fields: &BTreeMap<String, Option<String>>, out: &mut Vec<Effect>) -> Result<Changes, Refusal> {
    if fields.len() > FIELDS_MAX {
        return Err(Refusal::Length);
    }
    let mut change = |(name, text): (&String, &Option<String>)| {
        let name = word(name, FIELD_NAME_BYTES_MAX, out)?;
        let text = text.as_ref().map(|text| clean(text, Kind::Field, FIELD_BYTES_MAX, out)).transpose()?;
        Ok((name, text))
    };
    fields.iter().map(&mut change).collect()
}
