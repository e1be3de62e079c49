//! The fingerprint of a rule in its userdata.
//!
//! Userdata is a list of (type, length, value), one byte, one byte, bytes. `nft` knows types 0 and 1 (the comment) and skips
//! others, and does not print them: a ruleset that was saved, edited and loaded again has no fingerprints.

use kernel::nft::Fingerprint;

const TYPE: u8 = 0xc4;
const LEN: u8 = 8;

pub(super) fn encode(fingerprint: Fingerprint) -> [u8; 2 + LEN as usize] {
    let mut userdata = [0; 2 + LEN as usize];
    userdata[..2].copy_from_slice(&[TYPE, LEN]);
    userdata[2..].copy_from_slice(&fingerprint.0.to_be_bytes());
    userdata
}

/// `None` for userdata of somebody else.
pub(super) fn decode(userdata: &[u8]) -> Option<Fingerprint> {
    let value = userdata.strip_prefix(&[TYPE, LEN])?;
    Some(Fingerprint(u64::from_be_bytes(value.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userdata_of_others_is_no_fingerprint() {
        let ours = encode(Fingerprint(0x0123_4567_89ab_cdef));
        assert_eq!(decode(&ours), Some(Fingerprint(0x0123_4567_89ab_cdef)));
        for end in 0..ours.len() {
            assert_eq!(decode(&ours[..end]), None);
        }
        assert_eq!(decode(b"\x00\x09a comment"), None);
        assert_eq!(decode(&[&ours[..], &[0, 1, b'x']].concat()), None);
    }
}
