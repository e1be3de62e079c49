//! Who of several works: the holder of a Lease. A holder is believed until its Lease has stood unchanged for as long as it
//! says, by our own clock: no two clocks are compared (the rule of Kubernetes' own leader election).

use datastore::{Client, Error, Resource};
use failpoint::failpoint;
use ipam::collect::{ANNOTATION, LEASE as NAME};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a holder is believed, and how often it says so.
const TERM: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(5);

/// The Lease as it was seen last, and since when it has stood so.
struct Seen {
    version: String,
    since: Instant,
}

/// What to do about the Lease.
#[derive(Debug, PartialEq)]
enum Move {
    Create,
    /// It is ours, or nobody's.
    Hold,
    Wait,
}

/// Keeps trying to hold the Lease, for ever; says whether it does. What stands in `account` goes into its annotation.
pub(crate) async fn lead(
    client: Client,
    namespace: String,
    me: String,
    leads: watch::Sender<bool>,
    account: watch::Receiver<String>,
) {
    let leases = Resource {
        kind: "Lease",
        plural: "leases",
        group: "coordination.k8s.io",
        version: "v1",
        namespaced: true,
    };
    let mut seen: Option<Seen> = None;
    let mut held_at: Option<Instant> = None;
    // Why there is no turn: said once, not at each.
    let mut problem: Option<String> = None;
    loop {
        let account = account.borrow().clone();
        match turn(&client, &leases, &namespace, &me, &account, &mut seen).await {
            Ok(holds) => {
                held_at = holds.then(Instant::now);
                problem = None;
            }
            // Another may take over when our term has passed, and not before.
            Err(error) => {
                let error = Some(error.to_string());
                if let (Some(why), true) = (&error, error != problem) {
                    tracing::warn!("cannot renew the lease {namespace}/{NAME}: {why}");
                }
                problem = error;
            }
        }
        let now = held_at.is_some_and(|at| at.elapsed() < TERM - RENEWAL);
        if leads.send_replace(now) != now {
            tracing::info!(
                "{}",
                if now { "holds the lease: works" } else { "another holds the lease: watches" }
            );
        }
        tokio::time::sleep(RENEWAL).await;
    }
}

/// One try; whether the Lease is ours now.
async fn turn(
    client: &Client,
    leases: &Resource,
    namespace: &str,
    me: &str,
    account: &str,
    seen: &mut Option<Seen>,
) -> Result<bool, Error> {
    let found = match client.get_json(leases, Some(namespace), NAME).await {
        Err(e) if e.is_not_found() => None,
        found => Some(found?),
    };
    let version =
        found.as_ref().and_then(|lease| lease["metadata"]["resourceVersion"].as_str()).unwrap_or_default();
    if seen.as_ref().is_none_or(|seen| seen.version != version) {
        *seen = Some(Seen { version: version.to_owned(), since: Instant::now() });
    }
    let stood = seen.as_ref().map_or(Duration::ZERO, |seen| seen.since.elapsed());
    let written = match decide(found.as_ref(), me, stood) {
        Move::Wait => return Ok(false),
        Move::Create => {
            let lease = held(json!({"metadata": {"name": NAME, "namespace": namespace}}), me, account);
            let made = client.create_json(leases, Some(namespace), &lease).await;
            failpoint!("lease: made");
            made
        }
        Move::Hold => {
            let lease = held(found.unwrap_or_default(), me, account);
            let held = client.replace_json(leases, Some(namespace), NAME, &lease).await;
            failpoint!("lease: renewed");
            held
        }
    };
    match written {
        Ok(_) => Ok(true),
        // Somebody else was faster.
        Err(e) if e.is_conflict() || e.is_already_exists() => Ok(false),
        Err(e) => Err(e),
    }
}

fn decide(lease: Option<&Value>, me: &str, stood: Duration) -> Move {
    let Some(lease) = lease else { return Move::Create };
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    let term = lease["spec"]["leaseDurationSeconds"].as_u64().map_or(TERM, Duration::from_secs);
    match holder.is_empty() || holder == me || stood >= term {
        true => Move::Hold,
        false => Move::Wait,
    }
}

/// A Lease that is ours from now on, with our account.
fn held(mut lease: Value, me: &str, account: &str) -> Value {
    lease["metadata"]["annotations"][ANNOTATION] = account.into();
    let now = format!("{:.6}", Timestamp::now());
    lease["apiVersion"] = "coordination.k8s.io/v1".into();
    lease["kind"] = "Lease".into();
    if lease["spec"]["holderIdentity"] != me {
        let changes = lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0);
        lease["spec"]["leaseTransitions"] = (changes + 1).into();
        lease["spec"]["acquireTime"] = now.as_str().into();
    }
    lease["spec"]["holderIdentity"] = me.into();
    lease["spec"]["leaseDurationSeconds"] = TERM.as_secs().into();
    lease["spec"]["renewTime"] = now.into();
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_believed_for_its_term() {
        let of = |holder: &str| json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}});
        let second = Duration::from_secs;
        for (lease, stood, expected) in [
            (None, 0, Move::Create),
            (Some(of("me")), 0, Move::Hold),
            (Some(of("")), 0, Move::Hold),
            (Some(of("other")), 14, Move::Wait),
            (Some(of("other")), 15, Move::Hold),
        ] {
            assert_eq!(decide(lease.as_ref(), "me", second(stood)), expected, "{lease:?} for {stood} s");
        }
    }

    #[test]
    fn a_lease_keeps_its_version_and_says_since_when_it_is_ours() {
        let others = json!({"metadata": {"name": NAME, "resourceVersion": "7"},
            "spec": {"holderIdentity": "other", "acquireTime": "x", "leaseTransitions": 2}});
        let ours = held(others, "me", "{}");
        assert_eq!(
            (&ours["metadata"]["resourceVersion"], &ours["spec"]["leaseTransitions"]),
            (&json!("7"), &json!(3))
        );
        assert_ne!(ours["spec"]["acquireTime"], "x");
        let acquired = ours["spec"]["acquireTime"].clone();
        assert_eq!(ours["metadata"]["annotations"]["tortie/collector"], "{}");
        assert_eq!(held(ours, "me", "{}")["spec"]["acquireTime"], acquired);
    }
}
