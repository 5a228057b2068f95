//! Switches that break the core on purpose. They exist only with the cargo feature `planted`, which only the
//! simulation turns on; without it `planted!(…)` is the constant `false`.

/// Whether a planted bug is switched on: `planted!(Ghost)`.
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(feature = "planted")]
        let on = $crate::planted::is_on($crate::planted::Bug::$bug);
        #[cfg(not(feature = "planted"))]
        let on = false;
        on
    }};
}

#[cfg(feature = "planted")]
pub use switch::{Bug, is_on, set};

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    /// What can be broken.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Bug {
        /// A view forgets to tell a leave.
        DroppedLeave,
        /// A view tells an enter twice, in two slots.
        DoubledEnter,
        /// Now and then an action does not come into its ring.
        DroppedEvent,
        /// Two actions swap their places in a ring.
        SwappedOrder,
        /// An older sample replaces a newer one.
        StaleVersion,
        /// Who left stays in the fold.
        Ghost,
        /// A slot is used again without a new generation.
        SlotReused,
        /// Partition time follows append time without a clamp.
        StallRemovesAll,
        /// A snapshot lacks which commands took effect.
        ForgottenWindow,
        /// A snapshot is older than the offset says that it is of.
        OlderSnapshot,
        /// A command sent again takes effect again.
        DoneTwice,
        /// The log on disk acknowledges what it has not synced.
        AckBeforeSync,
        /// It tries a sync that failed again, and believes it then.
        SyncedAgain,
        /// It is opened, and read, with an end that may not be safe.
        TailUnsafe,
        /// It acknowledges what there is no room for.
        FullIsAcknowledged,
        /// It cleans a record out that is wanted.
        CleanedTooMuch,
        /// A session goes on where it was when another opening has won.
        BothLive,
        /// How far a session that goes on was told is ignored.
        CursorsIgnored,
        /// A place is told once, and not when it is another.
        PlaceOnce,
        /// What the ring has no more is taken for nothing.
        RecallForgets,
        /// What the ring has no more is not read.
        RecallRefuses,
    }

    thread_local! {
        static ON: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches one bug on, or all off, for this thread.
    pub fn set(bug: Option<Bug>) {
        ON.set(bug);
    }

    /// Whether a bug is on.
    #[must_use]
    pub fn is_on(bug: Bug) -> bool {
        ON.get() == Some(bug)
    }
}
