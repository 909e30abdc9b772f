//! The rating of a G.711 stream by ITU-T G.107 (06/2015), written down apart from the product's
//! code: its default planning values are put in as numbers.

/// R for a one-way delay in ms, a loss in percent and a burst ratio.
pub(crate) fn rating(delay: f64, loss: f64, burst_ratio: f64) -> f64 {
    // Ro and Is of the default values (clauses 7.2 and 7.3), which no measured figure changes.
    let (ro, is) = (94.7688, 1.4136);
    let between = |here: f64, there: f64, width: f64| {
        let half = (here - there) / 2.0;
        half + (half * half + width).sqrt()
    };
    // Talker echo, 7-20 to 7-24, with TELR 65.
    let spread = ((1.0 + delay / 10.0) / (1.0 + delay / 150.0)).log10();
    let terv = 65.0 - 40.0 * spread + 6.0 * (-0.3 * delay * delay).exp();
    let heard = 80.0 + 2.5 * (terv - 14.0);
    let talker = (between(ro, heard, 100.0) - 1.0) * (1.0 - (-delay).exp());
    // Listener echo, 7-25 and 7-26, with WEPL 110 and Tr twice the delay.
    let rle = 10.5 * 117.0 * (2.0 * delay + 1.0).powf(-0.25);
    let listener = between(ro, rle, 169.0);
    // Too long a delay, 7-27 and 7-28.
    let late = if delay > 100.0 {
        let x = (delay / 100.0).log2();
        let root = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
        25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
    } else {
        0.0
    };
    // Loss, 7-29, with Ie 0 and Bpl 25.1 of G.113 for G.711 with concealment.
    let codec = 95.0 * loss / (loss / burst_ratio + 25.1);
    ro - is - talker - listener - late - codec
}

/// MOS of a rating between 6.5 and 100 (Annex B).
pub(crate) fn mos(rating: f64) -> f64 {
    1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6
}

/// The published default and the figures of another implementation.
#[test]
fn the_formula_gives_the_published_figures() {
    for (delay, loss, burst_ratio, r, score) in [
        (0.0, 0.0, 1.0, 93.206, 4.409),
        (60.0, 0.0, 1.0, 91.524, 4.375),
        (60.0, 5.0, 1.0, 75.743, 3.854),
        (60.0, 5.0, 4.0, 73.497, 3.756),
        (200.0, 3.0, 1.5, 75.288, 3.834),
        (400.0, 0.0, 1.0, 62.247, 3.216),
    ] {
        let found = rating(delay, loss, burst_ratio);
        assert!((found - r).abs() < 0.01, "{found}, not {r}");
        assert!((mos(found) - score).abs() < 0.001, "{}", mos(found));
    }
}
