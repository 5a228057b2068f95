//! The whole cluster in one thread over virtual time: two gateways, a log that misbehaves, clients that walk, act, get
//! lost and come back as the sessions that they were, and a checker that looks at every state. Or one gateway on the real log on disk, whose files break.
//! The same seed gives the same run, byte for byte.
//!
//! `SEED=7 cargo test --release --features planted --test simulation -- --nocapture one_seed` tells the story of one run,
//! with `LOG=disk` of one on a disk; `SEEDS=1000` runs more of them.

#![allow(unreachable_pub, reason = "one binary: `pub` says what is for the other files")]

mod bots;
mod bytes;
mod checker;
mod cluster;
mod history;
mod ledger;
mod link;
mod openings;
mod quiet;
mod rng;
mod script;
mod sight;
mod sim_disk;
#[path = "../support/sim_files.rs"]
mod sim_files;
mod sim_log;
mod truth;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::{Cluster, Ended, Where};
use nearcast::planted::{Bug, set};

/// Seeds of one test run.
const SEEDS: u64 = 100;
/// A planted bug must show within so many.
const PLANTED_SEEDS: u64 = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed; a panic of the core is a violation too.
fn run(seed: u64, log: Where) -> Result<Ended, String> {
    catch_unwind(AssertUnwindSafe(|| Cluster::new(seed, log).run())).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        format!("panicked: {}", text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into())).unwrap_or_default())
    })
}

/// Runs a seed twice. What is wrong with it, if anything: a violation, or two runs that differ.
fn twice(seed: u64, log: Where) -> Result<Ended, String> {
    let first = run(seed, log)?;
    if let Some(what) = first.violation {
        return Err(what);
    }
    if run(seed, log)?.trace == first.trace { Ok(first) } else { Err("two runs differ".into()) }
}

#[test]
fn one_seed() {
    let Some(seed) = number("SEED") else { return };
    let log = if std::env::var("LOG").is_ok_and(|log| log == "disk") { Where::Disk } else { Where::Broker };
    let ended = Cluster::new(seed, log).run();
    ended.story.iter().for_each(|line| println!("{line}"));
    println!("{}; refused: {:?}", ended.counts, ended.refusals);
    assert_eq!(ended.violation, None);
}

/// Runs all seeds twice. Refusals that were heard, by code.
fn all_seeds(log: Where) -> BTreeMap<String, u64> {
    let (next, last) = (AtomicU64::new(0), number("SEEDS").unwrap_or(SEEDS));
    let work = || {
        let mut ended = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return ended;
            }
            ended.push((seed, twice(seed, log)));
        }
    };
    let mut ended: Vec<(u64, Result<Ended, String>)> = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|t| t.join().expect("panics of runs are caught")).collect()
    });
    ended.sort_by_key(|(seed, _)| *seed);
    let which = if log == Where::Disk { "LOG=disk " } else { "" };
    let rerun = "cargo test --release --features planted --test simulation -- --nocapture one_seed";
    let (mut failed, mut refusals) = (0, BTreeMap::new());
    for (seed, ended) in ended {
        match ended {
            Ok(ended) => ended.refusals.into_iter().for_each(|(code, n)| *refusals.entry(code).or_default() += n),
            Err(what) => {
                println!("seed {seed}: {what}\n  rerun: {which}SEED={seed} {rerun}");
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 0, "of {last} seeds failed");
    refusals
}

#[test]
fn all_seeds_hold_and_repeat() {
    if number("SEED").is_none() {
        all_seeds(Where::Broker);
    }
}

#[test]
fn all_seeds_hold_and_repeat_on_a_disk() {
    if number("SEED").is_none() {
        let refusals = all_seeds(Where::Disk);
        println!("refused: {refusals:?}");
        for code in ["log_full", "log_down"] {
            assert!(refusals.contains_key(code), "nobody has heard {code}: {refusals:?}");
        }
    }
}

/// After how many seeds a planted bug is found, and as what.
fn found(bug: Bug, log: Where) -> Option<(u64, String)> {
    set(Some(bug));
    let found = (0..PLANTED_SEEDS).find_map(|seed| match run(seed, log) {
        Ok(ended) => ended.violation.map(|what| (seed + 1, what)),
        Err(what) => Some((seed + 1, what)),
    });
    set(None);
    found
}

fn all_are_found(bugs: &[Bug], log: Where) {
    for &bug in bugs {
        let found = found(bug, log);
        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} is not found within {PLANTED_SEEDS} seeds");
    }
}

#[test]
fn every_planted_bug_is_found() {
    let bugs = [
        Bug::DroppedLeave,
        Bug::DoubledEnter,
        Bug::DroppedEvent,
        Bug::SwappedOrder,
        Bug::StaleVersion,
        Bug::Ghost,
        Bug::SlotReused,
        Bug::StallRemovesAll,
        Bug::ForgottenWindow,
        Bug::OlderSnapshot,
        Bug::DoneTwice,
        Bug::BothLive,
        Bug::CursorsIgnored,
        Bug::PlaceOnce,
        Bug::RecallForgets,
        Bug::RecallRefuses,
    ];
    all_are_found(&bugs, Where::Broker);
}

#[test]
fn every_planted_bug_of_the_disk_is_found() {
    let bugs = [Bug::AckBeforeSync, Bug::SyncedAgain, Bug::TailUnsafe, Bug::FullIsAcknowledged, Bug::CleanedTooMuch];
    all_are_found(&bugs, Where::Disk);
}
