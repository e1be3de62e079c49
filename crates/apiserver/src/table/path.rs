//! The JSON paths of Calico's printer columns: `.spec.cidr`, `.status.conditions[?(@.type=='Allocatable')].status`.

use serde_json::Value;

/// The value at `path`, `None` if there is none.
pub fn find<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    let Some((head, rest)) = path.split_once("[?(@.") else {
        return walk(object, path);
    };
    let (condition, rest) = rest.split_once(")]")?;
    let (field, wanted) = condition.split_once("==")?;
    let wanted = wanted.trim_matches(['\'', '"']);
    let element = walk(object, head)?.as_array()?.iter().find(|element| element[field] == wanted)?;
    walk(element, rest)
}

fn walk<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').filter(|key| !key.is_empty()).try_fold(object, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_column_of_the_schema_is_a_path_that_we_can_walk() {
        let object = json!({"a": {"b": 1}, "list": [{"type": "X", "v": 1}, {"type": "Y", "v": 2}]});
        assert_eq!(find(&object, ".a.b"), Some(&json!(1)));
        assert_eq!(find(&object, ".list[?(@.type=='Y')].v"), Some(&json!(2)));
        assert_eq!(find(&object, ".list[?(@.type=='Z')].v"), None);
        assert_eq!(find(&object, ".a.c"), None);
    }
}
