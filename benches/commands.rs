//! What keeping commands costs: folding them, hashing what they came to, writing a snapshot of it and reading it back, with
//! many objects in one block. `cargo bench --bench commands`; some seconds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use nearcast::codec::command::{Aim, Command, Deed};
use nearcast::codec::record::{self, Record, Stamp};
use nearcast::region::commands::fold::Commands;
use nearcast::region::commands::objects::id_of;
use nearcast::region::commands::snapshot::{Snapshots, Writing, hash};
use nearcast::space::{Grid, Pos};

const GRID: Grid = Grid { w: 4, h: 4 };
const TURNS: usize = 9;
/// All that is made lies in these regions of the block, so that none is full.
const REGIONS: u64 = 49;

fn command(n: u64, deed: Deed) -> Command {
    let at = n % REGIONS;
    let cm = |index: u64| (index as i32 - 3) * 12_800 + 6_400;
    let pos = Pos { x: cm(at % 7), y: 0, z: cm(at / 7) };
    Command { session: n % 500 + 1, n, entity: n % 500 + 10_000, trusted: true, pos, from: pos, deed }
}

/// A partition with so many objects, as many changed once, and what stands in the log for it.
fn block(objects: u64) -> (Commands, Vec<Vec<u8>>) {
    let field = |n: u64| ("colour".into(), Some(format!("#{:06x}", n * 77_777 % 0x100_0000).into()));
    let create = |n: u64| {
        let text = ("text".into(), Some("a few words that somebody has written on it".into()));
        command(n, Deed::Create { kind: "board".into(), yaw: n as u8, fields: vec![field(n), text] })
    };
    let change = |n: u64| {
        let of = Aim { id: id_of(n, 0), expect: Some(1) };
        Command { n: n + objects, ..command(n, Deed::Change { of, to: None, fields: vec![field(n + 1)] }) }
    };
    let all = (0..objects).map(create).chain((0..objects).map(change));
    let stamp = Stamp { gateway: 1, published_us: 1_790_000_000_000_000 };
    let log: Vec<Vec<u8>> = all.map(|command| record::encode(stamp, &Record::Command(command)).to_vec()).collect();
    let mut commands = Commands::new(GRID, 0);
    commands.start(0, 0, 0);
    replay(&mut commands, &log);
    assert_eq!(commands.objects.iter().count() as u64, objects);
    (commands, log)
}

fn replay(commands: &mut Commands, log: &[Vec<u8>]) {
    for (offset, bytes) in (0..).zip(log) {
        let Ok((_, Record::Command(command))) = record::decode(bytes) else { unreachable!("just written") };
        black_box(commands.fold(offset, &command));
        commands.read(offset);
    }
}

fn median(mut turn: impl FnMut() -> Duration) -> f64 {
    let mut took: Vec<Duration> = (0..TURNS).map(|_| turn()).collect();
    took.sort();
    took[TURNS / 2].as_secs_f64() * 1e3
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    black_box(work());
    began.elapsed()
}

fn main() {
    println!("ms, medians of {TURNS} turns");
    println!("objects  replay of all  freeze    hash  a piece  pieces  snapshot KiB  read back  log KiB");
    for objects in [1_000, 10_000, 50_000] {
        let (commands, log) = block(objects);
        let all = median(|| {
            let mut again = Commands::new(GRID, 0);
            again.start(0, 0, 0);
            timed(|| replay(&mut again, &log))
        });
        let freeze = median(|| timed(|| Writing::of(&commands)));
        let hashed = median(|| timed(|| hash(&commands)));
        let pieces = || {
            let mut writing = Writing::of(&commands).expect("not too many");
            std::iter::from_fn(move || writing.piece()).collect::<Vec<_>>()
        };
        let (written, count) = (pieces(), pieces().len());
        let piece = median(|| {
            let mut writing = Writing::of(&commands).expect("not too many");
            timed(|| writing.piece())
        });
        let back = median(|| {
            timed(|| {
                let mut snapshots = Snapshots::default();
                (0..).zip(&written).for_each(|(at, piece)| {
                    snapshots.take(at, piece.clone());
                });
                let (_, again) = snapshots.state(GRID, 0).expect("whole");
                assert_eq!(again.objects.iter().count() as u64, objects);
            })
        });
        let kib = |bytes: usize| bytes as f64 / 1_024.0;
        let size = kib(written.iter().map(|piece| piece.bytes.len()).sum());
        let logged = kib(log.iter().map(Vec::len).sum());
        println!(
            "{objects:>7} {all:>14.1} {freeze:>7.1} {hashed:>7.1} {piece:>8.2} {count:>7} {size:>13.0} {back:>10.1} {logged:>8.0}"
        );
    }
}
