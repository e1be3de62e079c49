//! Who a client is: bearer tokens, kept in the data directory as one file of mode 0600 each.
//!
//! A token is 244 random bits. Looking one up compares SHA-256 digests, so timing tells nothing.

use anyhow::{Context, Result, bail};
use failpoint::failpoint;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// May do everything.
    Admin,
    /// The agent and kubelet of one node, by the node's name.
    Node(String),
}

/// The tokens that open the door.
pub struct Tokens {
    dir: PathBuf,
    known: RwLock<BTreeMap<[u8; 32], User>>,
}

impl Tokens {
    /// Reads the tokens of `dir`.
    pub fn open(dir: PathBuf) -> Result<Tokens> {
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut known = BTreeMap::new();
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            let user = match path.file_name().and_then(|name| name.to_str()) {
                Some("admin") => User::Admin,
                Some(name) => match name.strip_prefix("node-") {
                    Some(node) => User::Node(node.to_owned()),
                    None => continue,
                },
                None => continue,
            };
            let token = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let token = String::from_utf8_lossy(&token);
            // Of one that was cut short nothing is believed: it would be guessed.
            if is_whole(token.trim()) {
                known.insert(digest(token.trim()), user);
            } else {
                tracing::warn!("{} holds no token: one is made anew when it is asked for", path.display());
            }
        }
        Ok(Tokens { dir, known: RwLock::new(known) })
    }

    /// The token of `user`, made if there is none yet.
    pub fn issue(&self, user: User) -> Result<String> {
        let file = match &user {
            User::Admin => "admin".to_owned(),
            User::Node(node) if node.is_empty() || node.contains('/') => {
                bail!("{node:?} is no name of a node")
            }
            User::Node(node) => format!("node-{node}"),
        };
        let path = self.dir.join(file);
        if let Ok(token) = std::fs::read_to_string(&path)
            && is_whole(token.trim())
        {
            return Ok(token.trim().to_owned());
        }
        let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        write_private(&path, &token).with_context(|| format!("cannot write {}", path.display()))?;
        self.known.write().expect("no holder panics").insert(digest(&token), user);
        Ok(token)
    }

    /// Whose token this is.
    pub fn user(&self, token: &str) -> Option<User> {
        self.known.read().expect("no holder panics").get(&digest(token)).cloned()
    }
}

/// Whether a text is a token as they are issued.
fn is_whole(token: &str) -> bool {
    token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Writes a file of mode 0600 whole or not at all.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    failpoint!("secret: written");
    std::fs::rename(&new, path)?;
    failpoint!("secret: renamed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_token_is_nobodys_and_is_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("admin"), "\n").expect("written");
        let tokens = Tokens::open(dir.path().to_owned()).expect("tokens");
        assert_eq!(tokens.user(""), None);
        let token = tokens.issue(User::Admin).expect("a token");
        assert_eq!((tokens.user(&token), tokens.user("")), (Some(User::Admin), None));
    }

    /// One that is right but for its last digit takes no longer than one that is wrong from the first: the best of many turns.
    #[test]
    fn s48_a_token_that_is_almost_right_takes_no_longer() {
        let dir = tempfile::tempdir().expect("a directory");
        let tokens = Tokens::open(dir.path().to_owned()).expect("tokens");
        let right = tokens.issue(User::Admin).expect("a token");
        for node in 0..100 {
            tokens.issue(User::Node(format!("n{node}"))).expect("a token");
        }
        let other = |digit: &str| if digit == "0" { "1" } else { "0" };
        let almost = format!("{}{}", &right[..63], other(&right[63..]));
        let wrong = format!("{}{}", other(&right[..1]), &right[1..]);
        let mut best = [std::time::Duration::MAX; 2];
        for _ in 0..200 {
            for (best, token) in best.iter_mut().zip([&almost, &wrong]) {
                let began = std::time::Instant::now();
                for _ in 0..50 {
                    assert_eq!(tokens.user(std::hint::black_box(token)), None);
                }
                *best = began.elapsed().min(*best);
            }
        }
        let [almost, wrong] = best;
        assert!(almost < wrong * 5 / 4 && wrong < almost * 5 / 4, "{almost:?} and {wrong:?}");
    }
}
