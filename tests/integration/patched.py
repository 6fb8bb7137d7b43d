"""The default server as it was before its security updates, on a local cloud of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images.archive import make_lock, sources
from images.archive.sources import Source
from images.garbage import collect
from images.gc import find as find_garbage
from images.home import Home, find_home, write_whole
from images.run import run
from specs.lock import dump, lock_path
from specs.model import System
from specs.read import read
from tests.integration.deployment import NAME, ROOT, Deployment, deployed

PATIENCE = 1800.0
"""Seconds that a run may take: it bakes every layer anew."""

RUNS = """
deploy: {{confirm: 12, drain: 15}}
rebuild: {{policy: promote}}
notify: {{urls: [hook]}}
secrets:
  sources:
    borg_passphrase: {{command: [echo, of no use elsewhere]}}
    hook: {{command: [echo, "json://127.0.0.1:{port}/"]}}
"""


def scheduled(text: str, hook: int) -> str:
    """A spec whose runs promote, and tell a receiver on a loopback port."""
    kept = text.partition("\ndeploy:")[0]
    return kept + RUNS.format(port=hook)


def without_security(system: System, folder: Path, home: Home) -> tuple[Source, ...]:
    """The archives of a spec as they would be, had nothing been mended since the release."""
    found = sources.of(system, folder, home)
    return tuple(source for source in found if not source.suite.endswith(sources.SECURITY))


def prepare(folder: Path, hook: int) -> Deployment:
    """A spec with an old lock, and a home that has nothing but the packages of the real one.

    They are second names of its files, so what a run frees is freed here alone.
    """
    found = Deployment(folder, patience=PATIENCE)
    shutil.copytree(ROOT / "specs", found.spec.parent, ignore=shutil.ignore_patterns("many*"))
    text = found.spec.read_text(encoding="utf-8")
    found.spec.write_text(scheduled(text, hook), encoding="utf-8")
    found.home.root.mkdir()
    run(["cp", "-al", str(find_home().packages), str(found.home.root)])
    spec = read(found.spec)
    lock = make_lock(
        spec, found.spec.parent, None, found.home, lambda _: None, archives=without_security
    )
    write_whole(lock_path(found.spec), dump(lock))
    return found


@contextmanager
def unpatched(hook: int) -> Iterator[Deployment]:
    """Generation 1 serves, without its security updates; in the end nothing is left of it."""
    root = find_home().root
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rebuild-", dir=root) as folder:
        found = prepare(Path(folder), hook)
        try:
            found.invoke("build-image")
            found.invoke("promote", "--first", "--image", f"{NAME}@1")
            yield found
        finally:
            collect(find_garbage(found.home, servers=True, everything=True), lambda _: None)


@contextmanager
def baked(hook: int) -> Iterator[Deployment]:
    """Generation 1 of two serves, and the spec is that of generation 2, with a receiver for what
    its runs tell. Its images are second names, too: a run frees what its own home does not need."""
    shared = find_home()
    shared.root.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="rebuild-", dir=shared.root) as folder,
        deployed(Path(folder)) as found,
    ):
        found.home.images.unlink()
        for image in found.images:
            own = found.home.images / image
            shutil.copytree(shared.images / image, own, copy_function=os.link)
        found.spec.write_text(scheduled(found.spec.read_text(encoding="utf-8"), hook))
        yield found


@contextmanager
def elsewhere(place: Deployment) -> Iterator[Deployment]:
    """A runner that keeps nothing but caches, with the spec and its lock from the repository, and a
    way to the same provider."""
    shared = find_home()
    with tempfile.TemporaryDirectory(prefix="runner-", dir=shared.root) as folder:
        found = Deployment(Path(folder), patience=PATIENCE)
        shutil.copytree(place.spec.parent, found.spec.parent)
        found.home.root.mkdir()
        cached(found.home)
        found.home.cloud.symlink_to(place.home.cloud)
        yield found


def cached(home: Home) -> None:
    """Second names of the real home's caches: what is freed here stays there."""
    shared = find_home().root
    names = ("packages", "layers", "bases", "oci-layers", "payloads")
    there = [str(shared / name) for name in names if (shared / name).exists()]
    run(["cp", "-al", *there, str(home.root)])
