//! Writes kubeconfig files: server, authority and token in one file of mode 0600.

use crate::Server;
use anyhow::{Context, Result};
use std::path::Path;

/// Writes the kubeconfig of `user` to `path`, replacing what is there.
pub fn write(path: &Path, server: &Server, user: &str, token: &str) -> Result<()> {
    crate::auth::write_private(path, &text(&server.url(), &server.ca, user, token))
        .with_context(|| format!("cannot write the kubeconfig {}", path.display()))
}

/// The file's text. JSON is YAML, so no name needs quoting rules of its own.
pub fn text(url: &str, ca: &str, user: &str, token: &str) -> String {
    let ca = data_encoding::BASE64.encode(ca.as_bytes());
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "tortie", "cluster": { "server": url, "certificate-authority-data": ca } }],
        "users": [{ "name": user, "user": { "token": token } }],
        "contexts": [{ "name": "tortie", "context": { "cluster": "tortie", "user": user, "namespace": "default" } }],
        "current-context": "tortie",
    });
    format!("{config:#}\n")
}
