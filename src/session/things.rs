//! Which objects a client was told of, at which version, and the difference to what is in its sight now. Pulled from the
//! displays that all sessions share; what did not change is not looked at. Order: what is gone, what places are like, then
//! objects, the nearest first, as far as the budget goes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::command::{Environment, Fields, Object};
use crate::codec::message::{Id, ObjectRow, Objects, PlaceRow};
use crate::codec::wire::json_len;
use crate::limits::{CARRIED_EVERY_TICKS, HYSTERESIS, OBJECTS_MOVE_M, VIEW_OBJECTS_MAX};
use crate::region::commands::display::{Display, Look};
use crate::region::frame::Tick;
use crate::space::{Around, Pos, Region, yaw_degrees};

/// Bytes around the rows of a message, its frame included; of one that is gone; and of a row beside its texts. At most, in
/// both encodings.
const ENVELOPE_BYTES: usize = 64;
const GONE_BYTES: usize = 18;
const OBJECT_BYTES: usize = 170;
const PLACE_BYTES: usize = 90;
/// Of a field beside its texts.
const FIELD_BYTES: usize = 6;

/// A place that is like something: a region, or the world.
type Place = Option<Region>;

/// What a client was told of objects and places.
#[derive(Debug, Default)]
pub struct Things {
    /// Objects by id, with the version told.
    told: Vec<(Id, u64)>,
    /// Places in sight, with the version told; sorted.
    places: Vec<(Place, u64)>,
    /// The first message has gone.
    begun: bool,
    /// What was there, and seen from where, when all of it had been told.
    glance: Option<Glance>,
    /// Something that it was told of is carried, or may be.
    carries: bool,
    /// Bytes that are kept from states until there are enough for what comes next.
    saved: usize,
}

/// Who looks, and what may be told.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// The viewer's avatar.
    pub me: Id,
    /// Where they are.
    pub at: Pos,
    /// How far they see, metres.
    pub radius_m: f64,
    /// What is around them.
    pub around: &'a Around,
    /// Bytes that there are, for states as well,
    pub room: usize,
    /// that come with every tick in the long run,
    pub per_tick: usize,
    /// and that there may be at most: what takes more goes when there are so many.
    pub depth: usize,
}

/// What was around somebody.
#[derive(Clone, Debug, PartialEq)]
struct Glance {
    at: Pos,
    radius_m: f64,
    corners: Option<(Region, Region)>,
    /// By stream: when its display was made; 0 where there is none.
    made: Vec<u64>,
    look: Look,
}

/// What came of a look, for counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Objects told, new or at another version.
    pub put: usize,
    /// Objects that are gone or out of sight.
    pub gone: usize,
    /// Objects within the radius, too many to be held.
    pub beyond: usize,
}

/// An object that is to be held.
struct Wanted<'a> {
    rank: u64,
    object: &'a Object,
    told: Option<u64>,
}

impl Things {
    /// Whether all that is in sight has been told.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.glance.is_some()
    }

    /// Bytes that states leave alone: while there is more to tell than fits, half of what comes with every tick. So neither
    /// keeps the other out.
    #[must_use]
    pub fn saved(&self) -> usize {
        self.saved
    }

    /// Objects told and not gone, with their versions, for the simulation's checker.
    pub fn held(&self) -> impl Iterator<Item = (Id, u64)> {
        self.told.iter().copied()
    }

    /// What to tell a viewer at a tick, if anything.
    pub fn step(&mut self, tick: &Tick, viewer: Viewer<'_>) -> Option<(Objects, Sighting)> {
        let is_carried_near =
            !tick.carried.is_empty() && viewer.columns().any(|column| !tick.carried(column).is_empty());
        let looks_up =
            (is_carried_near || self.carries) && (tick.number + viewer.me).is_multiple_of(CARRIED_EVERY_TICKS);
        if !looks_up && self.glance.as_mut().is_some_and(|glance| glance.shows(tick, &viewer)) {
            return None;
        }
        self.carries = is_carried_near;
        let is_known = viewer.displays(tick).all(|display| display.is_some());
        let mut message = Objects { begin: !self.begun, ..Objects::default() };
        let share = (self.saved + viewer.per_tick / 2).max(viewer.room / 2).min(viewer.room);
        let [left, depth] = [share, viewer.depth].map(|bytes| bytes.saturating_sub(ENVELOPE_BYTES));
        let mut purse = Purse { left, depth };
        let (wanted, beyond) = self.wanted(tick, &viewer);
        let mut is_all = self.tell_gone(&wanted, is_known, &mut purse, &mut message);
        is_all &= self.tell_places(tick, &viewer, &mut purse, &mut message);
        is_all &= self.tell_objects(wanted, &mut purse, &mut message);
        let is_empty = message.put.is_empty() && message.gone.is_empty() && message.places.is_empty();
        let spent = if is_empty { 0 } else { ENVELOPE_BYTES + left - purse.left };
        self.saved = if is_all { 0 } else { share.saturating_sub(spent) };
        // The list begins also with nothing in it, once it is known that there is nothing.
        let begins = message.begin && is_known && is_all && share >= ENVELOPE_BYTES;
        let is_told = !is_empty || begins;
        self.begun |= is_told;
        self.glance = (is_all && self.begun).then(|| Glance::of(tick, &viewer));
        let sighting = Sighting { put: message.put.len(), gone: message.gone.len(), beyond };
        is_told.then_some((message, sighting))
    }

    /// What is to be held, by id: what is within the radius, or was told and is not far beyond it. The nearest, if that is too
    /// much; and how many are left out.
    fn wanted<'a>(&self, tick: &'a Tick, viewer: &Viewer<'a>) -> (Vec<Wanted<'a>>, usize) {
        let cm2 = |metres: f64| u64::from((metres * 100.0) as u32).pow(2);
        let (inner2, outer2) = (cm2(viewer.radius_m), cm2(viewer.radius_m * HYSTERESIS));
        let mut wanted = Vec::new();
        let mut take = |object: &'a Object, pos: Pos| {
            let distance2 = pos.distance2(viewer.at);
            if distance2 > outer2 {
                return;
            }
            let told = self.told.binary_search_by_key(&object.id, |(id, _)| *id).ok().map(|at| self.told[at].1);
            let rank = match told {
                // A partition that lags shows what is over.
                Some(version) if version > object.version => return,
                Some(_) => distance2,
                None if distance2 > inner2 => return,
                None => distance2 + distance2 / 5,
            };
            wanted.push(Wanted { rank, object, told });
        };
        for column in viewer.columns() {
            for display in viewer.displays(tick).flatten() {
                display.column(column).iter().flat_map(|bay| &bay.objects).for_each(|object| take(object, object.pos));
            }
            for carried in tick.carried(column) {
                take(&carried.object, tick.spots[carried.by as usize].pos);
            }
        }
        // Of one that two partitions show, the newer counts.
        let by_id = |wanted: &Wanted<'_>| (wanted.object.id, Reverse(wanted.object.version));
        wanted.sort_unstable_by_key(by_id);
        wanted.dedup_by_key(|wanted| wanted.object.id);
        let beyond = wanted.len().saturating_sub(VIEW_OBJECTS_MAX);
        if beyond > 0 {
            wanted.select_nth_unstable_by_key(VIEW_OBJECTS_MAX, |wanted| (wanted.rank, wanted.object.id));
            wanted.truncate(VIEW_OBJECTS_MAX);
            wanted.sort_unstable_by_key(by_id);
        }
        (wanted, beyond)
    }

    /// Tells what is not to be held any more. While not all is known around nothing is taken for gone.
    fn tell_gone(&mut self, wanted: &[Wanted<'_>], is_known: bool, purse: &mut Purse, message: &mut Objects) -> bool {
        let stays = |id: Id| wanted.binary_search_by_key(&id, |wanted| wanted.object.id).is_ok();
        let mut is_all = true;
        self.told.retain(|(id, _)| {
            if stays(*id) || !is_known {
                return true;
            }
            let fits = purse.pay(GONE_BYTES);
            message.gone.extend(fits.then_some(*id));
            is_all &= fits;
            !fits
        });
        is_all
    }

    /// Tells what places in reach are like, and forgets those that are not.
    fn tell_places(&mut self, tick: &Tick, viewer: &Viewer<'_>, purse: &mut Purse, message: &mut Objects) -> bool {
        let before = std::mem::take(&mut self.places);
        let mut is_all = true;
        let mut tell = |place: Place, environment: &Environment| {
            let known = before.binary_search_by_key(&place, |(place, _)| *place).ok().map(|at| before[at].1);
            let is_new = known != Some(environment.version) && !(crate::planted!(PlaceOnce) && known.is_some());
            if is_new && purse.pay(PLACE_BYTES + fields_bytes(&environment.fields)) {
                message.places.push(place_row(place, environment));
                self.places.push((place, environment.version));
            } else {
                is_all &= !is_new;
                self.places.extend(known.map(|version| (place, version)));
            }
        };
        for (stream, display) in viewer.around.streams().iter().zip(viewer.displays(tick)) {
            let Some(display) = display else { continue };
            if *stream == tick.grid.partitions() {
                display.places.iter().for_each(|(_, environment)| tell(None, environment));
            } else {
                let places = viewer.columns().flat_map(|column| display.places(column));
                places.for_each(|(region, environment)| tell(Some(*region), environment));
            }
        }
        self.places.sort_unstable();
        is_all
    }

    /// Tells objects that are new or have another version.
    fn tell_objects(&mut self, wanted: Vec<Wanted<'_>>, purse: &mut Purse, message: &mut Objects) -> bool {
        let mut news: Vec<Wanted<'_>> =
            wanted.into_iter().filter(|wanted| wanted.told != Some(wanted.object.version)).collect();
        news.sort_unstable_by_key(|wanted| (wanted.rank, wanted.object.id));
        let mut fits = 0;
        for wanted in &news {
            let object = wanted.object;
            if !purse.pay(OBJECT_BYTES + json_len(&object.kind) + fields_bytes(&object.fields)) {
                break;
            }
            message.put.push(object_row(object));
            match self.told.binary_search_by_key(&object.id, |(id, _)| *id) {
                Ok(at) => self.told[at].1 = object.version,
                Err(at) => self.told.insert(at, (object.id, object.version)),
            }
            fits += 1;
        }
        fits == news.len()
    }
}

impl<'a> Viewer<'a> {
    /// The regions in reach, as columns.
    fn columns(self) -> impl Iterator<Item = (Region, Region)> + use<'a> {
        self.around.corners().into_iter().flat_map(Region::between)
    }

    /// What is shown by the partitions around, and of the world as a whole.
    fn displays(self, tick: &'a Tick) -> impl Iterator<Item = Option<&'a Arc<Display>>> {
        self.around.streams().iter().map(|stream| tick.objects.get(usize::from(*stream))?.as_ref())
    }
}

impl Glance {
    fn of(tick: &Tick, viewer: &Viewer<'_>) -> Glance {
        let Viewer { at, radius_m, around, .. } = *viewer;
        let made = viewer.displays(tick).map(made).collect();
        Glance { at, radius_m, corners: around.corners(), made, look: look(tick, viewer) }
    }

    /// Whether a viewer would see at a tick what there was to see.
    fn shows(&mut self, tick: &Tick, viewer: &Viewer<'_>) -> bool {
        let Viewer { at, radius_m, around, .. } = *viewer;
        let is_here = self.corners == around.corners()
            && self.radius_m.total_cmp(&radius_m).is_eq()
            && self.at.distance_m(at) < OBJECTS_MOVE_M;
        if !is_here {
            return false;
        }
        let made = || viewer.displays(tick).map(made);
        let is_same = self.made.iter().copied().eq(made());
        if !is_same && self.look == look(tick, viewer) {
            self.made = made().collect();
            return true;
        }
        is_same
    }
}

/// When a display was made; 0 if there is none.
fn made(display: Option<&Arc<Display>>) -> u64 {
    display.map_or(0, |display| display.since)
}

/// What there is to see in reach.
fn look(tick: &Tick, viewer: &Viewer<'_>) -> Look {
    let looks = viewer.displays(tick).flatten().map(|display| display.look(viewer.columns()));
    looks.fold(Look::default(), |a, b| Look { bays: a.bays + b.bays, altered: a.altered.max(b.altered) })
}

/// Bytes that may be told.
struct Purse {
    left: usize,
    /// What takes more goes when so much is left.
    depth: usize,
}

impl Purse {
    /// Pays for something, if there is enough.
    fn pay(&mut self, bytes: usize) -> bool {
        let is_enough = self.left >= bytes.min(self.depth);
        if is_enough {
            self.left = self.left.saturating_sub(bytes);
        }
        is_enough
    }
}

/// What fields take beside the row that they are in, at most.
fn fields_bytes(fields: &Fields) -> usize {
    fields.iter().map(|(name, text)| json_len(name) + json_len(text) + FIELD_BYTES).sum()
}

fn object_row(object: &Object) -> ObjectRow {
    ObjectRow {
        object: object.id,
        version: object.version,
        kind: object.kind.to_string(),
        pos: object.pos.metres(),
        yaw: yaw_degrees(object.yaw),
        holder: object.holder.map(|holder| holder.entity),
        fields: texts(&object.fields),
    }
}

fn place_row(place: Place, environment: &Environment) -> PlaceRow {
    let place = place.map_or_else(|| "world".to_owned(), Region::stream);
    PlaceRow { place, version: environment.version, fields: texts(&environment.fields) }
}

fn texts(fields: &Fields) -> BTreeMap<String, String> {
    fields.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::Stock;
    use crate::codec::command::{Aim, Changes, Command, Deed, Verdict};
    use crate::codec::{Encoding, Heard, message::Out, state::Known};
    use crate::region::commands::display::carried;
    use crate::region::commands::objects;
    use crate::region::frame::{Entity, Spot};
    use crate::space::Grid;

    /// The border of partitions 0 and 4 is at x = 512 m.
    const GRID: Grid = Grid { w: 4, h: 4 };
    const RADIUS_M: f64 = 20.0;
    const DEPTH: usize = 12_000;

    /// Two partitions with objects, what the world is like, and one who looks.
    struct Scene {
        parts: [objects::Objects; 2],
        social: objects::Objects,
        offset: u64,
        tick: Tick,
        at: Pos,
        things: Things,
        stock: Stock,
        around: Around,
    }

    fn pos(x: i32, z: i32) -> Pos {
        Pos { x: 51_200 + x, y: 0, z }
    }

    impl Scene {
        fn new() -> Scene {
            let parts = [0, 4].map(|partition| objects::Objects::new(GRID, partition));
            let (social, tick) = (objects::Objects::new(GRID, 0), Tick::empty(0, GRID));
            let (things, stock, around) = (Things::default(), Stock::default(), Around::default());
            Scene { parts, social, offset: 0, tick, at: pos(0, 0), things, stock, around }
        }

        /// Something is done at a place, in its partition; what goes to the other one is there at once.
        fn deed(&mut self, at: Pos, deed: Deed) -> Verdict {
            self.offset += 1;
            let of_world = matches!(deed, Deed::Environment { of_world: true, .. });
            let command =
                Command { session: 1, n: 0, entity: 100 + self.offset % 3, trusted: true, pos: at, from: at, deed };
            if of_world {
                return self.social.fold(self.offset, &command);
            }
            let here = usize::from(at.x >= 51_200);
            let verdict = self.parts[here].fold(self.offset, &command);
            let gone: Vec<_> = self.parts[here].departed().map(|gone| gone.object.clone()).collect();
            for object in gone {
                self.parts[1 - here].arrive(&object);
                self.parts[here].landed(object.id, object.version);
            }
            verdict
        }

        fn create(&mut self, at: Pos, fields: Changes) -> Id {
            match self.deed(at, Deed::Create { kind: "lamp".into(), yaw: 0, fields }) {
                Verdict::Done(Some((id, _))) => id,
                other @ (Verdict::Done(None) | Verdict::Denied(_)) => panic!("{other:?}"),
            }
        }

        /// The next tick; three avatars stand in it, whose hands hold what is held.
        fn tick(&mut self) {
            let number = self.tick.number + 1;
            let spot = |i: u64| Spot { id: 100 + i, pos: pos(i as i32 * 1_400 - 700, 0), ..Spot::default() };
            let mut tick = Tick::empty(number, GRID).with((0..3).map(|i| (spot(i), Entity::default())).collect());
            tick.objects = vec![None; 17];
            for (stream, objects) in [(0, &self.parts[0]), (4, &self.parts[1]), (16, &self.social)] {
                let before = self.tick.objects.get(stream).and_then(Option::as_ref);
                tick.objects[stream] = Some(Display::next(before, objects, Vec::new(), number));
            }
            let at = |id| tick.spots.iter().position(|spot| spot.id == id).map(|at| at as u32);
            tick.carried = carried(&tick.objects, at);
            self.tick = tick;
        }

        /// Looks, with so many bytes; what comes is no more than that, and the client takes it.
        fn look(&mut self, room: usize) -> Option<Objects> {
            self.around.go(GRID, self.at, RADIUS_M * HYSTERESIS);
            let (at, around) = (self.at, &self.around);
            let viewer = Viewer { me: 7, at, radius_m: RADIUS_M, around, room, per_tick: 500, depth: DEPTH };
            let (message, _) = self.things.step(&self.tick, viewer)?;
            for encoding in Encoding::ALL {
                let payload = encoding.encode(&Out::Object(message.clone()));
                assert!(payload.framed_len() <= room.max(ENVELOPE_BYTES), "{} of {room}", payload.framed_len());
                let heard = encoding.decode_out(&mut Known::default(), payload.bytes()).expect("ours");
                let Heard::Other(heard) = heard else { panic!("a state") };
                assert_eq!(heard, Out::Object(message.clone()));
            }
            self.stock.apply(&message).expect("no contradiction");
            Some(message)
        }

        /// Where an object is seen.
        fn seen(&self, object: &Object) -> Option<Pos> {
            match object.holder {
                Some(holder) => self.tick.spots.iter().find(|spot| spot.id == holder.entity).map(|spot| spot.pos),
                None => Some(object.pos),
            }
        }

        fn all(&self) -> impl Iterator<Item = &Object> {
            self.parts.iter().flat_map(objects::Objects::iter).map(|object| &**object)
        }
    }

    fn text(name: &str, text: &str) -> Changes {
        vec![(name.into(), Some(text.into()))]
    }

    proptest! {
        /// Whatever is done, wherever one goes and however few bytes there are: once settled, a client holds what is within
        /// the radius as it is, nothing that is far beyond it, and nothing that is no more.
        #[test]
        fn what_a_client_holds_is_what_is_in_sight(
            steps in prop::collection::vec((0..8_u8, 0..12_u64, -4_000..4_000_i32, -4_000..4_000_i32, 0..3_000_usize), 1..80),
        ) {
            let mut scene = Scene::new();
            for (kind, which, x, z, room) in steps {
                let target = scene.all().nth(which as usize).map(|object| (object.id, object.pos, object.holder));
                let to = (pos(x, z), 3);
                match (kind, target) {
                    (0 | 1, _) => _ = scene.create(to.0, text("n", &"x".repeat(room / 3))),
                    (2, Some((id, at, _))) => {
                        scene.deed(at, Deed::Change { of: Aim { id, expect: None }, to: Some(to), fields: text("on", "1") });
                    }
                    (3, Some((id, at, None))) => _ = scene.deed(at, Deed::Grab(Aim { id, expect: None })),
                    (3, Some((id, at, Some(_)))) => _ = scene.deed(at, Deed::Release(Aim { id, expect: None }, to)),
                    (4, Some((id, at, _))) => _ = scene.deed(at, Deed::Remove(Aim { id, expect: None })),
                    (5, _) => {
                        let of_world = which % 2 == 0;
                        scene.deed(to.0, Deed::Environment { of_world, expect: None, fields: text("rain", "1") });
                    }
                    (6, _) => scene.at = to.0,
                    _ => scene.at = Pos { x: scene.at.x + x / 100, ..scene.at },
                }
                scene.tick();
                scene.look(room);
                if room % 3 > 0 {
                    continue;
                }
                for i in 0..200 {
                    scene.tick();
                    scene.look(DEPTH);
                    if scene.things.is_settled() && i >= CARRIED_EVERY_TICKS {
                        break;
                    }
                }
                prop_assert!(scene.things.is_settled());
                let metres = |object: &Object| scene.seen(object).map(|pos| pos.distance_m(scene.at));
                for object in scene.all() {
                    let held = scene.stock.objects.get(&object.id);
                    match metres(object) {
                        Some(far) if far < RADIUS_M - OBJECTS_MOVE_M => {
                            prop_assert_eq!(held, Some(&object_row(object)), "at {} m", far);
                        }
                        Some(far) if far < RADIUS_M * HYSTERESIS + OBJECTS_MOVE_M => {
                            prop_assert!(held.is_none_or(|row| *row == object_row(object)), "at {} m", far);
                        }
                        far => prop_assert_eq!(held, None, "at {:?} m", far),
                    }
                }
                let all: Vec<Id> = scene.all().map(|object| object.id).collect();
                prop_assert!(scene.stock.objects.keys().all(|id| all.contains(id)));
                prop_assert!(scene.things.held().map(|(id, _)| id).eq(scene.stock.objects.keys().copied()));
                for (region, environment) in scene.parts.iter().flat_map(objects::Objects::environments) {
                    let row = scene.stock.places.get(&region.stream());
                    let in_reach = Region::around(scene.at, RADIUS_M).any(|around| around == region);
                    prop_assert!(!in_reach || row == Some(&place_row(Some(region), environment)));
                }
                for (_, environment) in scene.social.environments() {
                    prop_assert_eq!(scene.stock.places.get("world"), Some(&place_row(None, environment)));
                }
            }
        }
    }

    #[test]
    fn nothing_is_looked_at_until_something_near_changes() {
        let mut scene = Scene::new();
        let lamp = scene.create(pos(500, 0), text("on", "0"));
        scene.tick();
        let first = scene.look(DEPTH).expect("a lamp");
        assert!(first.begin && first.put.len() == 1);
        let glance = |scene: &Scene| scene.things.glance.clone().expect("settled");
        let before = glance(&scene);
        scene.tick();
        scene.at = pos(60, 0);
        assert_eq!(scene.look(DEPTH), None);
        assert_eq!(glance(&scene), before, "within a metre");
        // Far away in the same partition.
        scene.create(pos(40_000, 0), Vec::new());
        scene.tick();
        assert_eq!(scene.look(DEPTH), None);
        assert_eq!((glance(&scene).at, glance(&scene).look), (before.at, before.look));
        scene.deed(pos(500, 0), Deed::Change { of: Aim { id: lamp, expect: None }, to: None, fields: text("on", "1") });
        scene.tick();
        let change = scene.look(DEPTH).expect("it shines");
        assert_eq!((change.begin, change.put[0].version, &*change.put[0].fields["on"]), (false, 2, "1"));
    }

    #[test]
    fn the_nearest_are_told_first_and_no_more_than_are_held() {
        let mut scene = Scene::new();
        for i in 0..VIEW_OBJECTS_MAX as i32 + 100 {
            scene.create(pos(i % 1_000, i / 100), Vec::new());
        }
        scene.tick();
        let first = scene.look(4_000).expect("some");
        let at = scene.at;
        let away = |row: &ObjectRow| Pos::from_metres(row.pos).expect("finite").distance2(at);
        assert!(first.put.len() > 5 && first.put.is_sorted_by_key(away));
        for _ in 0..200 {
            scene.tick();
            scene.look(DEPTH);
        }
        assert_eq!(scene.stock.objects.len(), VIEW_OBJECTS_MAX);
        assert!(scene.things.is_settled());
        let farthest = scene.stock.objects.values().map(away).max().expect("many");
        let left_out = scene.all().filter(|object| !scene.stock.objects.contains_key(&object.id));
        assert!(left_out.map(|object| object.pos.distance2(at)).all(|away| away >= farthest));
        // Nearer ones take the places of the farthest.
        let near: Vec<Id> = (0..3).map(|i| scene.create(pos(i, 0), Vec::new())).collect();
        scene.tick();
        let change = scene.look(DEPTH).expect("three");
        assert_eq!((change.put.len(), change.gone.len()), (3, 3));
        assert!(near.iter().all(|id| scene.stock.objects.contains_key(id)));
    }

    #[test]
    fn what_is_larger_than_the_budget_waits_until_that_is_full() {
        let mut scene = Scene::new();
        let large: Changes = (0..20).map(|i| (format!("f{i}").into(), Some("x".repeat(1_000).into()))).collect();
        scene.create(pos(100, 0), large);
        scene.tick();
        let look = |scene: &mut Scene| {
            scene.around.go(GRID, scene.at, RADIUS_M * HYSTERESIS);
            let (at, around) = (scene.at, &scene.around);
            let viewer = Viewer { me: 7, at, radius_m: RADIUS_M, around, room: DEPTH, per_tick: 1_000, depth: DEPTH };
            scene.things.step(&scene.tick, viewer)
        };
        let saved: Vec<usize> =
            std::iter::from_fn(|| look(&mut scene).is_none().then(|| scene.things.saved())).collect();
        assert_eq!((saved[0], saved[1], saved.last()), (DEPTH / 2, DEPTH / 2 + 500, Some(&(DEPTH - 500))));
        assert!(scene.things.saved() == 0 && scene.things.is_settled());
    }

    #[test]
    fn while_a_partition_is_not_read_nothing_is_taken_for_gone() {
        let mut scene = Scene::new();
        let lamp = scene.create(pos(500, 0), Vec::new());
        scene.tick();
        scene.look(DEPTH);
        let read = std::mem::take(&mut scene.tick.objects[4]);
        assert_eq!(scene.look(DEPTH), None);
        scene.tick.objects[4] = read;
        assert_eq!(scene.look(DEPTH), None);
        assert!(scene.stock.objects.contains_key(&lamp));
    }

    #[test]
    fn of_an_object_that_two_partitions_show_the_newer_counts() {
        let mut scene = Scene::new();
        let lamp = scene.create(pos(-500, 0), Vec::new());
        let stale = scene.parts[0].clone();
        let of = Aim { id: lamp, expect: None };
        scene.deed(pos(-500, 0), Deed::Change { of, to: Some((pos(500, 0), 0)), fields: Vec::new() });
        scene.parts[0] = stale;
        for _ in 0..3 {
            scene.tick();
            scene.look(DEPTH);
            assert_eq!(scene.stock.objects[&lamp].version, 2);
        }
        // It goes further, out of sight; the other partition still lags.
        scene.deed(pos(500, 0), Deed::Change { of, to: Some((pos(9_000, 0), 0)), fields: Vec::new() });
        scene.tick();
        let change = scene.look(DEPTH).expect("it is gone");
        assert_eq!((change.put.len(), change.gone), (0, vec![lamp]));
    }
}
