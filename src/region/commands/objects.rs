//! The objects of one partition and the environments of its regions, folded from its commands. What a command may do
//! depends on nothing else: so of two hands on one cup one wins, and the same everywhere.
//!
//! An object that goes to a place in another partition leaves this one (`departed`) and is written to that one, by the
//! gateway that gave the command, or by any that sees it missing there; it is remembered here until it has landed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::codec::command::{
    Aim, Changes, Command, Deed, Denial, Environment, Fields, Holder, Object, Rules, Verdict, fields, object,
    put_fields, put_object, put_rules, rules,
};
use crate::codec::message::Id;
use crate::codec::reader::{Malformed, Reader, put_varint};
use crate::limits::{FIELDS_MAX, PASSED_MAX};
use crate::region::motion::fold::Map;
use crate::space::{Grid, Pos, Region};

/// Bits of an object's id that name the partition where it was made.
const PARTITION_BITS: u32 = 10;

/// The id of an object that is made by the record at this offset of a partition; unique within a world, below 2^53 for 2^43
/// records.
#[must_use]
pub fn id_of(offset: u64, partition: u16) -> Id {
    (offset + 1) << PARTITION_BITS | u64::from(partition)
}

/// An object that has left for another partition, and has not landed there as far as this one knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// As it arrives.
    pub object: Arc<Object>,
    /// Where.
    pub to: u16,
}

/// What a region holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Room {
    ids: BTreeSet<Id>,
    bytes: usize,
    /// The revision that last made it different.
    changed: u64,
}

/// The objects of one partition.
#[derive(Clone, Debug)]
pub struct Objects {
    grid: Grid,
    partition: u16,
    rules: Rules,
    objects: BTreeMap<Id, Arc<Object>>,
    environments: BTreeMap<Region, Arc<Environment>>,
    departed: BTreeMap<Id, Departed>,
    /// Versions at which objects went for good, oldest first: an arrival that comes late makes none a second time.
    passed: Map<Id, u64>,
    rooms: BTreeMap<Region, Room>,
    /// By session: objects that it has made, and that it holds.
    made: BTreeMap<Id, usize>,
    held: BTreeMap<Id, BTreeSet<Id>>,
    /// Counts the changes, so that nobody looks through all to find that there is nothing new.
    revision: u64,
}

impl Objects {
    /// None yet, in a partition of a world.
    #[must_use]
    pub fn new(grid: Grid, partition: u16) -> Objects {
        Objects {
            grid,
            partition,
            rules: Rules::default(),
            objects: BTreeMap::new(),
            environments: BTreeMap::new(),
            departed: BTreeMap::new(),
            passed: Map::default(),
            rooms: BTreeMap::new(),
            made: BTreeMap::new(),
            held: BTreeMap::new(),
            revision: 0,
        }
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: Id) -> Option<&Arc<Object>> {
        self.objects.get(&id)
    }

    /// The regions that hold some, each with the revision that last made it different.
    pub fn regions(&self) -> impl Iterator<Item = (Region, u64)> {
        self.rooms.iter().map(|(region, room)| (*region, room.changed))
    }

    /// What a region holds, by id.
    pub fn in_region(&self, region: Region) -> impl Iterator<Item = &Arc<Object>> {
        let ids = self.rooms.get(&region).map(|room| &room.ids);
        ids.into_iter().flatten().filter_map(|id| self.objects.get(id))
    }

    /// What is in hands, by session and id.
    pub fn in_hands(&self) -> impl Iterator<Item = (Holder, &Arc<Object>)> {
        let all = self.held.values().flatten().filter_map(|id| self.objects.get(id));
        all.filter_map(|object| Some((object.holder?, object)))
    }

    /// What a session holds, by id.
    pub fn held_by(&self, session: Id) -> impl Iterator<Item = &Arc<Object>> {
        self.held.get(&session).into_iter().flatten().filter_map(|id| self.objects.get(id))
    }

    /// An object that has left and has not landed yet.
    #[must_use]
    pub fn left(&self, id: Id) -> Option<&Departed> {
        self.departed.get(&id)
    }

    /// Environments, by region.
    pub fn environments(&self) -> impl Iterator<Item = (Region, &Arc<Environment>)> {
        self.environments.iter().map(|(region, environment)| (*region, environment))
    }

    /// Objects that have left and have not landed yet.
    pub fn departed(&self) -> impl Iterator<Item = &Departed> {
        self.departed.values()
    }

    /// What decides over commands, as of the last record.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Others decide from here on, unless they are older than those that do.
    pub fn rule(&mut self, rules: Rules) {
        if rules.revision > self.rules.revision {
            self.rules = rules;
        }
    }

    /// Changes with every change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether an object is or was here at this version or a later one.
    #[must_use]
    pub fn knows(&self, id: Id, version: u64) -> bool {
        self.objects.get(&id).is_some_and(|object| object.version >= version)
            || self.departed.get(&id).is_some_and(|departed| departed.object.version >= version)
            || self.passed.get(&id).is_some_and(|passed| *passed >= version)
    }

    /// Folds what a command at an offset is to do with objects; an `act` does nothing with them.
    pub fn fold(&mut self, offset: u64, command: &Command) -> Verdict {
        let folded = match &command.deed {
            Deed::Act { .. } | Deed::Tell { .. } => return Verdict::Done(None),
            Deed::Create { kind, yaw, fields } => self.create(offset, command, kind, *yaw, fields),
            Deed::Change { of, to, fields } => self.change(command, *of, *to, fields),
            Deed::Grab(of) => self.grab(command, *of),
            Deed::Release(of, to) => self.release(command, *of, *to),
            Deed::Remove(of) => self.remove(command, *of),
            Deed::Environment { of_world, expect, fields } => {
                // The world's is that of one place.
                let region = if *of_world { Region::default() } else { Region::of(command.pos) };
                self.environment(region, *expect, fields)
            }
        };
        self.revision += u64::from(folded.is_ok());
        match folded {
            Ok((id, version)) => Verdict::Done(Some((id, version))),
            Err(denial) => Verdict::Denied(denial),
        }
    }

    fn create(
        &mut self,
        offset: u64,
        command: &Command,
        kind: &Arc<str>,
        yaw: u8,
        changes: &Changes,
    ) -> Result<(Id, u64), Denial> {
        self.reaches(command, command.pos)?;
        let maker = command.session;
        if !command.trusted && self.made.get(&maker).is_some_and(|made| *made >= self.session_objects()) {
            return Err(Denial::TooMany);
        }
        let mut fields = Fields::new();
        apply(&mut fields, changes)?;
        let (id, pos, kind) = (id_of(offset, self.partition), command.pos, kind.clone());
        let object = Object { id, version: 1, maker, kind, pos, yaw, holder: None, fields };
        self.has_room(&object, None)?;
        self.put(Arc::new(object));
        Ok((id, 1))
    }

    fn change(
        &mut self,
        command: &Command,
        of: Aim,
        to: Option<(Pos, u8)>,
        changes: &Changes,
    ) -> Result<(Id, u64), Denial> {
        let before = self.aim(command, of)?;
        to.map_or(Ok(()), |(pos, _)| self.reaches(command, pos))?;
        let is_other = |holder: Holder| holder.session != command.session && command.session != 0;
        if before.holder.is_some_and(is_other) && !command.trusted {
            return Err(Denial::Held);
        }
        let mut object = (*before).clone();
        object.version += 1;
        (object.pos, object.yaw) = to.unwrap_or((object.pos, object.yaw));
        apply(&mut object.fields, changes)?;
        self.replace(&before, object)
    }

    fn grab(&mut self, command: &Command, of: Aim) -> Result<(Id, u64), Denial> {
        let before = self.aim(command, of)?;
        match before.holder {
            Some(holder) if holder.session == command.session => return Ok((before.id, before.version)),
            Some(_) => return Err(Denial::Held),
            None => {}
        }
        if !command.trusted && self.held.get(&command.session).is_some_and(|held| held.len() >= self.session_objects())
        {
            return Err(Denial::TooMany);
        }
        let holder = Some(Holder { session: command.session, entity: command.entity });
        self.replace(&before, Object { version: before.version + 1, holder, ..(*before).clone() })
    }

    fn release(&mut self, command: &Command, of: Aim, (pos, yaw): (Pos, u8)) -> Result<(Id, u64), Denial> {
        let before = self.aim(command, of)?;
        let may = |holder: Holder| holder.session == command.session || command.session == 0 || command.trusted;
        if !before.holder.is_some_and(may) {
            return Err(Denial::NotHeld);
        }
        self.reaches(command, pos)?;
        self.replace(&before, Object { version: before.version + 1, holder: None, pos, yaw, ..(*before).clone() })
    }

    fn remove(&mut self, command: &Command, of: Aim) -> Result<(Id, u64), Denial> {
        let before = self.aim(command, of)?;
        if before.maker != command.session && !command.trusted {
            return Err(Denial::NotYours);
        }
        if before.holder.is_some_and(|holder| holder.session != command.session) && !command.trusted {
            return Err(Denial::Held);
        }
        self.take(before.id);
        self.pass(before.id, before.version + 1);
        Ok((before.id, before.version + 1))
    }

    fn environment(&mut self, region: Region, expect: Option<u64>, changes: &Changes) -> Result<(Id, u64), Denial> {
        let mut environment = self.environments.get(&region).map_or_else(Environment::default, |e| (**e).clone());
        if expect.is_some_and(|version| version != environment.version) {
            return Err(Denial::Version);
        }
        environment.version += 1;
        apply(&mut environment.fields, changes)?;
        let version = environment.version;
        self.environments.insert(region, Arc::new(environment));
        Ok((0, version))
    }

    /// An object comes from another partition. False if it is here, or was, at this version or a later one.
    pub fn arrive(&mut self, object: &Object) -> bool {
        if self.knows(object.id, object.version) {
            return false;
        }
        // It is back before it was known to have landed.
        self.departed.remove(&object.id);
        self.take(object.id);
        self.put(Arc::new(object.clone()));
        self.revision += 1;
        true
    }

    /// An object that left at this version has landed.
    pub fn landed(&mut self, id: Id, version: u64) {
        if self.departed.get(&id).is_some_and(|departed| departed.object.version == version) {
            self.departed.remove(&id);
            self.pass(id, version);
            self.revision += 1;
        }
    }

    // --- parts ----------------------------------------------------------------------------------------------------

    /// The object that a command is aimed at, if it is there, at that version, and within reach or in the own hands.
    fn aim(&self, command: &Command, of: Aim) -> Result<Arc<Object>, Denial> {
        let object = self.objects.get(&of.id).ok_or(Denial::NoObject)?;
        if of.expect.is_some_and(|version| version != object.version) {
            return Err(Denial::Version);
        }
        if object.holder.is_none_or(|holder| holder.session != command.session) {
            self.reaches(command, object.pos)?;
        }
        Ok(object.clone())
    }

    /// Whether a place is within reach of who gives a command.
    fn reaches(&self, command: &Command, place: Pos) -> Result<(), Denial> {
        let reach2_cm = u64::from(self.rules.reach_cm).pow(2);
        let is_far = place.distance2(command.from) > reach2_cm;
        if is_far && !command.trusted && command.session != 0 { Err(Denial::TooFar) } else { Ok(()) }
    }

    fn session_objects(&self) -> usize {
        usize::from(self.rules.session_objects)
    }

    /// Puts an object in the place of what it was; where that is in another partition, it departs.
    fn replace(&mut self, before: &Object, object: Object) -> Result<(Id, u64), Denial> {
        let (id, version) = (object.id, object.version);
        let to = self.grid.partition(Region::of(object.pos));
        if to == self.partition {
            self.has_room(&object, Some(before))?;
            self.take(id);
            self.put(Arc::new(object));
        } else {
            self.take(id);
            self.departed.insert(id, Departed { object: Arc::new(object), to });
        }
        Ok((id, version))
    }

    /// Whether an object fits into its region, in the place of another.
    fn has_room(&self, object: &Object, instead: Option<&Object>) -> Result<(), Denial> {
        let region = Region::of(object.pos);
        let (mut objects, mut bytes) = self.rooms.get(&region).map_or((0, 0), |room| (room.ids.len(), room.bytes));
        if let Some(before) = instead.filter(|before| Region::of(before.pos) == region) {
            // What has no more than before always fits: an arrival may have brought more than there is room for.
            if object.size() <= before.size() {
                return Ok(());
            }
            (objects, bytes) = (objects - 1, bytes - before.size());
        }
        let fits = objects < usize::from(self.rules.region_objects)
            && bytes + object.size() <= self.rules.region_bytes as usize;
        if fits { Ok(()) } else { Err(Denial::RegionFull) }
    }

    fn put(&mut self, object: Arc<Object>) {
        let room = self.rooms.entry(Region::of(object.pos)).or_default();
        room.ids.insert(object.id);
        (room.bytes, room.changed) = (room.bytes + object.size(), self.revision + 1);
        *self.made.entry(object.maker).or_default() += 1;
        if let Some(holder) = object.holder {
            self.held.entry(holder.session).or_default().insert(object.id);
        }
        self.objects.insert(object.id, object);
    }

    fn take(&mut self, id: Id) {
        let Some(object) = self.objects.remove(&id) else { return };
        let region = Region::of(object.pos);
        if let Some(room) = self.rooms.get_mut(&region) {
            room.ids.remove(&id);
            (room.bytes, room.changed) = (room.bytes - object.size(), self.revision + 1);
            if room.ids.is_empty() {
                self.rooms.remove(&region);
            }
        }
        less(&mut self.made, object.maker);
        if let Some(holder) = object.holder
            && let Some(held) = self.held.get_mut(&holder.session)
        {
            held.remove(&id);
            if held.is_empty() {
                self.held.remove(&holder.session);
            }
        }
    }

    fn pass(&mut self, id: Id, version: u64) {
        self.passed.shift_remove(&id);
        if self.passed.len() >= PASSED_MAX {
            self.passed.shift_remove_index(0);
        }
        self.passed.insert(id, version);
    }

    // --- snapshots ------------------------------------------------------------------------------------------------

    /// Appends one thing after the other to what `piece` gives, which is asked before each.
    pub fn write(&self, mut piece: impl FnMut(&[u8])) {
        let mut out = Vec::new();
        let mut each = |kind: u8, body: &dyn Fn(&mut Vec<u8>)| {
            out.clear();
            out.push(kind);
            body(&mut out);
            piece(&out);
        };
        if self.rules.revision > 0 {
            each(RULES, &|out| put_rules(out, &self.rules));
        }
        self.objects.values().for_each(|object| each(OBJECT, &|out| put_object(out, object)));
        for (region, environment) in &self.environments {
            each(ENVIRONMENT, &|out| {
                out.extend_from_slice(&region.x.to_le_bytes());
                out.extend_from_slice(&region.z.to_le_bytes());
                put_varint(out, environment.version);
                put_fields(out, &environment.fields);
            });
        }
        for departed in self.departed.values() {
            each(DEPARTED, &|out| {
                out.extend_from_slice(&departed.to.to_le_bytes());
                put_object(out, &departed.object);
            });
        }
        for (id, version) in &self.passed {
            each(PASSED, &|out| {
                out.extend_from_slice(&id.to_le_bytes());
                put_varint(out, *version);
            });
        }
    }

    /// Reads one thing.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        match reader.u8()? {
            OBJECT => {
                let object = object(reader)?;
                self.take(object.id);
                self.put(Arc::new(object));
            }
            ENVIRONMENT => {
                let region = Region { x: reader.i32()?, z: reader.i32()? };
                let environment = Environment { version: reader.varint()?, fields: fields(reader)? };
                self.environments.insert(region, Arc::new(environment));
            }
            DEPARTED => {
                let (to, object) = (reader.u16()?, Arc::new(object(reader)?));
                self.departed.insert(object.id, Departed { object, to });
            }
            RULES => self.rules = rules(reader)?,
            PASSED => {
                let (id, version) = (reader.u64()?, reader.varint()?);
                self.pass(id, version);
            }
            _ => return Err(Malformed::Bad("kind of state")),
        }
        self.revision += 1;
        Ok(())
    }
}

const OBJECT: u8 = 1;
const ENVIRONMENT: u8 = 2;
const DEPARTED: u8 = 3;
const PASSED: u8 = 4;
const RULES: u8 = 5;

fn less(counts: &mut BTreeMap<Id, usize>, of: Id) {
    if let Some(count) = counts.get_mut(&of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&of);
        }
    }
}

/// Applies changes to fields, all or nothing.
fn apply(fields: &mut Fields, changes: &Changes) -> Result<(), Denial> {
    for (name, text) in changes {
        match text {
            Some(text) => fields.insert(name.clone(), text.clone()),
            None => fields.remove(name),
        };
    }
    if fields.len() > FIELDS_MAX { Err(Denial::Fields) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{REACH_M, REGION_OBJECT_BYTES_MAX, SESSION_OBJECTS_MAX};
    use proptest::prelude::*;

    const GRID: Grid = Grid { w: 4, h: 4 };
    const LAMP: Id = 1 << PARTITION_BITS;

    fn command(session: Id, deed: Deed) -> Command {
        let (pos, from) = (Pos::default(), Pos::default());
        Command { session, n: 0, entity: session + 100, trusted: false, pos, from, deed }
    }

    fn server(session: Id, deed: Deed) -> Command {
        Command { trusted: true, ..command(session, deed) }
    }

    fn create(fields: Changes) -> Deed {
        Deed::Create { kind: "lamp".into(), yaw: 0, fields }
    }

    fn at(id: Id, expect: impl Into<Option<u64>>) -> Aim {
        Aim { id, expect: expect.into() }
    }

    fn text(name: &str, text: &str) -> (Arc<str>, Option<Arc<str>>) {
        (name.into(), Some(text.into()))
    }

    /// A partition with a lamp that session 1 has made.
    fn lamp() -> Objects {
        let mut objects = Objects::new(GRID, 0);
        assert_eq!(objects.fold(0, &command(1, create(vec![text("on", "0")]))), Verdict::Done(Some((LAMP, 1))));
        objects
    }

    /// What only leads to the rest of the state is the same as if it were counted anew.
    fn check(objects: &Objects) {
        let mut again = Objects::new(GRID, objects.partition);
        let mut bytes = Vec::new();
        objects.write(|one| bytes.extend_from_slice(one));
        let mut reader = Reader::new(&bytes);
        while reader.left() > 0 {
            again.read(&mut reader).expect("ours");
        }
        // When a change was folded is not part of the state.
        let timeless = |mut objects: Objects| {
            objects.revision = 0;
            objects.rooms.values_mut().for_each(|room| room.changed = 0);
            format!("{objects:?}")
        };
        assert_eq!(timeless(again), timeless(objects.clone()));
    }

    #[test]
    fn of_two_hands_on_a_cup_one_wins() {
        let mut objects = lamp();
        assert_eq!(objects.fold(1, &command(2, Deed::Grab(at(LAMP, None)))), Verdict::Done(Some((LAMP, 2))));
        assert_eq!(objects.fold(2, &command(3, Deed::Grab(at(LAMP, None)))), Verdict::Denied(Denial::Held));
        let change = Deed::Change { of: at(LAMP, None), to: None, fields: vec![text("on", "1")] };
        assert_eq!(objects.fold(3, &command(3, change.clone())), Verdict::Denied(Denial::Held));
        assert_eq!(objects.fold(4, &command(2, change)), Verdict::Done(Some((LAMP, 3))));
        let to = (Pos { x: 100, y: 0, z: 0 }, 9);
        assert_eq!(objects.fold(5, &command(3, Deed::Release(at(LAMP, None), to))), Verdict::Denied(Denial::NotHeld));
        assert_eq!(objects.fold(6, &command(2, Deed::Release(at(LAMP, None), to))), Verdict::Done(Some((LAMP, 4))));
        let lamp = objects.get(LAMP).expect("it is there");
        assert_eq!((lamp.pos, lamp.yaw, lamp.holder, &*lamp.fields["on"]), (to.0, 9, None, "1"));
        check(&objects);
    }

    #[test]
    fn who_names_an_old_version_changes_nothing() {
        let mut objects = lamp();
        let change = |expect| Deed::Change { of: at(LAMP, expect), to: None, fields: vec![text("on", "1")] };
        assert_eq!(objects.fold(1, &command(2, change(1))), Verdict::Done(Some((LAMP, 2))));
        assert_eq!(objects.fold(2, &command(3, change(1))), Verdict::Denied(Denial::Version));
        assert_eq!(objects.fold(3, &command(3, Deed::Remove(at(LAMP, None)))), Verdict::Denied(Denial::NotYours));
        assert_eq!(objects.fold(4, &command(1, Deed::Remove(at(LAMP, 2)))), Verdict::Done(Some((LAMP, 3))));
        assert_eq!(objects.fold(5, &command(1, Deed::Grab(at(LAMP, None)))), Verdict::Denied(Denial::NoObject));
        check(&objects);
    }

    #[test]
    fn nobody_reaches_further_than_their_arms_but_for_what_they_hold() {
        let mut objects = lamp();
        let cm = (REACH_M * 100.0) as i32;
        let from = |session, x, deed| Command { from: Pos { x, y: 0, z: 0 }, ..command(session, deed) };
        assert_eq!(objects.fold(1, &from(2, cm + 1, Deed::Grab(at(LAMP, None)))), Verdict::Denied(Denial::TooFar));
        assert_eq!(objects.fold(2, &from(2, cm, Deed::Grab(at(LAMP, None)))), Verdict::Done(Some((LAMP, 2))));
        let to = (Pos { x: 9 * cm, y: 0, z: 0 }, 0);
        let release = from(2, 9 * cm, Deed::Release(at(LAMP, None), to));
        let thrown = from(2, 8 * cm - 1, Deed::Release(at(LAMP, None), to));
        assert_eq!(objects.fold(3, &thrown), Verdict::Denied(Denial::TooFar));
        assert_eq!(objects.fold(3, &release), Verdict::Done(Some((LAMP, 3))), "it was carried there");
        let beside = Command { pos: Pos { x: cm + 1, y: 0, z: 0 }, ..command(4, create(Vec::new())) };
        assert_eq!(objects.fold(4, &beside), Verdict::Denied(Denial::TooFar), "made elsewhere");
        let remove = Command { trusted: true, ..from(3, 0, Deed::Remove(at(LAMP, None))) };
        assert_eq!(objects.fold(4, &remove), Verdict::Done(Some((LAMP, 4))), "a game server reaches everything");
    }

    #[test]
    fn an_environment_has_versions_of_its_own() {
        let mut objects = Objects::new(GRID, 0);
        let rain = |expect| Deed::Environment { of_world: false, expect, fields: vec![text("weather", "rain")] };
        assert_eq!(objects.fold(0, &command(1, rain(Some(0)))), Verdict::Done(Some((0, 1))));
        assert_eq!(objects.fold(1, &command(1, rain(Some(0)))), Verdict::Denied(Denial::Version));
        assert_eq!(objects.fold(2, &command(1, rain(None))), Verdict::Done(Some((0, 2))));
        assert_eq!(objects.environments().count(), 1);
        check(&objects);
    }

    #[test]
    fn a_session_makes_and_holds_so_many_and_a_game_server_more() {
        let mut objects = Objects::new(GRID, 0);
        for offset in 0..SESSION_OBJECTS_MAX as u64 {
            assert!(matches!(objects.fold(offset, &command(1, create(Vec::new()))), Verdict::Done(_)));
        }
        assert_eq!(objects.fold(16, &command(1, create(Vec::new()))), Verdict::Denied(Denial::TooMany));
        let server = Command { trusted: true, ..command(1, create(Vec::new())) };
        assert!(matches!(objects.fold(17, &server), Verdict::Done(_)));
        let ids: Vec<Id> = objects.iter().map(|object| object.id).collect();
        for id in &ids[..SESSION_OBJECTS_MAX] {
            assert!(matches!(objects.fold(18, &command(2, Deed::Grab(at(*id, None)))), Verdict::Done(_)));
        }
        let last = ids[SESSION_OBJECTS_MAX];
        assert_eq!(objects.fold(19, &command(2, Deed::Grab(at(last, None)))), Verdict::Denied(Denial::TooMany));
        let remove = Command { trusted: true, ..command(3, Deed::Remove(at(ids[0], None))) };
        assert!(matches!(objects.fold(20, &remove), Verdict::Done(_)));
        assert!(matches!(objects.fold(21, &command(2, Deed::Grab(at(last, None)))), Verdict::Done(_)));
        check(&objects);
    }

    #[test]
    fn a_region_is_full_at_its_limit_and_what_gets_no_larger_still_fits() {
        let mut objects = Objects::new(GRID, 0);
        let big: Vec<_> = (0..32).map(|i| text(&format!("field-{i}"), &"x".repeat(1_024))).collect();
        let server = |deed| Command { trusted: true, ..command(1, deed) };
        let mut offset = 0;
        while let Verdict::Done(_) = objects.fold(offset, &server(create(big.clone()))) {
            offset += 1;
        }
        assert_eq!(offset as usize, REGION_OBJECT_BYTES_MAX / objects.get(LAMP).expect("made").size());
        let fill = objects.fold(offset, &server(create(Vec::new())));
        assert!(matches!(fill, Verdict::Done(_)), "a small one fits");
        let other = Deed::Change { of: at(LAMP, None), to: None, fields: vec![text("field-0", &"y".repeat(1_024))] };
        assert!(matches!(objects.fold(offset + 1, &server(other)), Verdict::Done(_)));
        let more = Deed::Change { of: at(LAMP, None), to: None, fields: vec![text("one-more", "y")] };
        assert_eq!(objects.fold(offset + 2, &server(more)), Verdict::Denied(Denial::Fields));
        check(&objects);
    }

    #[test]
    fn rules_decide_from_their_record_on_and_the_higher_revision_stays() {
        let mut objects = lamp();
        let two = Rules { revision: 2, session_objects: 2, reach_cm: 100, ..Rules::default() };
        objects.rule(two);
        objects.rule(Rules { revision: 1, ..Rules::default() });
        objects.rule(Rules { revision: 2, ..Rules::default() });
        assert_eq!(objects.rules(), two);
        assert!(matches!(objects.fold(1, &command(1, create(Vec::new()))), Verdict::Done(_)));
        assert_eq!(objects.fold(2, &command(1, create(Vec::new()))), Verdict::Denied(Denial::TooMany));
        let far = Command { from: Pos { x: 101, y: 0, z: 0 }, ..command(2, Deed::Grab(at(LAMP, None))) };
        assert_eq!(objects.fold(3, &far), Verdict::Denied(Denial::TooFar));
        check(&objects);
    }

    #[test]
    fn an_object_that_goes_elsewhere_arrives_once() {
        let (mut here, mut there) = (lamp(), Objects::new(GRID, 4));
        let to = (Pos { x: 60_000, y: 0, z: 0 }, 0);
        let away = Deed::Change { of: at(LAMP, None), to: Some(to), fields: Vec::new() };
        assert_eq!(here.fold(1, &server(2, away)), Verdict::Done(Some((LAMP, 2))));
        assert_eq!((here.iter().count(), here.departed().count()), (0, 1));
        check(&here);
        let departed = here.departed().next().expect("just left").clone();
        assert_eq!((departed.to, departed.object.pos), (4, to.0));
        assert!(there.arrive(&departed.object) && !there.arrive(&departed.object), "written twice");
        here.landed(LAMP, 2);
        assert_eq!(here.departed().count(), 0);
        assert!(!here.arrive(&departed.object), "late, and to the wrong place");
        // There it is removed; a late repair makes no second one.
        let remove = Command { from: to.0, ..command(1, Deed::Remove(at(LAMP, None))) };
        assert!(matches!(there.fold(9, &remove), Verdict::Done(_)));
        assert!(!there.arrive(&departed.object));
        check(&there);
    }

    #[test]
    fn an_object_may_be_back_before_it_was_known_to_have_landed() {
        let (mut here, mut there) = (lamp(), Objects::new(GRID, 4));
        let go = |x| Deed::Change { of: at(LAMP, None), to: Some((Pos { x, y: 0, z: 0 }, 0)), fields: Vec::new() };
        here.fold(1, &server(2, go(60_000)));
        there.arrive(&here.departed().next().expect("just left").object.clone());
        there.fold(1, &server(2, go(0)));
        assert!(here.arrive(&there.departed().next().expect("just left").object.clone()));
        assert_eq!((here.iter().count(), here.departed().count(), here.get(LAMP).map(|o| o.version)), (1, 0, Some(3)));
        here.landed(LAMP, 2);
        assert_eq!(here.iter().count(), 1);
        check(&here);
    }

    proptest! {
        /// Whatever is wished, quotas and counts stay what they are, and a snapshot is the state.
        #[test]
        fn counts_are_those_of_the_objects(
            steps in prop::collection::vec((1..4_u64, 0..6_u8, 1..12_u64, prop::option::of(0..4_u64), -60_000..60_000_i32), 1..60),
        ) {
            let mut objects = Objects::new(GRID, 0);
            for (offset, (session, kind, which, expect, x)) in steps.into_iter().enumerate() {
                let (of, to) = (at(which << PARTITION_BITS, expect), (Pos { x, y: 0, z: x / 2 }, 1));
                let deed = match kind {
                    0 => create(vec![text("a", &"b".repeat(which as usize))]),
                    1 => Deed::Change { of, to: Some(to), fields: vec![text("c", "d")] },
                    2 => Deed::Grab(of),
                    3 => Deed::Release(of, to),
                    4 => Deed::Remove(of),
                    _ => Deed::Environment { of_world: false, expect, fields: vec![text("e", "f")] },
                };
                let pos = if kind == 0 { Pos { x: x / 2, y: 0, z: 0 } } else { to.0 };
                let trusted = which % 2 == 0;
                let command = Command { pos, trusted, ..command(session, deed) };
                objects.fold(offset as u64, &command);
                check(&objects);
            }
        }
    }
}
