//! Files of an agent's state that a disk has cut or flipped, while pods talk.

use crate::{Lab, PODS, at_length, within};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NODE: &str = "master3";
const AGENT: &str = "node-master3";
/// The longest that an agent may take until it is ready.
const UP: Duration = Duration::from_secs(5);

/// What a disk does to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// So many thousandths of it are left.
    Cut(usize),
    /// The bit flips that stands after so many thousandths of it.
    Flip(usize),
    Directory,
}

impl Harm {
    fn to(self, file: &Path) {
        let mut bytes = fs::read(file).expect("the agent wrote it");
        // What fills a file up means nothing.
        let length = bytes.trim_ascii_end().len();
        match self {
            Harm::Cut(thousandths) => bytes.truncate(length * thousandths / 1000),
            Harm::Flip(thousandths) => {
                let bit = length * 8 * thousandths / 1000;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Harm::Directory => {
                fs::remove_file(file).expect("it is there");
                return fs::create_dir(file).expect("its folder is there");
            }
        }
        fs::write(file, bytes).expect("it is there");
    }
}

fn harms() -> Vec<Harm> {
    let step = if at_length() { 20 } else { 333 };
    let some = || (0..1000).step_by(step);
    some().map(Harm::Cut).chain(some().map(Harm::Flip)).chain([Harm::Directory]).collect()
}

pub fn f07_an_agent_whose_files_are_cut_or_flipped_is_up_within_five_seconds_and_no_packet_is_lost(
    lab: &Lab,
) {
    let sampler = super::sample_between(lab, PODS[2], PODS[0]);
    let state = lab.node_file(NODE, "state");
    let attachments = state.join("attachments");
    let before = files(&attachments);
    assert!(!before.is_empty(), "pods are attached");
    let mut longest = Duration::ZERO;
    for harm in harms() {
        lab.verb(&["kill", AGENT]);
        lab.cni(NODE, "DEL", "f07-unknown", Path::new("")).expect("a DEL is queued");
        let quarantine = lab.node_file(NODE, "speaker.quarantine");
        fs::write(&quarantine, "1 1 Mesh_192_168_50_161\ncrc32 00000000\n").expect("written");
        let sealed = [&attachments, &state.join("cni-del-queue")];
        let sealed: Vec<PathBuf> = sealed.into_iter().flat_map(|folder| files(folder)).collect();
        assert!(sealed.len() > before.len(), "{sealed:?}");
        let name = state.join("nodename");
        sealed.iter().chain([&name, &quarantine]).for_each(|file| harm.to(file));

        let start = Instant::now();
        lab.verb(&["start", AGENT]);
        let took = start.elapsed();
        longest = longest.max(took);
        assert!(took < UP, "{harm:?}: {took:?}");
        within(Duration::from_secs(2), &format!("after {harm:?} each attachment has a file"), || {
            files(&attachments) == before
        });
        // Others read it, so it has no seal: what was given counts, whatever it says.
        assert_eq!(fs::read_to_string(&name).expect("a name"), NODE, "{harm:?}");
        let aside = state.join("nodename.unreadable");
        let _ = fs::remove_file(&aside).or_else(|_| fs::remove_dir(&aside));
        for file in sealed {
            let aside = PathBuf::from(format!("{}.unreadable", file.display()));
            within(Duration::from_secs(2), &format!("{harm:?}: {} is put aside", file.display()), || {
                aside.exists()
            });
            let said = format!("{} cannot be used and is now", file.display());
            assert!(lab.log(AGENT).contains(&said), "{harm:?}: `{said}` is not in the log");
            fs::remove_file(&aside).or_else(|_| fs::remove_dir(&aside)).expect("it is kept");
        }
        let _ = fs::remove_file(&quarantine).or_else(|_| fs::remove_dir(&quarantine));
    }
    println!("ready after {longest:?} at most");
    let report = sampler.stop();
    println!("{report}");
    report.assert_nothing_lost();
    let check = lab.exec("master1", "calicoctl ipam check");
    assert!(check.contains("found 0 problems"), "{check}");
    lab.ping_all(&PODS);
}

/// The files of a folder that are in use.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the agent made it").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.is_file() && path.extension().is_none_or(|ending| ending == "json"))
        .collect();
    files.sort();
    files
}
