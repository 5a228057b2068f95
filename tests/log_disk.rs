//! The log on disk where the disk breaks: power loss, damage, a full disk, a sync that fails. How room is made in it is tested
//! in `log_tidy.rs`.

#[path = "simulation/rng.rs"]
#[expect(dead_code, reason = "the simulation uses the rest")]
mod rng;
#[path = "support/sim_files.rs"]
mod sim_files;

use std::collections::BTreeMap;

use bytes::Bytes;
use nearcast::limits::{DISK_PROBE_MS, DISK_ROOM_BYTES};
use nearcast::log::disk::batch::Lane;
use nearcast::log::disk::desk::{Desk, Reply, Request};
use nearcast::log::disk::recover::{Torn, Unfit};
use nearcast::log::disk::store::{Record, Refused, Sizes, Store};
use nearcast::log::{Fault, Health, Outcome, Polled, Source, Ticket, Topic};
use nearcast::space::Grid;
use rng::Rng;
use sim_files::{Content, SimFiles};

const SIZES: Sizes = Sizes { segment: 2_000, segment_ms: i64::MAX, kept_ms: i64::MAX, mark: 300 };
const NOW_MS: i64 = 1_790_000_000_000;

fn lane(partition: u16) -> Lane {
    Lane { world: 1, source: Source { topic: Topic::Events, partition } }
}

type SimStore = Store<SimFiles>;

fn open(files: &SimFiles) -> Result<(SimStore, Option<Torn>), Unfit> {
    let (mut store, torn) = Store::open(files.clone(), SIZES)?;
    assert_eq!(store.world("plaza", Grid { w: 4, h: 4 })?, 1);
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
    let of = |batches| {
        let files = SimFiles::default();
        let written = filled(&files, batches, &mut Rng::new(1));
        let (last, content) = files.disk().files.pop_last().expect("segments");
        files.disk().files.insert(last.clone(), content.clone());
        (files, written, last, content.now)
    };
    let has_three = |whole: &[u8]| whole.windows(4).filter(|bytes| bytes == b"NCB1").count() >= 3;
    let (files, written, last, whole) =
        (40..).map(of).find(|(.., whole)| has_three(whole)).expect("the last three batches are in one segment");
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
            Err(unfit @ (Unfit::Unreadable(_) | Unfit::LaidOut { .. })) => panic!("{unfit}"),
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

fn store_batches(files: &SimFiles) -> u64 {
    Store::look(files.clone(), SIZES).expect("nothing is wrong").0.batches()
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
    files.disk().files.insert(names[1].clone(), Content::default());
    is_damaged("empty in the middle");
    files.disk().files.remove(&names[0]);
    is_damaged("the first is missing");
    files.disk().files.insert(names[0].clone(), Content::default());
    is_damaged("the first is empty");
    // As after a crash between its making and its first batch.
    let written = all_of(&mut open(&files).expect("nothing is wrong").0);
    let behind = format!("{:020}.log", store_batches(&files) + 1);
    files.disk().files.insert(behind, Content::default());
    let (mut store, torn) = open(&files).expect("an empty last one is no damage");
    assert_eq!((torn, all_of(&mut store)), (None, written));
    store.commit(&[(lane(0), Bytes::from_static(b"new"))], NOW_MS).expect("it is used");
    files.disk().files.clone_from(&whole);
    files.disk().files.insert("notes.txt".to_owned(), Content::default());
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
            Err(Refused::Full(_)) if n < 100 => refused += 1,
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

/// A process is killed between writing and syncing, or its sync fails: the system still has what it wrote, and a second
/// process reads it. Then the power goes.
#[test]
fn what_is_read_after_a_kill_survives_power_loss() {
    for (seed, syncs) in [(0, 0), (1, 1)] {
        let (mut rng, files) = (Rng::new(10 + seed), SimFiles::default());
        filled(&files, 10, &mut rng);
        let (mut store, _) = open(&files).expect("nothing is wrong");
        let records = some(&mut rng);
        if syncs == 0 {
            // The next change but one: the batch is written, and not synced.
            files.disk().dies_in = Some(1);
        } else {
            files.disk().bad_sync = true;
        }
        assert!(matches!(store.commit(&records, NOW_MS), Err(Refused::Unknown(_))));
        files.revive();
        let (mut store, torn) = open(&files).expect("nothing is damaged");
        let read = all_of(&mut store);
        let (of, bytes) = records.last().expect("at least one");
        assert_eq!((torn, read[usize::from(of.source.partition)].last()), (None, Some(bytes)));
        files.crash(&mut rng);
        assert_eq!(all_of(&mut open(&files).expect("nothing is damaged").0), read, "{syncs}");
    }
}

/// What one handle is told in one turn: how the log is, and what became of its records.
fn told(desk: &mut Desk<SimFiles>, requests: Vec<(u64, Request)>, now_ms: i64) -> Vec<Polled> {
    let mut replies = Vec::new();
    desk.turn(requests, now_ms, &mut replies);
    let polled = |(_, reply)| if let Reply::Polled(polled) = reply { Some(polled) } else { None };
    let is_why = |polled: &Polled| matches!(polled, Polled::Fault(Fault::Unreachable(_)));
    replies.into_iter().filter_map(polled).filter(|polled| !is_why(polled)).collect()
}

fn publish(ticket: u64, bytes: usize) -> Vec<(u64, Request)> {
    vec![(1, Request::Publish(Ticket(ticket), lane(0), vec![7; bytes].into()))]
}

#[test]
fn a_log_says_that_it_is_full_and_when_there_is_room() {
    let health = |health| Polled::Fault(Fault::Health(health));
    let outcome = |ticket, outcome| Polled::Outcome(Ticket(ticket), outcome);
    let files = SimFiles::default();
    let mut desk = Desk::new(open(&files).expect("an empty log").0);
    assert_eq!(told(&mut desk, publish(0, 9), NOW_MS), [outcome(0, Outcome::At(Some(0)))]);
    files.disk().room = Some(1_000);
    let full = [health(Health::Full), outcome(1, Outcome::NeverEntered)];
    assert_eq!(told(&mut desk, publish(1, 1_000), NOW_MS), full);
    // Small ones would fit. They are not tried until there is room for many.
    let written = files.disk().files.clone();
    assert_eq!(told(&mut desk, publish(2, 1), NOW_MS), [outcome(2, Outcome::NeverEntered)]);
    files.disk().room = Some(DISK_ROOM_BYTES);
    assert_eq!(told(&mut desk, publish(3, 1), NOW_MS + DISK_PROBE_MS), [outcome(3, Outcome::NeverEntered)]);
    assert!(desk.waits_for_room());
    // One that comes now is told.
    let bounds = Polled::Bounds(lane(1).source, desk.store.bounds(lane(1)));
    let asked = vec![(2, Request::Bounds(lane(1)))];
    assert_eq!(told(&mut desk, asked, NOW_MS + DISK_PROBE_MS), [health(Health::Full), bounds]);
    files.disk().room = None;
    assert_eq!(told(&mut desk, Vec::new(), NOW_MS + 2 * DISK_PROBE_MS - 1), [], "it does not look all the time");
    assert_eq!(files.disk().files.len(), written.len());
    assert!(files.disk().files.values().zip(written.values()).all(|(now, before)| now.now == before.now));
    let well = [health(Health::Well), health(Health::Well), outcome(4, Outcome::At(Some(1)))];
    assert_eq!(told(&mut desk, publish(4, 1_000), NOW_MS + 2 * DISK_PROBE_MS), well, "both handles hear it");
}

#[test]
fn a_log_says_that_it_is_down_and_is_read_all_the_same() {
    let files = SimFiles::default();
    let mut desk = Desk::new(open(&files).expect("an empty log").0);
    assert_eq!(told(&mut desk, publish(0, 9), NOW_MS), [Polled::Outcome(Ticket(0), Outcome::At(Some(0)))]);
    files.disk().bad_sync = true;
    let down = Polled::Fault(Fault::Health(Health::Down));
    let unknown = Polled::Outcome(Ticket(1), Outcome::Unknown);
    assert_eq!(told(&mut desk, publish(1, 9), NOW_MS), [down, unknown]);
    let syncs = files.disk().syncs;
    for n in 2..9 {
        let later_ms = NOW_MS + n as i64 * DISK_PROBE_MS;
        let refused = [Polled::Outcome(Ticket(n), Outcome::NeverEntered)];
        assert_eq!(told(&mut desk, publish(n, 9), later_ms), refused);
    }
    assert_eq!(files.disk().syncs, syncs, "it is not tried again");
    let mut replies = Vec::new();
    desk.turn([(1, Request::Follow { lane: lane(0), from: 0, wish: 5 })], NOW_MS, &mut replies);
    let is_record = |reply: &Reply| matches!(reply, Reply::Of(5, Polled::Record { offset: 0, .. }));
    assert!(replies.len() == 1 && is_record(&replies[0].1), "{replies:?}");
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
    let (mut at, mut polled, mut now_ms) = (0, 0, NOW_MS);
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
                // A second a turn, so that a full one looks for room.
                now_ms += DISK_PROBE_MS;
                desk.turn(requests.drain(..), now_ms, &mut replies);
                for (handle, reply) in replies {
                    let (Reply::Polled(polled_now) | Reply::Of(_, polled_now)) = reply else {
                        panic!("seed {seed}: {reply:?}")
                    };
                    match polled_now {
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
                        Polled::Outcome(..) | Polled::Fault(Fault::Unreachable(_) | Fault::Health(_)) => {}
                        other @ (Polled::Bounds(..) | Polled::OffsetAt(..) | Polled::Fetched(_) | Polled::Fault(_)) => {
                            panic!("seed {seed}: {other:?}")
                        }
                    }
                }
            }
            files.disk().room = None;
            files.disk().bad_sync = false;
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

#[test]
fn a_world_keeps_its_partitions() {
    let files = SimFiles::default();
    filled(&files, 60, &mut Rng::new(4));
    let (mut store, _) = Store::open(files.clone(), SIZES).expect("whole");
    let unfit = store.world("plaza", Grid { w: 4, h: 2 }).expect_err("it has others");
    assert!(matches!(&unfit, Unfit::LaidOut { world, .. } if world == "plaza"), "{unfit}");
    assert!(unfit.to_string().contains("[4, 4]") && unfit.to_string().contains("[4, 2]"), "{unfit}");
    assert_eq!(store.world("arena", Grid { w: 4, h: 2 }).expect("it is new"), 2);
    assert_eq!(store.world("plaza", Grid { w: 4, h: 4 }).expect("as before"), 1);
}
