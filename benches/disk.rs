//! The log on disk: what a commit takes, how many records a second that is, what a record takes up, and how long the log
//! takes to open. `cargo bench --bench disk [-- FOLDER]`; without a folder in `target`, so on the disk of this clone. What a
//! sync takes is the disk's: compare within one run.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use nearcast::codec::command::{Command, Deed};
use nearcast::codec::message::Scope;
use nearcast::codec::record::{Record, Stamp, encode};
use nearcast::log::disk::batch::Lane;
use nearcast::log::disk::files::Folder;
use nearcast::log::disk::store::{Sizes, Store};
use nearcast::log::{Source, Topic};
use nearcast::settings::WorldSettings;
use nearcast::space::Pos;

/// Records of a commit: one who waits alone, and as many as may wait while another commit is synced.
const GROUPS: [usize; 4] = [1, 10, 100, 1_000];
/// How long each is measured.
const FOR: Duration = Duration::from_secs(3);
/// So much is written to be opened again.
const FILLED_BYTES: u64 = 100_000_000;

/// A usual action: 16 bytes about it.
fn action(n: u64) -> Bytes {
    let pos = Pos { x: 100, y: 0, z: -700 };
    let deed = Deed::Act { scope: Scope::Nearby, user: 1, name: "wave".into(), data: "at the fountain.".into() };
    let action = Command { session: 1_000_000, n, entity: 2_000_000, trusted: false, pos, from: pos, deed };
    encode(Stamp { gateway: 1, published_us: 1_790_000_000_000_000 }, &Record::Command(action))
}

fn group(records: usize, from: u64) -> Vec<(Lane, Bytes)> {
    let lane = |n: u64| Lane { world: 1, source: Source { topic: Topic::Events, partition: (n % 16) as u16 } };
    (from..from + records as u64).map(|n| (lane(n), action(n))).collect()
}

fn main() -> Result<()> {
    let given = env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let folder = given.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target/disk").into());
    let _ = std::fs::remove_dir_all(&folder);
    let open = || Store::open(Folder::open(&folder)?, Sizes::default());
    let (mut store, _) = open().with_context(|| folder.display().to_string())?;
    store.world("plaza", WorldSettings::plaza().grid)?;
    println!("records a commit   commits   µs p50   µs p99   records/s   bytes/record");
    let mut n = 0;
    for records in GROUPS {
        let (began, before) = (Instant::now(), store.size().1);
        let mut took_us = Vec::new();
        while began.elapsed() < FOR {
            let group = group(records, n);
            n += records as u64;
            let began = Instant::now();
            store.commit(&group, 0)?;
            took_us.push(began.elapsed().as_secs_f64() * 1e6);
        }
        took_us.sort_by(f64::total_cmp);
        let at = |share: f64| took_us[((took_us.len() - 1) as f64 * share) as usize];
        let written = (took_us.len() * records) as f64;
        let (rate, bytes) = (written * 1e6 / took_us.iter().sum::<f64>(), (store.size().1 - before) as f64 / written);
        println!("{records:>16} {:>9} {:>8.0} {:>8.0} {rate:>11.0} {bytes:>14.0}", took_us.len(), at(0.5), at(0.99));
    }
    while store.size().1 < FILLED_BYTES {
        store.commit(&group(1_000, n), 0)?;
        n += 1_000;
    }
    let bytes = store.size().1;
    drop(store);
    let began = Instant::now();
    let (store, _) = open()?;
    let took = began.elapsed().as_secs_f64();
    println!("{n} records, {bytes} bytes: opened in {:.2} s, {:.2} s for 100 MB", took, took * 1e8 / bytes as f64);
    drop(store);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
