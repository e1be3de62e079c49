//! Access to any kind as JSON, for the command line.

use crate::client::{Client, DEADLINE, JSON};
use crate::path::escape;
use crate::{Error, Resource};
use http::Method;
use serde_json::{Value, json};

/// The ways to patch an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
    /// Kubernetes' own, for its own kinds only.
    Strategic,
}

/// What must still hold for an object to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Patch::Merge => "application/merge-patch+json",
            Patch::Json => "application/json-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

impl Preconditions {
    /// `DeleteOptions` that carry them.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut preconditions = serde_json::Map::new();
        if let Some(uid) = self.uid.as_deref().filter(|uid| !uid.is_empty()) {
            preconditions.insert("uid".into(), uid.into());
        }
        if let Some(version) = self.resource_version.as_deref().filter(|version| !version.is_empty()) {
            preconditions.insert("resourceVersion".into(), version.into());
        }
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions})
            .to_string()
            .into_bytes()
    }
}

impl Client {
    /// One object.
    pub async fn get_json(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Value, Error> {
        self.json(Method::GET, &resource.item(namespace, name), JSON, Vec::new()).await
    }

    /// All objects of a namespace, or of all (`None`), as one list document.
    pub async fn list_json(&self, resource: &Resource, namespace: Option<&str>) -> Result<Value, Error> {
        self.list(&format!("{}?limit=500", resource.collection(namespace))).await
    }

    /// Those of them that have a label.
    pub async fn list_json_with(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        label: &str,
    ) -> Result<Value, Error> {
        let path = resource.collection(namespace);
        self.list(&format!("{path}?limit=500&labelSelector={}", escape(label))).await
    }

    /// A list whole; `path` is that of its first page.
    async fn list(&self, path: &str) -> Result<Value, Error> {
        let mut list = self.json(Method::GET, path, JSON, Vec::new()).await?;
        while let Some(token) = list["metadata"]["continue"].as_str().filter(|t| !t.is_empty()).map(escape) {
            let page = format!("{path}&continue={token}");
            let mut next = self.json(Method::GET, &page, JSON, Vec::new()).await?;
            let mut items = list["items"].take();
            if let (Some(all), Some(more)) = (items.as_array_mut(), next["items"].as_array_mut()) {
                all.append(more);
            }
            next["items"] = items;
            list = next;
        }
        if let Some(metadata) = list["metadata"].as_object_mut() {
            metadata.remove("continue");
            metadata.remove("remainingItemCount");
        }
        Ok(list)
    }

    /// Creates an object; it is returned as it is stored.
    pub async fn create_json(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<Value, Error> {
        self.json(
            Method::POST,
            &strict(resource.collection(namespace)),
            JSON,
            object.to_string().into_bytes(),
        )
        .await
    }

    /// Replaces an object; with a `metadata.resourceVersion`, only if it is still of that version.
    pub async fn replace_json(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        object: &Value,
    ) -> Result<Value, Error> {
        self.json(Method::PUT, &strict(resource.item(namespace, name)), JSON, object.to_string().into_bytes())
            .await
    }

    /// Patches an object, or a subresource of it such as `status`.
    pub async fn patch_json(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        patch: Patch,
        body: &Value,
    ) -> Result<Value, Error> {
        let mut path = resource.item(namespace, name);
        if let Some(subresource) = subresource {
            path = format!("{path}/{subresource}");
        }
        self.json(Method::PATCH, &strict(path), patch.content_type(), body.to_string().into_bytes()).await
    }

    /// Deletes an object. What the server answers is the object, or a `Status`.
    pub async fn delete_json(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        preconditions: &Preconditions,
    ) -> Result<Value, Error> {
        self.json(Method::DELETE, &resource.item(namespace, name), JSON, preconditions.body()).await
    }

    /// Removes an object without a grace period: kubelet's last word on a pod.
    pub async fn delete_now(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
    ) -> Result<Value, Error> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid},
        });
        self.json(Method::DELETE, &resource.item(namespace, name), JSON, options.to_string().into_bytes())
            .await
    }

    /// The groups that the server serves.
    pub async fn groups(&self) -> Result<Vec<String>, Error> {
        let groups = self.json(Method::GET, "/apis", JSON, Vec::new()).await?;
        let names = groups["groups"].as_array().into_iter().flatten();
        Ok(names.filter_map(|group| group["name"].as_str()).map(str::to_owned).collect())
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Value, Error> {
        let text = self.send(method, path, content_type, body, DEADLINE).await?;
        serde_json::from_str(&text)
            .map_err(|e| Error::Decode { url: format!("{}{path}", self.url()), cause: e.to_string() })
    }
}

/// Asks the server to refuse unknown fields rather than to drop them.
fn strict(path: String) -> String {
    path + "?fieldValidation=Strict"
}
