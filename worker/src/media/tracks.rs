//! The audio all streams share.

use callmeter_engine::media::Codec;
use callmeter_media::g711::Law;
use callmeter_media::{Track, TrackError, speech};

/// RTP clock of all codecs there are tracks of, in Hz.
pub(super) const CLOCK_RATE: u32 = Law::RATE;
/// Length of the synthetic audio; streams start anywhere in it and go around.
const SECONDS: u32 = 16;
/// The packet time the tracks are kept in; others share the same octets.
const PACKET_MS: u32 = 20;

/// One track per codec, encoded once.
#[derive(Debug, Clone)]
pub(super) struct Tracks {
    a: Track,
    mu: Track,
}

impl Tracks {
    pub(super) fn synthetic(seed: u64) -> Result<Self, TrackError> {
        let samples = speech(seed, SECONDS);
        Ok(Self {
            a: Track::encode(&samples, Law::A, PACKET_MS)?,
            mu: Track::encode(&samples, Law::Mu, PACKET_MS)?,
        })
    }

    /// The track of `codec` in packets of `packet_ms`, 1..=200.
    pub(super) fn get(&self, codec: Codec, packet_ms: u32) -> Result<Track, TrackError> {
        let track = match codec {
            Codec::Pcma => &self.a,
            Codec::Pcmu => &self.mu,
        };
        track.with_packet_time(packet_ms)
    }
}
