//! DELs that the plugin queued while no agent answered: each is taken once, and forgotten when it was carried out.

use crate::files::put_aside;
use cni::queue;
use failpoint::failpoint;
use node::CniId;
use node::cni::Request;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// The numbers of queued DELs as clients are above this; those of connections are below.
pub(crate) const FIRST_ID: u64 = 1 << 63;
/// Two changes of a directory within this may leave the same time of modification (the kernel's tick, 10 ms at most).
const TICK: Duration = Duration::from_millis(20);

/// The queue and what of it is under way.
#[derive(Debug)]
pub(crate) struct Queued {
    directory: PathBuf,
    under_way: BTreeSet<String>,
    next: u64,
    /// When the directory was modified before it was read last; `None` if it must be read in any case.
    seen: Option<SystemTime>,
    /// Why the queue, or a DEL of it, could not be read last time: said once.
    unreadable: Option<String>,
}

impl Queued {
    pub fn new(directory: PathBuf) -> Queued {
        Queued { directory, under_way: BTreeSet::new(), next: FIRST_ID, seen: None, unreadable: None }
    }

    /// Takes what came since the last time: a look at the directory's time of modification where nothing did.
    pub fn take_new(&mut self) -> Vec<(CniId, String, Request)> {
        let unchanged = self.seen.is_some() && self.seen == self.modified();
        if unchanged { Vec::new() } else { self.take() }
    }

    /// Takes every DEL that waits and is not under way.
    pub fn take(&mut self) -> Vec<(CniId, String, Request)> {
        let settled = |modified: &SystemTime| modified.elapsed().is_ok_and(|age| age > TICK);
        self.seen = self.modified().filter(settled);
        let mut unreadable = None;
        let names = queue::names(&self.directory).unwrap_or_else(|e| {
            unreadable = Some(e.to_string());
            Vec::new()
        });
        let mut taken = Vec::new();
        for name in names {
            match self.take_one(name) {
                Ok(one) => taken.extend(one),
                Err(e) => unreadable = Some(e.to_string()),
            }
        }
        if let Some(why) = &unreadable {
            // Too many open files, say: it is looked at again.
            self.seen = None;
            if self.unreadable.as_ref() != Some(why) {
                tracing::error!("cannot read the queue of DELs {}: {why}", self.directory.display());
            }
        }
        self.unreadable = unreadable;
        taken
    }

    fn take_one(&mut self, name: String) -> io::Result<Option<(CniId, String, Request)>> {
        if self.under_way.contains(&name) {
            return Ok(None);
        }
        let read = queue::read(&self.directory, &name)?;
        Ok(match read.map(|queued| queued.request) {
            Some(Ok(request)) => {
                failpoint!("queued DEL: taken");
                self.next += 1;
                self.under_way.insert(name.clone());
                Some((CniId(self.next), name, request))
            }
            Some(Err(why)) => {
                put_aside(&self.directory, &name, &why);
                None
            }
            None => None,
        })
    }

    /// It is done and its file is gone, or it failed and is to be taken again.
    pub fn forgotten(&mut self, name: &str) {
        self.under_way.remove(name);
        self.seen = None;
    }

    fn modified(&self) -> Option<SystemTime> {
        fs::metadata(&self.directory).and_then(|directory| directory.modified()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::durable;
    use model::IfName;
    use node::cni::{Command, Options};
    use std::path::Path;
    use tempfile::TempDir;

    fn queue_del(directory: &Path, container: &str) {
        let request = Request {
            command: Command::Del,
            network: "net".into(),
            container_id: container.into(),
            interface: Some(IfName::fixed("eth0")),
            netns: None,
            pod: None,
            options: Options::default(),
        };
        queue::put(directory, &request).unwrap();
    }

    #[test]
    fn f32_a_queued_del_is_taken_once_until_it_is_forgotten() {
        let dir = TempDir::new().unwrap();
        let mut queued = Queued::new(dir.path().join("queue"));
        assert!(queued.take().is_empty(), "no directory is an empty queue");
        let directory = dir.path().join("queue");
        queue_del(&directory, "a");
        queue_del(&directory, "b");
        let taken = queued.take();
        let names: Vec<_> =
            taken.iter().map(|(_, name, request)| (name.as_str(), request.container_id.as_str())).collect();
        assert_eq!(names, [("a@eth0@net.json", "a"), ("b@eth0@net.json", "b")]);
        assert!(queued.take().is_empty(), "both are under way");
        queue::remove(&directory, "a@eth0@net.json").unwrap();
        queued.forgotten("a@eth0@net.json");
        assert!(queued.take().is_empty(), "a is done");
        queued.forgotten("b@eth0@net.json");
        assert_eq!(queued.take().len(), 1, "b failed and is tried again");
    }

    #[test]
    fn f32_a_queue_that_did_not_change_is_not_read_for_a_call() {
        let dir = TempDir::new().unwrap();
        let modified = |at: SystemTime| {
            let times = fs::FileTimes::new().set_modified(at);
            fs::File::open(dir.path()).unwrap().set_times(times).unwrap();
        };
        let mut queued = Queued::new(dir.path().to_owned());
        let minute = Duration::from_secs(60);
        let (earlier, later) = (SystemTime::now() - minute, SystemTime::now() + minute);
        modified(earlier);
        assert!(queued.take_new().is_empty());
        queue_del(dir.path(), "a");
        modified(earlier);
        assert!(queued.take_new().is_empty(), "it looks as it did");
        modified(later);
        assert_eq!(queued.take_new().len(), 1);
        assert_eq!(queued.seen, None, "what changed just now may change again within the same tick");
        modified(earlier);
        assert!(queued.take_new().is_empty(), "a is under way");
        queued.forgotten("a@eth0@net.json");
        assert_eq!(queued.take_new().len(), 1, "it failed and is tried again");
    }

    #[test]
    fn f32_a_queue_outlives_its_reader() {
        let dir = TempDir::new().unwrap();
        queue_del(dir.path(), "a");
        assert_eq!(Queued::new(dir.path().to_owned()).take().len(), 1);
        assert_eq!(Queued::new(dir.path().to_owned()).take().len(), 1, "the first ended before it was done");
    }

    #[test]
    fn f32_a_queued_del_that_cannot_be_read_now_is_read_later() {
        let dir = TempDir::new().unwrap();
        // Reading what leads to itself fails, as reading a file does without descriptors.
        let path = dir.path().join("a@eth0@net.json");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let mut queued = Queued::new(dir.path().to_owned());
        assert!(queued.take_new().is_empty());
        fs::remove_file(&path).unwrap();
        queue_del(dir.path(), "a");
        assert_eq!(queued.take_new().len(), 1);
    }

    #[test]
    fn f07_a_queued_del_that_is_cut_or_flipped_is_put_aside_and_no_other_is_carried_out() {
        let dir = TempDir::new().unwrap();
        queue_del(dir.path(), "a");
        let path = dir.path().join("a@eth0@net.json");
        let whole = fs::read(&path).unwrap();
        // The last octet ends a line.
        let cuts = (0..whole.len() - 1).map(|length| whole[..length].to_vec());
        let flips = (0..(whole.len() - 1) * 8).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        for bytes in cuts.chain(flips) {
            fs::write(&path, &bytes).unwrap();
            assert!(Queued::new(dir.path().to_owned()).take().is_empty());
            assert_eq!(fs::read(dir.path().join("a@eth0@net.json.unreadable")).unwrap(), bytes);
        }
        fs::remove_file(dir.path().join("a@eth0@net.json.unreadable")).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Queued::new(dir.path().to_owned()).take().is_empty());
        assert!(dir.path().join("a@eth0@net.json.unreadable").is_dir());
    }

    #[test]
    fn what_is_no_del_is_put_aside() {
        let dir = TempDir::new().unwrap();
        durable::replace(dir.path(), "x.json", b"{").unwrap();
        assert!(Queued::new(dir.path().to_owned()).take().is_empty());
        assert!(dir.path().join("x.json.unreadable").exists());
    }
}
