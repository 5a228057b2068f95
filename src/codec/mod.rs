//! Bytes ↔ messages: what clients say and hear (`message`, `wire`), the binary form of `state` (`state`; its rows are
//! `row`, written in `bits`), what the log carries (`record`; commands and objects are `command`), and by what a client goes
//! on (`token`). Pure; the two directions of each format stand side by side. Knows no session.

pub mod bits;
pub mod command;
pub mod message;
mod quick;
pub mod reader;
pub mod record;
pub mod row;
pub mod state;
pub mod token;
pub mod wire;

pub use message::{In, Out};

pub use wire::{Encoding, Heard, Payload, Unreadable};
