"""Asks Debian's archives: makes the lock, and fetches locked packages by path and digest.

apt does the asking. mmdebstrap lays out an empty root with the release's default archives (so that
none is named here), apt checks the signatures and resolves, and what it would install is the lock.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from images.home import Home
from images.run import CommandError, run
from specs import packages
from specs.errors import BakehouseError
from specs.lock import Lock, LockedPackage
from specs.model import Spec, System

Say = Callable[[str], None]
FETCHERS: Final = 4
APT_HELPER: Final = "/usr/lib/apt/apt-helper"
LINE: Final = re.compile(
    r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha>[0-9a-f]{64})$"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One archive and suite that packages come from; `name` stands for it in the lock."""

    name: str
    uri: str
    suite: str


def layout_command(system: System, root: Path, *, update: bool) -> list[str]:
    """An empty apt root for the release; with `update`, with its checked indexes."""
    skip = "cleanup/apt/lists,cleanup/apt/cache" if update else "update,cleanup/apt"
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=custom",
        f"--architectures={system.architecture}",
        f"--skip={skip},chroot/mount",
        '--aptopt=APT::Update::Error-Mode "any"',
    ]
    for repository in system.repositories:
        line = (
            f"deb [signed-by=/etc/apt/keyrings/{repository.name}.asc] {repository.uri} "
            f"{repository.suite} {' '.join(repository.components)}"
        )
        command.append(
            f'--setup-hook=mkdir -p "$1/etc/apt/sources.list.d" && '
            f"echo '{line}' > \"$1/etc/apt/sources.list.d/{repository.name}.list\""
        )
    command += [system.release, str(root)]
    return command + ([system.mirror] if system.mirror else [])


def _sources(root: Path, system: System) -> tuple[Source, ...]:
    """The archives of an apt root, from its one-line source lists."""
    named = {repository.uri.rstrip("/"): repository.name for repository in system.repositories}
    found = []
    etc = root / "etc/apt"
    for file in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            words = re.sub(r"\[[^]]*\]", "", line).split()
            if words[:1] == ["deb"]:
                uri = words[1].rstrip("/")
                short = urlsplit(uri).path.rstrip("/").rpartition("/")[2] or "mirror"
                found.append(Source(named.get(uri, short), uri, words[2]))
    return tuple(found)


def _apt_config(root: Path, architecture: str) -> Path:
    config = root / "bakehouse-apt.conf"
    config.write_text(
        f'Dir "{root}";\nDir::State::status "{root}/var/lib/dpkg/status";\n'
        f'APT::Architecture "{architecture}";\nAPT::Architectures {{"{architecture}";}};\n'
        'APT::Install-Recommends "false";\nAcquire::ForceHash "SHA256";\n',
        encoding="utf-8",
    )
    return config


def make_lock(spec: Spec, previous: Lock | None, work: Path, say: Say) -> Lock:
    """Read the archives' indexes and resolve every package of the spec.

    Raises BakehouseError when an index cannot be had or trusted, is older than the one in
    `previous`, or a package does not exist.
    """
    root = work / "apt"
    shutil.rmtree(root, ignore_errors=True)
    say("reading the package indexes")
    try:
        run(layout_command(spec.system, root, update=True))
    except CommandError as error:
        raise BakehouseError(
            f"the package indexes cannot be read or are not trusted\n{error.message}",
            "check the network, the clock, and system.mirror and system.repositories in the spec",
        ) from error
    sources = _sources(root, spec.system)
    dates, indexes = _indexes(root, sources)
    epoch = int(max(dates.values()).timestamp())
    if previous and epoch < previous.epoch:
        raise BakehouseError(
            f"the archive is older than the lock: {datetime.fromtimestamp(epoch, UTC):%F %T} UTC, "
            f"the lock knows {datetime.fromtimestamp(previous.epoch, UTC):%F %T} UTC",
            "a mirror that lags, or somebody holding updates back: try again or use another mirror",
        )
    config = _apt_config(root, spec.system.architecture)
    essential = _essential(root)
    sets: dict[str, tuple[LockedPackage, ...]] = {}
    below: tuple[str, ...] = ()
    for layer, names in packages.layers(spec).items():
        say(f"resolving {layer}")
        stacked = layer in ("base", "services", "extra")
        wanted = (*essential, *(below if stacked else ()), *names)
        found = _resolve(config, sources, wanted)
        if stacked:
            known = {p for done in ("base", "services") for p in sets.get(done, ())}
            sets[layer] = tuple(sorted(set(found) - known))
            below = (*below, *names)
        else:
            sets[layer] = tuple(sorted(found))
    shutil.rmtree(root)
    return Lock(
        epoch=epoch,
        release=spec.system.release,
        architecture=spec.system.architecture,
        sets=sets,
        indexes=indexes,
        uids=packages.numbers(spec) | _kept(previous, spec),
    )


def _kept(previous: Lock | None, spec: Spec) -> dict[str, int]:
    """The numbers that people have already, and free ones for the new: data outlives images."""
    if previous is None:
        return {}
    numbers = {user.name: previous.uids.get(user.name, 0) for user in spec.users}
    free = packages.FIRST_PERSON
    for name, number in numbers.items():
        while not number and free in {*numbers.values(), *previous.uids.values()}:
            free += 1
        numbers[name] = number or free
    return numbers


def _indexes(root: Path, sources: Sequence[Source]) -> tuple[dict[str, datetime], dict[str, str]]:
    """The date and the sha256 of each source's signed index, by `<name> <suite>`."""
    dates: dict[str, datetime] = {}
    digests: dict[str, str] = {}
    for source in sources:
        parts = urlsplit(source.uri)
        stem = (parts.netloc + parts.path).replace("/", "_")
        file = root / f"var/lib/apt/lists/{stem}_dists_{source.suite}_InRelease"
        content = file.read_bytes()
        key = f"{source.name} {source.suite}"
        digests[key] = hashlib.sha256(content).hexdigest()
        date = re.search(rb"^Date: (.+)$", content, re.MULTILINE)
        if date is None:
            raise BakehouseError(f"the index of {key} has no date", "use another mirror")
        dates[key] = parsedate_to_datetime(date.group(1).decode())
    return dates, digests


def _essential(root: Path) -> tuple[str, ...]:
    """The packages that every Debian system has, by the archive's own word."""
    names: set[str] = set()
    for file in (root / "var/lib/apt/lists").glob("*_Packages"):
        name = ""
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Essential: yes"):
                    names.add(name)
    return tuple(sorted(names))


def _resolve(
    config: Path, sources: Sequence[Source], names: Sequence[str]
) -> tuple[LockedPackage, ...]:
    """What apt would install for `names` on an empty system."""
    command = ["apt-get", "install", "--yes", "--quiet", "--print-uris", *dict.fromkeys(names)]
    try:
        output = run(command, env={"APT_CONFIG": str(config)}).stdout
    except CommandError as error:
        lines = error.result.stderr.splitlines() if error.result else []
        missing = [line[3:] for line in lines if line.startswith("E: ")]
        raise BakehouseError(
            "apt cannot resolve the packages: " + ("; ".join(missing) or error.message),
            "check the names in system.packages and apps.*.build.packages against the release",
        ) from error
    found = []
    for line in output.splitlines():
        match = LINE.match(line)
        if match:
            found.append(_package(match, sources))
    return tuple(found)


def _package(match: re.Match[str], sources: Sequence[Source]) -> LockedPackage:
    uri = unquote(match["uri"])
    source = max((s for s in sources if uri.startswith(f"{s.uri}/")), key=lambda s: len(s.uri))
    name, version, rest = unquote(match["file"]).split("_", 2)
    return LockedPackage(
        name=name,
        version=version,
        architecture=rest.removesuffix(".deb"),
        archive=source.name,
        path=uri[len(source.uri) + 1 :],
        sha256=match["sha"],
        size=int(match["size"]),
    )


def cached(home: Home, package: LockedPackage) -> Path:
    """Where the package's .deb lies in the cache, or will."""
    return home.packages / package.sha256[:2] / f"{package.sha256}.deb"


def fetch(system: System, wanted: Sequence[LockedPackage], home: Home, say: Say) -> None:
    """Bring every package into the cache, checked by digest; a corrupt entry is fetched again.

    Raises BakehouseError naming what cannot be had.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = list(pool.map(lambda package: _is_whole(cached(home, package), package), wanted))
    missing = [package for package, ok in zip(wanted, whole, strict=True) if not ok]
    if not missing:
        return
    total = sum(package.size for package in missing) / 1e6
    say(f"fetching {len(missing)} packages, {total:.0f} MB")
    uris = _archive_uris(system, home)
    shares = [missing[start::FETCHERS] for start in range(FETCHERS)]
    with ThreadPoolExecutor(FETCHERS) as pool:
        for _ in pool.map(lambda share: _fetch_share(share, uris, home), shares):
            pass


def _is_whole(file: Path, package: LockedPackage) -> bool:
    try:
        if file.stat().st_size != package.size:
            return False
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == package.sha256
    except FileNotFoundError:
        return False


def _archive_uris(system: System, home: Home) -> Mapping[str, str]:
    root = home.work / "sources"
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    run(layout_command(system, root, update=False))
    uris = {source.name: source.uri for source in _sources(root, system)}
    shutil.rmtree(root)
    return uris


def _fetch_share(share: Sequence[LockedPackage], uris: Mapping[str, str], home: Home) -> None:
    """One run of apt's own downloader, which checks each digest; then rename into place."""
    if not share:
        return
    words = []
    parts = {}
    for package in share:
        if package.archive not in uris:
            raise BakehouseError(
                f"{package.name} is locked from the archive '{package.archive}', "
                "which the spec does not have",
                "run `invoke update`",
            )
        target = cached(home, package)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part-{os.getpid()}")
        parts[part] = target
        words += [f"{uris[package.archive]}/{package.path}", str(part), f"SHA256:{package.sha256}"]
    try:
        run([APT_HELPER, "-o", "APT::Sandbox::User=root", "download-file", *words])
        for part, target in parts.items():
            part.replace(target)
    except CommandError as error:
        lines = error.result.stderr.splitlines() if error.result else [error.message]
        why = "\n".join(line for line in lines if line.startswith(("E: ", "Err")))
        raise BakehouseError(
            f"locked packages cannot be fetched\n{why}",
            "check the network; if the archive no longer has these versions, run `invoke update`",
        ) from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
