//! The exponential moving average that KCL smooths its measurements with (`leases.md` C.5, C.9).

/// A running average in which each new value has the weight `alpha` and the past the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ema {
    alpha: f64,
    value: Option<f64>,
}

impl Ema {
    /// An average without values. `alpha` is 0 to 1; 1 forgets the past at once.
    #[must_use]
    pub const fn new(alpha: f64) -> Self {
        Self { alpha, value: None }
    }

    /// Takes a value in and gives the new average; the first value is the average.
    pub fn add(&mut self, value: f64) -> f64 {
        let average = match self.value {
            None => value,
            Some(past) => self.alpha * value + (1.0 - self.alpha) * past,
        };
        self.value = Some(average);
        average
    }

    /// The average; `None` before the first value.
    #[must_use]
    pub const fn value(&self) -> Option<f64> {
        self.value
    }
}

/// Rounds half away from zero to the six decimals in which Java stores measurements.
#[must_use]
pub fn six_decimals(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_seeds_and_later_ones_weigh_alpha() {
        let mut average = Ema::new(0.25);
        assert_eq!(average.value(), None);
        assert_eq!(average.add(8.0), 8.0);
        assert_eq!(average.add(4.0), 7.0);
        assert_eq!(average.add(7.0), 7.0);
        assert_eq!(average.value(), Some(7.0));
    }

    #[test]
    fn measurements_have_six_decimals() {
        assert_eq!(six_decimals(1.000_000_5), 1.000_001);
        assert_eq!(six_decimals(1.000_000_4), 1.0);
    }
}
