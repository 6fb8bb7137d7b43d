"""Brings locked packages into the cache, by path and digest: no index is read, nothing is resolved.

First the cache, then the archive, then the spec's snapshot archive. apt's own downloader does the
transfer, for it knows proxies and credentials; what it brought is believed by its digest alone.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from images.archive import apt as private
from images.archive import sources
from images.archive.apt import Apt
from images.archive.cache import add, is_whole, lacking
from images.home import Home
from specs.errors import BakehouseError
from specs.lock import Lock, LockedPackage
from specs.model import System

Say = Callable[[str], None]
FETCHERS: Final = 4
BATCH: Final = 8
PAUSE: Final = 2
"""Seconds before the archive is asked again for what failed without a final reason."""

GONE: Final = "not there any more"
OTHER: Final = "another file is there"
UNREACHABLE: Final = "cannot be reached"
FINAL: Final = (GONE, OTHER, UNREACHABLE)


@dataclass(frozen=True, slots=True)
class Places:
    """Where packages may come from: each archive's address, and a pattern for what they lack.

    The fields of `snapshot` are those of `specs.kinds.SNAPSHOT`; `epoch` (seconds since 1970) is
    its `date`.
    """

    addresses: Mapping[str, str]
    snapshot: str = ""
    epoch: int = 0

    def archive_url(self, package: LockedPackage) -> str:
        """Where the archive has it, or had."""
        return f"{self.addresses[package.archive]}/{quote(package.path, safe='/+~:')}"

    def snapshot_url(self, package: LockedPackage) -> str:
        """Where the snapshot archive has it."""
        return self.snapshot.format(
            archive=package.archive,
            date=datetime.fromtimestamp(self.epoch, UTC).strftime("%Y%m%dT%H%M%SZ"),
            path=quote(package.path, safe="/+~:"),
            sha256=package.sha256,
        )


def fetch(system: System, lock: Lock, home: Home, say: Say, used: Collection[str] = ()) -> None:
    """Bring every package of the lock into the cache; a corrupt entry is fetched again.

    Of the sets in `used` the packages need only be there, in their size: nothing is made of them
    now, or they were checked before.

    Raises BakehouseError naming the packages that cannot be had.
    """
    read = {package for name in lock.sets if name not in used for package in lock.sets[name]}
    missing = lacking(home, lock.packages(), unread=set(lock.packages()) - read)
    if missing:
        bring(
            missing, Places(sources.addresses(system, home), system.snapshot, lock.epoch), home, say
        )


def bring(missing: Sequence[LockedPackage], places: Places, home: Home, say: Say) -> None:
    """Fetch these packages. Raises BakehouseError naming those that are nowhere."""
    reasons = attempt(missing, places, home, say)
    if not reasons:
        return
    lines = [
        f"  {package.name} {package.version} ({package.archive}): {why}"
        for package, why in sorted(reasons.items())
    ]
    hint = "run `invoke update`: it takes the versions that the archives have now"
    if set(reasons.values()) == {UNREACHABLE}:
        hint = "check the network and try again; what was fetched so far is kept"
    raise BakehouseError(f"{len(lines)} locked packages cannot be had:\n" + "\n".join(lines), hint)


def attempt(
    wanted: Sequence[LockedPackage], places: Places, home: Home, say: Say
) -> dict[LockedPackage, str]:
    """Fetch what can be had; the rest, each with the reason."""
    say(f"fetching {len(wanted)} packages, {_megabytes(wanted)} MB")
    known = [package for package in wanted if package.archive in places.addresses]
    missing = dict.fromkeys(set(wanted) - set(known), "the spec has no archive of this name")
    home.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="fetch-", dir=home.work))
    try:
        apt = private.lay_out(work / "apt", "all")
        transfer = partial(_transfer, apt, work, home, say)
        failed = transfer({package: places.archive_url(package) for package in known})
        again = [package for package, why in failed.items() if why not in FINAL]
        if again:
            time.sleep(PAUSE)
            once_more = transfer({package: places.archive_url(package) for package in again})
            failed = {p: why for p, why in failed.items() if p not in again} | once_more
        missing |= failed
        if missing and places.snapshot:
            say(f"asking the snapshot archive for {len(missing)} packages")
            rest = transfer({package: places.snapshot_url(package) for package in missing})
            missing = {
                package: f"{missing[package]}; the snapshot archive: {why}"
                for package, why in rest.items()
            }
        return missing
    finally:
        shutil.rmtree(work)


def _transfer(
    apt: Apt, work: Path, home: Home, say: Say, urls: Mapping[LockedPackage, str]
) -> dict[LockedPackage, str]:
    """One try for each, several at once, into the cache; what failed, with the reason."""
    order = list(urls)
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    failed: dict[LockedPackage, str] = {}
    done: list[LockedPackage] = []
    with ThreadPoolExecutor(FETCHERS) as pool:
        runs = [pool.submit(_batch, apt, work, home, {p: urls[p] for p in b}) for b in batches]
        for batch, ended in zip(batches, runs, strict=True):
            lost = ended.result()
            failed |= lost
            done += [package for package in batch if package not in lost]
            say(f"fetched {len(done)} of {len(order)} packages, {_megabytes(done)} MB")
    return failed


def _batch(
    apt: Apt, work: Path, home: Home, urls: Mapping[LockedPackage, str]
) -> dict[LockedPackage, str]:
    parts = {package: work / f"{package.sha256}.part" for package in urls}
    words = [
        word
        for package, url in urls.items()
        for word in (url, str(parts[package]), f"SHA256:{package.sha256}")
    ]
    said = apt.run([private.HELPER, "download-file", *words], check=False).stderr
    failed = {}
    for package, part in parts.items():
        if is_whole(part, package):
            add(home, package, part)
        else:
            failed[package] = reason(said, urls[package])
    return failed


def reason(said: str, url: str) -> str:
    """Why apt could not fetch `url`, from what it said; the same words for the same cause."""
    for line in said.splitlines():
        head, _, why = line.partition(f"{url}  ")
        if head == "E: Failed to fetch ":
            if why.startswith(("404 ", "410 ")):
                return GONE
            if why.startswith(("Could not ", "Unable to connect ", "Cannot initiate ")):
                return UNREACHABLE
            return OTHER if "Hash Sum" in why or "unexpected size" in why else why
    return "it did not arrive whole"


def _megabytes(packages: Iterable[LockedPackage]) -> str:
    return f"{sum(package.size for package in packages) / 1e6:.1f}"
