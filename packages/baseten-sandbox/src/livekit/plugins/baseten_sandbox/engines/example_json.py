"""Makes up a value that a JSON Schema accepts: what a model under structured output would produce."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["example"]

# Deep enough for any sane schema, and an end for one that refers to itself.
_DEEPEST = 24


def example(schema: Mapping[str, Any], *, text: str = "plain text") -> Any:
    """Return a small value valid against ``schema``; its strings are made from ``text`` where the schema lets them.

    Understands references, enums, constants, unions, ``allOf`` of objects, bounds of numbers, strings and arrays, and
    required properties. ``pattern`` and exotic keywords aren't understood.

    Raises:
        ValueError: The schema refers to itself without an end.
    """
    return _value(schema, schema, text, 0)


def _value(schema: Mapping[str, Any], root: Mapping[str, Any], text: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("the schema has no finite example")
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return _of_union(schema[union], root, text, depth)
    match _kind(schema):
        case "object":
            return _object(schema, root, text, depth)
        case "array":
            items = schema.get("items", {})
            count = schema.get("minItems", 0)
            return [_value(items, root, text, depth + 1) for _ in range(count)]
        case "integer":
            return math.ceil(_number(schema, step=1))
        case "number":
            return _number(schema, step=0.5)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, text)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_DEEPEST):
        if "$ref" in schema:
            target: Any = root
            for step in schema["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            schema = {**target, **{key: val for key, val in schema.items() if key != "$ref"}}
        elif "allOf" in schema:
            merged: dict[str, Any] = {key: val for key, val in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                part = _resolved(part, root)
                merged["properties"] = {
                    **merged.get("properties", {}),
                    **part.get("properties", {}),
                }
                merged["required"] = [*merged.get("required", ()), *part.get("required", ())]
                merged = {**part, **merged}
            schema = merged
        else:
            return schema
    raise ValueError("the schema has no finite example")


def _of_union(
    branches: list[Mapping[str, Any]], root: Mapping[str, Any], text: str, depth: int
) -> Any:
    # A branch may refer to itself where a later one ends the recursion.
    problem = ValueError("the schema has no finite example")
    for branch in sorted(branches, key=lambda branch: depth > _DEEPEST // 2 and "$ref" in branch):
        try:
            return _value(branch, root, text, depth + 1)
        except ValueError as error:
            problem = error
    raise problem


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is None and "properties" in schema:
        return "object"
    return kind or "string"


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], text: str, depth: int) -> Any:
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    return {name: _value(properties.get(name, {}), root, text, depth + 1) for name in required}


def _number(schema: Mapping[str, Any], *, step: float) -> float:
    value: float = 1
    if "exclusiveMaximum" in schema:
        value = min(value, schema["exclusiveMaximum"] - step)
    if "maximum" in schema:
        value = min(value, schema["maximum"])
    if "exclusiveMinimum" in schema:
        value = max(value, schema["exclusiveMinimum"] + step)
    if "minimum" in schema:
        value = max(value, schema["minimum"])
    if factor := schema.get("multipleOf"):
        value = math.ceil(value / factor) * factor
    return value


_FORMATS = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def _string(schema: Mapping[str, Any], text: str) -> str:
    made = _FORMATS.get(schema.get("format", ""), text)
    made = made.ljust(schema.get("minLength", 0), "a")
    return made[: schema["maxLength"]] if "maxLength" in schema else made
