//! System calls the media path needs and the standard library lacks.
//!
//! Everything goes through the safe wrappers of rustix and nix where they have one; the one call
//! without a wrapper is in [`thread`].

pub mod clock;
pub mod limits;
pub mod load;
pub mod socket;
pub mod thread;
