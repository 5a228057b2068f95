//! How a binary state tells where an entity is: as the distance from where its last two samples lead, so that who walks
//! on costs a few bits. Those bits are made once a tick for all viewers that hold the same two samples.

use super::bits::{BitReader, Bits, Put, zigzag};
use super::reader::Malformed;
use crate::space::Pos;

/// A sample, as rows tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Position.
    pub pos: Pos,
    /// Facing, 1/256 turn.
    pub yaw: u8,
    /// How much older than the tick, see [`super::state::age_from_byte`].
    pub age: u8,
}

/// What a client was told of an entity: what the next sample is told relative to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// The newest sample.
    pub last: Told,
    /// The step to it, x y z in cm; 0 after an enter, a jump, or a step of more than 327 m.
    pub step: [i16; 3],
    /// Rice parameter of the next distance: how much its entity surprises.
    pub surprise: u8,
}

/// The surprise of somebody unknown.
const SURPRISE_AT_FIRST: u8 = 2;
/// Rice parameters are four bits.
const SURPRISE_MAX: u8 = 15;
/// Bits of it.
const SURPRISE_BITS: u32 = 4;
/// Rice parameter of a turn.
const TURN: u32 = 3;

impl Trail {
    /// Begins with a sample.
    #[must_use]
    pub fn new(told: Told) -> Trail {
        Trail { last: told, step: [0; 3], surprise: SURPRISE_AT_FIRST }
    }

    /// Goes on to a sample.
    pub fn go(&mut self, told: Told, jumped: bool, surprise: u8) {
        let (to, from) = (told.pos, self.last.pos);
        let axis = |to: i32, from: i32| i16::try_from(to.wrapping_sub(from)).ok();
        let step = || Some([axis(to.x, from.x)?, axis(to.y, from.y)?, axis(to.z, from.z)?]);
        let step = if jumped { None } else { step() };
        *self = Trail { last: told, step: step.unwrap_or_default(), surprise };
    }

    /// The surprise to tell to who holds `held` and is told a sample alone that others hold as this trail. The next one
    /// will then be as far from where it is expected as the steps differ.
    #[must_use]
    pub fn surprise_after(&self, held: &Trail, told: Told) -> u8 {
        let mut after = *held;
        after.go(told, false, self.surprise);
        let miss = |axis: usize| zigzag(i32::from(after.step[axis]) - i32::from(self.step[axis]));
        let mean = (miss(0) + miss(2)) / 2;
        mean.checked_ilog2().map_or(self.surprise, |level| self.surprise.max(level as u8))
    }

    /// Where the next sample is expected: the same step on.
    fn expected(&self) -> Pos {
        let Pos { x, y, z } = self.last.pos;
        let [dx, dy, dz] = self.step.map(i32::from);
        Pos { x: x.wrapping_add(dx), y: y.wrapping_add(dy), z: z.wrapping_add(dz) }
    }
}

/// Puts a sample, and the surprise that is expected of the next one.
pub fn put(out: &mut impl Put, trail: &Trail, told: &Told, surprise: u8) {
    let at = trail.expected();
    let level = u32::from(trail.surprise);
    out.put_signed(told.pos.x.wrapping_sub(at.x), level);
    out.put_signed(told.pos.z.wrapping_sub(at.z), level);
    let rise = told.pos.y.wrapping_sub(at.y);
    let turn = told.yaw.wrapping_sub(trail.last.yaw) as i8;
    let is_plain = rise == 0 && turn == 0 && told.age == trail.last.age && surprise == trail.surprise;
    out.put(u32::from(!is_plain), 1);
    if is_plain {
        return;
    }
    out.put(u32::from(turn != 0), 1);
    if turn != 0 {
        out.put_signed(i32::from(turn), TURN);
    }
    out.put(u32::from(rise != 0), 1);
    if rise != 0 {
        out.put_signed(rise, vertical(level));
    }
    out.put(u32::from(told.age != trail.last.age), 1);
    if told.age != trail.last.age {
        out.put(u32::from(told.age), 8);
    }
    out.put(u32::from(surprise != trail.surprise), 1);
    if surprise != trail.surprise {
        out.put(u32::from(surprise), SURPRISE_BITS);
    }
}

/// Takes a sample; the trail goes on to it.
///
/// # Errors
/// When it is cut short, or a turn is more than a turn.
pub fn get(bits: &mut BitReader<'_>, trail: &mut Trail, jumped: bool) -> Result<Told, Malformed> {
    let (at, level) = (trail.expected(), u32::from(trail.surprise));
    let x = at.x.wrapping_add(bits.signed(level)?);
    let z = at.z.wrapping_add(bits.signed(level)?);
    let mut told = Told { pos: Pos { x, y: at.y, z }, ..trail.last };
    let mut surprise = trail.surprise;
    if bits.get(1)? == 1 {
        if bits.get(1)? == 1 {
            let turn = i8::try_from(bits.signed(TURN)?).map_err(|_| Malformed::Bad("turn"))?;
            told.yaw = told.yaw.wrapping_add_signed(turn);
        }
        if bits.get(1)? == 1 {
            told.pos.y = at.y.wrapping_add(bits.signed(vertical(level))?);
        }
        if bits.get(1)? == 1 {
            told.age = bits.get(8)? as u8;
        }
        if bits.get(1)? == 1 {
            surprise = bits.get(SURPRISE_BITS)? as u8;
        }
    }
    trail.go(told, jumped, surprise);
    Ok(told)
}

/// Rice parameter upwards: less happens there.
fn vertical(level: u32) -> u32 {
    level.saturating_sub(2)
}

/// The bits of a sample that is told to one client alone.
#[must_use]
pub fn len(trail: &Trail, told: &Told, surprise: u8) -> usize {
    let mut count = Count(0);
    put(&mut count, trail, told, surprise);
    count.0
}

struct Count(usize);

impl Put for Count {
    fn put(&mut self, _: u32, len: u32) {
        self.0 += len as usize;
    }
}

/// What viewers hold who were told of an entity at every anchor of one stride; it learns how much the entity surprises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// What they hold.
    trail: Trail,
    /// Of late, the mean number that stood for a distance in a Rice code, 1/16.
    mean: i32,
    /// The parameter is so much larger than the mean would have it.
    tail: u8,
}

/// From this stride on, 2^this ticks,
const TAIL_LEVEL: usize = 4;
/// parameters are larger by so much: most walk on, but who turned is far off, and a number beyond its code takes 44 bits.
const TAIL: u8 = 2;

/// The mean goes this part of the way to the newest distance, as a power of two.
const MEAN_SHIFT: u32 = 4;
/// A surprise larger than this tells no more of the next ones, 1/16.
const MEAN_MAX: u32 = 1 << 14;
/// The best parameter is log2 of 0.69 times the mean; it changes when that is 0.3 off, because a change costs bits: with
/// a mean above this times 2^parameter it rises, 1/16,
const RISES: i32 = 57;
/// and falls below this.
const FALLS: i32 = 19;

impl Chain {
    /// Begins with a sample, for a stride of 2^`level` ticks.
    #[must_use]
    pub fn new(told: Told, level: usize) -> Chain {
        let trail = Trail::new(told);
        let tail = if level < TAIL_LEVEL { 0 } else { TAIL };
        Chain { trail, mean: ((RISES + FALLS) / 2) << trail.surprise, tail }
    }

    /// Goes on to a sample; the bits for those who hold what it held. A sample that is where the last one was, and faces
    /// where it did, is nothing new.
    pub fn tell(&mut self, told: Told, jumped: bool) -> Shared {
        let trail = self.trail;
        if (trail.last.pos, trail.last.yaw) == (told.pos, told.yaw) {
            return Shared { trail, next: trail, ..Shared::default() };
        }
        let at = trail.expected();
        let size = |to: i32, from: i32| zigzag(to.wrapping_sub(from)).min(MEAN_MAX);
        let sum = size(told.pos.x, at.x) + size(told.pos.z, at.z);
        self.mean += (((8 * sum) << self.tail).min(MEAN_MAX) as i32 - self.mean) >> MEAN_SHIFT;
        let surprise = match trail.surprise {
            level if self.mean > RISES << level => (level + 1).min(SURPRISE_MAX),
            level if self.mean < FALLS << level => level.saturating_sub(1),
            level => level,
        };
        let mut bits = Bits::NONE;
        if !jumped {
            put(&mut bits, &trail, &told, surprise);
        }
        self.trail.go(told, jumped, surprise);
        Shared { trail, next: self.trail, bits, way2_cm: trail.last.pos.distance2(told.pos) }
    }
}

/// A sample as bits that all viewers share who hold its trail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// What it is told relative to.
    trail: Trail,
    /// What those hold who were told.
    pub next: Trail,
    /// The bits; none if they would be too many, or there is nothing new.
    pub bits: Bits,
    /// Square of the distance that they tell, cm².
    pub way2_cm: u64,
}

impl Shared {
    /// Whether its bits are for a client that holds this trail.
    #[must_use]
    pub fn is_for(&self, trail: &Trail) -> bool {
        !self.bits.is_empty() && self.trail == *trail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::bits::Writer;
    use proptest::prelude::*;

    prop_compose! {
        fn told()(x in any::<i32>(), y in -500..500_i32, z in -9_000..9_000_i32, yaw: u8, age: u8) -> Told {
            Told { pos: Pos { x: x / 4, y, z }, yaw, age }
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_got(first in told(), rest in prop::collection::vec((told(), any::<bool>(), 0..16_u8), 1..20)) {
            let (mut writer, mut ours) = (Writer::new(Vec::new()), Trail::new(first));
            let mut len = 0;
            for (told, jumped, surprise) in &rest {
                put(&mut writer, &ours, told, *surprise);
                len += super::len(&ours, told, *surprise);
                ours.go(*told, *jumped, *surprise);
            }
            let bytes = writer.end();
            prop_assert_eq!(bytes.len(), len.div_ceil(8));
            let (mut reader, mut theirs) = (BitReader::new(&bytes), Trail::new(first));
            for (told, jumped, _) in &rest {
                prop_assert_eq!(get(&mut reader, &mut theirs, *jumped), Ok(*told));
            }
            prop_assert_eq!(ours, theirs);
        }
    }

    /// Tells steps of an entity along x to a client that holds all; returns the bits of the last.
    fn walk(steps: impl Iterator<Item = i32>) -> u32 {
        let mut told = Told::default();
        let (mut chain, mut trail) = (Chain::new(told, 0), Trail::new(told));
        let mut last = 0;
        for step in steps {
            told.pos.x += step;
            let shared = chain.tell(told, false);
            assert!(shared.is_for(&trail));
            last = shared.bits.len();
            trail.go(told, false, shared.next.surprise);
            assert_eq!(trail, shared.next);
        }
        last
    }

    #[test]
    fn who_walks_on_costs_three_bits_and_who_jerks_what_the_jerks_need() {
        assert_eq!(walk((0..200).map(|_| 7)), 3, "two distances of none, nothing else");
        let jerks = |size: i32| (0..201).map(move |i| if i % 2 == 0 { size } else { -size });
        // Distances of 4 × size along x and none along z, zigzagged: 8 × size; the best parameter for their mean.
        for (size, most) in [(1, 11), (10, 17), (100, 24)] {
            let bits = walk(jerks(size));
            assert!(bits <= most, "{size}: {bits} bits");
        }
    }

    #[test]
    fn bits_are_only_for_those_who_hold_the_same() {
        let told = |x| Told { pos: Pos { x, y: 0, z: 0 }, yaw: 0, age: 0 };
        let mut chain = Chain::new(told(0), 0);
        chain.tell(told(1), false);
        let shared = chain.tell(told(2), false);
        let holds = |step: i16, last, surprise| {
            let trail = Trail { last: told(last), step: [step, 0, 0], surprise };
            shared.is_for(&trail)
        };
        assert!(holds(1, 1, SURPRISE_AT_FIRST));
        assert!(!holds(1, 0, SURPRISE_AT_FIRST), "missed one");
        assert!(!holds(0, 1, SURPRISE_AT_FIRST), "has just entered");
        assert!(!holds(2, 1, SURPRISE_AT_FIRST), "missed one before");
        assert!(!holds(1, 1, SURPRISE_AT_FIRST + 1));
        assert!(chain.tell(told(3), true).bits.is_empty(), "a jump is told to each alone");
    }
}
