//! The commands of one partition of `events`, or of `social`, as a gateway knows them: the newest snapshot and what came
//! after it, read from the log; and snapshots written back when much has come since.

use super::display::Display;
use super::fold::Commands;
use super::snapshot::{self, Snapshots, Writing};
use crate::codec::command::{Object, Rules, Verdict};
use crate::codec::message::Id;
use crate::codec::record::{self, Piece, Record, Stamp};
use crate::limits::{EVENTS_READ_BACK_US, HASH_EVERY, HASHES_MAX, SNAPSHOT_US};
use crate::log::{Bounds, Log, Source, Topic};
use crate::region::motion::fold::Map;
use crate::region::reading::{From, Reading};
use crate::space::Grid;
use std::sync::Arc;

/// What a gateway does for the commands of all partitions.
#[derive(Clone, Copy, Debug)]
pub struct Keeper {
    /// Its number.
    pub gateway: u32,
    /// A snapshot is due after so many commands.
    pub snapshot_after: u64,
    /// The rules that it was told; written where the log has none as new.
    pub rules: Rules,
}

/// The commands of one partition.
pub struct Story {
    grid: Grid,
    /// `events` of a block, or `social`.
    source: Source,
    /// Its partition of `objects`.
    shelf: Source,
    /// Of the snapshots, which goes on: others write some as well.
    shelf_reading: Reading,
    snapshots: Snapshots,
    /// Of the commands, once the newest snapshot is known.
    reading: Option<Reading>,
    /// Where they ended when all this began, which is asked at once: what comes while snapshots are read is news.
    news: Option<u64>,
    /// What they have come to.
    pub commands: Commands,
    writing: Option<Writing>,
    /// The offset that the last one begun here is of.
    written: u64,
    /// The revision of the rules that were written here last.
    ruled: u32,
    /// When the next snapshot is due, if there was a command since the last.
    due_us: u64,
    jitter_us: u64,
    /// Hashes of this state at some offsets, and of others' that are ahead of it.
    hashes: Hashes,
    /// One of ours that others have yet to be told.
    hash_due: Option<(u64, u32)>,
    /// What was last shown of its objects.
    shown: Option<Arc<Display>>,
    /// Commands lack between the newest snapshot and the log's start: what they did is not known. The caller empties it.
    pub gap: bool,
    /// Another gateway has come to another state. The caller empties it.
    pub differs: bool,
}

/// Hashes of states by the offset that they are of, the newest last.
#[derive(Clone, Debug, Default)]
struct Hashes {
    own: Map<u64, u32>,
    others: Map<u64, u32>,
}

impl Hashes {
    /// One of ours. Whether nobody is known to have another.
    fn own(&mut self, offset: u64, hash: u32) -> bool {
        keep(&mut self.own, offset, hash);
        self.others.get(&offset).is_none_or(|other| *other == hash)
    }

    /// Somebody's. Whether ours, if it is known, is the same.
    fn other(&mut self, offset: u64, hash: u32) -> bool {
        keep(&mut self.others, offset, hash);
        self.own.get(&offset).is_none_or(|own| *own == hash)
    }
}

fn keep(hashes: &mut Map<u64, u32>, offset: u64, hash: u32) {
    if hashes.len() >= HASHES_MAX {
        hashes.shift_remove_index(0);
    }
    hashes.insert(offset, hash);
}

impl Story {
    /// Starts to read a partition. `jitter` differs from gateway to gateway.
    pub fn start(grid: Grid, source: Source, jitter: u64, log: &mut impl Log, now_us: u64) -> Story {
        let shelf = shelf_of(grid, source);
        let jitter_us = jitter % SNAPSHOT_US;
        log.bounds(source);
        Story {
            grid,
            source,
            shelf,
            shelf_reading: Reading::start(shelf, From::Offset(0), log, now_us),
            snapshots: Snapshots::default(),
            reading: None,
            news: None,
            commands: Commands::new(grid, source.partition),
            writing: None,
            written: 0,
            ruled: 0,
            due_us: now_us + SNAPSHOT_US + jitter_us,
            jitter_us,
            hashes: Hashes::default(),
            hash_due: None,
            shown: None,
            gap: false,
            differs: false,
        }
    }

    /// Where its commands stand.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Where its snapshots stand.
    #[must_use]
    pub fn shelf(&self) -> Source {
        self.shelf
    }

    /// Whether the log goes to and fro no more about where to read.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.reading.is_some_and(|reading| reading.is_following())
    }

    /// Whether a command's record came after the reading began.
    #[must_use]
    pub fn is_news(&self, offset: u64) -> bool {
        self.reading.is_some_and(|reading| reading.is_news(offset))
    }

    /// The bounds of one of its two partitions are known.
    pub fn on_bounds(&mut self, source: Source, bounds: Bounds, log: &mut impl Log, now_us: u64) {
        if source == self.shelf {
            self.shelf_reading.on_bounds(bounds, log, now_us);
            self.begin(log, now_us);
            return;
        }
        self.news.get_or_insert(bounds.end);
        if let Some(reading) = self.reading.as_mut().filter(|reading| !reading.is_following()) {
            reading.on_bounds(bounds, log, now_us);
            self.follow();
        }
    }

    /// It is known from which offset on the commands of the last minutes stand. False if it was not asked for.
    pub fn on_offset(&mut self, source: Source, offset: u64, log: &mut impl Log) -> bool {
        let Some(reading) = self.reading.as_mut().filter(|r| source == self.source && r.asks_offset()) else {
            return false;
        };
        reading.on_offset(offset, log);
        self.follow();
        true
    }

    /// Commands come from now on, if they do.
    fn follow(&mut self) {
        if let Some((from, end)) = self.reading.and_then(|reading| reading.span()) {
            self.gap = from > self.commands.next();
            self.commands.start(from, end, self.news.unwrap_or(end).min(end));
        }
    }

    /// A record of `objects` came. False if it is none that was asked for.
    pub fn on_shelf(&mut self, offset: u64) -> bool {
        self.shelf_reading.on_record(offset)
    }

    /// A piece of a snapshot came, at this offset of `objects`. Where a snapshot is whole by it, tells what need not be kept:
    /// of `objects` and of the commands, what stands below these offsets.
    pub fn on_piece(&mut self, at: u64, piece: Piece, now_us: u64) -> Option<(u64, u64)> {
        if !self.snapshots.take(at, piece) {
            return None;
        }
        if self.reading.is_some() {
            // It is only to be known that there is one.
            self.snapshots.forget_pieces();
            self.due_us = now_us + SNAPSHOT_US + self.jitter_us;
        }
        self.snapshots.keep_from()
    }

    /// Somebody's hash of the state at an offset came.
    pub fn on_hash(&mut self, offset: u64, hash: u32) {
        self.differs |= !self.hashes.other(offset, hash);
    }

    /// A record of the commands came. False if it is none that was asked for.
    pub fn on_command(&mut self, offset: u64) -> bool {
        self.reading.as_mut().is_some_and(|reading| reading.on_record(offset))
    }

    /// Folds what stands at an offset: `None` if it is nothing that is folded here. Tells what became of a command.
    pub fn fold(&mut self, offset: u64, record: Option<&Record>) -> Option<Verdict> {
        let commands = &mut self.commands;
        let before = commands.next();
        let verdict = match record {
            Some(Record::Command(command)) => Some(commands.fold(offset, command)),
            // It is part of the state.
            Some(_) if offset < before => None,
            Some(Record::Arrive { object, .. }) => {
                commands.objects.arrive(object);
                None
            }
            Some(Record::Landed { object, version }) => {
                commands.objects.landed(*object, *version);
                None
            }
            Some(Record::Rules(rules)) => {
                commands.objects.rule(*rules);
                None
            }
            Some(
                Record::Motion(_)
                | Record::Beat
                | Record::Piece(_)
                | Record::Hash { .. }
                | Record::Gateway(_)
                | Record::Opening(_)
                | Record::Signs(..),
            )
            | None => None,
        };
        commands.read(offset);
        if commands.next() > before && commands.next().is_multiple_of(HASH_EVERY) {
            let (next, hash) = (commands.next(), snapshot::hash(commands));
            self.differs |= !self.hashes.own(next, hash);
            self.hash_due = Some((next, hash));
        }
        verdict
    }

    /// Once all snapshots are read, the commands are read from the newest on.
    pub fn begin(&mut self, log: &mut impl Log, now_us: u64) {
        if self.reading.is_some() || !self.shelf_reading.is_read() {
            return;
        }
        let from = match self.snapshots.state(self.grid, self.source.partition) {
            Some((of, commands)) => {
                self.commands = commands;
                of
            }
            None => 0,
        };
        self.commands.skip_to(from);
        self.snapshots.forget_pieces();
        // What is part of the snapshot is read again as far as somebody may have missed it who comes back.
        self.reading = Some(Reading::start(self.source, From::Earlier(from, EVENTS_READ_BACK_US), log, now_us));
    }

    /// Begins anew: the log has lost where it stood, or the state is in doubt.
    pub fn restart(&mut self, log: &mut impl Log, now_us: u64) {
        *self = Story::start(self.grid, self.source, self.jitter_us, log, now_us);
    }

    /// Asks again what was not answered, and writes what is due: rules, a hash, one piece of a snapshot. True if the state was
    /// in doubt, and is read anew.
    pub fn upkeep(&mut self, keeper: &Keeper, log: &mut impl Log, now_us: u64) -> bool {
        if self.differs {
            self.restart(log, now_us);
            return true;
        }
        self.shelf_reading.ask_again(log, now_us);
        if let Some(reading) = &mut self.reading {
            reading.ask_again(log, now_us);
        }
        self.begin(log, now_us);
        let stamp = Stamp { gateway: keeper.gateway, published_us: now_us };
        let rules = keeper.rules;
        if self.commands.is_read() && rules.revision > self.commands.objects.rules().revision.max(self.ruled) {
            self.ruled = rules.revision;
            log.publish(self.source, record::encode(stamp, &Record::Rules(rules)));
        }
        if let Some((offset, hash)) = self.hash_due.take().filter(|_| self.commands.is_read()) {
            log.publish(self.shelf, record::encode(stamp, &Record::Hash { offset, hash }));
        }
        if self.writing.is_none() && self.is_due(keeper.snapshot_after, now_us) {
            self.due_us = now_us + SNAPSHOT_US + self.jitter_us;
            self.writing = Writing::of(&self.commands);
            self.written = self.commands.next();
        }
        let Some(writing) = &mut self.writing else { return false };
        // Somebody else was faster.
        let is_old = self.snapshots.newest().is_some_and(|newest| newest >= writing.offset);
        match writing.piece().filter(|_| !is_old) {
            Some(piece) => {
                log.publish(self.shelf, record::encode(stamp, &Record::Piece(piece)));
            }
            None => self.writing = None,
        }
        false
    }

    /// What is shown of its objects at a tick, once all that was there at the beginning is read; `leavers` have left, and are
    /// shown still.
    pub fn show(&mut self, leavers: Vec<Arc<Object>>, tick: u64) -> Option<Arc<Display>> {
        if self.commands.is_read() {
            self.shown = Some(Display::next(self.shown.as_ref(), &self.commands.objects, leavers, tick));
        }
        self.shown.clone()
    }

    /// The offset that the newest snapshot is of; 0 if there is none.
    #[must_use]
    pub fn snapshots(&self) -> u64 {
        self.snapshots.newest().unwrap_or(0)
    }

    fn is_due(&self, after: u64, now_us: u64) -> bool {
        let next = self.commands.next();
        let since = next.saturating_sub(self.snapshots());
        // What was written may not have come back yet; should it never come, time makes it due again.
        let is_much = next.saturating_sub(self.snapshots().max(self.written)) >= after;
        self.commands.is_read() && (is_much || (since > 0 && now_us >= self.due_us))
    }

    /// Whether a command has been folded.
    #[must_use]
    pub fn knows(&self, key: (Id, u64)) -> bool {
        self.commands.knows(key)
    }
}

/// Where the snapshots of a partition stand.
#[must_use]
pub fn shelf_of(grid: Grid, source: Source) -> Source {
    let partition = if source.topic == Topic::Social { grid.partitions() } else { source.partition };
    Source { topic: Topic::Objects, partition }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::{Command, Deed};
    use crate::codec::message::Scope;
    use crate::limits::SECOND_US;
    use crate::log::memory::{Memory, MemoryLog};
    use crate::log::{Follow, Polled};
    use crate::region::{Submit, World};
    use crate::space::Pos;
    use std::sync::atomic::{AtomicI64, Ordering};

    const GRID: Grid = Grid { w: 2, h: 1 };
    const START_US: u64 = 1_700_000_000 * SECOND_US;

    /// A log, its clock, and what is done with it.
    struct Scene {
        memory: Memory,
        now_ms: Arc<AtomicI64>,
        now_us: u64,
    }

    struct Gateway {
        world: World,
        log: MemoryLog,
    }

    impl Scene {
        fn new() -> Scene {
            let now_ms = Arc::new(AtomicI64::new((START_US / 1_000) as i64));
            let at = now_ms.clone();
            Scene { memory: Memory::new(1, move || at.load(Ordering::Relaxed)), now_ms, now_us: START_US }
        }

        fn gateway(&self, number: u32) -> Gateway {
            Gateway { world: World::new(GRID, number), log: self.memory.open() }
        }

        /// Lets so many seconds pass on the gateways.
        fn run(&mut self, gateways: &mut [&mut Gateway], seconds: u64) {
            for _ in 0..seconds * 4 {
                self.now_us += SECOND_US / 4;
                self.now_ms.store((self.now_us / 1_000) as i64, Ordering::Relaxed);
                for gateway in &mut *gateways {
                    gateway.world.follow(0, &mut gateway.log, self.now_us);
                    gateway.world.step(&mut gateway.log, self.now_us, &mut Vec::new());
                }
            }
        }

        /// Gives commands, a thousand a second.
        fn give(&mut self, gateway: &mut Gateway, numbers: std::ops::Range<u64>) {
            for n in numbers {
                let of_world = n % 10 == 0;
                let fields = vec![("n".into(), Some(n.to_string().into()))];
                let deed = match n % 3 {
                    0 if of_world => Deed::Environment { of_world, expect: None, fields },
                    0 => Deed::Create { kind: "board".into(), yaw: 0, fields },
                    _ => {
                        let scope = if of_world { Scope::World } else { Scope::Nearby };
                        Deed::Act { scope, user: 1, name: "wave".into(), data: "".into() }
                    }
                };
                let pos = Pos { x: (n as i32 % 5) * 1_000, y: 0, z: 0 };
                let command = Command { session: n % 7 + 1, n, entity: 2, trusted: true, pos, from: pos, deed };
                gateway.world.submit(Submit::Command(command), &mut gateway.log, self.now_us);
                if n % 250 == 249 {
                    self.run(&mut [gateway], 1);
                }
            }
            self.run(&mut [gateway], 2);
        }
    }

    impl Gateway {
        fn stories(&self) -> Vec<(u64, u32, usize)> {
            let of = |story: &Story| {
                (story.commands.next(), snapshot::hash(&story.commands), story.commands.objects.iter().count())
            };
            self.world.stories().flatten().map(of).collect()
        }
    }

    #[test]
    fn who_starts_later_comes_to_the_same_state_by_a_snapshot_and_what_came_after() {
        let mut scene = Scene::new();
        let mut first = scene.gateway(1);
        scene.run(&mut [&mut first], 1);
        scene.give(&mut first, 0..2_500);
        scene.run(&mut [&mut first], 20);
        assert!(first.world.facts.trims.iter().any(|(source, _)| source.topic == Topic::Objects), "two are whole");
        scene.run(&mut [&mut first], 300);
        scene.give(&mut first, 2_500..2_600);
        let mut second = scene.gateway(2);
        scene.run(&mut [&mut second], 2);
        assert_eq!(second.stories(), first.stories());
        let [(next, ..), (social, ..)] = first.stories()[..] else { panic!("one partition and the world") };
        assert_eq!((next, social), (2_340, 260));
        // They have not read all of it.
        let read = |gateway: &Gateway| {
            let story = gateway.world.stories().next().flatten().expect("it follows partition 0");
            story.reading.and_then(|reading| reading.span()).expect("it is read").0
        };
        assert_eq!(read(&first), 0);
        assert!(read(&second) >= 2_000, "{}", read(&second));
        // What was done before is known to have been done.
        assert!(second.world.stories().flatten().any(|story| story.knows((2_599 % 7 + 1, 2_599))));
    }

    #[test]
    fn a_quiet_partition_is_snapshot_after_a_while_and_once() {
        let mut scene = Scene::new();
        let mut gateway = scene.gateway(1);
        scene.run(&mut [&mut gateway], 1);
        scene.give(&mut gateway, 0..20);
        let pieces = |scene: &Scene| {
            let mut log = scene.memory.open();
            let source = Source { topic: Topic::Objects, partition: 0 };
            let mut out = Vec::new();
            log.follow(Follow::From(source, 0));
            log.poll(&mut out);
            out.iter().filter(|polled| matches!(polled, Polled::Record { .. })).count()
        };
        scene.run(&mut [&mut gateway], 60);
        assert_eq!(pieces(&scene), 0);
        scene.run(&mut [&mut gateway], 600);
        assert_eq!(pieces(&scene), 1);
        scene.run(&mut [&mut gateway], 1_200);
        assert_eq!(pieces(&scene), 1, "nothing has come since");
    }

    #[test]
    fn rules_come_into_the_log_once() {
        let mut scene = Scene::new();
        let (mut first, mut second) = (scene.gateway(1), scene.gateway(2));
        for gateway in [&mut first, &mut second] {
            gateway.world.keeper.rules = Rules { revision: 3, session_objects: 2, ..Rules::default() };
        }
        scene.run(&mut [&mut first], 2);
        scene.run(&mut [&mut first, &mut second], 2);
        for gateway in [&first, &second] {
            assert!(gateway.world.stories().flatten().all(|story| story.commands.objects.rules().session_objects == 2));
            assert!(gateway.stories().iter().all(|(next, ..)| *next == 1), "{:?}", gateway.stories());
        }
        second.world.keeper.rules = Rules { revision: 2, ..Rules::default() };
        scene.run(&mut [&mut first, &mut second], 2);
        assert!(second.stories().iter().all(|(next, ..)| *next == 1), "older rules are not written");
    }

    #[test]
    fn gateways_that_come_to_other_states_notice() {
        let mut scene = Scene::new();
        let (mut first, mut second) = (scene.gateway(1), scene.gateway(2));
        scene.run(&mut [&mut first, &mut second], 1);
        // One of them has something that the log has not.
        let story = &mut second.world.parts[0].as_mut().expect("followed").story;
        story.commands.objects.arrive(&crate::codec::command::Object {
            id: 9,
            version: 1,
            maker: 0,
            kind: "ghost".into(),
            pos: Pos::default(),
            yaw: 0,
            holder: None,
            fields: crate::codec::command::Fields::new(),
        });
        scene.give(&mut first, 0..1_200);
        scene.run(&mut [&mut first, &mut second], 3);
        assert!(second.world.facts.diverged > 0, "it was told");
        scene.run(&mut [&mut first, &mut second], 3);
        assert_eq!(second.stories(), first.stories(), "it has begun anew");
    }
}
