//! Tables without lines, as `get` prints them: cells padded with three spaces, also the last of a line.

/// Space after the widest cell of a column.
const PADDING: usize = 3;
/// No column is narrower.
const MIN_WIDTH: usize = 5;

/// Lines of cells in columns; the first line is the heading. Every line must have as many cells as the heading.
pub fn render(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widest = lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        (widest + PADDING).max(MIN_WIDTH)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (cell, &width) in line.iter().zip(&widths) {
            out += cell;
            out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn every_cell_is_padded_also_the_last_and_the_empty_one() {
        let table = lines(&[&["NAME", "ASN", "IPV6"], &["n1", "(64512)", ""]]);
        assert_eq!(render(&table), "NAME   ASN       IPV6   \nn1     (64512)          \n");
    }

    #[test]
    fn a_narrow_column_is_five_wide() {
        assert_eq!(render(&lines(&[&["A"], &["b"]])), "A    \nb    \n");
    }
}
