//! `node diags`: one file with what helps to find a fault on this node, to be given to whoever looks for it.
//!
//! Only what is listed here goes in, and nothing of it holds a secret: the agent's account of itself, the kernel's network as
//! objects, attachments and queued DELs, Calico's resources, and logs. Logs may be others', which have written tokens before:
//! a line that speaks of a credential is left out. What cannot be had is said and left out; the rest is collected.

use crate::checksystem;
use crate::cli::NodeDiagsArgs;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::output::json;
use crate::session::Session;
use crate::{agent, version};
use datastore::Resource;
use flate2::{Compression, write::GzEncoder};
use kernel::Netns;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Of each log, the end.
const LOG_BYTES: u64 = 8 << 20;
/// More files of one folder are not taken.
const FILES: usize = 500;
/// Settings beside the objects that the kernel lists.
const SETTINGS: [&str; 4] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/neigh/default/gc_thresh3",
];
/// Resources, none of which holds a secret: passwords stand in Secrets and are only named.
const KINDS: [&str; 10] = [
    "Node",
    "IPPool",
    "IPReservation",
    "BGPConfiguration",
    "BGPPeer",
    "BGPFilter",
    "FelixConfiguration",
    "ClusterInformation",
    "IPAMBlock",
    "BlockAffinity",
];
/// What a line about a credential has in it, in small letters.
const CREDENTIALS: [&str; 8] =
    ["password", "passwd", "token", "secret", "bearer", "authorization", "private key", "eyj"];

/// Collects, and says where the file lies.
pub async fn run(session: &mut Session<'_>, args: &NodeDiagsArgs) -> Result<(), Failure> {
    session.print("Collecting diagnostics\n")?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = jiff::Timestamp::from_second(seconds as i64).unwrap_or_default();
    let prefix = format!("calico-diags-{}-", time.strftime("%Y%m%d_%H%M%S"));
    // Made for its owner alone, under a name that nobody can have prepared.
    let file = tempfile::Builder::new().prefix(&prefix).suffix(".tar.gz").tempfile_in(&args.output_dir);
    let file = file.map_err(|e| cannot_write(&args.output_dir, &e))?;
    let mut archive = Archive::new(file.as_file(), seconds);
    let mut missing = String::new();
    for part in Part::ALL {
        session.print(&format!("Dumping {}\n", part.name()))?;
        if let Err(why) = part.collect(session, args, &mut archive).await {
            session.print(&format!("  not there: {why}\n"))?;
            missing += &format!("{}: {why}\n", part.name());
        }
    }
    let written = archive.add("missing.txt", missing.as_bytes()).and_then(|()| archive.finish());
    written.map_err(|e| cannot_write(file.path(), &e))?;
    let (_, path) = file.keep().map_err(|e| cannot_write(&args.output_dir, &e.error))?;
    session.print(&format!("\nDiags saved to {}\n", path.display()))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!(
        "cannot write {}: {error}; --output-dir takes another folder for the file",
        path.display()
    ))
}

/// What is collected.
#[derive(Clone, Copy)]
enum Part {
    Versions,
    Agent,
    Kernel,
    State,
    Resources,
    Logs,
}

impl Part {
    const ALL: [Part; 6] =
        [Part::Versions, Part::Agent, Part::Kernel, Part::State, Part::Resources, Part::Logs];

    fn name(self) -> &'static str {
        match self {
            Part::Versions => "versions and what the kernel takes",
            Part::Agent => "the agent's status",
            Part::Kernel => "the kernel's links, addresses, routes, neighbours, filters and rules",
            Part::State => "attachments and queued DELs",
            Part::Resources => "Calico's resources",
            Part::Logs => "logs",
        }
    }

    async fn collect(
        self,
        session: &mut Session<'_>,
        args: &NodeDiagsArgs,
        archive: &mut Archive<'_>,
    ) -> Result<(), String> {
        let said = |error: io::Error| error.to_string();
        match self {
            Part::Versions => archive.add("versions.txt", versions()?.as_bytes()).map_err(said),
            Part::Agent => {
                let status = agent::status(&session.global.agent_socket).map_err(|e| e.to_string())?;
                let value = serde_json::to_value(status).expect("its keys are texts");
                archive.add("agent.json", json::render(&value).as_bytes()).map_err(said)
            }
            Part::Kernel => archive.add("kernel.txt", network()?.as_bytes()).map_err(said),
            Part::State => {
                for folder in ["attachments", "cni-del-queue"] {
                    for path in files(&args.state_dir.join(folder)).map_err(said)? {
                        let content = fs::read(&path).map_err(said)?;
                        archive.add_file(&format!("state/{folder}"), &path, &content).map_err(said)?;
                    }
                }
                Ok(())
            }
            Part::Resources => resources(session, archive).await,
            Part::Logs => {
                for path in files(&args.log_dir).map_err(|e| format!("{}: {e}", args.log_dir.display()))? {
                    let text = log(&path).map_err(said)?;
                    archive.add_file("logs", &path, text.as_bytes()).map_err(said)?;
                }
                Ok(())
            }
        }
    }
}

fn versions() -> Result<String, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (program, kernel) = (version::CLIENT, read("/proc/version"));
    let (checked, _) = checksystem::check().map_err(|failure| failure.text)?;
    Ok(format!("{program}\n{kernel}\n{checked}"))
}

/// The node's own namespace, in the words of `ip`, `bridge` and `nft`.
fn network() -> Result<String, String> {
    let mut writer = netlink::Writer::open().map_err(|e| e.to_string())?;
    let dump = writer.dump(Netns::Host, &SETTINGS.map(str::to_owned)).expect("the node's own is always open");
    Ok(kernel::text::listing(&dump.map_err(|e| e.to_string())?))
}

async fn resources(session: &mut Session<'_>, archive: &mut Archive<'_>) -> Result<(), String> {
    let store = session.store_of_any_version().await.map_err(|failure| failure.text)?;
    for name in KINDS {
        // Calico's own view where there is one: what else stands in a Node is others'.
        let list = match Kind::of_document(name) {
            Some(kind) => store.list(kind, None).await.map_err(|fault| fault.to_string())?,
            None => {
                let resource = Resource::of_kind(name).expect("the kind is in the table");
                store.client.list_json(resource, None).await.map_err(|e| format!("{name}: {e}"))?
            }
        };
        let text = json::render(&list);
        archive.add(&format!("resources/{name}.json"), text.as_bytes()).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The regular files of a folder; links lead nowhere here. No folder is an empty one.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() && paths.len() < FILES {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The end of a log, without what speaks of credentials.
fn log(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes)?;
    Ok(without_credentials(&String::from_utf8_lossy(&bytes)))
}

/// Leaves out the lines that speak of a credential, and keys that stand on many lines (RFC 7468).
fn without_credentials(text: &str) -> String {
    let mut kept = String::new();
    let mut is_in_key = false;
    for line in text.lines() {
        let small = line.to_lowercase();
        is_in_key |= small.contains("-----begin");
        if is_in_key || CREDENTIALS.iter().any(|word| small.contains(word)) {
            kept += "[a line about a credential]\n";
        } else {
            kept += line;
            kept.push('\n');
        }
        is_in_key &= !small.contains("-----end");
    }
    kept
}

/// A compressed archive that grows.
struct Archive<'a> {
    tar: tar::Builder<GzEncoder<&'a File>>,
    /// Of its files, seconds since 1970.
    time: u64,
}

impl Archive<'_> {
    fn new(file: &File, time: u64) -> Archive<'_> {
        Archive { tar: tar::Builder::new(GzEncoder::new(file, Compression::default())), time }
    }

    /// `name` is ours, never somebody else's text.
    fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        self.tar.append_data(&mut header, Path::new("diags").join(name), content)
    }

    /// A file by its own name in a folder of the archive.
    fn add_file(&mut self, folder: &str, path: &Path, content: &[u8]) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.add(&format!("{folder}/{name}"), content)
    }

    fn finish(self) -> io::Result<()> {
        self.tar.into_inner()?.finish()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_taken_without_what_speaks_of_a_credential() {
        let log = "starting\nAuthorization: Bearer abc\nkubeconfig eyJhbGciOi\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----\nnode n1 is ready\n";
        let line = "[a line about a credential]\n";
        assert_eq!(without_credentials(log), format!("starting\n{}node n1 is ready\n", line.repeat(5)));
    }

    #[test]
    fn links_in_a_folder_of_logs_lead_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.log"), "x").expect("written");
        std::os::unix::fs::symlink("/etc/shadow", folder.path().join("b.log")).expect("a link");
        let found = files(folder.path()).expect("it can be read");
        assert_eq!(found, [folder.path().join("a.log")]);
        assert!(files(&folder.path().join("none")).expect("no folder is an empty one").is_empty());
    }
}
