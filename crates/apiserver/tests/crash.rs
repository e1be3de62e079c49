//! A server that dies, and a disk that loses what was not synced: what was acknowledged is there, a revision that was told is
//! never another's, and the file is whole.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use apiserver::{Config, Server};
use client::process::{MAPS, Process, acknowledged_by, revision, stored};
use client::{Client, closed_dir};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Short, so that it is cut again and again.
const HISTORY: [&str; 2] = ["--history", "50"];

#[tokio::test]
async fn f21_a_server_that_dies_at_any_place_keeps_what_it_acknowledged() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let places = failpoint::names(&sources).unwrap();
    assert!(places.len() >= 13, "{places:?}");
    for place in &places {
        println!("  dying at `{place}`");
        die_at(place).await;
    }
}

async fn die_at(place: &str) {
    // What happens all the time happens some times before.
    let often = ["answer", "events", "group"].iter().any(|word| place.starts_with(word));
    let nth = format!("{place}#{}", if often { 40 } else { 1 });
    let dir = closed_dir();
    let mut acknowledged = BTreeMap::new();
    let mut told = 0;
    let status = match Process::start_with(dir.path(), &HISTORY, &nth).await {
        Err(status) => status,
        Ok(mut server) => {
            let mut events = server.client.watch(&format!("{MAPS}?watch=1")).await;
            let seen = tokio::spawn(async move {
                let mut last = 0;
                while let Some(event) = events.next().await {
                    last = revision(&event["object"]);
                }
                last
            });
            let writers = server.load(0);
            let status = server.ended().await;
            acknowledged = acknowledged_by(writers).await;
            told = acknowledged.values().copied().max().unwrap_or(0).max(seen.await.unwrap());
            status
        }
    };
    assert_eq!(status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "`{place}`: {status}");
    judge(dir.path(), &acknowledged, told, place).await;
}

/// What a server makes of a directory is what it must be.
async fn judge(data: &Path, acknowledged: &BTreeMap<String, u64>, told: u64, after: &str) {
    let server = Server::start(Config::new("127.0.0.1:0".parse().unwrap(), data)).await.unwrap();
    let client = Client::new(server.addr, &server.admin_token, &server.ca);
    let stored = stored(&client).await;
    for (name, revision) in acknowledged {
        let found = stored.get(name).copied().unwrap_or(0);
        assert!(found >= *revision, "after `{after}` {name} is at {found}, {revision} was acknowledged");
    }
    let next = client.post(MAPS, &json!({"metadata": {"name": "next"}})).await.ok();
    assert!(revision(&next) > told, "after `{after}`: a revision that was told is not used again");
    server.stop().await;
    let file = rusqlite::Connection::open(data.join("store.db")).unwrap();
    let verdict: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok", "after `{after}`");
}

/// The files that a disk keeps.
const FILES: [&str; 2] = ["store.db", "store.db-wal"];
/// What stands before the log's frames; its salt changes when the log begins anew.
const LOG_HEAD: usize = 32;
/// The unit in which a disk writes.
const BLOCK: usize = 4096;

/// How many power cuts there are: a few, or as many as a night has time for.
fn cuts() -> u64 {
    std::env::var("TORTIE_POWER_CUTS").map_or(25, |text| text.parse().unwrap())
}

/// Does something while a process stands still.
fn still<T>(server: &Process, work: impl FnOnce() -> T) -> T {
    let signal =
        |name| rustix::process::kill_process(rustix::process::Pid::from_child(&server.child), name).unwrap();
    signal(rustix::process::Signal::STOP);
    let done = work();
    signal(rustix::process::Signal::CONT);
    done
}

fn files(data: &Path) -> [Vec<u8>; 2] {
    FILES.map(|name| std::fs::read(data.join(name)).unwrap())
}

/// A generator of numbers (xorshift64*).
struct Luck(u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}

/// A file after the cut: of each block that was written since, what stood there, what was written, or half of either.
fn after_cut(before: &[u8], since: &[u8], luck: &mut Luck) -> Vec<u8> {
    let mut disk = before.to_vec();
    // A file that grew has its new length, or not.
    if since.len() > before.len() && luck.next().is_multiple_of(2) {
        disk.resize(since.len(), 0);
    }
    for start in (0..disk.len().min(since.len())).step_by(BLOCK) {
        let end = (start + BLOCK).min(disk.len()).min(since.len());
        if disk[start..end] == since[start..end] {
            continue;
        }
        let reached = match luck.next() % 4 {
            0 => 0,
            1 => (end - start) / 512 / 2 * 512,
            _ => end - start,
        };
        disk[start..start + reached].copy_from_slice(&since[start..start + reached]);
    }
    disk
}

#[tokio::test]
async fn f21_a_power_cut_that_loses_unsynced_pages_under_load_loses_no_acknowledged_write() {
    let mut luck = Luck(0x9e37_79b9_7f4a_7c15);
    let mut done = 0;
    for round in 0.. {
        let dir = closed_dir();
        let server = Process::start_with(dir.path(), &HISTORY, "").await.unwrap();
        let writers = server.load(round);
        writers.until(100).await;
        // A server has so many cuts; then its objects are many.
        for _ in 0..25 {
            if done == cuts() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(luck.next() % 40)).await;
            let acknowledged = writers.so_far();
            let before = still(&server, || files(dir.path()));
            tokio::time::sleep(Duration::from_micros(luck.next() % 20_000)).await;
            let since = still(&server, || files(dir.path()));
            // What was copied into the database was synced in the log before: then the log has all of it. A log that
            // begins anew has been copied whole, which is a sync in between.
            let [(database, database_since), (log, log_since)] = [0, 1].map(|n| (&before[n], &since[n]));
            if log[..LOG_HEAD] != log_since[..LOG_HEAD] {
                continue;
            }
            let log = if database == database_since {
                after_cut(log, log_since, &mut luck)
            } else {
                log_since.clone()
            };
            let disk = closed_dir();
            std::fs::write(disk.path().join(FILES[0]), after_cut(database, database_since, &mut luck))
                .unwrap();
            std::fs::write(disk.path().join(FILES[1]), log).unwrap();
            let told = acknowledged.values().copied().max().unwrap_or(0);
            judge(disk.path(), &acknowledged, told, &format!("cut {done}")).await;
            done += 1;
        }
    }
}

/// A file system of its own, whose image holds what was synced and nothing that only its cache knows.
struct Disk {
    /// In memory, with the image and the place where it is mounted.
    top: tempfile::TempDir,
}

impl Disk {
    /// An empty one.
    fn new() -> Disk {
        let disk = Disk::in_memory();
        std::fs::File::create(disk.image()).unwrap().set_len(32 << 20).unwrap();
        run("mkfs.ext4", &["-q".as_ref(), disk.image().as_ref()]);
        disk.mounted()
    }

    /// What a machine finds that comes back after a power cut.
    fn after_cut(image: &[u8]) -> Disk {
        let disk = Disk::in_memory();
        std::fs::write(disk.image(), image).unwrap();
        disk.mounted()
    }

    fn in_memory() -> Disk {
        let top = tempfile::tempdir().unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "tmpfs"]
                .map(OsStr::new)
                .into_iter()
                .chain([top.path().as_ref()])
                .collect::<Vec<_>>(),
        );
        std::fs::create_dir(top.path().join("root")).unwrap();
        Disk { top }
    }

    fn mounted(self) -> Disk {
        run("mount", &["-o".as_ref(), "loop".as_ref(), self.image().as_ref(), self.root().as_ref()]);
        self
    }

    fn image(&self) -> PathBuf {
        self.top.path().join("image")
    }

    fn root(&self) -> PathBuf {
        self.top.path().join("root")
    }

    fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    /// The image, once nothing is on its way to it.
    fn settled(&self) -> Vec<u8> {
        let mut image = std::fs::read(self.image()).unwrap();
        loop {
            let again = std::fs::read(self.image()).unwrap();
            if image == again {
                return image;
            }
            image = again;
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for place in [self.root(), self.top.path().to_owned()] {
            let _ = Command::new("umount").arg("-l").arg(place).status();
        }
    }
}

fn run(program: &str, args: &[&OsStr]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn f21_what_is_acknowledged_is_on_the_disk_when_the_power_goes() {
    let mut luck = Luck(0x1234_5678_9abc_def1);
    let mut done = 0;
    for round in 0.. {
        let disk = Disk::new();
        let server = Process::start_with(&disk.data(), &HISTORY, "").await.unwrap();
        let writers = server.load(round);
        writers.until(20).await;
        for _ in 0..25 {
            if done == cuts() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(luck.next() % 40)).await;
            let acknowledged = writers.so_far();
            let image = still(&server, || disk.settled());
            let back = Disk::after_cut(&image);
            let told = acknowledged.values().copied().max().unwrap_or(0);
            judge(&back.data(), &acknowledged, told, &format!("cut {done}")).await;
            done += 1;
        }
    }
}
