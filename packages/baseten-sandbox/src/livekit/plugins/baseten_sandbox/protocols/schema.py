"""Closed schemas, as the pydantic models of the Whisper runtime are: unknown keys are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "Checks",
    "Invalid",
    "boolean",
    "check",
    "integer",
    "mapping",
    "nullable",
    "number",
    "strings",
    "text",
]

Check = Callable[[Any], Any]
Checks = Mapping[str, Check]


class Invalid(Exception):
    """The input doesn't fit the schema; the text says where."""


def check(value: Any, checks: Checks, where: str) -> dict[str, Any]:
    """Check an object against a closed schema and return it, converted.

    Raises:
        Invalid: It isn't an object, has an unknown key, or a value of the wrong type.
    """
    if not isinstance(value, dict):
        raise Invalid(f"{where} must be an object")
    result = {}
    for key, item in value.items():
        if key not in checks:
            raise Invalid(f"{where}.{key}: extra inputs are not permitted")
        try:
            result[key] = checks[key](item)
        except Invalid as error:
            raise Invalid(f"{where}.{key}: {error}") from None
    return result


def text(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise Invalid("must be a string")
    return value


def boolean(value: Any) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise Invalid("must be a boolean")
    return value


def integer(value: Any) -> int:
    """A whole number; ``30.0`` counts, ``30.5`` doesn't."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise Invalid("must be an integer")
    return int(value)


def number(value: Any) -> float:
    """Any number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Invalid("must be a number")
    return float(value)


def strings(value: Any) -> list[str]:
    """A list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Invalid("must be a list of strings")
    return value


def mapping(value: Any) -> dict[str, Any]:
    """An object with any keys."""
    if not isinstance(value, dict):
        raise Invalid("must be an object")
    return value


def nullable(inner: Check) -> Check:
    """``null``, or what the inner check accepts."""
    return lambda value: None if value is None else inner(value)
