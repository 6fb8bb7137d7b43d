"""`invoke bench-promote`: promotes and rollbacks under load, and what their users saw.

Bakes two generations of `specs/hobby.yaml`, the second with other packages, and deploys the first
in a throwaway home with a local cloud of its own; caches are shared with the real home. Then users
come (`tests.load.client`, a process on their side of the network), and promote and rollback take
turns by the command line, as a person would. In the end what the users were told is held against
Postgres and the disk of the server that serves then.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from images.garbage import collect
from images.gc import find as find_garbage
from images.history import journal
from images.home import Home, need_space, write_whole
from images.progress import Progress
from images.promote.job import ACTIVE
from images.providers.base import ROLE, Provider, Server
from images.providers.local import Local
from images.recipe import read_lock
from images.run import Process, Result, require_root, run, start
from images.ssh import as_root
from specs.errors import BakehouseError, UsageError
from specs.lock import dump, lock_path
from tests.benchmarks.bench import LINE, MORE, ROOT, machine, with_one_more
from tests.benchmarks.promote_page import Figures, page
from tests.load import ledger, truth

PAGE: Final = ROOT / "docs/benchmarks-promote.md"
CACHES: Final = ("packages", "layers", "bases", "payloads")
ROOM: Final = 16_000_000_000
"""Bytes that two images and two servers take, beside four times the database."""

NAME: Final = "bench"
DEPLOY: Final = "\ndeploy:\n  confirm: 5   # seconds\n  drain: 15    # a slow transfer takes ten\n"
SETTLE: Final = 12.0
"""Seconds of load before the first promote, and after each: a slow transfer begins and ends."""

LEAVE: Final = 90.0
"""Seconds that the users may take to end what they are doing."""

VERB: Final = 1800.0
"""Seconds that one verb may take."""

BALLAST: Final = """
CREATE TABLE ballast AS
    SELECT n, repeat(md5(n::text), 31) AS text FROM generate_series(1, {rows}) AS n;
ALTER TABLE ballast ADD PRIMARY KEY (n);
CHECKPOINT;
"""
ROW_SIZE: Final = 1060
"""Bytes of a row of ballast with its share of the index, measured with pg_total_relation_size."""


def size_of(words: str) -> int:
    """Bytes of `1G`, `200M`, `0`. Raises UsageError."""
    match = re.fullmatch(r"(\d+)([kMG]?)", words)
    if not match:
        raise UsageError(f"--database-size {words}: no size", "write it as 200M or 1G")
    return int(match[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[match[2]]


def bench(
    shared: Home, progress: Progress, promotes: int, rate: float, database_size: str
) -> Figures:
    """Measure, write `docs/benchmarks-promote.md`, and leave nothing behind. Needs root.

    Raises BakehouseError when the first server cannot be built and deployed; a promote that fails
    is a figure.
    """
    size = size_of(database_size)
    if promotes < 1 or rate < 1:
        raise UsageError("nothing to measure", "give --promotes and --rate of 1 or more")
    require_root("measuring promotes")
    need_space(shared.root, ROOM + 4 * size, "the benchmark")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-promote-", dir=shared.root) as folder:
        place = Place(Path(folder), progress)
        place.prepare(shared)
        with deployed(place) as cloud:
            fill(place, cloud, size)
            figures = measure(place, cloud, promotes, rate)
    write_whole(PAGE, page(figures, machine(), load, time.strftime("%Y-%m-%d")))
    return figures


@dataclass(frozen=True, slots=True)
class Place:
    """One benchmark's folder: specs with their lock, a home, the users' books."""

    folder: Path
    progress: Progress

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    @property
    def spec(self) -> Path:
        return self.folder / "specs/hobby.yaml"

    def invoke(self, *words: str, check: bool = True) -> Result:
        """A verb with this home and spec, by the command line."""
        command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
        options = ["--spec", str(self.spec), "--store", str(self.home.root), "--json"]
        return run([*command, *options], cwd=ROOT, check=check, timeout=VERB)

    def prepare(self, shared: Home) -> None:
        """Two generations: the default server without its placeholder of a backup, and the same
        with a package more and a line changed."""
        skip = shutil.ignore_patterns("*.py", "__pycache__", "many*")
        shutil.copytree(ROOT / "specs", self.spec.parent, ignore=skip)
        app = "specs/guestbook"
        shutil.copytree(ROOT / app, self.folder / app, dirs_exist_ok=True)
        self.home.root.mkdir()
        for name in CACHES:
            (shared.root / name).mkdir(exist_ok=True)
            (self.home.root / name).symlink_to(shared.root / name)
        text = self.spec.read_text(encoding="utf-8")
        text = re.sub(r"^name: .*", f"name: {NAME}", text, flags=re.MULTILINE)
        text = re.sub(r"^borg:\n(?:[ #].*\n)*", "", text, flags=re.MULTILINE) + DEPLOY
        self.spec.write_text(text, encoding="utf-8")
        with self.progress.stage("lock"):
            self.invoke("lock")
        self.build("the first generation")
        locked = read_lock(self.spec)
        assert locked is not None, "a build leaves a lock"
        lock_path(self.spec).write_text(dump(with_one_more(locked)), encoding="utf-8")
        changed = text.replace(LINE, f"{LINE}\n      TITLE: The second generation")
        more = f"\nsystem:\n  packages: [{MORE}]\n"
        self.spec.write_text(changed + more, encoding="utf-8")
        self.build("the second generation, with other packages")

    def build(self, what: str) -> None:
        with self.progress.stage(what):
            self.invoke("build-image")


@contextmanager
def deployed(place: Place) -> Iterator[Local]:
    """The first generation serves; in the end its whole cloud is gone."""
    cloud = Local(place.home)
    try:
        with place.progress.stage("the first server"):
            place.invoke("promote", "--first", "--image", f"{NAME}@1")
        yield cloud
    finally:
        collect(find_garbage(place.home, servers=True, everything=True), place.progress.say)


def active(provider: Provider) -> Server:
    """The server that serves."""
    return next(s for s in provider.servers(NAME) if s.labels.get(ROLE) == ACTIVE)


def shell(place: Place, provider: Provider) -> Callable[[str], str]:
    """A shell as root on the server that serves now."""
    server = active(provider)
    folder = place.folder / "doors" / server.name
    folder.mkdir(parents=True, exist_ok=True)
    door = provider.door(server, folder, "deploy", 22)
    return lambda line: as_root(door, line, timeout=600).stdout


def fill(place: Place, provider: Provider, size: int) -> None:
    """Make the database as large as asked for."""
    if not size:
        return
    with place.progress.stage("filling the database"):
        sql = BALLAST.format(rows=size // ROW_SIZE)
        shell(place, provider)(f"{truth.PSQL} --quiet --set=ON_ERROR_STOP=1 <<'END'\n{sql}END\n")


@contextmanager
def users(place: Place, provider: Provider, rate: float) -> Iterator[Process]:
    """The load, on the users' side of the network; its books are closed in the end.

    Raises BakehouseError when it ends by itself.
    """
    ip = provider.floating_ip(NAME)
    books = place.folder / "books"
    books.mkdir()
    words = [sys.executable, "-m", "tests.load.client", str(books), ip.v4, ip.v6]
    output = books / "users.log"
    process = start(provider.outside([*words, "--rate", str(rate)]), output=output, cwd=ROOT)
    try:
        yield process
        if not process.alive():
            raise BakehouseError(f"the load ended by itself\n{output.read_text()}")
    finally:
        process.stop(signal.SIGTERM, patience=LEAVE)


def measure(place: Place, provider: Provider, promotes: int, rate: float) -> Figures:
    """Promotes and rollbacks in turn under load, then the comparison."""
    windows: list[ledger.Window] = []
    wrong = ""
    with users(place, provider, rate):
        time.sleep(SETTLE)
        begun = time.monotonic()
        for number in range(promotes):
            verb = "rollback" if number % 2 else "promote"
            with place.progress.stage(f"{verb}, {number + 1} of {promotes}"):
                at = time.monotonic()
                result = place.invoke(verb, check=False)
                windows.append(ledger.Window(verb, at, time.monotonic()))
            if result.code != 0:
                said = result.stdout.strip() or result.stderr.strip()
                wrong = f"{verb} {number + 1}: exit code {result.code}: {said[-2000:]}"
                break
            time.sleep(SETTLE)
        seconds = time.monotonic() - begun
    books = place.folder / "books"
    told, written = ledger.read_requests(books), ledger.read_ledger(books)
    ask = shell(place, provider)
    found = truth.held_against(written, ask)
    size = int(
        ask(f"{truth.PSQL} --tuples-only --command=\"SELECT pg_database_size('guestbook')\"")
    )
    acknowledged = ledger.acknowledgements(told)
    gaps = [ledger.gap(acknowledged, window) for window in windows]
    pauses = tuple(end - begin for begin, end in gaps)
    steps = [line for line in journal(place.home, NAME).steps() if line["event"] == "green"]
    longest = ledger.longest(told)
    during = [one for one in told if begun <= one.at <= begun + seconds]
    return Figures(
        **{key: ledger.counts(told)[key] for key in ("failed", "cut")},
        lost=len(found.lost),
        doubled=len(found.doubled),
        altered=len(found.altered),
        write_pause_median=median(pauses) if pauses else 0.0,
        write_pauses=pauses,
        longest_request=longest.seconds,
        promotes=len(windows),
        promote_seconds=tuple(w.seconds for w in windows if w.verb == "promote"),
        rollback_seconds=tuple(w.seconds for w in windows if w.verb == "rollback"),
        database_bytes=size,
        writes=sum(one.kind == "entry" for one in written),
        files=sum(one.kind == "file" for one in written),
        rate=len(during) / seconds,
        counts=ledger.counts(told),
        wrong=wrong,
        pauses_during=tuple(ledger.during(steps, *gap) for gap in gaps),
        longest_kind=f"{longest.kind} on a {longest.how} connection, IPv{longest.family}",
        longest_during=ledger.during(steps, longest.at, longest.end),
    )
