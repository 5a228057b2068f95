//! What the log brings to a world: where its partitions begin and end, their records, what became of what was written,
//! and what went wrong.

use super::fold::Folded;
use super::reading::Reading;
use super::submit::{Answer, Answered};
use super::world::{Part, World};
use crate::codec::record::{self, Foreign, Record, Sample, Stamp};
use crate::log::{Fault, Log, Outcome, Polled, Source, Ticket, Topic};

impl World {
    /// Takes one of the things that the log brings.
    pub(super) fn on_polled(&mut self, polled: Polled, log: &mut impl Log, now_us: u64) {
        match polled {
            Polled::Record { source, offset, append_ms, bytes } => {
                self.on_record(source, offset, append_ms, &bytes, now_us);
            }
            Polled::Outcome(ticket, outcome) => self.on_outcome(ticket, outcome),
            Polled::Bounds(source, bounds) => {
                if let Some(part) = self.part(source.partition) {
                    match source.topic {
                        Topic::Motion => {
                            part.motion.on_bounds(bounds, log, now_us);
                        }
                        Topic::Events => {
                            if part.events.on_bounds(bounds, log, now_us) {
                                part.actions.start(bounds.end);
                            }
                        }
                        Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {}
                    }
                }
            }
            Polled::OffsetAt(source, offset) => {
                if let Some(part) = self.part(source.partition) {
                    match source.topic {
                        Topic::Motion => part.motion.on_offset(offset, log),
                        Topic::Events => part.events.on_offset(offset, log),
                        Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {}
                    }
                }
            }
            Polled::Fault(Fault::OutOfBounds(source)) => {
                self.facts.out_of_bounds += 1;
                self.read_again(source, log, now_us);
            }
            // Nothing to do for a second question, asked because the first was late.
            Polled::Fault(Fault::Unanswered(source)) => {
                let follows = |part: &mut Part| match source.topic {
                    Topic::Motion => part.motion.is_following(),
                    Topic::Events | Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {
                        part.events.is_following()
                    }
                };
                if !self.part(source.partition).is_some_and(follows) {
                    self.read_again(source, log, now_us);
                }
            }
            Polled::Fault(Fault::Unreachable(why)) => self.facts.unreachable = Some(why),
        }
    }

    fn read_again(&mut self, source: Source, log: &mut impl Log, now_us: u64) {
        if let Some(part) = self.part(source.partition) {
            match source.topic {
                Topic::Motion => part.motion = Reading::start(source, log, now_us),
                Topic::Events => part.events = Reading::start(source, log, now_us),
                Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => {}
            }
        }
    }

    fn on_record(&mut self, source: Source, offset: u64, append_ms: i64, bytes: &[u8], now_us: u64) {
        let Some(part) = self.parts.get_mut(usize::from(source.partition)).and_then(Option::as_mut) else { return };
        let wanted = match source.topic {
            Topic::Motion => part.motion.on_record(offset),
            Topic::Events => part.events.on_record(offset),
            Topic::Objects | Topic::Social | Topic::Direct | Topic::Control => false,
        };
        if !wanted {
            return;
        }
        if source.topic == Topic::Motion {
            // Also a damaged record shows that time passes.
            part.fold.advance(append_ms);
            part.heard_us = now_us;
        }
        match record::decode(bytes) {
            Ok((stamp, Record::Motion(samples))) if source.topic == Topic::Motion => {
                self.on_motion(source.partition, stamp, &samples, now_us);
            }
            Ok((stamp, Record::Beat)) => self.on_stamp(stamp, now_us),
            Ok((stamp, Record::Action(action))) if source.topic == Topic::Events => {
                part.actions.fold(offset, &action);
                self.facts.sessions_forgotten += std::mem::take(&mut part.actions.forgotten);
                let is_news = part.events.is_news(offset);
                // A repetition is acknowledged too: sessions hand on no number so low that the fold only takes it for one.
                // What was folded before, and is read back, is not.
                if stamp.gateway == self.gateway && (self.pending.folded((action.session, action.n)) || is_news) {
                    let answer = Answer::Ack(offset);
                    self.answers.push(Answered { session: action.session, n: action.n, answer });
                }
            }
            Ok((_, Record::Motion(_) | Record::Action(_) | Record::Gateway(_)))
            | Err(Foreign::Damaged(_) | Foreign::Checksum | Foreign::Unknown { .. }) => self.facts.foreign += 1,
        }
    }

    fn on_motion(&mut self, partition: u16, stamp: Stamp, samples: &[Sample], now_us: u64) {
        self.on_stamp(stamp, now_us);
        let own = stamp.gateway == self.gateway;
        let offset_us = if own { 0 } else { self.peers.offset_us(stamp.gateway).unwrap_or(0) };
        let Some(part) = self.parts[usize::from(partition)].as_mut() else { return };
        for sample in samples {
            if own && self.owned.get(&sample.entity).is_some_and(|o| sample.sequence > o.sequence()) {
                self.facts.echo_mismatch += 1;
            }
            let time_us = sample.time_us.saturating_add_signed(offset_us).min(now_us);
            match part.fold.fold(sample, time_us, &mut self.handles) {
                Folded::New if !own => self.arrived_us.push(time_us),
                Folded::New | Folded::Old => {}
                Folded::Full => self.facts.full += 1,
            }
        }
    }

    /// Learns how long a record was under way.
    fn on_stamp(&mut self, stamp: Stamp, now_us: u64) {
        let delay_us = now_us as i64 - stamp.published_us as i64;
        if stamp.gateway == self.gateway {
            self.peers.own(delay_us, now_us);
            self.facts.log_round_trip_us.push(delay_us.max(0) as u64);
        } else {
            self.peers.other(stamp.gateway, delay_us, now_us);
        }
    }

    fn on_outcome(&mut self, ticket: Ticket, outcome: Outcome) {
        let index = match outcome {
            Outcome::At(_) => 0,
            Outcome::NeverEntered => 1,
            Outcome::Unknown => 2,
        };
        self.facts.outcomes[index] += 1;
        if self.claim == Some(ticket) {
            self.claim = None;
            self.facts.number = outcome.number();
            return;
        }
        let parts = &self.parts;
        let knows = |partition: u16, key| parts[usize::from(partition)].as_ref().is_some_and(|p| p.actions.knows(key));
        self.answers.extend(self.pending.ended(ticket, outcome, knows));
    }

    fn part(&mut self, partition: u16) -> Option<&mut Part> {
        self.parts.get_mut(usize::from(partition))?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::message::Scope;
    use crate::codec::record::Action;
    use crate::log::Bounds;
    use crate::region::script::{GRID, NOW_US, Script};
    use crate::region::submit::Submit;
    use crate::region::world::CONTROL;
    use crate::space::Pos;

    fn act(world: &mut World, log: &mut Script) -> Ticket {
        let (name, data) = ("wave".into(), "".into());
        let action = Action { session: 1, n: 5, entity: 2, scope: Scope::Nearby, pos: Pos::default(), name, data };
        world.submit(Submit::Act(action), log, NOW_US);
        log.published.iter().rev().find(|(_, s, _)| s.topic == Topic::Events).expect("just published").0
    }

    fn answers(world: &mut World, log: &mut Script, outcomes: &[(Ticket, Outcome)]) -> Vec<Answer> {
        log.next.extend(outcomes.iter().map(|(ticket, outcome)| Polled::Outcome(*ticket, *outcome)));
        let mut answers = Vec::new();
        world.step(log, NOW_US, &mut answers);
        answers.into_iter().map(|answered| answered.answer).collect()
    }

    #[test]
    fn an_action_is_refused_only_if_none_of_its_sendings_can_be_in_the_log() {
        use Outcome::{At, NeverEntered, Unknown};
        let check = |outcomes: [Outcome; 2], expected: &[Answer]| {
            let (mut world, mut log) = (World::new(GRID, 1), Script::default());
            let (first, second) = (act(&mut world, &mut log), act(&mut world, &mut log));
            let told = answers(&mut world, &mut log, &[(first, outcomes[0]), (second, outcomes[1])]);
            assert_eq!(told, expected, "{outcomes:?}");
        };
        check([NeverEntered, NeverEntered], &[Answer::NotLogged]);
        check([Unknown, NeverEntered], &[Answer::Unknown]);
        check([NeverEntered, Unknown], &[Answer::Unknown]);
        check([At(Some(3)), NeverEntered], &[Answer::Unknown]);
        check([NeverEntered, At(Some(3))], &[]);
    }

    #[test]
    fn a_resend_after_unknown_remembers_the_first_sending() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        let first = act(&mut world, &mut log);
        assert_eq!(answers(&mut world, &mut log, &[(first, Outcome::Unknown)]), [Answer::Unknown]);
        let second = act(&mut world, &mut log);
        assert_eq!(answers(&mut world, &mut log, &[(second, Outcome::NeverEntered)]), [Answer::Unknown]);
    }

    #[test]
    fn outcomes_of_sendings_that_crossed_their_answer_do_no_harm() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        let first = act(&mut world, &mut log);
        let source = Source { topic: Topic::Events, partition: 0 };
        let bytes = log.published.iter().rev().find(|(_, s, _)| *s == source).expect("published").2.clone();
        log.next.push(Polled::Bounds(source, Bounds { start: 0, end: 0, last_append_ms: None }));
        log.next.push(Polled::Record { source, offset: 0, append_ms: 0, bytes });
        assert_eq!(answers(&mut world, &mut log, &[]), [Answer::Ack(0)]);
        let second = act(&mut world, &mut log);
        let outcomes = [(first, Outcome::At(Some(0))), (second, Outcome::NeverEntered)];
        assert_eq!(answers(&mut world, &mut log, &outcomes), [], "it has been answered");
    }

    #[test]
    fn a_late_question_without_an_answer_does_not_start_the_reading_anew() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        act(&mut world, &mut log);
        let source = Source { topic: Topic::Events, partition: 0 };
        let asked = log.asked;
        log.next.push(Polled::Fault(Fault::Unanswered(source)));
        answers(&mut world, &mut log, &[]);
        assert_eq!(log.asked, asked + 1, "asked again");
        log.next.push(Polled::Bounds(source, Bounds { start: 0, end: 9, last_append_ms: Some(0) }));
        log.next.push(Polled::OffsetAt(source, 4));
        log.next.push(Polled::Fault(Fault::Unanswered(source)));
        answers(&mut world, &mut log, &[]);
        assert_eq!(log.asked, asked + 1, "nothing is open any more");
    }

    #[test]
    fn what_is_read_back_is_acknowledged_only_to_who_waits_for_it() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        let source = Source { topic: Topic::Events, partition: 0 };
        act(&mut world, &mut log);
        let bytes = log.published.last().expect("published").2.clone();
        let record = |offset| Polled::Record { source, offset, append_ms: 0, bytes: bytes.clone() };
        // It entered before the bounds were asked for.
        log.next.push(Polled::Bounds(source, Bounds { start: 0, end: 5, last_append_ms: Some(0) }));
        log.next.push(Polled::OffsetAt(source, 0));
        log.next.extend([record(4)]);
        assert_eq!(answers(&mut world, &mut log, &[]), [Answer::Ack(4)]);
        // The partition is read anew.
        log.next.push(Polled::Fault(Fault::OutOfBounds(source)));
        log.next.push(Polled::Bounds(source, Bounds { start: 0, end: 5, last_append_ms: Some(0) }));
        log.next.push(Polled::OffsetAt(source, 0));
        log.next.extend([record(4)]);
        assert_eq!(answers(&mut world, &mut log, &[]), [], "it was answered before");
        log.next.extend([record(5)]);
        assert_eq!(answers(&mut world, &mut log, &[]), [Answer::Ack(5)], "sent again");
    }

    #[test]
    fn another_number_comes_beside_everything_else() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        let source = Source { topic: Topic::Events, partition: 0 };
        act(&mut world, &mut log);
        let bytes = log.published.last().expect("published").2.clone();
        for (outcome, number) in [
            (Outcome::NeverEntered, None),
            (Outcome::Unknown, None),
            (Outcome::At(Some(1 << 40)), None),
            (Outcome::At(Some(9)), Some(9)),
        ] {
            world.claim(&mut log, NOW_US);
            let claims = log.published.len();
            world.claim(&mut log, NOW_US);
            assert_eq!(log.published.len(), claims, "one at a time");
            let (ticket, at, _) = log.published.last().expect("published").clone();
            assert_eq!(at, CONTROL);
            log.next.push(Polled::Outcome(ticket, outcome));
            answers(&mut world, &mut log, &[]);
            assert_eq!(std::mem::take(&mut world.facts).number, number, "{outcome:?}");
        }
        log.next.push(Polled::Bounds(source, Bounds { start: 0, end: 0, last_append_ms: None }));
        world.claim(&mut log, NOW_US);
        log.next.push(Polled::Record { source, offset: 0, append_ms: 0, bytes });
        assert_eq!(answers(&mut world, &mut log, &[]), [Answer::Ack(0)], "records are folded meanwhile");
    }
}
