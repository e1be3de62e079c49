//! Whose octets are being read, for the process after this one: a fault in the decoder ends the whole process, and the peer
//! would end the next one as well by saying the same again.
//!
//! ```text
//!   enter ─► the slot names the peer ─► decode ─► leave: it names nobody
//!                                         └─ dies ─► the next process: one more end of the peer's ─► quarantine
//! ```
//!
//! Two small files beside the agent's socket, in memory on a machine that follows the conventions: what was written there
//! outlives the process, and no more is needed. `speaker.reading` is the slot; `speaker.quarantine` has a line for each
//! peer that ended a process within the last day. A process that is killed while it reads blames a peer without fault, for
//! quarter of a minute.

use super::Clock;
use bgp::PeerId;
use bgp::speaker::quarantine_time;
use cni::{durable, sealed};
use failpoint::failpoint;
use model::{Duration, Instant};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const SLOT: &str = "speaker.reading";
const ENDS: &str = "speaker.quarantine";
/// What the slot says while nothing is read.
const NOBODY: &[u8] = b"-";
/// An end counts for a day.
const COUNTS: i64 = 24 * 3600 * 1_000_000;

/// The slot. Without a file nothing is remembered.
#[derive(Debug, Default)]
pub(crate) struct Slot(Option<File>);

/// How often a peer ended a process, and when it last did: microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    count: u32,
    last: i64,
}

/// A peer that is to be held off.
#[derive(Debug, PartialEq)]
pub(crate) struct HeldOff {
    pub peer: PeerId,
    pub until: Instant,
    pub why: String,
}

impl Slot {
    /// Opens the slot in a directory, and says who is to be held off, given what stands there.
    pub fn open(directory: &Path, clock: Clock) -> (Slot, Vec<HeldOff>) {
        match Slot::try_open(directory, clock) {
            Ok(opened) => opened,
            Err(error) => {
                let directory = directory.display();
                tracing::warn!(
                    "cannot write to {directory}: {error}; a BGP peer that ends the agent is not held off then"
                );
                (Slot::default(), Vec::new())
            }
        }
    }

    fn try_open(directory: &Path, clock: Clock) -> io::Result<(Slot, Vec<HeldOff>)> {
        let now = Clock::wall_micros();
        let path = directory.join(SLOT);
        let mut ends = read_ends(&directory.join(ENDS));
        ends.retain(|_, ends| (0..COUNTS).contains(&(now - ends.last)));
        if let Some((peer, hash)) = named(&fs::read(&path).unwrap_or_default()) {
            let of_peer = ends.entry(peer.clone()).or_insert(Ends { count: 0, last: now });
            *of_peer = Ends { count: of_peer.count.saturating_add(1), last: now };
            let seconds = quarantine_time(of_peer.count).micros() / 1_000_000;
            tracing::error!(
                "BGP: the agent ended while it read what {peer} sent (octets {hash}), for the {} time in a day; {peer} is held off \
                 for {seconds} s. This is a fault of the agent: please report it with the lines before it ended",
                ordinal(of_peer.count)
            );
            durable::replace_unsynced(directory, ENDS, &sealed::seal(format(&ends).into_bytes()))?;
            failpoint!("slot: blame written");
        }
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        failpoint!("slot: opened");
        let held = ends.iter().filter_map(|(peer, ends)| held_off(peer, *ends, now, clock.now()));
        Ok((Slot(Some(file)), held.collect()))
    }

    /// What comes next is this peer's doing.
    pub fn enter(&self, peer: &PeerId, octets: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write(octets);
        self.write(format!("{:016x} {peer}\n", hasher.finish()).as_bytes());
        failpoint!("slot: entered");
    }

    /// It was survived.
    pub fn leave(&self) {
        self.write(NOBODY);
        failpoint!("slot: left");
    }

    fn write(&self, text: &[u8]) {
        if let Some(file) = &self.0 {
            // Whoever cannot write it reads on: a peer's fault is rarer than a full disk.
            let _ = file.write_all_at(text, 0);
        }
    }
}

/// An agent that ends in order blames nobody, wherever its speaker's thread is.
pub(crate) fn forget(directory: &Path) {
    let slot: PathBuf = directory.join(SLOT);
    // It may not have come so far as to make it.
    let _ = fs::remove_file(slot);
    failpoint!("slot: removed");
}

fn held_off(peer: &PeerId, ends: Ends, wall: i64, now: Instant) -> Option<HeldOff> {
    let passed = Duration::from_micros(u64::try_from(wall - ends.last).ok()?);
    let left = quarantine_time(ends.count).micros().checked_sub(passed.micros()).filter(|left| *left > 0)?;
    let times = if ends.count == 1 { String::new() } else { format!(" {} times", ends.count) };
    Some(HeldOff {
        peer: peer.clone(),
        until: now + Duration::from_micros(left),
        why: format!("Quarantine: what it sent ended the agent{times}"),
    })
}

/// Whom the slot names, and the octets' mark.
fn named(slot: &[u8]) -> Option<(PeerId, &str)> {
    if slot.starts_with(NOBODY) {
        return None;
    }
    let (line, _) = std::str::from_utf8(slot).ok()?.split_once('\n')?;
    let (hash, peer) = line.split_once(' ')?;
    Some((PeerId::new(peer), hash))
}

/// The ends of the last processes; none if there is no file, or none that is what was written.
fn read_ends(path: &Path) -> BTreeMap<PeerId, Ends> {
    let Ok(text) = fs::read(path) else { return BTreeMap::new() };
    match sealed::open(&text) {
        Ok(text) => parse(&String::from_utf8_lossy(text)),
        Err(why) => {
            tracing::warn!("{} cannot be used, no BGP peer is held off for it: {why}", path.display());
            BTreeMap::new()
        }
    }
}

/// A line for each peer: count, time, name. What is no such line counts for nothing.
fn parse(text: &str) -> BTreeMap<PeerId, Ends> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let (count, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((PeerId::new(words.next()?), Ends { count, last }))
    });
    lines.collect()
}

fn format(ends: &BTreeMap<PeerId, Ends>) -> String {
    ends.iter().map(|(peer, Ends { count, last })| format!("{count} {last} {peer}\n")).collect()
}

fn ordinal(count: u32) -> String {
    match count {
        1 => "first".to_owned(),
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        _ => format!("{count}th"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn peer() -> PeerId {
        PeerId::new("Mesh_192_168_50_162")
    }

    fn seconds(held: &HeldOff, now: Instant) -> u64 {
        held.until.since(now).micros().div_ceil(1_000_000)
    }

    #[test]
    fn who_was_read_when_the_process_ended_is_held_off_longer_each_time() {
        let directory = TempDir::new().unwrap();
        let clock = Clock::start();
        let open = || Slot::open(directory.path(), clock);
        let (slot, held) = open();
        assert_eq!(held, []);
        slot.enter(&peer(), b"octets");
        let (slot, held) = open();
        assert_eq!(held.len(), 1);
        assert_eq!((&held[0].peer, seconds(&held[0], clock.now())), (&peer(), 15));
        assert_eq!(held[0].why, "Quarantine: what it sent ended the agent");
        // A process that comes to its end otherwise changes nothing.
        slot.enter(&PeerId::new("Mesh_192_168_50_163"), b"longer than what follows");
        slot.enter(&peer(), b"octets");
        slot.leave();
        let (slot, held) = open();
        assert_eq!(held.len(), 1);
        slot.enter(&peer(), b"octets");
        let (_, held) = open();
        assert_eq!((held.len(), seconds(&held[0], clock.now())), (1, 30));
        assert_eq!(held[0].why, "Quarantine: what it sent ended the agent 2 times");
    }

    #[test]
    fn an_end_in_order_blames_nobody() {
        let directory = TempDir::new().unwrap();
        let (slot, _) = Slot::open(directory.path(), Clock::start());
        slot.enter(&peer(), b"octets");
        forget(directory.path());
        slot.enter(&peer(), b"octets");
        assert_eq!(Slot::open(directory.path(), Clock::start()).1, []);
    }

    #[test]
    fn a_quarantine_is_as_long_as_it_was_begun_for_and_forgotten_after_a_day() {
        let now = Instant::ZERO + Duration::from_secs(7);
        let ends = Ends { count: 2, last: 1_000_000 };
        let left = |wall| held_off(&peer(), ends, wall, now).map(|held| seconds(&held, now));
        assert_eq!([1_000_000, 11_000_000, 31_000_000].map(left), [Some(30), Some(20), None]);
        let directory = TempDir::new().unwrap();
        let day_before = Clock::wall_micros() - COUNTS;
        let ends = format!("9 {day_before} {}\nnonsense\n", peer());
        fs::write(directory.path().join(ENDS), sealed::seal(ends.into_bytes())).unwrap();
        let (slot, held) = Slot::open(directory.path(), Clock::start());
        assert_eq!(held, []);
        slot.enter(&peer(), b"octets");
        let (_, held) = Slot::open(directory.path(), Clock::start());
        assert_eq!(held[0].why, "Quarantine: what it sent ended the agent");
    }

    #[test]
    fn f07_a_file_that_is_cut_or_flipped_holds_off_nobody_who_is_without_fault() {
        let directory = TempDir::new().unwrap();
        let clock = Clock::start();
        let (slot, _) = Slot::open(directory.path(), clock);
        slot.enter(&peer(), b"octets");
        let slot_file = fs::read(directory.path().join(SLOT)).unwrap();
        assert_eq!(Slot::open(directory.path(), clock).1.len(), 1);
        let whole = fs::read(directory.path().join(ENDS)).unwrap();
        // The last octet ends a line.
        let cuts = (0..whole.len() - 1).map(|length| whole[..length].to_vec());
        let flips = (0..(whole.len() - 1) * 8).map(|bit| flipped(&whole, bit));
        for bytes in cuts.chain(flips) {
            fs::write(directory.path().join(ENDS), &bytes).unwrap();
            assert_eq!(Slot::open(directory.path(), clock).1, [], "{}", String::from_utf8_lossy(&bytes));
        }
        fs::remove_file(directory.path().join(ENDS)).unwrap();
        fs::create_dir(directory.path().join(ENDS)).unwrap();
        assert_eq!(Slot::open(directory.path(), clock).1, []);
        // The slot is one short write: cut, it names nobody; flipped, nobody else who is there.
        fs::remove_dir(directory.path().join(ENDS)).unwrap();
        let cuts = (0..slot_file.len()).map(|length| slot_file[..length].to_vec());
        for bytes in cuts.chain((0..slot_file.len() * 8).map(|bit| flipped(&slot_file, bit))) {
            fs::write(directory.path().join(SLOT), &bytes).unwrap();
            let (_, held) = Slot::open(directory.path(), clock);
            assert!(held.len() <= 1);
            let _ = fs::remove_file(directory.path().join(ENDS));
        }
    }

    fn flipped(whole: &[u8], bit: usize) -> Vec<u8> {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    }

    #[test]
    fn a_directory_that_cannot_be_written_stops_nobody() {
        let (slot, held) = Slot::open(Path::new("/proc/nowhere"), Clock::start());
        slot.enter(&peer(), b"octets");
        slot.leave();
        assert_eq!(held, []);
    }
}
