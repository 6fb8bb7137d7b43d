"""A world small enough for a year in minutes: an archive, an oven and a cloud of tiny servers.

The archive is a real one, signed and read by apt, and the lock, store, journal, lease, marks,
notices and gc are the project's own. Small are the image (a tar of the locked packages, unpacked),
its proof (its service is started and asked), and the server (that service as a process).
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import shutil
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from images import keeping, marks, store
from images.archive import cached, make_lock, parse_scope
from images.archive.cache import lacking
from images.archive.fetch import Places, bring
from images.build import UnprovenError
from images.built import Built
from images.garbage import collect, size_of
from images.home import Home, clear_work, write_whole
from images.locking import Renewed
from images.progress import Progress
from images.promote.calling import recorded
from images.promote.job import ACTIVE, STANDBY, Site, labels
from images.promote.runs import Outcome as Swapped
from images.providers.base import IMAGE, ROLE, Server
from images.providers.local import Local
from images.run import Process, run, start
from images.scheduled.outcome import Outcome
from images.scheduled.rebuild import Run, Ways, Wish, rebuild
from specs.lock import Lock, dump, lock_path, parse
from specs.model import Notify, Rebuild, Secrets, Source, Spec
from tests.integration.aptrepo import SECURITY, SUITE, Archive, only_further

LAYERS = {"base": ("lib",), "services": ("shop",), "extra": ("tool",), "tools": ()}
START = datetime(2027, 1, 3, 3, 30, tzinfo=UTC)
"""A Sunday, half an hour after the schedule."""

SERVICE = """
import http.server, os
answers = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global answers
        answers += 1
        if {dies} and answers > {dies}:
            os._exit(1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{version}")
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print("port", server.server_port, flush=True)
server.serve_forever()
"""
BULK = 300_000
"""Bytes that every package brings, so that what is not freed shows."""


def release(
    debs: Archive, name: str, version: str, suite: str = SUITE, *, fixes: str = "", dies: int = 0
) -> None:
    """A version of a package, whose changelog names the advisory that it closes. `dies` is after
    how many answers the service ends; -1: it does not start."""
    entry = (
        f"{name} ({version}) trixie; urgency=low\n\n  * Fix {fixes or 'nothing'}\n\n -- N <n@t>\n"
    )
    bulk = random.Random(f"{name} {version}").randbytes(BULK)
    files = {
        f"usr/share/doc/{name}/changelog.gz": gzip.compress(entry.encode(), mtime=0),
        f"srv/{name}.bin": bulk,
    }
    if name == "shop":
        text = "raise SystemExit(1)" if dies < 0 else SERVICE.format(dies=dies, version=version)
        files["srv/serve.py"] = text.encode()
    debs.add(name, version, suite, files)


@dataclass
class House:
    """A server: its process, and where it answers."""

    server: Server
    process: Process
    port: int

    def ask(self) -> str:
        """Its answer, or "" when it gives none."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except OSError:
            return ""


class SmallCloud(Local):
    """Tiny servers; notes, and so leases, are the local provider's own."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.houses: list[House] = []
        self.uploaded: set[str] = set()

    def image(self, raw: Path, image_id: str) -> str:
        """Knows the image from now on."""
        assert raw.exists()
        self.uploaded.add(image_id)
        return image_id

    def servers(self, spec: str) -> Sequence[Server]:
        """Those that run."""
        return [house.server for house in self.houses]

    def active(self) -> House | None:
        """Who has the floating IP."""
        return next((h for h in self.houses if h.server.labels[ROLE] == ACTIVE), None)

    def label(self, house: House, role: str) -> None:
        """Give a server another role."""
        old = house.server
        house.server = Server(
            old.id, old.name, old.status, {**old.labels, ROLE: role}, "", "", "", ()
        )

    def end(self, house: House) -> None:
        """A server is gone."""
        house.process.stop()
        self.houses.remove(house)


@dataclass
class Village:
    """One spec with its archive, and a clock that goes in weeks."""

    folder: Path
    debs: Archive
    home: Home
    cloud: SmallCloud
    hook: int
    week: int = 0
    published: int = 0
    bakes: int = 0
    served: int = 0
    lost: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def spec_file(self) -> Path:
        return self.folder / "shop.yaml"

    def now(self) -> float:
        """Unix seconds of the simulated moment."""
        return (START + timedelta(weeks=self.week)).timestamp()

    def publish(self, *, days: float = 7, back: bool = False) -> None:
        """Sign the indexes anew, each a minute younger than the last; valid for so many days."""
        self.published += 1
        minutes = -600 if back else self.published
        moment = datetime.now(UTC) - timedelta(hours=4) + timedelta(minutes=minutes)
        self.debs.publish(date=moment, valid=timedelta(days=days))

    def site(self, *, policy: str = "promote", window: str = "", reachable: bool = True) -> Site:
        """The spec as it is deployed."""
        system = self.debs.system(SUITE, SECURITY)
        if not reachable:
            gone = tuple(
                self.debs.repository(suite, uri="http://127.0.0.1:1") for suite in (SUITE, SECURITY)
            )
            system = type(system)(repositories=gone)
        url = f"json://127.0.0.1:{self.hook}/"
        spec = Spec(
            "shop",
            system=system,
            rebuild=Rebuild(policy=policy, window=window),  # type: ignore[arg-type]
            secrets=Secrets(sources={"hook": Source(("printf", "%s", url))}),
            notify=Notify(("hook",)),
        )
        return Site(self.home, self.cloud, spec, self.spec_file)

    def rebuild(
        self,
        site: Site | None = None,
        *,
        only: str = "",
        retry: bool = False,
        bake: Callable[[Site, int], Built] | None = None,
    ) -> Outcome:
        """This week's run."""
        where = site or self.site()
        build = bake or self.bake
        ways = Ways(
            recall=lambda: None,
            refresh=lambda: self.refresh(where, only),
            image_id=image_id,
            build=lambda after: build(where, after),
            swap=lambda image: self.swap(where, image),
            resume=lambda: None,
            tidy=self.tidy,
        )
        ended = rebuild(Run(where, ways, Wish(retry=retry), Progress(), self.now))
        self.told += [ended.headline()] if ended.notices else []
        return ended

    def refresh(self, site: Site, only: str) -> Renewed:
        """What the lock would become, by apt."""
        path = lock_path(site.spec_file)
        old = parse(path.read_text(), path.name) if path.exists() else None
        names = [package.name for package in old.packages()] if old else []
        new = make_lock(
            site.spec,
            self.folder,
            old,
            self.home,
            lambda _: None,
            how_far=parse_scope(only, names),
            archives=only_further,
            layers=lambda _: LAYERS,
        )
        return Renewed(old, new, path)

    def bake(self, site: Site, after: int) -> Built:
        """What the lock beside the spec makes, proven and stored."""
        started = time.monotonic()
        clear_work(self.home)
        lock = parse(lock_path(site.spec_file).read_text(), "shop.lock")
        image = store.find(self.home, image_id(lock))
        fresh = image is None
        if image is None:
            self.bakes += 1
            image = self.make(lock)
        known = store.add_generation(self.home, "shop", image.id, after)
        generation = replace(known, created=image.created)  # by the simulated clock
        store.keep_generation(self.home, generation)
        path = store.raw_path(self.home, image.id)
        return Built(image, generation, path, not fresh, time.monotonic() - started)

    def make(self, lock: Lock) -> store.Image:
        """Unpack, prove, publish."""
        places = Places({r.name: r.uri for r in self.debs.system(SUITE, SECURITY).repositories})
        missing = lacking(self.home, lock.packages())
        if missing:
            bring(missing, places, self.home, lambda _: None)
        staged = self.home.work / "staged"
        tree = self.home.work / "tree"
        staged.mkdir(parents=True)
        for package in lock.image_packages():
            run(["dpkg-deb", "--extract", str(cached(self.home, package)), str(tree)])
        with tarfile.open(staged / store.RAW, "w") as tar:
            tar.add(tree, arcname=".")
        self.prove(staged / store.RAW, image_id(lock))
        write_whole(staged / "spec.lock", dump(lock))
        write_whole(staged / "report.json", json.dumps({"passed": True}))
        image = store.Image(
            id=image_id(lock),
            name="shop",
            digest=sha256((staged / store.RAW).read_bytes()).hexdigest(),
            size=(staged / store.RAW).stat().st_size,
            created=datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            plan="",
            layers=(),
            seconds={},
            seen=store.seen(staged / store.RAW),
        )
        store.publish(self.home, staged, image)
        return image

    def prove(self, raw: Path, image: str) -> None:
        """Boot a throwaway. Raises UnprovenError when its service does not answer."""
        throwaway = self.boot(raw, {IMAGE: image})
        try:
            if not (throwaway and throwaway.ask()):
                raise UnprovenError(f"{image} did not pass: its service does not answer")
        finally:
            if throwaway:
                throwaway.process.stop()

    def boot(self, raw: Path, about: Mapping[str, str]) -> House | None:
        """A server of an image; None when its service ends at once."""
        place = self.folder / f"servers/{about[IMAGE]}-{os.urandom(3).hex()}"
        place.mkdir(parents=True)
        with tarfile.open(raw) as tar:
            tar.extractall(place, filter="data")
        said = place / "said"
        process = start(["python3", "-IS", str(place / "srv/serve.py")], output=said)
        while process.alive() and "\n" not in said.read_text():
            time.sleep(0.01)
        words = said.read_text().split()
        if len(words) != 2 or not process.alive():
            process.stop()
            return None
        server = Server(place.name, place.name, "running", dict(about), "", "", "")
        return House(server, process, int(words[1]))

    def deploy(self, site: Site, generation: store.Generation, role: str) -> House:
        """A server of a generation."""
        raw = store.raw_path(self.home, generation.image)
        about = labels(site.name, generation.number, generation.image, role, 1)
        house = self.boot(raw, about)
        assert house
        self.cloud.houses.append(house)
        return house

    def newest(self, image: str) -> store.Generation:
        """The generation of an image."""
        return [g for g in store.generations(self.home, "shop") if g.image == image][-1]

    def swap(self, site: Site, image: str) -> Swapped:
        """Green takes the floating IP, and gives it back when it does not bear its users."""
        return recorded(site, "promote", Progress(), lambda: self._swap(site, image))

    def _swap(self, site: Site, image: str) -> Swapped:
        wanted = self.newest(image)
        blue = self.cloud.active()
        green = self.deploy(site, wanted, STANDBY)
        if blue is None:
            self.cloud.label(green, ACTIVE)
            return Swapped(wanted.number, green.server.name, None)
        self.cloud.label(blue, STANDBY)
        self.cloud.label(green, ACTIVE)
        if self.traffic(15):
            for old in [h for h in self.cloud.houses if h not in (blue, green)]:
                self.cloud.end(old)
            return Swapped(wanted.number, green.server.name, 0.2)
        self.cloud.label(blue, ACTIVE)
        self.cloud.end(green)
        why = f"generation {wanted.number} is not well: / is not answered"
        marks.mark_bad(self.home, self.cloud, site.name, image, why)
        back = int(blue.server.labels["generation"])
        return Swapped(back, blue.server.name, 0.2, rolled_back=True, why=why)

    def traffic(self, requests: int) -> bool:
        """Users ask whoever has the floating IP; False when one in three got no answer."""
        house = self.cloud.active()
        answers = [bool(house and house.ask()) for _ in range(requests)]
        self.served += sum(answers)
        self.lost += requests - sum(answers)
        return sum(answers) > requests * 2 / 3

    def tidy(self) -> int:
        """As `invoke gc`."""
        in_use = {house.server.labels[IMAGE] for house in self.cloud.houses}
        found = keeping.garbage(self.home, keeping.stays(self.home, in_use, (), keep=2))
        collect(found, lambda _: None)
        return sum(garbage.size for garbage in found)

    def disk(self) -> int:
        """Bytes of everything that is kept, but the journal."""
        return size_of(self.home.root) - size_of(self.home.root / "history")

    def close(self) -> None:
        """Every server ends."""
        for house in list(self.cloud.houses):
            with suppress(ValueError):
                self.cloud.end(house)
        shutil.rmtree(self.folder / "servers", ignore_errors=True)


def image_id(lock: Lock) -> str:
    """The identity of what a lock makes."""
    made_from = json.dumps([package.sha256 for package in lock.image_packages()])
    return f"shop-{sha256(made_from.encode()).hexdigest()[:12]}"
