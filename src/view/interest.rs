//! Who matters to a viewer: everybody within the radius, with hysteresis; in a crowd, the nearest at the full rate and
//! the rest in strides, as many as the budget can keep fresh.

use super::table::Table;
use crate::codec::message::Id;
use crate::limits::{HYSTERESIS, NEAREST, NEAREST_MARGIN, STRIDE_MAX, VIEW_ENTITIES_MAX};
use crate::region::frame::Tick;
use crate::space::Pos;

/// An entity near enough to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Square of its distance, cm².
    pub distance2: u32,
    /// Index of its frame in the tick; a world has 256 x 256 regions at most.
    pub frame: u16,
    /// Its index in the frame.
    pub index: u32,
    /// The slot that holds it, if one does.
    pub slot: Option<u16>,
    /// The gateway's dense number of it: anchors its strides.
    pub handle: u32,
    /// The tick at which it was last told, if it is held.
    pub told: u64,
    /// Something of it has changed since.
    pub is_news: bool,
}

/// Collects into `out` who is within the radius, and who is held and within 1.1 × the radius; never the viewer.
pub fn gather(me: Id, at: Pos, radius_m: f64, tick: &Tick, table: &Table, out: &mut Vec<Candidate>) {
    out.clear();
    let square = |metres: f64| (metres * 100.0).powi(2) as u64;
    let (inner2, outer2) = (square(radius_m), square(radius_m * HYSTERESIS));
    for region in super::regions(at, radius_m) {
        let Ok(number) = tick.frames.binary_search_by_key(&region, |frame| frame.region) else { continue };
        let frame = &tick.frames[number];
        for (index, spot) in frame.spots.iter().enumerate() {
            let distance2 = spot.pos.distance2(at);
            if distance2 > outer2 {
                continue;
            }
            let slot = table.find(spot.handle, spot.epoch);
            if spot.id != me && (slot.is_some() || distance2 <= inner2) {
                let distance2 = u32::try_from(distance2).unwrap_or(u32::MAX);
                let told = slot.map_or(0, |slot| table.told(slot));
                out.push(Candidate {
                    distance2,
                    frame: number as u16,
                    index: index as u32,
                    slot,
                    handle: spot.handle,
                    told,
                    is_news: spot.touched > told,
                });
            }
        }
    }
}

/// How a budget is spread over candidates, who are sorted into the near, two rings of strides, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The first so many are updated on every tick.
    pub near: usize,
    /// Up to here at [`Plan::stride`] / 2.
    middle: usize,
    /// Up to here at the stride; the others are not held.
    pub kept: usize,
    stride: u64,
}

impl Plan {
    /// Makes a plan for `rows_per_tick` and partitions the candidates accordingly.
    ///
    /// The near take three fifths at most. The rest share what is left: with `m` of them and `c` rows per tick, the
    /// stride is the smallest power of two `s` with m / s ≤ c; the nearest c·s − m of them get s / 2, which uses the
    /// rows up. Nobody is held whom a stride of 32 could not serve.
    #[must_use]
    pub fn new(candidates: &mut [Candidate], rows_per_tick: usize) -> Plan {
        let all = candidates.len().min(VIEW_ENTITIES_MAX);
        if candidates.len() == all && all <= rows_per_tick {
            return Plan { near: all, middle: all, kept: all, stride: 1 };
        }
        let near = (NEAREST + NEAREST_MARGIN).min(rows_per_tick * 3 / 5).min(all);
        let spare = (rows_per_tick - near).max(1);
        let kept = all.min(near + spare * STRIDE_MAX as usize);
        nearest_first(candidates, kept);
        nearest_first(&mut candidates[..kept], near);
        let rest = kept - near;
        let stride = rest.div_ceil(spare).next_power_of_two().max(2);
        let middle = near + (spare * stride).saturating_sub(rest).min(rest);
        nearest_first(&mut candidates[near..kept], middle - near);
        Plan { near, middle, kept, stride: stride as u64 }
    }

    /// The stride of the candidate at an index.
    #[must_use]
    pub fn stride(&self, index: usize) -> u64 {
        if index < self.near {
            1
        } else if index < self.middle {
            self.stride / 2
        } else {
            self.stride
        }
    }
}

/// Moves the `n` nearest to the front. Who is not held yet counts as a tenth further away, so that two at the same
/// distance do not take turns.
fn nearest_first(candidates: &mut [Candidate], n: usize) {
    if n > 0 && n < candidates.len() {
        candidates.select_nth_unstable_by_key(n, |c| {
            let distance2 = if c.slot.is_some() { c.distance2 } else { c.distance2 + c.distance2 / 5 };
            (distance2, c.frame, c.index)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plan_fits_its_rows_and_keeps_the_nearest(
            distances in prop::collection::vec(0..1_000_000_u32, 0..2_000),
            rows in 1..400_usize,
        ) {
            let mut candidates: Vec<Candidate> = distances
                .iter()
                .enumerate()
                .map(|(i, d)| Candidate {
                    distance2: *d,
                    frame: 0,
                    index: i as u32,
                    slot: Some(0),
                    handle: i as u32,
                    told: 0,
                    is_news: true,
                })
                .collect();
            let plan = Plan::new(&mut candidates, rows);
            let per_tick: f64 = (0..plan.kept).map(|i| 1.0 / plan.stride(i) as f64).sum();
            prop_assert!(per_tick <= rows as f64 + 1.0, "{per_tick} > {rows}: {plan:?}");
            prop_assert!((0..plan.kept).all(|i| plan.stride(i) <= STRIDE_MAX), "{plan:?}");
            for end in [plan.near, plan.middle, plan.kept] {
                let inside = candidates[..end].iter().map(|c| c.distance2).max().unwrap_or(0);
                let outside = candidates[end..].iter().map(|c| c.distance2).min().unwrap_or(u32::MAX);
                prop_assert!(inside <= outside);
            }
            prop_assert_eq!(plan.kept == candidates.len() && plan.near == plan.kept, candidates.len() <= rows);
        }
    }
}
