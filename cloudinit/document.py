"""YAML for cloud-init, written so that the same data gives the same bytes on every machine.

An image's identity covers its documents, so they must not change with a YAML library's version,
and cloud-init reads YAML 1.1, where a bare `no` is false and a bare `0644` is 420: every string is
therefore quoted, or a literal block when it has several lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

Value: TypeAlias = "str | int | bool | Sequence[Value] | Mapping[str, Value] | None"

HEADER: Final = "#cloud-config\n"
_KEY: Final = re.compile(r"[a-z][a-z0-9_-]*\Z")
_NOT_PRINTABLE: Final = re.compile(
    r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def dump(data: Mapping[str, Value]) -> str:
    """`data` as a cloud-config document, keys in their given order.

    Lists of plain values are written on one line. Raises ValueError for a key that YAML 1.1
    could read as anything but itself.
    """
    return HEADER + "".join(_entry(key, value, "") for key, value in data.items())


def _entry(key: str, value: Value, indent: str) -> str:
    if not _KEY.match(key) or key in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}:
        raise ValueError(f"not a plain YAML key: {key!r}")
    return f"{indent}{key}:{_after(value, indent)}"


def _after(value: Value, indent: str) -> str:
    """What follows a key's colon: a space and a scalar, or a nested block."""
    if isinstance(value, Mapping) and value:
        return "\n" + "".join(_entry(k, v, indent + "  ") for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return "\n" + "".join(_item(item, indent) for item in value)
    return f" {_scalar(value, indent)}\n"


def _item(value: Value, indent: str) -> str:
    if isinstance(value, Mapping) and value:
        lines = "".join(_entry(k, v, indent + "  ") for k, v in value.items())
        return f"{indent}- {lines[len(indent) + 2 :]}"
    return f"{indent}- {_scalar(value, indent)}\n"


def _scalar(value: Value, indent: str) -> str:
    if isinstance(value, str):
        return _block(value, indent + "  ") if _fits_block(value) else _quoted(value)
    if isinstance(value, Mapping):
        if value:
            raise ValueError("a mapping inside a list inside a list")
        return "{}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_scalar(_flat(item), "") for item in value) + "]"
    return json.dumps(value)


def _flat(value: Value) -> Value:
    if isinstance(value, str) and "\n" in value:
        raise ValueError("a text of several lines inside a list inside a list")
    return value


def _fits_block(text: str) -> bool:
    """Whether a literal block says exactly `text`: YAML 1.1 readers break lines at NEL and LS."""
    return (
        text.endswith("\n")
        and text.strip("\n") != ""
        and not text.startswith((" ", "\n", "\t"))
        and not _NOT_PRINTABLE.search(text.replace("\n", "").replace("\t", ""))
    )


def _block(text: str, indent: str) -> str:
    chomping = "+" if text.endswith("\n\n") else ""
    lines = text[:-1].split("\n")
    return f"|{chomping}\n" + "\n".join(f"{indent}{line}" if line else "" for line in lines)


def _quoted(text: str) -> str:
    plain = json.dumps(text, ensure_ascii=False)
    return _NOT_PRINTABLE.sub(lambda found: f"\\U{ord(found[0]):08x}", plain)
