//! What is due when. Times are fixed in advance: what is done late is still dated by when it was due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Duty {
    /// Say where the avatar is.
    Move,
    /// Ask for the gateway's clock.
    Ping,
    /// Say bye.
    Leave,
    /// Audit the view.
    Look,
    /// Do something with what lies about.
    Use,
}

/// A duty of one bot's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    /// When, µs.
    pub(super) at_us: u64,
    /// Of which bot.
    pub(super) bot: u32,
    /// In which of its sessions; a duty of an earlier one is dropped.
    pub(super) session: u32,
    /// What.
    pub(super) duty: Duty,
}

/// Duties, the earliest first. Bounded: each session has five at most.
#[derive(Debug, Default)]
pub(super) struct Schedule(BinaryHeap<Reverse<Due>>);

impl Schedule {
    pub(super) fn push(&mut self, due: Due) {
        self.0.push(Reverse(due));
    }

    /// The next one, if its time has come.
    pub(super) fn pop(&mut self, now_us: u64) -> Option<Due> {
        if self.next_us()? > now_us {
            return None;
        }
        self.0.pop().map(|Reverse(due)| due)
    }

    /// When the next one is due, µs.
    pub(super) fn next_us(&self) -> Option<u64> {
        self.0.peek().map(|Reverse(due)| due.at_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duties_come_in_order_and_not_before_their_time() {
        let mut schedule = Schedule::default();
        for at_us in [30, 10, 20] {
            schedule.push(Due { at_us, bot: 0, session: 0, duty: Duty::Move });
        }
        assert_eq!(schedule.pop(9), None);
        let order: Vec<u64> = std::iter::from_fn(|| schedule.pop(25)).map(|due| due.at_us).collect();
        assert_eq!(order, [10, 20]);
        assert_eq!(schedule.next_us(), Some(30));
    }
}
