//! What a view tells, on small budgets and in many regions.

use super::*;
use crate::client::Mirror;
use crate::codec::bits::Put;
use crate::limits::{BUDGET_MIN, ROWS_MAX, TICK_US};
use crate::region::frame::{Entity, PartitionStatus, Spot};
use crate::space::{Grid, Region};
use budget::Budget;
use proptest::prelude::*;

/// A tick at which nobody is there, of a world of one partition.
fn known(number: u64) -> Tick {
    let partitions = vec![PartitionStatus { complete: true, ..PartitionStatus::default() }];
    Tick { partitions, events: vec![None], ..Tick::empty(number, Grid { w: 1, h: 1 }) }
}

/// A tick at which `n` stand in a row and have just moved and changed; the last has a long profile.
fn crowd(number: u64, n: u64) -> Tick {
    let pos = |i: u64| Pos { x: 1_000 + i as i32, y: 0, z: (number % 100) as i32 };
    let profile = |i: u64| if i + 1 == n { "x".repeat(96) } else { String::new() };
    let entity = |i: u64| Entity {
        yaw: 0,
        teleported: 0,
        moved: number,
        changed: number,
        renamed: number,
        profile: profile(i).into(),
        ..Entity::default()
    };
    let spot = |i: u64| Spot { id: i + 1, touched: number, pos: pos(i), handle: i as u32, epoch: 1, ..Spot::default() };
    known(number).with((0..n).map(|i| (spot(i), entity(i))).collect())
}

#[test]
fn leaves_keep_to_the_budget_and_those_that_wait_stay_held() {
    for encoding in Encoding::ALL {
        let (mut view, mut delta) = (View::new(encoding), Delta::default());
        let (mut mirror, mut context) = (Mirror::default(), crate::codec::state::Context::default());
        let mut reader = crate::codec::state::Known::default();
        let mut step = |number: u64, n: u64, epoch: u16, room: usize| {
            let mut tick = crowd(number, n);
            tick.spots.iter_mut().for_each(|spot| spot.epoch = epoch);
            let turn = Turn {
                tick: &tick,
                me: 999,
                at: Pos::default(),
                complete: true,
                room,
                per_tick: 10_000,
                rows_max: ROWS_MAX,
            };
            let held = view.step(turn, &mut delta).held;
            let payload = encoding.encode_state(&mut context, &delta);
            let crate::codec::Heard::State(read) = encoding.decode_out(&mut reader, payload.bytes()).expect("ours")
            else {
                panic!("it is a state")
            };
            mirror.apply(&read).expect("no contradiction");
            assert_eq!((mirror.digest(), mirror.shown().count()), (view.digest(), held));
            (delta.leaves.len(), delta.enters.len() + delta.updated(), held, payload.framed_len())
        };
        let (.., all, _) = step(1, 200, 1, 100_000);
        assert_eq!(all, 200);
        assert_eq!(step(2, 0, 1, 0).0, 0, "{encoding:?}: no room");
        let (mut left, mut number) = (200, 3);
        // They come back, known by other handles, before the client was told that they went.
        while left > 0 {
            let (leaves, others, held, bytes) = step(number, 200, 2, 300);
            if leaves < left {
                assert_eq!((others, held), (0, left - leaves), "{encoding:?}: leaves come first");
            }
            assert!(leaves > 0 && bytes <= 300, "{encoding:?}: {leaves} leaves in {bytes} bytes");
            (left, number) = (left - leaves, number + 1);
        }
        assert!(number > 5, "{encoding:?}: a state or two had them all");
        assert_eq!(step(number, 200, 2, 100_000).2, 200);
    }
}

proptest! {
    #[test]
    fn gaps_keep_to_what_is_counted(slots in 1..1_000_u16, share in 0.0..1.0_f64, seed: [u8; 32]) {
        use proptest::test_runner::{RngAlgorithm, TestRng};
        let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut bits = Bits::NONE;
        bits.put(0, 3);
        let chosen = (0..slots).filter(|_| f64::from(random.next_u32()) < share * f64::from(u32::MAX));
        let delta = Delta { rows: Rows { shared: chosen.map(|slot| (slot, bits)).collect(), singles: Vec::new() }, ..Delta::default() };
        let rows = delta.rows.shared.len();
        let bytes = Encoding::MessagePack.encode_state(&mut crate::codec::state::Context::default(), &delta).framed_len();
        let counted = Costs::of(Encoding::MessagePack).envelope + usize::from(slots) / SLOTS_PER_GAP_BIT + rows * (GAP + 3);
        prop_assert!(8 * bytes <= counted, "{rows} of {slots} take {bytes} bytes");
    }
}

#[test]
fn a_small_budget_saves_up_for_who_is_missing() {
    for encoding in Encoding::ALL {
        let (mut view, mut budget, mut delta) = (View::new(encoding), Budget::new(0), Delta::default());
        budget.ask(BUDGET_MIN);
        let mut context = crate::codec::state::Context::default();
        for number in 1..200 {
            let room = budget.room(number * TICK_US);
            let n = if number < 100 { 20 } else { 21 };
            let (tick, per_tick) = (&crowd(number, n), budget.per_tick());
            let turn = Turn { tick, me: 99, at: Pos::default(), complete: true, room, per_tick, rows_max: ROWS_MAX };
            view.step(turn, &mut delta);
            if !delta.is_empty() {
                budget.spend(encoding.encode_state(&mut context, &delta).framed_len());
            }
        }
        assert!(!view.is_joining(), "{encoding:?}: never whole");
        assert_eq!(view.held().count(), 21, "{encoding:?}");
    }
}

#[test]
fn a_neighbour_in_the_last_of_many_regions_is_told_of() {
    // One stands in each of 20 x 16 regions of 128 m, too many for a byte; the viewer stands in the last.
    let regions = || (0..20).flat_map(|x| (0..16).map(move |z| Region { x, z }));
    let here = |number: u64| Pos { x: 19 * 12_800 + number as i32, y: 0, z: 15 * 12_800 };
    let avatar = |i: usize, region: Region, number: u64| {
        let is_last = region == Region::of(here(number));
        let pos = if is_last { here(number) } else { Pos { x: region.x * 12_800, y: 0, z: region.z * 12_800 } };
        let entity = Entity {
            yaw: 0,
            teleported: 0,
            moved: number,
            changed: number,
            renamed: number,
            profile: if is_last { "near" } else { "far" }.into(),
            ..Entity::default()
        };
        let spot = Spot {
            id: i as u64 + 1,
            touched: number,
            altered: number,
            pos,
            handle: i as u32,
            epoch: 1,
            ..Spot::default()
        };
        (spot, entity)
    };
    let tick =
        |number: u64| known(number).with(regions().enumerate().map(|(i, region)| avatar(i, region, number)).collect());
    let (mut view, mut delta) = (View::new(Encoding::MessagePack), Delta::default());
    let mut step = |tick: &Tick, delta: &mut Delta| {
        view.step(
            Turn { tick, me: 999, at: here(0), complete: true, room: 10_000, per_tick: 1_000, rows_max: ROWS_MAX },
            delta,
        );
    };
    step(&tick(1), &mut delta);
    let told: Vec<_> = delta.enters.iter().map(|e| (e.entity, &*e.profile, e.row.pos)).collect();
    assert_eq!(told, [(320, "near", here(1))]);
    step(&tick(2), &mut delta);
    let moved: Vec<_> = delta.rows.singles.iter().map(|single| single.told.pos).collect();
    assert_eq!(moved, [here(2)]);
}
