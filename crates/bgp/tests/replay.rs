//! The laws of `octets`, on what `./dev fuzz` found worth keeping.

#![expect(clippy::disallowed_methods, reason = "the crate is pure, this test reads its files")]

mod octets;

use std::fs;
use std::path::Path;

/// Every file of a corpus.
fn replay(target: &str, holds: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).expect("the corpus");
    let mut count = 0;
    for file in files {
        let path = file.expect("an entry").path();
        // What fails says which file it was.
        println!("{}", path.display());
        holds(&fs::read(&path).expect("a file"));
        count += 1;
    }
    assert!(count > 20, "{} is no corpus", folder.display());
}

#[test]
fn s23_what_the_codec_was_fuzzed_with_is_survived() {
    replay("codec", octets::codec::holds);
}

#[test]
fn s23_what_a_session_was_fuzzed_with_is_survived() {
    replay("session", octets::session::holds);
}

#[test]
fn s23_what_the_speaker_was_fuzzed_with_is_survived() {
    replay("speaker", octets::speaker::holds);
}
