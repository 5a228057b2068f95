//! Who matters to a viewer: everybody within the radius, with hysteresis; in a crowd, the nearest at the full rate and
//! the rest in strides, as many as the budget can keep fresh.

use super::table::{NO_SLOT, Table};
use crate::codec::message::Id;
use crate::limits::{HYSTERESIS, NEAREST, NEAREST_MARGIN, STRIDE_MAX, VIEW_ENTITIES_MAX};
use crate::region::frame::Tick;
use crate::space::{Pos, Region};

/// An entity near enough to be held. Small: a crowd has thousands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who comes first: the square of its distance in cm², a fifth more if it is not held, so that two at the same
    /// distance do not take turns; then the handle. All ranks differ.
    pub rank: u64,
    /// Its index in the tick.
    pub index: u32,
    /// The slot that holds it, or [`NO_SLOT`].
    pub slot: u16,
}

impl Candidate {
    /// Whether an anchor of its stride, a power of two, lies after the tick `last` and not after `tick`. Anchors differ
    /// from entity to entity, and are the same for all viewers.
    #[must_use]
    pub fn has_turn(&self, last: u64, tick: u64, stride: u64) -> bool {
        let handle = self.rank & u64::from(u32::MAX);
        let anchor = |tick: u64| (tick + handle) >> stride.trailing_zeros();
        anchor(tick) != anchor(last)
    }
}

/// Collects into `out` who is within the radius, and who is held and within 1.1 × the radius; never the viewer.
pub fn gather(me: Id, at: Pos, radius_m: f64, tick: &Tick, table: &Table, out: &mut Vec<Candidate>) {
    // At most 141 m: their squares fit 32 bits.
    let cm2 = |metres: f64| u64::from((metres * 100.0) as u32).pow(2);
    let (inner2, outer2) = (cm2(radius_m), cm2(radius_m * HYSTERESIS));
    for column in Region::columns(at, radius_m * HYSTERESIS).map(|column| tick.column(column)) {
        for (index, spot) in column.clone().zip(&tick.spots[column]) {
            let distance2 = spot.pos.distance2(at);
            if distance2 > outer2 || spot.id == me {
                continue;
            }
            let slot = table.find(spot.handle, spot.epoch);
            let distance2 = match slot {
                NO_SLOT if distance2 > inner2 => continue,
                NO_SLOT => distance2 + distance2 / 5,
                _ => distance2,
            };
            let rank = distance2 << 32 | u64::from(spot.handle);
            out.push(Candidate { rank, index: index as u32, slot });
        }
    }
}

/// How a budget is spread over candidates: the near, two rings of strides, and the rest, who are not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who ranks below this is updated on every tick,
    near: u64,
    /// below this at half the stride,
    middle: u64,
    /// below this at the stride; the others are not held.
    kept: u64,
    stride: u64,
}

impl Plan {
    /// Makes a plan for what a tick has.
    ///
    /// The near come first, see [`Supply`]. The rest share what is left: with `m` of them and `c` rows per tick, the
    /// stride is the smallest power of two `s` with m / s ≤ c; the nearest c·s − m of them get s / 2, which uses the
    /// rows up. Where even the coarsest stride takes too much, who was told longest ago comes first.
    #[must_use]
    pub fn new(candidates: &[Candidate], supply: Supply, rows_max: usize) -> Plan {
        let all = candidates.len().min(VIEW_ENTITIES_MAX);
        if candidates.len() == all && all <= (supply.bits / supply.near_row).min(rows_max) {
            return Plan { near: u64::MAX, middle: u64::MAX, kept: u64::MAX, stride: 1 };
        }
        let (near, spare) = supply.rows(rows_max);
        let near = near.min(all);
        let kept = all.min(supply.kept).min(near + (rows_max - near).max(1) * STRIDE_MAX as usize).max(near);
        let rest = kept - near;
        let stride = rest.div_ceil(spare).next_power_of_two().clamp(2, STRIDE_MAX as usize);
        let middle = near + (spare * stride).saturating_sub(rest).min(rest);
        let [near, middle, kept] = cuts(candidates, [near, middle, kept]);
        Plan { near, middle, kept, stride: stride as u64 }
    }

    /// Whether it is updated on every tick.
    #[must_use]
    pub fn is_near(&self, candidate: &Candidate) -> bool {
        candidate.rank < self.near
    }

    /// Every how many ticks it is updated, a power of two; `None` if it is not to be held.
    #[must_use]
    pub fn stride(&self, candidate: &Candidate) -> Option<u64> {
        match candidate.rank {
            rank if rank < self.near => Some(1),
            rank if rank < self.middle => Some(self.stride / 2),
            rank if rank < self.kept => Some(self.stride),
            _ => None,
        }
    }
}

/// What a tick has for rows, and what they cost; all in one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supply {
    /// For all.
    pub bits: usize,
    /// A row of the near, above 0.
    pub near_row: usize,
    /// A row of the far, above 0.
    pub far_row: usize,
    /// Who is held at most: it must not move with what rows cost, as an enter costs several of them.
    pub kept: usize,
}

impl Supply {
    /// Rows per tick for the near, who are updated on every one; and for the far, 1 at least. The near get three fifths of
    /// the rows where all cost the same, and fewer the more the far cost, so that these are not left with too little.
    pub fn rows(&self, rows_max: usize) -> (usize, usize) {
        let most = (3 * self.bits / (4 * self.near_row + self.far_row)).min(rows_max * 3 / 5);
        let near = most.min(NEAREST + NEAREST_MARGIN).min(self.bits / self.near_row);
        let spare = (self.bits - near * self.near_row) / self.far_row;
        (near, spare.min(rows_max - near).max(1))
    }
}

/// Buckets of [`cuts`]: few enough to be cleared for every state, enough that a bucket of a large crowd holds few.
const BUCKETS: usize = 512;

/// The ranks below which exactly the first `counts[i]` stand. By counting distances in buckets, so that only those in
/// the bucket of a cut need be compared: a quickselect over all costs several times as much in a crowd.
fn cuts<const N: usize>(candidates: &[Candidate], counts: [usize; N]) -> [u64; N] {
    let farthest = candidates.iter().map(|c| c.rank >> 32).max().unwrap_or(0);
    let shift = (32 + u64::BITS - farthest.leading_zeros()).saturating_sub(BUCKETS.trailing_zeros()).max(32);
    let bucket = |c: &Candidate| (c.rank >> shift) as usize;
    let mut held = [0_u16; BUCKETS];
    // A bucket that is full holds more than anybody is let have.
    candidates.iter().for_each(|c| held[bucket(c)] = held[bucket(c)].saturating_add(1));
    let places = counts.map(|count| {
        let mut before = 0;
        let within = |held: &u16| {
            before += usize::from(*held);
            before > count
        };
        let found = held.iter().position(within);
        found.map(|bucket| (bucket, count - (before - usize::from(held[bucket]))))
    });
    let mut inside: [Vec<u64>; N] = std::array::from_fn(|_| Vec::new());
    for candidate in candidates {
        for (place, inside) in places.iter().zip(&mut inside) {
            if place.is_some_and(|(at, _)| at == bucket(candidate)) {
                inside.push(candidate.rank);
            }
        }
    }
    let mut cut = places.into_iter().zip(&mut inside).map(|(place, inside)| match place {
        Some((_, nth)) => *inside.select_nth_unstable(nth).1,
        None => u64::MAX,
    });
    std::array::from_fn(|_| cut.next().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(handle: usize, distance2: u32) -> Candidate {
        let rank = u64::from(distance2) << 32 | handle as u64;
        Candidate { rank, index: handle as u32, slot: 0 }
    }

    proptest! {
        #[test]
        fn a_plan_fits_its_rows_and_keeps_the_nearest(
            distances in prop::collection::vec(0..1_000_000_u32, 0..2_000),
            bits in 16..6_400_usize,
            near_row in 1..30_usize,
            far_row in 1..60_usize,
            rows_max in 1..400_usize,
            kept in 1..2_000_usize,
        ) {
            let supply = Supply { bits, near_row, far_row, kept };
            let candidates: Vec<Candidate> = distances.iter().enumerate().map(|(i, d)| candidate(i, *d)).collect();
            let plan = Plan::new(&candidates, supply, rows_max);
            let strides: Vec<u64> = candidates.iter().filter_map(|c| plan.stride(c)).collect();
            let per_tick: f64 = strides.iter().map(|stride| 1.0 / *stride as f64).sum();
            prop_assert!(per_tick <= rows_max as f64 + 1.0, "{per_tick} > {rows_max}: {plan:?}");
            let near = candidates.iter().filter(|c| plan.is_near(c)).count();
            let cost = (near * near_row) as f64 + (per_tick - near as f64) * far_row as f64;
            let (most, spare) = supply.rows(rows_max);
            let is_served = strides.len() <= most + spare * STRIDE_MAX as usize;
            prop_assert!(!is_served || cost <= (bits + far_row) as f64, "{cost} > {bits}: {plan:?}");
            prop_assert!(strides.iter().all(|stride| *stride <= STRIDE_MAX), "{plan:?}");
            let mut sorted = candidates.clone();
            sorted.sort_unstable_by_key(|c| c.rank);
            prop_assert!(sorted.is_sorted_by_key(|c| plan.stride(c).unwrap_or(u64::MAX)));
            let all_near = candidates.iter().all(|c| plan.is_near(c));
            prop_assert_eq!(all_near, candidates.len() <= rows_max.min(bits / near_row));
            let by_time = most + (rows_max - most).max(1) * STRIDE_MAX as usize;
            let held = if all_near { candidates.len() } else { candidates.len().min(kept.max(most)).min(by_time) };
            prop_assert_eq!(strides.len(), held);
        }

        #[test]
        fn cuts_count_exactly(
            distances in prop::collection::vec(prop_oneof![0..3_u32, 0..1_000_u32, any::<u32>()], 0..500),
            counts in prop::array::uniform3(0..600_usize),
        ) {
            let candidates: Vec<Candidate> = distances.iter().enumerate().map(|(i, d)| candidate(i, *d)).collect();
            for (cut, count) in cuts(&candidates, counts).into_iter().zip(counts) {
                prop_assert_eq!(candidates.iter().filter(|c| c.rank < cut).count(), count.min(candidates.len()));
            }
        }
    }

    #[test]
    fn nobody_is_lost_in_a_bucket_that_overflows() {
        let candidates: Vec<Candidate> = (0..70_000).map(|i| candidate(i, 1)).collect();
        let [cut] = cuts(&candidates, [56]);
        assert_eq!(candidates.iter().filter(|c| c.rank < cut).count(), 56);
    }
}
