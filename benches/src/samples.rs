//! What was measured of one candidate, a number for each round.

/// Numbers, one for each round.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds that of the next round.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// All of them, in order.
    #[must_use]
    pub fn all(&self) -> &[f64] {
        &self.0
    }

    /// The one in the middle.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// How many times those of another they are, inside a round.
    #[must_use]
    pub fn ratio_to(&self, other: &Self) -> f64 {
        median(self.with(other, |own, other| own / other))
    }

    /// How much more than those of another they are, inside a round.
    #[must_use]
    pub fn difference_to(&self, other: &Self) -> f64 {
        median(self.with(other, |own, other| own - other))
    }

    fn with(&self, other: &Self, compare: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let rounds = self.0.iter().zip(&other.0);
        rounds.map(|(own, other)| compare(*own, *other)).collect()
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => (numbers[middle - 1] + numbers[middle]) / 2.0,
        _ => numbers[middle],
    }
}
