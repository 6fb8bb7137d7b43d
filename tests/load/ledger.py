"""What users were told: every request, every acknowledged write; and what of it is true.

Two files of JSON lines in the load's folder. `requests.jsonl` has each request with its outcome;
`ledger.jsonl` has each write that was acknowledged. Times are those of the monotonic clock, which
all processes of a machine share.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

REQUESTS = "requests.jsonl"
LEDGER = "ledger.jsonl"
SLOW = ("download", "upload")
"""Kinds that take long by intent; with the idle connections, what may be cut rather than fail."""

IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `how` is `new` or `kept` (the connection); `error` is "" when all was well.

    `at` and `seconds` are when it began, the connection included, and how long it took.
    """

    kind: str
    how: str
    family: int
    at: float
    seconds: float
    status: int
    error: str

    @property
    def end(self) -> float:
        """When its answer was whole."""
        return self.at + self.seconds


@dataclass(frozen=True, slots=True)
class Written:
    """An acknowledged write: an entry by its text, which nobody else has, or a file by its name.

    `value` is the entry's id as the server gave it, or the file's sha256.
    """

    kind: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it was acknowledged; all empty when all is well."""

    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    altered: tuple[str, ...]


def compare(
    ledger: Iterable[Written], entries: Iterable[tuple[str, str]], files: Mapping[str, str]
) -> Difference:
    """Hold what was acknowledged against the server's rows `(id, text)` and its files' sha256.

    A row that nobody was told of is no fault: its answer may have been cut. Two of one text are.
    """
    ids: dict[str, list[str]] = {}
    for number, text in entries:
        ids.setdefault(text, []).append(number)
    lost, altered = [], []
    for written in ledger:
        if written.kind == "entry":
            there = ids.get(written.name, [])
        else:
            there = [files[written.name]] if written.name in files else []
        if not there:
            lost.append(written.name)
        elif written.value not in there:
            altered.append(written.name)
    doubled = [text for text, found in ids.items() if len(found) > 1]
    return Difference(tuple(lost), tuple(sorted(doubled)), tuple(altered))


@dataclass(frozen=True, slots=True)
class Window:
    """A promote or a rollback: from its call to its end."""

    verb: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def gap(acknowledged: Sequence[float], window: Window) -> tuple[float, float]:
    """The longest time in a window in which no write was acknowledged; `acknowledged` ascends.

    Gaps that begin before or end after the window count whole.
    """
    gaps = [
        (earlier, later)
        for earlier, later in pairwise(acknowledged)
        if later > window.begin and earlier < window.end
    ]
    whole = (window.begin, window.end)
    return max(gaps, key=lambda one: one[1] - one[0], default=whole)


def pause(acknowledged: Sequence[float], window: Window) -> float:
    """Seconds of that gap."""
    begin, end = gap(acknowledged, window)
    return end - begin


TOLD = 0.005
"""Seconds below which a step is not worth a word."""


def during(steps: Iterable[Mapping[str, Any]], begin: float, end: float) -> str:
    """The steps of a swap's journal that ran between two moments and their seconds, as in
    `4 hold 0.15, 6 stop 0.09`; "" when nothing did, short ones left out.

    What ran is what ended, and took `seconds`.
    """
    ran = [
        f"{line['step']} {line['seconds']:.2f}"
        for line in steps
        if line.get("what") == "done"
        and line.get("seconds", 0.0) >= TOLD
        and line["mono"] > begin
        and line["mono"] - line["seconds"] < end
    ]
    return ", ".join(ran)


def acknowledgements(requests: Iterable[Request]) -> list[float]:
    """When writes of entries were acknowledged, ascending."""
    return sorted(one.end for one in requests if one.kind == "write" and not one.error)


def longest(requests: Iterable[Request]) -> Request:
    """The longest request that was not meant to be slow; failed ones count, too."""
    return max((one for one in requests if one.kind not in SLOW), key=lambda one: one.seconds)


def counts(requests: Sequence[Request]) -> dict[str, Any]:
    """How many requests there were, of what kind and outcome; `cut` and `failed` do not overlap."""
    wrong = [one for one in requests if one.error]
    cut = [one for one in wrong if one.kind in (*SLOW, IDLE)]
    return {
        "requests": len(requests),
        "failed": len(wrong) - len(cut),
        "cut": len(cut),
        "by_kind": dict(sorted(Counter(one.kind for one in requests).items())),
        "by_connection": dict(sorted(Counter(one.how for one in requests).items())),
        "by_family": dict(sorted(Counter(f"IPv{one.family}" for one in requests).items())),
        "by_status": dict(sorted(Counter(str(one.status or "none") for one in requests).items())),
        "errors": dict(Counter(f"{one.kind}: {one.error}" for one in wrong).most_common(10)),
    }


class Books:
    """The two files, written by the load and read by who judges."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._requests = (folder / REQUESTS).open("a", encoding="utf-8", buffering=1)
        self._ledger = (folder / LEDGER).open("a", encoding="utf-8", buffering=1)

    def request(self, request: Request) -> None:
        self._requests.write(json.dumps(asdict(request)) + "\n")

    def written(self, written: Written) -> None:
        self._ledger.write(json.dumps(asdict(written)) + "\n")

    def close(self) -> None:
        self._requests.close()
        self._ledger.close()


def read_requests(folder: Path) -> list[Request]:
    """All requests so far, in the order of their ends; a line that is being written is left out."""
    return [Request(**found) for found in _lines(folder / REQUESTS)]


def read_ledger(folder: Path) -> list[Written]:
    """All acknowledged writes so far."""
    return [Written(**found) for found in _lines(folder / LEDGER)]


def _lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
