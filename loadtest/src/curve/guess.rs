//! What the gateway does not do: everybody goes on along their last two told samples until they are off by more than a
//! tolerance; only then a row is told. Its bits are those of the real row coder, in real states, but the receiver of the
//! protocol would not understand them: it takes silence for standing.
//!
//! Recordings that hold each row until the next are stairs, which mislead a guess: films are also made smooth. Else it
//! flatters the idea a little: rows have the Rice parameter that was best for each in hindsight and need not tell it,
//! and who enters knows the guess of the others at once.

use anyhow::Result;
use nearcast::codec::Encoding;
use nearcast::codec::bits::Bits;
use nearcast::codec::message::{AppState, Id};
use nearcast::codec::row::{self, Told, Trail};
use nearcast::codec::state::{Context, Delta, Enter, Row, Single, Slot};
use nearcast::limits::{HYSTERESIS, ORIGIN_DRIFT_M};
use nearcast::space::{Pos, yaw_from_degrees};

use super::film::Film;
use super::tally::{Shown, Teller};

/// The pace is taken over so many ticks at least: over one, the rounding of positions alone is 20 cm/s.
const PACE_TICKS: usize = 4;
/// Rice parameters that there are.
const SURPRISES: std::ops::Range<u8> = 0..16;

/// What all are shown of somebody at a tick.
#[derive(Clone, Copy)]
struct Step {
    /// Where they were expected.
    guess: Told,
    /// What is told, if they were not there.
    told: Option<Told>,
    /// What was told last.
    held: Told,
}

impl Step {
    fn shown(&self) -> Told {
        self.told.unwrap_or(self.guess)
    }
}

/// One viewer: by slot, who is held.
#[derive(Default)]
struct Client {
    context: Context,
    origin: Pos,
    slots: Vec<(Option<usize>, u8)>,
    /// By person, whether a slot holds them.
    holds: Vec<bool>,
}

/// See the top.
pub struct Guess {
    /// By person and tick.
    steps: Vec<Vec<Step>>,
    /// By person, of their rows.
    surprise: Vec<u8>,
    clients: Vec<Client>,
}

impl Guess {
    /// Nobody may be off by more than this, cm, nor their facing, 1/256 turn: that comes along with every row, and alone
    /// when it must.
    #[must_use]
    pub fn new(film: &Film, tolerance_cm: u64, facing: u8) -> Guess {
        let person = |person| guess(film, person, tolerance_cm, facing);
        let steps: Vec<Vec<Step>> = (0..film.people()).map(person).collect();
        let best = |steps: &Vec<Step>| {
            let bits =
                |surprise: &u8| -> usize { steps.iter().filter_map(|step| row_of(step, *surprise)).map(len).sum() };
            SURPRISES.min_by_key(bits).unwrap_or_default()
        };
        let surprise = steps.iter().map(best).collect();
        Guess { steps, surprise, clients: film.viewers.iter().map(|_| Client::default()).collect() }
    }
}

/// What is told of one person.
fn guess(film: &Film, person: usize, tolerance_cm: u64, facing: u8) -> Vec<Step> {
    let truth = |tick: usize| {
        let yaw = yaw_from_degrees(film.sample(tick, person).yaw_deg).unwrap_or_default();
        Told { pos: film.pos(tick, person, 1.0), yaw, age: 0 }
    };
    // What was told, and when; the first enters.
    let mut told = vec![(0, truth(0))];
    let step = |tick: usize| {
        let now = truth(tick);
        let guess = expected(&told, tick);
        let is_off = guess.pos.distance2(now.pos) > tolerance_cm.pow(2);
        let is_turned = (now.yaw.wrapping_sub(guess.yaw) as i8).unsigned_abs() > facing;
        if is_off || is_turned {
            told.push((tick, now));
        }
        let held = told.last().map_or(now, |(_, told)| *told);
        Step { guess, told: (is_off || is_turned).then_some(now), held }
    };
    (0..film.ticks()).map(step).collect()
}

/// Where somebody of whom this was told is expected at a tick: as far on as the pace of late leads.
fn expected(told: &[(usize, Told)], tick: usize) -> Told {
    let Some(&(last_tick, last)) = told.last() else { return Told::default() };
    let (before_tick, before) =
        *told.iter().rev().find(|(at, _)| at + PACE_TICKS <= last_tick).unwrap_or(&(last_tick, last));
    let (passed, over) = ((tick - last_tick) as f64, (last_tick - before_tick).max(1) as f64);
    let axis = |to: i32, from: i32| to + (f64::from(to - from) * passed / over).round() as i32;
    let (to, from) = (last.pos, before.pos);
    Told { pos: Pos { x: axis(to.x, from.x), y: axis(to.y, from.y), z: axis(to.z, from.z) }, ..last }
}

/// What the row coder is to write for a step, if anything is told.
fn row_of(step: &Step, surprise: u8) -> Option<(Trail, Told)> {
    Some((Trail { surprise, ..Trail::new(step.guess) }, step.told?))
}

fn len((trail, told): (Trail, Told)) -> usize {
    row::len(&trail, &told, trail.surprise)
}

impl Teller for Guess {
    fn tick(&mut self, _: &Film, _: usize) {}

    fn tell(&mut self, film: &Film, tick: usize, at: usize) -> Result<usize> {
        let Client { context, origin, slots, holds } = &mut self.clients[at];
        let viewer = film.viewers[at];
        let mut inner = vec![false; film.people()];
        film.within(tick, viewer, film.radius_m).for_each(|person| inner[person] = true);
        let mut outer = vec![false; film.people()];
        film.within(tick, viewer, film.radius_m * HYSTERESIS).for_each(|person| outer[person] = true);

        let me = film.pos(tick, viewer, 1.0);
        if me.distance_m(*origin) > ORIGIN_DRIFT_M {
            *origin = me;
        }
        let (number, full_begin) = (tick as u64 + 1, context.number == 0);
        let mut delta = Delta { tick: number, full_begin, full_end: full_begin, origin: *origin, ..Delta::default() };
        for (index, (held, generation)) in slots.iter_mut().enumerate() {
            let Some(person) = *held else { continue };
            let slot = Slot { index: index as u16, generation: *generation };
            if !outer[person] {
                delta.leaves.push(slot);
                (*held, *generation) = (None, generation.wrapping_add(1));
                continue;
            }
            inner[person] = false;
            let surprise = self.surprise[person];
            let Some((trail, told)) = row_of(&self.steps[person][tick], surprise) else { continue };
            let mut bits = Bits::NONE;
            row::put(&mut bits, &trail, &told, surprise);
            if bits.is_empty() {
                delta.rows.singles.push(Single { slot: slot.index, trail, told, surprise, jumped: false });
            } else {
                delta.rows.shared.push((slot.index, bits));
            }
        }
        for person in (0..film.people()).filter(|person| inner[*person]) {
            let index = slots.iter().position(|(held, _)| held.is_none()).unwrap_or_else(|| {
                slots.push((None, 0));
                slots.len() - 1
            });
            slots[index].0 = Some(person);
            let Told { pos, yaw, .. } = self.steps[person][tick].shown();
            let slot = Slot { index: index as u16, generation: slots[index].1 };
            let row = Row { slot, pos, yaw, age_ms: 0, flags: 0 };
            let (entity, profile) = (1 + person as Id, format!("bot {person:012}").into());
            delta.enters.push(Enter { row, entity, profile, state: AppState::default() });
        }
        holds.clear();
        holds.resize(film.people(), false);
        slots.iter().filter_map(|(held, _)| *held).for_each(|person| holds[person] = true);
        if delta.is_empty() {
            return Ok(0);
        }
        Ok(Encoding::MessagePack.encode_state(context, &delta).framed_len())
    }

    fn shown(&self, tick: usize, at: usize, person: usize) -> Option<Shown> {
        let step = self.clients[at].holds[person].then(|| self.steps[person][tick])?;
        Some(Shown { held: step.held.pos.metres(), drawn: step.shown().pos.metres() })
    }
}
