//! What one client holds, and the difference that brings it closer to what it should hold: `interest` picks who
//! matters, `table` is what was last handed to the socket, `budget` how many bytes may go, and `costs` what takes
//! how many. Pure; pulls from ticks.

pub mod budget;
mod costs;
pub mod interest;
pub mod table;

use std::cell::Cell;

use crate::codec::Encoding;
use crate::codec::bits::Bits;
use crate::codec::message::Id;
use crate::codec::row::{self, Told};
use crate::codec::state::{Change, Delta, Enter, ROW_TELEPORT, Row, Rows, Single, Slot, age_from_byte};
use crate::limits::{ORIGIN_DRIFT_M, RADIUS_M, STRIDE_MAX};
use crate::region::frame::Tick;
use crate::space::Pos;
use costs::{Costs, GAP, JSON_ROW, Prices, SINGLE_GAP, SLOTS_PER_GAP_BIT};
use interest::{Candidate, Plan};
use table::{Followed, NO_SLOT, Table};

pub use costs::capacity;

/// What one state did, for counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entities held after it.
    pub held: usize,
    /// Entities within the radius that do not fit the budget.
    pub crowded_out: usize,
    /// Updates that were due and did not fit.
    pub deferred: usize,
    /// Somebody has yet to enter or to leave, for whom there was no room.
    pub unfinished: bool,
    /// Sum of the ages of the updates, µs, and the oldest.
    pub age_sum_us: u64,
    /// Oldest update, µs.
    pub age_max_us: u64,
    /// Square of the largest distance between what the client held of those it is told of and where they are, cm².
    pub error_max2_cm: u64,
}

impl Summary {
    /// Whether more is to be told although nothing changes.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.unfinished || self.deferred > 0 || self.crowded_out > 0
    }

    /// An update tells a sample of this age, so far from what the client held.
    fn told(&mut self, age_us: u32, way2_cm: u64) {
        self.age_sum_us += u64::from(age_us);
        self.age_max_us = self.age_max_us.max(u64::from(age_us));
        self.error_max2_cm = self.error_max2_cm.max(way2_cm);
    }
}

/// What a state is made of and for.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// What the gateway shows now.
    pub tick: &'a Tick,
    /// The viewer, who does not see themselves.
    pub me: Id,
    /// Where they are.
    pub at: Pos,
    /// All that can be seen from there has been read.
    pub complete: bool,
    /// Bytes that the state may have, about.
    pub room: usize,
    /// Bytes that the budget gives per tick in the long run.
    pub per_tick: usize,
    /// Rows that a state is to have at most, about, whatever the budget: they cost the gateway time.
    pub rows_max: usize,
}

/// How somebody stands among all who are near enough to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// 1: nobody is nearer.
    pub rank: usize,
    /// How many there are.
    pub of: usize,
    /// Every how many ticks it is told of; `None`: the budget does not hold it.
    pub stride: Option<u64>,
    /// The tick at which it was told last; `None`: it is not held.
    pub told: Option<u64>,
    /// What its next row takes, bits.
    pub bits: Option<usize>,
}

/// One client's view.
#[derive(Debug)]
pub struct View {
    costs: Costs,
    radius_m: f64,
    table: Table,
    origin: Pos,
    /// A full view is under way: `Some(true)` until it has begun.
    full: Option<bool>,
    /// The tick of the last step.
    stepped: u64,
    /// By slot, the level of its stride: 2^this ticks. Where none is noted it is 0.
    levels: Vec<u8>,
    prices: Prices,
}

/// Who has news that is due, and what it costs to tell, bits.
struct Due {
    candidate: Candidate,
    /// The tick at which it was last told.
    told: u64,
    cost: usize,
    news: News,
}

/// What is new of where somebody is.
enum News {
    /// Nothing.
    Nothing,
    /// It is told as it is.
    Row,
    /// As bits that others of its stride get, too, 2^this.
    Shared(u32),
    /// To this client alone, and what is expected of the next.
    Single(u8),
}

/// What a step needs for a while: the same memory for all views of a thread, so that it stays in the cache.
#[derive(Default)]
struct Scratch {
    candidates: Vec<Candidate>,
    /// By slot: which candidate holds it, or [`NOBODY`].
    holders: Vec<u32>,
    missing: Vec<Candidate>,
    rest: Vec<Candidate>,
    near: Vec<Due>,
    far: Vec<Due>,
}

/// Who stays in the table: candidates, by slot which of them holds it, and how often they are told of.
#[derive(Clone, Copy)]
struct Stay<'a> {
    candidates: &'a [Candidate],
    holders: &'a [u32],
    plan: Plan,
}

/// What a look at all who stay comes to.
#[derive(Clone, Copy, Debug, Default)]
struct Walked {
    /// Of those who were told, bits.
    cost: usize,
    /// Of the plan, told or not: of the near,
    near_rows: usize,
    /// and of the far, in 1/64 row.
    far_rows: usize,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// No candidate holds a slot.
const NOBODY: u32 = u32::MAX;

impl View {
    /// An empty view; its first state begins a full one.
    #[must_use]
    pub fn new(encoding: Encoding) -> View {
        let costs = Costs::of(encoding);
        let (table, origin) = (Table::default(), Pos::default());
        let (levels, prices) = (Vec::new(), Prices::new(&costs));
        View { costs, radius_m: RADIUS_M, table, origin, full: Some(true), stepped: 0, levels, prices }
    }

    /// Sees further or less far from now on.
    pub fn set_radius(&mut self, radius_m: f64) {
        self.radius_m = radius_m;
    }

    /// Doubt: what the client holds is not known. The next state begins a full view.
    pub fn doubt(&mut self) {
        self.full = Some(true);
    }

    /// Whether a full view is under way.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.full.is_some()
    }

    /// Hash of what the client should hold after the last state, see `schemas/protocol.md`.
    #[must_use]
    pub fn digest(&self) -> u32 {
        self.table.digest()
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Ids of who is held, for the simulation's checker.
    pub fn held(&self) -> impl Iterator<Item = Id> {
        self.table.ids()
    }

    /// How one of those who are near enough to be held stands among them; `None` if it is not.
    #[must_use]
    pub fn standing(&self, turn: Turn<'_>, id: Id) -> Option<Standing> {
        let mut candidates = Vec::new();
        let plan = self.plan(turn, &mut candidates);
        let spot = |candidate: &Candidate| &turn.tick.spots[candidate.index as usize];
        let own = candidates.iter().find(|candidate| spot(candidate).id == id)?;
        let slot = Some(own.slot).filter(|slot| *slot != NO_SLOT);
        let told = spot(own).told(&turn.tick.entities[own.index as usize]);
        let bits = |slot: u16| match self.costs.encoding {
            Encoding::Json => JSON_ROW,
            Encoding::MessagePack => GAP + row::len(self.table.trail(slot), &told, self.table.trail(slot).surprise),
        };
        Some(Standing {
            rank: candidates.iter().filter(|other| other.rank <= own.rank).count(),
            of: candidates.len(),
            stride: plan.stride(own),
            told: slot.map(|slot| self.table.told(slot)),
            bits: slot.map(bits),
        })
    }

    /// Collects into `candidates` who is near enough to be held, and plans how often each is told of.
    pub fn plan(&self, turn: Turn<'_>, candidates: &mut Vec<Candidate>) -> Plan {
        let Turn { tick, me, at, per_tick, rows_max, .. } = turn;
        candidates.clear();
        interest::gather(me, at, self.radius_m, tick, &self.table, candidates);
        Plan::new(candidates, self.prices.supply(per_tick), rows_max)
    }

    /// Writes into `out` what to tell the client. What it tells counts as held from then on.
    pub fn step(&mut self, turn: Turn<'_>, out: &mut Delta) -> Summary {
        let Turn { tick, at, complete, room, per_tick, .. } = turn;
        out.clear();
        out.tick = tick.number;
        if self.full == Some(true) {
            self.table.clear();
            self.full = Some(false);
            out.full_begin = true;
        }
        if out.full_begin || at.distance_m(self.origin) > ORIGIN_DRIFT_M {
            self.origin = at;
        }
        out.origin = self.origin;
        out.partial = !complete;

        let mut scratch = SCRATCH.take();
        let Scratch { candidates, holders, missing, rest, near, far } = &mut scratch;
        let plan = self.plan(turn, candidates);
        let mut summary = Summary::default();
        holders.clear();
        holders.resize(self.table.slots(), NOBODY);
        let mut stay = 0;
        for (at, candidate) in candidates.iter().enumerate() {
            match (plan.stride(candidate), candidate.slot) {
                (None, _) => summary.crowded_out += 1,
                (Some(_), NO_SLOT) => missing.push(*candidate),
                (Some(_), slot) => {
                    stay += 1;
                    holders[usize::from(slot)] = at as u32;
                }
            }
        }
        let around = self.costs.envelope + self.table.slots() / SLOTS_PER_GAP_BIT;
        let mut left = (8 * room).saturating_sub(around);
        if stay < self.table.len() {
            // Those beyond stay held, and what is left then is too little for an enter: nobody enters who has yet to
            // leave under another handle.
            let most = left / self.costs.leave;
            self.table.leave_others(|slot| holders[slot] != NOBODY, most, &mut out.leaves);
            left -= self.costs.leave * out.leaves.len();
            summary.unfinished = self.table.len() > stay;
        }

        // Who is not there yet comes before who is far, but does not starve those; nor is it starved by the near, whose
        // profiles and states may cost more than the plan counts.
        let near_room = if missing.is_empty() { left } else { left.min(8 * per_tick * 3 / 4) };
        left -= near_room;
        // Half of it is left for those who do not just walk on.
        let walk_room = if self.costs.encoding == Encoding::MessagePack { near_room / 2 } else { 0 };
        let all = Stay { candidates, holders, plan };
        let Walked { cost: walked, near_rows, far_rows } = self.walk_on(all, tick, walk_room, rest, out, &mut summary);
        for candidate in rest.drain(..) {
            let list = if plan.is_near(&candidate) { &mut *near } else { &mut *far };
            if let Some(level) = self.turn(&candidate, level(plan.stride(&candidate)), tick.number) {
                list.extend(self.due(&candidate, level, tick));
            }
        }
        if self.costs.encoding == Encoding::MessagePack {
            let cost = |due: &[Due]| due.iter().map(|due| due.cost).sum::<usize>();
            // A state after skipped ticks tells what they would have told.
            let ticks = (tick.number - self.stepped).clamp(1, STRIDE_MAX) as usize;
            self.prices.learn((walked + cost(near), near_rows * ticks), (cost(far), far_rows * ticks));
        }
        left += self.update(near, tick, near_room - walked, out, &mut summary);
        let all_in = self.enter(missing, plan, tick, left / 4, &mut left, out);
        summary.unfinished |= !all_in;
        if all_in && complete && self.full.is_some() {
            self.full = None;
            out.full_end = true;
        }
        if !all_in {
            // The rest is saved up until the next one fits: a small budget gives less per tick than an enter costs.
            // An eighth of a tick's bytes.
            left = left.min(per_tick);
        }
        self.update(far, tick, left, out, &mut summary);
        let Rows { singles, shared } = &mut out.rows;
        if !shared.is_sorted_by_key(|(slot, _)| *slot) {
            shared.sort_unstable_by_key(|(slot, _)| *slot);
        }
        if !singles.is_sorted_by_key(|single| single.slot) {
            singles.sort_unstable_by_key(|single| single.slot);
        }
        SCRATCH.set(scratch);
        summary.held = self.table.len();
        self.stepped = tick.number;
        summary
    }

    /// Whether it is a candidate's turn, and then the level of its stride. It changes strides at an anchor of the new one:
    /// that row and the next are told alone, and bring it in line.
    fn turn(&mut self, candidate: &Candidate, planned: u8, tick: u64) -> Option<u8> {
        let level = self.levels.get(usize::from(candidate.slot)).copied().unwrap_or(0);
        let has_turn = |level: u8| candidate.has_turn(self.stepped, tick, 1 << level);
        if level != planned && has_turn(planned) {
            self.set_level(candidate.slot, planned);
            return Some(planned);
        }
        has_turn(level).then_some(level)
    }

    fn set_level(&mut self, slot: u16, level: u8) {
        let slot = usize::from(slot);
        if self.levels.len() <= slot {
            self.levels.resize(slot + 1, 0);
        }
        self.levels[slot] = level;
    }

    /// Looks once at all who stay. Nearly all of the near just walk on: those are told here what all others are told who hold
    /// the same, for `room` bits at most; most of the far are not at an anchor. `rest` are the others.
    fn walk_on(
        &mut self,
        stay: Stay<'_>,
        tick: &Tick,
        room: usize,
        rest: &mut Vec<Candidate>,
        out: &mut Delta,
        summary: &mut Summary,
    ) -> Walked {
        let Stay { candidates, holders, plan } = stay;
        let mut followers = self.table.followers(tick.number);
        let mut walked = Walked::default();
        for (slot, at) in holders.iter().enumerate() {
            let Some(candidate) = candidates.get(*at as usize) else { continue };
            if !plan.is_near(candidate) {
                let stride = plan.stride(candidate).unwrap_or(1);
                walked.far_rows += (STRIDE_MAX / stride) as usize;
                let changes = self.levels.get(slot).copied().unwrap_or(0) != level(Some(stride));
                if changes || candidate.has_turn(self.stepped, tick.number, stride) {
                    rest.push(*candidate);
                }
                continue;
            }
            walked.near_rows += 1;
            if walked.cost + GAP + Bits::MAX as usize > room {
                rest.push(*candidate);
                continue;
            }
            let index = candidate.index as usize;
            let (spot, shared) = (&tick.spots[index], tick.shared.get(index));
            match (followers.follow(slot, spot, shared), shared) {
                (Followed::Now, Some(shared)) => {
                    out.rows.shared.push((candidate.slot, shared.bits));
                    summary.told(spot.age_us, shared.way2_cm);
                    walked.cost += GAP + shared.bits.len() as usize;
                }
                (Followed::Already, _) => {}
                (Followed::Not | Followed::Now, _) => rest.push(*candidate),
            }
        }
        walked
    }

    /// Whether there is something to tell of a candidate, and what it costs.
    fn due(&self, candidate: &Candidate, level: u8, tick: &Tick) -> Option<Due> {
        let told = self.table.told(candidate.slot);
        let index = candidate.index as usize;
        if tick.spots[index].touched <= told {
            return None;
        }
        let entity = &tick.entities[index];
        let (news, row) = match self.costs.encoding {
            _ if entity.moved <= told => (News::Nothing, 0),
            Encoding::Json => (News::Row, JSON_ROW),
            Encoding::MessagePack => {
                let trail = self.table.trail(candidate.slot);
                let level = u32::from(level);
                let shared = tick.shared(index, level);
                match shared.filter(|shared| shared.is_for(trail)) {
                    Some(shared) => (News::Shared(level), GAP + shared.bits.len() as usize),
                    None => {
                        let told = tick.spots[index].told(entity);
                        let surprise = shared.map_or(trail.surprise, |shared| shared.next.surprise_after(trail, told));
                        (News::Single(surprise), SINGLE_GAP + row::len(trail, &told, surprise))
                    }
                }
            }
        };
        let change = match (entity.renamed > told, entity.changed > told) {
            (false, false) => 0,
            (profile, state) => self.costs.change(entity, profile, state),
        };
        Some(Due { candidate: *candidate, told, cost: row + change, news })
    }

    /// Enters who is missing, nearest first, leaving `keep` bits. Whether all are in.
    fn enter(
        &mut self,
        missing: &mut Vec<Candidate>,
        plan: Plan,
        tick: &Tick,
        keep: usize,
        left: &mut usize,
        out: &mut Delta,
    ) -> bool {
        missing.sort_unstable_by_key(|c| c.rank);
        for candidate in missing.drain(..) {
            let index = candidate.index as usize;
            let (spot, entity) = (tick.spots[index], &tick.entities[index]);
            let cost = self.costs.enter(entity);
            if *left < keep + cost {
                return false;
            }
            let Some(slot) = self.table.enter(spot, entity, tick.number) else { return false };
            *left -= cost;
            self.set_level(slot.index, level(plan.stride(&candidate)));
            let row = row(slot, spot.told(entity), false);
            let enter = Enter { row, entity: spot.id, profile: entity.profile.clone(), state: entity.state };
            if crate::planted!(DoubledEnter) && spot.id.is_multiple_of(7) {
                let twin = self.table.enter(spot, entity, tick.number);
                out.enters.extend(twin.map(|slot| Enter { row: Row { slot, ..row }, ..enter.clone() }));
            }
            out.enters.push(enter);
        }
        true
    }

    /// Updates all who are due if they fit into `left`, else those told longest ago first, nearer ones among equals.
    /// Returns what is left, bits.
    fn update(
        &mut self,
        due: &mut Vec<Due>,
        tick: &Tick,
        mut left: usize,
        out: &mut Delta,
        summary: &mut Summary,
    ) -> usize {
        if due.iter().map(|due| due.cost).sum::<usize>() > left {
            due.sort_unstable_by_key(|due| (due.told, due.candidate.rank));
        }
        for Due { candidate, told, cost, news } in due.drain(..) {
            if cost > left {
                // Off an anchor it would cost several times as much: it waits for the next one.
                summary.deferred += 1;
                continue;
            }
            left -= cost;
            let index = candidate.index as usize;
            let (spot, entity) = (tick.spots[index], &tick.entities[index]);
            let slot = candidate.slot;
            let way2_cm = self.table.trail(slot).last.pos.distance2(spot.pos);
            summary.error_max2_cm = summary.error_max2_cm.max(way2_cm);
            if entity.renamed > told || entity.changed > told {
                let profile = (entity.renamed > told).then(|| entity.profile.clone());
                let state = (entity.changed > told).then_some(entity.state);
                state.into_iter().for_each(|state| self.table.change(slot, state));
                out.changes.push(Change { slot: self.table.name(slot), profile, state });
            }
            self.table.tell(slot, tick.number);
            match news {
                News::Nothing => continue,
                News::Row => {
                    let (told, jumped) = (spot.told(entity), entity.teleported > told);
                    out.updates.push(row(self.table.name(slot), told, jumped));
                    self.table.go(slot, told, jumped, 0);
                }
                News::Shared(level) => {
                    // These bits say nothing of a jump: one that ended where it began is not told.
                    let shared = tick.shared(index, level).expect("it is due");
                    out.rows.shared.push((slot, shared.bits));
                    self.table.go_to(slot, &shared.next);
                }
                News::Single(surprise) => {
                    let (trail, told, jumped) = (*self.table.trail(slot), spot.told(entity), entity.teleported > told);
                    out.rows.singles.push(Single { slot, trail, told, surprise, jumped });
                    self.table.go(slot, told, jumped, surprise);
                }
            }
            summary.told(spot.age_us, way2_cm);
        }
        left
    }
}

/// 2^this is the stride; of one who is told at every tick, 0.
fn level(stride: Option<u64>) -> u8 {
    stride.map_or(0, |stride| stride.trailing_zeros() as u8)
}

fn row(slot: Slot, told: Told, jumped: bool) -> Row {
    let flags = if jumped { ROW_TELEPORT } else { 0 };
    Row { slot, pos: told.pos, yaw: told.yaw, age_ms: age_from_byte(told.age), flags }
}

#[cfg(test)]
mod tests;
