//! What was measured, as a table and as JSON.

use serde::Serialize;

/// What zk's number is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The ratio, or more: so many times better than Apache.
    AtLeast(f64),
    /// The ratio, or less: so many times what the bare machine needs.
    AtMost(f64),
    /// zk's own number, or less.
    Value(f64),
}

/// What the second number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Against {
    /// Apache's; more is better, and the ratio is zk to Apache.
    ApacheMore,
    /// Apache's; less is better, and the ratio is Apache to zk.
    ApacheLess,
    /// The bare machine's; the ratio is zk to it.
    Bare,
    /// The most that it may be; the ratio is zk to it.
    Limit,
    /// What was written down earlier; the ratio is zk to it.
    Recorded,
}

impl Against {
    const fn name(self) -> &'static str {
        match self {
            Self::ApacheMore | Self::ApacheLess => "Apache",
            Self::Bare => "bare",
            Self::Limit => "limit",
            Self::Recorded => "recorded",
        }
    }
}

/// One row: medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Rows with the same heading stand together.
    pub(crate) heading: String,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) against: Against,
    pub(crate) zk: f64,
    pub(crate) other: f64,
    pub(crate) ratio: f64,
    /// The least and the greatest ratio of a round.
    pub(crate) spread: (f64, f64),
    pub(crate) target: Option<Target>,
    /// Nothing if there is no target.
    pub(crate) met: Option<bool>,
    /// Whether it says anything: not if the disk was too slow.
    pub(crate) counts: bool,
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (len, half) if len % 2 == 1 => values[half],
        (_, half) => f64::midpoint(values[half - 1], values[half]),
    }
}

impl Row {
    /// A row from the numbers of each round.
    pub(crate) fn new(
        heading: &str,
        name: &str,
        unit: &'static str,
        against: Against,
        zk: &[f64],
        other: &[f64],
        target: Option<Target>,
    ) -> Self {
        let ratio = |zk: f64, other: f64| match against {
            Against::ApacheLess => other / zk,
            _ => zk / other,
        };
        let rounds = zk.iter().zip(other).map(|(&zk, &other)| ratio(zk, other));
        let spread = rounds
            .fold((f64::INFINITY, 0.0_f64), |(low, high), ratio| (low.min(ratio), high.max(ratio)));
        let (zk, other) = (median(zk), median(other));
        let ratio = ratio(zk, other);
        let met = target.map(|target| match target {
            Target::AtLeast(least) => ratio >= least,
            Target::AtMost(most) => ratio <= most,
            Target::Value(most) => zk <= most,
        });
        Self {
            heading: heading.to_owned(),
            name: name.to_owned(),
            unit,
            against,
            zk,
            other,
            ratio,
            spread,
            target,
            met,
            counts: true,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.met {
            _ if !self.counts => "does not count",
            None => "",
            Some(true) => "met",
            Some(false) => "MISSED",
        }
    }
}

/// A run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Table {
    /// What a reader must know of the machine.
    pub(crate) facts: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

impl Table {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for fact in &self.facts {
            text += &format!("{fact}\n");
        }
        let mut heading = "";
        for row in &self.rows {
            let other = row.against.name();
            let top = format!("{} [{other}]", row.heading);
            if heading != row.heading {
                heading = &row.heading;
                text += &format!(
                    "\n{top:46} {:>10} {:>10} {:>7} {:>13} {:>10}\n",
                    "zk", other, "ratio", "(rounds)", "target"
                );
            }
            let target = match row.target {
                None => String::new(),
                Some(Target::AtLeast(ratio)) => format!(">={ratio}x"),
                Some(Target::AtMost(ratio)) => format!("<={ratio}x"),
                Some(Target::Value(most)) => format!("<={}", number(most)),
            };
            let line = format!(
                "{:46} {:>10} {:>10} {:>6.2}x {:>13} {:>10}  {}",
                format!("  {}, {}", row.name, row.unit),
                number(row.zk),
                number(row.other),
                row.ratio,
                format!("({:.1}-{:.1})", row.spread.0, row.spread.1),
                target,
                row.verdict()
            );
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Three digits that matter, and no more.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
