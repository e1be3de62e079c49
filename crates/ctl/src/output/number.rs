//! Numbers as Go's `%v` and `%.5g` print them.

/// A number of a document: integers as they are, others in the shortest form, with an exponent from six digits on.
pub fn short(number: f64) -> String {
    let text = format!("{number:e}");
    if (-4..6).contains(&split(&text).1) { format!("{number}") } else { exponential(&text) }
}

/// Five significant digits, with an exponent if the number is 100 000 or larger: `65536`, `1.8447e+19`.
pub fn five_digits(number: f64) -> String {
    let text = format!("{number:.4e}");
    let (mantissa, exponent) = text.split_once('e').expect("the form has an exponent");
    let trimmed = mantissa.trim_end_matches('0').trim_end_matches('.');
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    if (-4..5).contains(&exponent) {
        let decimals = usize::try_from((4 - exponent).max(0)).expect("not negative");
        let plain = format!("{number:.decimals$}");
        return match plain.contains('.') {
            true => plain.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => plain,
        };
    }
    exponential(&format!("{trimmed}e{exponent}"))
}

fn split(text: &str) -> (&str, i32) {
    let (mantissa, exponent) = text.split_once('e').expect("the form has an exponent");
    (mantissa, exponent.parse().expect("an exponent is a number"))
}

/// Rust's `1e6` as Go's `1e+06`.
fn exponential(text: &str) -> String {
    let (mantissa, exponent) = split(text);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        for (number, text) in
            [(100.0, "100"), (7.5, "7.5"), (-3.0, "-3"), (1e6, "1e+06"), (1e7, "1e+07"), (1000.0, "1000")]
        {
            assert_eq!(short(number), text);
        }
        for (number, text) in [
            (0.0, "0"),
            (8.0, "8"),
            (65536.0, "65536"),
            (131_072.0, "1.3107e+05"),
            (18_446_744_073_709_551_616.0, "1.8447e+19"),
            (100_000.0, "1e+05"),
        ] {
            assert_eq!(five_digits(number), text);
        }
    }
}
