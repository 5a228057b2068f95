//! What the log brings to a world: where its partitions begin and end, their records, what became of what was written,
//! and what went wrong.

use super::commands::story::Story;
use super::motion::fold::Folded;
use super::reading::{From, Reading};
use super::submit::{Answer, Answered};
use super::world::{Part, World};
use crate::codec::command::Verdict;
use crate::codec::record::{self, Record, Sample, Stamp};
use crate::limits::{DIRECT_READ_BACK_US, READ_BACK_US};
use crate::log::{Fault, Log, Outcome, Polled, Source, Ticket, Topic};

impl World {
    /// Takes one of the things that the log brings.
    pub(super) fn on_polled(&mut self, polled: Polled, log: &mut impl Log, now_us: u64) {
        match polled {
            Polled::Record { source, offset, append_ms, bytes } => {
                if source.topic == Topic::Direct {
                    let read = record::decode(&bytes).map_err(drop);
                    self.on_direct((source.partition, offset, append_ms), read, log, now_us);
                } else {
                    self.on_record(source, offset, append_ms, &bytes, now_us);
                }
            }
            Polled::Outcome(ticket, outcome) => self.on_outcome(ticket, outcome),
            Polled::Bounds(Source { topic: Topic::Direct, partition }, bounds) => {
                self.openings.bounded(partition, bounds.end);
                self.openings.reading(partition).into_iter().for_each(|reading| reading.on_bounds(bounds, log, now_us));
                self.openings.begun(partition);
            }
            Polled::Bounds(source, bounds) => {
                if let Some(story) = story(&mut self.parts, &mut self.social, source) {
                    story.on_bounds(source, bounds, log, now_us);
                    self.facts.gaps += u64::from(std::mem::take(&mut story.gap));
                } else if let Some(part) = self.part(source) {
                    part.motion.on_bounds(bounds, log, now_us);
                }
            }
            Polled::OffsetAt(Source { topic: Topic::Direct, partition }, offset) => {
                self.openings.reading(partition).into_iter().for_each(|reading| reading.on_offset(offset, log));
                self.openings.begun(partition);
            }
            Polled::OffsetAt(source, offset) => match self.part(source) {
                Some(part) => part.motion.on_offset(offset, log),
                None => {
                    let story = story(&mut self.parts, &mut self.social, source);
                    if !story.is_some_and(|story| story.on_offset(source, offset, log)) {
                        self.trim_week(source, offset);
                    }
                }
            },
            Polled::Fetched(fetched) => self.recalls.on_fetched(&fetched, log, now_us),
            Polled::Fault(Fault::OutOfBounds(source)) => {
                self.facts.out_of_bounds += 1;
                self.read_again(source, log, now_us);
            }
            // Nothing to do for a second question, asked because the first was late.
            Polled::Fault(Fault::Unanswered(source)) => {
                let follows = match story(&mut self.parts, &mut self.social, source) {
                    None if source.topic == Topic::Direct => {
                        self.openings.reading(source.partition).is_some_and(|reading| reading.is_following())
                    }
                    Some(story) => story.is_following(),
                    None => self.part(source).is_some_and(|part| part.motion.is_following()),
                };
                if !follows {
                    self.read_again(source, log, now_us);
                }
            }
            Polled::Fault(Fault::Unfetched(source)) => self.recalls.unfetched(source),
            Polled::Fault(Fault::Unreachable(why)) => self.facts.unreachable = Some(why),
            Polled::Fault(Fault::Health(health)) => {
                self.health = health;
                self.facts.health = Some(health);
            }
        }
    }

    fn read_again(&mut self, source: Source, log: &mut impl Log, now_us: u64) {
        if source.topic == Topic::Direct {
            if let Some(reading) = self.openings.reading(source.partition) {
                *reading = Reading::start(source, From::Back(DIRECT_READ_BACK_US), log, now_us);
            }
        } else if let Some(story) = story(&mut self.parts, &mut self.social, source) {
            story.restart(log, now_us);
        } else if let Some(part) = self.part(source) {
            part.motion = Reading::start(source, From::Back(READ_BACK_US), log, now_us);
        }
    }

    fn on_record(&mut self, source: Source, offset: u64, append_ms: i64, bytes: &[u8], now_us: u64) {
        match source.topic {
            Topic::Motion => self.on_motion_record(source, offset, append_ms, bytes, now_us),
            Topic::Events | Topic::Social => self.on_story_record(source, offset, bytes),
            Topic::Objects => self.on_shelf_record(source, offset, bytes, now_us),
            Topic::Direct | Topic::Control => {}
        }
    }

    fn on_motion_record(&mut self, source: Source, offset: u64, append_ms: i64, bytes: &[u8], now_us: u64) {
        let Some(part) = self.part(source) else { return };
        if !part.motion.on_record(offset) {
            return;
        }
        // Also a damaged record shows that time passes.
        part.fold.advance(append_ms);
        part.heard_us = now_us;
        match record::decode(bytes) {
            Ok((stamp, Record::Motion(samples))) => self.on_motion(source.partition, stamp, &samples, now_us),
            Ok((stamp, Record::Beat)) => self.on_stamp(stamp, now_us),
            Ok(_) | Err(_) => self.facts.foreign += 1,
        }
    }

    fn on_story_record(&mut self, source: Source, offset: u64, bytes: &[u8]) {
        let Some(story) = story(&mut self.parts, &mut self.social, source) else { return };
        if !story.on_command(offset) {
            return;
        }
        let is_news = story.is_news(offset);
        let decoded = record::decode(bytes);
        let verdict = story.fold(offset, decoded.as_ref().ok().map(|(_, record)| record));
        self.facts.sessions_forgotten += std::mem::take(&mut story.commands.forgotten);
        if let (Ok((stamp, _)), Some(Verdict::Done(Some((id, version))))) = (&decoded, verdict)
            && stamp.gateway == self.gateway
            && story.commands.objects.left(id).is_some_and(|departed| departed.object.version == version)
        {
            self.sent_away.push((source.partition, id));
        }
        match (decoded, verdict) {
            (Ok((stamp, Record::Command(command))), Some(verdict)) => {
                // A repetition is answered too: sessions hand on no number so low that the fold only takes it for one.
                // What was folded before, and is read back, is not; nor what gateways do of themselves.
                if command.session != 0
                    && stamp.gateway == self.gateway
                    && (self.pending.folded((command.session, command.n)) || is_news)
                {
                    let answer = Answer::Folded(offset, verdict);
                    self.answers.push(Answered { to: command.session, n: command.n, answer });
                }
            }
            (Ok((_, Record::Arrive { .. } | Record::Landed { .. } | Record::Rules(_))), _) => {}
            (Ok(_) | Err(_), _) => self.facts.foreign += 1,
        }
    }

    fn on_shelf_record(&mut self, source: Source, offset: u64, bytes: &[u8], now_us: u64) {
        let Some(story) = story(&mut self.parts, &mut self.social, source) else { return };
        if !story.on_shelf(offset) {
            return;
        }
        match record::decode(bytes) {
            Ok((_, Record::Piece(piece))) => {
                let known = story.snapshots();
                let keep_from = story.on_piece(offset, piece, now_us);
                self.facts.snapshots += u64::from(story.snapshots() > known);
                if let Some((shelf, commands)) = keep_from {
                    self.facts.trims.push((source, shelf));
                    self.weeks.insert(story.source(), commands);
                }
            }
            Ok((_, Record::Hash { offset, hash })) => story.on_hash(offset, hash),
            Ok(_) | Err(_) => self.facts.foreign += 1,
        }
    }

    fn on_motion(&mut self, partition: u16, stamp: Stamp, samples: &[Sample], now_us: u64) {
        self.on_stamp(stamp, now_us);
        let own = stamp.gateway == self.gateway;
        let offset_us = if own { 0 } else { self.peers.offset_us(stamp.gateway).unwrap_or(0) };
        let Some(part) = self.parts[usize::from(partition)].as_mut() else { return };
        for sample in samples {
            if own
                && self.owned.get(&sample.entity).is_some_and(|o| (sample.incarnation, sample.sequence) > o.version())
            {
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
        self.openings.ended(ticket, outcome);
        let (parts, social, openings) = (&self.parts, &self.social, &self.openings);
        let knows = |source: Source, key| match source.topic {
            Topic::Social => social.as_ref().is_some_and(|story| story.knows(key)),
            Topic::Events => {
                parts.get(usize::from(source.partition)).and_then(Option::as_ref).is_some_and(|p| p.story.knows(key))
            }
            Topic::Direct => openings.knows(source.partition, key),
            Topic::Motion | Topic::Objects | Topic::Control => false,
        };
        self.answers.extend(self.pending.ended(ticket, (outcome, self.health), knows));
    }

    /// The followed partition that a source of motion is of.
    fn part(&mut self, source: Source) -> Option<&mut Part> {
        if source.topic != Topic::Motion {
            return None;
        }
        self.parts.get_mut(usize::from(source.partition))?.as_mut()
    }

    /// It is known which commands are of the last days: those before, that a snapshot has, need not be kept.
    fn trim_week(&mut self, source: Source, week: u64) {
        if let Some(commands) = self.weeks.swap_remove(&source) {
            self.facts.trims.push((source, commands.min(week)));
        }
    }
}

/// The commands that a source is of, or whose snapshots it has.
pub(super) fn story<'a>(
    parts: &'a mut [Option<Part>],
    social: &'a mut Option<Story>,
    source: Source,
) -> Option<&'a mut Story> {
    let partition = usize::from(source.partition);
    match source.topic {
        Topic::Social => social.as_mut(),
        Topic::Objects if partition == parts.len() => social.as_mut(),
        Topic::Events | Topic::Objects => Some(&mut parts.get_mut(partition)?.as_mut()?.story),
        Topic::Motion | Topic::Direct | Topic::Control => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::{Command, Deed};
    use crate::codec::message::Scope;
    use crate::log::{Bounds, Health};
    use crate::region::script::{GRID, NOW_US, Script};
    use crate::region::submit::Submit;
    use crate::region::world::CONTROL;
    use crate::space::Pos;

    fn act(world: &mut World, log: &mut Script) -> Ticket {
        let deed = Deed::Act { scope: Scope::Nearby, user: 1, name: "wave".into(), data: "".into() };
        let (pos, from) = (Pos::default(), Pos::default());
        let command = Command { session: 1, n: 5, entity: 2, trusted: false, pos, from, deed };
        world.submit(Submit::Command(command), log, NOW_US);
        log.published.iter().rev().find(|(_, s, _)| s.topic == Topic::Events).expect("just published").0
    }

    fn done(offset: u64) -> Answer {
        Answer::Folded(offset, Verdict::Done(None))
    }

    /// The log says how far a partition of `events` reaches, and that there is no snapshot of it.
    fn reaches(log: &mut Script, source: Source, end: u64) {
        let bounds = |end| Bounds { start: 0, end, last_append_ms: (end > 0).then_some(0) };
        let shelf = Source { topic: Topic::Objects, ..source };
        log.next.extend([Polled::Bounds(shelf, bounds(0)), Polled::Bounds(source, bounds(end))]);
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
        check([NeverEntered, NeverEntered], &[Answer::NotLogged(Health::Well)]);
        check([Unknown, NeverEntered], &[Answer::Unknown]);
        check([NeverEntered, Unknown], &[Answer::Unknown]);
        check([At(Some(3)), NeverEntered], &[Answer::Unknown]);
        check([NeverEntered, At(Some(3))], &[]);
    }

    #[test]
    fn a_refusal_says_how_the_log_is() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        for health in [Health::Full, Health::Down, Health::Well] {
            let ticket = act(&mut world, &mut log);
            log.next.push(Polled::Fault(Fault::Health(health)));
            let told = answers(&mut world, &mut log, &[(ticket, Outcome::NeverEntered)]);
            assert_eq!((told, world.facts.health), (vec![Answer::NotLogged(health)], Some(health)));
        }
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
        reaches(&mut log, source, 0);
        log.next.push(Polled::Record { source, offset: 0, append_ms: 0, bytes });
        assert_eq!(answers(&mut world, &mut log, &[]), [done(0)]);
        let second = act(&mut world, &mut log);
        let outcomes = [(first, Outcome::At(Some(0))), (second, Outcome::NeverEntered)];
        let told = answers(&mut world, &mut log, &outcomes);
        assert_eq!(told, [Answer::Unknown], "who has the answer takes no notice, and who has not asks again");
    }

    #[test]
    fn a_late_question_without_an_answer_does_not_start_the_reading_anew() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        act(&mut world, &mut log);
        answers(&mut world, &mut log, &[]);
        let source = Source { topic: Topic::Events, partition: 0 };
        let asked = log.asked;
        log.next.push(Polled::Fault(Fault::Unanswered(source)));
        answers(&mut world, &mut log, &[]);
        assert_eq!(log.asked, asked + 2, "asked again, for both of its partitions");
        reaches(&mut log, source, 9);
        answers(&mut world, &mut log, &[]);
        assert_eq!(log.asked, asked + 3, "there is no snapshot: how far do the commands reach?");
        log.next.push(Polled::Fault(Fault::Unanswered(source)));
        answers(&mut world, &mut log, &[]);
        assert_eq!(log.asked, asked + 3, "nothing is open any more");
    }

    #[test]
    fn what_is_read_back_is_acknowledged_only_to_who_waits_for_it() {
        let (mut world, mut log) = (World::new(GRID, 1), Script::default());
        let source = Source { topic: Topic::Events, partition: 0 };
        act(&mut world, &mut log);
        let bytes = log.published.last().expect("published").2.clone();
        let record = |offset| Polled::Record { source, offset, append_ms: 0, bytes: bytes.clone() };
        // It entered before the bounds were asked for.
        reaches(&mut log, source, 5);
        log.next.extend([record(4)]);
        assert_eq!(answers(&mut world, &mut log, &[]), [done(4)]);
        // The partition is read anew.
        log.next.push(Polled::Fault(Fault::OutOfBounds(source)));
        reaches(&mut log, source, 5);
        log.next.extend([record(4)]);
        assert_eq!(answers(&mut world, &mut log, &[]), [], "it was answered before");
        log.next.extend([record(5)]);
        assert_eq!(answers(&mut world, &mut log, &[]), [done(5)], "sent again");
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
        reaches(&mut log, source, 0);
        world.claim(&mut log, NOW_US);
        log.next.push(Polled::Record { source, offset: 0, append_ms: 0, bytes });
        assert_eq!(answers(&mut world, &mut log, &[]), [done(0)], "records are folded meanwhile");
    }
}
