//! YAML as Go's tools print it: keys sorted, items of a list not indented, text without quotes where YAML 1.1 reads it
//! back as text.

use serde_json::Value;
use std::cmp::Ordering;

/// A document, with a line end.
pub fn render(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(object) if !object.is_empty() => write(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => write(&mut out, value, 0),
        flat => {
            scalar(&mut out, flat, 0);
            out.push('\n');
        }
    }
    out
}

/// Writes a map or list that is not empty; the cursor stands where its first entry begins, `depth` levels in.
fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<(&String, &Value)> = object.iter().collect();
            fields.sort_by(|a, b| key_order(a.0, b.0));
            for (i, (key, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    indent(out, depth);
                }
                text(out, key, depth);
                out.push(':');
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        indent(out, depth + 1);
                        write(out, value, depth + 1);
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        out.push('\n');
                        indent(out, depth);
                        write(out, value, depth);
                    }
                    flat => {
                        out.push(' ');
                        scalar(out, flat, depth);
                        out.push('\n');
                    }
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    indent(out, depth);
                }
                out.push_str("- ");
                match item {
                    Value::Object(inner) if !inner.is_empty() => write(out, item, depth + 1),
                    Value::Array(inner) if !inner.is_empty() => write(out, item, depth + 1),
                    flat => {
                        scalar(out, flat, depth);
                        out.push('\n');
                    }
                }
            }
        }
        flat => scalar(out, flat, depth),
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Go sorts keys so that numbers inside them count as numbers: `a2` before `a10`; otherwise by character, letters last.
fn key_order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut digits = false;
    for i in 0..a.len().min(b.len()) {
        if a[i] == b[i] {
            digits = a[i].is_ascii_digit();
            continue;
        }
        return match (a[i].is_alphabetic(), b[i].is_alphabetic()) {
            (true, true) => a[i].cmp(&b[i]),
            (true, false) => {
                if digits {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (false, true) => {
                if digits {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (false, false) => number_at(&a, i).cmp(&number_at(&b, i)).then(a[i].cmp(&b[i])),
        };
    }
    a.len().cmp(&b.len())
}

/// The number that the digits at `start` make, without those before it.
fn number_at(text: &[char], start: usize) -> (u64, usize) {
    let digits: String = text[start..].iter().take_while(|c| c.is_ascii_digit()).take(18).collect();
    (digits.parse().unwrap_or(0), digits.len())
}

fn scalar(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(string) => text(out, string, depth),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn text(out: &mut String, string: &str, depth: usize) {
    if string.contains('\n') && block_allowed(string) {
        block(out, string, depth);
    } else if string.chars().any(is_special) || means_something_else(string) || string.contains('\n') {
        double_quoted(out, string);
    } else if plain_allowed(string) {
        out.push_str(string);
    } else {
        out.push('\'');
        out.push_str(&string.replace('\'', "''"));
        out.push('\'');
    }
}

/// Neither printable nor a line end.
fn is_special(c: char) -> bool {
    c != '\n' && (c.is_control() || c == '\u{feff}')
}

fn block_allowed(string: &str) -> bool {
    !string.chars().any(is_special)
        && !string.ends_with(' ')
        && !string.contains(" \n")
        && !string.starts_with(' ')
}

fn block(out: &mut String, string: &str, depth: usize) {
    out.push_str(match (string.ends_with('\n'), string.ends_with("\n\n")) {
        (false, _) => "|-",
        (true, false) => "|",
        (true, true) => "|+",
    });
    let body = string.strip_suffix('\n').unwrap_or(string);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth + 1);
            out.push_str(line);
        }
    }
}

fn double_quoted(out: &mut String, string: &str) {
    out.push('"');
    for c in string.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            c if is_special(c) => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Whether a text may stand without quotes in a block (YAML 1.1 §5.3, indicators).
fn plain_allowed(string: &str) -> bool {
    let Some(first) = string.chars().next() else { return false };
    let followed = |rest: &str| rest.is_empty() || rest.starts_with(' ');
    if "#,[]{}&*!|>'\"%@`".contains(first)
        || ("?-:".contains(first) && followed(&string[1..]))
        || string.starts_with("---")
        || string.starts_with("...")
        || string.starts_with(' ')
        || string.ends_with(' ')
    {
        return false;
    }
    !string.contains(": ") && !string.ends_with(':') && !string.contains(" #")
}

/// Whether YAML 1.1 would read the bare text as null, a boolean, a number, a time or a merge key.
fn means_something_else(string: &str) -> bool {
    const WORDS: &[&str] = &[
        "", "~", "null", "Null", "NULL", "<<", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N",
        "no", "No", "NO", "off", "Off", "OFF", "true", "True", "TRUE", "false", "False", "FALSE", ".nan",
        ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
    ];
    WORDS.contains(&string) || is_number(string) || is_sexagesimal(string) || is_time(string)
}

fn is_number(string: &str) -> bool {
    let unsigned = string.strip_prefix(['+', '-']).unwrap_or(string);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let bare = unsigned.replace('_', "");
    let radix = |prefix: [&str; 2], radix: u32| {
        prefix
            .iter()
            .find_map(|p| bare.strip_prefix(p))
            .is_some_and(|d| u64::from_str_radix(d, radix).is_ok())
    };
    let float = || {
        let (mantissa, exponent) = match bare.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (&bare[..], None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let exponent_is_number = exponent.is_none_or(|exponent| {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent)
        });
        digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_is_number
    };
    radix(["0x", "0X"], 16) || radix(["0o", "0O"], 8) || radix(["0b", "0B"], 2) || float()
}

/// Numbers of base 60, such as `190:20:30`.
fn is_sexagesimal(string: &str) -> bool {
    let unsigned = string.strip_prefix(['+', '-']).unwrap_or(string);
    let mut parts = unsigned.split(':');
    let head = parts.next().unwrap_or_default();
    let tail: Vec<&str> = parts.collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let sixtieth =
        |text: &str| digits(text) && (text.len() == 1 || (text.len() == 2 && text.as_bytes()[0] < b'6'));
    let last = |text: &str| sixtieth(text.split_once('.').map_or(text, |(whole, _)| whole));
    head.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        && head.starts_with(|c: char| c.is_ascii_digit())
        && tail
            .split_last()
            .is_some_and(|(end, middle)| last(end) && middle.iter().all(|part| sixtieth(part)))
}

/// Dates, and dates with a time.
fn is_time(string: &str) -> bool {
    let date = string.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let is_date = parts.len() == 3
        && parts[0].len() == 4
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit()))
        && parts[1..].iter().all(|part| part.len() <= 2);
    is_date
        && (string.len() == date.len() || string[date.len() + 1..].starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_lists_and_empty_ones_stand_as_go_writes_them() {
        let value = json!({
            "kind": "K", "items": [{"b": [1, {"x": null}], "a": {}}, []], "metadata": {"resourceVersion": "1", "n": "y"},
        });
        let wanted = "\
items:
- a: {}
  b:
  - 1
  - x: null
- []
kind: K
metadata:
  \"n\": \"y\"
  resourceVersion: \"1\"
";
        assert_eq!(render(&value), wanted);
    }

    #[test]
    fn a_text_has_quotes_only_where_yaml_would_read_something_else() {
        let cases = [
            ("10.0.2.15/24", "10.0.2.15/24"),
            ("all()", "all()"),
            ("role == 'database'", "role == 'database'"),
            ("9000:9010", "9000:9010"),
            ("10:20:30", "\"10:20:30\""),
            ("24/", "24/"),
            ("2026-11-23T01:39:44Z", "\"2026-11-23T01:39:44Z\""),
            ("1e3", "\"1e3\""),
            ("0x1f", "\"0x1f\""),
            ("", "\"\""),
            ("no", "\"no\""),
            ("{\"a\":\"b\"}", "'{\"a\":\"b\"}'"),
            ("a: b", "'a: b'"),
            ("it's: x", "'it''s: x'"),
            ("- a", "'- a'"),
            ("!x", "'!x'"),
            ("a\tb", "\"a\\tb\""),
            ("66:f9:37:c3:7e:94", "66:f9:37:c3:7e:94"),
            ("a\nb\n", "|\n  a\n  b"),
        ];
        for (text, wanted) in cases {
            assert_eq!(render(&json!(text)), format!("{wanted}\n"), "{text:?}");
        }
    }
}
