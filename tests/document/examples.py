"""Whether every example in a document fits its schema, as an independent validator reads it (OAS-03): examples.py openapi.json"""

import json
import sys

from openapi_schema_validator import OAS30ReadValidator, OAS30WriteValidator, oas30_format_checker

document = json.load(open(sys.argv[1]))
checked, wrong = 0, []


def check(place, validator, content):
    """Its example, or its several examples by name."""
    global checked
    examples = [example["value"] for example in content.get("examples", {}).values()]
    for example in examples + ([content["example"]] if "example" in content else []):
        checked += 1
        # References lead to the components wherever they stand.
        schema = {**content["schema"], "components": document["components"]}
        errors = validator(schema, format_checker=oas30_format_checker).iter_errors(example)
        wrong.extend(f"{place}: {error.json_path}: {error.message}" for error in errors)


for methods in document["paths"].values():
    for operation in methods.values():
        name = operation["operationId"]
        for parameter in operation.get("parameters", []):
            check(f"{name} {parameter['name']}", OAS30WriteValidator, parameter)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            check(f"{name} request", OAS30WriteValidator, content)
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                check(f"{name} {status}", OAS30ReadValidator, content)

print(f"{checked} examples, {len(wrong)} wrong", *wrong, sep="\n")
sys.exit(bool(wrong) or checked < 100)
