//! What a session missed and the ring has no more: the log is read once more, beside what is followed. Whoever asks while a
//! partition is being read waits for its next reading: a gateway to which hundreds come back reads what they missed once or
//! twice, not hundreds of times.

use std::ops::Range;
use std::sync::Arc;

use super::dedupe::Windows;
use super::event::Event;
use super::streams;
use crate::codec::message::Id;
use crate::codec::record::{self, Record};
use crate::limits::{
    ASK_AGAIN_US, RECALL_BYTES_MAX, RECALL_EVENTS_MAX, RECALL_LEAD, RECALL_WITHIN_US, RECALLS_AT_ONCE, RECALLS_MAX,
};
use crate::log::{Fetched, Log, Source};
use crate::space::{Grid, Pos};

/// What a session asks for: what it would have been told of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Which partition, as in [`Tick::events`](crate::region::Tick::events).
    pub partition: u16,
    /// Offsets.
    pub span: Range<u64>,
    /// Whose session it is.
    pub user: Option<Id>,
    /// Where its avatar is taken to have been.
    pub at: Pos,
    /// How far it sees, metres.
    pub radius_m: f64,
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    /// As asked.
    pub partition: u16,
    /// As asked.
    pub span: Range<u64>,
    /// All events that it would have been told; `None` if they are too many, gone, or could not be read.
    pub events: Option<Vec<Arc<Event>>>,
}

/// Somebody who waits for an answer.
struct Waiting {
    to: Id,
    ask: Ask,
    asked_us: u64,
    events: Vec<Arc<Event>>,
    bytes: usize,
}

impl Waiting {
    /// Takes an event, if it would have been told it. False if that is too many.
    fn take(&mut self, event: &Arc<Event>) -> bool {
        let Ask { span, user, at, radius_m, .. } = &self.ask;
        if span.contains(&event.offset) && !crate::planted!(RecallForgets) && event.reaches(*user, *at, *radius_m) {
            self.bytes += event.name.len() + event.data.len();
            self.events.push(event.clone());
        }
        self.events.len() <= RECALL_EVENTS_MAX && self.bytes <= RECALL_BYTES_MAX
    }

    /// Its answer: what it has, or nothing.
    fn answer(self, is_whole: bool) -> (Id, Recalled) {
        let Ask { partition, span, .. } = self.ask;
        (self.to, Recalled { partition, span, events: is_whole.then_some(self.events) })
    }
}

/// One reading of a partition.
struct Pass {
    /// What is being fetched, and since when (µs).
    next: u64,
    fetched_us: u64,
    /// Which commands were heard of those read: each is told once.
    heard: Windows,
    /// By what they want first.
    waiting: Vec<Waiting>,
}

/// The reading that is under way, one at a time, and who waits for the next.
#[derive(Default)]
pub(in crate::region) struct Recalls {
    pass: Option<(Source, Pass)>,
    /// In the order in which they asked.
    waiting: Vec<Waiting>,
    /// What is to be told, and to which session; the caller empties it.
    pub(in crate::region) answers: Vec<(Id, Recalled)>,
}

impl Recalls {
    /// How many wait for an answer.
    pub(in crate::region) fn len(&self) -> usize {
        self.waiting.len() + self.pass.as_ref().map_or(0, |(_, pass)| pass.waiting.len())
    }

    /// A session asks. What it asked before of the same partition is no longer wanted.
    pub(in crate::region) fn ask(&mut self, to: Id, ask: Ask, now_us: u64) {
        self.forget(|waiting| waiting.to == to && waiting.ask.partition == ask.partition);
        let waiting = Waiting { to, ask, asked_us: now_us, events: Vec::new(), bytes: 0 };
        if self.len() < RECALLS_MAX && !crate::planted!(RecallRefuses) {
            self.waiting.push(waiting);
        } else {
            self.answers.push(waiting.answer(false));
        }
    }

    /// A session is gone.
    pub(in crate::region) fn gone(&mut self, session: Id) {
        self.forget(|waiting| waiting.to == session);
    }

    fn forget(&mut self, is_over: impl Fn(&Waiting) -> bool) {
        self.waiting.retain(|waiting| !is_over(waiting));
        self.pass.iter_mut().for_each(|(_, pass)| pass.waiting.retain(|waiting| !is_over(waiting)));
    }

    /// Begins to read a partition for those who wait for it, if nothing is being read: that of which somebody wants least.
    pub(in crate::region) fn begin(&mut self, grid: Grid, log: &mut impl Log, now_us: u64) {
        let least = self.waiting.iter().min_by_key(|waiting| waiting.ask.span.end - waiting.ask.span.start);
        let (None, Some(partition)) = (&self.pass, least.map(|waiting| waiting.ask.partition)) else { return };
        let is_of_it = |waiting: &mut Waiting| waiting.ask.partition == partition;
        let mut waiting: Vec<_> = self.waiting.extract_if(.., is_of_it).take(RECALLS_AT_ONCE).collect();
        waiting.sort_by_key(|waiting| waiting.ask.span.start);
        let next = waiting[0].ask.span.start.saturating_sub(RECALL_LEAD);
        let source = streams::source(partition, grid);
        self.pass = Some((source, Pass { next, fetched_us: now_us, heard: Windows::default(), waiting }));
        log.fetch(source, next);
    }

    /// The log has brought some records.
    pub(in crate::region) fn on_fetched(&mut self, fetched: &Fetched, log: &mut impl Log, now_us: u64) {
        let Fetched { source, from, start, ref records, next } = *fetched;
        let is_it = |(of, pass): &mut (Source, Pass)| *of == source && pass.next == from;
        let Some((_, mut pass)) = self.pass.take_if(is_it) else { return };
        let answers = &mut self.answers;
        answers.extend(pass.answer(false, |waiting| waiting.ask.span.start.max(from) < start));
        records.iter().for_each(|(offset, bytes)| pass.read(*offset, bytes, answers));
        answers.extend(pass.answer(true, |waiting| waiting.ask.span.end <= next));
        // Where nothing comes before the end, the topic is another one.
        answers.extend(pass.answer(false, |_| next <= from));
        if !pass.waiting.is_empty() {
            (pass.next, pass.fetched_us) = (next, now_us);
            log.fetch(source, next);
            self.pass = Some((source, pass));
        }
    }

    /// What was fetched of a partition does not come.
    pub(in crate::region) fn unfetched(&mut self, source: Source) {
        if let Some((of, pass)) = &mut self.pass
            && *of == source
        {
            pass.fetched_us = 0;
        }
    }

    /// Asks again what was not answered, and gives up for who waits too long.
    pub(in crate::region) fn upkeep(&mut self, log: &mut impl Log, now_us: u64) {
        let is_late = |waiting: &mut Waiting| now_us.saturating_sub(waiting.asked_us) >= RECALL_WITHIN_US;
        self.answers.extend(self.waiting.extract_if(.., is_late).map(|waiting| waiting.answer(false)));
        let Some((source, mut pass)) = self.pass.take() else { return };
        self.answers.extend(pass.answer(false, is_late));
        if !pass.waiting.is_empty() {
            if now_us.saturating_sub(pass.fetched_us) >= ASK_AGAIN_US {
                pass.fetched_us = now_us;
                log.fetch(source, pass.next);
            }
            self.pass = Some((source, pass));
        }
    }
}

impl Pass {
    /// Those who are answered now: with what they have, or without.
    fn answer(
        &mut self,
        is_whole: bool,
        is_due: impl FnMut(&mut Waiting) -> bool,
    ) -> impl Iterator<Item = (Id, Recalled)> {
        self.waiting.extract_if(.., is_due).map(move |waiting| waiting.answer(is_whole))
    }

    /// Takes one record.
    fn read(&mut self, offset: u64, bytes: &[u8], answers: &mut Vec<(Id, Recalled)>) {
        let Ok((_, Record::Command(command))) = record::decode(bytes) else { return };
        let Some(event) = Event::of(offset, &command) else { return };
        let is_new = self.heard.take((command.session, command.n), command.trusted).0.is_ok();
        if is_new {
            let event = Arc::new(event);
            let begun = self.waiting.partition_point(|waiting| waiting.ask.span.start <= offset);
            let full = self.waiting.extract_if(..begun, |waiting| !waiting.take(&event));
            answers.extend(full.map(|waiting| waiting.answer(false)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::{Command, Deed};
    use crate::codec::message::Scope;
    use crate::codec::record::Stamp;
    use crate::log::Topic;
    use crate::region::script::{GRID, NOW_US, Script};

    const EVENTS: Source = Source { topic: Topic::Events, partition: 1 };

    /// Of `n` of session 1, so many metres east.
    fn act(n: u64, east_m: f64) -> bytes::Bytes {
        let deed = Deed::Act { scope: Scope::Nearby, user: 1, name: "x".into(), data: "1234567".into() };
        let pos = Pos::from_metres([east_m, 0.0, 0.0]).expect("a place");
        let command = Command { session: 1, n, entity: 2, trusted: true, pos, from: pos, deed };
        record::encode(Stamp { gateway: 1, published_us: NOW_US }, &Record::Command(command))
    }

    fn ask(span: Range<u64>, east_m: f64) -> Ask {
        let at = Pos::from_metres([east_m, 0.0, 0.0]).expect("a place");
        Ask { partition: 1, span, user: None, at, radius_m: 10.0 }
    }

    #[derive(Default)]
    struct Room {
        recalls: Recalls,
        log: Script,
    }

    impl Room {
        fn ask(&mut self, to: Id, ask: Ask) {
            self.recalls.ask(to, ask, NOW_US);
            self.recalls.begin(GRID, &mut self.log, NOW_US);
        }

        /// Records from an offset on; `None`: not one that can be read.
        fn fetched(&mut self, (from, start): (u64, u64), records: &[(u64, Option<bytes::Bytes>)]) {
            let next = records.last().map_or(from, |(offset, _)| offset + 1);
            let records = records.iter().map(|(offset, bytes)| (*offset, bytes.clone().unwrap_or_default())).collect();
            self.recalls.on_fetched(&Fetched { source: EVENTS, from, start, records, next }, &mut self.log, NOW_US);
        }

        /// Who was told what: offsets, or nothing.
        fn told(&mut self) -> Vec<(Id, Option<Vec<u64>>)> {
            let offsets = |events: Vec<Arc<Event>>| events.iter().map(|event| event.offset).collect();
            self.recalls.answers.drain(..).map(|(to, recalled)| (to, recalled.events.map(offsets))).collect()
        }
    }

    #[test]
    fn one_reading_serves_all_who_have_asked_and_each_is_told_its_own() {
        let lead = RECALL_LEAD + 100;
        let mut room = Room::default();
        room.recalls.ask(7, ask(lead + 3..lead + 6, 0.0), NOW_US);
        room.ask(8, ask(lead..lead + 8, 500.0));
        room.ask(9, ask(lead + 7..lead + 9, 0.0));
        assert_eq!(room.log.fetched, [(EVENTS, 100)], "the third waits for the next one");
        // Told before, sent again among what is asked for.
        room.fetched((100, 0), &[(101, Some(act(1, 0.0))), (102, None)]);
        room.fetched((4, 0), &[(4, Some(act(9, 0.0)))]);
        assert_eq!((room.told(), room.log.fetched.len()), (vec![], 2), "what nobody has asked for changes nothing");
        let records = [
            (lead, Some(act(2, 500.0))),
            (lead + 2, Some(act(3, 0.0))),
            (lead + 3, Some(act(1, 0.0))),
            (lead + 4, Some(act(4, 1.0))),
            (lead + 5, Some(act(4, 1.0))),
            (lead + 6, Some(act(5, 1.0))),
            (lead + 7, Some(act(6, 500.0))),
            (lead + 8, Some(act(7, 0.0))),
        ];
        room.fetched((103, 0), &records[..6]);
        assert_eq!(room.told(), [(7, Some(vec![lead + 4]))], "nobody waits for who has asked for more");
        room.fetched((lead + 7, 0), &records[6..]);
        assert_eq!(room.told(), [(8, Some(vec![lead, lead + 7]))]);
        room.recalls.begin(GRID, &mut room.log, NOW_US);
        assert_eq!(room.log.fetched[3..], [(EVENTS, 107)]);
        room.fetched((107, 0), &[(lead + 8, Some(act(7, 0.0)))]);
        assert_eq!((room.told(), room.recalls.len()), (vec![(9, Some(vec![lead + 8]))], 0));
    }

    #[test]
    fn too_much_is_not_told_nor_what_is_gone() {
        let most = RECALL_EVENTS_MAX as u64;
        let acts = |n: u64| (0..n).map(|n| (n, Some(act(n, 0.0)))).collect::<Vec<_>>();
        for (asked, start, events) in [
            (0..most, 0, Some(most)),
            (0..most + 1, 0, None),
            (1..most + 1, 1, Some(most)),
            (0..most, 1, None),
            // The log is shorter than what was asked for.
            (0..most + 2, 0, None),
        ] {
            let mut room = Room::default();
            room.ask(7, ask(asked.clone(), 0.0));
            room.fetched((0, start), &acts(most + 1));
            if room.recalls.len() > 0 {
                room.fetched((most + 1, start), &[]);
            }
            let told = room.told();
            let lens: Vec<_> = told.iter().map(|(_, events)| events.as_ref().map(|all| all.len() as u64)).collect();
            assert_eq!(lens, [events], "{asked:?} of {start}");
        }
        let mut room = Room::default();
        room.ask(7, ask(0..20, 0.0));
        let long = "x".repeat(RECALL_BYTES_MAX / 2);
        let deed = Deed::Act { scope: Scope::World, user: 1, name: "x".into(), data: long.as_str().into() };
        let command = |n| Command {
            session: 1,
            n,
            entity: 2,
            trusted: true,
            pos: Pos::default(),
            from: Pos::default(),
            deed: deed.clone(),
        };
        let waiting = &mut room.recalls.pass.as_mut().expect("it is read").1.waiting[0];
        let takes: Vec<bool> =
            (0..2).map(|n| waiting.take(&Arc::new(Event::of(n, &command(n)).expect("heard")))).collect();
        assert_eq!(takes, [true, false]);
    }

    #[test]
    fn one_partition_is_read_at_a_time_and_nothing_for_who_is_gone() {
        let mut room = Room::default();
        room.ask(7, ask(3..9, 0.0));
        room.ask(8, Ask { partition: 2, ..ask(8..9, 0.0) });
        room.ask(9, ask(4..9, 0.0));
        assert_eq!((room.log.fetched.len(), room.recalls.len()), (1, 3));
        room.ask(9, ask(5..9, 0.0));
        assert_eq!(room.recalls.len(), 3, "what it asked before is not wanted");
        room.recalls.gone(7);
        room.fetched((0, 0), &[(0, None)]);
        assert_eq!((room.told(), room.log.fetched.len()), (vec![], 1), "nobody waits for more of it");
        room.recalls.begin(GRID, &mut room.log, NOW_US);
        assert_eq!(room.log.fetched[1].0.partition, 2, "who wants least comes first");
        for to in 10..10 + RECALLS_MAX as u64 {
            room.ask(to, ask(3..9, 0.0));
        }
        assert_eq!((room.recalls.len(), room.told().len()), (RECALLS_MAX, 2));
    }

    #[test]
    fn what_is_not_answered_is_asked_again_and_nobody_waits_for_ever() {
        let mut room = Room::default();
        room.ask(7, ask(3..9, 0.0));
        room.recalls.upkeep(&mut room.log, NOW_US + ASK_AGAIN_US - 1);
        assert_eq!(room.log.fetched.len(), 1);
        room.recalls.upkeep(&mut room.log, NOW_US + ASK_AGAIN_US);
        assert_eq!(room.log.fetched.len(), 2);
        room.recalls.unfetched(crate::region::world::SOCIAL);
        room.recalls.unfetched(EVENTS);
        room.recalls.upkeep(&mut room.log, NOW_US + ASK_AGAIN_US + 1);
        assert_eq!(room.log.fetched, [(EVENTS, 0); 3]);
        room.ask(8, ask(3..9, 0.0));
        room.recalls.upkeep(&mut room.log, NOW_US + RECALL_WITHIN_US);
        assert_eq!((room.told(), room.recalls.len()), (vec![(8, None), (7, None)], 0));
        assert_eq!(room.recalls.waiting.len(), 0);
    }
}
