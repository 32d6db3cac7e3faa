//! RFC 7396 merge patches between JSON values that hold no `null`. Pure.

use serde_json::{Map, Value};

/// What makes `after` of `before`; absent where nothing does.
pub fn between(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        let change = match old.get(key) {
            Some(before) => between(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Changes a value by a patch.
pub fn apply(value: &mut Value, patch: Value) {
    let Value::Object(changes) = patch else {
        *value = patch;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(object) = value else { return };
    for (key, change) in changes {
        if change.is_null() {
            object.remove(&key);
        } else {
            apply(object.entry(key).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_patch_holds_what_changed_and_nothing_else() {
        let before = json!({"a": {"x": 1, "y": 2}, "b": [1, 2], "c": 3});
        let after = json!({"a": {"x": 1, "y": 5}, "b": [1, 3], "d": {}});
        let patch = between(&before, &after).unwrap();
        assert_eq!(patch, json!({"a": {"y": 5}, "b": [1, 3], "c": null, "d": {}}));
        assert_eq!(between(&after, &after), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..5).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|map| json!(map))
        })
    }

    proptest! {
        #[test]
        fn a_patch_that_is_applied_gives_the_other_value(before in value(), after in value()) {
            let mut patched = before.clone();
            if let Some(patch) = between(&before, &after) {
                apply(&mut patched, patch);
            }
            prop_assert_eq!(patched, after);
        }
    }
}
