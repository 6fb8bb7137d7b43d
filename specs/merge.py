"""A spec file and all that it imports → one tree.

The rules are those of NixOS modules, made small. Every file that sets a key gives one definition
of it, and only those of the highest priority count (`!force`, then plain, then `!default`).
Mappings merge key by key, lists concatenate (what is imported comes first), and of several scalars
that of the importing file wins; where no file imports the other, they must be equal. A key without
a value says nothing, but `!force` without a value removes the key.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from specs import kinds
from specs.errors import Place, Problem, SpecError, UsageError, printable
from specs.load import load
from specs.node import Node, Priority, fail

MAX_FILES: Final = 200


@dataclass(frozen=True, slots=True)
class Source:
    """A loaded file: its real path, its root, and the real paths of all that it imports; `paths`
    are those by which it was asked for, which may lead through links."""

    name: str
    root: Node
    below: frozenset[str]
    paths: list[Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Definition:
    """What one file says about a key; `key` is where the key stands."""

    source: Source
    node: Node
    key: Place


def read_tree(path: Path) -> Node:
    """The merged tree of the spec file `path`. Raises as `read_files`, and as `merge`."""
    return merge(read_files(path))


def read_files(path: Path) -> tuple[Source, ...]:
    """The spec file `path` and all that it imports, each after what it imports itself.

    Raises UsageError when it cannot be read, SpecError for whatever is wrong in it or in a file
    that it imports.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "name the spec file in it")
    if not path.is_file():
        near = _near(path)
        hint = f"did you mean {near}?" if near else "paths start at the folder you are in"
        raise UsageError(f"there is no spec {path}", hint)
    files: dict[str, Source] = {}
    try:
        _collect(path, Path(os.path.normpath(path)), files, ())
    except OSError as error:
        raise UsageError(
            f"cannot read {error.filename}: {error.strerror}", "see the file's rights"
        ) from error
    return tuple(files.values())


def _near(path: Path) -> Path | None:
    """A file beside `path` with a name like its."""
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, names, n=1)
    return path.with_name(close[0]) if close and close[0] != path.name else None


def _collect(path: Path, shown: Path, files: dict[str, Source], chain: tuple[str, ...]) -> Source:
    """Load `path` and its imports into `files`, imported ones first, each once.

    Raises SpecError with what is wrong in all of them, for as far as they can be followed.
    """
    real = os.path.realpath(path)
    root = load(path, str(shown))
    below: set[str] = set()
    problems: list[Problem] = []
    for node in _imports(root):
        try:
            below |= _import(node, path.parent, shown.parent, files, (*chain, real))
        except SpecError as error:
            problems += error.problems
    files[real] = Source(real, root, frozenset(below), [path])
    if problems:
        raise SpecError(tuple(dict.fromkeys(problems)))
    return files[real]


def _import(
    node: Node, folder: Path, shown: Path, files: dict[str, Source], chain: tuple[str, ...]
) -> set[str]:
    """Load the file that an entry of `imports` names; the real paths of it and what it imports."""
    found = folder / node.text
    target = Path(os.path.normpath(shown / node.text))
    key = os.path.realpath(found)
    if key in chain:
        circle = " → ".join(Path(name).name for name in (*chain[chain.index(key) :], key))
        fail(node.place, f"imports go in a circle: {circle}", path="imports")
    if not found.is_file():
        near = _near(target)
        hint = f"did you mean {near}?" if near else "paths start at the file that imports"
        fail(node.place, f"there is no file {target}", hint, "imports")
    if key in files:
        files[key].paths.append(found)
    else:
        if len(files) + len(chain) > MAX_FILES:
            fail(node.place, f"more than {MAX_FILES} files are imported", path="imports")
        _collect(found, target, files, chain)
    return {key, *files[key].below}


def _imports(root: Node) -> list[Node]:
    """The entries of `imports`, which is taken out of the tree."""
    assert isinstance(root.value, dict)
    node = root.value.pop("imports", None)
    if node is None or node.value is None:
        return []
    if not isinstance(node.value, list):
        fail(node.place, "must be a list of files", "write `imports: [modules/x.yaml]`", "imports")
    for index, entry in enumerate(node.value):
        path = f"imports.{index}"
        if not isinstance(entry.value, str):
            fail(entry.place, "must be the path of a YAML file", path=path)
        fault = kinds.RELATIVE.fault(entry.value)
        if fault:
            fail(entry.place, f"{fault.message} (got {quote(entry.text)})", fault.hint, path)
    return node.value


def merge(sources: Sequence[Source]) -> Node:
    """One tree from files in order, each after what it imports; the last is the root's.

    Raises SpecError with every key that two files set differently, neither importing the other.
    """
    problems: list[Problem] = []
    tree = _merge([_Definition(s, s.root, s.root.place) for s in sources], (), problems)
    if problems:
        raise SpecError(tuple(problems))
    return tree


def _merge(definitions: list[_Definition], path: tuple[str, ...], problems: list[Problem]) -> Node:
    if len(definitions) == 1 and not isinstance(definitions[0].node.value, dict):
        return definitions[0].node
    said = [d for d in definitions if d.node.value is not None or _removes(d.node)]
    top = max((d.node.priority for d in said), default=Priority.NORMAL)
    said = [d for d in said if d.node.priority == top] or definitions[-1:]
    last = said[-1].node
    if all(isinstance(d.node.value, dict) for d in said):
        return _merge_mappings(said, path, problems)
    if all(isinstance(d.node.value, list) for d in said):
        merged = [n for d in said if isinstance(d.node.value, list) for n in d.node.value]
        return Node(merged, last.place, priority=top)
    beaten = {name for d in said for name in d.source.below}
    rivals = [d for d in said if d.source.name not in beaten]
    other = next((d for d in rivals if not _same(d.node, last)), None)
    if other:
        problems.append(
            Problem(
                last.place,
                ".".join(path),
                f"is {describe(last)} here and {describe(other.node)} in {other.node.place}",
                "neither file imports the other; set it in the spec itself, or mark one !default",
            )
        )
    return last


def _merge_mappings(
    definitions: list[_Definition], path: tuple[str, ...], problems: list[Problem]
) -> Node:
    last = definitions[-1].node
    merged = Node({}, last.place, priority=last.priority)
    assert isinstance(merged.value, dict)
    by_key: dict[str, list[_Definition]] = {}
    for definition in definitions:
        mapping = definition.node
        assert isinstance(mapping.value, dict)
        for key, child in mapping.value.items():
            by_key.setdefault(key, []).append(
                _Definition(definition.source, child, mapping.keys[key])
            )
    for key, children in by_key.items():
        node = _merge(children, (*path, key), problems)
        if _removes(node):
            continue
        merged.value[key] = node
        merged.keys[key] = next((c.key for c in children if c.node is node), children[-1].key)
    return merged


def _removes(node: Node) -> bool:
    return node.value is None and node.priority == Priority.FORCE


def _same(one: Node, two: Node) -> bool:
    """Whether two nodes that are not both mappings or both lists say the same."""
    if isinstance(one.value, dict | list) or isinstance(two.value, dict | list):
        return False
    return one.value == two.value and type(one.value) is type(two.value)


def describe(node: Node) -> str:
    """A value in an error: short, on one line, text in quotes."""
    match node.value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case None:
            return "nothing"
        case str() as text:
            return quote(text)
        case _:
            return node.text


def quote(text: str) -> str:
    """Text in quotes on one line, shortened to what helps to find it."""
    shown = printable(text[:60])
    return f'"{shown}…"' if len(text) > 60 else f'"{shown}"'
