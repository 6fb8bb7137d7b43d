"""What tests of locks work with: one archive with its key, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from images import archive
from images.archive import EVERYTHING, Scope, parse_scope
from images.archive.fetch import Places, bring
from images.archive.make import make_lock
from images.home import Home
from specs.errors import BakehouseError
from specs.lock import Lock
from specs.model import Spec, System
from tests.integration.aptrepo import (
    SUITE,
    Archive,
    only_further,
)

Layers = dict[str, tuple[str, ...]]
OURS = {"PYTHONPATH": str(Path(__file__).parents[2])}


@dataclass
class Bench:
    """A folder with a spec's keys, a home, one archive with its key, and what is asked of it."""

    folder: Path
    home: Home
    debs: Archive
    layers: Layers
    said: list[str]

    def lock(
        self,
        previous: Lock | None = None,
        how_far: Scope = EVERYTHING,
        system: System | None = None,
    ) -> Lock:
        spec = Spec("web", system=system or self.system())
        return make_lock(
            spec,
            self.folder,
            previous,
            self.home,
            self.said.append,
            how_far=how_far,
            archives=only_further,
            layers=lambda _: self.layers,
        )

    def system(self) -> System:
        return self.debs.system(*self.debs.suites)

    def update(self, previous: Lock, only: str) -> Lock:
        names = [package.name for package in previous.packages()]
        return self.lock(previous, parse_scope(only, names))

    def fetch(self, lock: Lock) -> None:
        """As a build does, from this archive alone."""
        places = Places({item.name: item.uri for item in self.system().repositories})
        missing = archive.cache.lacking(self.home, lock.packages())
        if missing:
            bring(missing, places, self.home, self.said.append)


def release(debs: Archive, version: str, suite: str = SUITE) -> None:
    """A release of the source `lib`, and of `app`, which is content with any."""
    debs.add("lib", version, suite, Depends=f"lib-data (= {version})")
    debs.add("lib-data", version, suite, Source="lib")
    debs.add("app", version, suite, Depends="lib (>= 1)")


def versions(lock: Lock) -> dict[str, str]:
    return {package.name: package.version for package in lock.packages()}


def failing(call: Callable[[], object]) -> BakehouseError:
    with pytest.raises(BakehouseError) as caught:
        call()
    return caught.value
