"""Holds a document against cloud-init's own schema, taken from the target release's package.

The release's own command, `cloud-init schema`, misses unknown top-level keys; the same schema file
read here does not, since its last rule allows no others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cloudinit.document import HEADER
from specs.errors import BakehouseError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError


def check(document: str, schema: Path, name: str = "document") -> None:
    """Raise BakehouseError with every way in which `document` is not valid user data.

    `schema` is the file that `images.schema.find_schema` returns; `name` is for the message.
    """
    found = problems(document, json.loads(schema.read_text(encoding="utf-8")))
    if found:
        lines = "\n".join(f"  {problem}" for problem in found)
        raise BakehouseError(
            f"{name} is not valid for the locked cloud-init:\n{lines}",
            "this is a fault of Bakehouse, not of the spec; please report it with the spec",
        )


def problems(document: str, schema: dict[str, Any]) -> tuple[str, ...]:
    """What is wrong, each as `path: message`, sorted; empty when the document is valid."""
    from jsonschema import Draft4Validator  # noqa: PLC0415  a build that has nothing to bake

    if not document.startswith(HEADER):
        return (f"the first line is not {HEADER.strip()!r}",)
    try:
        data = load(document)
    except YAMLError as error:
        return (f"not YAML: {error}",)
    errors = Draft4Validator(schema).iter_errors(data)
    return tuple(sorted({_line(error) for error in errors}))


def load(document: str) -> Any:
    """The document as cloud-init reads it: YAML 1.1, where a bare `no` is false."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    return yaml.load(document)


def _line(error: ValidationError) -> str:
    path = ".".join(str(step) for step in error.absolute_path) or "the document"
    return f"{path}: {error.message[:200]}"
