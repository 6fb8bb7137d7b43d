"""Words for writing the schema: each makes the Cerberus rules of one value, documented."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from specs.kinds import Kind

Rules = dict[str, Any]


_PLAIN: Final = re.compile(
    r"[A-Za-z0-9/_][A-Za-z0-9/._@+=-]*(?:://[A-Za-z0-9/._@+=:-]+)?(?: [A-Za-z0-9/._@+=-]+)*"
)
"""Text that YAML reads as itself without quotes, also inside of brackets."""


def _meta(description: str, default: Any = None, example: Any = None, **more: Any) -> Rules:
    found = {"description": description, "default": default, "example": example, **more}
    return {key: value for key, value in found.items() if value is not None}


def text(kind: Kind, description: str, default: str | None = None, **more: Any) -> Rules:
    """Text of one kind. `path` marks a path that the file naming it anchors, `alternative` a key
    that excludes another one.
    """
    rules: Rules = {"type": "string", "check_with": kind}
    if more.pop("required", False):
        rules["required"] = True
    return {**rules, "meta": _meta(description, default, **more)}


def number(low: int, high: int, description: str, default: int | None = None, **more: Any) -> Rules:
    """A whole number in a range, both ends included."""
    rules: Rules = {"type": "integer", "min": low, "max": high}
    if more.pop("required", False):
        rules["required"] = True
    return {**rules, "meta": _meta(description, default, **more)}


def flag(description: str, default: bool, **more: Any) -> Rules:
    """Yes or no."""
    return {"type": "boolean", "meta": _meta(description, default, **more)}


def choice(allowed: list[Any], description: str, default: Any = None, **more: Any) -> Rules:
    """One of a few values."""
    kind = "integer" if isinstance(allowed[0], int) else "string"
    return {"type": kind, "allowed": allowed, "meta": _meta(description, default, **more)}


def items(item: Rules, description: str, example: Any = None, **more: Any) -> Rules:
    """A list of one sort of item."""
    return {"type": "list", "schema": item, "meta": _meta(description, example=example, **more)}


def texts(kind: Kind, description: str, example: Any = None, **more: Any) -> Rules:
    """A list of texts of one kind."""
    return items({"type": "string", "check_with": kind}, description, example, **more)


def table(
    keys: Kind, values: Rules, description: str, example: Any = None, entry: str | None = None
) -> Rules:
    """A mapping whose keys the spec's author chooses; the sample's one is `entry`."""
    return {
        "type": "dict",
        "keysrules": {"type": "string", "check_with": keys},
        "valuesrules": values,
        "meta": _meta(description, example=example, entry=entry),
    }


def section(description: str, fields: dict[str, Rules], **more: Any) -> Rules:
    """A mapping with fixed keys. `shorthand` names the key that a lone scalar stands for."""
    return {"type": "dict", "schema": fields, "meta": _meta(description, **more)}


def inline(value: Any) -> str:
    """A value on one line of YAML."""
    match value:
        case dict():
            pairs = (f"{inline(key)}: {inline(item)}" for key, item in value.items())
            return "{" + ", ".join(pairs) + "}"
        case list():
            return "[" + ", ".join(inline(item) for item in value) + "]"
        case str():
            return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
        case _:
            return json.dumps(value)
