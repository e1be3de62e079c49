//! One small file for each attachment: a thread of its own, since syncing waits for the disk. What waits together shares one
//! sync of the directory.

use crate::inbox::Message;
use cni::{durable, queue, sealed};
use derive::{Attachment, AttachmentId};
use failpoint::failpoint;
use node::{EffectId, FileOp, Input};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::{fs, io};

/// Ending of a file that could not be read and was put aside.
const UNREADABLE: &str = ".unreadable";
/// A file's length is a multiple of this, filled with spaces: what comes to it later fits into its place.
const LENGTH: usize = 1024;

/// What the thread is asked to do. There are never more waiting than there are attachments and queued DELs.
#[expect(clippy::large_enum_variant, reason = "nearly every job is a change")]
#[derive(Debug)]
pub(crate) enum Job {
    Change {
        id: EffectId,
        op: FileOp,
    },
    /// A queued DEL was carried out.
    Forget {
        name: String,
    },
}

impl Job {
    /// The file that it writes without a sync.
    fn rewritten(&self) -> Option<String> {
        match self {
            Job::Change { op: FileOp::Write(attachment), .. } => Some(name(&attachment.id)),
            _ => None,
        }
    }
}

/// Where the attachments' files are.
pub(crate) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("attachments")
}

/// Reads every attachment. A file that cannot be read is put aside, and said.
pub(crate) fn load(directory: &Path) -> io::Result<Vec<Attachment>> {
    durable::create_directory(directory)?;
    let mut attachments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if name.ends_with(durable::UNFINISHED) {
            durable::remove(directory, &name)?;
        } else if name.ends_with(".json") {
            match parse(directory, &name) {
                Ok(attachment) => attachments.push(attachment),
                Err(why) => put_aside(directory, &name, &why),
            }
        }
    }
    attachments.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(attachments)
}

fn parse(directory: &Path, name: &str) -> Result<Attachment, String> {
    let text = fs::read(directory.join(name)).map_err(|e| e.to_string())?;
    let attachment: Attachment = serde_json::from_slice(sealed::open(&text)?).map_err(|e| e.to_string())?;
    let expected = queue::file_name(&attachment.id);
    if expected != name {
        return Err(format!("it holds the attachment of {expected}"));
    }
    Ok(attachment)
}

/// Renames a file that means nothing, so that it is looked at once and not at each start.
pub(crate) fn put_aside(directory: &Path, name: &str, why: &str) {
    let path = directory.join(name);
    let aside = directory.join(format!("{name}{UNREADABLE}"));
    let renamed = fs::rename(&path, &aside);
    failpoint!("file: put aside");
    match renamed {
        Ok(()) => tracing::warn!("{} cannot be used and is now {}: {why}", path.display(), aside.display()),
        Err(e) => tracing::error!("{} cannot be used ({why}) nor renamed: {e}", path.display()),
    }
}

/// Carries jobs out until their sender is gone.
pub(crate) fn run(
    attachments: &Path,
    queue: &Path,
    jobs: &mpsc::Receiver<Job>,
    outcomes: &tokio::sync::mpsc::Sender<Message>,
) {
    while let Ok(first) = jobs.recv() {
        let batch: Vec<Job> = std::iter::once(first).chain(jobs.try_iter()).collect();
        let rewritten: Vec<String> = batch.iter().filter_map(Job::rewritten).collect();
        let outcomes_of_batch = carry_out(attachments, queue, batch);
        failpoint!("files: changed");
        for message in outcomes_of_batch {
            if outcomes.blocking_send(message).is_err() {
                return;
            }
        }
        // Nobody waits for this: a file that is empty after a power cut would be no help.
        for name in rewritten {
            let _ = fs::File::open(attachments.join(name)).and_then(|file| file.sync_data());
        }
    }
}

fn carry_out(attachments: &Path, queue: &Path, batch: Vec<Job>) -> Vec<Message> {
    let done: Vec<(Job, io::Result<()>)> = batch
        .into_iter()
        .map(|job| {
            let result = match &job {
                Job::Change { op, .. } => change(attachments, op),
                Job::Forget { name } => {
                    failpoint!("queued DEL: carried out");
                    durable::remove(queue, name)
                }
            };
            (job, result)
        })
        .collect();
    let changed = done.iter().any(|(job, _)| matches!(job, Job::Change { op: FileOp::Begin(_), .. }));
    let forgot = done.iter().any(|(job, _)| matches!(job, Job::Forget { .. }));
    let synced = [(changed, attachments), (forgot, queue)]
        .map(|(needed, directory)| if needed { durable::sync_directory(directory) } else { Ok(()) });
    let outcome = |(job, result): (Job, io::Result<()>)| match job {
        Job::Change { id, .. } => {
            let result = match (&result, &synced[0]) {
                (Ok(()), Ok(())) => Ok(()),
                (Err(e), _) | (_, Err(e)) => Err(format!("{}: {e}", attachments.display())),
            };
            Message::Input(Input::Filed { id, result })
        }
        Job::Forget { name } => {
            if let (Err(e), _) | (_, Err(e)) = (&result, &synced[1]) {
                tracing::error!("cannot remove the queued DEL {}: {e}", queue.join(&name).display());
            }
            Message::Forgotten(name)
        }
    };
    done.into_iter().map(outcome).collect()
}

fn change(directory: &Path, op: &FileOp) -> io::Result<()> {
    match op {
        FileOp::Begin(attachment) => durable::replace(directory, &name(&attachment.id), &text(attachment)?),
        FileOp::Write(attachment) => durable::rewrite(directory, &name(&attachment.id), &text(attachment)?),
        FileOp::Remove(id) => durable::remove(directory, &name(id)),
    }
}

fn text(attachment: &Attachment) -> io::Result<Vec<u8>> {
    let mut text = sealed::seal(serde_json::to_vec(attachment)?);
    text.resize(text.len().next_multiple_of(LENGTH), b' ');
    Ok(text)
}

fn name(id: &AttachmentId) -> String {
    queue::file_name(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{IfName, Mtu};
    use tempfile::TempDir;

    fn attachment(container: &str) -> Attachment {
        Attachment {
            id: AttachmentId {
                network: "net".into(),
                container_id: container.into(),
                interface: IfName::fixed("eth0"),
            },
            netns: "/run/netns/a".into(),
            netns_inode: (4, 1),
            host_interface: IfName::fixed("cali1"),
            addresses: vec!["6.2.0.1".parse().unwrap()],
            mtu: Mtu(1450),
            path_mtu: None,
            mtu_is_given: false,
            mac: None,
            forwarding: false,
            pod: None,
            boot_id: "b".into(),
            restoring: false,
            deleted: false,
        }
    }

    fn filed(messages: &[Message]) -> Vec<Result<(), String>> {
        let result = |message: &Message| match message {
            Message::Input(Input::Filed { result, .. }) => result.clone(),
            other => panic!("not a file's outcome: {other:?}"),
        };
        messages.iter().map(result).collect()
    }

    fn write(container: &str) -> Job {
        Job::Change { id: EffectId(1), op: FileOp::Begin(attachment(container)) }
    }

    #[test]
    fn what_was_written_is_read_and_what_was_removed_is_not() {
        let dir = TempDir::new().unwrap();
        let remove = Job::Change { id: EffectId(2), op: FileOp::Remove(attachment("a").id) };
        let done = carry_out(dir.path(), dir.path(), vec![write("a"), write("b"), remove]);
        assert_eq!(filed(&done), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(load(dir.path()).unwrap(), [attachment("b")]);
    }

    #[test]
    fn s37_whatever_an_attachment_is_called_its_file_is_in_the_directory() {
        let top = TempDir::new().unwrap();
        let dir = top.path().join("state/attachments");
        let hostile = include_str!("../../cni/tests/traversal.json");
        let hostile: Vec<String> = serde_json::from_str(hostile).unwrap();
        let named = |id: &String| {
            let mut attachment = attachment(id);
            attachment.id.network.clone_from(id);
            attachment
        };
        assert_eq!(load(&dir).unwrap(), []);
        for (n, id) in hostile.iter().enumerate() {
            for op in [FileOp::Begin(named(id)), FileOp::Write(named(id))] {
                let done = carry_out(&dir, &dir, vec![Job::Change { id: EffectId(1), op }]);
                assert_eq!(filed(&done), [Ok(())], "{id:?}");
            }
            assert_eq!(fs::read_dir(&dir).unwrap().count(), n + 1, "{id:?} has a file of its own");
        }
        let mut expected: Vec<Attachment> = hostile.iter().map(named).collect();
        expected.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(load(&dir).unwrap(), expected);
        for folder in [top.path(), dir.parent().unwrap()] {
            assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "nothing stands in {}", folder.display());
        }
        for id in &hostile {
            let op = FileOp::Remove(named(id).id);
            carry_out(&dir, &dir, vec![Job::Change { id: EffectId(2), op }]);
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn a_change_of_an_attachment_is_read_whether_it_fits_into_its_place_or_not() {
        let dir = TempDir::new().unwrap();
        carry_out(dir.path(), dir.path(), vec![write("a")]);
        let inode = || {
            use std::os::unix::fs::MetadataExt;
            fs::metadata(dir.path().join("a@eth0@net.json")).unwrap().ino()
        };
        let mut changed = attachment("a");
        for (addresses, in_place) in
            [(0, true), (2, true), (100, false), (500, false), (501, false), (1, false)]
        {
            let before = inode();
            changed.addresses = (0..addresses).map(|n| [6, 2, 0, n as u8].into()).collect();
            let op = FileOp::Write(changed.clone());
            carry_out(dir.path(), dir.path(), vec![Job::Change { id: EffectId(2), op }]);
            assert_eq!(load(dir.path()).unwrap(), [changed.clone()], "{addresses} addresses");
            assert_eq!(inode() == before, in_place, "{addresses} addresses");
        }
    }

    #[test]
    fn a_corrupt_file_is_put_aside_and_the_others_are_read() {
        let dir = TempDir::new().unwrap();
        carry_out(dir.path(), dir.path(), vec![write("a")]);
        fs::write(dir.path().join("b@eth0@net.json"), "{\"id\":").unwrap();
        fs::write(dir.path().join("c@eth0@net.json"), "").unwrap();
        fs::copy(dir.path().join("a@eth0@net.json"), dir.path().join("d@eth0@net.json")).unwrap();
        fs::write(dir.path().join("e@eth0@net.json.new"), "half of it").unwrap();
        for _ in 0..2 {
            assert_eq!(load(dir.path()).unwrap(), [attachment("a")]);
        }
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let aside = |c| format!("{c}@eth0@net.json.unreadable");
        assert_eq!(names, ["a@eth0@net.json".to_owned(), aside("b"), aside("c"), aside("d")]);
    }

    /// What a crash of the disk may leave of a file: the other attachments are read, and the agent starts.
    #[test]
    fn f07_a_file_that_is_cut_anywhere_flipped_or_a_directory_takes_no_other_down() {
        let dir = TempDir::new().unwrap();
        carry_out(dir.path(), dir.path(), vec![write("a"), write("b")]);
        let (victim, other) = (dir.path().join("a@eth0@net.json"), attachment("b"));
        let whole = fs::read(&victim).unwrap().trim_ascii_end().to_vec();
        let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
        let flips = (0..whole.len() * 8).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        for bytes in cuts.chain(flips) {
            fs::write(&victim, &bytes).unwrap();
            assert_eq!(
                load(dir.path()).unwrap(),
                std::slice::from_ref(&other),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
        for leftover in [&victim, &dir.path().join("a@eth0@net.json.unreadable")] {
            let _ = fs::remove_file(leftover);
        }
        fs::create_dir(&victim).unwrap();
        assert_eq!(load(dir.path()).unwrap(), [other]);
        assert!(dir.path().join("a@eth0@net.json.unreadable").is_dir());
    }

    #[test]
    fn a_directory_that_is_gone_fails_each_job_in_words() {
        let dir = TempDir::new().unwrap();
        let gone = dir.path().join("gone");
        let [Err(text)] = &filed(&carry_out(&gone, &gone, vec![write("a")]))[..] else {
            panic!("it succeeded")
        };
        assert!(text.contains("gone") && text.contains("No such file"), "{text}");
    }
}
