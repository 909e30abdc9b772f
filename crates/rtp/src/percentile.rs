//! Percentiles of a small, bounded set of samples.

/// Nearest-rank percentile of sorted samples: the smallest value that at least `percent` of them
/// do not exceed. `None` without samples.
pub(crate) fn nearest_rank<T: Copy>(sorted: &[T], percent: u32) -> Option<T> {
    let rank = (sorted.len() * percent as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let samples: Vec<u32> = (1..=100).collect();
        assert_eq!(nearest_rank(&samples, 50), Some(50));
        assert_eq!(nearest_rank(&samples, 99), Some(99));
        assert_eq!(nearest_rank(&samples[..50], 99), Some(50));
        assert_eq!(nearest_rank(&[7], 0), Some(7));
        assert_eq!(nearest_rank::<u32>(&[], 50), None);
    }
}
