"""The lock beside a spec: taken as it is, made when there is none, renewed when asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from images import archive
from images.home import Home, build_lock, clear_work, write_whole
from images.progress import Progress
from images.recipe import read_lock
from specs import coverage
from specs.lock import Lock, changes, dump, lock_path
from specs.model import Spec


@dataclass(frozen=True, slots=True)
class Renewed:
    """A lock before (None when there was none) and after; the same object when nothing changed."""

    old: Lock | None
    new: Lock
    path: Path

    def lines(self) -> list[str]:
        """What changed, for a person; a first lock is all new, so only its size is told."""
        if self.new is self.old:
            return [f"{self.path}: no change"]
        wrote = f"wrote {self.path}: {len(self.new.packages())} packages"
        return [*changes(self.old, self.new), wrote] if self.old else [wrote]

    def as_data(self) -> dict[str, object]:
        """The same as plain data, for `--json`."""
        found = list(changes(self.old, self.new))
        return {"ok": True, "changed": self.new is not self.old, "changes": found}


def lock_of(spec: Spec, spec_file: Path, home: Home, progress: Progress) -> Lock:
    """The lock beside the spec, whether or not it is of this spec; made when there is none."""
    lock = read_lock(spec_file)
    if lock is not None:
        return lock
    renewed = _renew(spec, spec_file, home, progress, archive.EVERYTHING)
    progress.note(renewed.lines()[-1])
    return renewed.new


def fitting_lock(spec: Spec, spec_file: Path) -> Renewed | None:
    """The lock beside the spec, unchanged, when there is one and it is of this spec."""
    lock = read_lock(spec_file)
    if lock is None or any(coverage.differences(spec, spec_file.parent, lock)):
        return None
    return Renewed(lock, lock, lock_path(spec_file))


def lock_again(
    spec: Spec,
    spec_file: Path,
    home: Home,
    progress: Progress,
    only: str | None = "",
    *,
    write: bool = True,
) -> Renewed:
    """Renew the lock of a spec, on its own; without `write` only tell what it would become.

    `only` is `security` or a package's name, empty for everything, None for nothing but what the
    spec wants anew. Raises BakehouseError when it cannot be, UsageError for an unknown package.
    """
    old = read_lock(spec_file)
    locked = [package.name for package in old.packages()] if old else []
    how_far = archive.AS_LOCKED if only is None else archive.parse_scope(only, locked)
    with build_lock(home, f"lock {spec.name}", progress.note):
        clear_work(home)
        return _renew(spec, spec_file, home, progress, how_far, write=write)


def _renew(
    spec: Spec,
    spec_file: Path,
    home: Home,
    progress: Progress,
    how_far: archive.Scope,
    *,
    write: bool = True,
) -> Renewed:
    """Ask the archives, and write the lock beside the spec when it changes."""
    path = lock_path(spec_file)
    with progress.stage("lock"):
        old = read_lock(spec_file)
        new = archive.make_lock(spec, spec_file.parent, old, home, progress.say, how_far=how_far)
        if write and new is not old:
            write_whole(path, dump(new))
    return Renewed(old, new, path)
