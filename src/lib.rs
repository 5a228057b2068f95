//! nearcast
pub mod codec;
pub mod limits;
pub mod log;
pub mod space;
