//! The way to the API: a kubeconfig, `calicoctl`'s own configuration file, or the environment.

use crate::failure::Failure;
use datastore::{Client, Source};
use serde_json::{Value, json};
use std::path::Path;

/// A client of what the flags, the configuration file and the environment say, in this order.
pub async fn open(
    config: Option<&Path>,
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Client, Failure> {
    match (kubeconfig, config) {
        (Some(path), _) => reach(Source::File(path), context).await,
        (None, Some(path)) => open_as_configured(path, context).await,
        (None, None) => open_by_settings(environment, context).await,
    }
}

/// A client of what a configuration file says: a kubeconfig, or a CalicoAPIConfig.
async fn open_as_configured(path: &Path, context: Option<&str>) -> Result<Client, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|_| Failure::on_stdout(format!("Error reading config file: {}", path.display())))?;
    let wrong = |what: String| failed(format!("syntax error in {}: {what}", path.display()));
    let document: Value = serde_saphyr::from_str(&text).map_err(|e| {
        wrong(format!(
            "failed to parse config as YAML/JSON: {}",
            e.to_string().lines().next().unwrap_or_default()
        ))
    })?;
    match (document["kind"].as_str().unwrap_or_default(), document["apiVersion"].as_str().unwrap_or_default())
    {
        ("Config", _) => return reach(Source::File(path), context).await,
        ("CalicoAPIConfig", "projectcalico.org/v3") => {}
        ("CalicoAPIConfig", version) => {
            return Err(wrong(format!("invalid config file: unknown APIVersion '{version}'")));
        }
        (kind, _) => {
            return Err(wrong(format!("invalid config file: expected kind 'CalicoAPIConfig', got '{kind}'")));
        }
    }
    let spec = &document["spec"];
    let is_known = |field: &&String| SETTINGS.contains(&field.as_str());
    let unknown =
        spec.as_object().into_iter().flatten().map(|(field, _)| field).find(|field| !is_known(field));
    if let Some(field) = unknown {
        return Err(wrong(format!("failed to parse config as YAML/JSON: unknown field \"{field}\"")));
    }
    if spec["datastoreType"].as_str().is_some_and(|kind| kind != "kubernetes") {
        return Err(failed("only datastoreType kubernetes is supported".to_owned()));
    }
    let context = context.or(spec["k8sCurrentContext"].as_str());
    if let Some(inline) = spec["kubeconfigInline"].as_str().filter(|text| !text.is_empty()) {
        return reach(Source::Text(inline), context).await;
    }
    if let Some(file) = spec["kubeconfig"].as_str().filter(|text| !text.is_empty()) {
        return reach(Source::File(Path::new(file)), context).await;
    }
    open_by_settings(|name| spec[name].as_str().map(str::to_owned), context).await
}

/// A client of what settings of the API say, or where there are none, of what is found as `kubectl` finds it.
async fn open_by_settings(
    setting: impl Fn(&str) -> Option<String>,
    context: Option<&str>,
) -> Result<Client, Failure> {
    match settings(setting) {
        Some(text) => reach(Source::Text(&text), None).await,
        None => reach(Source::Environment, context).await,
    }
}

async fn reach(source: Source<'_>, context: Option<&str>) -> Result<Client, Failure> {
    Client::open(source, context).await.map_err(|e| match (&e, context) {
        (datastore::Error::Kubeconfig { cause, .. } | datastore::Error::Infer(cause), Some(context))
            if cause.contains("context") =>
        {
            failed(format!("context \"{context}\" does not exist"))
        }
        _ => failed(e.to_string()),
    })
}

fn failed(cause: String) -> Failure {
    Failure::on_stdout(format!("Failed to create Calico API client: {cause}"))
}

/// The settings of a CalicoAPIConfig, also those for etcd.
const SETTINGS: &[&str] = &[
    "calicoAPIGroup",
    "datastoreType",
    "etcdCACert",
    "etcdCACertFile",
    "etcdCert",
    "etcdCertFile",
    "etcdDiscoverySrv",
    "etcdEndpoints",
    "etcdKey",
    "etcdKeyFile",
    "etcdPassword",
    "etcdUsername",
    "k8sAPIEndpoint",
    "k8sAPIToken",
    "k8sCAFile",
    "k8sCertFile",
    "k8sClientBurst",
    "k8sClientQPS",
    "k8sCurrentContext",
    "k8sDisableNodePoll",
    "k8sInsecureSkipTLSVerify",
    "k8sKeyFile",
    "kubeconfig",
    "kubeconfigInline",
    "usePodCIDR",
];

/// The environment's name of a setting: `k8sAPIEndpoint` is `K8S_API_ENDPOINT`.
fn environment(setting: &str) -> Option<String> {
    let name = match setting {
        "k8sAPIEndpoint" => "K8S_API_ENDPOINT",
        "k8sKeyFile" => "K8S_KEY_FILE",
        "k8sCertFile" => "K8S_CERT_FILE",
        "k8sCAFile" => "K8S_CA_FILE",
        "k8sAPIToken" => "K8S_API_TOKEN",
        _ => return None,
    };
    std::env::var(name).ok()
}

/// A kubeconfig made of single settings, if the server's address is among them.
fn settings(read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let read = |name| read(name).filter(|text| !text.is_empty());
    let server = read("k8sAPIEndpoint")?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "settings",
        "contexts": [{"name": "settings", "context": {"cluster": "settings", "user": "settings"}}],
        "clusters": [{"name": "settings", "cluster": {"server": server, "certificate-authority": read("k8sCAFile")}}],
        "users": [{"name": "settings", "user": {
            "token": read("k8sAPIToken"),
            "client-certificate": read("k8sCertFile"),
            "client-key": read("k8sKeyFile"),
        }}],
    });
    Some(config.to_string())
}
