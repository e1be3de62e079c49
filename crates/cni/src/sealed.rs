//! Text that is read back as it was written, or not at all: its CRC-32 stands on a last line of its own. A disk that flips a
//! bit of a file's JSON would leave another good one, with another pod's address in it, say.

const MARK: &str = "\ncrc32 ";

/// The text with its seal.
pub fn seal(mut text: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&text);
    text.extend(format!("{MARK}{sum:08x}\n").bytes());
    text
}

/// The text that was sealed. White space behind the seal is no part of it.
///
/// # Errors
/// A sentence: it is not what was written.
pub fn open(sealed: &[u8]) -> Result<&[u8], String> {
    let sealed = sealed.trim_ascii_end();
    let digits = sealed.len().checked_sub(8).ok_or("it is cut short")?;
    let (text, wanted) = sealed.split_at(digits);
    let text = text
        .strip_suffix(MARK.as_bytes())
        .ok_or("it has no checksum: it is cut short, or was not written here")?;
    if wanted != format!("{:08x}", crc32fast::hash(text)).as_bytes() {
        return Err("its checksum is another: it is not what was written".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f07_what_is_cut_or_flipped_anywhere_is_not_opened() {
        let text = br#"{"addresses":["6.2.0.1"]}"#;
        let whole = seal(text.to_vec());
        assert_eq!(open(&whole), Ok(&text[..]));
        assert_eq!(open(&[&whole[..], b"   \n"].concat()), Ok(&text[..]));
        // The last octet ends the line.
        for length in 0..whole.len() - 1 {
            open(&whole[..length]).expect_err("cut");
        }
        for bit in 0..(whole.len() - 1) * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&flipped).is_err(), "bit {bit}: {}", String::from_utf8_lossy(&flipped));
        }
    }
}
