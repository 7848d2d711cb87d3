//! A stream of random numbers that is a pure function of its key.

use fastft_record::mix;

/// Draws number 0, 1, 2, ... of a key.
#[derive(Clone, Debug)]
pub struct Dice {
    key: u64,
    drawn: u64,
}

impl Dice {
    /// The stream of a list of words; their order counts.
    #[must_use]
    pub fn new(words: &[u64]) -> Self {
        Self { key: words.iter().fold(0, |key, word| mix(key ^ mix(*word))), drawn: 0 }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.key ^ mix(self.drawn))
    }

    /// A number in [0, 1).
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True in this part of the draws.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// A number below `len`, which is at least 1; each is as likely but for 1 in 2^32.
    #[allow(clippy::cast_possible_truncation, reason = "the high word of a product is below `len`")]
    pub fn below(&mut self, len: usize) -> usize {
        ((u128::from(self.bits()) * len as u128) >> 64) as usize
    }

    /// One of `items`, which are not none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// How many of `len` things a rate means: rounded up or down by chance so that the mean is exact,
    /// but at least one where there is any, since a copy that changes nothing is none.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "lengths of texts, and a rate from 0 to 1"
    )]
    pub fn amount(&mut self, len: usize, rate: f64) -> usize {
        if rate <= 0.0 || len == 0 {
            return 0;
        }
        let exact = rate * len as f64;
        let whole = exact.floor();
        let amount = whole as usize + usize::from(self.chance(exact - whole));
        amount.clamp(1, len)
    }

    /// `rate` of the numbers below `len`, ascending (selection sampling, Knuth 3.4.2 S).
    pub fn choose(&mut self, len: usize, rate: f64) -> Vec<usize> {
        let mut missing = self.amount(len, rate);
        let mut chosen = Vec::with_capacity(missing);
        for index in 0..len {
            if missing == 0 {
                break;
            }
            if self.below(len - index) < missing {
                chosen.push(index);
                missing -= 1;
            }
        }
        chosen
    }

    /// Put `items` in another order, each order as likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_amount_is_the_rate() {
        let total: usize = (0..4000).map(|key| Dice::new(&[key]).choose(50, 0.07).len()).sum();
        assert!((13_600..14_400).contains(&total), "{total}");
    }

    #[test]
    fn a_rate_of_zero_chooses_none_and_any_other_at_least_one() {
        assert!(Dice::new(&[1]).choose(1000, 0.0).is_empty());
        assert_eq!(Dice::new(&[1]).choose(3, 1e-9).len(), 1);
        assert_eq!(Dice::new(&[1]).choose(5, 1.0), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn each_index_is_chosen_as_often() {
        let mut counts = [0u32; 8];
        for key in 0..8000 {
            for index in Dice::new(&[key, 7]).choose(8, 0.25) {
                counts[index] += 1;
            }
        }
        assert!(counts.iter().all(|count| (1850..2150).contains(count)), "{counts:?}");
    }
}
