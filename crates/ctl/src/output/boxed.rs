//! Tables in boxes, as `ipam show` and `node status` print them: headings centred, numbers to the right, text to the left,
//! cells longer than 30 characters broken between words.

const LONGEST: usize = 30;

/// A box with a heading and rows.
pub struct Boxed {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Boxed {
    /// A box without rows. Headings are printed in capitals.
    pub fn new(heading: &[&str]) -> Boxed {
        Boxed { heading: heading.iter().map(|h| h.to_uppercase()).collect(), rows: Vec::new() }
    }

    /// Adds a row, of as many cells as the heading has.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.heading.len(), "a row has a cell for every heading");
        self.rows.push(cells);
    }

    /// The box as text.
    pub fn render(&self) -> String {
        let rows: Vec<Vec<Vec<String>>> =
            self.rows.iter().map(|row| row.iter().map(|cell| wrap(cell)).collect()).collect();
        let widths: Vec<usize> = (0..self.heading.len()).map(|column| self.width(column, &rows)).collect();
        let mut rule = String::from("+");
        for width in &widths {
            rule.extend(std::iter::repeat_n('-', width + 2));
            rule.push('+');
        }
        rule.push('\n');
        let mut out = rule.clone();
        out += &line(self.heading.iter().zip(&widths).map(|(cell, &width)| centre(cell, width)));
        out += &rule;
        for row in &rows {
            let height = row.iter().map(Vec::len).max().unwrap_or(0);
            for i in 0..height {
                let part = |cell: &Vec<String>| cell.get(i).cloned().unwrap_or_default();
                out += &line(row.iter().zip(&widths).map(|(cell, &width)| align(&part(cell), width)));
            }
        }
        out + &rule
    }

    /// A cell that was broken makes its column as wide as is allowed, however short its lines are.
    fn width(&self, column: usize, rows: &[Vec<Vec<String>>]) -> usize {
        let whole = self.rows.iter().map(|row| length(&row[column]).min(LONGEST));
        let lines = rows.iter().flat_map(|row| row[column].iter().map(|line| length(line)));
        whole.chain(lines).chain([length(&self.heading[column])]).max().unwrap_or(0)
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn line(cells: impl Iterator<Item = String>) -> String {
    cells.fold(String::from("|"), |line, cell| line + " " + &cell + " |") + "\n"
}

fn centre(text: &str, width: usize) -> String {
    let gap = width - length(text);
    format!("{}{text}{}", " ".repeat(gap / 2), " ".repeat(gap - gap / 2))
}

fn align(text: &str, width: usize) -> String {
    if is_number(text) { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

/// Digits with an optional sign and fraction.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

/// Breaks a text of more than 30 characters so that the squares of what its lines leave empty, the last one's apart, add
/// up to the least.
fn wrap(text: &str) -> Vec<String> {
    if length(text) <= LONGEST {
        return vec![text.to_owned()];
    }
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let limit = words.iter().map(|word| length(word)).max().unwrap_or(0).max(LONGEST);
    let width =
        |from: usize, to: usize| words[from..to].iter().map(|word| length(word) + 1).sum::<usize>() - 1;
    let mut best = vec![(0, words.len()); words.len() + 1];
    for from in (0..words.len()).rev() {
        if width(from, words.len()) > limit {
            let ends = (from + 1..words.len()).filter(|&to| width(from, to) <= limit);
            let costs = ends.map(|to| ((limit - width(from, to)).pow(2) + best[to].0, to));
            best[from] = costs.min_by_key(|&(cost, _)| cost).expect("the longest word fits");
        }
    }
    let mut lines = Vec::new();
    let mut from = 0;
    while from < words.len() {
        let to = best[from].1;
        lines.push(words[from..to].join(" "));
        from = to;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_centred_numbers_stand_right_and_long_text_is_broken() {
        let mut table = Boxed::new(&["peer address", "total", "info"]);
        table.row(vec!["10.0.2.4".into(), "64".into(), "Established".into()]);
        table.row(vec!["10.0.2.5".into(), "1e+19".into(), "Idle Socket: Connection refused".into()]);
        let wanted = "\
+--------------+-------+--------------------------------+
| PEER ADDRESS | TOTAL |              INFO              |
+--------------+-------+--------------------------------+
| 10.0.2.4     |    64 | Established                    |
| 10.0.2.5     | 1e+19 | Idle Socket: Connection        |
|              |       | refused                        |
+--------------+-------+--------------------------------+
";
        assert_eq!(table.render(), wanted);
    }

    #[test]
    fn a_box_without_rows_is_a_heading_between_rules() {
        assert_eq!(Boxed::new(&["a"]).render(), "+---+\n| A |\n+---+\n+---+\n");
    }
}
