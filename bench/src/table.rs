//! Results: ours, the peer's, the ratio, and what the ratio should be.

use serde_json::{Value, json};

/// One result.
#[derive(Clone, Debug)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub ours: f64,
    pub peer: Option<(&'static str, f64)>,
    /// What is aimed at: a bound of the ratio, or of our own figure where there is no peer.
    pub bound: Bound,
}

/// A bound.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Nothing is aimed at: the figure is recorded.
    Recorded,
}

impl Row {
    fn judged(&self) -> f64 {
        self.peer.map_or(self.ours, |(_, peer)| self.ours / peer)
    }

    fn holds(&self) -> bool {
        match self.bound {
            Bound::AtMost(bound) => self.judged() <= bound,
            Bound::AtLeast(bound) => self.judged() >= bound,
            Bound::Recorded => true,
        }
    }
}

/// Columns for people.
pub fn text(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<38} {:>10} {:<7} {:<28} {:>10} {:>7}  {}\n",
        "WHAT", "OURS", "UNIT", "PEER", "PEER'S", "RATIO", "AIM"
    );
    for row in rows {
        let (peer, value, ratio) = match row.peer {
            Some((peer, value)) => (peer, format!("{value:.2}"), format!("{:.2}", row.ours / value)),
            None => ("", String::new(), String::new()),
        };
        let aim = match row.bound {
            Bound::AtMost(bound) => format!("≤ {}", hundredths(bound)),
            Bound::AtLeast(bound) => format!("≥ {}", hundredths(bound)),
            Bound::Recorded => String::new(),
        };
        let verdict = if row.holds() { "" } else { "  missed" };
        text += &format!(
            "{:<38} {:>10.2} {:<7} {peer:<28} {value:>10} {ratio:>7}  {aim}{verdict}\n",
            row.what, row.ours, row.unit
        );
    }
    text
}

/// A number without more of it than anybody reads.
fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// The same for programs.
pub fn json(rows: &[Row]) -> Value {
    let one = |row: &Row| {
        let aim = match row.bound {
            Bound::AtMost(bound) => json!({"atMost": bound}),
            Bound::AtLeast(bound) => json!({"atLeast": bound}),
            Bound::Recorded => Value::Null,
        };
        json!({
            "what": row.what,
            "unit": row.unit,
            "ours": row.ours,
            "peer": row.peer.map(|(name, value)| json!({"name": name, "value": value})),
            "ratio": row.peer.map(|(_, value)| row.ours / value),
            "aim": aim,
            "holds": row.holds(),
        })
    };
    rows.iter().map(one).collect()
}

/// The middle of some figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    assert!(!figures.is_empty(), "there is something to take the middle of");
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
