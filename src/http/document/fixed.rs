//! The generated document, corrected where the generator is wrong, with what it does not know added.

mod schemas;

use serde_json::{Value, json};

use crate::http::request::credentials::COOKIE_NAME;

/// Examples of requests and answers by operation, and of errors by schema and status.
const EXAMPLES: &str = include_str!("examples.json");
/// The order in which the page shows the groups.
const TAGS: [&str; 7] = ["Sessions", "OAuth", "People", "Clients", "Keys", "Discovery", "Operation"];

/// The document, for this issuer and name of the session cookie.
pub(crate) fn fixed(generated: &str, issuer: &str, cookie_name: &str) -> Value {
    let mut value: Value = serde_json::from_str(generated).expect("the generator writes JSON");
    value["servers"] = json!([{"url": issuer}]);
    value["info"]["license"] = json!({"name": env!("CARGO_PKG_LICENSE")});
    if let Some(cookie) =
        value.pointer_mut("/components/securitySchemes/cookie/name").filter(|name| **name == *COOKIE_NAME)
    {
        *cookie = cookie_name.into();
    }
    if let Some(tags) = value["tags"].as_array_mut() {
        tags.sort_by_key(|tag| TAGS.iter().position(|name| tag["name"] == *name));
    }
    schemas::tidy(&mut value);
    schemas::describe_reader(&mut value);
    schemas::let_parts_be_null(&mut value);
    let examples: Value = serde_json::from_str(EXAMPLES).expect("the examples are JSON");
    let mut forms = vec![];
    for (path, operation) in schemas::operations(&mut value) {
        drop_impossible_answers(&path, operation);
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        put_examples(operation, &examples["operations"][id], &mut forms);
        put_error_examples(operation, &examples["errors"]);
        if operation.get("security").is_none() {
            operation["security"] = json!([]);
        }
    }
    for (schema, examples) in forms {
        if let Some(properties) = value.pointer_mut(&format!("/components/schemas/{schema}/properties")) {
            put_field_examples(properties, &examples);
        }
    }
    value
}

/// The generator gives every operation every error of its surface; those that its parts exclude are removed.
fn drop_impossible_answers(path: &str, operation: &mut Value) {
    let has_body = operation.get("requestBody").is_some();
    let has_credentials = operation.get("security").is_some();
    let by_secret =
        operation["security"].as_array().into_iter().flatten().any(|scheme| scheme.get("basic").is_some());
    let has_match = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|parameter| parameter["name"] == "If-Match");
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    responses.retain(|status, _| match &**status {
        "400" => has_body || has_credentials,
        "401" | "403" => has_credentials,
        // Only secrets can be guessed.
        "429" => by_secret,
        "404" => path.contains('{'),
        "408" | "413" | "415" => has_body,
        "412" => has_match,
        _ => true,
    });
}

/// Adds the examples of one operation. The examples of a form are also those of its fields, where pages look
/// for them.
fn put_examples(operation: &mut Value, examples: &Value, forms: &mut Vec<(String, Value)>) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(example) = parameter["name"].as_str().and_then(|name| examples["parameters"].get(name)) {
            parameter["example"] = example.clone();
        }
    }
    for (media_type, content) in
        operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut).into_iter().flatten()
    {
        put_example(content, &examples["request"]);
        if let Some(schema) =
            schema_name(content).filter(|_| media_type == "application/x-www-form-urlencoded")
        {
            forms.push((schema.to_owned(), examples["fields"].clone()));
        }
    }
    let answers = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, answer) in answers.filter(|(status, _)| status.starts_with('2')) {
        let contents = answer.get_mut("content").and_then(Value::as_object_mut).into_iter().flatten();
        contents.for_each(|(_, content)| put_example(content, &examples["response"]));
    }
}

/// Errors are the same everywhere: an example for each schema and status.
fn put_error_examples(operation: &mut Value, examples: &Value) {
    let answers = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten();
    for (status, answer) in answers {
        let contents = answer.get_mut("content").and_then(Value::as_object_mut).into_iter().flatten();
        for (_, content) in contents {
            let example = schema_name(content).and_then(|schema| examples[schema].get(status)).cloned();
            put_example(content, &example.unwrap_or_default());
        }
    }
}

fn schema_name(content: &Value) -> Option<&str> {
    content["schema"]["$ref"].as_str()?.rsplit('/').next()
}

/// One example, or several by name.
fn put_example(content: &mut Value, example: &Value) {
    match example {
        Value::Null => {}
        Value::Object(named)
            if !named.is_empty() && named.values().all(|named| named.get("value").is_some()) =>
        {
            content["examples"] = example.clone();
        }
        one => content["example"] = one.clone(),
    }
}

/// A page sends the example of every field. A field without one gets an empty example, which is like an
/// absent field; otherwise the page would send `string`.
fn put_field_examples(properties: &mut Value, examples: &Value) {
    for (name, property) in properties.as_object_mut().into_iter().flatten() {
        property["example"] = examples.get(name).cloned().unwrap_or_else(|| "".into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    #[test]
    fn the_cookie_is_called_by_its_configured_name() {
        let generated = r#"{"components":{"securitySchemes":{"cookie":{"name":"__Host-keyfob"}}}}"#;
        let value = fixed(generated, "https://id.example", "__Host-mine");
        assert_eq!(value["components"]["securitySchemes"]["cookie"]["name"], "__Host-mine");
    }

    #[test]
    fn answers_that_cannot_happen_are_left_out_and_the_others_stay() {
        let all: Map<String, Value> = [200, 400, 401, 403, 404, 408, 409, 412, 413, 415, 429, 500, 503]
            .map(|s| (s.to_string(), json!({})))
            .into_iter()
            .collect();
        let left = |path: &str, mut operation: Value| {
            operation["responses"] = all.clone().into();
            drop_impossible_answers(path, &mut operation);
            operation["responses"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left("/readyz", json!({})), "200 409 500 503", "a declared status stays");
        assert_eq!(
            left("/v1/things", json!({"security": [{"basic": []}]})),
            "200 400 401 403 409 429 500 503"
        );
        assert_eq!(
            left("/v1/things", json!({"security": [{"basic": []}], "requestBody": {}})),
            "200 400 401 403 408 409 413 415 429 500 503"
        );
        assert_eq!(
            left("/v1/things", json!({"security": [{"cookie": []}]})),
            "200 400 401 403 409 500 503",
            "nothing to guess"
        );
        let with_match = json!({"security": [{"basic": []}], "parameters": [{"name": "If-Match"}]});
        assert_eq!(left("/v1/things/{id}", with_match), "200 400 401 403 404 409 412 429 500 503");
    }

    #[test]
    fn examples_go_to_requests_answers_parameters_and_the_fields_of_forms() {
        let form = json!({"schema": {"$ref": "#/components/schemas/F"}});
        let mut operation = json!({
            "parameters": [{"name": "id"}, {"name": "other"}],
            "requestBody": {"content": {"application/x-www-form-urlencoded": form}},
            "responses": {
                "200": {"content": {"application/json": {}}},
                "400": {"content": {"application/json": {}}},
            },
        });
        let examples = json!({
            "parameters": {"id": "x"}, "request": {"one": {"value": 1}}, "fields": {"a": "b"},
            "response": {"ok": true},
        });
        let mut forms = vec![];
        put_examples(&mut operation, &examples, &mut forms);
        assert_eq!(operation["parameters"], json!([{"name": "id", "example": "x"}, {"name": "other"}]));
        assert_eq!(
            operation.pointer("/requestBody/content/application~1x-www-form-urlencoded/examples/one/value"),
            Some(&json!(1))
        );
        assert_eq!(
            operation["responses"]["200"]["content"]["application/json"]["example"],
            json!({"ok": true})
        );
        assert_eq!(operation["responses"]["400"]["content"]["application/json"], json!({}));
        assert_eq!(forms, [("F".to_owned(), json!({"a": "b"}))]);

        let mut properties = json!({"a": {"type": "string"}, "b": {"type": "string"}});
        put_field_examples(&mut properties, &forms[0].1);
        assert_eq!((&properties["a"]["example"], &properties["b"]["example"]), (&json!("b"), &json!("")));
    }
}
