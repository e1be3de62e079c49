//! Answers CalicoNodeStatus: whoever cannot come to the node asks by a resource, and finds the answer in its `status`.

use crate::clock::Clock;
use crate::inbox::Message;
use crate::server;
use datastore::{Client, Scope};
use failpoint::failpoint;
use futures::StreamExt;
use model::store::{Error, Event, Kind, Object, Request};
use model::v3::CalicoNodeStatus;
use node::bgp_status::answer;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How long after a failed write the next try is made.
const RETRY: Duration = Duration::from_secs(5);

/// A question of this node, and when it is to be answered; `None`: it was, and does not want to be again.
struct Question {
    asked: CalicoNodeStatus,
    due: Option<Instant>,
}

/// Answers what is asked of `node` until the core ends.
pub(crate) async fn serve(client: Client, node: String, inbox: mpsc::Sender<Message>) {
    let mut events = pin!(client.watch(Kind::CalicoNodeStatus, Scope::All));
    let mut questions: BTreeMap<String, Question> = BTreeMap::new();
    loop {
        let due = questions.iter().filter_map(|(name, q)| Some((q.due?, name.clone()))).min();
        let (at, name) = due.map_or((None, String::new()), |(at, name)| (Some(at), name));
        tokio::select! {
            event = events.next() => match event {
                Some(event) => hear(&mut questions, &node, event),
                None => return,
            },
            () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                let question = questions.get_mut(&name).expect("it was found due above");
                let Some(status) = server::status(&inbox).await else { return };
                question.asked.status = answer(&question.asked.spec, &status, Clock::wall_micros());
                question.due = next(&client, question).await;
            }
        }
    }
}

/// Writes the answer; when the next one is due.
async fn next(client: &Client, question: &mut Question) -> Option<Instant> {
    let object = Object::CalicoNodeStatus(Box::new(question.asked.clone()));
    let answered = client.request(Request::Status(object)).await;
    failpoint!("question: answered");
    match answered {
        Ok(written) => {
            if let Some(Object::CalicoNodeStatus(written)) = written {
                question.asked = *written;
            }
            let period = question.asked.spec.update_period_seconds.filter(|period| *period > 0)?;
            Some(Instant::now() + Duration::from_secs(period.into()))
        }
        // The watch will say how it is now, and that it is gone.
        Err(Error::Conflict | Error::NotFound) => Some(Instant::now() + RETRY),
        Err(error) => {
            let name = &question.asked.metadata.name;
            tracing::warn!("cannot answer CalicoNodeStatus {name}: {error}");
            Some(Instant::now() + RETRY)
        }
    }
}

fn hear(questions: &mut BTreeMap<String, Question>, node: &str, event: Event) {
    match event {
        Event::Listed(_, objects) => {
            let names: Vec<&String> = objects.iter().map(|object| &object.metadata().name).collect();
            questions.retain(|name, _| names.contains(&name));
            objects.into_iter().for_each(|object| put(questions, node, object));
        }
        Event::Put(object) => put(questions, node, object),
        Event::Gone(key) => _ = questions.remove(&key.name),
        // What is known stays in force.
        Event::Failed { .. } => {}
    }
}

fn put(questions: &mut BTreeMap<String, Question>, node: &str, object: Object) {
    let Object::CalicoNodeStatus(asked) = object else { return };
    let name = asked.metadata.name.clone();
    if asked.spec.node != node {
        questions.remove(&name);
        return;
    }
    let due = match questions.get(&name) {
        Some(known) if known.asked.spec == asked.spec => known.due,
        Some(_) => Some(Instant::now()),
        None => {
            // What asks for no renewal and was answered by the run before is done.
            let renews = asked.spec.update_period_seconds.unwrap_or_default() > 0;
            (renews || asked.status.last_updated.is_none()).then(Instant::now)
        }
    };
    questions.insert(name, Question { asked: *asked, due });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asks(questions: &mut BTreeMap<String, Question>, classes: &[&str]) -> bool {
        let object = json!({"metadata": {"name": "q"}, "spec": {"node": "n1", "classes": classes},
            "status": {"lastUpdated": "2026-01-01T00:00:00Z"}});
        let asked: CalicoNodeStatus = serde_json::from_value(object).expect("a question");
        put(questions, "n1", Object::CalicoNodeStatus(Box::new(asked)));
        questions["q"].due.is_some()
    }

    #[test]
    fn what_was_answered_once_is_answered_again_when_something_else_is_asked() {
        let mut questions = BTreeMap::new();
        assert!(!asks(&mut questions, &["BGP"]), "the run before answered it");
        assert!(!asks(&mut questions, &["BGP"]));
        assert!(asks(&mut questions, &["BGP", "Routes"]));
    }
}
