//! From records to frames: `fold` makes one partition's state out of its records, `reading` decides from where a
//! partition is read, `owned` speaks for the avatars of this gateway, `batch` puts their samples into records,
//! `actions` folds events, and `world` holds all of them for one world and freezes `frame`s. Pure: time comes in as an
//! argument, the log as a polled contract.

pub mod actions;
pub mod batch;
pub mod fold;
pub mod frame;
pub mod owned;
pub mod reading;
pub mod world;

pub use frame::{Frame, Tick};
pub use world::World;
