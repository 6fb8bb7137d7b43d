"""`invoke bench`: how long bakes take on this machine, whole and after the usual changes.

Bakes `specs/hobby.yaml` in throwaway homes that share only the package cache with the real one. A
bake counts from the start of its process to its end and makes a raw disk that boots; proving it is
not part of it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from images import archive
from images.home import Home, build_lock, need_space, write_whole
from images.locking import lock_of
from images.progress import Progress
from images.run import Result, require_root, run
from specs.lock import Lock, dump, lock_path
from specs.read import read
from tests.benchmarks import peer

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/benchmarks.md"
ROOM: Final = 12_000_000_000
"""Bytes that two throwaway homes take."""

MORE: Final = "mtools"
"""The package more: in every lock's tools, so in the cache, and it needs nothing but libc6."""

LINE: Final = "      PORT: 8000"
MANY: Final = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One measured piece of work. `seconds` is the median of `runs`.

    `ratio` is to what `against` names, None when that is not there to be measured; `megabytes` (10⁶
    bytes) is set for memory alone, whose `seconds` are those of the bakes it was read from.
    """

    work: str
    seconds: float
    ratio: float | None
    against: str
    goal: str
    runs: int
    megabytes: float | None = None

    def as_data(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        data: dict[str, Any] = {"work": self.work, "seconds": round(self.seconds, 3)}
        data["ratio"] = None if self.ratio is None else round(self.ratio, 3)
        data |= {"against": self.against, "goal": self.goal, "runs": self.runs}
        return data if self.megabytes is None else {**data, "megabytes": round(self.megabytes, 1)}

    def cells(self) -> list[str]:
        """The row of a table."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f} of {self.against}"
        measured = f"{self.seconds:.2f} s"
        if self.megabytes is not None:
            measured = f"{self.megabytes:.0f} MB"
        return [self.work, measured, ratio, self.goal, str(self.runs)]


def bench(shared: Home, progress: Progress, runs: int = 3) -> list[Row]:
    """Measure every row and write `docs/benchmarks.md`. Needs root.

    Raises BakehouseError when a bake fails or there is no room.
    """
    require_root("measuring bakes")
    need_space(shared.root, ROOM, "the benchmark")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-", dir=shared.root) as folder:
        bakery = _prepare(Path(folder), shared, progress)
        rows = _measure(bakery, runs)
    write_whole(PAGE, page(rows, machine(), load, time.strftime("%Y-%m-%d")))
    return rows


@dataclass(frozen=True, slots=True)
class Bakery:
    """Where one benchmark bakes: a copy of the specs, the lock, homes below `folder`."""

    folder: Path
    spec: Path
    lock: Lock
    packages: Path
    note: Callable[[str], None]

    @contextmanager
    def home(self) -> Iterator[Home]:
        """A throwaway home that has packages and nothing else."""
        root = Path(tempfile.mkdtemp(prefix="home-", dir=self.folder))
        (root / "packages").symlink_to(self.packages)
        try:
            yield Home(root)
        finally:
            shutil.rmtree(root)

    def bake(self, home: Home, *options: str) -> tuple[float, int]:
        """Bake the spec as it is now; seconds, and peak bytes of our process."""
        command = [sys.executable, "-m", "tests.benchmarks.bake_once", str(home.root)]
        seconds, result = timed([*command, str(self.spec), *options])
        return seconds, int(json.loads(result.stdout.splitlines()[-1])["peak"])

    def vary(self, text: str) -> None:
        """Change one line of the app's environment."""
        original = (ROOT / "specs/hobby.yaml").read_text(encoding="utf-8")
        changed = original.replace(LINE, f"{LINE}\n      BENCH: {text}")
        assert changed != original, f"specs/hobby.yaml has no line {LINE!r}"
        self.spec.write_text(changed, encoding="utf-8")


def _prepare(folder: Path, shared: Home, progress: Progress) -> Bakery:
    """Copy the specs, make a lock when there is none, and fill the package cache."""
    skip = shutil.ignore_patterns("*.py", "__pycache__", "many*")
    shutil.copytree(ROOT / "specs", folder / "specs", ignore=skip)
    shutil.copytree(ROOT / "specs/guestbook", folder / "specs/guestbook", dirs_exist_ok=True)
    spec = folder / "specs/hobby.yaml"
    model = read(spec)
    with build_lock(shared, "bench", progress.note):
        lock = lock_of(model, spec, shared, progress)
        archive.fetch(model.system, lock, shared, progress.say)
    return Bakery(folder, spec, lock, shared.packages.resolve(), progress.note)


def _measure(bakery: Bakery, runs: int) -> list[Row]:
    theirs = {}
    if peer.found():
        theirs = peer.measure(bakery.lock, bakery.folder / "mkosi", runs, bakery.note)
    whole, peak = _whole(bakery, runs)
    with bakery.home() as home:
        bakery.note("warming the layers")
        bakery.vary("first")
        bakery.bake(home)
        config = _config(bakery, home, runs)
        app = _app(bakery, home, runs)
        package = _package(bakery, home, runs)
        nothing = _nothing(bakery, home, 3 * runs)
    ten = _ten(bakery)

    def ratio(seconds: float, work: str) -> float | None:
        return seconds / theirs[work] if work in theirs else None

    goal = "≤ 4 s, ≤ 0.1 of mkosi"
    return [
        Row("whole bake", whole, ratio(whole, "whole"), "mkosi", "≤ 0.5 of mkosi", runs),
        Row("one line of configuration", config, ratio(config, "change"), "mkosi", goal, runs),
        Row("one line of an app", app, ratio(app, "change"), "mkosi", goal, runs),
        Row(
            "one package more",
            package,
            package / whole,
            "a whole bake",
            "≤ 0.25 of a whole bake",
            runs,
        ),
        Row("nothing changed", nothing, None, "", "≤ 0.4 s", 3 * runs),
        Row(f"{MANY} specs that share packages", ten, ten / whole, "one", "≤ 1.5 of one", 1),
        Row("peak memory of our process", whole, None, "", "≤ 200 MB", runs, peak / 1e6),
    ]


def _whole(bakery: Bakery, runs: int) -> tuple[float, int]:
    figures = []
    for number in range(runs):
        bakery.note(f"whole bake, {number + 1} of {runs}")
        with bakery.home() as home:
            figures.append(bakery.bake(home))
    return median(seconds for seconds, _ in figures), max(peak for _, peak in figures)


def _config(bakery: Bakery, home: Home, runs: int) -> float:
    seconds = []
    for number in range(runs):
        bakery.note(f"one line of configuration, {number + 1} of {runs}")
        bakery.vary(str(number))
        seconds.append(bakery.bake(home)[0])
    return median(seconds)


def _app(bakery: Bakery, home: Home, runs: int) -> float:
    module = bakery.spec.parent / "guestbook/guestbook/__init__.py"
    original = module.read_text(encoding="utf-8")
    seconds = []
    for number in range(runs):
        bakery.note(f"one line of an app, {number + 1} of {runs}")
        module.write_text(f"{original}BENCH = {number}\n", encoding="utf-8")
        seconds.append(bakery.bake(home)[0])
    return median(seconds)


def _package(bakery: Bakery, home: Home, runs: int) -> float:
    """What a run adds to the caches is taken away before the next."""
    text = bakery.spec.read_text(encoding="utf-8")
    bakery.spec.write_text(f"{text}\nsystem:\n  packages: [{MORE}]\n", encoding="utf-8")
    lock_path(bakery.spec).write_text(dump(with_one_more(bakery.lock)), encoding="utf-8")
    kept = {folder: set(folder.iterdir()) for folder in (home.layers, home.bases)}
    seconds = []
    for number in range(runs):
        bakery.note(f"one package more, {number + 1} of {runs}")
        seconds.append(bakery.bake(home)[0])
        for folder, before in kept.items():
            for path in set(folder.iterdir()) - before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    bakery.spec.write_text(text, encoding="utf-8")
    lock_path(bakery.spec).write_text(dump(bakery.lock), encoding="utf-8")
    return median(seconds)


def with_one_more(lock: Lock) -> Lock:
    """The lock with `MORE` moved from the tools into the image as well."""
    package = next(package for package in lock.sets["tools"] if package.name == MORE)
    return replace(
        lock,
        sets={**lock.sets, "extra": (package,)},
        wanted={**lock.wanted, "extra": (MORE,)},
    )


def _nothing(bakery: Bakery, home: Home, runs: int) -> float:
    bakery.bake(home, "--publish")
    bakery.note(f"nothing changed, {runs} times")
    command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), "build-image", "--json"]
    seconds = []
    for _ in range(runs):
        taken, result = timed([*command, "--spec", str(bakery.spec), "--store", str(home.root)])
        assert json.loads(result.stdout.splitlines()[-1])["cached"], result.stdout
        seconds.append(taken)
    return median(seconds)


def _ten(bakery: Bakery) -> float:
    total = 0.0
    with bakery.home() as home:
        for number in range(MANY):
            bakery.note(f"specs that share packages, {number + 1} of {MANY}")
            bakery.vary(f"spec-{number}")
            text = bakery.spec.read_text(encoding="utf-8")
            bakery.spec.write_text(text.replace("name: hobby", f"name: hobby{number}"))
            total += bakery.bake(home)[0]
    return total


def timed(argv: list[str]) -> tuple[float, Result]:
    """Run a command in the project's folder; its seconds from start to end."""
    started = time.monotonic()
    result = run(argv, cwd=ROOT)
    return time.monotonic() - started, result


def machine() -> str:
    """This machine in a line: processor, cores, memory, kernel."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = cpu[0] if cpu else os.uname().machine
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {os.uname().release}"


def page(rows: list[Row], where: str, load: float, date: str) -> str:
    """`docs/benchmarks.md`."""
    head = ["work", "measured", "ratio", "goal", "runs"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *(row.cells() for row in rows))]
    lines.insert(1, "|---" * len(head) + "|")
    table = "\n".join(lines)
    missing = "" if peer.found() else "mkosi was not there, so nothing is held against it."
    return (
        f"""# Benchmarks

Written by `./bootstrap invoke bench` on {date}, at a load of {load:.1f} before it began:
{where}.

{table}

Medians; memory is the highest. `specs/hobby.yaml`, the package cache warm. A bake counts from the
start of its process to its end and makes a raw disk that boots; proving it by booting is not part
of it. A whole bake starts without layers; the {MANY} specs do so together, one after another.
{missing}""".rstrip()
        + "\n"
    )
