//! Whether a value is what a schema of the document says (the part of OpenAPI 3.0 that the document uses;
//! anything else fails loudly).

use serde_json::Value;

/// What of a schema says nothing about the value. What a pattern says, `tests/document/examples.py` checks,
/// which knows ECMA's.
const SAYS_NOTHING: [&str; 7] =
    ["description", "title", "format", "pattern", "example", "default", "deprecated"];

/// The first thing that is wrong with `value`, with its place; `None` if it is as `schema` says.
pub fn misfit(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let wrong = |what: String| Some(format!("{at}: {what}"));
    if value.is_null() && schema["nullable"] == true {
        return None;
    }
    for (keyword, says) in schema.as_object().unwrap() {
        let deeper = match keyword.as_str() {
            "$ref" => misfit(document, resolve(document, says.as_str().unwrap()), value, at),
            "type" if !is_of(says.as_str().unwrap(), value) => wrong(format!("not of type {says}: {value}")),
            "enum" if !says.as_array().unwrap().contains(value) => {
                wrong(format!("not one of {says}: {value}"))
            }
            "allOf" => says.as_array().unwrap().iter().find_map(|schema| misfit(document, schema, value, at)),
            "anyOf" | "oneOf" => {
                let misfits: Vec<_> = says
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|schema| misfit(document, schema, value, at))
                    .collect();
                let fits = misfits.iter().filter(|misfit| misfit.is_none()).count();
                if fits == 1 || (fits > 1 && keyword == "anyOf") {
                    None
                } else {
                    wrong(format!("fits {fits} of: {misfits:?}"))
                }
            }
            "items" => value
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
                .find_map(|(n, item)| misfit(document, says, item, &format!("{at}[{n}]"))),
            "required" => {
                match says.as_array().unwrap().iter().find(|name| value.get(name.as_str().unwrap()).is_none())
                {
                    Some(missing) => wrong(format!("{missing} is missing")),
                    None => None,
                }
            }
            "properties" => says.as_object().unwrap().iter().find_map(|(name, schema)| {
                value.get(name).and_then(|value| misfit(document, schema, value, &format!("{at}.{name}")))
            }),
            "additionalProperties" if *says == true => None,
            "additionalProperties" => {
                assert_eq!(*says, false, "{at}: only a bool is used");
                let known = |name: &String| schema["properties"].get(name).is_some();
                match value.as_object().into_iter().flatten().find(|(name, _)| !known(name)) {
                    Some((unknown, _)) => wrong(format!("{unknown} is not a member")),
                    None => None,
                }
            }
            "minLength" if characters(value) < says.as_u64() => {
                wrong(format!("shorter than {says}: {value}"))
            }
            "maxLength" if characters(value) > says.as_u64() => wrong(format!("longer than {says}: {value}")),
            "maxItems" if value.as_array().map(|items| items.len() as u64) > says.as_u64() => {
                wrong(format!("more than {says} items"))
            }
            "minimum" if value.as_i64() < says.as_i64() => wrong(format!("less than {says}: {value}")),
            "maximum" if value.as_i64() > says.as_i64() => wrong(format!("more than {says}: {value}")),
            "type" | "enum" | "nullable" | "minLength" | "maxLength" | "maxItems" | "minimum" | "maximum" => {
                None
            }
            other => {
                assert!(SAYS_NOTHING.contains(&other), "{at}: the keyword {other} is not known here");
                None
            }
        };
        if deeper.is_some() {
            return deeper;
        }
    }
    None
}

/// What a reference refers to.
pub fn resolve<'d>(document: &'d Value, reference: &str) -> &'d Value {
    document
        .pointer(reference.strip_prefix('#').unwrap())
        .unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

fn characters(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn is_of(ty: &str, value: &Value) -> bool {
    match ty {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the type {other} is not known here"),
    }
}

#[test]
fn a_misfit_is_found_wherever_it_is() {
    use serde_json::json;
    let document = json!({"components": {"schemas": {"Inner": {
        "type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}},
        "additionalProperties": false,
    }}}});
    let inner = json!({"$ref": "#/components/schemas/Inner"});
    let schema = json!({"type": "object", "properties": {
        "list": {"type": "array", "items": inner},
        "word": {"type": "string", "enum": ["x"]},
        "either": {"anyOf": [inner, {"type": "string"}]},
        "null": {"type": "string", "nullable": true},
        "text": {"type": "string", "minLength": 1, "maxLength": 2},
        "few": {"type": "array", "maxItems": 1},
        "number": {"type": "integer", "minimum": 1, "maximum": 2},
    }});
    let fits = |value: Value| misfit(&document, &schema, &value, "").is_none();
    assert!(fits(json!({"list": [{"a": 1}], "word": "x", "either": "text", "null": null, "more": 1})));
    assert!(fits(json!({"text": "żó", "few": [1], "number": 2})));
    for wrong in [
        json!([]),
        json!({"list": {}}),
        json!({"list": [{"a": "1"}]}),
        json!({"list": [{}]}),
        json!({"list": [{"a": 1, "b": 2}]}),
        json!({"word": "y"}),
        json!({"word": null}),
        json!({"either": {"a": null}}),
        json!({"text": ""}),
        json!({"text": "abc"}),
        json!({"few": [1, 2]}),
        json!({"number": 0}),
        json!({"number": 3}),
    ] {
        assert!(!fits(wrong.clone()), "{wrong}");
    }
}
