"""The tree that a spec file is read into: values that remember where they stood."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NoReturn

from specs.errors import Place, Problem, SpecError

_NULL: Final = {"", "~", "null", "Null", "NULL"}
_TRUE: Final = {"true", "True", "TRUE"}
_FALSE: Final = {"false", "False", "FALSE"}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,300}")


Value = dict[str, "Node"] | list["Node"] | str | int | bool | None


class Priority(IntEnum):
    """Who wins when several files set the same key; within one priority, the importing file."""

    DEFAULT = 0
    NORMAL = 1
    FORCE = 2


@dataclass(slots=True)
class Node:
    """A value, its place, and for a scalar the text as written. `keys` are the places of keys."""

    value: Value
    place: Place
    text: str = ""
    priority: Priority = Priority.NORMAL
    keys: dict[str, Place] = field(default_factory=dict)
    size: int = 1


def fail(place: Place, message: str, hint: str = "", path: str = "") -> NoReturn:
    """Raises SpecError with this one problem."""
    raise SpecError((Problem(place, path, message, hint),))


def resolve(text: str) -> Value:
    """A plain scalar's value: null, boolean, integer, or the text itself."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    return text
