//! What the swarm does between readings: sends what is due, decodes what came, audits.

use std::collections::BTreeSet;
use std::rc::Rc;

use nearcast::codec::message::{Ack, Act, ByeIn, Event, In, Out, Ping, Refuse, Report, Seen};
use nearcast::codec::state::{self, Delta, body};
use nearcast::codec::wire::{Heard, framed_len};
use nearcast::limits::TICK_US;

use super::bot::{Arrival, Bot};
use super::dialect::Dialect;
use super::hands::{Command, Manner};
use super::schedule::{Due, Duty};
use super::{PING_EVERY_US, PING_FIRST_US, Swarm};
use crate::audit::{Client, Hole};
use crate::scene::distance_m;

/// After this long of decoding or auditing, sockets are read again, µs.
const SLICE_US: u64 = 200;
/// Samples more than this late are not made up for, µs: a swarm so late is void anyway.
const CATCH_UP_US: u64 = 1_000_000;
/// Ticks of one gap that are told apart.
const GAP_MAX: usize = 100;
/// Who stands within this of a word must hear it, metres: whatever they walk until the log has it, and while they are away,
/// they are within the radius of 50 m then.
const HEARS_WITHIN_M: f64 = 25.0;
/// Who has been in for less than this need not hear it, µs: the gateway may not know yet where they stand.
const HEARS_AFTER_US: u64 = 1_000_000;
/// Without anything due it looks again after this long, µs.
const IDLE_US: u64 = 100_000;

impl Swarm {
    /// Sends, decodes and audits until the end.
    pub(super) async fn work(self: Rc<Self>) {
        while !self.over.get() {
            let started_us = self.clock.now_us();
            self.send_due();
            let mut more = true;
            while more && self.clock.now_us() - started_us < SLICE_US {
                more = self.look_due() || self.decode_next();
                self.send_due();
            }
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            let next_us = [&self.schedule, &self.looks].iter().filter_map(|s| s.borrow().next_us()).min();
            let until = self.clock.at(next_us.unwrap_or(u64::MAX).min(self.clock.now_us() + IDLE_US));
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Sends all that is due.
    pub(super) fn send_due(&self) {
        loop {
            let now_us = self.clock.now_us();
            let Some(due) = self.schedule.borrow_mut().pop(now_us) else { return };
            let number = due.bot as usize;
            let mut bot = self.bots[number].borrow_mut();
            if bot.session != due.session || bot.socket.is_none() || bot.leaving {
                continue;
            }
            let (message, again_us) = match due.duty {
                Duty::Move if self.plan.bots[number].idle && self.roster.borrow().players[number].said.is_some() => {
                    let Some((seen, received_us)) = bot.unsaid else {
                        self.schedule.borrow_mut().push(Due { at_us: due.at_us + TICK_US, ..due });
                        continue;
                    };
                    (In::Seen(Seen { seen, held_ms: (now_us - received_us) as f64 / 1e3 }), TICK_US)
                }
                Duty::Move => {
                    let sample = self.plan.bots[number].agent.at(due.at_us as f64 / 1e3);
                    let player = &mut self.roster.borrow_mut().players[number];
                    player.said = Some(sample.pos);
                    player.late_us[player.late_at(due.at_us)] = now_us - due.at_us;
                    (bot.say_move(sample, due.at_us, now_us), TICK_US)
                }
                Duty::Ping => {
                    let is_new = now_us - bot.welcome_us < PING_EVERY_US;
                    (In::Ping(Ping { time: now_us as f64 / 1e3 }), if is_new { PING_FIRST_US } else { PING_EVERY_US })
                }
                Duty::Leave => (In::Bye(ByeIn {}), TICK_US),
                Duty::Use => {
                    let every_us = self.plan.bots[number].uses_us.unwrap_or(PING_EVERY_US);
                    let Some(command) = self.turn(number, &mut bot, now_us) else {
                        self.schedule.borrow_mut().push(Due { at_us: now_us + every_us, ..due });
                        continue;
                    };
                    (command.message(), every_us)
                }
                Duty::Look => continue,
            };
            let taken = self.send(&mut bot, &message);
            match due.duty {
                Duty::Move if taken => bot.unsaid = None,
                // Else again at the next tick: a session that does not end would stay as a ghost.
                Duty::Leave if taken => {
                    bot.leaving = true;
                    self.roster.borrow_mut().players[number].entity = None;
                }
                Duty::Move | Duty::Leave | Duty::Ping | Duty::Look | Duty::Use => {}
            }
            self.counters.borrow_mut().send_late_us.saturating_record(now_us - due.at_us);
            let behind_us = now_us - due.at_us;
            let skip_us = if behind_us > CATCH_UP_US { behind_us / again_us * again_us } else { 0 };
            self.schedule.borrow_mut().push(Due { at_us: due.at_us + again_us + skip_us, ..due });
        }
    }

    /// What a bot whose turn it is wishes of the things around it, or says.
    fn turn(&self, number: usize, bot: &mut Bot, now_us: u64) -> Option<Command> {
        let (me, at) = {
            let player = &self.roster.borrow().players[number];
            (player.entity?, player.said?)
        };
        if self.at_rest.get() {
            return None;
        }
        let command = bot.hands.as_mut()?.turn(me, at, now_us)?;
        if let Command::Act(act) = &command {
            let due = || match self.plan.bots[number].manner {
                Manner::Uses => self.hearers(number, act, now_us),
                Manner::Talks => [number as u32].into(),
            };
            self.tales.borrow_mut().said((me, act.n), now_us, due);
        }
        Some(command)
    }

    /// Who must hear what a bot says; itself in any case.
    fn hearers(&self, number: usize, act: &Act, now_us: u64) -> BTreeSet<u32> {
        let roster = self.roster.borrow();
        let hears = |other: usize| {
            let is_near = roster.players[other].said.is_some_and(|said| distance_m(said, act.pos) <= HEARS_WITHIN_M);
            // Its own bot is borrowed.
            other == number
                || is_near && {
                    let bot = self.bots[other].borrow();
                    bot.socket.is_some() && !bot.leaving && now_us.saturating_sub(bot.welcome_us) >= HEARS_AFTER_US
                }
        };
        (0..self.bots.len()).filter(|other| hears(*other)).map(|other| other as u32).collect()
    }

    /// Whether the socket took it.
    fn send(&self, bot: &mut Bot, message: &In) -> bool {
        let Some(payload) = self.plan.dialect.encode(message) else { return true };
        let taken = bot.socket.as_mut().is_some_and(|socket| socket.write(payload));
        self.counters.borrow_mut().blocked += u64::from(!taken);
        taken
    }

    /// Audits one view whose time has come. Whether there was one.
    fn look_due(&self) -> bool {
        let Some(due) = self.looks.borrow_mut().pop(self.clock.now_us()) else { return false };
        let number = due.bot as usize;
        self.decode(number);
        let mut bot = self.bots[number].borrow_mut();
        if bot.session != due.session || bot.socket.is_none() {
            return true;
        }
        let now_us = self.clock.now_us();
        let Bot { mirror, watch, .. } = &mut *bot;
        if let Some(watch) = watch {
            let client = self.client(number);
            watch.look(
                mirror,
                &client,
                &self.roster.borrow(),
                now_us,
                &mut self.tallies.borrow_mut()[self.plan.bots[number].group],
            );
        }
        let at_us = due.at_us + (now_us - due.at_us) / TICK_US * TICK_US + TICK_US;
        self.looks.borrow_mut().push(Due { at_us, ..due });
        true
    }

    /// Decodes what came for one bot. Whether there was one.
    fn decode_next(&self) -> bool {
        let Some(number) = self.waiting.borrow_mut().pop_front() else { return false };
        self.decode(number as usize);
        true
    }

    pub(super) fn decode(&self, number: usize) {
        let mut bot = self.bots[number].borrow_mut();
        while let Some(arrival) = bot.inbox.pop_front() {
            if let Err(reason) = self.heard(number, &mut bot, &arrival) {
                bot.inbox.clear();
                bot.is_broken = true;
                if bot.socket.take().is_some() {
                    self.joined.set(self.joined.get() - 1);
                }
                self.lost(number, &reason);
                return;
            }
        }
        self.news.notify_waiters();
    }

    /// What the audit needs to know of a bot.
    pub(super) fn client(&self, number: usize) -> Client {
        let plan = &self.plan;
        Client {
            bot: number,
            offset_us: self.offsets.borrow()[plan.bots[number].gateway].us().unwrap_or(0),
            radius_m: plan.radius_m,
            budget: plan.budget,
            holds: plan.holds,
        }
    }

    fn heard(&self, number: usize, bot: &mut Bot, arrival: &Arrival) -> Result<(), String> {
        let Arrival { received_us, bytes } = arrival;
        let size = framed_len(bytes.len());
        bot.counts.bytes += size as u64;
        if let Some(body) = body(bytes) {
            bot.counts.state_bytes += size as u64;
            bot.counts.body_bytes += body.len() as u64;
        }
        if let Some(watch) = &mut bot.watch {
            watch.bytes(
                size,
                &self.client(number),
                *received_us,
                &mut self.tallies.borrow_mut()[self.plan.bots[number].group],
            );
        }
        let Dialect::Nearcast(encoding) = self.plan.dialect else {
            if let Some(updates) = self.plan.dialect.count(&mut bot.shown, bytes)? {
                bot.counts.states += 1;
                bot.counts.updates += updates;
                self.counters.borrow_mut().ticks += u64::from(number == 0);
            }
            return Ok(());
        };
        if !self.plan.bots[number].keeps
            && let Some(body) = body(bytes)
        {
            let before = bot.known.tick();
            state::skim(&mut bot.known, body).map_err(|e| format!("unreadable: {e}"))?;
            self.shown(bot, before, *received_us);
            return Ok(());
        }
        let heard = encoding.decode_out(&mut bot.known, bytes).map_err(|e| format!("unreadable: {e}"))?;
        match heard {
            Heard::State(delta) => return self.state(number, bot, &delta, *received_us),
            Heard::Other(Out::Pong(pong)) => {
                let sent_us = (pong.time * 1e3) as u64;
                let gateway = self.plan.bots[number].gateway;
                self.offsets.borrow_mut()[gateway].measured(sent_us, *received_us, pong.server * 1e3);
            }
            Heard::Other(Out::Object(objects)) => {
                if let Some(hands) = &mut bot.hands {
                    hands.see(&objects).map_err(|e| format!("an object contradicts what was told: {e}"))?;
                    self.ledger.borrow_mut().saw(&objects);
                }
            }
            Heard::Other(Out::Ack(ack)) => self.effective(number, bot, &ack, *received_us),
            Heard::Other(Out::Unknown(unknown)) => {
                bot.hands.iter_mut().for_each(|hands| hands.unknown(unknown.n, *received_us));
            }
            Heard::Other(Out::Event(event)) => self.event(number, bot, &event),
            Heard::Other(Out::Cursor(cursor)) => bot.pass.note(&cursor.stream, cursor.offset),
            Heard::Other(Out::Reset(reset)) => {
                bot.pass.note(&format!("partition/{}", reset.partition), reset.offset);
                self.counters.borrow_mut().returns.resets += 1;
                self.tales.borrow_mut().excuse(number as u32);
            }
            Heard::Other(Out::Refuse(refuse)) => self.refused(number, bot, &refuse),
            Heard::Other(Out::Bye(bye)) => bot.bye = Some(bye),
            Heard::Other(Out::Stale(stale)) => self.counters.borrow_mut().stale += u64::from(stale.stale),
            Heard::Other(Out::Welcome(_) | Out::State(_) | Out::Notice(_) | Out::Correct(_) | Out::Moved(_)) => {}
        }
        Ok(())
    }

    /// A command took effect.
    fn effective(&self, number: usize, bot: &mut Bot, ack: &Ack, received_us: u64) {
        let Some((command, took_us)) = bot.hands.as_mut().and_then(|hands| hands.acked(ack, received_us)) else {
            return;
        };
        self.counters.borrow_mut().ack_us.saturating_record(took_us);
        match command {
            Command::Set(set) => self.ledger.borrow_mut().acked(ack, set),
            Command::Act(act) => {
                let me = self.roster.borrow().players[number].entity;
                me.into_iter().for_each(|me| self.tales.borrow_mut().acked((me, act.n)));
            }
        }
    }

    /// Something has no effect.
    fn refused(&self, number: usize, bot: &mut Bot, refuse: &Refuse) {
        let command = bot.hands.as_mut().zip(refuse.n).filter(|(hands, n)| hands.has(*n));
        let Some((hands, n)) = command else {
            let key = format!("{} {}", refuse.of, refuse.code);
            *self.counters.borrow_mut().refusals.entry(key).or_default() += 1;
            return;
        };
        // Somebody else was faster, or it lies elsewhere by now: as it is with things.
        hands.refused(n);
        self.counters.borrow_mut().commands_refused += 1;
        let me = self.roster.borrow().players[number].entity;
        me.into_iter().for_each(|me| self.tales.borrow_mut().dropped((me, n)));
    }

    /// Somebody has said something.
    fn event(&self, number: usize, bot: &mut Bot, event: &Event) {
        let is_later = bot.pass.heard(&event.stream, event.offset);
        // Not of this swarm, if that is no number.
        let Ok(n) = event.data.parse() else { return };
        let place = (event.stream.as_str(), event.offset);
        self.tales.borrow_mut().heard((event.from, n), number as u32, place, is_later);
    }

    fn state(&self, number: usize, bot: &mut Bot, delta: &Delta, received_us: u64) -> Result<(), String> {
        let before = bot.mirror.tick();
        let (client, group) = (self.client(number), self.plan.bots[number].group);
        if before > 0 && bot.watch.is_some() {
            // By what it held meanwhile: who enters with this state was not missed before.
            let shown = before.max(self.window_tick.get());
            let hole = Hole::between(shown, delta.tick, &bot.mirror, &client, &self.roster.borrow());
            bot.counts.quiet += hole.quiet;
            self.tallies.borrow_mut()[group].missed_states += hole.missed;
        }
        let digest = bot.mirror.apply(delta).map_err(|e| format!("a state contradicts the one before: {e}"))?;
        bot.counts.updates += (delta.updates.len() + delta.enters.len()) as u64;
        self.shown(bot, before, received_us);
        if let Some(watch) = &mut bot.watch {
            let (roster, tallies) = (self.roster.borrow(), &mut self.tallies.borrow_mut());
            watch.state(delta, &bot.mirror, &client, &roster, received_us, &mut tallies[group]);
        }
        if let Some((number, digest)) = digest {
            self.send(bot, &In::Report(Report { number, digest, age_ms: None }));
        }
        Ok(())
    }

    /// A state was read; the one before it showed `before`, 0 if there was none.
    fn shown(&self, bot: &mut Bot, before: u64, received_us: u64) {
        let tick = bot.known.tick();
        bot.unsaid = Some((bot.known.number(), received_us));
        bot.counts.states += 1;
        let mut counters = self.counters.borrow_mut();
        if before > 0 {
            bot.counts.gaps += tick.saturating_sub(before + 1);
            (before + 1..tick).take(GAP_MAX).for_each(|tick| *counters.gaps.entry(tick).or_default() += 1);
        }
        counters.tick(tick);
    }
}

impl super::Counters {
    /// A state showed this tick. Ticks come nearly in order: one that is older than the newest was counted.
    fn tick(&mut self, tick: u64) {
        if self.ticks == 0 {
            self.first_tick = tick;
        }
        if tick > self.last_tick {
            self.last_tick = tick;
            self.ticks += 1;
        }
    }
}
