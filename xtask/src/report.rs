//! The closing table of a run.

use core::time::Duration;

use crate::command::Tally;

/// How a group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything in it held.
    Passed,
    /// What in it failed.
    Failed(Vec<String>),
    /// What it needs and this machine lacks, with the lines that install it.
    NotRun(Vec<String>),
}

/// One group's line.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) tests: Tally,
    pub(crate) took: Duration,
    pub(crate) budget: Duration,
}

/// Whether everything was run and passed.
pub(crate) fn all_passed(rows: &[Row]) -> bool {
    rows.iter().all(|row| row.verdict == Verdict::Passed)
}

/// The table, the reasons below it, and `N passed, N failed` at its end. A group that could not be
/// run counts as one failure: what was not seen to work is not passed.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "\n{:<12} {:<8} {:>7} {:>7} {:>8} {:>8}\n",
        "group", "result", "passed", "failed", "seconds", "budget"
    );
    let mut sum = Tally::default();
    for row in rows {
        let result = match &row.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "FAILED",
            Verdict::NotRun(_) => "NOT RUN",
        };
        let late = if row.took > row.budget { "  over its budget" } else { "" };
        out.push_str(&format!(
            "{:<12} {:<8} {:>7} {:>7} {:>8.1} {:>8}{late}\n",
            row.group,
            result,
            row.tests.passed,
            row.tests.failed,
            row.took.as_secs_f64(),
            row.budget.as_secs(),
        ));
        sum.add(row.tests);
        if matches!(row.verdict, Verdict::NotRun(_)) {
            sum.failed += 1;
        }
    }
    let took: Duration = rows.iter().map(|row| row.took).sum();
    let budget: Duration = rows.iter().map(|row| row.budget).sum();
    out.push_str(&format!(
        "{:<12} {:<8} {:>7} {:>7} {:>8.1} {:>8}\n",
        "all",
        "",
        sum.passed,
        sum.failed,
        took.as_secs_f64(),
        budget.as_secs()
    ));
    for row in rows {
        let (word, reasons) = match &row.verdict {
            Verdict::Passed => continue,
            Verdict::Failed(reasons) => ("failed", reasons),
            Verdict::NotRun(reasons) => ("not run", reasons),
        };
        out.push_str(&format!("\n{} {word}:\n", row.group));
        for reason in reasons {
            out.push_str(&format!("  {reason}\n"));
        }
    }
    out.push_str(&format!("\n{} passed, {} failed\n", sum.passed, sum.failed));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &'static str, verdict: Verdict, passed: u32, failed: u32, took: u64) -> Row {
        let tests = Tally { passed, failed };
        let (took, budget) = (Duration::from_secs(took), Duration::from_secs(60));
        Row { group, verdict, tests, took, budget }
    }

    #[test]
    fn the_table_tells_each_group_and_ends_with_the_sum() {
        let rows = [
            row("core", Verdict::Passed, 40, 0, 61),
            row("std", Verdict::Failed(vec!["cargo test -p zk-std".to_owned()]), 9, 1, 5),
            row("qemu", Verdict::NotRun(vec!["apt-get install qemu".to_owned()]), 0, 0, 0),
        ];
        assert!(!all_passed(&rows));
        assert!(all_passed(&rows[..1]));
        let table = table(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[1], "group        result    passed  failed  seconds   budget");
        assert_eq!(
            lines[2],
            "core         passed        40       0     61.0       60  over its budget"
        );
        assert_eq!(lines[3], "std          FAILED         9       1      5.0       60");
        assert_eq!(lines[4], "qemu         NOT RUN        0       0      0.0       60");
        assert_eq!(lines[5], "all                        49       2     66.0      180");
        assert!(table.contains("std failed:\n  cargo test -p zk-std\n"));
        assert!(table.contains("qemu not run:\n  apt-get install qemu\n"));
        assert!(table.ends_with("\n49 passed, 2 failed\n"));
    }
}
