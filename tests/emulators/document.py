"""A vendor's OpenAPI 3.0 document as a judge of requests and answers.

The documents lie outside of the project: in BAKEHOUSE_OPENAPI, or `../shared/openapi`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

Json = dict[str, Any]
METHODS: Final = ("get", "post", "put", "patch", "delete")
FOLDER: Final = Path(
    os.environ.get("BAKEHOUSE_OPENAPI", Path(__file__).parents[3] / "shared/openapi")
)


def document(vendor: str) -> Document:
    """The document `<vendor>.json`; without it the test is skipped, and says why."""
    path = FOLDER / f"{vendor}.json"
    if not path.exists():
        pytest.skip(f"no {path}: name the folder of the vendors' documents in BAKEHOUSE_OPENAPI")
    return _load(path)


@cache
def _load(path: Path) -> Document:
    return Document(json.loads(path.read_text(encoding="utf-8")))


@dataclass(slots=True)
class Operation:
    """One method of one path, as the document describes it."""

    template: str
    described: Json
    parameters: Sequence[Json]


@dataclass(slots=True)
class Document:
    """The whole document; the answers of its checks are complaints, none when all is well."""

    raw: Json
    _validators: dict[tuple[str, ...], Draft202012Validator] = field(default_factory=dict)
    _operations: list[tuple[str, re.Pattern[str], Operation]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for template, item in self.raw["paths"].items():
            for method in METHODS:
                if method in item:
                    parameters = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                    found = Operation(template, item[method], [self._seen(p) for p in parameters])
                    self._operations.append((method, _pattern(template), found))
        self._operations.sort(key=lambda one: one[2].template.count("{"))

    def operation(self, method: str, path: str) -> Operation | None:
        """What the document calls this request; a literal path goes before one with parameters."""
        for known, pattern, operation in self._operations:
            if known == method.lower() and pattern.fullmatch(path):
                return operation
        return None

    def request(
        self, method: str, path: str, query: Mapping[str, Sequence[str]], body: Any
    ) -> list[str]:
        """What is wrong with a request. `body` is None when there was none."""
        found = self.operation(method, path)
        if found is None:
            return [f"{method} {path}: not in the document"]
        said = [*self._query(method, found, query)]
        described = self._seen(found.described.get("requestBody", {}))
        schema = _json_schema(described)
        if body is None:
            if described.get("required"):
                said.append(f"{method} {found.template}: has no body")
        elif schema is not None:
            said += self._check((method, found.template, "request"), schema, body)
        elif body != {}:
            said.append(f"{method} {found.template}: takes no body")
        return said

    def answer(self, method: str, path: str, status: int, body: Any) -> list[str]:
        """What is wrong with an answer. One to a request that the document lacks is not judged."""
        found = self.operation(method, path)
        if found is None:
            return []
        answers = found.described["responses"]
        for key in (str(status), f"{status // 100}XX", "default"):
            if key in answers:
                schema = _json_schema(self._seen(answers[key]))
                if schema is None:
                    return [] if body is None else [f"{method} {path}: {status} has no body"]
                return self._check((method, found.template, key), schema, body)
        return [f"{method} {found.template}: does not answer {status}"]

    def _query(
        self, method: str, found: Operation, query: Mapping[str, Sequence[str]]
    ) -> list[str]:
        known = {one["name"]: one for one in found.parameters if one["in"] == "query"}
        said = [f"{method} {found.template}: has no ?{name}" for name in query if name not in known]
        for name, described in known.items():
            schema = described.get("schema", {})
            if name not in query:
                if described.get("required"):
                    said.append(f"{method} {found.template}: lacks ?{name}")
                continue
            listed = self._seen(schema).get("type") == "array"
            values = query[name]
            given = [*map(_read, values)] if listed else _read(values[-1])
            texts = list(values) if listed else values[-1]
            key = (method, found.template, f"?{name}")
            if said_of := self._check(key, schema, given):
                # `5` is a number and a text: the document says which one is meant
                said += said_of if self._check(key, schema, texts) else []
        return said

    def _check(self, key: tuple[str, ...], schema: Json, value: Any) -> list[str]:
        if key not in self._validators:
            whole = {"allOf": [modern(schema)], **self._shared}
            self._validators[key] = Draft202012Validator(whole)
        return [
            f"{' '.join(key)}: {error.json_path}: {error.message[:300]}"
            for error in self._validators[key].iter_errors(value)
        ]

    @property
    def _shared(self) -> Json:
        """Where schemas refer to."""
        if "x-modern" not in self.raw:
            shared = {key: self.raw.get(key, {}) for key in ("components", "x-defs")}
            self.raw["x-modern"] = modern(shared)
        found: Json = self.raw["x-modern"]
        return found

    def _seen(self, node: Json) -> Json:
        """The node itself, or what it refers to."""
        while "$ref" in node:
            found: Any = self.raw
            for word in node["$ref"].removeprefix("#/").split("/"):
                found = found[word.replace("~1", "/").replace("~0", "~")]
            node = found
        return node


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]+\}", template)
    return re.compile("[^/]+".join(map(re.escape, parts)))


def _json_schema(described: Json) -> Json | None:
    content = described.get("content", {})
    found: Json | None = content.get("application/json", {}).get("schema")
    return found


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def modern(node: Any) -> Any:
    """A schema of OpenAPI 3.0 in JSON Schema's own words.

    `nullable` and boolean bounds are the two that mean something else (OpenAPI specification 3.0.3,
    "Schema Object").
    """
    if isinstance(node, list):
        return [modern(item) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        return {"$ref": node["$ref"]}
    new = {key: modern(value) for key, value in node.items() if key != "nullable"}
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(new.get(bound), bool) and new.pop(bound):
            new[bound] = new.pop(limit)
    if node.get("nullable") is not True:
        return new
    return {"anyOf": [new, {"type": "null"}]}
