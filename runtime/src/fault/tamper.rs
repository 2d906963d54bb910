//! Frames that are not as they should be; pure.

use super::here::Effect;

/// Changes the frame that stands at the end of `bytes`, from `start` on.
pub(crate) fn tamper(bytes: &mut Vec<u8>, start: usize, effect: Effect) {
    let length = bytes.len() - start;
    match effect {
        Effect::Duplicate => bytes.extend_from_within(start..),
        Effect::Corrupt(random) => {
            if let Some(bits) = std::num::NonZeroU64::new(length as u64 * 8) {
                let bit = usize::try_from(random % bits).unwrap_or(0);
                bytes[start + bit / 8] ^= 1 << (bit % 8);
            }
        }
        Effect::Truncate(random) => {
            // At least one byte is left, and at least one missing.
            let left = 1 + random % (length as u64).saturating_sub(1).max(1);
            bytes.truncate(start + usize::try_from(left).unwrap_or(0));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tampered(effect: Effect) -> Vec<u8> {
        let mut bytes = vec![9; 3];
        bytes.extend([0, 1, 2, 3]);
        tamper(&mut bytes, 3, effect);
        assert_eq!(bytes[..3], [9; 3], "what stood before it stays");
        bytes.split_off(3)
    }

    #[test]
    fn only_the_last_frame_is_changed_and_as_it_was_said() {
        assert_eq!(tampered(Effect::Nothing), [0, 1, 2, 3]);
        assert_eq!(tampered(Effect::Duplicate), [0, 1, 2, 3, 0, 1, 2, 3]);
        for random in 0..64 {
            let changed = tampered(Effect::Corrupt(random));
            let bits: u32 = changed.iter().zip([0, 1, 2, 3]).map(|(is, was)| (is ^ was).count_ones()).sum();
            assert_eq!((changed.len(), bits), (4, 1));
            let cut = tampered(Effect::Truncate(random));
            assert!((1..4).contains(&cut.len()) && cut[..] == [0, 1, 2, 3][..cut.len()]);
        }
    }
}
