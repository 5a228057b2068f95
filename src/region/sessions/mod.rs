//! Who may go on as which session: `openings` are asked and answered, `fold` says by the records of `direct` who has won.

pub mod fold;
pub(super) mod openings;
