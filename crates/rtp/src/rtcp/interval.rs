//! Time between reports, RFC 3550 §6.2 and A.7:
//! <https://www.rfc-editor.org/rfc/rfc3550#appendix-A.7>

use crate::rng::Rng;

/// What the interval depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IntervalInput {
    /// Least mean interval in seconds; 5 by §6.2, halved before the first report.
    pub(crate) minimum_s: f64,
    /// Nothing was sent yet.
    pub(crate) initial: bool,
    /// Members of the session: ourselves and, once heard, the far end.
    pub(crate) members: u32,
    /// Members that send RTP.
    pub(crate) senders: u32,
    /// Whether we are one of them.
    pub(crate) we_sent: bool,
    /// Share of the session bandwidth for RTCP (5 %), in octets per second.
    pub(crate) bandwidth: f64,
    /// Mean size of a compound packet with UDP and IP headers, in octets.
    pub(crate) average_size: f64,
}

/// Seconds until the next report: randomised in 0.5..1.5 of the mean and divided by e − 3/2, as
/// A.7 does to make up for its timer reconsideration.
pub(crate) fn interval_s(input: &IntervalInput, rng: &mut Rng) -> f64 {
    let minimum = if input.initial {
        input.minimum_s / 2.0
    } else {
        input.minimum_s
    };
    let (mut bandwidth, mut parties) = (input.bandwidth, input.members);
    if f64::from(input.senders) <= f64::from(input.members) * 0.25 {
        if input.we_sent {
            bandwidth *= 0.25;
            parties = input.senders;
        } else {
            bandwidth *= 0.75;
            parties -= input.senders;
        }
    }
    let mean = (input.average_size * f64::from(parties) / bandwidth).max(minimum);
    mean * (rng.unit() + 0.5) / (std::f64::consts::E - 1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: IntervalInput = IntervalInput {
        minimum_s: 5.0,
        initial: false,
        members: 2,
        senders: 2,
        we_sent: true,
        bandwidth: 400.0,
        average_size: 130.0,
    };

    fn draws(input: &IntervalInput) -> (f64, f64, f64) {
        let mut rng = Rng::new(1);
        let all: Vec<f64> = (0..20_000).map(|_| interval_s(input, &mut rng)).collect();
        let min = all.iter().copied().fold(f64::MAX, f64::min);
        let max = all.iter().copied().fold(0.0, f64::max);
        (min, max, all.iter().sum::<f64>() / all.len() as f64)
    }

    #[test]
    fn a_call_reports_around_every_four_seconds_randomised() {
        let (min, max, mean) = draws(&CALL);
        let compensated = 5.0 / (std::f64::consts::E - 1.5);
        assert!(
            min >= compensated * 0.5 && min < compensated * 0.51,
            "{min}"
        );
        assert!(
            max <= compensated * 1.5 && max > compensated * 1.49,
            "{max}"
        );
        assert!((mean - compensated).abs() < 0.05, "{mean}");
    }

    #[test]
    fn the_first_report_comes_after_half_the_time() {
        let (_, max, _) = draws(&IntervalInput {
            initial: true,
            ..CALL
        });
        assert!(max <= 2.5 * 1.5 / (std::f64::consts::E - 1.5));
    }

    #[test]
    fn a_narrow_session_stretches_the_interval() {
        let (_, _, mean) = draws(&IntervalInput {
            bandwidth: 20.0,
            ..CALL
        });
        assert!(
            (mean - 13.0 / (std::f64::consts::E - 1.5)).abs() < 0.1,
            "{mean}"
        );
    }

    #[test]
    fn few_senders_share_a_quarter_of_the_bandwidth() {
        let crowd = IntervalInput {
            members: 100,
            senders: 10,
            bandwidth: 100.0,
            ..CALL
        };
        let (_, _, mean) = draws(&crowd);
        let expected = 10.0 * 130.0 / 25.0 / (std::f64::consts::E - 1.5);
        assert!((mean / expected - 1.0).abs() < 0.02, "{mean}");
        let (_, _, mean) = draws(&IntervalInput {
            we_sent: false,
            ..crowd
        });
        let expected = 90.0 * 130.0 / 75.0 / (std::f64::consts::E - 1.5);
        assert!((mean / expected - 1.0).abs() < 0.02, "{mean}");
    }
}
