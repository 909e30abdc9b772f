//! Losses of the last ten seconds, and loss runs.

use crate::QualityWindow;

const SECONDS: usize = 10;

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    expected: u64,
    lost: i64,
    discarded: i64,
    /// Runs of lost or discarded packets that began in it.
    runs: u64,
    mixed: bool,
    silent: bool,
}

/// What the E-model and the loss-run histogram are made of; fed in sequence order.
#[derive(Debug, Clone, Default)]
pub(crate) struct LossWindow {
    seconds: [Second; SECONDS],
    at: usize,
    run: u64,
    runs: [u64; 10],
}

impl LossWindow {
    pub(crate) fn update(&mut self, lost: bool, discarded: bool) {
        let second = &mut self.seconds[self.at];
        second.expected += 1;
        second.lost += i64::from(lost);
        second.discarded += i64::from(discarded);
        if lost || discarded {
            second.runs += u64::from(self.run == 0);
            self.run += 1;
        } else if self.run > 0 {
            self.runs[run_class(self.run)] += 1;
            self.run = 0;
        }
    }

    /// A packet counted as lost, perhaps in an earlier second, came after all.
    pub(crate) fn lost_was_discarded(&mut self) {
        let second = &mut self.seconds[self.at];
        second.lost -= 1;
        second.discarded += 1;
    }

    /// Loss runs by length, the one that may still grow included.
    pub(crate) fn runs(&self) -> [u64; 10] {
        let mut runs = self.runs;
        if self.run > 0 {
            runs[run_class(self.run)] += 1;
        }
        runs
    }

    /// Ends a second and sums the last ten.
    pub(crate) fn end_second(&mut self, mixed: bool, silent: bool) -> QualityWindow {
        let second = &mut self.seconds[self.at];
        (second.mixed, second.silent) = (mixed, silent);
        let sum = self
            .seconds
            .iter()
            .fold(Second::default(), |sum, second| Second {
                expected: sum.expected + second.expected,
                lost: sum.lost + second.lost,
                discarded: sum.discarded + second.discarded,
                runs: sum.runs + second.runs,
                mixed: sum.mixed || second.mixed,
                silent: sum.silent || second.silent,
            });
        self.at = (self.at + 1) % SECONDS;
        self.seconds[self.at] = Second::default();

        let bad = (sum.lost + sum.discarded).max(0) as f64;
        let ratio = (sum.expected > 0).then(|| bad / sum.expected as f64);
        // A run that reaches into the window from before it has no start there but is one.
        let runs = if bad > 0.0 { sum.runs.max(1) } else { 0 };
        // Under random loss of probability p a run has 1/(1 − p) packets on average.
        let burst_ratio = match ratio {
            Some(p) if runs > 0 => (bad / runs as f64 * (1.0 - p)).max(1.0),
            _ => 1.0,
        };
        QualityWindow {
            expected: sum.expected,
            lost: sum.lost.max(0) as u64,
            discarded: sum.discarded.max(0) as u64,
            ppl_pct: ratio.map(|p| p * 100.0),
            burst_ratio,
            packet_ms: None,
            mixed_payload_types: sum.mixed,
            silent_over_2s: sum.silent,
        }
    }
}

/// Index of the histogram for a run of `length` ≥ 1 packets.
fn run_class(length: u64) -> usize {
    (length.clamp(1, 10) - 1) as usize
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;

    fn feed(window: &mut LossWindow, pattern: &str) {
        for packet in pattern.chars() {
            window.update(packet == '0', packet == 'X');
        }
    }

    #[test]
    fn loss_probability_and_burst_ratio() {
        let mut window = LossWindow::default();
        let clean = window.end_second(false, false);
        assert_eq!((clean.ppl_pct, clean.burst_ratio), (None, 1.0));
        feed(&mut window, "11001111110X11111111"); // two runs of two in twenty packets
        let found = window.end_second(false, false);
        assert_eq!((found.expected, found.lost, found.discarded), (20, 3, 1));
        assert_eq!(found.ppl_pct, Some(20.0));
        assert!((found.burst_ratio - 2.0 * 0.8).abs() < 1e-12);
        assert_eq!(window.runs(), [0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn evenly_spread_loss_is_not_less_than_random() {
        let mut window = LossWindow::default();
        feed(&mut window, &"01".repeat(50));
        assert_eq!(window.end_second(false, false).burst_ratio, 1.0);
    }

    #[test]
    fn ten_seconds_and_no_more() {
        let mut window = LossWindow::default();
        feed(&mut window, "0000000000001");
        window.end_second(true, true);
        for second in 1..10 {
            feed(&mut window, "1");
            let found = window.end_second(false, false);
            assert_eq!((found.lost, found.expected), (12, 13 + second));
            assert!(found.mixed_payload_types && found.silent_over_2s);
        }
        let found = window.end_second(false, false);
        assert_eq!(
            (found.lost, found.expected, found.mixed_payload_types),
            (0, 9, false)
        );
        assert_eq!(window.runs()[9], 1, "twelve in a row are ten and more");
    }

    #[test]
    fn a_late_packet_moves_from_lost_to_discarded_also_over_the_second() {
        let mut window = LossWindow::default();
        feed(&mut window, "0");
        window.end_second(false, false);
        window.lost_was_discarded();
        let found = window.end_second(false, false);
        assert_eq!(
            (found.lost, found.discarded, found.ppl_pct),
            (0, 1, Some(100.0))
        );
    }
}
