//! The collector's account as the annotation of its Lease, in which `ipam check` finds it.

use ipam::collect::{Account, Why};
use jiff::{SignedDuration, Timestamp};
use model::Instant;
use serde_json::{Value, json};

/// Of what is held back, so much is named.
const MOST: usize = 50;

/// The account; `now` and `wall` are the same moment.
pub(crate) fn json(account: &Account, now: Instant, wall: Timestamp) -> Value {
    let at = |instant: Instant| {
        let micros = i128::from(instant.micros()) - i128::from(now.micros());
        let moment = wall + SignedDuration::from_micros(i64::try_from(micros).unwrap_or(i64::MAX));
        moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let latest = account.latest.iter().map(|(when, what)| format!("{} {what}", at(*when)));
    let held = account.held.iter().take(MOST).map(|held| match held.why {
        Why::Waits { until } => format!("{}: {} until {}", held.what, held.why, at(until)),
        why => format!("{}: {why}", held.what),
    });
    json!({
        "released": account.released,
        "removed": account.removed,
        "latest": latest.collect::<Vec<_>>(),
        "held": held.collect::<Vec<_>>(),
        "more": account.held.len().saturating_sub(MOST),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipam::collect::Held;
    use model::Duration;

    #[test]
    fn times_are_those_of_a_clock_on_the_wall() {
        let second = |n| Instant::ZERO + Duration::from_secs(n);
        let account = Account {
            released: 2,
            latest: [(second(90), "gave back 6.2.0.1 of a".to_owned())].into(),
            held: vec![
                Held {
                    what: "block 6.2.0.0/26 is nobody's and empty".into(),
                    why: Why::Waits { until: second(130) },
                },
                Held { what: "x".into(), why: Why::ForPeople },
            ],
            ..Account::default()
        };
        let json = json(&account, second(100), "2026-01-01T00:00:00Z".parse().expect("a time"));
        assert_eq!(json["latest"], json!(["2025-12-31T23:59:50Z gave back 6.2.0.1 of a"]));
        assert_eq!(
            json["held"],
            json!([
                "block 6.2.0.0/26 is nobody's and empty: given back if it stays so until 2026-01-01T00:00:30Z",
                "x: not the collector's to mend"
            ])
        );
        assert_eq!((&json["released"], &json["more"]), (&json!(2), &json!(0)));
    }
}
