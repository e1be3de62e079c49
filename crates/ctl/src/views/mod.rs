//! Calico's resources that are not stored but seen in Kubernetes' own objects.

pub mod endpoint;
pub mod node;
pub mod profile;

use serde::Serialize;
use serde_json::Value;

/// The document of a view.
fn document(kind: &str, view: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(view).expect("views have text keys only");
    value["apiVersion"] = "projectcalico.org/v3".into();
    value["kind"] = kind.into();
    value
}
