"""Which archives a spec's packages may come from, and whose signature each must bear.

Debian's own are those that mmdebstrap knows for the release, so none is named here.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from images.archive import keys
from images.home import Home
from images.run import run
from specs.errors import BakehouseError
from specs.model import System

DEBIAN_KEYS: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SECURITY: Final = "-security"
"""How the suites end whose new versions `invoke update --only security` takes."""


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of one archive. `name` stands for the archive in the lock, whatever its address.

    `key` is the content of the keyring that must have signed its index.
    """

    name: str
    uri: str
    suite: str
    components: tuple[str, ...]
    key: bytes

    @property
    def index(self) -> str:
        """What the lock calls its index."""
        return f"{self.name} {self.suite}"

    def line(self, keyring: Path) -> str:
        """As apt reads it; `keyring` is where `key` lies."""
        return (
            f"deb [signed-by={keyring}] {self.uri} {self.suite} {' '.join(self.components)}".strip()
        )


def of(system: System, folder: Path, home: Home) -> tuple[Source, ...]:
    """Every archive of a spec whose paths start at `folder`, Debian's own first.

    Raises BakehouseError when a repository's key is not the pinned one.
    """
    return (*debian(system, home), *further(system, folder))


def debian(system: System, home: Home) -> tuple[Source, ...]:
    """Debian's suites for the release: the release, its updates, its security updates.

    `system.mirror` stands in for the archive and `system.security_mirror` for the security
    archive; either way the index must bear Debian's own signature.
    """
    found = []
    for line in _default_lines(system, home):
        words = re.sub(r"\[[^]]*\]", "", line).split()
        if words[:1] != ["deb"]:
            continue
        uri = words[1].rstrip("/")
        name = urlsplit(uri).path.rpartition("/")[2]
        mirror = system.security_mirror if words[2].endswith(SECURITY) else system.mirror
        found.append(
            Source(name, mirror.rstrip("/") or uri, words[2], tuple(words[3:]), _debian_key())
        )
    return tuple(found)


def _debian_key() -> bytes:
    try:
        return DEBIAN_KEYS.read_bytes()
    except FileNotFoundError as error:
        raise BakehouseError(
            f"there is no {DEBIAN_KEYS}", "apt-get install debian-archive-keyring"
        ) from error


def _default_lines(system: System, home: Home) -> list[str]:
    home.work.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="sources-", dir=home.work))
    try:
        run(defaults_command(system, root))
        return (root / "etc/apt/sources.list").read_text(encoding="utf-8").splitlines()
    finally:
        shutil.rmtree(root)


def defaults_command(system: System, root: Path) -> list[str]:
    """Lays out an empty apt root for the release, with Debian's own archives in its list."""
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=custom",
        f"--architectures={system.architecture}",
        "--skip=update,cleanup/apt,chroot/mount",
        system.release,
        str(root),
    ]


def further(system: System, folder: Path) -> tuple[Source, ...]:
    """The spec's `system.repositories`. Raises BakehouseError when a key is not the pinned one."""
    return tuple(
        Source(
            name=repository.name,
            uri=repository.uri.rstrip("/"),
            suite=repository.suite,
            components=repository.components,
            key=keys.trusted(folder / repository.key, repository.fingerprint),
        )
        for repository in system.repositories
    )


def addresses(system: System, home: Home) -> dict[str, str]:
    """Each archive's name and address, for packages that are known by their digest."""
    ours = {source.name: source.uri for source in debian(system, home)}
    return ours | {item.name: item.uri.rstrip("/") for item in system.repositories}
