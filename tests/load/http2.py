"""Users with HTTP/2: curl, which keeps its connection and says when it had to open another.

It asks once more by itself when a kept connection ended before any answer, which would hide a cut:
so its log is read, too. Without TLS, which a site on port 80 has not; the frames are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RATE: Final = 10
"""Small requests a second."""

SLOW: Final = "300k"
"""Bytes a second of the download and of the upload."""

TOLD: Final = "%{http_code} %{http_version} %{num_connects} %{exitcode}\\n"
LOG: Final = ".log"


@dataclass(frozen=True, slots=True)
class Report:
    """What one of them was told: how many whole answers, over how many connections, what else."""

    requests: int
    connections: int
    wrong: tuple[str, ...]


def commands(
    host: str, folder: Path, content: Path, name: str, seconds: int
) -> dict[str, list[str]]:
    """curl's words by kind, for a host as in a URL: small requests one after another on a kept
    connection, a download of `name` and an upload of `content`, each on a connection of its own."""
    site = f"http://{host}"
    family = "v6" if ":" in host else "v4"
    kinds: Mapping[str, list[str]] = {
        "small": [
            "--http2",  # by an upgrade: curl 7.88 cannot use a connection again that began with it
            *("--rate", f"{RATE}/s", "--output", "/dev/null"),
            f"{site}/healthz?[1-{RATE * seconds}]",
        ],
        "down": [
            "--http2-prior-knowledge",
            *("--limit-rate", SLOW, "--output", str(folder / f"down-{family}")),
            f"{site}/files/{name}",
        ],
        "up": [
            "--http2-prior-knowledge",
            *("--limit-rate", SLOW, "--output", "/dev/null", "--upload-file", str(content)),
            f"{site}/files/{name}-{family}",
        ],
    }
    return {
        f"{kind}-{family}": [
            *("curl", "--verbose", "--max-time", "120"),
            *("--stderr", str(folder / f"{kind}-{family}{LOG}"), "--write-out", TOLD),
            *words,
        ]
        for kind, words in kinds.items()
    }


def report(told: Path, status: int) -> Report:
    """From curl's output and from its log beside it."""
    wrong, connections, rows = [], 0, told.read_text().splitlines()
    for row in rows:
        code, version, opened, end = row.split()
        connections += int(opened)
        if (code, version, end) != (str(status), "2", "0"):
            wrong.append(row)
    log = told.with_suffix(LOG).read_text(errors="replace")
    wrong += [line for line in log.splitlines() if "retrying" in line]
    return Report(len(rows), connections, tuple(wrong))
