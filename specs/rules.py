"""Words for writing the schema: each makes the Cerberus rules of one value, documented."""

from __future__ import annotations

from typing import Any

from specs.kinds import Kind

Rules = dict[str, Any]


def _meta(description: str, default: Any = None, example: Any = None, **more: Any) -> Rules:
    found = {"description": description, "default": default, "example": example, **more}
    return {key: value for key, value in found.items() if value is not None}


def text(kind: Kind, description: str, default: str | None = None, **more: Any) -> Rules:
    """Text of one kind. `path` marks a path that the file naming it anchors."""
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


def flag(description: str, default: bool) -> Rules:
    """Yes or no."""
    return {"type": "boolean", "meta": _meta(description, default)}


def choice(allowed: list[Any], description: str, default: Any) -> Rules:
    """One of a few values."""
    kind = "integer" if isinstance(allowed[0], int) else "string"
    return {"type": kind, "allowed": allowed, "meta": _meta(description, default)}


def items(item: Rules, description: str, example: Any = None) -> Rules:
    """A list of one sort of item."""
    return {"type": "list", "schema": item, "meta": _meta(description, example=example)}


def texts(kind: Kind, description: str, example: Any = None) -> Rules:
    """A list of texts of one kind."""
    return items({"type": "string", "check_with": kind}, description, example)


def table(keys: Kind, values: Rules, description: str, example: Any = None) -> Rules:
    """A mapping whose keys the spec's author chooses."""
    return {
        "type": "dict",
        "keysrules": {"type": "string", "check_with": keys},
        "valuesrules": values,
        "meta": _meta(description, example=example),
    }


def section(description: str, fields: dict[str, Rules], **more: Any) -> Rules:
    """A mapping with fixed keys. `shorthand` names the key that a lone scalar stands for."""
    return {"type": "dict", "schema": fields, "meta": _meta(description, **more)}
