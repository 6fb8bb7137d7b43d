"""`invoke bench`: how long bakes take on this machine, whole and after the usual changes.

Bakes `specs/hobby.yaml` with a static site in throwaway homes that share only the package cache
with the real one. A bake counts from the start of its process to its end and makes a raw disk that
boots; proving it is not part of it.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
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
from images.source import OURS
from specs.errors import UsageError
from specs.lock import Lock, dump, lock_path
from specs.read import read
from tests.benchmarks import peer

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/benchmarks.md"
ROOM: Final = 12_000_000_000
"""Bytes that two throwaway homes take."""

MORE: Final = "mtools"
"""The package more: in every lock's tools, so in the cache, and it needs nothing but libc6."""

MANY: Final = 10

SPEC: Final = """
name: {name}
imports: [hobby.yaml]
system: {{packages: [{packages}]}}
apps: {{guestbook: {{environment: {{BENCH: {line}}}}}}}
caddy: {{sites: {{"http://site.example.org": {{static: site}}}}}}
"""
"""What is baked; one line of it is what changes."""

LINE: Final = "≤ 4 s, ≤ 0.1 of mkosi"

Figures = dict[str, float]
"""Seconds by the piece of work, bytes at `peak`, and how often each part was repeated."""


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


def bench(shared: Home, progress: Progress, runs: int = 3, only: str = "") -> list[Row]:
    """Measure every row, or one of `PARTS`, and write `docs/benchmarks.md`. Needs root.

    What `only` leaves out is taken from the runs before. Raises BakehouseError when a bake fails
    or there is no room.
    """
    require_root("measuring bakes")
    if only and only not in PARTS:
        raise UsageError(f"--only {only}: no such part", f"there is {', '.join(PARTS)}")
    need_space(shared.root, ROOM, "the benchmark")
    kept = shared.root / "bench.json"
    figures: Figures = json.loads(kept.read_text()) if only and kept.exists() else {}
    load = os.getloadavg()[0]
    with build_lock(shared, "bench", progress.note), scratch(shared) as folder:
        bakery = _prepare(folder, shared, progress)
        for name, part in PARTS.items():
            if only in ("", name):
                figures |= part(bakery, runs) | {f"runs of {name}": runs}
    write_whole(kept, json.dumps(figures))
    found = rows(figures)
    write_whole(PAGE, page(found, machine(), load, time.strftime("%Y-%m-%d")))
    return found


@contextmanager
def scratch(shared: Home) -> Iterator[Path]:
    """A folder below the home. What a killed run left goes: the build lock is ours."""
    for left in shared.root.glob("bench-*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=shared.root) as folder:
        yield Path(folder)


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
        shutil.rmtree(home.work)  # a proven image would have left it by a rename
        return seconds, int(json.loads(result.stdout.splitlines()[-1])["peak"])

    def write(self, line: str = "none", name: str = "bench", packages: str = "") -> None:
        """Write the spec, one `line` of which is what a run changes."""
        _write(self.spec, line, name, packages)

    def repeat(self, what: str, home: Home, runs: int, change: Callable[[int], object]) -> float:
        """Seconds of a bake after `change`, the median of so many runs."""
        seconds = []
        for number in range(runs):
            self.note(f"{what}, {number + 1} of {runs}")
            change(number)
            seconds.append(self.bake(home)[0])
        return median(seconds)


def _write(spec: Path, line: str = "none", name: str = "bench", packages: str = "") -> None:
    text = SPEC.format(name=name, packages=packages, line=json.dumps(line))
    spec.write_text(text, encoding="utf-8")


def _prepare(folder: Path, shared: Home, progress: Progress) -> Bakery:
    """Copy the specs, make a lock when there is none, and fill the package cache; compile our
    modules, as any run before has left them where Python may write."""
    for package in OURS:
        compileall.compile_dir(ROOT / package, quiet=1)
    skip = shutil.ignore_patterns("*.py", "__pycache__", "many*")
    shutil.copytree(ROOT / "specs", folder / "specs", ignore=skip)
    shutil.copytree(ROOT / "specs/guestbook", folder / "specs/guestbook", dirs_exist_ok=True)
    hobby, spec = folder / "specs/hobby.yaml", folder / "specs/bench.yaml"
    if lock_path(hobby).exists():
        shutil.copyfile(lock_path(hobby), lock_path(spec))
    _write(spec)
    model = read(spec)
    lock = lock_of(model, spec, shared, progress)
    archive.fetch(model.system, lock, shared, progress.say)
    return Bakery(folder, spec, lock, shared.packages.resolve(), progress.note)


def _mkosi(bakery: Bakery, runs: int) -> Figures:
    if not peer.found():
        return {}
    figures = peer.measure(bakery.lock, bakery.folder / "mkosi", runs, bakery.note)
    return {f"mkosi {work}": seconds for work, seconds in figures.items()}


def _whole(bakery: Bakery, runs: int) -> Figures:
    """Each whole bake is the first of ten, so that both are measured in the same minutes."""
    first, all_of_them, peaks = [], [], []
    for run_number in range(runs):
        with bakery.home() as home:
            seconds = []
            for number in range(MANY):
                bakery.note(f"spec {number + 1} of {MANY}, {run_number + 1} of {runs}")
                bakery.write(f"spec {number}", name=f"bench{number}")
                taken, peak = bakery.bake(home)
                seconds.append(taken)
                peaks.append(peak)
        first.append(seconds[0])
        all_of_them.append(sum(seconds))
    bakery.write()
    return {"whole": median(first), "ten": median(all_of_them), "peak": max(peaks)}


def _changes(bakery: Bakery, runs: int) -> Figures:
    page = bakery.spec.parent / "site/index.html"
    module = bakery.spec.parent / "guestbook/guestbook/__init__.py"
    site, app = page.read_text(encoding="utf-8"), module.read_text(encoding="utf-8")
    with bakery.home() as home:
        bakery.note("warming the layers")
        bakery.bake(home)
        return {
            "configuration": bakery.repeat(
                "one line of configuration", home, runs, lambda n: bakery.write(str(n))
            ),
            "site": bakery.repeat(
                "one line of a site", home, runs, lambda n: page.write_text(f"{site}<!-- {n} -->\n")
            ),
            "app": bakery.repeat(
                "one line of an app", home, runs, lambda n: module.write_text(f"{app}BENCH = {n}\n")
            ),
            "package": _package(bakery, home, runs),
            "nothing": _nothing(bakery, home, 3 * runs),
        }


def _package(bakery: Bakery, home: Home, runs: int) -> float:
    """What a run adds to the caches is taken away before the next."""
    kept = {folder: set(folder.iterdir()) for folder in (home.layers, home.bases)}

    def forget(_: int) -> None:
        for folder, before in kept.items():
            for path in set(folder.iterdir()) - before:
                shutil.rmtree(path)

    bakery.write(packages=MORE)
    lock_path(bakery.spec).write_text(dump(with_one_more(bakery.lock)), encoding="utf-8")
    seconds = bakery.repeat("one package more", home, runs, forget)
    bakery.write()
    lock_path(bakery.spec).write_text(dump(bakery.lock), encoding="utf-8")
    return seconds


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
    command = [str(ROOT / "bootstrap"), "invoke", "build-image", "--json"]
    seconds = []
    for _ in range(runs):
        taken, result = timed([*command, "--spec", str(bakery.spec), "--store", str(home.root)])
        assert json.loads(result.stdout.splitlines()[-1])["cached"], result.stdout
        seconds.append(taken)
    return median(seconds)


PARTS: Final[Mapping[str, Callable[[Bakery, int], Figures]]] = {
    "mkosi": _mkosi,
    "whole": _whole,
    "changes": _changes,
}


def rows(figures: Mapping[str, float]) -> list[Row]:
    """The table of what was measured so far."""
    whole, changes = (int(figures.get(f"runs of {part}", 0)) for part in ("whole", "changes"))
    kinds = [
        ("whole bake", "whole", "mkosi whole", "mkosi", "≤ 0.5 of mkosi", whole),
        ("one line of configuration", "configuration", "mkosi change", "mkosi", LINE, changes),
        ("one line of a site", "site", "mkosi change", "mkosi", LINE, changes),
        ("one line of an app", "app", "mkosi change", "mkosi", LINE, changes),
        ("one package more", "package", "whole", "a whole bake", "≤ 0.25 of a whole bake", changes),
        ("nothing changed", "nothing", "mkosi nothing", "mkosi", "≤ 0.4 s", 3 * changes),
        (f"{MANY} specs that share packages", "ten", "whole", "one", "≤ 1.5 of one", whole),
    ]
    found = []
    for work, key, to, against, goal, count in kinds:
        if key in figures:
            ratio = figures[key] / figures[to] if to in figures else None
            found.append(Row(work, figures[key], ratio, against, goal, count))
    if "peak" in figures:
        memory, peak = "peak memory of our process", figures["peak"] / 1e6
        found.append(Row(memory, figures["whole"], None, "", "≤ 200 MB", whole, peak))
    return found


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
    held = any(row.ratio is not None for row in rows if row.against == "mkosi")
    missing = "" if held else "mkosi was not there, so nothing is held against it."
    return (
        f"""# Benchmarks

Written by `./bootstrap invoke bench` on {date}, at a load of {load:.1f} before it began:
{where}.

{table}

Medians; memory is the highest. `specs/hobby.yaml` with a static site, the package cache warm. A
bake counts from the start of its process to its end and makes a raw disk that boots; proving it by
booting is not part of it. A whole bake starts without layers, and is the first of the {MANY} specs,
which are baked one after another. mkosi (25.3, as Debian 13 has it) makes a disk of the same
packages with its package cache warm, and its `Incremental=yes` for the changes.
{missing}""".rstrip()
        + "\n"
    )
