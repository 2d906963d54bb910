//! Whether a series grows: a straight line through it, without its warm-up. Pure.

/// Of the series, so much is warm-up: caches fill, tables take their size.
const WARM_UP: f64 = 0.2;

/// By how much `y` grows for one `x`, by least squares; not a number for fewer than three points.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let first = points.first().map_or(0.0, |point| point.0);
    let last = points.last().map_or(0.0, |point| point.0);
    let begin = first + (last - first) * WARM_UP;
    let kept: Vec<(f64, f64)> = points.iter().copied().filter(|point| point.0 >= begin).collect();
    if kept.len() < 3 {
        return f64::NAN;
    }
    let count = kept.len() as f64;
    let mean_x = kept.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = kept.iter().map(|point| point.1).sum::<f64>() / count;
    let both = kept.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>();
    both / kept.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>()
}

/// By how much the middle of a series' last fifth differs from that of the first fifth after its warm-up.
///
/// Of the middle, because what is just being restarted has a descriptor more or less for a moment.
pub fn growth(series: &[u64]) -> u64 {
    let fifth = series.len() / 5;
    if fifth == 0 {
        return u64::MAX;
    }
    let middle = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2]
    };
    middle(&series[fifth..2 * fifth]).abs_diff(middle(&series[series.len() - fifth..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of a process that takes up 300 KiB at first, then leaks so many bytes a restart, with noise of a few pages.
    fn leaky(leak: f64) -> Vec<(f64, f64)> {
        let noise = |nth: u32| f64::from(nth * 7919 % 5) * 4096.0;
        let warm = |restarts: f64| if restarts < 100.0 { restarts * 3072.0 } else { 307_200.0 };
        (0..2000_u32)
            .map(|nth| (f64::from(nth), 4e6 + warm(f64::from(nth)) + leak * f64::from(nth) + noise(nth)))
            .collect()
    }

    #[test]
    fn a_planted_leak_of_two_kilobytes_a_restart_is_seen_and_warm_up_and_noise_are_not_taken_for_one() {
        assert!(slope(&leaky(0.0)).abs() < 16.0, "{}", slope(&leaky(0.0)));
        let found = slope(&leaky(2048.0));
        assert!((2000.0..2100.0).contains(&found), "{found}");
    }

    #[test]
    fn too_few_points_are_no_slope() {
        assert!(slope(&leaky(0.0)[..2]).is_nan());
        assert!(slope(&[]).is_nan());
    }

    #[test]
    fn a_planted_descriptor_that_stays_open_is_seen_and_one_that_is_closed_again_is_not() {
        let mut series = vec![9; 20];
        assert_eq!(growth(&series), 0);
        series[7] = 12;
        assert_eq!(growth(&series), 0);
        series[14..].fill(10);
        assert_eq!(growth(&series), 1);
        assert_eq!(growth(&[3, 9, 9, 9, 9, 9, 9, 9, 9, 9]), 0, "the first of everything opens something");
        assert_eq!(growth(&[9, 9]), u64::MAX, "too little was looked at");
    }
}
