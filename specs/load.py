"""One YAML file → a tree of nodes that remember where they stood. Reads nothing else.

We read the parser's events and resolve plain scalars ourselves, by the core schema of YAML 1.2
(section 10.3.2): `no`, `on`, dates and `12:30` are text, and so is whatever no section wants as a
number. Nothing recurses, so no input can exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from specs.errors import Place, Problem, SpecError

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
MAX_NODES: Final = 500_000
"""Far beyond the largest spec (2,000 apps are some 40,000 nodes); aliases count each time."""

_NULL: Final = {"", "~", "null", "Null", "NULL"}
_TRUE: Final = {"true", "True", "TRUE"}
_FALSE: Final = {"false", "False", "FALSE"}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,300}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TEXT_TAG: Final = "tag:yaml.org,2002:str"

Value = dict[str, "Node"] | list["Node"] | str | int | bool | None


class Priority(IntEnum):
    """Who wins when several files set the same key; within one priority, the importing file."""

    DEFAULT = 0
    NORMAL = 1
    FORCE = 2


_TAGS: Final = {"!default": Priority.DEFAULT, "!force": Priority.FORCE}


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


def load(path: Path, shown: str) -> Node:
    """The root mapping of the file `path`, called `shown` in errors.

    Raises SpecError with all that is wrong with it as YAML, OSError when it cannot be read.
    """
    with path.open("rb") as handle:
        data = handle.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        fail(Place(shown, 1, 1), f"is larger than {MAX_BYTES >> 20} MiB", "a spec is a few pages")
    return parse(_decode(data, shown), shown)


def _decode(data: bytes, shown: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before) - before.rfind(b"\n")
        fail(
            Place(shown, before.count(b"\n") + 1, column),
            f"is not UTF-8 (byte 0x{data[error.start]:02x})",
            "save the file as UTF-8",
        )


def parse(text: str, shown: str) -> Node:
    """The root mapping of a YAML text; raises SpecError with all that is wrong with it."""
    builder = _Builder(shown)
    for event in _events(text, shown):
        builder.add(event)
    root = builder.root
    if root is None or root.value is None:
        fail(Place(shown, 1, 1), "is empty", "the least spec is one line: `name: myserver`")
    if not isinstance(root.value, dict):
        fail(root.place, "must be a mapping of sections", "start with `name: myserver`")
    if root.priority != Priority.NORMAL:
        fail(root.place, "the file as a whole has no priority", "put the tag before single values")
    if builder.problems:
        raise SpecError(tuple(builder.problems))
    return root


def _events(text: str, shown: str) -> Iterator[Any]:
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        fail(_place(shown, mark), *_explain(error, text, mark))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        fail(
            Place(shown, line, column),
            f"holds the control character U+{error.character:04X}, which YAML does not allow",
            "remove it",
        )
    except (YAMLError, ValueError, OverflowError) as error:  # as in "\UFFFFFFFF"
        fail(Place(shown, 1, 1), f"is not valid YAML: {error}")


def _explain(error: MarkedYAMLError, text: str, mark: Any) -> tuple[str, str]:
    """What the parser's error means for a person, and what to do."""
    problem = str(error.problem or error.context or "syntax error").splitlines()[0]
    lines = text.split("\n")
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\\t" in problem or "\t" in line[: len(line) - len(line.lstrip())]:
        return "has a tab where YAML wants spaces", "indent with spaces"
    if "undefined alias" in problem:
        return f"is not valid YAML: {problem}", "an anchor (&name) comes before its alias (*name)"
    hint = ""
    if "mapping values are not allowed" in problem:
        hint = "put a value that holds ': ' in quotes, or check the indentation"
    elif "block end" in problem or "expected <block" in problem:
        hint = "check the indentation: keys of one mapping start in one column"
    elif "cannot start any token" in problem:
        hint = "put the value in quotes"
    elif "<stream end>" in problem:
        hint = "a bracket is not closed"
    elif "unexpected end of stream" in problem or "end of stream" in problem:
        hint = "a quote is not closed"
    elif "could not find expected ':'" in problem:
        hint = "a key is followed by a colon and a space"
    return f"is not valid YAML: {problem}", hint


def _place(shown: str, mark: Any) -> Place:
    return Place(shown, mark.line + 1, mark.column + 1) if mark else Place(shown, 1, 1)


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still open; `key` waits for its value."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_place: Place | None = None
    merged: list[Node] = field(default_factory=list)


class _Builder:
    """Builds nodes from events; small problems are collected, so that one run shows all."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._frames: list[_Frame] = []
        self._anchors: dict[str, Node] = {}
        self._open: set[str] = set()
        self._documents = 0

    def add(self, event: Any) -> None:
        """Take the next event."""
        place = _place(self.shown, event.start_mark)
        match type(event).__name__:
            case "DocumentStartEvent":
                self._documents += 1
                if self._documents > 1:
                    fail(place, "holds a second document", "a spec is one document; remove `---`")
            case "ScalarEvent":
                self._scalar(event, place)
            case "MappingStartEvent":
                self._start(event, Node({}, place))
            case "SequenceStartEvent":
                self._start(event, Node([], place))
            case "MappingEndEvent" | "SequenceEndEvent":
                self._end()
            case "AliasEvent":
                self._alias(event, place)

    def _path(self, key: str = "") -> str:
        parts = []
        for frame in self._frames:
            if isinstance(frame.node.value, list):
                parts.append(str(len(frame.node.value)))
            elif frame.key is not None:
                parts.append(frame.key)
        return ".".join([*parts, key] if key else parts)

    def _wrong(self, place: Place, message: str, hint: str = "", key: str = "") -> None:
        self.problems.append(Problem(place, self._path(key), message, hint))

    def _tag(self, event: Any, place: Place) -> str:
        tag = str(event.tag) if event.tag is not None else ""
        if tag and tag not in _TAGS and tag not in ("!", _TEXT_TAG):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self._wrong(place, f"unknown tag {shown}", "the tags are !default and !force")
        return tag

    def _scalar(self, event: Any, place: Place) -> None:
        tag = self._tag(event, place)
        text: str = event.value
        if _SURROGATE.search(text):
            self._wrong(place, "holds half of a surrogate pair", "write the character itself")
        plain = not event.style and tag not in ("!", _TEXT_TAG)
        node = Node(_resolve(text) if plain else text, place, text, _TAGS.get(tag, Priority.NORMAL))
        if event.anchor:
            self._anchors[event.anchor] = node
        frame = self._frames[-1] if self._frames else None
        if frame and isinstance(frame.node.value, dict) and frame.key is None:
            if tag:
                self._wrong(place, "a key has no tag", "put the tag before the value")
            self._key(frame, text, place)
        else:
            self._put(node)

    def _key(self, frame: _Frame, text: str, place: Place) -> None:
        if text in frame.node.keys:
            first = frame.node.keys[text]
            self._wrong(place, f"is set twice, first in line {first.line}", key=text)
        frame.key, frame.key_place = text, place

    def _start(self, event: Any, node: Node) -> None:
        tag = self._tag(event, node.place)
        node.priority = _TAGS.get(tag, Priority.NORMAL)
        frame = self._frames[-1] if self._frames else None
        if frame and isinstance(frame.node.value, dict) and frame.key is None:
            fail(node.place, "a key must be one line of text", path=self._path())
        if len(self._frames) >= MAX_DEPTH:
            fail(node.place, f"is nested deeper than {MAX_DEPTH} levels", path=self._path())
        if event.anchor:
            self._open.add(event.anchor)
        self._frames.append(_Frame(node, event.anchor))

    def _end(self) -> None:
        frame = self._frames.pop()
        if isinstance(frame.node.value, dict):
            for other in frame.merged:
                _merge_key(frame.node, other)
        if frame.anchor:
            self._open.discard(frame.anchor)
            self._anchors[frame.anchor] = frame.node
        self._put(frame.node)

    def _alias(self, event: Any, place: Place) -> None:
        name = event.anchor
        if name in self._open:
            fail(place, f"*{name} stands inside of &{name}", "an anchor cannot hold itself")
        if name not in self._anchors:
            fail(
                place,
                f"*{name} has no anchor",
                f"an anchor (&{name}) comes before its alias",
                self._path(),
            )
        frame = self._frames[-1] if self._frames else None
        node = self._anchors[name]
        if frame and isinstance(frame.node.value, dict) and frame.key is None:
            if isinstance(node.value, dict | list):
                fail(place, "a key must be one line of text", path=self._path())
            self._key(frame, node.text, place)
        else:
            self._put(node)

    def _put(self, node: Node) -> None:
        """Hand a finished node to the mapping or list that it stands in."""
        if not self._frames:
            self.root = node
            return
        frame = self._frames[-1]
        frame.node.size += node.size
        if frame.node.size > MAX_NODES:
            fail(node.place, "holds too many values", "aliases are counted as often as they stand")
        if isinstance(frame.node.value, list):
            if node.priority != Priority.NORMAL:
                self._wrong(node.place, "an item has no priority", "put the tag before the list")
            frame.node.value.append(node)
        elif isinstance(frame.node.value, dict) and frame.key is not None and frame.key_place:
            if frame.key == "<<":
                self._merge(frame, node)
            else:
                frame.node.value[frame.key] = node
                frame.node.keys[frame.key] = frame.key_place
            frame.key = frame.key_place = None

    def _merge(self, frame: _Frame, node: Node) -> None:
        parts = node.value if isinstance(node.value, list) else [node]
        if all(isinstance(part.value, dict) for part in parts):
            frame.merged.extend(parts)
        else:
            self._wrong(node.place, "must be an alias of a mapping, or a list of them")


def _merge_key(node: Node, other: Node) -> None:
    """`<<: *other`: take the keys that `node` does not set itself."""
    assert isinstance(node.value, dict) and isinstance(other.value, dict)
    for key, value in other.value.items():
        if key not in node.value:
            node.value[key] = value
            node.keys[key] = other.keys[key]


def _resolve(text: str) -> Value:
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
