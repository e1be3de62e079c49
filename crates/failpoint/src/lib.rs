//! Places where a test may let the process die: before and after everything that outlives it.
//!
//! ```text
//!   failpoint!("file: renamed")       in the code, once for each name
//!   TORTIE_FAILPOINT="file: renamed"  of the process: it dies there, as if by SIGKILL: nothing is flushed, nobody is told
//!   TORTIE_FAILPOINT="file: renamed#7"  it dies when it comes there the seventh time
//!   TORTIE_FAILPOINT="file: renamed~/tmp/halt"  the thread stands still there for as long as there is such a file
//!
//!   failpoint!("BGP: octets are read", octets)         where what is done depends on octets of somebody else
//!   TORTIE_FAILPOINT="BGP: octets are read=18cb0071"   it panics when these are among them
//! ```
//!
//! There is no list to keep: [`names`] reads it from the sources, and a test kills at each of them. Without debug assertions,
//! as in the program that is shipped, the macro is nothing.

use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, io};

/// The variable that names the place to die at.
pub const VARIABLE: &str = "TORTIE_FAILPOINT";
/// How often a thread that stands still looks whether it may go on.
const LOOK: Duration = Duration::from_millis(5);

/// Marks a place under a name that no other place has.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::pass($name);
    };
    ($name:literal, $octets:expr) => {
        #[cfg(debug_assertions)]
        $crate::pass_with($name, $octets);
    };
}

/// Dies or stands still, if this is the place.
pub fn pass(name: &str) {
    if let Some(halt) = beyond(name, '~').map(Path::new) {
        while halt.exists() {
            std::thread::sleep(LOOK);
        }
    }
    static CHOSEN: LazyLock<Option<(String, u32)>> =
        LazyLock::new(|| std::env::var(VARIABLE).ok().map(|text| chosen(&text)));
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Some((place, times)) = &*CHOSEN else { return };
    if place == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *times {
        eprintln!("dying at `{name}`");
        std::process::abort();
    }
}

/// The place that the variable names, and the how manieth passage is the last.
fn chosen(text: &str) -> (String, u32) {
    let counted = text.rsplit_once('#').and_then(|(name, times)| Some((name, times.parse().ok()?)));
    let (name, times) = counted.unwrap_or((text, 1));
    (name.to_owned(), times)
}

/// Dies, if this is the place, or panics, if it is the place for such octets.
pub fn pass_with(name: &str, octets: &[u8]) {
    pass(name);
    if let Some(wanted) = beyond(name, '=').filter(|wanted| contains(octets, wanted)) {
        panic!("octets {wanted} at `{name}`");
    }
}

/// What the variable says beyond the name of this place and a sign.
fn beyond(name: &str, sign: char) -> Option<&'static str> {
    static CHOSEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(VARIABLE).ok());
    CHOSEN.as_deref()?.strip_prefix(name)?.strip_prefix(sign)
}

/// Whether octets have others among them, which are written in hexadecimal digits.
fn contains(octets: &[u8], wanted: &str) -> bool {
    let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    digits.match_indices(wanted).any(|(at, _)| at % 2 == 0)
}

/// The names of all places in the sources below a folder, in order.
///
/// # Errors
/// The folder cannot be read, or a name stands at two places (`InvalidData`).
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            names.extend(self::names(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            names.extend(marked(&fs::read_to_string(path)?));
        }
    }
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(names),
        Some(pair) => {
            let text = format!("two places have the name `{}`", pair[0]);
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}

/// The names in one source; those in comments are none.
fn marked(source: &str) -> Vec<String> {
    let call = concat!("failpoint", "!(\"");
    let lines = source.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    let calls = lines.flat_map(|line| line.split(call).skip(1));
    calls.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_may_be_the_nth_of_its_name() {
        assert_eq!(chosen("file: renamed"), ("file: renamed".to_owned(), 1));
        assert_eq!(chosen("file: renamed#7"), ("file: renamed".to_owned(), 7));
    }

    #[test]
    fn octets_are_found_where_they_begin() {
        assert!(contains(&[0x12, 0x34, 0x56], "3456"));
        assert!(!contains(&[0x12, 0x34, 0x56], "2345"));
    }

    #[test]
    fn places_are_found_in_code_and_not_in_comments() {
        let call = |name: &str| format!("failpoint{}", format_args!("!(\"{name}\");"));
        let source = format!("fn f() {{\n    {}\n}}\n// {}\n", call("a: b"), call("c"));
        assert_eq!(marked(&source), ["a: b"]);
        let folder = std::env::temp_dir().join(format!("failpoint-{}", std::process::id()));
        fs::create_dir_all(folder.join("deeper")).expect("a folder");
        fs::write(folder.join("deeper/a.rs"), &source).expect("a file");
        assert_eq!(names(&folder).expect("it can be read"), ["a: b"]);
        fs::write(folder.join("b.rs"), &source).expect("a file");
        assert!(names(&folder).is_err_and(|error| error.to_string().contains("`a: b`")));
        fs::remove_dir_all(folder).expect("it is ours");
    }
}
