"""Reads the archives' signed indexes, and believes only what is signed, in date and not older than
what the last lock was made from.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from images.archive.apt import Apt
from images.archive.sources import Source
from images.run import CommandError
from specs.errors import BakehouseError
from specs.lock import Index

DATE: Final = "%Y-%m-%dT%H:%M:%SZ"
"""How the lock writes an index's date, in UTC; such texts sort as the dates do."""

WRONG: Final = (
    (
        r"is expired|is not valid anymore",
        "the index has expired",
        "the archive is no longer kept, or somebody holds updates back: try again later or use "
        "another mirror; if this machine's clock is wrong, set it",
    ),
    (
        r"is not valid yet",
        "the index is from the future",
        "set this machine's clock",
    ),
    (
        r"NO_PUBKEY|public key is not available|No good signature|Missing key",
        "the index is signed by a key that the spec does not trust",
        "compare the key's fingerprint with the one that the archive's owner publishes",
    ),
    (
        r"NOSPLIT|NODATA|Clearsigned file isn't valid",
        "what came is not an index",
        "does the network want a login? otherwise check the archive's address",
    ),
    (
        r"BADSIG|EXPKEYSIG|REVKEYSIG|EXPSIG|signatures? (?:were|was) invalid"
        r"|signature verification failed",
        "the signature of the index is not valid",
        "the index was changed on its way, or its key has expired: use another mirror",
    ),
    (
        r"Hash Sum mismatch|unexpected size|Mirror sync in progress|hashes? .*mismatch",
        "the index is not the one that was signed",
        "the archive is being renewed or was tampered with: try again in some minutes",
    ),
    (
        r"404 +Not Found|does not have a Release file|doesn't have the component",
        "there is no such suite or component in this archive",
        "check the archive's address, suite and components in the spec",
    ),
    (
        r"is not signed",
        "the index is not signed",
        "a spec takes packages only from signed archives",
    ),
    (
        r"Could not (?:connect|resolve)|Failed to connect|Connection (?:failed|timed|refused|reset)"
        r"|Temporary failure|Network is unreachable|Unable to connect|Undetermined Error"
        r"|Cannot initiate|[45]\d\d +\w|Error reading from server",
        "the archive cannot be reached",
        "check the network and the archive's address; nothing was changed",
    ),
)
"""What apt's words mean, the most telling first, and what to do."""


def read(apt: Apt, sources: Sequence[Source], before: Mapping[str, Index]) -> dict[str, Index]:
    """Bring every source's index into apt's root; what the lock says of each.

    Raises BakehouseError naming the archive and suite when an index cannot be had, is not signed
    by its key, has expired, belongs to another suite, or is older than the one in `before`.
    """
    try:
        apt.run(["apt-get", "update", "--quiet"])
    except CommandError as error:
        said = f"{error.result.stdout}\n{error.result.stderr}" if error.result else error.message
        raise _explained(said, sources) from error
    found = {}
    for source in sources:
        index = _checked(_release_file(apt, source), source)
        old = before.get(source.index)
        if old and index.date < old.date:
            raise BakehouseError(
                f"{source.index} ({source.uri}): the index is of {index.date}, older than the "
                f"lock's of {old.date}",
                "a mirror that lags, or somebody holding updates back: try again later or use "
                "another mirror",
            )
        found[source.index] = index
    return found


def _explained(said: str, sources: Sequence[Source]) -> BakehouseError:
    """apt's words as one error: each archive that failed, why, and what to do about the first."""
    complaints = [line for line in said.splitlines() if re.match(r"(?:E|W|Err:\d+)[: ]", line)]
    messages, hints = [], []
    for source in sources:
        places = (f"{source.uri} {source.suite} ", f"{source.uri}/dists/{source.suite}/")
        about = [line for line in complaints if any(place in line for place in places)]
        if about:
            reason, hint = _reason("\n".join(about))
            messages.append(f"{source.index} ({source.uri}): {reason}")
            hints.append(hint)
    if not messages:
        messages = [f"the package indexes cannot be read or are not trusted\n{said.strip()}"]
        hints = ["check the network and the archives in the spec"]
    return BakehouseError("\n".join(messages), hints[0])


def _reason(about: str) -> tuple[str, str]:
    for pattern, reason, hint in WRONG:
        if re.search(pattern, about):
            return reason, hint
    return about, "check the archive's address, suite and key in the spec"


def _release_file(apt: Apt, source: Source) -> Path:
    """Where apt keeps a source's signed index (apt's `URItoFileName`)."""
    parts = urlsplit(source.uri)
    place = parts.netloc.rpartition("@")[2] + parts.path
    bad = r"[\\|{}\[\]<>\"^~_=!@#$%&*]"
    quoted = re.sub(bad, lambda match: f"%{ord(match[0]):02x}", f"{place}/dists/{source.suite}/")
    stem = apt.lists / quoted.replace("/", "_")
    whole = stem.with_name(f"{stem.name}InRelease")
    return whole if whole.exists() else stem.with_name(f"{stem.name}Release")


def _checked(file: Path, source: Source) -> Index:
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise BakehouseError(
            f"{source.index} ({source.uri}): apt kept no index",
            "check the archive's address and suite in the spec",
        ) from error
    field = {
        match[1].decode(): match[2].decode("utf-8", "replace").strip()
        for match in re.finditer(rb"^(Date|Suite|Codename): *(.+)$", content, re.MULTILINE)
    }
    names = {field[name] for name in ("Suite", "Codename") if name in field}
    if names and source.suite not in names:
        raise BakehouseError(
            f"{source.index} ({source.uri}): the index is of another suite, "
            f"{' or '.join(sorted(names))}",
            "name the suite as its index does; an archive that answers with another suite's index "
            "may be hiding updates",
        )
    try:
        date = parsedate_to_datetime(field["Date"])
    except (KeyError, ValueError) as error:
        raise BakehouseError(
            f"{source.index} ({source.uri}): the index has no date", "use another mirror"
        ) from error
    return Index(date=_text(date), sha256=hashlib.sha256(content).hexdigest())


def _text(date: datetime) -> str:
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime(DATE)
