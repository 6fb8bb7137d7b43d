"""A merged tree → the plain data that the schema speaks of, and the way back to places."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from specs.errors import Place
from specs.node import Node
from specs.rules import Rules

Keys = tuple[str | int, ...]


def plain(node: Node, rules: Rules, folder: Path) -> Any:
    """The node as plain data.

    Where the schema wants text, a scalar is its text as written. A scalar where the schema has a
    shorthand becomes the mapping that it is short for. A key without a value is left out (an
    empty section stays, with its defaults). Paths become relative to `folder`. What does not fit
    the schema is passed on for the validation to refuse.
    """
    kind = rules.get("type")
    value = node.value
    if isinstance(value, dict):
        return _mapping(value, rules, folder)
    if isinstance(value, list):
        items = rules.get("schema", {}) if kind == "list" else {}
        return [plain(item, items, folder) for item in value]
    if kind == "dict" and value is None:
        return {}
    meta = rules.get("meta", {})
    if kind == "dict" and value is not None and "shorthand" in meta:
        return {meta["shorthand"]: value}
    if kind == "string" and value is not None:
        return _rebase(node, folder) if meta.get("path") else node.text
    return value


def _mapping(value: dict[str, Node], rules: Rules, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    fields: dict[str, Rules] = rules.get("schema", {}) if rules.get("type") == "dict" else {}
    values: Rules = rules.get("valuesrules", {})
    for key, child in value.items():
        wanted = fields.get(key, values)
        if child.value is None and key in fields and wanted.get("type") != "dict":
            continue
        found[key] = plain(child, wanted, folder)
    return found


def _rebase(node: Node, folder: Path) -> str:
    """A path that a file names, as seen from `folder`; the schema refuses absolute ones."""
    if node.text.startswith(("/", "~")) or not node.text:
        return node.text
    return os.path.relpath(Path(node.place.file).parent / node.text, folder)


def dotted(path: Keys) -> str:
    """A path as errors show it."""
    return ".".join(str(step) for step in path)


def find(root: Node, path: Keys) -> Node:
    """The node at `path`, or the nearest one above it."""
    node = root
    for step in path:
        value = node.value
        if isinstance(value, dict) and str(step) in value:
            node = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            node = value[step]
        else:
            break
    return node


def place(root: Node, path: Keys) -> Place:
    """Where the value at `path` stands, or the key above it when there is none."""
    node, spot = root, root.place
    for step in path:
        value = node.value
        if isinstance(value, dict) and str(step) in value:
            spot = node.keys[str(step)]
            node = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            node = value[step]
            spot = node.place
        else:
            return spot
    return (
        node.place if not isinstance(node.value, dict | list) and node.value is not None else spot
    )


def key_place(root: Node, path: Keys) -> Place:
    """Where the key at the end of `path` stands."""
    above = find(root, path[:-1])
    return above.keys.get(str(path[-1]), place(root, path))
