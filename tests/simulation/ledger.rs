//! What the commands in the log come to, folded here once more in the order in which they entered; and rules that hold of
//! objects whoever folds them: versions rise by one, an object is in one partition, in one pair of hands.

use std::collections::BTreeMap;
use std::sync::Arc;

use nearcast::codec::command::{Command, Deed, Environment, Object, Verdict};
use nearcast::codec::message::{Ack, Id, Refuse};
use nearcast::codec::record::Record;
use nearcast::log::{Source, Topic};
use nearcast::region::World;
use nearcast::region::commands::fold::Commands;
use nearcast::region::commands::snapshot;
use nearcast::space::{Grid, Pos, Region};

/// Partitions by the number of their stream: the world as a whole is behind all others.
type Stream = u16;

/// The commands of all partitions.
pub struct Ledger {
    grid: Grid,
    stories: BTreeMap<Stream, Commands>,
    /// What became of each command where it stood first.
    verdicts: BTreeMap<(Id, u64), Verdict>,
    /// Hashes of what the commands came to, by stream and offset.
    hashes: BTreeMap<(Stream, u64), u32>,
    /// By object, the newest version that any command made.
    versions: BTreeMap<Id, u64>,
    /// The same by place.
    places: BTreeMap<Option<Region>, u64>,
    compared: u64,
}

impl Ledger {
    /// Empty.
    pub fn new(grid: Grid) -> Ledger {
        let (stories, verdicts, hashes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (versions, places) = (BTreeMap::new(), BTreeMap::new());
        Ledger { grid, stories, verdicts, hashes, versions, places, compared: 0 }
    }

    /// For the report.
    pub fn counts(&self) -> String {
        let objects: usize = self.stories.values().map(|story| story.objects.iter().count()).sum();
        let denied = self.verdicts.values().filter(|verdict| matches!(verdict, Verdict::Denied(_))).count();
        format!(
            "{objects} objects, {} changes, {} of places, {denied} denied, {} states compared",
            self.versions.values().sum::<u64>(),
            self.places.values().sum::<u64>(),
            self.compared
        )
    }

    /// The number of a stream.
    pub fn stream(&self, source: Source) -> Stream {
        match source.topic {
            Topic::Social => self.grid.partitions(),
            Topic::Direct => self.grid.partitions() + 1 + source.partition,
            Topic::Motion | Topic::Events | Topic::Objects | Topic::Control => source.partition,
        }
    }

    /// A record entered the log.
    pub fn entered(&mut self, source: Source, offset: u64, record: &Record) -> Result<(), String> {
        let stream = self.stream(source);
        let grid = self.grid;
        let story = self.stories.entry(stream).or_insert_with(|| Commands::new(grid, source.partition));
        match record {
            Record::Command(command) => {
                let verdict = story.fold(offset, command);
                self.judge(command, verdict)?;
            }
            Record::Arrive { object, .. } => {
                if story.objects.arrive(object) {
                    self.alone(object.id)?;
                }
            }
            Record::Landed { object, version } => self.landed(stream, *object, *version)?,
            Record::Rules(rules) => story.objects.rule(*rules),
            Record::Motion(_)
            | Record::Beat
            | Record::Piece(_)
            | Record::Hash { .. }
            | Record::Gateway(_)
            | Record::Opening(_)
            | Record::Signs(..) => {}
        }
        let story = self.stories.get_mut(&stream).expect("just used");
        story.read(offset);
        self.hashes.insert((stream, story.next()), snapshot::hash(story));
        Ok(())
    }

    /// Something that one user is told entered the log.
    pub fn told(&mut self, command: &Command) -> Result<(), String> {
        self.judge(command, Verdict::Done(None))
    }

    fn judge(&mut self, command: &Command, verdict: Verdict) -> Result<(), String> {
        let key = (command.session, command.n);
        let before = self.verdicts.get(&key).copied().filter(|_| command.session != 0);
        if let Some(before) = before.filter(|before| verdict != *before && verdict != Verdict::Done(None)) {
            return Err(format!("{key:x?} came to {before:?}, and sent again to {verdict:?}"));
        }
        let first = before.is_none();
        if first {
            self.verdicts.insert(key, verdict);
        }
        if let (true, Verdict::Done(Some((object, version)))) = (first, verdict) {
            let before = if let Deed::Environment { of_world, .. } = command.deed {
                self.places.insert(place(command.pos, of_world), version)
            } else {
                self.versions.insert(object, version)
            };
            let before = before.unwrap_or(0);
            // To take what is in one's hands already changes nothing.
            if version != before + 1 && version != before {
                return Err(format!("{object:x} goes from version {before} to {version} by {command:?}"));
            }
        }
        Ok(())
    }

    fn landed(&mut self, stream: Stream, object: Id, version: u64) -> Result<(), String> {
        let elsewhere = |(other, story): (&Stream, &Commands)| *other != stream && story.objects.knows(object, version);
        if !self.stories.iter().any(elsewhere) {
            return Err(format!("object {object:x} is said to have landed and is nowhere"));
        }
        let story = self.stories.get_mut(&stream).expect("just used");
        story.objects.landed(object, version);
        Ok(())
    }

    /// Nowhere else is this object.
    fn alone(&self, id: Id) -> Result<(), String> {
        let places: Vec<Stream> = self
            .stories
            .iter()
            .filter(|(_, story)| story.objects.get(id).is_some())
            .map(|(stream, _)| *stream)
            .collect();
        if places.len() > 1 { Err(format!("object {id:x} is in partitions {places:?}")) } else { Ok(()) }
    }

    /// A client was told that a command took effect.
    pub fn acknowledged(&self, key: (Id, u64), ack: &Ack) -> Result<(), String> {
        let verdict = self.verdicts.get(&key).ok_or_else(|| format!("{key:x?} is acknowledged and not in the log"))?;
        let told = Verdict::Done(ack.object.zip(ack.version));
        if told == *verdict { Ok(()) } else { Err(format!("{key:x?} is told {told:?}, it came to {verdict:?}")) }
    }

    /// A client was told that a command has no effect.
    pub fn refused(&self, key: (Id, u64), refuse: &Refuse) -> Result<(), String> {
        match self.verdicts.get(&key) {
            Some(verdict @ Verdict::Done(_)) => {
                Err(format!("{key:x?} is refused ({}), it came to {verdict:?}", refuse.code))
            }
            Some(Verdict::Denied(_)) | None => Ok(()),
        }
    }

    /// All objects, as they are now.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.stories.values().flat_map(|story| story.objects.iter())
    }

    /// What a place's region is like, or the world.
    pub fn environment(&self, pos: Pos, of_world: bool) -> Option<&Arc<Environment>> {
        let place = place(pos, of_world);
        self.environments().find_map(|(at, environment)| (at == place).then_some(environment))
    }

    /// All places that anything was said of; `None` is the world.
    pub fn environments(&self) -> impl Iterator<Item = (Option<Region>, &Arc<Environment>)> {
        let world = self.grid.partitions();
        self.stories.iter().flat_map(move |(stream, story)| {
            let places = story.objects.environments();
            places.map(move |(region, environment)| ((*stream != world).then_some(region), environment))
        })
    }

    /// Objects that have left a partition and have not landed.
    pub fn between(&self) -> usize {
        self.stories.values().map(|story| story.objects.departed().count()).sum()
    }

    /// Objects around a place, as they are now.
    pub fn near(&self, pos: Pos, reach_m: f64) -> Vec<Object> {
        self.objects().filter(|object| object.pos.distance_m(pos) <= reach_m).map(|object| (**object).clone()).collect()
    }

    /// What a gateway has come to is what the log comes to.
    pub fn compare(&mut self, world: &World) -> Result<(), String> {
        for (stream, next, hash) in world.states() {
            let Some(truth) = self.hashes.get(&(stream, next)) else { continue };
            self.compared += 1;
            if *truth != hash {
                return Err(format!("after {next} records of stream {stream} a gateway has come to another state"));
            }
        }
        Ok(())
    }
}

fn place(pos: Pos, of_world: bool) -> Option<Region> {
    (!of_world).then(|| Region::of(pos))
}
