//! Load test for nearcast: bots that play recorded people, and judge what they receive.
//!
//! - [`trace`] reads recorded movement from files.
//! - [`cut`] finds scenes in it: windows in which the same people are there all the time.
//! - `track` plays one person of a scene to and fro, for ever.
//! - [`scene`] holds the scenes and the agents that play them; [`catalogue`] finds scenes by name.
//! - [`model`] makes scenes that are like recorded ones.
//! - [`crowd`] lays out any number of agents, and says what such a crowd is like.
//! - [`gateway`] starts and measures the process under test; [`relay`] makes links to it worse; [`scrape`] reads its
//!   metrics.
//! - [`kept`] reads what a gateway has in its data folder.
//! - [`server`] is what can be under test: nearcast, the [`floor`], and peers on other stacks; [`compare`] their table.
//! - [`swarm`] is the bots on real sockets, [`clock`] their time, [`audit`] the judge of what they receive.
//! - [`scenario`] says which bots, for how long, and which figures are wanted; [`trial`] runs one.
//! - [`sheet`] is the figures of a run, the verdict and the table; [`growth`] compares runs; [`demo`] the live view with its [`keeper`], [`mod@bench`] the
//!   medians.
//! - [`book`] keeps what a call found as JSON, with machine and command; [`page`] shows it with plots.
//! - [`curve`] is what bytes buy in precision, offline.

pub mod audit;
pub mod bench;
pub mod book;
pub mod catalogue;
pub mod clock;
pub mod compare;
pub mod crowd;
pub mod curve;
pub mod cut;
pub mod demo;
pub mod floor;
pub mod gateway;
pub mod growth;
pub mod http;
pub mod keeper;
pub mod kept;
pub mod model;
pub mod page;
pub mod relay;
pub mod scenario;
pub mod scene;
pub mod scrape;
pub mod server;
pub mod sheet;
pub mod swarm;
pub mod trace;
mod track;
pub mod trial;
