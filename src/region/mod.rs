//! From records to frames. `submit` is what sessions ask. [`world`] holds one world on one gateway and writes to the log;
//! `polled` takes what comes from there, by partitions whose `reading` says from where. Three kinds of records are folded:
//! [`motion`] of avatars, [`commands`] of what is said and done, and what becomes of [`sessions`]. `upkeep` is what is due now
//! and then. `freeze` makes ticks, as `frame` has them. Pure: time comes in as an argument, the log as a polled contract.

pub mod commands;
pub mod frame;
mod freeze;
pub mod motion;
mod polled;
pub mod reading;
#[cfg(test)]
mod script;
pub mod sessions;
pub mod submit;
mod upkeep;
pub mod world;

pub use frame::Tick;
pub use submit::{Answer, Answered, Facts, Letter, Opened, Submit};
pub use world::{Kept, World};
