//! From records to frames. `submit` is what sessions ask; `owned` speaks for this gateway's avatars and `batch` puts
//! their samples into records; `reading` decides from where a partition is read, `fold` makes the state of its
//! motion and `commands` that of its commands, with `dedupe` and `objects`, which `story` reads and keeps by `snapshot`s;
//! `pending` knows which commands wait for an answer, `sessions` folds who may go on as which session, `tells` what users are told, and `openings` asks both,
//! `recall` reads once more what somebody missed,
//! `peers` knows the other gateways' clocks; `world` holds all of them for one world and writes to the log, `polled` takes
//! what comes from there, `upkeep` is what is due now and then, `errands` what gateways do of themselves with objects,
//! `freeze` makes its ticks, as `frame` and `display` have them. Pure: time comes in as an argument, the log as a polled
//! contract.

pub mod batch;
pub mod commands;
pub mod dedupe;
pub mod display;
mod errands;
pub mod fold;
pub mod frame;
mod freeze;
pub mod handles;
pub mod objects;
mod openings;
pub mod owned;
pub mod peers;
pub mod pending;
mod polled;
pub mod reading;
pub mod recall;
#[cfg(test)]
mod script;
pub mod sessions;
pub mod snapshot;
pub mod story;
pub mod submit;
pub mod tells;
mod upkeep;
pub mod world;

pub use frame::Tick;
pub use submit::{Answer, Answered, Facts, Letter, Opened, Submit};
pub use world::{Kept, World};
