//! Where avatars are: `owned` speaks for those of this gateway and `batch` puts their samples into records; `fold` makes the
//! state of a partition, `handles` numbers densely who is in any; `peers` knows the other gateways' clocks.

pub mod batch;
pub mod fold;
pub mod handles;
pub mod owned;
pub mod peers;
