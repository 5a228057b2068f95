//! The log on disk where the disk breaks: power loss, damage, a full disk, a sync that fails.

#[path = "simulation/rng.rs"]
#[expect(dead_code, reason = "the simulation uses the rest")]
mod rng;
#[path = "support/sim_files.rs"]
mod sim_files;

use std::collections::BTreeMap;

use bytes::Bytes;
use nearcast::log::disk::batch::Lane;
use nearcast::log::disk::desk::{Desk, Request};
use nearcast::log::disk::recover::{Torn, Unfit};
use nearcast::log::disk::store::{Record, Refused, Sizes, Store};
use nearcast::log::{Fault, Outcome, Polled, Source, Ticket, Topic};
use rng::Rng;
use sim_files::SimFiles;

const SIZES: Sizes = Sizes { segment: 2_000, mark: 300 };
const NOW_MS: i64 = 1_790_000_000_000;

fn lane(partition: u16) -> Lane {
    Lane { world: 1, source: Source { topic: Topic::Events, partition } }
}

type SimStore = Store<SimFiles>;

fn open(files: &SimFiles) -> Result<(SimStore, Option<Torn>), Unfit> {
    let (mut store, torn) = Store::open(files.clone(), SIZES)?;
    assert_eq!(store.world("plaza"), 1);
    Ok((store, torn))
}

/// A log with so many batches of one to three records in four lanes; all records by lane.
fn filled(files: &SimFiles, batches: usize, rng: &mut Rng) -> Vec<Vec<Bytes>> {
    let (mut store, _) = open(files).expect("an empty log");
    let mut all = vec![Vec::new(); 4];
    for _ in 0..batches {
        let records = some(rng);
        store.commit(&records, NOW_MS).expect("nothing is wrong");
        records.into_iter().for_each(|(lane, bytes)| all[usize::from(lane.source.partition)].push(bytes));
    }
    all
}

fn some(rng: &mut Rng) -> Vec<(Lane, Bytes)> {
    let count = rng.between(1, 3);
    let mut record = || {
        let len = [0, 7, 90, 700][rng.below(4) as usize];
        (lane(rng.below(4) as u16), (0..len).map(|_| rng.next() as u8).collect())
    };
    (0..count).map(|_| record()).collect()
}

fn all_of(store: &mut SimStore) -> Vec<Vec<Bytes>> {
    let of = |partition| bodies(store.read(lane(partition), 0, usize::MAX, usize::MAX).expect("readable"));
    (0..4).map(of).collect()
}

fn bodies(records: Vec<Record>) -> Vec<Bytes> {
    records.into_iter().map(|(_, _, bytes)| bytes).collect()
}

/// Whether each lane has the beginning of what was written to it; how many records are missing.
fn missing(found: &[Vec<Bytes>], written: &[Vec<Bytes>]) -> Option<usize> {
    let of =
        |(found, written): (&Vec<Bytes>, &Vec<Bytes>)| written.starts_with(found).then(|| written.len() - found.len());
    found.iter().zip(written).map(of).sum()
}

#[test]
fn what_was_acknowledged_survives_power_loss_and_what_was_not_is_whole_or_not_there() {
    for seed in 0..300 {
        let (mut rng, files) = (Rng::new(seed), SimFiles::default());
        let mut written = vec![Vec::new(); 4];
        for round in 0..6 {
            let (mut store, _) = open(&files).unwrap_or_else(|unfit| panic!("seed {seed}, round {round}: {unfit}"));
            assert_eq!(all_of(&mut store), written, "seed {seed}, round {round}");
            for _ in 0..rng.below(12) {
                let records = some(&mut rng);
                store.commit(&records, NOW_MS).expect("nothing is wrong");
                records.into_iter().for_each(|(lane, bytes)| written[usize::from(lane.source.partition)].push(bytes));
            }
            // The power goes while one more is being written, or its sync does not come back.
            let records = some(&mut rng);
            files.disk().bad_sync = true;
            let refused = store.commit(&records, NOW_MS).expect_err("the sync failed");
            assert!(matches!(refused, Refused::Unknown(_)), "{refused}");
            files.crash(&mut rng);
            let (mut store, _) = open(&files).unwrap_or_else(|unfit| panic!("seed {seed}, round {round}: {unfit}"));
            let found = all_of(&mut store);
            let mut with_it = written.clone();
            records.into_iter().for_each(|(lane, bytes)| with_it[usize::from(lane.source.partition)].push(bytes));
            assert!(found == written || found == with_it, "seed {seed}, round {round}: a part of a batch");
            written = found;
        }
    }
}

#[test]
fn a_cut_anywhere_in_the_last_batches_loses_only_what_is_behind_it() {
    let (mut rng, files) = (Rng::new(1), SimFiles::default());
    let written = filled(&files, 40, &mut rng);
    let last = files.disk().files.keys().last().expect("segments").clone();
    let whole = files.disk().files[&last].now.clone();
    for len in 0..whole.len() {
        files.disk().files.get_mut(&last).expect("there").now.truncate(len);
        let (mut store, torn) = open(&files).unwrap_or_else(|unfit| panic!("cut to {len}: {unfit}"));
        assert!(missing(&all_of(&mut store), &written).is_some(), "cut to {len}");
        let end = files.disk().files[&last].now.len();
        assert_eq!(torn.map_or(0, |torn| torn.bytes), (len - end) as u64, "what is cut is told");
        files.disk().files.get_mut(&last).expect("there").now.clone_from(&whole);
    }
}

#[test]
fn a_flipped_bit_is_never_taken_for_data() {
    let (mut rng, files) = (Rng::new(2), SimFiles::default());
    let written = filled(&files, 60, &mut rng);
    let names: Vec<String> = files.disk().files.keys().cloned().collect();
    assert!(names.len() > 3, "several segments");
    let mut told = 0;
    for _ in 0..2_000 {
        let name = &names[rng.below(names.len() as u64) as usize];
        let bit = rng.below(files.disk().files[name].now.len() as u64 * 8) as usize;
        let was = files.disk().files[name].clone();
        files.disk().files.get_mut(name).expect("there").now[bit / 8] ^= 1 << (bit % 8);
        match open(&files) {
            Err(Unfit::Damaged { name: of, at, .. }) => {
                assert_eq!(&of, name);
                assert!(at <= bit as u64 / 8, "damage before byte {at} is said to be there");
            }
            Err(Unfit::Unreadable(error)) => panic!("{error}"),
            Ok((mut store, torn)) => {
                // Nothing is behind the last batch to show that it was safe.
                assert!(torn.is_some() && Some(name) == names.last(), "bit {bit} of {name} was not noticed");
                assert!(missing(&all_of(&mut store), &written).is_some_and(|n| n <= 3), "more than one batch is gone");
                told += 1;
            }
        }
        files.disk().files.insert(name.clone(), was);
    }
    assert!(told < 200, "{told} of 2,000 were in the last batch");
}

#[test]
fn zeros_behind_the_end_are_cut() {
    let (mut rng, files) = (Rng::new(3), SimFiles::default());
    let written = filled(&files, 20, &mut rng);
    let last = files.disk().files.keys().last().expect("segments").clone();
    for zeros in [1, 31, 32, 4_096] {
        let longer = files.disk().files[&last].now.len() + zeros;
        files.disk().files.get_mut(&last).expect("there").now.resize(longer, 0);
        let (mut store, torn) = open(&files).expect("nothing safe is damaged");
        assert_eq!(torn.map(|torn| torn.bytes), Some(zeros as u64));
        assert_eq!(all_of(&mut store), written);
    }
}

#[test]
fn a_segment_that_is_missing_doubled_or_empty_is_damage() {
    let (mut rng, files) = (Rng::new(4), SimFiles::default());
    filled(&files, 60, &mut rng);
    let whole = files.disk().files.clone();
    let names: Vec<String> = whole.keys().cloned().collect();
    let is_damaged = |what: &str| {
        let opened = open(&files);
        assert!(matches!(opened, Err(Unfit::Damaged { .. })), "{what}: {:?}", opened.map(|(_, torn)| torn));
        files.disk().files.clone_from(&whole);
    };
    files.disk().files.remove(&names[1]);
    is_damaged("missing");
    let doubled = whole[&names[1]].clone();
    files.disk().files.insert("00000000000000000002.log".to_owned(), doubled);
    is_damaged("doubled");
    files.disk().files.insert(names[1].clone(), sim_files::Content::default());
    is_damaged("empty in the middle");
    files.disk().files.insert("notes.txt".to_owned(), sim_files::Content::default());
    assert!(open(&files).is_ok(), "what is no segment is left alone");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let (mut rng, files) = (Rng::new(5), SimFiles::default());
    let (mut store, _) = open(&files).expect("an empty log");
    files.disk().room = Some(5_000);
    let (mut written, mut refused) = (vec![Vec::new(); 4], 0);
    for n in 0..200 {
        if n == 100 {
            files.disk().room = None;
        }
        let records = some(&mut rng);
        match store.commit(&records, NOW_MS) {
            Ok(_) => {
                records.into_iter().for_each(|(lane, bytes)| written[usize::from(lane.source.partition)].push(bytes));
            }
            Err(Refused::NeverEntered(_)) if n < 100 => refused += 1,
            Err(other) => panic!("{n}: {other}"),
        }
    }
    assert!(refused > 10, "{refused}");
    assert_eq!(all_of(&mut store), written);
    let (mut store, torn) = open(&files).expect("nothing is damaged");
    assert_eq!((torn, all_of(&mut store)), (None, written));
}

#[test]
fn a_failed_sync_ends_the_log_and_is_not_tried_again() {
    let (mut rng, files) = (Rng::new(6), SimFiles::default());
    let written = filled(&files, 10, &mut rng);
    let (mut store, _) = open(&files).expect("nothing is wrong");
    files.disk().bad_sync = true;
    assert!(matches!(store.commit(&some(&mut rng), NOW_MS), Err(Refused::Unknown(_))));
    let syncs = files.disk().syncs;
    for _ in 0..5 {
        assert!(matches!(store.commit(&some(&mut rng), NOW_MS), Err(Refused::NeverEntered(_))));
    }
    assert_eq!(files.disk().syncs, syncs);
    assert_eq!(all_of(&mut store), written, "what is safe is still read");
}

#[test]
fn what_nobody_wants_goes_segment_by_segment_and_offsets_go_on() {
    let (mut rng, files) = (Rng::new(7), SimFiles::default());
    let written = filled(&files, 60, &mut rng);
    let (mut store, _) = open(&files).expect("nothing is wrong");
    let before = store.size().1;
    for (partition, written) in (0..).zip(&written) {
        store.advance(lane(partition), written.len() as u64 - 1).expect("removed");
    }
    assert!(store.size().1 < before / 2, "{} of {before} bytes are left", store.size().1);
    store.commit(&[(lane(0), Bytes::from_static(b"new"))], NOW_MS).expect("nothing is wrong");
    for mut store in [store, open(&files).expect("nothing is wrong").0] {
        for (partition, written) in (0..).zip(&written) {
            let (bounds, last) = (store.bounds(lane(partition)), written.len() as u64 - 1);
            assert_eq!((bounds.start, bounds.end), (last, last + 1 + u64::from(partition == 0)));
            let found = bodies(store.read(lane(partition), 0, usize::MAX, usize::MAX).expect("readable"));
            assert_eq!(found[0], written[last as usize]);
        }
    }
}

#[test]
fn a_lane_whose_records_have_all_gone_does_not_begin_anew() {
    let (mut rng, files) = (Rng::new(8), SimFiles::default());
    let written = filled(&files, 60, &mut rng);
    let (mut store, _) = open(&files).expect("nothing is wrong");
    for (partition, written) in (0..).zip(&written) {
        store.advance(lane(partition), written.len() as u64).expect("removed");
    }
    for _ in 0..10 {
        // Until the segment in which lane 3 had its last records is gone, too.
        store.commit(&[(lane(0), vec![7; 700].into())], NOW_MS).expect("nothing is wrong");
        let end = store.bounds(lane(0)).end;
        store.advance(lane(0), end).expect("removed");
    }
    let (store, _) = open(&files).expect("nothing is wrong");
    let end = written[3].len() as u64;
    assert_eq!((store.bounds(lane(3)).start, store.bounds(lane(3)).end), (end, end));
}

#[test]
fn a_time_and_an_offset_are_found_wherever_they_are() {
    let (files, mut times) = (SimFiles::default(), Vec::new());
    let (mut store, _) = open(&files).expect("an empty log");
    for n in 0..100_i64 {
        // Append time may step back.
        let at_ms = NOW_MS + n * 10 - if n % 7 == 0 { 25 } else { 0 };
        store.commit(&[(lane(1), vec![n as u8; 60].into()), (lane(2), Bytes::new())], at_ms).expect("nothing is wrong");
        times.push(at_ms);
    }
    for time in (NOW_MS - 30..NOW_MS + 1_010).step_by(3) {
        let first = times.iter().position(|at| *at >= time).unwrap_or(times.len()) as u64;
        assert_eq!(store.offset_at(lane(1), time).expect("readable"), first, "{time}");
    }
    for from in 0..100_u64 {
        let found = store.read(lane(1), from, 3, usize::MAX).expect("readable");
        let expected: Vec<u64> = (from..100).take(3).collect();
        assert_eq!(found.iter().map(|record| record.0).collect::<Vec<_>>(), expected);
        assert!(found.iter().all(|(offset, _, bytes)| bytes[..] == [*offset as u8; 60]));
    }
}

/// All handles together: what one of them is told of, as an outcome or as a record, is there after any crash.
#[test]
fn nobody_is_told_of_what_a_crash_unmakes() {
    let (mut at, mut polled) = (0, 0);
    for seed in 0..200 {
        let (mut rng, files) = (Rng::new(seed), SimFiles::default());
        let mut told: BTreeMap<(Lane, u64), Bytes> = BTreeMap::new();
        for life in 0..4 {
            let (store, _) = open(&files).unwrap_or_else(|unfit| panic!("seed {seed}, life {life}: {unfit}"));
            let mut desk = Desk::new(store);
            let follow =
                |partition| (9, Request::Follow { lane: lane(partition), from: 0, wish: u64::from(partition) });
            let mut requests: Vec<(u64, Request)> = (0..4).map(follow).collect();
            let mut sent: BTreeMap<Ticket, (Lane, Bytes)> = BTreeMap::new();
            for turn in 0..rng.between(3, 12) {
                for (i, (lane, bytes)) in (0..).zip(some(&mut rng)) {
                    let ticket = Ticket(turn * 10 + i);
                    sent.insert(ticket, (lane, bytes.clone()));
                    requests.push((1 + i % 2, Request::Publish(ticket, lane, bytes)));
                }
                if rng.one_in(8) {
                    files.disk().room = Some(rng.below(6_000) as usize);
                } else if rng.one_in(30) {
                    files.disk().bad_sync = true;
                } else {
                    files.disk().room = None;
                }
                let mut replies = Vec::new();
                desk.turn(requests.drain(..), NOW_MS, &mut replies);
                for (handle, reply) in replies {
                    match reply.polled {
                        Polled::Outcome(ticket, Outcome::At(offset)) => {
                            let (lane, bytes) = sent[&ticket].clone();
                            let offset = offset.expect("the disk says where");
                            let before = told.insert((lane, offset), bytes.clone());
                            assert!(
                                before.is_none_or(|before| before == bytes),
                                "seed {seed}: two at {offset} of {lane}"
                            );
                            at += 1;
                        }
                        Polled::Record { source, offset, bytes, .. } => {
                            assert_eq!(handle, 9);
                            let lane = Lane { world: 1, source };
                            let before = told.insert((lane, offset), bytes.clone());
                            assert!(
                                before.is_none_or(|before| before == bytes),
                                "seed {seed}: two at {offset} of {lane}"
                            );
                            requests.push((9, Request::Polled(1)));
                            polled += 1;
                        }
                        Polled::Outcome(..) | Polled::Fault(Fault::Unreachable(_)) => {}
                        other @ (Polled::Bounds(..) | Polled::OffsetAt(..) | Polled::Fault(_)) => {
                            panic!("seed {seed}: {other:?}")
                        }
                    }
                }
            }
            files.disk().room = None;
            files.crash(&mut rng);
            let (mut store, _) = open(&files).unwrap_or_else(|unfit| panic!("seed {seed}, life {life}: {unfit}"));
            for ((lane, offset), bytes) in &told {
                let found = store.read(*lane, *offset, 1, usize::MAX).expect("readable");
                let is_there = found.first().is_some_and(|(at, _, found)| at == offset && found == bytes);
                assert!(is_there, "seed {seed}, life {life}: {offset} of {lane} is gone, though somebody was told");
            }
        }
    }
    assert!(at > 1_000 && polled > 1_000, "{at} outcomes and {polled} records were told");
}
