//! Clocks the measurements are made on.

use std::ops::Add;

/// A point on the monotonic scale, in nanoseconds since an origin the caller chooses.
///
/// Kernel receive stamps, send times and timers are all moved to this one scale before they get
/// here, so that a step of the wall clock cannot show up as jitter or delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// The origin of the scale.
    pub const ZERO: Self = Self(0);

    /// A point `nanos` after the origin.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A point `millis` after the origin.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Nanoseconds from `earlier` to this point; negative when this point is the earlier one.
    pub const fn nanos_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// The point `nanos` later (earlier when negative).
    #[must_use]
    pub const fn plus_nanos(self, nanos: i64) -> Self {
        Self(self.0 + nanos)
    }
}

impl Add<std::time::Duration> for Time {
    type Output = Self;

    fn add(self, duration: std::time::Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// A 64-bit NTP timestamp: seconds since 1900 in the high word, fraction in the low one
/// (RFC 3550 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Seconds from 1900-01-01 to 1970-01-01.
    const UNIX_EPOCH_S: i64 = 2_208_988_800;

    /// The NTP time of `nanos` nanoseconds after the Unix epoch.
    pub const fn from_unix_nanos(nanos: i64) -> Self {
        let seconds = nanos.div_euclid(1_000_000_000) + Self::UNIX_EPOCH_S;
        let fraction = ((nanos.rem_euclid(1_000_000_000) as u64) << 32) / 1_000_000_000;
        Self(((seconds as u64) << 32) | fraction)
    }

    /// The middle 32 bits, in 1/65536 s: the form of LSR, DLSR and the round-trip time
    /// (RFC 3550 §6.4.1).
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_of_the_unix_epoch_and_of_half_a_second() {
        assert_eq!(NtpTime::from_unix_nanos(0).0, 2_208_988_800 << 32);
        let half = NtpTime::from_unix_nanos(500_000_000);
        assert_eq!(half.0 & 0xffff_ffff, 0x8000_0000);
        assert_eq!(half.middle() & 0xffff, 0x8000);
    }

    #[test]
    fn time_differences_are_signed() {
        let a = Time::from_millis(20);
        let b = a.plus_nanos(-5);
        assert_eq!(a.nanos_since(b), 5);
        assert_eq!(b.nanos_since(a), -5);
        assert_eq!(
            a + std::time::Duration::from_millis(1),
            Time::from_millis(21)
        );
    }
}
