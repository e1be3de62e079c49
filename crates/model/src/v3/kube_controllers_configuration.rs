//! KubeControllersConfiguration: settings of Calico's controllers, kept for them.

use super::written::{default, spec_mut};
use serde_json::Value;

/// The port of their metrics.
const METRICS_PORT: u16 = 9094;

/// Gives the settings their defaults.
pub(super) fn set_defaults(object: &mut Value) {
    let Some(spec) = spec_mut(object) else { return };
    default(spec, "healthChecks", "Enabled");
    spec.entry("prometheusMetricsPort").or_insert_with(|| METRICS_PORT.into());
    let node = spec.get_mut("controllers").and_then(|controllers| controllers.get_mut("node"));
    if let Some(node) = node.and_then(Value::as_object_mut) {
        default(node, "leakGracePeriod", "15m0s");
    }
}
