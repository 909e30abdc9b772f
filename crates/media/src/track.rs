//! Encoded audio that streams share.

use std::sync::Arc;

use crate::g711::Law;

/// Why audio cannot be cut into packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrackError {
    /// Not even one packet's worth.
    #[error("track of {octets} octets is shorter than a packet of {packet}")]
    TooShort {
        /// Octets given.
        octets: usize,
        /// Octets of one packet.
        packet: usize,
    },
    /// A packet time nobody sends.
    #[error("packet time of {0} ms, accepted are 1 to 200")]
    PacketTime(u32),
}

/// Audio encoded once and cut into the payloads of one packet time; cheap to clone.
#[derive(Debug, Clone)]
pub struct Track {
    octets: Arc<[u8]>,
    packet: usize,
}

impl Track {
    /// Encodes 8 kHz samples for packets of `ptime_ms`, 1..=200. What does not fill a packet at
    /// the end is left out.
    pub fn encode(samples: &[i16], law: Law, ptime_ms: u32) -> Result<Self, TrackError> {
        let octets = samples.iter().map(|sample| law.encode(*sample)).collect();
        Self::new(octets, ptime_ms)
    }

    /// Cuts encoded G.711 (one octet per sample) into packets of `ptime_ms`, 1..=200.
    fn new(octets: Arc<[u8]>, ptime_ms: u32) -> Result<Self, TrackError> {
        if !(1..=200).contains(&ptime_ms) {
            return Err(TrackError::PacketTime(ptime_ms));
        }
        let packet = (Law::RATE / 1000 * ptime_ms) as usize;
        if octets.len() < packet {
            return Err(TrackError::TooShort {
                octets: octets.len(),
                packet,
            });
        }
        Ok(Self { octets, packet })
    }

    /// The same audio in packets of another time.
    pub fn with_packet_time(&self, ptime_ms: u32) -> Result<Self, TrackError> {
        Self::new(Arc::clone(&self.octets), ptime_ms)
    }

    /// Octets of a payload.
    pub fn payload_len(&self) -> usize {
        self.packet
    }

    /// Number of whole packets.
    pub fn packets(&self) -> usize {
        self.octets.len() / self.packet
    }

    /// The payload `cursor` stands at; moves it on, from the last packet to the first.
    pub fn next<'a>(&'a self, cursor: &mut Cursor) -> &'a [u8] {
        let index = cursor.0 as usize % self.packets();
        cursor.0 = index as u32 + 1;
        let start = index * self.packet;
        &self.octets[start..start + self.packet]
    }
}

/// A stream's place in a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor(u32);

impl Cursor {
    /// Somewhere in `track`, decided by `random`, so that not all streams say the same at the same
    /// time.
    pub fn start(track: &Track, random: u64) -> Self {
        Self((random % track.packets() as u64) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_follow_each_other_around() {
        let samples: Vec<i16> = (0..500).map(|n| n * 60).collect();
        let track = Track::encode(&samples, Law::A, 20).unwrap();
        assert_eq!((track.payload_len(), track.packets()), (160, 3));
        let mut cursor = Cursor::start(&track, 5);
        let second_last = track.next(&mut cursor).to_vec();
        assert_eq!(second_last[0], Law::A.encode(samples[320]));
        assert_eq!(track.next(&mut cursor)[0], Law::A.encode(samples[0]));
        assert_eq!(track.next(&mut cursor)[159], Law::A.encode(samples[319]));
        let long = track.with_packet_time(60).unwrap();
        assert_eq!((long.payload_len(), long.packets()), (480, 1));
        assert_eq!(long.next(&mut cursor)[0], Law::A.encode(samples[0]));
    }

    #[test]
    fn refusals_name_value_and_limits() {
        let short = Track::encode(&[0; 159], Law::Mu, 20);
        assert_eq!(
            short.unwrap_err(),
            TrackError::TooShort {
                octets: 159,
                packet: 160
            }
        );
        let track = Track::encode(&[0; 1600], Law::Mu, 20).unwrap();
        for ptime in [0, 201] {
            let error = track.with_packet_time(ptime).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("packet time of {ptime} ms, accepted are 1 to 200")
            );
        }
    }
}
