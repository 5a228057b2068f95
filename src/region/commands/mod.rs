//! What is said and done: `pending` knows which commands wait for an answer. A `story` reads those of a partition, the newest
//! `snapshot` first, and `fold` makes of them what took effect, each once (`dedupe`): `objects`, and `event`s in a ring;
//! `tells` is the same of what users are told. `recall` reads once more what a ring has no more;
//! `streams` numbers and names them. `display` is what is shown of
//! objects, `errands` what gateways do with them of themselves.

pub mod dedupe;
pub mod display;
pub(super) mod errands;
pub mod event;
pub mod fold;
pub mod objects;
pub mod pending;
pub mod recall;
pub mod snapshot;
pub mod story;
pub mod streams;
pub mod tells;
