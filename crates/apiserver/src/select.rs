//! Label and field selectors in Kubernetes' syntax: text in, a predicate on objects out.

use crate::json;
use crate::kinds::Kind;
use serde_json::Value;

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Label {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
    Greater(String, i64),
    Less(String, i64),
}

/// One condition on a field: its path, whether it must equal, the value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    path: Vec<String>,
    equal: bool,
    value: String,
}

/// Which objects are meant: all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Label>,
    fields: Vec<Field>,
}

impl Selector {
    /// Parses `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// A sentence as Kubernetes answers it.
    pub fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Selector, String> {
        let labels_parsed = Words::of(labels).conditions().map_err(|error| {
            format!("unable to parse requirement: {error} in the label selector {labels:?}")
        })?;
        let fields_parsed = fields
            .split(',')
            .filter(|term| !term.trim().is_empty())
            .map(|term| field(kind, term.trim()))
            .collect::<Result<_, _>>()
            .map_err(|error| {
                format!(
                    "Unable to find \"{}, Resource={}\" that match label selector {labels:?}, field selector {fields:?}: {error}",
                    if kind.group.is_empty() { format!("/{}", kind.version) } else { kind.api_version.clone() },
                    kind.plural
                )
            })?;
        Ok(Selector { labels: labels_parsed, fields: fields_parsed })
    }

    /// One object by name.
    pub fn name(name: &str) -> Selector {
        let path = vec!["metadata".to_owned(), "name".to_owned()];
        Selector { labels: Vec::new(), fields: vec![Field { path, equal: true, value: name.to_owned() }] }
    }

    /// Both selectors at once.
    pub fn and(mut self, other: Selector) -> Selector {
        self.labels.extend(other.labels);
        self.fields.extend(other.fields);
        self
    }

    /// Whether every object is meant.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether `object` is meant.
    pub fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str);
        self.labels.iter().all(|condition| match condition {
            Label::In(key, values) => label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Label::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Label::Exists(key) => label(key).is_some(),
            Label::Missing(key) => label(key).is_none(),
            Label::Greater(key, n) => label(key).and_then(|v| v.parse().ok()).is_some_and(|v: i64| v > *n),
            Label::Less(key, n) => label(key).and_then(|v| v.parse().ok()).is_some_and(|v: i64| v < *n),
        }) && self.fields.iter().all(|f| {
            let path: Vec<&str> = f.path.iter().map(String::as_str).collect();
            let at = path.iter().try_fold(object, |value, key| value.get(key));
            let equal = match at {
                Some(Value::Bool(flag)) => f.value == flag.to_string(),
                Some(_) => json::text(object, &path) == f.value,
                None => f.value.is_empty() || (path == ["spec", "unschedulable"] && f.value == "false"),
            };
            equal == f.equal
        })
    }
}

/// Fields that a kind can be selected by, besides name and namespace.
fn selectable(kind: &Kind) -> &'static [&'static str] {
    match kind.resource.as_str() {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "nodes" => &["spec.unschedulable"],
        "namespaces" => &["status.phase"],
        "secrets" => &["type"],
        "services" => &["spec.clusterIP", "spec.type"],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        _ if kind.kind.ends_with("NetworkPolicy") => &["spec.tier"],
        _ => &[],
    }
}

fn field(kind: &Kind, term: &str) -> Result<Field, String> {
    let (path, equal, value) = if let Some((path, value)) = term.split_once("!=") {
        (path, false, value)
    } else if let Some((path, value)) = term.split_once("==") {
        (path, true, value)
    } else if let Some((path, value)) = term.split_once('=') {
        (path, true, value)
    } else {
        return Err(format!("invalid selector: '{term}'; can't understand '{term}'"));
    };
    let namespace = kind.namespaced && path == "metadata.namespace";
    if path != "metadata.name" && !namespace && !selectable(kind).contains(&path) {
        return Err(match selectable(kind) {
            [] => format!(
                "\"{path}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ),
            _ => format!("field label not supported: {path}"),
        });
    }
    let path = if path == "source" { "source.component" } else { path };
    Ok(Field { path: path.split('.').map(str::to_owned).collect(), equal, value: value.to_owned() })
}

/// The words of a label selector: names, and the signs `, ! = == != < > ( )`.
struct Words<'t> {
    rest: &'t str,
}

impl<'t> Words<'t> {
    fn of(text: &'t str) -> Words<'t> {
        Words { rest: text }
    }

    fn peek(&self) -> &'t str {
        let rest = self.rest.trim_start();
        let signs = ["==", "!=", "=", "!", ",", "(", ")", "<", ">"];
        if let Some(sign) = signs.iter().find(|sign| rest.starts_with(**sign)) {
            return &rest[..sign.len()];
        }
        let end = rest.find(|c: char| c.is_whitespace() || "=!,()<>".contains(c)).unwrap_or(rest.len());
        &rest[..end]
    }

    fn next(&mut self) -> &'t str {
        let word = self.peek();
        self.rest = &self.rest.trim_start()[word.len()..];
        word
    }

    fn conditions(mut self) -> Result<Vec<Label>, String> {
        let mut conditions = Vec::new();
        if self.peek().is_empty() {
            return Ok(conditions);
        }
        loop {
            conditions.push(self.condition()?);
            match self.next() {
                "" => return Ok(conditions),
                "," => {}
                other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn condition(&mut self) -> Result<Label, String> {
        if self.peek() == "!" {
            self.next();
            return Ok(Label::Missing(self.key()?));
        }
        let key = self.key()?;
        match self.peek() {
            "" | "," => Ok(Label::Exists(key)),
            "=" | "==" => {
                self.next();
                Ok(Label::In(key, vec![self.value()]))
            }
            "!=" => {
                self.next();
                Ok(Label::NotIn(key, vec![self.value()]))
            }
            sign @ ("<" | ">") => {
                self.next();
                let value = self.value();
                let bound = value.parse().map_err(|_| {
                    format!("for 'Gt', 'Lt' operators, the value must be an integer, not '{value}'")
                })?;
                Ok(if sign == ">" { Label::Greater(key, bound) } else { Label::Less(key, bound) })
            }
            "in" => {
                self.next();
                Ok(Label::In(key, self.set()?))
            }
            "notin" => {
                self.next();
                Ok(Label::NotIn(key, self.set()?))
            }
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next() {
            word if is_name(word) => Ok(word.to_owned()),
            other => Err(format!("found '{other}', expected: !, identifier, or 'end of string'")),
        }
    }

    /// A value, which may be empty.
    fn value(&mut self) -> String {
        match self.peek() {
            word if is_name(word) => self.next().to_owned(),
            _ => String::new(),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        if self.next() != "(" {
            return Err("a set of values begins with '('".to_owned());
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value());
            match self.next() {
                "," => {}
                ")" => return Ok(values),
                other => return Err(format!("found '{other}', expected: ',' or ')'")),
            }
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selectors_are_kubernetes() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "", "n": "5", "a.b/c": "d"}}});
        for (selector, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web", true),
            ("app==web,n", true),
            ("app!=web", false),
            ("none!=web", true),
            ("app in (db, web)", true),
            ("app notin (db,web)", false),
            ("none notin (x)", true),
            ("tier=", true),
            ("tier in (,x)", true),
            ("n>4,n<6", true),
            ("n>5", false),
            ("a.b/c = d", true),
            ("in=x", false),
        ] {
            let parsed = Selector::parse(Kind::core("pods"), selector, "").expect(selector);
            assert_eq!(parsed.matches(&object), expected, "{selector}");
        }
        for bad in ["=", "a in", "a in (b", "a b", "a=b c", "a,,b", "a>x", "/"] {
            assert!(Selector::parse(Kind::core("pods"), bad, "").is_err(), "{bad}");
        }
    }

    #[test]
    fn field_selectors_know_the_fields_of_their_kind() {
        let pod =
            json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        for (selector, expected) in [
            ("metadata.name=a", true),
            ("spec.nodeName=n1,status.phase!=Running", false),
            ("spec.nodeName==n1", true),
            ("spec.nodeName!=", true),
            ("status.podIP=", true),
        ] {
            let parsed = Selector::parse(Kind::core("pods"), "", selector).expect(selector);
            assert_eq!(parsed.matches(&pod), expected, "{selector}");
        }
        let error =
            Selector::parse(Kind::core("nodes"), "", "spec.nodeName=n1").expect_err("not a node's field");
        assert!(error.ends_with("field label not supported: spec.nodeName"), "{error}");
    }
}
