//! What values have to look like: lengths, patterns and bounds that the generator does not know, and where
//! null may stand.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Puts in place of each `@name` what `values` has under that name: a rule is written once, and named
/// wherever it holds.
pub(crate) fn spell_out(rules: &mut Value, values: &Value) {
    match rules {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix('@') {
                *rules =
                    values.get(name).cloned().unwrap_or_else(|| panic!("the supplement has no value {name}"));
            }
        }
        Value::Object(members) => members.values_mut().for_each(|rule| spell_out(rule, values)),
        Value::Array(items) => items.iter_mut().for_each(|rule| spell_out(rule, values)),
        _ => {}
    }
}

/// The rule for a parameter: its own in its group, or that of its name everywhere.
pub(crate) fn of_parameter<'r>(rules: &'r Value, tag: &str, name: &str) -> Option<&'r Value> {
    rules.get(format!("{tag}.{name}")).or_else(|| rules.get(name))
}

/// To the reader of JSON bodies null is as if the member were left out, wherever it may be left out; so the
/// document says.
pub(crate) fn let_null_stand_for_absent(document: &mut Value) {
    let mut waiting: Vec<String> = request_schemas(document);
    let mut done = BTreeSet::new();
    while let Some(pointer) = waiting.pop().filter(|pointer| done.insert(pointer.clone())) {
        let Some(schema) = document.pointer_mut(&pointer) else { continue };
        let mut null_too = vec![];
        let required = schema.get("required").cloned().unwrap_or_else(|| json!([]));
        for (name, property) in schema["properties"].as_object_mut().into_iter().flatten() {
            let part = reference(property).or_else(|| reference(property.pointer("/allOf/0")?));
            waiting.extend(part.clone());
            if required.as_array().is_some_and(|required| !required.contains(&json!(name))) {
                property["nullable"] = true.into();
                null_too.extend(part);
                if let Some(words) = property.get_mut("enum").and_then(Value::as_array_mut) {
                    words.push(Value::Null);
                }
            }
        }
        // What a reference leads to has its own say: it must allow null as well.
        for part in null_too {
            if let Some(part) = document.pointer_mut(&part) {
                part["nullable"] = true.into();
            }
        }
    }
}

fn request_schemas(document: &Value) -> Vec<String> {
    let operations = document["paths"]
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(_, methods)| methods.as_object().into_iter().flatten());
    operations
        .filter_map(|(_, operation)| {
            reference(operation.pointer("/requestBody/content/application~1json/schema")?)
        })
        .collect()
}

/// Where a reference leads, as a JSON pointer.
fn reference(schema: &Value) -> Option<String> {
    Some(schema.get("$ref")?.as_str()?.strip_prefix('#')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_named_once_and_stands_wherever_it_is_named() {
        let mut rules = json!({"A": {"id": "@name", "list": {"items": "@name"}, "plain": "text", "max": 3}});
        spell_out(&mut rules, &json!({"name": {"maxLength": 64}}));
        assert_eq!(
            rules,
            json!({"A": {"id": {"maxLength": 64}, "list": {"items": {"maxLength": 64}}, "plain": "text", "max": 3}})
        );
    }

    #[test]
    #[should_panic(expected = "no value nmae")]
    fn a_misspelt_rule_is_no_rule() {
        spell_out(&mut json!({"id": "@nmae"}), &json!({"name": {}}));
    }

    #[test]
    fn a_group_may_have_a_rule_of_its_own() {
        let rules = json!({"Clients.id": 1, "id": 2});
        assert_eq!(of_parameter(&rules, "Clients", "id"), Some(&json!(1)));
        assert_eq!(of_parameter(&rules, "Sessions", "id"), Some(&json!(2)));
        assert_eq!(of_parameter(&rules, "Sessions", "other"), None);
    }

    #[test]
    fn what_may_be_left_out_of_a_request_may_be_null_at_any_depth_and_what_is_answered_stays() {
        let text = json!({"type": "string"});
        let mut document = json!({
            "paths": {"/things": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}}}}},
            "components": {"schemas": {
                "Body": {"required": ["name"], "properties": {
                    "name": text, "kind": {"enum": ["a"]}, "part": {"allOf": [{"$ref": "#/components/schemas/Part"}]},
                }},
                "Part": {"properties": {"label": text}},
                "Answer": {"properties": {"text": text}},
            }},
        });
        let_null_stand_for_absent(&mut document);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Body"]["properties"]["name"], text);
        assert_eq!(schemas["Body"]["properties"]["kind"], json!({"enum": ["a", null], "nullable": true}));
        assert_eq!(
            (&schemas["Body"]["properties"]["part"]["nullable"], &schemas["Part"]["nullable"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(schemas["Part"]["properties"]["label"]["nullable"], true);
        assert_eq!(schemas["Answer"]["properties"]["text"], text);
    }
}
