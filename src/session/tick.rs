//! What a tick means for one session: deadlines, then events and a state as far as budget and link allow.

use std::cell::Cell;

use super::events::TURN_TICKS;
use super::flow::Verdict;
use super::things::Viewer;
use super::{Effect, Note, Phase, Session, StateNote};
use crate::admit::Close;
use crate::codec::message::{Out, Stale};
use crate::codec::state::Delta;
use crate::limits::{
    DIGEST_EVERY, DIGESTS_MAX, EMPTY_STATE_TICKS, FLOW_PING_US, HELLO_WITHIN_US, HYSTERESIS, OPEN_WITHIN_US,
    PING_AFTER_US, SILENT_US, STATE_BYTES_MAX, TICK_US,
};
use crate::region::Submit;
use crate::region::frame::Tick;
use crate::space::Pos;
use crate::view::Turn;

thread_local! {
    /// The delta at hand: one for all sessions of a thread, so that it stays in the cache.
    static DELTA: Cell<Delta> = Cell::default();
}

impl Session {
    pub(super) fn on_tick(&mut self, tick: &Tick, rows_max: usize, now_us: u64, out: &mut Vec<Effect>) {
        if self.phase == Phase::New {
            if now_us.saturating_sub(self.opened_us) >= HELLO_WITHIN_US {
                self.close(Close::NoHello, out);
            }
            return;
        }
        if self.phase == Phase::Opening {
            if now_us.saturating_sub(self.asked_us) >= OPEN_WITHIN_US {
                self.close(Close::NoLog, out);
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
        let late = self.met.replace(tick.number).map_or(0, |met| tick.number.saturating_sub(met + 1));
        if late > 0 {
            out.push(Effect::Note(Note::Late(late)));
        }
        let Some(at) = self.movement.pos() else { return };
        match self.flow.judge(self.budget.rate(), now_us) {
            Some(Verdict::Fall(rate)) => self.budget.fall(rate),
            Some(Verdict::Climb) => self.budget.climb(),
            Some(Verdict::Stay) | None => {}
        }
        self.around.go(tick.grid, at, self.radius_m * HYSTERESIS);
        let around = self.around.streams();
        let status = |stream: &u16| tick.partitions[usize::from(*stream)];
        let stale = around.iter().any(|stream| status(stream).stale);
        let complete = around.iter().all(|stream| status(stream).complete);
        self.tell_stale(stale, out);
        let mut told = Vec::new();
        // While events wait they and all else take turns, so that neither a crowd nor a backlog keeps the other out.
        let turn_of_events = (tick.number / TURN_TICKS).is_multiple_of(2);
        let room = if self.events_wait && !turn_of_events { 0 } else { self.budget.room(now_us) };
        let room = (room, self.budget.depth_bytes());
        self.events_wait = self.cursors.pull(tick, self.around.streams(), (at, self.radius_m), room, &mut told);
        told.iter().for_each(|message| self.send(message, out));
        told.clear();
        let (entity, incarnation) = (self.entity, self.incarnation);
        let recall = |ask| Effect::Submit(Submit::Recall { entity, incarnation, ask });
        out.extend(self.cursors.asks.drain(..).map(recall));
        self.cursors.say(tick, self.budget.room(now_us), &mut told);
        told.iter().for_each(|message| self.send(message, out));
        if !self.flow.may_send(now_us) {
            return out.push(Effect::Note(Note::Skipped));
        }
        let share = if self.events_wait && turn_of_events { 0 } else { STATE_BYTES_MAX };
        let room = if share > 0 { self.budget.room(now_us) } else { 0 };
        self.tell_things(tick, at, room, out);
        let room = self.budget.room(now_us).saturating_sub(self.things.saved()).min(share);
        let per_tick = self.budget.per_tick();
        self.tell_state(Turn { tick, me: self.entity, at, complete, room, per_tick, rows_max }, now_us, out);
    }

    fn tell_things(&mut self, tick: &Tick, at: Pos, room: usize, out: &mut Vec<Effect>) {
        let (me, radius_m, around) = (self.entity, self.radius_m, &self.around);
        let (per_tick, depth) = (self.budget.per_tick(), self.budget.depth_bytes());
        let viewer = Viewer { me, at, radius_m, around, room, per_tick, depth };
        if let Some((objects, sighting)) = self.things.step(tick, viewer) {
            self.send(&Out::Object(objects), out);
            out.push(Effect::Note(Note::Objects(sighting)));
        }
    }

    fn tell_state(&mut self, turn: Turn<'_>, now_us: u64, out: &mut Vec<Effect>) {
        let tick = turn.tick;
        let mut delta = DELTA.take();
        let summary = self.view.step(turn, &mut delta);
        if !delta.is_empty() || tick.number >= self.context.tick + EMPTY_STATE_TICKS {
            let payload = self.encoding.encode_state(&mut self.context, &delta);
            let number = self.context.number;
            let bytes = payload.framed_len();
            self.budget.spend(bytes);
            self.flow.spent(bytes);
            self.waits_seen_us.get_or_insert(now_us);
            let updates = delta.updated() as u64;
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
                updates: delta.updated(),
                leaves: delta.leaves.len(),
                full: delta.full_begin,
                summary,
            })));
        } else {
            self.lie_down(tick, &summary);
        }
        DELTA.set(delta);
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
}
