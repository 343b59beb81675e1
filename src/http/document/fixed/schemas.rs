//! What the generator does not say of schemas: how the reader of JSON bodies takes null and unknown members,
//! and forms that other tools understand.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Brings schemas into the forms that linters and generators of clients accept: the description of a
/// reference stands beside it, free objects say that they are free, whole bounds have no fraction, and no
/// component has a title, from which generators make a second type of the same name.
pub(crate) fn tidy(document: &mut Value) {
    for (_, schema) in schemas(document) {
        schema.as_object_mut().map(|schema| schema.remove("title"));
    }
    tidy_schema(document);
}

fn schemas(document: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    document.pointer_mut("/components/schemas").and_then(Value::as_object_mut).into_iter().flatten()
}

fn tidy_schema(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let parts = members.get_mut("allOf").and_then(Value::as_array_mut);
            let description = parts.filter(|parts| parts.len() == 2).and_then(Vec::pop);
            if let Some(Value::Object(description)) = description {
                members.extend(description);
                if members.contains_key("nullable") {
                    members.insert("type".to_owned(), "object".into());
                }
            }
            let is_free = members.get("type").is_some_and(|kind| kind == "object")
                && !["properties", "allOf", "anyOf", "oneOf"].iter().any(|key| members.contains_key(*key));
            if is_free {
                members.insert("additionalProperties".to_owned(), true.into());
            }
            for bound in ["minimum", "maximum"] {
                if let Some(bound) = members.get_mut(bound) {
                    *bound = whole(bound);
                }
            }
            members.values_mut().for_each(tidy_schema);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy_schema),
        _ => {}
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounds are below 2^53")]
fn whole(bound: &Value) -> Value {
    match bound.as_f64() {
        Some(number) if number.fract() == 0.0 => (number as i64).into(),
        _ => bound.clone(),
    }
}

/// The reader of JSON bodies refuses unknown members, and takes null as if the member were left out, wherever
/// it may be left out.
pub(crate) fn describe_reader(document: &mut Value) {
    let mut waiting: Vec<String> = request_schemas(document);
    let mut done = BTreeSet::new();
    while let Some(pointer) = waiting.pop().filter(|pointer| done.insert(pointer.clone())) {
        let Some(schema) = document.pointer_mut(&pointer) else { continue };
        schema["additionalProperties"] = false.into();
        let required = schema.get("required").cloned().unwrap_or_else(|| json!([]));
        for (name, property) in schema["properties"].as_object_mut().into_iter().flatten() {
            let part = property.pointer("/allOf/0").and_then(reference);
            if required.as_array().is_some_and(|required| !required.contains(&json!(name))) {
                property["nullable"] = true.into();
                if part.is_some() {
                    property["type"] = "object".into();
                }
                if let Some(words) = property.get_mut("enum").and_then(Value::as_array_mut) {
                    words.push(Value::Null);
                }
            }
            waiting.extend(part);
        }
    }
}

/// What a reference leads to must allow null as well, wherever a property that may be null refers to it.
pub(crate) fn let_parts_be_null(document: &mut Value) {
    let properties = schemas(document)
        .flat_map(|(_, schema)| schema["properties"].as_object().into_iter().flatten())
        .filter(|(_, property)| property["nullable"] == true);
    let parts: Vec<_> =
        properties.filter_map(|(_, property)| reference(property.pointer("/allOf/0")?)).collect();
    for part in parts {
        if let Some(part) = document.pointer_mut(&part) {
            part["nullable"] = true.into();
        }
    }
}

fn request_schemas(document: &mut Value) -> Vec<String> {
    let schema =
        |operation: &Value| reference(operation.pointer("/requestBody/content/application~1json/schema")?);
    operations(document).filter_map(|(_, operation)| schema(operation)).collect()
}

/// Every operation, with its path.
pub(crate) fn operations(document: &mut Value) -> impl Iterator<Item = (String, &mut Value)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        methods.as_object_mut().into_iter().flatten().map(|(_, operation)| (path.clone(), operation))
    })
}

/// Where a reference leads, as a JSON pointer.
fn reference(schema: &Value) -> Option<String> {
    Some(schema.get("$ref")?.as_str()?.strip_prefix('#')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_left_out_of_a_request_may_be_null_at_any_depth_and_answers_stay_as_they_are() {
        let text = json!({"type": "string"});
        let body = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}});
        let part = json!({"$ref": "#/components/schemas/Part"});
        let mut document = json!({
            "paths": {"/things": {"post": {"requestBody": {"content": body}}}},
            "components": {"schemas": {
                "Body": {"required": ["name"], "properties": {
                    "name": text, "kind": {"enum": ["a"]}, "part": {"allOf": [part]},
                }},
                "Part": {"properties": {"label": text}},
                "Answer": {"properties": {"text": text}},
            }},
        });
        describe_reader(&mut document);
        let_parts_be_null(&mut document);
        let schemas = &document["components"]["schemas"];
        let properties = &schemas["Body"]["properties"];
        assert_eq!(properties["name"], text);
        assert_eq!(properties["kind"], json!({"enum": ["a", null], "nullable": true}));
        assert_eq!(properties["part"], json!({"type": "object", "nullable": true, "allOf": [part]}));
        assert_eq!(schemas["Part"]["properties"]["label"]["nullable"], true);
        assert_eq!(
            (&schemas["Part"]["additionalProperties"], &schemas["Part"]["nullable"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(schemas["Body"].get("nullable"), None);
        assert_eq!(schemas["Answer"], json!({"properties": {"text": text}}));
    }

    #[test]
    fn schemas_have_the_forms_that_other_tools_accept() {
        let part = json!({"$ref": "#/components/schemas/Part"});
        let description = json!({"description": "A part.", "nullable": true});
        let mut document = json!({"components": {"schemas": {"Thing": {
            "title": "Thing", "type": "object", "properties": {
                "part": {"allOf": [part, description]},
                "free": {"type": "object", "description": "Free."},
                "count": {"type": "integer", "minimum": 1.0, "maximum": 100_000_000_000_000.0},
            },
        }}}});
        tidy(&mut document);
        let expected = json!({"type": "object", "properties": {
            "part": {"type": "object", "nullable": true, "description": "A part.", "allOf": [part]},
            "free": {"type": "object", "description": "Free.", "additionalProperties": true},
            "count": {"type": "integer", "minimum": 1, "maximum": 100_000_000_000_000_i64},
        }});
        assert_eq!(document["components"]["schemas"]["Thing"], expected);
    }
}
