"""The verbs. Each parses its call, calls one function, prints what came back (`images.calls`).

What a verb needs is imported when it runs: `invoke validate` must not wait for the ovens.
"""

from __future__ import annotations

import json as jsonlib
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from invoke.context import Context

from images import calls
from images.calls import emit
from images.hosts.verbs import host_keys, known_hosts
from images.options import IMAGE_HELP, SPEC, verb
from images.packer.verbs import build_image, render
from images.promote.verbs import destroy, promote, rollback, status
from images.scheduled.verbs import ONLY_HELP, gc, history, pin, rebuild, schedule, unpin
from images.secrets.verbs import secrets
from specs.errors import UsageError

__all__ = [
    "build_image",
    "destroy",
    "gc",
    "history",
    "host_keys",
    "known_hosts",
    "pin",
    "promote",
    "rebuild",
    "render",
    "rollback",
    "schedule",
    "secrets",
    "status",
    "unpin",
]

ROOT: Final = Path(__file__).parent


def _alone(what: str) -> None:
    """For verbs that mount and boot: needs root, and goes on in namespaces that end with it."""
    from images.isolation import isolate
    from images.run import require_root

    require_root(what)
    isolate()


def _recipe(spec: str | Path) -> Any:
    """The recipe of a spec file and of the lock beside it, if there is one."""
    from images.recipe import prepare, read_lock
    from specs.read import read

    path = Path(spec)
    return prepare(read(path), path, read_lock(path))


@verb("spec", "json")
def validate(_: Context, spec: str = SPEC, json: bool = False) -> None:
    """Check a spec: every problem at once, with file, line, column and a hint."""
    from specs.read import read

    model = read(Path(spec))
    emit(json, {"ok": True, "name": model.name}, f"{spec}: {model.name} is valid")


@verb(out="write the JSON Schema to this file instead of printing it")
def schema(_: Context, out: str = "") -> None:
    """Print the JSON Schema of specs, for editors."""
    from specs.reference import json_schema

    text = jsonlib.dumps(json_schema(), indent=2)
    if out:
        Path(out).write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


@verb("spec", "store", "json")
def plan(_: Context, spec: str = SPEC, store: str = "", json: bool = False) -> None:
    """Show what a build would make, what would change, and what would be made anew, and why."""
    from images.home import find_home
    from images.paint import painted
    from images.preview import preview
    from images.progress import Progress

    found = preview(_recipe(spec), spec, find_home(store), Progress())
    emit(json, found.as_data(), painted(found.lines()))


@verb("spec", "store", "json")
def lock(_: Context, spec: str = SPEC, store: str = "", json: bool = False) -> None:
    """Make the lock of a spec, or bring it in line with the spec; what can stay stays."""
    _renew(spec, store, json, None)


@verb("spec", "store", "json", only=ONLY_HELP)
def update(
    _: Context, spec: str = SPEC, only: str = "", store: str = "", json: bool = False
) -> None:
    """Renew the lock of a spec from the archives' present state."""
    _renew(spec, store, json, only)


def _renew(spec: str, store: str, json: bool, only: str | None) -> None:
    """`only` None means: as locked, but for what the spec wants anew."""
    from images.home import find_home
    from images.locking import fitting_lock, lock_again
    from images.progress import Progress
    from specs.read import read

    path, model = Path(spec), read(Path(spec))
    renewed = fitting_lock(model, path) if only is None else None
    if renewed is None:
        _alone("reading the archives")
        renewed = lock_again(model, path, find_home(store), Progress(), only)
    emit(json, renewed.as_data(), "\n".join(renewed.lines()))


def _kind(boot: str) -> Any:
    if boot not in ("nspawn", "bios", "uefi"):
        raise UsageError(f"--boot {boot}: no such way to boot", "use nspawn, bios or uefi")
    return boot


def _chosen(image: str, spec: str, store: str) -> Any:
    """The home, and the image that the options mean."""
    from images import store as stored
    from images.home import find_home
    from specs.read import read

    home = find_home(store)
    if image:
        return home, stored.look_up(home, image)
    name = read(Path(spec)).name
    newest = stored.newest(home, name)
    if newest is None:
        raise UsageError(f"{name} has no image yet", f"run `invoke build-image --spec {spec}`")
    return home, stored.look_up(home, newest.image)


@verb("spec", "store", "json", image=IMAGE_HELP, boot="nspawn (default), bios or uefi")
def test_image(
    _: Context,
    image: str = "",
    spec: str = SPEC,
    store: str = "",
    boot: str = "nspawn",
    json: bool = False,
) -> None:
    """Prove a stored image again: boot a throwaway copy and run the suite that let it in."""
    from images.build import prove
    from images.progress import Progress

    home, found = _chosen(image, spec, store)
    _alone("booting an image")
    report = prove(found, home, _kind(boot), Progress())
    emit(json, jsonlib.loads(report.as_json()), report.summary())
    if not report.passed:
        sys.exit(1)


@verb("spec", "store", image=IMAGE_HELP, boot="nspawn (default), bios or uefi")
def run_image(
    _: Context, image: str = "", spec: str = SPEC, store: str = "", boot: str = "nspawn"
) -> None:
    """Boot a throwaway copy of an image and open a shell in it; it is gone afterwards."""
    from images.shell import look_inside

    home, found = _chosen(image, spec, store)
    _alone("booting an image")
    sys.exit(look_inside(found, home, _kind(boot)))


@verb("store", "json", name="only those of this spec's name")
def generations(_: Context, name: str = "", store: str = "", json: bool = False) -> None:
    """List what was baked: generation, image, date; what is pinned, what is bad, and why."""
    from images import marks
    from images.home import find_home

    home = find_home(store)
    found = list(marks.marked(home, name))
    text = "\n".join(one.line() for one in found)
    none = f"no generations in {home.root}; run `invoke build-image`"
    emit(json, [one.as_data() for one in found], text or none)


@verb(
    "store",
    "json",
    old="a spec file, a lock, an image id, or <spec>@<generation>",
    new="the same; what it has become",
)
def diff(_: Context, old: str, new: str, store: str = "", json: bool = False) -> None:
    """Compare two specs, locks, images or generations: packages, fixes, files, ports and more."""
    from images import compare
    from images.home import find_home
    from images.isolation import isolate
    from images.paint import painted

    home = find_home(store)
    one, two = (compare.side(home, word, _recipe) for word in (old, new))
    if one.raw and two.raw:
        with suppress(OSError):  # without root, which the comparison tells
            isolate()
    found = compare.compare(home, one, two)
    emit(json, [asdict(change) for change in found.changes], painted(found.lines()))


@verb(
    "store",
    "json",
    runs="how often each bake is repeated (default: 3)",
    only="measure mkosi, whole (and ten specs) or changes alone; the rest stays as measured before",
)
def bench(_: Context, runs: int = 3, only: str = "", store: str = "", json: bool = False) -> None:
    """Measure bakes on this machine, several runs each, and write docs/benchmarks.md."""
    from images.home import find_home
    from images.progress import Progress
    from tests.benchmarks import bench as benchmark

    if runs < 1:
        raise UsageError(f"--runs {runs}: nothing to measure", "give 1 or more")
    rows = benchmark.bench(find_home(store), Progress(), runs, only)
    text = "\n".join("  ".join(row.cells()) for row in rows)
    emit(json, [row.as_data() for row in rows], text)


@verb(
    "store",
    "json",
    promotes="how many promotes and rollbacks, in turn (default: 10)",
    rate="requests a second of the users (default: 100)",
    database_size="how large the database is before the first, as in 200M (default: 1G)",
)
def bench_promote(
    _: Context,
    promotes: int = 10,
    rate: int = 100,
    database_size: str = "1G",
    store: str = "",
    json: bool = False,
) -> None:
    """Promote and roll back under load on this machine, and write docs/benchmarks-promote.md."""
    from images.home import find_home
    from images.progress import Progress
    from tests.benchmarks import promote as benchmark

    figures = benchmark.bench(find_home(store), Progress(), promotes, rate, database_size)
    emit(json, figures.as_data(), figures.table())
    sys.exit(0 if figures.good else 1)


@verb("spec", "store", port="the loopback port to listen on (default: 8080; 0: any)")
def open(_: Context, port: int = 8080, spec: str = SPEC, store: str = "") -> None:
    """Lead a loopback port to the floating IP of the local cloud, for a browser; ends by Ctrl-C."""
    from threading import Event

    from images.door import open_door
    from images.home import find_home
    from images.run import require_root
    from specs.read import read

    require_root("reaching the local cloud")
    with open_door(find_home(store), read(Path(spec)), port) as door:
        told = f"http://127.0.0.1:{door.port}/ leads to {door.target[0]}; Ctrl-C ends it"
        print(told, flush=True)
        Event().wait()


@verb("store", "json")
def doctor(_: Context, store: str = "", json: bool = False) -> None:
    """Say what this machine lacks for baking and booting, and how to get it."""
    from images.doctor import examine
    from images.home import find_home

    found = examine(find_home(store))
    lines = [
        f"ok       {finding.what}" if finding.good else f"MISSING  {finding.what}: {finding.hint}"
        for finding in found
    ]
    emit(json, [asdict(finding) for finding in found], "\n".join(lines))
    if not all(finding.good for finding in found):
        sys.exit(1)


if __name__ == "__main__":
    calls.main(ROOT)
