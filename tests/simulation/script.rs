//! What goes wrong in a run, and when; drawn from the seed before it starts. A quarter of the runs are calm, so that
//! tight bounds are tested too.

use nearcast::limits::SECOND_US;

use crate::cluster::Where;
use crate::rng::Rng;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The log takes and gives nothing: one partition, or all.
    Stall { partition: Option<u16>, for_us: u64 },
    /// Motion gets lost.
    Lossy { for_us: u64 },
    /// Append times jump.
    Step { ms: i64 },
    /// Retention passes a partition's motion.
    Cut { partition: u16 },
    /// A gateway dies, and comes back later.
    Kill { place: usize, for_us: u64 },
    /// A gateway dies in the midst of writing, after so many changes to its disk; with it the power may go.
    Dies { changes: usize, loses_power: bool },
    /// A gateway's disk is full.
    Full { for_us: u64 },
    /// A sync of a gateway's disk fails.
    BadSync,
    /// A gateway says goodbye and ends, and starts again later.
    Drain { place: usize, for_us: u64 },
    /// Others do so much far off, in one partition.
    Crowd { partition: u16, acts: u64 },
    /// A bot says bye.
    Bye { bot: usize },
    /// A bot's socket is lost, and its gateway notices.
    Lose { bot: usize },
    /// A bot's way is cut, and nobody notices.
    Mute { bot: usize },
}

impl Fault {
    /// How long the log is not itself; it is again before the run gets quiet.
    fn lasts_us(self) -> u64 {
        match self {
            Fault::Stall { for_us, .. } | Fault::Lossy { for_us } | Fault::Full { for_us } => for_us,
            Fault::Step { .. }
            | Fault::Cut { .. }
            | Fault::Kill { .. }
            | Fault::Drain { .. }
            | Fault::Crowd { .. }
            | Fault::Dies { .. }
            | Fault::BadSync
            | Fault::Bye { .. }
            | Fault::Lose { .. }
            | Fault::Mute { .. } => 0,
        }
    }
}

/// The partitions around the places where bots are.
const BUSY: [u16; 6] = [0, 1, 4, 5, 12, 13];

/// Faults in order of time.
pub struct Script {
    faults: Vec<(u64, Fault)>,
}

impl Script {
    /// Draws a script for a run that goes wild for so long.
    pub fn new(mut rng: Rng, log: Where, start_us: u64, wild_us: u64) -> Script {
        let mut faults = Vec::new();
        let mut add = |rng: &mut Rng, fault: Fault, before_end_us: u64| {
            let at = rng.between(6 * SECOND_US, wild_us - before_end_us) / 1_000 * 1_000;
            faults.push((start_us + at, fault));
        };
        for _ in 0..rng.between(2, 8) {
            let bot = rng.below(1_000) as usize;
            let fault = if rng.one_in(2) { Fault::Bye { bot } } else { Fault::Lose { bot } };
            add(&mut rng, fault, SECOND_US);
        }
        let is_calm = log == Where::Broker && rng.one_in(4);
        if !is_calm && rng.one_in(3) {
            for _ in 0..rng.between(1, 6) {
                let crowd = Fault::Crowd { partition: BUSY[rng.below(6) as usize], acts: rng.between(900, 1_500) };
                add(&mut rng, crowd, SECOND_US);
            }
        }
        if log == Where::Disk {
            for fault in draw_for_disk(&mut rng) {
                let before_end_us = 6 * SECOND_US + fault.lasts_us();
                add(&mut rng, fault, before_end_us);
            }
        } else if !is_calm {
            for _ in 0..rng.between(1, 4) {
                let fault = draw(&mut rng);
                add(&mut rng, fault, 2 * SECOND_US + fault.lasts_us());
            }
        }
        faults.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Script { faults }
    }

    /// What goes wrong by now.
    pub fn next(&mut self, now_us: u64) -> Option<Fault> {
        self.faults.pop_if(|(at, _)| *at <= now_us).map(|(_, fault)| fault)
    }
}

fn draw(rng: &mut Rng) -> Fault {
    match rng.below(11) {
        10 => Fault::Drain { place: rng.below(2) as usize, for_us: rng.between(1, 15) * SECOND_US },
        0..3 => Fault::Stall { partition: None, for_us: rng.between(1, 20) * SECOND_US },
        3 | 4 => {
            let partition = Some(BUSY[rng.below(6) as usize]);
            Fault::Stall { partition, for_us: rng.between(1, 12) * SECOND_US }
        }
        5 => Fault::Lossy { for_us: rng.between(1, 4) * SECOND_US },
        6 => Fault::Step { ms: rng.between(0, 7_200_000) as i64 - 3_600_000 },
        7 => Fault::Cut { partition: BUSY[rng.below(6) as usize] },
        8 => Fault::Kill { place: rng.below(2) as usize, for_us: rng.between(1, 15) * SECOND_US },
        _ => Fault::Mute { bot: rng.below(1_000) as usize },
    }
}

/// What goes wrong with a disk. A log that has ended with a sync is ended for good some time later.
fn draw_for_disk(rng: &mut Rng) -> Vec<Fault> {
    let mut faults = Vec::new();
    for _ in 0..rng.between(2, 6) {
        faults.push(match rng.below(9) {
            0..4 => Fault::Dies { changes: rng.below(60) as usize, loses_power: rng.one_in(2) },
            4 | 5 => Fault::Full { for_us: rng.between(500, 6_000) * 1_000 },
            6 | 7 => Fault::BadSync,
            _ => Fault::Kill { place: 0, for_us: rng.between(100, 4_000) * 1_000 },
        });
    }
    faults
}
