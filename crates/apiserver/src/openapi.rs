//! OpenAPI, as much of it as `kubectl` looks at: version 3 with every kind's fields, for validation by the server and
//! `kubectl explain`; version 2 without any, which tells older clients to leave validation to the server.

use crate::core;
use crate::discovery::{KUBERNETES, of};
use crate::kinds::{self, Kind};
use model::schema::{Field, Type};
use serde_json::{Map, Value, json};

/// The media type of version 2 in protobuf. `kubectl` asks for it with an `@`, which no media type may have: it would refuse
/// the answer.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

fn release() -> String {
    format!("v{}.{}.0", KUBERNETES.0, KUBERNETES.1)
}

/// `/openapi/v2` as JSON.
pub fn v2() -> Value {
    json!({ "swagger": "2.0", "info": { "title": "Kubernetes", "version": release() }, "paths": {}, "definitions": {} })
}

/// `/openapi/v2` in protobuf (`openapiv2.Document` of gnostic: 1 swagger, 2 info, 8 paths; `Info`: 1 title, 2 version).
pub fn v2_protobuf() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("each of these fields is short");
        [&[number << 3 | 2, length][..], bytes].concat()
    };
    let info = [field(1, b"Kubernetes"), field(2, release().as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info), field(8, b"")].concat()
}

/// `/openapi/v3`.
pub fn v3() -> Value {
    let mut paths = Map::new();
    for (group, version) in std::iter::once(("", "v1")).chain(kinds::groups()) {
        let path = root(group, version);
        let url = format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"));
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// `/openapi/v3/apis/{group}/{version}`.
pub fn v3_of(group: &str, version: &str) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in of(group, version) {
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let gvk = json!({ "group": group, "version": version, "kind": kind.kind });
        let operation = |action: &str, media_types: &[&str]| {
            let content: Map<String, Value> =
                media_types.iter().map(|media_type| ((*media_type).to_owned(), json!({}))).collect();
            let parameter =
                |name: &str| json!({ "name": name, "in": "query", "schema": { "type": "string" } });
            json!({
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk,
                "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
                "requestBody": { "content": content }, "responses": { "200": { "description": "OK" } },
            })
        };
        // Strategic merge patch is understood but not told of: `kubectl` would look for merge keys in the schemas here
        // instead of its own types.
        let patches =
            ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
        let collection = format!("/{}{scope}/{}", root(group, version), kind.plural);
        paths.insert(
            collection.clone(),
            json!({ "get": operation("list", &[]), "post": operation("post", &["application/json"]) }),
        );
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({
                "get": operation("get", &[]), "put": operation("put", &["application/json"]),
                "patch": operation("patch", &patches),
            }),
        );
        schemas.insert(name(kind), schema(kind, gvk.clone()));
    }
    json!({
        "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": release() },
        "paths": paths, "components": { "schemas": schemas },
    })
}

fn name(kind: &Kind) -> String {
    let domain: Vec<&str> = kind.group.split('.').rev().filter(|part| !part.is_empty()).collect();
    let domain = if domain.is_empty() { "io.k8s.api.core".into() } else { domain.join(".") };
    format!("{domain}.{}.{}", kind.version, kind.kind)
}

fn schema(kind: &Kind, gvk: Value) -> Value {
    let mut properties = properties(core::HEAD);
    match (core::fields(kind), kind.calico) {
        (Some(fields), _) => properties.extend(self::properties(fields)),
        (None, calico) => {
            let spec = calico.map_or_else(|| of_type(Type::Map), |schema| of_type(Type::Object(schema.spec)));
            properties.insert("spec".to_owned(), spec);
            properties.insert("status".to_owned(), of_type(Type::Map));
        }
    }
    json!({ "type": "object", "x-kubernetes-group-version-kind": [gvk], "properties": properties })
}

fn properties(fields: &[Field]) -> Map<String, Value> {
    fields.iter().map(|(name, field)| ((*name).to_owned(), of_type(*field))).collect()
}

fn of_type(field: Type) -> Value {
    match field {
        Type::Bool => json!({ "type": "boolean" }),
        Type::Int => json!({ "type": "integer" }),
        Type::Number => json!({ "type": "number" }),
        Type::Str | Type::Duration => json!({ "type": "string" }),
        Type::IntOrStr => json!({ "x-kubernetes-int-or-string": true }),
        Type::Map => json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
        Type::List(item) => json!({ "type": "array", "items": of_type(*item) }),
        Type::Object(fields) => json!({ "type": "object", "properties": properties(fields) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_3_tells_that_fields_are_validated_here_and_which_there_are() {
        let document = v3_of("projectcalico.org", "v3");
        let patch = &document["paths"]["/apis/projectcalico.org/v3/ippools/{name}"]["patch"];
        let parameters = patch["parameters"].as_array().expect("parameters");
        assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
        assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
        let spec = &document["components"]["schemas"]["org.projectcalico.v3.IPPool"]["properties"]["spec"];
        assert_eq!(spec["properties"]["blockSize"], json!({ "type": "integer" }));
    }

    #[test]
    fn version_2_is_a_document_without_definitions() {
        assert_eq!(&v2_protobuf()[..5], b"\x0a\x032.0");
        assert!(v2_protobuf().ends_with(b"\x42\0"));
    }
}
