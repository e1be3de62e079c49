//! The passwords of sessions: read from Secrets by name, again from time to time, since Secrets are not watched. A session
//! whose password cannot be read waits; the others go on.

use super::Job;
use bgp::PeerId;
use datastore::Client;
use model::store::{Key, Kind, Object, Request};
use model::v3::SecretKeyRef;
use node::SpeakerConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::sync::watch;

/// How often Secrets are read again.
const REFRESH: Duration = Duration::from_secs(60);
/// How soon, while one is missing.
const RETRY: Duration = Duration::from_secs(5);

/// Follows the configuration, puts the passwords to it and hands it to the speaker.
pub(crate) async fn unlock(
    client: Client,
    namespace: String,
    mut wanted: watch::Receiver<Option<Box<SpeakerConfig>>>,
    jobs: watch::Sender<Option<Job>>,
) {
    let mut missing = BTreeSet::new();
    loop {
        let config = wanted.borrow_and_update().clone();
        let job = match config.as_deref() {
            Some(config) => Some(job(&client, &namespace, config, &mut missing).await),
            None => None,
        };
        jobs.send_if_modified(|current| {
            let differs = *current != job;
            *current = job;
            differs
        });
        let refresh = if missing.is_empty() { REFRESH } else { RETRY };
        let has_passwords = config.is_some_and(|config| !config.passwords.is_empty());
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(refresh), if has_passwords => {}
        }
    }
}

async fn job(
    client: &Client,
    namespace: &str,
    config: &SpeakerConfig,
    missing: &mut BTreeSet<SecretKeyRef>,
) -> Job {
    let mut bgp = config.bgp.clone();
    let mut keys: BTreeMap<PeerId, Vec<u8>> = BTreeMap::new();
    let mut found: BTreeMap<&SecretKeyRef, Option<Vec<u8>>> = BTreeMap::new();
    for reference in config.passwords.values() {
        if !found.contains_key(reference) {
            let password = read(client, namespace, reference).await;
            say(namespace, reference, &password, missing);
            found.insert(reference, password.ok());
        }
    }
    for (id, reference) in &config.passwords {
        match found[reference].clone() {
            Some(key) => {
                if let Some(peer) = bgp.peers.get_mut(id) {
                    peer.password_key = Some(mark(&key));
                }
                keys.insert(id.clone(), key);
            }
            None if reference.optional == Some(true) => {}
            None => _ = bgp.peers.remove(id),
        }
    }
    missing.retain(|reference| found.contains_key(reference));
    Job { bgp, listen: config.listen.clone(), keys }
}

async fn read(client: &Client, namespace: &str, reference: &SecretKeyRef) -> Result<Vec<u8>, String> {
    let key = Key::namespaced(Kind::Secret, namespace, &reference.name);
    match client.request(Request::Get(key)).await {
        Ok(Some(Object::Secret(secret))) => {
            secret.bytes(&reference.key).ok_or_else(|| format!("it has no key {}", reference.key))
        }
        Ok(_) => Err("it does not exist".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Says once that a password is missing, and once that it is there.
fn say(
    namespace: &str,
    reference: &SecretKeyRef,
    password: &Result<Vec<u8>, String>,
    missing: &mut BTreeSet<SecretKeyRef>,
) {
    let name = format!("{namespace}/{}", reference.name);
    match password {
        Ok(_) => {
            if missing.remove(reference) {
                tracing::info!("BGP: Secret {name} can be read now");
            }
        }
        Err(why) => {
            if missing.insert(reference.clone()) {
                tracing::warn!("BGP: the sessions whose password is in Secret {name} wait: {why}");
            }
        }
    }
}

/// Differs when the key does, and does not tell it.
fn mark(key: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
