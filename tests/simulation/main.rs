//! The whole cluster in one thread over virtual time: two gateways, a log that misbehaves, clients that walk, act, get
//! lost and come back, and a checker that looks at every state. The same seed gives the same run, byte for byte.
//!
//! `SEED=7 cargo test --release --features planted --test simulation -- --nocapture one_seed` tells the story of one run;
//! `SEEDS=1000` runs more of them.

#![allow(unreachable_pub, reason = "one binary: `pub` says what is for the other files")]

mod bots;
mod bytes;
mod checker;
mod cluster;
mod history;
mod ledger;
mod link;
mod quiet;
mod rng;
mod script;
mod sight;
mod sim_log;
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::{Cluster, Ended};
use nearcast::planted::{Bug, set};

/// Seeds of one test run.
const SEEDS: u64 = 100;
/// A planted bug must show within so many.
const PLANTED_SEEDS: u64 = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed; a panic of the core is a violation too.
fn run(seed: u64) -> Result<Ended, String> {
    catch_unwind(AssertUnwindSafe(|| Cluster::new(seed).run())).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        format!("panicked: {}", text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into())).unwrap_or_default())
    })
}

/// What is wrong with a seed, if anything: a violation, or two runs that differ.
fn faults(seed: u64) -> Option<String> {
    let first = match run(seed) {
        Ok(ended) => ended,
        Err(what) => return Some(what),
    };
    if let Some(what) = first.violation {
        return Some(what);
    }
    match run(seed) {
        Ok(second) if second.trace == first.trace => None,
        Ok(_) => Some("two runs differ".into()),
        Err(what) => Some(what),
    }
}

#[test]
fn one_seed() {
    let Some(seed) = number("SEED") else { return };
    let ended = Cluster::new(seed).run();
    ended.story.iter().for_each(|line| println!("{line}"));
    println!("{}", ended.counts);
    assert_eq!(ended.violation, None);
}

#[test]
fn all_seeds_hold_and_repeat() {
    if number("SEED").is_some() {
        return;
    }
    let (next, last) = (AtomicU64::new(0), number("SEEDS").unwrap_or(SEEDS));
    let work = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return failed;
            }
            failed.extend(faults(seed).map(|what| (seed, what)));
        }
    };
    let mut failed: Vec<(u64, String)> = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|t| t.join().expect("panics of runs are caught")).collect()
    });
    failed.sort();
    let rerun = "cargo test --release --features planted --test simulation -- --nocapture one_seed";
    failed.iter().for_each(|(seed, what)| println!("seed {seed}: {what}\n  rerun: SEED={seed} {rerun}"));
    assert!(failed.is_empty(), "{} of {last} seeds failed", failed.len());
}

/// After how many seeds a planted bug is found, and as what.
fn found(bug: Bug) -> Option<(u64, String)> {
    set(Some(bug));
    let found = (0..PLANTED_SEEDS).find_map(|seed| match run(seed) {
        Ok(ended) => ended.violation.map(|what| (seed + 1, what)),
        Err(what) => Some((seed + 1, what)),
    });
    set(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    let bugs = [
        Bug::DroppedLeave,
        Bug::DoubledEnter,
        Bug::SwappedOrder,
        Bug::StaleVersion,
        Bug::Ghost,
        Bug::SlotReused,
        Bug::StallRemovesAll,
        Bug::ForgottenWindow,
        Bug::OlderSnapshot,
        Bug::DoneTwice,
    ];
    for bug in bugs {
        let found = found(bug);
        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} is not found within {PLANTED_SEEDS} seeds");
    }
}
