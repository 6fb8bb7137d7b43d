"""Keys, and a bench with an honest archive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from images.home import Home
from tests.integration.aptrepo import (
    Archive,
    Signer,
    serving,
    signer,
)
from tests.integration.lock.bench import Bench, Layers, release


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    with signer(tmp_path_factory.mktemp("gpg") / "ours") as made:
        yield made


@pytest.fixture(scope="module")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    with signer(tmp_path_factory.mktemp("gpg") / "theirs") as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, key: Signer) -> Iterator[Bench]:
    """Two layers: `app` needs `lib`, `lib` its `lib-data` of the same version; `tool` is alone."""
    key.export(tmp_path / "spec/keys/ours.asc")
    with serving(Archive("extra", tmp_path / "archive", key)) as debs:
        release(debs, "1")
        debs.add("tool", "1")
        debs.publish(date=datetime.now(UTC) - timedelta(hours=1))
        layers: Layers = {"base": ("lib",), "services": ("app",), "extra": (), "tools": ("tool",)}
        yield Bench(tmp_path / "spec", Home(tmp_path / "home"), debs, layers, [])
