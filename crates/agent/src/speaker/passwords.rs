//! The passwords of sessions: read from Secrets by name, again from time to time, since Secrets are not watched. A session
//! whose password is not there waits; the others go on, those too whose password cannot be read again at the moment.

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
    let mut passwords = Passwords { namespace, known: BTreeMap::new(), missing: BTreeSet::new() };
    loop {
        let config = wanted.borrow_and_update().clone();
        let job = match config.as_deref() {
            Some(config) => Some(passwords.job(&client, config).await),
            None => None,
        };
        jobs.send_if_modified(|current| {
            let differs = *current != job;
            *current = job;
            differs
        });
        let refresh = if passwords.missing.is_empty() { REFRESH } else { RETRY };
        let has_passwords = config.is_some_and(|config| !config.passwords.is_empty());
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(refresh), if has_passwords => {}
        }
    }
}

/// What is known of the Secrets that the configuration names.
struct Passwords {
    namespace: String,
    /// As last read. One that cannot be read now stays what it was: sessions outlive the API server's absence.
    known: BTreeMap<SecretKeyRef, Vec<u8>>,
    /// What the last attempt did not find: told once.
    missing: BTreeSet<SecretKeyRef>,
}

/// What there is behind a reference.
#[derive(Debug)]
enum Found {
    Key(Vec<u8>),
    /// The API server says that there is none.
    Nothing(String),
    /// The API server could not be asked.
    Unknown(String),
}

/// How the sessions of a reference are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Protection {
    Key(Vec<u8>),
    /// Its password is optional, and there is none.
    None,
    /// Not at all.
    Waits,
}

impl Passwords {
    async fn job(&mut self, client: &Client, config: &SpeakerConfig) -> Job {
        let mut bgp = config.bgp.clone();
        let mut keys: BTreeMap<PeerId, Vec<u8>> = BTreeMap::new();
        let mut protections: BTreeMap<&SecretKeyRef, Protection> = BTreeMap::new();
        for reference in config.passwords.values() {
            if !protections.contains_key(reference) {
                let found = read(client, &self.namespace, reference).await;
                protections.insert(reference, self.learn(reference, found));
            }
        }
        for (id, reference) in &config.passwords {
            match &protections[reference] {
                Protection::Key(key) => {
                    if let Some(peer) = bgp.peers.get_mut(id) {
                        peer.password_key = Some(mark(key));
                    }
                    keys.insert(id.clone(), key.clone());
                }
                Protection::None => {}
                Protection::Waits => _ = bgp.peers.remove(id),
            }
        }
        self.missing.retain(|reference| protections.contains_key(reference));
        self.known.retain(|reference, _| protections.contains_key(reference));
        Job { bgp, listen: config.listen.clone(), keys }
    }

    /// Takes up what was found; says once that a password is missing, and once that it is there.
    fn learn(&mut self, reference: &SecretKeyRef, found: Found) -> Protection {
        let name = format!("{}/{}", self.namespace, reference.name);
        let why = match found {
            Found::Key(key) => {
                if self.missing.remove(reference) {
                    tracing::info!("BGP: Secret {name} can be read now");
                }
                self.known.insert(reference.clone(), key.clone());
                return Protection::Key(key);
            }
            Found::Nothing(why) => {
                self.known.remove(reference);
                if reference.optional == Some(true) {
                    self.missing.insert(reference.clone());
                    return Protection::None;
                }
                why
            }
            Found::Unknown(why) => why,
        };
        let is_new = self.missing.insert(reference.clone());
        match self.known.get(reference) {
            Some(key) => {
                if is_new {
                    tracing::warn!(
                        "BGP: Secret {name} cannot be read: its sessions keep their password: {why}"
                    );
                }
                Protection::Key(key.clone())
            }
            None => {
                if is_new {
                    tracing::warn!("BGP: the sessions whose password is in Secret {name} wait: {why}");
                }
                Protection::Waits
            }
        }
    }
}

async fn read(client: &Client, namespace: &str, reference: &SecretKeyRef) -> Found {
    let key = Key::namespaced(Kind::Secret, namespace, &reference.name);
    match client.request(Request::Get(key)).await {
        Ok(Some(Object::Secret(secret))) => match secret.bytes(&reference.key) {
            Some(key) => Found::Key(key),
            None => Found::Nothing(format!("it has no key {}", reference.key)),
        },
        Ok(_) => Found::Nothing("it does not exist".to_owned()),
        Err(error) => Found::Unknown(error.to_string()),
    }
}

/// Differs when the key does, and does not tell it.
fn mark(key: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(optional: bool) -> SecretKeyRef {
        SecretKeyRef { name: "bgp".into(), key: "k".into(), optional: Some(optional) }
    }

    #[test]
    fn a_session_keeps_its_password_while_the_api_server_is_away_and_loses_it_with_the_secret() {
        use Protection::{None, Waits};
        let key = || Protection::Key(b"x".to_vec());
        let (read, gone, away) = (
            || Found::Key(b"x".to_vec()),
            || Found::Nothing("gone".into()),
            || Found::Unknown("away".into()),
        );
        for (optional, steps) in [
            (
                false,
                vec![(away(), Waits), (read(), key()), (away(), key()), (gone(), Waits), (away(), Waits)],
            ),
            (true, vec![(away(), Waits), (gone(), None), (read(), key()), (away(), key()), (gone(), None)]),
        ] {
            let mut passwords =
                Passwords { namespace: "ns".into(), known: BTreeMap::new(), missing: BTreeSet::new() };
            for (found, expected) in steps {
                let step = format!("{found:?}");
                assert_eq!(
                    passwords.learn(&reference(optional), found),
                    expected,
                    "{step}, optional {optional}"
                );
            }
        }
    }
}
