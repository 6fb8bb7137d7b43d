"""A signed apt archive of small made-up packages, on a loopback port, honest or nasty."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from images.archive import sources
from images.archive.sources import Source
from images.run import run
from specs.model import Repository, System

SUITE = "trixie"
SECURITY = "trixie-security"


@dataclass(frozen=True)
class Signer:
    """A throwaway OpenPGP key, in a keyring of its own."""

    home: Path
    fingerprint: str

    def gpg(self, *words: str) -> str:
        """Run gpg with this key alone."""
        return run(["gpg", "--homedir", str(self.home), "--batch", "--yes", *words]).stdout

    def export(self, to: Path, *, secret: bool = False) -> Path:
        """The armored public (or secret) key as a file."""
        to.parent.mkdir(parents=True, exist_ok=True)
        self.gpg("--armor", "--output", str(to), "--export-secret-keys" if secret else "--export")
        return to


@contextmanager
def signer(home: Path, expires: str = "never") -> Iterator[Signer]:
    """A new key; gpg's agent ends with it."""
    home.mkdir(mode=0o700, parents=True)
    base = ["gpg", "--homedir", str(home), "--batch", "--passphrase", ""]
    run([*base, "--quick-gen-key", f"{home.name} <archive@test>", "ed25519", "sign", expires])
    listed = run([*base, "--list-keys", "--with-colons"]).stdout
    fingerprint = next(li.split(":")[9] for li in listed.splitlines() if li.startswith("fpr"))
    try:
        yield Signer(home, fingerprint)
    finally:
        run(["gpgconf", "--homedir", str(home), "--kill", "all"])


def make_deb(
    folder: Path, name: str, version: str, files: Mapping[str, bytes] | None = None, **fields: str
) -> Path:
    """A package with a file that says its name and version, and with `files` by their path;
    `fields` go into its control file."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    content = tree / "usr/share/bakehouse-test" / name
    content.parent.mkdir(parents=True)
    content.write_text(f"{name} {version}\n")
    for path, data in (files or {}).items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    own = {"Package": name, "Version": version, "Architecture": "all", "Priority": "optional"}
    more = {"Maintainer": "Nobody <nobody@test>", "Description": "made up"}
    lines = [f"{key.replace('_', '-')}: {value}\n" for key, value in (own | more | fields).items()]
    (tree / "DEBIAN/control").write_text("".join(lines))
    plain = version.partition(":")[2] or version
    deb = folder / f"{name}_{plain}_all.deb"
    build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(deb)]
    run(build, env={"SOURCE_DATE_EPOCH": "1700000000"})
    shutil.rmtree(tree)
    return deb


@dataclass
class Archive:
    """One archive: its suites' packages, its files below `root`, and who asked for what.

    `failing` maps a path to how many more requests are answered with 503. Of the path `stalling`
    only half is sent, then `stalled` is set and nothing more comes until `going_on` is set.
    """

    name: str
    root: Path
    signer: Signer
    uri: str = ""
    suites: dict[str, list[str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    failing: Counter[str] = field(default_factory=Counter)
    stalling: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)
    going_on: threading.Event = field(default_factory=threading.Event)

    def add(
        self,
        name: str,
        version: str,
        suite: str = SUITE,
        files: Mapping[str, bytes] | None = None,
        **fields: str,
    ) -> str:
        """Put a new package into the pool and a suite; returns its path."""
        pool = self.root / "pool" / name[0] / name
        pool.mkdir(parents=True, exist_ok=True)
        deb = make_deb(pool, name, version, files, **fields)
        return self.list(deb, suite)

    def list(self, deb: Path, suite: str) -> str:
        """Let a suite list a package of the pool."""
        path = deb.relative_to(self.root).as_posix()
        stanza = run(["dpkg-deb", "--field", str(deb)]).stdout.strip()
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        about = f"Filename: {path}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
        self.suites.setdefault(suite, []).append(f"{stanza}\n{about}")
        return path

    def drop(self, name: str, version: str, *, file: bool = True) -> None:
        """Let every suite, and with `file` the pool, forget a version."""
        head = f"Package: {name}\nVersion: {version}\n"
        for suite, stanzas in self.suites.items():
            for stanza in stanzas:
                if stanza.startswith(head) and file:
                    path = next(x for x in stanza.splitlines() if x.startswith("Filename: "))[10:]
                    (self.root / path).unlink(missing_ok=True)
            self.suites[suite] = [stanza for stanza in stanzas if not stanza.startswith(head)]

    def publish(
        self,
        *,
        date: datetime | None = None,
        valid: timedelta | None = timedelta(days=7),
        by: Signer | None = None,
        called: Mapping[str, str] | None = None,
    ) -> None:
        """Write and sign every suite's index, as of `date` (now), by our own key or another's.

        `called` gives a suite another name inside its index.
        """
        when = date or datetime.now(UTC)
        for suite, stanzas in self.suites.items():
            top = self.root / "dists" / suite
            folder = top / "main/binary-amd64"
            folder.mkdir(parents=True, exist_ok=True)
            text = "\n".join(stanzas).encode()
            (folder / "Packages").write_bytes(text)
            (folder / "Packages.gz").write_bytes(gzip.compress(text, mtime=0))
            lines = [
                f"Codename: {(called or {}).get(suite, suite)}",
                f"Date: {format_datetime(when, usegmt=True)}",
                "Architectures: amd64",
                "Components: main",
            ]
            if valid:
                lines.append(f"Valid-Until: {format_datetime(when + valid, usegmt=True)}")
            lines.append("SHA256:")
            for name in ("Packages", "Packages.gz"):
                content = (folder / name).read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                lines.append(f" {digest} {len(content)} main/binary-amd64/{name}")
            (top / "Release").write_text("\n".join([*lines, ""]))
            key = by or self.signer
            key.gpg("--clearsign", "--output", str(top / "InRelease"), str(top / "Release"))

    def repository(self, suite: str = SUITE, **changes: str) -> Repository:
        """How a spec names a suite of it; its key lies at `keys/<signer>.asc` beside the spec."""
        given = {
            "name": self.name + suite.removeprefix(SUITE),
            "uri": self.uri,
            "suite": suite,
            "key": f"keys/{self.signer.home.name}.asc",
            "fingerprint": self.signer.fingerprint,
        }
        return Repository(components=("main",), **(given | changes))

    def system(self, *suites: str) -> System:
        """A spec's system with these suites of it as its repositories."""
        found = tuple(self.repository(suite) for suite in suites or (SUITE,))
        return System(repositories=found)


def only_further(system: System, folder: Path, _: object) -> tuple[Source, ...]:
    """The archives of a spec without Debian's own."""
    return sources.further(system, folder)


@contextmanager
def serving(archive: Archive) -> Iterator[Archive]:
    """The archive on a loopback port, counting what is asked for."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=os.fspath(archive.root))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            archive.asked[path] += 1
            if archive.failing[path]:
                archive.failing[path] -= 1
                self.send_error(503)
            elif path == archive.stalling:
                self.stall((archive.root / path).read_bytes())
            else:
                super().do_GET()

        def stall(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            archive.stalled.set()
            archive.going_on.wait()

        def log_message(self, *args: object) -> None:
            """Tests say what matters."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        archive.uri = f"http://127.0.0.1:{server.server_port}"
        try:
            yield archive
        finally:
            archive.going_on.set()
            server.shutdown()
