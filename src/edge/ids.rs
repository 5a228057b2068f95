//! Numbers for sessions and avatars that no gateway ever gives twice, the same for all worlds of a process: 32 bits of
//! a gateway number, which is the offset of its record in `control`, then 21 bits that count. A number that is half
//! used up is replaced by another.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::message::Id;

const COUNT_BITS: u32 = 21;
/// From here on the next number is asked for; there is room for half a million connections until it must have come.
const RENEW_AT: u64 = 1 << (COUNT_BITS - 1);

/// See the module. Nothing is given before the first number is known.
#[derive(Debug, Default)]
pub struct Ids {
    next: AtomicU64,
}

impl Ids {
    /// Goes on under this gateway number, if another is needed and this one is higher than the last: each world of a gateway
    /// has one.
    pub fn offer(&self, gateway: u32) {
        // 0 is no id: slots that hold nobody have it.
        let renewed = |next| {
            (is_low(next) && u64::from(gateway) >= next.div_ceil(1 << COUNT_BITS))
                .then_some((u64::from(gateway) << COUNT_BITS) + 1)
        };
        let _ = self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, renewed);
    }

    /// A fresh id; `None` while there is no number, or the number is used up.
    pub fn take(&self) -> Option<Id> {
        let unused = |next: u64| (!is_used_up(next)).then_some(next + 1);
        self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, unused).ok()
    }

    /// Whether another number is needed.
    #[must_use]
    pub fn is_low(&self) -> bool {
        is_low(self.next.load(Ordering::Acquire))
    }

    /// Whether there is none left.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        is_used_up(self.next.load(Ordering::Acquire))
    }
}

fn is_used_up(next: u64) -> bool {
    next.is_multiple_of(1 << COUNT_BITS)
}

fn is_low(next: u64) -> bool {
    next % (1 << COUNT_BITS) >= RENEW_AT || is_used_up(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_javascript_and_end_in_time() {
        let ids = Ids::default();
        assert!(ids.is_low());
        assert_eq!(ids.take(), None);
        ids.offer(u32::MAX);
        assert!(!ids.is_low());
        let given: Vec<Id> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!(given.len(), (1 << COUNT_BITS) - 1);
        assert!(given.iter().all(|id| *id > 0 && *id < 1 << 53));
        assert!(ids.is_low() && ids.is_used_up());
    }

    #[test]
    fn a_number_is_taken_once_and_only_when_it_is_needed() {
        let ids = Ids::default();
        ids.offer(7);
        let first = ids.take();
        assert_eq!(first, Some((7 << COUNT_BITS) + 1));
        ids.offer(7);
        ids.offer(8);
        assert_eq!(ids.take(), first.map(|id| id + 1), "another world's number, the same or not");
        while !ids.is_low() {
            ids.take();
        }
        ids.offer(7);
        assert!(ids.is_low(), "7 is in use");
        ids.offer(8);
        assert_eq!(ids.take(), Some((8 << COUNT_BITS) + 1));
        std::iter::from_fn(|| ids.take()).for_each(drop);
        ids.offer(8);
        assert_eq!(ids.take(), None, "8 is used up");
        ids.offer(9);
        assert_eq!(ids.take(), Some((9 << COUNT_BITS) + 1));
    }
}
