//! How room is made in the log on disk: what is wanted stays, whatever happens meanwhile, and what is not wanted goes.

#[path = "simulation/rng.rs"]
#[expect(dead_code, reason = "the simulation uses the rest")]
mod rng;
#[path = "support/sim_files.rs"]
mod sim_files;

use std::collections::BTreeMap;

use bytes::Bytes;
use nearcast::log::disk::batch::Lane;
use nearcast::log::disk::recover::{Torn, Unfit};
use nearcast::log::disk::store::{Refused, Sizes, Store};
use nearcast::log::disk::tidy::Tidied;
use nearcast::log::{Source, Topic};
use nearcast::space::Grid;
use rng::Rng;
use sim_files::SimFiles;

const DAY_MS: i64 = 24 * 3_600_000;
const SIZES: Sizes = Sizes { segment: 2_000, segment_ms: DAY_MS, kept_ms: 7 * DAY_MS, mark: 300 };
const NOW_MS: i64 = 1_790_000_000_000;
/// Of a segment, what one piece of cleaning copies: several pieces each.
const PIECE: u64 = 500;

fn lane(partition: u16) -> Lane {
    Lane { world: 1, source: Source { topic: Topic::Events, partition } }
}

fn of(topic: Topic) -> Lane {
    let world = u16::from(topic.is_of_world());
    Lane { world, source: Source { topic, partition: 0 } }
}

type SimStore = Store<SimFiles>;

fn open(files: &SimFiles) -> Result<(SimStore, Option<Torn>), Unfit> {
    let (mut store, torn) = Store::open(files.clone(), SIZES)?;
    assert_eq!(store.world("plaza", Grid { w: 4, h: 4 })?, 1);
    Ok((store, torn))
}

/// Commits one record; its bytes tell where it stands.
fn put(store: &mut SimStore, lane: Lane, len: usize, now_ms: i64) -> Result<u64, Refused> {
    let offset = store.bounds(lane).end;
    store.commit(&[(lane, body(offset, len))], now_ms).map(|offsets| offsets[0])
}

fn body(offset: u64, len: usize) -> Bytes {
    let mut bytes = offset.to_le_bytes().to_vec();
    bytes.resize(8 + len, offset as u8);
    bytes.into()
}

/// Tidies until there is nothing to do; what was made free.
fn tidy(store: &mut SimStore) -> u64 {
    let mut freed = 0;
    for _ in 0..100_000 {
        let tidied = store.tidy(NOW_MS, PIECE);
        assert_eq!(tidied.failed, None);
        freed += tidied.freed;
        if !tidied.more {
            return freed;
        }
    }
    panic!("it never ends");
}

/// All records of a lane are there from its start to its end, each once, and are what was written.
fn is_whole(store: &mut SimStore, lane: Lane) -> Result<(u64, u64), String> {
    let bounds = store.bounds(lane);
    let records = store.read(lane, 0, usize::MAX, usize::MAX).map_err(|error| error.to_string())?;
    let found: Vec<u64> = records.iter().map(|(offset, ..)| *offset).collect();
    if found != (bounds.start..bounds.end).collect::<Vec<_>>() {
        return Err(format!("{lane} is {bounds:?}, but has {found:?}"));
    }
    let is_own = |(offset, _, bytes): &(u64, i64, Bytes)| bytes[..8] == offset.to_le_bytes();
    if !records.iter().all(is_own) {
        return Err(format!("{lane} has something else than was written"));
    }
    Ok((bounds.start, bounds.end))
}

#[test]
fn what_nobody_wants_goes_segment_by_segment_and_offsets_go_on() {
    let files = SimFiles::default();
    let (mut store, _) = open(&files).expect("an empty log");
    for n in 0..240 {
        put(&mut store, lane(n % 4), 100, NOW_MS).expect("nothing is wrong");
    }
    let (before, bytes) = store.size();
    for partition in 0..4 {
        assert_eq!(store.advance(lane(partition), 59), Ok(59));
    }
    assert!(store.advance(lane(0), 61).is_err(), "beyond the end");
    assert_eq!(store.advance(lane(0), 3), Ok(59), "a start does not go back");
    let freed = tidy(&mut store);
    let (after, left) = store.size();
    assert!(after < before && left < bytes / 5, "{left} of {bytes} bytes are left in {after} files");
    assert!(freed + left >= bytes, "{freed} bytes are said to be free");
    assert_eq!(tidy(&mut store), 0, "there is nothing more to do");
    put(&mut store, lane(0), 1, NOW_MS).expect("nothing is wrong");
    for mut store in [store, open(&files).expect("nothing is wrong").0] {
        for partition in 0..4 {
            let end = 60 + u64::from(partition == 0);
            assert_eq!(is_whole(&mut store, lane(partition)), Ok((59, end)));
        }
    }
}

#[test]
fn a_lane_whose_records_have_all_gone_does_not_begin_anew() {
    let files = SimFiles::default();
    let (mut store, _) = open(&files).expect("an empty log");
    for n in 0..120 {
        put(&mut store, lane(n % 4), 100, NOW_MS).expect("nothing is wrong");
    }
    (0..4).for_each(|partition| assert_eq!(store.advance(lane(partition), 30), Ok(30)));
    for _ in 0..30 {
        // Until the segment in which lane 3 had its last records is gone, too.
        let end = put(&mut store, lane(0), 700, NOW_MS).expect("nothing is wrong") + 1;
        assert_eq!(store.advance(lane(0), end), Ok(end));
        tidy(&mut store);
    }
    let (store, _) = open(&files).expect("nothing is wrong");
    assert_eq!((store.bounds(lane(3)).start, store.bounds(lane(3)).end), (30, 30));
}

#[test]
fn a_few_old_records_of_one_lane_do_not_keep_all_of_the_others() {
    let files = SimFiles::default();
    let (mut store, _) = open(&files).expect("an empty log");
    for n in 0..400 {
        // One in forty is of a lane that wants them all.
        let of = if n % 40 == 7 { of(Topic::Direct) } else { lane(n % 3) };
        put(&mut store, of, 100, NOW_MS).expect("nothing is wrong");
    }
    let (_, bytes) = store.size();
    let ends = [0, 1, 2].map(|partition| store.bounds(lane(partition)).end);
    for (partition, end) in (0..).zip(ends) {
        assert_eq!(store.advance(lane(partition), end - 1), Ok(end - 1));
    }
    tidy(&mut store);
    // Of 31 segments 30 are closed; each has a head of some hundred bytes.
    let (_, left) = store.size();
    assert!(left < bytes / 4, "{left} of {bytes} bytes are left");
    for mut store in [store, open(&files).expect("nothing is wrong").0] {
        assert_eq!(is_whole(&mut store, of(Topic::Direct)), Ok((0, 10)));
        for (partition, end) in (0..).zip(ends) {
            assert_eq!(is_whole(&mut store, lane(partition)), Ok((end - 1, end)));
        }
        assert_eq!(tidy(&mut store), 0, "what was cleaned is clean");
        put(&mut store, lane(0), 1, NOW_MS).expect("it goes on");
    }
}

#[test]
fn what_is_cut_by_age_goes_after_seven_days_and_nothing_else() {
    let files = SimFiles::default();
    let (mut store, _) = open(&files).expect("an empty log");
    let all = [Topic::Events, Topic::Objects, Topic::Social, Topic::Direct, Topic::Control].map(of);
    for day in 0..20 {
        for lane in all {
            put(&mut store, lane, 50, NOW_MS + day * DAY_MS).expect("nothing is wrong");
        }
    }
    tidy(&mut store);
    for mut store in [store, open(&files).expect("nothing is wrong").0] {
        for lane in all {
            let (start, end) = is_whole(&mut store, lane).expect("whole");
            // A segment closes after a day, and its records are as old as its last one.
            let is_aged = [Topic::Social, Topic::Direct, Topic::Control].contains(&lane.source.topic);
            let expected = if is_aged { 11..=12 } else { 0..=0 };
            assert!(expected.contains(&start) && end == 20, "{lane}: {start} to {end}");
        }
    }
}

/// Lanes as they should be.
type Model = BTreeMap<Lane, (u64, u64)>;

/// A step of some work: records, starts that move, and tidying. What is sure after it is put into the model.
fn step(store: &mut SimStore, model: &mut Model, wanted: &mut Model, rng: &mut Rng) {
    match rng.below(6) {
        0..3 => {
            let lane = lane([0, 0, 0, 1, 1, 2][rng.below(6) as usize]);
            if let Ok(offset) = put(store, lane, rng.below(300) as usize, NOW_MS) {
                model.entry(lane).or_default().1 = offset + 1;
            }
        }
        3 => {
            // Lane 2 wants all that it has.
            let lane = lane(rng.below(2) as u16);
            let bounds = store.bounds(lane);
            let start = bounds.start + rng.below(bounds.end - bounds.start + 1);
            assert_eq!(store.advance(lane, start), Ok(start));
            wanted.entry(lane).or_default().0 = start;
        }
        _ => drop(store.tidy(NOW_MS, PIECE)),
    }
}

/// What was safe is there, from the start that is wanted at least.
fn is_kept(store: &mut SimStore, model: &Model, wanted: &Model) -> Result<(), String> {
    for (lane, (_, end)) in model {
        let (start, found) = is_whole(store, *lane)?;
        let wanted = wanted.get(lane).map_or(0, |(start, _)| *start);
        if start > wanted || found < *end {
            return Err(format!("{lane} is {start} to {found}, but {wanted} to {end} was safe"));
        }
    }
    Ok(())
}

#[test]
fn a_crash_at_any_change_loses_nothing_that_is_wanted() {
    let (mut cleaned, mut died) = (0, 0);
    for seed in 0..400 {
        let (mut rng, files) = (Rng::new(seed), SimFiles::default());
        let (mut model, mut wanted) = (Model::new(), Model::new());
        for life in 0..5 {
            let opened = open(&files);
            let (mut store, _) = opened.unwrap_or_else(|unfit| panic!("seed {seed}, life {life}: {unfit}"));
            is_kept(&mut store, &model, &wanted).unwrap_or_else(|what| panic!("seed {seed}, life {life}: {what}"));
            // Starts that were not safe have gone back, and what nobody was told of may be there.
            for lane in store.lanes() {
                let bounds = store.bounds(lane);
                model.insert(lane, (bounds.start, bounds.end));
                wanted.insert(lane, (bounds.start, bounds.end));
            }
            files.disk().dies_in = Some(rng.below(120) as usize);
            for _ in 0..150 {
                step(&mut store, &mut model, &mut wanted, &mut rng);
                if files.disk().is_dead {
                    died += 1;
                    break;
                }
            }
            cleaned += files.disk().files.keys().filter(|name| name.ends_with(".cleaned")).count();
            // Killed, or the power went.
            if rng.one_in(2) { files.crash(&mut rng) } else { files.revive() }
        }
    }
    assert!(died > 1_000 && cleaned > 50, "{died} died, {cleaned} of them while they cleaned");
}

/// A log of which a part was cleaned, in several segments.
fn cleaned(files: &SimFiles) -> SimStore {
    let (mut store, _) = open(files).expect("an empty log");
    for n in 0..200 {
        put(&mut store, lane(u16::from(n % 10 == 3)), 100, NOW_MS).expect("nothing is wrong");
    }
    assert_eq!(store.advance(lane(0), 150), Ok(150));
    tidy(&mut store);
    store
}

#[test]
fn damage_to_what_was_cleaned_is_never_taken_for_data() {
    let files = SimFiles::default();
    let mut store = cleaned(&files);
    let written = [0, 1].map(|partition| store.read(lane(partition), 0, usize::MAX, usize::MAX).expect("readable"));
    let names: Vec<String> = files.disk().files.keys().cloned().collect();
    let mut rng = Rng::new(1);
    let mut told = 0;
    let mut check = |files: &SimFiles, name: &String, what: &str| match open(files) {
        Err(Unfit::Damaged { .. }) => {}
        Err(unfit @ (Unfit::Unreadable(_) | Unfit::LaidOut { .. })) => panic!("{unfit}"),
        Ok((mut store, torn)) => {
            assert!(torn.is_some() && Some(name) == names.last(), "{what} of {name} was not noticed");
            for (partition, written) in (0..).zip(&written) {
                let found = store.read(lane(partition), 0, usize::MAX, usize::MAX).expect("readable");
                assert!(written.starts_with(&found) && written.len() <= found.len() + 1, "{what}: {name}");
            }
            told += 1;
        }
    };
    for _ in 0..1_000 {
        let name = &names[rng.below(names.len() as u64) as usize];
        let bit = rng.below(files.disk().files[name].now.len() as u64 * 8) as usize;
        let was = files.disk().files[name].clone();
        files.disk().files.get_mut(name).expect("there").now[bit / 8] ^= 1 << (bit % 8);
        check(&files, name, "a bit");
        files.disk().files.insert(name.clone(), was);
    }
    for name in &names[..names.len() - 1] {
        let was = files.disk().files[name].clone();
        for len in 0..was.now.len() {
            files.disk().files.get_mut(name).expect("there").now.truncate(len);
            check(&files, name, "an end");
            files.disk().files.insert(name.clone(), was.clone());
        }
        files.disk().files.remove(name);
        check(&files, name, "all");
        files.disk().files.insert(name.clone(), was);
    }
    assert!(told < 150, "{told} of 1,000 were in the last batch");
}

#[test]
fn damage_that_is_met_while_cleaning_is_told_and_left_as_it_is() {
    let files = SimFiles::default();
    let (mut store, _) = open(&files).expect("an empty log");
    for n in 0..100 {
        put(&mut store, lane(u16::from(n % 10 == 3)), 100, NOW_MS).expect("nothing is wrong");
    }
    let first = files.disk().files.keys().next().expect("segments").clone();
    files.disk().files.get_mut(&first).expect("there").now[900] ^= 1;
    let before = files.disk().files[&first].now.clone();
    assert_eq!(store.advance(lane(0), 80), Ok(80));
    let tidied: Vec<Tidied> = (0..20).map(|_| store.tidy(NOW_MS, PIECE)).collect();
    let failed: Vec<&String> = tidied.iter().filter_map(|tidied| tidied.failed.as_ref()).collect();
    assert!(failed.len() == 1 && failed[0].contains("checksum"), "{failed:?}");
    assert_eq!(files.disk().files[&first].now, before);
    put(&mut store, lane(0), 1, NOW_MS).expect("the log goes on");
}

#[test]
fn a_full_disk_ends_the_cleaning_until_there_is_room() {
    let files = SimFiles::default();
    let (mut store, _) = open(&files).expect("an empty log");
    for n in 0..100 {
        put(&mut store, lane(u16::from(n % 4 == 3)), 100, NOW_MS).expect("nothing is wrong");
    }
    let (_, bytes) = store.size();
    for room in [0, 50, 150, 400] {
        files.disk().room = Some(bytes as usize + room);
        let start = store.bounds(lane(0)).start + 12;
        assert_eq!(store.advance(lane(0), start), Ok(start));
        let mut tidied = (0..1_000).map(|_| store.tidy(NOW_MS, PIECE));
        let failed = tidied.find_map(|tidied| tidied.failed);
        assert!(failed.is_some(), "with {room} bytes there is room");
        is_whole(&mut store, lane(0)).expect("whole");
        is_whole(&mut store, lane(1)).expect("whole");
        assert!(!files.disk().files.keys().any(|name| name.ends_with(".cleaned")), "the attempt is gone");
    }
    files.disk().room = None;
    assert_eq!(store.advance(lane(0), 74), Ok(74));
    assert!(tidy(&mut store) > bytes / 4);
    for mut store in [store, open(&files).expect("nothing is wrong").0] {
        assert_eq!(is_whole(&mut store, lane(0)), Ok((74, 75)));
        assert_eq!(is_whole(&mut store, lane(1)), Ok((0, 25)));
    }
}
