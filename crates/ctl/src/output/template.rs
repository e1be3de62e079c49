//! The part of Go's template language that scripts around `calicoctl` use: text, fields, `range` and `end`.
//!
//! Data is the list of what was found: resources, or one list document with `Items`. Fields have Go's names; they are found
//! by their JSON names in any case, and a resource's metadata also without `ObjectMeta`.

use crate::failure::Failure;
use crate::output::number;
use serde_json::Value;

enum Part {
    Text(String),
    Field(Field),
    Range(Field, Vec<Part>),
}

/// A path of fields (`.Spec.CIDR`), and where it stands in the template: line, from 1, and column, from 0.
struct Field {
    path: String,
    at: (usize, usize),
}

/// The template's text for `data`.
pub fn render(template: &str, data: &Value) -> Result<String, Failure> {
    let mut tokens = tokens(template)?.into_iter();
    let parts = parse(template, &mut tokens, false)?;
    let mut out = String::new();
    write(&mut out, &parts, data)?;
    Ok(out)
}

enum Token {
    Text(String),
    /// What stands between the braces, and where it begins.
    Action(String, usize),
}

fn tokens(template: &str) -> Result<Vec<Token>, Failure> {
    let mut tokens = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        tokens.push(Token::Text(rest[..start].to_owned()));
        let inside = &rest[start + 2..];
        let end = inside.find("}}").ok_or_else(|| Failure::new("template: get:1: unclosed action"))?;
        let action = inside[..end].trim_start();
        let at = template.len() - rest.len() + start + 2 + (end - action.len());
        tokens.push(Token::Action(action.trim_end().to_owned(), at));
        rest = &inside[end + 2..];
    }
    tokens.push(Token::Text(rest.to_owned()));
    Ok(tokens)
}

fn parse(
    template: &str,
    tokens: &mut impl Iterator<Item = Token>,
    inside: bool,
) -> Result<Vec<Part>, Failure> {
    let field = |path: &str, at: usize| {
        let before = &template[..at];
        let column = at - before.rfind('\n').map_or(0, |end| end + 1);
        Field { path: path.to_owned(), at: (before.matches('\n').count() + 1, column) }
    };
    let mut parts = Vec::new();
    loop {
        match tokens.next() {
            None if inside => return Err(Failure::new("template: get:1: unexpected EOF")),
            None => return Ok(parts),
            Some(Token::Text(text)) => parts.push(Part::Text(text)),
            Some(Token::Action(action, at)) => match action.split_once(' ') {
                None if action == "end" && inside => return Ok(parts),
                Some(("range", path)) => {
                    let path = path.trim();
                    let field = field(path, at + action.len() - path.len());
                    parts.push(Part::Range(field, parse(template, tokens, true)?));
                }
                None if action.starts_with('.') => parts.push(Part::Field(field(&action, at))),
                _ => {
                    let text = format!(
                        "template: `{{{{{action}}}}}` is not supported: use fields, range and end, or -o json"
                    );
                    return Err(Failure::new(text));
                }
            },
        }
    }
}

fn write(out: &mut String, parts: &[Part], data: &Value) -> Result<(), Failure> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Field(field) => match at(data, field)? {
                Value::String(text) => out.push_str(&text),
                Value::Number(n) if n.is_f64() => {
                    out.push_str(&n.as_f64().map(number::short).unwrap_or_default())
                }
                Value::Null => out.push_str("<nil>"),
                other => out.push_str(&other.to_string()),
            },
            Part::Range(field, inner) => match at(data, field)? {
                Value::Array(items) => items.iter().try_for_each(|item| write(out, inner, item))?,
                Value::Object(map) => map.values().try_for_each(|value| write(out, inner, value))?,
                Value::Null => {}
                _ => {
                    let path = &field.path;
                    return Err(Failure::new(format!("template: range can't iterate over {path}")));
                }
            },
        }
    }
    Ok(())
}

fn at(data: &Value, wanted: &Field) -> Result<Value, Failure> {
    let mut value = data.clone();
    for field in wanted.path.split('.').filter(|field| !field.is_empty()) {
        let found = value.as_object().and_then(|object| {
            let json = if field == "ObjectMeta" { "metadata" } else { field };
            let named = |object: &serde_json::Map<String, Value>| {
                object.iter().find(|(key, _)| key.eq_ignore_ascii_case(json)).map(|(_, value)| value.clone())
            };
            let inherited = || object.get("metadata").and_then(Value::as_object).and_then(named);
            named(object).or_else(inherited)
        });
        value = match (found, value.is_object()) {
            (Some(found), _) => found,
            (None, true) if field != "Items" => Value::Null,
            _ => {
                let ((line, column), path) = (wanted.at, &wanted.path);
                let of = if value.is_array() { "[]runtime.Object" } else { "runtime.Object" };
                return Err(Failure::new(format!(
                    "template: get:{line}:{column}: executing \"get\" at <{path}>: can't evaluate field {field} in type {of}"
                )));
            }
        };
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_ranges_are_filled_in() {
        let data = json!([{"kind": "NodeList", "items": [{"metadata": {"name": "n1"}}, {"metadata": {"name": "n2"}}]}]);
        let filled = |text: &str| render(text, &data).map_err(|failure| failure.text);
        assert_eq!(filled("{{range .}}{{range .Items}}{{.Name}} {{end}}{{end}}").as_deref(), Ok("n1 n2 "));
        assert_eq!(filled("{{range .}}{{.Kind}}{{end}}").as_deref(), Ok("NodeList"));
        assert_eq!(filled("{{"), Err("template: get:1: unclosed action".to_owned()));
        assert!(filled("{{.Foo}}").is_err());
        assert!(filled("{{printf 1}}").is_err());
    }
}
