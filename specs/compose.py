"""YAML events → nodes. Nothing recurses, so no input can exhaust the stack."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from specs.errors import Place, Problem
from specs.node import Node, Priority, fail, resolve

MAX_DEPTH: Final = 32
MAX_NODES: Final = 500_000
"""Far beyond the largest spec (2,000 apps are some 40,000 nodes); aliases count each time."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TEXT_TAG: Final = "tag:yaml.org,2002:str"
_TAGS: Final = {"!default": Priority.DEFAULT, "!force": Priority.FORCE}


def place_of(shown: str, mark: Any) -> Place:
    """A parser's mark as a place; the start of the file when there is none."""
    return Place(shown, mark.line + 1, mark.column + 1) if mark else Place(shown, 1, 1)


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still open; `key` waits for its value."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_place: Place | None = None
    merged: list[Node] = field(default_factory=list)


class Composer:
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
        place = place_of(self.shown, event.start_mark)
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
        node = Node(resolve(text) if plain else text, place, text, _TAGS.get(tag, Priority.NORMAL))
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
