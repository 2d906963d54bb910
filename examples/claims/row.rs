//! A number of processes beside the same number of threads.

/// What a row belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Performance,
    Stability,
    Resources,
    Debugging,
    /// What the claims cost.
    Costs,
}

impl Claim {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Claim::Performance => "performance",
            Claim::Stability => "stability",
            Claim::Resources => "resources",
            Claim::Debugging => "debugging",
            Claim::Costs => "cost",
        }
    }
}

/// One row.
pub struct Row {
    pub claim: Claim,
    pub what: String,
    pub unit: &'static str,
    pub more_is_better: bool,
    /// Medians over rounds; `None` where it could not be measured, and the note says why.
    pub processes: Option<f64>,
    pub threads: Option<f64>,
    pub note: Option<String>,
    /// Processes against threads: the median of the ratios of each round. `None` where it says nothing: of counts, and
    /// of next to nothing.
    pub ratio: Option<f64>,
}

impl Row {
    /// Of rounds in which both took turns: what disturbed the machine in a round cancels out of its ratio.
    pub fn of_rounds(
        claim: Claim,
        what: impl Into<String>,
        unit: &'static str,
        processes: &[f64],
        threads: &[f64],
    ) -> Row {
        let ratios: Vec<f64> = processes.iter().zip(threads).map(|(ours, theirs)| ours / theirs).collect();
        let ratio = Some(median(&ratios)).filter(|ratio| ratio.is_finite() && *ratio > 0.0);
        let [processes, threads] =
            [processes, threads].map(|rounds| (!rounds.is_empty()).then(|| median(rounds)));
        let (what, more_is_better, note) = (what.into(), false, None);
        Row { claim, what, unit, more_is_better, processes, threads, note, ratio }
    }

    /// The same, and why a number of it is not there.
    pub fn note(self, note: Option<String>) -> Row {
        Row { note, ..self }
    }

    /// The same, where more is better.
    pub fn more_is_better(self) -> Row {
        Row { more_is_better: true, ..self }
    }

    /// The same, where the quotient says nothing.
    pub fn without_ratio(self) -> Row {
        Row { ratio: None, ..self }
    }

    /// Who is better off: the other must be worse by a tenth at least.
    pub fn better(&self) -> &'static str {
        let (Some(processes), Some(threads)) = (self.processes, self.threads) else { return "not measured" };
        let (ours, theirs) = self.ratio.map_or((processes, threads), |ratio| (ratio, 1.0));
        let (more, less) =
            if self.more_is_better { ("processes", "threads") } else { ("threads", "processes") };
        match () {
            () if ours > theirs * 1.1 => more,
            () if theirs > ours * 1.1 => less,
            () => "even",
        }
    }
}

/// The middle one; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_better_depends_on_what_is_counted() {
        let row = Row::of_rounds(Claim::Costs, "time", "s", &[4.0, 2.0, 9.0], &[1.0, 1.0, 1.0]);
        assert_eq!((row.processes, row.ratio, row.better()), (Some(4.0), Some(4.0), "threads"));
        assert_eq!(row.more_is_better().better(), "processes");
        let even = Row::of_rounds(Claim::Costs, "time", "s", &[1.05], &[1.0]);
        assert_eq!(even.better(), "even");
        assert_eq!(Row::of_rounds(Claim::Costs, "none", "s", &[0.0], &[0.0]).better(), "even");
    }

    #[test]
    fn what_could_not_be_measured_is_no_number() {
        let row = Row::of_rounds(Claim::Debugging, "time", "s", &[1.0], &[]).note(Some("why".into()));
        assert_eq!((row.processes, row.threads, row.ratio), (Some(1.0), None, None));
        assert_eq!(row.better(), "not measured");
    }

    #[test]
    fn a_quotient_of_nothing_is_none() {
        assert_eq!(Row::of_rounds(Claim::Costs, "memory", "MiB", &[0.0], &[5.0]).ratio, None);
        assert_eq!(Row::of_rounds(Claim::Costs, "memory", "MiB", &[5.0], &[0.0]).ratio, None);
    }
}
