//! Numbers for sessions and avatars that no gateway ever gives twice: 32 bits of the gateway's number, which is the
//! offset of its record in `control`, then 21 bits that count. A number that is used up is replaced by another.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::message::Id;

const COUNT_BITS: u32 = 21;
/// From here on the next number is asked for; there is room for a million sessions until it must have come.
const RENEW_AT: u64 = 1 << (COUNT_BITS - 1);

/// See the module. Nothing is given before the first number is known.
#[derive(Debug, Default)]
pub struct Ids {
    next: AtomicU64,
}

impl Ids {
    /// From now on under this gateway number.
    pub fn renew(&self, gateway: u32) {
        // 0 is no id: slots that hold nobody have it.
        self.next.store((u64::from(gateway) << COUNT_BITS) + 1, Ordering::Release);
    }

    /// A fresh id; `None` while there is no number, or the number is used up.
    pub fn take(&self) -> Option<Id> {
        let unused = |next: u64| (next != 0 && !next.is_multiple_of(1 << COUNT_BITS)).then_some(next + 1);
        self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, unused).ok()
    }

    /// Whether another number is needed.
    #[must_use]
    pub fn is_low(&self) -> bool {
        let next = self.next.load(Ordering::Acquire);
        next % (1 << COUNT_BITS) >= RENEW_AT || next.is_multiple_of(1 << COUNT_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_javascript_and_end_in_time() {
        let ids = Ids::default();
        assert!(ids.is_low());
        assert_eq!(ids.take(), None);
        ids.renew(u32::MAX);
        assert!(!ids.is_low());
        let given: Vec<Id> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!(given.len(), (1 << COUNT_BITS) - 1);
        assert!(given.iter().all(|id| *id > 0 && *id < 1 << 53));
        assert!(ids.is_low());
        ids.renew(7);
        assert_eq!(ids.take(), Some((7 << COUNT_BITS) + 1));
    }
}
