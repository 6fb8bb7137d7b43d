"""What differs in the files of two images, by the manifests that their bakes wrote."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from images.rootfs import mounted
from images.run import require_root
from images.server import drift
from images.server.drift import Facts

CONFIGURATION: Final = "etc/"
"""Told file by file, with its text; of the rest the folders."""

OURS: Final = "usr/lib/bakehouse/"
"""Payloads, which a plan tells by their digest."""

DATED: Final = ("etc/shadow",)
"""The day of an account's last change is the lock's."""

LARGE: Final = 1 << 16
"""Bytes; larger files are told by their digest."""

Difference = tuple[str, str, str, str]
"""Kind (`file`, `mode`, `files`), path, what it was, what it is."""


def between(old: Path, new: Path, told: Collection[str]) -> Iterator[Difference]:
    """What differs in two raw images, but for the paths that are `told` already. Needs root.

    Raises BakehouseError when one cannot be mounted, OSError when one has no manifest.
    """
    require_root("reading them")
    with tempfile.TemporaryDirectory(prefix="bakehouse-") as folder:
        one, two = Path(folder) / "old", Path(folder) / "new"
        with mounted(old, one) as left, mounted(new, two) as right:
            yield from differences(left, right, told)


def differences(one: Path, two: Path, told: Collection[str]) -> Iterator[Difference]:
    """The same for two trees: configuration by path, then how much changed in other folders."""
    left, right = drift.read(one), drift.read(two)
    folders: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(left.keys() | right.keys()):
        if _same(left, right, path) or path.startswith(OURS) or not drift.foreign(path):
            continue
        if path.startswith(CONFIGURATION):
            if path not in DATED and f"/{path}" not in told:
                yield _configuration(one, two, path, left.get(path, ()), right.get(path, ()))
            continue
        word = "changed" if path in left and path in right else "new" if path in right else "gone"
        folders["/" + "/".join(path.split("/")[:-1][:2])][word] += 1
    for folder, counts in sorted(folders.items()):
        yield "files", folder, "", ", ".join(f"{counts[word]} {word}" for word in sorted(counts))


def _same(left: Mapping[str, Facts], right: Mapping[str, Facts], path: str) -> bool:
    return _content(left.get(path, ())) == _content(right.get(path, ()))


def _content(facts: Facts) -> Facts:
    """What makes a file another one; with a digest its time does not."""
    digested = len(facts) > len(("mode", "owner", "size", "time")) and facts[-1]
    return (*facts[:2], facts[-1]) if digested else facts


def _configuration(one: Path, two: Path, path: str, old: Facts, new: Facts) -> Difference:
    before, after = _text(one / path), _text(two / path)
    if before == after:
        return "mode", f"/{path}", " ".join(old[:2]), " ".join(new[:2])
    return "file", f"/{path}", before, after


def _text(file: Path) -> str:
    """A file's text, or what stands for it; " " of an empty one, "" when it is not there."""
    if file.is_symlink():
        return f"link to {file.readlink()}"
    if not file.is_file():
        return ""
    content = file.read_bytes()
    try:
        return content.decode() or " " if len(content) <= LARGE else _digest(content)
    except UnicodeDecodeError:
        return _digest(content)


def _digest(content: bytes) -> str:
    return f"sha256 {hashlib.sha256(content).hexdigest()}"
