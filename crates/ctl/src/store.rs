//! Resources in the API: stored as themselves, or seen through Nodes, Pods and Namespaces.

use crate::failure::Fault;
use crate::kind::{Kind, Storage};
use crate::views::{endpoint, node, profile};
use datastore::{Client, Preconditions, Resource};
use failpoint::failpoint;
use model::{schema, v3};
use serde_json::{Value, json};

/// The resources behind one API server.
pub struct Store {
    pub client: Client,
}

/// Whether a write must find its object, must not find it, or takes it as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    Create,
    Apply,
    Replace,
    /// Like `Replace`, from a document that was read before: what it lacks was taken out on purpose.
    Patch,
}

impl Write {
    /// The operation's name in errors.
    pub fn operation(self) -> &'static str {
        match self {
            Write::Create => "Create",
            Write::Apply | Write::Replace | Write::Patch => "Update",
        }
    }
}

/// Calico shows a NetworkPolicy of Kubernetes under such a name.
fn is_of_kubernetes(kind: &Kind, name: &str) -> bool {
    kind.kind == "NetworkPolicy" && name.starts_with("knp.default.")
}

impl Store {
    /// One resource.
    pub async fn get(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Value, Fault> {
        match kind.storage {
            Storage::Resource => self.stored(kind, namespace, name).await,
            Storage::Node => node::get(&self.client, kind, name).await,
            Storage::Pod => endpoint::get(&self.client, kind, namespace, name).await,
            Storage::Profile => profile::get(&self.client, kind, name).await,
        }
    }

    /// All resources of a kind, of one namespace or of all, as a list document.
    pub async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Value, Fault> {
        let list = match kind.storage {
            Storage::Resource => {
                let object = kind.object(namespace, "");
                let list = self
                    .client
                    .list_json(resource(kind), namespace)
                    .await
                    .map_err(|e| Fault::of(&object, e))?;
                let (version, items) = parts(list);
                (version, items.into_iter().map(|item| finished(kind, item)).collect())
            }
            Storage::Node => node::list(&self.client, kind).await?,
            Storage::Pod => endpoint::list(&self.client, kind, namespace).await?,
            Storage::Profile => profile::list(&self.client).await?,
        };
        let (version, mut items) = list;
        if kind.kind == "Tier" {
            let name = |tier: &Value| tier["metadata"]["name"].as_str().map(str::to_owned);
            items.sort_by(|a, b| tier_order(a).total_cmp(&tier_order(b)).then_with(|| name(a).cmp(&name(b))));
        }
        Ok(json!({
            "apiVersion": "projectcalico.org/v3",
            "kind": format!("{}List", kind.kind),
            "metadata": {"resourceVersion": version},
            "items": items,
        }))
    }

    /// Writes a resource; it is returned as it is stored.
    pub async fn write(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        document: &Value,
        write: Write,
    ) -> Result<Value, Fault> {
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        let object = kind.object(namespace, name);
        let unsupported =
            |reason| Fault::Unsupported { operation: write.operation(), object: object.clone(), reason };
        match kind.storage {
            Storage::Resource if kind.kind == "ClusterInformation" => {
                let (operation, reason) = match write {
                    Write::Create => ("create", Some(READ_ONLY)),
                    Write::Apply => ("apply", Some(READ_ONLY)),
                    Write::Replace => ("replace", Some(READ_ONLY)),
                    Write::Patch => ("apply or replace", None),
                };
                Err(Fault::Unsupported { operation, object: kind.kind.to_owned(), reason })
            }
            Storage::Resource if is_of_kubernetes(kind, name) => {
                let operation = "create or apply";
                Err(Fault::Unsupported { operation, object, reason: Some(OF_KUBERNETES) })
            }
            Storage::Resource => self.write_stored(kind, namespace, document, write).await,
            Storage::Node => {
                let document = schema::validate(kind.kind, document.clone(), None)?;
                node::write(&self.client, kind, name, &document, write).await
            }
            Storage::Pod => {
                if write != Write::Create {
                    endpoint::exists(&self.client, kind, namespace, document).await?;
                }
                Err(unsupported(Some("a workload endpoint is made from its Pod")))
            }
            Storage::Profile => Err(unsupported(None)),
        }
    }

    /// Deletes a resource.
    pub async fn delete(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<(), Fault> {
        let object = kind.object(namespace, name);
        let unsupported = |operation, object, reason| Err(Fault::Unsupported { operation, object, reason });
        match kind.storage {
            Storage::Node | Storage::Pod => {
                self.get(kind, namespace, name).await?;
                let reason = match kind.storage {
                    Storage::Node => "delete the Kubernetes Node",
                    _ => "a workload endpoint goes with its Pod",
                };
                return unsupported("Delete", object, Some(reason));
            }
            Storage::Profile => return unsupported("Delete", object, None),
            Storage::Resource => {}
        }
        match (kind.kind, name) {
            ("ClusterInformation", _) => return unsupported("delete", kind.kind.to_owned(), None),
            _ if is_of_kubernetes(kind, name) => return unsupported("delete", object, Some(OF_KUBERNETES)),
            ("Tier", "default") => {
                return unsupported("Delete", name.to_owned(), Some("Cannot delete default tier"));
            }
            ("Tier", "kube-admin") => {
                return unsupported("Delete", name.to_owned(), Some("Cannot delete kube-admin tier"));
            }
            ("Tier", "kube-baseline") => {
                return unsupported("Delete", name.to_owned(), Some("Cannot delete kube-baseline tier"));
            }
            ("Tier", _) if self.tier_has_policies(name).await? => {
                return unsupported("delete", name.to_owned(), Some("Cannot delete a non-empty tier"));
            }
            (_, "") => {
                let cause = "resource name may not be empty".to_owned();
                return Err(Fault::NotFound { object, cause });
            }
            _ => {}
        }
        let deleted =
            self.client.delete_json(resource(kind), namespace, name, &Preconditions::default()).await;
        failpoint!("document: deleted");
        deleted.map(|_| ()).map_err(|e| Fault::of(&object, e))
    }

    async fn stored(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Value, Fault> {
        let found = self.client.get_json(resource(kind), namespace, name).await;
        found.map(|value| finished(kind, value)).map_err(|e| Fault::of(&kind.object(namespace, name), e))
    }

    async fn write_stored(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        document: &Value,
        write: Write,
    ) -> Result<Value, Fault> {
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        let object = kind.object(namespace, name);
        // An object without a name cannot be looked up; validation says what is wrong with it.
        let old = match write {
            Write::Create => None,
            _ if name.is_empty() => None,
            Write::Apply => match self.stored(kind, namespace, name).await {
                Err(Fault::NotFound { .. }) => None,
                other => Some(other?),
            },
            Write::Replace | Write::Patch => Some(self.stored(kind, namespace, name).await?),
        };
        let mut new = schema::validate(kind.kind, document.clone(), old.as_ref())?;
        schema::encode(kind.kind, &mut new);
        if kind.namespaced() {
            new["metadata"]["namespace"] = namespace.unwrap_or("default").into();
        }
        if kind.kind == "IPPool" && old.is_none() {
            self.refuse_overlap(&new).await?;
        }
        if let Some(tier) = new["spec"]["tier"].as_str().filter(|tier| old.is_none() && *tier != "default") {
            let tiers = Kind::of_document("Tier").expect("the kind is in the table");
            self.stored(tiers, None, tier).await?;
        }
        if kind.kind == "BGPPeer" {
            self.refuse_missing_filters(&new).await?;
        }
        let resource = resource(kind);
        let written = match old {
            None => {
                forget(&mut new, &["resourceVersion", "uid", "creationTimestamp", "generation"]);
                self.client.create_json(resource, namespace, &new).await
            }
            Some(old) => {
                keep(&mut new, &old);
                self.client.replace_json(resource, namespace, name, &new).await
            }
        };
        failpoint!("document: written");
        written.map(|value| finished(kind, value)).map_err(|e| Fault::of(&object, e))
    }

    /// A peer whose filter is not there yet would be told everything.
    async fn refuse_missing_filters(&self, peer: &Value) -> Result<(), Fault> {
        let kind = Kind::of_document("BGPFilter").expect("the kind is in the table");
        let names = peer["spec"]["filters"].as_array().into_iter().flatten();
        let names: Vec<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        for name in &names {
            match self.stored(kind, None, name).await {
                Ok(_) => {}
                Err(Fault::NotFound { .. }) => {
                    return Err(Fault::Invalid(v3::missing_filters(&names).into()));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Pools must not share addresses; the API server cannot know, for it looks at one object at a time.
    async fn refuse_overlap(&self, pool: &Value) -> Result<(), Fault> {
        let kind = Kind::of_document("IPPool").expect("the kind is in the table");
        let list = self.client.list_json(resource(kind), None).await.map_err(|e| Fault::of("IPPool()", e))?;
        let parse =
            |pool: &Value| pool["spec"]["cidr"].as_str().and_then(|text| text.parse::<model::Cidr>().ok());
        let others = list["items"].as_array().into_iter().flatten();
        let others = others.filter_map(|other| Some((other["metadata"]["name"].as_str()?, parse(other)?)));
        let name = pool["metadata"]["name"].as_str().unwrap_or_default();
        match parse(pool).and_then(|cidr| v3::overlap(name, cidr, others)) {
            Some(error) => Err(Fault::Invalid(error.into())),
            None => Ok(()),
        }
    }

    async fn tier_has_policies(&self, tier: &str) -> Result<bool, Fault> {
        for kind in
            ["NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"]
        {
            let kind = Kind::of_document(kind).expect("the kind is in the table");
            let list =
                self.client.list_json(resource(kind), None).await.map_err(|e| Fault::of(kind.kind, e))?;
            let mut policies = list["items"].as_array().into_iter().flatten();
            if policies.any(|policy| policy["spec"]["tier"].as_str().unwrap_or("default") == tier) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn resource(kind: &Kind) -> &'static Resource {
    Resource::of_kind(kind.kind).expect("every stored kind has a place in the API")
}

/// A list's version and items.
pub fn parts(mut list: Value) -> (String, Vec<Value>) {
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let items = match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    (version, items)
}

/// A resource as it is shown: with kind and version, without the record of who set which field.
fn finished(kind: &Kind, mut value: Value) -> Value {
    value["apiVersion"] = "projectcalico.org/v3".into();
    value["kind"] = kind.kind.into();
    forget(&mut value, &["managedFields"]);
    if ALWAYS_STATUS.contains(&kind.kind) && value["status"].is_null() {
        value["status"] = json!({});
    }
    value
}

/// Why the cluster's own account of itself is not written by users.
const READ_ONLY: &str = "resource is readonly";
const OF_KUBERNETES: &str = "kubernetes network policies must be managed through the kubernetes API";

/// Kinds that show a status, also an empty one.
const ALWAYS_STATUS: &[&str] = &["CalicoNodeStatus", "KubeControllersConfiguration", "Tier"];

/// Takes fields out of `metadata`.
pub fn forget(value: &mut Value, fields: &[&str]) {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.retain(|field, _| !fields.contains(&field.as_str()));
    }
}

/// What a user's document need not repeat: the version that is replaced, and what controllers put there.
fn keep(new: &mut Value, old: &Value) {
    for field in ["resourceVersion", "finalizers", "ownerReferences"] {
        if new["metadata"][field].is_null() && !old["metadata"][field].is_null() {
            new["metadata"][field] = old["metadata"][field].clone();
        }
    }
    forget(new, &["uid", "creationTimestamp", "generation"]);
}

fn tier_order(tier: &Value) -> f64 {
    tier["spec"]["order"].as_f64().unwrap_or(f64::INFINITY)
}
