//! nearcast
pub mod admit;
pub mod client;
pub mod clock;
pub mod codec;
pub mod limits;
pub mod log;
pub mod planted;
pub mod region;
pub mod session;
pub mod settings;
pub mod space;
pub mod view;
