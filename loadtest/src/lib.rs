//! Load test for nearcast: bots that play recorded people.
//!
//! - [`trace`] reads recorded movement from files.
//! - [`cut`] finds scenes in it: windows in which the same people are there all the time.
//! - `track` plays one person of a scene to and fro, for ever.
//! - [`scene`] holds the scenes and the agents that play them.
//! - [`crowd`] lays out any number of agents, and says what such a crowd is like.

pub mod crowd;
pub mod cut;
pub mod scene;
pub mod trace;
mod track;
