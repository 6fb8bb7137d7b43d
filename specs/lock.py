"""The lock: exactly what goes into an image, as JSON beside the spec, made to be read in a diff.

This module only reads and writes the form; `images.archive` asks the archives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from specs.errors import UsageError

STACK: Final = ("core", "base", "services", "extra")
"""An image's layers of packages, lowest first; tools and built apps stand on `core` alone."""

FORMAT: Final = 1

_NAME: Final = re.compile(r"[a-z_][a-z0-9_-]*")
_LAYER: Final = re.compile(r"[a-z]+|app:[a-z][a-z0-9-]*")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PACKAGE: Final = {
    "name": re.compile(r"[a-z0-9][a-z0-9+.-]+"),
    "version": re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~-]*"),
    "architecture": re.compile(r"[a-z0-9][a-z0-9-]*"),
    "archive": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"),
    "path": re.compile(r"(?!/|(?:.*/)?\.\.(?:/|$))[^\x00-\x1f\x7f]+"),
    "sha256": re.compile(r"[0-9a-f]{64}"),
}
"""What each text of a package may be: they become file names and words of commands."""

LAST_ACCOUNT: Final = 59_999
"""The last number that Debian gives to people (`UID_MAX` is 60,000)."""


@dataclass(frozen=True, slots=True, order=True)
class LockedPackage:
    """One Debian package. `path` is below the archive's root; `size` is bytes of the .deb."""

    name: str
    version: str
    architecture: str
    archive: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, order=True)
class Index:
    """One suite's signed index: its own date (`2026-01-31T12:00:00Z`), and its content's digest."""

    date: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Lock:
    """All that a build may use.

    `sets` maps a layer's name to the packages it adds to those below it: those of `STACK`, and
    `tools` and `app:<name>` for each built app, which stand on `core`. `epoch` is seconds since
    1970 of the newest index: the clock of every file in the image. `indexes` maps
    `<archive> <suite>` to its index. `uids` gives accounts that packages or the spec make their
    number (group of the same number). `wanted` are the names that were resolved, by layer, and
    `images` the digests of the apps' container images: a lock is of a spec only while they are
    the spec's own (`specs.coverage`).
    """

    epoch: int
    release: str
    architecture: str
    sets: Mapping[str, tuple[LockedPackage, ...]]
    indexes: Mapping[str, Index]
    uids: Mapping[str, int]
    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)

    def image_packages(self) -> tuple[LockedPackage, ...]:
        """Every package in the image itself, sorted by name."""
        return tuple(sorted(p for layer in STACK for p in self.sets.get(layer, ())))

    def app_packages(self, name: str) -> tuple[LockedPackage, ...]:
        """Every package in the container image of the built app `name`, sorted by name."""
        return tuple(sorted((*self.sets["core"], *self.sets[f"app:{name}"])))

    def packages(self) -> tuple[LockedPackage, ...]:
        """Every package that a build needs, sorted by name, each once."""
        return tuple(sorted({p for packages in self.sets.values() for p in packages}))


def lock_path(spec_file: Path) -> Path:
    """`specs/hobby.yaml` has its lock at `specs/hobby.lock`."""
    return spec_file.with_suffix(".lock")


def dump(lock: Lock) -> str:
    """JSON in a stable order, a line for each package, index, account and image.

    So a diff has one line for each thing that changed, whole.
    """
    return _json({"format": FORMAT, **asdict(lock)}, "") + "\n"


def _json(value: Any, margin: str) -> str:
    """Containers over several lines, but for the innermost of the second level and below."""
    inner = f"{margin} "
    if not isinstance(value, dict | list | tuple) or not value or not _opened(value, margin):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        lines = [f"{json.dumps(key)}: {_json(value[key], inner)}" for key in sorted(value)]
    else:
        lines = [_json(item, inner) for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    body = ",\n".join(f"{inner}{line}" for line in lines)
    return f"{first}\n{body}\n{margin}{last}"


def _opened(value: Any, margin: str) -> bool:
    items = value.values() if isinstance(value, dict) else value
    return len(margin) < 2 or any(isinstance(item, dict | list | tuple) for item in items)


def load(path: Path) -> Lock:
    """The lock in a file. Raises UsageError as `parse`, and OSError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: not a lock: its text is not UTF-8 ({error.reason} at byte {error.start})",
            "take it from git again, or from a copy",
        ) from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Lock:
    """Read what `dump` wrote; `name` is the file's, for the error.

    Raises UsageError when it is no lock or one of another format.
    """
    if any(line.startswith("<<<<<<<") for line in text.splitlines()):
        raise UsageError(
            f"{name}: both sides of a merge are in it", "take one side from git, then `invoke lock`"
        )
    try:
        data: dict[str, Any] = json.loads(text)
        if data.pop("format") != FORMAT:
            raise ValueError("another format")
        sets = {
            key: tuple(LockedPackage(**package) for package in packages)
            for key, packages in data.pop("sets").items()
        }
        indexes = {key: Index(**index) for key, index in data.pop("indexes").items()}
        wanted = {key: tuple(names) for key, names in data.pop("wanted", {}).items()}
        lock = Lock(sets=sets, indexes=indexes, wanted=wanted, **data)
        for wrong in _wrong(lock):
            raise ValueError(wrong)
        return lock
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{name}: not a lock of this version of Bakehouse ({error})",
            "delete the file and run the build again to make a new lock",
        ) from error


def _wrong(lock: Lock) -> Iterator[str]:
    """What is not as `dump` would have written it, for the error."""
    if not _number(lock.epoch, 0, 2**40) or not _fits(_NAME, lock.release, lock.architecture):
        yield "its clock, release or architecture"
    if not _fits(_LAYER, *lock.sets, *lock.wanted):
        yield "the name of a layer"
    for package in (package for packages in lock.sets.values() for package in packages):
        for key, pattern in _PACKAGE.items():
            if not _fits(pattern, getattr(package, key)):
                yield f"the {key} of {package.name!r}"
        if not _number(package.size, 0, 2**40):
            yield f"the size of {package.name!r}"
    for name, number in lock.uids.items():
        if not _fits(_NAME, name) or not _number(number, 1, LAST_ACCOUNT):
            yield f"the number of the account {name!r}"
    if not _fits(_PACKAGE["name"], *(name for names in lock.wanted.values() for name in names)):
        yield "a name in `wanted`"
    if not _fits(_DIGEST, *lock.images.values()):
        yield "the digest of an image"


def _fits(pattern: re.Pattern[str], *texts: Any) -> bool:
    return all(isinstance(text, str) and pattern.fullmatch(text) for text in texts)


def _number(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def changes(old: Lock | None, new: Lock) -> Iterator[str]:
    """What a new lock changes, a line for each package by layer: `~ base: bash 5.1 → 5.2`."""
    sets = old.sets if old else {}
    for layer in (*new.sets, *sorted(set(sets) - set(new.sets))):
        before = {package.name: package for package in sets.get(layer, ())}
        after = {package.name: package for package in new.sets.get(layer, ())}
        for name in sorted({*before, *after}):
            was, now = before.get(name), after.get(name)
            if was is None and now is not None:
                yield f"+ {layer}: {name} {now.version}"
            elif now is None and was is not None:
                yield f"- {layer}: {name} {was.version}"
            elif was is not None and now is not None and was.sha256 != now.sha256:
                same = " (another file of the same version)" if was.version == now.version else ""
                yield f"~ {layer}: {name} {was.version} → {now.version}{same}"
    images = old.images if old else {}
    for app in sorted({*images, *new.images}):
        if images.get(app) != new.images.get(app):
            yield f"~ image of {app}: {images.get(app, 'none')} → {new.images.get(app, 'none')}"
