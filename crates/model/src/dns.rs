//! Names as Kubernetes' objects have them (RFC 1123, in lower case).

/// Whether `text` is a label: letters, digits and hyphens, no hyphen at either end, at most 63. Namespaces and Services have
/// such a name.
pub fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// Whether `text` is a subdomain: parts like a label's with dots between them, at most 253 octets. All other objects have such
/// a name.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|b| plain(b) || *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_subdomains_or_none() {
        let long = |length| "a".repeat(length);
        for (name, label, subdomain) in [
            ("a", true, true),
            ("0-a", true, true),
            ("a.b-c", false, true),
            (&long(63), true, true),
            (&long(64), false, true),
            (&long(253), false, true),
            (&long(254), false, false),
            ("", false, false),
            ("A", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a..b", false, false),
            (".a", false, false),
            ("a_b", false, false),
            ("é", false, false),
        ] {
            assert_eq!((is_label(name), is_subdomain(name)), (label, subdomain), "{name}");
        }
    }
}
