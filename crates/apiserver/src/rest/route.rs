//! URLs: a path in, what it means out; a query string in, its parameters out.

use crate::kinds::{self, Kind};
use crate::status::Status;
use std::collections::BTreeMap;

/// What a path names.
#[derive(Debug)]
pub enum Route {
    Health,
    Version,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/{group}`
    Group(&'static str),
    /// `/api/v1`, `/apis/{group}/{version}`
    Resources {
        group: &'static str,
        version: &'static str,
    },
    /// `/openapi/v2`
    OpenApiV2,
    /// `/openapi/v3`
    OpenApiV3,
    /// `/openapi/v3/apis/{group}/{version}`
    OpenApiV3Of {
        group: &'static str,
        version: &'static str,
    },
    Objects(Target),
}

/// The objects that a path names.
#[derive(Clone, Debug)]
pub struct Target {
    pub kind: &'static Kind,
    /// Empty for cluster-wide kinds, and for lists over all namespaces.
    pub namespace: String,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

/// What of a pod its kubelet answers for.
const KUBELETS: [&str; 4] = ["attach", "exec", "log", "portforward"];

impl Route {
    /// Reads a path.
    ///
    /// # Errors
    /// 404 if nothing is there.
    pub fn parse(path: &str) -> Result<Route, Status> {
        let segments = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| decode(segment, false))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(Status::no_such_path)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let group_version = |group: &str, version: &str| {
            kinds::all()
                .iter()
                .find(|k| k.group == group && k.version == version)
                .map(|k| (k.group, k.version))
                .ok_or_else(Status::no_such_path)
        };
        Ok(match segments[..] {
            ["healthz" | "livez" | "readyz", ..] => Route::Health,
            ["version"] => Route::Version,
            ["api"] => Route::CoreVersions,
            ["apis"] => Route::Groups,
            ["apis", group] => {
                let group = kinds::groups().into_iter().find(|(name, _)| *name == group);
                Route::Group(group.ok_or_else(Status::no_such_path)?.0)
            }
            ["openapi", "v2"] => Route::OpenApiV2,
            ["openapi", "v3"] => Route::OpenApiV3,
            ["openapi", "v3", "api", version] => {
                let (group, version) = group_version("", version)?;
                Route::OpenApiV3Of { group, version }
            }
            ["openapi", "v3", "apis", group, version] => {
                let (group, version) = group_version(group, version)?;
                Route::OpenApiV3Of { group, version }
            }
            ["api", version] => {
                let (group, version) = group_version("", version)?;
                Route::Resources { group, version }
            }
            ["apis", group, version] => {
                let (group, version) = group_version(group, version)?;
                Route::Resources { group, version }
            }
            ["api", version, ref rest @ ..] => Route::Objects(Target::parse("", version, rest)?),
            ["apis", group, version, ref rest @ ..] => Route::Objects(Target::parse(group, version, rest)?),
            _ => return Err(Status::no_such_path()),
        })
    }
}

impl Target {
    /// Whether a kubelet answers, not the store.
    pub fn is_kubelets(&self) -> bool {
        self.subresource.as_deref().is_some_and(|s| KUBELETS.contains(&s))
    }

    fn parse(group: &str, version: &str, path: &[&str]) -> Result<Target, Status> {
        let (namespace, rest) = match path {
            // `namespaces/{name}/status` is a namespace's own.
            ["namespaces", namespace, rest @ ..]
                if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) =>
            {
                (*namespace, rest)
            }
            _ => ("", path),
        };
        let (plural, rest) = rest.split_first().ok_or_else(Status::no_such_path)?;
        let kind = kinds::find(group, version, plural).ok_or_else(Status::no_such_path)?;
        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some(*name), None),
            [name, subresource] => (Some(*name), Some(*subresource)),
            _ => return Err(Status::no_such_path()),
        };
        let in_namespace = !namespace.is_empty();
        let misplaced = in_namespace != kind.namespaced && (in_namespace || name.is_some());
        let known = subresource.is_none_or(|s| {
            (s == "status" && kind.status) || (kind.resource == "pods" && KUBELETS.contains(&s))
        });
        let plain = |text: &str| !matches!(text, "." | "..") && !text.contains(['/', '%', '\0']);
        if misplaced || !known || !plain(namespace) || !name.is_none_or(plain) {
            return Err(Status::no_such_path());
        }
        Ok(Target {
            kind,
            namespace: namespace.to_owned(),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        })
    }
}

/// The parameters of a query string; of one given twice, the first counts.
#[derive(Debug, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query string.
    pub fn parse(text: &str) -> Query {
        let mut parameters = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (decode(key, true), decode(value, true)) {
                parameters.entry(key).or_insert(value);
            }
        }
        Query(parameters)
    }

    /// A parameter, `None` if it is not there or empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a parameter is true; given without a value it is.
    pub fn flag(&self, key: &str) -> bool {
        self.0
            .get(key)
            .is_some_and(|value| matches!(value.as_str(), "" | "1" | "t" | "true" | "True" | "TRUE"))
    }

    /// A number.
    pub fn number<N: std::str::FromStr>(&self, key: &str) -> Result<Option<N>, Status> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| Status::bad_request(format!("invalid {key} {text:?}: a number is expected")))
        };
        self.get(key).map(parse).transpose()
    }
}

/// Percent-decodes; in queries a plus sign is a space. `None` if it is no UTF-8.
fn decode(text: &str, query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let [high, low, tail @ ..] = tail else { return None };
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest = tail;
            }
            b'+' if query => bytes.push(b' '),
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Option<(String, String, Option<String>, Option<String>)> {
        match Route::parse(path) {
            Ok(Route::Objects(t)) => Some((t.kind.resource.clone(), t.namespace, t.name, t.subresource)),
            _ => None,
        }
    }

    #[test]
    fn paths_name_objects() {
        let some = |kind: &str, namespace: &str, name: &str, sub: &str| {
            let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Some((kind.to_owned(), namespace.to_owned(), optional(name), optional(sub)))
        };
        for (path, expected) in [
            ("/api/v1/pods", some("pods", "", "", "")),
            ("/api/v1/namespaces/a/pods", some("pods", "a", "", "")),
            ("/api/v1/namespaces/a/pods/p/status", some("pods", "a", "p", "status")),
            ("/api/v1/namespaces", some("namespaces", "", "", "")),
            ("/api/v1/namespaces/a", some("namespaces", "", "a", "")),
            ("/api/v1/namespaces/a/status", some("namespaces", "", "a", "status")),
            ("/api/v1/nodes/n1", some("nodes", "", "n1", "")),
            ("/apis/projectcalico.org/v3/ippools/a%2Db", some("ippools.projectcalico.org", "", "a-b", "")),
            ("/apis/projectcalico.org/v3/ipamblocks/a/status", None),
            ("/api/v1/pods/p", None),
            ("/api/v1/namespaces/a/nodes", None),
            ("/api/v1/nodes/..", None),
            ("/api/v1/nodes/a%2Fb", None),
            ("/api/v1/namespaces/..%2f..%2fpods/pods", None),
            ("/api/v1/nosuch", None),
            ("/api/v2/pods", None),
        ] {
            assert_eq!(target(path), expected, "{path}");
        }
    }

    #[test]
    fn query_strings_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc&watch&limit=5&empty=&x=1+2&limit=9");
        assert_eq!(query.get("labelSelector"), Some("a=b,c"));
        assert!(query.flag("watch") && !query.flag("nosuch"));
        assert_eq!(query.number::<usize>("limit").ok().flatten(), Some(5));
        assert_eq!((query.get("empty"), query.get("x")), (None, Some("1 2")));
    }
}
