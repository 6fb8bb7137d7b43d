"""One YAML file → a tree of nodes. Reads nothing else.

We read the parser's events and resolve plain scalars ourselves, by the core schema of YAML 1.2
(section 10.3.2): `no`, `on`, dates and `12:30` are text, and so is whatever no section wants as a
number.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from specs.compose import Composer, place_of
from specs.errors import Place, SpecError
from specs.node import Node, Priority, fail

MAX_BYTES: Final = 1 << 20


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
    composer = Composer(shown)
    for event in _events(text, shown):
        composer.add(event)
    root = composer.root
    if root is None or root.value is None:
        fail(Place(shown, 1, 1), "is empty", "the least spec is one line: `name: myserver`")
    if not isinstance(root.value, dict):
        fail(root.place, "must be a mapping of sections", "start with `name: myserver`")
    if root.priority != Priority.NORMAL:
        fail(root.place, "the file as a whole has no priority", "put the tag before single values")
    if composer.problems:
        raise SpecError(tuple(composer.problems))
    return root


def _events(text: str, shown: str) -> Iterator[Any]:
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        fail(place_of(shown, mark), *_explain(error, text, mark))
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
