//! The parser: recursive descent over the text, one function a rule of the grammar.

use super::Selector;
use std::collections::BTreeSet;

/// The longest label (Kubernetes: a prefix of 253 bytes, a slash, a name of 63).
const MAX_LABEL: usize = 512;
/// How deep parentheses may nest. Differs from Calico, which has no limit but its stack.
const MAX_DEPTH: usize = 200;

/// The text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("selector `{text}`: expected {expected} at column {column}, found {found}")]
pub struct SelectorError {
    pub text: String,
    /// What could have stood there.
    pub expected: &'static str,
    /// From 1, in characters.
    pub column: usize,
    /// What stands there, up to the next space.
    pub found: String,
}

pub(super) fn selector(text: &str) -> Result<Selector, SelectorError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.skip_blanks();
    if parser.rest().is_empty() {
        return Ok(Selector::All);
    }
    let selector = parser.or()?;
    if parser.rest().is_empty() { Ok(selector) } else { Err(parser.expected("`&&`, `||` or the end")) }
}

struct Parser<'a> {
    text: &'a str,
    /// The next byte; never before a blank, except in a string.
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Selector, SelectorError> {
        self.chain("||", Parser::and, Selector::Or)
    }

    fn and(&mut self) -> Result<Selector, SelectorError> {
        self.chain("&&", Parser::not, Selector::And)
    }

    fn chain(
        &mut self,
        operator: &str,
        term: fn(&mut Parser<'a>) -> Result<Selector, SelectorError>,
        of: fn(Vec<Selector>) -> Selector,
    ) -> Result<Selector, SelectorError> {
        let first = term(self)?;
        if !self.take(operator) {
            return Ok(first);
        }
        let mut terms = vec![first, term(self)?];
        while self.take(operator) {
            terms.push(term(self)?);
        }
        Ok(of(terms))
    }

    fn not(&mut self) -> Result<Selector, SelectorError> {
        let mut negated = false;
        while self.take("!") {
            negated = !negated;
        }
        let term = self.term()?;
        Ok(match term {
            term if !negated => term,
            Selector::Not(term) => *term,
            term => Selector::Not(Box::new(term)),
        })
    }

    fn term(&mut self) -> Result<Selector, SelectorError> {
        if self.take("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(self.expected("fewer parentheses"));
            }
            let inner = self.or()?;
            self.require(")", "`)`")?;
            self.depth -= 1;
            return Ok(inner);
        }
        for (call, selector) in [("all(", Selector::All), ("global(", Selector::Global)] {
            if self.take(call) {
                self.require(")", "`)`")?;
                return Ok(selector);
            }
        }
        if self.take("has(") {
            let label = self.label().ok_or_else(|| self.expected("a label"))?;
            self.require(")", "`)`")?;
            return Ok(Selector::Has(label));
        }
        let label =
            self.label().ok_or_else(|| self.expected("a label, `!`, `(`, `has(`, `all()` or `global()`"))?;
        self.relation(label)
    }

    fn relation(&mut self, label: String) -> Result<Selector, SelectorError> {
        type OfText = fn(String, String) -> Selector;
        type OfSet = fn(String, BTreeSet<String>) -> Selector;
        let of_text: [(&[&str], OfText); 5] = [
            (&["=="], Selector::Equals),
            (&["!="], Selector::NotEquals),
            (&["contains"], Selector::Contains),
            (&["starts", "with"], Selector::StartsWith),
            (&["ends", "with"], Selector::EndsWith),
        ];
        for (words, of) in of_text {
            if self.take_words(words) {
                return Ok(of(label, self.string()?));
            }
        }
        let of_set: [(&[&str], OfSet); 2] = [(&["in"], Selector::In), (&["not", "in"], Selector::NotIn)];
        for (words, of) in of_set {
            if self.take_words(words) {
                return Ok(of(label, self.set()?));
            }
        }
        Err(self.expected("`==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`"))
    }

    fn set(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        self.require("{", "`{`")?;
        let mut values = BTreeSet::new();
        while !self.take("}") {
            values.insert(self.string()?);
            if !self.take(",") {
                self.require("}", "`,` or `}`")?;
                break;
            }
        }
        Ok(values)
    }

    fn string(&mut self) -> Result<String, SelectorError> {
        let rest = self.rest();
        let mark = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let end = mark.and_then(|mark| rest[1..].find(mark));
        let Some(end) = end else { return Err(self.expected("a text in quotes")) };
        self.at += end + 2;
        self.skip_blanks();
        Ok(rest[1..=end].to_owned())
    }

    fn label(&mut self) -> Option<String> {
        let rest = self.rest();
        let len = rest.bytes().take_while(|b| is_label_byte(*b)).count();
        (1..=MAX_LABEL).contains(&len).then(|| {
            self.at += len;
            self.skip_blanks();
            rest[..len].to_owned()
        })
    }

    /// Takes an operator of one or more words. Between words may stand blanks or nothing; after a word no label goes on.
    fn take_words(&mut self, words: &[&str]) -> bool {
        let before = self.at;
        let all = words.iter().all(|word| self.take(word));
        let taken = &self.text[before..self.at];
        let cut = |b: u8| !is_label_byte(b);
        let ended =
            !taken.bytes().last().is_some_and(is_label_byte) || self.rest().bytes().next().is_none_or(cut);
        if !(all && ended) {
            self.at = before;
        }
        all && ended
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
            self.skip_blanks();
        }
        found
    }

    fn require(&mut self, token: &str, expected: &'static str) -> Result<(), SelectorError> {
        if self.take(token) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().bytes().take_while(|b| matches!(b, b' ' | b'\t')).count();
        self.at += blanks;
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        let word = self.rest().split(char::is_whitespace).next().unwrap_or_default();
        SelectorError {
            text: self.text.to_owned(),
            expected,
            column: self.text[..self.at].chars().count() + 1,
            found: match word {
                "" => "the end".to_owned(),
                word => format!("`{word}`"),
            },
        }
    }
}

fn is_label_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_./-".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_points_at_the_place() {
        let error = |text: &str| selector(text).expect_err(text).to_string();
        assert_eq!(error("a == b"), "selector `a == b`: expected a text in quotes at column 6, found `b`");
        assert_eq!(error("has(a"), "selector `has(a`: expected `)` at column 6, found the end");
        assert_eq!(
            error("é == 'b'"),
            "selector `é == 'b'`: expected a label, `!`, `(`, `has(`, `all()` or `global()` at column 1, found `é`"
        );
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |n| format!("{}has(a){}", "(".repeat(n), ")".repeat(n));
        assert!(selector(&nested(MAX_DEPTH)).is_ok());
        assert!(selector(&nested(MAX_DEPTH + 1)).is_err());
    }

    #[test]
    fn a_keyword_is_a_keyword_only_after_a_label() {
        for text in ["in in {'in'}", "not == 'b'", "starts == 'x'", "all == 'x'", "has has ('x')"] {
            assert_eq!(selector(text).is_ok(), !text.starts_with("has"), "{text}");
        }
    }

    #[test]
    fn what_calico_refuses_is_refused() {
        for text in [
            "ALL()",
            "a = \"b\"",
            "a == \"b",
            "a == 'b\"",
            "a == \"x\"y\"",
            "a <> \"b\"",
            "a == 5",
            "a == 'b' || ",
            "(a == 'b'",
            "a == 'b')",
            "a == !'b'",
            "has()",
            "has('a')",
            "has(a,b)",
            "has",
            "a in {b}",
            "a in ('b')",
            "a in 'b'",
            "a !in {'b'}",
            "not a in {'b'}",
            "ain {'b'}",
            "a !contains 'b'",
            "a begins with 'b'",
            "a",
            "'a' == 'b'",
            "a == 'b', c == 'd'",
            "a == 'b';",
            "#",
            "a == 'b' # c",
            "a == 'b'\n",
            "a: == 'b'",
            "a@b == 'c'",
            "*",
            "true",
            "a == “b”",
            "has(a) has(b)",
            "a == 'b' & c == 'd'",
            "a == 'b' or c == 'd'",
            "!!",
            "a incontains 'b'",
            "a containsb 'b'",
            "all ()",
        ] {
            assert!(selector(text).is_err(), "{text}");
        }
    }
}
