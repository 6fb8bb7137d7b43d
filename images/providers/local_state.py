"""What the local cloud knows, as files below `<home>/cloud/`, each written whole.

```
registry.lock             held while the files below are changed, for milliseconds
counter                   the number of the newest server; numbers are never used again
images/<image>.raw        what servers are made of: a second name of the stored image
servers/<id>/server.json  a server (class Record), beside `disk`, `console.log`, `devices/`
floating/<name>.json      a floating IP and its holder: the network follows these files
volumes/<name>/           `volume.json` and the volume itself, `disk`
notes/<name>.json
```
Control groups, the network namespace and processes carry the cloud's name or its path, so all of it
is found again, whoever made it and however that ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from images.home import Home, write_whole
from images.network import MACHINES, Address
from specs.errors import BakehouseError, UsageError

WORD: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""What the narrowest cloud takes as a label (Hetzner's API reference, "Labels")."""

DISK: Final = "disk"
LOCK: Final = "power.lock"
CONSOLE: Final = "console.log"
DEVICES: Final = "devices"
ROOT: Final = "mounted/merged"
"""In a server's folder: its own file system, the lock of its keeper, what it wrote to its console,
the devices of its volumes, and, seen only by its keeper, its root."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """The places of one home's cloud; makes nothing by itself."""

    root: Path

    @property
    def name(self) -> str:
        """Of its namespace and, with a dash and a server's id, of its control groups."""
        return f"bhc-{hashlib.sha256(bytes(self.root)).hexdigest()[:6]}"

    @property
    def servers(self) -> Path:
        return self.root / "servers"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def floating(self) -> Path:
        return self.root / "floating"

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    @property
    def notes(self) -> Path:
        return self.root / "notes"

    def folder(self, server: str) -> Path:
        """A server's own."""
        return self.servers / server

    def raw(self, image: str) -> Path:
        """An image that servers can be made of."""
        return self.images / f"{image}.raw"

    def group(self, server: str) -> str:
        """The control group of everything that runs for a server."""
        return f"{self.name}-{server}"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the files."""
        return self.root / "registry.lock"

    @contextmanager
    def registry(self) -> Iterator[None]:
        """Nobody else changes the files. For short work: a stopped holder stops everyone."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def cloud_of(home: Home) -> Cloud:
    """The cloud of a home, the same by whatever path that is named."""
    return Cloud(home.cloud.resolve())


@dataclass(frozen=True, slots=True)
class Record:
    """A server. `place` is its number in the network, `disk` bytes.

    `made` says that its creation came to its end, and another order of its name has nothing to do.
    `further` are addresses, with the width of their network, beside its own; `metadata` is what the
    server is told of itself, as lines of YAML.
    """

    number: int
    place: int
    name: str
    image: str
    labels: Mapping[str, str]
    disk: int
    user_data: str
    made: bool = False
    further: tuple[str, ...] = ()
    metadata: str = ""

    @property
    def id(self) -> str:
        """Also its container's name; short, since its network interface is called so."""
        return f"s{self.number}"

    @property
    def link(self) -> str:
        """Its network interface on the bridge, as nspawn names it; 15 bytes at most."""
        return f"vb-{self.id}"

    @property
    def address(self) -> Address:
        return Address(self.place)


def records(cloud: Cloud) -> list[Record]:
    """All servers, oldest first."""
    found = [_record(file) for file in cloud.servers.glob("s*/server.json")]
    return sorted((record for record in found if record), key=lambda record: record.number)


def record(cloud: Cloud, server: str) -> Record:
    """The server of this id. Raises BakehouseError when there is none."""
    found = _record(cloud.folder(word(server, "a server's id")) / "server.json")
    if found is None:
        raise BakehouseError(
            f"there is no server {server}", "`invoke status` shows those there are"
        )
    return found


def _record(file: Path) -> Record | None:
    data = read(file)
    return Record(**{**data, "further": tuple(data.get("further", ()))}) if data else None


def keep(cloud: Cloud, new: Record) -> None:
    """Write a server down; the registry must be held."""
    write(cloud.folder(new.id) / "server.json", asdict(new))


def new_record(cloud: Cloud, name: str, image: str, user_data: str, disk: int) -> Record:
    """A server with a number and a place that no other has; the registry must be held.

    Places go round, so that a neighbour's memory of an old server does not meet a new one.
    """
    counter = cloud.root / "counter"
    number = int(counter.read_text(encoding="utf-8")) + 1 if counter.exists() else 1
    taken = {other.place for other in records(cloud)}
    free = [
        place for n in range(MACHINES) if (place := (number - 1 + n) % MACHINES + 1) not in taken
    ]
    if not free:
        raise BakehouseError(f"the local cloud is full: {MACHINES} servers", "run `invoke gc`")
    write_whole(counter, str(number))
    return Record(number, free[0], name, image, {}, disk, user_data)


def read(file: Path) -> dict[str, Any] | None:
    """The content of a file of ours; None when it is gone. Raises BakehouseError for damage."""
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return data
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BakehouseError(
            f"{file} is damaged ({error})", "delete it, or `invoke gc --all`"
        ) from error


def write(file: Path, data: Mapping[str, object]) -> None:
    """Write a file of ours, whole."""
    write_whole(file, json.dumps(data, indent=1, sort_keys=True) + "\n")


def word(text: str, what: str) -> str:
    """The text, when every provider takes it as a name. Raises UsageError when not."""
    if not WORD.fullmatch(text):
        raise UsageError(
            f"{what} cannot be {text!r}",
            "use 1 to 63 of a-z A-Z 0-9 . _ - and none of the last 3 at an end",
        )
    return text


def checked(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels, when every provider takes them; a value may be empty. Raises UsageError."""
    for key, value in labels.items():
        word(key, "a label's key")
        word(value or "x", f"the label {key}")
    return dict(labels)
