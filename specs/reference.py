"""The schema → what people and editors read: the reference page, a sample, the JSON Schema."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

from specs.kinds import Kind
from specs.rules import Rules, inline
from specs.schema import SCHEMA

ROOT: Final[Rules] = {"type": "dict", "schema": SCHEMA, "meta": {}}
WIDTH: Final = 100

INTRODUCTION: Final = """\
# The spec language

Made from the schema by `pytest --renew`; do not edit. [sample.yaml](sample.yaml) shows every key,
and `invoke schema` prints a JSON Schema for editors.

## How a spec is read

A spec is one YAML file (YAML 1.2: `yes`, `on` and `12:30` are text). Where a key wants text, what
you write is taken as written, so `1.10` and `on` need no quotes. Anchors, aliases and `<<` work.
Unknown keys are errors, and all errors are shown at once. A key without a value says nothing; a
section without a value is there with its defaults.

`imports` names further files, relative to the one that imports. Mappings merge key by key, lists
concatenate (what is imported comes first), and a file wins over what it imports. Two files that
set one key differently, where neither imports the other, are an error that names both places.

| tag | meaning |
|---|---|
| `!default value` | yields to whatever else is said about the key |
| `!force value` | wins over whatever else is said, and replaces lists and mappings as a whole |
| `!force` without a value | removes the key |

Paths of files and folders start at the folder of the file that names them.

For completion in editors with the YAML language server, start the spec with
`# yaml-language-server: $schema=../docs/spec.schema.json` (a path from the spec's folder), and
name `!default` and `!force` in the editor's setting `yaml.customTags`.
"""


def json_schema() -> dict[str, Any]:
    """The spec language as JSON Schema (draft 2020-12), for editors.

    It is looser than `invoke validate`, which also checks what a pattern cannot say.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Bakehouse spec",
        **_json(ROOT),
    }


def _json(rules: Rules) -> dict[str, Any]:
    """One value's JSON Schema."""
    meta = rules.get("meta", {})
    about = {key: meta[key] for key in ("description", "default") if key in meta}
    if "example" in meta:
        about["examples"] = [meta["example"]]
    return {**about, **_json_type(rules)}


def _json_type(rules: Rules) -> dict[str, Any]:
    match rules["type"]:
        case "dict":
            return _json_mapping(rules)
        case "list":
            return {"type": ["array", "null"], "items": _json(rules["schema"])}
        case "integer" | "boolean" as kind:
            limits = {"min": "minimum", "max": "maximum", "allowed": "enum"}
            return {"type": kind} | {new: rules[old] for old, new in limits.items() if old in rules}
    if "allowed" in rules:
        return {"enum": rules["allowed"]}
    kind = rules["check_with"]
    pattern = {"pattern": f"^(?:{kind.pattern})$"} if kind.pattern else {}
    return {"type": ["string", "number", "boolean"], **pattern}


def _json_mapping(rules: Rules) -> dict[str, Any]:
    if "valuesrules" in rules:
        pattern = rules["keysrules"]["check_with"].pattern
        return {
            "type": ["object", "null"],
            "propertyNames": {"pattern": f"^(?:{pattern})$"},
            "additionalProperties": _json(rules["valuesrules"]),
        }
    fields = rules["schema"]
    required = [name for name, field in fields.items() if field.get("required")]
    mapping = {
        "type": "object" if required else ["object", "null"],
        "properties": {name: _json(field) for name, field in fields.items()},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }
    short = rules["meta"].get("shorthand")
    return {"anyOf": [mapping, _json_type(fields[short])]} if short else mapping


def page() -> str:
    """The reference page, Markdown."""
    lines = [INTRODUCTION, "## Top level\n"]
    lines += [f"- {line}" for line in _fields(SCHEMA, link=True)]
    for name, rules in SCHEMA.items():
        lines += _sections(name, rules, 2)
    return "\n".join(lines).rstrip() + "\n"


def _sections(path: str, rules: Rules, level: int) -> Iterator[str]:
    """The page's part about a section and the sections in it; nothing for a plain value."""
    inner, where = _inner(rules, path)
    if inner is None:
        return
    yield f"\n{'#' * level} {where}\n"
    yield _wrap(inner["meta"]["description"])
    yield ""
    for line in _fields(inner["schema"]):
        yield f"- {line}"
    for name, field in inner["schema"].items():
        yield from _sections(f"{where}.{name}", field, min(level + 1, 4))


def _inner(rules: Rules, path: str) -> tuple[Rules | None, str]:
    """The section that a value is, or is a table or list of, and its path on the page."""
    if rules["type"] == "list":
        rules, path = rules["schema"], f"{path}[]"
    elif "valuesrules" in rules:
        rules, path = rules["valuesrules"], f"{path}.NAME"
    return (rules, path) if rules["type"] == "dict" and "schema" in rules else (None, path)


def _fields(fields: dict[str, Rules], link: bool = False) -> Iterator[str]:
    for name, rules in fields.items():
        meta = rules["meta"]
        notes = [_what(rules)]
        if rules.get("required"):
            notes.append("**required**")
        if "default" in meta and meta["default"] != "":
            notes.append(f"default `{inline(meta['default'])}`")
        shown = name
        if link and _inner(rules, name)[0]:
            anchor = _inner(rules, name)[1].replace(".", "").lower()
            shown = f"[{name}](#{anchor})"
        else:
            shown = f"`{name}`"
        example = f" Example: `{inline(meta['example'])}`." if "example" in meta else ""
        yield _wrap(f"{shown} ({', '.join(notes)}): {meta['description']}{example}", "  ")


def _what(rules: Rules) -> str:
    """What sort of value it is, in a few words."""
    if "allowed" in rules:
        return " or ".join(f"`{value}`" for value in rules["allowed"])
    if "check_with" in rules:
        kind: Kind = rules["check_with"]
        return kind.what
    if "min" in rules:
        return f"a number from {rules['min']} to {rules['max']}"
    if "valuesrules" in rules:
        return "sections by name" if "schema" in rules["valuesrules"] else "texts by name"
    if rules["type"] == "list":
        return f"list: {_what(rules['schema'])}"
    return {"boolean": "true or false", "dict": "section"}[rules["type"]]


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def sample() -> str:
    """A spec with every key in it, each with its description; valid but for the files it names."""
    head = [
        "# Every key there is, made from the schema by `pytest --renew`. A server needs only few",
        "# of them: see specs/static.yaml and specs/hobby.yaml. A key in a comment excludes",
        "# another one, or needs a file that is not here.",
    ]
    return "\n".join([*head, *_sample_fields(SCHEMA, "")]) + "\n"


def _sample_fields(fields: dict[str, Rules], indent: str) -> Iterator[str]:
    for name, rules in fields.items():
        meta = rules["meta"]
        yield from ([] if indent else [""])
        for line in textwrap.wrap(meta["description"], WIDTH - len(indent) - 2):
            yield f"{indent}# {line}"
        lines = list(_sample_value(name, rules, indent))
        if meta.get("alternative"):
            lines = [f"{indent}# {line.removeprefix(indent)}" for line in lines]
        yield from lines


def _sample_value(name: str, rules: Rules, indent: str) -> Iterator[str]:
    """The lines of one key: a scalar or plain collection in place, sections below it."""
    meta = rules["meta"]
    deeper = indent + "  "
    if rules["type"] == "dict" and "schema" in rules:
        yield f"{indent}{name}:"
        yield from _sample_fields(rules["schema"], deeper)
    elif "entry" in meta:
        yield f"{indent}{name}:"
        yield f"{deeper}{inline(meta['entry'])}:"
        yield from _sample_fields(rules["valuesrules"]["schema"], deeper + "  ")
    elif rules["type"] == "list" and rules["schema"]["type"] == "dict":
        yield f"{indent}{name}:"
        first = f"{deeper}- "
        for line in _sample_fields(rules["schema"]["schema"], deeper + "  "):
            yield first + line.removeprefix(deeper + "  ") if first else line
            first = ""
    else:
        yield f"{indent}{name}: {inline(meta.get('example', meta.get('default', '')))}"


FILES: Final[dict[str, Callable[[], str]]] = {
    "reference.md": page,
    "sample.yaml": sample,
    "spec.schema.json": lambda: _dump(json_schema()),
}
"""What lies in `docs/`, by name."""


def _dump(data: dict[str, Any]) -> str:

    return json.dumps(data, indent=1) + "\n"
