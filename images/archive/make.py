"""Makes the lock: reads the archives' indexes, lets apt choose, keeps what should stay."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from images.archive import apt as private
from images.archive import indexes, kept, scope, sources
from images.archive.apt import Apt
from images.archive.cache import lacking
from images.archive.fetch import Places, attempt
from images.archive.resolve import Wanted, resolve
from images.archive.scope import EVERYTHING, Scope
from images.archive.sources import Source
from images.home import Home
from specs import coverage, packages
from specs.lock import Lock, LockedPackage
from specs.model import Spec, System

Say = Callable[[str], None]


def make_lock(
    spec: Spec,
    folder: Path,
    previous: Lock | None,
    home: Home,
    say: Say,
    *,
    how_far: Scope = EVERYTHING,
    archives: Callable[[System, Path, Home], tuple[Source, ...]] = sources.of,
    layers: Callable[[Spec], Wanted] = packages.layers,
) -> Lock:
    """Read the archives' indexes and resolve every package of a spec whose paths start at `folder`.

    Returns `previous` itself when nothing that goes into the image has changed: an archive that
    signs the same packages anew is no reason to bake. Raises BakehouseError when an index cannot be
    had or trusted, is older than the one in `previous`, or a package does not exist.
    """
    home.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="lock-", dir=home.work))
    try:
        found = archives(spec.system, folder, home)
        apt = private.lay_out(work / "apt", spec.system.architecture, found)
        say("reading the package indexes")
        read = indexes.read(apt, found, previous.indexes if previous else {})
        held: Mapping[str, LockedPackage] = {}
        if previous and how_far.hold:
            addresses = {source.name: source.uri for source in found}
            places = Places(addresses, spec.system.snapshot, previous.epoch)
            held = _hold(apt, found, how_far, previous, places=places, home=home, say=say)
        say("resolving the packages")
        wanted = layers(spec)
        sets = resolve(apt, found, wanted, held)
    finally:
        shutil.rmtree(work)
    newest = max(index.date for index in read.values())
    lock = Lock(
        epoch=int(datetime.strptime(newest, indexes.DATE).replace(tzinfo=UTC).timestamp()),
        release=spec.system.release,
        architecture=spec.system.architecture,
        sets=sets,
        indexes=read,
        uids=packages.numbers(spec) | kept_numbers(previous, spec),
        wanted={layer: tuple(names) for layer, names in wanted.items()},
        images=coverage.images(spec, folder),
    )
    if previous and replace(lock, epoch=previous.epoch, indexes=previous.indexes) == previous:
        return previous
    return lock


def _hold(
    apt: Apt,
    found: Sequence[Source],
    how_far: Scope,
    previous: Lock,
    *,
    places: Places,
    home: Home,
    say: Say,
) -> Mapping[str, LockedPackage]:
    """Pin what stays; the pinned packages that no archive lists any more, by name.

    Of those, one that is neither in the cache nor to be had can only move.
    """
    locked = {package.name: package for package in previous.packages()}
    staying = [package for name, package in locked.items() if name not in how_far.names]
    dropped = kept.dropped(apt, staying)
    lost: Mapping[LockedPackage, str] = {}
    if dropped:
        missing = lacking(home, dropped)
        lost = attempt(missing, places, home, say) if missing else {}
        kept.offer(apt, home, [p for p in dropped if p not in lost], apt.root / "kept")
    scope.hold(apt, found, how_far, {n: p for n, p in locked.items() if p not in lost})
    return {package.name: package for package in dropped if package not in lost}


def kept_numbers(previous: Lock | None, spec: Spec) -> dict[str, int]:
    """The numbers that people have already, and free ones for the new: data outlives images."""
    if previous is None:
        return {}
    numbers = {user.name: previous.uids.get(user.name, 0) for user in spec.users}
    free = packages.FIRST_PERSON
    for name, number in numbers.items():
        while not number and free in {*numbers.values(), *previous.uids.values()}:
            free += 1
        numbers[name] = number or free
    return numbers
