//! Blocks of ports on nodes. The port space has one fixed grid, RTP in granules of 100 and SIP in
//! granules of 20 ports, the same for every pool; a pod claims the first port of each granule it
//! owns as a host port, so the scheduler keeps two owners of a granule off one node.

use callmeter_api::{
    pool::{Media, Ports},
    worker::PortBlock,
};

/// Ports of an RTP granule.
pub(crate) const RTP_GRANULE: u32 = 100;
/// Ports of a SIP granule; a worker has one.
pub(crate) const SIP_GRANULE: u32 = 20;

/// The blocks that a pool's windows hold for workers of one width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    rtp: Vec<(u16, u16)>,
    sip: Vec<(u16, u16)>,
    health: Vec<u16>,
}

/// A window that holds no block at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the window {window} holds no block for one worker; widen it or reserve less of it")]
pub(crate) struct WindowTooSmall {
    /// `rtp`, `sip` or `health`.
    pub(crate) window: &'static str,
}

/// RTP granules of a worker: two or four ports per endpoint and the headroom, rounded up.
pub(crate) fn granules(endpoints: u32, media: Media, headroom_percent: u8) -> u32 {
    let ports = u64::from(endpoints) * u64::from(media.ports_per_endpoint());
    let with_headroom = ports * (100 + u64::from(headroom_percent));
    with_headroom.div_ceil(100 * u64::from(RTP_GRANULE)) as u32
}

impl Grid {
    /// Cuts the windows into blocks. A window that holds one worker's ports but not its headroom
    /// gives one block without it.
    pub(crate) fn new(ports: &Ports, endpoints: u32, media: Media) -> Result<Self, WindowTooSmall> {
        let (rtp_start, rtp_end) = (u32::from(ports.rtp.start), u32::from(ports.rtp.end));
        let window = (rtp_end + 1).saturating_sub(rtp_start) / RTP_GRANULE;
        let width =
            granules(endpoints, media, ports.rtp.headroom_percent).min(window) * RTP_GRANULE;
        // Headroom may give way, the ports of the endpoints may not (R25, R26).
        let least = u64::from(endpoints) * u64::from(media.ports_per_endpoint());
        let rtp = if u64::from(width) < least {
            Vec::new()
        } else {
            runs(rtp_start, rtp_end, width)
        };
        let sip = runs(
            u32::from(ports.sip.start),
            u32::from(ports.sip.end),
            SIP_GRANULE,
        )
        .into_iter()
        .filter(|(first, last)| {
            !ports
                .reserved
                .iter()
                .any(|port| (first..=last).contains(&port))
        })
        .collect();
        let grid = Self {
            rtp,
            sip,
            health: (ports.health.start..=ports.health.end).collect(),
        };
        let Self { rtp, sip, health } = &grid;
        for (window, empty) in [
            ("rtp", rtp.is_empty()),
            ("sip", sip.is_empty()),
            ("health", health.is_empty()),
        ] {
            if empty {
                return Err(WindowTooSmall { window });
            }
        }
        Ok(grid)
    }

    /// The block of a worker with a pod network: no other worker has its address, so it is the
    /// first one.
    pub(crate) fn first(&self) -> PortBlock {
        self.least_used(&[])
    }

    /// The block with the fewest ports shared with `used`, chosen for each window on its own; the
    /// lowest one of several. Workers so spread over blocks, and any node with room fits.
    pub(crate) fn least_used(&self, used: &[PortBlock]) -> PortBlock {
        let overlap = |a: (u16, u16), b: (u16, u16)| a.0 <= b.1 && b.0 <= a.1;
        let rtp = least(&self.rtp, |run| {
            used.iter()
                .filter(|b| overlap(run, (b.rtp_start, b.rtp_end)))
                .count()
        });
        let sip = least(&self.sip, |run| {
            used.iter()
                .filter(|b| overlap(run, (b.sip_start, b.sip_end)))
                .count()
        });
        let health = least(&self.health, |port| {
            used.iter().filter(|b| b.health == port).count()
        });
        PortBlock {
            rtp_start: rtp.0,
            rtp_end: rtp.1,
            sip_start: sip.0,
            sip_end: sip.1,
            health,
        }
    }

    /// Whether a block is one of this grid, so that a worker can keep it.
    pub(crate) fn holds(&self, block: &PortBlock) -> bool {
        self.rtp.contains(&(block.rtp_start, block.rtp_end))
            && self.sip.contains(&(block.sip_start, block.sip_end))
            && self.health.contains(&block.health)
    }
}

/// The first ports of the granules of a range, which its owner claims on the node.
pub(crate) fn sentinels(first: u16, last: u16, granule: u32) -> impl Iterator<Item = u16> {
    (first..=last).step_by(granule as usize)
}

fn runs(first: u32, last: u32, width: u32) -> Vec<(u16, u16)> {
    if width == 0 {
        return Vec::new();
    }
    (first..=last)
        .step_by(width as usize)
        .take_while(|start| start + width - 1 <= last)
        .map(|start| (start as u16, (start + width - 1) as u16))
        .collect()
}

/// The item of the lowest cost, the first of several; items are never empty in a [`Grid`].
fn least<T: Copy + Default>(items: &[T], cost: impl Fn(T) -> usize) -> T {
    items
        .iter()
        .copied()
        .min_by_key(|item| cost(*item))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use callmeter_api::pool::{PortRange, RtpPorts};
    use proptest::prelude::*;

    use super::*;

    /// The table of the default windows.
    #[test]
    fn widths_and_blocks_per_node() {
        for (endpoints, media, width, blocks) in [
            (25, Media::Audio, 1, 200),
            (100, Media::Audio, 3, 66),
            (200, Media::Audio, 5, 40),
            (500, Media::Audio, 11, 18),
            (200, Media::AudioVideo, 9, 22),
            (500, Media::AudioVideo, 22, 9),
        ] {
            assert_eq!(granules(endpoints, media, 10), width, "{endpoints}");
            let grid = Grid::new(&Ports::default(), endpoints, media).unwrap();
            assert_eq!(grid.rtp.len(), blocks, "{endpoints}");
            assert_eq!(grid.sip.len(), 57);
        }
    }

    #[test]
    fn the_block_of_500_endpoints_claims_fourteen_ports() {
        let block = Grid::new(&Ports::default(), 500, Media::Audio)
            .unwrap()
            .first();
        let rtp: Vec<_> = sentinels(block.rtp_start, block.rtp_end, RTP_GRANULE).collect();
        assert_eq!(rtp.len() + 2 + 1, 14);
        assert_eq!((rtp[0], rtp[10]), (10_000, 11_000));
        assert_eq!(
            sentinels(block.sip_start, block.sip_end, SIP_GRANULE).collect::<Vec<_>>(),
            [5060]
        );
    }

    #[test]
    fn a_window_without_a_block_is_named() {
        let ports = Ports {
            sip: PortRange {
                start: 5340,
                end: 5359,
            },
            ..Ports::default()
        };
        let refusal = Grid::new(&ports, 25, Media::Audio).unwrap_err();
        assert_eq!(refusal.window, "sip");
        assert!(refusal.to_string().contains("window sip"));
    }

    #[test]
    fn headroom_gives_way_in_a_window_of_one_worker() {
        let ports = Ports {
            rtp: RtpPorts {
                start: 10_000,
                end: 10_099,
                headroom_percent: 10,
            },
            ..Ports::default()
        };
        let block = Grid::new(&ports, 50, Media::Audio).unwrap().first();
        assert_eq!((block.rtp_start, block.rtp_end), (10_000, 10_099));
    }

    /// R25, R26: 100 endpoints take 200 ports with audio, 400 with audio and video.
    #[test]
    fn endpoints_with_video_take_four_ports() {
        for (media, ports) in [(Media::Audio, 200), (Media::AudioVideo, 400)] {
            let window = |size: u16| Ports {
                rtp: RtpPorts {
                    start: 10_000,
                    end: 10_000 + size - 1,
                    headroom_percent: 0,
                },
                ..Ports::default()
            };
            assert_eq!(granules(100, media, 0) * RTP_GRANULE, ports);
            let block = Grid::new(&window(ports as u16), 100, media)
                .unwrap()
                .first();
            assert_eq!(u32::from(block.rtp_end - block.rtp_start) + 1, ports);
            let refusal = Grid::new(&window(ports as u16 - 1), 100, media).unwrap_err();
            assert_eq!(refusal.window, "rtp");
        }
    }

    proptest! {
        /// R26: whatever the window, a block holds the ports of its endpoints or there is none.
        #[test]
        fn no_block_is_smaller_than_its_endpoints(
            endpoints in 1_u32..=500,
            video in any::<bool>(),
            granule in 100_u16..300,
            size in 1_u16..3000,
            headroom_percent in 0_u8..=100,
        ) {
            let media = if video { Media::AudioVideo } else { Media::Audio };
            let start = granule * 100;
            let rtp = RtpPorts { start, end: start + size - 1, headroom_percent };
            let ports = Ports { rtp, ..Ports::default() };
            let needed = endpoints * if video { 4 } else { 2 };
            match Grid::new(&ports, endpoints, media) {
                Ok(grid) => for (first, last) in grid.rtp {
                    prop_assert!(u32::from(last - first) + 1 >= needed);
                    prop_assert!(first >= start && last < start + size);
                },
                Err(refusal) => {
                    prop_assert_eq!(refusal.window, "rtp");
                    prop_assert!(u32::from(size) / RTP_GRANULE * RTP_GRANULE < needed);
                }
            }
        }

        #[test]
        fn workers_of_one_pool_spread_evenly(endpoints in 1_u32..500, workers in 1_usize..120) {
            let grid = Grid::new(&Ports::default(), endpoints, Media::Audio).unwrap();
            let mut used = Vec::new();
            for _ in 0..workers {
                let block = grid.least_used(&used);
                prop_assert!(grid.holds(&block));
                prop_assert!(u32::from(block.rtp_start) % RTP_GRANULE == 0);
                prop_assert!(u32::from(block.rtp_end - block.rtp_start) + 1 >= endpoints * 2);
                prop_assert!(block.rtp_start >= 10_000 && block.rtp_end <= 29_999);
                prop_assert!(![5353, 5355, 5473, 6081].iter().any(|p| (block.sip_start..=block.sip_end).contains(p)));
                used.push(block);
            }
            let uses = |run: &(u16, u16)| used.iter().filter(|b| b.rtp_start == run.0).count();
            let counts: Vec<_> = grid.rtp.iter().map(uses).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }

        #[test]
        fn pools_of_different_widths_avoid_each_other(first in 1_u32..500, second in 1_u32..500) {
            let a = Grid::new(&Ports::default(), first, Media::Audio).unwrap().first();
            let b = Grid::new(&Ports::default(), second, Media::Audio).unwrap().least_used(&[a]);
            prop_assert!(a.rtp_end < b.rtp_start || b.rtp_end < a.rtp_start);
            prop_assert!(a.sip_start != b.sip_start && a.health != b.health);
        }
    }
}
