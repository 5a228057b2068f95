//! What must hold when everything has been quiet for long: each view is the fold limited to its interest, byte for
//! byte, and all gateways have folded the same.

use std::collections::BTreeMap;

use nearcast::codec::command::{Holder, Object};
use nearcast::codec::message::{Id, ObjectRow, PlaceRow};
use nearcast::limits::{HYSTERESIS, OBJECTS_MOVE_M};
use nearcast::region::World;
use nearcast::region::motion::fold::Held;
use nearcast::session::Session;
use nearcast::space::{Pos, Region};

use crate::bots::{Bot, Conn};
use crate::checker::Checker;
use crate::truth::{Life, Phase};

impl Checker {
    /// A view after the quiet phase.
    pub fn converged(&mut self, bot: &Bot, conn: &Conn, session: &Session) {
        let faults = differences(self, bot, conn, session);
        faults.into_iter().for_each(|what| self.fail(format!("in the end bot {}: {what}", bot.number)));
    }

    /// All gateways hold the same of each partition, and that is the truth.
    pub fn agree(&mut self, worlds: &[&World]) {
        let mut faults = Vec::new();
        faults.extend(worlds.iter().filter_map(|world| self.history.ledger.compare(world).err()));
        let between = self.history.ledger.between();
        if between > 0 {
            faults.push(format!("in the end {between} objects are between partitions"));
        }
        for tickets in worlds.iter().map(|world| world.kept().tickets).filter(|tickets| *tickets > 0) {
            faults.push(format!("in the end a gateway still waits for the ends of {tickets} sendings"));
        }
        // What a partition holds of who is in another since is about to expire, here a moment sooner than there.
        let newest = |world: &World, id: Id| {
            let all = (0..self.partitions()).flat_map(|partition| world.folded(partition));
            all.filter(|(other, _)| *other == id).map(|(_, held)| held.version).max()
        };
        for partition in 0..self.partitions() {
            let folds: Vec<BTreeMap<Id, _>> = worlds
                .iter()
                .filter(|world| world.folded(partition).next().is_some())
                .map(|world| {
                    let is_newest = |(id, held): &(Id, &Held)| newest(world, *id) == Some(held.version);
                    let here = world.folded(partition).filter(|(_, held)| held.leaver.is_none()).filter(is_newest);
                    here.map(|(id, h)| (id, (h.pos, h.yaw, h.state, h.profile.1.clone()))).collect()
                })
                .collect();
            for pair in folds.windows(2) {
                let ids = pair[0].keys().chain(pair[1].keys());
                let differ = ids.filter(|id| pair[0].get(*id) != pair[1].get(*id));
                faults.extend(differ.map(|id| {
                    let (a, b) = (pair[0].get(id), pair[1].get(id));
                    let phase = self.lives().get(id).map(|life| life.phase);
                    format!("in the end {id:x} ({phase:?}) in partition {partition} is {a:?} and {b:?}")
                }));
            }
        }
        faults.into_iter().for_each(|what| self.fail(what));
    }
}

fn differences(checker: &Checker, bot: &Bot, conn: &Conn, session: &Session) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(viewer) = checker.viewer(conn.number) else { return faults };
    let Some(me) = last(checker.lives().get(&viewer.entity)) else { return faults };
    if Pos::from_metres(bot.pos()) != Some(me) {
        faults.push(format!("is at {:?}, its gateway says {me:?}", bot.pos()));
    }
    let radius_m = viewer.radius.0;
    let live = |life: &Life| matches!(life.phase, Phase::Live) && !life.unplaced;
    for (id, life) in checker.lives().iter().filter(|(id, life)| **id != viewer.entity && live(life)) {
        let Some(pos) = last(Some(life)) else { continue };
        let shown = conn.mirror.find(*id);
        let distance_m = pos.distance_m(me);
        if shown.is_none() && distance_m < radius_m - 0.02 {
            faults.push(format!("lacks {id:x} at {distance_m:.1} m of {radius_m:.1}"));
        }
        let Some(avatar) = shown else { continue };
        let step = life.steps.last().expect("it has a place");
        let (_, profile) = life.profiles.last().expect("hello brought one");
        if !life.ends_as(avatar) || avatar.profile != *profile {
            faults.push(format!("holds {avatar:?}, the truth is {step:?} {profile}"));
        }
    }
    for avatar in conn.mirror.shown() {
        let far = avatar.pos.distance_m(me) > radius_m * HYSTERESIS + 0.02;
        let gone = checker.lives().get(&avatar.entity).is_none_or(|life| matches!(life.phase, Phase::Left(_)));
        if far || gone {
            faults.push(format!("still shows {avatar:?}"));
        }
    }
    faults.extend(wrong_objects(checker, (me, radius_m), conn));
    faults.extend(wrong_places(checker, (me, radius_m), conn));
    let owed = checker.history.owed(conn.number);
    if owed > 0 {
        faults.push(format!("was not told of {owed} events"));
    }
    let held: std::collections::BTreeSet<Id> = session.view().held().collect();
    let shown: std::collections::BTreeSet<Id> = conn.mirror.shown().map(|avatar| avatar.entity).collect();
    if held != shown || session.view().digest() != conn.mirror.digest() {
        faults.push(format!("shows {shown:x?}, its gateway thinks {held:x?}"));
    }
    faults
}

/// What a client was told of objects is what there is within its radius: what is held is where its holder is.
fn wrong_objects(checker: &Checker, (me, radius_m): (Pos, f64), conn: &Conn) -> Vec<String> {
    let is_live = |life: &&Life| matches!(life.phase, Phase::Live);
    let place = |object: &Object| match object.holder {
        Some(holder) => last(checker.lives().get(&holder.entity).filter(is_live)),
        None => Some(object.pos),
    };
    let mut faults = Vec::new();
    let mut told: BTreeMap<Id, &ObjectRow> = conn.stock.objects.iter().map(|(id, row)| (*id, row)).collect();
    for object in checker.history.ledger.objects() {
        let row = told.remove(&object.id);
        // Whose holder has just lost their socket is where that stands, for a while.
        let may_stand =
            |holder: Holder| checker.lives().get(&holder.entity).is_some_and(|life| checker.may_stand(life));
        if checker.is_on_errand(object.id) || object.holder.is_some_and(may_stand) {
            continue;
        }
        let metres = place(object).map(|pos| pos.distance_m(me));
        // Who goes less than a metre is told nothing new.
        let (is_near, is_far) = (
            metres.is_some_and(|metres| metres < radius_m - OBJECTS_MOVE_M - 0.02),
            metres.is_none_or(|metres| metres > radius_m * HYSTERESIS + OBJECTS_MOVE_M + 0.02),
        );
        let is_so = |row: &ObjectRow| {
            (row.version, row.holder) == (object.version, object.holder.map(|holder| holder.entity))
                && row.pos == object.pos.metres()
        };
        if row.is_some_and(|row| is_far || !is_so(row)) || (row.is_none() && is_near) {
            faults.push(format!("was told {row:?}, at {metres:?} m of {radius_m:.1} there is {object:?}"));
        }
    }
    faults.extend(told.into_values().map(|row| format!("was told {row:?}, which is not there")));
    faults
}

/// What a client was told of places in reach, and of the world, is what they are like.
fn wrong_places(checker: &Checker, (me, radius_m): (Pos, f64), conn: &Conn) -> Vec<String> {
    let mut faults = Vec::new();
    for (place, environment) in checker.history.ledger.environments() {
        let name = place.map_or_else(|| "world".to_owned(), Region::stream);
        let row = conn.stock.places.get(&name);
        let is_so = |row: &PlaceRow| {
            let fields = environment.fields.iter().map(|(name, text)| (&**name, &**text));
            row.version == environment.version
                && fields.eq(row.fields.iter().map(|(name, text)| (name.as_str(), text.as_str())))
        };
        let in_reach = place.is_none_or(|region| Region::around(me, radius_m).any(|around| around == region));
        if in_reach && !row.is_some_and(is_so) {
            faults.push(format!("was told {row:?}, {name} is {environment:?}"));
        }
    }
    faults
}

fn last(life: Option<&Life>) -> Option<Pos> {
    life.and_then(|life| life.steps.last()).map(|step| step.pos)
}
