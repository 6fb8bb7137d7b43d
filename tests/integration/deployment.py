"""Two generations of the default server on a local cloud of its own, run by the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from images import store
from images.build import build
from images.garbage import collect
from images.gc import find as find_garbage
from images.history import journal
from images.home import Home, find_home
from images.progress import Progress
from images.promote.job import ACTIVE
from images.providers.base import IMAGE, ROLE, Provider, Server
from images.providers.local import Local
from images.run import Process, Result, run, start
from images.ssh import as_root
from specs.read import read
from tests.load import ledger, truth

ROOT = Path(__file__).parents[2]
NAME = "hobby"
DEPLOY = "{confirm: 6, drain: 15}"
SECRETS = """
secrets:
  sources:
    borg_passphrase: {command: [echo, of no use elsewhere]}
"""
CHANGED = "\n      TITLE: The second generation"
LINE = "      PORT: 8000"


@dataclass(slots=True)
class Deployment:
    """A spec, a home that shares the real one's images, and a cloud in it."""

    folder: Path
    name: str = NAME
    images: tuple[str, ...] = ()
    runs: int = field(default=0)
    patience: float = 600
    """Seconds that a verb may take."""
    loads: int = field(default=0)

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    @property
    def spec(self) -> Path:
        return self.folder / f"specs/{self.name}.yaml"

    @property
    def cloud(self) -> Local:
        return Local(self.home)

    @property
    def provider(self) -> Provider:
        """Where the servers are."""
        return self.cloud

    def command(self, *words: str) -> list[str]:
        """A verb with this home and spec."""
        line = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
        return [*line, "--spec", str(self.spec), "--store", str(self.home.root)]

    def invoke(self, *words: str, check: bool = True) -> Result:
        """Run a verb to its end."""
        return run(self.command(*words), cwd=ROOT, check=check, timeout=self.patience)

    def told(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What a verb prints as JSON; it must end with this code."""
        done = self.invoke(*words, "--json", check=False)
        assert done.code == code, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def state(self, server: str) -> str:
        """What a server's guard says; "" when it does not answer."""
        found = {one["name"]: one["state"] for one in self.told("status")["servers"]}
        return str(found[server])

    def listed(self) -> list[dict[str, Any]]:
        """What `generations` prints."""
        words = ["generations", "--store", str(self.home.root), "--json"]
        line = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
        return list(json.loads(run(line, cwd=ROOT).stdout))

    def begin(self, *words: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a verb and do not wait for it; what it says is in `log`."""
        self.runs += 1
        return start(self.command(*words, "--json"), output=self.log, env=env, cwd=ROOT)

    @property
    def log(self) -> Path:
        """What the verb that was begun last has said."""
        return self.folder / f"run-{self.runs}.log"

    def journal(self) -> list[dict[str, Any]]:
        """What the operator wrote down so far."""
        return list(journal(self.home, self.name).steps())

    def wait_for(self, seen: int, event: str, step: object, patience: float = 180) -> None:
        """Until this line stands in the journal after the first `seen` ones."""
        deadline = time.monotonic() + patience
        while not any(
            (entry["event"], entry.get("step")) == (event, step) for entry in self.journal()[seen:]
        ):
            assert time.monotonic() < deadline, f"no {event} of step {step}: {self.journal()[-3:]}"
            time.sleep(0.02)

    def servers(self) -> list[Server]:
        """All servers of the spec."""
        return list(self.provider.servers(self.name))

    def active(self) -> Server:
        """The server that the labels call active."""
        return next(server for server in self.servers() if server.labels[ROLE] == ACTIVE)

    def shell(self, server: Server, line: str) -> str:
        """What a shell line prints on a server, run as root."""
        folder = self.folder / "doors" / server.name
        folder.mkdir(parents=True, exist_ok=True)
        door = self.provider.door(server, folder, "deploy", 22)
        return as_root(door, line, timeout=300).stdout

    def other(self) -> str:
        """The image that does not serve now."""
        return next(image for image in self.images if image != self.active().labels[IMAGE])

    @contextmanager
    def users(self, rate: float, *, slow: bool = True) -> Iterator[Path]:
        """Load through the floating IP, slow transfers with it or not; the folder of its books."""
        ip = self.provider.floating_ip(self.name)
        self.loads += 1
        books = self.folder / f"books-{self.loads}"
        books.mkdir()
        words = [sys.executable, "-m", "tests.load.client", str(books)]
        words += [*filter(None, (ip.v4, ip.v6)), "--rate", str(rate)]
        argv = self.provider.outside([*words, *([] if slow else ["--quick"])])
        process = start(argv, output=books / "users.log", cwd=ROOT)
        try:
            yield books
            assert process.alive(), (books / "users.log").read_text()
        finally:
            process.stop(signal.SIGTERM, patience=90)

    def difference(self, books: Path) -> ledger.Difference:
        """The users' ledger against the server that serves now."""
        active = self.active()
        return truth.held_against(ledger.read_ledger(books), lambda line: self.shell(active, line))


def kill(process: Process) -> None:
    """As `kill -9` does, with all that it started on this machine."""
    os.killpg(process.pid, signal.SIGKILL)
    process.stop(signal.SIGKILL)


def prepare(folder: Path, deploy: str = DEPLOY) -> Deployment:
    """Both images are built, or found again, in the real home; the new home has them, too."""
    found = begun(folder, NAME)
    text = found.spec.read_text(encoding="utf-8") + f"\ndeploy: {deploy}\n" + SECRETS
    for changed in (text, text.replace(LINE, LINE + CHANGED)):
        bake(found, changed)
    return found


def begun(folder: Path, name: str) -> Deployment:
    """The project's specs, and a home without images that shares the real one's."""
    found = Deployment(folder, name)
    shutil.copytree(ROOT / "specs", found.spec.parent, ignore=shutil.ignore_patterns("many*"))
    found.home.root.mkdir()
    find_home().images.mkdir(parents=True, exist_ok=True)
    found.home.images.symlink_to(find_home().images)
    return found


def bake(found: Deployment, text: str) -> None:
    """One more generation, of the spec with this text."""
    found.spec.write_text(text, encoding="utf-8")
    built = build(read(found.spec), found.spec, find_home(), Progress())
    add(found, built.image.id)


def add(found: Deployment, image: str) -> None:
    found.images += (image,)
    store.add_generation(found.home, found.name, image)


@contextmanager
def deployed(folder: Path, deploy: str = DEPLOY) -> Iterator[Deployment]:
    """The first generation serves; in the end nothing of the cloud is left."""
    with served(prepare(folder, deploy)) as found:
        yield found


@contextmanager
def served(found: Deployment) -> Iterator[Deployment]:
    """The same for a deployment with its images."""
    try:
        found.invoke("promote", "--first", "--image", f"{found.name}@1")
        yield found
    finally:
        collect(find_garbage(found.home, servers=True, everything=True), lambda _: None)
