//! The E-model, ITU-T G.107 (06/2015) in full: R = Ro − Is − Id − Ie,eff + A.
//!
//! All levels in dB or dBm as the Recommendation gives them, delays in milliseconds, loss in
//! percent. The delays follow the usual mapping for a digital connection without separate echo
//! measurement: T (mean one-way delay of the echo path) = Ta (absolute delay), Tr = 2·Ta.

/// Bpl of G.711 with the packet loss concealment of its Appendix I, random loss (ITU-T G.113).
pub const G711_BPL: f64 = 25.1;
/// Ie of G.711 (ITU-T G.113).
pub const G711_IE: f64 = 0.0;

/// Transmission parameters; [`Parameters::default`] holds the planning values of G.107 table 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Send loudness rating, dB.
    pub slr: f64,
    /// Receive loudness rating, dB.
    pub rlr: f64,
    /// Sidetone masking rating, dB.
    pub stmr: f64,
    /// D-value of the telephone at the send side.
    pub ds: f64,
    /// D-value of the telephone at the receive side; LSTR = STMR + Dr.
    pub dr: f64,
    /// Talker echo loudness rating, dB.
    pub telr: f64,
    /// Weighted echo path loss, dB.
    pub wepl: f64,
    /// Mean one-way delay of the echo path T, ms.
    pub t_ms: f64,
    /// Round-trip delay in a 4-wire loop Tr, ms.
    pub tr_ms: f64,
    /// Absolute one-way delay of the connection Ta, ms.
    pub ta_ms: f64,
    /// Minimum perceivable delay mT, ms.
    pub mt_ms: f64,
    /// Delay sensitivity of the users sT.
    pub st: f64,
    /// Number of quantisation distortion units.
    pub qdu: f64,
    /// Equipment impairment factor of the codec without loss.
    pub ie: f64,
    /// Packet-loss robustness of the codec.
    pub bpl: f64,
    /// Random packet-loss probability, percent 0..=100.
    pub ppl: f64,
    /// Burst ratio: 1 for random loss, above 1 when losses come together.
    pub burst_r: f64,
    /// Circuit noise at the 0 dBr point, dBm0p.
    pub nc: f64,
    /// Noise floor at the receive side, dBmp.
    pub nfor: f64,
    /// Room noise at the send side, dB(A).
    pub ps: f64,
    /// Room noise at the receive side, dB(A).
    pub pr: f64,
    /// Advantage factor A.
    pub advantage: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            slr: 8.0,
            rlr: 2.0,
            stmr: 15.0,
            ds: 3.0,
            dr: 3.0,
            telr: 65.0,
            wepl: 110.0,
            t_ms: 0.0,
            tr_ms: 0.0,
            ta_ms: 0.0,
            mt_ms: 100.0,
            st: 1.0,
            qdu: 1.0,
            ie: 0.0,
            bpl: 4.3,
            ppl: 0.0,
            burst_r: 1.0,
            nc: -70.0,
            nfor: -64.0,
            ps: 35.0,
            pr: 35.0,
            advantage: 0.0,
        }
    }
}

/// What is measured of a G.711 stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// One-way delay mouth to ear: RTT/2 + packet time + playout delay, ms.
    pub delay_ms: f64,
    /// Lost and discarded packets, percent 0..=100.
    pub loss_percent: f64,
    /// Measured burst ratio; below 1 (regular loss) counts as 1.
    pub burst_ratio: f64,
}

impl Parameters {
    /// Default planning values with the measured figures of a G.711 stream; figures out of range
    /// are moved to the nearest end of their range.
    pub fn g711(observed: Observed) -> Self {
        let delay = observed.delay_ms.max(0.0);
        Self {
            t_ms: delay,
            ta_ms: delay,
            tr_ms: 2.0 * delay,
            ie: G711_IE,
            bpl: G711_BPL,
            ppl: observed.loss_percent.clamp(0.0, 100.0),
            burst_r: observed.burst_ratio.max(1.0),
            ..Self::default()
        }
    }
}

/// The rating and its parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rating {
    /// Basic signal-to-noise ratio Ro.
    pub ro: f64,
    /// Simultaneous impairment Is.
    pub is: f64,
    /// Talker echo Idte.
    pub idte: f64,
    /// Listener echo Idle.
    pub idle: f64,
    /// Too long absolute delay Idd.
    pub idd: f64,
    /// Equipment impairment without loss Ie.
    pub ie: f64,
    /// Effective equipment impairment Ie,eff.
    pub ie_eff: f64,
    /// Advantage factor A.
    pub advantage: f64,
}

impl Rating {
    /// Works out all parts (G.107 clause 7).
    pub fn new(p: &Parameters) -> Self {
        let olr = p.slr + p.rlr;
        let no = noise_sum(p, olr);
        let ro = 15.0 - 1.5 * (p.slr + no);
        let ist = sidetone(p);
        let is = too_loud(p, olr, no) + ist + quantising(p, ro);
        Self {
            ro,
            is,
            idte: talker_echo(p, no, ist),
            idle: listener_echo(p, ro),
            idd: long_delay(p),
            ie: p.ie,
            ie_eff: p.ie + (95.0 - p.ie) * loss_term(p),
            advantage: p.advantage,
        }
    }

    /// Delay impairment Id = Idte + Idle + Idd.
    pub fn id(&self) -> f64 {
        self.idte + self.idle + self.idd
    }

    /// The transmission rating factor R, at most 100 for narrow band.
    pub fn r(&self) -> f64 {
        self.ro - self.is - self.id() - self.ie_eff + self.advantage
    }

    /// R of the listening situation: without the delay impairment.
    pub fn r_listening(&self) -> f64 {
        self.r() + self.id()
    }

    /// Conversational MOS, 1..=4.5.
    pub fn mos(&self) -> f64 {
        mos_from_r(self.r())
    }

    /// Listening MOS (Id = 0), 1..=4.5.
    pub fn mos_listening(&self) -> f64 {
        mos_from_r(self.r_listening())
    }

    /// What each cause took from the best rating these values allow (no codec impairment, no loss,
    /// Id = 0), in percent that add up to 100; `None` when nothing was taken.
    pub fn degradation(&self) -> Option<Degradation> {
        let total = self.ie_eff + self.id();
        (total > 1e-9).then(|| Degradation {
            codec: self.ie / total * 100.0,
            loss: (self.ie_eff - self.ie) / total * 100.0,
            delay: self.id() / total * 100.0,
        })
    }
}

/// Shares of the lost quality in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Degradation {
    /// Ie.
    pub codec: f64,
    /// Ie,eff − Ie.
    pub loss: f64,
    /// Id.
    pub delay: f64,
}

/// MOS of a rating (G.107 Annex B), never below 1: between R 0 and 6.5 the polynomial dips under
/// the scale.
pub fn mos_from_r(r: f64) -> f64 {
    if r <= 0.0 {
        1.0
    } else if r >= 100.0 {
        4.5
    } else {
        (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0)
    }
}

/// Burst ratio of measured loss: mean length of a run of losses over the length random loss of the
/// same rate would show, 1 / (1 − p) (G.107 clause 7.5). 1 when nothing or everything was lost.
pub fn burst_ratio(mean_run: f64, loss_fraction: f64) -> f64 {
    if mean_run <= 0.0 || loss_fraction <= 0.0 || loss_fraction >= 1.0 {
        return 1.0;
    }
    mean_run * (1.0 - loss_fraction)
}

/// No: power addition of the noise sources, dBm0p (equations 7-3 to 7-7).
fn noise_sum(p: &Parameters, olr: f64) -> f64 {
    let nos = p.ps - p.slr - p.ds - 100.0 + 0.004 * (p.ps - olr - p.ds - 14.0).powi(2);
    let lstr = p.stmr + p.dr;
    let pre = p.pr + 10.0 * (1.0 + 10_f64.powf((10.0 - lstr) / 10.0)).log10();
    let nor = p.rlr - 121.0 + pre + 0.008 * (pre - 35.0).powi(2);
    let nfo = p.nfor + p.rlr;
    let power: f64 = [p.nc, nos, nor, nfo]
        .iter()
        .map(|level| 10_f64.powf(level / 10.0))
        .sum();
    10.0 * power.log10()
}

/// Iolr: too low overall loudness rating (7-9, 7-10).
fn too_loud(p: &Parameters, olr: f64, no: f64) -> f64 {
    let x = (olr + 0.2 * (64.0 + no - p.rlr)) / 8.0;
    20.0 * ((1.0 + x.powi(8)).powf(1.0 / 8.0) - x)
}

/// Ist: non-optimum sidetone (7-11, 7-12).
fn sidetone(p: &Parameters) -> f64 {
    let echo = (-p.t_ms / 4.0).exp() * 10_f64.powf(-p.telr / 10.0);
    let stmr = -10.0 * (10_f64.powf(-p.stmr / 10.0) + echo).log10();
    12.0 * (1.0 + ((stmr - 13.0) / 6.0).powi(8)).powf(1.0 / 8.0)
        - 28.0 * (1.0 + ((stmr + 1.0) / 19.4).powi(35)).powf(1.0 / 35.0)
        - 13.0 * (1.0 + ((stmr - 3.0) / 33.0).powi(13)).powf(1.0 / 13.0)
        + 29.0
}

/// Iq: quantising distortion (7-13 to 7-17).
fn quantising(p: &Parameters, ro: f64) -> f64 {
    let ratio = 37.0 - 15.0 * p.qdu.log10();
    let g = 1.07 + 0.258 * ratio + 0.0602 * ratio * ratio;
    let y = (ro - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0;
    let z = 46.0 / 30.0 - g / 40.0;
    15.0 * (1.0 + 10_f64.powf(y) + 10_f64.powf(z)).log10()
}

/// Idte: talker echo, with the corrections for a sidetone outside 9..=20 dB (7-19 to 7-24).
fn talker_echo(p: &Parameters, no: f64, ist: f64) -> f64 {
    let mut terv = p.telr - 40.0 * ((1.0 + p.t_ms / 10.0) / (1.0 + p.t_ms / 150.0)).log10()
        + 6.0 * (-0.3 * p.t_ms * p.t_ms).exp();
    if p.stmr < 9.0 {
        terv += ist / 2.0;
    }
    let roe = -1.5 * (no - p.rlr);
    let re = 80.0 + 2.5 * (terv - 14.0);
    let half = (roe - re) / 2.0;
    let idte = (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-p.t_ms).exp());
    if p.stmr > 20.0 {
        (idte * idte + ist * ist).sqrt()
    } else {
        idte
    }
}

/// Idle: listener echo (7-25, 7-26).
fn listener_echo(p: &Parameters, ro: f64) -> f64 {
    let rle = 10.5 * (p.wepl + 7.0) * (p.tr_ms + 1.0).powf(-0.25);
    let half = (ro - rle) / 2.0;
    half + (half * half + 169.0).sqrt()
}

/// Idd: too long absolute delay (7-27, 7-28).
fn long_delay(p: &Parameters) -> f64 {
    if p.ta_ms <= p.mt_ms {
        return 0.0;
    }
    let x = (p.ta_ms / p.mt_ms).log2();
    let k = 6.0 * p.st;
    25.0 * ((1.0 + x.powf(k)).powf(1.0 / k) - 3.0 * (1.0 + (x / 3.0).powf(k)).powf(1.0 / k) + 2.0)
}

/// Ppl / (Ppl/BurstR + Bpl) (7-29); 0 without loss, so that Bpl 0 needs no care.
fn loss_term(p: &Parameters) -> f64 {
    if p.ppl <= 0.0 {
        0.0
    } else {
        p.ppl / (p.ppl / p.burst_r + p.bpl)
    }
}

#[cfg(test)]
mod tests;
