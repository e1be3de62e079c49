//! Others' texts on a terminal: names, annotations and errors may hold what moves its cursor, renames its window or turns
//! words around. It is shown as JSON writes it, which JSON documents may hold in any case.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with everything that a terminal would obey spelt out; new lines and tabulators stay.
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_obeyed(c) {
            write!(shown, "\\u{:04x}", u32::from(c)).expect("writing to a text cannot fail");
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Control characters (ISO 6429) and those that set the direction of writing (Unicode UAX #9).
fn is_obeyed(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() && !matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s43_what_a_terminal_would_obey_is_spelt_out() {
        for (text, shown) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("ünï→", "ünï→"),
            ("\x1b[2J", "\\u001b[2J"),
            ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
            ("\u{9b}31m", "\\u009b31m"),
            ("a\rb\x08\x7f\0", "a\\u000db\\u0008\\u007f\\u0000"),
            ("\u{202e}txt.exe", "\\u202etxt.exe"),
            ("\u{2066}x\u{2069}", "\\u2066x\\u2069"),
        ] {
            assert_eq!(safe(text), shown);
        }
        for c in (0_u32..=0x2fff).filter_map(char::from_u32).filter(|c| is_obeyed(*c)) {
            let json = format!("\"{}\"", safe(&c.to_string()));
            assert_eq!(
                serde_json::from_str::<String>(&json).ok(),
                Some(c.to_string()),
                "JSON reads it as before"
            );
        }
    }
}
