//! Events are forgotten an hour after they last happened, as in Kubernetes.

use crate::json::text;
use crate::kinds::Kind;
use crate::object::timestamp;
use crate::rest::Api;
use crate::status::Status;
use crate::store::Tx;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::Weak;
use std::time::Duration;

/// How long an event is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Time between two looks.
const EVERY: Duration = Duration::from_secs(300);

/// Forgets old events as long as `api` is served.
pub async fn run(api: Weak<Api>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(api) = api.upgrade() else { return };
        let forgotten = api.store.write(false, |tx| forget(tx, Timestamp::now())).await;
        if let Err(status) = forgotten {
            tracing::warn!(error = status.message, "cannot forget old events");
        }
    }
}

fn forget(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Status> {
    let events = Kind::core("events");
    for version in tx.list(events, None)? {
        let event = version.object();
        if is_old(&event, now) {
            tx.delete(events, event)?;
        }
    }
    Ok(())
}

/// Times are RFC 3339 in UTC, some with microseconds: their first nineteen characters compare as text.
fn is_old(event: &Value, now: Timestamp) -> bool {
    let times = [
        &["lastTimestamp"][..],
        &["series", "lastObservedTime"],
        &["eventTime"],
        &["metadata", "creationTimestamp"],
    ];
    let last = times.iter().filter_map(|path| text(event, path).get(..19)).max().unwrap_or_default();
    last < &timestamp(now - KEPT)[..19]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_old_an_hour_after_it_last_happened() {
        let now = "2026-01-01T02:00:00Z".parse().expect("a time");
        for (event, old) in [
            (json!({"metadata": {"creationTimestamp": "2026-01-01T00:59:59Z"}}), true),
            (json!({"metadata": {"creationTimestamp": "2026-01-01T01:00:01Z"}}), false),
            (
                json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": "2026-01-01T01:30:00Z"}),
                false,
            ),
            (
                json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "eventTime": "2026-01-01T00:30:00.000001Z"}),
                true,
            ),
        ] {
            assert_eq!(is_old(&event, now), old, "{event}");
        }
    }
}
