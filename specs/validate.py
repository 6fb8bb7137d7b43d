"""A merged tree → a valid `Spec`, or every reason why not.

Two passes: the schema (each value for itself), then the assertions (values against each other).
The second runs only on what the first found good.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

from cerberus import Validator, errors
from cerberus.schema import UnvalidatedSchema

from specs.assertions import findings
from specs.build import build
from specs.errors import Problem, SpecError
from specs.kinds import Fault
from specs.merge import describe, quote
from specs.model import Spec
from specs.node import Node
from specs.rules import Rules, inline
from specs.schema import SCHEMA
from specs.shape import dotted, find, key_place, place, plain

_NOUNS: Final = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "list": "a list",
    "dict": "a mapping",
}


# Cerberus has no types, so to mypy its class is `Any`.
class _Validator(Validator):  # type: ignore[misc]
    """Cerberus, told that our schema is well-formed (a test checks that) and that True is no 1."""

    types_mapping: ClassVar[dict[str, Any]] = {
        **Validator.types_mapping,
        "integer": Validator.types_mapping["integer"]._replace(excluded_types=(bool,)),
    }

    def _error(self, *args: Any) -> None:
        # Cerberus would sort all errors for each one that is added; SpecError sorts them once
        if len(args) == 1:
            self._errors.extend(args[0])
        else:
            super()._error(*args)

    def _get_child_validator(self, *crumbs: Any, **config: Any) -> Any:
        # Cerberus would hash and check the schema again for every mapping of the document
        if not isinstance(config.get("schema", UnvalidatedSchema()), UnvalidatedSchema | str):
            config["schema"] = UnvalidatedSchema(config["schema"])
        return super()._get_child_validator(*crumbs, **config)


def validate(tree: Node, folder: Path) -> Spec:
    """The `Spec` of a merged tree; `folder` is the root spec's, named as in the tree's places.

    Raises SpecError with all problems of the first pass that has any.
    """
    data = plain(tree, {"type": "dict", "schema": SCHEMA}, folder)
    validator = _Validator(UnvalidatedSchema(SCHEMA))
    validator.validate(data, normalize=False)
    problems = tuple(_problem(tree, error) for error in _leaves(validator._errors))
    if problems:
        raise SpecError(problems)
    spec = build(data)
    problems = tuple(
        Problem(place(tree, found.path), dotted(found.path), found.message, found.hint)
        for found in findings(spec)
    )
    if problems:
        raise SpecError(problems)
    return spec


def _leaves(found: list[Any]) -> Iterator[Any]:
    for error in found:
        if error.child_errors:
            yield from _leaves(error.child_errors)
        else:
            yield error


def _problem(tree: Node, error: Any) -> Problem:
    """What Cerberus found, in the words of the field."""
    path = error.document_path
    node = find(tree, path)
    is_key = "keysrules" in error.schema_path
    where = key_place(tree, path) if is_key else place(tree, path)
    got = quote(str(path[-1])) if is_key else describe(node)
    if error.code == errors.UNKNOWN_FIELD.code:
        message, hint = "unknown key", _near(str(path[-1]), _fields(path[:-1]))
        return Problem(key_place(tree, path), dotted(path), message, hint)
    message, hint, show = _explain(error, path)
    if show:
        message = f"{message} (got {got})"
    return Problem(where, dotted(path), message, hint)


def _explain(error: Any, path: tuple[str | int, ...]) -> tuple[str, str, bool]:
    """Message, hint, and whether to show what was got."""
    meta = _rules(path).get("meta", {})
    example = f"for example {inline(meta['example'])}" if "example" in meta else ""
    match error.code:
        case errors.CUSTOM.code:
            fault: Fault = error.info[0]
            return fault.message, fault.hint, fault.show
        case errors.REQUIRED_FIELD.code:
            return "is missing", example, False
        case errors.BAD_TYPE.code | errors.NOT_NULLABLE.code:
            kind = error.constraint if error.code == errors.BAD_TYPE.code else None
            noun = _NOUNS.get(kind or _rules(path).get("type", ""), "a value")
            hint = 'an empty text is ""' if noun == "text" and error.value is None else example
            return f"must be {noun}", hint, True
        case errors.UNALLOWED_VALUE.code:
            allowed = [str(value) for value in error.constraint]
            return f"must be {' or '.join(allowed)}", "", True
        case errors.MIN_VALUE.code | errors.MAX_VALUE.code:
            rules = _rules(path)
            return f"must be between {rules['min']} and {rules['max']}", "", True
    raise AssertionError(f"the schema uses a rule without words: {error}")


def _rules(path: tuple[str | int, ...]) -> Rules:
    """The schema's rules for the value at `path`; empty when it knows none."""
    rules: Rules = {"type": "dict", "schema": SCHEMA}
    for step in path:
        if "valuesrules" in rules:
            rules = rules["valuesrules"]
        elif rules.get("type") == "list":
            rules = rules["schema"]
        else:
            rules = rules.get("schema", {}).get(step, {})
    return rules


def _fields(path: tuple[str | int, ...]) -> list[str]:
    return list(_rules(path).get("schema", {}))


def _near(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"known here: {', '.join(sorted(known))}" if known else ""
