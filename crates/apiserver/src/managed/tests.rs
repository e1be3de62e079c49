//! What applies and other writes make of objects and their `managedFields`.

use super::*;

fn author(name: &str) -> Author {
    Author { name: name.into(), part: Part::Main, now: "2026-01-01T00:00:00Z".into() }
}

fn maps() -> &'static Kind {
    Kind::core("configmaps")
}

/// Applies and gives what would be stored.
fn applied(kind: &Kind, by: &str, live: Option<&Value>, object: Value, force: bool) -> Result<Value, Status> {
    let (mut object, fields) = apply(kind, &author(by), live, &Applied { object, force })?;
    fields.write(&mut object);
    Ok(object)
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

/// `manager operation` and the fields of each entry.
fn managers(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|e| (format!("{} {}", text(&e["manager"]), text(&e["operation"])), e["fieldsV1"].clone()))
        .collect()
}

#[test]
fn an_apply_manages_what_it_names_and_takes_back_what_it_does_not_name_any_more() {
    let first = applied(maps(), "a", None, map(json!({"x": "1", "y": "1"})), false).expect("made");
    assert_eq!(managers(&first), [("a Apply".into(), json!({"f:data": {"f:x": {}, "f:y": {}}}))]);
    let second = applied(maps(), "a", Some(&first), map(json!({"x": "2"})), false).expect("applied");
    assert_eq!(second["data"], json!({"x": "2"}));
    assert_eq!(managers(&second), [("a Apply".into(), json!({"f:data": {"f:x": {}}}))]);
}

#[test]
fn a_field_of_two_appliers_goes_with_the_second() {
    let first = applied(maps(), "a", None, map(json!({"x": "1"})), false).expect("made");
    let both = applied(maps(), "b", Some(&first), map(json!({"x": "1"})), false).expect("agreed");
    let left = applied(maps(), "a", Some(&both), map(json!({})), false).expect("applied");
    assert_eq!(left["data"], json!({"x": "1"}));
    let none = applied(maps(), "b", Some(&left), map(json!({})), false).expect("applied");
    assert_eq!(none["data"].get("x"), None);
}

#[test]
fn what_another_manager_holds_is_a_conflict_in_kubernetes_words_unless_forced() {
    let mut live = map(json!({"x": "1", "y": "1"}));
    track(maps(), &author("kubectl-create"), None, &mut live, None);
    let error = applied(maps(), "a", Some(&live), map(json!({"x": "2"})), false).expect_err("a conflict");
    assert_eq!(
        (error.code, error.message.as_str()),
        (409, "Apply failed with 1 conflict: conflict with \"kubectl-create\" using v1: .data.x")
    );
    let cause = &error.details.expect("details")["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldManagerConflict"), &json!(".data.x")));
    let error =
        applied(maps(), "a", Some(&live), map(json!({"x": "2", "y": "2"})), false).expect_err("conflicts");
    assert_eq!(
        error.message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using v1:\n- .data.x\n- .data.y"
    );
    let forced = applied(maps(), "a", Some(&live), map(json!({"x": "2"})), true).expect("forced");
    assert_eq!(forced["data"], json!({"x": "2", "y": "1"}));
    assert_eq!(
        managers(&forced),
        [
            ("a Apply".into(), json!({"f:data": {"f:x": {}}})),
            ("kubectl-create Update".into(), json!({"f:data": {".": {}, "f:y": {}}})),
        ]
    );
    applied(maps(), "b", Some(&live), map(json!({"x": "1"})), false).expect("the same value is no conflict");
}

#[test]
fn another_write_manages_what_it_changed() {
    let first = applied(maps(), "a", None, map(json!({"x": "1", "y": "1"})), false).expect("made");
    let mut second = first.clone();
    second["data"]["x"] = json!("2");
    track(maps(), &author("edit"), Some(&first), &mut second, None);
    assert_eq!(
        managers(&second),
        [
            ("a Apply".into(), json!({"f:data": {"f:y": {}}})),
            ("edit Update".into(), json!({"f:data": {"f:x": {}}})),
        ]
    );
    let mut forgotten = second.clone();
    track(maps(), &author("edit"), Some(&second), &mut forgotten, Some(json!([{}])));
    assert_eq!(managers(&forgotten), []);
    let mut untracked = forgotten.clone();
    untracked["data"]["x"] = json!("3");
    track(maps(), &author("edit"), Some(&forgotten), &mut untracked, None);
    assert_eq!(managers(&untracked), []);
    let error =
        applied(maps(), "a", Some(&untracked), map(json!({"x": "4"})), false).expect_err("a conflict");
    assert!(error.message.contains("\"before-first-apply\" using v1"), "{}", error.message);
}

#[test]
fn list_elements_are_managed_by_their_keys() {
    let services = Kind::core("services");
    let service = |ports: Value| json!({"metadata": {"name": "s"}, "spec": {"ports": ports}});
    let first =
        applied(services, "a", None, service(json!([{"port": 80, "name": "web"}])), false).expect("made");
    assert_eq!(
        managers(&first)[0].1,
        json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}}}}})
    );
    let other = service(json!([{"port": 53, "protocol": "UDP"}]));
    let both = applied(services, "b", Some(&first), other.clone(), false).expect("another port");
    assert_eq!(both["spec"]["ports"].as_array().map(Vec::len), Some(2));
    let renamed = service(json!([{"port": 80, "name": "http"}]));
    let error = applied(services, "b", Some(&both), renamed, false).expect_err("a conflict");
    assert!(error.message.ends_with(": .spec.ports[port=80,protocol=\"TCP\"].name"), "{}", error.message);
    let left = applied(services, "a", Some(&both), service(json!([])), false).expect("taken back");
    assert_eq!(left["spec"]["ports"], json!([{"port": 53, "protocol": "UDP"}]));
}

#[test]
fn an_element_stays_while_somebody_manages_a_field_in_it() {
    let pods = Kind::core("pods");
    let pod = |container: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": container}});
    let first = applied(pods, "a", None, pod(json!([{"name": "c", "image": "1"}])), false).expect("made");
    let both = pod(json!([{"name": "c", "workingDir": "/"}]));
    let both = applied(pods, "b", Some(&first), both, false).expect("another field");
    let left = applied(pods, "a", Some(&both), pod(json!([])), false).expect("taken back");
    assert_eq!(left["spec"]["containers"], json!([{"name": "c", "workingDir": "/"}]));
}

#[test]
fn lists_of_calicos_kinds_are_managed_whole() {
    let pools = crate::kinds::find("projectcalico.org", "v3", "ippools").expect("a kind");
    let pool = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"allowedUses": ["Workload"]}, "status": {"x": 1}});
    let made = applied(pools, "a", None, pool, false).expect("made");
    assert_eq!(made.get("status"), None, "the status is another part");
    assert_eq!(
        managers(&made)[0].1,
        json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:allowedUses": {}}})
    );
}

#[test]
fn the_same_apply_again_changes_nothing() {
    let first = applied(maps(), "a", None, map(json!({"x": "1"})), false).expect("made");
    let later = Author { now: "2027-01-01T00:00:00Z".into(), ..author("a") };
    let again = Applied { object: map(json!({"x": "1"})), force: false };
    let (mut object, fields) = apply(maps(), &later, Some(&first), &again).expect("applied");
    fields.write(&mut object);
    assert_eq!(object, first);
}

#[test]
fn of_many_updaters_the_oldest_become_one() {
    let mut object = map(json!({}));
    track(maps(), &author("m00"), None, &mut object, None);
    for n in 0..15 {
        let before = object.clone();
        object["data"][format!("k{n}")] = json!("v");
        let by = Author { now: format!("2026-01-01T00:00:{n:02}Z"), ..author(&format!("m{n:02}")) };
        track(maps(), &by, Some(&before), &mut object, None);
    }
    let names: Vec<String> = managers(&object).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 10);
    assert_eq!(names[0], "ancient-changes Update");
}
