//! Audio of the calls: codecs, synthetic speech, tracks that all streams share, levels.
//!
//! A track is encoded once; a stream holds only a cursor into it, so that sending a packet copies
//! octets and computes nothing.

mod level;
mod speech;
mod track;

pub mod g711;

pub use level::LevelMeter;
pub use speech::speech;
pub use track::{Cursor, Track, TrackError};
