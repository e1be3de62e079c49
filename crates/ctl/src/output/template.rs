//! The part of Go's template language that scripts around `calicoctl` use: text, fields, `range` and `end`.
//!
//! Data is the list of what was found: resources, or one list document with `Items`. Fields have Go's names; they are found
//! by their JSON names in any case, and a resource's metadata also without `ObjectMeta`.

use crate::failure::Failure;
use crate::output::number;
use serde_json::Value;

enum Part {
    Text(String),
    Field(String),
    Range(String, Vec<Part>),
}

/// The template's text for `data`.
pub fn render(template: &str, data: &Value) -> Result<String, Failure> {
    let tokens = tokens(template)?;
    let mut rest = tokens.into_iter();
    let parts = parse(&mut rest, false)?;
    let mut out = String::new();
    write(&mut out, &parts, data)?;
    Ok(out)
}

enum Token {
    Text(String),
    Action(String),
}

fn tokens(template: &str) -> Result<Vec<Token>, Failure> {
    let mut tokens = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        tokens.push(Token::Text(rest[..start].to_owned()));
        let inside = &rest[start + 2..];
        let end = inside.find("}}").ok_or_else(|| Failure::new("template: get:1: unclosed action"))?;
        tokens.push(Token::Action(inside[..end].trim().to_owned()));
        rest = &inside[end + 2..];
    }
    tokens.push(Token::Text(rest.to_owned()));
    Ok(tokens)
}

fn parse(tokens: &mut impl Iterator<Item = Token>, inside: bool) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    loop {
        match tokens.next() {
            None if inside => return Err(Failure::new("template: get:1: unexpected EOF")),
            None => return Ok(parts),
            Some(Token::Text(text)) => parts.push(Part::Text(text)),
            Some(Token::Action(action)) => match action.split_once(' ') {
                None if action == "end" && inside => return Ok(parts),
                Some(("range", field)) => {
                    parts.push(Part::Range(field.trim().to_owned(), parse(tokens, true)?))
                }
                None if action.starts_with('.') => parts.push(Part::Field(action)),
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
            Part::Field(path) => match at(data, path)? {
                Value::String(text) => out.push_str(&text),
                Value::Number(n) if n.is_f64() => {
                    out.push_str(&n.as_f64().map(number::short).unwrap_or_default())
                }
                Value::Null => out.push_str("<nil>"),
                other => out.push_str(&other.to_string()),
            },
            Part::Range(path, inner) => match at(data, path)? {
                Value::Array(items) => items.iter().try_for_each(|item| write(out, inner, item))?,
                Value::Object(map) => map.values().try_for_each(|value| write(out, inner, value))?,
                Value::Null => {}
                _ => return Err(Failure::new(format!("template: range can't iterate over {path}"))),
            },
        }
    }
    Ok(())
}

fn at(data: &Value, path: &str) -> Result<Value, Failure> {
    let mut value = data.clone();
    for field in path.split('.').filter(|field| !field.is_empty()) {
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
                return Err(Failure::new(format!(
                    "template: get:1: executing \"get\" at <{path}>: can't evaluate field {field}"
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
