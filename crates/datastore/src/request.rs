//! The agent's requests: one attempt each, within a deadline, and an answer that says what is known of the write.

use crate::client::{Client, DEADLINE, JSON};
use crate::json::Preconditions;
use crate::{Error, Resource, decode};
use http::Method;
use model::store::{Key, Kind, Object, Reply, Request};
use serde_json::json;

impl Client {
    /// Carries one request out.
    pub async fn request(&self, request: Request) -> Reply {
        match request {
            Request::Get(key) => self.get(&key).await,
            Request::Create(object) => {
                let path = Resource::of(object.kind()).collection(object.metadata().namespace.as_deref());
                self.write(Method::POST, &path, JSON, &object).await
            }
            Request::Update(object) => {
                assert!(!object.metadata().resource_version.is_empty(), "an update is a compare-and-swap");
                self.write(Method::PUT, &path(&object.key()), JSON, &object).await
            }
            Request::Delete { key, uid, resource_version } => {
                let body = Preconditions { uid: Some(uid), resource_version: Some(resource_version) }.body();
                self.send(Method::DELETE, &path(&key), JSON, body, DEADLINE).await.map(|_| None)
            }
            Request::Annotate { key, annotations } => {
                let body = json!({"metadata": {"annotations": annotations}}).to_string().into_bytes();
                let path = format!("{}/status", path(&key));
                let answer =
                    self.send(Method::PATCH, &path, "application/merge-patch+json", body, DEADLINE).await;
                answer.and_then(|text| self.object(key.kind, &path, &text))
            }
            Request::Status(object) => {
                assert!(!object.metadata().resource_version.is_empty(), "a status is a compare-and-swap");
                let path = format!("{}/status", path(&object.key()));
                self.write(Method::PUT, &path, JSON, &object).await
            }
            Request::Condition { key, condition, turned } => {
                let now = jiff::Timestamp::now();
                let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
                let mut condition = serde_json::to_value(condition).expect("texts become JSON");
                condition["lastHeartbeatTime"] = json!(now);
                if turned {
                    condition["lastTransitionTime"] = json!(now);
                }
                let body = json!({"status": {"conditions": [condition]}}).to_string().into_bytes();
                let path = format!("{}/status", path(&key));
                let patch = "application/strategic-merge-patch+json";
                let answer = self.send(Method::PATCH, &path, patch, body, DEADLINE).await;
                answer.and_then(|text| self.object(key.kind, &path, &text))
            }
        }
        .map_err(Into::into)
    }

    async fn get(&self, key: &Key) -> Result<Option<Object>, Error> {
        let path = path(key);
        let text = self.read(&path).await?;
        self.object(key.kind, &path, &text)
    }

    async fn write(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        object: &Object,
    ) -> Result<Option<Object>, Error> {
        let body = decode::document(object);
        let text = self.send(method, path, content_type, body, DEADLINE).await?;
        self.object(object.kind(), path, &text)
    }

    fn object(&self, kind: Kind, path: &str, text: &str) -> Result<Option<Object>, Error> {
        decode::object(kind, text)
            .map(Some)
            .map_err(|e| Error::Decode { url: format!("{}{path}", self.url()), cause: e.to_string() })
    }
}

fn path(key: &Key) -> String {
    Resource::of(key.kind).item(key.namespace.as_deref(), &key.name)
}
